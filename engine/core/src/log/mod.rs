//! A log: the framed messages of one topic in one view, in order.
//!
//! The topic's home shard holds the [`LogWriter`]; every other thread reads through a [`LogReader`], without locks.
//! A log never knows who reads it, never waits for a reader, and never knows what a frame is.
//!
//! - `segment`: the memory, written once
//! - `writer`: appends, rolls over to new segments, drops old ones
//! - `reader`: finds the bytes of a range of sequence numbers

mod reader;
mod segment;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::ArcSwap;

pub use reader::{LogReader, Range};
pub use segment::Segment;
pub use writer::{LogLimits, LogWriter};

/// The segments that a log holds, oldest first; never empty, and without holes between them.
type Segments = Vec<Arc<Segment>>;

/// What the writer and all readers of one log share.
#[derive(Debug)]
pub struct Log {
    /// Replaced only when the log rolls over, so readers look at it once for each segment.
    segments: ArcSwap<Segments>,
    /// For each shard: it was told that the head moved and has not looked yet.
    told: Box<[AtomicBool]>,
    /// How many subscribers read it, over all shards.
    subscribers: AtomicUsize,
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
