//! Measuring two things against each other on a machine that is never quiet.
//!
//! An absolute time says little on a shared machine. The ratio of two times that were taken within the same millisecond says
//! more, and the median of many such ratios says enough for a claim.
//!
//! - `cargo bench -p fanfare-bench`: criterion, for changes over time (`benches/`)
//! - `cargo run --release -p fanfare-bench --bin ratios`: claims of the form "A costs at most x times B"

#![forbid(unsafe_code)]

mod buffers;

use std::time::{Duration, Instant};

pub use buffers::Buffers;

/// How long one sample takes. Long against the clock's resolution, short against the scheduler's time slice.
const SAMPLE: Duration = Duration::from_micros(50);

/// Two things measured against each other; the medians of all rounds.
#[derive(Clone, Copy, Debug)]
pub struct Versus {
    pub a_ns: f64,
    pub b_ns: f64,
    /// The median of each round's ratio of A to B.
    pub ratio: f64,
}

/// Measures A B B A A B B A ..., `rounds` times each.
///
/// # Panics
/// If `rounds` is 0.
pub fn versus(rounds: usize, mut a: impl FnMut(), mut b: impl FnMut()) -> Versus {
    let (a_count, b_count) = (calibrate(&mut a), calibrate(&mut b));
    let (mut a_ns, mut b_ns, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let (a_time, b_time) = if round % 2 == 0 {
            let a_time = time(a_count, &mut a);
            (a_time, time(b_count, &mut b))
        } else {
            let b_time = time(b_count, &mut b);
            (time(a_count, &mut a), b_time)
        };
        a_ns.push(a_time);
        b_ns.push(b_time);
        ratios.push(a_time / b_time);
    }
    Versus { a_ns: median(a_ns), b_ns: median(b_ns), ratio: median(ratios) }
}

/// Nanoseconds for each of `count` calls.
fn time(count: u32, work: &mut impl FnMut()) -> f64 {
    let started = Instant::now();
    (0..count).for_each(|_| work());
    started.elapsed().as_nanos() as f64 / f64::from(count)
}

/// How many calls fill a sample.
fn calibrate(work: &mut impl FnMut()) -> u32 {
    let mut count = 1;
    loop {
        let taken = time(count, work) * f64::from(count);
        if taken >= SAMPLE.as_nanos() as f64 {
            return count;
        }
        count *= 2;
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    fn spin(turns: u32) {
        (0..turns).for_each(|turn| {
            black_box(turn);
        });
    }

    #[test]
    fn a_thing_against_itself_is_even_and_against_its_double_is_not() {
        let even = versus(101, || spin(1000), || spin(1000)).ratio;
        assert!((0.8..1.25).contains(&even), "{even}");
        let half = versus(101, || spin(1000), || spin(2000)).ratio;
        assert!((0.4..0.65).contains(&half), "{half}");
    }

    #[test]
    fn the_median_ignores_outliers() {
        assert_eq!(median(vec![3.0, 1e9, 1.0, 2.0, 0.0]), 2.0);
    }
}
