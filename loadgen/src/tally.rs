//! Every delivery, judged and timed.

use crate::broadcast::Broadcast;
use crate::cursor::{Arrival, Cursor};
use crate::latency::Latency;
use crate::payload::{Format, Unread};
use crate::schedule::Schedule;

/// What all subscribers received of the measured messages. Warm-up messages are neither counted nor timed.
#[derive(Debug)]
pub struct Tally {
    format: Format,
    schedule: Schedule,
    publishers: usize,
    /// Of each subscriber, one for each publisher.
    cursors: Box<[Cursor]>,
    /// Of each subscriber: messages that nobody published so.
    corrupt: Box<[u32]>,
    /// Intact messages of other runs.
    foreign: u64,
    /// Distinct measured messages, over all subscribers.
    delivered: u64,
    last_delivery: u64,
    /// From due to received: what a user of the server waits.
    pub response: Latency,
    /// From sent to received: what the server takes when it is asked.
    pub service: Latency,
    pub broadcast: Broadcast,
}

/// Deliveries over all subscribers, and what was wrong with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub expected: u64,
    /// Messages of which an intact copy arrived, each counted once for each subscriber.
    pub delivered: u64,
    /// Messages of which no intact copy arrived.
    pub missing: u64,
    pub duplicate: u64,
    pub reordered: u64,
    /// Also missing, unless an intact copy came too.
    pub corrupt: u64,
    pub foreign: u64,
    /// Subscribers with anything missing, duplicate, reordered or corrupt.
    pub subscribers_affected: u64,
}

impl Tally {
    pub fn new(format: Format, schedule: Schedule, subscribers: usize) -> Self {
        let publishers = schedule.publishers();
        let first = |publisher| schedule.count_of(publisher, schedule.warmup()) as u32;
        let cursors =
            (0..subscribers).flat_map(|_| (0..publishers).map(|publisher| Cursor::new(first(publisher))));
        Self {
            cursors: cursors.collect(),
            corrupt: vec![0; subscribers].into(),
            foreign: 0,
            delivered: 0,
            last_delivery: 0,
            response: Latency::default(),
            service: Latency::default(),
            broadcast: Broadcast::new(subscribers as u32, schedule.messages_per_second()),
            format,
            schedule,
            publishers,
        }
    }

    /// Distinct measured messages received, over all subscribers.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// When the last of them came, in nanoseconds since the run's epoch.
    pub fn last_delivery(&self) -> u64 {
        self.last_delivery
    }

    /// `subscriber` received `payload` at `now`, in nanoseconds since the run's epoch.
    #[inline]
    pub fn receive(&mut self, subscriber: usize, payload: &[u8], now: u64) {
        let stamp = match self.format.read(payload) {
            Ok(stamp) => stamp,
            Err(fault) => return self.receive_unread(subscriber, fault),
        };
        let publisher = usize::from(stamp.publisher);
        let slot = self.schedule.slot(publisher, stamp.seq);
        if publisher >= self.publishers || slot >= self.schedule.total() || stamp.sent > now {
            return self.receive_unread(subscriber, Unread::Corrupt);
        }
        if slot < self.schedule.warmup() {
            return;
        }
        let cursor = &mut self.cursors[subscriber * self.publishers + publisher];
        if cursor.arrive(stamp.seq) == Arrival::Duplicate {
            return;
        }
        self.delivered += 1;
        self.last_delivery = now;
        self.response.record(now - stamp.intended);
        self.service.record(now - stamp.sent);
        self.broadcast.received(slot, stamp.intended, now);
    }

    #[cold]
    fn receive_unread(&mut self, subscriber: usize, fault: Unread) {
        match fault {
            Unread::Corrupt => self.corrupt[subscriber] += 1,
            Unread::Foreign => self.foreign += 1,
        }
    }

    /// Adds all up. `sent` holds how many messages each publisher sent, warm-up included.
    pub fn counts(&self, sent: &[u32]) -> Counts {
        let mut counts = Counts { delivered: self.delivered, foreign: self.foreign, ..Counts::default() };
        counts.expected = self.schedule.measured_of(sent) * self.corrupt.len() as u64;
        for (cursors, &corrupt) in self.cursors.chunks_exact(self.publishers).zip(&self.corrupt) {
            let missing: u64 = cursors.iter().zip(sent).map(|(cursor, &sent)| cursor.missing(sent)).sum();
            let duplicate: u64 = cursors.iter().map(|cursor| u64::from(cursor.duplicate)).sum();
            let reordered: u64 = cursors.iter().map(|cursor| u64::from(cursor.reordered)).sum();
            let corrupt = u64::from(corrupt);
            counts.missing += missing;
            counts.duplicate += duplicate;
            counts.reordered += reordered;
            counts.corrupt += corrupt;
            counts.subscribers_affected += u64::from(missing + duplicate + reordered + corrupt > 0);
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Stamp;
    use std::time::Duration;

    /// Two publishers, each with one warm-up message and five measured ones; two subscribers.
    fn tally() -> (Format, Tally) {
        let schedule = Schedule::constant(2.0, 2, Duration::from_secs(1), Duration::from_secs(5));
        let format = Format::new(1, 64);
        (format.clone(), Tally::new(format, schedule, 2))
    }

    fn payload(format: &Format, publisher: u16, seq: u32) -> Vec<u8> {
        let mut payload = Vec::new();
        format.write(&mut payload, &Stamp { publisher, seq, intended: 100, sent: 150 });
        payload
    }

    #[test]
    fn a_clean_run_is_clean_and_timed() {
        let (format, mut tally) = tally();
        for subscriber in 0..2 {
            for seq in 0..6 {
                for publisher in 0..2 {
                    tally.receive(subscriber, &payload(&format, publisher, seq), 1_100);
                }
            }
        }
        let expected = Counts { expected: 20, delivered: 20, ..Counts::default() };
        assert_eq!(tally.counts(&[6, 6]), expected);
        assert_eq!((tally.response.spectrum().count, tally.response.spectrum().max), (20, 1_000));
        assert_eq!((tally.service.spectrum().count, tally.service.spectrum().max), (20, 950));
        assert_eq!(tally.broadcast.to_last.spectrum().count, 10);
    }

    #[test]
    fn faults_count_for_the_subscriber_that_saw_them() {
        let (format, mut tally) = tally();
        let good = |publisher, seq| payload(&format, publisher, seq);
        let mut bad = good(0, 3);
        bad[40] ^= 1;
        let foreign = payload(&Format::new(2, 64), 0, 3);
        for payload in [good(0, 1), good(0, 2), good(0, 2), bad, foreign, good(0, 5), good(0, 4)] {
            tally.receive(1, &payload, 1_000);
        }
        let counts = tally.counts(&[6, 1]);
        let expected = Counts {
            expected: 10,
            delivered: 4,
            missing: 5 + 1,
            duplicate: 1,
            reordered: 1,
            corrupt: 1,
            foreign: 1,
            subscribers_affected: 2,
        };
        assert_eq!(counts, expected);
    }

    #[test]
    fn messages_that_nobody_can_have_sent_are_corrupt() {
        let (format, mut tally) = tally();
        // A publisher too many, a sequence too high, and a message from the future.
        tally.receive(0, &payload(&format, 2, 1), 1_000);
        tally.receive(0, &payload(&format, 0, 6), 1_000);
        tally.receive(0, &payload(&format, 0, 1), 149);
        assert_eq!((tally.counts(&[6, 6]).corrupt, tally.delivered()), (3, 0));
    }
}
