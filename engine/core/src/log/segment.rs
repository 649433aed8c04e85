//! A segment: a piece of a log with a fixed size, written once by one thread, read by all.

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::sync::{Accesses, AtomicU32, Ordering};

/// Framed messages, one behind the other, ready to send.
///
/// One writer appends; any number of threads read what it has published. Published bytes
/// never change, so they can be sent from here to every subscriber.
pub struct Segment {
    /// Sequence number of the first message.
    base_seq: u64,
    /// Position of the first byte, counted in bytes since the log began.
    base_pos: u64,
    bytes: Box<[UnsafeCell<u8>]>,
    accesses: Accesses,
    /// Where each message ends, in bytes from the segment's first. Only the first `count` are set.
    ends: Box<[AtomicU32]>,
    /// How many messages can be read.
    count: AtomicU32,
}

// SAFETY: `bytes`, and what watches over them in models, are the only parts that are not `Sync` by themselves. A byte is written by the one `SegmentWriter`
// before the count that covers it is stored with `Release`, and read only below a count loaded with `Acquire`.
unsafe impl Sync for Segment {}

impl Segment {
    /// A segment to which nothing will be added: messages numbered from 0, which lie one behind the other in
    /// `bytes` and end at `ends`.
    ///
    /// # Panics
    /// If `ends` descend or pass the bytes, or if the bytes are more than 32 bits count.
    pub(crate) fn complete(bytes: Vec<u8>, ends: Vec<u32>) -> Arc<Self> {
        assert!(u32::try_from(bytes.len()).is_ok() && u32::try_from(ends.len()).is_ok());
        assert!(ends.is_sorted() && ends.last().is_none_or(|end| *end as usize <= bytes.len()));
        Arc::new(Self {
            base_seq: 0,
            base_pos: 0,
            accesses: Accesses::new(bytes.len()),
            bytes: cells(bytes.into_boxed_slice()),
            count: AtomicU32::new(ends.len() as u32),
            ends: ends.into_iter().map(AtomicU32::new).collect(),
        })
    }

    pub fn base_seq(&self) -> u64 {
        self.base_seq
    }

    /// How many messages can be read.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire) as usize
    }

    /// The sequence number after the last message.
    pub fn end_seq(&self) -> u64 {
        self.base_seq + self.count() as u64
    }

    /// What it takes from memory, whether filled or not.
    pub fn footprint(&self) -> usize {
        self.bytes.len() + self.ends.len() * size_of::<AtomicU32>() + size_of::<Self>()
    }

    /// Where message `index` begins, in bytes from the segment's first. `index` may be the count.
    fn start_of(&self, index: usize) -> u32 {
        match index {
            0 => 0,
            _ => self.ends[index - 1].load(Ordering::Relaxed),
        }
    }

    /// Where message `seq` begins, in bytes from the segment's first. `seq` may be [`Self::end_seq`].
    pub fn offset_of(&self, seq: u64) -> u32 {
        let index = (seq - self.base_seq) as usize;
        assert!(index <= self.count(), "an unpublished message has no offset yet");
        self.start_of(index)
    }

    /// The position of the first message in the whole log, in bytes.
    pub(super) fn base_pos(&self) -> u64 {
        self.base_pos
    }

    /// The first message that begins at byte `offset` or behind it; the end if none does.
    pub(super) fn first_from(&self, offset: u32) -> u64 {
        if offset == 0 {
            return self.base_seq;
        }
        // A message begins where the one before it ends.
        let ends = &self.ends[..self.count()];
        let before = ends.partition_point(|end| end.load(Ordering::Relaxed) < offset);
        self.base_seq + (before + 1).min(ends.len()) as u64
    }

    /// The position of message `seq` in the whole log, in bytes.
    pub fn position_of(&self, seq: u64) -> u64 {
        self.base_pos + u64::from(self.offset_of(seq))
    }

    /// The message that holds byte `offset`, and that message's range.
    pub fn message_at(&self, offset: u32) -> (u64, Range<u32>) {
        let count = self.count();
        let index = self.ends[..count].partition_point(|end| end.load(Ordering::Relaxed) <= offset);
        assert!(index < count, "an offset past the published bytes names no message");
        (self.base_seq + index as u64, self.start_of(index)..self.start_of(index + 1))
    }

    /// Published bytes.
    ///
    /// # Panics
    /// If the range passes the end of the last published message.
    pub fn bytes(&self, range: Range<u32>) -> &[u8] {
        let published = self.start_of(self.count());
        assert!(range.start <= range.end && range.end <= published, "only published bytes can be read");
        let (start, end) = (range.start as usize, range.end as usize);
        let cells = &self.bytes[start..end];
        self.accesses.read(start..end);
        // SAFETY: the range lies below `published`, so its bytes were written before the `Release` store that
        // `count` has read with `Acquire`, and nobody writes them again.
        unsafe { std::slice::from_raw_parts(cells.as_ptr().cast::<u8>(), cells.len()) }
    }
}

/// Zero bytes straight from the allocator, so that pages not yet written take no memory.
fn zeroed(len: usize) -> Box<[UnsafeCell<u8>]> {
    cells(vec![0; len].into_boxed_slice())
}

fn cells(bytes: Box<[u8]>) -> Box<[UnsafeCell<u8>]> {
    // SAFETY: `UnsafeCell<u8>` has the layout of `u8`, and the box is the only owner.
    unsafe { Box::from_raw(Box::into_raw(bytes) as *mut [UnsafeCell<u8>]) }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segment({}..{}, {} B)", self.base_seq, self.end_seq(), self.bytes.len())
    }
}

/// The only one who appends to its segment.
#[derive(Debug)]
pub(super) struct SegmentWriter {
    segment: Arc<Segment>,
}

impl SegmentWriter {
    /// A new segment with room for `bytes_max` bytes and `messages_max` messages.
    pub(super) fn new(base_seq: u64, base_pos: u64, bytes_max: usize, messages_max: usize) -> Self {
        assert!(u32::try_from(bytes_max).is_ok() && u32::try_from(messages_max).is_ok());
        let segment = Segment {
            base_seq,
            base_pos,
            bytes: zeroed(bytes_max),
            accesses: Accesses::new(bytes_max),
            ends: (0..messages_max).map(|_| AtomicU32::new(0)).collect(),
            count: AtomicU32::new(0),
        };
        Self { segment: Arc::new(segment) }
    }

    pub(super) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Whether one more message of `bytes` bytes can be appended.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let count = self.segment.count();
        let used = self.segment.start_of(count) as usize;
        count < self.segment.ends.len() && bytes <= self.segment.bytes.len() - used
    }

    /// Appends one message, given in parts, and publishes it.
    ///
    /// # Panics
    /// If there is no room for it.
    pub(super) fn append(&mut self, parts: &[&[u8]]) {
        let segment = &*self.segment;
        let total = parts.iter().map(|part| part.len()).sum();
        assert!(self.has_room(total), "the log rolls over before it appends");
        let count = segment.count();
        let mut at = segment.start_of(count) as usize;
        for part in parts {
            let cells = &segment.bytes[at..at + part.len()];
            segment.accesses.written(at..at + part.len());
            // SAFETY: these bytes are above the published ones, so no reader has a reference to them, and `&mut self`
            // on the segment's one writer makes this the only write.
            unsafe {
                std::ptr::copy_nonoverlapping(part.as_ptr(), UnsafeCell::raw_get(cells.as_ptr()), part.len())
            };
            at += part.len();
        }
        segment.ends[count].store(at as u32, Ordering::Relaxed);
        segment.count.store(count as u32 + 1, Ordering::Release);
    }

    /// The position after the last message, counted in bytes since the log began.
    pub(super) fn end_pos(&self) -> u64 {
        self.segment.position_of(self.segment.end_seq())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_by_sequence_and_by_offset() {
        let mut writer = SegmentWriter::new(10, 1000, 32, 4);
        for message in [&b"one"[..], b"", b"three"] {
            writer.append(&[message]);
        }
        let segment = writer.segment();
        assert_eq!(segment.end_seq(), 13);
        assert_eq!((segment.offset_of(10), segment.offset_of(11), segment.offset_of(13)), (0, 3, 8));
        assert_eq!(segment.position_of(12), 1003);
        assert_eq!(segment.bytes(0..8), b"onethree");
        assert_eq!(segment.message_at(2), (10, 0..3));
        // An empty message holds no byte, so the byte after it belongs to the next one.
        assert_eq!(segment.message_at(3), (12, 3..8));
    }

    #[test]
    fn a_message_is_found_by_where_it_may_begin() {
        let mut writer = SegmentWriter::new(10, 0, 32, 8);
        for message in [&b"one"[..], b"", b"", b"three"] {
            writer.append(&[message]);
        }
        for (offset, seq) in [(0, 10), (1, 11), (3, 11), (4, 14), (8, 14), (9, 14)] {
            assert_eq!(writer.segment().first_from(offset), seq, "offset {offset}");
        }
    }

    #[test]
    fn a_complete_segment_reads_like_a_written_one() {
        let segment = Segment::complete(b"onethree".to_vec(), vec![3, 3, 8]);
        assert_eq!((segment.base_seq(), segment.end_seq()), (0, 3));
        assert_eq!(segment.bytes(segment.offset_of(0)..segment.offset_of(3)), b"onethree");
        assert_eq!(segment.message_at(4), (2, 3..8));
        assert_eq!(Segment::complete(Vec::new(), Vec::new()).end_seq(), 0);
    }

    #[test]
    fn room_ends_with_the_bytes_or_with_the_index() {
        let mut writer = SegmentWriter::new(1, 0, 4, 2);
        assert!(writer.has_room(4) && !writer.has_room(5));
        writer.append(&[b"a", b"b"]);
        writer.append(&[b""]);
        assert!(!writer.has_room(0), "the index is full");
    }

    #[test]
    #[should_panic(expected = "only published bytes")]
    fn unpublished_bytes_cannot_be_read() {
        let writer = SegmentWriter::new(1, 0, 4, 2);
        let _ = writer.segment().bytes(0..1);
    }

    #[test]
    fn a_reader_on_another_thread_sees_whole_messages() {
        const MESSAGES: u64 = if cfg!(miri) { 100 } else { 1000 };
        let mut writer = SegmentWriter::new(1, 0, 64 * 1000, 1000);
        let segment = writer.segment().clone();
        let reader = std::thread::spawn(move || {
            let mut seen = 0;
            while seen < MESSAGES {
                let end = segment.end_seq();
                for seq in seen + 1..end {
                    let range = segment.offset_of(seq)..segment.offset_of(seq + 1);
                    assert!(segment.bytes(range).iter().all(|byte| *byte == seq as u8));
                }
                seen = end - 1;
            }
        });
        for seq in 1..=MESSAGES {
            writer.append(&[&[seq as u8; 64][..(seq % 64) as usize]]);
        }
        reader.join().expect("the reader saw only whole messages");
    }
}
