//! All connections of a run, from the first SYN to the last FIN, on one ring.
//!
//! - `connector`: which connection is begun when, and from where
//! - `lifecycle`: what becomes of one: handshake, frames, end
//! - `outbox`: bytes on their way out
//! - `reasons`: why connections failed

mod connector;
mod lifecycle;
mod outbox;
mod reasons;

use std::io;
use std::net::SocketAddr;

use fanfare_io::uring::Options;
use fanfare_io::{ConnId, Driver, Event, SendShort, UringDriver, Wait, Waker};
use fanfare_wire::Role;
use fanfare_wire::close::{self, CloseCode};
use fanfare_wire::decode::Rules;
use fanfare_wire::url::WsUrl;

use crate::random::Random;
use lifecycle::{Connection, Stage};
use outbox::Outbox;

pub use connector::{Connector, Pace};
pub use reasons::Reasons;

/// Messages of other publishers on the same topic may be larger than ours.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A buffer holds what the server sent a subscriber in some milliseconds. All of them together stay in the second cache.
const BUFFER_BYTES: usize = 16 * 1024;
const BUFFER_COUNT: usize = 512;

/// Where the two kinds of connections go.
#[derive(Clone, Debug)]
pub struct Targets {
    pub remote: SocketAddr,
    pub subscribe: WsUrl,
    pub publish: WsUrl,
    pub subscribers: usize,
    pub publishers: usize,
}

/// Connections that ended before the run did.
#[derive(Clone, Debug, Default)]
pub struct Lost {
    pub subscribers: usize,
    pub publishers: usize,
    pub reasons: Reasons,
}

pub struct Connections {
    driver: UringDriver,
    outbox: Outbox,
    /// By the connection's place in the driver.
    table: Box<[Option<Connection>]>,
    /// The publishers' connections that are open.
    publishers: Box<[Option<ConnId>]>,
    /// How many connections the driver holds.
    alive: usize,
    targets: Targets,
    rules: Rules,
    connector: Connector,
    lost: Lost,
    random: Random,
}

impl Connections {
    /// # Errors
    /// When the kernel refuses the ring; the text says what was refused.
    pub fn new(targets: Targets, pace: Pace) -> io::Result<Self> {
        let total = targets.subscribers + targets.publishers;
        let options = Options {
            connections_max: total,
            buffer_count: BUFFER_COUNT,
            buffer_bytes: BUFFER_BYTES,
            ..Options::default()
        };
        let driver = UringDriver::new(options, &Waker::new()?)?;
        Ok(Self {
            connector: Connector::new(targets.remote, pace, total, driver.now()),
            driver,
            outbox: Outbox::new(total),
            table: (0..total).map(|_| None).collect(),
            publishers: vec![None; targets.publishers].into(),
            alive: 0,
            targets,
            rules: Rules {
                role: Role::Client,
                frame_bytes_max: MESSAGE_BYTES_MAX as u64,
                message_bytes_max: MESSAGE_BYTES_MAX,
            },
            lost: Lost::default(),
            random: Random::from_kernel()?,
        })
    }

    /// Monotonic time in nanoseconds.
    pub fn now(&self) -> u64 {
        self.driver.now()
    }

    pub fn connector(&self) -> &Connector {
        &self.connector
    }

    pub fn lost(&self) -> &Lost {
        &self.lost
    }

    /// How many connections have not been closed.
    pub fn alive(&self) -> usize {
        self.alive
    }

    /// Begins as many connections as the pace allows.
    pub fn connect_more(&mut self) {
        let now = self.driver.now();
        while let Some(number) = self.connector.next(now) {
            self.driver.connect(number as u64, self.connector.local(number), self.connector.remote());
        }
    }

    /// Whether a publisher's connection is open and has handed over all that it was given.
    pub fn may_publish(&self, publisher: usize) -> bool {
        self.publishers[publisher].is_some_and(|conn| self.outbox.is_empty(conn))
    }

    /// Sends frames on a publisher's connection, if it is open.
    pub fn publish(&mut self, publisher: usize, frames: &[u8]) {
        if let Some(conn) = self.publishers[publisher] {
            self.outbox.line(conn).extend_from_slice(frames);
        }
    }

    pub fn is_publisher_lost(&self, publisher: usize) -> bool {
        self.publishers[publisher].is_none()
    }

    /// Begins the closing handshake on all open connections (RFC 6455 section 7.1.2).
    pub fn say_goodbye(&mut self) {
        for (place, connection) in self.table.iter_mut().enumerate() {
            if let Some(connection) =
                connection.as_mut().filter(|connection| matches!(connection.stage, Stage::Open))
            {
                connection.stage = Stage::Leaving;
                let line = self.outbox.line(ConnId::new(place as u32));
                close::write(line, CloseCode::NORMAL, "", Some(self.random.mask()));
            }
        }
    }

    /// Sends what is to be sent, waits, and handles what happened. `receive` gets each message that a subscriber
    /// received, with the time of that.
    ///
    /// # Errors
    /// When the ring is broken.
    pub fn turn(&mut self, wait: Wait, receive: &mut impl FnMut(usize, &[u8], u64)) -> io::Result<()> {
        self.outbox.begin();
        self.driver.submit(&self.outbox, wait)?;
        while let Some(event) = self.driver.next_event() {
            match event {
                Event::Received { conn, bytes } => self.received(conn, bytes, receive),
                Event::ReceiveEnded { conn, cause } => self.receive_ended(conn, cause),
                Event::Connected { conn, token } => self.connected(conn, token as usize),
                Event::ConnectFailed { error, .. } => {
                    self.connector.has_failed(format!("connecting: {error}"), self.driver.now());
                }
                Event::SendShort { conn, sent, cause } => {
                    self.outbox.short(conn, sent);
                    // A broken connection also ends its receive, which is where it is dealt with.
                    if matches!(cause, SendShort::Full) && !matches!(self.stage(conn), Some(Stage::Closing)) {
                        self.driver.notify_writable(conn);
                    }
                }
                Event::Writable(conn) => self.outbox.writable(conn),
                Event::Closed(conn) => {
                    self.outbox.reset(conn);
                    self.table[conn.index()] = None;
                    self.alive -= 1;
                }
                Event::Accepted(_) | Event::AcceptStopped(_) => unreachable!("the driver has no listener"),
                Event::Woken => unreachable!("nobody has the waker"),
            }
        }
        self.outbox.settle();
        Ok(())
    }
}
