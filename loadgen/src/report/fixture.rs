//! Plans, runs and reports for the tests of this folder.

use std::time::Duration;

use crate::dialect::Dialect;
use crate::gather::Gathered;
use crate::payload::Content;
use crate::plan::{Bounds, Pace, Place, Plan, Readers, Rooms, Server, Target};
use crate::process::Usage;
use crate::reasons::Reasons;
use crate::report::seen::{RunSeen, Sample, Samples};
use crate::report::{Environment, ReadersReport, Report};
use crate::schedule::{Schedule, Shape};

pub(crate) const USAGE: Usage =
    Usage { cpu_ns: 0, resident_bytes: 0, syscalls: None, threads: 1, context_switches: 0 };

const SECOND: Duration = Duration::from_secs(1);

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
        dialect: Dialect::Raw,
        rooms: Rooms { count: 1, subscribers: 10, publishers: 3 },
        readers: Readers::default(),
        pace: Pace { in_flight_max: 256, per_second: None, timeout: 10 * SECOND },
        schedule: schedule(1_000.0),
        content: Content::filler("64".parse().expect("a size"), 1.0),
        text: false,
        drain: 5 * SECOND,
        interval: SECOND,
        place: Place::default(),
        server: Server::default(),
        bounds: Bounds { send_lag: Duration::from_millis(10), own_cpu_percent: 98.0, unready_percent: 0.0 },
        gates: Vec::new(),
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
    }
}
