//! Each dialect against byte-exact examples from its protocol's document, and its short cuts against its parser.

mod fanfare;

use fanfare_wire::Role as WireRole;
use fanfare_wire::decode::{Decoder, Event, Rules};
use proptest::prelude::*;

use super::*;
use crate::random::Random;

/// [`Heard`], to be kept.
#[derive(Debug, PartialEq, Eq, Clone)]
enum Said {
    Ready,
    Message(Vec<u8>),
    Gap(Option<u64>),
    Resumed(Resumed),
    CaughtUp,
    Draining(u64),
    Refused(String),
}

impl From<Heard<'_>> for Said {
    fn from(heard: Heard<'_>) -> Self {
        match heard {
            Heard::Ready => Self::Ready,
            Heard::Message(payload) => Self::Message(payload.to_vec()),
            Heard::Gap(count) => Self::Gap(count),
            Heard::Resumed(resumed) => Self::Resumed(resumed),
            Heard::CaughtUp => Self::CaughtUp,
            Heard::Draining(after_ms) => Self::Draining(after_ms),
            Heard::Refused(reason) => Self::Refused(reason),
        }
    }
}

fn message(payload: &str) -> Said {
    Said::Message(payload.as_bytes().to_vec())
}

fn refused(reason: &str) -> Said {
    Said::Refused(reason.to_owned())
}

/// A session, and what it wrote as messages.
struct Talk {
    session: Box<dyn Session>,
    random: Random,
}

impl Talk {
    fn new(dialect: &Dialect, role: Role, topic: &str) -> Self {
        Self::resumed(dialect, role, topic, None)
    }

    fn resumed(dialect: &Dialect, role: Role, topic: &str, resumes_at: Option<Position>) -> Self {
        let session = dialect.session(role, topic, resumes_at).expect("a dialect with sessions");
        Self { session, random: Random::from_kernel().expect("entropy") }
    }

    fn wrote(&mut self, write: impl FnOnce(&mut dyn Session, &mut Frames<'_>)) -> Vec<(bool, Vec<u8>)> {
        let mut bytes = Vec::new();
        write(&mut *self.session, &mut Frames::new(&mut bytes, &mut self.random));
        // Read as the server that gets them.
        let rules = Rules {
            role: WireRole::Server,
            frame_bytes_max: 1 << 30,
            message_bytes_max: 1 << 30,
            fragments_max: u32::MAX,
            compressed: false,
        };
        let (mut decoder, mut input, mut messages) = (Decoder::default(), &mut bytes[..], Vec::new());
        while let Some(event) = decoder.next(&rules, &mut input).expect("frames") {
            let Event::Message { payload, text } = event else { panic!("a message") };
            messages.push((text, payload.to_vec()));
        }
        messages
    }

    /// Hears something; says what that meant, and what was answered.
    fn hear(&mut self, text: bool, heard: &[u8]) -> (Vec<Said>, Vec<String>) {
        let mut said = Vec::new();
        let wrote = self.wrote(|session, out| {
            session.hear(text, heard, out, &mut |heard| said.push(heard.into()));
        });
        (said, wrote.into_iter().map(|(_, message)| String::from_utf8_lossy(&message).into_owned()).collect())
    }

    #[track_caller]
    fn check(&mut self, heard: &str, said: &[Said], answered: &[&str]) {
        let answered: Vec<_> = answered.iter().map(|text| text.to_string()).collect();
        assert_eq!(self.hear(true, heard.as_bytes()), (said.to_vec(), answered), "{heard}");
    }

    #[track_caller]
    fn check_open(&mut self, expected: &[&str]) {
        let wrote = self.wrote(|session, out| session.open(out));
        let wrote: Vec<_> = wrote.iter().map(|(_, message)| String::from_utf8_lossy(message)).collect();
        assert_eq!(wrote, expected);
    }

    #[track_caller]
    fn check_publish(&mut self, payload: &[u8], text: bool, expected: &[u8]) {
        let wrote = self.wrote(|session, out| session.publish(payload, out));
        assert_eq!(wrote, [(text, expected.to_vec())], "{}", String::from_utf8_lossy(&wrote[0].1));
    }
}

fn dialect(name: &str, settings: &[(&str, &str)]) -> Result<Dialect, String> {
    let settings: Vec<_> = settings.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    Dialect::parse(name, &settings)
}

fn known(name: &str) -> Dialect {
    dialect(name, &[]).expect("a dialect")
}

#[test]
fn nats_speaks_as_the_document_shows() {
    let settings = [("user", "me"), ("password", "pass\"word")];
    let mut talk = Talk::new(&dialect("nats", &settings).expect("a dialect"), Role::Subscriber, "FOO.BAR");
    talk.check_open(&[]);
    let version = env!("CARGO_PKG_VERSION");
    let introduction = format!(
        r#"CONNECT {{"verbose":false,"pedantic":false,"tls_required":false,"name":"fanfare-loadgen","lang":"rust","version":"{version}","protocol":1,"headers":false,"no_responders":false,"user":"me","pass":"pass\"word"}}"#
    ) + "\r\nSUB FOO.BAR 1\r\nPING\r\n";
    talk.check("INFO {\"server_id\":\"x\"} \r\n", &[], &[&introduction]);
    // Later ones tell of changes in the cluster.
    talk.check("INFO {\"server_id\":\"x\"} \r\n", &[], &[]);
    talk.check("PONG\r\nPING\r\nPONG\r\n", &[Said::Ready], &["PONG\r\n"]);
    let two = "MSG FOO.BAR 1 11\r\nHello World\r\nMSG FOO.BAR 1 0\r\n\r\n";
    talk.check(two, &[message("Hello World"), message("")], &[]);
    talk.check("msg  FOO.BAR\t1 GREETING.34  4 \r\na\r\nb\r\n", &[message("a\r\nb")], &[]);
    talk.check("+OK\r\n-ERR 'Permissions Violation'\r\n", &[refused("Permissions Violation")], &[]);
    talk.check("MSG FOO.BAR 1 3\r\nabcd\r\n", &[refused("a delivery is not as long as it says")], &[]);
    talk.check("MSG FOO.BAR 1 3\r\nabc\r\n", &[], &[]);

    for bad in ["MSG FOO.BAR 1 \r\n", "MSG FOO.BAR 1 9999999999\r\n", "HELLO\r\n", "\r\n"] {
        let mut talk = Talk::new(&known("nats"), Role::Subscriber, "FOO.BAR");
        let (said, _) = talk.hear(false, bad.as_bytes());
        assert!(matches!(said[..], [Said::Refused(_)]), "{bad}: {said:?}");
    }
    let mut talk = Talk::new(&known("nats"), Role::Publisher, "FOO");
    talk.check_publish(b"Hello NATS!", false, b"PUB FOO 11\r\nHello NATS!\r\n");
    talk.check_publish(b"", false, b"PUB FOO 0\r\n\r\n");
}

#[test]
fn mqtt_speaks_as_the_standard_shows() {
    let settings = [("user", "me"), ("password", "pw")];
    let mut talk = Talk::new(&dialect("mqtt", &settings).expect("a dialect"), Role::Subscriber, "a/b");
    let wrote = talk.wrote(|session, out| session.open(out));
    let [(false, connect)] = &wrote[..] else { panic!("{wrote:?}") };
    let (begin, rest) = connect.split_at(14);
    assert_eq!(begin, b"\x10\x27\x00\x04MQTT\x04\xc2\x00\x00\x00\x13");
    assert_eq!((&rest[..3], &rest[19..]), (&b"ffs"[..], &b"\x00\x02me\x00\x02pw"[..]));
    assert!(rest[3..19].iter().all(u8::is_ascii_hexdigit));

    let subscribe = "\u{fffd}\u{8}\0\u{1}\0\u{3}a/b\0";
    assert_eq!(talk.hear(false, b"\x20\x02\x00\x00"), (vec![], vec![subscribe.to_owned()]));
    assert_eq!(talk.hear(false, b"\x90\x03\x00\x01\x00\xd0\x00"), (vec![Said::Ready], vec![]));
    let two = b"\x30\x07\x00\x03a/bhi\x31\x05\x00\x03a/b";
    assert_eq!(talk.hear(false, two), (vec![message("hi"), message("")], vec![]));
    // At QoS 1 there is a number before the payload.
    assert_eq!(talk.hear(false, b"\x32\x09\x00\x03a/b\x00\x07hi"), (vec![message("hi")], vec![]));
    assert_eq!(
        talk.hear(false, b"\x30\x02\x00\x03"),
        (vec![refused("a delivery is shorter than its topic")], vec![])
    );
    assert_eq!(talk.hear(false, two), (vec![], vec![]));

    for (answer, reason) in [
        (&b"\x20\x02\x00\x05"[..], "not authorised (code 5)"),
        (b"\x20\x02\x00\x77", "the server refused the connection (code 119)"),
        (b"\x90\x03\x00\x01\x80", "the server refused the subscription"),
        (b"\x20\x01\x00", "the answer to CONNECT is malformed"),
        (b"\x90\x01\x00", "the answer to SUBSCRIBE is malformed"),
        (b"\x30\xff\xff\xff\xff\x01", "a packet's length is malformed"),
        (b"\x30\xff\xff\xff\x7f", "a message is longer than 64 MiB"),
        (b"\xf0\x00", "the server does not speak MQTT 3.1.1"),
    ] {
        let mut talk = Talk::new(&known("mqtt"), Role::Subscriber, "a/b");
        assert_eq!(talk.hear(false, answer), (vec![refused(reason)], vec![]));
    }

    let mut talk = Talk::new(&known("mqtt"), Role::Publisher, "a/b");
    assert_eq!(talk.hear(false, b"\x20\x02\x00\x00"), (vec![Said::Ready], vec![]));
    for (size, length) in [(1, &b"\x06"[..]), (122, b"\x7f"), (123, b"\x80\x01"), (16_379, b"\x80\x80\x01")] {
        let payload = vec![b'x'; size];
        talk.check_publish(&payload, false, &[b"\x30", length, b"\x00\x03a/b", &payload].concat());
    }
}

#[test]
fn pusher_speaks_as_the_document_shows() {
    let settings = [("key", "278d425bdf160c739803"), ("secret", "7ad3773142a6692b25b8")];
    let pusher = dialect("pusher", &settings).expect("a dialect");
    let established = r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1234.1234\",\"activity_timeout\":120}"}"#;

    let mut talk = Talk::new(&pusher, Role::Subscriber, "private-foobar");
    talk.check_open(&[]);
    let subscribe = r#"{"event":"pusher:subscribe","data":{"auth":"278d425bdf160c739803:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4","channel":"private-foobar"}}"#;
    talk.check(established, &[], &[subscribe]);
    let succeeded =
        r#"{"event":"pusher_internal:subscription_succeeded","channel":"private-foobar","data":"{}"}"#;
    talk.check(succeeded, &[Said::Ready], &[]);
    for _ in 0..2 {
        let event = r#"{"event":"client-message","channel":"private-foobar","data":"a b"}"#;
        talk.check(event, &[message("a b")], &[]);
        let event = r#"{"event":"message","data":"a \"b\"","channel":"private-foobar"}"#;
        talk.check(event, &[message("a \"b\"")], &[]);
        talk.check(r#"{"event":"other","data":"a b","channel":"private-foobar"}"#, &[], &[]);
        talk.check(r#"{"event":"pusher:ping","data":{}}"#, &[], &[r#"{"event":"pusher:pong","data":{}}"#]);
        talk.check(r#"{"event":"pusher:pong"}"#, &[], &[]);
    }
    let error = r#"{"event":"pusher:error","data":{"code":4301,"message":"Too many"}}"#;
    talk.check(error, &[refused("Too many (code 4301)")], &[]);
    let error = r#"{"event":"pusher:error","data":"{\"code\":4009,\"message\":\"No\"}"}"#;
    talk.check(error, &[refused("No (code 4009)")], &[]);
    let error = r#"{"event":"pusher:subscription_error","channel":"x","data":{"type":"AuthError","error":"No.","status":401}}"#;
    talk.check(error, &[refused("the server refused the subscription: No.")], &[]);
    let event = br#"{"event":"client-message","data":"x \"y\"","channel":"private-foobar"}"#;
    talk.check_publish(b"x \"y\"", true, event);
    let wrote = talk.wrote(|session, out| session.heartbeat(out));
    assert_eq!(wrote, [(true, br#"{"event":"pusher:ping","data":{}}"#.to_vec())]);

    let mut talk = Talk::new(&known("pusher"), Role::Subscriber, "room");
    talk.check(established, &[], &[r#"{"event":"pusher:subscribe","data":{"channel":"room"}}"#]);
}

#[test]
fn centrifuge_speaks_as_the_document_shows() {
    let mut talk = Talk::new(&known("centrifuge"), Role::Subscriber, "a");
    talk.check_open(&[r#"{"id":1,"connect":{"name":"fanfare-loadgen"}}"#]);
    let connected = r#"{"id":1,"connect":{"client":"x","version":"5","ping":25,"pong":true}}"#;
    talk.check(connected, &[], &[r#"{"id":2,"subscribe":{"channel":"a"}}"#]);
    talk.check("{\"id\":2,\"subscribe\":{}}\n{}", &[Said::Ready], &["{}"]);
    for _ in 0..2 {
        let one = r#"{"push":{"channel":"a","pub":{"data":"one"}}}"#;
        let two = r#"{"push":{"channel":"a","pub":{"data":"t\"wo","offset":5}}}"#;
        let three = r#"{"push":{"channel":"a","pub":{"data":"three","offset":6}}}"#;
        let pushes = format!("{one}\n{two}\n{three}\n");
        talk.check(&pushes, &[message("one"), message("t\"wo"), message("three")], &[]);
        talk.check(r#"{"push":{"channel":"a","pub":{"data":{"x":1}}}}"#, &[message("{\"x\":1}")], &[]);
        talk.check(r#"{"push":{"channel":"a","join":{"info":{}}}}"#, &[], &[]);
    }
    let lost = r#"{"push":{"channel":"a","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#;
    talk.check(lost, &[Said::Gap(None)], &[r#"{"id":3,"subscribe":{"channel":"a"}}"#]);
    talk.check(r#"{"id":3,"subscribe":{}}"#, &[], &[]);
    let ended = r#"{"push":{"channel":"a","unsubscribe":{"code":2000,"reason":"server unsubscribe"}}}"#;
    talk.check(ended, &[refused("the server ended the subscription: server unsubscribe (code 2000)")], &[]);
    let ended = r#"{"push":{"disconnect":{"code":3001,"reason":"shutdown"}}}"#;
    talk.check(ended, &[refused("the server ended the connection: shutdown (code 3001)")], &[]);
    let error = r#"{"id":3,"error":{"code":103,"message":"permission denied"}}"#;
    talk.check(error, &[refused("permission denied (code 103)")], &[]);

    let with_token = dialect("centrifuge", &[("token", "ey.J")]).expect("a dialect");
    let mut talk = Talk::new(&with_token, Role::Publisher, "a \"b\"");
    talk.check_open(&[r#"{"id":1,"connect":{"token":"ey.J","name":"fanfare-loadgen"}}"#]);
    talk.check(r#"{"id":1,"connect":{"client":"x"}}"#, &[Said::Ready], &[]);
    // Who did not ask for pongs gets none.
    talk.check("{}", &[], &[]);
    talk.check_publish(b"c\n", true, br#"{"id":2,"publish":{"channel":"a \"b\"","data":"c\n"}}"#);
    talk.check(r#"{"id":2,"publish":{}}"#, &[], &[]);
}

#[test]
fn posters_write_whole_requests() {
    let head = "POST /topics/a%2Fb HTTP/1.1\r\nHost: h:1\r\nContent-Type: ";
    for name in ["raw", "stream", "nchan"] {
        let mut poster = known(name).poster("/topics/a%2Fb", "h:1", "a/b").expect("a poster");
        let mut out = Vec::new();
        poster.request(b"text", true, &mut out);
        poster.request(b"\x00\xff", false, &mut out);
        let text = format!("{head}text/plain; charset=utf-8\r\nContent-Length: 4\r\n\r\ntext");
        let binary = format!("{head}application/octet-stream\r\nContent-Length: 2\r\n\r\n");
        assert_eq!(out, [text.as_bytes(), binary.as_bytes(), b"\x00\xff"].concat());
        assert_eq!(poster.judge(201, "queued messages: 1"), Ok(()));
        assert_eq!(poster.judge(503, " busy\r"), Err("status 503: busy".to_owned()));
        assert_eq!(poster.judge(404, ""), Err("status 404".to_owned()));
    }
    let centrifuge = dialect("centrifuge", &[("api_key", "k")]).expect("a dialect");
    let mut poster = centrifuge.poster("/api/publish", "h", "a").expect("a poster");
    let mut out = Vec::new();
    poster.request(b"\"x\"", true, &mut out);
    let head = "POST /api/publish HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nX-API-Key: k\r\n";
    let body = r#"{"channel":"a","data":"\"x\""}"#;
    assert_eq!(String::from_utf8_lossy(&out), format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()));
    assert_eq!(poster.judge(200, r#"{"result":{}}"#), Ok(()));
    assert!(poster.judge(200, r#"{"error":{"code":102,"message":"unknown channel"}}"#).is_err());

    let pusher = dialect("pusher", &[("key", "k"), ("secret", "s"), ("event", "e")]).expect("a dialect");
    let mut poster = pusher.poster("/apps/1/events?x=y", "h", "room").expect("a poster");
    let mut out = Vec::new();
    poster.request(b"p", true, &mut out);
    let out = String::from_utf8(out).expect("text");
    assert!(out.starts_with("POST /apps/1/events?auth_key=k&auth_timestamp="), "{out}");
    let body = r#"{"name":"e","channel":"room","data":"p"}"#;
    assert!(out.ends_with(&format!("\r\nContent-Length: {}\r\n\r\n{body}", body.len())), "{out}");
    for name in ["nats", "mqtt"] {
        assert!(known(name).poster("/", "h", "a").is_none());
    }
}

#[test]
fn names_and_settings_are_checked() {
    for description in DESCRIPTIONS {
        let settings: Vec<_> = description.settings.iter().map(|(key, _)| (*key, "value")).collect();
        let dialect = dialect(description.name, &settings).expect(description.name);
        assert_eq!(dialect.name(), description.name);
        let json = serde_json::to_string(&dialect).expect("JSON");
        assert_eq!(serde_json::from_str::<Dialect>(&json).expect(&json), dialect);
        let shown = format!("{dialect:?}");
        assert!(!shown.contains("Credential(\""), "{shown}");
    }
    for (name, settings, part) in [
        ("http", &[][..], "there are raw, stream, nats, mqtt, nchan, pusher, centrifuge"),
        ("raw", &[("key", "x")][..], "takes no settings"),
        ("pusher", &[("kee", "x")], "it has key, secret, app_id, event"),
        ("pusher", &[("key", "x"), ("key", "y")], "given twice"),
        ("mqtt", &[("name", "x")], "it has user, password"),
    ] {
        let error = dialect(name, settings).expect_err(name);
        assert!(error.contains(part), "{error}");
    }
    let unknown = r#"{"name":"nats","usre":"me"}"#;
    assert!(serde_json::from_str::<Dialect>(unknown).is_err());
    let nats = dialect("nats", &[("user", "me"), ("password", "hush")]).expect("a dialect");
    assert!(!format!("{nats:?}").contains("hush"));
}

#[test]
fn topics_are_held_against_what_the_dialect_can_do() {
    let app = [("key", "k"), ("secret", "s")];
    let (ws, http) = (Some("ws://h/x"), Some("http://h/x"));
    for (name, settings, topic, publish, part) in [
        ("raw", &[][..], "", http, ""),
        ("nats", &[], "a.b", ws, ""),
        ("nats", &[], "", ws, "needs a topic"),
        ("nats", &[], "a b", ws, "no NATS subject"),
        ("nats", &[], "a.*", ws, "no NATS subject"),
        ("nats", &[], "a", http, "WebSocket only"),
        ("nats", &[("user", "x")], "a", ws, "user and password together"),
        ("mqtt", &[], "a/b", ws, ""),
        ("mqtt", &[], "a/#", ws, "no MQTT topic"),
        ("mqtt", &[("password", "x")], "a", ws, "together with a user"),
        ("stream", &[], "a", ws, ""),
        ("stream", &[], " a", ws, "the topic"),
        ("pusher", &[], "room", None, ""),
        ("pusher", &[], "room", http, "key and secret"),
        ("pusher", &app, "room", http, ""),
        ("pusher", &app, "room", ws, "private-room"),
        ("pusher", &app, "private-room", ws, ""),
        ("pusher", &[], "private-room", None, "key and secret"),
        ("pusher", &app, "presence-room", ws, "told of each other"),
        ("pusher", &app, "a room", http, "no Pusher channel"),
        ("centrifuge", &[], "a", ws, ""),
        ("centrifuge", &[], "a", http, "api_key"),
        ("centrifuge", &[("api_key", "a\r\nb")], "a", http, "printable"),
    ] {
        let result = dialect(name, settings).expect(name).check(topic, publish);
        match part {
            "" => assert_eq!(result, Ok(()), "{name} {topic}"),
            part => {
                let error = result.expect_err(topic);
                assert!(error.contains(part), "{error}");
            }
        }
    }
}

#[test]
fn binary_payloads_need_a_way_to_travel() {
    for (name, over_ws, over_http) in [
        ("raw", true, true),
        ("stream", false, true),
        ("nats", true, true),
        ("mqtt", true, true),
        ("nchan", false, true),
        ("pusher", false, false),
        ("centrifuge", false, false),
    ] {
        let dialect = known(name);
        let carries = |url| dialect.carries_binary(url);
        assert_eq!((carries("ws://h/x"), carries("http://h/x")), (over_ws, over_http), "{name}");
    }
}

#[test]
fn publishers_go_where_the_server_takes_messages() {
    let app = [("app_id", "7")];
    for (name, settings, subscribe, publish) in [
        ("raw", &[][..], "ws://127.0.0.1/room", "ws://127.0.0.1/room"),
        ("raw", &[], "ws://127.0.0.1/a/ws/b", "ws://127.0.0.1/a/ws/b"),
        ("raw", &[], "ws://127.0.0.1/ws/a%20b?x=1", "ws://127.0.0.1/pub/a%20b?x=1"),
        ("raw", &[], "ws://ws/ws/{room}", "ws://ws/pub/{room}"),
        ("raw", &[], "ws://h/ws/{room}?policy=skip", "ws://h/pub/{room}?policy=skip"),
        ("raw", &[], "ws://ws", "ws://ws"),
        ("stream", &[], "ws://h/stream", "ws://h/stream"),
        ("nchan", &[], "ws://h/ws/x", "ws://h/ws/x"),
        ("pusher", &[], "ws://h/app/k", "ws://h/app/k"),
        ("pusher", &app, "ws://h:6001/app/k?protocol=7", "http://h:6001/apps/7/events"),
        ("pusher", &app, "wss://h", "https://h/apps/7/events"),
        ("centrifuge", &[("api_key", "k")], "ws://h:8000/connection/websocket", "http://h:8000/api/publish"),
    ] {
        assert_eq!(dialect(name, settings).expect(name).default_publish(subscribe), publish);
    }
}

/// All that a subscriber hears, when it comes in these pieces.
fn heard_in(name: &str, topic: &str, text: bool, pieces: &[&[u8]]) -> Vec<Said> {
    let mut talk = Talk::new(&known(name), Role::Subscriber, topic);
    pieces.iter().flat_map(|piece| talk.hear(text, piece).0).collect()
}

fn pieces<'b>(bytes: &'b [u8], cuts: &[prop::sample::Index]) -> Vec<&'b [u8]> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let mut from = 0;
    let mut pieces = Vec::new();
    for cut in cuts.into_iter().chain([bytes.len()]) {
        pieces.push(&bytes[from..cut]);
        from = cut;
    }
    pieces
}

proptest! {
    #[test]
    fn nats_may_be_split_anywhere(
        payloads: Vec<Vec<u8>>,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut bytes = b"INFO {}\r\nPONG\r\n".to_vec();
        for (index, payload) in payloads.iter().enumerate() {
            let reply = if index % 3 == 0 { "reply " } else { "" };
            bytes.extend(format!("MSG a.b 1 {reply}{}\r\n", payload.len()).as_bytes());
            bytes.extend(payload);
            bytes.extend(b"\r\nPING\r\n");
        }
        let expected: Vec<_> = [Said::Ready].into_iter().chain(payloads.into_iter().map(Said::Message)).collect();
        prop_assert_eq!(heard_in("nats", "a.b", false, &pieces(&bytes, &cuts)), expected);
    }

    #[test]
    fn mqtt_may_be_split_anywhere(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut bytes = b"\x20\x02\x00\x00\x90\x03\x00\x01\x00".to_vec();
        for payload in &payloads {
            let length = payload.len() + 5;
            bytes.push(0x30);
            if length > 127 {
                bytes.push((length % 128) as u8 | 128);
            }
            bytes.push(if length > 127 { length / 128 } else { length } as u8);
            bytes.extend(b"\x00\x03a/b");
            bytes.extend(payload);
        }
        let expected: Vec<_> = [Said::Ready].into_iter().chain(payloads.into_iter().map(Said::Message)).collect();
        prop_assert_eq!(heard_in("mqtt", "a/b", false, &pieces(&bytes, &cuts)), expected);
    }

    #[test]
    fn any_bytes_are_heard_without_a_panic(messages: Vec<Vec<u8>>, text: bool) {
        for name in ["raw", "stream", "nats", "mqtt", "pusher", "centrifuge"] {
            let mut talk = Talk::new(&known(name), Role::Subscriber, "a");
            messages.iter().for_each(|message| drop(talk.hear(text, message)));
            messages.iter().for_each(|message| talk.session.hear_pong(message, &mut |_| ()));
        }
    }

    /// The same message means the same to one who has learnt its shape and to one who parses it.
    #[test]
    fn short_cuts_agree_with_the_parser(
        payload in "[ -~]{0,70}|\\PC{0,20}|[a-z\"\\\\\u{0}-\u{1f}]{0,20}",
        number in 0u64..2000,
        spoilt in prop::option::of((any::<prop::sample::Index>(), "[ -~\u{0}-\u{1f}]")),
    ) {
        for (name, usual, before, after) in [
            ("stream", r#"{"topic":"a","seq":7,"data":"x"}"#, r#"{"topic":"a","seq":N,"data":"#, "}"),
            ("pusher", r#"{"event":"message","channel":"a","data":"x"}"#, r#"{"event":"message","channel":"a","data":"#, "}"),
            ("centrifuge", r#"{"push":{"channel":"a","pub":{"data":"x","offset":3}}}"#, r#"{"push":{"channel":"a","pub":{"data":"#, r#","offset":N}}}"#),
        ] {
            let number = number.to_string();
            let mut spelt = format!("{}{}{}", before.replace('N', &number), json::quoted(&payload), after.replace('N', &number));
            if let Some((at, with)) = &spoilt {
                let at = at.index(spelt.len());
                if spelt.is_char_boundary(at) && spelt.is_char_boundary(at + 1) {
                    spelt.replace_range(at..=at, with);
                }
            }
            let mut learnt = Talk::new(&known(name), Role::Subscriber, "a");
            let mut fresh = Talk::new(&known(name), Role::Subscriber, "a");
            for talk in [&mut learnt, &mut fresh] {
                // What is unreadable means something else before they are ready.
                talk.hear(true, br#"{"id":1,"op":"subscribe","ok":true}"#);
                talk.hear(true, br#"{"event":"pusher_internal:subscription_succeeded","channel":"a"}"#);
                talk.hear(true, br#"{"id":1,"connect":{}}"#);
                talk.hear(true, br#"{"id":2,"subscribe":{}}"#);
            }
            prop_assert_eq!(learnt.hear(true, usual.as_bytes()).0, vec![message("x")]);
            let expected = fresh.hear(true, spelt.as_bytes());
            if spoilt.is_none() {
                prop_assert_eq!(&expected.0, &vec![message(&payload)]);
            }
            prop_assert_eq!(learnt.hear(true, spelt.as_bytes()), expected);
        }
    }
}
