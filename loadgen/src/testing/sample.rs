//! Reports as long runs make them, full of figures.

use super::fixture;
use crate::gate::Outcome;
use crate::latency::{Latency, Spectrum};
use crate::random::Random;
use crate::reasons::Reasons;
use crate::report::{
    Clocks, Connect, Cost, Deliveries, Environment, Histograms, MachineClock, Messages, Parameters,
    ReadersReport, Report, Row, Verdict,
};

/// Around `median`, with a tail: one in a thousand is up to twenty times as long.
fn latency(random: &mut Random, median: f64, sigma: f64) -> u64 {
    let normal = random.normal();
    let tail = if random.unit() < 0.001 { 1.0 + 19.0 * random.unit() } else { 1.0 };
    (median * (sigma * normal).exp() * tail) as u64
}

/// What a run is to look like.
pub(crate) struct Shape {
    pub(crate) seed: u64,
    /// Of the response.
    pub(crate) median_ns: f64,
    pub(crate) sigma: f64,
    pub(crate) intervals: usize,
    pub(crate) interval_seconds: f64,
    /// In which interval nothing arrives, and the next takes it all at once.
    pub(crate) stall_at: Option<usize>,
    pub(crate) server_cpu_ns_per_delivery: f64,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            seed: 1,
            median_ns: 240_000.0,
            sigma: 0.35,
            intervals: 35,
            interval_seconds: 1.0,
            stall_at: Some(24),
            server_cpu_ns_per_delivery: 412.0,
        }
    }
}

const SUBSCRIBERS: u64 = 1000;
const RATE: u64 = 1000;
const WARMUP_INTERVALS: usize = 5;
/// One recorded latency stands for two to the power of so many deliveries.
const DOUBLINGS: u32 = 10;

/// A run of 1000 subscribers at 1000 messages a second that passed.
pub(crate) fn passing() -> Report {
    shaped(&Shape::default())
}

pub(crate) fn shaped(shape: &Shape) -> Report {
    let mut random = Random::seeded(shape.seed);
    let mut histograms = Histograms::default();
    let timeline: Vec<Row> =
        (0..shape.intervals).map(|index| interval(shape, index, &mut random, &mut histograms)).collect();
    let measured: Vec<&Row> = timeline.iter().filter(|row| !row.warmup).collect();
    let seconds = measured.len() as f64 * shape.interval_seconds;
    let sent = measured.iter().map(|row| row.sent).sum::<u64>();
    let delivered = sent * SUBSCRIBERS;
    let mut connect = Latency::default();
    (0..SUBSCRIBERS).for_each(|_| connect.record(latency(&mut random, 900_000.0, 0.5)));
    let base = fixture::report();
    Report {
        title: "market data".to_owned(),
        environment: environment(),
        verdict: Verdict::Pass,
        reasons: Vec::new(),
        gates: vec![
            Outcome { gate: "p99<5ms".to_owned(), measured: Some(1.52), holds: true },
            Outcome { gate: "missing==0".to_owned(), measured: Some(0.0), holds: true },
        ],
        run: parameters(seconds, sent),
        connect: Connect {
            connections: SUBSCRIBERS + 1,
            seconds: 0.214,
            latency_ns: connect.spectrum(),
            server_cpu_ns_per_connection: Some(48_300.0),
            server_resident_bytes_per_connection: Some(5_130.0),
            server_resident_bytes: Some(12_400_000),
        },
        messages: Messages { scheduled: sent, sent, complete: sent },
        deliveries: Deliveries {
            expected: delivered,
            delivered,
            per_second: delivered as f64 / seconds,
            ..base.deliveries
        },
        latency_ns: histograms.spectra(),
        cost: cost(shape),
        timeline,
        histograms,
        ..base
    }
}

fn interval(shape: &Shape, index: usize, random: &mut Random, all: &mut Histograms) -> Row {
    let mut own = Latency::default();
    let mut lag_max = 0;
    let stalled = shape.stall_at == Some(index);
    let late_ns = if shape.stall_at.is_some_and(|stall| stall + 1 == index) { 0.18e9 } else { 0.0 };
    let sent = (RATE as f64 * shape.interval_seconds) as u64;
    let messages = if stalled { 0 } else { sent };
    for message in 0..messages {
        // Those that waited longest come first.
        let wait = (late_ns - message as f64 * 1e9 / RATE as f64).max(0.0);
        let (lag, flight) = (latency(random, 9_000.0, 0.6), latency(random, shape.median_ns, shape.sigma));
        let response = flight + lag + wait as u64;
        lag_max = lag_max.max(lag);
        own.record(response);
        all.send_lag.record(lag);
        all.service.record(response - lag);
        all.to_first.record((response as f64 * 0.32) as u64);
        all.to_last.record((response as f64 * (2.1 + random.unit())) as u64);
        all.spread.record((response as f64 * (1.6 + random.unit())) as u64);
    }
    // About every delivery of the run, at the cost of one in a thousand.
    let mut weighted = own.clone();
    for _ in 0..DOUBLINGS {
        let half = weighted.clone();
        weighted.merge(&half);
    }
    all.response.merge(&weighted);
    let wobble = 1.0 + 0.02 * (random.unit() - 0.5);
    let deliveries = if stalled { 0 } else { sent * SUBSCRIBERS * if late_ns > 0.0 { 2 } else { 1 } };
    let seconds = (index + 1) as f64 * shape.interval_seconds;
    Row {
        seconds,
        interval_seconds: shape.interval_seconds,
        warmup: index < WARMUP_INTERVALS,
        sent,
        delivered: (deliveries as f64 * wobble) as u64,
        bytes: deliveries * 82,
        connected: if index == 0 { 640 } else { SUBSCRIBERS },
        recovered: 0,
        recoveries_failed: 0,
        response: own.spectrum(),
        send_lag_max: lag_max,
        server_cpu_percent: Some(
            shape.server_cpu_ns_per_delivery * deliveries as f64 * wobble / 1e7 / shape.interval_seconds
                + 1.0,
        ),
        server_resident_bytes: Some(
            12_400_000 + (seconds * 41_000.0) as u64 + if late_ns > 0.0 { 9_000_000 } else { 0 },
        ),
    }
}

fn cost(shape: &Shape) -> Cost {
    Cost {
        server_cpu_ns_per_delivery: Some(shape.server_cpu_ns_per_delivery),
        server_cpu_percent: Some(shape.server_cpu_ns_per_delivery / 10.0),
        server_resident_bytes: Some(13_900_000),
        server_syscalls_per_delivery: None,
        server_syscalls_unknown: Some("the kernel does not let this user count them".to_owned()),
        own_cpu_ns_per_delivery: Some(233.0),
        own_cpu_percent: 31.0,
        own_waited_percent: 0.4,
        own_syscalls_per_delivery: Some(0.0213),
    }
}

fn environment() -> Environment {
    Environment {
        started: "2026-11-20T09:41:07Z".to_owned(),
        kernel: "Linux 6.12.4".to_owned(),
        cpu: "AMD EPYC 9R14".to_owned(),
        cores: 2,
        memory_bytes: 8 << 30,
        congestion_control: "cubic".to_owned(),
        command:
            "fanfare-loadgen run ws://127.0.0.1:9000/ws/demo --subscribers 1000 --rate 1000 --duration 30s \
                  --require p99<5ms --require missing==0"
                .to_owned(),
    }
}

fn parameters(seconds: f64, messages: u64) -> Parameters {
    Parameters {
        url: "ws://127.0.0.1:9000/ws/demo".to_owned(),
        publish_url: "ws://127.0.0.1:9000/ws/demo".to_owned(),
        dialect: "raw".to_owned(),
        topic: "demo".to_owned(),
        subscribe: String::new(),
        rooms: 1,
        subscribers: SUBSCRIBERS as usize,
        publishers: 1,
        recover: false,
        deflate: false,
        schedule: "constant 1000/s".to_owned(),
        messages_per_second: RATE as f64,
        content: "64 bytes".to_owned(),
        mean_bytes: 64.0,
        text: false,
        seconds,
        messages_warmup: 5_000,
        messages_measured: messages,
        workers: 2,
        machines: 1,
    }
}

/// A run in which everything went wrong that a report can tell.
pub(crate) fn broken() -> Report {
    let mut report = shaped(&Shape { seed: 2, median_ns: 900_000.0, sigma: 0.7, ..Shape::default() });
    let lost = |count, sentence: &str| {
        let mut reasons = Reasons::default();
        (0..count).for_each(|_| reasons.add(sentence.to_owned()));
        reasons
    };
    report.title = "chat rooms".to_owned();
    report.verdict = Verdict::Broken;
    report.reasons = vec![
        "3 214 of 30 000 000 deliveries are missing".to_owned(),
        "12 subscribers were disconnected by the server".to_owned(),
    ];
    report.gates[0] = Outcome { gate: "p99<5ms".to_owned(), measured: Some(417.0), holds: false };
    report.deliveries.delivered -= 3_214;
    (report.deliveries.missing, report.deliveries.duplicate, report.deliveries.corrupt) = (3_214, 41, 2);
    (report.deliveries.subscribers_affected, report.deliveries.subscribers_lost) = (57, 12);
    report.deliveries.lost = lost(12, "closed with 1008: \"slow consumer\"");
    report.readers = vec![
        ReadersReport {
            subscribers: 20,
            delivered: 48_012,
            lost: lost(20, "closed with 1008: \"slow consumer\""),
            ..fixture::readers("stalled")
        },
        ReadersReport {
            subscribers: 50,
            delivered: 1_420_511,
            announced: 81,
            latency_ns: Some(Spectrum { count: 50, ..report.connect.latency_ns }),
            left: 50,
            returned: 50,
            all_back_ns: Some(412_000_000),
            recovered: 48,
            recoveries_failed: 2,
            recovery_ns: Some(Spectrum { count: 48, ..report.connect.latency_ns }),
            all_caught_up_ns: Some(630_000_000),
            ..fixture::readers("returning")
        },
    ];
    report.clocks = Clocks {
        negative: 12,
        worst_ns: 4_100,
        machines: vec![MachineClock {
            machine: "10.0.0.2:7000".to_owned(),
            offset_before_ns: -181_000,
            offset_after_ns: -177_400,
            uncertainty_ns: 21_000,
        }],
    };
    report.run.machines = 2;
    report
}
