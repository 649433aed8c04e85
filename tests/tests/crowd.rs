//! Ten thousand subscribers of one topic, over real sockets, in this very process.
//!
//! The clients share one ring and its table of direct descriptors, which counts little against the limit of open files.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare::{Config, Message};
use fanfare_io::uring::Options;
use fanfare_io::{Batch, ConnId, Driver, Event, ReceiveEnd, UringDriver, Wait, Waker};
use fanfare_tests::raw::{BINARY, CLOSE, TEXT, client_frame, close_payload, head, server_frame};
use fanfare_tests::server::{SHARDS, SOON, Server, limits, topic};

const CROWD: usize = 10_000;
const MESSAGES: usize = 20;

/// Connects under way at a time, well below what a listener lets wait.
const CONNECTING_MAX: usize = 256;

/// The addresses that they come from.
const SOURCES: usize = 4;

/// What one of them has received.
#[derive(Clone, Default)]
struct Member {
    /// The answer to its request, until it is complete.
    answer: Vec<u8>,
    upgraded: bool,
    /// How much it has received of what all receive.
    seen: usize,
}

/// What they all say next.
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

struct Crowd {
    driver: UringDriver,
    server: SocketAddr,
    members: Vec<Member>,
    sends: Sends,
    request: Bytes,
    goodbye: Bytes,
    /// What each of them receives after the upgrade: the messages and the answer to its close frame.
    expected: Bytes,
    /// How much of that the messages are.
    messages_len: usize,
    started: usize,
    connected: usize,
    upgraded: usize,
    complete: VecDeque<ConnId>,
    closed: usize,
    upgraded_tell: Sender<()>,
}

impl Crowd {
    fn new(server: SocketAddr, messages: &[Message], upgraded_tell: Sender<()>) -> Self {
        let options =
            Options { connections_max: CROWD, buffer_count: 4096, buffer_bytes: 4096, ..Options::default() };
        let waker = Waker::new().expect("a descriptor");
        let mut expected = messages.iter().fold(Vec::new(), |all, message| {
            let opcode = if message.as_text().is_some() { TEXT } else { BINARY };
            [all, server_frame(opcode, message.payload())].concat()
        });
        let messages_len = expected.len();
        let goodbye = close_payload(1000, "");
        expected.extend(server_frame(CLOSE, &goodbye));
        Self {
            driver: UringDriver::new(options, &waker).expect("a ring"),
            server,
            members: vec![Member::default(); CROWD],
            sends: Sends(Vec::new()),
            request: head("/ws/crowd").into(),
            goodbye: client_frame(0x80 | CLOSE, &goodbye).into(),
            expected: expected.into(),
            messages_len,
            started: 0,
            connected: 0,
            upgraded: 0,
            complete: VecDeque::new(),
            closed: 0,
            upgraded_tell,
        }
    }

    /// Lives from the first connect to the last close.
    fn run(mut self) {
        let deadline = Instant::now() + 2 * SOON;
        while self.closed < CROWD {
            assert!(
                Instant::now() < deadline,
                "not in time: {} connected, {} upgraded, {} complete, {} closed",
                self.connected,
                self.upgraded,
                self.complete.len(),
                self.closed
            );
            while self.started < CROWD && self.started - self.connected < CONNECTING_MAX {
                let source = Ipv4Addr::new(127, 0, 0, 1 + (self.started % SOURCES) as u8);
                let local = Some(SocketAddr::from((source, 0)));
                self.driver.connect(self.started as u64, local, self.server);
                self.started += 1;
            }
            let wake_at = self.driver.now() + Duration::from_secs(1).as_nanos() as u64;
            self.driver.submit(&self.sends, Wait::Until(wake_at)).expect("the ring works");
            self.sends.0.clear();
            while let Some(event) = self.driver.next_event() {
                self.handle(event);
            }
        }
    }

    fn handle(&mut self, event: Event<<UringDriver as Driver>::Bytes>) {
        match event {
            Event::Connected { conn, .. } => {
                self.connected += 1;
                self.driver.receive(conn);
                self.sends.0.push((conn, self.request.clone()));
            }
            Event::Received { conn, bytes } => self.received(conn, &bytes),
            Event::ReceiveEnded { conn, cause: ReceiveEnd::NoBuffers } => self.driver.receive(conn),
            Event::ReceiveEnded { conn, cause: ReceiveEnd::Eof } => {
                let seen = self.members[conn.index()].seen;
                assert_eq!(seen, self.expected.len(), "{conn}: the server closes when it has answered");
                self.driver.close(conn);
            }
            Event::Closed(_) => self.closed += 1,
            other => panic!("{other:?}"),
        }
    }

    fn received(&mut self, conn: ConnId, bytes: &[u8]) {
        let member = &mut self.members[conn.index()];
        let mut frames = bytes;
        if !member.upgraded {
            member.answer.extend_from_slice(bytes);
            let Some(end) = member.answer.windows(4).position(|window| window == b"\r\n\r\n") else { return };
            assert!(member.answer.starts_with(b"HTTP/1.1 101 "), "{conn}");
            assert_eq!(member.answer.len(), end + 4, "{conn}: nothing was published yet");
            *member = Member { upgraded: true, ..Member::default() };
            frames = &[];
            self.upgraded += 1;
            if self.upgraded == CROWD {
                self.upgraded_tell.send(()).expect("the test waits");
            }
        }
        let rest = &self.expected[member.seen..];
        assert!(rest.starts_with(frames), "{conn}: wrong bytes after {} right ones", member.seen);
        let before = member.seen;
        member.seen += frames.len();
        if before < self.messages_len && member.seen == self.messages_len {
            self.complete.push_back(conn);
        }
        // Nobody leaves before all have everything.
        if self.complete.len() == CROWD {
            self.sends.0.extend(self.complete.drain(..).map(|conn| (conn, self.goodbye.clone())));
        }
    }
}

#[test]
fn ten_thousand_subscribers_get_every_message_in_order() {
    // The kernel spreads the crowd over the shards, evenly but not exactly.
    let server = Server::new(Config { connections_max: CROWD * 3 / 4, ..limits() });
    let messages: Vec<Message> = (0..MESSAGES)
        .map(|number| match number % 3 {
            0 => Message::text(format!("text {number}")),
            1 => Message::binary(vec![number as u8; 200]),
            _ => Message::json(format!("{{\"number\":{number}}}")).expect("JSON"),
        })
        .collect();
    let (upgraded_tell, upgraded) = mpsc::channel();
    let crowd = {
        let (addr, messages) = (server.addr(), messages.clone());
        thread::spawn(move || Crowd::new(addr, &messages, upgraded_tell).run())
    };
    upgraded.recv().expect("the crowd says when all are upgraded");
    assert_eq!(server.connections(), CROWD as u64);
    assert_eq!(server.sum(|stats| stats.subscriptions.get()), CROWD as u64);
    for stats in server.engine.stats() {
        assert!(stats.connections.get() > (CROWD / SHARDS / 2) as u64, "every shard has its part");
    }
    for (message, seq) in messages.into_iter().zip(1..) {
        assert_eq!(server.engine.publish_acked(&topic("crowd"), message), Ok(seq));
    }
    crowd.join().expect("all got everything, and left");
    assert_eq!(server.sum(|stats| stats.delivered.get()), (CROWD * MESSAGES) as u64);
    assert_eq!(server.sum(|stats| stats.broken.get()), 0);
    server.assert_empty();
}
