//! The writing side of a log.

use std::sync::Arc;

use fanfare_wire::subscribe::Epoch;

use super::segment::SegmentWriter;
use super::{Log, Segments};
use crate::sync::{ArcSwap, AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// The smallest segment that holds messages. Quiet topics stay with it.
pub(crate) const SEGMENT_BYTES_MIN: usize = 256;

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
    /// An empty log of the topic's life `epoch` whose first message will be `next_seq`, read by up to `shards`
    /// shards. All logs of a topic share one count of `subscribers`.
    pub fn new(
        limits: LogLimits,
        epoch: Epoch,
        next_seq: u64,
        shards: usize,
        subscribers: Arc<AtomicUsize>,
    ) -> Self {
        assert!(limits.segment_bytes_max >= SEGMENT_BYTES_MIN, "a segment has a smallest size");
        // No memory for messages until there is one: most topics are quiet.
        let tail = SegmentWriter::new(next_seq, 0, 0, 0);
        let log = Log {
            segments: ArcSwap::from_pointee(vec![tail.segment().clone()]),
            epoch,
            oldest: AtomicU64::new(next_seq),
            told: (0..shards).map(|_| AtomicBool::new(false)).collect(),
            subscribers,
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
        self.floor() == self.end_seq()
    }

    /// The oldest sequence number held; that of the next message if none is.
    pub fn floor(&self) -> u64 {
        self.log.segments.load()[0].base_seq()
    }

    /// The sequence number that the next message will have.
    pub fn end_seq(&self) -> u64 {
        self.tail.segment().end_seq()
    }

    /// The sequence number of the first message in the segment that is written; all segments before it are full.
    pub fn tail_seq(&self) -> u64 {
        self.tail.segment().base_seq()
    }

    /// Says where the topic's history begins for those who come later.
    pub fn set_oldest(&mut self, seq: u64) {
        debug_assert!(seq <= self.end_seq(), "history does not begin after the next message");
        // See `Log::oldest` for why no more than the number itself has to arrive.
        self.log.oldest.store(seq, Ordering::Relaxed);
    }

    /// Appends one framed message, given in parts; its sequence number is the next one.
    pub fn append(&mut self, parts: &[&[u8]]) {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        if !self.tail.has_room(bytes) {
            // Each segment is twice the last one, so that busy logs soon have few and quiet logs stay small.
            let grown = self.tail.segment().footprint() * 2;
            let size = grown.clamp(SEGMENT_BYTES_MIN, self.limits.segment_bytes_max).max(bytes);
            self.roll_over(size, self.limits.log_bytes_max);
        }
        self.tail.append(parts);
    }

    /// Drops every message. The next one keeps its sequence number.
    pub fn clear(&mut self) {
        self.roll_over(0, 0);
    }

    /// Drops every message, and goes on with a later sequence number: the messages up to it are not to be had.
    pub fn skip_to(&mut self, next_seq: u64) {
        debug_assert!(next_seq >= self.end_seq(), "sequence numbers only grow");
        self.tail = SegmentWriter::new(next_seq, self.tail.end_pos(), 0, 0);
        self.footprint = self.tail.segment().footprint();
        self.log.segments.store(Arc::new(vec![self.tail.segment().clone()]));
    }

    /// Drops the segments that hold nothing from `seq` on, but never the one that is written. True if any went.
    pub fn trim_before(&mut self, seq: u64) -> bool {
        let segments = self.log.segments.load();
        let sealed = &segments[..segments.len() - 1];
        let count = sealed.partition_point(|segment| segment.end_seq() <= seq);
        drop(segments);
        self.drop_first(count);
        count > 0
    }

    /// Drops the oldest segment, whatever it holds. False if the log holds nothing.
    pub fn drop_oldest(&mut self) -> bool {
        if self.is_empty() {
            return false;
        }
        match self.log.segments.load().len() {
            1 => self.clear(),
            _ => self.drop_first(1),
        }
        true
    }

    /// Drops the first `count` segments, which are not all.
    fn drop_first(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        let segments = self.log.segments.load();
        let (dropped, kept) = segments.split_at(count);
        assert!(!kept.is_empty(), "the segment that is written stays");
        self.footprint -= dropped.iter().map(|segment| segment.footprint()).sum::<usize>();
        self.log.segments.store(Arc::new(kept.to_vec()));
    }

    /// Goes on in a new segment of `bytes_max` bytes, after dropping old ones until all together take no more than
    /// `footprint_max`, or until the new one is alone.
    fn roll_over(&mut self, bytes_max: usize, footprint_max: usize) {
        let index = bytes_max.div_ceil(BYTES_FOR_EACH_INDEX_ENTRY);
        let next = SegmentWriter::new(self.end_seq(), self.tail.end_pos(), bytes_max, index);
        let mut footprint = self.footprint + next.segment().footprint();
        let segments = self.log.segments.load();
        let surplus = segments.iter().take_while(|segment| {
            let drop = footprint > footprint_max || segment.count() == 0;
            footprint -= if drop { segment.footprint() } else { 0 };
            drop
        });
        let mut kept: Segments = segments[surplus.count()..].to_vec();
        kept.push(next.segment().clone());
        self.log.segments.store(Arc::new(kept));
        self.footprint = footprint;
        self.tail = next;
    }
}
