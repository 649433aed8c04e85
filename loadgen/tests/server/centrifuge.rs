//! Centrifugo's JSON protocol, version 2, from its document: deliveries have offsets, and two objects share a message
//! where that can be.

use serde_json::{Value, json};
use tungstenite::Message;

use super::{Act, Protocol, Published};

#[derive(Default)]
pub(super) struct Centrifuge {
    is_known: bool,
    channel: Option<String>,
    offset: u64,
}

pub(super) fn posted(path: &str, _text: bool, body: &[u8]) -> Published {
    assert_eq!(path, "/api/publish");
    let request: Value = serde_json::from_slice(body).expect("JSON");
    let text = |name: &str| request[name].as_str().expect("a string").to_owned();
    Published { topic: text("channel"), payload: text("data").into_bytes(), text: true }
}

impl Protocol for Centrifuge {
    fn greet(&mut self, _path: &str) -> Vec<Message> {
        Vec::new()
    }

    fn hear(&mut self, message: Message) -> Vec<Act> {
        let text = message.to_text().expect("text");
        text.lines().flat_map(|line| self.command(&serde_json::from_str(line).expect("JSON"))).collect()
    }

    fn deliver(&mut self, published: &Published) -> Vec<Message> {
        if self.channel.as_deref() != Some(&*published.topic) {
            return Vec::new();
        }
        self.offset += 1;
        let data = std::str::from_utf8(&published.payload).expect("text");
        let push =
            json!({"push": {"channel": published.topic, "pub": {"data": data, "offset": self.offset}}});
        vec![Message::text(push.to_string())]
    }
}

impl Centrifuge {
    fn command(&mut self, command: &Value) -> Vec<Act> {
        let id = &command["id"];
        let reply = |reply: Value| vec![Act::Reply(Message::text(reply.to_string()))];
        if command.get("connect").is_some() {
            self.is_known = true;
            let connect = json!({"client": "x", "version": "5", "ping": 25, "pong": true});
            // A ping comes at once, in the same message.
            return vec![Act::Reply(Message::text(format!(
                "{}\n{{}}",
                json!({"id": id, "connect": connect})
            )))];
        }
        assert!(self.is_known, "connect comes first");
        if let Some(subscribe) = command.get("subscribe") {
            self.channel = Some(subscribe["channel"].as_str().expect("a channel").to_owned());
            return reply(json!({"id": id, "subscribe": {"positioned": true}}));
        }
        if let Some(publish) = command.get("publish") {
            let topic = publish["channel"].as_str().expect("a channel").to_owned();
            let payload = publish["data"].as_str().expect("a string").into();
            let mut acts = reply(json!({"id": id, "publish": {}}));
            acts.push(Act::Publish(Published { topic, payload, text: true }));
            return acts;
        }
        assert_eq!(command, &json!({}), "a pong");
        Vec::new()
    }
}
