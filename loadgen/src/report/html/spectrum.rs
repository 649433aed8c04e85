//! The latency spectrum: what share of the deliveries took how long, with the slowest few stretched out to the right.

use hdrhistogram::Histogram;

use crate::latency::Latency;
use crate::report::html::axis::Spacing;
use crate::report::html::plot::{Axis, Line, Panel, Plot};
use crate::report::html::thin::Point;
use crate::report::html::time;
use crate::report::units::Unit;

/// Nines on the axis: the median, where it begins, is 0.3 of them, and 99.9 % is 3.
const NINES_MIN: f64 = std::f64::consts::LOG10_2;
const NINES_MAX: f64 = 6.0;

/// From the median to the largest.
const STEPS: usize = 150;

/// What is drawn as one line.
pub(super) struct Source<'a> {
    pub(super) name: String,
    pub(super) colour: &'static str,
    pub(super) dashed: bool,
    pub(super) latency: &'a Latency,
}

/// A chart of all that recorded anything; `None` if nothing did.
pub(super) fn spectrum(
    id: &str,
    title: &str,
    caption: &str,
    sources: &[Source<'_>],
    half: bool,
) -> Option<Plot> {
    let sources: Vec<&Source<'_>> = sources.iter().filter(|source| source.latency.count() > 0).collect();
    let count_max = sources.iter().map(|source| source.latency.count()).max()?;
    let lines = sources.iter().map(|source| Line {
        dashed: source.dashed,
        ..Line::new(source.name.clone(), source.colour, points(source.latency.histogram()))
    });
    Some(Plot {
        id: id.to_owned(),
        title: title.to_owned(),
        caption: caption.to_owned(),
        description: description(&sources),
        x: Axis {
            name: "percentile, %",
            kind: "nines",
            low: NINES_MIN,
            high: supported_nines(count_max),
            ticks: nines_ticks,
        },
        panels: vec![Panel {
            title: String::new(),
            unit: Unit::Nanoseconds,
            spacing: Spacing::Logarithmic,
            height: if half { 260.0 } else { 380.0 },
            lines: lines.collect(),
        }],
        shaded_to: None,
        half,
    })
}

/// How far to the right `count` values tell anything: one of them is a share of 1 / `count`.
fn supported_nines(count: u64) -> f64 {
    (count as f64).log10().clamp(1.0, NINES_MAX)
}

/// The latency at percentiles from the median to the last that the count supports, and the maximum there.
fn points(histogram: &Histogram<u64>) -> Vec<Point> {
    let end = supported_nines(histogram.len());
    let mut points = Vec::with_capacity(STEPS + 1);
    let mut step = 0;
    for value in histogram.iter_recorded() {
        // All steps that this value reaches, in one walk over the histogram.
        while step < STEPS {
            let nines = NINES_MIN + (end - NINES_MIN) * step as f64 / STEPS as f64;
            if 1.0 - 10f64.powf(-nines) > value.quantile() {
                break;
            }
            points.push(Point { x: nines, y: value.value_iterated_to() as f64 });
            step += 1;
        }
    }
    points.push(Point { x: end, y: histogram.max() as f64 });
    points
}

fn nines_ticks(_: f64, high: f64, _: usize) -> Vec<(f64, String)> {
    let labels = ["50", "90", "99", "99.9", "99.99", "99.999", "99.9999"];
    let places = [NINES_MIN, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    places.into_iter().zip(labels.map(str::to_owned)).filter(|(place, _)| *place <= high + 1e-6).collect()
}

fn description(sources: &[&Source<'_>]) -> String {
    let texts: Vec<String> = sources
        .iter()
        .map(|source| {
            let spectrum = source.latency.spectrum();
            let [p50, p99, max] = [spectrum.p50, spectrum.p99, spectrum.max].map(time);
            format!("{}: median {p50}, 99th percentile {p99}, maximum {max}.", source.name)
        })
        .collect();
    texts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(latency: &Latency) -> Source<'_> {
        Source { name: "response".to_owned(), colour: "c1", dashed: false, latency }
    }

    #[test]
    fn points_are_the_histograms_percentiles() {
        let mut latency = Latency::default();
        (1..=100_000u64).for_each(|i| latency.record(i * 1000));
        let points = points(latency.histogram());
        assert_eq!(points.len(), STEPS + 1);
        for point in &points {
            let quantile = 1.0 - 10f64.powf(-point.x);
            let expected = latency.histogram().value_at_quantile(quantile) as f64;
            assert!((point.y / expected - 1.0).abs() < 0.002, "{point:?} for {expected}");
        }
        assert!((points[STEPS].x - 5.0).abs() < 1e-9);
    }

    #[test]
    fn the_axis_ends_where_the_count_does() {
        let latency = Latency::default();
        assert!(spectrum("a", "", "", &[source(&latency)], false).is_none());
        let mut latency = Latency::default();
        (0..1000).for_each(|_| latency.record(5));
        let plot = spectrum("a", "", "", &[source(&latency)], false).expect("a thousand values");
        let labels: Vec<String> =
            (plot.x.ticks)(plot.x.low, plot.x.high, 9).into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["50", "90", "99", "99.9"]);
        assert_eq!(plot.description, "response: median 5.00 ns, 99th percentile 5.00 ns, maximum 5.00 ns.");
    }
}
