//! Fanfare's `/stream`, from docs/PROTOCOL.md: as much of it as the load generator uses.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tungstenite::Message;

use super::{Act, Protocol, Published};

#[derive(Default)]
pub(super) struct Stream {
    /// The last sequence number of each topic that is subscribed to.
    topics: BTreeMap<String, u64>,
    /// Leaves out every 10th message, and says so.
    has_gaps: bool,
}

impl Stream {
    pub(super) fn with_gaps() -> Self {
        Self { has_gaps: true, ..Self::default() }
    }
}

impl Protocol for Stream {
    fn greet(&mut self, _path: &str) -> Vec<Message> {
        Vec::new()
    }

    fn hear(&mut self, message: Message) -> Vec<Act> {
        let request: Value = serde_json::from_str(message.to_text().expect("text")).expect("JSON");
        let id = &request["id"];
        match request["op"].as_str().expect("an operation") {
            "subscribe" => {
                let topic = request["args"][0].as_str().expect("a topic");
                self.topics.insert(topic.to_owned(), 0);
                let reply =
                    json!({"id": id, "op": "subscribe", "ok": true, "topics": [{"topic": topic, "seq": 0}]});
                vec![Act::Reply(Message::text(reply.to_string()))]
            }
            "publish" => {
                let args = &request["args"];
                let data = args["data"].as_str().expect("the load generator publishes strings");
                let topic = args["topic"].as_str().expect("a topic").to_owned();
                vec![Act::Publish(Published { topic, payload: data.into(), text: true })]
            }
            "ping" => vec![Act::Reply(Message::text(format!(r#"{{"id":{id},"op":"pong"}}"#)))],
            other => panic!("{other}"),
        }
    }

    fn deliver(&mut self, published: &Published) -> Vec<Message> {
        let Some(seq) = self.topics.get_mut(&published.topic) else { return Vec::new() };
        *seq += 1;
        let topic = Value::from(published.topic.as_str());
        let payload = &published.payload;
        if self.has_gaps && seq.is_multiple_of(10) {
            return vec![Message::text(format!(r#"{{"op":"gap","topic":{topic},"from":{seq},"to":{seq}}}"#))];
        }
        vec![Message::text(if published.text {
            let data = Value::from(std::str::from_utf8(payload).expect("text"));
            format!(r#"{{"topic":{topic},"seq":{seq},"data":{data}}}"#)
        } else {
            let data = STANDARD.encode(payload);
            format!(r#"{{"topic":{topic},"seq":{seq},"data":"{data}","encoding":"base64"}}"#)
        })]
    }
}
