//! The clock and the timer: what reading the time costs, how fine it is, and how late a sleep ends.
//!
//! All latencies are differences of this clock, and every message that is due when nothing else happens waits for this timer:
//! the figures here are in all others.

use std::io;
use std::time::Duration;

use fanfare_io::uring::Options;
use fanfare_io::{Driver, NoSends, UringDriver, Wait, Waker};
use serde::{Deserialize, Serialize};

use crate::latency::{Latency, Spectrum};

const READINGS: u64 = 200_000;

/// How often, and how long, the timer is asked to wake.
const SLEEPS: usize = 400;
const SLEEP: Duration = Duration::from_millis(1);

/// What the driver's clock and timer are like on this machine.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Clock {
    /// Of one reading.
    pub cost_ns: f64,
    /// The smallest step between two readings that differ.
    pub resolution_ns: u64,
    /// From when a sleep of one millisecond should have ended to when it did.
    pub timer_late_ns: Spectrum,
}

/// Measures them on the calling thread.
///
/// # Errors
/// When the kernel refuses a ring.
pub(super) fn measure() -> io::Result<Clock> {
    let mut driver = UringDriver::new(Options::default(), &Waker::new()?)?;
    let (cost_ns, resolution_ns) = read(|| driver.now());
    let mut late = Latency::default();
    for _ in 0..SLEEPS {
        let due = driver.now() + SLEEP.as_nanos() as u64;
        // A submit may return early.
        while driver.now() < due {
            driver.submit(&NoSends, Wait::Until(due))?;
            while driver.next_event().is_some() {}
        }
        late.record(driver.now() - due);
    }
    Ok(Clock { cost_ns, resolution_ns, timer_late_ns: late.spectrum() })
}

/// The cost of a reading, and the smallest step.
fn read(mut now: impl FnMut() -> u64) -> (f64, u64) {
    let begin = now();
    let (mut last, mut step) = (begin, u64::MAX);
    for _ in 0..READINGS {
        let time = now();
        if time > last {
            step = step.min(time - last);
        }
        last = time;
    }
    ((last - begin) as f64 / READINGS as f64, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_and_resolution_are_told_apart() {
        // Each reading takes 30 ns, of a clock that advances by 100 ns.
        let mut time = 0u64;
        let (cost, step) = read(|| {
            time += 30;
            time / 100 * 100
        });
        assert!((cost - 30.0).abs() < 0.1, "{cost}");
        assert_eq!(step, 100);
    }

    #[test]
    fn every_sleep_is_counted_and_none_ends_early() {
        let clock = measure().expect("io_uring");
        assert_eq!(clock.timer_late_ns.count, SLEEPS as u64);
        assert!(clock.cost_ns > 0.0 && clock.resolution_ns > 0, "{clock:?}");
    }
}
