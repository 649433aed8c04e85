//! Reports as pages: one file each, which loads nothing and can be attached to a report.
//!
//! Pages are HTML that is also well-formed XML, with charts as inline SVG: all of it can be read without the script, which
//! only shows figures under the pointer. The template library escapes every text that is put in.
//!
//! - `summary`: the top of the page
//! - `spectrum`, `distribution`, `timeline`: the charts
//! - `tables`: the exact figures, and what they mean
//! - `comparison`: several runs on one page
//! - `plot`: how lines are drawn; `axis`: scales and ticks; `thin`: fewer points
//! - `style.css`, `script.js`: what every page carries

mod axis;
mod comparison;
mod distribution;
mod plot;
mod spectrum;
mod summary;
mod tables;
mod thin;
mod timeline;

use maud::{Markup, PreEscaped, html};

use crate::printable::printable;
use crate::report::Report;
use crate::report::compare::Comparison;
use crate::report::units::Unit;
use spectrum::Source;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// What comes before the title. Nothing may be loaded, whatever else the page holds.
const HEAD: &str = r#"<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"/>
"#;

/// The page of one run.
pub fn page(report: &Report) -> String {
    document(&report.title, run(report))
}

/// The page that compares several runs.
pub fn comparison(comparison: &Comparison) -> String {
    let labels: Vec<&str> = comparison.runs().iter().map(|(label, _)| label.as_str()).collect();
    document(&labels.join(" and "), comparison::body(comparison))
}

fn document(title: &str, body: Markup) -> String {
    let page = html! {
        (PreEscaped("<!DOCTYPE html>\n"))
        html lang="en" {
            head {
                (PreEscaped(HEAD))
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main { (body) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    // What no escape makes harmless, such as characters that XML has not.
    printable(&page.into_string())
}

fn run(report: &Report) -> Markup {
    html! {
        (summary::header(report))
        (summary::tiles(report))
        section.charts {
            h2 { "Latency" }
            @if let Some(plot) = spectra(report) { (plot.render()) } @else { p.quiet { "No delivery was measured." } }
            @if let Some(chart) = distribution::distribution(&report.histograms.response) { (chart) }
        }
        (tables::percentiles(report))
        @if let Some(plot) = timeline::timeline(report) { section.charts { h2 { "Over time" } (plot.render()) } }
        div.columns {
            div { (tables::gates(report)) (tables::delivery(report)) }
            div { (tables::costs(report)) }
        }
        (tables::readers(report))
        (tables::clocks(report))
        (tables::all_parameters(report))
        (tables::meanings())
    }
}

fn spectra(report: &Report) -> Option<plot::Plot> {
    let histograms = &report.histograms;
    let source =
        |name: &str, colour, latency| Source { name: name.to_owned(), colour, dashed: false, latency };
    let sources = [
        source("response", "c-response", &histograms.response),
        source("service", "c-service", &histograms.service),
        source("last", "c-last", &histograms.to_last),
        source("first", "c-first", &histograms.to_first),
        Source { dashed: true, ..source("send lag", "c-lag", &histograms.send_lag) },
    ];
    let caption = "The share of deliveries (response, service) or of messages (the others) that was at least as fast. \
                   Each mark to the right is ten times rarer.";
    spectrum::spectrum("spectrum", "Latency spectrum", caption, &sources, false)
}

/// A figure with its unit, or a dash.
fn value(unit: Unit, figure: Option<f64>) -> Markup {
    let Some(figure) = figure.filter(|figure| figure.is_finite()) else {
        return html! { "-" };
    };
    let quantity = unit.quantity(figure);
    // Narrow spaces between thousands, that do not break.
    let number = quantity.number.replace(' ', "\u{202f}");
    let unit = if quantity.unit == "us" { "\u{b5}s" } else { quantity.unit };
    html! { (number) @if !unit.is_empty() { span.unit { "\u{a0}" (unit) } } }
}

/// The unit's own letter, which plain text goes without.
fn micro(text: &str) -> String {
    match text.strip_suffix(" us") {
        Some(number) => format!("{number}\u{a0}\u{b5}s"),
        None => text.to_owned(),
    }
}

/// A time inside a sentence.
fn time(ns: u64) -> String {
    micro(&Unit::Nanoseconds.quantity(ns as f64).to_string())
}

/// A coordinate, to a tenth of a pixel.
fn px(value: f64) -> f64 {
    // Adding zero turns minus zero into zero.
    (value * 10.0).round() / 10.0 + 0.0
}

#[cfg(test)]
mod tests {
    use roxmltree::{Document, ParsingOptions};

    use super::*;
    use crate::report::{Row, Verdict};
    use crate::testing::sample::{self, Shape};

    fn parsed(page: &str) -> Document<'_> {
        let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
        Document::parse_with_options(page, options).expect("a well-formed page")
    }

    /// Holds for every page: loads nothing, and no identifier twice.
    fn check(page: &str) {
        let document = parsed(page);
        let mut ids = std::collections::HashSet::new();
        for node in document.descendants().filter(|node| node.is_element()) {
            let name = node.tag_name().name();
            let loads = ["link", "img", "iframe", "object", "embed", "use", "image", "base", "a", "form"];
            assert!(!loads.contains(&name), "an element that refers elsewhere: {name}");
            for attribute in node.attributes() {
                let refers = ["src", "href", "style"].contains(&attribute.name())
                    || attribute.name().starts_with("on");
                assert!(!refers, "{name} {}", attribute.name());
            }
            if let Some(id) = node.attribute("id") {
                assert!(ids.insert(id), "{id} twice");
            }
            if let Some(labels) = node.attribute("aria-labelledby") {
                let all = labels.split(' ').all(|label| page.contains(&format!("id=\"{label}\"")));
                assert!(all, "{labels}");
            }
            if let Some(json) = node.attribute("data-plot") {
                assert!(serde_json::from_str::<serde_json::Value>(json).is_ok(), "{json}");
            }
        }
        assert_eq!(document.descendants().filter(|node| node.has_tag_name("script")).count(), 1);
        assert!(!page.contains("NaN") && !page.contains("inf,"), "a coordinate that is no number");
    }

    fn compared(reports: Vec<Report>) -> String {
        let named = reports.into_iter().enumerate().map(|(index, report)| (format!("file {index}"), report));
        comparison(&Comparison::new(named.collect()))
    }

    #[test]
    fn pages_are_well_formed_and_small() {
        let page = page(&sample::passing());
        check(&page);
        assert!(page.len() < 200_000, "{} bytes", page.len());
        for text in ["Latency spectrum", "Delivery proof", "What the figures mean", "p99&lt;5ms"] {
            assert!(page.contains(text), "{text}");
        }
        check(&super::page(&sample::broken()));
        let page = compared(vec![sample::passing(), sample::broken(), sample::passing()]);
        check(&page);
        assert!(page.len() < 300_000, "{} bytes", page.len());
    }

    #[test]
    fn long_time_lines_are_thinned() {
        let mut report = sample::passing();
        let row = report.timeline[20].clone();
        let later = |index: usize| Row { seconds: 40.0 + index as f64, ..row.clone() };
        report.timeline.extend((0..20_000).map(later));
        let page = page(&report);
        check(&page);
        assert!(page.len() < 250_000, "{} bytes", page.len());
    }

    #[test]
    fn hostile_texts_are_only_texts() {
        let hostile =
            "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u{1b}[2J\u{0}\u{202e}]]>{}";
        let shown = hostile.replace(['\u{1b}', '\u{0}', '\u{202e}'], "\u{fffd}");
        let mut report = sample::broken();
        let environment = &mut report.environment;
        for text in [
            &mut report.title,
            &mut report.version,
            &mut report.run.url,
            &mut report.run.schedule,
            &mut report.run.content,
            &mut environment.started,
            &mut environment.kernel,
            &mut environment.command,
            &mut report.reasons[0],
            &mut report.gates[0].gate,
            &mut report.readers[0].kind,
            &mut report.clocks.machines[0].machine,
        ] {
            *text = hostile.to_owned();
        }
        report.deliveries.lost.add(hostile.to_owned());
        let page = page(&report);
        check(&page);
        let texts = parsed(&page)
            .descendants()
            .filter(|node| node.text().is_some_and(|text| node.is_text() && text.contains(&shown)))
            .count();
        assert!(texts >= 12, "{texts} of the texts are shown as they are");
        let page = compared(vec![report, sample::passing()]);
        check(&page);
        assert!(page.contains("&lt;script&gt;alert(1)"));
    }

    #[test]
    fn runs_without_deliveries_have_pages_too() {
        let mut report = sample::shaped(&Shape { intervals: 0, ..Shape::default() });
        report.verdict = Verdict::Invalid;
        report.deliveries.per_second = 0.0;
        let page = page(&report);
        check(&page);
        assert!(page.contains("No delivery was measured.") && page.contains("invalid run"));
        check(&compared(vec![report.clone(), report]));
        check(&compared(Vec::new()));
    }

    #[test]
    fn figures_have_units() {
        assert_eq!(
            value(Unit::Nanoseconds, Some(12_345.0)).0,
            "12.3<span class=\"unit\">\u{a0}\u{b5}s</span>"
        );
        assert_eq!(value(Unit::Count, Some(12_345.0)).0, "12\u{202f}345");
        assert_eq!(value(Unit::Count, None).0, "-");
        assert_eq!(value(Unit::PerSecond, Some(f64::NAN)).0, "-");
    }

    #[test]
    fn absurd_figures_from_a_file_do_no_harm() {
        for absurd in [f64::MAX, -f64::MAX, 1e-320, -1.0, 0.0] {
            let mut report = sample::broken();
            report.deliveries.per_second = absurd;
            report.connect.seconds = absurd;
            report.cost.server_cpu_ns_per_delivery = Some(absurd);
            report.connect.server_resident_bytes_per_connection = Some(absurd);
            report.run.seconds = absurd;
            for row in &mut report.timeline[10..] {
                (row.server_cpu_percent, row.server_resident_bytes) = (Some(absurd), Some(u64::MAX));
                (row.delivered, row.connected, row.response.max) = (u64::MAX, 0, u64::MAX);
                row.interval_seconds = absurd;
            }
            check(&page(&report));
            report.timeline[0].seconds = absurd;
            check(&page(&report));
            let comparison =
                Comparison::new(vec![("a".to_owned(), report), ("b".to_owned(), sample::passing())]);
            check(&super::comparison(&comparison));
            assert!(comparison.to_string().contains("response p50"));
        }
    }
}
