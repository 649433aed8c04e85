//! What a run was told to do and where, in words: for tables, and to see whether two runs are the same test.

use crate::figures::grouped;
use crate::printable::printable;
use crate::report::units::Unit;
use crate::report::{ReadersReport, Report};

/// What a parameter says about two runs that differ in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// They measure different servers, or parts of them: often the point of comparing.
    Target,
    /// They are not the same test.
    Workload,
    /// They ran on different machines.
    Machine,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

pub(crate) fn parameters(report: &Report) -> Vec<Parameter> {
    let (run, machine) = (&report.run, &report.environment);
    let count = |count: usize| grouped(count as u64);
    let texts = [
        ("URL", Kind::Target, run.url.clone()),
        ("publish URL", Kind::Target, run.publish_url.clone()),
        ("dialect", Kind::Target, run.dialect.clone()),
        ("topic", Kind::Target, run.topic.clone()),
        ("subscribe options", Kind::Workload, run.subscribe.clone()),
        ("rooms", Kind::Workload, count(run.rooms)),
        ("subscribers", Kind::Workload, count(run.subscribers)),
        ("publishers", Kind::Workload, count(run.publishers)),
        ("schedule", Kind::Workload, run.schedule.clone()),
        ("messages per second", Kind::Workload, Unit::Mean.quantity(run.messages_per_second).to_string()),
        ("content", Kind::Workload, run.content.clone()),
        ("mean payload", Kind::Workload, Unit::Bytes.quantity(run.mean_bytes).to_string()),
        ("message type", Kind::Workload, if run.text { "text" } else { "binary" }.to_owned()),
        ("permessage-deflate", Kind::Workload, if run.deflate { "offered" } else { "" }.to_owned()),
        ("measured time", Kind::Workload, Unit::Seconds.quantity(run.seconds).to_string()),
        ("messages, warm-up", Kind::Workload, grouped(run.messages_warmup)),
        ("messages, measured", Kind::Workload, grouped(run.messages_measured)),
        ("readers", Kind::Workload, readers(report)),
        ("workers", Kind::Machine, count(run.workers)),
        ("machines", Kind::Machine, count(run.machines)),
        ("kernel", Kind::Machine, machine.kernel.clone()),
        ("processor", Kind::Machine, machine.cpu.clone()),
        ("cores", Kind::Machine, count(machine.cores)),
        ("memory", Kind::Machine, Unit::Bytes.quantity(machine.memory_bytes as f64).to_string()),
        ("congestion control", Kind::Machine, machine.congestion_control.clone()),
        ("fanfare-loadgen version", Kind::Machine, report.version.clone()),
    ];
    let parameter = |(name, kind, text): (_, _, String)| Parameter { name, kind, text: printable(&text) };
    texts.into_iter().map(parameter).filter(|parameter| !parameter.text.is_empty()).collect()
}

/// How many subscribers did something else than read at once.
fn readers(report: &Report) -> String {
    if report.readers.is_empty() {
        return "all steady".to_owned();
    }
    let recovery = |kind: &str| if report.run.recover && kind == "returning" { " with recovery" } else { "" };
    let texts: Vec<String> = report
        .readers
        .iter()
        .map(|readers| {
            let ReadersReport { subscribers, kind, .. } = readers;
            format!("{} {kind}{}", grouped(*subscribers), recovery(kind))
        })
        .collect();
    texts.join(", ")
}
