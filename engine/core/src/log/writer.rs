//! The writing side of a log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use arc_swap::ArcSwap;

use super::segment::SegmentWriter;
use super::{Log, Segments};

/// The smallest segment that holds messages. Quiet topics stay with it.
const SEGMENT_BYTES_MIN: usize = 1024;

/// A segment has an index entry for each so many bytes of it, so smaller messages fill the index first.
const BYTES_FOR_EACH_INDEX_ENTRY: usize = 32;

/// How large a log may be.
#[derive(Clone, Copy, Debug)]
pub struct LogLimits {
    /// All segments together. A single message may pass it; then it stands alone.
    pub log_bytes_max: usize,
    /// One segment. A message larger than this gets a segment of its own size.
    pub segment_bytes_max: usize,
}

/// The only one who appends to its log.
#[derive(Debug)]
pub struct LogWriter {
    log: Arc<Log>,
    limits: LogLimits,
    tail: SegmentWriter,
    /// What all segments take from memory.
    footprint: usize,
}

impl LogWriter {
    /// An empty log whose first message will be `next_seq`, read by up to `shards` shards.
    pub fn new(limits: LogLimits, next_seq: u64, shards: usize) -> Self {
        // No memory for messages until there is one: most topics are quiet.
        let tail = SegmentWriter::new(next_seq, 0, 0, 0);
        let log = Log {
            segments: ArcSwap::from_pointee(vec![tail.segment().clone()]),
            told: (0..shards).map(|_| AtomicBool::new(false)).collect(),
            subscribers: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        };
        let footprint = tail.segment().footprint();
        Self { log: Arc::new(log), limits, tail, footprint }
    }

    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// What all segments take from memory.
    pub fn footprint(&self) -> usize {
        self.footprint
    }

    /// True when it holds no message.
    pub fn is_empty(&self) -> bool {
        let segments = self.log.segments.load();
        segments.len() == 1 && segments[0].count() == 0
    }

    /// Appends one framed message, given in parts; its sequence number is the next one.
    pub fn append(&mut self, parts: &[&[u8]]) {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        if !self.tail.has_room(bytes) {
            // Each segment is twice the last one, so that busy logs soon have few and quiet logs stay small.
            let grown = self.tail.segment().footprint() * 2;
            let size = grown.clamp(SEGMENT_BYTES_MIN, self.limits.segment_bytes_max).max(bytes);
            self.roll_over(size, self.limits.log_bytes_max.saturating_sub(size));
        }
        self.tail.append(parts);
    }

    /// Drops every message. The next one keeps its sequence number.
    pub fn clear(&mut self) {
        self.roll_over(0, 0);
    }

    /// Goes on in a new segment of `bytes_max` bytes, after dropping old ones until `keep_max` bytes remain.
    fn roll_over(&mut self, bytes_max: usize, keep_max: usize) {
        let index = bytes_max.div_ceil(BYTES_FOR_EACH_INDEX_ENTRY);
        let next = SegmentWriter::new(self.tail.segment().end_seq(), self.tail.end_pos(), bytes_max, index);
        let mut segments: Segments = Vec::clone(&self.log.segments.load());
        let mut kept: usize = segments.iter().map(|segment| segment.footprint()).sum();
        let surplus = segments.iter().take_while(|segment| {
            let drop = kept > keep_max || segment.count() == 0;
            kept -= if drop { segment.footprint() } else { 0 };
            drop
        });
        let surplus = surplus.count();
        segments.drain(..surplus);
        self.footprint = kept + next.segment().footprint();
        segments.push(next.segment().clone());
        self.log.segments.store(Arc::new(segments));
        // Only now: a reader that sees the seal finds the new segment in the list.
        self.tail.seal();
        self.tail = next;
    }
}
