//! More than anybody asked for: messages to one topic, and requests whose replies nobody reads.

use std::thread;

use fanfare_tests::raw::{Raw, TEXT, client_frame};
use serde_json::json;

use crate::{FIN, Scene};

#[test]
fn a_flood_of_one_topic_reaches_its_readers_and_delays_no_other() {
    const PUBLISHERS: usize = 6;
    const EACH: usize = 20_000;
    let mut scene = Scene::start("--shards 2");
    let published = scene.program.count("published");
    let mut reader = scene.program.connect("/ws/flooded");
    thread::scope(|scope| {
        let flooding: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let raw = scene.program.connect("/pub/flooded");
                scope.spawn(move || {
                    for begin in (0..EACH).step_by(500) {
                        let text = |number| format!("{publisher} {number} {:50}", "");
                        let frames = (begin..begin + 500)
                            .map(|number| client_frame(FIN | TEXT, text(number).as_bytes()));
                        raw.write(&frames.collect::<Vec<_>>().concat());
                    }
                    // Answered with its own code: the server took everything.
                    raw.close();
                })
            })
            .collect();
        let mut next = [0; PUBLISHERS];
        for count in 0..PUBLISHERS * EACH {
            let frame = reader.message();
            let mut numbers = frame.text().split_whitespace().map(|number| number.parse().expect("a number"));
            let (Some(publisher), Some(number)) = (numbers.next(), numbers.next()) else {
                panic!("{frame:?}")
            };
            let publisher: usize = publisher;
            assert_eq!(number, next[publisher], "publisher {publisher}");
            next[publisher] += 1;
            if count % 20_000 == 0 {
                scene.witnesses.check();
            }
        }
        assert_eq!(next, [EACH; PUBLISHERS]);
        for flood in flooding {
            flood.join().expect("everything was taken");
        }
    });
    reader.close();
    assert!(scene.program.count("published") >= published + (PUBLISHERS * EACH) as u64);
    scene.end();
}

#[test]
fn who_does_not_read_replies_is_not_read_from() {
    const TOPICS: usize = 1_000;
    const REQUESTS: usize = 2_000;
    const GROWN_BYTES_MAX: u64 = 4 << 20;
    let mut scene = Scene::start("--shards 2 --receive-buffers-max 64 --send-buffer-bytes 16384");
    let mut raw = Raw::tcp_narrow(scene.program.addr(), 4096);
    raw.upgrade("/stream");
    let names: Vec<String> = (0..TOPICS).map(|number| format!("{number:0>100}")).collect();
    raw.send_text(&json!({"op": "subscribe", "args": names, "id": 0}).to_string());
    assert_eq!(raw.json()["ok"], true);
    let resident = scene.program.resident_bytes();
    // Each of 25 bytes asks for 100 KB.
    let writer = raw.writer();
    let writing = thread::spawn(move || {
        for id in 1..=REQUESTS {
            writer.send_text(&json!({"op": "list", "id": id}).to_string());
        }
    });
    scene.witnesses.check();
    for id in 1..=REQUESTS {
        if id % 500 == 1 {
            let grown = scene.program.resident_bytes().saturating_sub(resident);
            assert!(grown < GROWN_BYTES_MAX, "{grown} bytes of replies wait for one connection");
        }
        let reply = raw.json();
        assert_eq!((&reply["id"], reply["topics"].as_array().map(Vec::len)), (&json!(id), Some(TOPICS)));
    }
    writing.join().expect("all requests are written");
    raw.close();
    scene.end();
}
