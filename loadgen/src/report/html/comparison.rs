//! The page that holds several runs against each other.

use maud::{Markup, html};

use crate::latency::Latency;
use crate::report::compare::{Cell, Comparison, Mark, Row, letter};
use crate::report::html::spectrum::{Source, spectrum};
use crate::report::html::summary::{badge, moment};
use crate::report::html::tables::{meanings, scrolling, titled};
use crate::report::html::timeline::timelines;
use crate::report::html::value;
use crate::report::{Histograms, Report};

/// One for each run; with more runs they come again.
const COLOURS: [&str; 6] = ["c1", "c2", "c3", "c4", "c5", "c6"];

fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

pub(super) fn body(comparison: &Comparison) -> Markup {
    let spectra = [
        (
            "spectrum",
            "Response",
            "Due to received, from the median to the slowest.",
            false,
            response as fn(&Histograms) -> &Latency,
        ),
        ("service", "Service", "Sent to received.", true, service),
        ("last", "Last receiver", "Due to received by the last subscriber of each message.", true, last),
    ];
    let runs: Vec<_> = comparison
        .runs()
        .iter()
        .enumerate()
        .map(|(index, (label, report))| (label.as_str(), colour(index), report))
        .collect();
    html! {
        header {
            p.overline { "fanfare-loadgen \u{b7} comparison" }
            h1 { (comparison.runs().len()) " runs side by side" }
        }
        (cards(comparison))
        (warnings(comparison))
        (differences(comparison))
        section.charts {
            h2 { "Latency" }
            @for (id, title, caption, half, of) in spectra {
                @if let Some(plot) = spectrum(id, title, caption, &sources(comparison, of), half) { (plot.render()) }
            }
        }
        (figures(comparison))
        @if let Some(plot) = timelines(&runs) { section.charts { h2 { "Over time" } (plot.render()) } }
        (meanings())
    }
}

fn response(histograms: &Histograms) -> &Latency {
    &histograms.response
}

fn service(histograms: &Histograms) -> &Latency {
    &histograms.service
}

fn last(histograms: &Histograms) -> &Latency {
    &histograms.to_last
}

fn sources<'a>(comparison: &'a Comparison, of: fn(&Histograms) -> &Latency) -> Vec<Source<'a>> {
    let source = |(index, (label, report)): (usize, &'a (String, Report))| Source {
        name: label.clone(),
        colour: colour(index),
        dashed: index >= COLOURS.len(),
        latency: of(&report.histograms),
    };
    comparison.runs().iter().enumerate().map(source).collect()
}

/// Who is who.
fn cards(comparison: &Comparison) -> Markup {
    html! {
        section.cards aria-label="Runs" {
            @for (index, (label, report)) in comparison.runs().iter().enumerate() {
                div class={ "card " (colour(index)) } {
                    p.label { (letter(index)) @if index == 0 { " \u{b7} base" } }
                    h2 { (label) }
                    p { (badge(report.verdict)) }
                    p.quiet { (report.run.url) }
                    p.quiet { (moment(&report.environment.started)) }
                    @if !report.reasons.is_empty() { p.quiet { (report.reasons.join("; ")) } }
                }
            }
        }
    }
}

fn warnings(comparison: &Comparison) -> Markup {
    let warnings = comparison.warnings();
    html! {
        @if !warnings.is_empty() {
            div.verdict.gate role="note" { @for warning in warnings { p { (warning) } } }
        }
    }
}

fn differences(comparison: &Comparison) -> Markup {
    let differences = comparison.differences();
    if differences.is_empty() {
        return html! { p.quiet { "All parameters are the same." } };
    }
    let table = html! {
        table.facts.differing {
            (heads(comparison, "Parameter"))
            tbody {
                @for difference in &differences {
                    tr {
                        th scope="row" { (difference.name) }
                        @for text in &difference.texts { td.text { (text) } }
                    }
                }
            }
        }
    };
    titled("differences", "What differs", scrolling("What differs", table))
}

fn heads(comparison: &Comparison, first: &str) -> Markup {
    html! {
        thead {
            tr {
                th scope="col" { (first) }
                @for (index, (label, _)) in comparison.runs().iter().enumerate() {
                    th scope="col" { span class={ "swatch " (colour(index)) } {} (label) }
                }
            }
        }
    }
}

fn figures(comparison: &Comparison) -> Markup {
    let rows = comparison.rows();
    let groups = rows.chunk_by(|a, b| a.figure.group == b.figure.group);
    let table = html! {
        table.figures.compared {
            (heads(comparison, "Figure"))
            @for group in groups {
                tbody {
                    tr.group { th scope="rowgroup" colspan=(comparison.runs().len() + 1) { (group[0].figure.group) } }
                    @for row in group { (figure(row)) }
                }
            }
        }
    };
    let body = html! {
        (scrolling("Figures", table))
        p.quiet {
            "x is the ratio to the base; better and worse begin at 5 %. "
            "One run of each may differ by chance: repeat them in turn before you conclude."
        }
    };
    titled("figures", "Figures", body)
}

fn figure(row: &Row) -> Markup {
    html! {
        tr {
            th scope="row" { (row.figure.name) }
            @for cell in &row.cells {
                td { span.number { (value(row.figure.unit, cell.value)) } " " (change(cell)) }
            }
        }
    }
}

fn change(cell: &Cell) -> Markup {
    let class = match cell.mark {
        Mark::Same => "change",
        Mark::Better => "change better",
        Mark::Worse => "change worse",
    };
    html! {
        @if !cell.change.is_empty() {
            span class=(class) {
                (cell.change)
                @if cell.mark != Mark::Same { " " (cell.mark.word()) }
            }
        }
    }
}
