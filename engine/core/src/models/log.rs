use std::sync::Arc;

use fanfare_wire::subscribe::Epoch;
use loom::thread;

use super::Post;
use crate::log::{LogLimits, LogReader, LogWriter};

/// All logs of models roll over after the smallest segment.
fn writer(log_bytes_max: usize) -> LogWriter {
    LogWriter::new(LogLimits { log_bytes_max, segment_bytes_max: 256 }, Epoch(1), 1, 1, Arc::default())
}

/// Message `seq` of a model: its number, `bytes` times.
fn text(seq: u64, bytes: usize) -> Vec<u8> {
    vec![seq as u8; bytes]
}

/// Reads from `cursor` to the head as of now, and checks every byte. Returns the new cursor.
fn read(reader: &mut LogReader, cursor: u64, bytes: usize) -> u64 {
    let before = reader.end();
    reader.refresh();
    assert!(reader.end() >= before, "the head never goes back");
    for seq in cursor.max(reader.floor())..reader.end() {
        let range = reader.range(seq).expect("all from the floor to the head is there");
        let segment = reader.segment(range.segment);
        assert_eq!(segment.bytes(range.start..segment.offset_of(seq + 1)), text(seq, bytes));
    }
    reader.end()
}

/// Somebody reads while `write` does what it does, and once more when that is done.
fn beside(log_bytes_max: usize, bytes: usize, end: u64, write: fn(&mut LogWriter)) {
    loom::model(move || {
        let mut writer = writer(log_bytes_max);
        let log = writer.log().clone();
        let reading = thread::spawn(move || {
            let mut reader = LogReader::new(log);
            let cursor = read(&mut reader, 1, bytes);
            let cursor = read(&mut reader, cursor, bytes);
            (reader, cursor)
        });
        write(&mut writer);
        let (mut reader, cursor) = reading.join().expect("a reader that saw what it may");
        assert_eq!(read(&mut reader, cursor, bytes), end);
    });
}

#[test]
fn only_published_bytes_are_read() {
    beside(1 << 20, 3, 3, |writer| {
        writer.append(&[&text(1, 3)]);
        writer.append(&[&text(2, 2), &text(2, 1)]);
    });
}

#[test]
fn a_log_rolls_over_beside_its_readers() {
    // Two of these do not fit into one segment.
    beside(1 << 20, 200, 4, |writer| (1..4).for_each(|seq| writer.append(&[&text(seq, 200)])));
}

#[test]
fn segments_go_beside_their_readers() {
    // Room for one segment: each append drops the one before.
    beside(1, 200, 3, |writer| (1..3).for_each(|seq| writer.append(&[&text(seq, 200)])));
}

#[test]
fn a_log_is_cleared_beside_its_readers() {
    beside(1 << 20, 3, 3, |writer| {
        writer.append(&[&text(1, 3)]);
        writer.clear();
        writer.append(&[&text(2, 3)]);
    });
}

#[test]
fn a_moved_head_is_told_until_it_is_seen() {
    loom::model(|| {
        let mut writer = writer(1 << 20);
        writer.append(&[&text(1, 3)]);
        let log = writer.log().clone();
        let shard = Post::new(1, 1, 1);
        let post = shard.clone();
        let home = thread::spawn(move || {
            for seq in 2..4 {
                writer.append(&[&text(seq, 3)]);
                if writer.log().tell(0) {
                    post.mailbox.head_moved(7);
                }
            }
        });
        let mut reader = LogReader::new(log);
        let mut cursor = 2;
        while cursor < 4 {
            match shard.mailbox.take_moved() {
                Some(reader_index) => {
                    assert_eq!(reader_index, 7);
                    reader.log().looks(0);
                    cursor = read(&mut reader, cursor, 3);
                }
                None => shard.sleep(),
            }
        }
        home.join().expect("the home shard");
    });
}

/// More heads move than the mailbox can name: a flag stands for all of them.
#[test]
fn heads_that_cannot_be_named_are_seen_too() {
    loom::model(|| {
        let shard = Post::new(1, 1, 1);
        let mut writers = [writer(1 << 20), writer(1 << 20)];
        let mut readers = Vec::new();
        for writer in &mut writers {
            writer.append(&[&text(1, 3)]);
            readers.push(LogReader::new(writer.log().clone()));
        }
        let post = shard.clone();
        let home = thread::spawn(move || {
            for (index, writer) in writers.iter_mut().enumerate() {
                writer.append(&[&text(2, 3)]);
                if writer.log().tell(0) {
                    post.mailbox.head_moved(index as u32);
                }
            }
        });
        let look = |reader: &mut LogReader| {
            reader.log().looks(0);
            read(reader, 2, 3);
        };
        while readers.iter().any(|reader| reader.end() < 3) {
            match shard.mailbox.take_moved() {
                Some(index) => look(&mut readers[index as usize]),
                None if shard.mailbox.take_overflow() => readers.iter_mut().for_each(look),
                None => shard.sleep(),
            }
        }
        home.join().expect("the home shard");
    });
}

/// Presence: one number that all shards share.
#[test]
fn nobody_is_forgotten_in_the_count_of_subscribers() {
    loom::model(|| {
        let writer = writer(1 << 20);
        let shards: Vec<_> = (0..2)
            .map(|_| {
                let log = writer.log().clone();
                thread::spawn(move || {
                    log.subscriber_joined();
                    log.subscriber_joined();
                    log.subscriber_left();
                })
            })
            .collect();
        assert!(writer.log().subscribers() <= 4, "a count below zero");
        shards.into_iter().for_each(|shard| shard.join().expect("a shard"));
        assert_eq!(writer.log().subscribers(), 2);
    });
}
