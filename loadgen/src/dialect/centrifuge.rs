//! Centrifugo's JSON protocol, version 2: commands, replies and pushes, one JSON object a line.
//!
//! Protocol: <https://centrifugal.dev/docs/transports/client_protocol>. Publishers either send `publish` commands,
//! which the server must allow to clients, or post to the HTTP API.

use std::borrow::Cow;

use memchr::memchr;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::json::{self, Problem, Text};
use super::post::{Head, Poster, decimal};
use super::shape::Shape;
use super::stream::unreadable;
use super::{Credential, Frames, Heard, Publish, Role, Session};

/// From this code on, the server ends a subscription and expects the client to subscribe again: it lost messages, as
/// with 2500, "insufficient state".
const RESUBSCRIBE: u32 = 2500;

const CONNECT_ID: u64 = 1;

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CentrifugeSettings {
    pub token: Option<Credential>,
    pub api_key: Option<Credential>,
}

/// # Errors
/// If publishers shall use the HTTP API and have no key to it, or one that no header can carry.
pub(super) fn check(settings: &CentrifugeSettings, publish: Option<Publish>) -> Result<(), String> {
    match &settings.api_key {
        None if publish == Some(Publish::Posts) => {
            Err("the dialect centrifuge needs the setting api_key to publish over HTTP".to_owned())
        }
        Some(key) if !key.reveal().bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err("the setting api_key must be printable ASCII without spaces".to_owned())
        }
        _ => Ok(()),
    }
}

/// The HTTP API of the same server if there is a key to it; else the same URL.
pub(super) fn default_publish(settings: &CentrifugeSettings, subscribe_url: &str) -> String {
    let api = settings.api_key.as_ref().and_then(|_| super::http_sibling(subscribe_url, "/api/publish"));
    api.unwrap_or_else(|| subscribe_url.to_owned())
}

#[derive(Debug)]
pub(super) struct CentrifugeSession {
    role: Role,
    /// As a JSON string.
    channel: String,
    token: Option<Credential>,
    last_id: u64,
    subscribe_id: u64,
    is_ready: bool,
    /// Whether the server wants its pings answered.
    answers_pings: bool,
    shape: Shape,
}

/// A reply to a command, a push, or the empty object, which is a ping.
#[derive(Debug, Deserialize)]
struct Incoming<'a> {
    #[serde(default)]
    id: u64,
    #[serde(borrow)]
    error: Option<Problem<'a>>,
    connect: Option<Connected>,
    #[serde(borrow)]
    push: Option<Push<'a>>,
}

#[derive(Debug, Deserialize)]
struct Connected {
    #[serde(default)]
    pong: bool,
}

#[derive(Debug, Deserialize)]
struct Push<'a> {
    #[serde(borrow, rename = "pub")]
    publication: Option<Publication<'a>>,
    #[serde(borrow)]
    unsubscribe: Option<End<'a>>,
    #[serde(borrow)]
    disconnect: Option<End<'a>>,
}

#[derive(Debug, Deserialize)]
struct Publication<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

/// Why the server ends something.
#[derive(Debug, Deserialize)]
struct End<'a> {
    #[serde(default)]
    code: u32,
    #[serde(borrow)]
    reason: Option<Text<'a>>,
}

impl End<'_> {
    fn words(&self, what: &str) -> String {
        let reason = self.reason.as_ref().map_or("no reason given", |reason| &reason.0);
        format!("the server ended {what}: {reason} (code {})", self.code)
    }
}

impl CentrifugeSession {
    pub(super) fn new(settings: &CentrifugeSettings, role: Role, channel: &str) -> Self {
        Self {
            role,
            channel: json::quoted(channel),
            token: settings.token.clone(),
            last_id: CONNECT_ID,
            subscribe_id: 0,
            is_ready: false,
            answers_pings: false,
            shape: Shape::default(),
        }
    }

    fn hear_line(&mut self, line: &[u8], out: &mut Frames<'_>, heard: &mut dyn FnMut(Heard<'_>)) {
        let Ok(incoming) = serde_json::from_slice::<Incoming<'_>>(line) else {
            return heard(unreadable(self.is_ready, line));
        };
        if let Some(error) = incoming.error {
            heard(Heard::Refused(error.words()));
        } else if let Some(push) = incoming.push {
            self.hear_push(line, push, out, heard);
        } else if let Some(connected) = incoming.connect {
            self.answers_pings = connected.pong;
            match self.role {
                Role::Subscriber => self.subscribe(out),
                Role::Publisher => self.ready(heard),
            }
        } else if incoming.id == 0 {
            if self.answers_pings {
                out.text("{}");
            }
        } else if incoming.id == self.subscribe_id {
            self.ready(heard);
        }
    }

    fn hear_push(
        &mut self,
        line: &[u8],
        push: Push<'_>,
        out: &mut Frames<'_>,
        heard: &mut dyn FnMut(Heard<'_>),
    ) {
        if let Some(publication) = push.publication {
            match json::payload(publication.data) {
                Some(payload) => {
                    if let Cow::Borrowed(payload) = payload {
                        self.shape.learn(line, payload.as_bytes());
                    }
                    heard(Heard::Message(payload.as_bytes()));
                }
                None => heard(unreadable(self.is_ready, line)),
            }
        }
        match push.unsubscribe {
            Some(end) if end.code >= RESUBSCRIBE => {
                heard(Heard::Gap(None));
                self.subscribe(out);
            }
            Some(end) => heard(Heard::Refused(end.words("the subscription"))),
            None => {}
        }
        if let Some(end) = push.disconnect {
            heard(Heard::Refused(end.words("the connection")));
        }
    }

    fn subscribe(&mut self, out: &mut Frames<'_>) {
        self.last_id += 1;
        self.subscribe_id = self.last_id;
        out.text(&format!(r#"{{"id":{},"subscribe":{{"channel":{}}}}}"#, self.last_id, self.channel));
    }

    fn ready(&mut self, heard: &mut dyn FnMut(Heard<'_>)) {
        if !std::mem::replace(&mut self.is_ready, true) {
            heard(Heard::Ready);
        }
    }
}

impl Session for CentrifugeSession {
    fn open(&mut self, out: &mut Frames<'_>) {
        let token = self
            .token
            .as_ref()
            .map_or_else(String::new, |token| format!(r#""token":{},"#, json::quoted(token.reveal())));
        out.text(&format!(r#"{{"id":{CONNECT_ID},"connect":{{{token}"name":"fanfare-loadgen"}}}}"#));
    }

    fn hear(&mut self, text: bool, message: &[u8], out: &mut Frames<'_>, heard: &mut dyn FnMut(Heard<'_>)) {
        let mut rest = message;
        while !rest.is_empty() {
            // JSON has no line feed inside a string, and servers write none elsewhere.
            let end = memchr(b'\n', rest).unwrap_or(rest.len());
            let line = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or_default();
            match self.shape.payload(line).filter(|_| text) {
                Some(payload) => heard(Heard::Message(payload)),
                None if line.is_empty() => {}
                None => self.hear_line(line, out, heard),
            }
        }
    }

    fn publish(&mut self, payload: &[u8], out: &mut Frames<'_>) {
        self.last_id += 1;
        out.text_of(&[
            br#"{"id":"#,
            decimal(self.last_id, &mut [0; 20]),
            br#","publish":{"channel":"#,
            self.channel.as_bytes(),
            br#","data":""#,
            &json::escaped(payload),
            br#""}}"#,
        ]);
    }
}

pub(super) fn poster(
    settings: &CentrifugeSettings,
    target: &str,
    host: &str,
    channel: &str,
) -> Box<dyn Poster> {
    let key = settings.api_key.as_ref().map_or("", Credential::reveal);
    Box::new(CentrifugePoster {
        head: Head::new(target, host),
        key: Credential::new(format!("X-API-Key: {key}\r\n")),
        before: format!(r#"{{"channel":{},"data":""#, json::quoted(channel)),
    })
}

#[derive(Debug)]
struct CentrifugePoster {
    head: Head,
    /// The header with the key.
    key: Credential,
    /// The body up to the payload.
    before: String,
}

impl Poster for CentrifugePoster {
    fn request(&mut self, payload: &[u8], _text: bool, out: &mut Vec<u8>) {
        let payload = json::escaped(payload);
        let parts = [self.before.as_bytes(), &payload, br#""}"#];
        let length = parts.iter().map(|part| part.len()).sum();
        self.head.write(out, "", "application/json", self.key.reveal(), length);
        parts.iter().for_each(|part| out.extend_from_slice(part));
    }

    /// Errors of the API come with status 200 too.
    fn judge(&self, status: u16, first_line: &str) -> Result<(), String> {
        match (status, first_line.trim()) {
            (200, line) if line.starts_with(r#"{"error""#) => Err(line.to_owned()),
            (200, _) => Ok(()),
            (_, line) => Err(format!("status {status}: {line}")),
        }
    }
}
