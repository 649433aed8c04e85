//! Fanfare's `/stream`: many topics on one connection, in JSON.
//!
//! Publishers that connect here send `publish` requests without an `id`, to which the server replies only when it
//! refuses; payloads travel as JSON strings and must be text.
//!
//! A subscriber names its topic, and with it what it wants besides, such as a policy. One that returns may go on
//! behind the last message that it had.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fanfare_wire::notice::Notice;
use fanfare_wire::topic::TopicName;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::follower::{Begun, Follower};
use super::json::{self, Problem, Text};
use super::shape::Shape;
use super::{Frames, Heard, Position, Role, Session};

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StreamSettings {
    /// What every subscriber asks for beside its topic: members of the object in `args`.
    pub(crate) subscribe: Option<Map<String, Value>>,
}

/// Reads what subscribers ask for, such as `{"policy":"skip"}`. What it means is the server's business.
pub(crate) fn subscribe_options(text: &str) -> Result<Map<String, Value>, String> {
    let Ok(Value::Object(options)) = serde_json::from_str(text) else {
        return Err(r#"must be a JSON object such as {"policy":"skip"}"#.to_owned());
    };
    if options.contains_key("topic") {
        return Err("names no topic; that is said with --topic".to_owned());
    }
    Ok(options)
}

/// What stands in `args` of a subscribe: the topic's name alone, or an object if there is more to say.
fn subscription(settings: &StreamSettings, topic: &str, resumes_at: Option<Position>) -> String {
    if settings.subscribe.is_none() && resumes_at.is_none() {
        return json::quoted(topic);
    }
    let mut members = settings.subscribe.clone().unwrap_or_default();
    if let Some(Position { epoch, seq }) = resumes_at {
        // These exclude each other.
        members.remove("last");
        members.insert("since".to_owned(), seq.into());
        members.insert("epoch".to_owned(), epoch.to_string().into());
    }
    members.insert("topic".to_owned(), topic.into());
    Value::Object(members).to_string()
}

/// # Errors
/// If the engine would refuse the topic.
pub(super) fn check(topic: &str) -> Result<(), String> {
    TopicName::parse(topic).map(|_| ()).map_err(|error| format!("the topic {topic:?}: {error}"))
}

/// The `id` of the only request that has one.
const ID: &str = "1";

#[derive(Debug)]
pub(super) struct StreamSession {
    role: Role,
    /// As JSON: for a publisher the topic's name, for a subscriber the subscription until it was asked for.
    topic: String,
    resumes_at: Option<Position>,
    is_ready: bool,
    shape: Shape,
    follower: Follower,
}

/// Everything that the server sends: messages, replies and notices.
#[derive(Debug, Deserialize)]
struct Incoming<'a> {
    #[serde(borrow)]
    op: Option<Text<'a>>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    ok: Option<bool>,
    #[serde(borrow)]
    error: Option<Problem<'a>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    encoding: Option<Text<'a>>,
    seq: Option<u64>,
    from: Option<u64>,
    to: Option<u64>,
    reconnect_after_ms: Option<u64>,
    #[serde(borrow)]
    topics: Option<&'a RawValue>,
}

/// What the server says of a topic that it was asked to subscribe to.
#[derive(Debug, Default, Deserialize)]
struct Subscribed<'a> {
    #[serde(borrow)]
    epoch: Option<Text<'a>>,
    seq: Option<u64>,
    recovered: Option<bool>,
    missing: Option<Range>,
}

#[derive(Debug, Deserialize)]
struct Range {
    from: u64,
    to: u64,
}

impl Incoming<'_> {
    /// What it says about messages, if it says that as the protocol does.
    fn notice(&self) -> Option<Notice> {
        Some(match &*self.op.as_ref()?.0 {
            "gap" => Notice::Gap { from: self.from?, to: self.to? },
            "conflated" => Notice::Conflated { from: self.from?, to: self.to? },
            "snapshot" => Notice::Snapshot { seq: self.seq? },
            "live" => Notice::Live { seq: self.seq? },
            _ => return None,
        })
    }

    fn begun(&self) -> Begun {
        let topics =
            self.topics.and_then(|topics| serde_json::from_str::<Vec<Subscribed<'_>>>(topics.get()).ok());
        let topic = topics.and_then(|topics| topics.into_iter().next()).unwrap_or_default();
        Begun {
            epoch: topic.epoch.and_then(|epoch| epoch.0.parse().ok()),
            head: topic.seq,
            is_recovered: topic.recovered == Some(true),
            missing: topic.missing.map(|range| (range.from, range.to)),
        }
    }
}

impl StreamSession {
    pub(super) fn new(
        settings: &StreamSettings,
        role: Role,
        topic: &str,
        resumes_at: Option<Position>,
    ) -> Self {
        let is_paced = settings.subscribe.as_ref().is_some_and(|options| options.contains_key("max_rate"));
        Self {
            role,
            topic: match role {
                Role::Subscriber => subscription(settings, topic, resumes_at),
                Role::Publisher => json::quoted(topic),
            },
            resumes_at,
            is_ready: false,
            shape: Shape::default(),
            follower: Follower::paced(is_paced),
        }
    }

    fn hear_any(&mut self, message: &[u8], heard: &mut dyn FnMut(Heard<'_>)) {
        let Ok(incoming) = serde_json::from_slice::<Incoming<'_>>(message) else {
            return heard(unreadable(self.is_ready, message));
        };
        match incoming.op.as_ref().map(|op| &*op.0) {
            _ if incoming.ok == Some(false) => heard(Heard::Refused(
                incoming
                    .error
                    .map_or_else(|| "the server refused a request".to_owned(), |error| error.words()),
            )),
            Some("gap" | "conflated" | "snapshot" | "live") => match incoming.notice() {
                Some(notice) => self.follower.notice(notice, true, heard),
                None => heard(Heard::Gap(None)),
            },
            Some("draining") => heard(Heard::Draining(incoming.reconnect_after_ms.unwrap_or(0))),
            Some("subscribe" | "pong") if incoming.id.is_some_and(|id| id.get() == ID) && !self.is_ready => {
                self.is_ready = true;
                if self.role == Role::Subscriber {
                    self.follower.begin(&incoming.begun(), self.resumes_at, heard);
                }
                heard(Heard::Ready);
            }
            Some(_) => {}
            None => self.hear_message(message, &incoming, heard),
        }
    }

    fn hear_message(&mut self, message: &[u8], incoming: &Incoming<'_>, heard: &mut dyn FnMut(Heard<'_>)) {
        let Some(data) = incoming.data else {
            // The tombstone of another publisher's key has its place among the messages too.
            incoming.seq.map(|seq| self.follower.numbered(seq, heard));
            return;
        };
        let payload = json::payload(data);
        let is_binary = incoming.encoding.as_ref().is_some_and(|encoding| encoding.0 == "base64");
        match payload {
            Some(text) if is_binary => match STANDARD.decode(text.as_bytes()) {
                Ok(bytes) => self.deliver(incoming.seq, &bytes, heard),
                Err(_) => heard(unreadable(self.is_ready, message)),
            },
            Some(text) => {
                if let Cow::Borrowed(text) = text {
                    self.shape.learn(message, text.as_bytes());
                }
                self.deliver(incoming.seq, text.as_bytes(), heard);
            }
            None => heard(unreadable(self.is_ready, message)),
        }
    }

    #[inline]
    fn deliver(&mut self, seq: Option<u64>, payload: &[u8], heard: &mut dyn FnMut(Heard<'_>)) {
        if seq.is_none_or(|seq| self.follower.numbered(seq, heard)) {
            heard(Heard::Message(payload));
        }
    }
}

/// What cannot be read. Once the session is ready it was a delivery that something spoilt, and it counts as one.
pub(super) fn unreadable(is_ready: bool, message: &[u8]) -> Heard<'_> {
    if is_ready {
        return Heard::Message(message);
    }
    let begin = String::from_utf8_lossy(&message[..message.len().min(60)]).into_owned();
    Heard::Refused(format!("the server does not speak this dialect: it sent {begin:?}"))
}

impl Session for StreamSession {
    fn open(&mut self, out: &mut Frames<'_>) {
        match self.role {
            Role::Subscriber => {
                let subscription = std::mem::take(&mut self.topic);
                out.text(&format!(r#"{{"op":"subscribe","args":[{subscription}],"id":{ID}}}"#));
            }
            Role::Publisher => out.text(&format!(r#"{{"op":"ping","id":{ID}}}"#)),
        }
    }

    fn hear(&mut self, text: bool, message: &[u8], _out: &mut Frames<'_>, heard: &mut dyn FnMut(Heard<'_>)) {
        match self.shape.payload_after(br#""seq":"#, message).filter(|_| text) {
            Some((payload, Some(seq))) => self.deliver(Some(seq), payload, heard),
            _ => self.hear_any(message, heard),
        }
    }

    fn publish(&mut self, payload: &[u8], out: &mut Frames<'_>) {
        out.text_of(&[
            br#"{"op":"publish","args":{"topic":"#,
            self.topic.as_bytes(),
            br#","data":""#,
            &json::escaped(payload),
            br#""}}"#,
        ]);
    }

    fn position(&self) -> Option<Position> {
        self.follower.position()
    }
}
