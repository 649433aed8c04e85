//! Notices, as JSON and as words.

use fanfare_wire::frame::CONTROL_PAYLOAD_MAX;
use fanfare_wire::notice::{
    Notice, parse_draining_words, write_draining, write_draining_words, write_presence,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn json_of(notice: Notice, topic: &str) -> String {
    let mut out = b"before".to_vec();
    notice.write_json(&mut out, topic);
    String::from_utf8(out).unwrap().strip_prefix("before").expect("writers append").to_owned()
}

fn words_of(notice: Notice) -> String {
    let mut out = b"before".to_vec();
    notice.write_words(&mut out);
    String::from_utf8(out).unwrap().strip_prefix("before").expect("writers append").to_owned()
}

#[test]
fn to_the_letter() {
    let table = [
        (Notice::Gap { from: 6, to: 20 }, r#"{"op":"gap","topic":"T","from":6,"to":20}"#, "gap 6 20"),
        (
            Notice::Conflated { from: 6, to: 20 },
            r#"{"op":"conflated","topic":"T","from":6,"to":20}"#,
            "conflated 6 20",
        ),
        (Notice::Snapshot { seq: 41 }, r#"{"op":"snapshot","topic":"T","seq":41}"#, "snapshot 41"),
        (Notice::Live { seq: 41 }, r#"{"op":"live","topic":"T","seq":41}"#, "live 41"),
        (Notice::Live { seq: 0 }, r#"{"op":"live","topic":"T","seq":0}"#, "live 0"),
    ];
    for (notice, json, words) in table {
        assert_eq!(json_of(notice, "T"), json);
        assert_eq!(words_of(notice), words);
        assert_eq!(Notice::parse_words(words.as_bytes()), Some(notice));
    }
    let mut out = b"before".to_vec();
    write_presence(&mut out, "T\"", 3);
    assert_eq!(out, br#"before{"op":"presence","topic":"T\"","subscribers":3}"#);
}

fn draining_of(reconnect_after_ms: u64) -> (String, String) {
    let (mut json, mut words) = (b"before".to_vec(), b"before".to_vec());
    write_draining(&mut json, reconnect_after_ms);
    write_draining_words(&mut words, reconnect_after_ms);
    let text =
        |out| String::from_utf8(out).unwrap().strip_prefix("before").expect("writers append").to_owned();
    (text(json), text(words))
}

#[test]
fn draining() {
    for (ms, json, words) in [
        (0, r#"{"op":"draining","reconnect_after_ms":0}"#, "draining 0"),
        (1500, r#"{"op":"draining","reconnect_after_ms":1500}"#, "draining 1500"),
    ] {
        assert_eq!(draining_of(ms), (json.to_owned(), words.to_owned()));
        assert_eq!(parse_draining_words(words.as_bytes()), Some(ms));
        assert_eq!(Notice::parse_words(words.as_bytes()), None, "it is about no topic");
    }
    assert!(draining_of(u64::MAX).1.len() <= CONTROL_PAYLOAD_MAX);
    for words in [
        &b""[..],
        b"draining",
        b"draining ",
        b" draining 1",
        b"draining  1",
        b"draining 1 ",
        b"draining 1 2",
        b"draining 01",
        b"draining +1",
        b"draining -1",
        b"draining 1.5",
        b"Draining 1",
        b"draining \xff",
        b"draining 18446744073709551616",
        b"live 1",
    ] {
        assert_eq!(parse_draining_words(words), None, "{words:?}");
    }
}

#[test]
fn no_notices() {
    for words in [
        &b""[..],
        b" ",
        b"gap",
        b"gap 6",
        b"gap 6 ",
        b"gap 6 20 ",
        b"gap 6 20 1",
        b"gap  6 20",
        b" gap 6 20",
        b"Gap 6 20",
        b"gap,6,20",
        b"gap 6 -1",
        b"gap +6 20",
        b"gap 06 20",
        b"gap 6 20\n",
        b"gap 6 18446744073709551616",
        b"live",
        b"live 1 2",
        b"live \xff",
        b"snapshot 1 2",
        b"presence 3",
    ] {
        assert_eq!(Notice::parse_words(words), None, "{words:?}");
    }
}

#[test]
fn the_longest_words_fit_into_a_control_frame() {
    let longest = Notice::Conflated { from: u64::MAX, to: u64::MAX };
    assert!(words_of(longest).len() <= CONTROL_PAYLOAD_MAX);
}

fn any_notice() -> impl Strategy<Value = Notice> {
    prop_oneof![
        any::<(u64, u64)>().prop_map(|(from, to)| Notice::Gap { from, to }),
        any::<(u64, u64)>().prop_map(|(from, to)| Notice::Conflated { from, to }),
        any::<u64>().prop_map(|seq| Notice::Snapshot { seq }),
        any::<u64>().prop_map(|seq| Notice::Live { seq }),
    ]
}

proptest! {
    #[test]
    fn words_read_back(notice in any_notice()) {
        prop_assert_eq!(Notice::parse_words(words_of(notice).as_bytes()), Some(notice));
    }

    #[test]
    fn what_is_read_is_written_the_same(words in "(gap|live|snapshot|x)( [0-9]{1,3}){0,3}") {
        if let Some(notice) = Notice::parse_words(words.as_bytes()) {
            prop_assert_eq!(words_of(notice), words);
        }
    }

    #[test]
    fn any_words_survive(words: Vec<u8>) {
        let _ = Notice::parse_words(&words);
        let _ = parse_draining_words(&words);
    }

    #[test]
    fn draining_reads_back(ms: u64) {
        let (json, words) = draining_of(ms);
        prop_assert_eq!(parse_draining_words(words.as_bytes()), Some(ms));
        let read: Value = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(read, json!({"op": "draining", "reconnect_after_ms": ms}));
    }

    #[test]
    fn json_reads_back(notice in any_notice(), topic in "\\PC{1,20}", subscribers: usize) {
        let read: Value = serde_json::from_str(&json_of(notice, &topic)).unwrap();
        let expected = match notice {
            Notice::Gap { from, to } => json!({"op": "gap", "topic": topic, "from": from, "to": to}),
            Notice::Conflated { from, to } => json!({"op": "conflated", "topic": topic, "from": from, "to": to}),
            Notice::Snapshot { seq } => json!({"op": "snapshot", "topic": topic, "seq": seq}),
            Notice::Live { seq } => json!({"op": "live", "topic": topic, "seq": seq}),
        };
        prop_assert_eq!(read, expected);
        let mut out = Vec::new();
        write_presence(&mut out, &topic, subscribers);
        let read: Value = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(read, json!({"op": "presence", "topic": topic, "subscribers": subscribers}));
    }
}
