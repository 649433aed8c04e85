//! A run from beginning to end: connect, wait until all are ready, publish, drain, say goodbye, judge.

use std::fmt;
use std::io;
use std::time::Duration;

use fanfare_io::{Wait, affinity, limits};
use fanfare_wire::frame::Opcode;

use crate::connections::{Connections, Lost};
use crate::latency::Latency;
use crate::payload::Format;
use crate::plan::Plan;
use crate::proc_stat::{Process, Usage};
use crate::publishers::Publishers;
use crate::random::Random;
use crate::table::plural;
use crate::tally::{Counts, Tally};

/// From ready to the first message: time to look at what both processes have used until then.
const START_DELAY_NS: u64 = 20_000_000;

/// How long before the first measured message the processor time is read.
const SAMPLE_AHEAD_NS: u64 = 1_000_000;

/// How long servers may take for the closing handshakes.
const GOODBYE: Duration = Duration::from_secs(5);

/// Why there are no figures.
#[derive(Debug)]
pub enum RunError {
    /// The machine does not allow what the plan asks for.
    Setup(String),
    /// Not all connections became ready.
    NotReady(String),
    /// The ring broke.
    Ring(io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(sentence) | Self::NotReady(sentence) => f.write_str(sentence),
            Self::Ring(error) => write!(f, "the kernel failed the ring: {error}"),
        }
    }
}

impl std::error::Error for RunError {}

impl From<io::Error> for RunError {
    fn from(error: io::Error) -> Self {
        Self::Ring(error)
    }
}

/// What both processes had used at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The driver's time.
    pub at: u64,
    pub own: Usage,
    /// `None` when no process was named, or when it is gone.
    pub server: Option<Usage>,
}

/// Everything that was observed.
#[derive(Debug)]
pub struct Observed {
    /// Before the first connection, and when all were ready.
    pub idle: Sample,
    pub ready: Sample,
    /// Just before the first measured message, after the last one was sent, and after the last delivery.
    pub begun: Sample,
    pub published: Sample,
    pub drained: Sample,
    /// How many measured messages were sent.
    pub sent: u64,
    pub counts: Counts,
    /// When the last measured message reached a subscriber for the first time, in the driver's time.
    pub last_delivery: u64,
    pub lost: Lost,
    pub latencies: Latencies,
}

#[derive(Debug)]
pub struct Latencies {
    pub response: Latency,
    pub service: Latency,
    pub send_lag: Latency,
    pub to_first: Latency,
    pub to_last: Latency,
    pub spread: Latency,
}

/// Runs the plan on this thread. `progress` gets a line at each step.
///
/// # Errors
/// When the run could not take place.
pub fn run(plan: &Plan, mut progress: impl FnMut(&str)) -> Result<Observed, RunError> {
    let probes = Probes { own: Process::own(), server: plan.server_pid.map(Process::with_pid) };
    if let Some(server) = &probes.server {
        server.usage().map_err(|error| RunError::Setup(format!("--server-pid: {error}")))?;
    }
    let mut connections = set_up(plan)?;
    let idle = probes.sample(connections.now())?;

    progress(&format!(
        "connecting {} and {} to {}",
        plural(plan.targets.subscribers, "subscriber"),
        plural(plan.targets.publishers, "publisher"),
        plan.targets.remote
    ));
    connect(&mut connections)?;
    let ready = probes.sample(connections.now())?;

    progress(&format!(
        "ready after {:.2} s; publishing {} messages",
        (ready.at - idle.at) as f64 / 1e9,
        plan.schedule.total()
    ));
    let mut run = Run::new(plan, connections, probes)?;
    let begun = run.publish()?;
    let published = run.probes.sample(run.connections.now())?;
    run.drain(plan.drain)?;
    let drained = run.probes.sample(run.connections.now())?;
    let lost = run.connections.lost().clone();
    progress("closing");
    run.say_goodbye()?;

    let Run { publishers, tally, epoch, .. } = run;
    let sent = publishers.sent();
    Ok(Observed {
        idle,
        ready,
        begun,
        published,
        drained,
        sent: publishers.sent_measured(),
        counts: tally.counts(&sent),
        last_delivery: epoch + tally.last_delivery(),
        lost,
        latencies: Latencies {
            response: tally.response,
            service: tally.service,
            send_lag: publishers.lag,
            to_first: tally.broadcast.to_first,
            to_last: tally.broadcast.to_last,
            spread: tally.broadcast.spread,
        },
    })
}

/// The two processes that are looked at.
#[derive(Debug)]
struct Probes {
    own: Process,
    server: Option<Process>,
}

impl Probes {
    fn sample(&self, at: u64) -> io::Result<Sample> {
        let server = self.server.as_ref().and_then(|server| server.usage().ok());
        Ok(Sample { at, own: self.own.usage()?, server })
    }
}

fn set_up(plan: &Plan) -> Result<Connections, RunError> {
    if let Some(core) = plan.core {
        affinity::pin(core).map_err(|error| RunError::Setup(format!("--core {core}: {error}")))?;
    }
    let wanted = (plan.targets.subscribers + plan.targets.publishers) as u64;
    // Refused in some sandboxes, where the limit that holds may still be enough.
    let allowed = limits::raise_open_files().or_else(|_| limits::open_files())?.soft;
    if wanted > allowed {
        return Err(RunError::Setup(format!(
            "{wanted} connections need a limit of as many open files, and it is {allowed}: raise it with ulimit -n \
             {wanted}, or LimitNOFILE in a systemd unit"
        )));
    }
    Connections::new(plan.targets.clone(), plan.pace).map_err(|error| RunError::Setup(error.to_string()))
}

/// Makes all connections, and returns when every handshake is done.
fn connect(connections: &mut Connections) -> Result<(), RunError> {
    loop {
        connections.connect_more();
        let connector = connections.connector();
        let now = connections.now();
        if connector.is_done() || connector.is_stuck(now) {
            break;
        }
        let wait = Wait::Until(connector.wake_at(now));
        // Other publishers of the topic may be at work already.
        connections.turn(wait, &mut |_, _, _| {})?;
    }
    let connector = connections.connector();
    if connector.ready() == connector.total() {
        return Ok(());
    }
    let ready = format!("{} of {} connections became ready", connector.ready(), connector.total());
    Err(RunError::NotReady(match connector.failed().total() {
        0 => format!("{ready}, and the server answered no more"),
        _ => format!("{ready}: {}", connector.failed()),
    }))
}

/// The run once all connections stand.
struct Run {
    connections: Connections,
    publishers: Publishers,
    tally: Tally,
    probes: Probes,
    epoch: u64,
    /// When the first measured message is due, in the driver's time.
    measured_from: u64,
    subscribers: usize,
}

impl Run {
    fn new(plan: &Plan, connections: Connections, probes: Probes) -> io::Result<Self> {
        let mut random = Random::from_kernel()?;
        let format = Format::new(random.next() as u16, plan.size);
        let opcode = if plan.text { Opcode::Text } else { Opcode::Binary };
        let epoch = connections.now() + START_DELAY_NS;
        let subscribers = plan.targets.subscribers;
        Ok(Self {
            connections,
            publishers: Publishers::new(plan.schedule, format.clone(), opcode, random, epoch),
            tally: Tally::new(format, plan.schedule, subscribers),
            probes,
            epoch,
            measured_from: epoch + plan.schedule.intended(plan.schedule.warmup()),
            subscribers,
        })
    }

    fn turn(&mut self, wait: Wait) -> io::Result<()> {
        let Self { connections, tally, epoch, .. } = self;
        connections.turn(wait, &mut |subscriber, payload, now| {
            // Nothing of this run arrives before the epoch.
            tally.receive(subscriber, payload, now.saturating_sub(*epoch));
        })
    }

    /// Sends the whole schedule. Returns the sample from before the first measured message.
    fn publish(&mut self) -> io::Result<Sample> {
        let sample_at = self.measured_from - SAMPLE_AHEAD_NS;
        let mut begun = None;
        loop {
            let now = self.connections.now();
            if begun.is_none() && now >= sample_at {
                begun = Some(self.probes.sample(now)?);
            }
            let wait = self.publishers.publish(&mut self.connections, now);
            if self.publishers.is_done(&self.connections) {
                break;
            }
            self.turn(match (wait, begun) {
                (Wait::Until(at), None) => Wait::Until(at.min(sample_at)),
                (wait, _) => wait,
            })?;
        }
        // Hands over what was queued last.
        self.turn(Wait::No)?;
        // Without publishers left, the run may be over before the measurement began.
        begun.map_or_else(|| self.probes.sample(self.connections.now()), Ok)
    }

    /// Waits until every message has reached every subscriber, but not forever.
    fn drain(&mut self, at_most: Duration) -> io::Result<()> {
        let expected = self.publishers.sent_measured() * self.subscribers as u64;
        let deadline = after(self.connections.now(), at_most);
        while self.tally.delivered() < expected
            && self.connections.lost().subscribers < self.subscribers
            && self.connections.now() < deadline
        {
            self.turn(Wait::Until(deadline))?;
        }
        Ok(())
    }

    /// Closes all connections in order. What arrives until then still counts.
    fn say_goodbye(&mut self) -> io::Result<()> {
        self.connections.say_goodbye();
        let deadline = after(self.connections.now(), GOODBYE);
        while self.connections.alive() > 0 && self.connections.now() < deadline {
            self.turn(Wait::Until(deadline))?;
        }
        Ok(())
    }
}

/// The driver's time so long after `now`, or the end of time.
fn after(now: u64, span: Duration) -> u64 {
    now.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}
