//! A run from beginning to end, directed: connect, wait until all are ready, publish, drain, say goodbye.
//!
//! The director measures nothing. It tells the workers, here and on other machines, when each phase begins, and collects
//! what they observed.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use fanfare_io::{affinity, now_ns};

use crate::agents::{Agent, Part};
use crate::gather::Gathered;
use crate::observed::Observed;
use crate::party::{Order, Share, Word};
use crate::plan::Plan;
use crate::preflight;
use crate::process::{Process, SyscallCounter, Usage};
use crate::progress::{Outline, Phase, Progress, Watcher, Wish};
use crate::random::Random;
use crate::reasons::Reasons;
use crate::report::Environment;
use crate::report::seen::{RunSeen, Sample, Samples};
use crate::worker;

/// From the order to begin until the epoch: time for the order to arrive, and to look at what both processes have used.
const START_DELAY_NS: u64 = 20_000_000;
const START_DELAY_REMOTE_NS: u64 = 1_000_000_000;

/// How long before the first measured message the processor time is read.
const SAMPLE_AHEAD_NS: u64 = 1_000_000;

/// How late that may be, if somebody holds the director up.
const SAMPLE_LATE_NS_MAX: u64 = 100_000_000;

/// How often the watcher is shown the run.
const SHOW_NS: u64 = 100_000_000;

/// Why there are no figures.
#[derive(Debug)]
pub enum RunError {
    /// A machine does not allow what the plan asks for.
    Setup(String),
    /// Not enough connections became ready.
    NotReady(String),
    /// A worker could not go on.
    Failed(String),
    /// The user ended it before anything was measured.
    CalledOff,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(sentence) | Self::NotReady(sentence) | Self::Failed(sentence) => {
                f.write_str(sentence)
            }
            Self::CalledOff => f.write_str("called off before anything was measured"),
        }
    }
}

impl std::error::Error for RunError {}

/// How a run is carried out, besides its plan.
pub struct Setting<'a> {
    /// Machines that run it. Without any, this one does.
    pub agents: &'a mut [Agent],
    pub watcher: &'a mut dyn Watcher,
    pub environment: Environment,
    /// Keep the response times of each interval, for a log of histograms.
    pub keeps_log: bool,
}

/// Runs the plan.
///
/// # Errors
/// When the run could not take place.
pub fn run(plan: &Plan, setting: Setting<'_>) -> Result<RunSeen, RunError> {
    let Setting { agents, watcher, environment, keeps_log } = setting;
    let probes = Probes::new(plan)?;
    let idle = probes.sample();
    let cores: Vec<usize> = match &*agents {
        [] => vec![affinity::cores().map_or(1, |cores| cores.len())],
        agents => agents.iter().map(Agent::cores).collect(),
    };
    let (crew, words) = hire(plan, agents)?;
    // Only now: the workers' cores were looked for among all.
    let _confined = Confined::to(plan.place.cores.first().copied().filter(|_| agents.is_empty()))?;
    let machines = agents.len().max(1);
    let mut director = Director::new(plan, machines, crew, words, probes, watcher);
    director.connect()?;
    let ready = director.probes.sample();
    for agent in agents.iter_mut() {
        agent.synchronize().map_err(RunError::Failed)?;
    }
    director.begin(if agents.is_empty() { START_DELAY_NS } else { START_DELAY_REMOTE_NS }, keeps_log);
    let begun = director.publish()?;
    let published = director.probes.sample();
    let sent = director.drain()?;
    let drained = director.probes.sample();
    director.close()?;

    let samples = Samples { idle, ready, begun, published, drained };
    let own_cpu_percent = director.busiest_core_percent(&cores);
    let own_waited_percent = director.waited_percent;
    let stopped_at_ns = director.is_stopping.then(|| published.at_ns.saturating_sub(director.epoch));
    let clocks = agents.iter_mut().map(Agent::clock).collect::<Result<_, _>>().map_err(RunError::Failed)?;
    let (connections_ready, unready) = director.connections();
    Ok(RunSeen {
        environment,
        samples,
        ready: connections_ready,
        unready,
        sent: plan.schedule.measured_of(&sent),
        stopped_at_ns,
        own_cpu_percent,
        own_waited_percent,
        server_syscalls_unknown: director
            .probes
            .syscalls
            .as_ref()
            .and_then(|counter| counter.as_ref().err().cloned()),
        clocks,
        workers: director.crew.members.len(),
        machines,
        gathered: director.gathered.take().expect("the run has begun"),
    })
}

/// The server's process.
struct Probes {
    server: Option<Process>,
    /// Of the server, or why they cannot be counted. `None` without a server to look at.
    syscalls: Option<Result<SyscallCounter, String>>,
}

impl Probes {
    fn new(plan: &Plan) -> Result<Self, RunError> {
        let server = plan.server.pid.map(Process::with_pid);
        if let Some(server) = &server {
            server.usage().map_err(|error| RunError::Setup(format!("--server-pid: {error}")))?;
        }
        let syscalls = plan.server.pid.map(|pid| match plan.server.syscalls {
            true => SyscallCounter::of(pid),
            false => Err("not asked for; --server-syscalls counts them".to_owned()),
        });
        Ok(Self { server, syscalls })
    }

    fn sample(&self) -> Sample {
        let server = self.server.as_ref().and_then(|server| server.usage().ok()).map(|usage| {
            let syscalls = self.syscalls.as_ref().and_then(|counter| counter.as_ref().ok()?.count().ok());
            Usage { syscalls, ..usage }
        });
        Sample { at_ns: now_ns(), server }
    }
}

/// The workers of a run, on this machine or on others.
struct Crew {
    members: Vec<Member>,
    /// Those of this machine.
    threads: Vec<JoinHandle<()>>,
}

struct Member {
    /// When this is dropped the worker is called off.
    orders: Option<Sender<Order>>,
    machine: usize,
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.members.clear();
        for thread in self.threads.drain(..) {
            // A worker that panicked has said why on standard error.
            let _ = thread.join();
        }
    }
}

/// Keeps the director off other cores than the workers', one of which may be the server's, for as long as a run lasts.
struct Confined(Option<Vec<usize>>);

impl Confined {
    fn to(core: Option<usize>) -> Result<Self, RunError> {
        let Some(core) = core else { return Ok(Self(None)) };
        let before = affinity::cores().and_then(|before| affinity::pin(core).map(|()| before));
        before
            .map(|before| Self(Some(before)))
            .map_err(|error| RunError::Setup(format!("core {core}: {error}")))
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // It was allowed before.
            let _ = affinity::confine(before);
        }
    }
}

type Words = Receiver<(usize, Word)>;

/// Starts all workers.
fn hire(plan: &Plan, agents: &mut [Agent]) -> Result<(Crew, Words), RunError> {
    let random = Random::from_kernel().map_err(|error| RunError::Setup(error.to_string()));
    let run = random?.number() as u16;
    let connections = plan.rooms.subscribers + plan.rooms.publishers;
    let (words, heard) = mpsc::channel();
    let mut crew = Crew { members: Vec::new(), threads: Vec::new() };
    if agents.is_empty() {
        let cores = preflight::workers(plan, connections).map_err(RunError::Setup)?;
        let plan = Arc::new(plan.clone());
        for (index, &core) in cores.iter().enumerate() {
            let (orders, given) = mpsc::channel();
            let share = Share { index, count: cores.len(), run, core };
            crew.threads.push(worker::spawn(plan.clone(), share, given, words.clone()));
            crew.members.push(Member { orders: Some(orders), machine: 0 });
        }
        return Ok((crew, heard));
    }
    // Connections are dealt to workers, so a machine with more workers gets more of them.
    let each = connections.div_ceil(agents.len());
    let workers: Vec<usize> = agents
        .iter_mut()
        .map(|agent| agent.workers_for(plan, each))
        .collect::<Result<_, _>>()
        .map_err(RunError::Setup)?;
    let total = workers.iter().sum();
    let mut first = 0;
    for (machine, (agent, workers)) in agents.iter_mut().zip(workers).enumerate() {
        let part = Part { first, workers, count: total, run };
        let orders = agent.begin(plan, part, words.clone()).map_err(RunError::Setup)?;
        crew.members.extend(orders.into_iter().map(|orders| Member { orders: Some(orders), machine }));
        first += workers;
    }
    Ok((crew, heard))
}

/// What the director knows of one worker.
#[derive(Default)]
struct Standing {
    ready: u64,
    failed: Reasons,
    lost: u64,
    /// Of a core, in its last interval.
    cpu_percent: f64,
    is_connected: bool,
    has_published: bool,
    has_drained: bool,
    is_done: bool,
}

struct Director<'a> {
    plan: &'a Plan,
    outline: Outline<'a>,
    crew: Crew,
    words: Words,
    watcher: &'a mut dyn Watcher,
    probes: Probes,
    standings: Vec<Standing>,
    steady_by_room: Vec<u32>,
    /// By publisher, as far as it is known.
    sent: Vec<u32>,
    gathered: Option<Gathered>,
    /// Of a core while publishing, by machine and core; `None` for workers that are on no core of their own.
    cpu_percent: HashMap<(usize, Option<usize>), Vec<f64>>,
    /// How long the worst worker waited for its core while it published, in percent of that time.
    waited_percent: f64,
    phase: Phase,
    /// All times are of this machine's monotonic clock.
    connecting_since: u64,
    connected_at: u64,
    epoch: u64,
    shown_at: u64,
    /// When the server is looked at next for the time line.
    sample_at: u64,
    is_stopping: bool,
}

impl<'a> Director<'a> {
    fn new(
        plan: &'a Plan,
        machines: usize,
        crew: Crew,
        words: Words,
        probes: Probes,
        watcher: &'a mut dyn Watcher,
    ) -> Self {
        let workers = crew.members.len();
        Self {
            outline: Outline::new(plan, machines, workers),
            standings: (0..workers).map(|_| Standing::default()).collect(),
            steady_by_room: vec![0; plan.rooms.count],
            sent: vec![0; plan.rooms.publishers],
            plan,
            crew,
            words,
            watcher,
            probes,
            gathered: None,
            cpu_percent: HashMap::new(),
            waited_percent: 0.0,
            phase: Phase::Connecting,
            connecting_since: now_ns(),
            connected_at: 0,
            epoch: 0,
            shown_at: 0,
            sample_at: u64::MAX,
            is_stopping: false,
        }
    }

    /// Returns when all connections are ready, or enough of them.
    fn connect(&mut self) -> Result<(), RunError> {
        self.show()?;
        while !self.standings.iter().all(|worker| worker.is_connected) {
            self.hear(u64::MAX)?;
        }
        self.connected_at = now_ns();
        let (ready, failed) = self.connections();
        let total = (self.plan.rooms.subscribers + self.plan.rooms.publishers) as u64;
        let unready_percent = (total - ready) as f64 * 100.0 / total as f64;
        if unready_percent <= self.plan.bounds.unready_percent && self.steady_by_room.iter().sum::<u32>() > 0
        {
            return Ok(());
        }
        let ready = format!("{ready} of {total} connections became ready");
        Err(RunError::NotReady(match failed.total() {
            0 => format!("{ready}, and the server answered no more"),
            _ => format!("{ready}: {failed}"),
        }))
    }

    /// How many connections are ready, and why others are not.
    fn connections(&self) -> (u64, Reasons) {
        let mut failed = Reasons::default();
        self.standings.iter().for_each(|worker| failed.merge(&worker.failed));
        (self.standings.iter().map(|worker| worker.ready).sum(), failed)
    }

    /// Sets the epoch.
    fn begin(&mut self, delay_ns: u64, keeps_log: bool) {
        let gathered = Gathered::new(self.plan, self.standings.len(), self.steady_by_room.clone());
        self.gathered = Some(if keeps_log { gathered.with_log() } else { gathered });
        self.epoch = now_ns() + delay_ns;
        self.sample_at = self.epoch;
        self.enter(Phase::WarmingUp);
        self.order(&Order::Start { epoch_ns: self.epoch });
    }

    /// Returns when all have published, with the sample from before the first measured message.
    fn publish(&mut self) -> Result<Sample, RunError> {
        let measured_from = self.epoch + self.plan.schedule.measured_from();
        let mut begun = None;
        while !self.standings.iter().all(|worker| worker.has_published) {
            let now = now_ns();
            if begun.is_none() && now >= measured_from - SAMPLE_AHEAD_NS {
                let sample = self.probes.sample();
                // A cost from a window that is not the deliveries' would be none.
                let is_late = now > measured_from + SAMPLE_LATE_NS_MAX;
                begun = Some(Sample { server: sample.server.filter(|_| !is_late), ..sample });
            }
            if self.phase == Phase::WarmingUp && now >= measured_from {
                self.enter(Phase::Measuring);
            }
            self.hear(if begun.is_none() { measured_from - SAMPLE_AHEAD_NS } else { u64::MAX })?;
        }
        // Without publishers left, the run may be over before the measurement began.
        Ok(begun.unwrap_or_else(|| self.probes.sample()))
    }

    /// Returns when what was sent has arrived, or will not, with how much each publisher sent.
    fn drain(&mut self) -> Result<Vec<u32>, RunError> {
        self.enter(Phase::Draining);
        let sent = self.sent.clone();
        self.order(&Order::Drain { sent: sent.clone() });
        while !self.standings.iter().all(|worker| worker.has_drained) {
            self.hear(u64::MAX)?;
        }
        Ok(sent)
    }

    /// Returns when all have said their last word.
    fn close(&mut self) -> Result<(), RunError> {
        self.enter(Phase::Closing);
        self.order(&Order::Close);
        while !self.standings.iter().all(|worker| worker.is_done) {
            self.hear(u64::MAX)?;
        }
        if let Some(gathered) = &mut self.gathered {
            gathered.finish();
        }
        Ok(())
    }

    fn order(&self, order: &Order) {
        for member in &self.crew.members {
            // A worker that is gone has said why, or its agent has.
            let _ = member.orders.as_ref().map(|orders| orders.send(order.clone()));
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        // So that the watcher sees every phase, however short.
        self.shown_at = 0;
    }

    /// Waits for a word, but not beyond `until`, and meanwhile shows the run.
    fn hear(&mut self, until: u64) -> Result<(), RunError> {
        let now = now_ns();
        if now >= self.shown_at + SHOW_NS {
            self.shown_at = now;
            self.show()?;
        }
        if let Some(gathered) = &mut self.gathered
            && now >= self.sample_at
        {
            gathered.sampled(Duration::from_nanos(now - self.epoch), &self.probes.sample());
            let interval_ns = self.plan.interval.as_nanos() as u64;
            self.sample_at += (now - self.sample_at) / interval_ns * interval_ns + interval_ns;
        }
        let wait = until.min(self.sample_at).min(now + SHOW_NS).saturating_sub(now_ns());
        match self.words.recv_timeout(Duration::from_nanos(wait)) {
            Ok((worker, word)) => self.take(worker, word),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err(RunError::Failed("all workers are gone".to_owned())),
        }
    }

    fn take(&mut self, worker: usize, word: Word) -> Result<(), RunError> {
        let standing = &mut self.standings[worker];
        match word {
            Word::Connecting { ready, failed } => (standing.ready, standing.failed) = (ready, failed),
            Word::Connected { ready, failed, steady_by_room } => {
                (standing.ready, standing.failed, standing.is_connected) = (ready, failed, true);
                self.steady_by_room.iter_mut().zip(steady_by_room).for_each(|(all, part)| *all += part);
            }
            Word::Interval(interval) => {
                standing.lost = interval.lost;
                let per_second = 1e9 / self.plan.interval.as_nanos() as f64;
                standing.cpu_percent = interval.cpu_ns as f64 * per_second / 1e7;
                if let Some(gathered) = &mut self.gathered {
                    gathered.interval(worker, *interval);
                }
            }
            Word::Published { sent } => {
                standing.has_published = true;
                self.sent.iter_mut().zip(sent).for_each(|(all, part)| *all += part);
            }
            Word::Drained => standing.has_drained = true,
            Word::Done(observed) => {
                standing.is_done = true;
                self.done(worker, &observed);
            }
            Word::Failed(sentence) => return Err(RunError::Failed(sentence)),
        }
        Ok(())
    }

    fn done(&mut self, worker: usize, observed: &Observed) {
        let machine = self.crew.members[worker].machine;
        let percent = observed.publishing_cpu_ns as f64 * 100.0 / observed.publishing_ns.max(1) as f64;
        let waited = observed.waited_ns as f64 * 100.0 / observed.publishing_ns.max(1) as f64;
        self.waited_percent = self.waited_percent.max(waited);
        self.cpu_percent.entry((machine, observed.core)).or_default().push(percent);
        if let Some(gathered) = &mut self.gathered {
            gathered.observed(worker, observed);
        }
    }

    /// Of the core that workers used most while they published. `cores` says how many each machine has for them.
    fn busiest_core_percent(&self, cores: &[usize]) -> f64 {
        let busy = self.cpu_percent.iter().map(|(&(machine, core), workers)| {
            let sum: f64 = workers.iter().sum();
            match core {
                Some(_) => sum,
                // One thread uses one core at a time, and all together have no more than there are.
                None => workers.iter().copied().fold(sum / cores[machine].max(1) as f64, f64::max),
            }
        });
        busy.fold(0.0, f64::max)
    }

    fn show(&mut self) -> Result<(), RunError> {
        let now = now_ns();
        let (connections_ready, failed) = self.connections();
        let so_far = self.gathered.as_ref().map(Gathered::so_far).unwrap_or_default();
        let busiest = self.standings.iter().map(|worker| worker.cpu_percent).fold(0.0, f64::max);
        let connecting_until = if self.connected_at > 0 { self.connected_at } else { now };
        let progress = Progress {
            outline: self.outline,
            phase: self.phase,
            connecting_ns: connecting_until - self.connecting_since,
            elapsed_ns: if self.epoch > 0 { now.saturating_sub(self.epoch) } else { 0 },
            connections_ready,
            connections_total: self.outline.subscribers + self.outline.publishers,
            failed: &failed,
            lost: self.standings.iter().map(|worker| worker.lost).sum(),
            sent: so_far.sent,
            delivered: so_far.delivered,
            rows: self.gathered.as_ref().map_or(&[], |gathered| gathered.rows()),
            response: self
                .gathered
                .as_ref()
                .map(|gathered| gathered.response().spectrum())
                .unwrap_or_default(),
            send_lag: self
                .gathered
                .as_ref()
                .map(|gathered| gathered.own_lag().spectrum())
                .unwrap_or_default(),
            own_cpu_percent: self.gathered.is_some().then_some(busiest),
        };
        if self.watcher.show(&progress) == Wish::Stop && !self.is_stopping {
            if self.phase == Phase::Connecting {
                return Err(RunError::CalledOff);
            }
            self.is_stopping = true;
            self.order(&Order::Stop);
        }
        Ok(())
    }
}
