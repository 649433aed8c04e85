//! What becomes of one connection: handshake, dialect, messages, end.

use fanfare_io::uring::Bytes;
use fanfare_io::{ConnId, Driver, ReceiveEnd};
use fanfare_wire::close::{self, CloseCode};
use fanfare_wire::decode::{CloseFrame, Decoder, Event, Rules};
use fanfare_wire::deflate::Granted;
use fanfare_wire::frame::{self, Opcode};
use fanfare_wire::handshake::HeadLimits;
use fanfare_wire::handshake::client::{ClientHandshake, Response};

use super::posting::Posting;
use super::{Audience, Connections, deflate, parse};
use crate::dialect::{Frames, Heard, Resumed, Role, Session};
use crate::plan::{Reader, Target};

/// Into how many parts the connections are dealt for their heartbeats.
const HEARTBEAT_TURNS: u64 = 64;

/// How much one publisher hands over in one turn. More is stamped and sent in the next turn.
const TURN_BYTES_MAX: usize = 64 * 1024;

/// What publishers compress, where the server grants that. Smaller messages hardly shrink.
const COMPRESS_BYTES_MIN: usize = 512;

const NOT_GRANTED: &str = "the server does not grant permessage-deflate, which --deflate asks for";

/// What a connection is for, with its number among those of its kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Subscriber(usize),
    Publisher(usize),
}

pub(super) enum Stage {
    /// The request is out.
    Upgrading(Box<Upgrade>),
    /// The WebSocket stands, and the dialect has not said yet that the server is ready.
    Joining,
    Open,
    /// A publisher that needs no WebSocket.
    Posting(Box<Posting>),
    /// A Close frame went out. The server ends the connection next (RFC 6455 section 7.1.1).
    Leaving {
        returns: bool,
    },
    /// The driver closes it.
    Closing {
        returns: bool,
    },
}

impl Stage {
    /// Whether the subscriber connects again when this connection is gone.
    pub(super) fn returns(&self) -> bool {
        matches!(self, Self::Leaving { returns: true } | Self::Closing { returns: true })
    }

    pub(super) fn will_return(&mut self) {
        if let Self::Leaving { returns } | Self::Closing { returns } = self {
            *returns = true;
        }
    }
}

pub(super) struct Upgrade {
    handshake: ClientHandshake,
    /// What came of the answer.
    head: Vec<u8>,
}

pub(super) struct Connection {
    pub(super) part: Part,
    pub(super) stage: Stage,
    decoder: Decoder,
    /// What the server granted of permessage-deflate.
    granted: Option<Granted>,
    /// When the server that restarts wants it back, in the driver's time.
    pub(super) back_at: Option<u64>,
    /// `None` when every message is a payload.
    pub(super) session: Option<Box<dyn Session>>,
}

impl Connection {
    pub(super) fn new(part: Part, stage: Stage, session: Option<Box<dyn Session>>) -> Self {
        Self { part, stage, decoder: Decoder::default(), granted: None, back_at: None, session }
    }
}

impl Connections {
    /// The number of a connection among all of the worker.
    pub(super) fn number(&self, part: Part) -> usize {
        match part {
            Part::Subscriber(number) => number,
            Part::Publisher(number) => self.subscribers.len() + number,
        }
    }

    /// The connection that was begun as `number` stands: asks for the upgrade, unless it will POST.
    pub(super) fn connected(&mut self, conn: ConnId, number: usize) {
        let (rooms, target, dialect) = (&self.plan.rooms, &self.plan.target, &self.plan.dialect);
        let everyone = |number: usize| number * self.share.count + self.share.index;
        let (part, role, room, url) = match number.checked_sub(self.subscribers.len()) {
            None => {
                let room = rooms.room_of_subscriber(everyone(number));
                (Part::Subscriber(number), Role::Subscriber, room, &target.subscribe)
            }
            Some(number) => {
                let room = rooms.room_of_publisher(everyone(number));
                (Part::Publisher(number), Role::Publisher, room, &target.publish)
            }
        };
        let topic = Target::in_room(&target.topic, room);
        let (mut url, _) = parse(&Target::in_room(url, room)).expect("the plan was checked with room 0");
        self.alive += 1;
        self.driver.receive(conn);
        let poster =
            self.connector.is_http(number).then(|| dialect.poster(&url.target, &url.host_header(), &topic));
        if let (Some(poster), Part::Publisher(publisher)) = (poster.flatten(), part) {
            return self.begin_posting(conn, publisher, poster);
        }
        let resumes_at = match part {
            Part::Subscriber(subscriber) => self.positions.get(&subscriber).copied(),
            Part::Publisher(_) => None,
        };
        if let Some(position) = resumes_at {
            url.target = dialect.resumed_target(&url.target, position);
        }
        let headers = if self.plan.deflate { &[deflate::HEADER][..] } else { &[] };
        let handshake = ClientHandshake::new(&url, self.random.nonce(), dialect.subprotocols(), headers);
        let handshake = handshake.expect("a dialect's subprotocols are tokens");
        self.outbox.line(conn).extend_from_slice(handshake.request());
        let stage = Stage::Upgrading(Box::new(Upgrade { handshake, head: Vec::new() }));
        let session = dialect.session(role, &topic, resumes_at);
        self.table[conn.index()] = Some(Connection::new(part, stage, session));
    }

    pub(super) fn received(&mut self, conn: ConnId, mut bytes: Bytes, audience: &mut impl Audience) {
        // One look at the clock for all messages of a buffer: they became readable together.
        let now = self.driver.now();
        let input = match self.stage(conn) {
            Some(Stage::Open | Stage::Joining | Stage::Leaving { .. }) => &mut bytes[..],
            Some(Stage::Upgrading(_)) => match self.answered(conn, &bytes, now, audience) {
                Some(used) => &mut bytes[used..],
                None => return,
            },
            Some(Stage::Posting(_)) => return self.posted(conn, Some(&bytes), audience),
            Some(Stage::Closing { .. }) | None => return,
        };
        let len = input.len();
        if let Some(end) = self.decode(conn, input, now, audience) {
            return self.ended(conn, end, audience);
        }
        if let Some(Connection { part: Part::Subscriber(subscriber), stage: Stage::Open, .. }) =
            self.table[conn.index()]
        {
            self.bytes += len as u64;
            if self.plan.deflate {
                self.deflated.wire_bytes += len as u64;
            }
            if self.readings.is_slow_now() && self.reader(subscriber) == Reader::Slow {
                self.has_read_slowly(conn, len, now);
            }
        }
    }

    pub(super) fn stage(&self, conn: ConnId) -> Option<&Stage> {
        self.table[conn.index()].as_ref().map(|connection| &connection.stage)
    }

    /// Takes more of the answer to the handshake. When that makes it complete, says where in `bytes` the frames begin.
    fn answered(
        &mut self,
        conn: ConnId,
        bytes: &[u8],
        now: u64,
        audience: &mut impl Audience,
    ) -> Option<usize> {
        let connection = self.table[conn.index()].as_mut()?;
        let Stage::Upgrading(upgrade) = &mut connection.stage else { return None };
        let before = upgrade.head.len();
        upgrade.head.extend_from_slice(bytes);
        match upgrade.handshake.read_response(&upgrade.head, &HeadLimits::default()) {
            Ok(None) => None,
            Ok(Some((Response::Accepted { headers, deflate, .. }, used))) => {
                match (deflate, connection.part) {
                    (Some(_), Part::Subscriber(_)) => self.deflated.subscribers += 1,
                    (Some(_), Part::Publisher(_)) => self.deflated.publishers += 1,
                    // What it then receives is not what was to be measured.
                    (None, Part::Subscriber(_)) if self.plan.deflate => {
                        self.refused(conn, NOT_GRANTED.to_owned());
                        return None;
                    }
                    (None, _) => {}
                }
                connection.granted = deflate;
                connection.stage = Stage::Joining;
                let mut hearing = Hearing::of(connection);
                match &mut connection.session {
                    Some(session) => {
                        session.accepted(&headers, &mut |heard| hearing.hear(heard, now, audience));
                        session.open(&mut Frames::new(self.outbox.line(conn), &mut self.random));
                    }
                    None => hearing.is_ready = true,
                }
                if let Some(end) = self.heard(conn, hearing, now, audience) {
                    self.refused(conn, end.reason);
                    return None;
                }
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

    /// The server is ready for a connection to do what it is for.
    fn joined(&mut self, conn: ConnId, resumed: Option<Resumed>, now: u64, audience: &mut impl Audience) {
        let Some(connection) = &mut self.table[conn.index()] else { return };
        if !matches!(connection.stage, Stage::Joining) {
            return;
        }
        connection.stage = Stage::Open;
        let part = connection.part;
        let number = self.number(part);
        let is_back = self.connector.is_away(number);
        let after_ns = self.is_ready(conn, part);
        if let (Part::Subscriber(subscriber), true) = (part, is_back) {
            audience.returned(subscriber, resumed, after_ns, now);
        }
    }

    pub(super) fn is_ready(&mut self, conn: ConnId, part: Part) -> u64 {
        let number = self.number(part);
        let is_back = self.connector.is_away(number);
        let after_ns = self.connector.is_ready(number, self.driver.now());
        if !is_back {
            self.connect.record(after_ns);
        }
        match part {
            Part::Subscriber(number) => self.subscribers[number] = Some(conn),
            Part::Publisher(number) => self.publishers[number] = Some(conn),
        }
        after_ns
    }

    /// The connection could not be made ready.
    fn refused(&mut self, conn: ConnId, reason: String) {
        if let Some(connection) = &self.table[conn.index()] {
            let number = self.number(connection.part);
            self.connector.has_failed(number, reason, self.driver.now());
        }
        self.close(conn);
    }

    /// Hands out what the server says in `input`, and says why the connection ends if it does.
    fn decode(
        &mut self,
        conn: ConnId,
        mut input: &mut [u8],
        now: u64,
        audience: &mut impl Audience,
    ) -> Option<End> {
        let granted = self.table[conn.index()].as_ref()?.granted;
        let rules = Rules { compressed: granted.is_some(), ..self.rules };
        loop {
            let connection = self.table[conn.index()].as_mut()?;
            let mut hearing = Hearing::of(connection);
            let said = match connection.decoder.next(&rules, &mut input) {
                Ok(Some(Event::Compressed { text, payload })) => {
                    let inflated = self.inflation.inflate(text, payload);
                    self.deflated.compressed += u64::from(hearing.receiver.is_some());
                    inflated.map(|payload| Some(Event::Message { text, payload }))
                }
                said => said.map_err(|error| (error.close_code(), error.reason())),
            };
            match said {
                Ok(Some(Event::Message { text, payload })) => {
                    if granted.is_some() && hearing.receiver.is_some() {
                        self.deflated.messages += 1;
                        self.deflated.payload_bytes += payload.len() as u64;
                    }
                    let mut hear = |heard: Heard<'_>| hearing.hear(heard, now, audience);
                    let Some(session) = &mut connection.session else {
                        hear(Heard::Message(payload));
                        continue;
                    };
                    let mut replies = Frames::new(&mut self.replies, &mut self.random);
                    session.hear(text, payload, &mut replies, &mut hear);
                    if !self.replies.is_empty() {
                        self.outbox.line(conn).append(&mut self.replies);
                    }
                    if let Some(end) = self.heard(conn, hearing, now, audience) {
                        return Some(end);
                    }
                }
                // Nothing here sends Ping frames.
                Ok(Some(Event::Pong(payload))) => {
                    if let Some(session) = &mut connection.session {
                        session.hear_pong(payload, &mut |heard| hearing.hear(heard, now, audience));
                    }
                    if let Some(end) = self.heard(conn, hearing, now, audience) {
                        return Some(end);
                    }
                }
                Ok(None) => return None,
                Ok(Some(Event::Ping(payload))) => {
                    let key = Some(self.random.mask());
                    frame::write(self.outbox.line(conn), Opcode::Pong, true, payload, key);
                }
                Ok(Some(Event::Close(frame))) => {
                    let reply = frame.map_or(CloseCode::NORMAL, |frame| frame.code);
                    return Some(End { reply, reason: closed_with(frame) });
                }
                Ok(Some(Event::Compressed { .. })) => unreachable!("it is a message by now"),
                Err((reply, reason)) => return Some(End { reply, reason: reason.to_owned() }),
            }
        }
    }

    /// Does what follows from what a session heard. Says why the connection ends, if it does.
    fn heard(
        &mut self,
        conn: ConnId,
        hearing: Hearing,
        now: u64,
        audience: &mut impl Audience,
    ) -> Option<End> {
        if hearing.is_ready {
            self.joined(conn, hearing.resumed, now, audience);
        }
        if let (true, Some(subscriber)) = (hearing.has_caught_up, hearing.receiver) {
            let after_ns = self.connector.since_left(subscriber, now);
            audience.caught_up(subscriber, after_ns, now);
        }
        if let (Some(after_ms), Some(_)) = (hearing.draining, hearing.receiver) {
            self.draining += 1;
            if let Some(connection) = &mut self.table[conn.index()] {
                connection.back_at = Some(now.saturating_add(after_ms.saturating_mul(1_000_000)));
            }
        }
        hearing.refusal.map(|reason| End { reply: CloseCode::NORMAL, reason })
    }

    /// Publishes a payload, if the publisher's connection is open. Returns whether it can take more in this turn.
    pub(crate) fn publish(&mut self, publisher: usize, payload: &[u8]) -> bool {
        let Some(conn) = self.publishers[publisher] else { return false };
        let Some(connection) = &mut self.table[conn.index()] else { return false };
        let line = self.outbox.line(conn);
        if let Stage::Posting(posting) = &mut connection.stage {
            posting.publish(payload, self.plan.text, line);
        } else {
            let compressor = connection.granted.and_then(|granted| self.compressors.get(granted));
            let frames = Frames::new(line, &mut self.random);
            let mut frames = frames.compressing_from(COMPRESS_BYTES_MIN, compressor);
            match &mut connection.session {
                Some(session) => session.publish(payload, &mut frames),
                None if self.plan.text => frames.text_of(&[payload]),
                None => frames.binary(payload),
            }
        }
        let line = self.outbox.line(conn);
        let has_room = line.len() < TURN_BYTES_MAX;
        has_room && !matches!(&connection.stage, Stage::Posting(posting) if !posting.may_publish())
    }

    /// Says that this client is still there, where the dialect wants that, on some of the connections: their turns are spread
    /// over the whole time. Returns when the next ones are due.
    pub(crate) fn heartbeat(&mut self, now: u64) -> Option<u64> {
        let each_ns = self.plan.dialect.heartbeat()?.as_nanos() as u64;
        let turn_ns = each_ns / HEARTBEAT_TURNS;
        let turn = now / turn_ns;
        if turn != std::mem::replace(&mut self.heartbeat_turn, turn) {
            let places = (0..self.table.len()).skip((turn % HEARTBEAT_TURNS) as usize);
            for place in places.step_by(HEARTBEAT_TURNS as usize) {
                let conn = ConnId::new(place as u32);
                if let Some(Connection { stage: Stage::Open, session: Some(session), .. }) =
                    &mut self.table[place]
                {
                    session.heartbeat(&mut Frames::new(self.outbox.line(conn), &mut self.random));
                }
            }
        }
        Some((turn + 1) * turn_ns)
    }

    /// The server closes, or broke the protocol: answers it, and waits for it to end the connection.
    fn ended(&mut self, conn: ConnId, end: End, audience: &mut impl Audience) {
        match self.stage(conn) {
            Some(Stage::Open) => {
                close::write(self.outbox.line(conn), end.reply, "", Some(self.random.mask()));
                let returns = self.departs_as_told(conn, audience);
                if !returns {
                    self.lose(conn, end.reason, audience);
                }
                if let Some(connection) = &mut self.table[conn.index()] {
                    connection.stage = Stage::Leaving { returns };
                }
            }
            Some(Stage::Joining) => self.refused(conn, end.reason),
            // Whoever did not read hears only now that the server had given up on it.
            Some(Stage::Leaving { returns: false }) if end.reply != CloseCode::NORMAL => {
                self.was_lost(conn, end.reason, audience);
            }
            _ => {}
        }
    }

    /// A subscriber that is not steady turns out to have been cut off when it leaves.
    fn was_lost(&mut self, conn: ConnId, reason: String, audience: &mut impl Audience) {
        if let Some(Connection { part: Part::Subscriber(subscriber), .. }) = self.table[conn.index()]
            && self.reader(subscriber) != Reader::Steady
        {
            audience.lost(subscriber, reason);
        }
    }

    pub(super) fn receive_ended(&mut self, conn: ConnId, cause: ReceiveEnd, audience: &mut impl Audience) {
        let is_error = matches!(cause, ReceiveEnd::Error(_));
        let reason = match cause {
            ReceiveEnd::Paused | ReceiveEnd::NoBuffers => {
                let is_closing = matches!(self.stage(conn), Some(Stage::Closing { .. }) | None);
                if !is_closing && self.has_stopped(conn) {
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
            Some(Stage::Joining) => self.refused(conn, reason),
            Some(Stage::Open) => {
                let returns = self.departs_as_told(conn, audience);
                if !returns {
                    self.lose(conn, reason, audience);
                }
                self.close(conn);
                if let (true, Some(connection)) = (returns, &mut self.table[conn.index()]) {
                    connection.stage.will_return();
                }
            }
            Some(Stage::Posting(_)) if !is_error => self.posted(conn, None, audience),
            Some(Stage::Posting(_)) => {
                self.lose(conn, reason, audience);
                self.close(conn);
            }
            Some(&Stage::Leaving { returns }) => {
                if is_error && !returns {
                    self.was_lost(conn, reason, audience);
                }
                self.close(conn);
            }
            Some(Stage::Closing { .. }) | None => {}
        }
    }

    /// The server ends an open connection. A subscriber that can go on where it is, and that was told when to come back,
    /// leaves as if by itself; for others this is a loss. Says which it is.
    fn departs_as_told(&mut self, conn: ConnId, audience: &mut impl Audience) -> bool {
        match self.table[conn.index()] {
            Some(Connection { part: Part::Subscriber(subscriber), back_at: Some(_), .. })
                if self.plan.readers.recovers && self.reader(subscriber) == Reader::Returning =>
            {
                self.departs(conn, subscriber, audience);
                true
            }
            _ => false,
        }
    }

    /// Notes that an open connection ends before its time.
    pub(super) fn lose(&mut self, conn: ConnId, reason: String, audience: &mut impl Audience) {
        let Some(connection) = &self.table[conn.index()] else { return };
        match connection.part {
            Part::Subscriber(subscriber) => {
                self.subscribers[subscriber] = None;
                if self.reader(subscriber) != Reader::Steady {
                    return audience.lost(subscriber, reason);
                }
                self.lost.subscribers += 1;
            }
            Part::Publisher(publisher) => {
                self.lost.publishers += 1;
                self.publishers[publisher] = None;
            }
        }
        self.lost.reasons.add(reason);
    }
}

/// What a session hears in one message: the audience's part goes on at once, the rest is kept.
struct Hearing {
    /// `None` for who is not measured.
    receiver: Option<usize>,
    is_ready: bool,
    resumed: Option<Resumed>,
    has_caught_up: bool,
    /// The server restarts, and wants the client back after so many milliseconds.
    draining: Option<u64>,
    refusal: Option<String>,
}

impl Hearing {
    fn of(connection: &Connection) -> Self {
        // What a publisher hears, where the server sends it anything, is not what is measured, nor is what comes to one
        // that is gone in all but name.
        let receiver = match connection.part {
            Part::Subscriber(subscriber) if !connection.stage.returns() => Some(subscriber),
            Part::Subscriber(_) | Part::Publisher(_) => None,
        };
        Self { receiver, is_ready: false, resumed: None, has_caught_up: false, draining: None, refusal: None }
    }

    #[inline]
    fn hear(&mut self, heard: Heard<'_>, now: u64, audience: &mut impl Audience) {
        match (heard, self.receiver) {
            (Heard::Message(payload), Some(subscriber)) => audience.message(subscriber, payload, now),
            (Heard::Gap(messages), Some(subscriber)) => audience.gap(subscriber, messages, now),
            (Heard::Message(_) | Heard::Gap(_), None) => {}
            (Heard::Ready, _) => self.is_ready = true,
            (Heard::Resumed(resumed), _) => self.resumed = Some(resumed),
            (Heard::CaughtUp, _) => self.has_caught_up = true,
            (Heard::Draining(after_ms), _) => self.draining = Some(after_ms),
            (Heard::Refused(reason), _) => self.refusal = Some(reason),
        }
    }
}

/// How the server, or its breach of the protocol, ends a connection.
struct End {
    reply: CloseCode,
    reason: String,
}

/// How the server closed, in a line.
fn closed_with(frame: Option<CloseFrame<'_>>) -> String {
    let Some(CloseFrame { code, reason }) = frame else { return "closed without a code".to_owned() };
    let name = if code == CloseCode::RESTART { " service restart" } else { "" };
    match reason {
        "" => format!("closed with {code}{name}"),
        reason => format!("closed with {code}{name} ({reason})"),
    }
}

/// A refusal in a line.
pub(super) fn refusal(status: u16, body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    match body.lines().next() {
        Some(line) if !line.trim().is_empty() => format!("status {status}: {}", line.trim()),
        _ => format!("status {status}"),
    }
}
