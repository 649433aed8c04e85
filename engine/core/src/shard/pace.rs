//! Subscriptions that want to hear only so often (`max_rate`).
//!
//! Those of one topic with the same rate share a reader. After a look at the head, the next one comes a period later at the
//! earliest, and its subscribers get the newest message of each key changed since. So they share what is sent, too.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fanfare_io::Driver;

use super::Shard;

/// One reader's pace.
#[derive(Debug)]
pub(super) struct Pace {
    period_ns: u64,
    /// When the next look at the head is allowed.
    next: u64,
    /// When it is looked at according to the shard's list of times; 0 if it does not stand there.
    armed: u64,
}

impl Pace {
    pub(super) fn new(period_ns: u64) -> Self {
        Self { period_ns, next: 0, armed: 0 }
    }

    /// The period that stands for one that was asked for: the same or up to 2 % longer. So there are not as many readers as
    /// numbers.
    pub(super) fn rounded(period_ns: u64) -> u64 {
        const STEPS_EACH_DOUBLING: u32 = 6;
        let step = 1 << period_ns.checked_ilog2().unwrap_or(0).saturating_sub(STEPS_EACH_DOUBLING);
        period_ns.next_multiple_of(step)
    }

    pub(super) fn period_ns(&self) -> u64 {
        self.period_ns
    }

    /// Whether the head may be looked at now.
    pub(super) fn is_due(&self, now: u64) -> bool {
        self.next <= now
    }

    /// Notes that the head is looked at now.
    pub(super) fn looks(&mut self, now: u64) {
        self.next = now + self.period_ns;
    }
}

/// When which reader may be looked at, the earliest first.
#[derive(Debug, Default)]
pub(super) struct Paces(BinaryHeap<Reverse<(u64, u32)>>);

impl Paces {
    pub(super) fn next_time(&self) -> Option<u64> {
        self.0.peek().map(|Reverse((time, _))| *time)
    }
}

impl<D: Driver> Shard<D> {
    /// True if a reader must not be looked at yet; it will be when its time comes. In a shutdown nobody waits.
    pub(super) fn must_wait(&mut self, index: u32) -> bool {
        let draining = self.drain.is_running();
        let Some(pace) =
            self.readers.slab[index].pace.as_mut().filter(|pace| pace.next > self.now && !draining)
        else {
            return false;
        };
        if pace.armed == 0 {
            pace.armed = pace.next;
            self.paces.0.push(Reverse((pace.next, index)));
        }
        true
    }

    /// Looks at the readers whose time has come.
    pub(super) fn keep_pace(&mut self) {
        while let Some(Reverse((time, index))) = self.paces.0.peek().copied()
            && time <= self.now
        {
            self.paces.0.pop();
            // The reader may be gone, and its index may name another one by now.
            let pace = self.readers.slab.get_mut(index).and_then(|reader| reader.pace.as_mut());
            if let Some(pace) = pace.filter(|pace| pace.armed == time) {
                pace.armed = 0;
                self.head_moved(index);
            }
        }
    }
}
