use std::cell::Cell;
use std::time::Duration;

use super::*;
use crate::plan::{Place, Readers, Server};
use crate::search::Limit;
use crate::testing;
use crate::testing::fixture::{judged, passing};

fn base() -> Plan {
    Plan {
        text: true,
        readers: Readers { stalled: 3, ..Readers::default() },
        place: Place { workers: 7, ..Place::default() },
        server: Server { pid: Some(1), syscalls: false },
        ..testing::plan(7, 7, 7)
    }
}

const SETTINGS: Settings = Settings { subscribers: 50, connections: 500, measured: Duration::from_secs(2) };

/// A generator that needs `own_ns` for a delivery in a flood and ten times that when paced, and a sink that needs `sink_ns`.
struct Model {
    own_ns: f64,
    sink_ns: f64,
    sink_cpu_ns: Cell<u64>,
    plans: Vec<Plan>,
}

impl Model {
    fn new(own_ns: f64, sink_ns: f64) -> Self {
        Self { own_ns, sink_ns, sink_cpu_ns: Cell::new(12_345), plans: Vec::new() }
    }

    fn run(own_ns: f64, sink_ns: f64, sink_cpu_ns: &Cell<u64>, plan: &Plan) -> Report {
        let (rate, subscribers) = (plan.schedule.messages_per_second(), plan.rooms.subscribers);
        let mut report = passing(rate, subscribers);
        let deliveries_per_second = rate * subscribers as f64;
        let own_ns = if deliveries_per_second > 150_000.0 { own_ns } else { 10.0 * own_ns };
        // As a run of that schedule: all of it for the sink, the measured part for the report.
        let all = plan.schedule.total() * subscribers as u64;
        sink_cpu_ns.set(sink_cpu_ns.get() + (all as f64 * sink_ns) as u64);
        report.run.messages_warmup = plan.schedule.warmup();
        report.run.messages_measured = plan.schedule.measured();
        report.deliveries.delivered = plan.schedule.measured() * subscribers as u64;
        report.cost.own_cpu_ns_per_delivery = Some(own_ns);
        if own_ns * deliveries_per_second > 0.9e9 {
            return judged(report, Verdict::Invalid, "the generator was busy");
        }
        if sink_ns * deliveries_per_second > 1e9 {
            return judged(report, Verdict::Broken, "the sink lost some");
        }
        report
    }

    fn calibrate(&mut self) -> Calibration {
        let Self { own_ns, sink_ns, sink_cpu_ns, plans } = self;
        let base = base();
        let addr = "127.0.0.1:21500".parse().expect("an address");
        let mut bench = Bench {
            plans: Plans { base: &base, settings: &SETTINGS, addr, core: Some(3) },
            sink_cpu_ns: &|| Some(sink_cpu_ns.get()),
            run: &mut |plan| {
                plans.push(plan.clone());
                Ok(Self::run(*own_ns, *sink_ns, sink_cpu_ns, plan))
            },
            say: &mut |_| {},
        };
        let clock = Clock { cost_ns: 21.5, resolution_ns: 1, timer_late_ns: Spectrum::default() };
        bench.measure(clock, Some(0)).expect("every run took place")
    }
}

#[test]
fn the_generators_ceiling_is_found_when_the_sink_is_cheaper() {
    let calibration = Model::new(80.0, 40.0).calibrate();
    let paced = &calibration.paced;
    assert_eq!((paced.deliveries_per_second, paced.busier), (100_000.0, Party::Generator));
    assert_eq!(paced.generator.deliveries_per_second_and_core, Some(1.25e6));
    let flood = calibration.flood.as_ref().expect("a rate that passes");
    // 90 % of a core at 80 ns.
    assert!((10.2e6..=11.25e6).contains(&flood.deliveries_per_second), "{flood:?}");
    assert_eq!(flood.generator.deliveries_per_second_and_core, Some(12.5e6));
    let sink = flood.sink.cpu_ns_per_delivery.expect("known");
    assert!((sink - 40.0).abs() < 0.1, "{sink}");
    assert_eq!((flood.busier, &flood.trouble), (Party::Generator, &None));
    assert_eq!(calibration.search.limit, Limit::Generator("the generator was busy".to_owned()));
}

#[test]
fn a_sink_that_is_the_bottleneck_is_said_to_be() {
    let calibration = Model::new(20.0, 100.0).calibrate();
    let flood = calibration.flood.as_ref().expect("a rate that passes");
    assert_eq!(flood.busier, Party::Sink);
    assert!((9e6..=10e6).contains(&flood.deliveries_per_second), "{flood:?}");
    let text = Table(&calibration).to_string();
    assert!(text.contains("stopped by the sink: the sink lost some"), "{text}");
}

#[test]
fn the_runs_are_ordinary_ones_at_the_sink_without_what_the_user_wants_of_servers() {
    let mut model = Model::new(80.0, 40.0);
    model.calibrate();
    let [connecting, alone, together, paced, flood, ..] = &model.plans[..] else {
        panic!("five kinds of runs")
    };
    for plan in &model.plans {
        assert_eq!(plan.target.subscribe, "ws://127.0.0.1:21500/ws/calibrate");
        assert_eq!(plan.target.publish, "ws://127.0.0.1:21500/pub/calibrate");
        assert_eq!((plan.rooms.count, plan.rooms.publishers, plan.schedule.publishers()), (1, 1, 1));
        assert_eq!((plan.readers.stalled, plan.server.pid), (0, None));
        assert_eq!((plan.place.workers, &plan.place.cores[..]), (1, &[3][..]));
        assert!(plan.text && plan.content.words() == base().content.words(), "the user's content");
        assert_eq!(plan.schedule.end(), 2_500_000_000);
    }
    let size = |plan: &Plan| (plan.rooms.subscribers, plan.schedule.messages_per_second());
    assert_eq!(
        [connecting, alone, together, paced, flood].map(size),
        [(500, 1.0), (1, 1000.0), (50, 100.0), (50, 2000.0), (50, 4000.0)]
    );
}

#[test]
fn a_run_that_is_not_sound_is_told_and_one_that_fails_ends_it() {
    let base = base();
    let addr = "127.0.0.1:21500".parse().expect("an address");
    let clock = Clock { cost_ns: 21.5, resolution_ns: 1, timer_late_ns: Spectrum::default() };
    let calibrate = |run: &mut dyn FnMut(&Plan) -> Result<Report, RunError>| {
        let plans = Plans { base: &base, settings: &SETTINGS, addr, core: None };
        Bench { plans, sink_cpu_ns: &|| None, run, say: &mut |_| {} }.measure(clock, None)
    };
    let error = calibrate(&mut |_| Err(RunError::Failed("no ring".to_owned()))).expect_err("no run");
    assert_eq!(error.to_string(), "no ring");
    let calibration = calibrate(&mut |plan| {
        let report = passing(plan.schedule.messages_per_second(), plan.rooms.subscribers);
        Ok(judged(report, Verdict::Invalid, "a noisy neighbour"))
    });
    let calibration = calibration.expect("all runs took place");
    assert!(calibration.flood.is_none());
    let text = Table(&calibration).to_string();
    assert_eq!(text.matches("NOT A SOUND RUN: a noisy neighbour").count(), 4, "{text}");
    for part in ["SHARE ONE CORE", "no run passed", "sink       processor time unknown"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn the_table_says_how_to_read_it_and_the_json_comes_back() {
    let calibration = Model::new(80.0, 40.0).calibrate();
    let text = Table(&calibration).to_string();
    for part in [
        "generator on core 3, sink on core 0",
        "clock               21.5 ns a reading, steps of 1 ns",
        "paced               100 000 deliveries/s: 50 subscribers x 2 000 messages/s, one message in each read",
        "generator  800.0 ns a delivery, 8 % of a core: at most 1 250 000 deliveries/s on one core, the busier one",
        "at most 1.25 million deliveries/s when messages arrive one by one, and 12.50 million when many",
        "A server measured faster than this null sink on this machine was not measured.",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(text.lines().all(|line| line.trim_end() == line), "{text}");
    let json = serde_json::to_string(&calibration).expect("text");
    let back: Calibration = serde_json::from_str(&json).expect("the same");
    assert_eq!(serde_json::to_string(&back).expect("text"), json);
}

#[test]
fn the_cores_differ_where_there_are_two() {
    for (available, wanted, expected) in [
        (&[0, 1][..], &[][..], (Some(0), Some(1))),
        (&[0, 1], &[1, 0], (Some(1), Some(0))),
        (&[4], &[], (None, None)),
        (&[4], &[4], (Some(4), None)),
        (&[], &[], (None, None)),
    ] {
        assert_eq!(cores(available, wanted), expected, "{available:?} {wanted:?}");
    }
}

#[test]
fn the_real_sink_is_where_the_runs_go_and_ends_with_the_calibration() {
    let mut addr = None;
    let run = |plan: &Plan| {
        let host =
            plan.target.subscribe.strip_prefix("ws://").and_then(|rest| rest.strip_suffix("/ws/calibrate"));
        let host: std::net::SocketAddr = host.and_then(|host| host.parse().ok()).expect("an address");
        std::net::TcpStream::connect(host).expect("it listens");
        addr = Some(host);
        let rate = plan.schedule.messages_per_second();
        let report = passing(rate, plan.rooms.subscribers);
        Ok(if rate > 10_000.0 { judged(report, Verdict::Invalid, "enough") } else { report })
    };
    let calibration = calibrate(&base(), &SETTINGS, run, |_| {}).expect("a sink");
    assert_eq!(calibration.flood.expect("a rate that passes").messages_per_second, 10_000.0);
    std::net::TcpStream::connect(addr.expect("a run")).expect_err("nobody listens any more");
}
