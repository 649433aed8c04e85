//! Several reports side by side. The first is the base: the others' figures are held against its.

use std::fmt;
use std::path::Path;

use serde::Deserialize;

use crate::latency::Spectrum;
use crate::printable::printable;
use crate::report::parameters::{Kind, parameters};
use crate::report::units::Unit;
use crate::report::{FORMAT, Report, Verdict};

/// What differs by less than this share of the base counts as the same.
const SAME_WITHIN: f64 = 0.05;

/// Reads a report from the JSON that a run wrote.
pub fn read(path: &Path) -> Result<Report, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    parse(&text).map_err(|error| format!("{} {error}", path.display()))
}

fn parse(text: &str) -> Result<Report, String> {
    /// What all formats have.
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let head: Head = serde_json::from_str(text)
        .map_err(|error| format!("is no report of fanfare-loadgen; `--json` writes one: {error}"))?;
    if head.format != FORMAT {
        let format = head.format;
        return Err(format!(
            "has format {format}, and this version of fanfare-loadgen reads format {FORMAT}; \
             measure again, or compare with the version that wrote it"
        ));
    }
    serde_json::from_str(text).map_err(|error| format!("is damaged: {error}"))
}

/// Reports, each with the name that it goes by.
#[derive(Debug)]
pub struct Comparison {
    runs: Vec<(String, Report)>,
}

/// One figure of all runs.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) figure: &'static Figure,
    pub(crate) cells: Vec<Cell>,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Cell {
    /// `None` when the run has no such figure.
    pub(crate) value: Option<f64>,
    /// Against the base: a ratio, or a difference where the base is 0. Empty for the base itself.
    pub(crate) change: String,
    pub(crate) mark: Mark,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    Same,
    Better,
    Worse,
}

impl Mark {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Same => "",
            Self::Better => "better",
            Self::Worse => "worse",
        }
    }
}

/// A parameter that is not the same in all runs.
#[derive(Debug)]
pub(crate) struct Difference {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) texts: Vec<String>,
}

/// A figure that reports are compared by.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) group: &'static str,
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    good: Good,
    of: fn(&Report) -> Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Good {
    Less,
    More,
    /// It says nothing about the server.
    Neither,
}

impl Figure {
    const fn new(
        group: &'static str,
        name: &'static str,
        unit: Unit,
        good: Good,
        of: fn(&Report) -> Option<f64>,
    ) -> Self {
        Self { group, name, unit, good, of }
    }

    const fn time(group: &'static str, name: &'static str, of: fn(&Report) -> Option<f64>) -> Self {
        Self::new(group, name, Unit::Nanoseconds, Good::Less, of)
    }

    const fn fault(name: &'static str, of: fn(&Report) -> Option<f64>) -> Self {
        Self::new("delivery", name, Unit::Count, Good::Less, of)
    }

    const fn cost(name: &'static str, unit: Unit, of: fn(&Report) -> Option<f64>) -> Self {
        Self::new("server", name, unit, Good::Less, of)
    }
}

fn ns(spectrum: &Spectrum, of: fn(&Spectrum) -> u64) -> Option<f64> {
    (spectrum.count > 0).then(|| of(spectrum) as f64)
}

fn count(count: u64) -> Option<f64> {
    Some(count as f64)
}

static FIGURES: [Figure; 33] = [
    Figure::time("response", "p50", |report| ns(&report.latency_ns.response, |spectrum| spectrum.p50)),
    Figure::time("response", "p90", |report| ns(&report.latency_ns.response, |spectrum| spectrum.p90)),
    Figure::time("response", "p99", |report| ns(&report.latency_ns.response, |spectrum| spectrum.p99)),
    Figure::time("response", "p99.9", |report| ns(&report.latency_ns.response, |spectrum| spectrum.p999)),
    Figure::time("response", "p99.99", |report| ns(&report.latency_ns.response, |spectrum| spectrum.p9999)),
    Figure::time("response", "max", |report| ns(&report.latency_ns.response, |spectrum| spectrum.max)),
    Figure::time("service", "p50", |report| ns(&report.latency_ns.service, |spectrum| spectrum.p50)),
    Figure::time("service", "p99", |report| ns(&report.latency_ns.service, |spectrum| spectrum.p99)),
    Figure::time("first receiver", "p50", |report| ns(&report.latency_ns.to_first, |spectrum| spectrum.p50)),
    Figure::time("first receiver", "p99", |report| ns(&report.latency_ns.to_first, |spectrum| spectrum.p99)),
    Figure::time("last receiver", "p50", |report| ns(&report.latency_ns.to_last, |spectrum| spectrum.p50)),
    Figure::time("last receiver", "p99", |report| ns(&report.latency_ns.to_last, |spectrum| spectrum.p99)),
    Figure::time("spread", "p99", |report| ns(&report.latency_ns.spread, |spectrum| spectrum.p99)),
    Figure::new("delivery", "deliveries", Unit::PerSecond, Good::More, |report| {
        Some(report.deliveries.per_second).filter(|_| report.deliveries.expected > 0)
    }),
    Figure::fault("missing", |report| count(report.deliveries.missing)),
    Figure::fault("announced gaps", |report| count(report.deliveries.announced)),
    Figure::fault("duplicate", |report| count(report.deliveries.duplicate)),
    Figure::fault("reordered", |report| count(report.deliveries.reordered)),
    Figure::fault("corrupt", |report| count(report.deliveries.corrupt)),
    Figure::fault("misrouted", |report| count(report.deliveries.misrouted)),
    Figure::fault("lost subscribers", |report| count(report.deliveries.subscribers_lost)),
    Figure::cost("CPU per delivery", Unit::Nanoseconds, |report| report.cost.server_cpu_ns_per_delivery),
    Figure::cost("CPU", Unit::Percent, |report| report.cost.server_cpu_percent),
    Figure::cost("memory", Unit::Bytes, |report| report.cost.server_resident_bytes.map(|bytes| bytes as f64)),
    Figure::cost("memory per connection", Unit::Bytes, |report| {
        report.connect.server_resident_bytes_per_connection
    }),
    Figure::cost("system calls per delivery", Unit::Mean, |report| report.cost.server_syscalls_per_delivery),
    Figure::new("connecting", "connections", Unit::Count, Good::Neither, |report| {
        count(report.connect.connections)
    }),
    Figure::time("connecting", "p99", |report| ns(&report.connect.latency_ns, |spectrum| spectrum.p99)),
    Figure::time("connecting", "server CPU each", |report| report.connect.server_cpu_ns_per_connection),
    Figure::new("generator", "send lag p99", Unit::Nanoseconds, Good::Neither, |report| {
        ns(&report.latency_ns.send_lag, |spectrum| spectrum.p99)
    }),
    Figure::new("generator", "CPU per delivery", Unit::Nanoseconds, Good::Neither, |report| {
        report.cost.own_cpu_ns_per_delivery
    }),
    Figure::new("generator", "CPU, busiest core", Unit::Percent, Good::Neither, |report| {
        Some(report.cost.own_cpu_percent)
    }),
    Figure::new("generator", "system calls per delivery", Unit::Mean, Good::Neither, |report| {
        report.cost.own_syscalls_per_delivery
    }),
];

impl Cell {
    fn new(figure: &Figure, base: Option<f64>, value: Option<f64>) -> Self {
        let (Some(base), Some(new)) = (base, value) else {
            return Self { value, change: String::new(), mark: Mark::Same };
        };
        let (change, differs) = if base > 0.0 {
            let ratio = new / base;
            (format!("x{}", Unit::Mean.quantity(ratio)), (ratio - 1.0).abs() > SAME_WITHIN)
        } else if new > 0.0 {
            (format!("+{}", figure.unit.quantity(new)), true)
        } else {
            ("=".to_owned(), false)
        };
        let mark = match figure.good {
            _ if !differs => Mark::Same,
            Good::Neither => Mark::Same,
            Good::Less if new < base => Mark::Better,
            Good::More if new > base => Mark::Better,
            _ => Mark::Worse,
        };
        Self { value, change, mark }
    }

    /// The figure, or a dash.
    pub(crate) fn text(&self, unit: Unit) -> String {
        self.value.map_or_else(|| "-".to_owned(), |value| unit.quantity(value).to_string())
    }
}

impl Comparison {
    /// Takes each report with the name of its file, without the ending. Reports go by their titles if no two are the same.
    pub fn new(runs: Vec<(String, Report)>) -> Self {
        let titles: Vec<&str> = runs.iter().map(|(_, report)| report.title.trim()).collect();
        let by_title = titles
            .iter()
            .enumerate()
            .all(|(index, title)| !title.is_empty() && !titles[..index].contains(title));
        let mut named: Vec<(String, Report)> = Vec::with_capacity(runs.len());
        for (stem, report) in runs {
            let name = printable(if by_title { report.title.trim() } else { &stem }).replace('\n', " ");
            let mut label = name.clone();
            let mut copy = 1;
            while named.iter().any(|(taken, _)| *taken == label) {
                copy += 1;
                label = format!("{name} ({copy})");
            }
            named.push((label, report));
        }
        Self { runs: named }
    }

    pub(crate) fn runs(&self) -> &[(String, Report)] {
        &self.runs
    }

    /// The figures that at least one run has, in groups.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let row = |figure: &'static Figure| {
            let values: Vec<Option<f64>> = self.runs.iter().map(|(_, report)| (figure.of)(report)).collect();
            let base = values.first().copied().flatten();
            let cell =
                |(index, &value): (usize, &Option<f64>)| Cell::new(figure, base.filter(|_| index > 0), value);
            Row { figure, cells: values.iter().enumerate().map(cell).collect() }
        };
        FIGURES.iter().map(row).filter(|row| row.cells.iter().any(|cell| cell.value.is_some())).collect()
    }

    /// The parameters that differ.
    pub(crate) fn differences(&self) -> Vec<Difference> {
        let all: Vec<_> = self.runs.iter().map(|(_, report)| parameters(report)).collect();
        let mut names: Vec<_> = Vec::new();
        for parameter in all.iter().flatten() {
            if !names.contains(&(parameter.name, parameter.kind)) {
                names.push((parameter.name, parameter.kind));
            }
        }
        let difference = |(name, kind)| {
            let of = |parameters: &Vec<crate::report::parameters::Parameter>| {
                let found = parameters.iter().find(|parameter| parameter.name == name);
                found.map_or_else(|| "-".to_owned(), |parameter| parameter.text.clone())
            };
            Difference { name, kind, texts: all.iter().map(of).collect() }
        };
        let differs = |difference: &Difference| difference.texts.windows(2).any(|pair| pair[0] != pair[1]);
        names.into_iter().map(difference).filter(differs).collect()
    }

    /// What a reader must know before the figures, in sentences.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let differences = self.differences();
        let names = |kind: Kind| {
            let names: Vec<_> = differences
                .iter()
                .filter(|difference| difference.kind == kind)
                .map(|difference| difference.name)
                .collect();
            names.join(", ")
        };
        let mut warnings = Vec::new();
        let (workload, machine) = (names(Kind::Workload), names(Kind::Machine));
        if !workload.is_empty() {
            warnings.push(format!("These runs are not the same test: they differ in {workload}."));
        }
        if !machine.is_empty() {
            warnings.push(format!("These runs were not measured in the same way: they differ in {machine}."));
        }
        for (label, report) in &self.runs {
            let what = match report.verdict {
                Verdict::Pass | Verdict::Gate => continue,
                Verdict::Broken => "did not deliver all it should have, which can make it look faster",
                Verdict::Invalid => {
                    "is invalid: its figures say more about the generator than about the server"
                }
            };
            warnings.push(format!("{label} {what}."));
        }
        warnings
    }
}

const NAME_WIDTH: usize = 34;
const VALUE_WIDTH: usize = 13;
const CHANGE_WIDTH: usize = 18;

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (label, report)) in self.runs.iter().enumerate() {
            let role = if index == 0 { "base" } else { "    " };
            let url = printable(&report.run.url);
            writeln!(
                f,
                "{role} {}  {label}: {url}, {}",
                letter(index),
                printable(&report.environment.started)
            )?;
        }
        for warning in self.warnings() {
            writeln!(f, "\nWARNING: {warning}")?;
        }
        let differences = self.differences();
        if !differences.is_empty() {
            writeln!(f, "\nWhat differs")?;
            differences.iter().try_for_each(|difference| differing(f, difference))?;
        }
        writeln!(f)?;
        heads(f, self.runs.len())?;
        let mut group = "";
        for row in self.rows() {
            if row.figure.group != group && !group.is_empty() {
                writeln!(f)?;
            }
            group = row.figure.group;
            figures(f, &row)?;
        }
        writeln!(
            f,
            "\nx is the ratio to {}; better and worse begin at {:.0} %. \
             One run of each may differ by chance: repeat them in turn.",
            letter(0),
            SAME_WITHIN * 100.0
        )
    }
}

/// How a run is called in the table's head.
pub(crate) fn letter(index: usize) -> String {
    match u8::try_from(index) {
        Ok(index) if index < 26 => char::from(b'A' + index).to_string(),
        _ => format!("#{}", index + 1),
    }
}

fn differing(f: &mut fmt::Formatter<'_>, difference: &Difference) -> fmt::Result {
    for (index, text) in difference.texts.iter().enumerate() {
        let name = if index == 0 { difference.name } else { "" };
        writeln!(f, "  {name:<22}{}  {}", letter(index), text.replace('\n', " "))?;
    }
    Ok(())
}

fn heads(f: &mut fmt::Formatter<'_>, runs: usize) -> fmt::Result {
    let mut line = " ".repeat(NAME_WIDTH);
    for index in 0..runs {
        let room = if index == 0 { 0 } else { CHANGE_WIDTH };
        line.push_str(&format!("{:>VALUE_WIDTH$}{:room$}", letter(index), ""));
    }
    writeln!(f, "{}", line.trim_end())
}

fn figures(f: &mut fmt::Formatter<'_>, row: &Row) -> fmt::Result {
    let name = format!("{} {}", row.figure.group, row.figure.name);
    let mut line = format!("{name:<NAME_WIDTH$}");
    for (index, cell) in row.cells.iter().enumerate() {
        line.push_str(&format!("{:>VALUE_WIDTH$}", cell.text(row.figure.unit)));
        if index > 0 {
            let change = format!("  {:<8} {}", cell.change, cell.mark.word());
            line.push_str(&format!("{change:<CHANGE_WIDTH$}"));
        }
    }
    writeln!(f, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sample;

    fn comparison(reports: Vec<Report>) -> Comparison {
        let named = reports.into_iter().enumerate().map(|(index, report)| (format!("file{index}"), report));
        Comparison::new(named.collect())
    }

    fn cell<'a>(rows: &'a [Row], group: &str, name: &str) -> &'a Cell {
        let row = rows.iter().find(|row| row.figure.group == group && row.figure.name == name);
        &row.expect("such a row").cells[1]
    }

    #[test]
    fn marks_begin_at_five_percent() {
        for (good, base, new, change, mark) in [
            (Good::Less, 100.0, 104.9, "x1.05", Mark::Same),
            (Good::Less, 100.0, 106.0, "x1.06", Mark::Worse),
            (Good::Less, 100.0, 94.0, "x0.940", Mark::Better),
            (Good::Less, 100.0, 95.5, "x0.955", Mark::Same),
            (Good::More, 100.0, 94.0, "x0.940", Mark::Worse),
            (Good::More, 100.0, 320.0, "x3.20", Mark::Better),
            (Good::Neither, 100.0, 320.0, "x3.20", Mark::Same),
            (Good::Less, 0.0, 0.0, "=", Mark::Same),
            (Good::Less, 0.0, 7.0, "+7", Mark::Worse),
            (Good::Less, 7.0, 0.0, "x0", Mark::Better),
        ] {
            let figure = Figure::new("", "", Unit::Count, good, |_| None);
            let cell = Cell::new(&figure, Some(base), Some(new));
            assert_eq!((cell.change.as_str(), cell.mark), (change, mark), "{good:?} {base} {new}");
        }
        let figure = Figure::new("", "", Unit::Count, Good::Less, |_| None);
        assert_eq!(Cell::new(&figure, Some(1.0), None).text(Unit::Count), "-");
    }

    #[test]
    fn runs_of_one_test_are_compared_without_warnings() {
        let mut other = sample::passing();
        other.deliveries.missing = 3;
        other.latency_ns.response.p99 *= 2;
        let comparison = comparison(vec![sample::passing(), other]);
        assert!(comparison.warnings().is_empty(), "{:?}", comparison.warnings());
        let rows = comparison.rows();
        assert_eq!(cell(&rows, "response", "p99").mark, Mark::Worse);
        assert_eq!(cell(&rows, "response", "p50").mark, Mark::Same);
        assert_eq!(cell(&rows, "delivery", "missing").change, "+3");
        let text = comparison.to_string();
        let line = text.lines().find(|line| line.starts_with("response p99 ")).expect("a line");
        assert!(line.ends_with("x2.00    worse"), "{line}");
        assert!(!text.contains("WARNING") && !text.contains("What differs"), "{text}");
    }

    #[test]
    fn what_differs_comes_first() {
        let mut other = sample::passing();
        other.run.subscribers += 1;
        other.run.url = "ws://127.0.0.1:8000/\u{1b}[2J".to_owned();
        other.verdict = Verdict::Invalid;
        let comparison = comparison(vec![sample::passing(), other]);
        let warnings = comparison.warnings();
        assert_eq!(warnings[0], "These runs are not the same test: they differ in subscribers.");
        assert!(warnings[1].starts_with("file1 is invalid"), "{warnings:?}");
        let text = comparison.to_string();
        assert!(text.find("What differs") < text.find("response p50"), "{text}");
        assert!(text.contains("ws://127.0.0.1:8000/\u{fffd}[2J") && !text.contains('\u{1b}'));
    }

    #[test]
    fn labels_are_titles_if_those_differ_and_never_twice_the_same() {
        let labels =
            |comparison: Comparison| comparison.runs.into_iter().map(|(label, _)| label).collect::<Vec<_>>();
        let titled = |title: &str| Report { title: title.to_owned(), ..sample::passing() };
        assert_eq!(labels(comparison(vec![titled("one"), titled("two")])), ["one", "two"]);
        assert_eq!(labels(comparison(vec![titled("one"), titled("one")])), ["file0", "file1"]);
        let twice = vec![("a".to_owned(), titled("x")), ("a".to_owned(), titled("x"))];
        assert_eq!(labels(Comparison::new(twice)), ["a", "a (2)"]);
    }

    #[test]
    fn reports_are_read_and_others_refused() {
        let report = sample::passing();
        let text = serde_json::to_string(&report).expect("JSON");
        let again = parse(&text).expect("the same report");
        assert_eq!(again.latency_ns.response, report.latency_ns.response);
        assert_eq!(again.histograms.response.spectrum(), report.histograms.response.spectrum());
        for (text, expected) in [
            ("hello", "is no report of fanfare-loadgen"),
            ("{}", "is no report of fanfare-loadgen"),
            ("{\"format\":1}", "has format 1, and this version of fanfare-loadgen reads format 2"),
            ("{\"format\":2}", "is damaged: missing field"),
        ] {
            let error = parse(text).expect_err("no report");
            assert!(error.starts_with(expected), "{error}");
        }
        let error = read(Path::new("/nonexistent/a.json")).expect_err("no file");
        assert!(error.starts_with("cannot read /nonexistent/a.json: "), "{error}");
    }
}
