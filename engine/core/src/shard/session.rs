//! What a connection is for, and what its messages mean.

use fanfare_io::Driver;
use fanfare_wire::close::CloseCode;
use fanfare_wire::topic::TopicName;
use fanfare_wire::{Kind, stream};

use super::Shard;
use super::conn::State;
use super::stream::StreamSession;
use crate::message::PublishError;

/// Where a raw connection's messages go.
#[derive(Clone, Debug)]
pub(super) struct Publisher {
    pub(super) topic: TopicName,
    /// Its text messages are JSON.
    pub(super) json: bool,
}

#[derive(Debug, Default)]
pub(super) enum Session {
    /// Not upgraded, or over.
    #[default]
    None,
    /// `/ws/{topic}`: its subscription, once it stands.
    Raw { publisher: Publisher, sub: Option<u32> },
    /// `/pub/{topic}`.
    Publish(Publisher),
    /// `/stream`.
    Stream(Box<StreamSession>),
}

impl Session {
    /// All its subscriptions.
    pub(super) fn subs(&self) -> impl Iterator<Item = u32> + '_ {
        let (one, many) = match self {
            Self::Raw { sub, .. } => (*sub, None),
            Self::Stream(stream) => (None, Some(stream.subs.values().copied())),
            Self::None | Self::Publish(_) => (None, None),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

impl<D: Driver> Shard<D> {
    /// Acts on one whole message of a client.
    pub(super) fn message(&mut self, slot: u32, text: bool, payload: &[u8]) {
        if self.conns[slot].state != State::Open {
            return;
        }
        match &self.conns[slot].session {
            Session::None => {}
            Session::Stream(_) if text => self.stream_message(slot, payload),
            Session::Stream(_) => {
                self.fail(slot, CloseCode::UNSUPPORTED, "this endpoint speaks JSON in text messages")
            }
            Session::Raw { publisher, .. } | Session::Publish(publisher) => {
                let kind = match (text, publisher.json) {
                    (false, _) => Kind::Binary,
                    (true, false) => Kind::Text,
                    (true, true) => Kind::Json,
                };
                if kind == Kind::Json && !stream::is_json(payload) {
                    self.fail(slot, CloseCode::INVALID_DATA, "the message is not valid JSON");
                    return;
                }
                let topic = publisher.topic.clone();
                self.publish_raw(slot, &topic, kind, payload);
            }
        }
    }

    fn publish_raw(&mut self, slot: u32, topic: &TopicName, kind: Kind, payload: &[u8]) {
        match self.publish(slot, topic, kind, payload, None) {
            Some(Err(PublishError::TooManyTopics)) => {
                self.close(slot, CloseCode::TRY_LATER, "the server holds as many topics as it may");
            }
            // During a shutdown the close frame says it.
            Some(Ok(_) | Err(PublishError::ShuttingDown)) | None => {}
        }
    }
}
