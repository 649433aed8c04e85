//! Latencies in a histogram: constant memory, three significant digits.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{
    Deserializer as V2Deserializer, Serializer as V2Serializer, V2DeflateSerializer,
};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
    pub(crate) fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    /// Adds what another part of the run recorded.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The histogram itself, for other tools.
    pub(crate) fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    /// HdrHistogram's V2 encoding with deflate, in base64: what its tools for other languages read.
    pub(crate) fn encoded(&self) -> String {
        let mut bytes = Vec::new();
        let encoded = V2DeflateSerializer::new().serialize(&self.0, &mut bytes);
        encoded.expect("counts are below 2^63, and memory takes all that is written");
        STANDARD.encode(bytes)
    }

    pub(crate) fn spectrum(&self) -> Spectrum {
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

/// In its V2 encoding, in base64.
impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.encoded())
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
        let histogram: Histogram<u64> =
            V2Deserializer::new().deserialize(&mut &bytes[..]).map_err(D::Error::custom)?;
        let mut latency = Self::default();
        latency.0.add(&histogram).map_err(D::Error::custom)?;
        Ok(latency)
    }
}

/// The figures of one histogram, in nanoseconds. All are 0 when nothing was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    fn parts_are_merged_and_travel_as_text() {
        let (mut one, mut two, mut both) = (Latency::default(), Latency::default(), Latency::default());
        for i in 1..1000u64 {
            [&mut one, &mut two][i as usize % 2].record(i * i);
            both.record(i * i);
        }
        let text = serde_json::to_string(&two).expect("text");
        assert!(text.starts_with("\"HISTFAAA"), "{text}");
        one.merge(&serde_json::from_str(&text).expect("the same histogram"));
        assert_eq!(one.spectrum(), both.spectrum());
    }

    #[test]
    fn nothing_recorded_and_too_long_are_harmless() {
        let mut latency = Latency::default();
        assert_eq!(latency.spectrum(), Spectrum::default());
        latency.record(u64::MAX);
        assert!(latency.spectrum().max >= NS_MAX);
    }
}
