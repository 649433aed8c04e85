//! How often each latency was: bars over an axis of ratios.

use hdrhistogram::Histogram;
use maud::{Markup, html};

use crate::latency::Latency;
use crate::report::html::axis::{Scale, Spacing, linear_ticks, logarithmic_ticks};
use crate::report::html::plot::apart;
use crate::report::html::{micro, px, time};
use crate::report::units::Unit;

const BARS: usize = 72;
const HEIGHT: f64 = 190.0;
const TOP: f64 = 72.0;
const LEADING: f64 = 16.0;

struct Layout {
    class: &'static str,
    width: f64,
    left: f64,
    x_ticks_max: usize,
    bars: usize,
}

const WIDE: Layout = Layout { class: "wide", width: 1000.0, left: 62.0, x_ticks_max: 14, bars: BARS };
const NARROW: Layout = Layout { class: "narrow", width: 380.0, left: 54.0, x_ticks_max: 6, bars: BARS / 2 };

/// A chart of the response; `None` if nothing was recorded.
pub(super) fn distribution(latency: &Latency) -> Option<Markup> {
    (latency.count() > 0).then(|| {
        html! {
            figure.plot id="distribution" {
                figcaption {
                    h3 { "Distribution of the response" }
                    p { "How often each latency was. Each bar covers the same ratio of times; those too low to see are drawn one pixel high." }
                }
                (drawing(latency, &WIDE))
                (drawing(latency, &NARROW))
            }
        }
    })
}

fn drawing(latency: &Latency, layout: &Layout) -> Markup {
    let histogram = latency.histogram();
    let (least, most) = (histogram.min().max(1) as f64, histogram.max().max(1) as f64);
    let x_ticks = logarithmic_ticks(least, most, layout.x_ticks_max);
    let (low, high) = (x_ticks[0], x_ticks[x_ticks.len() - 1]);
    let x = Scale::new(Spacing::Logarithmic, (low, high), (layout.left, layout.width - 24.0));
    let bars = bars(histogram, low, high, layout.bars);
    let largest = bars.iter().map(|bar| bar.share).fold(0.0, f64::max);
    let y_ticks = linear_ticks(largest * 100.0, 4);
    let bottom = TOP + HEIGHT;
    let y = Scale::new(Spacing::Linear, (0.0, y_ticks[y_ticks.len() - 1]), (bottom, TOP));
    let id = |part| format!("distribution-{}-{part}", layout.class);
    html! {
        svg class=(layout.class) viewBox={ "0 0 " (layout.width) " " (px(bottom + 46.0)) } role="img"
            aria-labelledby={ (id("title")) " " (id("description")) } {
            title id=(id("title")) { "Distribution of the response" }
            desc id=(id("description")) { (description(latency)) }
            text.panel x="0" y="20" { "Share of deliveries" }
            @for tick in &y_ticks {
                path.grid.base[*tick == 0.0] d={ "M" (px(x.from)) "," (px(y.at(*tick))) "H" (px(x.to)) } {}
                text.tick.end x=(px(x.from - 8.0)) y=(px(y.at(*tick) + 4.0)) { (Unit::Percent.tick(*tick, 100.0)) }
            }
            g.c-response {
                @for bar in bars.iter().filter(|bar| bar.share > 0.0) { (bar.drawn(&x, &y)) }
            }
            @for tick in &x_ticks {
                path.grid d={ "M" (px(x.at(*tick))) "," (px(bottom)) "v5" } {}
                text.tick.middle x=(px(x.at(*tick))) y=(px(bottom + 18.0)) {
                    (micro(&Unit::Nanoseconds.tick(*tick, high)))
                }
            }
            (marks(latency, &x))
            text.name.middle x=(px((x.from + x.to) / 2.0)) y=(px(bottom + 40.0)) { "latency, due to received" }
        }
    }
}

/// The share of the deliveries between two latencies.
struct Bar {
    low: f64,
    high: f64,
    share: f64,
}

impl Bar {
    fn drawn(&self, x: &Scale, y: &Scale) -> Markup {
        let (left, right) = (x.at(self.low), x.at(self.high));
        // One delivery among millions still shows.
        let height = (y.from - y.at(self.share * 100.0)).max(1.0);
        let [low, high] = [self.low, self.high].map(|ns| micro(&Unit::Nanoseconds.quantity(ns).to_string()));
        html! {
            rect.bar x=(px(left + 0.5)) y=(px(y.from - height))
                width=(px((right - left - 1.0).max(0.5))) height=(px(height)) {
                title { (low) " to " (high) ": " (Unit::Percent.quantity(self.share * 100.0)) }
            }
        }
    }
}

/// Bars of equal ratio from `low` to `high` that hold all of the histogram.
fn bars(histogram: &Histogram<u64>, low: f64, high: f64, count: usize) -> Vec<Bar> {
    let ratio = (high / low).ln();
    let edge = |index: usize| low * (ratio * index as f64 / count as f64).exp();
    let mut bars: Vec<Bar> =
        (0..count).map(|index| Bar { low: edge(index), high: edge(index + 1), share: 0.0 }).collect();
    for value in histogram.iter_recorded() {
        let place = (value.value_iterated_to().max(1) as f64 / low).ln() / ratio * count as f64;
        let bar = (place.max(0.0) as usize).min(count - 1);
        bars[bar].share += value.count_at_value() as f64 / histogram.len() as f64;
    }
    bars
}

/// The percentiles that people ask for, each a line from its name to the axis.
fn marks(latency: &Latency, x: &Scale) -> Markup {
    let spectrum = latency.spectrum();
    let figures =
        [("p50", spectrum.p50), ("p99", spectrum.p99), ("p99.9", spectrum.p999), ("max", spectrum.max)];
    let wanted: Vec<f64> = figures.iter().map(|&(_, ns)| x.at(ns as f64)).collect();
    // Two rows of names in turn, so that close ones need not move far.
    let gap = if x.to > 500.0 { 96.0 } else { 62.0 };
    let places = apart(&wanted, gap, x.from + gap / 2.0, x.to - gap / 3.0);
    html! {
        @for (((name, ns), place), at) in figures.iter().zip(&places).zip(&wanted) {
            path.mark d={
                "M" (px(*place)) "," (px(TOP - 14.0)) "L" (px(*at)) "," (px(TOP - 4.0)) "V" (px(TOP + HEIGHT))
            } {}
            text.key.middle x=(px(*place)) y=(px(TOP - 18.0 - LEADING)) { (name) }
            text.tick.middle x=(px(*place)) y=(px(TOP - 19.0)) { (time(*ns)) }
        }
    }
}

fn description(latency: &Latency) -> String {
    let spectrum = latency.spectrum();
    let [min, p50, p99, max] = [spectrum.min, spectrum.p50, spectrum.p99, spectrum.max].map(time);
    format!("From {min} to {max}; half of the deliveries within {p50}, 99 % within {p99}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_hold_everything_once() {
        let mut latency = Latency::default();
        (1..=10_000u64).for_each(|i| latency.record(i * i));
        let bars = bars(latency.histogram(), 1.0, 1e8, BARS);
        assert_eq!(bars.len(), BARS);
        assert!((bars.iter().map(|bar| bar.share).sum::<f64>() - 1.0).abs() < 1e-9);
        let quarter: f64 = bars.iter().filter(|bar| bar.high <= 1e6).map(|bar| bar.share).sum();
        assert!((quarter - 0.1).abs() < 0.02, "a tenth took less than a millisecond: {quarter}");
    }

    #[test]
    fn one_value_and_none() {
        assert!(distribution(&Latency::default()).is_none());
        let mut latency = Latency::default();
        latency.record(0);
        let text = distribution(&latency).expect("one value").into_string();
        assert_eq!(text.matches("rect class=\"bar\"").count(), 2, "one in each drawing: {text}");
    }
}
