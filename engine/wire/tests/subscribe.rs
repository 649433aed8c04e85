//! What a subscriber may ask for: the same from JSON members and from query values.

use fanfare_wire::handshake::HeadLimits;
use fanfare_wire::handshake::server::{Reject, read_request};
use fanfare_wire::stream::{self, ErrorCode, Op, Refusal};
use fanfare_wire::subscribe::{Epoch, MaxRate, Policy, SEQ_MAX, Start, SubscribeOptions};
use proptest::prelude::*;

const EPOCH: Epoch = Epoch(0x0011_2233_aabb_ccdd);

/// What the members, as they stand in an object beside its topic, ask for.
fn from_json(members: &str) -> Result<SubscribeOptions, ErrorCode> {
    let text = format!(r#"{{"op":"subscribe","args":[{{"topic":"a"{members}}}]}}"#);
    match stream::parse(&text) {
        Ok(request) => {
            let Op::Subscribe(topics) = request.op else { panic!("{text}") };
            assert_eq!((topics.len(), &*topics[0].topic), (1, "a"));
            Ok(topics[0].options.expect("an object has options"))
        }
        Err(Refusal { error, .. }) => Err(error),
    }
}

fn from_query(query: &str) -> Result<SubscribeOptions, Reject> {
    let head = format!("GET /ws/a?{query} HTTP/1.1\r\nHost: h\r\n\r\n");
    let (request, _) = read_request(head.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
    SubscribeOptions::from_query(&request)
}

/// The same members as query values: `,"a":1,"b":"c"` is `a=1&b=c`.
fn as_query(members: &str) -> String {
    members.trim_start_matches(',').replace(',', "&").replace(':', "=").replace('"', "")
}

#[test]
fn epochs() {
    for (epoch, text) in [
        (Epoch(0), "0000000000000000"),
        (Epoch(1), "0000000000000001"),
        (EPOCH, "00112233aabbccdd"),
        (Epoch(u64::MAX), "ffffffffffffffff"),
    ] {
        assert_eq!(epoch.to_string(), text);
        assert_eq!(text.parse(), Ok(epoch));
    }
    for text in [
        "",
        "0",
        "00112233aabbccd",
        "00112233aabbccddd",
        "00112233AABBCCDD",
        "00112233aabbccdg",
        "+0112233aabbccdd",
        " 0112233aabbccdd",
        "0x112233aabbccdd",
        "é0112233aabbccd",
    ] {
        assert!(text.parse::<Epoch>().is_err(), "{text}");
    }
}

#[test]
fn policies() {
    for policy in Policy::ALL {
        assert_eq!(policy.as_str().parse(), Ok(policy));
        assert_eq!(policy.to_string(), policy.as_str());
        assert_eq!(format!("{policy:?}").to_lowercase(), policy.as_str());
    }
    for word in ["", "Skip", "skip ", "drop", "skip,latest"] {
        let error = word.parse::<Policy>().unwrap_err().to_string();
        assert!(Policy::ALL.iter().all(|policy| error.contains(policy.as_str())), "{error}");
    }
}

#[test]
fn rates() {
    for (text, period_ns) in [
        ("5", 200_000_000),
        ("5.0", 200_000_000),
        ("5e0", 200_000_000),
        ("50E-1", 200_000_000),
        ("0.5", 2_000_000_000),
        ("3", 333_333_334),
        ("0.01", 100_000_000_000),
        ("1000", 1_000_000),
        ("999.9", 1_000_101),
    ] {
        assert_eq!(MaxRate::parse(text).map(MaxRate::period_ns), Some(period_ns), "{text}");
    }
    for text in [
        "",
        "0",
        "0.00999",
        "1000.0001",
        "1001",
        "-5",
        "+5",
        ".5",
        "5.",
        "05",
        " 5",
        "5 ",
        "5\n",
        "5 5",
        "1e400",
        "NaN",
        "inf",
        "0x5",
        "5/s",
        "\"5\"",
        "true",
    ] {
        assert_eq!(MaxRate::parse(text), None, "{text:?}");
    }
    for rate in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, -5.0, f64::MIN_POSITIVE, f64::MAX] {
        assert_eq!(MaxRate::new(rate), None, "{rate}");
    }
}

#[test]
fn options() {
    #[track_caller]
    fn check(members: &str, expected: SubscribeOptions) {
        assert_eq!(from_json(members), Ok(expected), "{members}");
        let query = as_query(members);
        assert_eq!(from_query(&query), Ok(expected), "{query}");
    }
    let default = SubscribeOptions::default();
    let since = |seq| SubscribeOptions { start: Start::Since { seq, epoch: EPOCH }, ..default };
    let last = |count| SubscribeOptions { start: Start::Last(count), ..default };
    check("", default);
    check(r#","since":41,"epoch":"00112233aabbccdd""#, since(41));
    check(r#","epoch":"00112233aabbccdd","since":0"#, since(0));
    check(r#","epoch":"00112233aabbccdd","since":9007199254740991"#, since(SEQ_MAX));
    check(r#","last":0"#, last(0));
    check(r#","last":1"#, last(1));
    check(r#","last":9007199254740991"#, last(SEQ_MAX));
    check(r#","snapshot":true"#, SubscribeOptions { snapshot: true, ..default });
    check(r#","snapshot":false"#, default);
    for policy in Policy::ALL {
        let expected = SubscribeOptions { policy: Some(policy), ..default };
        check(&format!(r#","policy":"{policy}""#), expected);
    }
    for (rate, max_rate) in [("5", 5.0), ("0.01", 0.01), ("1000", 1000.0), ("2.5e1", 25.0)] {
        let expected = SubscribeOptions { max_rate: MaxRate::new(max_rate), ..default };
        assert!(expected.max_rate.is_some());
        check(&format!(r#","max_rate":{rate}"#), expected);
    }
    check(
        r#","since":7,"epoch":"00112233aabbccdd","snapshot":true,"policy":"conflate","max_rate":5"#,
        SubscribeOptions {
            snapshot: true,
            policy: Some(Policy::Conflate),
            max_rate: MaxRate::new(5.0),
            ..since(7)
        },
    );
}

#[test]
fn presence_is_for_json_alone() {
    let presence = SubscribeOptions { presence: true, ..SubscribeOptions::default() };
    assert_eq!(from_json(r#","presence":true"#), Ok(presence));
    assert_eq!(from_json(r#","presence":false"#), Ok(SubscribeOptions::default()));
    assert_eq!(from_json(r#","presence":1"#), Err(ErrorCode::BadArgs));
    assert_eq!(from_query("presence=true"), Ok(SubscribeOptions::default()));
}

#[test]
fn refused_by_both() {
    let table: &[(&str, &str)] = &[
        (r#","since":1"#, "since needs epoch"),
        (r#","since":1,"last":1"#, "since needs epoch"),
        (r#","epoch":"00112233aabbccdd""#, "epoch needs since"),
        (r#","epoch":"00112233aabbccdd","last":1"#, "epoch needs since"),
        (r#","since":1,"epoch":"00112233aabbccdd","last":1"#, "since and last exclude"),
        (r#","since":9007199254740992,"epoch":"00112233aabbccdd""#, "since is not"),
        (r#","since":18446744073709551616,"epoch":"00112233aabbccdd""#, "since is not"),
        (r#","since":-1,"epoch":"00112233aabbccdd""#, "since is not"),
        (r#","since":1.0,"epoch":"00112233aabbccdd""#, "since is not"),
        (r#","since":null,"epoch":"00112233aabbccdd""#, "since is not"),
        (r#","since":1,"epoch":"00112233AABBCCDD""#, "epoch is not"),
        (r#","since":1,"epoch":"""#, "epoch is not"),
        (r#","since":1,"epoch":null"#, "epoch is not"),
        (r#","last":-1"#, "last is not"),
        (r#","last":1e3"#, "last is not"),
        (r#","last":9007199254740992"#, "last is not"),
        (r#","snapshot":null"#, "snapshot is neither"),
        (r#","snapshot":1"#, "snapshot is neither"),
        (r#","policy":"Skip""#, "policy is not"),
        (r#","policy":"""#, "policy is not"),
        (r#","policy":null"#, "policy is not"),
        (r#","max_rate":0"#, "max_rate is not"),
        (r#","max_rate":1000.1"#, "max_rate is not"),
        (r#","max_rate":1e400"#, "max_rate is not"),
        (r#","max_rate":null"#, "max_rate is not"),
    ];
    for (members, words) in table {
        assert_eq!(from_json(members), Err(ErrorCode::BadArgs), "{members}");
        let query = as_query(members);
        let reject = from_query(&query).unwrap_err();
        assert_eq!(reject.status, 400);
        assert!(
            reject.reason.starts_with("the query value") && reject.reason.contains(words),
            "{query}: {reject}"
        );
    }
}

/// What only one of the two can be given.
#[test]
fn refused_by_one() {
    for members in [
        r#","since":"1","epoch":"00112233aabbccdd""#,
        r#","since":1,"epoch":4835703278458516"#,
        r#","last":"1""#,
        r#","snapshot":"true""#,
        r#","policy":["skip"]"#,
        r#","max_rate":"5""#,
        r#","last":1,"last":1"#,
        r#","topic":"a""#,
    ] {
        assert_eq!(from_json(members), Err(ErrorCode::BadArgs), "{members}");
    }
    for members in [r#","Last":1"#, r#","sinse":1"#, r#","x":{}"#, r#","last":-1,"x":1"#] {
        assert_eq!(from_json(members), Err(ErrorCode::UnknownField), "{members}");
    }
    for query in [
        "last=",
        "last",
        "last=01",
        "last=%2B1",
        "last=+1",
        "last=1%20",
        "snapshot",
        "snapshot=True",
        "snapshot=1",
        "policy=skip%20",
        "max_rate=",
        "max_rate=05",
        "max_rate=.5",
        "max_rate=+5",
        "max_rate=5+",
    ] {
        assert_eq!(from_query(query).map_err(|reject| reject.status), Err(400), "{query}");
    }
}

#[test]
fn other_query_names_are_not_looked_at() {
    for query in ["", "x=1", "Last=-1", "data=json&key=k&topics=a", "last=5&last=x", "l%61st=5"] {
        let expected = if query.contains('5') { Start::Last(5) } else { Start::Head };
        assert_eq!(from_query(query).map(|options| options.start), Ok(expected), "{query}");
    }
}

proptest! {
    #[test]
    fn epochs_read_back(epoch: u64) {
        prop_assert_eq!(Epoch(epoch).to_string().parse(), Ok(Epoch(epoch)));
    }

    /// Updates at the period's distance are never more than the rate allows, and hardly fewer.
    #[test]
    fn a_period_keeps_its_rate(rate in 0.01..=1000.0) {
        let period_ns = MaxRate::new(rate).unwrap().period_ns() as f64;
        let exact = 1e9 / rate;
        prop_assert!((exact..exact + 1.0).contains(&period_ns));
    }

    #[test]
    fn json_and_query_agree(
        since in proptest::option::of(prop_oneof![Just("1"), Just("0"), Just("-1"), Just("1.5"), Just("9007199254740992")]),
        epoch in proptest::option::of(prop_oneof![Just("00112233aabbccdd"), Just("0")]),
        last in proptest::option::of(prop_oneof![Just("1"), Just("null")]),
        snapshot in proptest::option::of(prop_oneof![Just("true"), Just("false"), Just("0")]),
        policy in proptest::option::of(prop_oneof![Just("skip"), Just("latest"), Just("x")]),
        max_rate in proptest::option::of(prop_oneof![(0.0..1100.0).prop_map(|rate: f64| rate.to_string()), Just("5".to_owned())]),
    ) {
        let mut members = String::new();
        for (name, quote, value) in [
            ("since", "", since),
            ("epoch", "\"", epoch),
            ("last", "", last),
            ("snapshot", "", snapshot),
            ("policy", "\"", policy),
            ("max_rate", "", max_rate.as_deref()),
        ] {
            if let Some(value) = value {
                members += &format!(r#","{name}":{quote}{value}{quote}"#);
            }
        }
        prop_assert_eq!(from_json(&members).ok(), from_query(&as_query(&members)).ok(), "{}", members);
    }

    #[test]
    fn any_query_survives(query in "((since|epoch|last|snapshot|policy|max_rate)=[0-9a-ftrue.%2B-]{0,16}&?){0,4}") {
        let head = format!("GET /ws/a?{query} HTTP/1.1\r\nHost: h\r\n\r\n");
        if let Ok(Some((request, _))) = read_request(head.as_bytes(), &HeadLimits::default()) {
            let _ = SubscribeOptions::from_query(&request);
        }
    }
}
