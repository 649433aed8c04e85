//! Fanfare's `/stream`: many topics on one connection, in JSON.
//!
//! Publishers that connect here send `publish` requests without an `id`, to which the server replies only when it
//! refuses; payloads travel as JSON strings and must be text.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fanfare_wire::topic::TopicName;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{self, Problem, Text};
use super::shape::Shape;
use super::{Frames, Heard, Role, Session};

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
    /// As a JSON string.
    topic: String,
    is_ready: bool,
    shape: Shape,
}

/// Everything that the server sends: messages, replies and gaps.
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
    from: Option<u64>,
    to: Option<u64>,
}

impl StreamSession {
    pub(super) fn new(role: Role, topic: &str) -> Self {
        Self { role, topic: json::quoted(topic), is_ready: false, shape: Shape::default() }
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
            Some("gap") => {
                let count = incoming.from.zip(incoming.to);
                let count = count.and_then(|(from, to)| to.checked_sub(from)?.checked_add(1));
                heard(Heard::Gap(count));
            }
            Some("subscribe" | "pong") if incoming.id.is_some_and(|id| id.get() == ID) && !self.is_ready => {
                self.is_ready = true;
                heard(Heard::Ready);
            }
            Some(_) => {}
            None => self.hear_message(message, &incoming, heard),
        }
    }

    fn hear_message(&mut self, message: &[u8], incoming: &Incoming<'_>, heard: &mut dyn FnMut(Heard<'_>)) {
        let Some(data) = incoming.data else { return };
        let payload = json::payload(data);
        let is_binary = incoming.encoding.as_ref().is_some_and(|encoding| encoding.0 == "base64");
        match payload {
            Some(text) if is_binary => match STANDARD.decode(text.as_bytes()) {
                Ok(bytes) => heard(Heard::Message(&bytes)),
                Err(_) => heard(unreadable(self.is_ready, message)),
            },
            Some(text) => {
                if let Cow::Borrowed(text) = text {
                    self.shape.learn(message, text.as_bytes());
                }
                heard(Heard::Message(text.as_bytes()));
            }
            None => heard(unreadable(self.is_ready, message)),
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
                out.text(&format!(r#"{{"op":"subscribe","args":[{}],"id":{ID}}}"#, self.topic));
            }
            Role::Publisher => out.text(&format!(r#"{{"op":"ping","id":{ID}}}"#)),
        }
    }

    fn hear(&mut self, text: bool, message: &[u8], _out: &mut Frames<'_>, heard: &mut dyn FnMut(Heard<'_>)) {
        match self.shape.payload(message).filter(|_| text) {
            Some(payload) => heard(Heard::Message(payload)),
            None => self.hear_any(message, heard),
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
}
