//! What a client's messages mean: on a raw connection, something to publish.

use fanfare_io::Driver;
use fanfare_wire::close::CloseCode;
use fanfare_wire::frame::Opcode;
use fanfare_wire::stream::Id;
use fanfare_wire::topic::TopicName;
use fanfare_wire::{Kind, stream};

use super::Shard;
use super::conn::{Publisher, Session, State};
use crate::message::{Draft, PublishError};
use crate::view::Coding;

impl<D: Driver> Shard<D> {
    /// Acts on one whole message of a client.
    pub(super) fn message(&mut self, slot: u32, text: bool, payload: &[u8]) {
        if self.conns[slot].state != State::Open {
            return;
        }
        match &self.conns[slot].session {
            Session::None => {}
            Session::Echo => {
                let (opcode, coding) =
                    (if text { Opcode::Text } else { Opcode::Binary }, Coding::of(self.conns[slot].deflate));
                // Behind the outbox, which has the pongs.
                let mut outbox = std::mem::take(&mut self.conns[slot].outbox);
                self.topics.framer().frame(&mut outbox, opcode, payload, coding);
                self.say(slot, |empty| *empty = outbox);
            }
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
                let Publisher { topic, key, .. } = publisher.clone();
                self.publish(slot, &topic, &Draft { kind, key: key.as_ref(), payload }, None);
            }
        }
    }

    /// What became of a message of this connection.
    pub(super) fn published(
        &mut self,
        slot: u32,
        topic: &TopicName,
        id: Option<Id>,
        result: Result<u64, PublishError>,
    ) {
        match (&self.conns[slot].session, result) {
            (Session::Stream(_), _) => self.reply_published(slot, topic, id, result),
            (
                _,
                Err(
                    error @ (PublishError::TooManyTopics
                    | PublishError::TooManyKeys
                    | PublishError::ValuesTooLarge),
                ),
            ) => {
                self.close(slot, CloseCode::TRY_LATER, &error.to_string());
            }
            // Its closing handshake must not look like success.
            (Session::Publish(_), Err(error @ PublishError::ShuttingDown)) => {
                self.close(slot, CloseCode::GOING_AWAY, &error.to_string());
            }
            // A subscriber gets what is on its way first, and then the same close frame.
            (Session::Raw { .. }, Err(PublishError::ShuttingDown)) => {}
            (Session::Raw { .. } | Session::Publish(_), Ok(_)) | (Session::None | Session::Echo, _) => {}
        }
    }
}
