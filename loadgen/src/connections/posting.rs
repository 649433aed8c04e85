//! Publishers that POST: a connection that is kept as long as the server keeps it, and what it has not answered.
//!
//! A server that ends a connection after a response has not looked at the requests behind it (RFC 9112 section 9.6). They go
//! again over the next connection, before anything else. One that ends each connection after one response may even
//! forget the response when more was sent to it, so several requests are under way only where the server has kept a connection.

use std::collections::{HashMap, VecDeque};

use fanfare_io::ConnId;

use super::http::{Answer, Responses};
use super::lifecycle::{Connection, Part, Stage};
use super::{Audience, Connections};
use crate::dialect::Poster;

type Requests = VecDeque<Vec<u8>>;

/// One connection of a publisher.
pub(super) struct Posting {
    poster: Box<dyn Poster>,
    responses: Responses,
    /// Requests that were written and not answered, the oldest first.
    unanswered: Requests,
    /// Requests that go out when the server has shown that it keeps the connection.
    waiting: Requests,
    answered: u64,
}

/// By publisher: requests for its next connection.
pub(super) type Unanswered = HashMap<usize, Requests>;

/// What comes of an answer or of the connection's end.
enum Outcome {
    GoesOn,
    /// The server ends the connection, and did nothing wrong.
    Again,
    Failed(String),
}

impl Posting {
    pub(super) fn new(poster: Box<dyn Poster>) -> Self {
        Self {
            poster,
            responses: Responses::default(),
            unanswered: Requests::new(),
            waiting: Requests::new(),
            answered: 0,
        }
    }

    /// Writes a request at the end of `out`.
    pub(super) fn publish(&mut self, payload: &[u8], text: bool, out: &mut Vec<u8>) {
        let mut request = Vec::new();
        self.poster.request(payload, text, &mut request);
        self.write(request, out);
    }

    /// Whether a request would go out at once.
    pub(super) fn may_publish(&self) -> bool {
        self.answered > 0 || self.unanswered.is_empty()
    }

    fn write(&mut self, request: Vec<u8>, out: &mut Vec<u8>) {
        if self.may_publish() {
            out.extend_from_slice(&request);
            self.unanswered.push_back(request);
        } else {
            self.waiting.push_back(request);
        }
    }

    /// Sends what waited.
    fn go_on(&mut self, out: &mut Vec<u8>) {
        for request in std::mem::take(&mut self.waiting) {
            self.write(request, out);
        }
    }

    /// What the server has not answered.
    fn take_unanswered(&mut self) -> Requests {
        let mut all = std::mem::take(&mut self.unanswered);
        all.append(&mut self.waiting);
        all
    }

    /// Takes what the server sent, or its end.
    fn take(&mut self, bytes: Option<&[u8]>) -> Outcome {
        let Self { poster, responses, unanswered, answered, .. } = self;
        let (mut failure, mut closes) = (None, false);
        let mut judge = |answer: Answer<'_>| {
            unanswered.pop_front();
            *answered += 1;
            closes |= answer.closes;
            if let Err(reason) = poster.judge(answer.status, answer.first_line) {
                failure.get_or_insert(reason);
            }
        };
        let malformed = match bytes {
            Some(bytes) => responses.feed(bytes, &mut judge).err(),
            None => {
                responses.finish(&mut judge);
                None
            }
        };
        let failure = failure.or_else(|| malformed.map(str::to_owned));
        match (failure, bytes) {
            (Some(reason), _) => Outcome::Failed(reason),
            (None, Some(_)) if closes => Outcome::Again,
            (None, Some(_)) => Outcome::GoesOn,
            // A server may end a connection that is idle, or that it kept for a while, but one that answers nothing is none.
            (None, None) if *answered > 0 || unanswered.is_empty() => Outcome::Again,
            (None, None) => Outcome::Failed("the server closed the connection without an answer".to_owned()),
        }
    }
}

impl Connections {
    /// The connection of a publisher that POSTs stands: first goes what its last one was not answered.
    pub(super) fn begin_posting(&mut self, conn: ConnId, publisher: usize, poster: Box<dyn Poster>) {
        let mut posting = Posting::new(poster);
        for request in self.unanswered.remove(&publisher).unwrap_or_default() {
            posting.write(request, self.outbox.line(conn));
        }
        let part = Part::Publisher(publisher);
        self.table[conn.index()] = Some(Connection::new(part, Stage::Posting(Box::new(posting)), None));
        self.is_ready(conn, part);
    }

    /// The server said something to a publisher that POSTs, or ended its connection.
    pub(super) fn posted(&mut self, conn: ConnId, bytes: Option<&[u8]>, audience: &mut impl Audience) {
        let Some(Connection { part: Part::Publisher(publisher), stage, .. }) = &mut self.table[conn.index()]
        else {
            return;
        };
        let publisher = *publisher;
        let Stage::Posting(posting) = stage else { return };
        match posting.take(bytes) {
            Outcome::GoesOn => posting.go_on(self.outbox.line(conn)),
            Outcome::Failed(reason) => {
                self.lose(conn, reason, audience);
                self.close(conn);
            }
            Outcome::Again => {
                self.unanswered.insert(publisher, posting.take_unanswered());
                *stage = Stage::Closing { returns: true };
                self.publishers[publisher] = None;
                let number = self.subscribers.len() + publisher;
                self.connector.leaves(number, self.now());
                self.close(conn);
            }
        }
    }
}
