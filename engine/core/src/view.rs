//! Views: one topic in several wire encodings, each made once for all its subscribers.

use fanfare_wire::deflate::Window;
use fanfare_wire::frame::{self, Opcode};
use fanfare_wire::key::Key;
use fanfare_wire::notice::{self, Notice};
use fanfare_wire::topic::TopicName;
use fanfare_wire::{Kind, stream};

/// What subscribers get of a topic, and how.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum View {
    /// Its messages: the payload as published, in a text or binary frame (`/ws`).
    Raw(Coding),
    /// Its messages: a text frame with topic, sequence number, key and data (`/stream`).
    Json(Coding),
    /// How many subscribers it has: a text frame whenever that changes (`/stream`).
    Presence,
}

/// How the payloads of a view's frames are coded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Coding {
    /// As they are.
    Plain,
    /// Compressed where that is worth it, each message for itself, so that all subscribers can share the bytes (RFC 7692).
    Deflate(Window),
}

impl Coding {
    /// The coding for a connection that agreed to a window of the server, if it did.
    pub fn of(window: Option<Window>) -> Self {
        window.map_or(Self::Plain, Self::Deflate)
    }

    const fn index(self) -> usize {
        match self {
            Self::Plain => 0,
            Self::Deflate(Window::Full) => 1,
            Self::Deflate(Window::Small) => 2,
        }
    }
}

impl View {
    /// The view that a topic's history is held in.
    pub const HISTORY: Self = Self::Raw(Coding::Plain);
    /// The views that can be made from history.
    pub const MADE: [Self; 5] = [
        Self::Raw(Coding::Deflate(Window::Full)),
        Self::Raw(Coding::Deflate(Window::Small)),
        Self::Json(Coding::Plain),
        Self::Json(Coding::Deflate(Window::Full)),
        Self::Json(Coding::Deflate(Window::Small)),
    ];
    pub const COUNT: usize = Self::MADE.len() + 2;

    /// A number for each view; those of [`Self::MADE`] stand together, from 1 on.
    pub const fn index(self) -> usize {
        match self {
            Self::Raw(coding) => coding.index(),
            Self::Json(coding) => 3 + coding.index(),
            Self::Presence => Self::COUNT - 1,
        }
    }

    /// The same messages, not compressed.
    pub const fn plain(self) -> Self {
        match self {
            Self::Raw(_) => Self::Raw(Coding::Plain),
            Self::Json(_) => Self::Json(Coding::Plain),
            Self::Presence => Self::Presence,
        }
    }

    /// Appends the frame of a notice between a topic's messages. Raw subscribers get it in a Pong frame that
    /// nobody asked for (RFC 6455 section 5.5.3), which the data they receive knows nothing of. Notices are not
    /// compressed.
    pub fn frame_notice(self, out: &mut Vec<u8>, topic: &TopicName, notice: Notice) {
        match self {
            Self::Raw(_) => write_frame(out, Opcode::Pong, |out| notice.write_words(out)),
            Self::Json(_) => write_frame(out, Opcode::Text, |out| notice.write_json(out, topic)),
            Self::Presence => unreachable!("{NO_MESSAGES}"),
        }
    }
}

pub(crate) const NO_MESSAGES: &str = "the view of presence holds no messages";

/// Appends the frame that [`View::Presence`] holds: how many subscribers a topic has.
pub fn frame_presence(out: &mut Vec<u8>, topic: &TopicName, subscribers: usize) {
    write_frame(out, Opcode::Text, |out| notice::write_presence(out, topic, subscribers));
}

/// Appends a frame whose payload `write` appends.
pub(crate) fn write_frame(out: &mut Vec<u8>, opcode: Opcode, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write(out);
    let header = frame::header(opcode, true, (out.len() - start) as u64, None);
    out.splice(start..start, header.iter().copied());
}

/// The message inside a frame of [`View::HISTORY`]. Text and JSON are both text frames.
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
    /// Appends what `/stream` clients get of it.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        stream::write_data(out, self.topic, self.seq, self.key, self.kind, self.payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framer::frame_plain;

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
    fn each_view_has_its_notices_and_none_is_compressed() {
        let topic: TopicName = "prices".parse().expect("a name");
        let notice = Notice::Gap { from: 6, to: 20 };
        for coding in [Coding::Plain, Coding::Deflate(Window::Full), Coding::Deflate(Window::Small)] {
            for (view, opcode, payload) in [
                (View::Raw(coding), Opcode::Pong, "gap 6 20"),
                (View::Json(coding), Opcode::Text, r#"{"op":"gap","topic":"prices","from":6,"to":20}"#),
            ] {
                let mut out = Vec::new();
                view.frame_notice(&mut out, &topic, notice);
                check(&out, opcode, payload);
            }
        }
    }

    #[test]
    fn a_tombstone_is_an_empty_text_or_says_what_it_is() {
        let topic: TopicName = "prices".parse().expect("a name");
        let key = Key::parse("eur").expect("a key");
        let message =
            Sequenced { topic: &topic, seq: 7, key: Some(&key), kind: Kind::Tombstone, payload: b"" };
        for (view, payload) in [
            (View::Raw(Coding::Plain), ""),
            (View::Json(Coding::Plain), r#"{"topic":"prices","seq":7,"key":"eur","tombstone":true}"#),
        ] {
            let mut out = Vec::new();
            frame_plain(view, &mut out, &message);
            check(&out, Opcode::Text, payload);
            assert_eq!(unframe(&out), (Kind::Text, payload.as_bytes()));
        }
    }

    #[test]
    fn every_view_has_a_number_of_its_own() {
        let all = [View::HISTORY].into_iter().chain(View::MADE).chain([View::Presence]);
        assert!(all.map(View::index).eq(0..View::COUNT));
        assert!(View::MADE.iter().enumerate().all(|(place, view)| view.index() == place + 1));
    }
}
