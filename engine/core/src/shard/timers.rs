//! Timeouts of connections: a wheel of coarse ticks.
//!
//! A connection has at most one valid entry. Setting a new time leaves the old entry behind, which is
//! recognised by its tick when it comes up. Hearing from a peer touches nothing here: when its entry comes up,
//! the connection says when to look again.

use crate::mailbox::ConnRef;

/// The wheel's resolution.
pub(super) const TICK_NS: u64 = 100_000_000;

/// How many ticks the wheel spans before it wraps. Later entries go round again.
const SLOTS: usize = 1024;

/// A time in ticks; 0 stands for none.
pub(super) type Tick = u32;

#[derive(Clone, Copy, Debug)]
struct Entry {
    conn: ConnRef,
    at: Tick,
}

#[derive(Debug)]
pub(super) struct Wheel {
    slots: Box<[Vec<Entry>]>,
    /// Entries in all slots, stale ones included.
    entries: usize,
    /// The clock's value at tick 0.
    epoch: u64,
    /// All ticks up to this one have come up.
    now: Tick,
}

impl Wheel {
    pub(super) fn new(epoch: u64) -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), entries: 0, epoch, now: 0 }
    }

    /// The first tick at or after a time in nanoseconds, and never one that has come up.
    pub(super) fn tick_at(&self, time: u64) -> Tick {
        let tick = time.saturating_sub(self.epoch).div_ceil(TICK_NS);
        (tick as Tick).max(self.now + 1)
    }

    /// When a tick comes up, in nanoseconds.
    fn time_of(&self, tick: Tick) -> u64 {
        self.epoch + u64::from(tick) * TICK_NS
    }

    pub(super) fn set(&mut self, conn: ConnRef, at: Tick) {
        self.slots[at as usize % SLOTS].push(Entry { conn, at });
        self.entries += 1;
    }

    /// The next time at which anything can come up.
    pub(super) fn next_time(&self) -> Option<u64> {
        if self.entries == 0 {
            return None;
        }
        let ahead =
            (1..=SLOTS as Tick).find(|ahead| !self.slots[(self.now + ahead) as usize % SLOTS].is_empty());
        ahead.map(|ahead| self.time_of(self.now + ahead))
    }

    /// Moves the entries that have come up by `time` to `due`, with their ticks.
    pub(super) fn advance(&mut self, time: u64, due: &mut Vec<(ConnRef, Tick)>) {
        let target = (time.saturating_sub(self.epoch) / TICK_NS) as Tick;
        // After a sleep longer than the wheel, each slot is looked at once.
        let steps = (target.saturating_sub(self.now)).min(SLOTS as Tick);
        for step in 0..steps {
            let slot = &mut self.slots[(target - step) as usize % SLOTS];
            let before = slot.len();
            slot.retain(|entry| {
                let comes_up = entry.at <= target;
                if comes_up {
                    due.push((entry.conn, entry.at));
                }
                !comes_up
            });
            self.entries -= before - slot.len();
        }
        self.now = self.now.max(target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn(slot: u32) -> ConnRef {
        ConnRef { slot, generation: 0 }
    }

    #[test]
    fn entries_come_up_in_their_tick_even_after_the_wheel_wraps() {
        let mut wheel = Wheel::new(5);
        let far = SLOTS as Tick + 10;
        wheel.set(conn(1), 10);
        wheel.set(conn(2), far);
        assert_eq!(wheel.next_time(), Some(5 + 10 * TICK_NS));
        let mut due = Vec::new();
        wheel.advance(5 + 9 * TICK_NS, &mut due);
        assert!(due.is_empty());
        wheel.advance(5 + 10 * TICK_NS, &mut due);
        assert_eq!(due, [(conn(1), 10)]);
        wheel.advance(5 + u64::from(far) * TICK_NS - 1, &mut due);
        assert_eq!(due.len(), 1, "the far entry went round once");
        wheel.advance(5 + 5 * u64::from(far) * TICK_NS, &mut due);
        assert_eq!(due[1], (conn(2), far));
        assert_eq!(wheel.next_time(), None);
    }

    #[test]
    fn a_time_never_maps_to_a_tick_that_has_come_up() {
        let mut wheel = Wheel::new(0);
        wheel.advance(7 * TICK_NS, &mut Vec::new());
        assert_eq!(wheel.tick_at(0), 8);
        assert_eq!(wheel.tick_at(8 * TICK_NS + 1), 9);
    }
}
