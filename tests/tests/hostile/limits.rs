//! The limits on what one peer, one address or all together may have: reaching each of them is a counter and an answer.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use fanfare_tests::horde::Horde;
use fanfare_tests::raw::{CONTINUATION, PING, PONG, Raw, TEXT, client_frame, head};
use fanfare_tests::server::eventually;
use serde_json::json;

use crate::{FIN, NEVER_MS, Scene};

#[test]
fn a_message_has_so_many_fragments_and_no_more() {
    const FRAGMENTS_MAX: usize = 16_384;
    let mut scene = Scene::start("--shards 2");
    let mut reader = scene.program.connect("/ws/fragments");
    let empty = client_frame(CONTINUATION, b"");
    let begun = |more: usize| [client_frame(TEXT, b"begun"), empty.repeat(more)].concat();
    let raw = scene.program.connect("/pub/fragments");
    raw.write(&[begun(FRAGMENTS_MAX - 2), client_frame(FIN | CONTINUATION, b" and ended")].concat());
    assert_eq!(reader.message().text(), "begun and ended");
    raw.close();
    // One more, and far more.
    for more in [FRAGMENTS_MAX, 10 * FRAGMENTS_MAX] {
        let mut raw = scene.program.connect("/pub/fragments");
        _ = raw.try_write(&begun(more));
        assert_eq!(raw.expect_close(), 1009);
    }
    assert_eq!(scene.program.count("protocol_errors"), 2);
    scene.witnesses.check();
    reader.close();
    scene.end();
}

#[test]
fn pongs_that_nobody_reads_are_few() {
    const PINGS: usize = 1_000_000;
    /// What may be on its way of six times as much: what both sockets hold, and some receive buffers. The witnesses'
    /// bytes are counted with it.
    const RECEIVED_MAX: u64 = 1 << 20;
    // In bytes there is room for all of the pongs.
    let mut scene = Scene::start(
        "--shards 2 --outbox-bytes-max 16777216 --send-buffer-bytes 8192 --receive-buffers-max 16",
    );
    let before = scene.program.count("received_bytes");
    let mut raw = Raw::tcp_narrow(scene.program.addr(), 4096);
    raw.upgrade("/ws/pings");
    let writer = raw.writer();
    let writing = thread::spawn(move || {
        let pings = client_frame(FIN | PING, b"").repeat(1_000);
        (0..PINGS / 1_000).for_each(|_| writer.write(&pings));
    });
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(100));
        scene.witnesses.check();
    }
    let received = scene.program.count("received_bytes") - before;
    assert!(received < RECEIVED_MAX, "{received} bytes are received while no pong is read");
    for _ in 0..PINGS {
        let frame = raw.frame();
        assert!(frame.opcode == PONG && frame.payload.is_empty());
    }
    writing.join().expect("all pings are written");
    raw.close();
    scene.end();
}

#[test]
fn handshakes_in_progress_are_displaced_by_newcomers() {
    const HANDSHAKES_MAX: usize = 50;
    let mut scene = Scene::start(&format!(
        "--shards 1 --handshakes-max {HANDSHAKES_MAX} --handshake-timeout-ms {NEVER_MS}"
    ));
    // They connect and say nothing.
    let mut horde = Horde::new(scene.program.addr(), HANDSHAKES_MAX, Vec::new());
    horde.connect(HANDSHAKES_MAX);
    let all = scene.before.connections + HANDSHAKES_MAX as u64;
    horde.turn_until("all have come", |_| scene.program.count("connections") == all);
    scene.witnesses.check();
    // Each has a second. Then whoever means it gets in, at the cost of the oldest.
    thread::sleep(Duration::from_millis(1_100));
    for _ in 0..10 {
        scene.program.connect("/ws/serious").close();
    }
    scene.witnesses.check();
    horde.turn_until("one is displaced", |horde| horde.refused() == [503]);
    assert_eq!(scene.program.count("handshakes_displaced"), 1);
    drop(horde);
    scene.end();
}

#[test]
fn one_connection_too_many_is_told_to_come_again() {
    const CONNECTIONS_MAX: usize = 50;
    const LATE: usize = 150;
    let mut scene = Scene::start(&format!("--shards 1 --connections-max {CONNECTIONS_MAX}"));
    let room = CONNECTIONS_MAX - scene.before.connections as usize;
    let mut raws: Vec<Raw> = (0..room).map(|_| scene.program.connect("/ws/full")).collect();
    for _ in 0..10 {
        let mut late = Raw::tcp(scene.program.addr());
        late.write(&head("/ws/full"));
        let (status, head, _) = late.read_refusal();
        assert_eq!(status, 503);
        assert!(head.lines().any(|line| line.starts_with("Retry-After: ")), "{head}");
    }
    assert_eq!(scene.program.count("connections_refused"), 10);
    // Those who do not even ask are told soon, however many they are.
    let mut horde = Horde::new(scene.program.addr(), LATE, Vec::new());
    horde.connect(LATE);
    horde.turn_until("all are refused", |horde| horde.refused().len() == LATE);
    assert!(horde.refused().iter().all(|status| *status == 408), "{:?}", horde.refused());
    scene.witnesses.check();
    drop(horde);
    // There is room as soon as somebody leaves.
    raws.pop().expect("one of them").close();
    eventually("there is room", || {
        let mut raw = Raw::tcp(scene.program.addr());
        raw.write(&head("/ws/full"));
        raw.read_head().starts_with("HTTP/1.1 101 ")
    });
    raws.into_iter().for_each(Raw::close);
    scene.end();
}

#[test]
fn an_address_has_so_many_connections_and_no_more() {
    const EACH_MAX: usize = 20;
    let (attacker, other) = (Ipv4Addr::new(127, 0, 0, 66), Ipv4Addr::new(127, 0, 0, 67));
    let mut scene = Scene::start(&format!("--shards 2 --connections-per-address-max {EACH_MAX}"));
    let addr = scene.program.addr();
    let ask = |source| {
        let raw = Raw::tcp_from(source, addr);
        raw.write(&head("/ws/t"));
        raw
    };
    let connect = |source| {
        let mut raw = ask(source);
        raw.expect_upgraded();
        raw
    };
    let mut raws: Vec<Raw> = (0..EACH_MAX).map(|_| connect(attacker)).collect();
    for _ in 0..50 {
        let (status, head, _) = ask(attacker).read_refusal();
        assert_eq!(status, 429);
        assert!(head.lines().any(|line| line.starts_with("Retry-After: ")), "{head}");
    }
    assert_eq!(scene.program.count("address_refused"), 50);
    // Others have their own.
    raws.extend((0..EACH_MAX).map(|_| connect(other)));
    scene.witnesses.check();
    raws.swap_remove(0).reset();
    eventually("its place is free", || ask(attacker).read_head().starts_with("HTTP/1.1 101 "));
    drop(raws);
    scene.end();
}

/// Above what the witnesses' publisher says in a second.
const RATE_MAX: usize = 2_000;

/// How long so much takes at least of which so much is allowed in a second, and as much at once.
fn at_least(count: usize, each_second: usize) -> Duration {
    // The clocks of both sides begin at different moments.
    Duration::from_secs_f64((count - each_second) as f64 / each_second as f64 * 0.9)
}

#[test]
fn who_publishes_or_pings_too_fast_is_read_from_more_slowly() {
    const MESSAGES: usize = 3 * RATE_MAX;
    let mut scene = Scene::start(&format!("--shards 2 --publish-rate-max {RATE_MAX}"));
    let mut reader = scene.program.connect("/ws/fast");
    let text = |number: usize| number.to_string();
    let publish = |number: usize| {
        let args = json!({"topic": "fast", "data": number});
        json!({"op": "publish", "args": args}).to_string()
    };
    for (path, request) in [("/pub/fast", &text as &dyn Fn(usize) -> String), ("/stream", &publish)] {
        let throttled = scene.program.count("publish_throttled");
        let raw = scene.program.connect(path);
        let frames = (0..MESSAGES).map(|number| client_frame(FIN | TEXT, request(number).as_bytes()));
        let begun = Instant::now();
        raw.write(&frames.collect::<Vec<_>>().concat());
        // Nothing is lost.
        for number in 0..MESSAGES {
            assert_eq!(reader.message().text(), number.to_string(), "{path}");
        }
        assert!(begun.elapsed() >= at_least(MESSAGES, RATE_MAX), "{path}: {:?}", begun.elapsed());
        assert!(scene.program.count("publish_throttled") > throttled, "{path}");
        scene.witnesses.check();
        raw.close();
    }
    let mut raw = scene.program.connect("/ws/pings");
    let begun = Instant::now();
    raw.write(&client_frame(FIN | PING, b"?").repeat(MESSAGES));
    for _ in 0..MESSAGES {
        assert_eq!(raw.frame().opcode, PONG);
    }
    assert!(begun.elapsed() >= at_least(MESSAGES, RATE_MAX), "{:?}", begun.elapsed());
    raw.close();
    reader.close();
    scene.end();
}

#[test]
fn who_publishes_too_many_bytes_is_read_from_more_slowly() {
    const BYTES_RATE_MAX: usize = 200_000;
    const MESSAGES: usize = 30;
    let mut scene = Scene::start(&format!("--shards 2 --publish-bytes-rate-max {BYTES_RATE_MAX}"));
    let mut reader = scene.program.connect("/ws/heavy");
    let raw = scene.program.connect("/pub/heavy");
    let message = "x".repeat(20_000);
    let begun = Instant::now();
    raw.write(&client_frame(FIN | TEXT, message.as_bytes()).repeat(MESSAGES));
    for _ in 0..MESSAGES {
        assert_eq!(reader.message().text(), message);
    }
    let elapsed = begun.elapsed();
    assert!(elapsed >= at_least(MESSAGES * message.len(), BYTES_RATE_MAX), "{elapsed:?}");
    assert!(scene.program.count("publish_throttled") > 0);
    scene.witnesses.check();
    raw.close();
    reader.close();
    scene.end();
}
