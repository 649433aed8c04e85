//! NATS over WebSocket, from the client protocol's document. Deliveries are split over two messages each.

use serde_json::Value;
use tungstenite::Message;

use super::{Act, Protocol, Published};

#[derive(Default)]
pub(super) struct Nats {
    is_known: bool,
    /// Subject and the client's number for it.
    subscription: Option<(String, String)>,
}

impl Protocol for Nats {
    fn greet(&mut self, _path: &str) -> Vec<Message> {
        let info =
            r#"INFO {"server_id":"test","version":"2.9.10","proto":1,"headers":true,"max_payload":1048576}"#;
        vec![Message::binary(format!("{info} \r\n").into_bytes())]
    }

    /// The client writes whole protocol messages.
    fn hear(&mut self, message: Message) -> Vec<Act> {
        let data = message.into_data();
        let (mut rest, mut acts) = (&data[..], Vec::new());
        while !rest.is_empty() {
            let end = rest.windows(2).position(|pair| pair == b"\r\n").expect("a line");
            let line = std::str::from_utf8(&rest[..end]).expect("text").to_owned();
            rest = &rest[end + 2..];
            let (word, arguments) = line.split_once(' ').unwrap_or((&line, ""));
            match word {
                "CONNECT" => {
                    let options: Value = serde_json::from_str(arguments).expect("JSON");
                    assert_eq!((&options["verbose"], &options["lang"]), (&false.into(), &"rust".into()));
                    self.is_known = true;
                }
                "SUB" => {
                    let (subject, number) = arguments.split_once(' ').expect("subject and number");
                    self.subscription = Some((subject.to_owned(), number.to_owned()));
                }
                "PUB" => {
                    let (subject, length) = arguments.split_once(' ').expect("subject and length");
                    let (payload, after) = rest.split_at(length.parse().expect("a length"));
                    rest = after.strip_prefix(b"\r\n").expect("the end of the payload");
                    let (topic, payload) = (subject.to_owned(), payload.to_vec());
                    acts.push(Act::Publish(Published { topic, payload, text: false }));
                }
                "PING" => {
                    assert!(self.is_known, "CONNECT comes first");
                    acts.push(Act::Reply(Message::binary(b"PONG\r\nPING\r\n".to_vec())));
                }
                "PONG" => {}
                other => panic!("{other}"),
            }
        }
        acts
    }

    fn deliver(&mut self, published: &Published) -> Vec<Message> {
        let subscription = self.subscription.as_ref().filter(|(subject, _)| *subject == published.topic);
        let Some((subject, number)) = subscription else { return Vec::new() };
        let payload = &published.payload;
        let mut bytes = format!("MSG {subject} {number} {}\r\n", payload.len()).into_bytes();
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"\r\n");
        let rest = bytes.split_off(bytes.len() / 2);
        vec![Message::binary(bytes), Message::binary(rest)]
    }
}
