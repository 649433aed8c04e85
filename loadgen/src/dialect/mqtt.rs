//! MQTT 3.1.1 over WebSocket, QoS 0: control packets in binary messages that they need not fit.
//!
//! Protocol: <https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html>; section numbers are of it. The keep
//! alive is 0, which turns the server's watch over silent clients off.

use serde::{Deserialize, Serialize};

use super::splice::{Need, Parsed, Splice};
use super::{Credential, Frames, Heard, Role, Session};

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttSettings {
    pub user: Option<String>,
    pub password: Option<Credential>,
}

// The first byte of each packet that is sent or understood (section 2.2).
const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
const PINGRESP: u8 = 0xd0;

/// Of a string's or a password's length field.
const FIELD_BYTES_MAX: usize = u16::MAX as usize;

/// # Errors
/// If messages cannot be published to the topic, or a text is too long or has no user to go with it.
pub(super) fn check(settings: &MqttSettings, topic: &str) -> Result<(), String> {
    if topic.contains(['+', '#', '\0']) {
        return Err(format!("{topic:?} is no MQTT topic to publish to: those are without + and #"));
    }
    if settings.password.is_some() && settings.user.is_none() {
        return Err("the dialect mqtt takes a password only together with a user".to_owned());
    }
    let user = settings.user.as_deref().unwrap_or_default();
    let password = settings.password.as_ref().map_or("", Credential::reveal);
    if [topic, user, password].iter().any(|text| text.len() > FIELD_BYTES_MAX) {
        return Err(format!("MQTT topics, users and passwords have at most {FIELD_BYTES_MAX} bytes"));
    }
    Ok(())
}

#[derive(Debug)]
pub(super) struct MqttSession {
    splice: Splice,
    settings: MqttSettings,
    state: State,
}

#[derive(Debug)]
struct State {
    role: Role,
    /// With its length before it.
    topic: Vec<u8>,
    is_ready: bool,
}

impl MqttSession {
    pub(super) fn new(settings: &MqttSettings, role: Role, topic: &str) -> Self {
        let topic = field(topic);
        let state = State { role, topic, is_ready: false };
        Self { splice: Splice::new(), settings: settings.clone(), state }
    }
}

impl State {
    /// Deals with the packet at the front of `input`.
    fn parse(&mut self, input: &[u8], out: &mut Frames<'_>, heard: &mut dyn FnMut(Heard<'_>)) -> Parsed {
        let (body_at, body_len) = match read_length(input) {
            Ok(length) => length,
            Err(parsed) => return parsed,
        };
        let total = body_at + body_len;
        let Some(body) = input.get(body_at..total) else { return Parsed::Needs(Need::Bytes(total)) };
        match input[0] {
            first if first & 0xf0 == PUBLISH => match published(first, body) {
                Some(payload) => heard(Heard::Message(payload)),
                None => return Parsed::Broken("a delivery is shorter than its topic"),
            },
            CONNACK => match body {
                [_, 0] => self.connected(out, heard),
                [_, code] => heard(Heard::Refused(refusal(*code))),
                _ => return Parsed::Broken("the answer to CONNECT is malformed"),
            },
            SUBACK => match body {
                [_, _, 0..=2] => self.ready(heard),
                [_, _, _] => heard(Heard::Refused("the server refused the subscription".to_owned())),
                _ => return Parsed::Broken("the answer to SUBSCRIBE is malformed"),
            },
            PINGRESP => {}
            _ => return Parsed::Broken("the server does not speak MQTT 3.1.1"),
        }
        Parsed::Took(total)
    }

    fn connected(&mut self, out: &mut Frames<'_>, heard: &mut dyn FnMut(Heard<'_>)) {
        match self.role {
            Role::Publisher => self.ready(heard),
            Role::Subscriber => {
                // The packet has number 1, and asks for QoS 0.
                let (number, qos) = ([0, 1], [0]);
                let length = number.len() + self.topic.len() + qos.len();
                out.binary_of(&[&[SUBSCRIBE], Length::new(length).bytes(), &number, &self.topic, &qos]);
            }
        }
    }

    fn ready(&mut self, heard: &mut dyn FnMut(Heard<'_>)) {
        if !std::mem::replace(&mut self.is_ready, true) {
            heard(Heard::Ready);
        }
    }
}

/// The payload of a PUBLISH packet (section 3.3).
#[inline]
fn published(first: u8, body: &[u8]) -> Option<&[u8]> {
    let (topic_len, rest) = body.split_first_chunk()?;
    let rest = rest.get(usize::from(u16::from_be_bytes(*topic_len))..)?;
    // Above QoS 0 the packet has a number; the server was asked for QoS 0.
    if first & 0x06 == 0 { Some(rest) } else { rest.get(2..) }
}

/// What a return code of CONNACK says (section 3.2.2.3).
fn refusal(code: u8) -> String {
    let reason = match code {
        1 => "the server does not speak MQTT 3.1.1",
        2 => "the server does not take this client's identifier",
        3 => "the server is not available",
        4 => "user or password is wrong",
        5 => "not authorised",
        _ => return format!("the server refused the connection (code {code})"),
    };
    format!("{reason} (code {code})")
}

/// Where a packet's body begins and how long it is (section 2.2.3).
#[inline]
fn read_length(input: &[u8]) -> Result<(usize, usize), Parsed> {
    let mut length = 0;
    for (index, byte) in input.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((index + 2, length));
        }
    }
    Err(match input.len() {
        5.. => Parsed::Broken("a packet's length is malformed"),
        len => Parsed::Needs(Need::Bytes(len + 1)),
    })
}

/// A length as it stands in a packet's header. Above 256 MiB, which no plan reaches, it is one that servers refuse.
#[derive(Debug)]
struct Length {
    bytes: [u8; 10],
    len: usize,
}

impl Length {
    fn new(mut value: usize) -> Self {
        let mut length = Self { bytes: [0; 10], len: 0 };
        loop {
            let more = if value > 0x7f { 0x80 } else { 0 };
            length.bytes[length.len] = (value & 0x7f) as u8 | more;
            length.len += 1;
            value >>= 7;
            if value == 0 {
                return length;
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// A text with its length before it (section 1.5.3). The check has seen that it is not too long.
fn field(text: &str) -> Vec<u8> {
    let text = &text.as_bytes()[..text.len().min(FIELD_BYTES_MAX)];
    [&(text.len() as u16).to_be_bytes(), text].concat()
}

impl Session for MqttSession {
    fn open(&mut self, out: &mut Frames<'_>) {
        // 1 to 23 letters and digits are what every server has to take.
        let letter = if self.state.role == Role::Subscriber { 's' } else { 'p' };
        let client = field(&format!("ff{letter}{:016x}", out.unique()));
        // A clean session.
        let mut flags = 0x02;
        let (mut user, mut password) = (Vec::new(), Vec::new());
        if let Some(name) = &self.settings.user {
            flags |= 0x80;
            user = field(name);
        }
        if let Some(secret) = &self.settings.password {
            flags |= 0x40;
            password = field(secret.reveal());
        }
        let keep_alive = [0, 0];
        let header = [b"\x00\x04MQTT\x04".as_slice(), &[flags], &keep_alive].concat();
        let length = header.len() + client.len() + user.len() + password.len();
        out.binary_of(&[&[CONNECT], Length::new(length).bytes(), &header, &client, &user, &password]);
    }

    fn hear(&mut self, _text: bool, message: &[u8], out: &mut Frames<'_>, heard: &mut dyn FnMut(Heard<'_>)) {
        let Self { splice, state, .. } = self;
        splice.hear(message, heard, |input, heard| state.parse(input, out, heard));
    }

    fn publish(&mut self, payload: &[u8], out: &mut Frames<'_>) {
        let length = Length::new(self.state.topic.len() + payload.len());
        out.binary_of(&[&[PUBLISH], length.bytes(), &self.state.topic, payload]);
    }
}
