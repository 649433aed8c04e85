//! Requests: what a client asks for.

use crate::json;
use crate::key::Key;
use crate::subscribe::SubscribeOptions;
use crate::topic::TopicName;

/// The largest numeric id: the largest integer that every JSON implementation keeps exact (RFC 8259 section
/// 6).
pub const ID_NUMBER_MAX: u64 = json::INTEGER_MAX;

/// The longest textual id in bytes.
pub const ID_BYTES_MAX: usize = 64;

/// What a client calls its request, returned in the reply.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Id {
    /// A number, at most [`ID_NUMBER_MAX`].
    Number(u64),
    /// A text, at most [`ID_BYTES_MAX`] bytes.
    Text(Box<str>),
}

/// A client's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// What the reply is to be called.
    pub id: Option<Id>,
    /// What to do.
    pub op: Op<'a>,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// Deliver these topics' messages. At least one; a topic may occur twice.
    Subscribe(Vec<Subscribe>),
    /// Stop delivering them. At least one; a name may occur twice.
    Unsubscribe(Vec<TopicName>),
    /// Publish a message.
    Publish {
        /// Where to.
        topic: TopicName,
        /// What the message is about. A tombstone always has one.
        key: Option<Key>,
        /// What it says.
        content: Content<'a>,
    },
    /// Name this connection's subscriptions.
    List,
    /// Answer.
    Ping,
}

/// One topic of a subscribe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Which topic.
    pub topic: TopicName,
    /// How; `None` for a bare name, which asks for nothing else.
    pub options: Option<SubscribeOptions>,
}

/// What a published message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// JSON text, as the client wrote it.
    Data(&'a str),
    /// That its key is removed.
    Tombstone,
}

impl Op<'_> {
    /// The word for this operation.
    pub const fn name(&self) -> OpName {
        match self {
            Self::Subscribe(_) => OpName::Subscribe,
            Self::Unsubscribe(_) => OpName::Unsubscribe,
            Self::Publish { .. } => OpName::Publish,
            Self::List => OpName::List,
            Self::Ping => OpName::Ping,
        }
    }
}

/// The words that `op` can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpName {
    /// See [`Op::Subscribe`].
    Subscribe,
    /// See [`Op::Unsubscribe`].
    Unsubscribe,
    /// See [`Op::Publish`].
    Publish,
    /// See [`Op::List`].
    List,
    /// See [`Op::Ping`].
    Ping,
}

impl OpName {
    pub(super) const ALL: [Self; 5] =
        [Self::Subscribe, Self::Unsubscribe, Self::Publish, Self::List, Self::Ping];

    /// The word as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Publish => "publish",
            Self::List => "list",
            Self::Ping => "ping",
        }
    }
}
