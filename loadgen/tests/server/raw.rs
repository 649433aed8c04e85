//! Raw broadcast, and Nchan: the topic is the last part of the path.

use tungstenite::Message;

use super::{Act, Protocol, Published};

#[derive(Default)]
pub(super) struct Raw {
    topic: String,
    subscribes: bool,
}

fn topic(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

pub(super) fn posted(path: &str, text: bool, body: &[u8]) -> Published {
    Published { topic: topic(path), payload: body.to_vec(), text }
}

impl Protocol for Raw {
    fn greet(&mut self, path: &str) -> Vec<Message> {
        self.topic = topic(path);
        self.subscribes = !path.starts_with("/pub/");
        Vec::new()
    }

    fn hear(&mut self, message: Message) -> Vec<Act> {
        let text = message.is_text();
        let payload = message.into_data().to_vec();
        vec![Act::Publish(Published { topic: self.topic.clone(), payload, text })]
    }

    fn deliver(&mut self, published: &Published) -> Vec<Message> {
        let payload = published.payload.clone();
        match (self.subscribes && published.topic == self.topic, published.text) {
            (false, _) => Vec::new(),
            (true, true) => vec![Message::text(String::from_utf8(payload).expect("text"))],
            (true, false) => vec![Message::binary(payload)],
        }
    }
}
