//! Turns of a driver, and a record of what it said.

use std::collections::HashSet;
use std::net::IpAddr;

use fanfare_io::{Batch, ConnId, Driver, Event, ReceiveEnd, SendShort};

use crate::worlds::{Sizes, World};

/// An event without what it lends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    Accepted(ConnId, Option<IpAddr>),
    AcceptStopped(Option<i32>),
    Connected(ConnId, u64),
    ConnectFailed(u64, Option<i32>),
    Received(ConnId, Vec<u8>),
    Eof(ConnId),
    NoBuffers(ConnId),
    Paused(ConnId),
    ReceiveError(ConnId),
    Short(ConnId, usize),
    SendError(ConnId),
    Writable(ConnId),
    Closed(ConnId),
    Woken,
}

/// A batch of owned sends.
#[derive(Default)]
pub(crate) struct Sends(pub(crate) Vec<(ConnId, Vec<Vec<u8>>)>);

impl Batch for Sends {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn send(&self, index: usize) -> (ConnId, usize) {
        (self.0[index].0, self.0[index].1.len())
    }

    fn part(&self, index: usize, part: usize) -> &[u8] {
        &self.0[index].1[part]
    }
}

pub(crate) struct Rig<W: World> {
    pub(crate) world: W,
    /// Everything seen and not yet taken.
    pub(crate) seen: Vec<Seen>,
    /// Buffers that a test keeps.
    pub(crate) held: Vec<<W::Driver as Driver>::Bytes>,
    pub(crate) hold: bool,
    closing: HashSet<ConnId>,
}

impl<W: World> Rig<W> {
    pub(crate) fn new(seed: u64, sizes: Sizes) -> Self {
        Self {
            world: W::new(seed, sizes),
            seen: Vec::new(),
            held: Vec::new(),
            hold: false,
            closing: HashSet::new(),
        }
    }

    pub(crate) fn driver(&mut self) -> &mut W::Driver {
        self.world.driver()
    }

    pub(crate) fn close(&mut self, conn: ConnId) {
        self.closing.insert(conn);
        self.driver().close(conn);
    }

    /// One turn with what it said.
    pub(crate) fn turn(&mut self, sends: &Sends) -> Vec<Seen> {
        let wait = self.world.wait();
        self.driver().submit(sends, wait).expect("a sound ring");
        let mut seen = Vec::new();
        while let Some(event) = self.world.driver().next_event() {
            seen.push(match event {
                Event::Accepted { conn, peer } => Seen::Accepted(conn, peer),
                Event::AcceptStopped(error) => Seen::AcceptStopped(error.raw_os_error()),
                Event::Connected { conn, token } => Seen::Connected(conn, token),
                Event::ConnectFailed { token, error } => Seen::ConnectFailed(token, error.raw_os_error()),
                Event::Received { conn, bytes } => {
                    let seen = Seen::Received(conn, bytes.to_vec());
                    if self.hold {
                        self.held.push(bytes);
                    }
                    seen
                }
                Event::ReceiveEnded { conn, cause } => match cause {
                    ReceiveEnd::Eof => Seen::Eof(conn),
                    ReceiveEnd::NoBuffers => Seen::NoBuffers(conn),
                    ReceiveEnd::Paused => Seen::Paused(conn),
                    ReceiveEnd::Error(_) => Seen::ReceiveError(conn),
                },
                Event::SendShort { conn, sent, cause: SendShort::Full } => Seen::Short(conn, sent),
                Event::SendShort { conn, cause: SendShort::Error(_), .. } => Seen::SendError(conn),
                Event::Writable(conn) => Seen::Writable(conn),
                Event::Closed(conn) => Seen::Closed(conn),
                Event::Woken => Seen::Woken,
            });
        }
        seen
    }

    /// Takes turns until `find` finds what it looks for in all that was seen.
    #[track_caller]
    pub(crate) fn until<T>(&mut self, what: &str, mut find: impl FnMut(&[Seen]) -> Option<T>) -> T {
        for _ in 0..2000 {
            if let Some(found) = find(&self.seen) {
                return found;
            }
            let mut seen = self.turn(&Sends::default());
            // The simulation stops receiving and accepting now and then for no good reason.
            for event in &seen {
                match *event {
                    Seen::NoBuffers(conn) if !self.hold && !self.closing.contains(&conn) => {
                        self.driver().receive(conn);
                    }
                    Seen::Closed(conn) => drop(self.closing.remove(&conn)),
                    Seen::AcceptStopped(Some(libc::ENOMEM)) => self.driver().accept(),
                    _ => {}
                }
            }
            self.seen.append(&mut seen);
        }
        panic!("{what} did not happen; seen: {:?}", self.seen);
    }

    /// Waits for one event, and takes it out of the record.
    #[track_caller]
    pub(crate) fn expect(&mut self, event: &Seen) {
        let at = self.until(&format!("{event:?}"), |seen| seen.iter().position(|e| e == event));
        self.seen.remove(at);
    }

    /// A peer and its accepted connection. The driver must accept.
    #[track_caller]
    pub(crate) fn pair(&mut self) -> (ConnId, W::Peer) {
        let peer = self.world.connect();
        (self.accepted(), peer)
    }

    #[track_caller]
    pub(crate) fn accepted(&mut self) -> ConnId {
        self.accepted_from().0
    }

    /// The next accepted connection, and from where its peer came.
    #[track_caller]
    pub(crate) fn accepted_from(&mut self) -> (ConnId, Option<IpAddr>) {
        let (at, conn, peer) = self.until("Accepted", |seen| {
            seen.iter().enumerate().find_map(|(at, event)| match *event {
                Seen::Accepted(conn, peer) => Some((at, conn, peer)),
                _ => None,
            })
        });
        self.seen.remove(at);
        (conn, peer)
    }

    /// All bytes received from `conn` so far.
    pub(crate) fn received(&self, conn: ConnId) -> Vec<u8> {
        received(&self.seen, conn)
    }

    #[track_caller]
    pub(crate) fn expect_received(&mut self, conn: ConnId, bytes: &[u8]) {
        self.until("the bytes", |seen| (received(seen, conn).len() >= bytes.len()).then_some(()));
        assert_eq!(self.received(conn), bytes);
    }

    /// Sends all of `parts`, going on after short sends, while `peer` reads. Returns what the peer read.
    #[track_caller]
    pub(crate) fn send_all(
        &mut self,
        conn: ConnId,
        parts: &[Vec<u8>],
        mut read: impl FnMut() -> Vec<u8>,
    ) -> Vec<u8> {
        let total = parts.iter().map(Vec::len).sum::<usize>();
        let mut rest = parts.to_vec();
        let mut arrived = Vec::new();
        loop {
            let seen = self.turn(&Sends(vec![(conn, rest.clone())]));
            let short = seen.iter().find_map(|event| match *event {
                Seen::Short(of, sent) if of == conn => Some(sent),
                _ => None,
            });
            self.seen.extend(seen);
            arrived.extend(read());
            let Some(sent) = short else { break };
            assert!(sent < rest.iter().map(Vec::len).sum(), "a short send is short");
            rest = skip(rest, sent);
            self.driver().notify_writable(conn);
            let mut turns = 0;
            while !self.seen.contains(&Seen::Writable(conn)) {
                let seen = self.turn(&Sends::default());
                self.seen.extend(seen);
                arrived.extend(read());
                turns += 1;
                assert!(turns < 5000, "the socket never took bytes again");
            }
            self.seen
                .retain(|event| !matches!(*event, Seen::Writable(of) | Seen::Short(of, _) if of == conn));
        }
        let mut turns = 0;
        while arrived.len() < total {
            let seen = self.turn(&Sends::default());
            self.seen.extend(seen);
            arrived.extend(read());
            turns += 1;
            assert!(turns < 5000, "only {} of {total} bytes arrived", arrived.len());
        }
        arrived
    }
}

fn received(seen: &[Seen], conn: ConnId) -> Vec<u8> {
    let of = |event: &Seen| match event {
        Seen::Received(from, bytes) if *from == conn => bytes.clone(),
        _ => Vec::new(),
    };
    seen.iter().flat_map(of).collect()
}

/// `parts` without their first `count` bytes.
pub(crate) fn skip(parts: Vec<Vec<u8>>, mut count: usize) -> Vec<Vec<u8>> {
    let mut rest = Vec::new();
    for mut part in parts {
        let drop = count.min(part.len());
        count -= drop;
        part.drain(..drop);
        if !part.is_empty() {
            rest.push(part);
        }
    }
    rest
}

/// Bytes that tell where they stand.
pub(crate) fn pattern(len: usize, seed: u32) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_add(seed).wrapping_mul(0x9e37_79b1) >> 24) as u8).collect()
}
