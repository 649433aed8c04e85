//! One run: its plan, what was seen of it, and its report.

use std::time::Duration;

use super::SECOND;
use crate::gate::{Gate, Outcome};
use crate::gather::Gathered;
use crate::plan::{Bounds, Plan, Target};
use crate::reasons::Reasons;
use crate::report::seen::{RunSeen, Sample, Samples};
use crate::report::{Connect, Cost, Deliveries, Environment, Messages, ReadersReport, Report, Verdict};
use crate::schedule::{Schedule, Shape};

fn schedule(messages_per_second: f64) -> Schedule {
    Schedule::new(Shape::Constant, messages_per_second, 3, SECOND, 10 * SECOND)
}

/// 10 subscribers and 3 publishers in one room, 1000 messages/s, of which 1000 warm up and 10 000 are measured.
pub(crate) fn plan() -> Plan {
    Plan {
        title: "ws://127.0.0.1:9000/ws/demo".to_owned(),
        target: Target {
            subscribe: "ws://127.0.0.1:9000/ws/demo".to_owned(),
            publish: "ws://127.0.0.1:9000/pub/demo".to_owned(),
            topic: "demo".to_owned(),
        },
        schedule: schedule(1_000.0),
        bounds: Bounds { send_lag: Duration::from_millis(10), own_cpu_percent: 98.0, unready_percent: 0.0 },
        ..super::plan(10, 3, 1)
    }
}

pub(crate) fn plan_with(change: impl FnOnce(&mut Plan)) -> Plan {
    let mut plan = plan();
    change(&mut plan);
    plan
}

/// No messages at all.
pub(crate) fn idle_plan() -> Plan {
    plan_with(|plan| plan.schedule = schedule(0.0))
}

/// A run that nothing speaks against, and that delivered nothing.
pub(crate) fn seen(plan: &Plan) -> RunSeen {
    let at = |seconds: u64| Sample { at_ns: seconds * 1_000_000_000, server: None };
    RunSeen {
        environment: Environment { started: "2023-11-14T22:13:20Z".to_owned(), ..Environment::default() },
        samples: Samples { idle: at(1), ready: at(2), begun: at(3), published: at(13), drained: at(14) },
        ready: 13,
        unready: Reasons::default(),
        sent: plan.schedule.measured(),
        gathered: Gathered::new(plan, 1, vec![10]),
        stopped_at_ns: None,
        own_cpu_percent: 20.0,
        own_waited_percent: 0.0,
        server_syscalls_unknown: None,
        clocks: Vec::new(),
        workers: 1,
        machines: 1,
    }
}

pub(crate) fn report() -> Report {
    let plan = plan();
    Report::new(&plan, &seen(&plan))
}

/// Of a run that has as few figures as a run can have.
pub(crate) fn bare_report() -> Report {
    let plan = idle_plan();
    Report::new(&plan, &seen(&plan))
}

/// Of a run that passed: so many messages a second to so many subscribers, for one second.
pub(crate) fn passing(messages_per_second: f64, subscribers: usize) -> Report {
    let sent = messages_per_second.round() as u64;
    let expected = sent * subscribers as u64;
    let mut report = bare_report();
    report.run.subscribers = subscribers;
    report.run.messages_per_second = messages_per_second;
    report.run.messages_measured = sent;
    report.run.seconds = 1.0;
    report.connect = Connect { connections: subscribers as u64 + 1, seconds: 0.5, ..report.connect };
    report.messages = Messages { scheduled: sent, sent, complete: sent };
    report.deliveries =
        Deliveries { expected, delivered: expected, per_second: expected as f64, ..report.deliveries };
    report.cost = Cost { own_cpu_ns_per_delivery: Some(50.0), own_cpu_percent: 40.0, ..Cost::default() };
    report
}

/// The same with a gate that does not hold.
pub(crate) fn failing(mut report: Report, gate: &str, measured: f64) -> Report {
    let missed = Outcome { gate: gate.to_owned(), measured: Some(measured), holds: false };
    let reason = Gate::parse(gate).expect("a gate").sentence(&missed);
    let held = Outcome { gate: "missing==0".to_owned(), measured: Some(0.0), holds: true };
    report.gates = vec![held, missed];
    judged(report, Verdict::Gate, &reason)
}

/// The same with another verdict.
pub(crate) fn judged(mut report: Report, verdict: Verdict, reason: &str) -> Report {
    report.verdict = verdict;
    report.reasons = vec![reason.to_owned()];
    report
}

pub(crate) fn readers(kind: &str) -> ReadersReport {
    ReadersReport {
        kind: kind.to_owned(),
        subscribers: 5,
        delivered: 0,
        missing: 0,
        announced: 0,
        duplicate: 0,
        reordered: 0,
        corrupt: 0,
        lost: Reasons::default(),
        latency_ns: None,
        left: 0,
        returned: 0,
        all_back_ns: None,
        recovered: 0,
        recoveries_failed: 0,
        recovery_ns: None,
        all_caught_up_ns: None,
    }
}
