//! Axes: from values to pixels, and where the ticks stand.

use crate::figures::decimal;

/// How far apart two values stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Spacing {
    /// By their difference.
    Linear,
    /// By their ratio.
    Logarithmic,
}

/// From the values of an axis to its pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    spacing: Spacing,
    pub(super) low: f64,
    pub(super) high: f64,
    /// Where `low` and `high` are.
    pub(super) from: f64,
    pub(super) to: f64,
}

impl Scale {
    pub(super) fn new(spacing: Spacing, (low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        debug_assert!(low < high && (spacing == Spacing::Linear || low > 0.0));
        Self { spacing, low, high, from, to }
    }

    /// Where `value` is, or the end of the axis that is closest to it.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let share = match self.spacing {
            Spacing::Linear => (value - self.low) / (self.high - self.low),
            Spacing::Logarithmic => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        self.from + share * (self.to - self.from)
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is at least `value`.
pub(super) fn nice_from(value: f64) -> f64 {
    debug_assert!(value > 0.0);
    let power = 10f64.powf(value.log10().floor());
    // A hair of tolerance, so that 0.2 is not taken for a bit more than 0.2.
    let nice = [1.0, 2.0, 5.0].into_iter().find(|nice| nice * power >= value * (1.0 - 1e-9));
    nice.unwrap_or(10.0) * power
}

/// The largest of them that is at most `value`.
pub(super) fn nice_to(value: f64) -> f64 {
    debug_assert!(value > 0.0);
    let power = 10f64.powf(value.log10().floor());
    let nice = [5.0, 2.0].into_iter().find(|nice| nice * power <= value * (1.0 + 1e-9));
    nice.unwrap_or(1.0) * power
}

/// Multiples of a nice step from 0 to at least `high`, at most `count_max` steps.
pub(super) fn linear_ticks(high: f64, count_max: usize) -> Vec<f64> {
    // Nothing is measured that small, or that large.
    let high = if (1e-9..1e300).contains(&high) { high } else { 1.0 };
    let step = nice_from(high / count_max as f64);
    let steps = (high / step - 1e-9).ceil().max(1.0) as usize;
    (0..=steps).map(|index| index as f64 * step).collect()
}

/// Nice values from one at or below `low` to one at or above `high`: 1, 2, 5 and so on if there is room, else powers of ten,
/// else every so many of them. The first and the last are the axis's ends.
pub(super) fn logarithmic_ticks(low: f64, high: f64, count_max: usize) -> Vec<f64> {
    let (low, mut high) = (nice_to(low), nice_from(high));
    if high <= low {
        high = nice_from(low * 1.5);
    }
    let mut all = vec![low];
    while let Some(&last) = all.last()
        && last < high * (1.0 - 1e-9)
    {
        all.push(nice_from(last * 1.5));
    }
    if all.len() <= count_max {
        return all;
    }
    let exponents = (low.log10() + 1e-9).floor() as i32..=(high.log10() - 1e-9).ceil() as i32;
    let stride = exponents.clone().count().div_ceil(count_max.max(2));
    let mut powers: Vec<f64> = exponents.step_by(stride).map(|exponent| 10f64.powi(exponent)).collect();
    if let Some(&last) = powers.last()
        && last < high
    {
        powers.push(last * 10f64.powi(stride as i32));
    }
    powers
}

/// Steps of time that people count in, in seconds.
const TIME_STEPS: [f64; 17] = [
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0,
    43_200.0, 86_400.0,
];

/// Round times between `low` and `high`, in seconds.
pub(super) fn time_ticks(low: f64, high: f64, count_max: usize) -> Vec<f64> {
    let least = (high - low) / count_max as f64;
    let round = TIME_STEPS.into_iter().find(|&step| step >= least && least > 0.5);
    let step = round.unwrap_or_else(|| nice_from(least.max(1e-3)));
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|index| index as f64 * step).collect()
}

/// A time on an axis that reaches to `high`, both in seconds.
pub(super) fn time_label(seconds: f64, high: f64) -> String {
    let (size, unit) = match high {
        ..300.0 => (1.0, "s"),
        ..10_800.0 => (60.0, "min"),
        _ => (3600.0, "h"),
    };
    format!("{} {unit}", decimal(seconds / size, 3))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 1, 2 or 5 times a power of ten.
    fn is_nice(value: f64) -> bool {
        let lead = format!("{value:.6e}");
        ["1.000000e", "2.000000e", "5.000000e"].iter().any(|nice| lead.starts_with(nice))
    }

    #[test]
    fn scales_meet_their_ends() {
        let linear = Scale::new(Spacing::Linear, (0.0, 10.0), (100.0, 0.0));
        assert_eq!(
            [linear.at(0.0), linear.at(2.5), linear.at(10.0), linear.at(11.0)],
            [100.0, 75.0, 0.0, 0.0]
        );
        let decades = Scale::new(Spacing::Logarithmic, (1.0, 1000.0), (0.0, 300.0));
        assert!((decades.at(10.0) - 100.0).abs() < 1e-9);
        assert_eq!(decades.at(0.0), 0.0);
    }

    #[test]
    fn examples() {
        assert_eq!(linear_ticks(87.0, 5), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(linear_ticks(0.0, 4), [0.0, 0.5, 1.0]);
        assert_eq!(logarithmic_ticks(130.0, 900.0, 8), [100.0, 200.0, 500.0, 1000.0]);
        assert_eq!(logarithmic_ticks(130.0, 90_000.0, 6), [100.0, 1e3, 1e4, 1e5]);
        assert_eq!(logarithmic_ticks(100.0, 100.0, 6), [100.0, 200.0]);
        assert_eq!(time_ticks(-5.0, 60.0, 7), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
        assert_eq!(time_ticks(-12.0, 60.0, 7), [0.0, 15.0, 30.0, 45.0, 60.0]);
        assert_eq!(time_label(90.0, 200.0), "90 s");
        assert_eq!(time_label(90.0, 600.0), "1.5 min");
        assert_eq!(time_label(-2.0, 10.0), "-2 s");
    }

    proptest! {
        #[test]
        fn linear_ticks_are_nice_and_cover(high in 1e-6f64..1e15, count_max in 2usize..12) {
            let ticks = linear_ticks(high, count_max);
            prop_assert!(ticks.len() <= count_max + 1, "{ticks:?}");
            prop_assert!(ticks[0] == 0.0 && ticks[ticks.len() - 1] >= high * (1.0 - 1e-8));
            prop_assert!(is_nice(ticks[1]), "{ticks:?}");
        }

        #[test]
        fn logarithmic_ticks_are_nice_and_cover(low in 1.0f64..1e12, ratio in 1.0f64..1e9, count_max in 4usize..12) {
            let high = low * ratio;
            let ticks = logarithmic_ticks(low, high, count_max);
            prop_assert!((2..=count_max + 2).contains(&ticks.len()), "{ticks:?}");
            prop_assert!(ticks[0] <= low * (1.0 + 1e-8) && ticks[ticks.len() - 1] >= high * (1.0 - 1e-8), "{ticks:?}");
            prop_assert!(ticks.iter().all(|&tick| is_nice(tick)), "{ticks:?}");
            prop_assert!(ticks.is_sorted_by(|a, b| a < b), "{ticks:?}");
        }

        #[test]
        fn time_ticks_lie_within(low in -1e3f64..0.0, length in 0.1f64..1e6, count_max in 3usize..12) {
            let ticks = time_ticks(low, low + length, count_max);
            prop_assert!(ticks.len() <= count_max + 1, "{ticks:?}");
            prop_assert!(ticks.iter().all(|&tick| tick >= low - 1e-6 && tick <= low + length + 1e-6), "{ticks:?}");
        }
    }
}
