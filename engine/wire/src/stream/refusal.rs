//! Refusals: why a request is not carried out, for programs and for people.

use std::fmt;

use super::request::{Id, OpName};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Not one JSON object with unique member names, or data that nests deeper than
    /// [`JSON_DEPTH_MAX`](super::JSON_DEPTH_MAX).
    BadJson,
    /// `op` is missing or not one of the words.
    UnknownOp,
    /// `args` are not what the operation takes.
    BadArgs,
    /// A member that the protocol does not know.
    UnknownField,
    /// `id` is neither a safe non-negative integer nor a short text.
    BadId,
    /// A topic name breaks the rules of [`TopicName`](crate::topic::TopicName).
    BadTopic,
    /// A key breaks the rules of [`Key`](crate::key::Key).
    BadKey,
    /// The connection's subscriptions are at their limit.
    TooManySubscriptions,
    /// The connection has no such subscription.
    NotSubscribed,
    /// The server's topics are at their limit.
    TooManyTopics,
    /// The topic's rule does not allow the policy.
    PolicyNotAllowed,
    /// The topic's keys are at their limit.
    TooManyKeys,
    /// The values of the topic's keys, or of all topics, are at their limit.
    ValuesTooLarge,
    /// The server is shutting down.
    ShuttingDown,
}

impl ErrorCode {
    /// The code for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::UnknownOp => "unknown_op",
            Self::BadArgs => "bad_args",
            Self::UnknownField => "unknown_field",
            Self::BadId => "bad_id",
            Self::BadTopic => "bad_topic",
            Self::BadKey => "bad_key",
            Self::TooManySubscriptions => "too_many_subscriptions",
            Self::NotSubscribed => "not_subscribed",
            Self::TooManyTopics => "too_many_topics",
            Self::PolicyNotAllowed => "policy_not_allowed",
            Self::TooManyKeys => "too_many_keys",
            Self::ValuesTooLarge => "values_too_large",
            Self::ShuttingDown => "shutting_down",
        }
    }

    /// The sentence for people.
    pub const fn message(self) -> &'static str {
        match self {
            Self::BadJson => {
                "A request is one JSON object whose members have different names, with data at most 128 levels deep."
            }
            Self::UnknownOp => "The member op must be subscribe, unsubscribe, publish, list or ping.",
            Self::BadArgs => {
                "subscribe takes a list of topic names, or of objects with topic and options: since with epoch, or last; \
                 snapshot, policy, max_rate and presence. unsubscribe takes a list of topic names, publish takes an object \
                 with topic and data or with topic, key and tombstone, list and ping take no args."
            }
            Self::UnknownField => {
                "A request has the members op, args and id, an object of subscribe has topic, since, epoch, last, snapshot, \
                 policy, max_rate and presence, and the args of publish have topic, data, key and tombstone."
            }
            Self::BadId => {
                "The member id must be an integer from 0 to 2^53-1 or a string of at most 64 bytes."
            }
            Self::BadTopic => {
                "A topic name has 1 to 128 bytes, no control characters, and no space at its beginning or end."
            }
            Self::BadKey => "A key has 1 to 128 bytes and no control characters.",
            Self::TooManySubscriptions => "This connection has as many subscriptions as it may have.",
            Self::NotSubscribed => "This connection has no such subscription.",
            Self::TooManyTopics => "The server has as many topics as it may have.",
            Self::PolicyNotAllowed => "This policy is not allowed for this topic.",
            Self::TooManyKeys => "The topic has as many keys as it may have.",
            Self::ValuesTooLarge => {
                "The values of the topic's keys, or of all topics, take as much memory as they may."
            }
            Self::ShuttingDown => "The server is shutting down.",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

/// A refused request: as much of it as was understood, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The request's id, when it has a valid one.
    pub id: Option<Id>,
    /// The request's operation, when it is a known one.
    pub op: Option<OpName>,
    /// Why.
    pub error: ErrorCode,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Refusal {}
