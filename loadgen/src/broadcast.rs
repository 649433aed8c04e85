//! One message as all its receivers see it: when the first had it, and when the last had it.

use crate::latency::Latency;

/// The fewest and the most recent messages that are followed at once.
const WINDOW_MIN: u64 = 1024;
const WINDOW_MAX: u64 = 65_536;

/// A message on its way to its subscribers. Times are nanoseconds since the run's epoch.
#[derive(Clone, Copy, Debug, Default)]
struct Flight {
    /// The message's slot plus one; 0 for none.
    tag: u64,
    /// When the first subscriber received it.
    first: u64,
    received: u32,
}

/// The messages of the last second or so.
///
/// A message that some subscriber has not received when a newer one takes its place has no broadcast figures.
#[derive(Debug)]
pub struct Broadcast {
    subscribers: u32,
    /// The message of slot `i` stands at `i` modulo the length, which is a power of two.
    recent: Box<[Flight]>,
    /// From due to the first receiver, of messages that all subscribers received.
    pub to_first: Latency,
    /// From due to the last receiver.
    pub to_last: Latency,
    /// From the first receiver to the last.
    pub spread: Latency,
}

impl Broadcast {
    /// Follows each message for at least a second at this rate, as far as the limit of a window allows.
    pub fn new(subscribers: u32, messages_per_second: f64) -> Self {
        let window = (messages_per_second as u64).clamp(WINDOW_MIN, WINDOW_MAX).next_power_of_two();
        Self {
            subscribers,
            recent: vec![Flight::default(); window as usize].into(),
            to_first: Latency::default(),
            to_last: Latency::default(),
            spread: Latency::default(),
        }
    }

    /// One more subscriber received the message of `slot`.
    #[inline]
    pub fn received(&mut self, slot: u64, intended: u64, now: u64) {
        let place = slot as usize & (self.recent.len() - 1);
        let flight = &mut self.recent[place];
        if flight.tag != slot + 1 {
            if flight.tag > slot + 1 {
                return;
            }
            *flight = Flight { tag: slot + 1, first: now, received: 0 };
        }
        flight.received += 1;
        if flight.received == self.subscribers {
            self.to_first.record(flight.first - intended);
            self.to_last.record(now - intended);
            self.spread.record(now - flight.first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_timed_by_its_first_and_last_receiver() {
        let mut broadcast = Broadcast::new(3, 10.0);
        for now in [1_500, 1_800, 1_900] {
            assert_eq!(broadcast.to_last.spectrum().count, 0);
            broadcast.received(0, 1_000, now);
        }
        let seen = [&broadcast.to_first, &broadcast.to_last, &broadcast.spread]
            .map(|latency| latency.spectrum().max);
        assert_eq!(seen, [500, 900, 400]);
    }

    #[test]
    fn one_subscriber_is_first_and_last() {
        let mut broadcast = Broadcast::new(1, 10.0);
        broadcast.received(5, 1_000, 1_200);
        assert_eq!(broadcast.to_last.spectrum().count, 1);
    }

    #[test]
    fn a_message_that_the_window_has_left_is_not_timed() {
        let mut broadcast = Broadcast::new(2, 10.0);
        broadcast.received(0, 0, 10);
        broadcast.received(WINDOW_MIN, 0, 20);
        // Comes after all, too late to be followed, and must not disturb the newer one.
        broadcast.received(0, 0, 30);
        broadcast.received(WINDOW_MIN, 0, 40);
        assert_eq!((broadcast.to_last.spectrum().count, broadcast.to_last.spectrum().max), (1, 40));
    }
}
