//! A message as a publisher hands it in, and what became of it.

use std::fmt;

use bytes::Bytes;
use fanfare_wire::Kind;
use fanfare_wire::key::Key;

/// One message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What the payload is. `Text` and `Json` payloads are valid UTF-8, and `Json` payloads one JSON text;
    /// whoever takes a message from outside has checked that.
    pub kind: Kind,
    /// What the message is the newest value of, until another one with this key comes. A tombstone has one.
    pub key: Option<Key>,
    pub payload: Bytes,
}

impl Message {
    pub(crate) fn draft(&self) -> Draft<'_> {
        Draft { kind: self.kind, key: self.key.as_ref(), payload: &self.payload }
    }
}

/// A message that is still in its publisher's buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) kind: Kind,
    pub(crate) key: Option<&'a Key>,
    pub(crate) payload: &'a [u8],
}

/// Called once with the sequence number that the message got, on the topic's home shard: it must be short.
pub type Ack = Box<dyn FnOnce(Result<u64, PublishError>) + Send>;

/// Why a message that reached its topic's home shard was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// The message needs a new topic, and `topics_max` is reached.
    TooManyTopics,
    /// The message needs a new key, and the topic's `keys_max` is reached.
    TooManyKeys,
    /// The values of the topic's keys would pass `values_bytes_max`, or those of all topics half of
    /// `log_total_bytes_max`.
    ValuesTooLarge,
    /// The engine shuts down and took the message no more.
    ShuttingDown,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooManyTopics => "the server holds as many topics as it may",
            Self::TooManyKeys => "the topic has as many keys as it may have",
            Self::ValuesTooLarge => "the values of keys take as much memory as they may",
            Self::ShuttingDown => "the server is shutting down",
        })
    }
}

impl std::error::Error for PublishError {}
