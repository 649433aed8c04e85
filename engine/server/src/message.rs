//! A message as the embedding program publishes and receives it: valid by construction.

use std::fmt;

use bytes::Bytes;
use fanfare_wire::key::{Key, KeyError};
use fanfare_wire::{Kind, stream};

/// One message: what its payload is, the payload, and perhaps a key. Clones share the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message(fanfare_core::Message);

/// The text given as JSON is not one JSON text (RFC 8259).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotJson;

impl fmt::Display for NotJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message is not one JSON text")
    }
}

impl std::error::Error for NotJson {}

impl Message {
    /// A text message. A `String` becomes the payload without a copy.
    pub fn text(text: impl Into<String>) -> Self {
        Self::valid(Kind::Text, Bytes::from(text.into()))
    }

    /// A binary message. A `Vec<u8>` or `Bytes` becomes the payload without a copy.
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self::valid(Kind::Binary, bytes.into())
    }

    /// A JSON message: raw subscribers get it as text, subscribers of `/stream` as a part of their JSON.
    ///
    /// # Errors
    /// If the text is not one JSON text.
    pub fn json(text: impl Into<String>) -> Result<Self, NotJson> {
        let text = text.into();
        if !stream::is_json(text.as_bytes()) {
            return Err(NotJson);
        }
        Ok(Self::valid(Kind::Json, Bytes::from(text)))
    }

    /// The message that removes a key: it has no payload, and from then on the key has no value.
    ///
    /// # Errors
    /// As [`Message::with_key`].
    pub fn tombstone(key: &str) -> Result<Self, KeyError> {
        Self::valid(Kind::Tombstone, Bytes::new()).with_key(key)
    }

    /// Makes the message the value of a key, such as a symbol or a player, until the next message with that key. A slow
    /// subscriber with the policy `conflate`, and one that asks for a snapshot, gets the newest value of each key.
    ///
    /// # Errors
    /// If the key does not have 1 to 128 bytes, or has control characters.
    pub fn with_key(self, key: &str) -> Result<Self, KeyError> {
        Ok(Self(fanfare_core::Message { key: Some(Key::parse(key)?), ..self.0 }))
    }

    /// The key whose value the message is, as its publisher said. What a [`Subscription`](crate::Subscription) yields
    /// has none.
    pub fn key(&self) -> Option<&Key> {
        self.0.key.as_ref()
    }

    /// What the payload is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The payload's bytes.
    pub fn payload(&self) -> &Bytes {
        &self.0.payload
    }

    /// The payload as text, unless it is binary.
    pub fn as_text(&self) -> Option<&str> {
        match self.0.kind {
            Kind::Text | Kind::Json | Kind::Tombstone => std::str::from_utf8(&self.0.payload).ok(),
            Kind::Binary => None,
        }
    }

    /// The bytes on their own.
    pub fn into_payload(self) -> Bytes {
        self.0.payload
    }

    /// Joins a kind with a payload that is known to be of that kind.
    pub(crate) fn valid(kind: Kind, payload: Bytes) -> Self {
        Self(fanfare_core::Message { kind, key: None, payload })
    }

    pub(crate) fn from_core(message: fanfare_core::Message) -> Self {
        Self(message)
    }

    pub(crate) fn into_core(self) -> fanfare_core::Message {
        self.0
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::binary(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_becomes_a_json_message() {
        for (text, holds) in
            [("{\"a\":1}", true), (" 1 ", true), ("", false), ("{} {}", false), ("{'a':1}", false)]
        {
            assert_eq!(Message::json(text).is_ok(), holds, "{text:?}");
        }
    }

    #[test]
    fn only_binary_has_no_text() {
        assert_eq!(Message::text("a").as_text(), Some("a"));
        assert_eq!(
            Message::json("1").map(|message| message.as_text().map(str::to_owned)),
            Ok(Some("1".into()))
        );
        assert_eq!(Message::binary(vec![b'a']).as_text(), None);
    }

    #[test]
    fn a_key_is_checked_and_stays_with_its_message() {
        let keyed = Message::text("1.08").with_key("EURUSD").expect("a key");
        assert_eq!((keyed.key().map(Key::as_str), keyed.as_text()), (Some("EURUSD"), Some("1.08")));
        assert_ne!(keyed, Message::text("1.08"));
        let tombstone = Message::tombstone("EURUSD").expect("a key");
        assert_eq!(
            (tombstone.kind(), tombstone.key(), tombstone.as_text()),
            (Kind::Tombstone, keyed.key(), Some(""))
        );
        for (key, error) in [
            (String::new(), KeyError::Empty),
            ("k".repeat(129), KeyError::TooLong),
            ("a\tb".to_owned(), KeyError::ControlCharacter),
        ] {
            assert_eq!(Message::text("").with_key(&key), Err(error), "{key:?}");
            assert_eq!(Message::tombstone(&key), Err(error), "{key:?}");
        }
    }
}
