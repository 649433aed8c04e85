//! The ceiling over all logs of the process, and which segment goes first when it is reached.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fanfare_wire::subscribe::Epoch;

use crate::view::View;

/// What all topics of the process take from memory, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// Logs, and what is known of their messages.
    logs: AtomicUsize,
    /// The newest messages of keys.
    values: AtomicUsize,
    /// What short sends have left of frames.
    cuts: AtomicUsize,
    /// How many full segments all shards know of: what can be dropped first.
    sealed: AtomicUsize,
}

impl Usage {
    pub(crate) fn logs(&self) -> usize {
        self.logs.load(Ordering::Relaxed)
    }

    pub(crate) fn values(&self) -> usize {
        self.values.load(Ordering::Relaxed)
    }

    pub(crate) fn total(&self) -> usize {
        self.logs() + self.values() + self.cuts.load(Ordering::Relaxed)
    }

    /// Counts a cut frame, if there is room for it: they may take a quarter of `total_max`.
    pub(crate) fn add_cut(&self, bytes: usize, total_max: usize) -> bool {
        let before = self.cuts.fetch_add(bytes, Ordering::Relaxed);
        let fits = before + bytes <= total_max / 4;
        if !fits {
            self.remove_cut(bytes);
        }
        fits
    }

    pub(crate) fn remove_cut(&self, bytes: usize) {
        self.cuts.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Segments that are full: they belong to this log, and their last message is the one before `end_seq`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sealed {
    pub(super) slot: u32,
    pub(super) epoch: Epoch,
    pub(super) view: View,
    pub(super) end_seq: u64,
}

/// One shard's account of the memory of its topics.
#[derive(Debug)]
pub(super) struct Memory {
    usage: Arc<Usage>,
    total_max: usize,
    /// The part of `usage.logs` that is this shard's.
    own_logs: usize,
    own_values: usize,
    /// Full segments, the oldest first. Some may be gone already.
    sealed: VecDeque<Sealed>,
    /// How long the list may become until it is looked through for segments that are gone.
    tidy_at: usize,
}

/// The list of segments is not looked through while it is shorter.
const TIDY_MIN: usize = 64;

impl Memory {
    pub(super) fn new(usage: Arc<Usage>, total_max: usize) -> Self {
        Self { usage, total_max, own_logs: 0, own_values: 0, sealed: VecDeque::new(), tidy_at: TIDY_MIN }
    }

    /// The bytes of this shard's logs and values.
    pub(super) fn own(&self) -> usize {
        self.own_logs + self.own_values
    }

    pub(super) fn own_logs(&self) -> usize {
        self.own_logs
    }

    /// Takes note that a topic's logs and values went from some sizes to others.
    pub(super) fn account(&mut self, before: Footprint, after: Footprint) {
        shift(&self.usage.logs, &mut self.own_logs, before.logs, after.logs);
        shift(&self.usage.values, &mut self.own_values, before.values, after.values);
    }

    /// True while the process holds more than it may.
    pub(super) fn is_over(&self) -> bool {
        self.usage.total() > self.total_max
    }

    /// True while it is too much to wait for others to make room.
    pub(super) fn is_far_over(&self) -> bool {
        self.usage.total() > self.total_max + self.total_max / 16
    }

    /// Whether values may grow by so many bytes. They cannot be dropped to make room, so they have half of it.
    pub(super) fn has_room_for_values(&self, bytes: usize) -> bool {
        self.usage.values() + bytes <= self.total_max / 2
    }

    /// Takes note of a full segment. `is_held` says whether one is still in its log.
    pub(super) fn sealed(&mut self, segment: Sealed, is_held: impl FnMut(&Sealed) -> bool) {
        self.sealed.push_back(segment);
        self.usage.sealed.fetch_add(1, Ordering::Relaxed);
        if self.sealed.len() > self.tidy_at {
            let before = self.sealed.len();
            self.sealed.retain(is_held);
            self.usage.sealed.fetch_sub(before - self.sealed.len(), Ordering::Relaxed);
            self.tidy_at = (self.sealed.len() * 2).max(TIDY_MIN);
        }
    }

    /// Takes the segment that was full first.
    pub(super) fn take_oldest_sealed(&mut self) -> Option<Sealed> {
        let oldest = self.sealed.pop_front()?;
        self.usage.sealed.fetch_sub(1, Ordering::Relaxed);
        Some(oldest)
    }

    /// Puts one back that has older ones in its log.
    pub(super) fn put_back_sealed(&mut self, segment: Sealed) {
        self.sealed.push_front(segment);
        self.usage.sealed.fetch_add(1, Ordering::Relaxed);
    }

    /// True if some shard may know of a full segment.
    pub(super) fn has_sealed(&self) -> bool {
        self.usage.sealed.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let own = Footprint { logs: self.own_logs, values: self.own_values };
        self.account(own, Footprint::default());
        self.usage.sealed.fetch_sub(self.sealed.len(), Ordering::Relaxed);
    }
}

/// What one topic takes from memory, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Footprint {
    pub(super) logs: usize,
    pub(super) values: usize,
}

fn shift(shared: &AtomicUsize, own: &mut usize, before: usize, after: usize) {
    if after > before {
        shared.fetch_add(after - before, Ordering::Relaxed);
        *own += after - before;
    } else if before > after {
        shared.fetch_sub(before - after, Ordering::Relaxed);
        *own -= before - after;
    }
}
