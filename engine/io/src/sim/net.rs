//! The state of the simulated kernel, and what one submit does to it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::accept::Listening;
use super::driver::SimBytes;
use super::link::{End, Link, Owner};
use super::rng::Rng;
use super::{Faults, SimOptions};
use crate::{ConnId, Event, ReceiveEnd, SendShort, Wait};

pub(super) type SimEvent = Event<SimBytes>;

/// What a driver was asked for and has not submitted.
#[derive(Debug)]
pub(super) enum Op {
    Accept,
    StopAccept,
    Connect { token: u64, local: Option<SocketAddr>, remote: SocketAddr },
    Receive(u32),
    PauseReceive(u32),
    NotifyWritable(u32),
    ShutdownWrite(u32),
    Close(u32),
}

/// What the driver's caller may do with a slot, by what it was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Free,
    /// In use, and the caller does not know yet.
    Unannounced,
    Open,
    /// `close` was called.
    Closing,
}

/// A slot of a shard's descriptor table.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) stage: Stage,
    /// The caller's view: from `receive` until it was told `ReceiveEnded`.
    pub(super) told_receive: bool,
    /// The caller's view: from `notify_writable` until it was told `Writable`.
    pub(super) told_writable: bool,
    pub(super) told_shutdown: bool,
    /// The last batch that this connection stood in.
    pub(super) batch: u64,
    end: Option<End>,
    receiving: bool,
    polling: bool,
    is_dirty: bool,
    /// Events with the submits that they still wait for. Only the first one counts down.
    events: VecDeque<(usize, SimEvent)>,
}

impl Conn {
    fn free() -> Self {
        Self {
            stage: Stage::Free,
            told_receive: false,
            told_writable: false,
            told_shutdown: false,
            batch: 0,
            end: None,
            receiving: false,
            polling: false,
            is_dirty: false,
            events: VecDeque::new(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Shard {
    pub(super) address: SocketAddr,
    pub(super) conns: Vec<Conn>,
    pub(super) free: Vec<u32>,
    /// Slots where something may have happened.
    dirty: Vec<u32>,
    pub(super) listening: Listening,
    pub(super) ops: Vec<Op>,
    /// Events of no connection, as `Conn::events`.
    loose: VecDeque<(usize, SimEvent)>,
    /// What `next_event` gives out.
    pub(super) ready: VecDeque<SimEvent>,
    pub(super) buffers_out: Rc<Cell<usize>>,
    pub(super) woken: Arc<AtomicBool>,
    pub(super) wait: Wait,
    pub(super) batches: u64,
    pub(super) is_open: bool,
}

#[derive(Debug)]
pub(super) struct Listener {
    address: SocketAddr,
    pub(super) backlog: VecDeque<End>,
    pub(super) is_open: bool,
}

#[derive(Debug)]
pub(super) struct Net {
    pub(super) rng: Rng,
    pub(super) options: SimOptions,
    pub(super) now: u64,
    links: Vec<Link>,
    free_links: Vec<usize>,
    pub(super) shards: Vec<Shard>,
    pub(super) listeners: Vec<Listener>,
}

impl Net {
    pub(super) fn new(seed: u64, options: SimOptions) -> Self {
        Self {
            rng: Rng::new(seed),
            options,
            // Not zero, so that a caller that takes 0 for 'never' is found out.
            now: 1_000_000_000,
            links: Vec::new(),
            free_links: Vec::new(),
            shards: Vec::new(),
            listeners: Vec::new(),
        }
    }

    pub(super) fn add_shard(&mut self) -> usize {
        let shard = self.shards.len();
        let slots = u32::try_from(self.options.connections_max).expect("connections_max fits a slot number");
        let host = u8::try_from(shard + 1).expect("fewer than 255 shards");
        self.shards.push(Shard {
            address: SocketAddr::from((Ipv4Addr::new(10, 0, 0, host), 80)),
            conns: (0..slots).map(|_| Conn::free()).collect(),
            free: (0..slots).rev().collect(),
            dirty: Vec::new(),
            listening: Listening::new(),
            ops: Vec::new(),
            loose: VecDeque::new(),
            ready: VecDeque::new(),
            buffers_out: Rc::new(Cell::new(0)),
            woken: Arc::new(AtomicBool::new(false)),
            wait: Wait::No,
            batches: 0,
            is_open: true,
        });
        shard
    }

    pub(super) fn add_listener(&mut self, address: SocketAddr) -> usize {
        let taken = self.shards.iter().any(|shard| shard.address == address)
            || self.listeners.iter().any(|listener| listener.is_open && listener.address == address);
        assert!(!taken, "something listens at {address} already");
        self.listeners.push(Listener { address, backlog: VecDeque::new(), is_open: true });
        self.listeners.len() - 1
    }

    pub(super) fn link(&mut self, end: End) -> &mut Link {
        &mut self.links[end.link]
    }

    pub(super) fn add_link(&mut self, owners: [Owner; 2]) -> usize {
        let link = Link::new(owners, self.options.window_bytes);
        if let Some(index) = self.free_links.pop() {
            self.links[index] = link;
            index
        } else {
            self.links.push(link);
            self.links.len() - 1
        }
    }

    /// Gives up one side of a link after it was closed.
    pub(super) fn let_go(&mut self, end: End) {
        let link = &mut self.links[end.link];
        link.sides[end.side].owner = Owner::Gone;
        if link.is_gone() {
            self.free_links.push(end.link);
        }
    }

    /// Remembers that something happened at a side, if a driver's slot wants to know.
    pub(super) fn touch(&mut self, end: End) {
        let Owner::Conn { shard, slot } = self.links[end.link].sides[end.side].owner else { return };
        let shard = &mut self.shards[shard];
        let conn = &mut shard.conns[slot as usize];
        if !conn.is_dirty && (conn.receiving || conn.polling || !conn.events.is_empty()) {
            conn.is_dirty = true;
            shard.dirty.push(slot);
        }
    }

    pub(super) fn shard_wait(&self, shard: usize) -> Option<u64> {
        let shard = &self.shards[shard];
        if !shard.is_open {
            return None;
        }
        let has_work = !shard.ops.is_empty()
            || !shard.ready.is_empty()
            || !shard.loose.is_empty()
            || !shard.dirty.is_empty()
            || shard.woken.load(Ordering::Acquire)
            || shard.listening.has_work();
        match shard.wait {
            _ if has_work => Some(self.now),
            Wait::No => Some(self.now),
            Wait::Until(at) => Some(at.max(self.now)),
            Wait::Forever => None,
        }
    }

    pub(super) fn delay(&mut self) -> usize {
        let Faults { delay, delay_submits_max, .. } = self.options.faults;
        if self.rng.chance(delay) { 1 + self.rng.below(delay_submits_max) } else { 0 }
    }

    fn push_loose(&mut self, shard: usize, event: SimEvent) {
        let delay = self.delay();
        self.shards[shard].loose.push_back((delay, event));
    }

    pub(super) fn push_event(&mut self, shard: usize, slot: u32, event: SimEvent) {
        let delay = self.delay();
        let shard = &mut self.shards[shard];
        let conn = &mut shard.conns[slot as usize];
        conn.events.push_back((delay, event));
        if !conn.is_dirty {
            conn.is_dirty = true;
            shard.dirty.push(slot);
        }
    }

    /// Everything of a submit but the sends, which have to go first.
    pub(super) fn turn(&mut self, shard: usize, wait: Wait) {
        self.accept_some(shard);
        self.shards[shard].wait = wait;

        let mut dirty = std::mem::take(&mut self.shards[shard].dirty);
        if self.options.faults.reorder {
            self.rng.shuffle(&mut dirty);
        }
        for &slot in &dirty {
            // Still marked dirty, so that nothing marks it a second time meanwhile.
            self.poll_conn(shard, slot);
            self.release(shard, slot);
        }
        self.release_loose(shard);
        self.mix_ready(shard);
        let stopped = self.shards[shard].listening.stopped();
        self.shards[shard].ready.extend(stopped);

        let woken = self.shards[shard].woken.swap(false, Ordering::AcqRel);
        if woken || self.rng.chance(self.options.faults.wake) {
            self.shards[shard].ready.push_back(Event::Woken);
        }
    }

    pub(super) fn apply_ops(&mut self, shard: usize) {
        let ops = std::mem::take(&mut self.shards[shard].ops);
        for op in ops {
            match op {
                Op::Accept => self.start_accept(shard),
                Op::StopAccept => self.stop_accept(shard),
                Op::Connect { token, local, remote } => self.connect(shard, token, local, remote),
                Op::Receive(slot) => {
                    self.conn(shard, slot).receiving = true;
                    self.touch_slot(shard, slot);
                }
                Op::PauseReceive(slot) => self.pause(shard, slot),
                Op::NotifyWritable(slot) => {
                    self.conn(shard, slot).polling = true;
                    self.touch_slot(shard, slot);
                }
                Op::ShutdownWrite(slot) => {
                    let end = self.end(shard, slot);
                    self.link(end).finish(end.side);
                    self.touch(end.other());
                }
                Op::Close(slot) => self.close(shard, slot),
            }
        }
    }

    fn conn(&mut self, shard: usize, slot: u32) -> &mut Conn {
        &mut self.shards[shard].conns[slot as usize]
    }

    fn end(&mut self, shard: usize, slot: u32) -> End {
        self.conn(shard, slot).end.expect("a slot in use has a link")
    }

    fn touch_slot(&mut self, shard: usize, slot: u32) {
        let end = self.end(shard, slot);
        self.touch(end);
    }

    pub(super) fn take_slot(&mut self, shard: usize, end: End) -> Option<u32> {
        let slot = self.shards[shard].free.pop()?;
        self.links[end.link].sides[end.side].owner = Owner::Conn { shard, slot };
        let batch = self.conn(shard, slot).batch;
        *self.conn(shard, slot) = Conn { stage: Stage::Unannounced, end: Some(end), batch, ..Conn::free() };
        Some(slot)
    }

    fn connect(&mut self, shard: usize, token: u64, local: Option<SocketAddr>, remote: SocketAddr) {
        let is_there = |s: &Shard| s.is_open && s.listening.is_open() && s.address == remote;
        let to_shard = self.shards.iter().position(is_there);
        let to_listener = self.listeners.iter().position(|l| l.is_open && l.address == remote);
        let errno = if to_shard.is_none() && to_listener.is_none() {
            Some(libc::ECONNREFUSED)
        } else if self.shards[shard].free.is_empty() {
            Some(libc::ENFILE)
        } else {
            None
        };
        if let Some(errno) = errno {
            let error = io::Error::from_raw_os_error(errno);
            return self.push_loose(shard, Event::ConnectFailed { token, error });
        }
        let link = self.add_link([Owner::Gone, Owner::Backlog]);
        let slot = self.take_slot(shard, End { link, side: 0 }).expect("a free slot was seen above");
        let far = End { link, side: 1 };
        let from = local.unwrap_or(self.shards[shard].address).ip();
        match (to_shard, to_listener) {
            (Some(to), _) => self.shards[to].listening.arrive(far, from),
            (None, Some(to)) => self.listeners[to].backlog.push_back(far),
            (None, None) => unreachable!("refused above"),
        }
        self.push_event(shard, slot, Event::Connected { conn: ConnId::new(slot), token });
    }

    fn pause(&mut self, shard: usize, slot: u32) {
        if !self.conn(shard, slot).receiving {
            return;
        }
        // The cancel and arriving bytes race.
        if self.rng.chance(0.5) {
            self.poll_conn(shard, slot);
        }
        if std::mem::take(&mut self.conn(shard, slot).receiving) {
            let conn = ConnId::new(slot);
            self.push_event(shard, slot, Event::ReceiveEnded { conn, cause: ReceiveEnd::Paused });
        }
    }

    fn close(&mut self, shard: usize, slot: u32) {
        self.pause(shard, slot);
        let polling = std::mem::take(&mut self.conn(shard, slot).polling);
        if polling && self.rng.chance(0.5) {
            self.push_event(shard, slot, Event::Writable(ConnId::new(slot)));
        }
        let end = self.conn(shard, slot).end.take().expect("an open slot has a link");
        self.link(end).close(end.side);
        self.touch(end.other());
        self.let_go(end);
        self.push_event(shard, slot, Event::Closed(ConnId::new(slot)));
    }

    /// Turns what happened at a connection into events.
    fn poll_conn(&mut self, shard: usize, slot: u32) {
        while self.conn(shard, slot).receiving {
            let Some(event) = self.receive_some(shard, slot) else { break };
            if matches!(event, Event::ReceiveEnded { .. }) {
                self.conn(shard, slot).receiving = false;
            }
            self.push_event(shard, slot, event);
        }
        if self.conn(shard, slot).polling {
            let end = self.end(shard, slot);
            if self.link(end).is_writable(end.side) {
                self.conn(shard, slot).polling = false;
                self.push_event(shard, slot, Event::Writable(ConnId::new(slot)));
            }
        }
    }

    fn receive_some(&mut self, shard: usize, slot: u32) -> Option<SimEvent> {
        let end = self.end(shard, slot);
        let conn = ConnId::new(slot);
        let ended = |cause| Some(Event::ReceiveEnded { conn, cause });
        let side = &self.links[end.link].sides[end.side];
        if side.inbox.is_empty() {
            return if side.saw_reset {
                ended(ReceiveEnd::Error(io::Error::from_raw_os_error(libc::ECONNRESET)))
            } else if side.saw_fin {
                ended(ReceiveEnd::Eof)
            } else {
                None
            };
        }
        let most = side.inbox.len().min(self.options.buffer_bytes);
        let held = Rc::clone(&self.shards[shard].buffers_out);
        if held.get() >= self.options.buffer_count || self.rng.chance(self.options.faults.no_buffers) {
            return ended(ReceiveEnd::NoBuffers);
        }
        let split = self.rng.chance(self.options.faults.split_receive);
        let size = if split { 1 + self.rng.below(most) } else { most };
        let bytes = self.link(end).read(end.side, size);
        self.touch(end.other());
        Some(Event::Received { conn, bytes: SimBytes::new(bytes, held) })
    }

    /// Sends one connection's parts of a batch; says so if not all of it was taken.
    pub(super) fn send<'a>(
        &mut self,
        shard: usize,
        slot: u32,
        parts: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Option<SimEvent> {
        let end = self.end(shard, slot);
        let total = parts.clone().map(<[u8]>::len).sum::<usize>();
        let mut limit = total;
        if self.rng.chance(self.options.faults.full_send) {
            limit = 0;
        } else if self.rng.chance(self.options.faults.short_send) {
            limit = self.rng.below(total);
        }
        let mut sent = 0;
        for part in parts {
            let wanted = part.len().min(limit - sent);
            let Some(taken) = self.links[end.link].send(end.side, &part[..wanted]) else {
                let error = io::Error::from_raw_os_error(libc::EPIPE);
                return Some(send_short(slot, sent, SendShort::Error(error)));
            };
            sent += taken;
            if taken < part.len() {
                break;
            }
        }
        self.touch(end.other());
        // A send to a closed peer is answered by a RST.
        self.touch(end);
        (sent < total).then(|| send_short(slot, sent, SendShort::Full))
    }

    /// Moves the events of a connection that waited long enough to `ready`.
    fn release(&mut self, shard: usize, slot: u32) {
        let shard = &mut self.shards[shard];
        let conn = &mut shard.conns[slot as usize];
        while let Some((delay, _)) = conn.events.front_mut() {
            if *delay > 0 {
                *delay -= 1;
                break;
            }
            let Some((_, event)) = conn.events.pop_front() else { break };
            if matches!(event, Event::Accepted { .. }) {
                shard.listening.told();
            }
            shard.ready.push_back(event);
        }
        conn.is_dirty = !conn.events.is_empty();
        if conn.is_dirty {
            shard.dirty.push(slot);
        }
    }

    fn release_loose(&mut self, shard: usize) {
        let shard = &mut self.shards[shard];
        for _ in 0..shard.loose.len() {
            let Some((delay, event)) = shard.loose.pop_front() else { break };
            if delay == 0 {
                shard.ready.push_back(event);
            } else {
                shard.loose.push_back((delay - 1, event));
            }
        }
    }

    /// Mixes the ready events of different connections, and keeps the order within each one.
    fn mix_ready(&mut self, shard: usize) {
        if !self.options.faults.reorder {
            return;
        }
        let events = std::mem::take(&mut self.shards[shard].ready);
        let mut order: Vec<Option<ConnId>> = events.iter().map(conn_of).collect();
        let mut queues = std::collections::BTreeMap::<Option<ConnId>, VecDeque<SimEvent>>::new();
        for event in events {
            queues.entry(conn_of(&event)).or_default().push_back(event);
        }
        self.rng.shuffle(&mut order);
        let next =
            |conn| queues.get_mut(&conn).and_then(VecDeque::pop_front).expect("one turn for each event");
        self.shards[shard].ready = order.into_iter().map(next).collect();
    }

    /// The driver is gone: its peers see what a dead process's peers see.
    pub(super) fn drop_shard(&mut self, shard: usize) {
        self.shards[shard].is_open = false;
        let backlog = self.shards[shard].listening.close();
        let conns = std::mem::take(&mut self.shards[shard].conns);
        self.shards[shard].free.clear();
        self.shards[shard].dirty.clear();
        self.shards[shard].ready.clear();
        for end in backlog.chain(conns.into_iter().filter_map(|conn| conn.end)) {
            self.links[end.link].sides[end.side].owner = Owner::Gone;
            self.link(end).close(end.side);
            self.touch(end.other());
            self.let_go(end);
        }
    }
}

fn send_short(slot: u32, sent: usize, cause: SendShort) -> SimEvent {
    Event::SendShort { conn: ConnId::new(slot), sent, cause }
}

fn conn_of(event: &SimEvent) -> Option<ConnId> {
    match *event {
        Event::Accepted { conn, .. }
        | Event::Connected { conn, .. }
        | Event::Received { conn, .. }
        | Event::ReceiveEnded { conn, .. }
        | Event::SendShort { conn, .. }
        | Event::Writable(conn)
        | Event::Closed(conn) => Some(conn),
        Event::AcceptStopped(_) | Event::ConnectFailed { .. } | Event::Woken => None,
    }
}
