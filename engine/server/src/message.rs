//! A message as the embedding program publishes and receives it: valid by construction.

use std::fmt;

use bytes::Bytes;
use fanfare_wire::{Kind, stream};

/// One message: what its payload is, and the payload. Clones share the bytes.
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
            Kind::Text | Kind::Json => std::str::from_utf8(&self.0.payload).ok(),
            Kind::Binary => None,
        }
    }

    /// The bytes on their own.
    pub fn into_payload(self) -> Bytes {
        self.0.payload
    }

    /// Joins a kind with a payload that is known to be of that kind.
    pub(crate) fn valid(kind: Kind, payload: Bytes) -> Self {
        Self(fanfare_core::Message { kind, payload })
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
}
