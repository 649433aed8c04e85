//! Dialects: what servers want to hear before they deliver, and how they wrap what they deliver.
//!
//! A dialect is one small file. It sees whole WebSocket messages, never sockets, and tells what they mean in the
//! measurement's words ([`Heard`]). `nchan` needs no session, nor do publishers of `raw`: there every message is a
//! payload.
//!
//! - `settings`: the dialects by name, with what each needs to know
//! - `credential`: settings that no report may show
//! - `frames`: what a session writes to
//! - `json`, `shape`: payloads inside JSON, and how deliveries that look alike are recognised without parsing them
//! - `splice`: protocols of their own inside binary messages, split anywhere
//! - `post`: publishing with HTTP requests
//! - `raw`, `nchan`: every message is a payload
//! - `stream`: Fanfare's JSON protocol for many topics
//! - `follower`: where a subscriber of one of Fanfare's two stands in its topic
//! - `nats`, `mqtt`: byte streams inside binary messages
//! - `pusher`, `centrifuge`: JSON protocols

mod centrifuge;
mod credential;
mod follower;
mod frames;
mod json;
mod mqtt;
mod nats;
mod nchan;
mod post;
mod pusher;
mod raw;
mod settings;
mod shape;
mod splice;
mod stream;

use std::time::Duration;

use fanfare_wire::subscribe::Epoch;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use centrifuge::CentrifugeSettings;
pub use credential::Credential;
pub use frames::Frames;
pub use mqtt::MqttSettings;
pub use nats::NatsSettings;
pub use post::Poster;
pub use pusher::PusherSettings;
pub use settings::{DESCRIPTIONS, Description};
pub use stream::StreamSettings;
pub(crate) use stream::subscribe_options;

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Subscriber,
    Publisher,
}

/// How a server's clients talk, with what they need to be let in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Dialect {
    Raw,
    Stream(StreamSettings),
    Nats(NatsSettings),
    Mqtt(MqttSettings),
    Nchan,
    Pusher(PusherSettings),
    Centrifuge(CentrifugeSettings),
}

/// What a subscriber or a publisher heard from the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// The subscription stands, or publishing may begin. Said once; nothing is measured before it.
    Ready,
    /// A payload that some publisher sent to the topic.
    Message(&'a [u8]),
    /// The server says that it left out messages of the topic for this subscriber; how many, if it says that.
    Gap(Option<u64>),
    /// Said before [`Ready`](Self::Ready) by a session that was to go on where another one left: whether it does.
    Resumed(Resumed),
    /// A session that goes on where another one left has got all that had been published until it was ready.
    CaughtUp,
    /// The server restarts: it ends the connection soon, and the client should be back after so many milliseconds.
    Draining(u64),
    /// The server does not let this connection do what it is for, and why.
    Refused(String),
}

/// What became of a subscription that was to go on where another one left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resumed {
    /// It goes on there.
    Recovered,
    /// It does not, and the server says how much it left out: a [`Heard::Gap`].
    Announced,
    /// It does not, and nobody knows how much it lacks.
    Lost,
}

/// Where a subscription stands: behind this message of its topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    pub epoch: Epoch,
    pub seq: u64,
}

/// One connection's side of a dialect.
pub trait Session {
    /// The server accepted the handshake, with these headers.
    fn accepted(&mut self, _headers: &[(String, String)], _heard: &mut dyn FnMut(Heard<'_>)) {}

    /// The WebSocket connection stands. Most dialects introduce themselves.
    fn open(&mut self, out: &mut Frames<'_>);

    /// The server sent a message. Says what that means, and answers it if it has to be answered.
    fn hear(&mut self, text: bool, message: &[u8], out: &mut Frames<'_>, heard: &mut dyn FnMut(Heard<'_>));

    /// The server sent a Pong frame, and nobody had asked for one.
    fn hear_pong(&mut self, _payload: &[u8], _heard: &mut dyn FnMut(Heard<'_>)) {}

    /// Publishes a payload to the connection's topic. Where [`Dialect::carries_binary`] says no, it must be UTF-8.
    fn publish(&mut self, payload: &[u8], out: &mut Frames<'_>);

    /// Says that this client is still there. To be called each `Dialect::heartbeat` once the session is ready.
    fn heartbeat(&mut self, _out: &mut Frames<'_>) {}

    /// Where the subscription stands, for another session to go on from there.
    fn position(&self) -> Option<Position> {
        None
    }
}

impl Dialect {
    /// The session of one connection, or `None` where every message is a payload and a connection is ready once it
    /// stands. One that resumes must also have the [`resumed_target`](Self::resumed_target).
    ///
    /// Topic and settings must have passed [`check`](Self::check), and what resumes
    /// `check_recovery`.
    pub fn session(&self, role: Role, topic: &str, resumes_at: Option<Position>) -> Option<Box<dyn Session>> {
        Some(match self {
            Self::Raw if role == Role::Subscriber => Box::new(raw::RawSession::new(resumes_at)),
            Self::Raw | Self::Nchan => return None,
            Self::Stream(settings) => Box::new(stream::StreamSession::new(settings, role, topic, resumes_at)),
            Self::Nats(settings) => Box::new(nats::NatsSession::new(settings, role, topic)),
            Self::Mqtt(settings) => Box::new(mqtt::MqttSession::new(settings, role, topic)),
            Self::Pusher(settings) => Box::new(pusher::PusherSession::new(settings, topic)),
            Self::Centrifuge(settings) => Box::new(centrifuge::CentrifugeSession::new(settings, role, topic)),
        })
    }

    /// The path and query of a subscriber's URL, for one that resumes.
    pub fn resumed_target(&self, target: &str, resumes_at: Position) -> String {
        match self {
            Self::Raw => raw::resumed(target, resumes_at),
            _ => target.to_owned(),
        }
    }

    /// Lets every subscriber ask for this beside its topic.
    ///
    /// # Errors
    /// If the dialect says nothing beside the topic.
    pub(crate) fn subscribe_with(&mut self, options: Map<String, Value>) -> Result<(), String> {
        match self {
            Self::Stream(settings) => {
                settings.subscribe = Some(options);
                Ok(())
            }
            Self::Raw => Err(
                "the dialect raw has no JSON to say that in; write it as the URL's query, such as ?policy=skip"
                    .to_owned(),
            ),
            _ => Err(format!("this is for the dialect stream, and not for {}", self.name())),
        }
    }

    /// What every subscriber asks for beside its topic, as JSON.
    pub(crate) fn subscribe_options(&self) -> Option<String> {
        match self {
            Self::Stream(StreamSettings { subscribe: Some(options) }) => {
                Some(Value::Object(options.clone()).to_string())
            }
            _ => None,
        }
    }

    /// Whether subscribers that return can go on behind the last message that they had.
    ///
    /// # Errors
    /// Why they cannot, in a sentence.
    pub(crate) fn check_recovery(&self, subscribe_url: &str) -> Result<(), String> {
        match self {
            Self::Raw => raw::check_recovery(subscribe_url),
            Self::Stream(_) => Ok(()),
            _ => Err(format!("the dialect {} cannot recover; stream and raw can", self.name())),
        }
    }

    /// Writes the requests of one publisher that publishes with HTTP, to `target` (path and query) at `host` (the
    /// value of the Host header). `None` if the dialect has no way to do that.
    pub fn poster(&self, target: &str, host: &str, topic: &str) -> Option<Box<dyn Poster>> {
        match self {
            Self::Raw | Self::Stream(_) => Some(raw::poster(target, host)),
            Self::Nchan => Some(nchan::poster(target, host)),
            Self::Pusher(settings) => Some(pusher::poster(settings, target, host, topic)),
            Self::Centrifuge(settings) => Some(centrifuge::poster(settings, target, host, topic)),
            Self::Nats(_) | Self::Mqtt(_) => None,
        }
    }

    /// What to offer in `Sec-WebSocket-Protocol`.
    pub fn subprotocols(&self) -> &'static [&'static str] {
        match self {
            Self::Mqtt(_) => &["mqtt"],
            _ => &[],
        }
    }

    /// How often [`Session::heartbeat`] must be called, where the server takes long silence for the client's end.
    pub(crate) fn heartbeat(&self) -> Option<Duration> {
        matches!(self, Self::Pusher(_)).then_some(pusher::HEARTBEAT)
    }

    /// Whether messages name a topic, so that the plan must have one.
    pub(crate) fn needs_topic(&self) -> bool {
        !matches!(self, Self::Raw | Self::Nchan)
    }

    /// Whether payloads that are not UTF-8 arrive as they were published, when they are published at `publish_url`.
    pub fn carries_binary(&self, publish_url: &str) -> bool {
        match self {
            Self::Raw | Self::Nats(_) | Self::Mqtt(_) => true,
            // Over HTTP the server is told that they are binary: Fanfare delivers them in base64, and Nchan in binary
            // messages. Over WebSocket it is not, and takes them for text.
            Self::Stream(_) | Self::Nchan => is_http(publish_url),
            Self::Pusher(_) | Self::Centrifuge(_) => false,
        }
    }

    /// Where publishers go when nobody said where: the subscribers' URL, or what the server has for publishers.
    pub(crate) fn default_publish(&self, subscribe_url: &str) -> String {
        match self {
            Self::Raw => raw::default_publish(subscribe_url),
            Self::Pusher(settings) => pusher::default_publish(settings, subscribe_url),
            Self::Centrifuge(settings) => centrifuge::default_publish(settings, subscribe_url),
            Self::Stream(_) | Self::Nats(_) | Self::Mqtt(_) | Self::Nchan => subscribe_url.to_owned(),
        }
    }

    /// Holds a topic and the publishers' URL, if there are publishers, against what the dialect can do with its settings.
    ///
    /// # Errors
    /// What cannot work, in a sentence.
    pub fn check(&self, topic: &str, publish_url: Option<&str>) -> Result<(), String> {
        if self.needs_topic() && topic.is_empty() {
            return Err(format!("the dialect {} needs a topic", self.name()));
        }
        let publish = publish_url.map(|url| if is_http(url) { Publish::Posts } else { Publish::Sends });
        if publish == Some(Publish::Posts) && matches!(self, Self::Nats(_) | Self::Mqtt(_)) {
            return Err(format!("the dialect {} publishes over WebSocket only, not with HTTP", self.name()));
        }
        match self {
            Self::Raw | Self::Nchan => Ok(()),
            Self::Stream(_) => stream::check(topic),
            Self::Nats(settings) => nats::check(settings, topic),
            Self::Mqtt(settings) => mqtt::check(settings, topic),
            Self::Pusher(settings) => pusher::check(settings, topic, publish),
            Self::Centrifuge(settings) => centrifuge::check(settings, publish),
        }
    }
}

/// How publishers publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Publish {
    /// Over WebSocket.
    Sends,
    /// With HTTP requests.
    Posts,
}

fn is_http(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("http"))
}

/// The same host and port for another scheme and path: `http://host:9000/path` of `ws://host:9000/other`.
fn http_sibling(ws_url: &str, path: &str) -> Option<String> {
    let (scheme, rest) = ws_url.split_once("://")?;
    let http = match scheme {
        _ if scheme.eq_ignore_ascii_case("ws") => "http",
        _ if scheme.eq_ignore_ascii_case("wss") => "https",
        _ => return None,
    };
    let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
    Some(format!("{http}://{authority}{path}"))
}

#[cfg(test)]
mod tests;
