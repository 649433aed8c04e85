//! The control port over HTTP, with an engine behind it.

#![cfg(feature = "control")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use fanfare::control::{Control, ControlConfig};
use fanfare::{Config, Delivery, Engine, Kind, Subscription, TopicName};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(10);

struct Server {
    control: Control,
    engine: Engine,
}

/// What came back for a request.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

impl Server {
    fn start(config: Config) -> Self {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config { connections_max: 64, ..config };
        let engine = Engine::builder().listen(any_port).shards(2).config(config).start().expect("it starts");
        let control_config =
            ControlConfig { listen: any_port, body_bytes_max: 4096, ..ControlConfig::default() };
        let control = Control::start(&engine, control_config).expect("it starts");
        Self { control, engine }
    }

    fn ask(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Reply {
        let addr = self.control.addr();
        let mut stream = TcpStream::connect(addr).expect("it listens");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        if !headers.iter().any(|header| header.starts_with("Host:")) {
            request.push_str(&format!("Host: {addr}\r\n"));
        }
        headers.iter().for_each(|header| request.push_str(&format!("{header}\r\n")));
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        // A server that refuses by the head alone need not read the body.
        _ = stream.write_all(body);
        let mut reply = Vec::new();
        _ = stream.read_to_end(&mut reply);
        let reply = String::from_utf8(reply).expect("replies are text");
        let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
        let status = head[9..12].parse().expect("a status");
        Reply { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], b"")
    }

    fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Reply {
        self.ask("POST", path, &[&format!("Content-Type: {content_type}")], body)
    }

    fn subscribe(&self, name: &str) -> Subscription {
        self.engine.subscribe(&TopicName::parse(name).expect("a name")).expect("subscribed")
    }
}

fn next(subscription: &mut Subscription) -> (u64, Kind, Vec<u8>) {
    match subscription.recv_timeout(SOON) {
        Ok(Some(Delivery::Message { seq, message })) => (seq, message.kind(), message.payload().to_vec()),
        other => panic!("expected a message, not {other:?}"),
    }
}

#[test]
fn a_body_is_published_as_what_it_is() {
    let server = Server::start(Config::default());
    let mut subscription = server.subscribe("a/b c");
    for (content_type, body, kind, seq) in [
        ("text/plain", &b"hello"[..], Kind::Text, 1),
        ("application/json", b"{\"a\": [1,\n2]}", Kind::Text, 2),
        ("application/octet-stream", b"\x00\xff", Kind::Binary, 3),
        ("text/plain; charset=utf-8", b"", Kind::Text, 4),
    ] {
        let reply = server.post("/topics/a%2Fb%20c", content_type, body);
        assert_eq!(
            (reply.status, reply.json()),
            (200, json!({ "topic": "a/b c", "seq": seq })),
            "{content_type}"
        );
        assert_eq!(next(&mut subscription), (seq, kind, body.to_vec()));
    }
    let lines = server.post("/topics/a%2Fb%20c", "application/x-ndjson", b"{\"n\":1}\n\n [2] \r\n\"3\"\n");
    let expected = json!({ "topic": "a/b c", "first_seq": 5, "last_seq": 7, "count": 3 });
    assert_eq!((lines.status, lines.json()), (200, expected));
    for (seq, payload) in [(5, "{\"n\":1}"), (6, "[2]"), (7, "\"3\"")] {
        assert_eq!(next(&mut subscription), (seq, Kind::Text, payload.into()));
    }
}

#[test]
fn what_is_refused_is_refused_in_json_with_a_code() {
    let server = Server::start(Config { message_bytes_max: 16, topics_max: 1, ..Config::default() });
    assert_eq!(server.post("/topics/t", "text/plain", b"the only topic").status, 200);
    let form = "application/x-www-form-urlencoded";
    for (method, path, content_type, body, status, code) in [
        ("GET", "/nothing", "", &b""[..], 404, "not_found"),
        ("GET", "/topics/", "", b"", 404, "not_found"),
        ("GET", "/topics/a/b", "", b"", 404, "not_found"),
        ("PUT", "/topics/t", "text/plain", b"x", 405, "method_not_allowed"),
        ("DELETE", "/topics", "", b"", 405, "method_not_allowed"),
        ("GET", "/topics/nobody", "", b"", 404, "no_such_topic"),
        ("GET", "/topics/%01", "", b"", 400, "bad_topic"),
        ("GET", "/topics/t?limit=1", "", b"", 400, "bad_query"),
        ("DELETE", "/topics/t", "", b"", 400, "bad_query"),
        ("DELETE", "/topics/t?key=k&x=1", "", b"", 400, "bad_query"),
        ("DELETE", "/topics/t?key=", "", b"", 400, "bad_key"),
        ("DELETE", "/topics/%01?key=k", "", b"", 400, "bad_topic"),
        ("DELETE", "/topics/new?key=k", "", b"", 503, "too_many_topics"),
        ("POST", "/topics/t?kay=k", "text/plain", b"x", 400, "bad_query"),
        ("POST", "/topics/t?key=%0a", "text/plain", b"x", 400, "bad_key"),
        ("POST", "/topics/t?key_member=k", "text/plain", b"x", 400, "bad_query"),
        ("POST", "/topics/t?key_member=k", "application/json", b"{}", 400, "bad_key"),
        ("POST", "/topics/t?key_member=k", "application/x-ndjson", b"{\"k\":\"a\"}\n1\n", 400, "bad_key"),
        ("POST", "/healthz", "text/plain", b"", 405, "method_not_allowed"),
        ("POST", "/topics/t", form, b"x", 415, "unsupported_media_type"),
        ("POST", "/topics/t", "", b"x", 415, "unsupported_media_type"),
        ("POST", "/topics/%01", "text/plain", b"x", 400, "bad_topic"),
        ("POST", "/topics/%zz", "text/plain", b"x", 400, "bad_topic"),
        ("POST", "/topics/t", "text/plain", b"\xff", 400, "bad_text"),
        ("POST", "/topics/t", "application/json", b"{", 400, "bad_json"),
        ("POST", "/topics/t", "application/x-ndjson", b"1\n{\n", 400, "bad_json"),
        ("POST", "/topics/t", "application/x-ndjson", b"\n", 400, "no_message"),
        ("POST", "/topics/t", "text/plain", b"12345678901234567", 413, "too_large"),
        ("POST", "/topics/t", "application/x-ndjson", b"1\n\"123456789012345\"", 413, "too_large"),
        ("POST", "/topics/t", "application/x-ndjson", &[b'\n'; 5000], 413, "too_large"),
        ("POST", "/topics/new", "text/plain", b"x", 503, "too_many_topics"),
        ("GET", "/topics?limit=0", "", b"", 400, "bad_limit"),
        ("GET", "/topics?limit=x", "", b"", 400, "bad_query"),
        ("GET", "/topics?page=1", "", b"", 400, "bad_query"),
        ("GET", "/topics?after=x", "", b"", 400, "bad_after"),
    ] {
        let header = format!("Content-Type: {content_type}");
        let headers = if content_type.is_empty() { vec![] } else { vec![header.as_str()] };
        let reply = server.ask(method, path, &headers, body);
        assert_eq!(
            (reply.status, &reply.json()["error"]["code"]),
            (status, &json!(code)),
            "{method} {path}: {reply:?}"
        );
        let sentence = reply.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(sentence.ends_with('.'), "{sentence:?} is a sentence");
    }
    let published: u64 = server.engine.stats().iter().map(|stats| stats.published.get()).sum();
    assert_eq!(published, 1, "nothing of it was published");
}

#[test]
fn messages_have_the_keys_that_their_request_says() {
    let server = Server::start(Config::default());
    let ndjson = "application/x-ndjson";
    let mut subscription = server.subscribe("t");
    let one = server.post("/topics/t?key=a+b", "text/plain", b"1");
    assert_eq!((one.status, one.json()), (200, json!({ "topic": "t", "seq": 1 })));
    let same = server.post("/topics/t?key=EUR%2FUSD", ndjson, b"2\n3\n");
    assert_eq!(same.json(), json!({ "topic": "t", "first_seq": 2, "last_seq": 3, "count": 2 }));
    let lines = b"{\"symbol\":\"EUR/USD\",\"bid\":4}\n{\"bid\":5,\"symbol\":\"c\"}\n{\"symbol\":\"d\"}";
    let own = server.post("/topics/t?key_member=symbol", ndjson, lines);
    assert_eq!(own.json(), json!({ "topic": "t", "first_seq": 4, "last_seq": 6, "count": 3 }));
    assert_eq!(server.post("/topics/t?key_member=k", "application/json", b"{\"k\":\"d\"}").status, 200);

    let topic = server.get("/topics/t");
    assert_eq!(topic.status, 200);
    let (topic, listed) = (topic.json(), server.get("/topics").json()["topics"][0].clone());
    assert_eq!(topic, listed, "both say the same");
    let epoch = topic["epoch"].as_str().expect("a text");
    assert!(epoch.len() == 16 && epoch.bytes().all(|byte| byte.is_ascii_hexdigit()), "{epoch}");
    let log_bytes = topic["log_bytes"].as_u64().expect("a number");
    assert!(log_bytes > 0);
    let expected = json!({
        "topic": "t", "epoch": epoch, "seq": 7, "oldest": 1, "subscribers": 1, "keys": 4, "log_bytes": log_bytes,
    });
    assert_eq!(topic, expected);

    let removed = server.ask("DELETE", "/topics/t?key=EUR%2FUSD", &[], b"");
    assert_eq!((removed.status, removed.json()), (200, json!({ "topic": "t", "seq": 8 })));
    assert_eq!(server.get("/topics/t").json()["keys"], json!(3));
    for seq in 1..=7 {
        assert_eq!(next(&mut subscription).0, seq);
    }
    assert_eq!(next(&mut subscription), (8, Kind::Text, Vec::new()), "a tombstone is an empty text");

    let untouched = server.subscribe("quiet");
    let quiet = server.get("/topics/quiet").json();
    assert_eq!((&quiet["seq"], &quiet["oldest"], &quiet["keys"]), (&json!(0), &Value::Null, &json!(0)));
    drop(untouched);
}

#[test]
fn a_key_too_many_is_refused_and_what_was_published_is_said() {
    let config = Config { keys_max: 2, values_bytes_max: 2048, ..Config::default() };
    let server = Server::start(config);
    let ndjson = "application/x-ndjson";
    let lines = b"{\"k\":\"a\"}\n\n{\"k\":\"b\"}\n{\"k\":\"c\"}\n{\"k\":\"d\"}\n{\"k\":\"a\"}\n";
    let reply = server.post("/topics/t?key_member=k", ndjson, lines);
    let error = reply.json()["error"].clone();
    assert_eq!(
        (reply.status, &error["code"], &error["published"]),
        (409, &json!("too_many_keys"), &json!(3))
    );
    assert!(error["message"].as_str().is_some_and(|text| text.starts_with("Line 4: ")), "{error}");
    assert_eq!(server.get("/topics/t").json()["seq"], json!(3), "exactly those were published");

    let reply = server.post("/topics/t?key=c", "text/plain", b"x");
    let error = reply.json()["error"].clone();
    assert_eq!(
        (reply.status, &error["code"], &error["published"]),
        (409, &json!("too_many_keys"), &Value::Null)
    );
    let reply = server.post("/topics/t?key=a", "text/plain", &[b'x'; 3000]);
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (507, &json!("values_too_large")));
    assert_eq!(server.ask("DELETE", "/topics/t?key=b", &[], b"").status, 200);
    assert_eq!(server.post("/topics/t?key=c", "text/plain", b"x").status, 200, "there is room again");
}

#[test]
fn pages_of_other_origins_are_kept_out() {
    let server = Server::start(Config::default());
    let own = server.control.addr();
    for (headers, status) in [
        (vec![format!("Host: {own}"), format!("Origin: http://{own}")], 200),
        (vec![format!("Host: localhost:{}", own.port())], 200),
        (vec![format!("Host: rebound.example:{}", own.port())], 403),
        (vec![format!("Host: {own}"), "Origin: http://evil.example".to_owned()], 403),
        (vec![format!("Host: {own}"), "Origin: null".to_owned()], 403),
        (vec!["Host: localhost".to_owned(), "Host: localhost".to_owned()], 400),
    ] {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        for (method, path) in [("GET", "/topics"), ("GET", "/"), ("POST", "/topics/t"), ("GET", "/nothing")] {
            let mut headers = headers.clone();
            headers.push("Content-Type: text/plain");
            let reply = server.ask(method, path, &headers, b"x");
            let expected = if status == 200 && path == "/nothing" { 404 } else { status };
            assert_eq!(reply.status, expected, "{method} {path} {headers:?}");
        }
    }
}

#[test]
fn topics_are_listed_in_pages_without_gaps() {
    let server = Server::start(Config::default());
    let names: Vec<String> = (0..25).map(|number| format!("topic {number:02}")).collect();
    for name in &names {
        let path = format!("/topics/{}", name.replace(' ', "%20"));
        assert_eq!(server.post(&path, "text/plain", b"x").status, 200);
    }
    let _subscription = server.subscribe("topic 07");

    let all = server.get("/topics").json();
    assert_eq!((&all["next"], &all["total"]), (&Value::Null, &json!(25)));
    let listed: Vec<_> =
        all["topics"].as_array().expect("a list").iter().map(|entry| &entry["topic"]).collect();
    assert_eq!(listed, names.iter().map(|name| json!(name)).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    assert_eq!((&all["topics"][7]["seq"], &all["topics"][7]["subscribers"]), (&json!(1), &json!(1)));

    for limit in [1, 4, 24, 25] {
        let mut seen = Vec::new();
        let mut path = format!("/topics?limit={limit}");
        loop {
            let page = server.get(&path).json();
            let entries = page["topics"].as_array().expect("a list");
            assert!(entries.len() <= limit);
            seen.extend(entries.iter().map(|entry| entry["topic"].as_str().expect("a name").to_owned()));
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/topics?limit={limit}&after={next}");
        }
        seen.sort_unstable();
        assert_eq!(seen, names, "limit {limit}");
    }
}

#[test]
fn the_rest_of_the_port_answers() {
    let server = Server::start(Config::default());
    assert_eq!(server.get("/healthz").json(), json!({ "status": "ok", "shards": 2 }));
    let version = server.get("/version").json();
    assert_eq!(version["version"], json!(env!("CARGO_PKG_VERSION")));
    assert_eq!(version["listen"], json!(server.engine.addr().to_string()));
    let page = server.get("/");
    for header in [
        "content-type: text/html",
        "content-security-policy: default-src 'none'; script-src 'sha256-",
        "referrer-policy: no-referrer",
        "x-frame-options: deny",
    ] {
        assert!(page.head.contains(header), "{header:?} is missing in {page:?}");
    }
    for path in ["/", "/healthz", "/metrics", "/nothing", "/topics/%01"] {
        assert!(server.get(path).head.contains("\r\nx-content-type-options: nosniff\r\n"), "{path}");
    }
    assert_eq!(server.get("/readyz").json(), json!({ "status": "ok", "shards": 2 }));
    assert!(page.body.contains(&format!("content=\"{}\"", server.engine.addr().port())));
    assert_eq!(server.post("/topics/t", "text/plain", b"x").status, 200);
    let metrics = server.get("/metrics");
    assert!(
        metrics.head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{metrics:?}"
    );
    let published = metrics.body.lines().filter(|line| line.starts_with("fanfare_published_total{"));
    assert_eq!(published.filter(|line| line.ends_with(" 1")).count(), 1, "{}", metrics.body);
    let total = metrics.body.lines().find_map(|line| line.strip_prefix("fanfare_log_total_bytes "));
    assert!(total.is_some_and(|bytes| bytes.parse::<u64>().is_ok_and(|bytes| bytes > 0)), "{total:?}");

    server.engine.drain(Duration::ZERO);
    let ready = server.get("/readyz");
    assert_eq!((ready.status, &ready.json()["error"]["code"]), (503, &json!("draining")));
    assert_eq!(server.get("/healthz").status, 200, "the shards are well");
    assert_eq!(server.post("/topics/t", "text/plain", b"x").status, 200, "publishing goes on");

    server.engine.shutdown(SOON);
    assert_eq!(server.get("/readyz").status, 503);
    let health = server.get("/healthz");
    assert_eq!((health.status, &health.json()["error"]["code"]), (503, &json!("shutting_down")));
    assert_eq!(server.post("/topics/t", "text/plain", b"x").status, 503);
    assert_eq!(server.get("/metrics").status, 200, "the counters can be read to the end");
}

/// A waker that holds up the shard which calls it, until told otherwise.
struct Holds(Mutex<mpsc::Receiver<()>>);

impl Wake for Holds {
    fn wake(self: Arc<Self>) {
        _ = self.0.lock().expect("no panic").recv_timeout(SOON);
    }
}

/// Holds up the home shard of a topic.
fn hold(server: &Server, name: &str) -> (Subscription, Sender<()>) {
    let (release, released) = mpsc::channel();
    let waker = Waker::from(Arc::new(Holds(Mutex::new(released))));
    let mut subscription = server.subscribe(name);
    assert!(subscription.poll_next(&mut Context::from_waker(&waker)).is_pending());
    server.engine.publish(&TopicName::parse(name).expect("a name"), "stop").expect("published");
    (subscription, release)
}

#[test]
fn a_shard_that_does_not_take_messages_is_told_of_and_waited_for_in_bounds() {
    let server = Server::start(Config { inbox_commands_max: 16, ..Config::default() });
    let (_subscription, release) = hold(&server, "t");

    let body = "1\n".repeat(100);
    let start = Instant::now();
    let reply = server.post("/topics/t", "application/x-ndjson", body.as_bytes());
    assert!(start.elapsed() >= Duration::from_millis(900), "it waits a while");
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (503, &json!("busy")));
    assert!(reply.head.contains("retry-after: 1"), "{reply:?}");
    let published = reply.json()["error"]["published"].as_u64().expect("a number");
    assert!((1..100).contains(&published), "some were taken and it says how many: {published}");

    let health = server.get("/healthz");
    assert_eq!(health.status, 503, "{health:?}");
    release.send(()).expect("the shard waits");
    let reply = server.post("/topics/t", "text/plain", b"x");
    assert_eq!(reply.json(), json!({ "topic": "t", "seq": published + 2 }), "exactly those were published");
    assert_eq!(server.get("/healthz").status, 200);
}

/// A number that the control port counts of itself.
fn counted(metrics: &str, name: &str) -> u64 {
    let prefix = format!("fanfare_control_{name} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&prefix));
    value.unwrap_or_else(|| panic!("{name} is missing in\n{metrics}")).parse().expect("a number")
}

/// Connects and says nothing.
fn silent(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("it listens");
    stream.set_read_timeout(Some(2 * SOON)).expect("a timeout");
    stream
}

/// Whatever comes until the connection ends.
fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => rest,
        Err(error) => panic!("it does not end: {error}"),
        Ok(_) => rest,
    }
}

#[test]
fn connections_beyond_the_limit_are_answered_and_counted() {
    const PLACES: usize = 256;
    let server = Server::start(Config::default());
    let addr = server.control.addr();
    let mut held: Vec<_> = (0..PLACES).map(|_| silent(addr)).collect();
    for _ in 0..44 {
        let reply = server.get("/healthz");
        assert_eq!((reply.status, &reply.json()["error"]["code"]), (503, &json!("too_many_connections")));
        assert!(reply.head.contains("retry-after: 1") && reply.head.contains("nosniff"), "{reply:?}");
    }
    // Those that were there first are served all the same.
    let mut first = held.swap_remove(0);
    first.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
    let metrics = String::from_utf8(rest(first)).expect("text");
    assert_eq!((counted(&metrics, "connections"), counted(&metrics, "refused_total")), (PLACES as u64, 44));

    held.truncate(PLACES / 2);
    let deadline = Instant::now() + SOON;
    while server.get("/healthz").status != 200 {
        assert!(Instant::now() < deadline, "there is room again");
    }
    let metrics = server.get("/metrics").body;
    assert!(counted(&metrics, "connections") <= 1 + PLACES as u64 / 2, "{metrics}");
    assert_eq!(counted(&metrics, "timeouts_total"), 0);
}

#[test]
fn peers_that_are_too_slow_are_let_go_and_counted() {
    let server = Server::start(Config::default());
    let addr = server.control.addr();
    let start = Instant::now();
    // A request of which a byte comes every second, and none at all.
    let dripping = silent(addr);
    let mut drips = dripping.try_clone().expect("a descriptor");
    let drips = std::thread::spawn(move || {
        let head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: 12345678901234567890\r\n";
        head.iter().all(|byte| {
            std::thread::sleep(Duration::from_millis(500));
            drips.write_all(&[*byte]).is_ok()
        })
    });
    let silent_one = silent(addr);
    // Who was answered and asks nothing more does nothing wrong, and is let go too.
    let mut idle = silent(addr);
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    // One that asks again and again, and takes no answer.
    let mut deaf = silent(addr);
    deaf.set_write_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    while deaf.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").is_ok() {}

    assert_eq!(rest(dripping), b"");
    assert_eq!(rest(silent_one), b"");
    assert!(rest(idle).starts_with(b"HTTP/1.1 200 "));
    let took = start.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(20)).contains(&took), "{took:?}");
    let deadline = Instant::now() + SOON;
    loop {
        let metrics = server.get("/metrics").body;
        if counted(&metrics, "connections") == 1 {
            assert_eq!(counted(&metrics, "timeouts_total"), 3);
            break;
        }
        assert!(Instant::now() < deadline, "it holds places for nobody: {metrics}");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!drips.join().expect("no panic"), "it was still writing when the connection ended");
}
