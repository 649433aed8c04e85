//! Each message as all its receivers see it: when the first had it, and when the last had it.
//!
//! Workers tell of messages in pieces, one interval after the other and not in step. The pieces of one message are put
//! together here until all steady subscribers of its room have it.

use std::time::Duration;

use crate::latency::Latency;
use crate::observed::{Clock, Flight};
use crate::plan::{Plan, Rooms};
use crate::schedule::Schedule;

/// The fewest and the most recent messages that are followed at once.
const WINDOW_MIN: u64 = 65_536;
const WINDOW_MAX: u64 = 1 << 20;

/// How many intervals' messages are followed at once: one worker may be some intervals behind another.
const INTERVALS: f64 = 4.0;

/// A message that some subscribers have.
#[derive(Clone, Copy, Debug, Default)]
struct Followed {
    /// The message's slot plus one; 0 for none.
    tag: u64,
    first: u64,
    last: u64,
    received: u32,
}

/// The recent messages, and the figures of those that all received.
///
/// A message that some subscriber has not received when a newer one takes its place has no broadcast figures.
#[derive(Clone, Debug)]
pub(crate) struct Flights {
    schedule: Schedule,
    rooms: Rooms,
    steady_by_room: Vec<u32>,
    /// The message of slot `i` stands at `i` modulo the length, which is a power of two.
    recent: Box<[Followed]>,
    /// Messages that every steady subscriber of their room received.
    pub(crate) complete: u64,
    pub(crate) to_first: Latency,
    pub(crate) to_last: Latency,
    pub(crate) spread: Latency,
    pub(crate) clock: Clock,
}

impl Flights {
    pub(crate) fn new(plan: &Plan, steady_by_room: Vec<u32>) -> Self {
        let window = window(plan.schedule.messages_per_second(), plan.interval).min(plan.schedule.total());
        Self {
            schedule: plan.schedule,
            rooms: plan.rooms,
            steady_by_room,
            recent: vec![Followed::default(); window.next_power_of_two() as usize].into(),
            complete: 0,
            to_first: Latency::default(),
            to_last: Latency::default(),
            spread: Latency::default(),
            clock: Clock::default(),
        }
    }

    /// Some more subscribers received a message. Messages of the warm-up are passed over.
    pub(crate) fn seen(&mut self, flight: &Flight) {
        if flight.slot < self.schedule.warmup()
            || flight.slot >= self.schedule.total()
            || flight.received == 0
        {
            return;
        }
        let place = flight.slot as usize & (self.recent.len() - 1);
        let followed = &mut self.recent[place];
        let tag = flight.slot + 1;
        if followed.tag > tag {
            return;
        }
        if followed.tag < tag {
            *followed = Followed { tag, first: flight.first, last: flight.last, received: 0 };
        }
        followed.first = followed.first.min(flight.first);
        followed.last = followed.last.max(flight.last);
        let before = followed.received;
        followed.received = before.saturating_add(flight.received);
        let room = self.rooms.room_of_publisher(self.schedule.publisher(flight.slot));
        let steady = self.steady_by_room.get(room).copied().unwrap_or(0);
        if before < steady && followed.received >= steady {
            let Followed { first, last, .. } = *followed;
            self.landed(flight.intended, first, last);
        }
    }

    /// All have a message.
    fn landed(&mut self, intended: u64, first: u64, last: u64) {
        self.complete += 1;
        self.spread.record(last.saturating_sub(first));
        for (latency, at) in [(&mut self.to_first, first), (&mut self.to_last, last)] {
            match at.checked_sub(intended) {
                Some(ns) => latency.record(ns),
                None => self.clock.merge(&Clock { negative: 1, worst_ns: intended - at }),
            }
        }
    }
}

/// How many messages are followed at once.
fn window(messages_per_second: f64, interval: Duration) -> u64 {
    let wanted = messages_per_second * interval.as_secs_f64() * INTERVALS;
    (wanted as u64).clamp(WINDOW_MIN, WINDOW_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fixture;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// One room, one publisher, 1000 messages, no warm-up.
    fn followed_by(steady: u32) -> Flights {
        Flights::new(&fixture::plan_with(|plan| plan.rooms.count = 1), vec![steady])
    }

    fn flight(slot: u64, first: u64, last: u64, received: u32) -> Flight {
        Flight { slot, intended: 1_000, first, last, received }
    }

    fn largest(flights: &Flights) -> [u64; 3] {
        [&flights.to_first, &flights.to_last, &flights.spread].map(|latency| latency.spectrum().max)
    }

    #[test]
    fn the_first_and_the_last_of_all_workers_count() {
        let mut flights = followed_by(6);
        let from = fixture::plan().schedule.warmup();
        for (first, last) in [(1_500, 1_600), (1_400, 1_450), (1_700, 1_900)] {
            assert_eq!(flights.complete, 0);
            flights.seen(&flight(from, first, last, 2));
        }
        assert_eq!((flights.complete, largest(&flights)), (1, [400, 900, 500]));
        // What comes twice does not complete a message again.
        flights.seen(&flight(from, 1_000, 9_000, 2));
        assert_eq!(flights.complete, 1);
    }

    #[test]
    fn nobody_completes_a_message_of_the_warmup_or_of_a_room_without_steady_subscribers() {
        let mut flights = followed_by(1);
        let schedule = fixture::plan().schedule;
        flights.seen(&flight(schedule.warmup() - 1, 2_000, 2_000, 1));
        flights.seen(&flight(schedule.total(), 2_000, 2_000, 1));
        flights.seen(&flight(u64::MAX, 2_000, 2_000, 1));
        assert_eq!(flights.complete, 0);
        for steady in [vec![0], vec![]] {
            let mut flights = Flights { steady_by_room: steady, ..followed_by(1) };
            flights.seen(&flight(schedule.warmup(), 2_000, 2_000, 1));
            assert_eq!(flights.complete, 0);
        }
    }

    #[test]
    fn what_came_before_it_was_due_is_counted_and_not_recorded() {
        let mut flights = followed_by(2);
        let from = fixture::plan().schedule.warmup();
        flights.seen(&flight(from, 700, 1_200, 2));
        assert_eq!(flights.clock, Clock { negative: 1, worst_ns: 300 });
        assert_eq!((flights.to_first.count(), flights.to_last.count(), flights.complete), (0, 1, 1));
        flights.seen(&flight(from + 1, 100, 999, 2));
        assert_eq!(flights.clock, Clock { negative: 3, worst_ns: 900 });
        assert_eq!((flights.to_last.count(), flights.complete), (1, 2));
    }

    #[test]
    fn a_message_that_the_window_has_left_has_no_figures() {
        let mut flights = followed_by(2);
        flights.recent = vec![Followed::default(); 4].into();
        let from = fixture::plan().schedule.warmup();
        flights.seen(&flight(from, 1_010, 1_010, 1));
        flights.seen(&flight(from + 4, 1_020, 1_020, 1));
        // Comes too late to be followed, and must not disturb the newer one.
        flights.seen(&flight(from, 1_030, 1_030, 1));
        flights.seen(&flight(from + 4, 1_040, 1_040, 1));
        assert_eq!((flights.complete, largest(&flights)), (1, [20, 40, 20]));
    }

    #[test]
    fn the_window_holds_some_intervals_within_limits() {
        for (rate, millis, expected) in [
            (0.0, 1_000, WINDOW_MIN),
            (100_000.0, 1_000, 400_000),
            (100_000.0, 100, WINDOW_MIN),
            (1e9, 1_000, WINDOW_MAX),
        ] {
            assert_eq!(window(rate, Duration::from_millis(millis)), expected);
        }
    }

    proptest! {
        /// Against a model that keeps all receptions of all messages.
        #[test]
        fn pieces_in_any_order_say_what_a_naive_model_says(
            steady in prop::collection::vec(0u32..5, 3),
            receptions in prop::collection::vec((0u64..30, 0u64..3_000), 1..200),
            cuts in prop::collection::vec(any::<bool>(), 200),
        ) {
            let plan = fixture::plan_with(|plan| {
                plan.rooms = Rooms { count: 3, subscribers: 15, publishers: 3 };
            });
            let schedule = plan.schedule;
            let mut flights = Flights::new(&plan, steady.clone());
            // Every publisher is of its own room here: slot -> room as the model sees it.
            let steady_of = |slot: u64| steady[(slot % schedule.publishers() as u64) as usize % 3] as usize;
            let mut model: HashMap<u64, Vec<u64>> = HashMap::new();
            for (index, &(slot, at)) in receptions.iter().enumerate() {
                let slot = schedule.warmup() + slot;
                let times = model.entry(slot).or_default();
                if times.len() >= steady_of(slot) {
                    continue;
                }
                times.push(at);
                // Some come in a piece of their own, some as two in one piece.
                let two = cuts[index] && times.len() < steady_of(slot);
                if two {
                    times.push(at + 5);
                }
                flights.seen(&Flight {
                    slot, intended: 1_000, first: at, last: if two { at + 5 } else { at }, received: 1 + u32::from(two),
                });
            }
            let mut expected = Expected::default();
            for (slot, times) in &model {
                if steady_of(*slot) == 0 || times.len() < steady_of(*slot) {
                    continue;
                }
                let first = *times.iter().min().expect("not empty");
                let last = *times.iter().max().expect("not empty");
                expected.complete += 1;
                expected.spread.record(last - first);
                for (latency, at) in [(&mut expected.to_first, first), (&mut expected.to_last, last)] {
                    if at >= 1_000 { latency.record(at - 1_000) } else { expected.negative += 1 }
                }
            }
            prop_assert_eq!(flights.complete, expected.complete);
            prop_assert_eq!(flights.clock.negative, expected.negative);
            prop_assert_eq!(flights.to_first.spectrum(), expected.to_first.spectrum());
            prop_assert_eq!(flights.to_last.spectrum(), expected.to_last.spectrum());
            prop_assert_eq!(flights.spread.spectrum(), expected.spread.spectrum());
        }
    }

    #[derive(Default)]
    struct Expected {
        complete: u64,
        negative: u64,
        to_first: Latency,
        to_last: Latency,
        spread: Latency,
    }
}
