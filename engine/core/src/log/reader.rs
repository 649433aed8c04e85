//! The reading side of a log.

use std::sync::Arc;

use fanfare_wire::stream::Recovery;
use fanfare_wire::subscribe::Start;

use super::{Log, Segment, Segments};
use crate::sync::Guard;

/// One thread's sight of a log: the segments as it saw them last, and the head.
#[derive(Debug)]
pub struct LogReader {
    log: Arc<Log>,
    /// `None` between looks, for those who keep nothing in memory then.
    segments: Option<Arc<Segments>>,
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
        let mut reader = Self { log, segments: None, end: 0 };
        reader.refresh();
        reader
    }

    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Looks at the log anew, and lets go of the segments that it dropped.
    pub fn refresh(&mut self) {
        let segments = self.log.segments.load();
        // The list we hold cannot have been freed, so another one stands at another address.
        if !self.segments.as_ref().is_some_and(|held| Arc::ptr_eq(&segments, held)) {
            self.segments = Some(Guard::into_inner(segments));
        }
        self.end = self.newest().end_seq();
    }

    /// Lets go of the segments until the next refresh: there is nothing to read before that.
    pub fn let_go(&mut self) {
        self.segments = None;
    }

    fn segments(&self) -> &[Arc<Segment>] {
        self.segments.as_ref().map_or(&[], |segments| segments)
    }

    /// The sequence number that the next message will have, as of the last refresh.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The oldest sequence number held, as of the last refresh.
    pub fn floor(&self) -> u64 {
        self.segments().first().map_or(self.end, |segment| segment.base_seq())
    }

    /// The oldest sequence number that those who come now may begin with; the end if nothing is held for them.
    pub fn oldest(&self) -> u64 {
        // History may have moved past the head that this reader has seen.
        self.log.oldest().clamp(self.floor(), self.end)
    }

    /// Where a subscription begins that is to start so, as of the last refresh, and whether it recovers what it lacks, if it
    /// asked for that.
    pub fn place_of(&self, start: Start) -> (u64, Option<Recovery>) {
        match start {
            Start::Head => (self.end, None),
            Start::Last(count) => (self.end.saturating_sub(count).max(self.oldest()), None),
            Start::Since { seq, epoch } if epoch != self.log.epoch() || seq >= self.end => {
                (self.end, Some(Recovery::Lost { missing: None }))
            }
            Start::Since { seq, .. } if seq + 1 < self.oldest() => {
                (self.end, Some(Recovery::Lost { missing: Some((seq + 1, self.end - 1)) }))
            }
            Start::Since { seq, .. } => (seq + 1, Some(Recovery::Recovered)),
        }
    }

    pub fn segment(&self, index: u32) -> &Arc<Segment> {
        &self.segments()[index as usize]
    }

    fn newest(&self) -> &Arc<Segment> {
        self.segments().last().expect("a log's list of segments is never empty")
    }

    /// The messages from `seq` on, up to the head or the end of their segment.
    /// `None` if there are none, or if `seq` is below the floor.
    pub fn range(&self, seq: u64) -> Option<Range> {
        if seq >= self.end {
            return None;
        }
        let index = self.segment_of(seq)?;
        let segment = &self.segments()[index];
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
        let from = self.segments()[self.segment_of(seq)?].position_of(seq);
        Some(self.newest().position_of(self.end) - from)
    }

    /// The lowest sequence number from which at most `max` bytes are left to the head.
    pub fn within_bytes(&self, max: u64) -> u64 {
        let position = self.newest().position_of(self.end).saturating_sub(max);
        let after = self.segments().partition_point(|segment| segment.base_pos() < position);
        let Some(index) = after.checked_sub(1) else { return self.floor() };
        // It begins before the position and reaches it, since what follows begins there or behind it.
        let segment = &self.segments()[index];
        segment.first_from((position - segment.base_pos()) as u32)
    }

    /// The index of the segment that holds message `seq`, which is below the head.
    fn segment_of(&self, seq: u64) -> Option<usize> {
        let segments = self.segments();
        let newest = segments.len().checked_sub(1)?;
        // Nearly all subscribers are near the head.
        if segments[newest].base_seq() <= seq {
            return Some(newest);
        }
        segments.partition_point(|segment| segment.base_seq() <= seq).checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use fanfare_wire::subscribe::Epoch;
    use proptest::prelude::*;

    use super::super::{LogLimits, LogWriter};
    use super::*;

    const LIMITS: LogLimits = LogLimits { log_bytes_max: 64 * 1024, segment_bytes_max: 4096 };

    fn writer(limits: LogLimits, next_seq: u64) -> LogWriter {
        LogWriter::new(limits, Epoch(9), next_seq, 1, Arc::default())
    }

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
        let writer = writer(LIMITS, 7);
        let reader = LogReader::new(writer.log().clone());
        assert_eq!((reader.floor(), reader.oldest(), reader.end(), reader.range(7)), (7, 7, 7, None));
        assert_eq!(reader.log().epoch(), Epoch(9));
        assert!(writer.is_empty());
    }

    #[test]
    fn retention_drops_the_oldest_and_keeps_the_sequence() {
        let mut writer = writer(LIMITS, 1);
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
        let mut writer = writer(LIMITS, 1);
        writer.append(&[b"small"]);
        writer.append(&[&vec![1; 100_000]]);
        let reader = LogReader::new(writer.log().clone());
        assert_eq!((reader.floor(), reader.end()), (2, 3));
        assert_eq!(collect(&reader, 2).len(), 100_000);
    }

    #[test]
    fn clearing_frees_the_bytes_and_a_reader_moves_on() {
        let mut writer = writer(LIMITS, 1);
        writer.append(&[b"gone"]);
        let mut reader = LogReader::new(writer.log().clone());
        writer.clear();
        writer.append(&[b"next"]);
        reader.refresh();
        assert_eq!((reader.floor(), collect(&reader, 2)), (2, b"next".to_vec()));
        assert_eq!(reader.range(1), None);
    }

    #[test]
    fn a_reader_lets_go_of_what_was_trimmed_though_the_same_segment_is_written() {
        let mut writer = writer(LIMITS, 1);
        (0..20).for_each(|_| writer.append(&[&[7; 1000]]));
        let mut reader = LogReader::new(writer.log().clone());
        let first = Arc::downgrade(reader.segment(0));
        assert!(!writer.trim_before(1), "every segment holds something from 1 on");
        assert!(writer.trim_before(u64::MAX), "all but the one that is written go");
        assert!(first.upgrade().is_some(), "the reader still has it");
        reader.refresh();
        assert!(first.upgrade().is_none());
        assert!(reader.floor() > 1 && reader.floor() < reader.end());
        assert_eq!(collect(&reader, reader.floor()).len() as u64, (21 - reader.floor()) * 1000);
        assert!(writer.drop_oldest() && !writer.drop_oldest(), "the last one goes with its messages");
        assert_eq!(writer.end_seq(), 21);
    }

    #[test]
    fn history_begins_where_it_is_said_but_within_what_is_held() {
        let mut writer = writer(LIMITS, 1);
        (0..20).for_each(|_| writer.append(&[&[7; 1000]]));
        let mut reader = LogReader::new(writer.log().clone());
        for (said, oldest) in [(1, 1), (12, 12), (21, 21)] {
            writer.set_oldest(said);
            assert_eq!(reader.oldest(), oldest);
        }
        writer.append(&[b"one more"]);
        writer.set_oldest(22);
        assert_eq!(reader.oldest(), 21, "the reader has not seen the head move");
        writer.set_oldest(2);
        writer.trim_before(10);
        reader.refresh();
        assert_eq!(reader.oldest(), reader.floor());
        assert!(reader.floor() > 2);
    }

    #[test]
    fn an_empty_message_at_the_end_of_a_segment_lies_within_the_bytes_behind_it() {
        let mut writer = writer(LIMITS, 1);
        for length in [256, 0, 0, 10] {
            writer.append(&[&vec![7; length]]);
        }
        let reader = LogReader::new(writer.log().clone());
        assert_eq!(reader.segment(1).base_seq(), 4, "the last message begins a segment");
        for (max, seq) in [(0, 5), (9, 5), (10, 2), (265, 2), (266, 1), (u64::MAX, 1)] {
            assert_eq!(reader.within_bytes(max), seq, "within {max}");
        }
    }

    #[test]
    fn all_views_of_a_topic_share_one_count_of_subscribers() {
        let subscribers = Arc::default();
        let view = || LogWriter::new(LIMITS, Epoch(1), 1, 1, Arc::clone(&subscribers));
        let (one, other) = (view(), view());
        one.log().subscriber_joined();
        other.log().subscriber_joined();
        assert_eq!((one.log().subscribers(), other.log().subscribers()), (2, 2));
        one.log().subscriber_left();
        assert_eq!(other.log().subscribers(), 1);
    }

    #[test]
    fn a_reader_on_another_thread_never_sees_a_hole() {
        const MESSAGES: u64 = if cfg!(miri) { 300 } else { 20_000 };
        let mut writer = writer(LogLimits { log_bytes_max: 16 * 1024, segment_bytes_max: 1024 }, 1);
        let mut reader = LogReader::new(writer.log().clone());
        let thread = std::thread::spawn(move || {
            let mut cursor = 1;
            while cursor <= MESSAGES {
                reader.refresh();
                assert!(cursor <= reader.end(), "the head never goes back");
                for seq in cursor.max(reader.floor())..reader.end() {
                    let range = reader.range(seq).expect("everything from the floor to the head is there");
                    let segment = reader.segment(range.segment);
                    assert_eq!(segment.bytes(range.start..segment.offset_of(seq + 1)), seq.to_le_bytes());
                }
                cursor = reader.end();
            }
        });
        for seq in 1..=MESSAGES {
            writer.append(&[&seq.to_le_bytes()]);
            match seq % 97 {
                0 => writer.clear(),
                25 | 50 => drop(writer.trim_before(seq - 20)),
                75 => drop(writer.drop_oldest()),
                _ => {}
            }
        }
        thread.join().expect("the reader saw what it had to");
    }

    /// What can happen to a log and those who read it.
    #[derive(Clone, Debug)]
    enum Step {
        /// A message of so many bytes.
        Append(usize),
        /// How far behind the head.
        TrimBefore(u64),
        DropOldest,
        Clear,
        /// Which reader looks anew, and reads on to its head.
        Read(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (0usize..700).prop_map(Step::Append),
            2 => (0usize..6000).prop_map(Step::Append),
            2 => Just(Step::Append(0)),
            2 => (0u64..40).prop_map(Step::TrimBefore),
            1 => Just(Step::DropOldest),
            1 => Just(Step::Clear),
            5 => (0usize..3).prop_map(Step::Read),
        ];
        prop::collection::vec(step, 1..if cfg!(miri) { 30 } else { 200 })
    }

    /// The bytes of the messages `from..to`, each of which repeats its number.
    fn messages(lengths: &[usize], from: u64, to: u64) -> Vec<u8> {
        (from..to).flat_map(|seq| vec![seq as u8; lengths[seq as usize - 1]]).collect()
    }

    fn check_positions(reader: &LogReader, max: u64) {
        let all = reader.floor()..=reader.end();
        let naive = all.into_iter().find(|seq| reader.bytes_behind(*seq).expect("above the floor") <= max);
        assert_eq!(reader.within_bytes(max), naive.expect("nothing lies behind the head"), "within {max}");
    }

    proptest! {
        /// Whatever is appended, trimmed, dropped and cleared, and whenever readers look: each sees the messages
        /// from its cursor or the floor to the head, once and in order.
        #[test]
        fn readers_see_what_the_log_holds(steps in steps(), small in any::<bool>(), max in 0u64..70_000) {
            let limits = if small { LogLimits { log_bytes_max: 4096, segment_bytes_max: 1024 } } else { LIMITS };
            let mut writer = writer(limits, 1);
            let mut readers: Vec<_> = (0..3).map(|_| (LogReader::new(writer.log().clone()), 1)).collect();
            let mut lengths = Vec::new();
            for step in steps {
                let (floor, end) = (writer.floor(), writer.end_seq());
                match step {
                    Step::Append(length) => {
                        lengths.push(length);
                        let message = vec![end as u8; length];
                        writer.append(&[&message[..length / 2], &message[length / 2..]]);
                        prop_assert_eq!(writer.end_seq(), end + 1);
                        let alone = writer.log().segments.load().len() == 1;
                        prop_assert!(writer.footprint() <= limits.log_bytes_max || alone);
                    }
                    Step::TrimBefore(behind) => {
                        let seq = end.saturating_sub(behind);
                        prop_assert_eq!(writer.trim_before(seq), writer.floor() != floor);
                        prop_assert!(writer.floor() <= seq.max(floor), "what is kept was dropped");
                    }
                    Step::DropOldest => {
                        prop_assert_eq!(writer.drop_oldest(), floor != end);
                        prop_assert!(writer.floor() > floor || floor == end);
                    }
                    Step::Clear => {
                        writer.clear();
                        prop_assert!(writer.is_empty());
                    }
                    Step::Read(which) => {
                        let (reader, cursor) = &mut readers[which];
                        reader.refresh();
                        prop_assert_eq!((reader.floor(), reader.end()), (floor, end));
                        let from = floor.max(*cursor);
                        prop_assert_eq!(collect(reader, from), messages(&lengths, from, end));
                        prop_assert!(floor == 1 || reader.range(floor - 1).is_none());
                        *cursor = end;
                        check_positions(reader, max);
                        check_positions(reader, max % 64);
                    }
                }
                // A reader that has not looked still sees all that it saw then.
                for (reader, _) in &readers {
                    let held = messages(&lengths, reader.floor(), reader.end());
                    prop_assert_eq!(collect(reader, reader.floor()), held);
                    check_positions(reader, max);
                }
                let held: usize = writer.log().segments.load().iter().map(|segment| segment.footprint()).sum();
                prop_assert_eq!(writer.footprint(), held);
            }
            let reader = LogReader::new(writer.log().clone());
            for seq in reader.floor()..=reader.end() {
                check_positions(&reader, reader.bytes_behind(seq).expect("above the floor"));
            }
        }
    }
}
