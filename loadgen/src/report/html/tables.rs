//! The exact figures below the charts.

use maud::{Markup, html};

use crate::latency::Spectrum;
use crate::report::html::{time, value};
use crate::report::parameters::parameters;
use crate::report::units::Unit;
use crate::report::{MachineClock, ReadersReport, Report};

/// A table that scrolls by itself where it is wider than the page.
pub(super) fn scrolling(label: &str, table: Markup) -> Markup {
    html! { div.scroll tabindex="0" role="region" aria-label=(label) { (table) } }
}

/// All percentiles of all latencies.
pub(super) fn percentiles(report: &Report) -> Markup {
    let spectra = &report.latency_ns;
    let mut rows = vec![
        ("response", "due to received", "c-response", spectra.response),
        ("service", "sent to received", "c-service", spectra.service),
        ("first", "due to first receiver", "c-first", spectra.to_first),
        ("last", "due to last receiver", "c-last", spectra.to_last),
        ("spread", "first to last receiver", "c-none", spectra.spread),
        ("send lag", "due to sent", "c-lag", spectra.send_lag),
        ("connect", "first packet to ready", "c-none", report.connect.latency_ns),
    ];
    rows.retain(|(_, _, _, spectrum)| spectrum.count > 0);
    let table = html! {
        table.figures {
            thead {
                tr {
                    th scope="col" { "Latency" }
                    @for head in ["count", "min", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"] {
                        th.number scope="col" { (head) }
                    }
                }
            }
            tbody {
                @for (name, meaning, colour, spectrum) in &rows {
                    tr {
                        th scope="row" { span class={ "swatch " (colour) } {} (name) " " small { (meaning) } }
                        td.number { (value(Unit::Count, Some(spectrum.count as f64))) }
                        @for ns in times(spectrum) { td.number { (value(Unit::Nanoseconds, Some(ns as f64))) } }
                    }
                }
            }
        }
    };
    titled("percentiles", "Percentiles", html! { (scrolling("Percentiles", table)) })
}

fn times(spectrum: &Spectrum) -> [u64; 8] {
    let Spectrum { min, mean, p50, p90, p99, p999, p9999, max, .. } = *spectrum;
    [min, mean, p50, p90, p99, p999, p9999, max]
}

/// A section under a heading.
pub(super) fn titled(id: &str, title: &str, body: Markup) -> Markup {
    html! { section id=(id) { h2 { (title) } (body) } }
}

/// A name, a figure, and what it means.
struct Fact {
    name: &'static str,
    figure: Markup,
    note: String,
    alarming: bool,
}

fn fact(name: &'static str, unit: Unit, figure: Option<f64>, note: &str) -> Fact {
    Fact { name, figure: value(unit, figure), note: note.to_owned(), alarming: false }
}

fn facts(facts: Vec<Fact>) -> Markup {
    html! {
        table.facts {
            tbody {
                @for fact in facts {
                    tr.alarm[fact.alarming] {
                        th scope="row" { (fact.name) }
                        td.number { (fact.figure) }
                        td.note { (fact.note) }
                    }
                }
            }
        }
    }
}

/// What arrived, and what was wrong with it.
pub(super) fn delivery(report: &Report) -> Markup {
    let (messages, deliveries) = (&report.messages, &report.deliveries);
    let counted = |name, count: u64, note: &str| fact(name, Unit::Count, Some(count as f64), note);
    let fault = |name, count: u64, note: &str| Fact { alarming: count > 0, ..counted(name, count, note) };
    let mut rows = vec![
        counted("messages sent", messages.sent, &format!("of {} scheduled", value_text(messages.scheduled))),
        counted("complete", messages.complete, "messages seen to reach every steady subscriber"),
        counted("expected", deliveries.expected, "deliveries to steady subscribers"),
        counted("delivered", deliveries.delivered, "intact, each counted once"),
        fault("missing", deliveries.missing, "of which no intact copy arrived"),
        counted("announced", deliveries.announced, "gaps that the server told of"),
        fault("duplicate", deliveries.duplicate, "came more than once"),
        fault("reordered", deliveries.reordered, "came after a later message of the same publisher"),
        fault("corrupt", deliveries.corrupt, "did not match their checksum"),
        fault("misrouted", deliveries.misrouted, "belong to another room"),
        counted("foreign", deliveries.foreign, "intact, but of another run"),
        fault("subscribers affected", deliveries.subscribers_affected, "with anything of that"),
        fault("subscribers lost", deliveries.subscribers_lost, "connections that ended early"),
        fault("publishers lost", deliveries.publishers_lost, "connections that ended early"),
    ];
    let told = counted("draining", deliveries.draining_notices, "notices that the server restarts");
    if deliveries.lost.total() > 0 {
        let last = rows.len() - 1;
        let place = if deliveries.subscribers_lost > 0 { last - 1 } else { last };
        rows[place].note = deliveries.lost.to_string();
    }
    rows.extend((deliveries.draining_notices > 0).then_some(told));
    if let Some(deflate) = &report.deflate {
        let size = |name, bytes: u64, note: &str| fact(name, Unit::Bytes, Some(bytes as f64), note);
        rows.extend([
            counted("compressed", deflate.compressed_messages, "messages to subscribers that came so"),
            size("bytes received", deflate.wire_bytes, "by subscribers, frame headers and all"),
            size("bytes of payloads", deflate.payload_bytes, "in their messages, once inflated"),
        ]);
    }
    titled("delivery", "Delivery proof", facts(rows))
}

fn value_text(count: u64) -> String {
    Unit::Count.quantity(count as f64).to_string()
}

/// Subscribers that did something else than read at once; nothing if there are none.
pub(super) fn readers(report: &Report) -> Markup {
    if report.readers.is_empty() {
        return html! {};
    }
    let heads =
        ["subscribers", "delivered", "missing", "announced", "duplicate", "reordered", "corrupt", "lost"];
    let table = html! {
        table.figures {
            thead {
                tr {
                    th scope="col" { "Kind" }
                    @for head in heads { th.number scope="col" { (head) } }
                    th scope="col" { "What came of them" }
                }
            }
            tbody { @for readers in &report.readers { (reader(readers)) } }
        }
    };
    titled("readers", "Other readers", scrolling("Other readers", table))
}

fn reader(readers: &ReadersReport) -> Markup {
    let counts = [
        readers.subscribers,
        readers.delivered,
        readers.missing,
        readers.announced,
        readers.duplicate,
        readers.reordered,
        readers.corrupt,
        readers.lost.total(),
    ];
    let mut texts = Vec::new();
    if readers.left > 0 {
        texts.push(format!("left {} times, came back {} times", readers.left, readers.returned));
    }
    if let Some(ns) = readers.all_back_ns {
        texts.push(format!("all back after {}", time(ns)));
    }
    if readers.recovered + readers.recoveries_failed > 0 {
        texts.push(format!(
            "recovered {} times, failed to {} times",
            readers.recovered, readers.recoveries_failed
        ));
    }
    if let Some(ns) = readers.all_caught_up_ns {
        texts.push(format!("all caught up after {}", time(ns)));
    }
    if let Some(spectrum) = readers.latency_ns.filter(|spectrum| spectrum.count > 0) {
        let [p50, p99, max] = [spectrum.p50, spectrum.p99, spectrum.max].map(time);
        texts.push(format!("until caught up or ready again: p50 {p50}, p99 {p99}, max {max}"));
    }
    if let Some(spectrum) = readers.recovery_ns {
        let [p50, p99, max] = [spectrum.p50, spectrum.p99, spectrum.max].map(time);
        texts.push(format!("from leaving until caught up: p50 {p50}, p99 {p99}, max {max}"));
    }
    if readers.lost.total() > 0 {
        texts.push(readers.lost.to_string());
    }
    html! {
        tr {
            th scope="row" { (readers.kind) }
            @for count in counts { td.number { (value(Unit::Count, Some(count as f64))) } }
            td.note { (texts.join("; ")) }
        }
    }
}

/// What the deliveries cost.
pub(super) fn costs(report: &Report) -> Markup {
    let (cost, connect) = (&report.cost, &report.connect);
    let bytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
    let unknown = cost.server_syscalls_unknown.as_deref().unwrap_or_default();
    let rows = vec![
        fact("server CPU per delivery", Unit::Nanoseconds, cost.server_cpu_ns_per_delivery, ""),
        fact("server CPU", Unit::Percent, cost.server_cpu_percent, "of one core, while it was measured"),
        fact("server memory", Unit::Bytes, bytes(cost.server_resident_bytes), "resident, at the end"),
        fact("server system calls per delivery", Unit::Mean, cost.server_syscalls_per_delivery, unknown),
        fact(
            "server CPU per connection",
            Unit::Nanoseconds,
            connect.server_cpu_ns_per_connection,
            "while they were made",
        ),
        fact("server memory per connection", Unit::Bytes, connect.server_resident_bytes_per_connection, ""),
        fact("connections", Unit::Count, Some(connect.connections as f64), ""),
        fact("until all were ready", Unit::Seconds, Some(connect.seconds), ""),
        fact(
            "generator CPU per delivery",
            Unit::Nanoseconds,
            cost.own_cpu_ns_per_delivery,
            "this program's own",
        ),
        fact("generator CPU", Unit::Percent, Some(cost.own_cpu_percent), "of its busiest core"),
        fact("generator system calls per delivery", Unit::Mean, cost.own_syscalls_per_delivery, ""),
    ];
    titled("costs", "Costs", facts(rows))
}

/// What the run had to fulfil; nothing if that is nothing.
pub(super) fn gates(report: &Report) -> Markup {
    if report.gates.is_empty() {
        return html! {};
    }
    let table = html! {
        table.facts {
            thead {
                tr { th scope="col" { "Gate" } th.number scope="col" { "measured" } th scope="col" { "" } }
            }
            tbody {
                @for outcome in &report.gates {
                    tr.alarm[!outcome.holds] {
                        th scope="row" { code { (outcome.gate) } }
                        td.number { (value(Unit::Mean, outcome.measured)) }
                        td.note { @if outcome.holds { "holds" } @else { "does not hold" } }
                    }
                }
            }
        }
    };
    let body = html! { (table) p.quiet { "Measured figures are in the gate's own unit." } };
    titled("gates", "Gates", body)
}

/// How far the clocks of several machines can be trusted; nothing if only one measured and no latency was negative.
pub(super) fn clocks(report: &Report) -> Markup {
    let clocks = &report.clocks;
    if clocks.machines.is_empty() && clocks.negative == 0 {
        return html! {};
    }
    let body = html! {
        p {
            "Latencies that came out negative: " (value(Unit::Count, Some(clocks.negative as f64)))
            @if clocks.negative > 0 { ", the worst by " (time(clocks.worst_ns)) ". They are in no histogram." } @else { "." }
        }
        @if !clocks.machines.is_empty() { (scrolling("Clocks", machines(&clocks.machines))) }
    };
    titled("clocks", "Clocks", body)
}

fn machines(machines: &[MachineClock]) -> Markup {
    html! {
        table.figures {
            thead {
                tr {
                    th scope="col" { "Machine" }
                    @for head in ["offset before", "offset after", "give or take"] { th.number scope="col" { (head) } }
                }
            }
            tbody {
                @for clock in machines {
                    tr {
                        th scope="row" { (clock.machine) }
                        td.number { (signed(clock.offset_before_ns)) }
                        td.number { (signed(clock.offset_after_ns)) }
                        td.number { (value(Unit::Nanoseconds, Some(clock.uncertainty_ns as f64))) }
                    }
                }
            }
        }
    }
}

fn signed(ns: i64) -> Markup {
    let sign = if ns < 0 { "\u{2212}" } else { "+" };
    html! { (sign) (value(Unit::Nanoseconds, Some(ns.unsigned_abs() as f64))) }
}

/// Everything the run was told.
pub(super) fn all_parameters(report: &Report) -> Markup {
    let parameters = parameters(report);
    let (left, right) = parameters.split_at(parameters.len().div_ceil(2));
    let table = html! {
        div.columns {
            @for half in [left, right] {
                table.facts {
                    tbody {
                        @for parameter in half {
                            tr { th scope="row" { (parameter.name) } td.text { (parameter.text) } }
                        }
                    }
                }
            }
        }
    };
    titled("parameters", "Parameters", table)
}

const MEANINGS: [(&str, &str); 9] = [
    (
        "Response",
        "From when a message was due, by a schedule that was fixed before the run, to when a subscriber had received it. \
         A server or a generator that falls behind cannot hide it: late messages keep their due time. This is the headline.",
    ),
    (
        "Service",
        "From when a message was sent to when a subscriber had received it: the response without the send lag.",
    ),
    ("Send lag", "From due to sent: the generator's own delay. Too much of it makes a run invalid."),
    (
        "First, last, spread",
        "Of each message: until the first subscriber had it, until the last one had it, and the time between.",
    ),
    (
        "Percentiles",
        "p99 is the latency that 99 % of the deliveries did not exceed. Percentiles come from one histogram with three \
         significant digits, and are never averaged. In the spectrum, each mark to the right is ten times rarer; \
         lines end where the count of values supports no more.",
    ),
    (
        "Missing",
        "Each subscriber counts each message of each publisher. Gaps that the server announced are counted apart.",
    ),
    ("Complete", "Messages that were seen to reach every steady subscriber."),
    (
        "Server CPU per delivery",
        "Processor time of the server's process while it was measured, divided by the deliveries. \
         It needs the server on this machine.",
    ),
    (
        "Over time",
        "Each interval has its own histogram. Where a line has a gap, nothing was delivered. \
         Long runs are thinned for drawing; the highest and lowest values of each stretch stay.",
    ),
];

/// What the words mean.
pub(super) fn meanings() -> Markup {
    let body = html! {
        dl.meanings { @for (word, meaning) in MEANINGS { div { dt { (word) } dd { (meaning) } } } }
    };
    titled("meanings", "What the figures mean", body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sample;

    #[test]
    fn faults_alarm() {
        let text = delivery(&sample::broken()).into_string();
        assert_eq!(text.matches("class=\"alarm\"").count(), 5, "{text}");
        assert!(text.contains("12 x closed with 1008: &quot;slow consumer&quot;"), "{text}");
        assert!(!delivery(&sample::passing()).into_string().contains("alarm"));
    }

    #[test]
    fn sections_without_content_are_left_out() {
        let mut report = sample::passing();
        report.gates.clear();
        assert!([readers(&report), gates(&report), clocks(&report)].iter().all(|markup| markup.0.is_empty()));
        let text = clocks(&sample::broken()).into_string();
        assert!(text.contains("\u{2212}") && text.contains("10.0.0.2:7000"), "{text}");
    }
}
