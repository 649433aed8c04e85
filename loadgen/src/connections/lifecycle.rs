//! What becomes of one connection: handshake, frames, end.

use fanfare_io::uring::Bytes;
use fanfare_io::{ConnId, Driver, ReceiveEnd};
use fanfare_wire::close::{self, CloseCode};
use fanfare_wire::decode::{Decoder, Event};
use fanfare_wire::frame::{self, Opcode};
use fanfare_wire::handshake::HeadLimits;
use fanfare_wire::handshake::client::{ClientHandshake, Response};

use super::Connections;

/// What a connection is for, with its number among those of its kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Subscriber(usize),
    Publisher(usize),
}

#[derive(Debug)]
pub(super) enum Stage {
    /// The request is out.
    Upgrading(Box<Upgrade>),
    Open,
    /// A Close frame went out. The server ends the connection next (RFC 6455 section 7.1.1).
    Leaving,
    /// The driver closes it.
    Closing,
}

#[derive(Debug)]
pub(super) struct Upgrade {
    handshake: ClientHandshake,
    /// What came of the answer.
    head: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) part: Part,
    pub(super) stage: Stage,
    decoder: Decoder,
}

impl Connections {
    /// The connection that was begun as `number` stands: asks for the upgrade.
    pub(super) fn connected(&mut self, conn: ConnId, number: usize) {
        let subscribers = self.targets.subscribers;
        let (part, url) = if number < subscribers {
            (Part::Subscriber(number), &self.targets.subscribe)
        } else {
            (Part::Publisher(number - subscribers), &self.targets.publish)
        };
        let handshake = ClientHandshake::new(url, self.random.nonce(), &[], &[]);
        let handshake = handshake.expect("without protocols and headers there is nothing to refuse");
        self.outbox.line(conn).extend_from_slice(handshake.request());
        let stage = Stage::Upgrading(Box::new(Upgrade { handshake, head: Vec::new() }));
        self.table[conn.index()] = Some(Connection { part, stage, decoder: Decoder::default() });
        self.alive += 1;
        self.driver.receive(conn);
    }

    pub(super) fn received(
        &mut self,
        conn: ConnId,
        mut bytes: Bytes,
        receive: &mut impl FnMut(usize, &[u8], u64),
    ) {
        // One look at the clock for all messages of a buffer: they became readable together.
        let now = self.driver.now();
        let input = match self.stage(conn) {
            Some(Stage::Open | Stage::Leaving) => &mut bytes[..],
            Some(Stage::Upgrading(_)) => match self.answered(conn, &bytes, now) {
                Some(used) => &mut bytes[used..],
                None => return,
            },
            Some(Stage::Closing) | None => return,
        };
        if let Some(end) = self.decode(conn, input, now, receive) {
            self.ended(conn, end);
        }
    }

    pub(super) fn stage(&self, conn: ConnId) -> Option<&Stage> {
        self.table[conn.index()].as_ref().map(|connection| &connection.stage)
    }

    /// Takes more of the answer to the handshake. When that makes it complete, says where in `bytes` the frames begin.
    fn answered(&mut self, conn: ConnId, bytes: &[u8], now: u64) -> Option<usize> {
        let connection = self.table[conn.index()].as_mut()?;
        let Stage::Upgrading(upgrade) = &mut connection.stage else { return None };
        let before = upgrade.head.len();
        upgrade.head.extend_from_slice(bytes);
        match upgrade.handshake.read_response(&upgrade.head, &HeadLimits::default()) {
            Ok(None) => None,
            Ok(Some((Response::Accepted { .. }, used))) => {
                connection.stage = Stage::Open;
                if let Part::Publisher(publisher) = connection.part {
                    self.publishers[publisher] = Some(conn);
                }
                self.connector.is_ready(now);
                Some(used - before)
            }
            Ok(Some((Response::Refused { status, body, .. }, _))) => {
                self.refused(conn, refusal(status, &body));
                None
            }
            Err(error) => {
                self.refused(conn, error.to_string());
                None
            }
        }
    }

    /// The handshake failed.
    fn refused(&mut self, conn: ConnId, reason: String) {
        self.connector.has_failed(reason, self.driver.now());
        self.close(conn);
    }

    /// Hands out the messages in `input`, and says why the connection ends if it does.
    fn decode(
        &mut self,
        conn: ConnId,
        mut input: &mut [u8],
        now: u64,
        receive: &mut impl FnMut(usize, &[u8], u64),
    ) -> Option<End> {
        let Connection { part, decoder, .. } = self.table[conn.index()].as_mut()?;
        loop {
            match decoder.next(&self.rules, &mut input) {
                Ok(Some(Event::Message { payload, .. })) => {
                    // What a publisher hears, where the server sends it anything, is not what is measured.
                    if let Part::Subscriber(subscriber) = *part {
                        receive(subscriber, payload, now);
                    }
                }
                Ok(None) => return None,
                Ok(Some(Event::Ping(payload))) => {
                    let key = Some(self.random.mask());
                    frame::write(self.outbox.line(conn), Opcode::Pong, true, payload, key);
                }
                Ok(Some(Event::Pong(_))) => {}
                Ok(Some(Event::Close(frame))) => {
                    let reason = match frame {
                        Some(frame) if frame.reason.is_empty() => format!("closed with {}", frame.code),
                        Some(frame) => format!("closed with {} ({})", frame.code, frame.reason),
                        None => "closed without a code".to_owned(),
                    };
                    return Some(End { reply: frame.map_or(CloseCode::NORMAL, |frame| frame.code), reason });
                }
                Err(error) => return Some(End { reply: error.close_code(), reason: error.to_string() }),
            }
        }
    }

    /// The server closes, or broke the protocol: answers it, and waits for it to end the connection.
    fn ended(&mut self, conn: ConnId, end: End) {
        if matches!(self.stage(conn), Some(Stage::Open)) {
            close::write(self.outbox.line(conn), end.reply, "", Some(self.random.mask()));
            self.lose(conn, end.reason);
            if let Some(connection) = &mut self.table[conn.index()] {
                connection.stage = Stage::Leaving;
            }
        }
    }

    pub(super) fn receive_ended(&mut self, conn: ConnId, cause: ReceiveEnd) {
        let reason = match cause {
            ReceiveEnd::Paused => return,
            ReceiveEnd::NoBuffers => {
                if !matches!(self.stage(conn), Some(Stage::Closing) | None) {
                    self.driver.receive(conn);
                }
                return;
            }
            ReceiveEnd::Eof => "the server closed the connection without a Close frame".to_owned(),
            ReceiveEnd::Error(error) => error.to_string(),
        };
        match self.stage(conn) {
            Some(Stage::Upgrading(upgrade)) => {
                let answer = upgrade.handshake.read_response_at_eof(&upgrade.head, &HeadLimits::default());
                let reason = match answer {
                    Ok((Response::Refused { status, body, .. }, _)) => refusal(status, &body),
                    Ok((Response::Accepted { .. }, _)) => reason,
                    Err(error) => error.to_string(),
                };
                self.refused(conn, reason);
            }
            Some(Stage::Open) => {
                self.lose(conn, reason);
                self.close(conn);
            }
            Some(Stage::Leaving) => self.close(conn),
            Some(Stage::Closing) | None => {}
        }
    }

    /// Notes that an open connection ends before its time.
    fn lose(&mut self, conn: ConnId, reason: String) {
        let Some(connection) = &self.table[conn.index()] else { return };
        match connection.part {
            Part::Subscriber(_) => self.lost.subscribers += 1,
            Part::Publisher(publisher) => {
                self.lost.publishers += 1;
                self.publishers[publisher] = None;
            }
        }
        self.lost.reasons.add(reason);
    }

    fn close(&mut self, conn: ConnId) {
        if let Some(connection) = &mut self.table[conn.index()] {
            connection.stage = Stage::Closing;
            self.outbox.shut(conn);
            self.driver.close(conn);
        }
    }
}

/// How the server, or its breach of the protocol, ends a connection.
struct End {
    reply: CloseCode,
    reason: String,
}

/// A refusal in a line.
fn refusal(status: u16, body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    match body.lines().next() {
        Some(line) if !line.trim().is_empty() => format!("status {status}: {}", line.trim()),
        _ => format!("status {status}"),
    }
}
