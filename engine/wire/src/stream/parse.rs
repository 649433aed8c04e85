//! Text to requests. Strict: what is not understood is refused, so that a misspelt member never goes
//! unnoticed.

use serde_json::value::RawValue;

use super::refusal::{ErrorCode, Refusal};
use super::request::{Content, ID_BYTES_MAX, Id, Op, OpName, Request, Subscribe};
use crate::json::{self, Members};
use crate::key::Key;
use crate::subscribe::{MaxRate, Start, SubscribeOptions};
use crate::topic::TopicName;

/// Reads a client's message.
pub fn parse(text: &str) -> Result<Request<'_>, Refusal> {
    let refusal = |id, op, error| Refusal { id, op, error };
    let Some(Members { values: [id, op, args], unknown }) = json::members(text, ["id", "op", "args"]) else {
        return Err(refusal(None, None, ErrorCode::BadJson));
    };
    let id = id.map(parse_id);
    let op = op.and_then(parse_op_name);
    let id = match id {
        Some(None) => return Err(refusal(None, op, ErrorCode::BadId)),
        Some(Some(id)) => Some(id),
        None => None,
    };
    let Some(op) = op else { return Err(refusal(id, None, ErrorCode::UnknownOp)) };
    let parsed = if unknown { Err(ErrorCode::UnknownField) } else { parse_args(op, args) };
    match parsed {
        Ok(op) => Ok(Request { id, op }),
        Err(error) => Err(refusal(id, Some(op), error)),
    }
}

fn parse_id(raw: &RawValue) -> Option<Id> {
    match json::string(raw) {
        Some(text) => (text.len() <= ID_BYTES_MAX).then(|| Id::Text(text.into())),
        None => json::integer(raw.get()).map(Id::Number),
    }
}

fn parse_op_name(raw: &RawValue) -> Option<OpName> {
    let word = json::string(raw)?;
    OpName::ALL.into_iter().find(|name| name.as_str() == word)
}

fn parse_args(op: OpName, args: Option<&RawValue>) -> Result<Op<'_>, ErrorCode> {
    match (op, args) {
        (OpName::Subscribe, Some(args)) => Ok(Op::Subscribe(parse_list(args, parse_subscribe)?)),
        (OpName::Unsubscribe, Some(args)) => Ok(Op::Unsubscribe(parse_list(args, parse_topic)?)),
        (OpName::Publish, Some(args)) => parse_publish(args),
        (OpName::List, None) => Ok(Op::List),
        (OpName::Ping, None) => Ok(Op::Ping),
        _ => Err(ErrorCode::BadArgs),
    }
}

/// Reads a list of at least one element.
fn parse_list<T>(
    args: &RawValue,
    element: impl Fn(&RawValue) -> Result<T, ErrorCode>,
) -> Result<Vec<T>, ErrorCode> {
    let elements: Vec<&RawValue> = serde_json::from_str(args.get()).map_err(|_| ErrorCode::BadArgs)?;
    if elements.is_empty() {
        return Err(ErrorCode::BadArgs);
    }
    elements.into_iter().map(element).collect()
}

fn parse_subscribe(raw: &RawValue) -> Result<Subscribe, ErrorCode> {
    if raw.get().starts_with('"') {
        return Ok(Subscribe { topic: parse_topic(raw)?, options: None });
    }
    let names = ["topic", "since", "epoch", "last", "snapshot", "policy", "max_rate", "presence"];
    let [topic, since, epoch, last, snapshot, policy, max_rate, presence] = known_members(raw, names)?;
    let seq = |raw: &RawValue| json::integer(raw.get());
    let since = optional(since, seq)?;
    let epoch = optional(epoch, |raw| json::string(raw)?.parse().ok())?;
    let last = optional(last, seq)?;
    let options = SubscribeOptions {
        start: Start::of(since, epoch, last).map_err(|_| ErrorCode::BadArgs)?,
        snapshot: optional(snapshot, json::boolean)?.unwrap_or(false),
        policy: optional(policy, |raw| json::string(raw)?.parse().ok())?,
        max_rate: optional(max_rate, |raw| MaxRate::parse(raw.get()))?,
        presence: optional(presence, json::boolean)?.unwrap_or(false),
    };
    let topic = parse_topic(topic.ok_or(ErrorCode::BadArgs)?)?;
    Ok(Subscribe { topic, options: Some(options) })
}

fn parse_publish(args: &RawValue) -> Result<Op<'_>, ErrorCode> {
    let [topic, key, data, tombstone] = known_members(args, ["topic", "key", "data", "tombstone"])?;
    let content = match (data, tombstone, key) {
        (Some(data), None, _) => Content::Data(data.get()),
        // Without a key there is nothing that a tombstone could remove.
        (None, Some(tombstone), Some(_)) if json::boolean(tombstone) == Some(true) => Content::Tombstone,
        _ => return Err(ErrorCode::BadArgs),
    };
    let topic = topic.ok_or(ErrorCode::BadArgs)?;
    if let Content::Data(data) = content
        && !json::is_shallow(data)
    {
        return Err(ErrorCode::BadJson);
    }
    Ok(Op::Publish { topic: parse_topic(topic)?, key: key.map(parse_key).transpose()?, content })
}

/// The values of an object that has no members but these.
fn known_members<'a, const N: usize>(
    raw: &'a RawValue,
    names: [&'static str; N],
) -> Result<[Option<&'a RawValue>; N], ErrorCode> {
    let Members { values, unknown } = json::members(raw.get(), names).ok_or(ErrorCode::BadArgs)?;
    if unknown { Err(ErrorCode::UnknownField) } else { Ok(values) }
}

/// A member that may be absent, but not of another type.
fn optional<T>(
    raw: Option<&RawValue>,
    read: impl Fn(&RawValue) -> Option<T>,
) -> Result<Option<T>, ErrorCode> {
    raw.map(|raw| read(raw).ok_or(ErrorCode::BadArgs)).transpose()
}

fn parse_topic(raw: &RawValue) -> Result<TopicName, ErrorCode> {
    let name = json::string(raw).ok_or(ErrorCode::BadArgs)?;
    TopicName::parse(&name).map_err(|_| ErrorCode::BadTopic)
}

fn parse_key(raw: &RawValue) -> Result<Key, ErrorCode> {
    let key = json::string(raw).ok_or(ErrorCode::BadArgs)?;
    Key::parse(&key).map_err(|_| ErrorCode::BadKey)
}
