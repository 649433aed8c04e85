//! Requests that take for ever, in time or in bytes.

use std::thread;
use std::time::{Duration, Instant};

use fanfare_tests::raw::{Raw, TEXT, client_frame, head};

use crate::{FIN, NEVER_MS, Scene};

const MIB: usize = 1 << 20;

#[test]
fn slow_heads_get_408_in_time_and_keep_nobody_out() {
    const PEERS: usize = 200;
    const TIMEOUT_MS: u64 = 1_500;
    let mut scene = Scene::start(&format!("--shards 2 --handshake-timeout-ms {TIMEOUT_MS}"));
    let mut raws: Vec<Raw> = (0..PEERS).map(|_| Raw::tcp(scene.program.addr())).collect();
    // A byte each now and then: none of them is ever silent for long.
    let bytes = head(&format!("/ws/{}", "t".repeat(100)));
    let until = Instant::now() + Duration::from_millis(TIMEOUT_MS / 2);
    let drips = bytes.iter().take_while(|_| Instant::now() < until);
    for byte in drips {
        raws.iter().for_each(|raw| raw.write(&[*byte]));
        thread::sleep(Duration::from_millis(20));
    }
    // Somebody else gets in meanwhile.
    scene.program.connect("/ws/late").close();
    scene.witnesses.check();
    for raw in &mut raws {
        assert_eq!(raw.read_refusal().0, 408);
    }
    assert_eq!(scene.program.count("handshake_timeouts"), PEERS as u64);
    drop(raws);
    scene.end();
}

#[test]
fn a_crowd_that_sends_a_byte_at_a_time_is_served_like_any_other() {
    const PEERS: usize = 50;
    let mut scene = Scene::start(&format!("--shards 2 --handshake-timeout-ms {NEVER_MS}"));
    let mut reader = scene.program.connect("/ws/drops");
    let mut raws: Vec<Raw> = (0..PEERS).map(|_| Raw::tcp(scene.program.addr())).collect();
    let bytes = [head("/pub/drops"), client_frame(FIN | TEXT, b"drop by drop")].concat();
    for byte in &bytes {
        raws.iter().for_each(|raw| raw.write(&[*byte]));
    }
    for raw in &mut raws {
        raw.expect_upgraded();
    }
    for _ in 0..PEERS {
        assert_eq!(reader.message().text(), "drop by drop");
    }
    scene.witnesses.check();
    raws.into_iter().for_each(Raw::close);
    reader.close();
    scene.end();
}

#[test]
fn a_head_of_a_mebibyte_is_refused_and_not_kept() {
    const PEERS: u64 = 20;
    let mut scene =
        Scene::start(&format!("--shards 2 --receive-buffers-max 64 --close-timeout-ms {NEVER_MS}"));
    let resident = scene.program.resident_bytes();
    let line = format!("A: {}\r\n", "b".repeat(1000));
    let many_lines =
        [&b"GET /ws/t HTTP/1.1\r\nHost: t\r\n"[..], &line.repeat(MIB / line.len()).into_bytes()].concat();
    let one_line = [&b"GET /ws/"[..], &vec![b't'; MIB]].concat();
    for (bytes, status) in [(many_lines, 431), (one_line, 414)] {
        let mut raws: Vec<Raw> = (0..PEERS).map(|_| Raw::tcp(scene.program.addr())).collect();
        // All of it can be sent, and the answer is not lost for it.
        raws.iter().for_each(|raw| raw.write(&bytes));
        for raw in &mut raws {
            assert_eq!(raw.read_refusal().0, status);
        }
        scene.witnesses.check();
    }
    assert_eq!(scene.program.count("rejected"), 2 * PEERS);
    let grown = scene.program.resident_bytes().saturating_sub(resident);
    assert!(grown < 8 << 20, "{grown} bytes are kept of 40 MiB");
    scene.end();
}

#[test]
fn a_head_without_an_end_is_cut_off() {
    const PEERS: usize = 8;
    let mut scene = Scene::start("--shards 2 --close-timeout-ms 300");
    let (begin, line) = (b"GET /ws/t HTTP/1.1\r\n", b"A: b\r\n".repeat(1000));
    let sending = (0..PEERS).map(|_| {
        let (mut raw, line) = (Raw::tcp(scene.program.addr()), line.clone());
        let writer = raw.writer();
        thread::spawn(move || {
            let writing = thread::spawn(move || {
                writer.write(begin);
                let mut written = 0;
                while writer.try_write(&line).is_ok() {
                    written += line.len();
                }
                written
            });
            assert!(raw.read_head().starts_with("HTTP/1.1 431 "));
            writing.join().expect("it writes until it cannot")
        })
    });
    for sent in sending.collect::<Vec<_>>() {
        assert!(sent.join().expect("it gets its answer") > 16 << 10);
    }
    scene.witnesses.check();
    assert_eq!(scene.program.count("rejected"), PEERS as u64);
    scene.end();
}
