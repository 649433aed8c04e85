//! Replies: what a client is told about its requests.

use std::io::Write;

use super::refusal::Refusal;
use super::request::{Id, OpName};
use crate::json::{write_number, write_string};
use crate::subscribe::Epoch;

/// One topic of the reply to a subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed<'a> {
    /// Which topic.
    pub topic: &'a str,
    /// The life in which its messages are counted.
    pub epoch: Epoch,
    /// The sequence number of its last message, 0 if there was none.
    pub seq: u64,
    /// The lowest sequence number that a subscription can start from; `None` if no message is held.
    pub oldest: Option<u64>,
    /// What became of `since`; `None` if it was not asked for.
    pub recovery: Option<Recovery>,
}

/// What became of a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// The subscription goes on behind the last message that the subscriber has.
    Recovered,
    /// It does not.
    Lost {
        /// The first and the last of the messages that the subscriber does not have; `None` if its sequence
        /// number means nothing here.
        missing: Option<(u64, u64)>,
    },
}

/// Appends the reply to a subscribe: each topic, and where its subscription stands.
pub fn write_subscribed<'a>(
    out: &mut Vec<u8>,
    id: Option<&Id>,
    topics: impl Iterator<Item = Subscribed<'a>>,
) {
    write_start(out, id, OpName::Subscribe);
    out.extend_from_slice(br#","topics":"#);
    write_list_of(out, topics, |out, topic| {
        out.extend_from_slice(br#"{"topic":"#);
        write_string(out, topic.topic);
        write!(out, r#","epoch":"{}""#, topic.epoch).expect("writing to a Vec does not fail");
        out.extend_from_slice(br#","seq":"#);
        write_number(out, topic.seq);
        out.extend_from_slice(br#","oldest":"#);
        match topic.oldest {
            Some(oldest) => write_number(out, oldest),
            None => out.extend_from_slice(b"null"),
        }
        if let Some(recovery) = topic.recovery {
            write_recovery(out, recovery);
        }
        out.push(b'}');
    });
    out.push(b'}');
}

fn write_recovery(out: &mut Vec<u8>, recovery: Recovery) {
    match recovery {
        Recovery::Recovered => out.extend_from_slice(br#","recovered":true"#),
        Recovery::Lost { missing: None } => {
            out.extend_from_slice(br#","recovered":false,"missing":null"#);
        }
        Recovery::Lost { missing: Some((from, to)) } => {
            out.extend_from_slice(br#","recovered":false,"missing":{"from":"#);
            write_number(out, from);
            out.extend_from_slice(br#","to":"#);
            write_number(out, to);
            out.push(b'}');
        }
    }
}

/// Appends the reply to an unsubscribe.
pub fn write_unsubscribed<'a>(out: &mut Vec<u8>, id: Option<&Id>, topics: impl Iterator<Item = &'a str>) {
    write_start(out, id, OpName::Unsubscribe);
    out.extend_from_slice(br#","topics":"#);
    write_list_of(out, topics, write_string);
    out.push(b'}');
}

/// Appends the reply to a publish: the sequence number that the message was given.
pub fn write_published(out: &mut Vec<u8>, id: Option<&Id>, topic: &str, seq: u64) {
    write_start(out, id, OpName::Publish);
    out.extend_from_slice(br#","topic":"#);
    write_string(out, topic);
    out.extend_from_slice(br#","seq":"#);
    write_number(out, seq);
    out.push(b'}');
}

/// Appends the reply to a list: this connection's subscriptions, in the order given.
pub fn write_list<'a>(out: &mut Vec<u8>, id: Option<&Id>, topics: impl Iterator<Item = &'a str>) {
    write_start(out, id, OpName::List);
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

/// The members that a successful reply begins with. The object is left open.
fn write_start(out: &mut Vec<u8>, id: Option<&Id>, op: OpName) {
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
