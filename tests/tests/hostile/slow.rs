//! Readers with the smallest window there is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fanfare_tests::raw::{CLOSE, PONG, Raw};

use crate::{NEVER_MS, Scene};

/// What the kernel makes of a receive buffer of one byte is the least that it grants.
const WINDOW_BYTES: usize = 1;

fn narrow(scene: &Scene, path: &str) -> Raw {
    let mut raw = Raw::tcp_narrow(scene.program.addr(), WINDOW_BYTES);
    raw.upgrade(path);
    raw
}

/// A numbered message of 4 KiB.
fn message(number: usize) -> String {
    format!("{number:0>4096}")
}

fn number_of(text: &str) -> usize {
    assert_eq!(text.len(), 4096, "a whole message");
    text.parse().expect("a number")
}

#[test]
fn readers_of_one_byte_now_and_then_get_what_their_policy_says() {
    const EACH: usize = 5;
    const MESSAGES: usize = 1_000;
    let flags = format!(
        "--shards 2 --send-buffer-bytes 8192 --lag-bytes-max 262144 --log-bytes-max 1048576 \
         --segment-bytes-max 65536 --close-timeout-ms {NEVER_MS} --ping-interval-ms {NEVER_MS} --idle-timeout-ms {}",
        2 * NEVER_MS
    );
    let mut scene = Scene::start(&flags);
    let resident = scene.program.resident_bytes();
    let mut kept: Vec<Raw> = (0..EACH).map(|_| narrow(&scene, "/ws/t?policy=skip")).collect();
    kept.extend((0..EACH).map(|_| narrow(&scene, "/ws/t?policy=latest")));
    let mut closed: Vec<Raw> = (0..EACH).map(|_| narrow(&scene, "/ws/t?policy=disconnect")).collect();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        // They do read: a byte each, now and then.
        let dripping = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for raw in kept.iter_mut().chain(&mut closed) {
                    raw.read_byte();
                }
                thread::sleep(Duration::from_millis(10));
            }
        });
        let mut publisher = scene.program.connect("/ws/t");
        for number in 0..MESSAGES {
            publisher.send_text(&message(number));
            assert!(publisher.message().text() == message(number), "who reads gets everything");
            if number % 200 == 0 {
                scene.witnesses.check();
            }
        }
        is_over.store(true, Ordering::Relaxed);
        dripping.join().expect("bytes come");
        publisher.close();
    });
    assert_eq!(scene.program.count("slow_disconnects"), EACH as u64);
    let grown = scene.program.resident_bytes().saturating_sub(resident);
    assert!(grown < 16 << 20, "{grown} bytes for {} slow readers", 3 * EACH);
    // At full speed again: whole messages in order, up to the close frame of those who are disconnected.
    for raw in &mut closed {
        let mut next = 0;
        loop {
            let frame = raw.frame();
            if frame.opcode == CLOSE {
                assert_eq!(frame.close_code(), 4008);
                break;
            }
            assert_eq!(number_of(frame.text()), next);
            next += 1;
        }
        assert!(next < MESSAGES);
    }
    // The others are told of each gap, and have nothing else missing.
    for raw in &mut kept {
        let mut next = 0;
        while next < MESSAGES {
            let frame = raw.next_but_pings().expect("it is not disconnected");
            if frame.opcode == PONG {
                let notice = std::str::from_utf8(&frame.payload).expect("words");
                let gap: Vec<usize> = notice.split(' ').filter_map(|word| word.parse().ok()).collect();
                // Sequence numbers begin with 1.
                assert!(notice.starts_with("gap ") && gap[0] == next + 1, "{notice} before {next}");
                next = gap[1];
            } else {
                assert_eq!(number_of(frame.text()), next);
                next += 1;
            }
        }
    }
    let metrics = scene.program.metrics();
    assert!(metrics["slow_skips"] >= EACH as u64 && metrics["slow_latest"] >= EACH as u64, "{metrics:?}");
    drop(closed);
    kept.into_iter().for_each(Raw::close);
    scene.end();
}
