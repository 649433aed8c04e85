//! Notices: what the server says about a topic between its messages.
//!
//! On `/stream` a notice is a JSON object. A raw connection carries nothing but messages in its data frames,
//! so there a notice is the payload of a Pong frame that nobody asked for (RFC 6455 section 5.5.3), as words.

use crate::json;

/// What the words of the notice that the server restarts begin with.
const DRAINING_WORD: &[u8] = b"draining ";

/// What happened between two messages of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    /// The subscriber was too slow: it does not get these messages.
    Gap {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// The subscriber was too slow: of these messages it gets only the newest of each key.
    Conflated {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// The newest message of each key follows. What the subscriber had before it is to be forgotten.
    Snapshot {
        /// The sequence number of the topic's last message when this was the newest of each key.
        seq: u64,
    },
    /// The snapshot is over; messages after this sequence number follow as they come.
    Live {
        /// The snapshot's sequence number.
        seq: u64,
    },
}

impl Notice {
    /// The word for this notice, and its numbers with their names.
    const fn parts(&self) -> (&'static str, (&'static str, u64), Option<(&'static str, u64)>) {
        match *self {
            Self::Gap { from, to } => ("gap", ("from", from), Some(("to", to))),
            Self::Conflated { from, to } => ("conflated", ("from", from), Some(("to", to))),
            Self::Snapshot { seq } => ("snapshot", ("seq", seq), None),
            Self::Live { seq } => ("live", ("seq", seq), None),
        }
    }

    /// Appends the notice as a JSON object.
    pub fn write_json(&self, out: &mut Vec<u8>, topic: &str) {
        let (word, first, second) = self.parts();
        write_start(out, word, topic);
        for (name, number) in std::iter::once(first).chain(second) {
            write_member(out, name, number);
        }
        out.push(b'}');
    }

    /// Appends the notice as words, such as `gap 6 20`. They fit into a control frame.
    pub fn write_words(&self, out: &mut Vec<u8>) {
        let (word, first, second) = self.parts();
        out.extend_from_slice(word.as_bytes());
        for (_, number) in std::iter::once(first).chain(second) {
            out.push(b' ');
            json::write_number(out, number);
        }
    }

    /// Reads what [`write_words`](Self::write_words) wrote; `None` for anything else.
    pub fn parse_words(words: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(words).ok()?.split(' ');
        let word = words.next()?;
        let mut number = || json::digits(words.next()?);
        let notice = match word {
            "gap" => Self::Gap { from: number()?, to: number()? },
            "conflated" => Self::Conflated { from: number()?, to: number()? },
            "snapshot" => Self::Snapshot { seq: number()? },
            "live" => Self::Live { seq: number()? },
            _ => return None,
        };
        words.next().is_none().then_some(notice)
    }
}

/// Appends the notice of how many subscribers a topic has. For `/stream` alone.
pub fn write_presence(out: &mut Vec<u8>, topic: &str, subscribers: usize) {
    write_start(out, "presence", topic);
    write_member(out, "subscribers", subscribers as u64);
    out.push(b'}');
}

/// Appends the notice that the server restarts: it closes the connection soon, and the client should come back
/// after so many milliseconds. For `/stream`; it is about no topic.
pub fn write_draining(out: &mut Vec<u8>, reconnect_after_ms: u64) {
    out.extend_from_slice(br#"{"op":"draining""#);
    write_member(out, "reconnect_after_ms", reconnect_after_ms);
    out.push(b'}');
}

/// Appends the same notice as words, for raw connections. They fit into a control frame.
pub fn write_draining_words(out: &mut Vec<u8>, reconnect_after_ms: u64) {
    out.extend_from_slice(DRAINING_WORD);
    json::write_number(out, reconnect_after_ms);
}

/// Reads what [`write_draining_words`] wrote: after how many milliseconds to come back. `None` for anything
/// else.
pub fn parse_draining_words(words: &[u8]) -> Option<u64> {
    json::digits(std::str::from_utf8(words.strip_prefix(DRAINING_WORD)?).ok()?)
}

/// The members that every notice of a topic begins with. The object is left open.
fn write_start(out: &mut Vec<u8>, word: &str, topic: &str) {
    out.extend_from_slice(br#"{"op":""#);
    out.extend_from_slice(word.as_bytes());
    out.extend_from_slice(br#"","topic":"#);
    json::write_string(out, topic);
}

fn write_member(out: &mut Vec<u8>, name: &str, number: u64) {
    out.extend_from_slice(br#",""#);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(br#"":"#);
    json::write_number(out, number);
}
