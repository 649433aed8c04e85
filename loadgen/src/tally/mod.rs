//! Every delivery, judged and timed.
//!
//! - `cursor`: what one subscriber has seen of one publisher
//! - `broadcast`: one message as all subscribers see it

mod broadcast;
mod cursor;

use crate::dialect::Resumed;
use crate::latency::Latency;
use crate::observed::{Clock, Counts, Ended, Interval, Others};
use crate::party::Share;
use crate::payload::{Format, Stamp, Unread};
use crate::plan::{Plan, Reader, Rooms};
use crate::schedule::Schedule;
use broadcast::Broadcast;
use cursor::{Arrival, Cursor};

/// A message cannot have been sent so long after it arrived, whatever the clocks say.
const CLOCKS_APART_NS_MAX: u64 = 10_000_000_000;

/// How long after its return a subscriber must have heard what others hear.
const SILENT_NS: u64 = 200_000_000;

/// What one subscriber is, and what it received that is no message of its room.
#[derive(Debug)]
struct Subscriber {
    /// `None` for one that was not there when the run began.
    reader: Option<Reader>,
    /// A pausing one reads again, and has not caught up yet.
    is_behind: bool,
    /// It left to go on where it is, and is not back.
    is_away: bool,
    /// When it came back last, and has heard nothing since.
    silent_since: Option<u64>,
    room: u32,
    corrupt: u32,
    misrouted: u32,
    /// What the server said it left out.
    announced: u64,
}

/// What one worker's subscribers received of the measured messages. Warm-up messages are neither counted nor timed.
///
/// Times are nanoseconds since the run's epoch.
#[derive(Debug)]
pub(crate) struct Tally {
    format: Format,
    schedule: Schedule,
    rooms: Rooms,
    subscribers: Box<[Subscriber]>,
    /// Of each subscriber, one for each publisher of its room.
    cursors: Box<[Cursor]>,
    publishers_in_each: usize,
    foreign: u64,
    /// Distinct measured messages, over all steady subscribers.
    delivered: u64,
    last_delivery: u64,
    clock: Clock,
    broadcast: Broadcast,
    /// The current row of the time line.
    interval: Interval,
    others: Others,
    /// By room: when the latest message was due that a steady subscriber has received.
    latest: Box<[u64]>,
    /// When those who paused read again.
    resumed_at: u64,
    /// Those who come back shall go on behind the last message that they had.
    recovers: bool,
}

impl Tally {
    /// `is_present` says which of the worker's subscribers are there.
    pub(crate) fn new(
        plan: &Plan,
        share: &Share,
        format: Format,
        is_present: impl Fn(usize) -> bool,
    ) -> Self {
        let (rooms, schedule) = (plan.rooms, plan.schedule);
        let publishers_in_each = rooms.publishers_in_each();
        let mut receivers = vec![0u32; rooms.count];
        let mut others = Others::default();
        let subscribers: Box<[Subscriber]> = (share.index..rooms.subscribers)
            .step_by(share.count)
            .enumerate()
            .map(|(number, everyone)| {
                let room = rooms.room_of_subscriber(everyone);
                let reader = is_present(number).then(|| plan.reader(everyone));
                match reader {
                    Some(Reader::Steady) => receivers[room] += 1,
                    Some(reader) => ended(&mut others, reader).subscribers += 1,
                    None => {}
                }
                Subscriber {
                    reader,
                    is_behind: false,
                    is_away: false,
                    silent_since: None,
                    room: room as u32,
                    corrupt: 0,
                    misrouted: 0,
                    announced: 0,
                }
            })
            .collect();
        let cursors = subscribers.iter().flat_map(|subscriber| {
            (0..publishers_in_each).map(|nth| {
                let publisher = nth * rooms.count + subscriber.room as usize;
                Cursor::new(schedule.count_of(publisher, schedule.warmup()) as u32)
            })
        });
        Self {
            cursors: cursors.collect(),
            subscribers,
            publishers_in_each,
            foreign: 0,
            delivered: 0,
            last_delivery: 0,
            clock: Clock::default(),
            broadcast: Broadcast::new(receivers.into(), schedule.messages_per_second()),
            interval: Interval::default(),
            others,
            latest: vec![0; rooms.count].into(),
            resumed_at: 0,
            recovers: plan.readers.recovers,
            format,
            schedule,
            rooms,
        }
    }

    /// Distinct measured messages received, over all steady subscribers.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Of what the publishers have `sent`, how many deliveries to steady subscribers that makes.
    pub(crate) fn expected(&self, sent: &[u32]) -> u64 {
        let mut measured = vec![0; self.rooms.count];
        for (publisher, &sent) in sent.iter().enumerate() {
            let warmup = self.schedule.count_of(publisher, self.schedule.warmup());
            measured[self.rooms.room_of_publisher(publisher)] += u64::from(sent).saturating_sub(warmup);
        }
        let steady = self.subscribers.iter().filter(|subscriber| subscriber.reader == Some(Reader::Steady));
        steady.map(|subscriber| measured[subscriber.room as usize]).sum()
    }

    /// `subscriber` received `payload` at `now`.
    #[inline]
    pub(crate) fn receive(&mut self, subscriber: usize, payload: &[u8], now: u64) {
        let stamp = match self.format.read(payload) {
            Ok(stamp) => stamp,
            Err(fault) => return self.receive_unread(subscriber, fault),
        };
        let publisher = usize::from(stamp.publisher);
        let slot = self.schedule.slot(publisher, stamp.seq);
        let is_possible = publisher < self.rooms.publishers
            && slot < self.schedule.total()
            && stamp.sent <= now.saturating_add(CLOCKS_APART_NS_MAX);
        if !is_possible {
            return self.receive_unread(subscriber, Unread::Corrupt);
        }
        if slot < self.schedule.warmup() {
            return;
        }
        let (nth, room) = match self.rooms.count {
            1 => (publisher, 0),
            count => (publisher / count, publisher % count),
        };
        let receiver = &mut self.subscribers[subscriber];
        if receiver.room as usize != room {
            receiver.misrouted += 1;
            return;
        }
        let cursor = subscriber * self.publishers_in_each + nth;
        if receiver.reader != Some(Reader::Steady) {
            return self.receive_other(subscriber, cursor, &stamp, now);
        }
        if self.cursors[cursor].arrive(stamp.seq) == Arrival::Duplicate {
            return;
        }
        self.delivered += 1;
        self.interval.delivered += 1;
        self.last_delivery = now;
        record(&mut self.interval.response, &mut self.clock, now, stamp.intended);
        record(&mut self.interval.service, &mut self.clock, now, stamp.sent);
        self.broadcast.received(slot, room, stamp.intended, now);
    }

    #[cold]
    fn receive_unread(&mut self, subscriber: usize, fault: Unread) {
        match fault {
            Unread::Corrupt => self.subscribers[subscriber].corrupt += 1,
            Unread::Foreign => self.foreign += 1,
        }
    }

    fn receive_other(&mut self, subscriber: usize, cursor: usize, stamp: &Stamp, now: u64) {
        let receiver = &mut self.subscribers[subscriber];
        let Some(reader) = receiver.reader else { return };
        if self.cursors[cursor].arrive(stamp.seq) == Arrival::Duplicate {
            return;
        }
        ended(&mut self.others, reader).delivered += 1;
        receiver.silent_since = None;
        if receiver.is_behind && stamp.intended >= self.resumed_at {
            receiver.is_behind = false;
            self.others.catch_up.record(now.saturating_sub(self.resumed_at));
        }
    }

    /// The server says that it left out messages for `subscriber`; at least one, when it does not say how many.
    pub(crate) fn announce(&mut self, subscriber: usize, messages: Option<u64>, now: u64) {
        // Nothing of the warm-up is missing.
        if now >= self.schedule.measured_from() {
            self.subscribers[subscriber].announced += messages.unwrap_or(1);
        }
    }

    /// A message was published so long after it was due, and after the server was ready to take it.
    pub(crate) fn published(&mut self, slot: u64, lag: u64, own_lag: u64) {
        self.interval.sent += 1;
        if slot >= self.schedule.warmup() {
            self.interval.send_lag.record(lag);
            self.interval.own_lag.record(own_lag);
        }
    }

    /// `subscriber` received `payload` when the run was over: too late to be delivered, but not to be wrong.
    pub(crate) fn receive_late(&mut self, subscriber: usize, payload: &[u8]) {
        let stamp = match self.format.read(payload) {
            Ok(stamp) => stamp,
            Err(fault) => return self.receive_unread(subscriber, fault),
        };
        let publisher = usize::from(stamp.publisher);
        let receiver = &mut self.subscribers[subscriber];
        if publisher >= self.rooms.publishers {
            receiver.corrupt += 1;
        } else if self.rooms.room_of_publisher(publisher) != receiver.room as usize {
            receiver.misrouted += 1;
        } else {
            let nth = publisher / self.rooms.count;
            self.cursors[subscriber * self.publishers_in_each + nth].arrive_late(stamp.seq);
        }
    }

    /// All who paused read again.
    pub(crate) fn resume(&mut self, now: u64) {
        self.resumed_at = now;
        for subscriber in &mut self.subscribers {
            subscriber.is_behind = subscriber.reader == Some(Reader::Pausing);
        }
    }

    /// The subscriber's connection is over; it may come back.
    pub(crate) fn left(&mut self, subscriber: usize) {
        if self.recovers {
            // Whether it goes on where it is now is known when it is back.
            self.subscribers[subscriber].is_away = true;
        } else {
            self.forget_place(subscriber);
        }
    }

    /// One that left is back. If it goes on where it had left, nothing in between may be missing or come twice, but for what
    /// the server announces; otherwise what was published in between is none of its business.
    pub(crate) fn returned(&mut self, subscriber: usize, resumed: Option<Resumed>, now: u64) {
        if !matches!(resumed, Some(Resumed::Recovered | Resumed::Announced)) {
            self.forget_place(subscriber);
        }
        if resumed == Some(Resumed::Recovered) {
            self.others.recovered += 1;
            self.interval.recovered += 1;
        } else if self.recovers {
            self.others.recoveries_failed += 1;
            self.interval.recoveries_failed += 1;
        }
        let subscriber = &mut self.subscribers[subscriber];
        subscriber.is_away = false;
        subscriber.silent_since = Some(now);
    }

    /// The subscriber will go on anywhere.
    fn forget_place(&mut self, subscriber: usize) {
        let cursors = subscriber * self.publishers_in_each..(subscriber + 1) * self.publishers_in_each;
        self.cursors[cursors].iter_mut().for_each(Cursor::leave);
    }

    /// The server ended the connection of one that is not steady.
    pub(crate) fn lost(&mut self, subscriber: usize, reason: String) {
        if let Some(reader) = self.subscribers[subscriber].reader {
            ended(&mut self.others, reader).lost.add(reason);
        }
    }

    /// Whether some who paused have not caught up.
    pub(crate) fn is_any_behind(&self) -> bool {
        self.subscribers.iter().any(|subscriber| subscriber.is_behind)
    }

    /// Whether some who came back and went on where they had left still wait for messages. `sent` is as in
    /// [`finish`](Self::finish).
    pub(crate) fn is_any_recovering(&self, sent: &[u32]) -> bool {
        let is_waiting = |(number, subscriber): (usize, &Subscriber)| {
            let cursors = &self.cursors[number * self.publishers_in_each..][..self.publishers_in_each];
            let mut publishers = (subscriber.room as usize..).step_by(self.rooms.count).zip(cursors);
            subscriber.reader == Some(Reader::Returning)
                && !subscriber.is_away
                && !publishers.all(|(publisher, cursor)| cursor.has_reached(sent[publisher]))
        };
        self.recovers && self.subscribers.iter().enumerate().any(is_waiting)
    }

    pub(crate) fn others(&mut self) -> &mut Others {
        &mut self.others
    }

    /// Ends the row `index` of the time line. The last one takes along the messages that not all have received.
    pub(crate) fn end_interval(&mut self, index: u32, is_last: bool) -> Interval {
        let mut interval = std::mem::take(&mut self.interval);
        interval.index = index;
        interval.flights = self.broadcast.take_ended();
        if is_last {
            interval.flights.append(&mut self.broadcast.take_rest());
        }
        for flight in &interval.flights {
            let room = self.rooms.room_of_publisher(self.schedule.publisher(flight.slot));
            self.latest[room] = self.latest[room].max(flight.intended);
        }
        interval
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn last_delivery(&self) -> u64 {
        self.last_delivery
    }

    /// Adds all up. `sent` holds how many messages each publisher sent, warm-up included.
    pub(crate) fn finish(&mut self, sent: &[u32]) -> (Counts, Others) {
        let mut counts = Counts {
            expected: self.expected(sent),
            delivered: self.delivered,
            foreign: self.foreign,
            ..Counts::default()
        };
        let mut others = std::mem::take(&mut self.others);
        // Who never came back has missed nothing but its return.
        let away = (0..self.subscribers.len()).filter(|&number| self.subscribers[number].is_away);
        away.collect::<Vec<_>>().into_iter().for_each(|number| self.forget_place(number));
        for (number, subscriber) in self.subscribers.iter().enumerate() {
            let Some(reader) = subscriber.reader else { continue };
            let cursors = &self.cursors[number * self.publishers_in_each..][..self.publishers_in_each];
            let publishers = (subscriber.room as usize..).step_by(self.rooms.count);
            let absent: u64 = cursors
                .iter()
                .zip(publishers)
                .map(|(cursor, publisher)| cursor.missing(sent[publisher]))
                .sum();
            let announced = subscriber.announced.min(absent);
            let missing = absent - announced;
            let duplicate: u64 = cursors.iter().map(|cursor| u64::from(cursor.duplicate)).sum();
            let reordered: u64 = cursors.iter().map(|cursor| u64::from(cursor.reordered)).sum();
            let (corrupt, misrouted) = (u64::from(subscriber.corrupt), u64::from(subscriber.misrouted));
            if reader == Reader::Steady {
                counts.missing += missing;
                counts.announced += announced;
                counts.duplicate += duplicate;
                counts.reordered += reordered;
                counts.corrupt += corrupt;
            } else {
                let latest = self.latest[subscriber.room as usize];
                let is_silent = |since: u64| latest > since.saturating_add(SILENT_NS);
                others.silent += u64::from(subscriber.silent_since.is_some_and(is_silent));
                let ended = ended(&mut others, reader);
                ended.missing += missing;
                ended.announced += announced;
                ended.duplicate += duplicate;
                ended.reordered += reordered;
                ended.corrupt += corrupt;
            }
            // Nobody may receive another room's messages, whatever it does.
            counts.misrouted += misrouted;
            let is_affected = missing + duplicate + reordered + corrupt + misrouted > 0;
            counts.subscribers_affected += u64::from(is_affected && reader == Reader::Steady);
        }
        (counts, others)
    }
}

/// Between machines a message may seem to arrive before it was sent. That is counted, and hides in no histogram.
#[inline]
fn record(latency: &mut Latency, clock: &mut Clock, now: u64, since: u64) {
    match now.checked_sub(since) {
        Some(ns) => latency.record(ns),
        None => {
            clock.negative += 1;
            clock.worst_ns = clock.worst_ns.max(since - now);
        }
    }
}

fn ended(others: &mut Others, reader: Reader) -> &mut Ended {
    match reader {
        Reader::Stalled => &mut others.stalled,
        Reader::Slow => &mut others.slow,
        Reader::Pausing => &mut others.pausing,
        Reader::Returning => &mut others.returning,
        Reader::Steady => unreachable!("steady subscribers are counted apart"),
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::plan;

    const RUN: u16 = 1;

    /// What is due at 100 and sent at 150.
    fn payload(plan: &Plan, run: u16, publisher: u16, seq: u32) -> Vec<u8> {
        let mut payload = Vec::new();
        let stamp = Stamp { publisher, seq, intended: 100, sent: 150 };
        Format::new(run, &plan.content).write(&mut payload, &stamp);
        payload
    }

    fn share() -> Share {
        Share { index: 0, count: 1, run: RUN, core: None }
    }

    fn tally(plan: &Plan) -> Tally {
        Tally::new(plan, &share(), Format::new(RUN, &plan.content), |_| true)
    }

    /// Two publishers, each with one warm-up message and five measured ones; two subscribers.
    fn two_by_two() -> Plan {
        let mut plan = plan(2, 2, 1);
        plan.schedule = Schedule::new(
            crate::schedule::Shape::Constant,
            2.0,
            2,
            Duration::from_secs(1),
            Duration::from_secs(5),
        );
        plan
    }

    #[test]
    fn a_clean_run_is_clean_and_timed() {
        let plan = two_by_two();
        let mut tally = tally(&plan);
        for subscriber in 0..2 {
            for seq in 0..6 {
                for publisher in 0..2 {
                    tally.receive(subscriber, &payload(&plan, RUN, publisher, seq), 1_100);
                }
            }
        }
        assert_eq!(tally.expected(&[6, 6]), 20);
        let expected = Counts { expected: 20, delivered: 20, ..Counts::default() };
        assert_eq!(tally.finish(&[6, 6]).0, expected);
        let interval = tally.end_interval(3, true);
        assert_eq!((interval.index, interval.delivered), (3, 20));
        assert_eq!((interval.response.count(), interval.response.spectrum().max), (20, 1_000));
        assert_eq!((interval.service.count(), interval.service.spectrum().max), (20, 950));
        assert_eq!(interval.flights.len(), 10);
        assert!(interval.flights.iter().all(|flight| (flight.received, flight.intended) == (2, 100)));
    }

    #[test]
    fn faults_count_for_the_subscriber_that_saw_them() {
        let plan = two_by_two();
        let mut tally = tally(&plan);
        let good = |publisher, seq| payload(&plan, RUN, publisher, seq);
        let mut bad = good(0, 3);
        bad[40] ^= 1;
        let foreign = payload(&plan, RUN + 1, 0, 3);
        for payload in [good(0, 1), good(0, 2), good(0, 2), bad, foreign, good(0, 5), good(0, 4)] {
            tally.receive(1, &payload, 1_000);
        }
        let (counts, _) = tally.finish(&[6, 1]);
        let expected = Counts {
            expected: 10,
            delivered: 4,
            missing: 5 + 1,
            duplicate: 1,
            reordered: 1,
            corrupt: 1,
            foreign: 1,
            subscribers_affected: 2,
            ..Counts::default()
        };
        assert_eq!(counts, expected);
    }

    #[test]
    fn what_the_server_said_it_left_out_is_announced_and_not_missing() {
        let plan = two_by_two();
        let mut tally = tally(&plan);
        tally.receive(0, &payload(&plan, RUN, 0, 1), 1_000);
        // Seven of the nine others are announced; the rest, and all of the second subscriber's, are missing.
        tally.announce(0, Some(50), 999_999_999);
        tally.announce(0, Some(6), 1_000_000_000);
        tally.announce(0, None, 1_000_000_000);
        let (counts, _) = tally.finish(&[6, 6]);
        assert_eq!((counts.announced, counts.missing, counts.delivered), (7, 2 + 10, 1));
    }

    #[test]
    fn messages_that_nobody_can_have_sent_are_corrupt() {
        let plan = two_by_two();
        let mut tally = tally(&plan);
        // A publisher too many, and a sequence too high.
        tally.receive(0, &payload(&plan, RUN, 2, 1), 1_000);
        tally.receive(0, &payload(&plan, RUN, 0, 6), 1_000);
        assert_eq!((tally.finish(&[6, 6]).0.corrupt, tally.delivered()), (2, 0));
    }

    #[test]
    fn clocks_that_differ_are_counted_and_in_no_histogram() {
        let plan = two_by_two();
        let mut tally = tally(&plan);
        tally.receive(0, &payload(&plan, RUN, 0, 1), 40);
        tally.receive(0, &payload(&plan, RUN, 0, 2), 120);
        assert_eq!(tally.clock(), Clock { negative: 3, worst_ns: 110 });
        assert_eq!((tally.delivered(), tally.end_interval(0, false).response.spectrum().max), (2, 20));
    }

    #[test]
    fn another_rooms_message_is_misrouted() {
        // Publishers 0 and 2 are in room 0, as are subscribers 0 and 2.
        let mut plan = plan(4, 4, 2);
        plan.schedule =
            Schedule::new(crate::schedule::Shape::Constant, 4.0, 4, Duration::ZERO, Duration::from_secs(2));
        let mut tally = tally(&plan);
        for publisher in 0..4 {
            tally.receive(2, &payload(&plan, RUN, publisher, 0), 1_000);
        }
        assert_eq!((tally.delivered(), tally.expected(&[1, 1, 1, 1])), (2, 8));
        let (counts, _) = tally.finish(&[1, 1, 1, 1]);
        assert_eq!((counts.misrouted, counts.missing, counts.subscribers_affected), (2, 6, 4));
    }

    #[test]
    fn who_is_not_steady_is_counted_apart() {
        let mut plan = two_by_two();
        plan.readers.pausing = 1;
        plan.readers.returning = 1;
        let of = |kind| (0..2).find(|&number| plan.reader(number) == kind).expect("one of each");
        let (pausing, returning) = (of(Reader::Pausing), of(Reader::Returning));
        let mut tally = tally(&plan);
        tally.resume(90);
        assert!(tally.is_any_behind());
        tally.receive(pausing, &payload(&plan, RUN, 0, 1), 1_000);
        assert!(!tally.is_any_behind());
        tally.receive(returning, &payload(&plan, RUN, 0, 1), 1_000);
        tally.left(returning);
        tally.receive(returning, &payload(&plan, RUN, 0, 4), 1_000);
        tally.lost(returning, "reset".to_owned());
        assert_eq!((tally.delivered(), tally.expected(&[6, 0])), (0, 0));
        let (counts, others) = tally.finish(&[6, 0]);
        assert_eq!(counts, Counts::default());
        assert_eq!(
            (others.pausing.delivered, others.pausing.missing, others.catch_up.spectrum().max),
            (1, 4, 910)
        );
        assert_eq!((others.returning.delivered, others.returning.missing), (2, 1));
        assert_eq!(others.returning.lost.to_string(), "1 x reset");
    }

    #[test]
    fn who_recovers_is_checked_across_its_absence() {
        let mut plan = two_by_two();
        (plan.readers.returning, plan.readers.recovers) = (1, true);
        let returning = (0..2).find(|&number| plan.reader(number) == Reader::Returning).expect("one");
        for (resumed, announced, late, (missing, duplicate, recovered)) in [
            (Some(Resumed::Recovered), None, 3, (1, 0, true)),
            (Some(Resumed::Recovered), None, 1, (0, 1, true)),
            (Some(Resumed::Recovered), None, 2, (0, 0, true)),
            (Some(Resumed::Announced), Some(1), 3, (0, 0, false)),
            (Some(Resumed::Lost), None, 3, (0, 0, false)),
            // It could not say where it had been.
            (None, None, 3, (0, 0, false)),
        ] {
            let mut tally = tally(&plan);
            tally.receive(returning, &payload(&plan, RUN, 0, 1), 1_000);
            tally.left(returning);
            assert!(!tally.is_any_recovering(&[5, 0]), "it may never be back");
            tally.returned(returning, resumed, 1_000);
            tally.announce(returning, announced, if announced.is_some() { 1_000_000_000 } else { 0 });
            (late..4).for_each(|seq| tally.receive(returning, &payload(&plan, RUN, 0, seq), 1_000));
            assert!(tally.is_any_recovering(&[5, 0]) && !tally.is_any_recovering(&[4, 0]));
            let (_, others) = tally.finish(&[4, 0]);
            let seen = (others.returning.missing, others.returning.duplicate);
            assert_eq!(seen, (missing, duplicate), "{resumed:?} {late}");
            assert_eq!(
                (others.recovered, others.recoveries_failed),
                (u64::from(recovered), u64::from(!recovered))
            );
            assert_eq!(others.returning.announced, announced.unwrap_or(0));
        }
        // One that never came back misses nothing.
        let mut tally = tally(&plan);
        tally.receive(returning, &payload(&plan, RUN, 0, 1), 1_000);
        tally.left(returning);
        assert_eq!(tally.finish(&[6, 6]).1.returning.missing, 0);
    }

    #[test]
    fn the_warm_up_and_subscribers_that_never_came_do_not_count() {
        let plan = two_by_two();
        let mut tally =
            Tally::new(&plan, &share(), Format::new(RUN, &plan.content), |subscriber| subscriber == 1);
        tally.receive(1, &payload(&plan, RUN, 0, 0), 1_000);
        assert_eq!((tally.delivered(), tally.expected(&[6, 6])), (0, 10));
        assert_eq!(tally.finish(&[6, 6]).0.missing, 10);
    }
}
