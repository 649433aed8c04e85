//! The reading side of a log.

use std::sync::Arc;

use super::{Log, Segment, Segments};

/// One thread's sight of a log: the segments as it saw them last, and the head.
#[derive(Debug)]
pub struct LogReader {
    log: Arc<Log>,
    segments: Arc<Segments>,
    /// The sequence number that the next message will have.
    end: u64,
}

/// Consecutive messages that lie in one segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// Which of the reader's segments; good until the reader refreshes.
    pub segment: u32,
    /// The bytes, counted from the segment's first.
    pub start: u32,
    pub end: u32,
    /// The sequence number after the last message of the range.
    pub next_seq: u64,
}

impl LogReader {
    pub fn new(log: Arc<Log>) -> Self {
        let segments = log.segments.load_full();
        let mut reader = Self { log, segments, end: 0 };
        reader.refresh();
        reader
    }

    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Looks at the head anew.
    pub fn refresh(&mut self) {
        if self.newest().is_sealed() {
            self.segments = self.log.segments.load_full();
        }
        self.end = self.newest().end_seq();
    }

    /// The sequence number that the next message will have, as of the last refresh.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The oldest sequence number held, as of the last refresh.
    pub fn floor(&self) -> u64 {
        self.segments[0].base_seq()
    }

    pub fn segment(&self, index: u32) -> &Arc<Segment> {
        &self.segments[index as usize]
    }

    fn newest(&self) -> &Arc<Segment> {
        self.segments.last().expect("a log's list of segments is never empty")
    }

    /// The messages from `seq` on, up to the head or the end of their segment.
    /// `None` if there are none, or if `seq` is below the floor.
    pub fn range(&self, seq: u64) -> Option<Range> {
        if seq >= self.end {
            return None;
        }
        let index = self.segment_of(seq)?;
        let segment = &self.segments[index];
        // The newest segment may have grown since the last refresh: all readers of this batch stop at the same head.
        let next_seq = segment.end_seq().min(self.end);
        let (start, end) = (segment.offset_of(seq), segment.offset_of(next_seq));
        Some(Range { segment: index as u32, start, end, next_seq })
    }

    /// How many bytes lie between `seq` and the head. `None` if `seq` is below the floor.
    pub fn bytes_behind(&self, seq: u64) -> Option<u64> {
        if seq >= self.end {
            return Some(0);
        }
        let from = self.segments[self.segment_of(seq)?].position_of(seq);
        Some(self.newest().position_of(self.end) - from)
    }

    /// The index of the segment that holds message `seq`, which is below the head.
    fn segment_of(&self, seq: u64) -> Option<usize> {
        let newest = self.segments.len() - 1;
        // Nearly all subscribers are near the head.
        if self.segments[newest].base_seq() <= seq {
            return Some(newest);
        }
        self.segments.partition_point(|segment| segment.base_seq() <= seq).checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LogLimits, LogWriter};
    use super::*;
    use proptest::prelude::*;

    const LIMITS: LogLimits = LogLimits { log_bytes_max: 64 * 1024, segment_bytes_max: 4096 };

    fn collect(reader: &LogReader, mut seq: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(range) = reader.range(seq) {
            assert!(range.next_seq > seq);
            bytes.extend_from_slice(reader.segment(range.segment).bytes(range.start..range.end));
            seq = range.next_seq;
        }
        bytes
    }

    #[test]
    fn a_new_log_is_empty_and_starts_where_it_is_told() {
        let writer = LogWriter::new(LIMITS, 7, 1);
        let reader = LogReader::new(writer.log().clone());
        assert_eq!((reader.floor(), reader.end(), reader.range(7)), (7, 7, None));
        assert!(writer.is_empty());
    }

    #[test]
    fn retention_drops_the_oldest_and_keeps_the_sequence() {
        let mut writer = LogWriter::new(LIMITS, 1, 1);
        for _ in 0..1000 {
            writer.append(&[&[7; 1000]]);
            assert!(writer.footprint() <= LIMITS.log_bytes_max, "{}", writer.footprint());
        }
        let reader = LogReader::new(writer.log().clone());
        assert_eq!(reader.end(), 1001);
        assert!(reader.floor() > 900, "{}", reader.floor());
        assert_eq!(reader.bytes_behind(reader.floor() - 1), None);
        assert_eq!(reader.bytes_behind(999), Some(2000));
        assert_eq!(collect(&reader, reader.floor()).len() as u64, (1001 - reader.floor()) * 1000);
    }

    #[test]
    fn a_message_larger_than_everything_stands_alone() {
        let mut writer = LogWriter::new(LIMITS, 1, 1);
        writer.append(&[b"small"]);
        writer.append(&[&vec![1; 100_000]]);
        let reader = LogReader::new(writer.log().clone());
        assert_eq!((reader.floor(), reader.end()), (2, 3));
        assert_eq!(collect(&reader, 2).len(), 100_000);
    }

    #[test]
    fn clearing_frees_the_bytes_and_a_reader_moves_on() {
        let mut writer = LogWriter::new(LIMITS, 1, 1);
        writer.append(&[b"gone"]);
        let mut reader = LogReader::new(writer.log().clone());
        writer.clear();
        writer.append(&[b"next"]);
        reader.refresh();
        assert_eq!((reader.floor(), collect(&reader, 2)), (2, b"next".to_vec()));
        assert_eq!(reader.range(1), None);
    }

    proptest! {
        /// Whatever is appended and whenever it is read, a reader sees every message that retention has left, once and in order.
        #[test]
        fn readers_see_what_was_appended(lengths in prop::collection::vec(0usize..3000, 1..200), look in 1usize..40) {
            let mut writer = LogWriter::new(LIMITS, 1, 1);
            let mut reader = LogReader::new(writer.log().clone());
            let mut cursor = 1;
            let messages: Vec<_> = lengths.iter().enumerate().map(|(index, length)| vec![index as u8; *length]).collect();
            for (index, message) in messages.iter().enumerate() {
                writer.append(&[&message[..message.len() / 2], &message[message.len() / 2..]]);
                if index % look == 0 || index + 1 == messages.len() {
                    reader.refresh();
                    prop_assert_eq!(reader.end(), index as u64 + 2);
                    let floor = reader.floor();
                    // At worst each message has a segment of its own: 4.7 KiB with its index, of the log's 64 KiB.
                    prop_assert!(floor == 1 || reader.end() - floor >= 12, "{} of {}", floor, reader.end());
                    cursor = floor.max(cursor);
                    let held: Vec<u8> = messages[cursor as usize - 1..=index].concat();
                    prop_assert_eq!(collect(&reader, cursor), held);
                    cursor = reader.end();
                }
            }
        }
    }
}
