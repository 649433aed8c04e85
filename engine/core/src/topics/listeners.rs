//! Who has to hear that a log's head moved.

use std::sync::Arc;

use crate::log::Log;
use crate::tap::TapSignal;

/// A shard, and the reader it knows the log by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Listener {
    pub(crate) shard: usize,
    pub(crate) reader: u32,
}

/// All listeners of one log: shards, and readers inside the process.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    /// Those of one shard stand together.
    shards: Vec<Listener>,
    taps: Vec<Arc<TapSignal>>,
    /// Shards that will listen as soon as the log is made from history.
    pub(super) waiting: Vec<Listener>,
}

impl Listeners {
    pub(super) fn add(&mut self, listener: Listener) {
        debug_assert!(!self.shards.contains(&listener), "a reader listens once");
        let place = self.shards.partition_point(|known| known.shard <= listener.shard);
        self.shards.insert(place, listener);
    }

    pub(super) fn add_tap(&mut self, tap: Arc<TapSignal>) {
        self.taps.push(tap);
    }

    pub(super) fn remove(&mut self, listener: Listener) {
        self.shards.retain(|known| *known != listener);
        self.waiting.retain(|known| *known != listener);
    }

    pub(super) fn any(&self) -> bool {
        !self.shards.is_empty() || !self.taps.is_empty() || !self.waiting.is_empty()
    }

    /// Tells all of them that the head moved or that the log became shorter.
    pub(super) fn tell(&mut self, log: &Log, tell: &mut impl FnMut(Listener)) {
        // A shard is told once until it looks; then all of its readers are, since each looks for itself.
        for readers in self.shards.chunk_by(|one, next| one.shard == next.shard) {
            if log.tell(readers[0].shard) {
                readers.iter().for_each(|reader| tell(*reader));
            }
        }
        self.signal_taps();
    }

    pub(super) fn signal_taps(&mut self) {
        self.taps.retain(|tap| {
            tap.signal();
            !tap.is_gone()
        });
    }

    pub(super) fn forget_gone(&mut self) {
        self.taps.retain(|tap| !tap.is_gone());
    }
}
