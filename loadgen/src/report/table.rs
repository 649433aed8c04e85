//! The report for people at a terminal: at most 100 columns, the verdict last.

use std::env;
use std::fmt;
use std::io::IsTerminal;

use crate::figures::{bytes, grouped, percent, plural, time};
use crate::gate::Gate;
use crate::latency::Spectrum;
use crate::printable::printable_line;
use crate::report::units::Unit;
use crate::report::{Deflate, MachineClock, ReadersReport, Report, Row, Verdict, plot};

const WIDTH: usize = 100;

/// Where the text of a row begins, and where a row of percentiles has its first figure.
const TEXT_AT: usize = 20;
const FIGURES_AT: usize = 30;

/// How wide a figure of a spectrum is; seven of them fill a line.
const FIGURE: usize = 10;

/// How wide a figure of the costs is.
const COST: usize = 20;

const _: () = assert!(FIGURES_AT + 7 * FIGURE <= WIDTH && TEXT_AT + 4 * COST <= WIDTH);

/// How wide pictures are, and how many lines the spread of the response times has.
const PLOT_WIDTH: usize = 76;
const SPREAD_LINES: usize = 3;

/// The fewest intervals that make a time line worth looking at.
const TIMELINE_MIN: usize = 3;

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "1;31";
const GREEN: &str = "1;32";
const YELLOW: &str = "1;33";

/// What the terminal can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    pub color: bool,
    pub unicode: bool,
}

impl Style {
    /// For what is written to `output`: color on a terminal unless NO_COLOR is set, and ASCII in the C locale.
    pub fn of(output: &impl IsTerminal) -> Self {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            color: output.is_terminal() && set("NO_COLOR").is_none(),
            unicode: is_unicode(["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).as_deref()),
        }
    }
}

/// Whether a locale has more than ASCII. Where none is set, as in most containers, the terminal is somebody else's and of today.
fn is_unicode(locale: Option<&str>) -> bool {
    let Some(locale) = locale else { return true };
    match locale.split_once('.') {
        Some((_, charset)) => charset.to_ascii_uppercase().replace('-', "").starts_with("UTF8"),
        None => !["C", "POSIX"].contains(&locale),
    }
}

/// A server that delivers less of what is due in a second was behind, even if all arrived in the end.
const PACE_PERCENT_MIN: f64 = 95.0;

/// A report that prints itself.
#[derive(Debug)]
pub struct Table<'a> {
    report: &'a Report,
    style: Style,
}

impl<'a> Table<'a> {
    pub fn new(report: &'a Report, style: Style) -> Self {
        Self { report, style }
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut page = Page { out: f, style: self.style };
        head(&mut page, self.report)?;
        latencies(&mut page, self.report)?;
        spread(&mut page, self.report)?;
        timeline(&mut page, self.report)?;
        deliveries(&mut page, self.report)?;
        readers(&mut page, &self.report.readers)?;
        costs(&mut page, self.report)?;
        clocks(&mut page, self.report)?;
        gates(&mut page, self.report)?;
        verdict(&mut page, self.report)
    }
}

struct Page<'a, 'b> {
    out: &'a mut fmt::Formatter<'b>,
    style: Style,
}

impl Page<'_, '_> {
    fn line(&mut self, line: &str) -> fmt::Result {
        writeln!(self.out, "{}", line.trim_end())
    }

    fn heading(&mut self, heading: &str) -> fmt::Result {
        let heading = self.paint(BOLD, heading);
        self.line("")?;
        self.line(&heading)
    }

    /// A name, and a text that goes on in the lines below where it does not fit.
    fn row(&mut self, name: &str, text: &str) -> fmt::Result {
        let mut name = format!("  {name} ");
        for line in wrapped(text, WIDTH - TEXT_AT) {
            self.line(&format!("{name:<TEXT_AT$}{line}"))?;
            name.clear();
        }
        Ok(())
    }

    fn paint(&self, color: &str, text: &str) -> String {
        if self.style.color { format!("\u{1b}[{color}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

fn head(page: &mut Page<'_, '_>, report: &Report) -> fmt::Result {
    let run = &report.run;
    for line in wrapped(&report.title, WIDTH) {
        let line = page.paint(BOLD, &line);
        page.line(&line)?;
    }
    if report.title != run.url {
        page.row("url", &run.url)?;
    }
    let rooms =
        if run.rooms > 1 { format!(" in {}", plural(run.rooms as u64, "room")) } else { String::new() };
    let who = format!(
        "{} and {}{rooms}, dialect {}",
        plural(run.subscribers as u64, "subscriber"),
        plural(run.publishers as u64, "publisher"),
        run.dialect
    );
    page.row("connections", &who)?;
    let load = if run.messages_measured == 0 {
        format!("none for {}", Unit::Seconds.quantity(run.seconds))
    } else {
        let form = if run.text { "text" } else { "binary" };
        format!("{} for {}, {} ({form})", run.schedule, Unit::Seconds.quantity(run.seconds), run.content)
    };
    page.row("messages", &load)?;
    let environment = &report.environment;
    let machines = if run.machines > 1 { format!(" on {} machines", run.machines) } else { String::new() };
    let cores = match environment.cores {
        0 => String::new(),
        cores => format!(", {}", plural(cores as u64, "core")),
    };
    let cpu = if environment.cpu.is_empty() { String::new() } else { format!(" of {}", environment.cpu) };
    page.row("measured by", &format!("{}{machines}{cores}{cpu}", plural(run.workers as u64, "worker")))
}

fn latencies(page: &mut Page<'_, '_>, report: &Report) -> fmt::Result {
    let spectra = &report.latency_ns;
    page.heading(&figures_line("Latency", &HEADS.map(str::to_owned)))?;
    if report.run.messages_measured == 0 {
        return spectrum(page, "connect   begun to ready", &report.connect.latency_ns);
    }
    for (name, of) in [
        ("response  due to received", &spectra.response),
        ("service   sent to received", &spectra.service),
        ("send lag  due to sent", &spectra.send_lag),
        ("first     due to first", &spectra.to_first),
        ("last      due to last", &spectra.to_last),
        ("spread    first to last", &spectra.spread),
        ("connect   begun to ready", &report.connect.latency_ns),
    ] {
        spectrum(page, name, of)?;
    }
    Ok(())
}

const HEADS: [&str; 7] = ["min", "p50", "p90", "p99", "p99.9", "p99.99", "max"];

fn spectrum(page: &mut Page<'_, '_>, name: &str, of: &Spectrum) -> fmt::Result {
    let Spectrum { min, p50, p90, p99, p999, p9999, max, .. } = *of;
    let figure = |ns| if of.count == 0 { "-".to_owned() } else { time(ns) };
    page.line(&figures_line(&format!("  {name}"), &[min, p50, p90, p99, p999, p9999, max].map(figure)))
}

fn figures_line(name: &str, figures: &[String]) -> String {
    let figures: String = figures.iter().map(|figure| format!("{figure:>FIGURE$}")).collect();
    format!("{name:<FIGURES_AT$}{figures}")
}

/// The response times as a picture, on a logarithmic scale.
fn spread(page: &mut Page<'_, '_>, report: &Report) -> fmt::Result {
    let Some(scale) = plot::spread(&report.histograms.response, PLOT_WIDTH) else { return Ok(()) };
    page.heading("Response times of deliveries, logarithmic")?;
    for line in plot::columns(&scale.counts, SPREAD_LINES, page.style.unicode) {
        page.line(&format!("  {line}"))?;
    }
    let Spectrum { min, p50, p90, p99, p999, p9999, max, .. } = report.latency_ns.response;
    let marks = [("p50", p50), ("p99", p99), ("p99.9", p999), ("p90", p90), ("p99.99", p9999)];
    let labels = format!("  {}", scale.labels(&marks));
    let labels = page.paint(DIM, &labels);
    page.line(&labels)?;
    let (min, max) = (time(min), time(max));
    page.line(&format!("  {min}{max:>rest$}", rest = PLOT_WIDTH - min.len()))
}

fn timeline(page: &mut Page<'_, '_>, report: &Report) -> fmt::Result {
    let rows: Vec<&Row> = report.timeline.iter().filter(|row| !row.warmup).collect();
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
    if rows.len() < TIMELINE_MIN || report.run.messages_measured == 0 {
        return Ok(());
    }
    let per_second = |count: u64, row: &Row| count as f64 / row.interval_seconds.max(1e-9);
    let delivered: Vec<f64> = rows.iter().map(|row| per_second(row.delivered, row)).collect();
    let p99: Vec<f64> = rows.iter().map(|row| row.response.p99 as f64).collect();
    let begin = first.seconds - first.interval_seconds;
    page.heading(&format!(
        "Over time, from {} to {} after the beginning",
        Unit::Seconds.quantity(begin),
        Unit::Seconds.quantity(last.seconds)
    ))?;
    let room = PLOT_WIDTH - TEXT_AT;
    let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let largest = format!("{}/s at most", grouped(most(&delivered).round() as u64));
    let slowest = format!("{} at most", time(most(&p99) as u64));
    for (name, values, most) in [
        ("delivered", plot::thinned(&delivered, room, f64::max), largest),
        ("response p99", plot::thinned(&p99, room, f64::max), slowest),
    ] {
        let line = plot::columns(&values, 1, page.style.unicode).concat();
        page.line(&format!("  {name:<w$}{line}  {most}", w = TEXT_AT - 2))?;
    }
    Ok(())
}

fn deliveries(page: &mut Page<'_, '_>, report: &Report) -> fmt::Result {
    let (messages, deliveries, connect) = (&report.messages, &report.deliveries, &report.connect);
    page.heading("Delivery")?;
    page.row(
        "connected",
        &format!(
            "{} ready in {}",
            plural(connect.connections, "connection"),
            Unit::Seconds.quantity(connect.seconds)
        ),
    )?;
    if messages.scheduled > 0 {
        page.row(
            "sent",
            &format!("{} of {}", grouped(messages.sent), plural(messages.scheduled, "message")),
        )?;
        let of = |part: u64, all: u64| percent(part as f64 * 100.0 / all.max(1) as f64);
        let complete = format!(
            "{} ({} %) seen to reach every subscriber",
            plural(messages.complete, "message"),
            of(messages.complete, messages.sent)
        );
        page.row("complete", &complete)?;
        let delivered = format!(
            "{} of {} ({} %), {}/s",
            grouped(deliveries.delivered),
            grouped(deliveries.expected),
            of(deliveries.delivered, deliveries.expected),
            grouped(deliveries.per_second.round() as u64)
        );
        page.row("delivered", &delivered)?;
        let pace = deliveries.per_second * 100.0 / deliveries.due_per_second.max(1e-9);
        if deliveries.due_per_second > 0.0 && pace < PACE_PERCENT_MIN {
            let due = grouped(deliveries.due_per_second.round() as u64);
            page.row("behind", &format!("{} % of the {due}/s that were due", percent(pace)))?;
        }
    }
    let faults = faults(&[
        (deliveries.missing, "missing"),
        (deliveries.announced, "left out, as the server said"),
        (deliveries.duplicate, "duplicate"),
        (deliveries.reordered, "reordered"),
        (deliveries.corrupt, "corrupt"),
        (deliveries.misrouted, "of another room"),
    ]);
    let affected = match deliveries.subscribers_affected {
        0 => String::new(),
        count => format!("; {} affected", plural(count, "subscriber")),
    };
    page.row("faults", &format!("{}{affected}", faults.unwrap_or_else(|| "none".to_owned())))?;
    if deliveries.foreign > 0 {
        page.row(
            "foreign",
            &format!("{} of other runs on this topic", plural(deliveries.foreign, "message")),
        )?;
    }
    if deliveries.lost.total() > 0 {
        page.row("lost connections", &deliveries.lost.to_string())?;
    }
    if deliveries.draining_notices > 0 {
        let notices = plural(deliveries.draining_notices, "notice");
        page.row("draining", &format!("{notices} that the server restarts"))?;
    }
    match &report.deflate {
        Some(deflate) => self::deflate(page, deflate, report.run.publishers as u64),
        None => Ok(()),
    }
}

/// What compression was granted, and what came of it.
fn deflate(page: &mut Page<'_, '_>, deflate: &Deflate, publishers: u64) -> fmt::Result {
    let share = deflate.wire_bytes as f64 * 100.0 / deflate.payload_bytes.max(1) as f64;
    let came = format!(
        "{} of {} came compressed; granted to {} of {}",
        grouped(deflate.compressed_messages),
        plural(deflate.messages, "message"),
        grouped(deflate.publishers_granted),
        plural(publishers, "publisher"),
    );
    page.row("deflate", &came)?;
    let (wire, payloads) = (bytes(deflate.wire_bytes), bytes(deflate.payload_bytes));
    page.row("", &format!("{wire} received for {payloads} of payloads ({} %)", percent(share)))
}

/// Those that are not 0, or nothing.
fn faults(counts: &[(u64, &str)]) -> Option<String> {
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, what)| format!("{} {what}", grouped(*count))).collect();
    (!counts.is_empty()).then(|| counts.join(", "))
}

fn readers(page: &mut Page<'_, '_>, all: &[ReadersReport]) -> fmt::Result {
    if all.is_empty() {
        return Ok(());
    }
    match all.iter().any(|readers| readers.latency_ns.is_some()) {
        true => page.heading(&figures_line("Other subscribers", &HEADS.map(str::to_owned)))?,
        false => page.heading("Other subscribers")?,
    }
    for readers in all {
        let delivered = plural(readers.delivered, "message");
        page.row(&readers.kind, &format!("{}, {delivered}", plural(readers.subscribers, "subscriber")))?;
        let faults = faults(&[
            (readers.missing, "missing"),
            (readers.announced, "left out, as the server said"),
            (readers.duplicate, "duplicate"),
            (readers.reordered, "reordered"),
            (readers.corrupt, "corrupt"),
        ]);
        if let Some(faults) = faults {
            page.row("", &faults)?;
        }
        if readers.lost.total() > 0 {
            page.row("", &format!("lost: {}", readers.lost))?;
        }
        if readers.left > 0 {
            let back = readers.all_back_ns.map(|ns| format!(", all within {}", time(ns))).unwrap_or_default();
            page.row(
                "",
                &format!("{} left, {} came back{back}", grouped(readers.left), grouped(readers.returned)),
            )?;
        }
        if readers.recovered + readers.recoveries_failed > 0 {
            let caught_up = readers.all_caught_up_ns.map(|ns| format!(", all caught up within {}", time(ns)));
            let failed = match readers.recoveries_failed {
                0 => String::new(),
                1 => ", 1 recovery failed".to_owned(),
                count => format!(", {} recoveries failed", grouped(count)),
            };
            let recovered = grouped(readers.recovered);
            page.row("", &format!("{recovered} recovered{failed}{}", caught_up.unwrap_or_default()))?;
        }
        if let Some(latency) = &readers.latency_ns {
            let name = if readers.kind == "pausing" { "  until caught up" } else { "  until back" };
            spectrum(page, name, latency)?;
        }
        if let Some(latency) = &readers.recovery_ns {
            spectrum(page, "  until caught up", latency)?;
        }
    }
    Ok(())
}

fn costs(page: &mut Page<'_, '_>, report: &Report) -> fmt::Result {
    let (connect, cost) = (&report.connect, &report.cost);
    let percent = |percent: f64| format!("{percent:.0} %");
    let line = |name: &str, figures: [Option<String>; 4]| {
        let figures = figures.map(|figure| figure.unwrap_or_else(|| "-".to_owned()));
        let figures: String = figures.iter().map(|figure| format!("{figure:>COST$}")).collect();
        format!("{name:<TEXT_AT$}{figures}")
    };
    let heads = ["CPU/delivery", "of a core", "syscalls/delivery", "resident"];
    page.heading(&line("Cost", heads.map(|head| Some(head.to_owned()))))?;
    page.line(&line(
        "  server",
        [
            cost.server_cpu_ns_per_delivery.map(mean(Unit::Nanoseconds)),
            cost.server_cpu_percent.map(percent),
            cost.server_syscalls_per_delivery.map(mean(Unit::Mean)),
            cost.server_resident_bytes.map(bytes),
        ],
    ))?;
    page.line(&line(
        "  this program",
        [
            cost.own_cpu_ns_per_delivery.map(mean(Unit::Nanoseconds)),
            Some(percent(cost.own_cpu_percent)),
            cost.own_syscalls_per_delivery.map(mean(Unit::Mean)),
            None,
        ],
    ))?;
    if let (Some(cpu), Some(size)) =
        (connect.server_cpu_ns_per_connection, connect.server_resident_bytes_per_connection)
    {
        let text = format!(
            "{} of the server's CPU and {} resident",
            Unit::Nanoseconds.quantity(cpu),
            bytes(size as u64)
        );
        page.row("a connection", &text)?;
    }
    if let Some(why) = &cost.server_syscalls_unknown {
        page.row("no syscalls", why)?;
    }
    Ok(())
}

/// A mean, which may be below one.
fn mean(unit: Unit) -> impl Fn(f64) -> String {
    move |value| unit.quantity(value).to_string()
}

/// Only if there are several clocks, or one that went back.
fn clocks(page: &mut Page<'_, '_>, report: &Report) -> fmt::Result {
    let clocks = &report.clocks;
    if clocks.machines.is_empty() && clocks.negative == 0 {
        return Ok(());
    }
    page.heading("Clocks")?;
    for MachineClock { machine, offset_before_ns, offset_after_ns, uncertainty_ns } in &clocks.machines {
        let offset = |ns: i64| format!("{}{}", if ns < 0 { '-' } else { '+' }, time(ns.unsigned_abs()));
        let text = format!(
            "{} before and {} after the run, give or take {}",
            offset(*offset_before_ns),
            offset(*offset_after_ns),
            time(*uncertainty_ns)
        );
        page.row(machine, &text)?;
    }
    let negative = match clocks.negative {
        0 => "none".to_owned(),
        count => {
            format!("{} left out of the figures, the worst by {}", grouped(count), time(clocks.worst_ns))
        }
    };
    page.row("negative times", &negative)
}

fn gates(page: &mut Page<'_, '_>, report: &Report) -> fmt::Result {
    if report.gates.is_empty() {
        return Ok(());
    }
    page.heading("Gates")?;
    let widest = report.gates.iter().map(|outcome| outcome.gate.chars().count()).max().unwrap_or(0);
    for outcome in &report.gates {
        let sign = if outcome.holds { page.paint(GREEN, "holds") } else { page.paint(RED, "FAILS") };
        let measured = match (outcome.measured, Gate::parse(&outcome.gate)) {
            (Some(value), Ok(gate)) => gate.measured(value),
            (Some(value), Err(_)) => value.to_string(),
            (None, _) => "no such figure".to_owned(),
        };
        page.line(&format!("  {sign}  {:<widest$}  {measured}", printable_line(&outcome.gate)))?;
    }
    Ok(())
}

fn verdict(page: &mut Page<'_, '_>, report: &Report) -> fmt::Result {
    let (word, color) = match report.verdict {
        Verdict::Pass => ("PASS", GREEN),
        Verdict::Gate => ("GATE", YELLOW),
        Verdict::Broken => ("BROKEN", RED),
        Verdict::Invalid => ("INVALID", RED),
    };
    page.line("")?;
    let reasons = match (report.verdict, report.run.messages_measured) {
        (Verdict::Pass, 0) => "every connection stood until the end".to_owned(),
        (Verdict::Pass, _) => {
            let but = match report.deliveries.announced {
                0 => String::new(),
                announced => format!(", but for {} that the server said it left out", grouped(announced)),
            };
            format!("every message reached every steady subscriber once, in order and intact{but}")
        }
        _ => report.reasons.join("; "),
    };
    let indent = word.len() + 2;
    for (index, line) in wrapped(&reasons, WIDTH - indent).iter().enumerate() {
        let lead = if index == 0 { format!("{}: ", page.paint(color, word)) } else { " ".repeat(indent) };
        page.line(&format!("{lead}{line}"))?;
    }
    Ok(())
}

/// Lines of at most `width` characters, at least one, broken between words where there are any.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in printable_line(text).split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + word.len() > width {
            lines.push(String::new());
            used = 0;
        }
        while word.len() > width {
            let rest = word.split_off(width);
            put(&mut lines, &word, 0);
            lines.push(String::new());
            word = rest;
        }
        put(&mut lines, &word, used);
        used += word.len() + usize::from(used > 0);
    }
    lines
}

/// Appends a word to the last line, which has `used` characters.
fn put(lines: &mut [String], word: &[char], used: usize) {
    if let Some(line) = lines.last_mut() {
        if used > 0 {
            line.push(' ');
        }
        line.extend(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::{Deflated, Ended, Flight, Interval, Observed};
    use crate::process::Usage;
    use crate::random::Random;
    use crate::reasons::Reasons;
    use crate::report::seen::RunSeen;
    use crate::testing::fixture;

    const PLAIN: Style = Style { color: false, unicode: false };

    /// A run with something of everything.
    fn full() -> Report {
        let plan = fixture::plan_with(|plan| {
            plan.title = "market data".to_owned();
            plan.deflate = true;
            plan.gates = ["p99<5ms", "last.p99<20ms", "missing==0", "all_back<2s"]
                .map(|gate| gate.parse().expect("a gate"))
                .to_vec();
        });
        let mut seen = fixture::seen(&plan);
        let usage = |cpu_ms: u64, resident_bytes| Usage {
            cpu_ns: cpu_ms * 1_000_000,
            resident_bytes,
            syscalls: Some(cpu_ms),
        };
        let samples = &mut seen.samples;
        for (sample, cpu_ms, resident) in [
            (&mut samples.idle, 10, 5 << 20),
            (&mut samples.ready, 110, 6 << 20),
            (&mut samples.begun, 30, 6 << 20),
            (&mut samples.published, 430, 7 << 20),
            (&mut samples.drained, 440, 7 << 20),
        ] {
            sample.server = Some(usage(cpu_ms, resident));
        }
        intervals(&mut seen);
        seen.gathered.observed(0, &total());
        (seen.environment.cores, seen.environment.cpu) = (2, "A CPU".to_owned());
        seen.clocks = vec![MachineClock {
            machine: "east-1".to_owned(),
            offset_before_ns: -52_000,
            offset_after_ns: -51_000,
            uncertainty_ns: 9_000,
        }];
        Report::new(&plan, &seen)
    }

    /// Times as they are in life: many short ones and a few long ones.
    fn intervals(seen: &mut RunSeen) {
        let mut random = Random::seeded(7);
        for index in 0..11u32 {
            let mut interval =
                Interval { index, sent: 1_000, delivered: 10_000, connected: 13, ..Interval::default() };
            for slot in 0..1_000u64 {
                let part = random.unit();
                let ns = (60_000.0 / part.powf(0.45) + 30_000.0 * part * f64::from(index)) as u64;
                interval.response.record(ns);
                interval.service.record(ns - 10_000);
                interval.send_lag.record(9_000);
                let flight = Flight {
                    slot: u64::from(index) * 1_000 + slot,
                    intended: 1_000_000,
                    first: 1_000_000 + ns,
                    last: 1_000_000 + 2 * ns,
                    received: 10,
                };
                interval.flights.push(flight);
            }
            seen.gathered.interval(0, interval);
        }
    }

    fn total() -> Observed {
        let mut total = Observed::default();
        total.counts.expected = 100_000;
        total.counts.delivered = 99_988;
        total.counts.missing = 12;
        total.counts.subscribers_affected = 3;
        total.counts.foreign = 2;
        total.last_delivery = 11_000_000_000;
        total.enters = 4_000;
        total.cpu_ns = 300_000_000;
        (1..14).for_each(|i| total.connect.record(i * 100_000));
        total.draining = 4;
        total.deflated = Deflated {
            subscribers: 10,
            publishers: 2,
            messages: 100_000,
            compressed: 80_000,
            wire_bytes: 3 << 20,
            payload_bytes: 12 << 20,
        };
        total.clock.negative = 4;
        total.clock.worst_ns = 12_345;
        let mut lost = Reasons::default();
        lost.add(
            "the server closed it with code 4008: \u{1b}[31mtoo slow ".to_owned() + &"and so on ".repeat(20),
        );
        total.others.stalled = Ended { subscribers: 2, delivered: 55, missing: 7, lost, ..Ended::default() };
        total.others.returning = Ended { subscribers: 4, delivered: 12_000, ..Ended::default() };
        (1..5).for_each(|i| total.others.reconnect.record(i * 1_000_000));
        (total.others.left, total.others.returned, total.others.all_back_ns) = (4, 4, Some(4_000_000));
        (total.others.recovered, total.others.recoveries_failed) = (3, 1);
        (1..4).for_each(|i| total.others.recovery.record(i * 2_000_000));
        total.others.all_caught_up_ns = Some(6_000_000);
        total
    }

    fn text(report: &Report, style: Style) -> String {
        Table::new(report, style).to_string()
    }

    #[test]
    fn nothing_is_wider_than_the_page_and_nothing_commands_the_terminal() {
        let report = full();
        for style in [PLAIN, Style { unicode: true, ..PLAIN }] {
            let text = text(&report, style);
            for line in text.lines() {
                assert!(line.chars().count() <= WIDTH && !line.chars().any(char::is_control), "{line:?}");
                assert_eq!(line.trim_end(), line);
            }
            assert_eq!(text.is_ascii(), !style.unicode, "{text}");
        }
        // Color adds nothing but color.
        let mut colored = text(&report, Style { color: true, ..PLAIN });
        for code in ["0", BOLD, DIM, RED, GREEN, YELLOW] {
            colored = colored.replace(&format!("\u{1b}[{code}m"), "");
        }
        assert_eq!(colored, text(&report, PLAIN));
    }

    #[test]
    fn every_group_has_its_figures() {
        let report = full();
        let text = text(&report, PLAIN);
        let messages =
            format!("  messages          constant 1000/s for {:.1} s, 64 bytes (binary)", report.run.seconds);
        let per_second = grouped(report.deliveries.per_second.round() as u64);
        let delivered = format!("  delivered         99 988 of 100 000 (99.99 %), {per_second}/s");
        for line in [
            &*messages,
            &*delivered,
            "market data",
            "  connections       10 subscribers and 3 publishers, dialect raw",
            "  sent              10 000 of 10 000 messages",
            "  complete          10 000 messages (100 %) seen to reach every subscriber",
            "  faults            12 missing; 3 subscribers affected",
            "  foreign           2 messages of other runs on this topic",
            "  draining          4 notices that the server restarts",
            "  deflate           80 000 of 100 000 messages came compressed; granted to 2 of 3 publishers",
            "                    3.00 MiB received for 12.0 MiB of payloads (25.0 %)",
            "  measured by       1 worker, 2 cores of A CPU",
            "  server                         3.66 us                 4 %             0.00366            7.00 MiB",
            "  this program                   2.68 us                20 %              0.0357                   -",
            "  a connection      7.69 ms of the server's CPU and 78.8 KiB resident",
            "  stalled           2 subscribers, 55 messages",
            "                    4 left, 4 came back, all within 4.00 ms",
            "                    3 recovered, 1 recovery failed, all caught up within 6.00 ms",
            "  east-1            -52.0 us before and -51.0 us after the run, give or take 9.00 us",
            "  negative times    4 left out of the figures, the worst by 12.3 us",
            "  FAILS  missing==0     12",
            "  holds  all_back<2s    0.004 s",
            "BROKEN: 12 deliveries missing; missing==0 was required, and it is 12",
        ] {
            assert!(text.lines().any(|seen| seen == line), "{line:?} in\n{text}");
        }
        assert!(text.contains("4008: ?[31mtoo slow and so on"), "{text}");
        assert!(text.trim_end().ends_with("and it is 12"));
    }

    #[test]
    fn a_run_without_figures_has_a_table_too() {
        let idle = text(&fixture::bare_report(), PLAIN);
        assert!(idle.ends_with("PASS: every connection stood until the end\n"), "{idle}");
        assert!(idle.contains("  messages          none for 1"), "{idle}");
        let silent = text(&fixture::report(), PLAIN);
        let dashes = format!("  response  due to received  {:>1$}", "-", FIGURE + 1);
        assert!(silent.contains(&dashes), "{silent}");
    }

    #[test]
    fn locales_tell_whether_there_is_unicode() {
        for (locale, unicode) in [
            (None, true),
            (Some("C"), false),
            (Some("POSIX"), false),
            (Some("C.UTF-8"), true),
            (Some("en_US.utf8"), true),
            (Some("de_DE"), true),
            (Some("de_DE.ISO-8859-1"), false),
        ] {
            assert_eq!(is_unicode(locale), unicode, "{locale:?}");
        }
    }

    #[test]
    fn long_texts_go_on_below() {
        for (text, width, lines) in [
            ("", 5, &[""][..]),
            ("one two three", 7, &["one two", "three"]),
            ("one two", 3, &["one", "two"]),
            ("abcdefgh ij", 3, &["abc", "def", "gh", "ij"]),
            ("a abcdef b", 3, &["a", "abc", "def", "b"]),
            ("tab\tbell\u{7}", 20, &["tab?bell?"]),
        ] {
            assert_eq!(wrapped(text, width), lines, "{text:?}");
        }
    }
}
