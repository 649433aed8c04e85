//! Values that are more than a number, and numbers that have bounds.

use std::str::FromStr;
use std::time::Duration;

use crate::schedule::RATE_MAX;

/// Some of the subscribers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Amount {
    Count(usize),
    /// From 0 to 1.
    Share(f64),
}

impl Amount {
    pub(super) fn of(self, subscribers: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Share(share) => (share * subscribers as f64).round() as usize,
        }
    }
}

impl FromStr for Amount {
    type Err = String;

    /// Reads `100` or `10%`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.ends_with('%') {
            return share(text).map(Self::Share);
        }
        let count = text.parse().map(Self::Count);
        count.map_err(|_| "an amount is a whole number such as 100, or a share such as 10%".to_owned())
    }
}

/// Reads `0.3` or `30%`.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse().map(|percent: f64| percent / 100.0),
        None => text.parse(),
    };
    let share = share.ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a share is a number from 0 to 1, or from 0% to 100%".to_owned())
}

pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|&number| number >= 1);
    number.ok_or_else(|| "must be a whole number, at least 1".to_owned())
}

/// A rate that may be 0.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.0..=RATE_MAX).contains(rate));
    rate.ok_or_else(|| format!("must be a number from 0 to {RATE_MAX}"))
}

/// A rate that may not be 0.
pub(super) fn per_second(text: &str) -> Result<f64, String> {
    rate(text).ok().filter(|&rate| rate > 0.0).ok_or_else(|| "must be a number above 0".to_owned())
}

/// A percentage that may be more than 100.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    let percent = number.parse().ok().filter(|&percent: &f64| percent >= 0.0 && percent.is_finite());
    percent.ok_or_else(|| "must be a percentage such as 5".to_owned())
}

/// A percentage that may not be more than 100.
pub(super) fn percent_at_most(text: &str) -> Result<f64, String> {
    let percent = percent(text).ok().filter(|&percent| percent <= 100.0);
    percent.ok_or_else(|| "must be a percentage from 0 to 100".to_owned())
}

/// The shortest time that is worth looking at.
const TIME_MIN: Duration = Duration::from_millis(10);

/// A time that may not be 0.
pub(crate) fn long_enough(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if time < TIME_MIN {
        return Err("must be at least 10ms".to_owned());
    }
    Ok(time)
}

/// Reads `name=value`.
pub(super) fn parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a parameter is written name=value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_counts_or_shares() {
        for (text, of_200) in [("0", 0), ("7", 7), ("0%", 0), ("10%", 20), ("12.5%", 25), ("100%", 200)] {
            assert_eq!(text.parse::<Amount>().expect(text).of(200), of_200, "{text}");
        }
        for text in ["", "0.1", "-1", "101%", "-1%", "x%", "NaN%"] {
            text.parse::<Amount>().expect_err(text);
        }
    }

    #[test]
    fn shares_are_parts_or_percentages() {
        for (text, expected) in [("0", 0.0), ("0.25", 0.25), ("25%", 0.25), ("1", 1.0), ("100 %", 1.0)] {
            assert_eq!(share(text), Ok(expected), "{text}");
        }
        for text in ["", "1.1", "101%", "-0.1", "NaN"] {
            share(text).expect_err(text);
        }
    }
}
