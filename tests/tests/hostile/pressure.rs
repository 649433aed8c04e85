//! More at once than the queues between kernel and server hold. The server is stopped while everything piles up.

use std::collections::BTreeMap;

use fanfare_tests::horde::Horde;
use fanfare_tests::raw::{Raw, TEXT, client_frame, head};

use crate::{FIN, NEVER_MS, Scene, scale};

/// Reads so many messages, each the number of its publisher and a number of its own: every publisher's are in order.
fn read_numbered(reader: &mut Raw, publishers: usize, each: usize) {
    let mut next: BTreeMap<usize, usize> = BTreeMap::new();
    for _ in 0..publishers * each {
        let frame = reader.message();
        let mut numbers = frame.text().split_whitespace().map(|number| number.parse().expect("a number"));
        let (Some(publisher), Some(number)) = (numbers.next(), numbers.next()) else { panic!("{frame:?}") };
        let expected = next.entry(publisher).or_default();
        assert_eq!(number, *expected, "publisher {publisher}");
        *expected += 1;
    }
    assert_eq!(next.len(), publishers);
    assert!(next.values().all(|count| *count == each));
}

/// A message of a publisher, of this length at least.
fn numbered(publisher: usize, number: usize, len: usize) -> Vec<u8> {
    client_frame(FIN | TEXT, format!("{publisher} {number} {:len$}", "").as_bytes())
}

#[test]
fn without_receive_buffers_everything_still_comes_in_order() {
    const PUBLISHERS: usize = 60;
    const ROUNDS: usize = 4;
    const EACH: usize = 20;
    // All of a shard's buffers together hold a kilobyte.
    let mut scene = Scene::start("--shards 2 --receive-buffers-max 4 --receive-buffer-bytes 256");
    let mut reader = scene.program.connect("/ws/buffers");
    let raws: Vec<Raw> = (0..PUBLISHERS).map(|_| scene.program.connect("/pub/buffers")).collect();
    for round in 0..ROUNDS {
        scene.program.signal("STOP");
        for number in round * EACH..(round + 1) * EACH {
            for (publisher, raw) in raws.iter().enumerate() {
                raw.write(&numbered(publisher, number, 500));
            }
        }
        scene.program.signal("CONT");
        scene.witnesses.check();
    }
    read_numbered(&mut reader, PUBLISHERS, ROUNDS * EACH);
    assert!(scene.program.count("receive_buffers_exhausted") > 0);
    raws.into_iter().for_each(Raw::close);
    reader.close();
    scene.end();
}

#[test]
fn thousands_of_events_at_once_are_all_handled() {
    const EACH: usize = 3;
    const VANISHING: usize = 500;
    // Where it is to overflow, more than the 16 384 completions that a ring's queue holds.
    let publishers = scale(3_000, 18_000);
    let mut scene =
        Scene::start(&format!("--shards 1 --ping-interval-ms {NEVER_MS} --idle-timeout-ms {}", 2 * NEVER_MS));
    let mut reader = scene.program.connect("/ws/events");
    let mut horde = Horde::new(scene.program.addr(), publishers, head("/pub/events"));
    horde.connect(publishers);
    horde.turn_until("all are upgraded", |horde| horde.upgraded() == publishers);
    let subscribed: Vec<Raw> = (0..VANISHING).map(|_| scene.program.connect("/ws/events")).collect();
    scene.program.signal("STOP");
    for number in 0..EACH {
        horde.say(|publisher| numbered(publisher, number, 0));
    }
    subscribed.into_iter().for_each(Raw::reset);
    let new: Vec<Raw> = (0..VANISHING).map(|_| Raw::tcp(scene.program.addr())).collect();
    new.iter().for_each(|raw| raw.write(&head("/ws/new")));
    scene.program.signal("CONT");
    read_numbered(&mut reader, publishers, EACH);
    for mut raw in new {
        raw.expect_upgraded();
    }
    scene.witnesses.check();
    assert_eq!(horde.upgraded(), publishers);
    drop(horde);
    reader.close();
    scene.end();
}
