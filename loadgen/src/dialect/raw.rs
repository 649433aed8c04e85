//! Raw broadcast: every message is a payload, both ways.
//!
//! Fanfare takes payloads over HTTP too, at `POST /topics/{topic}` of its control port, and so does anything that
//! takes a body as it is. It tells where a subscription begins in the handshake's answer, and says what it leaves out
//! in Pong frames; other servers do neither.

use fanfare_wire::notice::{Notice, parse_draining_words};

use super::follower::{Begun, Follower};
use super::post::{BodyPoster, Poster};
use super::{Frames, Heard, Position, Session};

/// Fanfare's publish-only path for a topic's path; the same URL for other servers.
pub(super) fn default_publish(subscribe_url: &str) -> String {
    let authority_at = subscribe_url.find("://").map_or(0, |at| at + "://".len());
    let path_at = subscribe_url[authority_at..].find(['/', '?']).map(|at| authority_at + at);
    match path_at.and_then(|at| Some((at, subscribe_url[at..].strip_prefix("/ws/")?))) {
        Some((at, topic)) => format!("{}/pub/{topic}", &subscribe_url[..at]),
        None => subscribe_url.to_owned(),
    }
}

pub(super) fn poster(target: &str, host: &str) -> Box<dyn Poster> {
    Box::new(BodyPoster::new(target, host))
}

/// # Errors
/// If counting the messages would not tell where a subscriber with this URL stands.
pub(super) fn check_recovery(subscribe_url: &str) -> Result<(), String> {
    let (_, query) = subscribe_url.split_once('?').unwrap_or_default();
    let in_the_way = query.split('&').find(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        matches!((name, value), ("since" | "epoch" | "last" | "max_rate", _) | ("policy", "conflate"))
    });
    match in_the_way {
        Some(parameter) => Err(format!(
            "the dialect raw counts messages to know where to go on, which {parameter} in the URL would upset; stream can do both"
        )),
        None => Ok(()),
    }
}

/// The path and query of a subscriber that goes on at `position`.
pub(super) fn resumed(target: &str, position: Position) -> String {
    let sign = if target.contains('?') { '&' } else { '?' };
    format!("{target}{sign}since={}&epoch={}", position.seq, position.epoch)
}

/// A subscriber's.
#[derive(Debug)]
pub(super) struct RawSession {
    resumes_at: Option<Position>,
    follower: Follower,
}

impl RawSession {
    pub(super) fn new(resumes_at: Option<Position>) -> Self {
        Self { resumes_at, follower: Follower::default() }
    }
}

impl Session for RawSession {
    fn accepted(&mut self, headers: &[(String, String)], heard: &mut dyn FnMut(Heard<'_>)) {
        let header = |name: &str| {
            let named = headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
            named.map(|(_, value)| value.as_str())
        };
        let epoch = header("Fanfare-Epoch").and_then(|epoch| epoch.parse().ok());
        let head = header("Fanfare-Seq").and_then(|seq| seq.parse().ok());
        let missing = self.resumes_at.zip(head).and_then(|(position, head)| {
            let is_known = epoch == Some(position.epoch) && position.seq < head;
            is_known.then(|| (position.seq + 1, head))
        });
        let is_recovered = header("Fanfare-Recovered") == Some("true");
        self.follower.begin(&Begun { epoch, head, is_recovered, missing }, self.resumes_at, heard);
        heard(Heard::Ready);
    }

    fn open(&mut self, _out: &mut Frames<'_>) {}

    fn hear(&mut self, _text: bool, message: &[u8], _out: &mut Frames<'_>, heard: &mut dyn FnMut(Heard<'_>)) {
        if self.follower.counted(heard) {
            heard(Heard::Message(message));
        }
    }

    fn hear_pong(&mut self, payload: &[u8], heard: &mut dyn FnMut(Heard<'_>)) {
        if let Some(notice) = Notice::parse_words(payload) {
            self.follower.notice(notice, false, heard);
        } else if let Some(reconnect_after_ms) = parse_draining_words(payload) {
            heard(Heard::Draining(reconnect_after_ms));
        }
    }

    fn publish(&mut self, payload: &[u8], out: &mut Frames<'_>) {
        out.binary(payload);
    }

    fn position(&self) -> Option<Position> {
        self.follower.position()
    }
}
