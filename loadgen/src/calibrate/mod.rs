//! Calibration: what this program and this machine can do, and what they add by themselves.
//!
//! The ordinary run is pointed at a null sink in this process, the cheapest server there can be. What it measures there is its
//! own ceiling and its own latency: a server that seems to be beyond them was not measured.
//!
//! - `clock`: the clock and the timer
//! - `sink`: the server that does nothing
//! - `plans`: the runs that are made
//! - `table`: the result for people at a terminal

mod clock;
mod plans;
mod sink;
mod table;

use serde::{Deserialize, Serialize};

use fanfare_io::affinity;

use crate::latency::Spectrum;
use crate::plan::Plan;
use crate::report::{Environment, Report, Verdict};
use crate::run::RunError;
use crate::search::{self, Knee, Range, Subject};

pub use clock::Clock;
pub use plans::Settings;
pub use sink::NullSink;
pub use table::Table;

use plans::Plans;

/// The version of the JSON's shape.
pub(crate) const FORMAT: u32 = 1;

/// How closely the ceiling is looked for.
const PRECISION: f64 = 0.1;

/// No machine of today delivers more to one thread in a second.
const DELIVERIES_PER_SECOND_MAX: f64 = 1e9;

/// What was found out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Calibration {
    pub format: u32,
    pub environment: Environment,
    /// The messages, in words.
    pub content: String,
    /// Where the generator ran and where the sink did; `null` where the scheduler put them, on a machine with one core.
    pub generator_core: Option<usize>,
    pub sink_core: Option<usize>,
    pub clock: Clock,
    pub connect: Connects,
    pub floor: Vec<Floor>,
    /// So far apart that each message is a read of its own.
    pub paced: Load,
    /// As many as go through; `null` when not even a few did.
    pub flood: Option<Load>,
    /// How the flood was found. Its server is the sink.
    pub search: Knee,
}

/// How fast connections become ready.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Connects {
    pub connections: u64,
    pub per_second: f64,
    pub trouble: Option<String>,
}

/// Latency at a rate that keeps nobody busy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Floor {
    pub subscribers: usize,
    pub messages_per_second: f64,
    pub response_ns: Spectrum,
    /// Due to received by the last subscriber.
    pub to_last_ns: Spectrum,
    pub trouble: Option<String>,
}

/// One run, and who was busy in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Load {
    pub subscribers: usize,
    pub messages_per_second: f64,
    pub deliveries_per_second: f64,
    pub response_ns: Spectrum,
    pub generator: Busy,
    pub sink: Busy,
    /// Who had more to do, and is at its limit first.
    pub busier: Party,
    pub generator_syscalls_per_delivery: Option<f64>,
    pub trouble: Option<String>,
}

/// What deliveries cost one side. `null` when its processor time is unknown.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Busy {
    pub cpu_ns_per_delivery: Option<f64>,
    /// What one core can do at that cost.
    pub deliveries_per_second_and_core: Option<f64>,
    /// Of one core, at the rate of the run.
    pub cpu_percent: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    Generator,
    Sink,
}

/// Calibrates with the content, the bounds and the pace of `base`. `run` is the ordinary run; `say` gets a line at each step.
///
/// # Errors
/// When the sink cannot be started, or a run could not take place.
pub fn calibrate(
    base: &Plan,
    settings: &Settings,
    mut run: impl FnMut(&Plan) -> Result<Report, RunError>,
    mut say: impl FnMut(&str),
) -> Result<Calibration, String> {
    let available = affinity::cores().unwrap_or_default();
    let (generator_core, sink_core) = cores(&available, &base.place.cores);
    say("looking at the clock");
    let clock = clock::measure().map_err(|error| format!("the clock cannot be measured: {error}"))?;
    let sink = NullSink::start(sink_core).map_err(|error| format!("the null sink did not start: {error}"))?;
    let plans = Plans { base, settings, addr: sink.addr(), core: generator_core };
    let sink_cpu_ns = || sink.cpu_ns().ok();
    let mut bench = Bench { plans, sink_cpu_ns: &sink_cpu_ns, run: &mut run, say: &mut say };
    bench.measure(clock, sink_core).map_err(|error| error.to_string())
}

/// Different cores for the generator and the sink, where there are any. The generator's is the first that was `wanted`.
fn cores(available: &[usize], wanted: &[usize]) -> (Option<usize>, Option<usize>) {
    let generator = wanted.first().or_else(|| available.first()).copied();
    let sink = available.iter().copied().find(|&core| Some(core) != generator);
    if sink.is_none() { (wanted.first().copied(), None) } else { (generator, sink) }
}

/// All that it takes to run against the sink.
struct Bench<'a> {
    plans: Plans<'a>,
    sink_cpu_ns: &'a dyn Fn() -> Option<u64>,
    run: &'a mut dyn FnMut(&Plan) -> Result<Report, RunError>,
    say: &'a mut dyn FnMut(&str),
}

impl Bench<'_> {
    fn measure(&mut self, clock: Clock, sink_core: Option<usize>) -> Result<Calibration, RunError> {
        let connect = self.connect()?;
        let alone = self.plans.alone();
        let together = self.plans.together();
        let floor = vec![self.floor(&alone)?, self.floor(&together)?];
        let plan = self.plans.paced();
        let (paced, report) = self.load(&plan)?;
        let (flood, search) = self.flood()?;
        Ok(Calibration {
            format: FORMAT,
            environment: report.environment,
            content: report.run.content,
            generator_core: self.plans.core,
            sink_core,
            clock,
            connect,
            floor,
            paced,
            flood,
            search,
        })
    }

    fn connect(&mut self) -> Result<Connects, RunError> {
        let plan = self.plans.connecting();
        let report = self.report(&plan)?;
        let connect = &report.connect;
        Ok(Connects {
            connections: connect.connections,
            per_second: connect.connections as f64 / connect.seconds.max(1e-9),
            trouble: trouble(&report),
        })
    }

    fn floor(&mut self, plan: &Plan) -> Result<Floor, RunError> {
        let report = self.report(plan)?;
        Ok(Floor {
            subscribers: report.run.subscribers,
            messages_per_second: report.run.messages_per_second,
            response_ns: report.latency_ns.response,
            to_last_ns: report.latency_ns.to_last,
            trouble: trouble(&report),
        })
    }

    fn load(&mut self, plan: &Plan) -> Result<(Load, Report), RunError> {
        let before = (self.sink_cpu_ns)();
        let report = self.report(plan)?;
        let after = (self.sink_cpu_ns)();
        let used = before.zip(after).map(|(before, after)| after.saturating_sub(before));
        Ok((load(&report, used), report))
    }

    /// Raises the rate until something gives in.
    fn flood(&mut self) -> Result<(Option<Load>, Knee), RunError> {
        let subscribers = self.plans.settings.subscribers;
        let range = Range {
            subject: Subject::MessagesPerSecond,
            from: self.plans.flood_from(),
            to: DELIVERIES_PER_SECOND_MAX / subscribers as f64,
            factor: 2.0,
            precision: PRECISION,
        };
        let mut loads = Vec::new();
        let run = |messages_per_second| {
            let plan = self.plans.flood(messages_per_second);
            let (load, report) = self.load(&plan)?;
            loads.push((messages_per_second, load));
            Ok(report)
        };
        let knee = search::search(&range, run, |_| {}).map_err(RunError::Failed)?;
        if knee.is_called_off {
            return Err(RunError::CalledOff);
        }
        // The last run at that rate: the one that confirmed it.
        let best = loads.into_iter().rev().find(|&(rate, _)| Some(rate) == knee.passes);
        Ok((best.map(|(_, load)| load), knee))
    }

    fn report(&mut self, plan: &Plan) -> Result<Report, RunError> {
        (self.say)(&plan.title);
        (self.run)(plan)
    }
}

/// Why a run is not what it should be.
fn trouble(report: &Report) -> Option<String> {
    (report.verdict != Verdict::Pass).then(|| report.reasons.join("; "))
}

fn load(report: &Report, sink_used_ns: Option<u64>) -> Load {
    let deliveries = &report.deliveries;
    let generator = Busy::new(report.cost.own_cpu_ns_per_delivery, deliveries.per_second);
    // The sink's time covers the warm-up too. What it took to connect is little beside that.
    let run = &report.run;
    let all = (run.messages_warmup + run.messages_measured) as f64 / run.messages_measured.max(1) as f64;
    let sunk = deliveries.delivered as f64 * all;
    let sink_ns = sink_used_ns.filter(|_| sunk > 0.0).map(|used| used as f64 / sunk);
    let sink = Busy::new(sink_ns, deliveries.per_second);
    Load {
        subscribers: run.subscribers,
        messages_per_second: run.messages_per_second,
        deliveries_per_second: deliveries.per_second,
        response_ns: report.latency_ns.response,
        generator,
        sink,
        busier: if sink.cpu_percent > generator.cpu_percent { Party::Sink } else { Party::Generator },
        generator_syscalls_per_delivery: report.cost.own_syscalls_per_delivery,
        trouble: trouble(report),
    }
}

impl Busy {
    fn new(cpu_ns_per_delivery: Option<f64>, deliveries_per_second: f64) -> Self {
        let cost = cpu_ns_per_delivery.filter(|&ns| ns > 0.0);
        Self {
            cpu_ns_per_delivery: cost,
            deliveries_per_second_and_core: cost.map(|ns| 1e9 / ns),
            cpu_percent: cost.map(|ns| ns * deliveries_per_second / 1e7),
        }
    }
}

#[cfg(test)]
mod tests;
