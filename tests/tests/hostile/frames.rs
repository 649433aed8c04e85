//! Frames that take for ever, in time, in number or in bytes. What a single rude frame gets is in tests/peers.rs.

use std::thread;

use fanfare_tests::raw::{BINARY, CONTINUATION, PING, PONG, Raw, TEXT, client_frame};

use crate::{FIN, Scene};

#[test]
fn slow_frames_arrive_whole_and_hold_up_nobody() {
    const PEERS: usize = 50;
    let mut scene = Scene::start("--shards 2");
    let mut reader = scene.program.connect("/ws/slow");
    let raws: Vec<Raw> = (0..PEERS).map(|_| scene.program.connect("/pub/slow")).collect();
    let text = "x".repeat(200);
    for (sent, byte) in client_frame(FIN | TEXT, text.as_bytes()).into_iter().enumerate() {
        raws.iter().for_each(|raw| raw.write(&[byte]));
        if sent % 50 == 0 {
            scene.witnesses.check();
        }
    }
    for _ in 0..PEERS {
        assert_eq!(reader.message().text(), text);
    }
    raws.into_iter().for_each(Raw::close);
    reader.close();
    scene.end();
}

#[test]
fn fragments_without_an_end_stop_at_the_longest_message() {
    const PEERS: u64 = 8;
    const MESSAGE_BYTES_MAX: usize = 256 << 10;
    let mut scene = Scene::start(&format!("--shards 2 --message-bytes-max {MESSAGE_BYTES_MAX}"));
    let mut reader = scene.program.connect("/ws/endless");
    let piece = vec![b'x'; 4096];
    let [first, next] = [BINARY, CONTINUATION].map(|opcode| client_frame(opcode, &piece));
    for _ in 0..PEERS {
        let mut raw = scene.program.connect("/pub/endless");
        raw.write(&first);
        for _ in 1..MESSAGE_BYTES_MAX / piece.len() {
            raw.write(&next);
        }
        // So long is allowed; one byte more is not, whatever follows it.
        raw.write(&client_frame(CONTINUATION, b"x"));
        _ = raw.try_write(&next);
        assert_eq!(raw.expect_close(), 1009);
        scene.witnesses.check();
    }
    assert_eq!(scene.program.count("protocol_errors"), PEERS);
    // What was never complete was never published.
    let raw = scene.program.connect("/pub/endless");
    raw.send(BINARY, b"complete");
    assert_eq!(reader.message().payload, b"complete");
    raw.close();
    reader.close();
    scene.end();
}

#[test]
fn thousands_of_empty_fragments_cost_nothing_and_change_nothing() {
    const FRAGMENTS: usize = 10_000;
    let mut scene = Scene::start("--shards 2 --receive-buffers-max 64");
    let mut reader = scene.program.connect("/ws/empty");
    let resident = scene.program.resident_bytes();
    let raws: Vec<Raw> = (0..8).map(|_| scene.program.connect("/pub/empty")).collect();
    let empty = client_frame(CONTINUATION, b"").repeat(100);
    for raw in &raws {
        raw.write(&client_frame(TEXT, b"begun "));
    }
    for _ in 0..FRAGMENTS / 100 {
        raws.iter().for_each(|raw| raw.write(&empty));
    }
    scene.witnesses.check();
    let grown = scene.program.resident_bytes().saturating_sub(resident);
    assert!(grown < 4 << 20, "{grown} bytes for fragments without a byte");
    for raw in &raws {
        raw.write(&client_frame(FIN | CONTINUATION, b"and ended"));
    }
    for _ in &raws {
        assert_eq!(reader.message().text(), "begun and ended");
    }
    raws.into_iter().for_each(Raw::close);
    reader.close();
    scene.end();
}

/// Of those who do not read their pongs, tests/peers.rs tells.
#[test]
fn a_flood_of_pings_gets_a_pong_for_each_in_order() {
    const PEERS: usize = 4;
    const PINGS: usize = 20_000;
    let mut scene = Scene::start("--shards 2");
    let ping = |number: usize| format!("{number:0>100}");
    let flooding: Vec<_> = (0..PEERS)
        .map(|_| {
            let mut raw = scene.program.connect("/ws/pings");
            let writer = raw.writer();
            thread::spawn(move || {
                let writing = thread::spawn(move || {
                    for begin in (0..PINGS).step_by(200) {
                        let frames = (begin..begin + 200)
                            .map(|number| client_frame(FIN | PING, ping(number).as_bytes()));
                        writer.write(&frames.collect::<Vec<_>>().concat());
                    }
                });
                for number in 0..PINGS {
                    let frame = raw.frame();
                    assert!(
                        frame.opcode == PONG && frame.payload == ping(number).as_bytes(),
                        "pong {number}"
                    );
                }
                writing.join().expect("all is written");
                raw.close();
            })
        })
        .collect();
    scene.witnesses.check();
    for flood in flooding {
        flood.join().expect("every ping has its pong");
    }
    scene.end();
}
