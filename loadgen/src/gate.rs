//! Gates: what a run must fulfil, such as `p99<5ms` or `missing==0`.
//!
//! A gate is a metric, a comparison and a bound. Metrics are a statistic of a histogram, with the histogram's name before
//! it unless it is the response time's (`p99`, `last.max`), or one of the figures listed in `FIGURES`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::figures::decimal;
use crate::latency::Spectrum;
use crate::report::{ReadersReport, Report};

/// One condition, as it was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Gate {
    text: String,
    metric: Metric,
    comparison: Comparison,
    /// In the metric's own unit: nanoseconds, bytes, percent, or a number of things.
    bound: f64,
    unit: Unit,
}

/// Whether a gate holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub gate: String,
    /// What was measured, in the gate's unit; `null` when the run has no such figure, which holds no gate.
    pub measured: Option<f64>,
    pub holds: bool,
}

/// Places in the tables below.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    Latency { series: usize, statistic: usize },
    Figure(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
}

/// As it stands in a gate, and how much of the metric's own unit it is.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Unit {
    text: &'static str,
    scale: f64,
}

/// What a metric counts, which says the units that may follow its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Time,
    Bytes,
    Percent,
    Number,
}

/// One histogram's statistics, and where they come from.
struct Series {
    name: &'static str,
    of: fn(&Report) -> Option<Spectrum>,
    /// Why a run may have none.
    without: &'static str,
}

/// One figure of a spectrum, in nanoseconds.
struct Statistic {
    name: &'static str,
    of: fn(&Spectrum) -> u64,
}

/// One figure, and where it comes from.
struct Figure {
    name: &'static str,
    kind: Kind,
    of: Source,
}

enum Source {
    /// Every run has it.
    Count(fn(&Report) -> u64),
    /// Not every run has it, and why not.
    Measured(fn(&Report) -> Option<f64>, &'static str),
}

const NOTHING_DELIVERED: &str = "nothing was delivered";
const NOTHING_COMPLETE: &str = "no message was seen to reach every subscriber";
const NO_SERVER: &str = "it needs --server-pid, a process that lasts as long as the run, and deliveries";

/// The first one's name may be left out.
const SERIES: [Series; 10] = [
    Series { name: "response", of: |report| Some(report.latency_ns.response), without: NOTHING_DELIVERED },
    Series { name: "service", of: |report| Some(report.latency_ns.service), without: NOTHING_DELIVERED },
    Series { name: "lag", of: |report| Some(report.latency_ns.send_lag), without: "nothing was sent" },
    Series { name: "first", of: |report| Some(report.latency_ns.to_first), without: NOTHING_COMPLETE },
    Series { name: "last", of: |report| Some(report.latency_ns.to_last), without: NOTHING_COMPLETE },
    Series { name: "spread", of: |report| Some(report.latency_ns.spread), without: NOTHING_COMPLETE },
    Series { name: "connect", of: |report| Some(report.connect.latency_ns), without: "nothing became ready" },
    Series {
        name: "reconnect",
        of: |report| of_readers(report, "returning"),
        without: "no subscriber left and came back",
    },
    Series {
        name: "catch_up",
        of: |report| of_readers(report, "pausing"),
        without: "no subscriber paused and caught up",
    },
    Series {
        name: "recovery",
        of: |report| returning(report)?.recovery_ns,
        without: "no subscriber recovered and caught up",
    },
];

const STATISTICS: [Statistic; 8] = [
    Statistic { name: "min", of: |spectrum| spectrum.min },
    Statistic { name: "mean", of: |spectrum| spectrum.mean },
    Statistic { name: "p50", of: |spectrum| spectrum.p50 },
    Statistic { name: "p90", of: |spectrum| spectrum.p90 },
    Statistic { name: "p99", of: |spectrum| spectrum.p99 },
    Statistic { name: "p99.9", of: |spectrum| spectrum.p999 },
    Statistic { name: "p99.99", of: |spectrum| spectrum.p9999 },
    Statistic { name: "max", of: |spectrum| spectrum.max },
];

const FIGURES: [Figure; 21] = [
    count("missing", |report| report.deliveries.missing),
    count("announced", |report| report.deliveries.announced),
    count("duplicate", |report| report.deliveries.duplicate),
    count("reordered", |report| report.deliveries.reordered),
    count("corrupt", |report| report.deliveries.corrupt),
    count("misrouted", |report| report.deliveries.misrouted),
    count("lost", |report| report.deliveries.subscribers_lost + report.deliveries.publishers_lost),
    count("affected", |report| report.deliveries.subscribers_affected),
    count("recovered", |report| returning(report).map_or(0, |readers| readers.recovered)),
    count("recoveries_failed", |report| returning(report).map_or(0, |readers| readers.recoveries_failed)),
    Figure {
        name: "delivered_per_second",
        kind: Kind::Number,
        of: Source::Measured(|report| Some(report.deliveries.per_second), NOTHING_DELIVERED),
    },
    Figure {
        name: "pace_percent",
        kind: Kind::Percent,
        of: Source::Measured(
            |report| {
                let deliveries = &report.deliveries;
                (deliveries.due_per_second > 0.0)
                    .then(|| deliveries.per_second * 100.0 / deliveries.due_per_second)
            },
            NOTHING_DELIVERED,
        ),
    },
    Figure {
        name: "complete_percent",
        kind: Kind::Percent,
        of: Source::Measured(
            |report| {
                let messages = &report.messages;
                (messages.sent > 0).then(|| messages.complete as f64 * 100.0 / messages.sent as f64)
            },
            "nothing was sent",
        ),
    },
    Figure {
        name: "server_cpu_ns",
        kind: Kind::Number,
        of: Source::Measured(|report| report.cost.server_cpu_ns_per_delivery, NO_SERVER),
    },
    Figure {
        name: "server_cpu_percent",
        kind: Kind::Percent,
        of: Source::Measured(|report| report.cost.server_cpu_percent, NO_SERVER),
    },
    Figure {
        name: "server_rss",
        kind: Kind::Bytes,
        of: Source::Measured(|report| report.cost.server_resident_bytes.map(|bytes| bytes as f64), NO_SERVER),
    },
    Figure {
        name: "syscalls",
        kind: Kind::Number,
        of: Source::Measured(
            |report| report.cost.server_syscalls_per_delivery,
            "the server's system calls were not counted",
        ),
    },
    Figure {
        name: "own_cpu_percent",
        kind: Kind::Percent,
        of: Source::Measured(|report| Some(report.cost.own_cpu_percent), ""),
    },
    Figure {
        name: "own_cpu_ns",
        kind: Kind::Number,
        of: Source::Measured(|report| report.cost.own_cpu_ns_per_delivery, NOTHING_DELIVERED),
    },
    Figure {
        name: "all_back",
        kind: Kind::Time,
        of: Source::Measured(
            |report| returning(report)?.all_back_ns.map(|ns| ns as f64),
            "no subscribers left all at once, or not all of them were back before the run ended",
        ),
    },
    Figure {
        name: "all_caught_up",
        kind: Kind::Time,
        of: Source::Measured(
            |report| returning(report)?.all_caught_up_ns.map(|ns| ns as f64),
            "no subscribers left all at once with --recover, or not all of them caught up before the run ended",
        ),
    },
];

/// A count that every run has.
const fn count(name: &'static str, of: fn(&Report) -> u64) -> Figure {
    Figure { name, kind: Kind::Number, of: Source::Count(of) }
}

fn of_readers(report: &Report, kind: &str) -> Option<Spectrum> {
    readers(report, kind)?.latency_ns
}

fn returning(report: &Report) -> Option<&ReadersReport> {
    readers(report, "returning")
}

fn readers<'a>(report: &'a Report, kind: &str) -> Option<&'a ReadersReport> {
    report.readers.iter().find(|readers| readers.kind == kind)
}

impl Kind {
    /// The units that may follow a bound. An empty one comes last: where there is none, a unit is required.
    fn units(self) -> &'static [Unit] {
        const fn unit(text: &'static str, scale: f64) -> Unit {
            Unit { text, scale }
        }
        match self {
            Self::Time => const { &[unit("ns", 1.0), unit("us", 1e3), unit("ms", 1e6), unit("s", 1e9)] },
            Self::Bytes => {
                const {
                    &[
                        unit("KiB", 1024.0),
                        unit("MiB", 1_048_576.0),
                        unit("GiB", 1_073_741_824.0),
                        unit("", 1.0),
                    ]
                }
            }
            Self::Percent => const { &[unit("%", 1.0), unit("", 1.0)] },
            Self::Number => const { &[unit("", 1.0)] },
        }
    }
}

impl Gate {
    /// Reads a gate such as `p99<5ms`, `last.p99.9 <= 20 ms` or `missing==0`.
    ///
    /// # Errors
    /// What cannot be understood, in a sentence.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let refused = |why: String| format!("the gate {text:?} {why}");
        let Some(at) = text.find(['<', '>', '=', '!']) else {
            return Err(refused(
                "has no comparison: it is a metric, a comparison and a bound, such as p99<5ms or missing==0"
                    .to_owned(),
            ));
        };
        let (name, rest) = text.split_at(at);
        let metric = Metric::named(name.trim_end()).map_err(refused)?;
        let (comparison, bound) = Comparison::split_off(rest).map_err(refused)?;
        let (bound, unit) = bound_in(metric.kind(), bound.trim_start()).map_err(refused)?;
        Ok(Self { text: text.to_owned(), metric, comparison, bound: bound * unit.scale, unit })
    }

    /// Whether it holds.
    pub(crate) fn outcome(&self, report: &Report) -> Outcome {
        let measured = self.metric.of(report);
        Outcome {
            gate: self.text.clone(),
            measured: measured.map(|value| value / self.unit.scale),
            holds: measured.is_some_and(|value| self.comparison.holds(value, self.bound)),
        }
    }

    /// Why an outcome of this gate does not hold.
    pub(crate) fn sentence(&self, outcome: &Outcome) -> String {
        match outcome.measured {
            Some(value) => format!("{} was required, and it is {}", self.text, self.measured(value)),
            None => format!(
                "{} was required, and the run has no such figure: {}",
                self.text,
                self.metric.without()
            ),
        }
    }

    /// A measured value with the gate's unit.
    pub(crate) fn measured(&self, value: f64) -> String {
        let number = decimal(value, 3);
        if self.unit.text.is_empty() { number } else { format!("{number} {}", self.unit.text) }
    }
}

impl Metric {
    fn named(name: &str) -> Result<Self, String> {
        if let Some(figure) = FIGURES.iter().position(|figure| figure.name == name) {
            return Ok(Self::Figure(figure));
        }
        let statistic = |wanted: &str| STATISTICS.iter().position(|statistic| statistic.name == wanted);
        if let Some(statistic) = statistic(name) {
            return Ok(Self::Latency { series: 0, statistic });
        }
        let (prefix, rest) = name.split_once('.').unwrap_or((name, ""));
        match (SERIES.iter().position(|series| series.name == prefix), statistic(rest)) {
            (Some(series), Some(statistic)) => Ok(Self::Latency { series, statistic }),
            _ => Err(unknown(name)),
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Latency { .. } => Kind::Time,
            Self::Figure(figure) => FIGURES[figure].kind,
        }
    }

    /// What was measured, in the metric's own unit.
    fn of(self, report: &Report) -> Option<f64> {
        match self {
            Self::Latency { series, statistic } => {
                let spectrum = (SERIES[series].of)(report).filter(|spectrum| spectrum.count > 0)?;
                Some((STATISTICS[statistic].of)(&spectrum) as f64)
            }
            Self::Figure(figure) => match FIGURES[figure].of {
                Source::Count(of) => Some(of(report) as f64),
                Source::Measured(of, _) => of(report),
            },
        }
    }

    /// Why a run may not have it.
    fn without(self) -> &'static str {
        match self {
            Self::Latency { series, .. } => SERIES[series].without,
            Self::Figure(figure) => match FIGURES[figure].of {
                Source::Count(_) => "it was not counted",
                Source::Measured(_, without) => without,
            },
        }
    }
}

/// Says what there is, and what was probably meant.
fn unknown(name: &str) -> String {
    let statistics = STATISTICS.map(|statistic| statistic.name);
    let prefixed =
        SERIES.iter().flat_map(|series| statistics.map(|statistic| format!("{}.{statistic}", series.name)));
    let all = statistics.iter().map(|&name| name.to_owned());
    let all = all.chain(FIGURES.iter().map(|figure| figure.name.to_owned())).chain(prefixed);
    let nearest = all
        .map(|known| (strsim::damerau_levenshtein(name, &known), known))
        .min_by_key(|&(distance, _)| distance)
        .filter(|(distance, known)| *distance <= known.len().div_ceil(3));
    let meant = nearest.map(|(_, known)| format!(" (is {known} meant?)")).unwrap_or_default();
    let series =
        SERIES.iter().skip(1).map(|series| format!("{}.", series.name)).collect::<Vec<_>>().join(" ");
    let figures = FIGURES.iter().map(|figure| figure.name).collect::<Vec<_>>().join(" ");
    format!(
        "has an unknown metric{meant}. There are {}, each also behind {series}, and {figures}",
        statistics.join(" ")
    )
}

impl Comparison {
    /// The comparison that a text begins with, and what follows it.
    fn split_off(text: &str) -> Result<(Self, &str), String> {
        let known = [
            ("<=", Self::AtMost),
            (">=", Self::AtLeast),
            ("==", Self::Equal),
            ("<", Self::Below),
            (">", Self::Above),
        ];
        let found = known.iter().find_map(|&(sign, comparison)| Some((comparison, text.strip_prefix(sign)?)));
        found.ok_or_else(|| match text.starts_with('=') {
            true => "has a single =: write == for equal".to_owned(),
            false => "has an unknown comparison: there are < <= > >= ==".to_owned(),
        })
    }

    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Below => value < bound,
            Self::AtMost => value <= bound,
            Self::Above => value > bound,
            Self::AtLeast => value >= bound,
            Self::Equal => value == bound,
        }
    }
}

/// A number and one of the units of `kind`.
fn bound_in(kind: Kind, text: &str) -> Result<(f64, Unit), String> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let bound: f64 = number.parse().map_err(|_| "has no number as its bound".to_owned())?;
    let units = kind.units();
    let unit = unit.trim();
    let known = units.iter().find(|known| known.text == unit).ok_or_else(|| {
        let names: Vec<&str> = units.iter().map(|unit| unit.text).filter(|text| !text.is_empty()).collect();
        match (unit.is_empty(), names.is_empty()) {
            (true, _) => format!("has no unit: there are {}", names.join(" ")),
            (false, true) => format!("has the unit {unit:?}, and its metric is a plain number"),
            (false, false) => format!("has the unknown unit {unit:?}: there are {}", names.join(" ")),
        }
    })?;
    Ok((bound, *known))
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Gate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Gate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Gate> for String {
    fn from(gate: Gate) -> Self {
        gate.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fixture;

    /// Every figure of a report that gates look at, each different.
    fn report() -> Report {
        let mut report = fixture::report();
        let spectrum = |base: u64| Spectrum {
            count: 10,
            min: base + 1,
            mean: base + 2,
            p50: base + 3,
            p90: base + 4,
            p99: base + 5,
            p999: base + 6,
            p9999: base + 7,
            max: base + 8,
        };
        let spectra = &mut report.latency_ns;
        spectra.response = spectrum(100);
        spectra.service = spectrum(200);
        spectra.send_lag = spectrum(300);
        spectra.to_first = spectrum(400);
        spectra.to_last = spectrum(500);
        spectra.spread = spectrum(600);
        report.connect.latency_ns = spectrum(700);
        let readers = |kind: &str, latency_ns, all_back_ns| ReadersReport {
            latency_ns,
            all_back_ns,
            ..fixture::readers(kind)
        };
        report.readers = vec![
            ReadersReport {
                recovered: 14,
                recoveries_failed: 15,
                recovery_ns: Some(spectrum(1_000)),
                all_caught_up_ns: Some(6_000),
                ..readers("returning", Some(spectrum(800)), Some(5_000))
            },
            readers("pausing", Some(spectrum(900)), None),
        ];
        let deliveries = &mut report.deliveries;
        deliveries.missing = 1;
        deliveries.announced = 2;
        deliveries.duplicate = 3;
        deliveries.reordered = 4;
        deliveries.corrupt = 5;
        deliveries.misrouted = 6;
        (deliveries.subscribers_lost, deliveries.publishers_lost) = (3, 4);
        deliveries.subscribers_affected = 8;
        deliveries.per_second = 9.5;
        (report.messages.sent, report.messages.complete) = (200, 199);
        let cost = &mut report.cost;
        cost.server_cpu_ns_per_delivery = Some(10.5);
        cost.server_cpu_percent = Some(11.5);
        cost.server_resident_bytes = Some(3 << 20);
        cost.server_syscalls_per_delivery = Some(0.25);
        cost.own_cpu_percent = 12.5;
        cost.own_cpu_ns_per_delivery = Some(13.5);
        report
    }

    #[test]
    fn every_metric_is_the_figure_that_it_names() {
        let report = report();
        for (gate, measured) in [
            ("min<1ns", 101.0),
            ("mean<1ns", 102.0),
            ("p50<1ns", 103.0),
            ("p90<1ns", 104.0),
            ("p99<1ns", 105.0),
            ("p99.9<1ns", 106.0),
            ("p99.99<1ns", 107.0),
            ("max<1ns", 108.0),
            ("response.p99<1ns", 105.0),
            ("service.p99.9<1ns", 206.0),
            ("lag.p99<1ns", 305.0),
            ("first.p99<1ns", 405.0),
            ("last.max<1ns", 508.0),
            ("spread.p50<1ns", 603.0),
            ("connect.min<1ns", 701.0),
            ("reconnect.p99<1ns", 805.0),
            ("catch_up.p99.99<1ns", 907.0),
            ("recovery.p99<1ns", 1_005.0),
            ("all_back<1us", 5.0),
            ("all_caught_up<1us", 6.0),
            ("recovered<0", 14.0),
            ("recoveries_failed<0", 15.0),
            ("missing<0", 1.0),
            ("announced<0", 2.0),
            ("duplicate<0", 3.0),
            ("reordered<0", 4.0),
            ("corrupt<0", 5.0),
            ("misrouted<0", 6.0),
            ("lost<0", 7.0),
            ("affected<0", 8.0),
            ("delivered_per_second<0", 9.5),
            ("complete_percent<0", 99.5),
            ("server_cpu_ns<0", 10.5),
            ("server_cpu_percent<0%", 11.5),
            ("server_rss<1MiB", 3.0),
            ("server_rss<1KiB", 3072.0),
            ("server_rss<1", 3_145_728.0),
            ("syscalls<0", 0.25),
            ("own_cpu_percent<0 %", 12.5),
            ("own_cpu_ns<0", 13.5),
        ] {
            let parsed = Gate::parse(gate).expect(gate);
            let expected = Outcome { gate: gate.to_owned(), measured: Some(measured), holds: false };
            assert_eq!(parsed.outcome(&report), expected);
        }
    }

    #[test]
    fn comparisons_are_exact_at_the_bound() {
        let report = report();
        for (gate, holds) in [
            ("p99<105ns", false),
            ("p99<106ns", true),
            ("p99<=105ns", true),
            ("p99<=104ns", false),
            ("p99>105ns", false),
            ("p99>104ns", true),
            ("p99>=105ns", true),
            ("p99>=106ns", false),
            ("p99==105ns", true),
            ("p99==104ns", false),
            ("p99<0.106us", true),
            ("p99<0.105us", false),
            (" p99 <= 1 ms ", true),
            ("p99<1s", true),
            ("server_rss<=3MiB", true),
            ("server_rss<0.001GiB", false),
            ("complete_percent>=99.5%", true),
        ] {
            assert_eq!(Gate::parse(gate).expect(gate).outcome(&report).holds, holds, "{gate}");
        }
    }

    #[test]
    fn what_a_run_does_not_have_holds_no_gate_and_says_why() {
        let report = fixture::bare_report();
        for (gate, why) in [
            ("p99>=0ns", "nothing was delivered"),
            ("last.p99<1s", "no message was seen to reach every subscriber"),
            ("connect.p99<1s", "nothing became ready"),
            ("reconnect.p99<1s", "no subscriber left and came back"),
            ("catch_up.p99<1s", "no subscriber paused"),
            ("recovery.p99<1s", "no subscriber recovered"),
            ("all_back<1s", "no subscribers left all at once"),
            ("all_caught_up<1s", "no subscribers left all at once with --recover"),
            ("server_rss<1GiB", "it needs --server-pid"),
            ("server_cpu_ns>=0", "it needs --server-pid"),
            ("syscalls>=0", "were not counted"),
            ("complete_percent>=0", "nothing was sent"),
        ] {
            let gate = Gate::parse(gate).expect(gate);
            let outcome = gate.outcome(&report);
            assert_eq!((outcome.measured, outcome.holds), (None, false), "{gate}");
            let sentence = gate.sentence(&outcome);
            assert!(sentence.starts_with(&gate.text) && sentence.contains(why), "{sentence}");
        }
    }

    #[test]
    fn sentences_say_what_was_measured_in_the_gates_unit() {
        let report = report();
        for (gate, sentence) in [
            ("p99<0.1us", "p99<0.1us was required, and it is 0.105 us"),
            ("missing==0", "missing==0 was required, and it is 1"),
            ("server_rss<2MiB", "server_rss<2MiB was required, and it is 3 MiB"),
            ("own_cpu_percent<9%", "own_cpu_percent<9% was required, and it is 12.5 %"),
        ] {
            let gate = Gate::parse(gate).expect(gate);
            assert_eq!(gate.sentence(&gate.outcome(&report)), sentence);
        }
    }

    #[test]
    fn what_cannot_be_understood_is_refused_with_a_hint() {
        for (gate, hint) in [
            ("", "has no comparison"),
            ("p99", "has no comparison"),
            ("p99=5ms", "write == for equal"),
            ("p99!=5ms", "there are < <= > >= =="),
            ("p99<5", "has no unit: there are ns us ms s"),
            ("p99<5m", "has the unknown unit \"m\": there are ns us ms s"),
            ("p99<-5ms", "has no number"),
            ("p99<", "has no number"),
            ("p99<1.2.3ms", "has no number"),
            ("p99<inf", "has no number"),
            ("p99<=>5ms", "has no number"),
            ("missing==0ms", "its metric is a plain number"),
            ("server_rss<5MB", "there are KiB MiB GiB"),
            ("own_cpu_percent<5ms", "there are %"),
            ("p98<5ms", "is p9"),
            ("mising==0", "is missing meant?"),
            ("last.p999<5ms", "is last.p99 meant?"),
            ("lst.p99<5ms", "is last.p99 meant?"),
            ("missing.p99<5ms", "unknown metric"),
            ("last.<5ms", "unknown metric"),
            ("last<5ms", "unknown metric"),
            ("throughput>5", "unknown metric. There are min mean p50"),
            ("\u{e4}p99<5\u{b5}s", "unknown metric"),
            ("p99<5\u{b5}s", "has the unknown unit"),
        ] {
            let refused = Gate::parse(gate).expect_err(gate);
            assert!(refused.contains(hint), "{gate}: {refused}");
        }
    }

    #[test]
    fn a_gate_travels_as_its_text() {
        let gate: Gate = " p99 < 5ms".parse().expect("a gate");
        let text = serde_json::to_string(&gate).expect("text");
        assert_eq!(text, "\"p99 < 5ms\"");
        assert_eq!(serde_json::from_str::<Gate>(&text).expect("a gate"), gate);
        let refused = serde_json::from_str::<Gate>("\"p99<5\"").expect_err("no unit").to_string();
        assert!(refused.contains("has no unit"), "{refused}");
    }
}
