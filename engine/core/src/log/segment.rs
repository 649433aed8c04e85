//! A segment: a piece of a log with a fixed size, written once by one thread, read by all.

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Set in `state` when no more messages will be added. The rest of `state` is the message count.
const SEALED: u32 = 1 << 31;

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
    /// Where each message ends, in bytes from the segment's first. Only the first `count` are set.
    ends: Box<[AtomicU32]>,
    state: AtomicU32,
}

// SAFETY: `bytes` is the only part that is not `Sync` by itself. A byte is written by the one `SegmentWriter`
// before the count that covers it is stored with `Release`, and read only below a count loaded with `Acquire`.
unsafe impl Sync for Segment {}

impl Segment {
    pub fn base_seq(&self) -> u64 {
        self.base_seq
    }

    /// How many messages can be read.
    pub fn count(&self) -> usize {
        (self.state.load(Ordering::Acquire) & !SEALED) as usize
    }

    /// True when a newer segment stands in the log's list.
    pub fn is_sealed(&self) -> bool {
        self.state.load(Ordering::Acquire) & SEALED != 0
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
        // SAFETY: the range lies below `published`, so its bytes were written before the `Release` store that
        // `count` has read with `Acquire`, and nobody writes them again.
        unsafe { std::slice::from_raw_parts(cells.as_ptr().cast::<u8>(), cells.len()) }
    }
}

/// Zero bytes straight from the allocator, so that pages not yet written take no memory.
fn zeroed(len: usize) -> Box<[UnsafeCell<u8>]> {
    let bytes: Box<[u8]> = vec![0; len].into_boxed_slice();
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
        assert!(bytes_max <= u32::MAX as usize && messages_max < SEALED as usize);
        let segment = Segment {
            base_seq,
            base_pos,
            bytes: zeroed(bytes_max),
            ends: (0..messages_max).map(|_| AtomicU32::new(0)).collect(),
            state: AtomicU32::new(0),
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
    /// If there is no room for it, or the segment is sealed.
    pub(super) fn append(&mut self, parts: &[&[u8]]) {
        let segment = &*self.segment;
        let total = parts.iter().map(|part| part.len()).sum();
        assert!(self.has_room(total) && !segment.is_sealed(), "the log rolls over before it appends");
        let count = segment.count();
        let mut at = segment.start_of(count) as usize;
        for part in parts {
            let cells = &segment.bytes[at..at + part.len()];
            // SAFETY: these bytes are above the published ones, so no reader has a reference to them, and `&mut self`
            // on the segment's one writer makes this the only write.
            unsafe {
                std::ptr::copy_nonoverlapping(part.as_ptr(), UnsafeCell::raw_get(cells.as_ptr()), part.len())
            };
            at += part.len();
        }
        segment.ends[count].store(at as u32, Ordering::Relaxed);
        segment.state.store(count as u32 + 1, Ordering::Release);
    }

    /// Says that a newer segment follows.
    pub(super) fn seal(&mut self) {
        let count = self.segment.count() as u32;
        self.segment.state.store(count | SEALED, Ordering::Release);
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
        let mut writer = SegmentWriter::new(1, 0, 64 * 1000, 1000);
        let segment = writer.segment().clone();
        let reader = std::thread::spawn(move || {
            let mut seen = 0;
            while seen < 1000 {
                let end = segment.end_seq();
                for seq in seen + 1..end {
                    let range = segment.offset_of(seq)..segment.offset_of(seq + 1);
                    assert!(segment.bytes(range).iter().all(|byte| *byte == seq as u8));
                }
                seen = end - 1;
            }
        });
        for seq in 1..=1000u64 {
            writer.append(&[&[seq as u8; 64][..(seq % 64) as usize]]);
        }
        reader.join().expect("the reader saw only whole messages");
    }
}
