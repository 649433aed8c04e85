//! The axes of a plot: where a value stands, and which values are named.

use crate::figures::{short, time_trimmed, trimmed};

/// From here on, a linear axis names its quarters.
const QUARTERS_ROWS: u16 = 12;

/// A plot's vertical axis.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Scale {
    /// From 0 to a round number.
    Linear { high: f64, unit: Unit },
    /// From one power of ten to another, in nanoseconds.
    Log { low: i32, high: i32 },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    Number,
    Percent,
}

impl Scale {
    /// Up to the highest of `values`, at least.
    pub(super) fn linear(values: &[Option<f64>], unit: Unit) -> Self {
        let highest = values.iter().flatten().copied().fold(0.0, f64::max);
        Self::Linear { high: round_up(highest), unit }
    }

    /// Around all of `values`. Without any, from 100 us to 10 ms.
    pub(super) fn log<'a>(values: impl Iterator<Item = &'a Option<f64>>) -> Self {
        let (lowest, highest) = values
            .flatten()
            .fold((f64::INFINITY, 0.0f64), |(low, high), &value| (low.min(value), high.max(value)));
        if highest <= 0.0 {
            return Self::Log { low: 5, high: 7 };
        }
        let low = lowest.max(1.0).log10().floor() as i32;
        Self::Log { low, high: (highest.max(1.0).log10().ceil() as i32).max(low + 1) }
    }

    /// From 0 at the bottom to 1 at the top.
    pub(super) fn fraction(self, value: f64) -> f64 {
        let fraction = match self {
            Self::Linear { high, .. } => value / high,
            Self::Log { low, high } => (value.max(1.0).log10() - f64::from(low)) / f64::from(high - low),
        };
        fraction.clamp(0.0, 1.0)
    }

    /// Values and their names on an axis of so many rows, those first that matter most where there is no room for all.
    pub(super) fn ticks(self, rows: u16) -> Vec<(f64, String)> {
        match self {
            Self::Linear { high, unit } => {
                let name = |part: f64| match unit {
                    Unit::Number => trimmed(&short(high * part)),
                    Unit::Percent => format!("{:.0} %", high * part),
                };
                let parts: &[f64] =
                    if rows < QUARTERS_ROWS { &[0.0, 1.0, 0.5] } else { &[0.0, 1.0, 0.5, 0.25, 0.75] };
                parts.iter().map(|&part| (high * part, name(part))).collect()
            }
            Self::Log { low, high } => {
                let between: &[f64] = match i32::from(rows) / (high - low) {
                    0..5 => &[],
                    5..9 => &[3.0],
                    _ => &[2.0, 5.0],
                };
                let ends = [low, high].into_iter().chain(low..high).map(|power| 10f64.powi(power));
                let between =
                    (low..high).flat_map(|power| between.iter().map(move |part| part * 10f64.powi(power)));
                ends.chain(between).map(|ns| (ns, time_trimmed(ns as u64))).collect()
            }
        }
    }
}

/// The next of some numbers times a power of ten whose quarters are short.
fn round_up(value: f64) -> f64 {
    if value <= 1.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let round = [1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0].map(|part| part * power);
    round.into_iter().find(|&round| round >= value).unwrap_or(10.0 * power)
}

/// The end of a time axis that has to reach `elapsed` seconds of a run that takes `planned` seconds. It grows in steps, so
/// that the picture stands still most of the time.
pub(super) fn time_axis(elapsed: f64, planned: f64) -> f64 {
    const STEPS: [f64; 10] = [10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0];
    let step = STEPS.into_iter().find(|&step| step >= elapsed);
    let end = step.unwrap_or_else(|| (elapsed / 3_600.0).ceil() * 3_600.0);
    if planned >= elapsed && planned > 0.0 { end.min(planned) } else { end }
}

/// A time axis's name for a moment.
pub(super) fn moment(seconds: f64) -> String {
    match seconds {
        0.0..60.0 if seconds.fract() == 0.0 => format!("{seconds:.0} s"),
        0.0..60.0 => format!("{seconds:.1} s"),
        60.0..3_600.0 if seconds % 60.0 == 0.0 => format!("{:.0} min", seconds / 60.0),
        60.0..3_600.0 => format!("{:.1} min", seconds / 60.0),
        _ if seconds % 3_600.0 == 0.0 => format!("{:.0} h", seconds / 3_600.0),
        _ => format!("{:.1} h", seconds / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_axes_end_at_round_numbers() {
        for (highest, high) in [(0.0, 1.0), (1.0, 1.0), (3.0, 3.2), (81.0, 100.0), (1e6, 1e6), (1.1e6, 1.2e6)]
        {
            assert_eq!(
                Scale::linear(&[None, Some(highest)], Unit::Number),
                Scale::Linear { high, unit: Unit::Number }
            );
        }
    }

    #[test]
    fn log_axes_end_at_powers_of_ten() {
        for (values, low, high) in [
            (vec![], 5, 7),
            (vec![Some(0.0)], 5, 7),
            (vec![Some(1e6)], 6, 7),
            (vec![Some(2e5), None, Some(3e6)], 5, 7),
            (vec![Some(0.0), Some(3e6)], 0, 7),
        ] {
            assert_eq!(Scale::log(values.iter()), Scale::Log { low, high }, "{values:?}");
        }
        let scale = Scale::Log { low: 5, high: 7 };
        assert_eq!((scale.fraction(1e5), scale.fraction(1e6), scale.fraction(1e9)), (0.0, 0.5, 1.0));
        for (rows, names) in [
            (9, "100 us, 10 ms, 100 us, 1 ms"),
            (10, "100 us, 10 ms, 100 us, 1 ms, 300 us, 3 ms"),
            (18, "100 us, 10 ms, 100 us, 1 ms, 200 us, 500 us, 2 ms, 5 ms"),
        ] {
            let ticks: Vec<_> = scale.ticks(rows).into_iter().map(|(_, name)| name).collect();
            assert_eq!(ticks.join(", "), names);
        }
    }

    #[test]
    fn time_axes_grow_in_steps_up_to_the_plan() {
        for (elapsed, planned, end) in [
            (0.0, 5.0, 5.0),
            (3.0, 60.0, 10.0),
            (11.0, 60.0, 20.0),
            (61.0, 60.0, 120.0),
            (3_601.0, 0.0, 7_200.0),
        ] {
            assert_eq!(time_axis(elapsed, planned), end);
        }
        for (seconds, text) in [
            (0.0, "0 s"),
            (2.5, "2.5 s"),
            (60.0, "1 min"),
            (150.0, "2.5 min"),
            (3_600.0, "1 h"),
            (5_400.0, "1.5 h"),
        ] {
            assert_eq!(moment(seconds), text);
        }
    }
}
