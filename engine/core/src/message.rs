//! A message as a publisher hands it in, and what became of it.

use std::fmt;

use bytes::Bytes;
use fanfare_wire::Kind;

/// One message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What the payload is. `Text` and `Json` payloads are valid UTF-8, and `Json` payloads one JSON text;
    /// whoever takes a message from outside has checked that.
    pub kind: Kind,
    pub payload: Bytes,
}

/// Called once with the sequence number that the message got, on the topic's home shard: it must be short.
pub type Ack = Box<dyn FnOnce(Result<u64, PublishError>) + Send>;

/// Why a message that reached its topic's home shard was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// The message needs a new topic, and `topics_max` is reached.
    TooManyTopics,
    /// The engine shuts down and took the message no more.
    ShuttingDown,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooManyTopics => "the server holds as many topics as it may",
            Self::ShuttingDown => "the server is shutting down",
        })
    }
}

impl std::error::Error for PublishError {}
