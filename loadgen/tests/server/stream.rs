//! Fanfare's `/stream`, from docs/PROTOCOL.md: as much of it as the load generator uses.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

use super::{Act, Protocol, Published};

#[derive(Default)]
pub(super) struct Stream {
    /// The last sequence number of each topic that is subscribed to.
    topics: BTreeMap<String, u64>,
    /// Leaves out every 10th message, and says so.
    has_gaps: bool,
    /// Keeps all messages for those who come back.
    has_log: bool,
    /// Ends each connection that came before the topic had so many messages, once it has.
    restarts_at: Option<usize>,
}

/// When clients of a server that restarts are to be back.
pub(crate) const BACK_AFTER_MS: u64 = 300;

const EPOCH: &str = "00112233aabbccdd";

thread_local! {
    /// By topic, what was published to a server with a log, all of which is in one thread.
    static LOG: RefCell<BTreeMap<String, Vec<Published>>> = const { RefCell::new(BTreeMap::new()) };
    static RESUMES: Cell<u64> = const { Cell::new(0) };
}

impl Stream {
    pub(super) fn with_gaps() -> Self {
        Self { has_gaps: true, ..Self::default() }
    }

    pub(super) fn with_log() -> Self {
        Self { has_log: true, ..Self::default() }
    }

    /// Those who come back find all messages.
    pub(super) fn that_restarts() -> Self {
        Self { has_log: true, restarts_at: Some(100), ..Self::default() }
    }

    /// Every third one that comes back is told that the messages it missed are no longer held.
    fn subscribe_with_log(&mut self, id: &Value, args: &Value) -> Vec<Act> {
        let topic = args["topic"].as_str().or_else(|| args.as_str()).expect("a topic").to_owned();
        let head = LOG.with_borrow(|log| log.get(&topic).map_or(0, Vec::len)) as u64;
        let mut subscribed = json!({"topic": topic, "epoch": EPOCH, "seq": head, "oldest": null});
        let mut from = head;
        if let Some(since) = args["since"].as_u64() {
            assert_eq!(args["epoch"], EPOCH);
            assert!(since <= head);
            let resumes = RESUMES.replace(RESUMES.get() + 1);
            let is_held = since == head || resumes % 3 != 2 || self.restarts_at.is_some();
            self.restarts_at = None;
            subscribed["recovered"] = is_held.into();
            match is_held {
                true => from = since,
                false => subscribed["missing"] = json!({"from": since + 1, "to": head}),
            }
        }
        self.topics.insert(topic.clone(), from);
        let reply = json!({"id": id, "op": "subscribe", "ok": true, "topics": [subscribed]});
        let replies = [Message::text(reply.to_string())].into_iter().chain(self.take_logged(&topic));
        replies.map(Act::Reply).collect()
    }

    /// What this client has not got of the log.
    fn take_logged(&mut self, topic: &str) -> Vec<Message> {
        let Some(seq) = self.topics.get_mut(topic) else { return Vec::new() };
        LOG.with_borrow(|log| {
            let messages = log.get(topic).map_or(&[][..], |messages| &messages[*seq as usize..]);
            messages
                .iter()
                .map(|published| {
                    *seq += 1;
                    let data = std::str::from_utf8(&published.payload).expect("text");
                    Message::text(json!({"topic": topic, "seq": *seq, "data": data}).to_string())
                })
                .collect()
        })
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
            "subscribe" if self.has_log => self.subscribe_with_log(id, &request["args"][0]),
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
                if self.has_log {
                    let logged = Published { topic: topic.clone(), payload: data.into(), text: true };
                    LOG.with_borrow_mut(|log| log.entry(topic.clone()).or_default().push(logged));
                }
                vec![Act::Publish(Published { topic, payload: data.into(), text: true })]
            }
            "ping" => vec![Act::Reply(Message::text(format!(r#"{{"id":{id},"op":"pong"}}"#)))],
            other => panic!("{other}"),
        }
    }

    fn deliver(&mut self, published: &Published) -> Vec<Message> {
        if self.has_log {
            let mut messages = self.take_logged(&published.topic);
            let seq = self.topics.get(&published.topic).copied().unwrap_or(0) as usize;
            if self.restarts_at.is_some_and(|at| seq >= at) {
                self.topics.clear();
                let notice = json!({"op": "draining", "reconnect_after_ms": BACK_AFTER_MS});
                messages.push(Message::text(notice.to_string()));
                let reason = "the server restarts: reconnect".into();
                messages.push(Message::Close(Some(CloseFrame { code: CloseCode::Restart, reason })));
            }
            return messages;
        }
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
