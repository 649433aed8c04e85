//! How large payloads are: one size, or a distribution of sizes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::format::HEADER_BYTES;
use crate::random::Random;

/// The largest payload that may be asked for.
pub(super) const SIZE_MAX: usize = 16 << 20;

/// How many standard deviations a lognormal size may lie above the median: one in 30 000 would be beyond. Without a bound, a
/// single huge message could decide a whole run.
const DEVIATIONS_MAX: f64 = 4.0;

/// How large payloads are, header included. All sizes lie between `HEADER_BYTES` and `SIZE_MAX`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Distribution")]
pub struct Sizes(Distribution);

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Distribution {
    Fixed(usize),
    /// Each size from the first to the second, equally likely.
    Uniform(usize, usize),
    /// The logarithm is normal with this standard deviation.
    Lognormal {
        median: usize,
        sigma: f64,
    },
    /// Sizes with their shares, which make 1 together.
    Weighted(Vec<(usize, f64)>),
}

/// A coordinator of another version may send what [`Sizes::from_str`] never makes.
impl TryFrom<Distribution> for Sizes {
    type Error = String;

    fn try_from(distribution: Distribution) -> Result<Self, String> {
        let sizes = match &distribution {
            Distribution::Fixed(size) => vec![*size],
            Distribution::Uniform(from, to) => vec![*from, *to],
            Distribution::Lognormal { median, .. } => vec![*median],
            Distribution::Weighted(sizes) => sizes.iter().map(|&(size, _)| size).collect(),
        };
        let in_bounds = sizes.iter().all(|size| (HEADER_BYTES..=SIZE_MAX).contains(size));
        let in_order = !matches!(distribution, Distribution::Uniform(from, to) if from > to);
        if sizes.is_empty() || !in_bounds || !in_order {
            return Err("these payload sizes cannot be".to_owned());
        }
        Ok(Self(distribution))
    }
}

impl Default for Sizes {
    fn default() -> Self {
        Self(Distribution::Fixed(64))
    }
}

impl Sizes {
    /// One of the sizes.
    #[inline]
    pub(super) fn draw(&self, random: &mut Random) -> usize {
        match &self.0 {
            Distribution::Fixed(size) => *size,
            Distribution::Uniform(from, to) => {
                let sizes = (to - from + 1) as u64;
                // The high half of the product is below `sizes`, and as evenly spread as 64 bits allow.
                from + ((u128::from(random.number()) * u128::from(sizes)) >> 64) as usize
            }
            Distribution::Lognormal { median, sigma } => lognormal(*median, *sigma, random.normal()),
            Distribution::Weighted(sizes) => {
                let mut left = random.unit();
                for &(size, share) in sizes {
                    if left <= share {
                        return size;
                    }
                    left -= share;
                }
                // Rounding left a little over.
                sizes.last().map_or(HEADER_BYTES, |&(size, _)| size)
            }
        }
    }

    pub(crate) fn smallest_bytes(&self) -> usize {
        match &self.0 {
            Distribution::Fixed(size) => *size,
            Distribution::Uniform(from, _) => *from,
            Distribution::Lognormal { median, sigma } => lognormal(*median, *sigma, f64::NEG_INFINITY),
            Distribution::Weighted(sizes) => {
                sizes.iter().map(|&(size, _)| size).min().unwrap_or(HEADER_BYTES)
            }
        }
    }

    pub(crate) fn largest_bytes(&self) -> usize {
        match &self.0 {
            Distribution::Fixed(size) => *size,
            Distribution::Uniform(_, to) => *to,
            Distribution::Lognormal { median, sigma } => lognormal(*median, *sigma, f64::INFINITY),
            Distribution::Weighted(sizes) => {
                sizes.iter().map(|&(size, _)| size).max().unwrap_or(HEADER_BYTES)
            }
        }
    }

    pub(crate) fn mean_bytes(&self) -> f64 {
        match &self.0 {
            Distribution::Fixed(size) => *size as f64,
            Distribution::Uniform(from, to) => f64::midpoint(*from as f64, *to as f64),
            Distribution::Lognormal { median, sigma } => lognormal_mean(*median, *sigma),
            Distribution::Weighted(sizes) => sizes.iter().map(|&(size, share)| size as f64 * share).sum(),
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Distribution::Fixed(size) => write!(f, "{size} bytes"),
            Distribution::Uniform(from, to) => write!(f, "{from} to {to} bytes"),
            Distribution::Lognormal { median, sigma } => {
                write!(f, "lognormal sizes around {median} bytes, sigma {sigma}")
            }
            Distribution::Weighted(sizes) => {
                for (index, (size, share)) in sizes.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{size} bytes {} %", (share * 1e4).round() / 100.0)?;
                }
                Ok(())
            }
        }
    }
}

impl FromStr for Sizes {
    type Err = String;

    /// Reads `64`, `64..1KiB`, `lognormal:200,0.8` or `64:90%,4KiB:10%`.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(parameters) = text.strip_prefix("lognormal:") {
            return parse_lognormal(parameters).map(Self);
        }
        if let Some((from, to)) = text.split_once("..") {
            let (from, to) = (parse_size(from)?, parse_size(to)?);
            if from > to {
                return Err(format!("the sizes {text} end before they begin"));
            }
            return Ok(Self(Distribution::Uniform(from, to)));
        }
        if text.contains([':', ',']) {
            return parse_weighted(text).map(Self);
        }
        parse_size(text).map(Distribution::Fixed).map(Self)
    }
}

fn parse_lognormal(parameters: &str) -> Result<Distribution, String> {
    let (median, sigma) =
        parameters.split_once(',').ok_or("lognormal sizes are written lognormal:MEDIAN,SIGMA")?;
    let median = parse_size(median)?;
    let sigma = sigma.trim().parse().ok().filter(|sigma: &f64| *sigma >= 0.0 && *sigma <= 5.0);
    let sigma = sigma.ok_or("the sigma of lognormal sizes is a number from 0 to 5")?;
    Ok(Distribution::Lognormal { median, sigma })
}

fn parse_weighted(text: &str) -> Result<Distribution, String> {
    let mut sizes = Vec::new();
    for entry in text.split(',') {
        let (size, share) = entry
            .split_once(':')
            .ok_or_else(|| format!("a size in a list needs its share, such as 64:90%, not {entry}"))?;
        let percent = share.trim().strip_suffix('%').and_then(|percent| percent.trim().parse().ok());
        let percent: f64 = percent
            .filter(|percent| (0.0..=100.0).contains(percent))
            .ok_or_else(|| format!("a share is a percentage such as 10%, not {share}"))?;
        sizes.push((parse_size(size)?, percent));
    }
    let sum: f64 = sizes.iter().map(|(_, percent)| percent).sum();
    if (sum - 100.0).abs() > 0.01 {
        return Err(format!("the shares of the sizes make {sum} % together, not 100 %"));
    }
    Ok(Distribution::Weighted(sizes.into_iter().map(|(size, percent)| (size, percent / sum)).collect()))
}

fn parse_size(text: &str) -> Result<usize, String> {
    let bytes = parse_bytes(text)?;
    if bytes < HEADER_BYTES as u64 {
        return Err(format!(
            "a size must be at least {HEADER_BYTES}: a message carries its times, its number and a checksum"
        ));
    }
    if bytes > SIZE_MAX as u64 {
        return Err(format!("a size must be at most {SIZE_MAX} bytes"));
    }
    Ok(bytes as usize)
}

/// Reads a number of bytes such as `64`, `1KiB`, `1.5MiB`, `10kB` or `2GB`.
///
/// # Errors
/// A sentence that says what a number of bytes looks like.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 7] = [
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("B", 1.0),
    ];
    let text = text.trim();
    let (number, unit) = UNITS
        .iter()
        .find_map(|&(suffix, unit)| text.strip_suffix(suffix).map(|number| (number.trim_end(), unit)))
        .unwrap_or((text, 1.0));
    let is_number = number.starts_with(|first: char| first.is_ascii_digit());
    let bytes = number.parse::<f64>().ok().filter(|_| is_number).map(|number| number * unit);
    match bytes {
        Some(bytes) if bytes.fract() == 0.0 && bytes < u64::MAX as f64 => Ok(bytes as u64),
        _ => Err(format!("a number of bytes is written like 64, 1KiB, 2MiB or 10kB, not {text}")),
    }
}

/// The size that lies so many standard deviations above the median.
fn lognormal(median: usize, sigma: f64, deviations: f64) -> usize {
    let deviations = deviations.clamp(-DEVIATIONS_MAX, DEVIATIONS_MAX);
    let size = (median as f64 * (sigma * deviations).exp()).round();
    (size as usize).clamp(HEADER_BYTES, SIZE_MAX)
}

/// The mean with the bounds on both sides, which has no simple formula: the sum over narrow strips of the bell curve.
fn lognormal_mean(median: usize, sigma: f64) -> f64 {
    const STRIPS: i32 = 2000;
    const WIDTH: f64 = 16.0 / STRIPS as f64;
    let (mut sum, mut weights) = (0.0, 0.0);
    for strip in 0..STRIPS {
        let deviations = (f64::from(strip) + 0.5) * WIDTH - 8.0;
        let weight = (-deviations * deviations / 2.0).exp();
        sum += weight * lognormal(median, sigma, deviations) as f64;
        weights += weight;
    }
    sum / weights
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(text: &str) -> Sizes {
        text.parse().expect(text)
    }

    #[test]
    fn sizes_are_written_in_words() {
        for (text, words, smallest, largest) in [
            ("64", "64 bytes", 64, 64),
            ("1KiB", "1024 bytes", 1024, 1024),
            ("64..1KiB", "64 to 1024 bytes", 64, 1024),
            ("lognormal:200,0.5", "lognormal sizes around 200 bytes, sigma 0.5", 32, 1478),
            ("lognormal:4KiB,0", "lognormal sizes around 4096 bytes, sigma 0", 4096, 4096),
            ("64:90%,4KiB:10%", "64 bytes 90 %, 4096 bytes 10 %", 64, 4096),
            ("100:33.3%, 32:66.7%", "100 bytes 33.3 %, 32 bytes 66.7 %", 32, 100),
        ] {
            let sizes = sizes(text);
            let seen = (sizes.to_string(), sizes.smallest_bytes(), sizes.largest_bytes());
            assert_eq!(seen, (words.to_owned(), smallest, largest), "{text}");
        }
    }

    #[test]
    fn wrong_sizes_are_told_in_a_sentence() {
        for (text, part) in [
            ("", "a number of bytes is written like"),
            ("x", "a number of bytes is written like"),
            ("-64", "a number of bytes is written like"),
            ("inf", "a number of bytes is written like"),
            ("64.5", "a number of bytes is written like"),
            ("64 TiB", "a number of bytes is written like"),
            ("31", "a size must be at least 32"),
            ("17MiB", "a size must be at most 16777216"),
            ("100..64", "end before they begin"),
            ("64..", "a number of bytes is written like"),
            ("lognormal:200", "lognormal:MEDIAN,SIGMA"),
            ("lognormal:200,-1", "a number from 0 to 5"),
            ("lognormal:200,NaN", "a number from 0 to 5"),
            ("64:90%,128", "needs its share"),
            ("64:0.9,128:0.1", "a share is a percentage"),
            ("64:90%,128:20%", "make 110 % together"),
        ] {
            let error = text.parse::<Sizes>().expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_travel_and_impossible_ones_do_not_arrive() {
        for text in ["64", "64..1KiB", "lognormal:200,0.8", "64:90%,4KiB:10%"] {
            let json = serde_json::to_string(&sizes(text)).expect("sizes as JSON");
            assert_eq!(serde_json::from_str::<Sizes>(&json).expect(&json), sizes(text));
        }
        for json in
            [r#"{"fixed":31}"#, r#"{"uniform":[64,63]}"#, r#"{"weighted":[]}"#, r#"{"fixed":16777217}"#]
        {
            serde_json::from_str::<Sizes>(json).expect_err(json);
        }
    }

    #[test]
    fn bytes_have_units() {
        for (text, bytes) in
            [("0", 0), ("64", 64), ("64B", 64), ("1KiB", 1024), ("1.5 MiB", 1_572_864), ("10kB", 10_000)]
        {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_drawn_has_the_mean_and_keeps_the_bounds() {
        for text in [
            "64",
            "64..1KiB",
            "33..34",
            "lognormal:200,0.8",
            "lognormal:40,1",
            "64:90%,4KiB:10%",
            "50:0%,60:100%",
        ] {
            let sizes = sizes(text);
            let mut random = Random::seeded(5);
            let drawn: Vec<usize> = (0..200_000).map(|_| sizes.draw(&mut random)).collect();
            let (smallest, largest) = (sizes.smallest_bytes(), sizes.largest_bytes());
            assert!(drawn.iter().all(|size| (smallest..=largest).contains(size)), "{text}");
            let mean = drawn.iter().sum::<usize>() as f64 / drawn.len() as f64;
            assert!((mean / sizes.mean_bytes() - 1.0).abs() < 0.02, "{text}: {mean} {}", sizes.mean_bytes());
        }
    }

    #[test]
    fn shapes_are_what_they_are_called() {
        let share = |text: &str, below: usize| {
            let (sizes, mut random) = (sizes(text), Random::seeded(1));
            (0..100_000).filter(|_| sizes.draw(&mut random) < below).count() as f64 / 1e5
        };
        for (text, below, expected) in [
            ("100..299", 200, 0.5),
            ("64:90%,4KiB:10%", 65, 0.9),
            // One standard deviation below and above the median.
            ("lognormal:1000,0.5", 607, 0.1587),
            ("lognormal:1000,0.5", 1000, 0.5),
            ("lognormal:1000,0.5", 1649, 0.8413),
        ] {
            assert!(
                (share(text, below) - expected).abs() < 0.01,
                "{text} below {below}: {}",
                share(text, below)
            );
        }
    }
}
