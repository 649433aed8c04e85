//! All connections of one worker, from the first SYN to the last FIN, on one ring.
//!
//! - `connector`: which connection is begun when, and from where
//! - `lifecycle`: what becomes of one: handshake, dialect, messages, end
//! - `reading`: those that stop reading, and read again
//! - `posting`, with `http`: publishers that POST
//! - `echo`: a connection of its own that answers what it hears
//! - `deflate`: messages that are compressed on their way
//! - `outbox`: bytes on their way out

mod connector;
mod deflate;
mod echo;
mod http;
mod lifecycle;
mod outbox;
mod posting;
mod reading;

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use fanfare_io::uring::Options;
use fanfare_io::{ConnId, Driver, Event, SendShort, UringDriver, Wait, Waker};
use fanfare_wire::close::{self, CloseCode};
use fanfare_wire::decode::Rules;
use fanfare_wire::url::WsUrl;

use crate::dialect::{Position, Resumed};
use crate::latency::Latency;
use crate::observed::{Deflated, Lost};
use crate::party::Share;
use crate::plan::{Plan, Reader, Target};
use crate::random::Random;
use deflate::{Compressors, Inflation};
use lifecycle::{Connection, Stage};
use outbox::Outbox;
use posting::Unanswered;
use reading::Readings;

pub(crate) use connector::{Connector, sources};
pub(crate) use echo::{Answer, EchoClient};

/// Messages of other publishers on the same topic may be larger than ours.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A buffer holds what the server sent a subscriber in some milliseconds. All of them together stay in the second cache.
const BUFFER_BYTES: usize = 16 * 1024;
const BUFFER_COUNT: usize = 512;

/// Hears what subscribers receive, and what becomes of them. Numbers count the subscribers of the worker; times are the driver's.
pub(crate) trait Audience {
    fn message(&mut self, subscriber: usize, payload: &[u8], now: u64);
    /// The server says that it left out messages.
    fn gap(&mut self, subscriber: usize, messages: Option<u64>, now: u64);
    /// The server ended the connection of a subscriber that is not steady.
    fn lost(&mut self, subscriber: usize, reason: String);
    /// One that returns has left.
    fn left(&mut self, subscriber: usize);
    /// It is back, so long after it left. `None` if it did not ask to go on where it had left.
    fn returned(&mut self, subscriber: usize, resumed: Option<Resumed>, after_ns: u64, now: u64);
    /// It went on where it had left, and so long after that it has all that was published until it was back.
    fn caught_up(&mut self, subscriber: usize, after_ns: u64, now: u64);
}

pub(crate) struct Connections {
    plan: Arc<Plan>,
    share: Share,
    driver: UringDriver,
    outbox: Outbox,
    /// By the connection's place in the driver.
    table: Box<[Option<Connection>]>,
    /// By number: where they are while they are ready.
    subscribers: Box<[Option<ConnId>]>,
    publishers: Box<[Option<ConnId>]>,
    /// How many connections the driver holds.
    alive: usize,
    rules: Rules,
    inflation: Inflation,
    compressors: Compressors,
    connector: Connector,
    readings: Readings,
    /// Where those stood that left last, if they go on from there.
    positions: HashMap<usize, Position>,
    lost: Lost,
    deflated: Deflated,
    /// How often the server told a subscriber that it restarts.
    draining: u64,
    /// From a connection's first packet to ready.
    connect: Latency,
    /// Bytes that subscribers received since this was asked last.
    bytes: u64,
    unanswered: Unanswered,
    /// Whose turn it was last to say that they are there.
    heartbeat_turn: u64,
    /// What a dialect answers, on its way to the outbox.
    replies: Vec<u8>,
    random: Random,
}

impl Connections {
    /// # Errors
    /// What the machine or the target does not allow, in a sentence.
    pub(crate) fn new(plan: Arc<Plan>, share: Share) -> Result<Self, String> {
        let mine = |total: usize| (share.index..total).step_by(share.count).count();
        let (subscribers, publishers) = (mine(plan.rooms.subscribers), mine(plan.rooms.publishers));
        let total = subscribers + publishers;
        let remotes = [resolve(&plan.target.subscribe)?, resolve(&plan.target.publish)?];
        let options = Options {
            connections_max: total.max(1),
            buffer_count: BUFFER_COUNT,
            buffer_bytes: BUFFER_BYTES,
            ..Options::default()
        };
        let random =
            Random::from_kernel().map_err(|error| format!("no randomness from the kernel: {error}"))?;
        let driver = Waker::new()
            .and_then(|waker| UringDriver::new(options, &waker))
            .map_err(|error| error.to_string())?;
        Ok(Self {
            connector: Connector::new(&plan, &share, remotes, subscribers, publishers, driver.now()),
            driver,
            outbox: Outbox::new(total),
            table: (0..total).map(|_| None).collect(),
            subscribers: vec![None; subscribers].into(),
            publishers: vec![None; publishers].into(),
            alive: 0,
            rules: Rules {
                role: fanfare_wire::Role::Client,
                frame_bytes_max: MESSAGE_BYTES_MAX as u64,
                message_bytes_max: MESSAGE_BYTES_MAX,
                fragments_max: u32::MAX,
                compressed: false,
            },
            inflation: Inflation::default(),
            compressors: Compressors::default(),
            readings: Readings::default(),
            positions: HashMap::new(),
            lost: Lost::default(),
            deflated: Deflated::default(),
            draining: 0,
            connect: Latency::default(),
            bytes: 0,
            unanswered: Unanswered::default(),
            heartbeat_turn: 0,
            replies: Vec::new(),
            random,
            plan,
            share,
        })
    }

    /// Monotonic time in nanoseconds.
    pub(crate) fn now(&self) -> u64 {
        self.driver.now()
    }

    /// System calls of the ring until now.
    pub(crate) fn enters(&self) -> u64 {
        self.driver.enters()
    }

    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Connections that ended, though nobody here asked for that.
    pub(crate) fn lost(&self) -> &Lost {
        &self.lost
    }

    /// What permessage-deflate did until now, if it was offered.
    pub(crate) fn deflated(&self) -> Deflated {
        self.deflated
    }

    /// How often the server told a subscriber that it restarts.
    pub(crate) fn draining(&self) -> u64 {
        self.draining
    }

    pub(crate) fn connect_latency(&self) -> &Latency {
        &self.connect
    }

    /// Bytes that subscribers received since this was asked last.
    pub(crate) fn take_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }

    /// How many connections have not been closed.
    pub(crate) fn alive(&self) -> usize {
        self.alive
    }

    /// How many subscribers the worker has.
    pub(crate) fn subscribers(&self) -> usize {
        self.subscribers.len()
    }

    pub(crate) fn is_subscriber_ready(&self, subscriber: usize) -> bool {
        self.subscribers[subscriber].is_some()
    }

    pub(crate) fn room(&self, subscriber: usize) -> usize {
        self.plan.rooms.room_of_subscriber(subscriber * self.share.count + self.share.index)
    }

    /// What a subscriber of this worker does.
    pub(crate) fn reader(&self, subscriber: usize) -> Reader {
        self.plan.reader(subscriber * self.share.count + self.share.index)
    }

    /// Begins as many connections as the pace allows.
    pub(crate) fn connect_more(&mut self) {
        let now = self.driver.now();
        while let Some(attempt) = self.connector.next(now) {
            self.driver.connect(attempt.number as u64, attempt.local, attempt.remote);
        }
    }

    /// Whether no subscriber is there any more.
    pub(crate) fn is_deserted(&self) -> bool {
        self.subscribers.iter().all(Option::is_none)
    }

    /// Whether a publisher's connection is open and has handed over all that it was given.
    pub(crate) fn may_publish(&self, publisher: usize) -> bool {
        self.publishers[publisher].is_some_and(|conn| match self.stage(conn) {
            Some(Stage::Posting(posting)) => posting.may_publish() && self.outbox.is_empty(conn),
            _ => self.outbox.is_empty(conn),
        })
    }

    pub(crate) fn is_publisher_lost(&self, publisher: usize) -> bool {
        self.publishers[publisher].is_none() && !self.connector.is_away(self.subscribers.len() + publisher)
    }

    /// Begins the closing handshake on all open connections (RFC 6455 section 7.1.2).
    pub(crate) fn say_goodbye(&mut self) {
        for place in 0..self.table.len() {
            let conn = ConnId::new(place as u32);
            match self.stage(conn) {
                Some(Stage::Open | Stage::Joining) => self.leave(conn),
                Some(Stage::Upgrading(_) | Stage::Posting(_)) => self.close(conn),
                Some(Stage::Leaving { .. } | Stage::Closing { .. }) | None => {}
            }
        }
    }

    /// A subscriber that returns leaves: with a closing handshake, or without a word. Does nothing if it is not there.
    pub(crate) fn send_away(&mut self, subscriber: usize, politely: bool, audience: &mut impl Audience) {
        let Some(conn) = self.subscribers[subscriber] else { return };
        self.departs(conn, subscriber, audience);
        if politely {
            self.leave(conn)
        } else {
            self.close(conn)
        }
        self.readings.forget(conn);
        if let Some(connection) = &mut self.table[conn.index()] {
            connection.stage.will_return();
        }
    }

    /// A subscriber that returns leaves, and is where it is now.
    pub(super) fn departs(&mut self, conn: ConnId, subscriber: usize, audience: &mut impl Audience) {
        self.subscribers[subscriber] = None;
        if self.plan.readers.recovers {
            // What comes after this is not heard any more.
            let session =
                self.table[conn.index()].as_ref().and_then(|connection| connection.session.as_ref());
            match session.and_then(|session| session.position()) {
                Some(position) => self.positions.insert(subscriber, position),
                None => self.positions.remove(&subscriber),
            };
        }
        self.connector.leaves(subscriber, self.driver.now());
        audience.left(subscriber);
    }

    /// Sends what is to be sent, waits, and handles what happened.
    ///
    /// # Errors
    /// When the ring is broken.
    pub(crate) fn turn(&mut self, wait: Wait, audience: &mut impl Audience) -> io::Result<()> {
        self.outbox.begin();
        self.driver.submit(&self.outbox, wait)?;
        while let Some(event) = self.driver.next_event() {
            match event {
                Event::Received { conn, bytes } => self.received(conn, bytes, audience),
                Event::ReceiveEnded { conn, cause } => self.receive_ended(conn, cause, audience),
                Event::Connected { conn, token } => self.connected(conn, token as usize),
                Event::ConnectFailed { token, error } => {
                    let now = self.driver.now();
                    self.connector.has_failed(token as usize, format!("connecting: {error}"), now);
                }
                Event::SendShort { conn, sent, cause } => {
                    self.outbox.short(conn, sent);
                    // A broken connection also ends its receive, which is where it is dealt with.
                    let is_closing = matches!(self.stage(conn), Some(Stage::Closing { .. }));
                    if matches!(cause, SendShort::Full) && !is_closing {
                        self.driver.notify_writable(conn);
                    }
                }
                Event::Writable(conn) => self.outbox.writable(conn),
                Event::Closed(conn) => self.closed(conn),
                Event::Accepted { .. } | Event::AcceptStopped(_) => {
                    unreachable!("the driver has no listener")
                }
                Event::Woken => unreachable!("nobody has the waker"),
            }
        }
        self.outbox.settle();
        Ok(())
    }

    fn closed(&mut self, conn: ConnId) {
        self.outbox.reset(conn);
        self.readings.forget(conn);
        self.alive -= 1;
        if let Some(Connection { part, stage, back_at, .. }) = self.table[conn.index()].take()
            && stage.returns()
        {
            let number = self.number(part);
            match back_at {
                Some(back_at) => self.connector.again_at(number, back_at),
                None => self.connector.again(number),
            }
        }
    }

    /// Ends a connection in order.
    fn leave(&mut self, conn: ConnId) {
        close::write(self.outbox.line(conn), CloseCode::NORMAL, "", Some(self.random.mask()));
        // Whoever does not read would never see the answer.
        self.resume(conn);
        if let Some(connection) = &mut self.table[conn.index()] {
            connection.stage = Stage::Leaving { returns: false };
        }
    }

    pub(super) fn close(&mut self, conn: ConnId) {
        if let Some(connection) = &mut self.table[conn.index()] {
            connection.stage = Stage::Closing { returns: connection.stage.returns() };
            self.outbox.shut(conn);
            self.driver.close(conn);
        }
    }
}

/// The address and the parsed URL of a target.
pub(crate) struct Remote {
    pub(crate) address: SocketAddr,
    /// POST rather than WebSocket.
    pub(crate) is_http: bool,
}

/// Where a URL leads. All rooms are on one host.
///
/// # Errors
/// In a sentence.
pub(crate) fn resolve(url: &str) -> Result<Remote, String> {
    let (url, is_http) = parse(&Target::in_room(url, 0))?;
    let mut addresses =
        (&*url.host, url.port).to_socket_addrs().map_err(|error| format!("{}: {error}", url.host))?;
    let address = addresses.next().ok_or_else(|| format!("{}: no address", url.host))?;
    Ok(Remote { address, is_http })
}

/// A `ws://` URL, or an `http://` URL, which follows the same grammar.
fn parse(url: &str) -> Result<(WsUrl, bool), String> {
    let (as_ws, is_http) = match url.strip_prefix("http://") {
        Some(rest) => (format!("ws://{rest}"), true),
        None => (url.to_owned(), false),
    };
    let parsed = WsUrl::parse(&as_ws).map_err(|error| format!("{url}: {error}"))?;
    Ok((parsed, is_http))
}
