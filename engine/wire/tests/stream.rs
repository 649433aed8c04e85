//! The JSON protocol: requests of every shape, and replies as they stand on the wire.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fanfare_wire::Kind;
use fanfare_wire::key::Key;
use fanfare_wire::stream::{
    self, Content, ErrorCode, Id, Op, OpName, Recovery, Refusal, Request, Subscribe, Subscribed,
};
use fanfare_wire::subscribe::{Epoch, Policy, Start, SubscribeOptions};
use fanfare_wire::topic::TopicName;
use proptest::prelude::*;
use serde_json::{Value, json};

fn topic(name: &str) -> TopicName {
    TopicName::parse(name).unwrap()
}

fn key(key: &str) -> Key {
    Key::parse(key).unwrap()
}

/// A subscribe that gives the topic's name and nothing else.
fn bare(name: &str) -> Subscribe {
    Subscribe { topic: topic(name), options: None }
}

/// A publish without a key.
fn publish<'a>(name: &str, data: &'a str) -> Op<'a> {
    Op::Publish { topic: topic(name), key: None, content: Content::Data(data) }
}

#[track_caller]
fn check(text: &str, id: Option<Id>, op: Op<'_>) {
    assert_eq!(stream::parse(text), Ok(Request { id, op }), "{text}");
}

#[track_caller]
fn refused(text: &str, id: Option<Id>, op: Option<OpName>, error: ErrorCode) {
    assert_eq!(stream::parse(text), Err(Refusal { id, op, error }), "{text}");
}

#[test]
fn requests() {
    let number = |number| Some(Id::Number(number));
    check(
        r#"{"op":"subscribe","args":["a","b"],"id":1}"#,
        number(1),
        Op::Subscribe(vec![bare("a"), bare("b")]),
    );
    check(r#"{"op":"unsubscribe","args":["a"],"id":2}"#, number(2), Op::Unsubscribe(vec![topic("a")]));
    check(
        r#"{"op":"publish","args":{"topic":"a","data":{"x": [1, 2.50]}},"id":3}"#,
        number(3),
        publish("a", r#"{"x": [1, 2.50]}"#),
    );
    check(r#"{"op":"list","id":4}"#, number(4), Op::List);
    check(r#"{"op":"ping","id":5}"#, number(5), Op::Ping);
    check(r#" { "id" : "x" , "op" : "ping" } "#, Some(Id::Text("x".into())), Op::Ping);
    check(r#"{"op":"ping"}"#, None, Op::Ping);
    check(r#"{"op":"p\u0069ng","\u0069d":0}"#, number(0), Op::Ping);
    check(
        r#"{"op":"subscribe","args":["\u00e9\/\"","a","a"]}"#,
        None,
        Op::Subscribe(vec![bare("é/\""), bare("a"), bare("a")]),
    );
    for data in ["null", "true", "0", "-1e400", r#""text\n""#, "[]", r#"{"topic":"b","data":1}"#] {
        let text = format!(r#"{{"op":"publish","args":{{"data":{data},"topic":"a"}}}}"#);
        check(&text, None, publish("a", data));
    }
}

/// tests/subscribe.rs has what the objects can ask for.
#[test]
fn subscribes_of_objects() {
    let with = |name, options| Subscribe { topic: topic(name), options: Some(options) };
    let default = SubscribeOptions::default();
    check(r#"{"op":"subscribe","args":[{"topic":"a"}]}"#, None, Op::Subscribe(vec![with("a", default)]));
    let all = SubscribeOptions {
        start: Start::Since { seq: 41, epoch: Epoch(0x0011_2233_aabb_ccdd) },
        snapshot: true,
        policy: Some(Policy::Skip),
        presence: true,
        ..default
    };
    check(
        r#"{"op":"subscribe","args":["b", {"presence":true,"policy":"sk\u0069p","snapshot":true,
            "\u0065poch":"00112233aabbccdd","since":41,"topic":"\u0061"} ,"a",{"last":3,"topic":"b"}]}"#,
        None,
        Op::Subscribe(vec![
            bare("b"),
            with("a", all),
            bare("a"),
            with("b", SubscribeOptions { start: Start::Last(3), ..default }),
        ]),
    );
}

#[test]
fn publishes_with_a_key() {
    let op = |name, content| Op::Publish { topic: topic("a"), key: Some(key(name)), content };
    check(
        r#"{"op":"publish","args":{"topic":"a","data":1,"key":"EURUSD"}}"#,
        None,
        op("EURUSD", Content::Data("1")),
    );
    check(
        r#"{"op":"publish","args":{"key":"\u00e9","data":null,"topic":"a"}}"#,
        None,
        op("é", Content::Data("null")),
    );
    check(
        r#"{"op":"publish","args":{"topic":"a","key":" ","tombstone":true}}"#,
        None,
        op(" ", Content::Tombstone),
    );
}

#[test]
fn ids() {
    let ping = |id: &str| format!(r#"{{"op":"ping","id":{id}}}"#);
    for (text, id) in [
        ("0", Id::Number(0)),
        ("9007199254740991", Id::Number((1 << 53) - 1)),
        (r#""""#, Id::Text("".into())),
        (r#""\u00e9\"""#, Id::Text("é\"".into())),
        (&format!("\"{}\"", "x".repeat(64)), Id::Text("x".repeat(64).into())),
    ] {
        check(&ping(text), Some(id), Op::Ping);
    }
    for text in [
        "9007199254740992",
        "18446744073709551616",
        "-1",
        "-0",
        "1.0",
        "1e3",
        "null",
        "true",
        "[1]",
        "{}",
        r#""\ud800""#,
        &format!("\"{}\"", "x".repeat(65)),
        &format!("\"{}\"", "é".repeat(33)),
    ] {
        refused(&ping(text), None, Some(OpName::Ping), ErrorCode::BadId);
    }
}

#[test]
fn refusals() {
    let bad_json = |text: &str| refused(text, None, None, ErrorCode::BadJson);
    for text in [
        "",
        " ",
        "x",
        "1",
        "null",
        "[]",
        r#""ping""#,
        "{",
        r#"{"op":"ping"} x"#,
        r#"{"op":"ping"}{"op":"ping"}"#,
        r#"{"op":"ping",}"#,
        r#"{op:"ping"}"#,
        r#"{'op':'ping'}"#,
        r#"{"op":"ping","op":"list"}"#,
        r#"{"op":"ping","id":1,"id":1}"#,
        r#"{"op":"ping","id":01}"#,
        "{\"op\":\"pi\nng\"}",
        "\u{feff}{\"op\":\"ping\"}",
    ] {
        bad_json(text);
    }

    let id = Some(Id::Number(7));
    for op in [r#""Ping""#, r#""subscribe ""#, "1", "null", r#"["ping"]"#, r#""""#] {
        refused(&format!(r#"{{"id":7,"op":{op}}}"#), id.clone(), None, ErrorCode::UnknownOp);
    }
    refused(r#"{"id":7}"#, id.clone(), None, ErrorCode::UnknownOp);
    refused("{}", None, None, ErrorCode::UnknownOp);

    let table: &[(&str, OpName, ErrorCode)] = &[
        (r#""op":"ping","x":1"#, OpName::Ping, ErrorCode::UnknownField),
        (r#""op":"ping","Id":1"#, OpName::Ping, ErrorCode::UnknownField),
        (r#""op":"ping","args":[]"#, OpName::Ping, ErrorCode::BadArgs),
        (r#""op":"list","args":null"#, OpName::List, ErrorCode::BadArgs),
        (r#""op":"subscribe""#, OpName::Subscribe, ErrorCode::BadArgs),
        (r#""op":"subscribe","args":[]"#, OpName::Subscribe, ErrorCode::BadArgs),
        (r#""op":"subscribe","args":"a""#, OpName::Subscribe, ErrorCode::BadArgs),
        (r#""op":"subscribe","args":null"#, OpName::Subscribe, ErrorCode::BadArgs),
        (r#""op":"subscribe","args":{"topic":"a"}"#, OpName::Subscribe, ErrorCode::BadArgs),
        (r#""op":"subscribe","args":["a",1]"#, OpName::Subscribe, ErrorCode::BadArgs),
        (r#""op":"subscribe","args":["a",""]"#, OpName::Subscribe, ErrorCode::BadTopic),
        (r#""op":"subscribe","args":[" a"]"#, OpName::Subscribe, ErrorCode::BadTopic),
        (r#""op":"subscribe","args":["a\u0000"]"#, OpName::Subscribe, ErrorCode::BadTopic),
        (r#""op":"subscribe","args":["a",null]"#, OpName::Subscribe, ErrorCode::BadArgs),
        (r#""op":"subscribe","args":["a",["b"]]"#, OpName::Subscribe, ErrorCode::BadArgs),
        (r#""op":"subscribe","args":["\ud800"]"#, OpName::Subscribe, ErrorCode::BadArgs),
        (r#""op":"subscribe","args":[{}]"#, OpName::Subscribe, ErrorCode::BadArgs),
        (r#""op":"subscribe","args":["a",{"last":1}]"#, OpName::Subscribe, ErrorCode::BadArgs),
        (r#""op":"subscribe","args":[{"topic":["a"]}]"#, OpName::Subscribe, ErrorCode::BadArgs),
        (r#""op":"subscribe","args":[{"topic":"a","last":"1"}]"#, OpName::Subscribe, ErrorCode::BadArgs),
        (r#""op":"subscribe","args":[{"topic":" a"}]"#, OpName::Subscribe, ErrorCode::BadTopic),
        (
            r#""op":"subscribe","args":["a",{"topic":"a","data":1}]"#,
            OpName::Subscribe,
            ErrorCode::UnknownField,
        ),
        (r#""op":"unsubscribe","args":[{"topic":"a"}]"#, OpName::Unsubscribe, ErrorCode::BadArgs),
        (r#""op":"unsubscribe","args":[]"#, OpName::Unsubscribe, ErrorCode::BadArgs),
        (r#""op":"publish""#, OpName::Publish, ErrorCode::BadArgs),
        (r#""op":"publish","args":["a",1]"#, OpName::Publish, ErrorCode::BadArgs),
        (r#""op":"publish","args":{"topic":"a"}"#, OpName::Publish, ErrorCode::BadArgs),
        (r#""op":"publish","args":{"data":1}"#, OpName::Publish, ErrorCode::BadArgs),
        (r#""op":"publish","args":{"topic":1,"data":1}"#, OpName::Publish, ErrorCode::BadArgs),
        (r#""op":"publish","args":{"topic":"a","topic":"a","data":1}"#, OpName::Publish, ErrorCode::BadArgs),
        (r#""op":"publish","args":{"topic":"a","data":1,"x":1}"#, OpName::Publish, ErrorCode::UnknownField),
        (r#""op":"publish","args":{"topic":"","data":1}"#, OpName::Publish, ErrorCode::BadTopic),
        (r#""op":"publish","args":{"topic":"a","data":1,"key":null}"#, OpName::Publish, ErrorCode::BadArgs),
        (r#""op":"publish","args":{"topic":"a","data":1,"key":1}"#, OpName::Publish, ErrorCode::BadArgs),
        (r#""op":"publish","args":{"topic":"a","data":1,"key":""}"#, OpName::Publish, ErrorCode::BadKey),
        (r#""op":"publish","args":{"topic":"a","data":1,"key":"\n"}"#, OpName::Publish, ErrorCode::BadKey),
        (
            r#""op":"publish","args":{"topic":"a","tombstone":true,"key":""}"#,
            OpName::Publish,
            ErrorCode::BadKey,
        ),
        (r#""op":"publish","args":{"topic":"a","key":"k"}"#, OpName::Publish, ErrorCode::BadArgs),
        (r#""op":"publish","args":{"topic":"a","tombstone":true}"#, OpName::Publish, ErrorCode::BadArgs),
        (
            r#""op":"publish","args":{"topic":"a","key":"k","tombstone":false}"#,
            OpName::Publish,
            ErrorCode::BadArgs,
        ),
        (
            r#""op":"publish","args":{"topic":"a","key":"k","tombstone":1}"#,
            OpName::Publish,
            ErrorCode::BadArgs,
        ),
        (
            r#""op":"publish","args":{"topic":"a","key":"k","tombstone":"true"}"#,
            OpName::Publish,
            ErrorCode::BadArgs,
        ),
        (
            r#""op":"publish","args":{"topic":"a","key":"k","tombstone":true,"data":1}"#,
            OpName::Publish,
            ErrorCode::BadArgs,
        ),
        (
            r#""op":"publish","args":{"topic":"a","key":"k","tombstone":false,"data":1}"#,
            OpName::Publish,
            ErrorCode::BadArgs,
        ),
        (r#""op":"publish","args":{"key":"k","tombstone":true}"#, OpName::Publish, ErrorCode::BadArgs),
        (
            r#""op":"publish","args":{"topic":"a","data":1,"Key":"k"}"#,
            OpName::Publish,
            ErrorCode::UnknownField,
        ),
    ];
    for (members, op, error) in table {
        refused(&format!(r#"{{"id":7,{members}}}"#), id.clone(), Some(*op), *error);
    }
}

#[track_caller]
fn written(expected: &str, write: impl FnOnce(&mut Vec<u8>)) {
    let mut out = b"before".to_vec();
    write(&mut out);
    let text = String::from_utf8(out).unwrap();
    let text = text.strip_prefix("before").expect("writers append");
    assert_eq!(text, expected);
    assert!(stream::is_json(text.as_bytes()));
}

#[test]
fn replies() {
    let id = Some(Id::Number(1));
    let id = id.as_ref();
    let text = Id::Text("q\"\u{1}".into());
    written(r#"{"id":1,"op":"unsubscribe","ok":true,"topics":["a"]}"#, |out| {
        stream::write_unsubscribed(out, id, ["a"].into_iter());
    });
    written(r#"{"id":"q\"\u0001","op":"publish","ok":true,"topic":"a","seq":42}"#, |out| {
        stream::write_published(out, Some(&text), "a", 42);
    });
    written(r#"{"id":1,"op":"list","ok":true,"topics":["a","é"]}"#, |out| {
        stream::write_list(out, id, ["a", "é"].into_iter());
    });
    written(r#"{"id":1,"op":"list","ok":true,"topics":[]}"#, |out| {
        stream::write_list(out, id, [].into_iter())
    });
    written(r#"{"id":1,"op":"pong"}"#, |out| stream::write_pong(out, id));
    written(r#"{"op":"pong"}"#, |out| stream::write_pong(out, None));
    let refusal = |id, op| Refusal { id, op, error: ErrorCode::ShuttingDown };
    let error = r#""error":{"code":"shutting_down","message":"The server is shutting down."}}"#;
    written(&format!(r#"{{"id":1,"op":"publish","ok":false,{error}"#), |out| {
        stream::write_refusal(out, &refusal(Some(Id::Number(1)), Some(OpName::Publish)));
    });
    written(&format!(r#"{{"ok":false,{error}"#), |out| stream::write_refusal(out, &refusal(None, None)));
}

#[test]
fn replies_to_subscribes() {
    let id = Some(Id::Number(1));
    let epoch = Epoch(0x0011_2233_aabb_ccdd);
    let plain = Subscribed { topic: "prices", epoch, seq: 42, oldest: Some(3), recovery: None };
    written(
        r#"{"id":1,"op":"subscribe","ok":true,"topics":[{"topic":"prices","epoch":"00112233aabbccdd","seq":42,"oldest":3}]}"#,
        |out| stream::write_subscribed(out, id.as_ref(), [plain].into_iter()),
    );
    let table = [
        (Recovery::Recovered, r#""recovered":true"#),
        (Recovery::Lost { missing: Some((4, 42)) }, r#""recovered":false,"missing":{"from":4,"to":42}"#),
        (Recovery::Lost { missing: None }, r#""recovered":false,"missing":null"#),
    ];
    for (recovery, members) in table {
        let expected = format!(
            r#"{{"op":"subscribe","ok":true,"topics":[{{"topic":"prices","epoch":"00112233aabbccdd","seq":42,"oldest":3,{members}}}]}}"#
        );
        let topic = Subscribed { recovery: Some(recovery), ..plain };
        written(&expected, |out| stream::write_subscribed(out, None, [topic].into_iter()));
    }
    let empty = Subscribed { topic: "a", epoch: Epoch(0), seq: 0, oldest: None, recovery: None };
    let max = u64::MAX;
    let extreme = Subscribed { topic: "\"", epoch: Epoch(max), seq: max, oldest: Some(max), recovery: None };
    written(
        r#"{"op":"subscribe","ok":true,"topics":[{"topic":"a","epoch":"0000000000000000","seq":0,"oldest":null},{"topic":"\"","epoch":"ffffffffffffffff","seq":18446744073709551615,"oldest":18446744073709551615}]}"#,
        |out| stream::write_subscribed(out, None, [empty, extreme].into_iter()),
    );
}

#[test]
fn errors_have_a_code_and_a_sentence() {
    let all = [
        ErrorCode::BadJson,
        ErrorCode::UnknownOp,
        ErrorCode::BadArgs,
        ErrorCode::UnknownField,
        ErrorCode::BadId,
        ErrorCode::BadTopic,
        ErrorCode::BadKey,
        ErrorCode::TooManySubscriptions,
        ErrorCode::NotSubscribed,
        ErrorCode::TooManyTopics,
        ErrorCode::PolicyNotAllowed,
        ErrorCode::TooManyKeys,
        ErrorCode::ValuesTooLarge,
        ErrorCode::ShuttingDown,
    ];
    for error in all {
        // The code is the variant's name in snake case.
        let mut snake = String::new();
        for letter in format!("{error:?}").chars() {
            if letter.is_uppercase() && !snake.is_empty() {
                snake.push('_');
            }
            snake.push(letter.to_ascii_lowercase());
        }
        assert_eq!(error.code(), snake);
        assert!(error.message().ends_with('.') && !error.message().contains("  "), "{}", error.message());
    }
}

#[test]
fn data() {
    let check = |kind, payload: &[u8], expected: &str| {
        written(expected, |out| stream::write_data(out, "a", 42, None, kind, payload));
    };
    check(Kind::Json, br#"{"x": 1}"#, r#"{"topic":"a","seq":42,"data":{"x": 1}}"#);
    check(Kind::Text, "a\"b\n€".as_bytes(), r#"{"topic":"a","seq":42,"data":"a\"b\n€"}"#);
    check(Kind::Text, b"", r#"{"topic":"a","seq":42,"data":""}"#);
    check(Kind::Binary, b"", r#"{"topic":"a","seq":42,"data":"","encoding":"base64"}"#);
    check(Kind::Binary, b"\xff", r#"{"topic":"a","seq":42,"data":"/w==","encoding":"base64"}"#);
    check(Kind::Binary, b"\xff\xfe\xfd", r#"{"topic":"a","seq":42,"data":"//79","encoding":"base64"}"#);
    // A publisher's text is valid; if it is not, the envelope stays so.
    check(Kind::Text, b"a\xff", "{\"topic\":\"a\",\"seq\":42,\"data\":\"a\u{fffd}\"}");
}

#[test]
fn data_with_a_key() {
    let check = |kind, payload: &[u8], expected: &str| {
        written(expected, |out| stream::write_data(out, "a", 42, Some(&key("k\"")), kind, payload));
    };
    check(Kind::Json, b"[1]", r#"{"topic":"a","seq":42,"key":"k\"","data":[1]}"#);
    check(Kind::Text, b"x", r#"{"topic":"a","seq":42,"key":"k\"","data":"x"}"#);
    check(Kind::Binary, b"\xff", r#"{"topic":"a","seq":42,"key":"k\"","data":"/w==","encoding":"base64"}"#);
    check(Kind::Tombstone, b"", r#"{"topic":"a","seq":42,"key":"k\"","tombstone":true}"#);
}

#[test]
fn json_texts() {
    for text in [
        "0",
        " 1 ",
        "-1.5e+3",
        "null",
        "\"\"",
        "[]",
        "{}",
        "[1,[2,{\"a\":[]}]]",
        "\"\\ud83d\\ude00\"",
        "\"é\"",
    ] {
        assert!(stream::is_json(text.as_bytes()), "{text}");
    }
    for text in [
        &b""[..],
        b" ",
        b"01",
        b"+1",
        b".5",
        b"1 2",
        b"{",
        b"[1,]",
        b"{\"a\"}",
        b"NaN",
        b"'a'",
        b"\"\xff\"",
        b"\"\n\"",
        b"\xef\xbb\xbf1",
        b"tru",
    ] {
        assert!(!stream::is_json(text), "{text:?}");
    }
}

#[test]
fn json_depth() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    for (json, good) in [
        (nested(128), true),
        (nested(129), false),
        (objects(128), true),
        (objects(129), false),
        // Side by side, and inside of strings.
        (format!("[{}0]", "[],".repeat(1000)), true),
        (format!("[{:?}, {}]", "[\"\\".repeat(200), nested(127)), true),
        (format!("[{:?}, {}]", "[\"\\".repeat(200), nested(128)), false),
        (format!("[{:?}, {}]", "]\"".repeat(200), nested(128)), false),
        // However deep, no stack overflows.
        (nested(1_000_000), false),
        ("[".repeat(1_000_000), false),
    ] {
        let shown = &json[..json.len().min(300)];
        assert_eq!(stream::is_json(json.as_bytes()), good, "{shown}");
        let text = format!(r#"{{"op":"publish","args":{{"topic":"a","data":{json}}}}}"#);
        match stream::parse(&text) {
            Ok(request) => {
                assert!(
                    good && matches!(request.op, Op::Publish { content: Content::Data(data), .. } if data == json),
                    "{shown}"
                )
            }
            Err(refusal) => assert!(!good && refusal.error == ErrorCode::BadJson, "{shown}: {refusal:?}"),
        }
    }
}

proptest! {
    #[test]
    fn any_text_survives(text in any::<String>()) {
        let _ = stream::parse(&text);
    }

    #[test]
    fn is_json_agrees_with_a_full_parse(text in "[\\[\\]{}:,\"\\\\a0-9.+ nul-]{0,12}") {
        let full = serde_json::from_str::<Value>(&text);
        prop_assert_eq!(stream::is_json(text.as_bytes()), full.is_ok());
    }

    #[test]
    fn data_reads_back(
        name in "\\PC{1,20}",
        seq: u64,
        key in proptest::option::of("\\PC{1,20}".prop_map(|text| key(&text))),
        text: String,
        bytes: Vec<u8>,
    ) {
        let read = |kind, payload: &[u8]| -> Value {
            let mut out = Vec::new();
            stream::write_data(&mut out, &name, seq, key.as_ref(), kind, payload);
            serde_json::from_slice(&out).unwrap()
        };
        let mut expected = json!({"topic": name, "seq": seq});
        if let Some(key) = &key {
            expected["key"] = json!(key.as_str());
            let mut expected = expected.clone();
            expected["tombstone"] = json!(true);
            prop_assert_eq!(read(Kind::Tombstone, b""), expected);
        }
        expected["data"] = json!(text);
        prop_assert_eq!(&read(Kind::Text, text.as_bytes()), &expected);
        let value = json!([text, {"seq": seq}]);
        expected["data"] = value.clone();
        prop_assert_eq!(&read(Kind::Json, value.to_string().as_bytes()), &expected);
        let mut binary = read(Kind::Binary, &bytes);
        prop_assert_eq!(BASE64_STANDARD.decode(binary["data"].as_str().unwrap()).unwrap(), bytes);
        expected["encoding"] = json!("base64");
        binary["data"] = value;
        prop_assert_eq!(binary, expected);
    }

    #[test]
    fn requests_read_back(names in proptest::collection::vec("[a-z\"\\\\é€😀]{1,9}", 1..5), id: String, data: String) {
        let topics: Vec<TopicName> = names.iter().map(|name| topic(name)).collect();
        let text = json!({"op": "subscribe", "args": names, "id": 1}).to_string();
        let subscribes = names.iter().map(|name| bare(name)).collect();
        prop_assert_eq!(stream::parse(&text).unwrap().op, Op::Subscribe(subscribes));
        let text = json!({"op": "unsubscribe", "args": names}).to_string();
        prop_assert_eq!(stream::parse(&text).unwrap().op, Op::Unsubscribe(topics));
        let data = json!(data).to_string();
        let text = json!({"op": "publish", "args": {"topic": names[0]}, "id": id}).to_string();
        let text = text.replace("\"args\":{", &format!("\"args\":{{\"data\":{data},"));
        let parsed = stream::parse(&text);
        if id.len() <= 64 {
            let op = publish(&names[0], &data);
            prop_assert_eq!(parsed, Ok(Request { id: Some(Id::Text(id.into())), op }));
        } else {
            prop_assert_eq!(parsed.unwrap_err().error, ErrorCode::BadId);
        }
    }
}
