//! What a subscriber may ask for beside the topic: where to start, and what to get when it cannot keep up.
//!
//! The members of a subscribe on `/stream` and the query values of `/ws/{topic}` have the same names, the
//! same grammar and the same rules; both are read with what is here.

use std::fmt;
use std::str::FromStr;

use crate::handshake::server::{Reject, Request};
use crate::json;

/// The largest sequence number that can be asked for: the largest integer that every JSON implementation
/// keeps exact (RFC 8259 section 6). So the number after it exists too.
pub const SEQ_MAX: u64 = json::INTEGER_MAX;

/// One life of a topic: a random number, new whenever the sequence numbers begin again at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// A text is no epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochError;

/// The digits of an epoch.
const EPOCH_LEN: usize = 16;

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Epoch {
    type Err = EpochError;

    /// Reads what [`Display`](fmt::Display) writes, and nothing else: an epoch is copied, never typed.
    fn from_str(text: &str) -> Result<Self, EpochError> {
        let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != EPOCH_LEN || !text.bytes().all(is_digit) {
            return Err(EpochError);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| EpochError)
    }
}

impl fmt::Display for EpochError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an epoch has 16 lower-case hexadecimal digits")
    }
}

impl std::error::Error for EpochError {}

/// What happens to a subscriber that is too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// It is disconnected, and told from where to resume.
    Disconnect,
    /// It goes on at the next message, after a notice of what it missed.
    Skip,
    /// It gets the newest message of each key of what it missed, and goes on after that.
    Conflate,
    /// Only ever the newest message matters to it.
    Latest,
}

/// A text is no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyError;

impl Policy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Disconnect, Self::Skip, Self::Conflate, Self::Latest];

    /// The word for this policy.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disconnect => "disconnect",
            Self::Skip => "skip",
            Self::Conflate => "conflate",
            Self::Latest => "latest",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(word: &str) -> Result<Self, PolicyError> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == word).ok_or(PolicyError)
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a policy is disconnect, skip, conflate or latest")
    }
}

impl std::error::Error for PolicyError {}

/// Where a subscription starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Start {
    /// At the next message.
    #[default]
    Head,
    /// Behind the last message that the subscriber has: recovery.
    Since {
        /// The sequence number of that message, at most [`SEQ_MAX`]; 0 for none.
        seq: u64,
        /// The epoch in which it was counted.
        epoch: Epoch,
    },
    /// So many messages back, at most [`SEQ_MAX`], or at the oldest one.
    Last(u64),
}

/// Values that cannot be asked for together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartError {
    SinceWithoutEpoch,
    EpochWithoutSince,
    SinceWithLast,
}

impl Start {
    pub(crate) const fn of(
        since: Option<u64>,
        epoch: Option<Epoch>,
        last: Option<u64>,
    ) -> Result<Self, StartError> {
        match (since, epoch, last) {
            (None, None, None) => Ok(Self::Head),
            (None, None, Some(count)) => Ok(Self::Last(count)),
            (Some(seq), Some(epoch), None) => Ok(Self::Since { seq, epoch }),
            (Some(_), None, _) => Err(StartError::SinceWithoutEpoch),
            (None, Some(_), _) => Err(StartError::EpochWithoutSince),
            (Some(_), Some(_), Some(_)) => Err(StartError::SinceWithLast),
        }
    }
}

/// At most so many updates a second for each key, kept as the time between two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MaxRate(u64);

impl MaxRate {
    /// Checks a rate in updates a second: 0.01 to 1000.
    pub fn new(per_second: f64) -> Option<Self> {
        // Rounded up, so that the rate is never above what was asked for.
        (0.01..=1000.0).contains(&per_second).then(|| Self((1e9 / per_second).ceil() as u64))
    }

    /// Reads a rate that is written as a JSON number.
    pub fn parse(text: &str) -> Option<Self> {
        Self::new(json::number(text)?)
    }

    /// The least time between two updates of a key, in nanoseconds.
    pub const fn period_ns(self) -> u64 {
        self.0
    }
}

/// What a subscriber asks for beside the topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubscribeOptions {
    /// Where to start.
    pub start: Start,
    /// Whether to send the newest message of each key first. Not after a recovery that succeeds.
    pub snapshot: bool,
    /// What to do when the subscriber is too slow; `None`: what the topic's rule says.
    pub policy: Option<Policy>,
    /// How many updates a second of each key are enough; `None`: every message.
    pub max_rate: Option<MaxRate>,
    /// Whether to tell how many subscribers the topic has. For `/stream` alone.
    pub presence: bool,
}

impl SubscribeOptions {
    /// Reads the query of `/ws/{topic}`: the values `since`, `epoch`, `last`, `snapshot`, `policy` and
    /// `max_rate`. The first value of a name counts, and other names are not looked at.
    pub fn from_query(request: &Request) -> Result<Self, Reject> {
        let seq = |text: &str| json::integer(text);
        let since = value(request, "since", seq, "the query value since is not a sequence number")?;
        let epoch = value(
            request,
            "epoch",
            |text| text.parse().ok(),
            "the query value epoch is not 16 lower-case hexadecimal digits",
        )?;
        let last = value(request, "last", seq, "the query value last is not a number of messages")?;
        let start = Start::of(since, epoch, last).map_err(|error| {
            Reject::bad_request(match error {
                StartError::SinceWithoutEpoch => "the query value since needs epoch beside it",
                StartError::EpochWithoutSince => "the query value epoch needs since beside it",
                StartError::SinceWithLast => "the query values since and last exclude each other",
            })
        })?;
        let snapshot = value(
            request,
            "snapshot",
            |text| text.parse().ok(),
            "the query value snapshot is neither true nor false",
        )?;
        let policy = value(
            request,
            "policy",
            |text| text.parse().ok(),
            "the query value policy is not disconnect, skip, conflate or latest",
        )?;
        let max_rate = value(
            request,
            "max_rate",
            MaxRate::parse,
            "the query value max_rate is not a number from 0.01 to 1000",
        )?;
        Ok(Self { start, snapshot: snapshot.unwrap_or(false), policy, max_rate, presence: false })
    }
}

/// The query's value of this name, if there is one.
fn value<T>(
    request: &Request,
    name: &str,
    read: impl Fn(&str) -> Option<T>,
    refusal: &'static str,
) -> Result<Option<T>, Reject> {
    let Some(text) = request.query_value(name) else { return Ok(None) };
    read(&text).map(Some).ok_or_else(|| Reject::bad_request(refusal))
}
