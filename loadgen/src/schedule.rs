//! When each message is due: known before the run begins, and never changed by how the run goes.
//!
//! A generator that waits for a slow server before it sends the next message stops measuring just when it matters
//! ("coordinated omission"). Here the slots of all messages are fixed, a late message keeps its slot, and its latency counts
//! from there.

use std::time::Duration;

/// A constant rate, dealt to the publishers in turn. Times are nanoseconds since the run's epoch.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    messages_per_second: f64,
    publishers: usize,
    warmup: u64,
    total: u64,
}

impl Schedule {
    /// `messages_per_second` counts all publishers together.
    pub fn constant(
        messages_per_second: f64,
        publishers: usize,
        warmup: Duration,
        measured: Duration,
    ) -> Self {
        let slots = |span: Duration| (span.as_secs_f64() * messages_per_second).round() as u64;
        let warmup = slots(warmup);
        Self { messages_per_second, publishers, warmup, total: warmup + slots(measured) }
    }

    pub fn messages_per_second(&self) -> f64 {
        self.messages_per_second
    }

    pub fn publishers(&self) -> usize {
        self.publishers
    }

    /// All slots.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Slots before the measurement begins.
    pub fn warmup(&self) -> u64 {
        self.warmup
    }

    /// How many slots are measured.
    pub fn measured(&self) -> u64 {
        self.total - self.warmup
    }

    /// How many of the messages that each publisher has `sent` are measured.
    pub fn measured_of(&self, sent: &[u32]) -> u64 {
        let warmup = |publisher| self.count_of(publisher, self.warmup);
        let measured = sent
            .iter()
            .enumerate()
            .map(|(publisher, &sent)| u64::from(sent).saturating_sub(warmup(publisher)));
        measured.sum()
    }

    /// When `slot` is due.
    #[inline]
    pub fn intended(&self, slot: u64) -> u64 {
        (slot as f64 * (1e9 / self.messages_per_second)) as u64
    }

    /// Whose message `slot` is.
    #[inline]
    pub fn publisher(&self, slot: u64) -> usize {
        (slot % self.publishers as u64) as usize
    }

    /// The slot of a publisher's message. Sequence numbers count each publisher's messages from 0.
    #[inline]
    pub fn slot(&self, publisher: usize, seq: u32) -> u64 {
        u64::from(seq) * self.publishers as u64 + publisher as u64
    }

    /// How many of the first `slots` slots are `publisher`'s.
    pub fn count_of(&self, publisher: usize, slots: u64) -> u64 {
        slots.saturating_sub(publisher as u64).div_ceil(self.publishers as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: f64, publishers: usize) -> Schedule {
        Schedule::constant(rate, publishers, Duration::from_secs(1), Duration::from_secs(10))
    }

    #[test]
    fn slots_are_evenly_spaced_and_do_not_drift() {
        for rate in [0.5, 1.0, 3.0, 1000.0, 20_000.0, 1e6] {
            let schedule = schedule(rate, 1);
            assert_eq!(
                schedule.total(),
                (rate * 1.0_f64).round() as u64 + (rate * 10.0) as u64,
                "rate {rate}"
            );
            for slot in [0, 1, 2, 999_999, 1_000_000] {
                let exact = slot as f64 / rate * 1e9;
                assert!((schedule.intended(slot) as f64 - exact).abs() <= 1.0, "rate {rate} slot {slot}");
            }
        }
    }

    #[test]
    fn every_slot_is_one_message_of_one_publisher() {
        for publishers in [1, 2, 3, 7] {
            let schedule = schedule(10.0, publishers);
            let mut seqs = vec![0u32; publishers];
            for slot in 0..schedule.total() {
                let publisher = schedule.publisher(slot);
                assert_eq!(schedule.slot(publisher, seqs[publisher]), slot);
                seqs[publisher] += 1;
            }
            for (publisher, &seq) in seqs.iter().enumerate() {
                assert_eq!(schedule.count_of(publisher, schedule.total()), u64::from(seq));
            }
        }
    }

    #[test]
    fn a_publisher_beyond_the_slots_has_none() {
        assert_eq!(schedule(1.0, 100).count_of(50, 11), 0);
        assert_eq!(schedule(1.0, 100).count_of(10, 11), 1);
    }
}
