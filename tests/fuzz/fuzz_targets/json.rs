//! The JSON protocol of `/stream`.
//!
//! An input is a client's message. What is accepted is JSON to serde_json too, and means the same there; what is answered,
//! and every message and notice of a topic, is one JSON text, whatever payload, key and topic it is made of.

#![no_main]

use fanfare_fuzz::Choices;
use fanfare_wire::Kind;
use fanfare_wire::key::Key;
use fanfare_wire::notice::{self, Notice};
use fanfare_wire::stream::{self, Content, Id, Op, Recovery, Request, Subscribe, Subscribed};
use fanfare_wire::subscribe::{Epoch, Start};
use fanfare_wire::topic::TopicName;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use serde_json::value::RawValue;

fuzz_target!(|input: &[u8]| {
    if let Ok(text) = std::str::from_utf8(input) {
        check_request(text);
        assert!(!stream::is_json(input) || serde_json::from_str::<&RawValue>(text).is_ok());
    } else {
        assert!(!stream::is_json(input), "JSON is UTF-8");
    }
    if let Ok(value) = serde_json::from_slice::<Value>(input) {
        assert!(stream::is_json(input) || depth(&value) > stream::JSON_DEPTH_MAX, "{value}");
    }
    if let Some(notice) = Notice::parse_words(input) {
        let mut words = Vec::new();
        notice.write_words(&mut words);
        assert_eq!(words, input);
    }
    check_written(input);
});

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn check_request(text: &str) {
    match stream::parse(text) {
        Ok(request) => {
            check_meaning(&request, text);
            check_replies(request.id.as_ref(), &request.op);
        }
        Err(refusal) => {
            let mut reply = Vec::new();
            stream::write_refusal(&mut reply, &refusal);
            let reply = object(&reply);
            assert_eq!(reply["ok"], false);
            assert_eq!(reply["error"]["code"], refusal.error.code());
            check_id(refusal.id.as_ref(), &reply["id"]);
        }
    }
}

/// What was written must be one JSON object.
fn object(written: &[u8]) -> Value {
    let value: Value = serde_json::from_slice(written)
        .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(written)));
    assert!(value.is_object());
    value
}

fn check_id(id: Option<&Id>, value: &Value) {
    match id {
        None => assert!(value.is_null()),
        Some(Id::Number(number)) => assert_eq!(value.as_u64(), Some(*number)),
        Some(Id::Text(text)) => assert_eq!(value.as_str(), Some(&**text)),
    }
}

/// The same members, read by serde_json. Data stays as it was written: not every number in it need fit a float.
fn check_meaning(request: &Request<'_>, text: &str) {
    let members: std::collections::BTreeMap<String, &RawValue> =
        serde_json::from_str(text).expect("an object");
    let value = |name: &str| {
        members.get(name).map_or(Value::Null, |raw| serde_json::from_str(raw.get()).expect("JSON"))
    };
    assert!(members.keys().all(|name| ["id", "op", "args"].contains(&&**name)));
    assert_eq!(value("op"), request.op.name().as_str());
    check_id(request.id.as_ref(), &value("id"));
    match &request.op {
        Op::Subscribe(topics) => {
            let args = value("args");
            let args = args.as_array().expect("a list");
            assert_eq!(args.len(), topics.len());
            args.iter().zip(topics).for_each(|(value, asked)| check_subscribe(asked, value));
        }
        Op::Unsubscribe(topics) => {
            let names: Vec<&str> = topics.iter().map(|topic| topic.as_str()).collect();
            assert_eq!(value("args"), Value::from(names));
        }
        Op::Publish { topic, key, content } => {
            let args: std::collections::BTreeMap<String, &RawValue> =
                serde_json::from_str(members["args"].get()).expect("an object");
            let text = |name: &str| {
                args.get(name).map(|raw| serde_json::from_str::<String>(raw.get()).expect("a text"))
            };
            assert_eq!(text("topic").as_deref(), Some(topic.as_str()));
            assert_eq!(text("key").as_deref(), key.as_ref().map(Key::as_str));
            match content {
                Content::Data(data) => {
                    assert_eq!(*data, args["data"].get());
                    assert!(stream::is_json(data.as_bytes()), "data is JSON");
                    check_data("t", 1, key.as_ref(), Kind::Json, data.as_bytes());
                }
                Content::Tombstone => assert_eq!(args["tombstone"].get(), "true"),
            }
        }
        Op::List | Op::Ping => assert!(!members.contains_key("args")),
    }
}

fn check_subscribe(asked: &Subscribe, value: &Value) {
    let Some(options) = &asked.options else { return assert_eq!(*value, asked.topic.as_str()) };
    assert_eq!(value["topic"], asked.topic.as_str());
    match options.start {
        Start::Head => assert!(value["since"].is_null() && value["last"].is_null()),
        Start::Since { seq, epoch } => {
            assert_eq!(value["since"].as_u64(), Some(seq));
            assert_eq!(value["epoch"], epoch.to_string());
        }
        Start::Last(count) => assert_eq!(value["last"].as_u64(), Some(count)),
    }
    assert_eq!(value["snapshot"].as_bool().unwrap_or(false), options.snapshot);
    assert_eq!(value["presence"].as_bool().unwrap_or(false), options.presence);
    assert_eq!(value["policy"].as_str(), options.policy.map(|policy| policy.as_str()));
    match options.max_rate {
        None => assert!(value["max_rate"].is_null()),
        Some(rate) => {
            let asked = value["max_rate"].as_f64().expect("a number");
            assert!(rate.period_ns() as f64 >= 1e9 / asked, "never more than was asked for");
        }
    }
}

/// Every reply that can come of a request.
fn check_replies(id: Option<&Id>, op: &Op<'_>) {
    let written = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut reply = Vec::new();
        write(&mut reply);
        let reply = object(&reply);
        check_id(id, &reply["id"]);
        reply
    };
    match op {
        Op::Subscribe(topics) => {
            let recoveries =
                [None, Some(Recovery::Recovered), Some(Recovery::Lost { missing: Some((1, 2)) })];
            for recovery in recoveries {
                let state = |asked: &Subscribe| Subscribed {
                    topic: "",
                    epoch: Epoch(asked.topic.len() as u64),
                    seq: 3,
                    oldest: Some(1),
                    recovery,
                };
                let states = || topics.iter().map(|asked| Subscribed { topic: &asked.topic, ..state(asked) });
                let reply = written(&|out| stream::write_subscribed(out, id, states()));
                for (told, asked) in reply["topics"].as_array().expect("a list").iter().zip(topics) {
                    assert_eq!(told["topic"], asked.topic.as_str());
                }
            }
        }
        Op::Unsubscribe(topics) => {
            let names = || topics.iter().map(|topic| topic.as_str());
            written(&|out| stream::write_unsubscribed(out, id, names()));
            written(&|out| stream::write_list(out, id, names()));
        }
        Op::Publish { topic, .. } => {
            let reply = written(&|out| stream::write_published(out, id, topic, 7));
            assert_eq!((&reply["topic"], &reply["seq"]), (&Value::from(topic.as_str()), &Value::from(7)));
        }
        Op::List | Op::Ping => assert_eq!(written(&|out| stream::write_pong(out, id))["op"], "pong"),
    }
}

/// The input as topic, key and payload of messages.
fn check_written(input: &[u8]) {
    let mut choices = Choices::of(input);
    let lossy = String::from_utf8_lossy(input);
    let mut name = || -> String {
        let start = choices.below(lossy.chars().count().max(1));
        lossy.chars().skip(start).take(1 + choices.below(40)).collect()
    };
    let key = Key::parse(&name()).ok();
    let Ok(topic) = TopicName::parse(&name()) else { return };
    let seq = Choices::of(input).below(usize::MAX) as u64;
    check_data(&topic, seq, key.as_ref(), Kind::Text, input);
    check_data(&topic, seq, key.as_ref(), Kind::Binary, input);
    if key.is_some() {
        check_data(&topic, seq, key.as_ref(), Kind::Tombstone, &[]);
    }
    let (mut notice, mut presence) = (Vec::new(), Vec::new());
    Notice::Gap { from: 1, to: seq }.write_json(&mut notice, &topic);
    notice::write_presence(&mut presence, &topic, seq as usize);
    for written in [notice, presence] {
        assert_eq!(object(&written)["topic"], topic.as_str());
    }
}

fn check_data(topic: &str, seq: u64, key: Option<&Key>, kind: Kind, payload: &[u8]) {
    let mut written = Vec::new();
    stream::write_data(&mut written, topic, seq, key, kind, payload);
    assert!(!written.contains(&b'\n') || kind == Kind::Json);
    let members: std::collections::BTreeMap<String, &RawValue> =
        serde_json::from_slice(&written).unwrap_or_else(|error| panic!("{error} in {written:?}"));
    let text =
        |name: &str| members.get(name).map(|raw| serde_json::from_str::<String>(raw.get()).expect("a text"));
    assert_eq!(text("topic").as_deref(), Some(topic));
    assert_eq!(text("key").as_deref(), key.map(Key::as_str));
    assert_eq!(members["seq"].get(), seq.to_string());
    match kind {
        Kind::Json => {
            let bare =
                std::str::from_utf8(payload).expect("JSON is UTF-8").trim_matches([' ', '\t', '\r', '\n']);
            assert_eq!(members["data"].get(), bare);
        }
        Kind::Text => assert_eq!(text("data"), Some(String::from_utf8_lossy(payload).into_owned())),
        Kind::Binary => {
            let data = text("data").expect("base64");
            assert_eq!(data.len(), payload.len().div_ceil(3) * 4);
            assert_eq!(text("encoding").as_deref(), Some("base64"));
        }
        Kind::Tombstone => assert_eq!(members["tombstone"].get(), "true"),
    }
}
