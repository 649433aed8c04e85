//! The sink's connections: handshake, relay, end.

use std::io;
use std::mem;
use std::net::TcpListener;

use fanfare_io::uring::{Bytes, Options};
use fanfare_io::{Batch, ConnId, Driver, Event, ReceiveEnd, SendShort, UringDriver, Wait, Waker};
use fanfare_wire::Role;
use fanfare_wire::close::{self, CloseCode};
use fanfare_wire::decode::{self, Decoder, Rules};
use fanfare_wire::frame::{self, Opcode};
use fanfare_wire::handshake::server::{HeadLimits, read_request};

use super::lines::Lines;

/// What connects to a path that begins so publishes.
const PUBLISH: &str = "/pub";

/// As the generator's own receive buffers: what a publisher sent in some milliseconds.
const BUFFER_BYTES: usize = 16 * 1024;
const BUFFER_COUNT: usize = 512;

const RULES: Rules = Rules {
    role: Role::Server,
    frame_bytes_max: 64 << 20,
    message_bytes_max: 64 << 20,
    fragments_max: u32::MAX,
    compressed: false,
};

#[derive(Debug)]
enum Stage {
    /// What came of the request.
    Upgrading(Vec<u8>),
    /// It stands at this place among the subscribers.
    Subscribes(usize),
    Publishes,
    /// The answer to its Close frame is on its way.
    Leaving,
    /// The driver closes it.
    Closing,
}

#[derive(Debug)]
struct Peer {
    stage: Stage,
    decoder: Decoder,
}

pub(super) struct Relay {
    driver: UringDriver,
    lines: Lines,
    /// By the connection's place in the driver.
    peers: Box<[Option<Peer>]>,
    subscribers: Vec<ConnId>,
    leaving: Vec<ConnId>,
    dropped: Vec<ConnId>,
}

impl Relay {
    /// # Errors
    /// When the kernel refuses the ring; the text says what was refused.
    pub(super) fn new(listener: TcpListener, connections_max: usize, waker: &Waker) -> io::Result<Self> {
        let options = Options {
            connections_max,
            buffer_count: BUFFER_COUNT,
            buffer_bytes: BUFFER_BYTES,
            listener: Some(listener),
            ..Options::default()
        };
        let mut driver = UringDriver::new(options, waker)?;
        driver.accept();
        Ok(Self {
            driver,
            lines: Lines::new(connections_max),
            peers: (0..connections_max).map(|_| None).collect(),
            subscribers: Vec::new(),
            leaving: Vec::new(),
            dropped: Vec::new(),
        })
    }

    /// Sends what there is to send, waits for more, and takes it in.
    ///
    /// # Errors
    /// When the ring is broken.
    pub(super) fn turn(&mut self) -> io::Result<()> {
        self.lines.begin(&self.subscribers, &mut self.dropped);
        while let Some(conn) = self.dropped.pop() {
            self.close(conn);
        }
        // Those whose last frame is in this batch are closed once it is out, whatever else happens.
        let wait = if self.leaving.is_empty() || self.lines.is_empty() { Wait::Forever } else { Wait::No };
        self.driver.submit(&self.lines, wait)?;
        while let Some(event) = self.driver.next_event() {
            match event {
                Event::Accepted { conn, .. } => self.accepted(conn),
                Event::Received { conn, bytes } => self.received(conn, bytes),
                Event::ReceiveEnded { conn, cause } => self.receive_ended(conn, &cause),
                Event::SendShort { conn, sent, cause } => self.short(conn, sent, &cause),
                Event::Writable(conn) => self.lines.writable(conn),
                Event::Closed(conn) => {
                    self.lines.reset(conn);
                    self.peers[conn.index()] = None;
                }
                // For a lack of places, of which the next Closed makes one.
                Event::AcceptStopped(_) => self.driver.accept(),
                Event::Woken => {}
                Event::Connected { .. } | Event::ConnectFailed { .. } => {
                    unreachable!("the sink connects to nobody")
                }
            }
        }
        self.lines.settle();
        self.see_off();
        Ok(())
    }

    fn accepted(&mut self, conn: ConnId) {
        let stage = Stage::Upgrading(Vec::new());
        self.peers[conn.index()] = Some(Peer { stage, decoder: Decoder::default() });
        self.driver.receive(conn);
    }

    fn received(&mut self, conn: ConnId, mut bytes: Bytes) {
        let Some(peer) = &mut self.peers[conn.index()] else { return };
        match &mut peer.stage {
            Stage::Publishes | Stage::Subscribes(_) => self.decode(conn, &mut bytes),
            Stage::Upgrading(head) => {
                head.extend_from_slice(&bytes);
                let mut head = mem::take(head);
                match self.upgrade(conn, &head) {
                    Some(used) => self.decode(conn, &mut head[used..]),
                    // Not all of it is there, or it is closed.
                    None => {
                        if let Some(Peer { stage: Stage::Upgrading(kept), .. }) =
                            &mut self.peers[conn.index()]
                        {
                            *kept = head;
                        }
                    }
                }
            }
            Stage::Leaving | Stage::Closing => {}
        }
    }

    /// Answers a request once it is complete, and says how long it is.
    fn upgrade(&mut self, conn: ConnId, head: &[u8]) -> Option<usize> {
        let (request, used) = match read_request(head, &HeadLimits::default()) {
            Ok(read) => read?,
            Err(_) => {
                self.close(conn);
                return None;
            }
        };
        let Some(upgrade) = request.upgrade else {
            self.close(conn);
            return None;
        };
        upgrade.write_accept(self.lines.line(conn), None, &[]);
        let stage = if request.path.starts_with(PUBLISH) {
            Stage::Publishes
        } else {
            self.subscribers.push(conn);
            Stage::Subscribes(self.subscribers.len() - 1)
        };
        if let Some(peer) = &mut self.peers[conn.index()] {
            peer.stage = stage;
        }
        Some(used)
    }

    /// Frames what a publisher sent for all subscribers, and answers control frames.
    fn decode(&mut self, conn: ConnId, mut input: &mut [u8]) {
        let Some(peer) = &mut self.peers[conn.index()] else { return };
        let publishes = matches!(peer.stage, Stage::Publishes);
        let lines = &mut self.lines;
        loop {
            match peer.decoder.next(&RULES, &mut input) {
                Ok(Some(decode::Event::Message { text, payload })) if publishes => {
                    let opcode = if text { Opcode::Text } else { Opcode::Binary };
                    frame::write(lines.shared_line(), opcode, true, payload, None);
                }
                Ok(Some(decode::Event::Ping(payload))) => {
                    frame::write(lines.line(conn), Opcode::Pong, true, payload, None);
                }
                Ok(Some(decode::Event::Message { .. } | decode::Event::Pong(_))) => {}
                Ok(Some(decode::Event::Compressed { .. })) => unreachable!("compression was not agreed on"),
                Ok(Some(decode::Event::Close(frame))) => {
                    let code = frame.map_or(CloseCode::NORMAL, |frame| frame.code);
                    close::write(lines.line(conn), code, "", None);
                    self.forget(conn);
                    self.set_stage(conn, Stage::Leaving);
                    self.leaving.push(conn);
                    return;
                }
                Ok(None) => return,
                Err(_) => {
                    self.close(conn);
                    return;
                }
            }
        }
    }

    fn short(&mut self, conn: ConnId, sent: usize, cause: &SendShort) {
        if self.is_closing(conn) {
            return;
        }
        self.lines.short(conn, sent);
        // A broken connection also ends its receive, which is where it is dealt with.
        if matches!(cause, SendShort::Full) {
            self.driver.notify_writable(conn);
        }
    }

    fn receive_ended(&mut self, conn: ConnId, cause: &ReceiveEnd) {
        match cause {
            ReceiveEnd::NoBuffers if !self.is_closing(conn) => self.driver.receive(conn),
            ReceiveEnd::NoBuffers | ReceiveEnd::Paused => {}
            ReceiveEnd::Eof | ReceiveEnd::Error(_) => self.close(conn),
        }
    }

    /// Closes those whose last frame went out.
    fn see_off(&mut self) {
        let mut leaving = mem::take(&mut self.leaving);
        leaving.retain(|&conn| {
            let is_leaving = matches!(self.stage(conn), Some(Stage::Leaving));
            if is_leaving && !self.lines.has_own(conn) {
                self.close(conn);
            }
            matches!(self.stage(conn), Some(Stage::Leaving))
        });
        self.leaving = leaving;
    }

    fn close(&mut self, conn: ConnId) {
        if self.peers[conn.index()].is_some() && !self.is_closing(conn) {
            self.forget(conn);
            self.set_stage(conn, Stage::Closing);
            // Nothing goes out on it any more.
            self.lines.reset(conn);
            self.driver.close(conn);
        }
    }

    /// Takes a connection out of the subscribers, if it is among them.
    fn forget(&mut self, conn: ConnId) {
        if let Some(&Stage::Subscribes(place)) = self.stage(conn) {
            self.subscribers.swap_remove(place);
            if let Some(&moved) = self.subscribers.get(place) {
                self.set_stage(moved, Stage::Subscribes(place));
            }
        }
    }

    fn stage(&self, conn: ConnId) -> Option<&Stage> {
        self.peers[conn.index()].as_ref().map(|peer| &peer.stage)
    }

    fn set_stage(&mut self, conn: ConnId, stage: Stage) {
        if let Some(peer) = &mut self.peers[conn.index()] {
            peer.stage = stage;
        }
    }

    fn is_closing(&self, conn: ConnId) -> bool {
        matches!(self.stage(conn), Some(Stage::Closing))
    }
}
