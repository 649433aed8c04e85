//! The Pusher protocol, version 7, as Sockudo, Soketi and Reverb speak it.
//!
//! Protocol: <https://pusher.com/docs/channels/library_auth_reference/pusher-websockets-protocol/>, and for requests
//! <https://pusher.com/docs/channels/library_auth_reference/rest-api/>. Publishers either send client events, which
//! reach all other subscribers of a private channel, or post to the HTTP API.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::Sha256;

use super::json::{self, Problem, Text};
use super::post::{Head, Poster};
use super::shape::Shape;
use super::stream::unreadable;
use super::{Credential, Frames, Heard, Publish, Session};

/// Servers end connections that were silent for two minutes.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(50);

const EVENT_DEFAULT: &str = "message";

/// How the names of events between clients begin.
const CLIENT: &str = "client-";

const PRIVATE: &str = "private-";

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PusherSettings {
    pub key: Option<String>,
    pub secret: Option<Credential>,
    pub app_id: Option<String>,
    pub event: Option<String>,
}

impl PusherSettings {
    fn event(&self) -> &str {
        self.event.as_deref().unwrap_or(EVENT_DEFAULT)
    }

    /// The name that the event has between clients.
    fn client_event(&self) -> String {
        let event = self.event();
        if event.starts_with(CLIENT) { event.to_owned() } else { format!("{CLIENT}{event}") }
    }

    fn credentials(&self) -> Option<(&str, &str)> {
        self.key.as_deref().zip(self.secret.as_ref().map(Credential::reveal))
    }
}

/// # Errors
/// If the channel's name is not one, or what it asks for is missing.
pub(super) fn check(
    settings: &PusherSettings,
    channel: &str,
    publish: Option<Publish>,
) -> Result<(), String> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-=@,.;".contains(&byte);
    if channel.len() > 200 || !channel.bytes().all(is_good) {
        return Err(format!(
            "{channel:?} is no Pusher channel: those have at most 200 letters, digits and signs of _-=@,.;"
        ));
    }
    for (prefix, reason) in [
        ("presence-", "its members are told of each other, which is not what is measured"),
        ("private-encrypted-", "its payloads are encrypted by clients"),
    ] {
        if channel.starts_with(prefix) {
            return Err(format!("the channel {channel} cannot be measured: {reason}"));
        }
    }
    let is_private = channel.starts_with(PRIVATE);
    if publish == Some(Publish::Sends) && !is_private {
        return Err(format!(
            "publishers over WebSocket need a private channel, such as {PRIVATE}{channel}; or publish at an http:// URL"
        ));
    }
    if (is_private || publish.is_some()) && settings.credentials().is_none() {
        return Err(
            "the dialect pusher needs the settings key and secret to publish, and for private channels"
                .to_owned(),
        );
    }
    Ok(())
}

/// The HTTP API of the same server if the app's id is known; else the same URL, for client events.
pub(super) fn default_publish(settings: &PusherSettings, subscribe_url: &str) -> String {
    let api = settings.app_id.as_ref().map(|id| format!("/apps/{id}/events"));
    api.and_then(|path| super::http_sibling(subscribe_url, &path)).unwrap_or_else(|| subscribe_url.to_owned())
}

#[derive(Debug)]
pub(super) struct PusherSession {
    settings: PusherSettings,
    channel: String,
    client_event: String,
    is_ready: bool,
    shape: Shape,
}

#[derive(Debug, Deserialize)]
struct Incoming<'a> {
    #[serde(borrow)]
    event: Text<'a>,
    #[serde(borrow)]
    channel: Option<Text<'a>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct Established<'a> {
    #[serde(borrow)]
    socket_id: Text<'a>,
}

#[derive(Debug, Deserialize)]
struct SubscriptionError<'a> {
    #[serde(borrow)]
    error: Text<'a>,
}

impl PusherSession {
    pub(super) fn new(settings: &PusherSettings, channel: &str) -> Self {
        Self {
            settings: settings.clone(),
            channel: channel.to_owned(),
            client_event: settings.client_event(),
            is_ready: false,
            shape: Shape::default(),
        }
    }

    fn hear_any(&mut self, message: &[u8], out: &mut Frames<'_>, heard: &mut dyn FnMut(Heard<'_>)) {
        let Ok(incoming) = serde_json::from_slice::<Incoming<'_>>(message) else {
            return heard(unreadable(self.is_ready, message));
        };
        let data = incoming.data.and_then(json::payload);
        let text = data.as_deref().unwrap_or_default();
        match &*incoming.event.0 {
            "pusher:connection_established" => match serde_json::from_str::<Established<'_>>(text) {
                Ok(established) => self.subscribe(&established.socket_id.0, out),
                Err(_) => heard(unreadable(false, message)),
            },
            "pusher_internal:subscription_succeeded" => {
                let is_ours = incoming.channel.is_some_and(|channel| channel.0 == self.channel);
                if is_ours && !std::mem::replace(&mut self.is_ready, true) {
                    heard(Heard::Ready);
                }
            }
            "pusher:ping" => out.text(r#"{"event":"pusher:pong","data":{}}"#),
            "pusher:error" => {
                let words = serde_json::from_str::<Problem<'_>>(text).map(|problem| problem.words());
                heard(Heard::Refused(words.unwrap_or_else(|_| text.to_owned())));
            }
            "pusher:subscription_error" => {
                let reason = serde_json::from_str::<SubscriptionError<'_>>(text);
                let reason = reason.map_or_else(|_| text.to_owned(), |reason| reason.error.0.into_owned());
                heard(Heard::Refused(format!("the server refused the subscription: {reason}")));
            }
            event if event == self.settings.event() || event == self.client_event => match data {
                None => heard(unreadable(self.is_ready, message)),
                Some(payload) => {
                    if let Cow::Borrowed(payload) = payload {
                        self.shape.learn(message, payload.as_bytes());
                    }
                    heard(Heard::Message(payload.as_bytes()));
                }
            },
            _ => {}
        }
    }

    /// Subscribes. Publishers do so too: only subscribers of a channel may send events to it.
    fn subscribe(&self, socket_id: &str, out: &mut Frames<'_>) {
        let channel = json::quoted(&self.channel);
        let auth = match self.settings.credentials() {
            Some((key, secret)) if self.channel.starts_with(PRIVATE) => {
                let signature = sign(secret, &format!("{socket_id}:{}", self.channel));
                format!(r#""auth":{},"#, json::quoted(&format!("{key}:{signature}")))
            }
            _ => String::new(),
        };
        out.text(&format!(r#"{{"event":"pusher:subscribe","data":{{{auth}"channel":{channel}}}}}"#));
    }
}

impl Session for PusherSession {
    /// The server names the socket first.
    fn open(&mut self, _out: &mut Frames<'_>) {}

    fn hear(&mut self, text: bool, message: &[u8], out: &mut Frames<'_>, heard: &mut dyn FnMut(Heard<'_>)) {
        match self.shape.payload(message).filter(|_| text) {
            Some(payload) => heard(Heard::Message(payload)),
            None => self.hear_any(message, out, heard),
        }
    }

    fn publish(&mut self, payload: &[u8], out: &mut Frames<'_>) {
        out.text_of(&[
            br#"{"event":""#,
            &json::escaped(self.client_event.as_bytes()),
            br#"","data":""#,
            &json::escaped(payload),
            br#"","channel":""#,
            self.channel.as_bytes(),
            br#""}"#,
        ]);
    }

    fn heartbeat(&mut self, out: &mut Frames<'_>) {
        // A publisher's messages are signs of life too, but this costs nothing.
        out.text(r#"{"event":"pusher:ping","data":{}}"#);
    }
}

pub(super) fn poster(settings: &PusherSettings, target: &str, host: &str, channel: &str) -> Box<dyn Poster> {
    let path = target.split('?').next().unwrap_or_default();
    Box::new(PusherPoster {
        settings: settings.clone(),
        path: path.to_owned(),
        head: Head::new(path, host),
        before: format!(
            r#"{{"name":{},"channel":{},"data":""#,
            json::quoted(settings.event()),
            json::quoted(channel)
        ),
        body: Vec::new(),
    })
}

#[derive(Debug)]
struct PusherPoster {
    settings: PusherSettings,
    path: String,
    head: Head,
    /// The body up to the payload.
    before: String,
    body: Vec<u8>,
}

impl PusherPoster {
    /// Key, time and signature of a request with `self.body`.
    fn query(&self, time_s: u64) -> String {
        let (key, secret) = self.settings.credentials().unwrap_or_default();
        let body_md5 = hex(&Md5::digest(&self.body));
        let query = format!("auth_key={key}&auth_timestamp={time_s}&auth_version=1.0&body_md5={body_md5}");
        let signature = sign(secret, &format!("POST\n{}\n{query}", self.path));
        format!("?{query}&auth_signature={signature}")
    }
}

impl Poster for PusherPoster {
    fn request(&mut self, payload: &[u8], _text: bool, out: &mut Vec<u8>) {
        self.body.clear();
        for part in [self.before.as_bytes(), &json::escaped(payload), br#""}"#] {
            self.body.extend_from_slice(part);
        }
        // Of a clock before 1970 the server will say what is wrong with it.
        let time_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.head.write(out, &self.query(time_s), "application/json", "", self.body.len());
        out.extend_from_slice(&self.body);
    }
}

/// HMAC-SHA256 in hexadecimal.
fn sign(secret: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    hex(&mac.finalize().into_bytes())
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in the HTTP API's document, section "Worked authentication example".
    #[test]
    fn requests_are_signed_as_the_document_shows() {
        let settings = PusherSettings {
            key: Some("278d425bdf160c739803".to_owned()),
            secret: Some(Credential::new("7ad3773142a6692b25b8")),
            ..PusherSettings::default()
        };
        let path = "/apps/3/events".to_owned();
        let poster = PusherPoster {
            settings,
            head: Head::new(&path, "localhost"),
            path,
            before: String::new(),
            body: br#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#.to_vec(),
        };
        assert_eq!(
            poster.query(1_353_088_179),
            "?auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0\
             &body_md5=ec365a775a4cd0599faeb73354201b6f\
             &auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
        );
    }

    /// The example in "Authenticating users and authorizing channels".
    #[test]
    fn subscriptions_are_signed_as_the_document_shows() {
        assert_eq!(
            sign("7ad3773142a6692b25b8", "1234.1234:private-foobar"),
            "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"
        );
    }
}
