//! MQTT 3.1.1 over WebSocket, from the standard: as much of it as the load generator uses.

use tungstenite::Message;

use super::{Act, Protocol, Published};

#[derive(Default)]
pub(super) struct Mqtt {
    topic: Option<Vec<u8>>,
}

/// The length field of a packet.
fn length(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 127 {
        bytes.push((value % 128) as u8 | 128);
        value /= 128;
    }
    bytes.push(value as u8);
    bytes
}

/// Splits a text with its length before it off the front.
fn field(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes[2..].split_at(usize::from(bytes[0]) << 8 | usize::from(bytes[1]))
}

impl Protocol for Mqtt {
    fn greet(&mut self, _path: &str) -> Vec<Message> {
        Vec::new()
    }

    /// The client writes one whole packet into each message.
    fn hear(&mut self, message: Message) -> Vec<Act> {
        let data = message.into_data();
        let digits = data[1..].iter().position(|byte| byte & 128 == 0).expect("a length") + 1;
        let body = &data[1 + digits..];
        assert_eq!(length(body.len()), data[1..1 + digits]);
        match data[0] {
            0x10 => {
                let (name, rest) = field(body);
                // Level 4, a clean session, no user, and a keep alive of 0.
                assert_eq!((name, &rest[..4]), (&b"MQTT"[..], &[4, 2, 0, 0][..]));
                let (client, rest) = field(&rest[4..]);
                assert!((1..=23).contains(&client.len()) && client.is_ascii() && rest.is_empty());
                vec![Act::Reply(Message::binary(vec![0x20, 2, 0, 0]))]
            }
            0x82 => {
                let (topic, rest) = field(&body[2..]);
                assert_eq!(rest, [0]);
                self.topic = Some(topic.to_vec());
                vec![Act::Reply(Message::binary(vec![0x90, 3, body[0], body[1], 0]))]
            }
            0x30 => {
                let (topic, payload) = field(body);
                let topic = String::from_utf8(topic.to_vec()).expect("text");
                vec![Act::Publish(Published { topic, payload: payload.to_vec(), text: false })]
            }
            other => panic!("{other:#x}"),
        }
    }

    fn deliver(&mut self, published: &Published) -> Vec<Message> {
        let topic = published.topic.as_bytes();
        if self.topic.as_deref() != Some(topic) {
            return Vec::new();
        }
        let mut packet = vec![0x30];
        packet.extend(length(2 + topic.len() + published.payload.len()));
        packet.extend((topic.len() as u16).to_be_bytes());
        packet.extend(topic);
        packet.extend(&published.payload);
        vec![Message::binary(packet)]
    }
}
