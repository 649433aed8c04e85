//! A search as a table for people.

use std::fmt;

use super::{Fault, Knee, Limit, Purpose, Step, Subject};
use crate::figures::{grouped, plural, time};

/// A search that prints itself.
#[derive(Debug)]
pub struct Table<'a>(pub &'a Knee);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(knee) = self;
        let subject = knee.range.subject.name();
        writeln!(
            f,
            "{subject:>14}{:>10}{:>10}{:>16}{:>14}{:>12}  outcome",
            "p50", "p99", "deliveries/s", "server ns", "own CPU"
        )?;
        knee.steps.iter().try_for_each(|step| row(f, step))?;
        writeln!(f)?;
        conclusion(f, knee)
    }
}

impl Subject {
    /// The name of its column.
    fn name(self) -> &'static str {
        match self {
            Self::MessagesPerSecond => "messages/s",
            Self::Subscribers => "subscribers",
        }
    }

    fn words(self, value: f64) -> String {
        let count = value.round() as u64;
        match self {
            Self::MessagesPerSecond => format!("{} messages/s", grouped(count)),
            Self::Subscribers => plural(count, "subscriber"),
        }
    }
}

fn row(f: &mut fmt::Formatter<'_>, step: &Step) -> fmt::Result {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let deliveries = step.deliveries_per_second.map(|rate| grouped(rate.round() as u64));
    writeln!(
        f,
        "{:>14}{:>10}{:>10}{:>16}{:>14}{:>12}  {}",
        grouped(step.value.round() as u64),
        or_dash(step.p50_ns.map(time)),
        or_dash(step.p99_ns.map(time)),
        or_dash(deliveries),
        or_dash(step.server_cpu_ns_per_delivery.map(|ns| format!("{ns:.1}"))),
        or_dash(step.own_cpu_percent.map(|percent| format!("{percent:.0} %"))),
        outcome(step),
    )
}

pub(super) fn outcome(step: &Step) -> String {
    let purpose = match step.purpose {
        Purpose::Climb | Purpose::Bisect => "",
        Purpose::Repeat => " (repeated)",
        Purpose::Confirm => " (confirmed)",
    };
    match &step.fault {
        None => format!("pass{purpose}"),
        Some(fault) => {
            let again = if step.purpose == Purpose::Repeat { " again" } else { "" };
            let kind = match fault {
                Fault::Gate(_) => "gate",
                Fault::Broken(_) => "BROKEN",
                Fault::Invalid(_) => "INVALID",
                Fault::NoRun(_) => "no run",
            };
            format!("{kind}{again}: {}", fault.reason())
        }
    }
}

fn conclusion(f: &mut fmt::Formatter<'_>, knee: &Knee) -> fmt::Result {
    let words = |value| knee.range.subject.words(value);
    let is_generator = matches!(knee.limit, Limit::Generator(_));
    let reason = knee.limit.reason().unwrap_or_default();
    match (knee.passes, knee.fails) {
        (Some(passes), Some(fails)) if is_generator => writeln!(
            f,
            "THE GENERATOR is the limit, not the server: {} pass, and at {} the run is invalid ({reason}). The server's knee \
             is higher: give this program more cores, or another machine.",
            words(passes),
            words(fails),
        )?,
        (None, Some(fails)) if is_generator => writeln!(
            f,
            "THE GENERATOR is the limit, not the server: already the run at {} is invalid ({reason}). Begin lower.",
            words(fails),
        )?,
        (Some(passes), Some(fails)) => {
            writeln!(f, "the knee is above {} and below {}: {reason}", words(passes), words(fails))?;
        }
        (None, Some(fails)) => {
            writeln!(f, "no value passes for certain: {} fail ({reason}). Begin lower.", words(fails))?;
        }
        (Some(passes), None) => {
            writeln!(f, "no knee up to {}: raise the end of the range", words(passes))?;
        }
        (None, None) => writeln!(f, "nothing was run")?,
    }
    if knee.is_called_off {
        writeln!(f, "CALLED OFF: there would have been more runs")?;
    }
    if knee.contradictions > 0 {
        writeln!(
            f,
            "{} did not pass at values where others, or higher ones, did: this machine is noisy, and the knee is not sharp.",
            plural(knee.contradictions as u64, "run"),
        )?;
    }
    Ok(())
}

impl Limit {
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Server(reason) | Self::Generator(reason) => Some(reason),
            Self::NotReached => None,
        }
    }
}
