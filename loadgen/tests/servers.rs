//! Whole runs against servers by other hands: sound ones, and broken ones whose faults have to be found, each one.

mod measure;
mod server;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command as Process, Output};
use std::thread;
use std::time::Duration;

use fanfare_loadgen::run::RunError;
use fanfare_loadgen::{Report, Verdict};
use measure::LENIENT;
use server::{Fault, Server};
use tungstenite::handshake::derive_accept_key;

/// 205 messages, so that the last of the 20 tenths has a message behind it.
const QUICK: &str = "--rate 2050 --duration 100ms --warmup 0s";

const SUBSCRIBERS: u64 = 5;
const MESSAGES: u64 = 205;
const TENTHS: u64 = SUBSCRIBERS * (MESSAGES / 10);

fn measure(addr: SocketAddr, arguments: &str) -> Result<Report, RunError> {
    measure_with(SUBSCRIBERS, addr, arguments)
}

fn measure_with(subscribers: u64, addr: SocketAddr, arguments: &str) -> Result<Report, RunError> {
    measure::measure(&format!("ws://{addr}/ws/demo -n {subscribers} {arguments}"))
}

/// A run against a server with this fault, with its faults as (missing, duplicate, reordered, corrupt).
#[track_caller]
fn check(fault: Fault, arguments: &str, expected: (u64, u64, u64, u64)) -> Report {
    let server = Server::start(fault);
    let report = measure(server.addr, arguments).expect("a run");
    let seen = &report.deliveries;
    assert_eq!(
        (seen.missing, seen.duplicate, seen.reordered, seen.corrupt),
        expected,
        "{fault:?} {report:#?}"
    );
    assert_eq!(seen.expected, seen.delivered + seen.missing);
    assert_eq!(report.latency_ns.response.count, seen.delivered);
    assert_eq!(report.latency_ns.service.count, seen.delivered);
    report
}

#[test]
fn a_sound_server_passes_and_every_delivery_is_timed() {
    let report = check(Fault::None, QUICK, (0, 0, 0, 0));
    assert_eq!((report.verdict, report.reasons.len()), (Verdict::Pass, 0));
    assert_eq!(report.deliveries.delivered, SUBSCRIBERS * MESSAGES);
    assert_eq!((report.messages.sent, report.messages.complete), (MESSAGES, MESSAGES));
    assert_eq!(report.latency_ns.send_lag.count, MESSAGES);
    assert_eq!(report.latency_ns.to_first.count, MESSAGES);
    assert!(report.latency_ns.to_first.max <= report.latency_ns.to_last.max);
    assert!(report.latency_ns.service.p50 <= report.latency_ns.response.p50);
}

#[test]
fn the_warm_up_is_neither_counted_nor_timed() {
    let arguments = "--rate 1000 --duration 100ms --warmup 105ms --drain 200ms";
    // Of the 205 messages that the server counts, those from 106 on are measured: ten of them are tenths.
    let report = check(Fault::Drop, arguments, (SUBSCRIBERS * 10, 0, 0, 0));
    assert_eq!((report.run.messages_warmup, report.deliveries.expected), (105, SUBSCRIBERS * 100));
}

#[test]
fn lost_messages_are_counted_exactly() {
    let report = check(Fault::Drop, &format!("{QUICK} --drain 200ms"), (TENTHS, 0, 0, 0));
    assert_eq!((report.verdict, report.deliveries.subscribers_affected), (Verdict::Broken, SUBSCRIBERS));
    assert_eq!(report.messages.complete, MESSAGES - MESSAGES / 10);
}

#[test]
fn doubled_messages_are_counted_exactly() {
    let report = check(Fault::Double, QUICK, (0, TENTHS, 0, 0));
    assert_eq!(report.verdict, Verdict::Broken);
}

#[test]
fn reordered_messages_are_counted_exactly() {
    let report = check(Fault::Swap, QUICK, (0, 0, TENTHS, 0));
    assert_eq!((report.verdict, report.messages.complete), (Verdict::Broken, MESSAGES));
}

#[test]
fn corrupt_messages_are_counted_exactly_and_are_missing_too() {
    let report = check(Fault::Corrupt, &format!("{QUICK} --drain 200ms"), (TENTHS, 0, 0, TENTHS));
    assert_eq!(report.verdict, Verdict::Broken);
}

#[test]
fn faults_are_found_with_several_publishers() {
    let report = check(Fault::Drop, &format!("{QUICK} --drain 200ms --publishers 3"), (TENTHS, 0, 0, 0));
    assert_eq!(report.deliveries.expected, SUBSCRIBERS * MESSAGES);
    check(Fault::None, &format!("{QUICK} --publishers 7"), (0, 0, 0, 0));
}

#[test]
fn text_and_large_messages_come_through() {
    check(Fault::None, &format!("{QUICK} --text"), (0, 0, 0, 0));
    // Larger than a receive buffer: each arrives in many pieces.
    let report = check(Fault::None, "--rate 200 --duration 100ms --warmup 0s --size 100000", (0, 0, 0, 0));
    assert_eq!(report.deliveries.delivered, SUBSCRIBERS * 20);
}

#[test]
fn a_subscriber_that_the_server_closes_is_lost_with_its_reason() {
    let fault = Fault::CloseFirst { after: 50, code: 4008 };
    let report = check(fault, &format!("{QUICK} --drain 200ms"), (MESSAGES - 50, 0, 0, 0));
    assert_eq!((report.verdict, report.deliveries.subscribers_lost), (Verdict::Broken, 1));
    assert_eq!(report.deliveries.lost.to_string(), "1 x closed with 4008 (on purpose)");
    assert_eq!(report.deliveries.subscribers_affected, 1);
}

#[test]
fn pings_are_answered() {
    let server = Server::start(Fault::Ping);
    let report = measure(server.addr, QUICK).expect("a run");
    assert_eq!((report.verdict, server.pongs() as u64), (Verdict::Pass, TENTHS));
}

#[test]
fn a_known_delay_shows_as_that_delay() {
    let delay = Duration::from_millis(30);
    let report = check(Fault::Delay(delay), QUICK, (0, 0, 0, 0));
    let delay_ns = delay.as_nanos() as u64;
    let latency = &report.latency_ns;
    for (name, spectrum) in
        [("response", latency.response), ("service", latency.service), ("first", latency.to_first)]
    {
        // Three significant digits, and a busy machine.
        let expected = delay_ns - delay_ns / 1000..2 * delay_ns;
        assert!(expected.contains(&spectrum.min), "{name} {spectrum:?}");
    }
}

/// A server that reads nothing for a while stops the publisher. What was due in that time counts from when it was due.
#[test]
fn a_stalled_publisher_shows_in_the_response_time() {
    let server = Server::start(Fault::Stall { after: 20, pause: Duration::from_millis(400) });
    let arguments = "--rate 1000 --duration 300ms --warmup 0s --size 100000";
    let report = measure_with(1, server.addr, arguments).expect("a run");
    let latency = &report.latency_ns;
    assert_eq!(report.deliveries.delivered, 300, "{report:#?}");
    // The sockets hold some MB of the 28 MB that fall due during the pause.
    assert!(latency.send_lag.max > 100_000_000, "{latency:#?}");
    assert!(latency.response.max > 350_000_000, "{latency:#?}");
    assert!(latency.response.p50 > 100_000_000, "{latency:#?}");
}

#[test]
fn a_run_without_all_connections_does_not_begin() {
    let server = Server::start(Fault::None);
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    drop(server);
    let error = measure(nobody, QUICK).expect_err("nobody listens").to_string();
    assert!(
        error.starts_with("0 of 6 connections became ready: 6 x connecting: Connection refused"),
        "{error}"
    );
}

/// A server that reads each connection's request, and then does what `answer` does with the key's answer.
fn scripted(answer: fn(&mut TcpStream, &str)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            thread::spawn(move || {
                stream.set_nodelay(true).expect("a socket");
                let mut request = vec![0; 4096];
                let len = stream.read(&mut request).expect("a request");
                let request = String::from_utf8_lossy(&request[..len]).into_owned();
                let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
                answer(&mut stream, &derive_accept_key(key.expect("a key").as_bytes()));
            });
        }
    });
    addr
}

#[test]
fn a_refusal_is_reported_with_its_status_and_first_line() {
    let addr = scripted(|stream, _| {
        let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 22\r\n\r\nNo such path.\nGo away.";
        stream.write_all(answer.as_bytes()).expect("a peer that reads");
    });
    let error = measure(addr, QUICK).expect_err("refused").to_string();
    assert_eq!(error, "0 of 6 connections became ready: 6 x status 404: No such path.");
}

#[test]
fn a_silent_server_is_given_up_on() {
    let addr = scripted(|stream, _| drop(stream.read_to_end(&mut Vec::new())));
    let error = measure(addr, "--connect-timeout 200ms").expect_err("silence").to_string();
    assert_eq!(error, "0 of 6 connections became ready, and the server answered no more");
}

#[test]
fn an_answer_in_pieces_with_a_frame_behind_it_is_understood() {
    let addr = scripted(|stream, accept| {
        let fields = format!("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}");
        let ping = b"\r\n\r\n\x89\x02hi";
        for piece in [&b"HTTP/1.1 101"[..], b" What Ever\r\n", fields.as_bytes(), ping] {
            stream.write_all(piece).expect("a peer that reads");
            thread::sleep(Duration::from_millis(5));
        }
        let (mut frame, key) = ([0; 8], 2..6);
        stream.read_exact(&mut frame).expect("a pong");
        let payload = [frame[6] ^ frame[key.start], frame[7] ^ frame[key.start + 1]];
        assert_eq!((&frame[..2], &payload), (&[0x8a, 0x82][..], b"hi"));
        // Long enough for the run to end first.
        stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let report = measure(addr, "--rate 100 --duration 20ms --warmup 0s --drain 10ms").expect("connections");
    assert_eq!(
        (report.verdict, report.deliveries.missing),
        (Verdict::Broken, SUBSCRIBERS * 2),
        "{report:#?}"
    );
    assert_eq!(report.deliveries.subscribers_lost, 0, "{report:#?}");
}

fn program(arguments: &str) -> Output {
    let program =
        Process::new(env!("CARGO_BIN_EXE_fanfare-loadgen")).args(arguments.split_whitespace()).output();
    program.expect("the program starts")
}

#[track_caller]
fn check_exit(arguments: &str, code: i32) -> Output {
    let output = program(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments}\n{stderr}");
    output
}

#[test]
fn exit_codes_tell_the_verdict() {
    let sound = Server::start(Fault::None);
    let broken = Server::start(Fault::Double);
    let run = |server: &Server, more: &str| format!("run ws://{}/ws/x -n 3 {QUICK} {more}", server.addr);
    let table = check_exit(&run(&sound, LENIENT), 0).stdout;
    assert!(String::from_utf8_lossy(&table).contains("PASS: every message"), "{table:?}");
    check_exit(&run(&broken, LENIENT), 2);
    let table = check_exit(&run(&broken, "--send-lag-max 0s --own-cpu-max 1000"), 3).stdout;
    let table = String::from_utf8_lossy(&table);
    assert!(table.contains("INVALID: 1 % of the messages"), "{table}");
    check_exit("run ws://127.0.0.1:1/ws/x -n 3", 3);
    check_exit(&run(&sound, "--server-pid 4194305"), 3);
    for usage in
        ["", "run", "run ws://127.0.0.1/x --size 10", "run wss://127.0.0.1/x", "run ws://h/x --no-such-flag"]
    {
        check_exit(usage, 4);
    }
    check_exit("--help", 0);
}

#[test]
fn json_has_the_figures_of_both_processes() {
    let server = Server::start(Fault::None);
    // The server is this process.
    let arguments = format!(
        "run ws://{}/ws/x -n 3 {QUICK} {LENIENT} --json - --server-pid {}",
        server.addr,
        std::process::id()
    );
    let output = check_exit(&arguments, 0);
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("standard output is JSON alone");
    assert_eq!(report["verdict"], "pass");
    assert_eq!(report["deliveries"]["delivered"], 3 * MESSAGES);
    assert_eq!(report["latency_ns"]["response"]["count"], 3 * MESSAGES);
    assert!(report["cost"]["server_cpu_ns_per_delivery"].is_number(), "{report:#}");
    assert!(report["connect"]["server_resident_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{report:#}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("PASS: every message"));
}
