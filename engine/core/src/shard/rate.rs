//! How fast a connection may publish: messages and bytes a second, with a second's worth of either at once.
//!
//! This is the generic cell rate algorithm: for each limit a connection has one number, the time at which all that it
//! published is paid for. Each message moves it on by what the message costs, and may move it up to a second ahead of
//! now. A message that has to wait is kept as one that waits for another shard's mailbox is, and the connection is not
//! read from until its time has come. So nothing is lost, and what follows keeps its order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fanfare_io::Driver;
use fanfare_wire::stream::Id;
use fanfare_wire::topic::TopicName;

use super::conn::{Conns, Holds};
use super::{NS_PER_MS, Shard};
use crate::config::Config;
use crate::mailbox::{Command, ConnRef, Source};
use crate::message::{Draft, Message};

const NS_PER_S: u64 = 1_000 * NS_PER_MS;

/// How much may come at once, in the time that it is paid for.
const BURST_NS: u64 = NS_PER_S;

/// A connection that has to wait waits for so long at least, so that a fast one is not woken for each message.
const WAIT_NS_MIN: u64 = NS_PER_MS;

/// How many connections one turn reads from again.
const RELEASED_EACH_TURN: usize = 1024;

/// Entries of the list of times that are not looked at for whether they still matter.
const STALE_MIN: usize = 16;

/// What a connection has published, by the times at which it is paid for, in nanoseconds.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Paid {
    messages: u64,
    bytes: u64,
}

/// How fast each connection may publish.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    /// What a message costs, in nanoseconds. 0: nothing, there is no limit.
    message_ns: u64,
    /// Bytes a second. 0: no limit.
    bytes_each_s: u64,
}

impl Rates {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            message_ns: NS_PER_S.checked_div(config.publish_rate_max).unwrap_or(0),
            bytes_each_s: config.publish_bytes_rate_max,
        }
    }

    fn limit_anything(&self) -> bool {
        self.message_ns > 0 || self.bytes_each_s > 0
    }

    fn bytes_ns(&self, len: usize) -> u64 {
        // The longest message takes fewer than 2^58 nanoseconds.
        (len as u64 * NS_PER_S).checked_div(self.bytes_each_s).unwrap_or(0)
    }

    /// The earliest time at which a message of `len` bytes may pass.
    fn time_of(&self, paid: &Paid, len: usize) -> u64 {
        // What costs more than may come at once passes when all before it is paid for.
        let after = |paid: u64, cost: u64| (paid + cost.min(BURST_NS)).saturating_sub(BURST_NS);
        after(paid.messages, self.message_ns).max(after(paid.bytes, self.bytes_ns(len)))
    }

    /// Notes that a message of `len` bytes passes.
    fn charge(&self, paid: &mut Paid, len: usize, now: u64) {
        if self.message_ns > 0 {
            paid.messages = paid.messages.max(now) + self.message_ns;
        }
        if self.bytes_each_s > 0 {
            paid.bytes = paid.bytes.max(now) + self.bytes_ns(len);
        }
    }
}

/// When which connection is read from again, the earliest first.
#[derive(Debug, Default)]
pub(super) struct Throttled(BinaryHeap<Reverse<(u64, ConnRef)>>);

impl Throttled {
    pub(super) fn next_time(&self) -> Option<u64> {
        self.0.peek().map(|Reverse((time, _))| *time)
    }

    fn push(&mut self, time: u64, conn: ConnRef, conns: &Conns) {
        self.0.push(Reverse((time, conn)));
        // Each connection has one entry; what is more was left behind by those that were closed meanwhile.
        if self.0.len() > 2 * conns.len() + STALE_MIN {
            self.0.retain(|Reverse((_, conn))| is_throttled(conns, *conn));
        }
    }

    fn take_due(&mut self, now: u64) -> Option<ConnRef> {
        if self.next_time()? > now {
            return None;
        }
        self.0.pop().map(|Reverse((_, conn))| conn)
    }
}

fn is_throttled(conns: &Conns, conn: ConnRef) -> bool {
    conns.slot_of(conn).is_some_and(|slot| conns[slot].holds.has(Holds::RATE))
}

impl<D: Driver> Shard<D> {
    /// True if a message of a connection has to wait because of its rate. Then it is kept, and the connection is held.
    pub(super) fn must_slow_down(
        &mut self,
        slot: u32,
        topic: &TopicName,
        draft: &Draft<'_>,
        id: Option<&Id>,
    ) -> bool {
        if !self.rates.limit_anything() {
            return false;
        }
        let len = draft.payload.len();
        let time = self.rates.time_of(&self.conns[slot].paid, len);
        if time <= self.now {
            self.rates.charge(&mut self.conns[slot].paid, len, self.now);
            return false;
        }
        let source =
            Source::Connection { shard: self.index, conn: self.conns.reference(slot), id: id.cloned() };
        let message =
            Message { kind: draft.kind, key: draft.key.cloned(), payload: self.copy(draft.payload) };
        let waits = Command::Publish { topic: topic.clone(), message, source };
        self.conns[slot].stalled = Some(Box::new(waits));
        self.throttle(slot, time);
        self.unfinished_bytes += len;
        self.bound_unfinished(slot);
        true
    }

    /// Charges a connection for a ping, which counts as a message. It passes, but nothing may follow before it is paid for.
    pub(super) fn charge_ping(&mut self, slot: u32) {
        let Rates { message_ns, .. } = self.rates;
        let pings = Rates { message_ns, bytes_each_s: 0 };
        let paid = &mut self.conns[slot].paid;
        pings.charge(paid, 0, self.now);
        let time = paid.messages.saturating_sub(BURST_NS);
        if time > self.now {
            self.throttle(slot, time);
        }
    }

    fn throttle(&mut self, slot: u32, time: u64) {
        self.stats.publish_throttled.add(1);
        let time = time.max(self.now + WAIT_NS_MIN);
        self.throttled.push(time, self.conns.reference(slot), &self.conns);
        self.hold(slot, Holds::RATE);
    }

    /// Goes on with the connections whose time has come.
    pub(super) fn keep_rates(&mut self) {
        for _ in 0..RELEASED_EACH_TURN {
            let Some(conn) = self.throttled.take_due(self.now) else { return };
            if is_throttled(&self.conns, conn) {
                self.speed_up(conn.slot);
            }
        }
    }

    /// Publishes what a connection had to wait with, and reads from it again. Does nothing for one that is not held
    /// for its rate.
    pub(super) fn speed_up(&mut self, slot: u32) {
        if !self.conns[slot].holds.has(Holds::RATE) {
            return;
        }
        if let Some(command) = self.conns[slot].stalled.take()
            && let Command::Publish { topic, message, source: Source::Connection { id, .. } } = *command
        {
            self.unfinished_bytes -= message.payload.len();
            self.rates.charge(&mut self.conns[slot].paid, message.payload.len(), self.now);
            self.publish_now(slot, &topic, &message.draft(), id);
        }
        self.release(slot, Holds::RATE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(messages: u64, bytes: u64) -> Rates {
        let limits =
            Config { publish_rate_max: messages, publish_bytes_rate_max: bytes, ..Config::default() };
        Rates::of(&limits)
    }

    /// When each of these messages passes, all of them there at time 0, in milliseconds.
    fn times(rates: Rates, lens: &[usize]) -> Vec<u64> {
        let (begin, mut paid, mut now) = (7_000_000_000, Paid::default(), 7_000_000_000);
        let pass = |len: &usize| {
            now = rates.time_of(&paid, *len).max(now);
            rates.charge(&mut paid, *len, now);
            (now - begin) / NS_PER_MS
        };
        lens.iter().map(pass).collect()
    }

    #[test]
    fn a_seconds_worth_passes_at_once_and_the_rest_at_the_rate() {
        assert_eq!(times(rates(4, 0), &[1; 8]), [0, 0, 0, 0, 250, 500, 750, 1000]);
        assert_eq!(times(rates(0, 100), &[50; 5]), [0, 0, 500, 1000, 1500]);
        assert_eq!(times(rates(1, 0), &[0; 3]), [0, 1000, 2000]);
        assert_eq!(
            times(rates(2, 100), &[10, 90, 10, 90, 10]),
            [0, 0, 500, 1000, 1500],
            "the stricter one counts"
        );
        assert_eq!(times(rates(0, 0), &[1 << 28; 3]), [0, 0, 0]);
    }

    #[test]
    fn a_message_larger_than_a_seconds_worth_waits_for_full_credit_and_the_next_for_its_size() {
        assert_eq!(times(rates(0, 100), &[300, 10, 300, 0]), [0, 2100, 3100, 5100]);
        // The largest message at the lowest rate: 8.5 years.
        assert_eq!(times(rates(0, 1), &[1 << 28, 1])[1], (1 << 28) * 1000);
    }

    #[test]
    fn credit_does_not_grow_beyond_a_second() {
        let (rates, mut paid) = (rates(10, 0), Paid::default());
        let hour = 3_600 * NS_PER_S;
        let mut passed = 0;
        while rates.time_of(&paid, 1) <= hour {
            rates.charge(&mut paid, 1, hour);
            passed += 1;
        }
        assert_eq!(passed, 10);
    }
}
