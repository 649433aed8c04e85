//! Every dialect against a server that speaks it: small ones written from the protocols' documents, and the real ones
//! where this machine has them.

mod client;
mod real;
#[path = "server/dialects.rs"]
mod server;

use std::net::SocketAddr;

use client::{Said, Socket, publisher};
use fanfare_loadgen::dialect::{Dialect, Role};

/// How many messages each publisher sends after the odd ones.
const MESSAGES: usize = 300;

/// A dialect, and where its server is.
struct Case<'a> {
    dialect: Dialect,
    addr: SocketAddr,
    subscribe: &'a str,
    /// With its scheme's name first: `ws` or `http`.
    publish: (&'a str, &'a str),
    topic: &'a str,
    text: bool,
    payload_bytes_max: usize,
}

pub(crate) fn dialect(name: &str, settings: &[(&str, &str)]) -> Dialect {
    let settings: Vec<_> = settings.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    Dialect::parse(name, &settings).expect("a dialect")
}

/// Payloads that are hard to carry.
fn odd_payloads(case: &Case<'_>, carries_binary: bool) -> Vec<Vec<u8>> {
    let mut payloads: Vec<Vec<u8>> = [
        "a \"b\" \\ /",
        "line\r\nfeed\n",
        "\u{e9}\u{1f600}\u{0}\u{1f}\u{7f}",
        "{\"json\":[1,2]}",
        "PING\r\n",
        "x",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    payloads.push(vec![b'y'; case.payload_bytes_max]);
    if carries_binary && !case.text {
        payloads.push((0..=255).collect());
    }
    payloads
}

/// Two subscribers get exactly what one publisher sends.
#[track_caller]
fn check(case: &Case<'_>) {
    check_apart(case, case.addr);
}

/// The same where publishers go to another address.
#[track_caller]
fn check_apart(case: &Case<'_>, publish_addr: SocketAddr) {
    let publish_url = format!("{}://{publish_addr}{}", case.publish.0, case.publish.1);
    case.dialect.check(case.topic, Some(&publish_url)).expect("the dialect can do that");
    let connect = || {
        let mut socket =
            Socket::connect(&case.dialect, case.addr, case.subscribe, Role::Subscriber, case.topic);
        assert_eq!(socket.next(), Said::Ready);
        socket
    };
    let mut subscribers = [connect(), connect()];
    let mut publisher = publisher(&case.dialect, publish_addr, case.publish, case.topic);
    for payload in odd_payloads(case, case.dialect.carries_binary(&publish_url)) {
        publisher.publish(&payload, case.text);
        for subscriber in &mut subscribers {
            assert_eq!(subscriber.next(), Said::Message(payload.clone()));
        }
    }
    // Many of the usual kind, so close together that servers put several into one message.
    let usual = |number: usize| format!("{number:04}{}", "#".repeat(60)).into_bytes();
    (0..MESSAGES).for_each(|number| publisher.publish(&usual(number), case.text));
    for subscriber in &mut subscribers {
        for number in 0..MESSAGES {
            assert_eq!(subscriber.next(), Said::Message(usual(number)));
        }
    }
}

/// The small server of a dialect.
#[track_caller]
fn check_small(name: &str, settings: &[(&str, &str)], subscribe: &str, publish: (&str, &str), topic: &str) {
    for text in [false, true] {
        let server = server::start(name);
        let dialect = dialect(name, settings);
        let payload_bytes_max = 100_000;
        check(&Case { dialect, addr: server.addr, subscribe, publish, topic, text, payload_bytes_max });
    }
}

#[test]
fn raw() {
    check_small("raw", &[], "/ws/demo", ("ws", "/pub/demo"), "");
    check_small("raw", &[], "/ws/demo", ("http", "/topics/demo"), "");
}

#[test]
fn nchan() {
    check_small("nchan", &[], "/sub/demo", ("ws", "/pub/demo"), "");
    check_small("nchan", &[], "/sub/demo", ("http", "/pub/demo"), "");
}

#[test]
fn stream() {
    check_small("stream", &[], "/stream", ("ws", "/stream"), "a \"topic\"");
    check_small("stream", &[], "/stream", ("http", "/topics/demo"), "demo");
}

#[test]
fn nats() {
    check_small("nats", &[], "/", ("ws", "/"), "a.topic");
}

#[test]
fn mqtt() {
    check_small("mqtt", &[], "/mqtt", ("ws", "/mqtt"), "a/topic");
}

#[test]
fn pusher() {
    let app = format!("/app/{}", server::PUSHER_KEY);
    let settings = [("key", server::PUSHER_KEY), ("secret", server::PUSHER_SECRET)];
    check_small("pusher", &settings, &app, ("ws", &app), "private-demo");
    check_small("pusher", &settings, &app, ("http", "/apps/1/events"), "demo");
}

#[test]
fn centrifuge() {
    let path = "/connection/websocket";
    check_small("centrifuge", &[], path, ("ws", path), "a \"channel\"");
    check_small("centrifuge", &[("api_key", "k")], path, ("http", "/api/publish"), "demo");
}
