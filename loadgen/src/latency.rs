//! Latencies in a histogram: constant memory, three significant digits.

use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest latency told from longer ones: ten minutes.
const NS_MAX: u64 = 600 * 1_000_000_000;

const SIGNIFICANT_DIGITS: u8 = 3;

/// Recorded times, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, NS_MAX, SIGNIFICANT_DIGITS);
        Self(histogram.expect("the bounds are in order and the digits are at most five"))
    }
}

impl Latency {
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    pub fn spectrum(&self) -> Spectrum {
        let at = |quantile| self.0.value_at_quantile(quantile);
        Spectrum {
            count: self.0.len(),
            min: self.0.min(),
            mean: self.0.mean().round() as u64,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: self.0.max(),
        }
    }
}

/// The figures of one histogram, in nanoseconds. All are 0 when nothing was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spectrum {
    pub count: u64,
    pub min: u64,
    pub mean: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub p9999: u64,
    pub max: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_significant_digits() {
        let mut latency = Latency::default();
        (1..=10_000u64).for_each(|i| latency.record(i * 1000));
        let spectrum = latency.spectrum();
        assert_eq!(spectrum.count, 10_000);
        for (seen, exact) in [
            (spectrum.min, 1_000),
            (spectrum.mean, 5_000_500),
            (spectrum.p50, 5_000_000),
            (spectrum.p99, 9_900_000),
            (spectrum.p9999, 9_999_000),
            (spectrum.max, 10_000_000),
        ] {
            assert!(seen.abs_diff(exact) <= exact / 1000, "{seen} for {exact}");
        }
    }

    #[test]
    fn nothing_recorded_and_too_long_are_harmless() {
        let mut latency = Latency::default();
        assert_eq!(latency.spectrum(), Spectrum::default());
        latency.record(u64::MAX);
        assert!(latency.spectrum().max >= NS_MAX);
    }
}
