//! What a run says about the server, and whether it may say so.

use serde::Serialize;

use crate::connections::Reasons;
use crate::latency::Spectrum;
use crate::plan::Plan;
use crate::run::{Observed, Sample};

/// The version of the JSON's shape.
const FORMAT: u32 = 1;

/// The judgement of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every message reached every subscriber once, in order and intact.
    Pass,
    /// Some did not.
    Broken,
    /// The figures say more about this program or this machine than about the server.
    Invalid,
}

impl Verdict {
    /// The program's exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Broken => 2,
            Self::Invalid => 3,
        }
    }
}

/// All figures of a run. Names end in their units.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub format: u32,
    pub verdict: Verdict,
    /// Why it is not a pass.
    pub reasons: Vec<String>,
    pub run: Parameters,
    pub connect: Connect,
    pub messages: Messages,
    pub deliveries: Deliveries,
    pub latency_ns: Spectra,
    pub cost: Cost,
}

#[derive(Clone, Debug, Serialize)]
pub struct Parameters {
    pub url: String,
    pub publish_url: String,
    pub subscribers: usize,
    pub publishers: usize,
    pub rate: f64,
    pub size_bytes: usize,
    pub text: bool,
    pub messages_warmup: u64,
    pub messages_measured: u64,
}

/// The making of the connections.
#[derive(Clone, Debug, Serialize)]
pub struct Connect {
    pub connections: usize,
    pub seconds: f64,
    /// `null` without a server process to look at; so are the other server figures.
    pub server_cpu_ns_per_connection: Option<f64>,
    pub server_resident_bytes_per_connection: Option<f64>,
    pub server_resident_bytes: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Messages {
    pub scheduled: u64,
    pub sent: u64,
    /// Those that reached every subscriber while they were followed.
    pub complete: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Deliveries {
    pub expected: u64,
    pub delivered: u64,
    pub per_second: f64,
    pub missing: u64,
    pub duplicate: u64,
    pub reordered: u64,
    pub corrupt: u64,
    /// Intact messages that another run of this program published.
    pub foreign: u64,
    pub subscribers_affected: u64,
    pub subscribers_lost: usize,
    pub publishers_lost: usize,
    pub lost: Reasons,
}

/// Of each delivery: `response`, `service`. Of each message: the others.
#[derive(Clone, Debug, Serialize)]
pub struct Spectra {
    /// Due to received.
    pub response: Spectrum,
    /// Sent to received.
    pub service: Spectrum,
    /// Due to sent.
    pub send_lag: Spectrum,
    /// Due to received by the first.
    pub to_first: Spectrum,
    /// Due to received by the last.
    pub to_last: Spectrum,
    /// Received by the first to received by the last.
    pub spread: Spectrum,
}

/// Processor time. Percentages are of one core.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    pub server_cpu_ns_per_delivery: Option<f64>,
    pub server_cpu_percent: Option<f64>,
    pub server_resident_bytes: Option<u64>,
    pub own_cpu_ns_per_delivery: Option<f64>,
    pub own_cpu_percent: f64,
}

impl Report {
    pub fn new(plan: &Plan, seen: &Observed) -> Self {
        let cost = cost(seen);
        let (verdict, reasons) = judge(plan, seen, cost.own_cpu_percent);
        let latencies = &seen.latencies;
        Self {
            format: FORMAT,
            verdict,
            reasons,
            run: parameters(plan),
            connect: connect(plan, seen),
            messages: Messages {
                scheduled: plan.schedule.measured(),
                sent: seen.sent,
                complete: latencies.to_last.spectrum().count,
            },
            deliveries: deliveries(seen),
            latency_ns: Spectra {
                response: latencies.response.spectrum(),
                service: latencies.service.spectrum(),
                send_lag: latencies.send_lag.spectrum(),
                to_first: latencies.to_first.spectrum(),
                to_last: latencies.to_last.spectrum(),
                spread: latencies.spread.spectrum(),
            },
            cost,
        }
    }
}

fn parameters(plan: &Plan) -> Parameters {
    Parameters {
        url: plan.targets.subscribe.to_string(),
        publish_url: plan.targets.publish.to_string(),
        subscribers: plan.targets.subscribers,
        publishers: plan.targets.publishers,
        rate: plan.schedule.messages_per_second(),
        size_bytes: plan.size,
        text: plan.text,
        messages_warmup: plan.schedule.warmup(),
        messages_measured: plan.schedule.measured(),
    }
}

fn connect(plan: &Plan, seen: &Observed) -> Connect {
    let connections = plan.targets.subscribers + plan.targets.publishers;
    let each = |total: u64| total as f64 / connections as f64;
    let server = seen.idle.server.zip(seen.ready.server);
    Connect {
        connections,
        seconds: seconds(&seen.idle, &seen.ready),
        server_cpu_ns_per_connection: server.map(|(idle, ready)| each(ready.cpu_since(&idle))),
        server_resident_bytes_per_connection: server
            .map(|(idle, ready)| each(ready.resident_bytes.saturating_sub(idle.resident_bytes))),
        server_resident_bytes: server.map(|(_, ready)| ready.resident_bytes),
    }
}

fn deliveries(seen: &Observed) -> Deliveries {
    let counts = &seen.counts;
    let elapsed_ns = seen.last_delivery.saturating_sub(seen.begun.at);
    Deliveries {
        expected: counts.expected,
        delivered: counts.delivered,
        per_second: if counts.delivered > 0 {
            counts.delivered as f64 * 1e9 / elapsed_ns as f64
        } else {
            0.0
        },
        missing: counts.missing,
        duplicate: counts.duplicate,
        reordered: counts.reordered,
        corrupt: counts.corrupt,
        foreign: counts.foreign,
        subscribers_affected: counts.subscribers_affected,
        subscribers_lost: seen.lost.subscribers,
        publishers_lost: seen.lost.publishers,
        lost: seen.lost.reasons.clone(),
    }
}

fn cost(seen: &Observed) -> Cost {
    let each = |total: u64| (seen.counts.delivered > 0).then(|| total as f64 / seen.counts.delivered as f64);
    let percent = |cpu_ns: u64| cpu_ns as f64 / 1e7 / seconds(&seen.begun, &seen.published);
    let published = seen.begun.server.zip(seen.published.server);
    let drained = seen.begun.server.zip(seen.drained.server);
    Cost {
        server_cpu_ns_per_delivery: drained.and_then(|(begun, drained)| each(drained.cpu_since(&begun))),
        server_cpu_percent: published.map(|(begun, published)| percent(published.cpu_since(&begun))),
        server_resident_bytes: drained.map(|(_, drained)| drained.resident_bytes),
        own_cpu_ns_per_delivery: each(seen.drained.own.cpu_since(&seen.begun.own)),
        own_cpu_percent: percent(seen.published.own.cpu_since(&seen.begun.own)),
    }
}

fn seconds(from: &Sample, to: &Sample) -> f64 {
    (to.at - from.at) as f64 / 1e9
}

/// An invalid run stays invalid if its delivery is broken too: this program may be what broke it.
fn judge(plan: &Plan, seen: &Observed, own_cpu_percent: f64) -> (Verdict, Vec<String>) {
    let invalid = doubts(plan, seen, own_cpu_percent);
    let broken = faults(seen);
    let verdict = match (invalid.is_empty(), broken.is_empty()) {
        (false, _) => Verdict::Invalid,
        (true, false) => Verdict::Broken,
        (true, true) => Verdict::Pass,
    };
    (verdict, invalid.into_iter().chain(broken).collect())
}

/// Why the run may not have measured the server.
fn doubts(plan: &Plan, seen: &Observed, own_cpu_percent: f64) -> Vec<String> {
    let mut doubts = Vec::new();
    let unsent = plan.schedule.measured() - seen.sent;
    if unsent > 0 {
        doubts.push(format!("{unsent} messages were not sent: publishers lost their connections"));
    }
    let lag_ns = seen.latencies.send_lag.spectrum().p99;
    let bound = plan.bounds.send_lag;
    if u128::from(lag_ns) > bound.as_nanos() {
        doubts.push(format!(
            "1 % of the messages were sent {:.1} ms or more after they were due, and at most {:.1} ms are allowed: \
             this program or the publishers' connections were too slow",
            lag_ns as f64 / 1e6,
            bound.as_secs_f64() * 1e3,
        ));
    }
    let most = plan.bounds.own_cpu_percent;
    if own_cpu_percent > most {
        doubts.push(format!(
            "this program used {own_cpu_percent:.0} % of its core, and at most {most:.0} % are allowed: latencies are \
             partly its own"
        ));
    }
    doubts
}

/// What the server did wrong.
fn faults(seen: &Observed) -> Vec<String> {
    let counts = &seen.counts;
    let mut faults: Vec<String> = [
        (counts.missing, "missing"),
        (counts.duplicate, "duplicate"),
        (counts.reordered, "reordered"),
        (counts.corrupt, "corrupt"),
    ]
    .into_iter()
    .filter(|&(count, _)| count > 0)
    .map(|(count, what)| format!("{count} deliveries {what}"))
    .collect();
    if seen.lost.subscribers > 0 {
        faults.push(format!("{} subscribers lost their connection", seen.lost.subscribers));
    }
    faults
}
