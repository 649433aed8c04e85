//! Thousands of clients on one ring, in the test's own thread: they connect, ask, wait and leave when the test says so.
//!
//! Their sockets are direct descriptors, which the limit of open files does not count one by one.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare_io::uring::Options;
use fanfare_io::{Batch, ConnId, Driver, Event, ReceiveEnd, UringDriver, Wait, Waker};

use crate::server::SOON;

/// Connects under way at a time, well below what a listener lets wait.
const CONNECTING_MAX: usize = 256;

/// The addresses that they come from, so that no one of them runs out of ports.
const SOURCES: usize = 4;

/// How long a turn waits for something to happen.
const TURN: Duration = Duration::from_millis(5);

/// Where a client stands.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Member {
    /// Nobody is at this place.
    Absent,
    /// It waits for the answer to its request; so much of that has come.
    Asked(Vec<u8>),
    /// It was upgraded.
    Upgraded,
    /// It was answered otherwise, with this status.
    Refused(u16),
    /// It leaves.
    Leaving,
}

/// What they say in a turn, each at most one thing.
struct Sends(Vec<(ConnId, Bytes)>);

impl Batch for Sends {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn send(&self, index: usize) -> (ConnId, usize) {
        (self.0[index].0, 1)
    }

    fn part(&self, index: usize, _: usize) -> &[u8] {
        &self.0[index].1
    }
}

pub struct Horde {
    driver: UringDriver,
    server: SocketAddr,
    request: Bytes,
    members: Vec<Member>,
    sends: Sends,
    /// Those still to connect.
    to_connect: usize,
    connecting: usize,
    connected: usize,
    refused: Vec<u16>,
    ended: usize,
    received_bytes: u64,
}

impl Horde {
    /// At most `capacity` clients at a time, each of which will send `request` when it is connected.
    pub fn new(server: SocketAddr, capacity: usize, request: Vec<u8>) -> Self {
        let options = Options {
            connections_max: capacity,
            buffer_count: 2048,
            buffer_bytes: 2048,
            ..Options::default()
        };
        let waker = Waker::new().expect("a descriptor");
        Self {
            driver: UringDriver::new(options, &waker).expect("a ring"),
            server,
            request: request.into(),
            members: vec![Member::Absent; capacity],
            sends: Sends(Vec::new()),
            to_connect: 0,
            connecting: 0,
            connected: 0,
            refused: Vec::new(),
            ended: 0,
            received_bytes: 0,
        }
    }

    /// So many more are to connect, in turns to come.
    pub fn connect(&mut self, count: usize) {
        self.to_connect += count;
    }

    fn count(&self, is: impl Fn(&Member) -> bool) -> usize {
        self.members.iter().filter(|member| is(member)).count()
    }

    /// How many are to connect, or on their way.
    pub fn connecting(&self) -> usize {
        self.to_connect + self.connecting
    }

    /// How many are upgraded, and still there.
    pub fn upgraded(&self) -> usize {
        self.count(|member| *member == Member::Upgraded)
    }

    /// How many have asked and have no answer.
    pub fn unanswered(&self) -> usize {
        self.count(|member| matches!(member, Member::Asked(_)))
    }

    /// The statuses of all who were ever refused.
    pub fn refused(&self) -> &[u16] {
        &self.refused
    }

    /// How many connections the server has ended, ever.
    pub fn ended(&self) -> usize {
        self.ended
    }

    /// What has come after the upgrades.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// All who are upgraded say something; `what` makes it from a number that is different for each of them.
    pub fn say(&mut self, what: impl Fn(usize) -> Vec<u8>) {
        for (index, member) in self.members.iter().enumerate() {
            if *member == Member::Upgraded {
                self.sends.0.push((ConnId::new(index as u32), what(index).into()));
            }
        }
        self.turn();
    }

    /// So many of the upgraded leave without a word.
    pub fn leave(&mut self, count: usize) {
        let upgraded = self.members.iter_mut().enumerate().filter(|(_, member)| **member == Member::Upgraded);
        for (index, member) in upgraded.take(count) {
            *member = Member::Leaving;
            self.driver.close(ConnId::new(index as u32));
        }
        self.turn_until("they are gone", |horde| horde.count(|member| *member == Member::Leaving) == 0);
    }

    /// Turns until `is_done`.
    pub fn turn_until(&mut self, what: &str, is_done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + 2 * SOON;
        while !is_done(self) {
            assert!(
                Instant::now() < deadline,
                "not in time: {what}; {} on their way, {} unanswered, {} upgraded, {} refused, {} ended",
                self.connecting(),
                self.unanswered(),
                self.upgraded(),
                self.refused.len(),
                self.ended
            );
            self.turn();
        }
    }

    /// Does what is due, and takes in what has happened.
    pub fn turn(&mut self) {
        while self.to_connect > 0 && self.connecting < CONNECTING_MAX {
            let source = Ipv4Addr::new(127, 0, 0, 1 + (self.connected % SOURCES) as u8);
            self.driver.connect(0, Some(SocketAddr::from((source, 0))), self.server);
            self.to_connect -= 1;
            self.connecting += 1;
            self.connected += 1;
        }
        let wake_at = self.driver.now() + TURN.as_nanos() as u64;
        self.driver.submit(&self.sends, Wait::Until(wake_at)).expect("the ring works");
        self.sends.0.clear();
        while let Some(event) = self.driver.next_event() {
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event<<UringDriver as Driver>::Bytes>) {
        match event {
            Event::Connected { conn, .. } => {
                self.connecting -= 1;
                self.members[conn.index()] = Member::Asked(Vec::new());
                self.driver.receive(conn);
                if !self.request.is_empty() {
                    self.sends.0.push((conn, self.request.clone()));
                }
            }
            Event::Received { conn, bytes } => self.received(conn, &bytes),
            Event::ReceiveEnded { conn, cause: ReceiveEnd::NoBuffers } => self.driver.receive(conn),
            Event::ReceiveEnded { conn, cause: ReceiveEnd::Eof | ReceiveEnd::Error(_) } => {
                let member = &mut self.members[conn.index()];
                if *member != Member::Leaving {
                    *member = Member::Leaving;
                    self.ended += 1;
                    self.driver.close(conn);
                }
            }
            Event::ReceiveEnded { cause: ReceiveEnd::Paused, .. } => {}
            Event::Closed(conn) => self.members[conn.index()] = Member::Absent,
            other => panic!("{other:?}"),
        }
    }

    fn received(&mut self, conn: ConnId, bytes: &[u8]) {
        let member = &mut self.members[conn.index()];
        let Member::Asked(answer) = member else {
            self.received_bytes += bytes.len() as u64;
            return;
        };
        answer.extend_from_slice(bytes);
        let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return };
        let status = std::str::from_utf8(&answer[9..12]).ok().and_then(|status| status.parse().ok());
        let status: u16 = status.expect("an HTTP status");
        if status == 101 {
            self.received_bytes += (answer.len() - end - 4) as u64;
            *member = Member::Upgraded;
        } else {
            *member = Member::Refused(status);
            self.refused.push(status);
        }
    }
}
