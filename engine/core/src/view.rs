//! Views: one topic in several wire encodings, each made once for all its subscribers.

use fanfare_wire::frame::{self, Opcode};
use fanfare_wire::topic::TopicName;
use fanfare_wire::{Kind, stream};

use crate::log::LogWriter;

/// How subscribers get a topic's messages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum View {
    /// The payload as published, in a text or binary frame (`/ws`).
    Raw,
    /// A text frame with topic, sequence number and data (`/stream`).
    Json,
}

impl View {
    pub const ALL: [Self; 2] = [Self::Raw, Self::Json];
    pub const COUNT: usize = Self::ALL.len();

    pub const fn index(self) -> usize {
        self as usize
    }

    /// Frames one message in this view and appends it. `scratch` is any buffer; its content is lost.
    pub fn append(self, log: &mut LogWriter, message: &Sequenced<'_>, scratch: &mut Vec<u8>) {
        match self {
            Self::Raw => {
                let header = frame::header(message.kind.opcode(), true, message.payload.len() as u64, None);
                log.append(&[header.as_ref(), message.payload]);
            }
            Self::Json => {
                scratch.clear();
                stream::write_data(scratch, message.topic, message.seq, message.kind, message.payload);
                let header = frame::header(Opcode::Text, true, scratch.len() as u64, None);
                log.append(&[header.as_ref(), scratch]);
            }
        }
    }
}

/// The message inside a frame that [`View::Raw`] made. Text and JSON are both text frames.
pub fn unframe(framed: &[u8]) -> (Kind, &[u8]) {
    let kind = if framed[0] & 0x0F == Opcode::Binary as u8 { Kind::Binary } else { Kind::Text };
    // RFC 6455 section 5.2: the 7-bit length, or which longer one follows.
    let header = match framed[1] {
        127 => 10,
        126 => 4,
        _ => 2,
    };
    (kind, &framed[header..])
}

/// A message with its place in its topic.
#[derive(Debug)]
pub struct Sequenced<'a> {
    pub topic: &'a TopicName,
    pub seq: u64,
    pub kind: Kind,
    pub payload: &'a [u8],
}
