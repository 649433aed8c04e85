//! NATS over WebSocket: the client protocol's lines and payloads, in binary messages that they need not fit.
//!
//! Protocol: <https://docs.nats.io/reference/reference-protocols/nats-protocol>.

use memchr::memchr;
use serde::{Deserialize, Serialize};

use super::post::decimal;
use super::splice::{Need, Parsed, Splice};
use super::{Credential, Frames, Heard, Role, Session};

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsSettings {
    pub user: Option<String>,
    pub password: Option<Credential>,
    pub token: Option<Credential>,
}

/// # Errors
/// If the topic is no subject that messages can be published to, or half of the credentials is missing.
pub(super) fn check(settings: &NatsSettings, topic: &str) -> Result<(), String> {
    let is_token = |token: &str| !matches!(token, "" | "*" | ">");
    if topic.contains(|c: char| c.is_whitespace() || c.is_control()) || !topic.split('.').all(is_token) {
        return Err(format!(
            "{topic:?} is no NATS subject to publish to: those are words with dots between them, without spaces and wildcards"
        ));
    }
    if settings.user.is_some() != settings.password.is_some() {
        return Err("the dialect nats needs user and password together".to_owned());
    }
    Ok(())
}

#[derive(Debug)]
pub(super) struct NatsSession {
    splice: Splice,
    state: State,
}

#[derive(Debug)]
struct State {
    /// What to say to the server's introduction.
    introduction: Option<String>,
    is_ready: bool,
    /// How a delivery begins: with subject and subscription, up to the payload's length.
    delivery: Vec<u8>,
    /// How publishing begins, up to the payload's length.
    publish: Vec<u8>,
}

/// What the server needs to know of the client.
#[derive(Serialize)]
struct Connect<'a> {
    verbose: bool,
    pedantic: bool,
    tls_required: bool,
    name: &'a str,
    lang: &'a str,
    version: &'a str,
    protocol: u8,
    headers: bool,
    no_responders: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pass: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_token: Option<&'a str>,
}

impl NatsSession {
    pub(super) fn new(settings: &NatsSettings, role: Role, topic: &str) -> Self {
        let connect = Connect {
            verbose: false,
            pedantic: false,
            tls_required: false,
            name: "fanfare-loadgen",
            lang: "rust",
            version: env!("CARGO_PKG_VERSION"),
            protocol: 1,
            headers: false,
            no_responders: false,
            user: settings.user.as_deref(),
            pass: settings.password.as_ref().map(Credential::reveal),
            auth_token: settings.token.as_ref().map(Credential::reveal),
        };
        let connect = serde_json::to_string(&connect).expect("strings and flags can be written as JSON");
        let subscribe = match role {
            Role::Subscriber => format!("SUB {topic} 1\r\n"),
            Role::Publisher => String::new(),
        };
        let state = State {
            // The answer to the ping proves that the server took what came before it.
            introduction: Some(format!("CONNECT {connect}\r\n{subscribe}PING\r\n")),
            is_ready: false,
            delivery: format!("MSG {topic} 1 ").into_bytes(),
            publish: format!("PUB {topic} ").into_bytes(),
        };
        Self { splice: Splice::new(), state }
    }
}

impl State {
    /// Deals with the protocol message at the front of `input`.
    fn parse(&mut self, input: &[u8], out: &mut Frames<'_>, heard: &mut dyn FnMut(Heard<'_>)) -> Parsed {
        if let Some((head_len, payload_len)) = self.usual_delivery(input) {
            return deliver(input, head_len, payload_len, heard);
        }
        let Some(line_len) = memchr(b'\n', input).map(|at| at + 1) else { return Parsed::Needs(Need::Line) };
        let line = input[..line_len].trim_ascii();
        let word_len = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
        let (word, rest) = (line[..word_len].to_ascii_uppercase(), line[word_len..].trim_ascii());
        match &*word {
            b"MSG" => {
                // Subject, subscription, sometimes where to reply to, and the payload's length.
                let words = rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
                let length = words.clone().next_back().and_then(number);
                return match length.filter(|_| matches!(words.count(), 3 | 4)) {
                    Some(length) => deliver(input, line_len, length, heard),
                    None => Parsed::Broken("a delivery does not say how long it is"),
                };
            }
            b"INFO" => {
                if let Some(introduction) = self.introduction.take() {
                    out.binary(introduction.as_bytes());
                }
            }
            b"PING" => out.binary(b"PONG\r\n"),
            b"PONG" => {
                if !std::mem::replace(&mut self.is_ready, true) {
                    heard(Heard::Ready);
                }
            }
            b"-ERR" => {
                let reason = String::from_utf8_lossy(rest);
                heard(Heard::Refused(reason.trim_matches('\'').to_owned()));
            }
            b"+OK" => {}
            _ => return Parsed::Broken("the server does not speak NATS"),
        }
        Parsed::Took(line_len)
    }

    /// The lengths of line and payload, of a delivery as the server writes it.
    #[inline]
    fn usual_delivery(&self, input: &[u8]) -> Option<(usize, usize)> {
        let rest = input.strip_prefix(&*self.delivery)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let length = number(&rest[..digits])?;
        rest[digits..].starts_with(b"\r\n").then_some((self.delivery.len() + digits + 2, length))
    }
}

#[inline]
fn deliver(input: &[u8], head_len: usize, payload_len: usize, heard: &mut dyn FnMut(Heard<'_>)) -> Parsed {
    let total = head_len + payload_len + 2;
    let Some(body) = input.get(head_len..total) else { return Parsed::Needs(Need::Bytes(total)) };
    let Some(payload) = body.strip_suffix(b"\r\n") else {
        return Parsed::Broken("a delivery is not as long as it says");
    };
    heard(Heard::Message(payload));
    Parsed::Took(total)
}

/// At most nine digits, so that sums of lengths stay far from their limits.
#[inline]
fn number(digits: &[u8]) -> Option<usize> {
    let is_number = (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0')))
}

impl Session for NatsSession {
    /// The server introduces itself first.
    fn open(&mut self, _out: &mut Frames<'_>) {}

    fn hear(&mut self, _text: bool, message: &[u8], out: &mut Frames<'_>, heard: &mut dyn FnMut(Heard<'_>)) {
        let Self { splice, state } = self;
        splice.hear(message, heard, |input, heard| state.parse(input, out, heard));
    }

    fn publish(&mut self, payload: &[u8], out: &mut Frames<'_>) {
        let mut digits = [0; 20];
        let length = decimal(payload.len() as u64, &mut digits);
        out.binary_of(&[&self.state.publish, length, b"\r\n", payload, b"\r\n"]);
    }
}
