//! A shard: one thread's share of the connections, the readers of the logs they want, and the topics it is home to.
//!
//! One turn of the loop, in order:
//! - `fan_out`: compares cursors with moved heads, and lists the connections that have something to send
//! - `send`: plans one send for each of them; the driver submits the batch and perhaps sleeps
//! - `policy`, `supply`, `pace`: who cannot just read on: slow consumers, snapshots, subscriptions with a rate
//! - `receive`, `inflate`: completions: bytes in, peers gone; `handshake`, `session`, `stream`: what the bytes mean
//! - `home`: commands, replies and moved heads from other shards; publishing
//! - `rate`: who published too fast
//! - `admission`: who is let in; `timers`, `lifecycle`: timeouts, closing; `join`: becoming a subscriber
//! - `wave`: sending connections away before a restart; `drain`: the shutdown
//!
//! Every phase does a bounded amount of work, so that no crowd keeps the others waiting.
//! A shard never locks, and waits nowhere but in the driver's submit.

mod admission;
mod conn;
mod cuts;
mod drain;
mod fan_out;
mod handshake;
mod home;
mod inflate;
mod join;
mod lifecycle;
mod pace;
mod policy;
mod rate;
mod receive;
mod send;
mod session;
mod spread;
mod stream;
mod subs;
mod supply;
mod timers;
mod wave;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use fanfare_io::{Driver, Event, Wait};
use fanfare_wire::Role;
use fanfare_wire::decode::Rules;
use fanfare_wire::handshake::server::HeadLimits;

use crate::config::Config;
use crate::mailbox::{Command, ConnRef, Mailbox, Reply};
use crate::plane::{Plane, Seat};
use crate::stats::ShardStats;
use crate::topics::Topics;

use admission::Door;
pub use admission::REFUSED_AT_ONCE_MAX;
use conn::Conns;
use drain::Drain;
use inflate::Inflation;
use pace::Paces;
use rate::{Rates, Throttled};
use send::{Outgoing, Plan};
use spread::Spreads;
use subs::{Readers, Slab, Sub};
pub(crate) use supply::Owed;
use timers::{Tick, Wheel};
use wave::Wave;

const NS_PER_MS: u64 = 1_000_000;

/// How long to wait before trying again what nobody will wake us for.
const RETRY_NS: u64 = NS_PER_MS;

/// One shard over one driver.
#[derive(Debug)]
pub struct Shard<D: Driver> {
    driver: D,
    plane: Arc<Plane>,
    index: usize,
    stats: Arc<ShardStats>,
    rules: Rules,
    /// Of connections that agreed to compression.
    compressed_rules: Rules,
    inflation: Inflation,
    /// What all decoders hold of messages that have not arrived whole.
    unfinished_bytes: usize,
    head_limits: HeadLimits,
    /// The time of this turn, nanoseconds.
    now: u64,

    conns: Conns,
    door: Door,
    subs: Slab<Sub>,
    readers: Readers,
    /// The topics whose home this shard is.
    topics: Topics,
    wheel: Wheel,

    /// Readers whose head moved, in order.
    moved: VecDeque<u32>,
    /// How many of them have been looked at.
    looks: u64,
    /// Connections with something to send, in order.
    ready: VecDeque<u32>,
    plan: Plan,
    /// Events of this turn that wait until all short sends are undone.
    events: Vec<Event<D::Bytes>>,
    /// Connections of the batch for which something follows when their outbox was sent.
    follow_up: Vec<u32>,
    /// Subscribers that are to be disconnected if they are still too far behind.
    slow: Vec<u32>,
    /// Fan-outs under way, to be measured.
    spreads: Spreads,
    /// When readers with a pace may be looked at.
    paces: Paces,
    rates: Rates,
    /// Connections that published too fast, and when they are read from again.
    throttled: Throttled,
    /// Readers with snapshots for their subscribers.
    supplied: Vec<u32>,
    /// Snapshots that other turns will make.
    owed: VecDeque<Owed>,
    /// How much more of snapshots this turn may make, in bytes.
    snapshot_budget: usize,
    /// Connections whose timeout came up.
    due: Vec<(ConnRef, Tick)>,
    /// Readers told by topics of this very shard.
    told_here: Vec<u32>,

    /// For each shard, commands of ours that its mailbox had no room for, in order.
    commands_out: Box<[VecDeque<Command>]>,
    /// For each shard, our publishers that wait for room in its mailbox, in order.
    stalled: Box<[VecDeque<ConnRef>]>,
    /// Replies that their shard had no room for.
    replies_out: VecDeque<(usize, Reply)>,
    /// Where payloads are copied on their way to another shard.
    copies: BytesMut,

    accepting: bool,
    /// Nobody was accepted since accepting stopped.
    accept_refused: bool,
    /// When the log may say so again.
    accept_warn_due: u64,
    /// When accepting is tried again, if it stopped.
    accept_due: u64,
    /// When topics are swept next.
    sweep_due: u64,
    /// When those who watch topics are told of their presence next.
    presence_due: u64,
    wave: Wave,
    drain: Drain,
}

impl<D: Driver> Shard<D> {
    /// A shard that accepts from `driver`'s listener as soon as it turns.
    pub fn new(seat: Seat, mut driver: D) -> Self {
        let Seat { index, plane } = seat;
        let config = &plane.config;
        let topics = Topics::new(&plane, index);
        let now = driver.now();
        driver.accept();
        let rules = Rules {
            role: Role::Server,
            frame_bytes_max: config.frame_bytes_max as u64,
            message_bytes_max: config.message_bytes_max,
            compressed: false,
            fragments_max: u32::try_from(config.fragments_max).expect("checked"),
        };
        Self {
            stats: plane.stats[index].clone(),
            rules,
            compressed_rules: Rules { compressed: true, ..rules },
            inflation: Inflation::default(),
            unfinished_bytes: 0,
            head_limits: HeadLimits {
                head_bytes_max: config.head_bytes_max,
                headers_max: config.headers_max,
            },
            now,
            conns: Conns::default(),
            door: Door::default(),
            subs: Slab::default(),
            readers: Readers::default(),
            topics,
            wheel: Wheel::new(now),
            moved: VecDeque::new(),
            looks: 0,
            ready: VecDeque::new(),
            plan: Plan::default(),
            events: Vec::new(),
            follow_up: Vec::new(),
            slow: Vec::new(),
            spreads: Spreads::default(),
            paces: Paces::default(),
            rates: Rates::of(config),
            throttled: Throttled::default(),
            supplied: Vec::new(),
            owed: VecDeque::new(),
            snapshot_budget: supply::MADE_EACH_TURN,
            due: Vec::new(),
            told_here: Vec::new(),
            commands_out: (0..config.shards).map(|_| VecDeque::new()).collect(),
            stalled: (0..config.shards).map(|_| VecDeque::new()).collect(),
            replies_out: VecDeque::new(),
            copies: BytesMut::new(),
            accepting: true,
            accept_refused: false,
            accept_warn_due: now,
            accept_due: now,
            sweep_due: now,
            presence_due: now,
            wave: Wave::default(),
            drain: Drain::default(),
            driver,
            plane,
            index,
        }
    }

    /// Turns until the engine is shut down.
    ///
    /// # Errors
    /// Only when the driver itself is broken.
    pub fn run(mut self) -> io::Result<()> {
        while self.turn()? {}
        Ok(())
    }

    /// One turn of the loop. False when the shutdown is done.
    ///
    /// # Errors
    /// Only when the driver itself is broken.
    pub fn turn(&mut self) -> io::Result<bool> {
        self.fan_out();
        self.plan_sends();
        let wait = self.rest();
        self.driver.submit(&Outgoing { plan: &self.plan, readers: &self.readers }, wait)?;
        self.mailbox().woke_up();
        self.now = self.driver.now();
        self.stats.turns.add(1);
        self.spreads.sent(self.now, &self.stats.spread_us);

        self.let_in();
        self.reap();
        self.take_mail();
        self.retry();
        self.expire();
        self.keep_pace();
        self.keep_rates();
        self.keep_topics();
        self.send_away();
        Ok(self.drain())
    }

    fn config(&self) -> &Config {
        &self.plane.config
    }

    fn mailbox(&self) -> &Mailbox {
        &self.plane.mailboxes[self.index]
    }

    /// True when nobody is accepted any more.
    fn is_ending(&self) -> bool {
        self.drain.is_running() || self.wave.has_begun()
    }

    /// How long the driver may sleep.
    fn rest(&self) -> Wait {
        // A send that is taken whole wakes nobody, so what follows one must not wait for something else to happen.
        let idle = self.ready.is_empty()
            && self.moved.is_empty()
            && self.follow_up.is_empty()
            && self.slow.is_empty()
            && self.owed.is_empty()
            && !self.door.is_waited_at()
            && !self.topics.is_building();
        if !idle {
            return Wait::No;
        }
        let retry = (!self.replies_out.is_empty() || self.drain.is_running()).then_some(self.now + RETRY_NS);
        let sweeps = self.topics.len() > 0 || !self.supplied.is_empty() || self.readers.has_marks();
        let sweep = sweeps.then_some(self.sweep_due);
        let presence = self.topics.is_watched().then_some(self.presence_due);
        let accept = (!self.accepting && !self.is_ending()).then_some(self.accept_due);
        let wave = self.wave.next_time(self.now, self.conns.slots()).filter(|_| !self.drain.is_running());
        let (paces, rates, wheel) =
            (self.paces.next_time(), self.throttled.next_time(), self.wheel.next_time());
        let times = [retry, sweep, presence, accept, paces, rates, wave, wheel];
        if !self.mailbox().fall_asleep() {
            return Wait::No;
        }
        // A home that made room since the last attempt found nobody asleep to wake.
        let has_room = |home: usize| !self.plane.mailboxes[home].is_refused(self.index);
        let waits = |home: &usize| !self.commands_out[*home].is_empty() || !self.stalled[*home].is_empty();
        if (0..self.stalled.len()).filter(waits).any(has_room) {
            return Wait::No;
        }
        // A drain or shutdown that was asked for since this turn looked found nobody asleep to wake.
        if (!self.drain.is_running() && self.plane.shutdown_grace_ms().is_some())
            || (!self.is_ending() && self.plane.drain_spread_ms().is_some())
        {
            return Wait::No;
        }
        times.into_iter().flatten().min().map_or(Wait::Forever, Wait::Until)
    }

    /// Takes what happened in the kernel. Short sends come first: everything else relies on cursors that are right.
    fn reap(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        while let Some(event) = self.driver.next_event() {
            match event {
                Event::SendShort { conn, sent, cause } => self.undo_short_send(conn, sent, cause),
                other => events.push(other),
            }
        }
        self.follow_up_sends();
        for event in events.drain(..) {
            self.handle(event);
        }
        self.events = events;
    }
}
