//! The JSON protocol's session: operations in, replies out.

use fanfare_io::Driver;
use fanfare_wire::Kind;
use fanfare_wire::close::CloseCode;
use fanfare_wire::frame::{self, Opcode};
use fanfare_wire::stream::{self, Content, ErrorCode, Id, Op, OpName, Refusal, Subscribe};
use fanfare_wire::topic::TopicName;

use super::Shard;
use super::conn::{JoinPurpose, Session, StreamSession};
use crate::message::{Draft, PublishError};
use crate::view::{Coding, View};

impl From<PublishError> for ErrorCode {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::TooManyTopics => Self::TooManyTopics,
            PublishError::TooManyKeys => Self::TooManyKeys,
            PublishError::ValuesTooLarge => Self::ValuesTooLarge,
            PublishError::ShuttingDown => Self::ShuttingDown,
        }
    }
}

impl<D: Driver> Shard<D> {
    /// Acts on one operation.
    pub(super) fn stream_message(&mut self, slot: u32, payload: &[u8]) {
        let Ok(text) = std::str::from_utf8(payload) else {
            self.fail(slot, CloseCode::INVALID_DATA, "the message is not valid UTF-8");
            return;
        };
        let request = match stream::parse(text) {
            Ok(request) => request,
            Err(refusal) => {
                self.say_json(slot, |out| stream::write_refusal(out, &refusal));
                return;
            }
        };
        let id = request.id;
        match request.op {
            Op::Subscribe(topics) => self.subscribe(slot, topics, id),
            Op::Unsubscribe(topics) => self.unsubscribe(slot, topics, id.as_ref()),
            Op::Publish { topic, key, content } => {
                let (kind, payload) = match content {
                    Content::Data(data) => (Kind::Json, data.as_bytes()),
                    Content::Tombstone => (Kind::Tombstone, &[][..]),
                };
                self.publish(slot, &topic, &Draft { kind, key: key.as_ref(), payload }, id);
            }
            Op::List => {
                let subs = &self.session(slot).subs;
                let names: Vec<TopicName> = subs.keys().cloned().collect();
                self.say_json(slot, |out| {
                    stream::write_list(out, id.as_ref(), names.iter().map(|name| &**name));
                });
            }
            Op::Ping => {
                self.say_json(slot, |out| stream::write_pong(out, id.as_ref()));
                self.charge_ping(slot);
            }
        }
    }

    fn session(&self, slot: u32) -> &StreamSession {
        match &self.conns[slot].session {
            Session::Stream(session) => session,
            _ => unreachable!("JSON operations come from /stream connections only"),
        }
    }

    fn subscribe(&mut self, slot: u32, mut asked: Vec<Subscribe>, id: Option<Id>) {
        // Of a topic that is named more than once, the last one counts.
        asked.reverse();
        asked.sort_by(|a, b| a.topic.cmp(&b.topic));
        asked.dedup_by(|a, b| a.topic == b.topic);
        let known = &self.session(slot).subs;
        let new = asked.iter().filter(|asked| !known.contains_key(&asked.topic)).count();
        if self.drain.is_running() {
            self.refuse(slot, OpName::Subscribe, id, ErrorCode::ShuttingDown);
        } else if known.len() + new > self.config().subscriptions_max {
            self.refuse(slot, OpName::Subscribe, id, ErrorCode::TooManySubscriptions);
        } else if !asked.iter().all(|asked| self.allows(asked)) {
            self.refuse(slot, OpName::Subscribe, id, ErrorCode::PolicyNotAllowed);
        } else {
            let view = View::Json(Coding::of(self.conns[slot].deflate));
            self.join(slot, asked, view, JoinPurpose::Reply { id });
        }
    }

    /// Whether a topic's rule lets a subscriber choose the policy it asks for.
    pub(super) fn allows(&self, asked: &Subscribe) -> bool {
        let limits = self.plane.rules.limits_of(&asked.topic);
        let policy = asked.options.and_then(|options| options.policy);
        policy.is_none_or(|policy| policy == limits.policy || limits.policies_allowed.contains(policy))
    }

    fn unsubscribe(&mut self, slot: u32, mut topics: Vec<TopicName>, id: Option<&Id>) {
        topics.sort_unstable();
        topics.dedup();
        let known = &self.session(slot).subs;
        if topics.iter().any(|topic| !known.contains_key(topic)) {
            self.refuse(slot, OpName::Unsubscribe, id.cloned(), ErrorCode::NotSubscribed);
            return;
        }
        for topic in &topics {
            let Session::Stream(session) = &mut self.conns[slot].session else { return };
            if let Some(membership) = session.subs.remove(topic) {
                membership.subs().for_each(|sub| self.drop_sub(slot, sub));
            }
        }
        self.say_json(slot, |out| stream::write_unsubscribed(out, id, topics.iter().map(|name| &**name)));
    }

    /// Replies to a publish, if it was asked for or went wrong.
    pub(super) fn reply_published(
        &mut self,
        slot: u32,
        topic: &TopicName,
        id: Option<Id>,
        result: Result<u64, PublishError>,
    ) {
        match (result, id) {
            (Ok(seq), Some(id)) => {
                self.say_json(slot, |out| stream::write_published(out, Some(&id), topic, seq));
            }
            (Ok(_), None) => {}
            (Err(error), id) => self.refuse(slot, OpName::Publish, id, error.into()),
        }
    }

    pub(super) fn refuse(&mut self, slot: u32, op: OpName, id: Option<Id>, error: ErrorCode) {
        let refusal = Refusal { id, op: Some(op), error };
        self.say_json(slot, |out| stream::write_refusal(out, &refusal));
    }

    /// Queues one JSON text as a frame.
    pub(super) fn say_json(&mut self, slot: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let mut text = Vec::new();
        write(&mut text);
        self.say(slot, |outbox| frame::write(outbox, Opcode::Text, true, &text, None));
    }
}
