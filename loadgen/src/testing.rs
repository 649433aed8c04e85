//! What tests of several modules need: reports of runs that never were.

use crate::gate::Outcome;
use crate::latency::Spectrum;
use crate::reasons::Reasons;
use crate::report::{
    Clocks, Connect, Cost, Deliveries, Environment, FORMAT, Histograms, Messages, Parameters, Report,
    Spectra, Verdict,
};

/// The report of a run that passed: so many messages a second to so many subscribers, for one second.
pub(crate) fn report(messages_per_second: f64, subscribers: usize) -> Report {
    let messages = messages_per_second.round() as u64;
    let expected = messages * subscribers as u64;
    Report {
        format: FORMAT,
        version: "0".to_owned(),
        title: "a model".to_owned(),
        environment: Environment::default(),
        verdict: Verdict::Pass,
        reasons: Vec::new(),
        gates: Vec::new(),
        run: Parameters {
            url: "ws://127.0.0.1:1/ws/x".to_owned(),
            publish_url: "ws://127.0.0.1:1/pub/x".to_owned(),
            dialect: "raw".to_owned(),
            topic: "x".to_owned(),
            rooms: 1,
            subscribers,
            publishers: 1,
            schedule: format!("constant {messages_per_second}/s"),
            messages_per_second,
            content: "64 bytes".to_owned(),
            mean_bytes: 64.0,
            text: false,
            seconds: 1.0,
            messages_warmup: 0,
            messages_measured: messages,
            workers: 1,
            machines: 1,
        },
        connect: Connect {
            connections: subscribers as u64 + 1,
            seconds: 0.5,
            latency_ns: Spectrum::default(),
            server_cpu_ns_per_connection: None,
            server_resident_bytes_per_connection: None,
            server_resident_bytes: None,
        },
        messages: Messages { scheduled: messages, sent: messages, complete: messages },
        deliveries: Deliveries {
            expected,
            delivered: expected,
            per_second: expected as f64,
            missing: 0,
            announced: 0,
            duplicate: 0,
            reordered: 0,
            corrupt: 0,
            misrouted: 0,
            foreign: 0,
            subscribers_affected: 0,
            subscribers_lost: 0,
            publishers_lost: 0,
            lost: Reasons::default(),
        },
        latency_ns: Spectra::default(),
        readers: Vec::new(),
        cost: Cost { own_cpu_ns_per_delivery: Some(50.0), own_cpu_percent: 40.0, ..Cost::default() },
        clocks: Clocks::default(),
        timeline: Vec::new(),
        histograms: Histograms::default(),
    }
}

/// The same with a gate that does not hold.
pub(crate) fn failing(mut report: Report, gate: &str, measured: f64) -> Report {
    report.verdict = Verdict::Gate;
    report.reasons = vec![format!("{gate} does not hold")];
    report.gates = vec![
        Outcome { gate: "missing==0".to_owned(), measured: Some(0.0), holds: true },
        Outcome { gate: gate.to_owned(), measured: Some(measured), holds: false },
    ];
    report
}

/// The same with another verdict.
pub(crate) fn judged(mut report: Report, verdict: Verdict, reason: &str) -> Report {
    report.verdict = verdict;
    report.reasons = vec![reason.to_owned()];
    report
}
