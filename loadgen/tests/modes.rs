//! Whole runs with subscribers that do something else than read, in rooms, in other dialects, and on several machines.

#[path = "server/dialects.rs"]
mod dialects;
mod measure;
mod server;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fanfare_loadgen::agents::Agent;
use fanfare_loadgen::report::{ReadersReport, Row};
use fanfare_loadgen::{Report, Verdict};
use measure::{measure, measure_on, measure_plan, plan};
use server::{Fault, Server};

const QUICK: &str = "--rate 500 --duration 400ms --warmup 0s";
const MESSAGES: u64 = 200;

#[track_caller]
fn readers<'a>(report: &'a Report, kind: &str) -> &'a ReadersReport {
    report
        .readers
        .iter()
        .find(|readers| readers.kind == kind)
        .unwrap_or_else(|| panic!("no {kind}: {report:#?}"))
}

#[track_caller]
fn pass(arguments: &str) -> Report {
    let report = measure(arguments).expect("a run");
    assert_eq!((report.verdict, &report.reasons[..]), (Verdict::Pass, &[][..]), "{report:#?}");
    assert_eq!(report.deliveries.delivered, report.deliveries.expected, "{report:#?}");
    report
}

#[test]
fn several_workers_are_one_run() {
    let server = Server::start(Fault::Drop);
    let arguments = format!("ws://{}/ws/demo -n 7 -p 2 --workers 3 --drain 1s {QUICK}", server.addr);
    let report = measure(&arguments).expect("a run");
    // Every 10th message of each subscriber, but the last one is the end.
    assert_eq!(
        (report.deliveries.missing, report.deliveries.expected),
        (7 * MESSAGES / 10, 7 * MESSAGES),
        "{report:#?}"
    );
    assert_eq!((report.run.workers, report.messages.complete), (3, MESSAGES - MESSAGES / 10));
    assert_eq!(report.latency_ns.response.count, report.deliveries.delivered);
    assert_eq!(report.latency_ns.to_last.count, report.messages.complete);
    assert_eq!(report.timeline.iter().map(|row| row.delivered).sum::<u64>(), report.deliveries.delivered);
}

/// Twice, since the thread that directs a run is kept on the first of the cores for as long as the run lasts only.
#[test]
fn each_worker_has_its_core() {
    let server = Server::start(Fault::None);
    let cores = fanfare_io::affinity::cores().expect("cores");
    let list: Vec<String> = cores.iter().map(usize::to_string).collect();
    for _ in 0..2 {
        let report = pass(&format!("ws://{}/ws/demo -n 6 --cores {} {QUICK}", server.addr, list.join(",")));
        assert_eq!(report.run.workers, cores.len().min(7));
    }
    assert_eq!(fanfare_io::affinity::cores().expect("cores"), cores);
}

#[test]
fn rooms_are_kept_apart() {
    let server = dialects::start("raw");
    let report = pass(&format!("ws://{}/ws/{{room}} -n 9 --rooms 3 {QUICK}", server.addr));
    assert_eq!(
        (report.run.publishers, report.deliveries.expected, report.messages.complete),
        (3, 3 * MESSAGES, MESSAGES)
    );
    // This server sends everything to everybody.
    let server = Server::start(Fault::None);
    let report = measure(&format!("ws://{}/ws/{{room}} -n 9 --rooms 3 {QUICK}", server.addr)).expect("a run");
    assert_eq!((report.deliveries.misrouted, report.deliveries.missing), (6 * MESSAGES, 0), "{report:#?}");
    assert_eq!(report.verdict, Verdict::Broken);
}

#[test]
fn idle_connections_only_have_to_stand() {
    let server = Server::start(Fault::None);
    let report = pass(&format!("ws://{}/ws/demo -n 20 --rate 0 --duration 200ms --warmup 0s", server.addr));
    assert_eq!(
        (report.connect.connections, report.messages.scheduled, report.connect.latency_ns.count),
        (21, 0, 21)
    );
}

#[test]
fn who_pauses_catches_up_and_gets_everything() {
    let server = Server::start(Fault::None);
    let pause = "--pausing 3 --pause-at 50ms --pause-for 200ms --rate 100 --duration 2s --warmup 0s";
    let report = pass(&format!("ws://{}/ws/demo -n 8 {pause}", server.addr));
    let pausing = readers(&report, "pausing");
    assert_eq!(
        (report.deliveries.expected, pausing.subscribers, pausing.delivered),
        (5 * MESSAGES, 3, 3 * MESSAGES)
    );
    assert_eq!((pausing.missing, pausing.latency_ns.expect("they caught up").count), (0, 3), "{pausing:?}");
}

#[test]
fn who_stalls_holds_nobody_up_and_is_no_fault() {
    let server = Server::start(Fault::None);
    let report = pass(&format!("ws://{}/ws/demo -n 8 --stalled 25% {QUICK}", server.addr));
    let stalled = readers(&report, "stalled");
    assert_eq!((report.deliveries.expected, stalled.subscribers), (6 * MESSAGES, 2));
    assert_eq!(stalled.delivered + stalled.missing, 2 * MESSAGES, "{stalled:?}");
    assert!(stalled.missing > 0, "{stalled:?}");
}

#[test]
fn who_is_slow_reads_no_more_than_its_rate() {
    let server = Server::start(Fault::None);
    // 200 messages of 1 KiB in 400 ms. A slow one reads the first; ten seconds later, when all is over, the rest would follow.
    let slow = "--slow 2 --slow-rate 100 --size 1KiB";
    let report = pass(&format!("ws://{}/ws/demo -n 6 {slow} {QUICK}", server.addr));
    let slow = readers(&report, "slow");
    assert!(slow.delivered > 0 && slow.delivered < 2 * MESSAGES / 2, "{slow:?}");
}

#[test]
fn a_storm_brings_everybody_back() {
    let server = Server::start(Fault::None);
    let report = pass(&format!("ws://{}/ws/demo -n 20 --storm 50% --storm-at 100ms {QUICK}", server.addr));
    let returning = readers(&report, "returning");
    assert_eq!((returning.left, returning.returned, report.deliveries.subscribers_lost), (10, 10, 0));
    assert!(
        returning.all_back_ns.is_some() && returning.latency_ns.expect("times").count == 10,
        "{returning:?}"
    );
    assert_eq!((returning.missing, returning.duplicate), (0, 0));
}

#[test]
fn churn_goes_on_all_the_time() {
    let server = Server::start(Fault::None);
    let report = pass(&format!("ws://{}/ws/demo -n 20 --churn 50 --returning 25% {QUICK}", server.addr));
    let returning = readers(&report, "returning");
    // 400 ms at 50 a second. On a busy machine some are still away when it is their turn again.
    assert!((3..=20).contains(&returning.left) && returning.returned == returning.left, "{returning:?}");
    assert_eq!((returning.subscribers, returning.missing), (5, 0));
}

#[test]
fn what_the_server_says_it_left_out_is_told_from_what_is_missing() {
    let server = dialects::start("stream with gaps");
    let arguments = format!("ws://{}/stream --dialect stream --topic t -n 4 --drain 1s {QUICK}", server.addr);
    let report = measure(&arguments).expect("a run");
    let seen = &report.deliveries;
    assert_eq!(
        (seen.announced, seen.missing, seen.expected),
        (4 * MESSAGES / 10, 0, 4 * MESSAGES),
        "{report:#?}"
    );
    assert_eq!((report.verdict, seen.subscribers_affected), (Verdict::Pass, 0));
}

#[test]
fn who_recovers_gets_all_that_the_server_holds() {
    for mode in ["--storm 50% --storm-at 100ms", "--churn 50 --returning 25%"] {
        let server = dialects::start("stream with a log");
        let more = format!("--dialect stream --topic t -n 20 {mode} --recover {QUICK}");
        let report = pass(&format!("ws://{}/stream {more}", server.addr));
        let returning = readers(&report, "returning");
        assert_eq!((returning.missing, returning.duplicate, returning.reordered), (0, 0, 0), "{returning:?}");
        let (recovered, failed) = (returning.recovered, returning.recoveries_failed);
        assert_eq!((returning.left, returning.returned), (recovered + failed, recovered + failed));
        assert_eq!(
            returning.delivered + returning.announced,
            returning.subscribers * MESSAGES,
            "{returning:?}"
        );
        assert_eq!(returning.recovery_ns.map_or(0, |times| times.count), recovered, "{returning:?}");
        let rows = |of: fn(&Row) -> u64| report.timeline.iter().map(of).sum::<u64>();
        assert_eq!((rows(|row| row.recovered), rows(|row| row.recoveries_failed)), (recovered, failed));
        assert!(recovered > 0, "{returning:?}");
        if mode.starts_with("--storm") {
            assert!(
                returning.all_caught_up_ns.is_some() && returning.all_caught_up_ns >= returning.all_back_ns,
                "{returning:?}"
            );
        }
    }
}

#[test]
fn every_dialect_runs() {
    let key = format!("--set key={} --set secret={}", dialects::PUSHER_KEY, dialects::PUSHER_SECRET);
    let app = format!("/app/{}", dialects::PUSHER_KEY);
    for (name, path, more) in [
        ("raw", "/ws/{room}", String::new()),
        ("raw", "/ws/{room}", "--publish-url http://ADDR/topics/{room}".to_owned()),
        ("nchan", "/sub/{room}", "--publish-url http://ADDR/pub/{room}".to_owned()),
        ("stream", "/stream", "--topic t{room}".to_owned()),
        ("nats", "/", "--topic a.{room}".to_owned()),
        ("mqtt", "/mqtt", "--topic a/{room}".to_owned()),
        ("pusher", &app, format!("{key} --topic private-{{room}}")),
        ("pusher", &app, format!("{key} --topic {{room}} --publish-url http://ADDR/apps/1/events")),
        ("centrifuge", "/connection/websocket", "--topic c{room}".to_owned()),
        (
            "centrifuge",
            "/connection/websocket",
            "--topic c{room} --set api_key=k --publish-url http://ADDR/api/publish".to_owned(),
        ),
    ] {
        let server = dialects::start(name);
        let more = more.replace("ADDR", &server.addr.to_string());
        let report = pass(&format!(
            "ws://{}{path} --dialect {name} {more} -n 4 --rooms 2 {QUICK} --text",
            server.addr
        ));
        assert_eq!(report.deliveries.delivered, 2 * MESSAGES, "{name} {more}");
    }
}

#[test]
fn who_is_told_when_to_come_back_goes_on_then() {
    let server = dialects::start("stream that restarts");
    let mode = "--churn 0.1 --returning 50% --recover --drain 2s";
    let arguments = format!("ws://{}/stream --dialect stream --topic t -n 10 {mode} {QUICK}", server.addr);
    let report = measure(&arguments).expect("a run");
    let returning = readers(&report, "returning");
    assert_eq!((returning.left, returning.returned, returning.recovered), (5, 5, 5), "{report:#?}");
    assert_eq!((returning.missing, returning.duplicate), (0, 0), "{report:#?}");
    assert_eq!(returning.lost.to_string(), "", "{report:#?}");
    assert_eq!(returning.delivered, 5 * MESSAGES, "{report:#?}");
    let back_ns = Duration::from_millis(dialects::stream::BACK_AFTER_MS - 50).as_nanos() as u64;
    assert!(returning.latency_ns.expect("times").min > back_ns, "{returning:#?}");
    // The others do not go on anywhere.
    assert_eq!(report.deliveries.draining_notices, 10);
    assert_eq!(
        report.deliveries.lost.to_string(),
        "5 x closed with 1012 service restart (the server restarts: reconnect)"
    );
    assert_eq!(report.verdict, Verdict::Broken);
}

#[test]
fn publishers_come_back_to_a_server_that_keeps_no_connection() {
    let server = dialects::start("closing raw");
    let more = format!("--publish-url http://{}/topics/x", server.addr);
    let report =
        pass(&format!("ws://{}/ws/x -n 3 {more} --rate 100 --duration 300ms --warmup 0s", server.addr));
    assert_eq!((report.deliveries.delivered, report.deliveries.publishers_lost), (3 * 30, 0));
}

#[test]
fn sizes_and_records_of_all_kinds_arrive_intact() {
    let server = Server::start(Fault::None);
    for more in [
        "--size 32..2KiB --compressible 0.5",
        "--size lognormal:300,1 --text",
        "--size 40:50%,3KiB:50% --schedule poisson:7",
    ] {
        pass(&format!("ws://{}/ws/demo -n 3 {QUICK} {more}", server.addr));
    }
    pass(&format!("ws://{}/ws/demo -n 3 {QUICK} --schedule bursts:20", server.addr));
}

/// A machine that lends itself, as a process of its own.
struct Machine {
    child: Child,
    addr: String,
}

impl Machine {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fanfare-loadgen"))
            .args(["agent", "--listen", "127.0.0.1:0", "--workers", "2"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let line = lines.next().expect("a line").expect("text");
        let addr = line.rsplit(' ').next().expect("an address").to_owned();
        // The rest of what it says is nobody's concern, but it must be able to say it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, addr }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn two_machines_make_one_run() {
    let server = Server::start(Fault::Double);
    let machines = [Machine::start(), Machine::start()];
    let mut agents: Vec<Agent> =
        machines.iter().map(|machine| Agent::connect(&machine.addr, None).expect("an agent")).collect();
    for _ in 0..2 {
        let arguments = format!("ws://{}/ws/demo -n 9 -p 3 --connect-timeout 20s {QUICK}", server.addr);
        let report = measure_on(&mut agents, &arguments).expect("a run");
        let seen = &report.deliveries;
        assert_eq!((seen.delivered, seen.missing), (9 * MESSAGES, 0), "{report:#?}");
        assert_eq!(seen.duplicate, 9 * MESSAGES / 10, "{report:#?}");
        assert_eq!((report.run.machines, report.run.workers, report.messages.complete), (2, 4, MESSAGES));
        // It is one machine in truth, with one clock.
        assert_eq!(report.clocks.machines.len(), 2);
        for clock in &report.clocks.machines {
            let most = clock.uncertainty_ns as i64 + 1_000;
            assert!(clock.offset_before_ns.abs() <= most && clock.offset_after_ns.abs() <= most, "{clock:?}");
        }
        assert!(report.latency_ns.response.max < Duration::from_secs(60).as_nanos() as u64);
    }
}

/// A server that stops reading its publishers for good must not hold the run up for good.
#[test]
fn a_server_that_takes_no_more_ends_the_run() {
    let server = Server::start(Fault::Stall { after: 20, pause: Duration::from_secs(20) });
    let arguments = format!(
        "ws://{}/ws/demo -n 1 --size 100000 --rate 1000 --duration 300ms --warmup 0s --drain 300ms",
        server.addr
    );
    let report = measure(&arguments).expect("a run");
    assert!(
        report.reasons[0].contains("not sent: the server takes no more from publishers"),
        "{:?}",
        report.reasons
    );
    assert_eq!(report.verdict, Verdict::Invalid);
}

#[test]
fn who_cannot_come_back_is_a_fault_of_the_server() {
    let server = Server::start(Fault::RefuseAfter { accepts: 21 });
    let arguments =
        format!("ws://{}/ws/demo -n 20 --storm 50% --storm-at 100ms --drain 1s {QUICK}", server.addr);
    let report = measure(&arguments).expect("a run");
    let returning = readers(&report, "returning");
    assert_eq!(
        (returning.left, returning.returned, report.verdict),
        (10, 0, Verdict::Broken),
        "{:?}",
        report.reasons
    );
    assert!(report.reasons[0].starts_with("10 subscribers could not come back: "), "{:?}", report.reasons);
}

#[test]
fn a_publisher_that_the_server_holds_back_is_the_servers_doing() {
    let server = Server::start(Fault::Stall { after: 20, pause: Duration::from_millis(1500) });
    let arguments = format!(
        "ws://{}/ws/demo -n 1 --size 100000 --rate 1000 --duration 300ms --warmup 0s --drain 10s --own-cpu-max 1000",
        server.addr
    );
    let mut plan = plan(&arguments);
    plan.bounds.send_lag = Duration::from_millis(700);
    let report = measure_plan(&mut [], &plan).expect("a run");
    assert!(report.latency_ns.send_lag.p99 > 700_000_000, "{:#?}", report.latency_ns);
    assert_eq!((report.verdict, report.deliveries.missing), (Verdict::Pass, 0), "{:?}", report.reasons);
}
