//! Fanfare's own two dialects.

use super::*;

#[test]
fn stream_speaks_as_the_document_shows() {
    let mut talk = Talk::new(&known("stream"), Role::Subscriber, "prices");
    talk.check_open(&[r#"{"op":"subscribe","args":["prices"],"id":1}"#]);
    // As it comes by itself for topics in the URL.
    talk.check(r#"{"op":"subscribe","ok":true,"topics":[{"topic":"news","seq":0}]}"#, &[], &[]);
    let reply = r#"{"id":1,"op":"subscribe","ok":true,"topics":[{"topic":"prices","seq":2}]}"#;
    talk.check(reply, &[Said::Ready], &[]);
    talk.check(reply, &[], &[]);
    for _ in 0..2 {
        talk.check(r#"{"topic":"prices","seq":3,"data":"three"}"#, &[message("three")], &[]);
        talk.check(r#"{"topic":"prices","seq":4,"data":"a \"text\""}"#, &[message("a \"text\"")], &[]);
        let binary = Said::Message(vec![0, 0xff, 0x80]);
        talk.check(r#"{"topic":"prices","seq":5,"data":"AP+A","encoding":"base64"}"#, &[binary], &[]);
        let json = r#"{"text": "as \u0069t is",  "n": 1.50}"#;
        talk.check(&format!(r#"{{"topic":"prices","seq":6,"data":{json}}}"#), &[message(json)], &[]);
        talk.check(r#"{"op":"gap","topic":"prices","from":7,"to":9}"#, &[Said::Gap(Some(3))], &[]);
    }
    talk.check(r#"{"op":"gap","topic":"prices","from":9,"to":7}"#, &[Said::Gap(None)], &[]);
    // Spoilt on its way: a delivery, and not what was published.
    talk.check(r#"{"topic":"prices","seq":3,"dat"#, &[message(r#"{"topic":"prices","seq":3,"dat"#)], &[]);
    let error =
        r#"{"id":1,"op":"subscribe","ok":false,"error":{"code":"bad_topic","message":"A topic name."}}"#;
    talk.check(error, &[refused("A topic name. (code bad_topic)")], &[]);

    let mut talk = Talk::new(&known("stream"), Role::Publisher, "a \"b\"");
    talk.check_open(&[r#"{"op":"ping","id":1}"#]);
    talk.check(r#"{"id":1,"op":"pong"}"#, &[Said::Ready], &[]);
    let request = br#"{"op":"publish","args":{"topic":"a \"b\"","data":"c \"d\""}}"#;
    talk.check_publish(b"c \"d\"", true, request);
    talk.check("PING\r\n", &[message("PING\r\n")], &[]);

    let mut talk = Talk::new(&known("stream"), Role::Subscriber, "x");
    talk.check("hello", &[refused("the server does not speak this dialect: it sent \"hello\"")], &[]);
}

/// The reply to the subscription of `prices`.
fn stream_reply(members: &str) -> String {
    format!(r#"{{"id":1,"op":"subscribe","ok":true,"topics":[{{"topic":"prices",{members}}}]}}"#)
}

const EPOCH: &str = "00112233aabbccdd";

fn position(seq: u64) -> Position {
    Position { epoch: EPOCH.parse().expect("an epoch"), seq }
}

#[test]
fn stream_says_what_notices_mean() {
    let mut talk = Talk::new(&known("stream"), Role::Subscriber, "prices");
    talk.check(&stream_reply(r#""epoch":"00112233aabbccdd","seq":5,"oldest":3"#), &[Said::Ready], &[]);
    let data = |seq: u64, key: &str| format!(r#"{{"topic":"prices","seq":{seq},"key":"{key}","data":"x"}}"#);
    let gap = |messages| Said::Gap(Some(messages));
    talk.check(r#"{"op":"presence","topic":"prices","subscribers":3}"#, &[], &[]);
    talk.check(&data(6, "a"), &[message("x")], &[]);
    // Of the messages 7 to 12 only 8, 9 and 12 come.
    talk.check(r#"{"op":"conflated","topic":"prices","from":7,"to":12}"#, &[], &[]);
    talk.check(&data(8, "a"), &[gap(1), message("x")], &[]);
    talk.check(&data(9, "b"), &[message("x")], &[]);
    assert_eq!(talk.session.position(), Some(position(9)));
    talk.check(&data(12, "b"), &[gap(2), message("x")], &[]);
    talk.check(&data(13, "b"), &[message("x")], &[]);
    // 14 is lost, and nobody says so.
    talk.check(&data(15, "b"), &[message("x")], &[]);
    talk.check(r#"{"op":"gap","topic":"prices","from":16,"to":20}"#, &[gap(5)], &[]);
    assert_eq!(talk.session.position(), Some(position(20)));
    talk.check(r#"{"topic":"prices","seq":21,"key":"a","tombstone":true}"#, &[], &[]);
    // In a snapshot 3 is old, and 23 is not; 22, 24 and 25 do not come.
    talk.check(r#"{"op":"snapshot","topic":"prices","seq":25}"#, &[], &[]);
    talk.check(&data(3, "c"), &[], &[]);
    talk.check(&data(23, "b"), &[gap(1), message("x")], &[]);
    talk.check(r#"{"op":"live","topic":"prices","seq":25}"#, &[gap(2)], &[]);
    talk.check(&data(26, "b"), &[message("x")], &[]);
    // A message that comes twice is delivered twice.
    talk.check(&data(26, "b"), &[message("x")], &[]);
    assert_eq!(talk.session.position(), Some(position(26)));
    talk.check(r#"{"op":"draining","reconnect_after_ms":1500}"#, &[Said::Draining(1500)], &[]);
    assert_eq!(talk.session.position(), Some(position(26)));
    for malformed in [r#""conflated","topic":"prices","from":9"#, r#""gap","from":3,"to":1"#] {
        talk.check(&format!(r#"{{"op":{malformed}}}"#), &[Said::Gap(None)], &[]);
    }

    // What came before the subscription is not measured.
    let mut talk = Talk::new(&known("stream"), Role::Subscriber, "prices");
    talk.check(&stream_reply(r#""epoch":"00112233aabbccdd","seq":5,"oldest":3"#), &[Said::Ready], &[]);
    talk.check(r#"{"op":"snapshot","topic":"prices","seq":5}"#, &[], &[]);
    talk.check(&data(5, "c"), &[], &[]);
    talk.check(r#"{"op":"live","topic":"prices","seq":5}"#, &[], &[]);
    talk.check(&data(6, "c"), &[message("x")], &[]);
}

#[test]
fn stream_asks_for_what_subscribers_want_and_for_what_they_missed() {
    let mut wanting = known("stream");
    let options = subscribe_options(r#"{"policy":"skip","max_rate":5,"last":3}"#).expect("options");
    wanting.subscribe_with(options).expect("stream takes options");
    let mut talk = Talk::new(&wanting, Role::Subscriber, "prices");
    let asked = r#"{"last":3,"max_rate":5,"policy":"skip","topic":"prices"}"#;
    talk.check_open(&[&format!(r#"{{"op":"subscribe","args":[{asked}],"id":1}}"#)]);
    // With a rate, messages are left out without a word.
    talk.check(&stream_reply(r#""epoch":"00112233aabbccdd","seq":5,"oldest":3"#), &[Said::Ready], &[]);
    for (seq, said) in
        [(4, &[message("x")][..]), (6, &[message("x")]), (9, &[Said::Gap(Some(2)), message("x")])]
    {
        talk.check(&format!(r#"{{"topic":"prices","seq":{seq},"data":"x"}}"#), said, &[]);
    }
    let at = talk.session.position();
    assert_eq!(at, Some(position(9)));

    let asked = r#"{"epoch":"00112233aabbccdd","max_rate":5,"policy":"skip","since":9,"topic":"prices"}"#;
    let mut talk = Talk::resumed(&wanting, Role::Subscriber, "prices", at);
    talk.check_open(&[&format!(r#"{{"op":"subscribe","args":[{asked}],"id":1}}"#)]);
    for (answer, said) in [
        (
            r#""seq":9,"recovered":true"#,
            &[Said::Resumed(Resumed::Recovered), Said::CaughtUp, Said::Ready][..],
        ),
        (r#""seq":11,"recovered":true"#, &[Said::Resumed(Resumed::Recovered), Said::Ready]),
        (
            r#""seq":42,"recovered":false,"missing":{"from":10,"to":42}"#,
            &[Said::Resumed(Resumed::Announced), Said::Gap(Some(33)), Said::Ready],
        ),
        (r#""seq":3,"recovered":false,"missing":null"#, &[Said::Resumed(Resumed::Lost), Said::Ready]),
        // A server that does not know what was asked.
        (r#""seq":3"#, &[Said::Resumed(Resumed::Lost), Said::Ready]),
    ] {
        let mut talk = Talk::resumed(&known("stream"), Role::Subscriber, "prices", at);
        let asked = r#"{"epoch":"00112233aabbccdd","since":9,"topic":"prices"}"#;
        talk.check_open(&[&format!(r#"{{"op":"subscribe","args":[{asked}],"id":1}}"#)]);
        talk.check(&stream_reply(&format!(r#""epoch":"{EPOCH}",{answer}"#)), said, &[]);
        if answer.contains("11") {
            for (seq, said) in
                [(10, &[message("x")][..]), (11, &[Said::CaughtUp, message("x")]), (12, &[message("x")])]
            {
                talk.check(&format!(r#"{{"topic":"prices","seq":{seq},"data":"x"}}"#), said, &[]);
            }
        }
    }
    for bad in ["[]", "skip", "", r#"{"topic":"a"}"#, r#"{"a":1} x"#] {
        subscribe_options(bad).expect_err(bad);
    }
}

#[test]
fn raw_reads_headers_and_pongs() {
    let accepted = |talk: &mut Talk, headers: &[(&str, &str)]| {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let mut said = Vec::new();
        talk.session.accepted(&headers, &mut |heard| said.push(Said::from(heard)));
        said
    };
    let pong = |talk: &mut Talk, words: &str| {
        let mut said = Vec::new();
        talk.session.hear_pong(words.as_bytes(), &mut |heard| said.push(Said::from(heard)));
        said
    };
    let raw = known("raw");
    assert!(raw.session(Role::Publisher, "", None).is_none());
    // Another server, which says nothing of all that.
    let mut talk = Talk::new(&raw, Role::Subscriber, "");
    assert_eq!(accepted(&mut talk, &[("Server", "x")]), [Said::Ready]);
    talk.check_open(&[]);
    talk.check("x", &[message("x")], &[]);
    assert_eq!((pong(&mut talk, "hello"), talk.session.position()), (vec![], None));

    let mut talk = Talk::new(&raw, Role::Subscriber, "");
    let begins = [("fanfare-epoch", EPOCH), ("Fanfare-Seq", "40"), ("Fanfare-Oldest", "3")];
    assert_eq!(accepted(&mut talk, &begins), [Said::Ready]);
    talk.check("x", &[message("x")], &[]);
    assert_eq!(pong(&mut talk, "gap 42 44"), [Said::Gap(Some(3))]);
    talk.check("y", &[message("y")], &[]);
    assert_eq!(talk.session.position(), Some(position(45)));
    assert_eq!(pong(&mut talk, "snapshot 50"), []);
    talk.check("old", &[], &[]);
    assert_eq!(pong(&mut talk, "live 50"), [Said::Gap(Some(5))]);
    assert_eq!(talk.session.position(), Some(position(50)));
    // Any of them may come, and then nobody knows where it stands until the server says so again.
    assert_eq!(
        (pong(&mut talk, "conflated 51 60"), talk.session.position()),
        (vec![Said::Gap(Some(10))], None)
    );
    talk.check("z", &[message("z")], &[]);
    assert_eq!(pong(&mut talk, "gap 61 70"), [Said::Gap(Some(10))]);
    assert_eq!(pong(&mut talk, "draining 1500"), [Said::Draining(1500)]);
    assert_eq!(pong(&mut talk, "draining soon"), []);
    assert_eq!(talk.session.position(), Some(position(70)));

    for (target, resumed) in
        [("/ws/a", "/ws/a?since=45&epoch="), ("/ws/a?policy=skip", "/ws/a?policy=skip&since=45&epoch=")]
    {
        assert_eq!(raw.resumed_target(target, position(45)), format!("{resumed}{EPOCH}"));
    }
    for (head, epoch, recovered, said) in [
        ("45", EPOCH, Some("true"), &[Said::Resumed(Resumed::Recovered), Said::CaughtUp, Said::Ready][..]),
        ("46", EPOCH, Some("true"), &[Said::Resumed(Resumed::Recovered), Said::Ready]),
        ("47", EPOCH, Some("false"), &[Said::Resumed(Resumed::Announced), Said::Gap(Some(2)), Said::Ready]),
        ("44", EPOCH, Some("false"), &[Said::Resumed(Resumed::Lost), Said::Ready]),
        ("47", "00112233aabbccde", Some("false"), &[Said::Resumed(Resumed::Lost), Said::Ready]),
    ] {
        let mut talk = Talk::resumed(&raw, Role::Subscriber, "", Some(position(45)));
        let mut headers = vec![("Fanfare-Epoch", epoch), ("Fanfare-Seq", head)];
        headers.extend(recovered.map(|recovered| ("Fanfare-Recovered", recovered)));
        assert_eq!(accepted(&mut talk, &headers), said, "{head}");
        if head == "46" {
            talk.check("x", &[Said::CaughtUp, message("x")], &[]);
        }
    }
}
