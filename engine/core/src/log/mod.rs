//! A log: the framed messages of one topic in one view, in order.
//!
//! The topic's home shard holds the [`LogWriter`]; every other thread reads through a [`LogReader`], without locks.
//! A log never knows who reads it, never waits for a reader, and never knows what a frame is.
//!
//! - `segment`: the memory, written once
//! - `writer`: appends, rolls over to new segments, drops old ones
//! - `reader`: finds the bytes of a range of sequence numbers
//! - `marks`: remembers when the head stood where, for limits of age

mod marks;
mod reader;
mod segment;
mod writer;

use std::sync::Arc;

use fanfare_wire::subscribe::Epoch;

use crate::sync::{ArcSwap, AtomicBool, AtomicU64, AtomicUsize, Ordering};

pub use marks::Marks;
pub use reader::{LogReader, Range};
pub use segment::Segment;
pub(crate) use writer::SEGMENT_BYTES_MIN;
pub use writer::{LogLimits, LogWriter};

/// The segments that a log holds, oldest first; never empty, and without holes between them.
type Segments = Vec<Arc<Segment>>;

/// What the writer and all readers of one log share.
#[derive(Debug)]
pub struct Log {
    /// Replaced only when a segment comes or goes.
    segments: ArcSwap<Segments>,
    /// The life of the topic that the sequence numbers belong to.
    epoch: Epoch,
    /// The floor of the topic's history: those who come later begin no lower.
    oldest: AtomicU64,
    /// For each shard: it was told that the head moved and has not looked yet.
    told: Box<[AtomicBool]>,
    /// How many subscribers the topic has, over all its views and all shards.
    subscribers: Arc<AtomicUsize>,
    /// No message will follow.
    closed: AtomicBool,
}

impl Log {
    /// Notes that `shard` is told of a new head. True if it has to be told now, false if it has not looked
    /// since it was told last.
    pub fn tell(&self, shard: usize) -> bool {
        !self.told[shard].swap(true, Ordering::AcqRel)
    }

    /// Notes that `shard` looks now: whatever is appended from here on is told anew.
    pub fn looks(&self, shard: usize) {
        self.told[shard].swap(false, Ordering::AcqRel);
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The floor of the topic's history. Segments may hold older messages, for subscribers that are behind, and
    /// may have dropped this one: [`LogReader::oldest`] knows both.
    pub fn oldest(&self) -> u64 {
        // A number that gives access to nothing: what is read is found through the list of segments. Whoever sees
        // it late begins with a message that was history a moment ago.
        self.oldest.load(Ordering::Relaxed)
    }

    /// How many subscribers the topic has, over all its views and all shards.
    pub fn subscribers(&self) -> usize {
        self.subscribers.load(Ordering::Relaxed)
    }

    pub fn subscriber_joined(&self) {
        self.subscribers.fetch_add(1, Ordering::Relaxed);
    }

    pub fn subscriber_left(&self) {
        self.subscribers.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}
