//! The JSON protocol of `/stream`, in the idiom of market-data feeds.
//!
//! A client's message is one JSON object with an `op`, its `args`, and an `id` that the reply carries. This
//! file turns text into requests and outcomes into text; what a request does is decided elsewhere. Apart
//! from the id, which the client chose in order to have it back, replies repeat nothing that a peer wrote:
//! errors are fixed words and sentences.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::Kind;
use crate::topic::TopicName;

/// The largest numeric id: the largest integer that every JSON implementation keeps exact (RFC 8259 section
/// 6).
pub const ID_NUMBER_MAX: u64 = (1 << 53) - 1;

/// The longest textual id in bytes.
pub const ID_BYTES_MAX: usize = 64;

/// How deep JSON data may nest. Common parsers fail far below what fits in a message, and a publisher must
/// not be able to take a topic's subscribers down.
pub const JSON_DEPTH_MAX: usize = 128;

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
    /// Deliver these topics' messages from now on. At least one; a name may occur twice.
    Subscribe(Vec<TopicName>),
    /// Stop delivering them. At least one; a name may occur twice.
    Unsubscribe(Vec<TopicName>),
    /// Publish a message.
    Publish {
        /// Where to.
        topic: TopicName,
        /// The message: JSON text, as the client wrote it.
        data: &'a str,
    },
    /// Name this connection's subscriptions.
    List,
    /// Answer.
    Ping,
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
    const ALL: [Self; 5] = [Self::Subscribe, Self::Unsubscribe, Self::Publish, Self::List, Self::Ping];

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

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Not one JSON object with unique member names, or data that nests deeper than [`JSON_DEPTH_MAX`].
    BadJson,
    /// `op` is missing or not one of the words.
    UnknownOp,
    /// `args` are not what the operation takes.
    BadArgs,
    /// A member that the protocol does not know.
    UnknownField,
    /// `id` is neither a safe non-negative integer nor a short text.
    BadId,
    /// A topic name breaks the rules of [`TopicName`].
    BadTopic,
    /// The connection's subscriptions are at their limit.
    TooManySubscriptions,
    /// The connection has no such subscription.
    NotSubscribed,
    /// The server's topics are at their limit.
    TooManyTopics,
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
            Self::TooManySubscriptions => "too_many_subscriptions",
            Self::NotSubscribed => "not_subscribed",
            Self::TooManyTopics => "too_many_topics",
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
                "subscribe and unsubscribe take a list of topic names, publish takes an object with topic and data, \
                 list and ping take no args."
            }
            Self::UnknownField => {
                "A request has the members op, args and id, and the args of publish have topic and data."
            }
            Self::BadId => {
                "The member id must be an integer from 0 to 2^53-1 or a string of at most 64 bytes."
            }
            Self::BadTopic => {
                "A topic name has 1 to 128 bytes, no control characters, and no space at its beginning or end."
            }
            Self::TooManySubscriptions => "This connection has as many subscriptions as it may have.",
            Self::NotSubscribed => "This connection has no such subscription.",
            Self::TooManyTopics => "The server has as many topics as it may have.",
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

/// Reads a client's message.
pub fn parse(text: &str) -> Result<Request<'_>, Refusal> {
    let refusal = |id, op, error| Refusal { id, op, error };
    let Some(Members { values: [id, op, args], unknown }) = members(text, ["id", "op", "args"]) else {
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
    match string(raw) {
        Some(text) => (text.len() <= ID_BYTES_MAX).then(|| Id::Text(text.into())),
        None => raw.get().parse().ok().filter(|&number| number <= ID_NUMBER_MAX).map(Id::Number),
    }
}

fn parse_op_name(raw: &RawValue) -> Option<OpName> {
    let word = string(raw)?;
    OpName::ALL.into_iter().find(|name| name.as_str() == word)
}

fn parse_args(op: OpName, args: Option<&RawValue>) -> Result<Op<'_>, ErrorCode> {
    match (op, args) {
        (OpName::Subscribe, Some(args)) => Ok(Op::Subscribe(parse_topics(args)?)),
        (OpName::Unsubscribe, Some(args)) => Ok(Op::Unsubscribe(parse_topics(args)?)),
        (OpName::Publish, Some(args)) => {
            let Members { values, unknown } =
                members(args.get(), ["topic", "data"]).ok_or(ErrorCode::BadArgs)?;
            if unknown {
                return Err(ErrorCode::UnknownField);
            }
            let [Some(topic), Some(data)] = values else { return Err(ErrorCode::BadArgs) };
            if !is_shallow(data.get()) {
                return Err(ErrorCode::BadJson);
            }
            Ok(Op::Publish { topic: parse_topic(topic)?, data: data.get() })
        }
        (OpName::List, None) => Ok(Op::List),
        (OpName::Ping, None) => Ok(Op::Ping),
        _ => Err(ErrorCode::BadArgs),
    }
}

fn parse_topics(args: &RawValue) -> Result<Vec<TopicName>, ErrorCode> {
    let names: Vec<&RawValue> = serde_json::from_str(args.get()).map_err(|_| ErrorCode::BadArgs)?;
    if names.is_empty() {
        return Err(ErrorCode::BadArgs);
    }
    names.into_iter().map(parse_topic).collect()
}

fn parse_topic(raw: &RawValue) -> Result<TopicName, ErrorCode> {
    let name = string(raw).ok_or(ErrorCode::BadArgs)?;
    TopicName::parse(&name).map_err(|_| ErrorCode::BadTopic)
}

/// The content of a JSON string; `None` when this is another kind of value, or escapes half a surrogate pair.
fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let quoted = raw.get();
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(quoted).ok().map(Cow::Owned) } else { Some(inner.into()) }
}

/// An object's members: the values of the names that were asked for, unparsed.
struct Members<'a, const N: usize> {
    values: [Option<&'a RawValue>; N],
    /// Whether there are members with other names.
    unknown: bool,
}

/// Reads one JSON object; `None` when the text is anything else, or one of `names` occurs twice.
fn members<'a, const N: usize>(text: &'a str, names: [&'static str; N]) -> Option<Members<'a, N>> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let members = deserializer.deserialize_map(MembersVisitor(names)).ok()?;
    deserializer.end().ok()?;
    Some(members)
}

struct MembersVisitor<const N: usize>([&'static str; N]);

impl<'a, const N: usize> Visitor<'a> for MembersVisitor<N> {
    type Value = Members<'a, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Members { values: [None; N], unknown: false };
        while let Some(index) = map.next_key_seed(IndexOf(&self.0))? {
            let Some(index) = index else {
                members.unknown = true;
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if members.values[index].replace(map.next_value()?).is_some() {
                return Err(serde::de::Error::duplicate_field(self.0[index]));
            }
        }
        Ok(members)
    }
}

/// Deserializes a member's name into its place in the list.
struct IndexOf<'n>(&'n [&'static str]);

impl<'a> DeserializeSeed<'a> for IndexOf<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IndexOf<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|known| *known == name))
    }
}

/// Whether this is exactly one JSON text (RFC 8259), in UTF-8, and at most [`JSON_DEPTH_MAX`] levels deep.
pub fn is_json(text: &[u8]) -> bool {
    // serde_json does not look at the bytes inside of strings that it skips.
    let Ok(text) = simdutf8::basic::from_utf8(text) else { return false };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    IgnoredAny::deserialize(&mut deserializer).is_ok() && deserializer.end().is_ok() && is_shallow(text)
}

/// Whether a JSON text nests at most [`JSON_DEPTH_MAX`] levels. serde_json sets no limit on what it skips.
fn is_shallow(json: &str) -> bool {
    let opening = json.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count();
    // The common case: so few that they could all be inside of each other.
    if opening <= JSON_DEPTH_MAX {
        return true;
    }
    let mut depth = 0_usize;
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
        if depth > JSON_DEPTH_MAX {
            return false;
        }
    }
    true
}

/// Moves behind the end of a string whose opening quote was taken.
fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

/// Appends the reply to a subscribe: each topic, and the sequence number of its last message before the
/// subscription.
pub fn write_subscribed<'a>(
    out: &mut Vec<u8>,
    id: Option<&Id>,
    topics: impl Iterator<Item = (&'a str, u64)>,
) {
    write_reply(out, id, OpName::Subscribe);
    out.extend_from_slice(br#","topics":"#);
    write_list_of(out, topics, |out, (topic, seq)| {
        out.extend_from_slice(br#"{"topic":"#);
        write_string(out, topic);
        out.extend_from_slice(br#","seq":"#);
        write_number(out, seq);
        out.push(b'}');
    });
    out.push(b'}');
}

/// Appends the reply to an unsubscribe.
pub fn write_unsubscribed<'a>(out: &mut Vec<u8>, id: Option<&Id>, topics: impl Iterator<Item = &'a str>) {
    write_reply(out, id, OpName::Unsubscribe);
    out.extend_from_slice(br#","topics":"#);
    write_list_of(out, topics, write_string);
    out.push(b'}');
}

/// Appends the reply to a publish: the sequence number that the message was given.
pub fn write_published(out: &mut Vec<u8>, id: Option<&Id>, topic: &str, seq: u64) {
    write_reply(out, id, OpName::Publish);
    out.extend_from_slice(br#","topic":"#);
    write_string(out, topic);
    out.extend_from_slice(br#","seq":"#);
    write_number(out, seq);
    out.push(b'}');
}

/// Appends the reply to a list: this connection's subscriptions, in the order given.
pub fn write_list<'a>(out: &mut Vec<u8>, id: Option<&Id>, topics: impl Iterator<Item = &'a str>) {
    write_reply(out, id, OpName::List);
    out.extend_from_slice(br#","topics":"#);
    write_list_of(out, topics, write_string);
    out.push(b'}');
}

/// Appends the reply to a ping.
pub fn write_pong(out: &mut Vec<u8>, id: Option<&Id>) {
    out.push(b'{');
    write_id(out, id);
    out.extend_from_slice(br#""op":"pong"}"#);
}

/// Appends the reply to a request that is refused.
pub fn write_refusal(out: &mut Vec<u8>, refusal: &Refusal) {
    out.push(b'{');
    write_id(out, refusal.id.as_ref());
    if let Some(op) = refusal.op {
        write_op(out, op);
        out.push(b',');
    }
    out.extend_from_slice(br#""ok":false,"error":{"code":"#);
    write_string(out, refusal.error.code());
    out.extend_from_slice(br#","message":"#);
    write_string(out, refusal.error.message());
    out.extend_from_slice(b"}}");
}

/// Appends a message of a topic.
///
/// A JSON payload is written as it is, so it must have passed [`is_json`]; text becomes a JSON string, and
/// bytes a JSON string of base64, with `"encoding":"base64"` beside it.
pub fn write_data(out: &mut Vec<u8>, topic: &str, seq: u64, kind: Kind, payload: &[u8]) {
    out.extend_from_slice(br#"{"topic":"#);
    write_string(out, topic);
    out.extend_from_slice(br#","seq":"#);
    write_number(out, seq);
    out.extend_from_slice(br#","data":"#);
    match kind {
        Kind::Json => out.extend_from_slice(payload),
        Kind::Text => match simdutf8::basic::from_utf8(payload) {
            Ok(text) => write_string(out, text),
            Err(_) => write_string(out, &String::from_utf8_lossy(payload)),
        },
        Kind::Binary => {
            out.push(b'"');
            write_base64(out, payload);
            out.extend_from_slice(br#"","encoding":"base64""#);
        }
    }
    out.push(b'}');
}

/// The members that a successful reply begins with. The object is left open.
fn write_reply(out: &mut Vec<u8>, id: Option<&Id>, op: OpName) {
    out.push(b'{');
    write_id(out, id);
    write_op(out, op);
    out.extend_from_slice(br#","ok":true"#);
}

fn write_id(out: &mut Vec<u8>, id: Option<&Id>) {
    let Some(id) = id else { return };
    out.extend_from_slice(br#""id":"#);
    match id {
        Id::Number(number) => write_number(out, *number),
        Id::Text(text) => write_string(out, text),
    }
    out.push(b',');
}

fn write_op(out: &mut Vec<u8>, op: OpName) {
    out.extend_from_slice(br#""op":"#);
    write_string(out, op.as_str());
}

fn write_list_of<T>(out: &mut Vec<u8>, items: impl Iterator<Item = T>, write: impl Fn(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("writing to a Vec does not fail, and text is always JSON");
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    write!(out, "{number}").expect("writing to a Vec does not fail");
}

fn write_base64(out: &mut Vec<u8>, payload: &[u8]) {
    let start = out.len();
    out.resize(start + payload.len().div_ceil(3) * 4, 0);
    BASE64_STANDARD.encode_slice(payload, &mut out[start..]).expect("four bytes for each three, rounded up");
}
