//! The request head, as a server reads it.
//!
//! An input is what a client sends first, whole. It is read at once and again as it arrives in pieces; both must agree.
//! What is accepted is held against httparse and tungstenite, and against the rules that everything behind it relies on:
//! no line end of a peer's making in any answer, and valid names in every option of the target.

#![no_main]

use fanfare_fuzz::{Choices, line_ends};
use fanfare_wire::handshake::HeadLimits;
use fanfare_wire::handshake::server::{Method, Reject, Request, read_request};
use fanfare_wire::key::Key;
use fanfare_wire::origin::{OriginRule, Origins};
use fanfare_wire::subscribe::{SEQ_MAX, Start, SubscribeOptions};
use fanfare_wire::topic::TopicName;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices::of(input);
    let small = HeadLimits { head_bytes_max: 300, headers_max: 8 };
    let limits = [HeadLimits::default(), HeadLimits::default(), small][choices.below(3)];
    let whole = read_request(input, &limits);
    for cut in choices.cuts(input.len(), 6) {
        check_prefix(&whole, &read_request(&input[..cut], &limits), cut);
    }
    match whole {
        Ok(None) => assert!(input.len() < limits.head_bytes_max + 2, "an endless head is not waited for"),
        Ok(Some((request, len))) => {
            assert!(len <= input.len() && len <= limits.head_bytes_max + 2);
            check_request(&request, &input[..len], &limits);
            check_target(&request);
            check_origin(&request);
        }
        Err(reject) => check_reject(&reject),
    }
});

type Outcome = Result<Option<(Request, usize)>, Reject>;

/// What is known of the first `cut` bytes must be what is known of all, or nothing; a refusal may come early for another
/// of the reasons that there are.
fn check_prefix(whole: &Outcome, prefix: &Outcome, cut: usize) {
    match (prefix, whole) {
        (Ok(None), Ok(Some((_, len)))) => assert!(cut < *len, "a whole head is seen as such"),
        (Ok(None), Ok(None) | Err(_)) | (Err(_), Err(_)) => {}
        (Ok(Some(_)), Ok(Some(_))) => assert_eq!(prefix, whole),
        (Err(_), Ok(_)) | (Ok(Some(_)), Ok(None) | Err(_)) => panic!("{prefix:?} became {whole:?}"),
    }
}

fn check_request(request: &Request, head: &[u8], limits: &HeadLimits) {
    let start = if head.starts_with(b"\r\n") { 2 } else { 0 };
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut theirs = httparse::Request::new(&mut headers);
    assert_eq!(theirs.parse(&head[start..]), Ok(httparse::Status::Complete(head.len() - start)));
    line_ends(head);

    let method = match theirs.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        _ => Method::Other,
    };
    assert_eq!(request.method, method);
    let query = request.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let target = format!("{}{query}", request.path);
    let their_target = theirs.path.expect("there is a target");
    // In absolute form without a path the path is a slash (RFC 9112 section 3.2.1).
    assert!(their_target.ends_with(target.strip_prefix("/").unwrap_or(&target)), "{their_target} {target}");
    assert!(theirs.headers.len() <= limits.headers_max);

    let values = |name: &str| {
        let named = theirs.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named
            .map(|header| std::str::from_utf8(header.value).expect("an accepted value").trim())
            .collect::<Vec<_>>()
    };
    if !their_target.contains("://") {
        assert_eq!(
            values("Host"),
            if request.host.is_empty() { values("Host") } else { vec![&*request.host] }
        );
    }
    assert_eq!(values("Origin").first().copied(), request.origin.as_deref());

    let Some(upgrade) = &request.upgrade else { return };
    assert_eq!((request.method, theirs.version), (Method::Get, Some(1)));
    assert_eq!(values("Sec-WebSocket-Version"), ["13"]);
    let key = values("Sec-WebSocket-Key");
    let [key] = key[..] else { panic!("one key") };
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());

    let plain = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    let mut answer = Vec::new();
    upgrade.write_accept(&mut answer, None, &[]);
    assert_eq!(answer, format!("{plain}Sec-WebSocket-Accept: {accept}\r\n\r\n").as_bytes());
    for protocol in &upgrade.protocols {
        let mut answer = Vec::new();
        upgrade.write_accept(&mut answer, Some(protocol), &[("X-Ours", "1")]);
        assert_eq!(line_ends(&answer), 7, "four lines, the protocol's, ours, and the empty one");
    }
    for extension in &upgrade.extensions {
        assert!(!extension.name.is_empty());
    }
}

/// Reads what the paths of the engine read out of a target.
fn check_target(request: &Request) {
    if let Some((_, segment)) = request.path.strip_prefix('/').and_then(|path| path.split_once('/'))
        && let Ok(topic) = TopicName::from_path_segment(segment)
    {
        check_topic(&topic);
    }
    match SubscribeOptions::from_query(request) {
        Ok(options) => {
            assert!(match options.start {
                Start::Head => true,
                Start::Since { seq, .. } => seq <= SEQ_MAX,
                Start::Last(count) => count <= SEQ_MAX,
            });
            // 0.01 to 1000 a second.
            let period_ns = options.max_rate.map_or(1_000_000, |rate| rate.period_ns());
            assert!((1_000_000..=100_000_000_000).contains(&period_ns));
            assert!(!options.presence, "presence is for /stream");
        }
        Err(reject) => check_reject(&reject),
    }
    if let Some(Ok(key)) = request.query_value("key").map(|key| Key::parse(&key)) {
        assert!(!key.contains(['\r', '\n', '\0']) && (1..=128).contains(&key.len()));
    }
    for name in request.query_list("topics").unwrap_or_default() {
        assert!(!name.is_empty());
        if let Ok(topic) = TopicName::parse(&name) {
            check_topic(&topic);
        }
    }
}

/// Rules about pages, and the page's origin read as a rule.
fn check_origin(request: &Request) {
    let Some(origin) = &request.origin else { return };
    let allows = |rules: &[&str]| {
        let rules: Origins = rules.iter().map(|rule| rule.parse::<OriginRule>().expect("a rule")).collect();
        rules.allows(origin, &request.host)
    };
    assert!(allows(&["*"]) && !allows(&[]));
    assert_eq!(allows(&["null"]), origin == "null");
    if allows(&["local"]) || allows(&["same-host"]) || allows(&["https://*.a.example"]) {
        assert!(origin.contains("://"), "{origin}");
    }
    if let Ok(rule) = origin.parse::<OriginRule>() {
        assert_eq!(rule.to_string().parse().as_ref(), Ok(&rule));
        let site = origin.contains("://") && !origin.contains('*');
        assert!(!site || Origins::from_iter([rule]).allows(origin, ""), "{origin} allows itself");
    }
}

fn check_topic(topic: &TopicName) {
    assert!(!topic.contains(['\r', '\n', '\0']) && (1..=128).contains(&topic.len()));
    assert_eq!(TopicName::from_path_segment(&topic.to_path_segment()).as_ref(), Ok(topic));
}

fn check_reject(reject: &Reject) {
    assert!((400..=599).contains(&reject.status), "{reject}");
    let (mut answer, mut head) = (Vec::new(), Vec::new());
    reject.write(&mut answer);
    reject.write_head(&mut head);
    let body = answer.strip_prefix(&head[..]).expect("the head comes first");
    assert_eq!(line_ends(&head), 5 + reject.headers.len());
    assert!(head.ends_with(b"\r\n\r\n"));
    let (last, line) = body.split_last().expect("a body is a line");
    assert!(*last == b'\n' && !line.iter().any(u8::is_ascii_control), "{reject}");
}
