//! Views: one topic in several wire encodings, each made once for all its subscribers.

use fanfare_wire::frame::{self, Opcode};
use fanfare_wire::key::Key;
use fanfare_wire::notice::{self, Notice};
use fanfare_wire::topic::TopicName;
use fanfare_wire::{Kind, stream};

use crate::log::LogWriter;

/// What subscribers get of a topic, and how.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum View {
    /// Its messages: the payload as published, in a text or binary frame (`/ws`).
    Raw,
    /// Its messages: a text frame with topic, sequence number, key and data (`/stream`).
    Json,
    /// How many subscribers it has: a text frame whenever that changes (`/stream`).
    Presence,
}

impl View {
    pub const ALL: [Self; 3] = [Self::Raw, Self::Json, Self::Presence];
    pub const COUNT: usize = Self::ALL.len();
    /// The views of the topic's messages.
    pub const MESSAGES: [Self; 2] = [Self::Raw, Self::Json];

    pub const fn index(self) -> usize {
        self as usize
    }

    /// Frames one message in this view and appends it. `scratch` is any buffer; its content is lost.
    pub fn append(self, log: &mut LogWriter, message: &Sequenced<'_>, scratch: &mut Vec<u8>) {
        // In two parts, so that the payload is not copied to stand behind its header.
        let (opcode, payload) = match self {
            Self::Raw => (message.kind.opcode(), message.payload),
            Self::Json => {
                scratch.clear();
                message.write_json(scratch);
                (Opcode::Text, &**scratch)
            }
            Self::Presence => unreachable!("{NO_MESSAGES}"),
        };
        log.append(&[&frame::header(opcode, true, payload.len() as u64, None), payload]);
    }

    /// Frames how many subscribers a topic has and appends it to the log of [`View::Presence`].
    pub fn append_presence(
        log: &mut LogWriter,
        topic: &TopicName,
        subscribers: usize,
        scratch: &mut Vec<u8>,
    ) {
        scratch.clear();
        frame_presence(scratch, topic, subscribers);
        log.append(&[scratch]);
    }

    /// Appends the frame of one message in this view to any buffer: the same that [`Self::append`] makes.
    pub fn frame_message(self, out: &mut Vec<u8>, message: &Sequenced<'_>) {
        match self {
            Self::Raw => frame::write(out, message.kind.opcode(), true, message.payload, None),
            Self::Json => write_frame(out, Opcode::Text, |out| message.write_json(out)),
            Self::Presence => unreachable!("{NO_MESSAGES}"),
        }
    }

    /// Appends the frame of a notice between a topic's messages. Raw subscribers get it in a Pong frame that
    /// nobody asked for (RFC 6455 section 5.5.3), which the data they receive knows nothing of.
    pub fn frame_notice(self, out: &mut Vec<u8>, topic: &TopicName, notice: Notice) {
        match self {
            Self::Raw => write_frame(out, Opcode::Pong, |out| notice.write_words(out)),
            Self::Json => write_frame(out, Opcode::Text, |out| notice.write_json(out, topic)),
            Self::Presence => unreachable!("{NO_MESSAGES}"),
        }
    }
}

const NO_MESSAGES: &str = "the view of presence holds no messages";

/// Appends the frame that [`View::Presence`] holds: how many subscribers a topic has.
pub fn frame_presence(out: &mut Vec<u8>, topic: &TopicName, subscribers: usize) {
    write_frame(out, Opcode::Text, |out| notice::write_presence(out, topic, subscribers));
}

/// Appends a frame whose payload `write` appends.
fn write_frame(out: &mut Vec<u8>, opcode: Opcode, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write(out);
    let header = frame::header(opcode, true, (out.len() - start) as u64, None);
    out.splice(start..start, header.iter().copied());
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
    pub key: Option<&'a Key>,
    pub kind: Kind,
    pub payload: &'a [u8],
}

impl Sequenced<'_> {
    fn write_json(&self, out: &mut Vec<u8>) {
        stream::write_data(out, self.topic, self.seq, self.key, self.kind, self.payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(framed: &[u8], opcode: Opcode, payload: &str) {
        let mut whole = Vec::new();
        frame::write(&mut whole, opcode, true, payload.as_bytes(), None);
        assert_eq!(framed, whole);
    }

    #[test]
    fn a_frame_stands_behind_what_the_buffer_held() {
        let topic: TopicName = "prices".parse().expect("a name");
        let mut out = b"before".to_vec();
        frame_presence(&mut out, &topic, 3);
        assert_eq!(&out[..6], b"before");
        check(&out[6..], Opcode::Text, r#"{"op":"presence","topic":"prices","subscribers":3}"#);
    }

    #[test]
    fn each_view_has_its_notices() {
        let topic: TopicName = "prices".parse().expect("a name");
        let notice = Notice::Gap { from: 6, to: 20 };
        for (view, opcode, payload) in [
            (View::Raw, Opcode::Pong, "gap 6 20"),
            (View::Json, Opcode::Text, r#"{"op":"gap","topic":"prices","from":6,"to":20}"#),
        ] {
            let mut out = Vec::new();
            view.frame_notice(&mut out, &topic, notice);
            check(&out, opcode, payload);
        }
    }

    #[test]
    fn a_tombstone_is_an_empty_text_or_says_what_it_is() {
        let topic: TopicName = "prices".parse().expect("a name");
        let key = Key::parse("eur").expect("a key");
        let message =
            Sequenced { topic: &topic, seq: 7, key: Some(&key), kind: Kind::Tombstone, payload: b"" };
        for (view, payload) in
            [(View::Raw, ""), (View::Json, r#"{"topic":"prices","seq":7,"key":"eur","tombstone":true}"#)]
        {
            let mut out = Vec::new();
            view.frame_message(&mut out, &message);
            check(&out, Opcode::Text, payload);
            assert_eq!(unframe(&out), (Kind::Text, payload.as_bytes()));
        }
    }
}
