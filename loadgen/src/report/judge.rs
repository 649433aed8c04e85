//! From what a run saw to its figures.

use crate::latency::Latency;
use crate::observed::{Ended, Observed};
use crate::plan::Plan;
use crate::report::environment::public;
use crate::report::seen::{RunSeen, Sample};
use crate::report::{
    Clocks, Connect, Cost, Deflate, Deliveries, FORMAT, Histograms, Messages, Parameters, ReadersReport,
    Report, Verdict, verdict,
};

/// Less processor time than this is not shared out.
const CPU_NS_MIN: u64 = 50_000_000;

impl Report {
    /// All figures of a run, and the verdict that they make.
    pub fn new(plan: &Plan, seen: &RunSeen) -> Self {
        let gathered = &seen.gathered;
        let histograms = Histograms {
            response: gathered.response().clone(),
            service: gathered.service().clone(),
            send_lag: gathered.send_lag().clone(),
            own_lag: gathered.own_lag().clone(),
            to_first: gathered.to_first().clone(),
            to_last: gathered.to_last().clone(),
            spread: gathered.spread().clone(),
        };
        let mut report = Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            title: public(&plan.title),
            environment: seen.environment.clone(),
            verdict: Verdict::Pass,
            reasons: Vec::new(),
            gates: Vec::new(),
            run: parameters(plan, seen),
            connect: connect(seen),
            messages: Messages {
                scheduled: plan.schedule.measured(),
                sent: seen.sent,
                complete: gathered.complete(),
            },
            deliveries: deliveries(plan, seen),
            deflate: plan.deflate.then(|| deflate(gathered.total())),
            latency_ns: histograms.spectra(),
            readers: readers(gathered.total()),
            cost: cost(seen),
            clocks: clocks(seen),
            timeline: gathered.rows().to_vec(),
            histograms,
        };
        // Gates look at figures, so they come when all figures are there.
        report.gates = plan.gates.iter().map(|gate| gate.outcome(&report)).collect();
        (report.verdict, report.reasons) = verdict::of(plan, seen, &report);
        report
    }
}

fn parameters(plan: &Plan, seen: &RunSeen) -> Parameters {
    let (schedule, rooms) = (&plan.schedule, &plan.rooms);
    Parameters {
        url: public(&plan.target.subscribe),
        publish_url: public(&plan.target.publish),
        dialect: dialect(plan),
        topic: plan.target.topic.clone(),
        subscribe: plan.dialect.subscribe_options().unwrap_or_default(),
        rooms: rooms.count,
        subscribers: rooms.subscribers,
        publishers: rooms.publishers,
        recover: plan.readers.recovers,
        deflate: plan.deflate,
        schedule: schedule.words(),
        messages_per_second: schedule.messages_per_second(),
        content: plan.content.words(),
        mean_bytes: plan.content.mean_bytes(),
        text: plan.text,
        seconds: schedule.end().saturating_sub(schedule.measured_from()) as f64 / 1e9,
        messages_warmup: schedule.warmup(),
        messages_measured: schedule.measured(),
        workers: seen.workers,
        machines: seen.machines,
    }
}

/// The dialect's name only: what else it holds lets somebody in.
fn dialect(plan: &Plan) -> String {
    let dialect = serde_json::to_value(&plan.dialect).unwrap_or_default();
    dialect.get("name").and_then(|name| name.as_str()).unwrap_or_default().to_owned()
}

fn connect(seen: &RunSeen) -> Connect {
    let samples = &seen.samples;
    let each = |total: u64| (seen.ready > 0).then(|| total as f64 / seen.ready as f64);
    let server = samples.idle.server.zip(samples.ready.server);
    Connect {
        connections: seen.ready,
        seconds: nanoseconds(&samples.idle, &samples.ready) / 1e9,
        latency_ns: seen.gathered.total().connect.spectrum(),
        // Processor time is known in steps of 10 ms: a few of them say nothing.
        server_cpu_ns_per_connection: server
            .map(|(idle, ready)| ready.cpu_since(&idle))
            .filter(|&used| used >= CPU_NS_MIN)
            .and_then(each),
        // A server that has had so many connections before may take them all without growing.
        server_resident_bytes_per_connection: server
            .and_then(|(idle, ready)| ready.resident_bytes.checked_sub(idle.resident_bytes))
            .filter(|&grown| grown > 0)
            .and_then(each),
        server_resident_bytes: server.map(|(_, ready)| ready.resident_bytes),
    }
}

fn deliveries(plan: &Plan, seen: &RunSeen) -> Deliveries {
    let total = seen.gathered.total();
    let counts = &total.counts;
    // Until the last delivery if that came late; a server that was done early has not delivered faster.
    let over = seen.stopped_at_ns.unwrap_or_else(|| plan.schedule.end());
    let until = total.last_delivery.max(over);
    let elapsed_ns = until.saturating_sub(plan.schedule.measured_from()).max(1);
    Deliveries {
        expected: counts.expected,
        delivered: counts.delivered,
        per_second: counts.delivered as f64 * 1e9 / elapsed_ns as f64,
        due_per_second: counts.expected as f64 * 1e9
            / (over - plan.schedule.measured_from().min(over)).max(1) as f64,
        missing: counts.missing,
        announced: counts.announced,
        duplicate: counts.duplicate,
        reordered: counts.reordered,
        corrupt: counts.corrupt,
        misrouted: counts.misrouted,
        foreign: counts.foreign,
        subscribers_affected: counts.subscribers_affected,
        subscribers_lost: total.lost.subscribers,
        publishers_lost: total.lost.publishers,
        lost: total.lost.reasons.clone(),
        draining_notices: total.draining,
    }
}

fn deflate(total: &Observed) -> Deflate {
    let deflated = &total.deflated;
    Deflate {
        subscribers_granted: deflated.subscribers,
        publishers_granted: deflated.publishers,
        messages: deflated.messages,
        compressed_messages: deflated.compressed,
        wire_bytes: deflated.wire_bytes,
        payload_bytes: deflated.payload_bytes,
    }
}

/// The kinds of subscribers that the run has, besides steady ones.
fn readers(total: &Observed) -> Vec<ReadersReport> {
    let others = &total.others;
    let spectrum = |latency: &Latency| (latency.count() > 0).then(|| latency.spectrum());
    let report = |kind: &str, ended: &Ended| ReadersReport {
        kind: kind.to_owned(),
        subscribers: ended.subscribers,
        delivered: ended.delivered,
        missing: ended.missing,
        announced: ended.announced,
        duplicate: ended.duplicate,
        reordered: ended.reordered,
        corrupt: ended.corrupt,
        lost: ended.lost.clone(),
        latency_ns: None,
        left: 0,
        returned: 0,
        all_back_ns: None,
        recovered: 0,
        recoveries_failed: 0,
        recovery_ns: None,
        all_caught_up_ns: None,
    };
    let all = [
        report("stalled", &others.stalled),
        report("slow", &others.slow),
        ReadersReport { latency_ns: spectrum(&others.catch_up), ..report("pausing", &others.pausing) },
        ReadersReport {
            latency_ns: spectrum(&others.reconnect),
            left: others.left,
            returned: others.returned,
            all_back_ns: others.all_back_ns,
            recovered: others.recovered,
            recoveries_failed: others.recoveries_failed,
            recovery_ns: spectrum(&others.recovery),
            all_caught_up_ns: others.all_caught_up_ns,
            ..report("returning", &others.returning)
        },
    ];
    all.into_iter().filter(|readers| readers.subscribers > 0).collect()
}

fn cost(seen: &RunSeen) -> Cost {
    let (samples, total) = (&seen.samples, seen.gathered.total());
    let others = &total.others;
    let others = [&others.stalled, &others.slow, &others.pausing, &others.returning];
    // The server works for every subscriber, and so does this program.
    let delivered = total.counts.delivered + others.iter().map(|ended| ended.delivered).sum::<u64>();
    let each = |total: u64| (delivered > 0).then(|| total as f64 / delivered as f64);
    let published_ns = nanoseconds(&samples.begun, &samples.published);
    let published = samples.begun.server.zip(samples.published.server);
    let drained = samples.begun.server.zip(samples.drained.server);
    let syscalls = drained.and_then(|(begun, drained)| drained.syscalls?.checked_sub(begun.syscalls?));
    Cost {
        server_cpu_ns_per_delivery: drained.and_then(|(begun, drained)| each(drained.cpu_since(&begun))),
        server_cpu_percent: published
            .filter(|_| published_ns > 0.0)
            .map(|(begun, published)| published.cpu_since(&begun) as f64 * 100.0 / published_ns),
        server_resident_bytes: drained.map(|(_, drained)| drained.resident_bytes),
        server_syscalls_per_delivery: syscalls.and_then(each),
        server_syscalls_unknown: seen.server_syscalls_unknown.clone().filter(|_| syscalls.is_none()),
        own_cpu_ns_per_delivery: each(total.cpu_ns),
        own_cpu_percent: if seen.own_cpu_percent.is_finite() { seen.own_cpu_percent } else { 0.0 },
        own_waited_percent: seen.own_waited_percent,
        own_syscalls_per_delivery: each(total.enters),
    }
}

fn clocks(seen: &RunSeen) -> Clocks {
    let clock = seen.gathered.clock();
    Clocks { negative: clock.negative, worst_ns: clock.worst_ns, machines: seen.clocks.clone() }
}

fn nanoseconds(from: &Sample, to: &Sample) -> f64 {
    to.at_ns.saturating_sub(from.at_ns) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::{Counts, Interval, Others};
    use crate::process::Usage;
    use crate::reasons::Reasons;
    use crate::report::MachineClock;
    use crate::testing::fixture;

    #[test]
    fn costs_are_those_of_their_phase_and_of_all_deliveries() {
        let plan = fixture::plan();
        let mut seen = fixture::seen(&plan);
        let at = |at_s: u64, cpu_ms: u64, resident_bytes, syscalls| {
            let usage = Usage { cpu_ns: cpu_ms * 2_000_000, resident_bytes, syscalls: Some(syscalls) };
            Sample { at_ns: at_s * 1_000_000_000, server: Some(usage) }
        };
        let samples = &mut seen.samples;
        samples.idle = at(100, 0, 1_000, 0);
        samples.ready = at(102, 130, 14_000, 10);
        samples.begun = at(103, 200, 0, 100);
        samples.published = at(113, 2_200, 0, 0);
        samples.drained = at(114, 2_300, 7_777, 50_100);
        seen.server_syscalls_unknown = Some("not asked for".to_owned());
        let counts = Counts { delivered: 60_000, ..Counts::default() };
        let stalled = Ended { subscribers: 2, delivered: 40_000, ..Ended::default() };
        seen.gathered.observed(
            0,
            &Observed {
                counts,
                others: Others { stalled, ..Others::default() },
                enters: 25_000,
                ..Observed::default()
            },
        );
        let report = Report::new(&plan, &seen);

        let connect = &report.connect;
        assert_eq!((connect.connections, connect.seconds), (13, 2.0));
        assert_eq!(connect.server_cpu_ns_per_connection, Some(20_000_000.0));
        assert_eq!(connect.server_resident_bytes_per_connection, Some(1_000.0));
        let cost = &report.cost;
        assert_eq!(cost.server_cpu_ns_per_delivery, Some(42_000.0));
        assert_eq!(cost.server_cpu_percent, Some(40.0));
        assert_eq!(cost.server_resident_bytes, Some(7_777));
        assert_eq!(cost.server_syscalls_per_delivery, Some(0.5));
        assert_eq!(cost.server_syscalls_unknown, None);
        assert_eq!((cost.own_cpu_ns_per_delivery, cost.own_syscalls_per_delivery), (Some(0.0), Some(0.25)));

        seen.gathered.observed(0, &Observed { cpu_ns: 5_000_000_000, ..Observed::default() });
        assert_eq!(Report::new(&plan, &seen).cost.own_cpu_ns_per_delivery, Some(50_000.0));
        // The process came to an end while it was looked at.
        seen.samples.drained.server = None;
        let cost = Report::new(&plan, &seen).cost;
        assert_eq!((cost.server_cpu_ns_per_delivery, cost.server_resident_bytes), (None, None));
        assert_eq!(cost.server_syscalls_unknown.as_deref(), Some("not asked for"));
    }

    #[test]
    fn deliveries_a_second_are_of_the_whole_measurement() {
        let plan = fixture::plan();
        let end = plan.schedule.end();
        let elapsed = (end - plan.schedule.measured_from()) as f64 / 1e9;
        for (last_delivery, seconds) in
            [(0, elapsed), (end / 2, elapsed), (end + 5_000_000_000, elapsed + 5.0)]
        {
            let counts = Counts { delivered: 1_000_000, ..Counts::default() };
            let total = Observed { counts, last_delivery, ..Observed::default() };
            let expected = 1_000_000.0 / seconds;
            let mut seen = fixture::seen(&plan);
            seen.gathered.observed(0, &total);
            let seen = deliveries(&plan, &seen).per_second;
            assert!((seen - expected).abs() < 1e-6 * expected, "{seen} {expected}");
        }
    }

    #[test]
    fn only_kinds_of_readers_that_there_are_stand_in_the_report() {
        let mut total = Observed::default();
        assert!(readers(&total).is_empty());
        total.others.pausing.subscribers = 3;
        total.others.returning = Ended { subscribers: 4, missing: 2, ..Ended::default() };
        total.others.reconnect.record(500);
        (total.others.left, total.others.returned, total.others.all_back_ns) = (4, 4, Some(900));
        let readers = readers(&total);
        let kinds: Vec<_> =
            readers.iter().map(|readers| (readers.kind.as_str(), readers.subscribers)).collect();
        assert_eq!(kinds, [("pausing", 3), ("returning", 4)]);
        assert_eq!(readers[0].latency_ns, None);
        assert_eq!(readers[1].latency_ns.map(|spectrum| spectrum.max), Some(500));
        assert_eq!((readers[1].missing, readers[1].left, readers[1].all_back_ns), (2, 4, Some(900)));
    }

    #[test]
    fn secrets_do_not_reach_the_report() {
        let plan = fixture::plan_with(|plan| {
            plan.title = "ws://me:pw@h/ws/a?token=t".to_owned();
            plan.target.subscribe = "ws://me:pw@h/ws/a?token=t".to_owned();
            plan.target.publish = "http://me:pw@h/pub?key=t".to_owned();
        });
        let report = Report::new(&plan, &fixture::seen(&plan));
        assert_eq!(report.title, "ws://***@h/ws/a?token=***");
        assert_eq!(report.run.url, "ws://***@h/ws/a?token=***");
        assert_eq!(report.run.publish_url, "http://***@h/pub?key=***");
        assert_eq!(report.run.dialect, "raw");
    }

    #[test]
    fn json_comes_back_as_the_same_report() {
        let plan = fixture::plan_with(|plan| plan.gates = vec!["p99<5ms".parse().expect("a gate")]);
        let mut seen = fixture::seen(&plan);
        let mut interval = Interval { index: 0, sent: 5, delivered: 6, ..Interval::default() };
        (1..100u64).for_each(|i| interval.response.record(i * 1_000));
        seen.gathered.interval(0, interval);
        let mut reasons = Reasons::default();
        reasons.add("the server closed it".to_owned());
        let mut total = Observed::default();
        total.counts.delivered = 3;
        total.others.slow = Ended { subscribers: 1, lost: reasons, ..Ended::default() };
        seen.gathered.observed(0, &total);
        seen.clocks = vec![MachineClock {
            machine: "b".to_owned(),
            offset_before_ns: -5,
            offset_after_ns: 7,
            uncertainty_ns: 3,
        }];
        let report = Report::new(&plan, &seen);
        let mut json = Vec::new();
        report.write_json(&mut json).expect("written");
        let again: Report = serde_json::from_slice(&json).expect("a report");
        let mut second = Vec::new();
        again.write_json(&mut second).expect("written");
        assert_eq!(String::from_utf8(json), String::from_utf8(second));
        assert_eq!((again.timeline.len(), again.gates.len(), again.clocks.machines.len()), (1, 1, 1));
        assert_eq!(again.histograms.response.spectrum(), report.latency_ns.response);
    }
}
