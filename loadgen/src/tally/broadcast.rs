//! One message as all receivers of one worker see it: when the first had it, and when the last had it.

use crate::observed::Flight;

/// The fewest and the most recent messages that are followed at once. A burst, or a stall of a minute at a moderate rate, has to
/// fit, since the slowest messages are those that matter.
const WINDOW_MIN: u64 = 65_536;
const WINDOW_MAX: u64 = 1 << 20;

/// The messages of the last four seconds, or more.
///
/// A message ends when all of this worker's steady subscribers in its room have it, or when a newer one takes its place.
#[derive(Debug)]
pub(crate) struct Broadcast {
    /// How many receivers a message has, by room.
    receivers: Box<[u32]>,
    /// The message of slot `i` stands at `i` modulo the length, which is a power of two. `received` is 0 for none.
    recent: Box<[Flight]>,
    ended: Vec<Flight>,
}

impl Broadcast {
    /// Follows each message for at least four seconds at this rate, as far as the limit of a window allows.
    pub(crate) fn new(receivers: Box<[u32]>, messages_per_second: f64) -> Self {
        let window = ((4.0 * messages_per_second) as u64).clamp(WINDOW_MIN, WINDOW_MAX).next_power_of_two();
        Self { receivers, recent: vec![Flight::default(); window as usize].into(), ended: Vec::new() }
    }

    /// One more subscriber in `room` received the message of `slot`.
    #[inline]
    pub(crate) fn received(&mut self, slot: u64, room: usize, intended: u64, now: u64) {
        let place = slot as usize & (self.recent.len() - 1);
        let flight = &mut self.recent[place];
        if flight.slot != slot || flight.received == 0 {
            if flight.received > 0 {
                if flight.slot > slot {
                    return;
                }
                self.ended.push(*flight);
            }
            *flight = Flight { slot, intended, first: now, last: now, received: 0 };
        }
        flight.received += 1;
        flight.last = now;
        if flight.received == self.receivers[room] {
            self.ended.push(std::mem::take(flight));
        }
    }

    /// The messages that have ended since this was asked last.
    pub(crate) fn take_ended(&mut self) -> Vec<Flight> {
        std::mem::take(&mut self.ended)
    }

    /// The messages that have not ended.
    pub(crate) fn take_rest(&mut self) -> Vec<Flight> {
        self.recent.iter_mut().map(std::mem::take).filter(|flight| flight.received > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(slot: u64, first: u64, last: u64, received: u32) -> Flight {
        Flight { slot, intended: 1_000, first, last, received }
    }

    #[test]
    fn a_message_ends_with_its_last_receiver_in_its_room() {
        let mut broadcast = Broadcast::new([3, 1].into(), 10.0);
        for now in [1_500, 1_800, 1_900] {
            assert_eq!(broadcast.take_ended(), []);
            broadcast.received(4, 0, 1_000, now);
        }
        broadcast.received(5, 1, 1_000, 1_200);
        assert_eq!(broadcast.take_ended(), [flight(4, 1_500, 1_900, 3), flight(5, 1_200, 1_200, 1)]);
        assert_eq!(broadcast.take_rest(), []);
    }

    #[test]
    fn a_message_that_the_window_has_left_ends_incomplete() {
        let mut broadcast = Broadcast::new([2].into(), 10.0);
        broadcast.received(0, 0, 1_000, 1_010);
        broadcast.received(WINDOW_MIN, 0, 1_000, 1_020);
        // Comes after all, too late to be followed, and must not disturb the newer one.
        broadcast.received(0, 0, 1_000, 1_030);
        assert_eq!(broadcast.take_ended(), [flight(0, 1_010, 1_010, 1)]);
        assert_eq!(broadcast.take_rest(), [flight(WINDOW_MIN, 1_020, 1_020, 1)]);
    }
}
