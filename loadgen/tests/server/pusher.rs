//! The Pusher protocol, version 7, from its document: public and private channels, client events, and the HTTP API.

use serde_json::{Value, json};
use tungstenite::Message;

use super::{Act, PUSHER_KEY, PUSHER_SECRET, Protocol, Published};

const SOCKET_ID: &str = "1234.5678";

#[derive(Default)]
pub(super) struct Pusher {
    channel: Option<String>,
}

/// The body says what it is; the signature is judged by the tests of the program.
pub(super) fn posted(path: &str, _text: bool, body: &[u8]) -> Published {
    assert!(path.starts_with(&format!("/apps/1/events?auth_key={PUSHER_KEY}&auth_timestamp=")), "{path}");
    let event: Value = serde_json::from_slice(body).expect("JSON");
    let text = |name: &str| event[name].as_str().expect("a string").to_owned();
    assert_eq!(text("name"), "message");
    Published { topic: text("channel"), payload: text("data").into_bytes(), text: true }
}

impl Protocol for Pusher {
    fn greet(&mut self, path: &str) -> Vec<Message> {
        assert_eq!(path, format!("/app/{PUSHER_KEY}"));
        let data = json!({"socket_id": SOCKET_ID, "activity_timeout": 120}).to_string();
        let established = json!({"event": "pusher:connection_established", "data": data});
        vec![Message::text(established.to_string()), Message::text(r#"{"event":"pusher:ping","data":{}}"#)]
    }

    fn hear(&mut self, message: Message) -> Vec<Act> {
        let event: Value = serde_json::from_str(message.to_text().expect("text")).expect("JSON");
        let (name, data) = (event["event"].as_str().expect("a name"), &event["data"]);
        match name {
            "pusher:subscribe" => {
                let channel = data["channel"].as_str().expect("a channel");
                if channel.starts_with("private-") {
                    let signature = sign(&format!("{SOCKET_ID}:{channel}"));
                    assert_eq!(data["auth"], format!("{PUSHER_KEY}:{signature}"));
                }
                self.channel = Some(channel.to_owned());
                let reply = json!({"event": "pusher_internal:subscription_succeeded", "channel": channel, "data": "{}"});
                vec![Act::Reply(Message::text(reply.to_string()))]
            }
            "pusher:pong" => Vec::new(),
            "pusher:ping" => vec![Act::Reply(Message::text(r#"{"event":"pusher:pong","data":{}}"#))],
            "client-message" => {
                let topic = event["channel"].as_str().expect("a channel").to_owned();
                let payload = data.as_str().expect("a string").into();
                vec![Act::Publish(Published { topic, payload, text: true })]
            }
            other => panic!("{other}"),
        }
    }

    fn deliver(&mut self, published: &Published) -> Vec<Message> {
        let name = if published.topic.starts_with("private-") { "client-message" } else { "message" };
        let data = std::str::from_utf8(&published.payload).expect("text");
        let event = json!({"event": name, "channel": published.topic, "data": data});
        let is_ours = self.channel.as_deref() == Some(&*published.topic);
        is_ours.then(|| Message::text(event.to_string())).into_iter().collect()
    }
}

/// HMAC-SHA256 with the app's secret, in hexadecimal.
fn sign(text: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(PUSHER_SECRET.as_bytes()).expect("a key");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
