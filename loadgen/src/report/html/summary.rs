//! The top of a page: what ran, how it ended, and the figures that people ask for first.

use maud::{Markup, html};

use crate::figures::{grouped, plural};
use crate::report::html::value;
use crate::report::units::Unit;
use crate::report::{Report, Verdict};

/// Title, verdict, and where it ran.
pub(super) fn header(report: &Report) -> Markup {
    let environment = &report.environment;
    html! {
        header {
            p.overline { "fanfare-loadgen " (report.version) " \u{b7} " (moment(&environment.started)) }
            h1 { (report.title) }
            p.lead { (sentence(report)) }
            (judgement(report))
            pre.command tabindex="0" { code { (environment.command) } }
            p.quiet { (machine(report)) }
        }
    }
}

/// The verdict's name, on its colour.
pub(super) fn badge(verdict: Verdict) -> Markup {
    let (class, text) = match verdict {
        Verdict::Pass => ("pass", "pass"),
        Verdict::Gate => ("gate", "gate not met"),
        Verdict::Broken => ("broken", "delivery broken"),
        Verdict::Invalid => ("invalid", "invalid run"),
    };
    html! { span class={ "badge " (class) } { (text) } }
}

fn judgement(report: &Report) -> Markup {
    let meaning = match report.verdict {
        Verdict::Pass => {
            "Every message reached every steady subscriber once, in order and intact, and all gates hold."
        }
        Verdict::Gate => "Delivery was complete, but a gate does not hold.",
        Verdict::Broken => "Not every message reached every steady subscriber once, in order and intact.",
        Verdict::Invalid => {
            "These figures say more about the generator or its machine than about the server: do not quote them."
        }
    };
    let class = match report.verdict {
        Verdict::Pass => "verdict pass",
        Verdict::Gate => "verdict gate",
        Verdict::Broken => "verdict broken",
        Verdict::Invalid => "verdict invalid",
    };
    html! {
        div class=(class) role="status" {
            p { (badge(report.verdict)) " " (meaning) }
            @if !report.reasons.is_empty() {
                ul { @for reason in &report.reasons { li { (reason) } } }
            }
        }
    }
}

/// The run in one sentence.
fn sentence(report: &Report) -> String {
    let run = &report.run;
    let rooms =
        if run.rooms > 1 { format!(" in {}", plural(run.rooms as u64, "room")) } else { String::new() };
    format!(
        "{}{rooms}, {}, {} of {}, for {}.",
        plural(run.subscribers as u64, "subscriber"),
        plural(run.publishers as u64, "publisher"),
        run.schedule,
        run.content,
        Unit::Seconds.quantity(run.seconds)
    )
}

fn machine(report: &Report) -> String {
    let (run, environment) = (&report.run, &report.environment);
    let mut texts = vec![
        environment.kernel.clone(),
        environment.cpu.clone(),
        plural(environment.cores as u64, "core"),
        Unit::Bytes.quantity(environment.memory_bytes as f64).to_string(),
        plural(run.workers as u64, "worker"),
    ];
    if run.machines > 1 {
        texts.push(plural(run.machines as u64, "machine"));
    }
    texts.retain(|text| !text.is_empty());
    texts.join(" \u{b7} ")
}

/// `2026-11-20T09:41:07Z` with a space, for people.
pub(super) fn moment(rfc3339: &str) -> String {
    match (rfc3339.split_once('T'), rfc3339.strip_suffix('Z')) {
        (Some((date, _)), Some(text)) => {
            let time: String = text.chars().skip(date.chars().count() + 1).take(8).collect();
            format!("{date} {time} UTC")
        }
        _ => rfc3339.to_owned(),
    }
}

/// One figure, large.
struct Tile {
    label: &'static str,
    note: String,
    unit: Unit,
    figure: Option<f64>,
    alarming: bool,
}

pub(super) fn tiles(report: &Report) -> Markup {
    html! {
        section.tiles aria-label="Headline figures" {
            @for tile in headlines(report) {
                div.tile.alarm[tile.alarming] {
                    p.label { (tile.label) }
                    p.figure { (value(tile.unit, tile.figure)) }
                    p.note { (tile.note) }
                }
            }
        }
    }
}

fn headlines(report: &Report) -> [Tile; 8] {
    let (response, deliveries, connect) = (&report.latency_ns.response, &report.deliveries, &report.connect);
    let latency = |label, ns: u64, note: &str| Tile {
        label,
        note: note.to_owned(),
        unit: Unit::Nanoseconds,
        figure: (response.count > 0).then_some(ns as f64),
        alarming: false,
    };
    let tile = |label, unit, figure, note| Tile { label, note, unit, figure, alarming: false };
    let memory = connect.server_resident_bytes_per_connection.map_or_else(
        || format!("ready in {}", Unit::Seconds.quantity(connect.seconds)),
        |bytes| format!("{} of server memory each", Unit::Bytes.quantity(bytes)),
    );
    [
        latency("Response, median", response.p50, "half of the deliveries"),
        latency("Response, p99", response.p99, "1 in 100 is slower"),
        latency("Response, p99.9", response.p999, "1 in 1 000 is slower"),
        latency("Response, max", response.max, "the slowest delivery"),
        tile(
            "Deliveries",
            Unit::PerSecond,
            Some(deliveries.per_second),
            format!("{} in all", grouped(deliveries.delivered)),
        ),
        Tile {
            alarming: deliveries.missing > 0,
            ..tile(
                "Missing",
                Unit::Count,
                Some(deliveries.missing as f64),
                format!("of {} expected", grouped(deliveries.expected)),
            )
        },
        tile(
            "Server CPU per delivery",
            Unit::Nanoseconds,
            report.cost.server_cpu_ns_per_delivery,
            report.cost.server_cpu_percent.map_or_else(
                || "no --server-pid given".to_owned(),
                |percent| format!("{} of one core", Unit::Percent.quantity(percent)),
            ),
        ),
        tile("Connections", Unit::Count, Some(connect.connections as f64), memory),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sample;

    #[test]
    fn moments_are_for_people() {
        assert_eq!(moment("2026-11-20T09:41:07Z"), "2026-11-20 09:41:07 UTC");
        assert_eq!(moment("2026-11-20T09:41:07.123Z"), "2026-11-20 09:41:07 UTC");
        assert_eq!(moment("yesterday"), "yesterday");
    }

    #[test]
    fn what_is_missing_alarms_and_what_is_unknown_is_a_dash() {
        let mut report = sample::broken();
        report.cost.server_cpu_ns_per_delivery = None;
        let text = tiles(&report).into_string();
        assert_eq!(text.matches("tile alarm").count(), 1);
        assert!(text.contains("<p class=\"figure\">-</p>"), "{text}");
        assert!(!tiles(&sample::passing()).into_string().contains("tile alarm"));
    }
}
