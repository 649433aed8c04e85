//! One worker: a thread with its ring, and its share of the run's connections.
//!
//! It connects, publishes what the schedule says of its publishers, checks what its subscribers receive, and tells the
//! director at each step. See [`party`](crate::party) for the words.
//!
//! - `publishers`: sends what is due
//! - `behaviour`: what subscribers do besides reading

mod behaviour;
mod publishers;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fanfare_io::{Wait, affinity};

use crate::connections::{Audience, Connections};
use crate::dialect::Resumed;
use crate::figures::time;
use crate::observed::Observed;
use crate::party::{Order, Share, Word};
use crate::payload::Format;
use crate::plan::{Plan, Reader};
use crate::process::{thread_cpu_ns, thread_waited_ns};
use crate::tally::Tally;
use behaviour::Behaviour;
use publishers::Publishers;

/// How often the director hears of connections that became ready.
const CONNECTING_NS: u64 = 100_000_000;

/// How often a worker looks for an order: soon when it waits for one, seldom while it measures.
const LOOK_SOON_NS: u64 = 1_000_000;
const LOOK_SELDOM_NS: u64 = 100_000_000;

/// How long servers may take for the closing handshakes.
const GOODBYE_NS: u64 = 5_000_000_000;

/// Why a worker ends early.
enum Stopped {
    /// The director hung up.
    CalledOff,
    /// It cannot go on; a sentence.
    Failed(String),
}

impl From<std::io::Error> for Stopped {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(format!("the kernel failed the ring: {error}"))
    }
}

/// The director's end of the line.
struct Line {
    index: usize,
    orders: Receiver<Order>,
    words: Sender<(usize, Word)>,
}

impl Line {
    fn say(&self, word: Word) {
        // A director that is gone is noticed when the next order is looked for.
        let _ = self.words.send((self.index, word));
    }

    fn look(&self) -> Result<Option<Order>, Stopped> {
        match self.orders.try_recv() {
            Ok(order) => Ok(Some(order)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Stopped::CalledOff),
        }
    }
}

/// Starts a worker. It ends when it has said [`Word::Done`] or [`Word::Failed`], or when the orders hang up.
///
/// # Panics
/// When the system has no more threads.
pub fn spawn(
    plan: Arc<Plan>,
    share: Share,
    orders: Receiver<Order>,
    words: Sender<(usize, Word)>,
) -> JoinHandle<()> {
    let work = move || {
        let line = Line { index: share.index, orders, words };
        let worked = panic::catch_unwind(AssertUnwindSafe(|| work(plan, share, &line)));
        match worked {
            Ok(Ok(observed)) => line.say(Word::Done(Box::new(observed))),
            Ok(Err(Stopped::Failed(sentence))) => line.say(Word::Failed(sentence)),
            Ok(Err(Stopped::CalledOff)) => {}
            Err(_) => line.say(Word::Failed("a worker panicked; standard error says where".to_owned())),
        }
    };
    thread::Builder::new()
        .name(format!("worker {}", share.index))
        .spawn(work)
        .expect("a thread for each worker")
}

fn work(plan: Arc<Plan>, share: Share, line: &Line) -> Result<Observed, Stopped> {
    if let Some(core) = share.core {
        affinity::pin(core).map_err(|error| Stopped::Failed(format!("core {core}: {error}")))?;
    }
    let format = Format::new(share.run, &plan.content);
    let mut connections = Connections::new(plan.clone(), share).map_err(Stopped::Failed)?;
    connect(&mut connections, line)?;
    let epoch = wait_for_start(&mut connections, &plan, line)?;
    let tally =
        Tally::new(&plan, &share, format.clone(), |subscriber| connections.is_subscriber_ready(subscriber));
    let mut worker = Worker {
        behaviour: Behaviour::new(&plan, &connections, epoch),
        publishers: Publishers::new(plan.schedule, share, format, epoch),
        measuring: Measuring { tally, epoch, storm_at: None },
        connections,
        line,
        epoch,
        interval_ns: plan.interval.as_nanos() as u64,
        intervals: 0,
        connected: 0,
        cpu_ns: thread_cpu_ns(),
        core: share.core,
        begun: None,
        published: None,
        drained: None,
        plan,
    };
    let sent = worker.publish()?;
    worker.drain(&sent)?;
    worker.finish(&sent)
}

/// Makes all connections: returns when every one is ready or has failed, or when the server answers no more.
fn connect(connections: &mut Connections, line: &Line) -> Result<(), Stopped> {
    let mut told_at = connections.now();
    loop {
        connections.connect_more();
        let now = connections.now();
        connections.heartbeat(now);
        if connections.connector().is_done() || connections.connector().is_stuck(now) {
            return Ok(());
        }
        if now >= told_at + CONNECTING_NS {
            told_at = now;
            let connector = connections.connector();
            line.say(Word::Connecting { ready: connector.ready(), failed: connector.failed().clone() });
            line.look()?;
        }
        let look_at = now + CONNECTING_NS;
        let wake_at = connections.connector().wake_at(now).map_or(look_at, |at| at.min(look_at));
        // Other publishers of the topic may be at work already.
        connections.turn(Wait::Until(wake_at), &mut Nobody)?;
    }
}

/// Tells the director how many connections are ready, and returns the epoch in the driver's time.
fn wait_for_start(connections: &mut Connections, plan: &Plan, line: &Line) -> Result<u64, Stopped> {
    let mut steady_by_room = vec![0; plan.rooms.count];
    for subscriber in 0..connections.subscribers() {
        if connections.is_subscriber_ready(subscriber) && connections.reader(subscriber) == Reader::Steady {
            steady_by_room[connections.room(subscriber)] += 1;
        }
    }
    let connector = connections.connector();
    line.say(Word::Connected {
        ready: connector.ready(),
        failed: connector.failed().clone(),
        steady_by_room,
    });
    loop {
        if let Some(Order::Start { epoch_ns }) = line.look()? {
            let late_ns = connections.now().saturating_sub(epoch_ns);
            // Others have begun to publish, and nobody counted here what came of that.
            return if late_ns == 0 {
                Ok(epoch_ns)
            } else {
                Err(Stopped::Failed(format!("a worker began {} too late", time(late_ns))))
            };
        }
        let now = connections.now();
        connections.heartbeat(now);
        connections.turn(Wait::Until(now + LOOK_SOON_NS), &mut Nobody)?;
    }
}

/// Nothing is measured yet.
struct Nobody;

impl Audience for Nobody {
    fn message(&mut self, _: usize, _: &[u8], _: u64) {}
    fn gap(&mut self, _: usize, _: Option<u64>, _: u64) {}
    fn lost(&mut self, _: usize, _: String) {}
    fn left(&mut self, _: usize) {}
    fn returned(&mut self, _: usize, _: Option<Resumed>, _: u64, _: u64) {}
    fn caught_up(&mut self, _: usize, _: u64, _: u64) {}
}

/// The tally, in the driver's time.
pub(crate) struct Measuring {
    tally: Tally,
    epoch: u64,
    /// When all who return left at once.
    storm_at: Option<u64>,
}

impl Measuring {
    /// All who paused read again.
    pub(crate) fn resume(&mut self, now: u64) {
        self.tally.resume(now - self.epoch);
    }

    /// All who return leave at once.
    pub(crate) fn storm(&mut self, now: u64) {
        self.storm_at = Some(now);
    }

    /// Whoever could not recover has nothing to catch up with.
    fn look_who_caught_up(&mut self, now: u64) {
        let others = self.tally.others();
        if others.recovered > 0 && others.recovery.count() + others.recoveries_failed == others.left {
            others.all_caught_up_ns = self.storm_at.map(|at| now - at);
        }
    }
}

impl Audience for Measuring {
    #[inline]
    fn message(&mut self, subscriber: usize, payload: &[u8], now: u64) {
        // Nothing of this run arrives before the epoch.
        self.tally.receive(subscriber, payload, now.saturating_sub(self.epoch));
    }

    fn gap(&mut self, subscriber: usize, messages: Option<u64>, now: u64) {
        self.tally.announce(subscriber, messages, now.saturating_sub(self.epoch));
    }

    fn lost(&mut self, subscriber: usize, reason: String) {
        self.tally.lost(subscriber, reason);
    }

    fn left(&mut self, subscriber: usize) {
        self.tally.left(subscriber);
        self.tally.others().left += 1;
    }

    fn returned(&mut self, subscriber: usize, resumed: Option<Resumed>, after_ns: u64, now: u64) {
        self.tally.returned(subscriber, resumed, now.saturating_sub(self.epoch));
        let others = self.tally.others();
        others.returned += 1;
        others.reconnect.record(after_ns);
        if others.returned == others.left {
            others.all_back_ns = self.storm_at.map(|at| now - at);
        }
        self.look_who_caught_up(now);
    }

    fn caught_up(&mut self, _: usize, after_ns: u64, now: u64) {
        self.tally.others().recovery.record(after_ns);
        self.look_who_caught_up(now);
    }
}

/// All leave.
struct Farewell<'a>(&'a mut Tally);

impl Audience for Farewell<'_> {
    fn message(&mut self, subscriber: usize, payload: &[u8], _: u64) {
        self.0.receive_late(subscriber, payload);
    }

    fn gap(&mut self, _: usize, _: Option<u64>, _: u64) {}

    fn lost(&mut self, subscriber: usize, reason: String) {
        self.0.lost(subscriber, reason);
    }

    fn left(&mut self, _: usize) {}
    fn returned(&mut self, _: usize, _: Option<Resumed>, _: u64, _: u64) {}
    fn caught_up(&mut self, _: usize, _: u64, _: u64) {}
}

/// What the worker had used at one moment.
#[derive(Clone, Copy, Default)]
struct Used {
    /// The driver's time.
    at: u64,
    cpu_ns: u64,
    waited_ns: u64,
    enters: u64,
}

struct Worker<'a> {
    plan: Arc<Plan>,
    line: &'a Line,
    connections: Connections,
    publishers: Publishers,
    behaviour: Behaviour,
    measuring: Measuring,
    /// The run's epoch in the driver's time.
    epoch: u64,
    interval_ns: u64,
    /// How many rows of the time line have ended.
    intervals: u32,
    /// Connections that stood when all was over.
    connected: u64,
    /// Processor time of the thread when the last one did.
    cpu_ns: u64,
    core: Option<usize>,
    /// When the measurement began, when this worker had published all, and when all was delivered.
    begun: Option<Used>,
    published: Option<Used>,
    drained: Option<Used>,
}

impl Worker<'_> {
    /// Publishes the schedule, and returns when the director says how much all publishers sent.
    fn publish(&mut self) -> Result<Vec<u32>, Stopped> {
        let end = self.epoch + self.plan.schedule.end();
        let given_up_at = after(end, self.plan.drain);
        let mut look_at = self.epoch;
        loop {
            let now = self.connections.now();
            let wait = self.publishers.publish(&mut self.connections, &mut self.measuring.tally, now);
            if now >= given_up_at {
                // A server that takes no more from a publisher must not hold up the end of the run.
                self.publishers.stop();
            }
            let is_over =
                self.publishers.is_done() && now >= end || self.publishers.is_cut_short(&self.connections);
            if is_over && self.published.is_none() {
                // Hands over what was queued last.
                self.turn(Wait::No, now)?;
                self.published = Some(self.used());
                self.line.say(Word::Published { sent: self.publishers.sent() });
                look_at = now;
            }
            if now >= look_at {
                look_at = now + if self.published.is_some() { LOOK_SOON_NS } else { LOOK_SELDOM_NS };
                match self.line.look()? {
                    Some(Order::Drain { sent }) => return Ok(sent),
                    Some(Order::Stop) => self.publishers.stop(),
                    Some(Order::Start { .. } | Order::Close) | None => {}
                }
            }
            let next = if now < end { look_at.min(end) } else { look_at };
            self.turn(sooner(wait, next), now)?;
        }
    }

    /// Waits until every message has reached every subscriber, but not forever. Returns when the director says to close.
    fn drain(&mut self, sent: &[u32]) -> Result<(), Stopped> {
        let expected = self.measuring.tally.expected(sent);
        let deadline = after(self.connections.now(), self.plan.drain);
        let mut is_told = false;
        loop {
            let now = self.connections.now();
            let is_whole = self.measuring.tally.delivered() >= expected
                && !self.measuring.tally.is_any_behind()
                && !self.connections.connector().is_any_away()
                && !self.measuring.tally.is_any_recovering(sent);
            let is_hopeless = self.connections.is_deserted() && !self.connections.connector().is_any_away();
            if !is_told && (is_whole || is_hopeless || now >= deadline) {
                is_told = true;
                self.drained = Some(self.used());
                self.line.say(Word::Drained);
            }
            if let Some(Order::Close) = self.line.look()? {
                return Ok(());
            }
            self.turn(Wait::Until(now + LOOK_SOON_NS), now)?;
        }
    }

    /// Closes all connections in order. What arrives only now came too late, as the server's costs are known until now.
    fn finish(mut self, sent: &[u32]) -> Result<Observed, Stopped> {
        let lost = self.connections.lost().clone();
        self.connected = self.connections.alive() as u64;
        self.connections.say_goodbye();
        let deadline = self.connections.now() + GOODBYE_NS;
        while self.connections.alive() > 0 && self.connections.now() < deadline {
            self.connections.turn(Wait::Until(deadline), &mut Farewell(&mut self.measuring.tally))?;
        }
        self.end_interval(true);
        let (begun, published) = (self.begun.unwrap_or_default(), self.published.unwrap_or_default());
        let drained = self.drained.unwrap_or_default();
        let tally = &mut self.measuring.tally;
        let (counts, mut others) = tally.finish(sent);
        others.refused = self.connections.connector().refused().clone();
        Ok(Observed {
            counts,
            clock: tally.clock(),
            connect: self.connections.connect_latency().clone(),
            lost,
            deflated: self.connections.deflated(),
            draining: self.connections.draining(),
            others,
            last_delivery: tally.last_delivery(),
            enters: drained.enters.saturating_sub(begun.enters),
            cpu_ns: drained.cpu_ns.saturating_sub(begun.cpu_ns),
            publishing_cpu_ns: published.cpu_ns.saturating_sub(begun.cpu_ns),
            publishing_ns: published.at.saturating_sub(begun.at),
            waited_ns: published.waited_ns.saturating_sub(begun.waited_ns),
            core: self.core,
        })
    }

    /// Does what is due besides publishing, then waits and handles what happened.
    fn turn(&mut self, wait: Wait, now: u64) -> Result<(), Stopped> {
        if self.begun.is_none() && now >= self.epoch + self.plan.schedule.measured_from() {
            self.begun = Some(self.used());
        }
        while now >= self.next_interval() {
            self.end_interval(false);
        }
        let mut wait = sooner(wait, self.next_interval());
        if let Some(at) = self.behaviour.act(&mut self.connections, &mut self.measuring, now) {
            wait = sooner(wait, at);
        }
        self.connections.connect_more();
        if let Some(at) = self.connections.connector().wake_at(now) {
            wait = sooner(wait, at);
        }
        Ok(self.connections.turn(wait, &mut self.measuring)?)
    }

    fn next_interval(&self) -> u64 {
        self.epoch + (u64::from(self.intervals) + 1) * self.interval_ns
    }

    fn end_interval(&mut self, is_last: bool) {
        let mut interval = self.measuring.tally.end_interval(self.intervals, is_last);
        let cpu_ns = self.used().cpu_ns;
        interval.bytes = self.connections.take_bytes();
        // Those that said goodbye stood until the end.
        interval.connected = if is_last { self.connected } else { self.connections.alive() as u64 };
        interval.lost = self.connections.lost().reasons.total();
        interval.cpu_ns = cpu_ns - std::mem::replace(&mut self.cpu_ns, cpu_ns);
        self.line.say(Word::Interval(Box::new(interval)));
        self.intervals += 1;
    }

    fn used(&self) -> Used {
        Used {
            at: self.connections.now(),
            cpu_ns: thread_cpu_ns(),
            waited_ns: thread_waited_ns(),
            enters: self.connections.enters(),
        }
    }
}

fn sooner(wait: Wait, at: u64) -> Wait {
    match wait {
        Wait::No => Wait::No,
        Wait::Until(other) => Wait::Until(other.min(at)),
        Wait::Forever => Wait::Until(at),
    }
}

/// The driver's time so long after `now`, or the end of time.
fn after(now: u64, span: Duration) -> u64 {
    now.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}
