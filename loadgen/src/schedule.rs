//! When each message is due: known before the run begins, and never changed by how the run goes.
//!
//! A generator that waits for a slow server before it sends the next message stops measuring just when it matters
//! ("coordinated omission"). Here the slots of all messages are fixed, a late message keeps its slot, and its latency counts
//! from there.
//!
//! A schedule has two parts, the warm-up and the measured part. Each has its own number of slots and its own beginning, so
//! the measured part is the same with any warm-up or none.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::random::Random;

const NS_PER_SECOND: f64 = 1e9;

/// How due times are spread.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Evenly.
    #[default]
    Constant,
    /// At a rate that goes straight from the first one to this one over the measured part; the warm-up keeps the first.
    Ramp { to_per_second: f64 },
    /// As independent sources make them: with exponential gaps, the same ones for the same seed.
    Poisson { seed: u64 },
    /// So many at the same instant, and then none for as long as the mean rate asks for.
    Bursts { messages: u64 },
}

impl FromStr for Shape {
    type Err = String;

    /// Reads `constant`, `ramp:TO`, `poisson`, `poisson:SEED` or `bursts:N`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, argument) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
        match (name, argument) {
            ("constant", None) => Ok(Self::Constant),
            ("ramp", Some(to)) => {
                let to_per_second = to.parse().ok().filter(|to: &f64| (0.0..=RATE_MAX).contains(to));
                let to_per_second = to_per_second
                    .ok_or_else(|| format!("a ramp ends at a rate from 0 to {RATE_MAX}, not at {to}"))?;
                Ok(Self::Ramp { to_per_second })
            }
            ("poisson", None) => Ok(Self::Poisson { seed: 1 }),
            ("poisson", Some(seed)) => {
                let seed =
                    seed.parse().map_err(|_| format!("the seed must be a whole number, not {seed}"))?;
                Ok(Self::Poisson { seed })
            }
            ("bursts", Some(messages)) => {
                let messages = messages.parse().ok().filter(|&messages| messages >= 1);
                let messages = messages.ok_or("a burst has a whole number of messages, at least 1")?;
                Ok(Self::Bursts { messages })
            }
            _ => Err("a schedule is constant, ramp:TO, poisson, poisson:SEED or bursts:N".to_owned()),
        }
    }
}

/// The highest rate: a message each nanosecond.
pub(crate) const RATE_MAX: f64 = NS_PER_SECOND;

/// The due times of all messages, dealt to the publishers in turn. Times are nanoseconds since the run's epoch.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Schedule {
    shape: Shape,
    /// At the beginning.
    per_second: f64,
    publishers: usize,
    warmup: Part,
    measured: Part,
}

/// Slots that follow each other, and the time that they lie in.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
struct Part {
    /// The first slot, and the one behind the last.
    first: u64,
    end: u64,
    begin_ns: u64,
    span_ns: u64,
}

/// The due times, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Dues {
    schedule: Schedule,
    part: Part,
    slot: u64,
    due: u64,
    random: Random,
    /// Since the part's beginning, where the next gap depends on that.
    elapsed_ns: f64,
}

impl Dues {
    /// The slot that is due next.
    #[inline]
    pub(crate) fn slot(&self) -> u64 {
        self.slot
    }

    /// When it is due. `None` when all slots were.
    #[inline]
    pub(crate) fn due(&self) -> Option<u64> {
        (self.slot < self.schedule.total()).then_some(self.due)
    }

    #[inline]
    pub(crate) fn advance(&mut self) {
        self.slot += 1;
        if self.slot == self.part.end {
            self.enter(self.schedule.measured);
        } else {
            self.find_due();
        }
    }

    fn enter(&mut self, part: Part) {
        self.part = part;
        self.elapsed_ns = 0.0;
        self.find_due();
    }

    fn find_due(&mut self) {
        let Part { begin_ns, span_ns, .. } = self.part;
        let into_part = self.ns_into_part() as u64;
        // The numbers of slots leave half a gap at the end of a part, so this only catches what rounding may add.
        self.due = begin_ns + into_part.min(span_ns.saturating_sub(1));
    }

    fn ns_into_part(&mut self) -> f64 {
        let per_second = self.schedule.per_second;
        // From the beginning rather than from the last slot: rounding errors must not add up.
        let index = self.slot - self.part.first;
        match self.schedule.shape {
            Shape::Ramp { to_per_second } if self.slot >= self.schedule.measured.first => {
                ramp_ns(index as f64, per_second, to_per_second, self.part.span_ns as f64)
            }
            Shape::Constant | Shape::Ramp { .. } => index as f64 * (NS_PER_SECOND / per_second),
            Shape::Bursts { messages } => (index - index % messages) as f64 * (NS_PER_SECOND / per_second),
            Shape::Poisson { .. } => {
                let left = self.part.end.saturating_sub(self.slot).max(1);
                self.elapsed_ns +=
                    poisson_gap(&mut self.random, left, self.part.span_ns as f64 - self.elapsed_ns);
                self.elapsed_ns
            }
        }
    }
}

/// When a rate that goes from `from` to `to` in `span_ns` has made `messages`.
#[inline]
fn ramp_ns(messages: f64, from: f64, to: f64, span_ns: f64) -> f64 {
    if messages == 0.0 {
        return 0.0;
    }
    // from * t + (to - from) / (2 * span) * t^2 = messages, in the form of the solution that subtracts nothing, so that
    // it is exact for a flat ramp too.
    let span = span_ns / NS_PER_SECOND;
    let squared = from * from + 2.0 * (to - from) * messages / span;
    2.0 * messages / (from + squared.max(0.0).sqrt()) * NS_PER_SECOND
}

/// The gap before the first of `left` messages that fall at random into what is left of a part.
///
/// The times of a Poisson process, once their number is known, are as many independent times, each equally likely to be
/// anywhere; this draws them in order. So the number of messages is exact and known ahead, and the gaps are exponential.
#[inline]
fn poisson_gap(random: &mut Random, left: u64, span_left_ns: f64) -> f64 {
    let x = -random.unit().ln() / left as f64;
    // 1 - e^-x. With many messages left x is tiny, and three terms are exact to 13 digits for less than half the time.
    let share = if x < 1e-4 { x * (1.0 - x * (0.5 - x / 6.0)) } else { -(-x).exp_m1() };
    span_left_ns * share
}

impl Schedule {
    /// `messages_per_second` counts all publishers together. 0 for none, on connections that stay idle.
    pub(crate) fn new(
        shape: Shape,
        messages_per_second: f64,
        publishers: usize,
        warmup: Duration,
        measured: Duration,
    ) -> Self {
        let slots = |span: Duration, per_second: f64| (span.as_secs_f64() * per_second).round() as u64;
        let warmup_slots = slots(warmup, messages_per_second);
        let measured_slots = slots(measured, mean_per_second(shape, messages_per_second));
        let begin_ns = warmup.as_nanos() as u64;
        Self {
            shape,
            per_second: messages_per_second,
            publishers,
            warmup: Part { first: 0, end: warmup_slots, begin_ns: 0, span_ns: begin_ns },
            measured: Part {
                first: warmup_slots,
                end: warmup_slots + measured_slots,
                begin_ns,
                span_ns: measured.as_nanos() as u64,
            },
        }
    }

    pub(crate) fn dues(&self) -> Dues {
        let seed = if let Shape::Poisson { seed } = self.shape { seed } else { 0 };
        let random = Random::seeded(seed);
        let part = if self.warmup() == 0 { self.measured } else { self.warmup };
        let mut dues = Dues { schedule: *self, part, slot: 0, due: 0, random, elapsed_ns: 0.0 };
        dues.enter(part);
        dues
    }

    /// When the measurement begins: all measured slots are due then or later, all others before.
    pub(crate) fn measured_from(&self) -> u64 {
        self.measured.begin_ns
    }

    /// When the run is over but for stragglers.
    pub(crate) fn end(&self) -> u64 {
        self.measured.begin_ns + self.measured.span_ns
    }

    /// The schedule in words.
    pub(crate) fn words(&self) -> String {
        let rate = self.per_second;
        match self.shape {
            _ if self.total() == 0 => "no messages".to_owned(),
            Shape::Constant => format!("constant {rate}/s"),
            Shape::Ramp { to_per_second } => format!("ramp from {rate}/s to {to_per_second}/s"),
            Shape::Poisson { seed } => format!("poisson {rate}/s, seed {seed}"),
            Shape::Bursts { messages } => format!("bursts of {messages}, {rate}/s"),
        }
    }

    /// The mean over the measured part, all publishers together.
    pub(crate) fn messages_per_second(&self) -> f64 {
        mean_per_second(self.shape, self.per_second)
    }

    pub(crate) fn publishers(&self) -> usize {
        self.publishers
    }

    /// All slots.
    #[inline]
    pub(crate) fn total(&self) -> u64 {
        self.measured.end
    }

    /// Slots before the measurement begins.
    pub(crate) fn warmup(&self) -> u64 {
        self.warmup.end
    }

    /// How many slots are measured.
    pub(crate) fn measured(&self) -> u64 {
        self.measured.end - self.measured.first
    }

    /// How many of the messages that each publisher has `sent` are measured.
    pub(crate) fn measured_of(&self, sent: &[u32]) -> u64 {
        let warmup = |publisher| self.count_of(publisher, self.warmup());
        let measured = sent
            .iter()
            .enumerate()
            .map(|(publisher, &sent)| u64::from(sent).saturating_sub(warmup(publisher)));
        measured.sum()
    }

    /// Whose message `slot` is.
    #[inline]
    pub(crate) fn publisher(&self, slot: u64) -> usize {
        (slot % self.publishers as u64) as usize
    }

    /// The slot of a publisher's message. Sequence numbers count each publisher's messages from 0.
    #[inline]
    pub(crate) fn slot(&self, publisher: usize, seq: u32) -> u64 {
        u64::from(seq) * self.publishers as u64 + publisher as u64
    }

    /// How many of the first `slots` slots are `publisher`'s.
    pub(crate) fn count_of(&self, publisher: usize, slots: u64) -> u64 {
        slots.saturating_sub(publisher as u64).div_ceil(self.publishers as u64)
    }
}

/// The mean rate of the measured part.
fn mean_per_second(shape: Shape, from: f64) -> f64 {
    match shape {
        Shape::Ramp { to_per_second } => f64::midpoint(from, to_per_second),
        Shape::Constant | Shape::Poisson { .. } | Shape::Bursts { .. } => from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHAPES: [Shape; 6] = [
        Shape::Constant,
        Shape::Ramp { to_per_second: 5000.0 },
        Shape::Ramp { to_per_second: 0.0 },
        Shape::Poisson { seed: 7 },
        Shape::Bursts { messages: 10 },
        Shape::Bursts { messages: 1 },
    ];

    fn schedule(shape: Shape, rate: f64, publishers: usize) -> Schedule {
        Schedule::new(shape, rate, publishers, Duration::from_secs(1), Duration::from_secs(10))
    }

    fn dues(schedule: &Schedule) -> Vec<u64> {
        let mut dues = schedule.dues();
        let mut all = Vec::new();
        while let Some(due) = dues.due() {
            assert_eq!(dues.slot(), all.len() as u64);
            all.push(due);
            dues.advance();
        }
        assert_eq!(all.len() as u64, schedule.total());
        all
    }

    fn measured(schedule: &Schedule) -> Vec<u64> {
        dues(schedule).split_off(schedule.warmup() as usize)
    }

    #[test]
    fn even_slots_do_not_drift() {
        for rate in [0.3, 0.5, 1.0, 3.0, 1000.0, 20_000.0, 1e5] {
            let schedule = schedule(Shape::Constant, rate, 1);
            assert_eq!(schedule.warmup(), rate.round() as u64, "rate {rate}");
            assert_eq!(schedule.measured(), (rate * 10.0).round() as u64, "rate {rate}");
            let (warmup, measured) = (schedule.warmup() as usize, measured(&schedule));
            for (slot, due) in dues(&schedule).into_iter().enumerate() {
                let exact =
                    if slot < warmup { slot as f64 / rate } else { 1.0 + (slot - warmup) as f64 / rate };
                assert!((due as f64 - exact * 1e9).abs() <= 1.0, "rate {rate} slot {slot}");
            }
            assert_eq!(measured[0], 1_000_000_000);
        }
    }

    #[test]
    fn a_rate_of_zero_has_no_messages() {
        for shape in [Shape::Constant, Shape::Poisson { seed: 1 }, Shape::Bursts { messages: 5 }] {
            let schedule = schedule(shape, 0.0, 1);
            assert_eq!((dues(&schedule), schedule.end()), (vec![], 11_000_000_000));
            assert_eq!(schedule.words(), "no messages");
        }
    }

    #[test]
    fn every_slot_is_one_message_of_one_publisher() {
        for publishers in [1, 2, 3, 7] {
            let schedule = schedule(Shape::Constant, 10.0, publishers);
            let mut seqs = vec![0u32; publishers];
            for slot in 0..schedule.total() {
                let publisher = schedule.publisher(slot);
                assert_eq!(schedule.slot(publisher, seqs[publisher]), slot);
                seqs[publisher] += 1;
            }
            for (publisher, &seq) in seqs.iter().enumerate() {
                assert_eq!(schedule.count_of(publisher, schedule.total()), u64::from(seq));
            }
            assert_eq!(schedule.measured_of(&seqs), schedule.measured());
        }
    }

    #[test]
    fn a_publisher_beyond_the_slots_has_none() {
        assert_eq!(schedule(Shape::Constant, 1.0, 100).count_of(50, 11), 0);
        assert_eq!(schedule(Shape::Constant, 1.0, 100).count_of(10, 11), 1);
    }

    /// How many dues lie from `from` to `to` seconds.
    fn count(dues: &[u64], from: f64, to: f64) -> usize {
        dues.iter().filter(|&&due| (from * 1e9..to * 1e9).contains(&(due as f64))).count()
    }

    #[test]
    fn a_ramp_goes_straight_from_one_rate_to_the_other() {
        for (from, to) in [(1000.0, 3000.0), (3000.0, 1000.0), (0.0, 2000.0), (2000.0, 0.0), (500.0, 500.0)] {
            let schedule = schedule(Shape::Ramp { to_per_second: to }, from, 1);
            assert_eq!(schedule.warmup(), from as u64);
            assert_eq!(schedule.measured() as f64, (from + to) / 2.0 * 10.0);
            assert_eq!(schedule.messages_per_second(), (from + to) / 2.0);
            let dues = measured(&schedule);
            for second in 0..10 {
                let exact = from + (to - from) * (f64::from(second) + 0.5) / 10.0;
                let seen = count(&dues, f64::from(second) + 1.0, f64::from(second) + 2.0);
                assert!(
                    (seen as f64 - exact).abs() <= 1.5,
                    "{from} to {to}, second {second}: {seen} {exact}"
                );
            }
        }
    }

    #[test]
    fn poisson_gaps_are_exponential() {
        let schedule = schedule(Shape::Poisson { seed: 42 }, 10_000.0, 1);
        let dues = measured(&schedule);
        let gaps: Vec<f64> = dues.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e5).collect();
        let count = gaps.len() as f64;
        let mean = gaps.iter().sum::<f64>() / count;
        let deviation = (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count).sqrt();
        assert!((mean - 1.0).abs() < 0.001, "mean {mean}");
        // The standard error with 100 000 gaps is 0.003.
        assert!((deviation / mean - 1.0).abs() < 0.015, "coefficient of variation {}", deviation / mean);
        for (longer_than, share) in [(0.1, 0.904_84), (1.0, 0.367_88), (3.0, 0.049_79)] {
            let seen = gaps.iter().filter(|&&gap| gap > longer_than).count() as f64 / count;
            assert!((seen - share).abs() < 0.006, "longer than {longer_than}: {seen}");
        }
        // One gap says nothing about the next.
        let products = gaps.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean));
        let correlation = products.sum::<f64>() / count / deviation.powi(2);
        assert!(correlation.abs() < 0.015, "correlation {correlation}");
    }

    #[test]
    fn the_seed_decides() {
        let with = |seed| dues(&schedule(Shape::Poisson { seed }, 1000.0, 1));
        assert_eq!(with(3), with(3));
        assert_ne!(with(3), with(4));
    }

    #[test]
    fn bursts_are_at_once_and_keep_the_mean_rate() {
        let schedule = schedule(Shape::Bursts { messages: 50 }, 1000.0, 1);
        let dues = measured(&schedule);
        assert_eq!(dues.len(), 10_000);
        for (slot, due) in dues.into_iter().enumerate() {
            assert_eq!(due, 1_000_000_000 + slot as u64 / 50 * 50_000_000);
        }
    }

    #[test]
    fn the_measured_part_is_the_same_with_any_warmup() {
        for shape in SHAPES.into_iter().filter(|shape| !matches!(shape, Shape::Poisson { .. })) {
            let of = |warmup| {
                let schedule = Schedule::new(shape, 333.0, 1, warmup, Duration::from_secs(3));
                let from = schedule.measured_from();
                measured(&schedule).into_iter().map(|due| due - from).collect::<Vec<_>>()
            };
            assert_eq!(of(Duration::ZERO), of(Duration::from_millis(1234)), "{shape:?}");
        }
    }

    #[test]
    fn schedules_are_written_in_words() {
        for (text, words) in [
            ("constant", "constant 1000/s"),
            ("ramp:2000", "ramp from 1000/s to 2000/s"),
            ("poisson", "poisson 1000/s, seed 1"),
            ("poisson:9", "poisson 1000/s, seed 9"),
            ("bursts:25", "bursts of 25, 1000/s"),
        ] {
            assert_eq!(schedule(text.parse().expect(text), 1000.0, 1).words(), words);
        }
    }

    #[test]
    fn wrong_shapes_are_told_in_a_sentence() {
        for (text, part) in [
            ("", "a schedule is constant, ramp:TO"),
            ("steady", "a schedule is constant, ramp:TO"),
            ("constant:1", "a schedule is constant, ramp:TO"),
            ("ramp", "a schedule is constant, ramp:TO"),
            ("ramp:-1", "a ramp ends at a rate from 0"),
            ("ramp:NaN", "a ramp ends at a rate from 0"),
            ("ramp:2e9", "a ramp ends at a rate from 0"),
            ("poisson:x", "the seed must be a whole number"),
            ("bursts", "a schedule is constant, ramp:TO"),
            ("bursts:0", "a burst has a whole number of messages"),
        ] {
            let error = text.parse::<Shape>().expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn dues_are_in_order_and_in_their_part(
            rate in 0.1f64..3000.0,
            warmup_ms in 0u64..3000,
            measured_ms in 1u64..5000,
            shape in proptest::sample::select(&SHAPES[..]),
        ) {
            let (warmup, span) = (Duration::from_millis(warmup_ms), Duration::from_millis(measured_ms));
            let schedule = Schedule::new(shape, rate, 3, warmup, span);
            let dues = dues(&schedule);
            prop_assert!(dues.is_sorted());
            let (before, after) = dues.split_at(schedule.warmup() as usize);
            prop_assert!(before.iter().all(|&due| due < schedule.measured_from()));
            prop_assert!(after.iter().all(|&due| (schedule.measured_from()..schedule.end()).contains(&due)));
        }
    }
}
