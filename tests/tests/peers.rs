//! Slow, dead and rude peers: each loses its own connection, with the right code, and nobody else notices.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fanfare::{Config, ListenOptions};
use fanfare_tests::raw::{
    BINARY, CLOSE, CONTINUATION, PING, PONG, Raw, TEXT, client_frame, close_payload, head, head_with,
};
use fanfare_tests::server::{SHARDS, Server, eventually, limits};
use fanfare_tests::stages::{STAGES, Then};
use fanfare_tests::witness::Witness;

const FIN: u8 = 0x80;

/// About an hour: a test that needs one of these times fails for being late. The engine's timers lie on a wheel that comes
/// round every 102.4 s, and 100 s after a multiple of that it is not woken by them in passing either.
const NEVER_MS: u64 = 36 * 102_400 - 2_400;

/// No timer does what should have happened by itself.
fn patient() -> Config {
    Config {
        handshake_timeout_ms: NEVER_MS,
        ping_interval_ms: NEVER_MS,
        idle_timeout_ms: 2 * NEVER_MS,
        close_timeout_ms: NEVER_MS,
        topic_idle_ms: NEVER_MS,
        ..limits()
    }
}

/// An engine that soon has enough of a peer that does not read.
fn narrow(config: Config) -> Server {
    let config =
        Config { lag_bytes_max: 256 << 10, log_bytes_max: 4 << 20, segment_bytes_max: 64 << 10, ..config };
    let sockets = ListenOptions { send_buffer_bytes: Some(16 << 10), ..ListenOptions::default() };
    Server::build(Server::builder(config).sockets(sockets))
}

fn narrow_client(server: &Server, path: &str) -> Raw {
    let mut raw = Raw::tcp_narrow(server.addr(), 4096);
    raw.upgrade(path);
    raw
}

/// A numbered message of a size that fills sockets.
fn large(number: usize) -> String {
    format!("{number} {}", "x".repeat(16_000))
}

/// Publishes large messages, each when the witness has the one before, until so many peers were found too slow.
fn publish_until_slow(server: &Server, witness: &mut Witness, peers: u64) -> usize {
    let mut count = 0;
    while server.sum(|stats| stats.slow_disconnects.get()) < peers {
        assert!(count < 5_000, "80 MB behind and still connected");
        server.publish("t", large(count));
        witness.expect(large(count).as_bytes());
        count += 1;
    }
    count
}

#[test]
fn a_subscriber_that_never_reads_is_closed_with_4008_between_whole_frames() {
    let server = narrow(patient());
    let mut witness = Witness::new(&server, "t");
    let mut raws: Vec<Raw> = (0..3).map(|_| narrow_client(&server, "/ws/t")).collect();
    let mut streams: Vec<Raw> = (0..3).map(|_| narrow_client(&server, "/stream?topics=t")).collect();
    let count = publish_until_slow(&server, &mut witness, 6);
    witness.check(&server);
    // What it gets, once it reads, is everything up to some message, and then the reason.
    for (raw, of_stream) in
        raws.iter_mut().map(|raw| (raw, false)).chain(streams.iter_mut().map(|raw| (raw, true)))
    {
        if of_stream {
            assert_eq!(raw.json()["ok"], true);
        }
        let mut next = 0;
        let close = loop {
            let frame = raw.frame();
            if frame.opcode == CLOSE {
                break frame;
            }
            let expected = large(next);
            let data = format!("{{\"topic\":\"t\",\"seq\":{},\"data\":\"{expected}\"}}", next + 1);
            assert!(frame.text() == if of_stream { data } else { expected }, "message {next}");
            next += 1;
        };
        assert_eq!(close.close_code(), 4008);
        assert!(next > 0 && next < count, "{next} of {count}");
        raw.send(CLOSE, &close.payload[..2]);
        assert_eq!(raw.next_frame(), None);
    }
    drop((raws, streams));
    server.wait_for_connections(1);
    witness.check(&server);
    witness.leave();
    server.assert_empty();
}

#[test]
fn who_does_not_even_read_the_close_frame_is_cut_off() {
    let server = narrow(Config { close_timeout_ms: 100, ..patient() });
    let mut witness = Witness::new(&server, "t");
    let stalled: Vec<Raw> = (0..4).map(|_| narrow_client(&server, "/ws/t")).collect();
    publish_until_slow(&server, &mut witness, 4);
    server.wait_for_connections(1);
    assert_eq!(server.sum(|stats| stats.subscriptions.get()), 1);
    witness.check(&server);
    witness.leave();
    drop(stalled);
    server.assert_empty();
}

#[test]
fn who_does_not_take_its_pongs_is_not_read_from() {
    const PINGS: usize = 250_000;
    // All that may be on its way: what the client's and the server's sockets hold in both directions, and the outbox.
    const UNDER_WAY_MAX: u64 = 16 << 20;
    let server = narrow(patient());
    let mut witness = Witness::new(&server, "t");
    let mut raw = narrow_client(&server, "/ws/other");
    let writer = raw.writer();
    let ping = |number: usize| format!("{number:0>125}");
    let before = server.sum(|stats| stats.received_bytes.get());
    let writing = thread::spawn(move || {
        for numbers in (0..PINGS).collect::<Vec<_>>().chunks(500) {
            let frames = numbers.iter().map(|number| client_frame(FIN | PING, ping(*number).as_bytes()));
            writer.write(&frames.collect::<Vec<_>>().concat());
        }
    });
    let received = || server.sum(|stats| stats.received_bytes.get()) - before;
    eventually("the server has read as much as it would", || received() > 8 << 10);
    let mut taken = 0;
    for number in 0..PINGS {
        assert!(received() - taken < UNDER_WAY_MAX, "{} bytes wait in the server", received() - taken);
        let frame = raw.frame();
        assert!(frame.opcode == PONG && frame.payload == ping(number).as_bytes(), "pong {number}");
        taken += 131;
        if number % 50_000 == 0 {
            witness.check(&server);
        }
    }
    writing.join().expect("written");
    raw.close();
    witness.leave();
    server.assert_empty();
}

#[test]
fn a_peer_that_vanishes_at_any_stage_is_forgotten() {
    let server = Server::new(patient());
    let mut witness = Witness::new(&server, "t");
    for shard in 0..SHARDS {
        for stage in STAGES {
            eprintln!("shard {shard}: {}", stage.name);
            // At once, and when the server has seen and answered everything.
            for seen in [false, true] {
                let before = server.sum(|stats| stats.received_bytes.get());
                let raw = server.tcp_on(shard);
                stage.reach(&raw);
                if seen && !(stage.sent)().is_empty() {
                    eventually("it is received", || server.sum(|stats| stats.received_bytes.get()) > before);
                }
                raw.reset();
                witness.check(&server);
                server.wait_for_connections(1);
                eventually("its subscriptions go", || server.sum(|stats| stats.subscriptions.get()) == 1);
            }
        }
    }
    witness.leave();
    server.assert_empty();
}

#[test]
fn a_peer_that_vanishes_with_messages_unread_is_forgotten() {
    let server = narrow(patient());
    let mut witness = Witness::new(&server, "t");
    for path in ["/ws/t", "/stream?topics=t"] {
        let stalled: Vec<Raw> = (0..4).map(|_| narrow_client(&server, path)).collect();
        // More than the sockets take, less than would be too slow.
        for number in 0..10 {
            server.publish("t", large(number));
            witness.expect(large(number).as_bytes());
        }
        assert_eq!(server.sum(|stats| stats.slow_disconnects.get()), 0);
        stalled.into_iter().for_each(Raw::reset);
        server.wait_for_connections(1);
        witness.check(&server);
    }
    witness.leave();
    server.assert_empty();
}

#[test]
fn a_peer_that_ends_its_side_is_let_go_at_any_stage() {
    let server = Server::new(patient());
    let mut witness = Witness::new(&server, "t");
    for shard in 0..SHARDS {
        for stage in STAGES {
            eprintln!("shard {shard}: {}", stage.name);
            let mut raw = server.tcp_on(shard);
            stage.reach(&raw);
            raw.finish();
            // Who asked for something still gets the answer to it.
            let answer = raw.read_to_end();
            if stage.then == Then::Closed {
                assert!(answer.ends_with(&[0x88, 0x02, 0x03, 0xE8]), "{}", answer.escape_ascii());
            }
            witness.check(&server);
            server.wait_for_connections(1);
        }
    }
    witness.leave();
    server.assert_empty();
}

#[test]
fn what_a_peer_published_before_it_ended_its_side_counts() {
    let server = Server::new(patient());
    for shard in 0..SHARDS {
        let mut witness = Witness::new(&server, "t");
        let raw = server.tcp_on(shard);
        let messages =
            (0..100).flat_map(|number: u32| client_frame(FIN | TEXT, number.to_string().as_bytes()));
        raw.write(&head("/pub/t").into_iter().chain(messages).collect::<Vec<_>>());
        raw.finish();
        (0..100_u32).for_each(|number| witness.expect(number.to_string().as_bytes()));
        drop(raw);
        witness.leave();
        server.assert_empty();
    }
}

#[test]
fn the_end_of_a_connection_waits_for_no_timer() {
    // A shard with nothing else to do has no topic to look after either.
    let server = Server::new(patient());
    for shard in 0..SHARDS {
        for path in ["/pub/t", "/stream", "/ws/t"] {
            server.connect_on(shard, path).close();
            server.wait_for_connections(0);
        }
        let mut raw = server.connect_on(shard, "/pub/t");
        raw.write(&[0xFF, 0xFF]);
        assert_eq!(raw.expect_close(), 1002);
        drop(raw);
        let mut raw = server.tcp_on(shard);
        raw.write(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(raw.read_refusal().0, 404);
    }
    server.assert_empty();
}

#[test]
fn a_connection_is_not_ended_by_the_one_that_had_its_place() {
    // The kernel half-closes on a thread of its own, and a peer that knows when an answer is complete leaves before that.
    const PEERS: u64 = 10_000;
    let server = Server::new(patient());
    let mut witness = Witness::new(&server, "t");
    for number in 0..PEERS {
        let mut raw = Raw::tcp(server.addr());
        raw.write(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        assert!(raw.read_head().starts_with("HTTP/1.1 404 "), "peer {number}");
    }
    assert_eq!(server.sum(|stats| stats.rejected.get()), PEERS);
    witness.check(&server);
    witness.leave();
    server.assert_empty();
}

#[test]
fn a_handshake_that_does_not_come_gets_408() {
    let server = Server::new(Config { handshake_timeout_ms: 200, ..patient() });
    let mut witness = Witness::new(&server, "t");
    let timeouts = |server: &Server| server.sum(|stats| stats.handshake_timeouts.get());
    for (begun, bytes) in [("", &b""[..]), ("a head", b"GET /ws/t HTTP/1.1\r\nHost: test\r\n")] {
        let mut raws: Vec<Raw> = (0..4).map(|_| Raw::tcp(server.addr())).collect();
        raws.iter().for_each(|raw| raw.write(bytes));
        for raw in &mut raws {
            assert_eq!(raw.read_refusal().0, 408, "{begun}");
        }
    }
    assert_eq!(timeouts(&server), 8);
    // Sending without end does not help.
    let mut raw = Raw::tcp(server.addr());
    let writer = raw.writer();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            writer.write(b"GET /ws/t HTTP/1.1\r\n");
            while !done.load(Ordering::Relaxed) && writer.try_write(b"a: b\r\n").is_ok() {
                thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        let head = raw.read_head();
        done.store(true, Ordering::Relaxed);
        assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    });
    drop((raw, writer));
    server.wait_for_connections(1);
    witness.check(&server);
    witness.leave();
    server.assert_empty();
}

#[test]
fn a_peer_that_does_not_answer_pings_is_closed_with_4000() {
    let server = Server::new(Config { ping_interval_ms: 150, idle_timeout_ms: 450, ..patient() });
    // It answers pings, and was there first.
    let mut witness = Witness::new(&server, "t");
    for path in ["/ws/t", "/pub/t", "/stream"] {
        let mut dead = server.connect(path);
        let ping = dead.frame();
        assert_eq!(ping.opcode, PING, "{path}");
        let close = dead.frame();
        assert_eq!(close.close_code(), 4000, "{path}");
        dead.send(CLOSE, &close.payload[..2]);
        assert_eq!(dead.next_frame(), None);
        drop(dead);
        server.wait_for_connections(1);
        witness.check(&server);
    }
    assert_eq!(server.sum(|stats| stats.idle_disconnects.get()), 3);
    witness.leave();
    server.assert_empty();
}

#[test]
fn a_dead_peer_that_does_not_answer_the_close_frame_is_cut_off() {
    let server = Server::new(Config {
        ping_interval_ms: 100,
        idle_timeout_ms: 300,
        close_timeout_ms: 100,
        ..patient()
    });
    let mut witness = Witness::new(&server, "t");
    let dead: Vec<Raw> = (0..4).map(|_| server.connect("/ws/t")).collect();
    eventually("all are found out", || server.sum(|stats| stats.idle_disconnects.get()) == 4);
    server.wait_for_connections(1);
    drop(dead);
    witness.check(&server);
    witness.leave();
    server.assert_empty();
}

#[test]
fn a_rude_frame_gets_its_close_code() {
    let frame = |first: u8, payload: &[u8]| client_frame(first, payload);
    let long = |len: u64| [&[0x82, 0xFF][..], &len.to_be_bytes(), &[1, 2, 3, 4]].concat();
    let close = |payload: &[u8]| client_frame(FIN | CLOSE, payload);
    let code = |code: u16| client_frame(FIN | CLOSE, &close_payload(code, ""));
    let cases = [
        ("unmasked text", vec![0x81, 0x02, b'h', b'i'], 1002),
        ("unmasked ping", vec![0x89, 0x00], 1002),
        ("RSV1", frame(FIN | 0x40 | TEXT, b"x"), 1002),
        ("RSV2", frame(FIN | 0x20 | BINARY, b"x"), 1002),
        ("RSV3 on a ping", frame(FIN | 0x10 | PING, b"x"), 1002),
        ("opcode 3", frame(FIN | 0x3, b"x"), 1002),
        ("opcode 7", frame(FIN | 0x7, b"x"), 1002),
        ("opcode B", frame(FIN | 0xB, b"x"), 1002),
        ("opcode F", frame(FIN | 0xF, b"x"), 1002),
        ("a fragmented ping", frame(PING, b"x"), 1002),
        ("a fragmented close", frame(CLOSE, &close_payload(1000, "")), 1002),
        ("a long ping", frame(FIN | PING, &[0; 126]), 1002),
        ("a long close", close(&[3; 126]), 1002),
        ("a continuation of nothing", frame(FIN | CONTINUATION, b"x"), 1002),
        ("a message in a message", [frame(TEXT, b"a"), frame(FIN | TEXT, b"b")].concat(), 1002),
        ("16 bits for 125", [&[0x82, 0xFE, 0, 125, 1, 2, 3, 4][..], &[0; 125]].concat(), 1002),
        ("64 bits for 65535", long(65_535), 1002),
        ("the top bit of a length", long(1 << 63), 1002),
        ("a close of one byte", close(&[3]), 1002),
        ("close code 0", code(0), 1002),
        ("close code 999", code(999), 1002),
        ("close code 1004", code(1004), 1002),
        ("close code 1005", code(1005), 1002),
        ("close code 1006", code(1006), 1002),
        ("close code 1015", code(1015), 1002),
        ("close code 1016", code(1016), 1002),
        ("close code 2999", code(2999), 1002),
        ("close code 5000", code(5000), 1002),
        ("a close reason that is not UTF-8", close(&[0x03, 0xE8, 0xFF]), 1007),
        ("text that is not UTF-8", frame(FIN | TEXT, b"ab\xFFcd"), 1007),
        ("text that ends inside a character", frame(FIN | TEXT, b"ab\xE2\x82"), 1007),
        ("a surrogate", frame(FIN | TEXT, b"\xED\xA0\x80"), 1007),
        (
            "fragments that are not UTF-8",
            [frame(TEXT, b"\xE2"), frame(FIN | CONTINUATION, b"x")].concat(),
            1007,
        ),
        ("a character that cannot be, in a text without an end", frame(TEXT, b"\xF4\x90"), 1007),
        ("the header of a frame that is too large", long((1 << 20) + 1), 1009),
        ("a length that no machine has", long(i64::MAX as u64), 1009),
    ];
    let server = Server::new(patient());
    let mut witness = Witness::new(&server, "t");
    for (index, (what, bytes, code)) in cases.iter().enumerate() {
        for path in ["/ws/t", "/pub/t", "/stream?topics=t"] {
            let mut rude = server.connect_on(index % SHARDS, path);
            if path.starts_with("/stream") {
                assert_eq!(rude.json()["ok"], true);
            }
            // What follows the bad frame must not count.
            rude.write(&[&bytes[..], &client_frame(FIN | TEXT, b"\"one more\"")].concat());
            let close = rude.frame();
            assert_eq!(close.close_code(), *code, "{what} at {path}");
            let reason = std::str::from_utf8(&close.payload[2..]).expect("a reason is UTF-8");
            assert!(!reason.is_empty(), "{what} at {path}: it says why");
            assert_eq!(rude.next_frame(), None, "{what} at {path}");
        }
        witness.check(&server);
    }
    assert_eq!(server.sum(|stats| stats.protocol_errors.get()), 3 * cases.len() as u64);
    witness.leave();
    server.assert_empty();
}

#[test]
fn a_message_that_an_endpoint_does_not_take_gets_its_close_code() {
    let server = Server::new(patient());
    let mut witness = Witness::new(&server, "t");
    for (path, opcode, payload, code) in [
        ("/stream", BINARY, &b"{\"op\":\"ping\"}"[..], 1003),
        ("/ws/t?data=json", TEXT, b"{", 1007),
        ("/pub/t?data=json", TEXT, b"", 1007),
    ] {
        let mut raw = server.connect(path);
        raw.send(opcode, payload);
        assert_eq!(raw.expect_close(), code, "{path}");
        witness.check(&server);
    }
    // A request that cannot be understood is answered, and the connection goes on.
    let mut stream = server.connect("/stream");
    for request in ["", "{", "[]", "{\"op\":\"dance\"}", "{\"op\":\"ping\",\"more\":1}"] {
        stream.send_text(request);
        assert_eq!(stream.json()["ok"], false, "{request}");
    }
    stream.close();
    witness.leave();
    server.assert_empty();
}

#[test]
fn a_bad_request_gets_its_status() {
    let lines = |lines: &str| head_with("/ws/t", lines);
    let changed = |from: &str, to: &str| {
        let head = String::from_utf8(head("/ws/t")).expect("ASCII");
        assert!(head.contains(from));
        head.replacen(from, to, 1).into_bytes()
    };
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("a TLS client", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 400),
        ("no HTTP", b"\x00\x01\x02".to_vec(), 400),
        ("no version", b"GET /ws/t\r\n\r\n".to_vec(), 400),
        ("HTTP/2", changed("HTTP/1.1", "HTTP/2.0"), 505),
        ("no Host", changed("Host: test\r\n", ""), 400),
        ("two Hosts", lines("Host: other\r\n"), 400),
        ("POST", changed("GET", "POST"), 405),
        ("a body", lines("Content-Length: 5\r\n"), 413),
        ("a chunked body", lines("Transfer-Encoding: chunked\r\n"), 400),
        ("both lengths", lines("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400),
        ("differing lengths", lines("Content-Length: 0\r\nContent-Length: 5\r\n"), 400),
        ("a bare LF", changed("Host: test\r\n", "Host: test\n"), 400),
        ("a bare CR", changed("Host: test\r\n", "Host: te\rst\r\n"), 400),
        ("a folded line", lines("A: b\r\n c\r\n"), 400),
        ("a space before a colon", lines("A : b\r\n"), 400),
        ("a NUL", lines("A: \0\r\n"), 400),
        ("a short key", changed("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), 400),
        ("no key", changed("Sec-WebSocket-Key", "X-Key"), 400),
        ("version 8", changed("Version: 13", "Version: 8"), 426),
        ("no version of the protocol", changed("Sec-WebSocket-Version", "X-Version"), 426),
        ("no upgrade", changed("Upgrade: websocket\r\n", ""), 426),
        ("HTTP/1.0", changed("HTTP/1.1", "HTTP/1.0"), 426),
        (
            "an upgrade that the connection does not name",
            changed("Connection: Upgrade", "Connection: close"),
            400,
        ),
        ("another path", changed("/ws/t", "/wss/t"), 404),
        ("too many headers", lines(&"A: b\r\n".repeat(100)), 431),
        ("a large head", lines(&format!("A: {}\r\n", "b".repeat(20_000))), 431),
        ("a long request line", head(&format!("/ws/{}", "t".repeat(20_000))), 414),
    ];
    let server = Server::new(patient());
    let mut witness = Witness::new(&server, "t");
    for (index, (what, bytes, status)) in cases.iter().enumerate() {
        let mut rude = server.tcp_on(index % SHARDS);
        rude.write(bytes);
        let (got, head, body) = rude.read_refusal();
        assert_eq!(got, *status, "{what}: {body}");
        assert_eq!(body.lines().count(), 1, "{what}: one line says why");
        if got == 426 {
            let line = |line| head.lines().any(|other| other == line);
            assert!(line("Upgrade: websocket") && line("Sec-WebSocket-Version: 13"), "{what}: {head}");
        }
        witness.check(&server);
    }
    assert_eq!(server.sum(|stats| stats.rejected.get()), cases.len() as u64);
    witness.leave();
    server.assert_empty();
}
