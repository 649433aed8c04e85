//! Figures that carry their units: three significant digits, and the unit that leaves one to three before the point.

use std::fmt;

use crate::figures::{self, Multiple, SIZES, THOUSANDS, TIMES, decimal, grouped, rounded};

/// What a figure counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unit {
    Nanoseconds,
    Seconds,
    Bytes,
    /// Of one core.
    Percent,
    PerSecond,
    /// Whole things: never rounded.
    Count,
    /// A small number of things, on average.
    Mean,
}

/// A number and its unit, which may be empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Quantity {
    pub(crate) number: String,
    pub(crate) unit: &'static str,
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text =
            if self.unit.is_empty() { self.number.clone() } else { format!("{} {}", self.number, self.unit) };
        f.pad(&text)
    }
}

const RATES: [Multiple; 4] = [(1.0, "/s"), (1e3, "k/s"), (1e6, "M/s"), (1e9, "G/s")];

impl Unit {
    pub(crate) fn quantity(self, value: f64) -> Quantity {
        match self {
            Self::Count => Quantity { number: grouped(value.round().max(0.0) as u64), unit: "" },
            Self::Percent => Quantity { number: digits(value), unit: "%" },
            Self::Seconds => Quantity { number: digits(value), unit: "s" },
            Self::Mean => Quantity { number: digits(value), unit: "" },
            Self::Nanoseconds | Self::Bytes | Self::PerSecond => {
                let (size, unit) = self.multiple(value);
                Quantity { number: digits(value / size), unit }
            }
        }
    }

    /// The text beside an axis: `10 ms`, `500k`. `largest` is the axis's end, for units that should not change along it.
    pub(crate) fn tick(self, value: f64, largest: f64) -> String {
        let of = if self == Self::Bytes { largest } else { value };
        let (size, unit) = self.multiple(of);
        // More digits than any step between ticks has, without what a sum of steps leaves behind.
        let number = decimal(value / size, 6);
        match self {
            _ if value == 0.0 && self != Self::Seconds => "0".to_owned(),
            Self::PerSecond | Self::Count | Self::Mean => format!("{number}{}", unit.trim_end_matches("/s")),
            _ => format!("{number} {unit}"),
        }
    }

    /// The multiple of the unit that suits `value`.
    pub(crate) fn multiple(self, value: f64) -> Multiple {
        let multiples: &[Multiple] = match self {
            Self::Nanoseconds => &TIMES,
            Self::Bytes => &SIZES,
            Self::PerSecond => &RATES,
            Self::Count | Self::Mean => &THOUSANDS,
            Self::Percent => &[(1.0, "%")],
            Self::Seconds => &[(1.0, "s")],
        };
        figures::multiple(multiples, value)
    }
}

/// `value` with three significant digits. Whole numbers above that keep all of theirs.
fn digits(value: f64) -> String {
    let value = rounded(value);
    let magnitude = value.abs();
    if magnitude == 0.0 || !magnitude.is_finite() {
        return if magnitude == 0.0 { "0".to_owned() } else { "-".to_owned() };
    }
    let places = 2 - magnitude.log10().floor() as i32;
    if places <= 0 && value > 0.0 {
        return grouped(value.round() as u64);
    }
    format!("{value:.*}", places.clamp(0, 9) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_three_digits_and_the_unit_that_suits() {
        for (unit, value, text) in [
            (Unit::Nanoseconds, 0.0, "0 ns"),
            (Unit::Nanoseconds, 0.4, "0.400 ns"),
            (Unit::Nanoseconds, 73.0, "73.0 ns"),
            (Unit::Nanoseconds, 999.4, "999 ns"),
            (Unit::Nanoseconds, 999.6, "1.00 us"),
            (Unit::Nanoseconds, 9_996.0, "10.0 us"),
            (Unit::Nanoseconds, 999_600.0, "1.00 ms"),
            (Unit::Nanoseconds, 12_345.0, "12.3 us"),
            (Unit::Nanoseconds, 9_876_543.0, "9.88 ms"),
            (Unit::Nanoseconds, 61e9, "61.0 s"),
            (Unit::Nanoseconds, 7200e9, "7 200 s"),
            (Unit::Bytes, 1023.0, "1 023 B"),
            (Unit::Bytes, 41.0 * 1_048_576.0, "41.0 MiB"),
            (Unit::Percent, 101.3, "101 %"),
            (Unit::PerSecond, 998_765.0, "999 k/s"),
            (Unit::PerSecond, 40.0, "40.0 /s"),
            (Unit::Count, 1_234_567.0, "1 234 567"),
            (Unit::Mean, 0.0123, "0.0123"),
        ] {
            assert_eq!(unit.quantity(value).to_string(), text, "{unit:?} {value}");
        }
    }

    #[test]
    fn ticks_are_short() {
        for (unit, value, largest, text) in [
            (Unit::Nanoseconds, 5e5, 1e9, "500 us"),
            (Unit::Nanoseconds, 1e6, 1e9, "1 ms"),
            (Unit::PerSecond, 0.0, 1e6, "0"),
            (Unit::PerSecond, 250_000.0, 1e6, "250k"),
            (Unit::Bytes, 512.0 * 1024.0, 1_048_576.0, "0.5 MiB"),
            (Unit::Seconds, 0.0, 10.0, "0 s"),
            (Unit::Percent, 0.1 + 0.2, 1.0, "0.3 %"),
        ] {
            assert_eq!(unit.tick(value, largest), text);
        }
    }
}
