//! What the program does when it is told to end: SIGTERM sends clients away in a wave, SIGINT ends at once, and a second
//! signal does not wait for anything.

use std::net::TcpStream;
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use fanfare_tests::program::Program;
use fanfare_tests::raw::{CLOSE, PONG, Raw, TEXT, client_frame};
use fanfare_tests::server::eventually;
use serde_json::Value;

/// What a client saw of the end, in times since the signal.
#[derive(Debug)]
struct Seen {
    told: Duration,
    reconnect_after: Duration,
    closed: Duration,
    code: u16,
}

/// Reads until the server closes, and closes too. The notice comes first.
fn sent_away(mut raw: Raw, start: Instant) -> Seen {
    let notice = raw.next_but_pings().expect("a notice before the end");
    let told = start.elapsed();
    let text = std::str::from_utf8(&notice.payload).expect("text");
    let ms = match notice.opcode {
        TEXT => {
            let notice: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(notice["op"], "draining", "{notice}");
            notice["reconnect_after_ms"].as_u64().expect("a number")
        }
        PONG => text.strip_prefix("draining ").expect("the notice's word").parse().expect("a number"),
        opcode => panic!("{opcode}: {text}"),
    };
    let close = raw.next_but_pings().expect("a close frame");
    let closed = start.elapsed();
    let code = close.close_code();
    _ = raw.try_write(&client_frame(0x80 | CLOSE, &close.payload[..2]));
    assert_eq!(raw.next_frame(), None, "nothing follows a close frame");
    Seen { told, reconnect_after: Duration::from_millis(ms), closed, code }
}

/// The status, the log, and how long it took from `start`.
fn end(program: Program, start: Instant) -> (ExitStatus, String, Duration) {
    let (status, log) = program.ended();
    (status, log, start.elapsed())
}

#[test]
fn on_sigterm_clients_are_told_and_closed_in_a_wave() {
    const SPREAD: Duration = Duration::from_secs(2);
    let program = Program::start("--drain-ms=2000 --shutdown-grace-ms=20000");
    assert_eq!(program.get("/readyz").0, 200);
    let clients: Vec<Raw> =
        ["/stream", "/ws/a", "/pub/a"].iter().cycle().take(30).map(|path| program.connect(path)).collect();
    let half_open = Raw::tcp(program.addr());
    half_open.write(b"GET /ws/a HTTP/1.1\r\n");
    eventually("all are counted", || program.count("connections") == 31);

    let start = Instant::now();
    program.signal("TERM");
    let clients: Vec<_> =
        clients.into_iter().map(|raw| thread::spawn(move || sent_away(raw, start))).collect();
    eventually("nobody listens any more", || TcpStream::connect(program.addr()).is_err());
    let (status, body) = program.get("/readyz");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("\"draining\""), "{body}");
    assert_eq!(program.get("/healthz").0, 200, "the shards are well");

    let mut seen: Vec<_> = clients.into_iter().map(|client| client.join().expect("no panic")).collect();
    // The server counts from when it heard of the signal, and its timers have a resolution.
    let early = Duration::from_millis(20);
    for Seen { told, reconnect_after, closed, code } in &seen {
        assert_eq!(*code, 1012);
        assert!(*reconnect_after <= SPREAD && *closed + early >= *reconnect_after, "{seen:?}");
        assert!(*told < SPREAD, "all are told at the beginning: {seen:?}");
    }
    seen.sort_unstable_by_key(|seen| seen.reconnect_after);
    // Evenly: the middle third of the clients stands in the middle of the wave.
    let middle = &seen[seen.len() / 3].reconnect_after..&seen[2 * seen.len() / 3].reconnect_after;
    assert!(*middle.start > SPREAD / 6 && *middle.end < SPREAD * 5 / 6, "{seen:?}");
    assert!(seen[seen.len() - 1].reconnect_after - seen[0].reconnect_after > SPREAD / 2, "{seen:?}");

    let (status, log, took) = end(program, start);
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(took < SPREAD + Duration::from_secs(20), "{took:?}");
    for words in ["\"draining; a second signal ends at once\"", "\"shutting down\"", "\"ended\""] {
        assert!(log.contains(words), "{words} is missing in {log}");
    }
}

#[test]
fn who_does_not_answer_holds_nothing_up_beyond_the_deadline() {
    // Far less than the 5 s for which a close frame of ours waits for its answer.
    let program = Program::start("--drain-ms=300 --shutdown-grace-ms=700 --close-timeout-ms=3600000");
    let mut silent: Vec<Raw> = (0..4).map(|_| program.connect("/stream")).collect();
    let start = Instant::now();
    program.signal("TERM");
    let (status, log, took) = end(program, start);
    assert_eq!(status.code(), Some(0), "{log}");
    assert!((Duration::from_millis(990)..Duration::from_secs(5)).contains(&took), "{took:?}");
    for raw in &mut silent {
        assert!(raw.next_frame().is_some_and(|frame| frame.opcode == TEXT), "they were told");
    }
}

#[test]
fn without_clients_sigterm_waits_for_nothing() {
    let program = Program::start("--drain-ms=3600000 --shutdown-grace-ms=3600000");
    program.signal("TERM");
    let (status, log) = program.ended();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn a_second_signal_ends_at_once() {
    for (first, second) in [("TERM", "TERM"), ("TERM", "INT"), ("INT", "TERM")] {
        let program =
            Program::start("--drain-ms=3600000 --shutdown-grace-ms=3600000 --close-timeout-ms=3600000");
        // It answers no close frame, so that the first signal is not enough.
        let silent = program.connect("/ws/a");
        program.signal(first);
        eventually("the first is being followed", || TcpStream::connect(program.addr()).is_err());
        program.signal(second);
        let (status, log) = program.ended();
        assert_eq!(status.code(), Some(1), "{first} {second}: {log}");
        assert!(log.contains("\"ended at once\""), "{log}");
        drop(silent);
    }
}

#[test]
fn sigint_and_a_drain_of_no_time_close_without_a_wave() {
    closes_without_a_wave("--drain-ms=3600000 --shutdown-grace-ms=20000", "INT");
    closes_without_a_wave("--drain-ms=0 --shutdown-grace-ms=20000", "TERM");
}

fn closes_without_a_wave(flags: &str, signal: &str) {
    let program = Program::start(flags);
    let mut clients = [program.connect("/stream"), program.connect("/ws/a")];
    program.signal(signal);
    for raw in &mut clients {
        assert_eq!(raw.expect_close(), 1001);
    }
    let (status, log) = program.ended();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("\"shutting down; a second signal ends at once\""), "{log}");
}
