//! The report as a table for people.

use std::fmt;

use crate::latency::Spectrum;
use crate::report::{Report, Verdict};

/// A report that prints itself.
#[derive(Debug)]
pub struct Table<'a>(pub &'a Report);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(report) = self;
        let run = &report.run;
        writeln!(f, "{}", run.url)?;
        writeln!(
            f,
            "{}, {}, {} messages/s of {} bytes",
            plural(run.subscribers, "subscriber"),
            plural(run.publishers, "publisher"),
            run.rate,
            grouped(run.size_bytes as u64),
        )?;
        writeln!(f)?;
        latencies(f, report)?;
        writeln!(f)?;
        deliveries(f, report)?;
        costs(f, report)?;
        writeln!(f)?;
        verdict(f, report)
    }
}

fn latencies(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    let heads = ["min", "p50", "p90", "p99", "p99.9", "p99.99", "max"];
    write!(f, "{:<34}", "")?;
    heads.iter().try_for_each(|head| write!(f, "{head:>10}"))?;
    writeln!(f)?;
    let spectra = &report.latency_ns;
    for (name, spectrum) in [
        ("response    due -> received", &spectra.response),
        ("service     sent -> received", &spectra.service),
        ("send lag    due -> sent", &spectra.send_lag),
        ("first       due -> first receiver", &spectra.to_first),
        ("last        due -> last receiver", &spectra.to_last),
        ("spread      first -> last", &spectra.spread),
    ] {
        write!(f, "{name:<34}")?;
        let Spectrum { min, p50, p90, p99, p999, p9999, max, .. } = *spectrum;
        for ns in [min, p50, p90, p99, p999, p9999, max] {
            let cell = if spectrum.count == 0 { "-".to_owned() } else { time(ns) };
            write!(f, "{cell:>10}")?;
        }
        writeln!(f)?;
    }
    Ok(())
}

fn deliveries(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    let (messages, deliveries) = (&report.messages, &report.deliveries);
    row(
        f,
        "messages",
        &format!(
            "{} sent of {}, {} seen to reach every subscriber",
            grouped(messages.sent),
            grouped(messages.scheduled),
            grouped(messages.complete)
        ),
    )?;
    row(
        f,
        "deliveries",
        &format!(
            "{} of {}, {}/s",
            grouped(deliveries.delivered),
            grouped(deliveries.expected),
            grouped(deliveries.per_second.round() as u64)
        ),
    )?;
    row(
        f,
        "faults",
        &format!(
            "{} missing, {} duplicate, {} reordered, {} corrupt; {} subscribers affected",
            grouped(deliveries.missing),
            grouped(deliveries.duplicate),
            grouped(deliveries.reordered),
            grouped(deliveries.corrupt),
            grouped(deliveries.subscribers_affected),
        ),
    )?;
    if deliveries.foreign > 0 {
        row(f, "foreign", &format!("{} messages of other runs on this topic", grouped(deliveries.foreign)))?;
    }
    if deliveries.lost.total() > 0 {
        row(f, "lost connections", &deliveries.lost.to_string())?;
    }
    Ok(())
}

fn costs(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    let (connect, cost) = (&report.connect, &report.cost);
    row(f, "connected", &format!("{} in {:.2} s", grouped(connect.connections as u64), connect.seconds))?;
    if let (Some(cpu), Some(bytes)) =
        (connect.server_cpu_ns_per_connection, connect.server_resident_bytes_per_connection)
    {
        let each =
            format!("{:.1} us and {} bytes resident for each connection", cpu / 1e3, grouped(bytes as u64));
        row(f, "server, connecting", &each)?;
    }
    if let (Some(cpu), Some(percent), Some(bytes)) =
        (cost.server_cpu_ns_per_delivery, cost.server_cpu_percent, cost.server_resident_bytes)
    {
        let mib = bytes as f64 / f64::from(1 << 20);
        let text = format!("{cpu:.1} ns for each delivery, {percent:.0} % of a core, {mib:.1} MiB resident");
        row(f, "server", &text)?;
    }
    if let Some(cpu) = cost.own_cpu_ns_per_delivery {
        let text = format!("{cpu:.1} ns for each delivery, {:.0} % of a core", cost.own_cpu_percent);
        row(f, "this program", &text)?;
    }
    Ok(())
}

fn verdict(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    match report.verdict {
        Verdict::Pass => {
            writeln!(f, "pass: every message reached every subscriber once, in order and intact")
        }
        Verdict::Broken => writeln!(f, "BROKEN: {}", report.reasons.join("; ")),
        Verdict::Invalid => writeln!(f, "INVALID: {}", report.reasons.join("; ")),
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    writeln!(f, "{name:<20}{text}")
}

/// A time in the unit that leaves one to three digits before the point.
fn time(ns: u64) -> String {
    let (unit, scale) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => ("us", 1e3),
        1_000_000..1_000_000_000 => ("ms", 1e6),
        _ => ("s", 1e9),
    };
    let value = ns as f64 / scale;
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

/// A number of things.
pub(crate) fn plural(count: usize, thing: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {thing}{s}", grouped(count as u64))
}

/// A number with spaces between its thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_three_digits() {
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 us"),
            (12_345, "12.3 us"),
            (123_456, "123 us"),
            (9_876_543, "9.88 ms"),
            (61_000_000_000, "61.0 s"),
        ] {
            assert_eq!(time(ns), text);
        }
    }

    #[test]
    fn thousands_are_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1 000"), (1_234_567, "1 234 567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
