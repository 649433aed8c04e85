//! The server's side of the handshake: tables of good and bad heads with the status that each gets.

use std::fmt::Write;

use fanfare_wire::deflate;
use fanfare_wire::handshake::Extension;
use fanfare_wire::handshake::server::{HeadLimits, Method, Reject, Request, read_request};
use proptest::prelude::*;

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 4096, headers_max: 32 };

const UPGRADE: &[&str] = &[
    "Host: h",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
];

fn head(request_line: &str, headers: &[&str]) -> String {
    let mut head = format!("{request_line}\r\n");
    for header in headers {
        write!(head, "{header}\r\n").unwrap();
    }
    head + "\r\n"
}

/// The handshake's headers without those whose names begin like `without`, and with `with`.
fn upgrade(without: &str, with: &[&str]) -> String {
    let kept = UPGRADE.iter().filter(|header| without.is_empty() || !header.starts_with(without));
    head("GET /chat HTTP/1.1", &kept.chain(with).copied().collect::<Vec<_>>())
}

/// Reads a head at once and byte by byte, which must agree in everything but how early a refusal comes.
#[track_caller]
fn read(input: impl AsRef<[u8]>) -> Result<(Request, usize), Reject> {
    let input = input.as_ref();
    let at_once = read_request(input, &LIMITS);
    let mut steps = (1..=input.len()).map(|len| read_request(&input[..len], &LIMITS));
    let stepwise = steps.find(|outcome| *outcome != Ok(None));
    match (&at_once, &stepwise) {
        (Ok(Some(_)), Some(stepwise)) => assert_eq!(&at_once, stepwise),
        (Err(_), Some(Err(_))) => {}
        _ => panic!("at once {at_once:?}, stepwise {stepwise:?}"),
    }
    at_once.map(|complete| complete.unwrap())
}

/// The status of a head: 101 for a handshake, 200 for any other acceptable request.
#[track_caller]
fn check(input: impl AsRef<[u8]>, status: u16) {
    let input = input.as_ref();
    let outcome = read(input);
    let seen = match &outcome {
        Ok((Request { upgrade: Some(_), .. }, _)) => 101,
        Ok(_) => 200,
        Err(reject) => reject.status,
    };
    assert_eq!(seen, status, "{:?} -> {outcome:?}", String::from_utf8_lossy(input));
    if let Err(reject) = outcome {
        check_reply(&reject);
    }
}

/// The lines of a head, of which there are as many as CRs and LFs.
#[track_caller]
fn lines_of(head: &[u8]) -> Vec<&str> {
    let text = std::str::from_utf8(head).expect("replies are text");
    let (lines, rest) = text.split_once("\r\n\r\n").expect("a head ends with an empty line");
    assert_eq!(rest, "", "a head ends once");
    let lines: Vec<&str> = lines.split("\r\n").collect();
    assert!(!lines.iter().any(|line| line.contains(|byte: char| byte.is_ascii_control())), "{text:?}");
    lines
}

/// The headers of a 101 reply.
const OURS: [&str; 5] =
    ["Upgrade", "Connection", "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"];

/// What a peer may write in a header to get a line of its own into the reply.
fn injection() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[a-z0-9=;, \"]{1,8}".prop_map(String::into_bytes),
        2 => prop::sample::select(vec![
            "\r\n", "\n", "\r", "\r\n ", "%0d%0a", "\\r\\n", "\u{2028}", "\u{85}", "\0", "\t", "\x0b",
            "X-Injected: 1", "permessage-deflate", "chat", "\"\r\n\"", "\\\r\\\n",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 1..3),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// Every refusal is a whole HTTP response with its reason on one line.
fn check_reply(reject: &Reject) {
    let mut reply = Vec::new();
    reject.write(&mut reply);
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut headers);
    let head_len = response.parse(&reply).unwrap().unwrap();
    assert_eq!(response.code, Some(reject.status));
    let value = |name: &str| {
        let found = response.headers.iter().find(|header| header.name == name);
        found.map(|header| std::str::from_utf8(header.value).unwrap())
    };
    let body = std::str::from_utf8(&reply[head_len..]).unwrap();
    assert_eq!(body, format!("{}\n", reject.reason));
    assert_eq!(body.lines().count(), 1);
    assert!(body.len() > 10, "{body:?} says why");
    assert_eq!(value("Content-Length"), Some(&*body.len().to_string()));
    assert!(value("Connection").unwrap().ends_with("close"));
    match reject.status {
        405 => assert_eq!(value("Allow"), Some("GET")),
        426 => {
            assert_eq!(value("Upgrade"), Some("websocket"));
            assert_eq!(value("Connection"), Some("Upgrade, close"));
            assert_eq!(value("Sec-WebSocket-Version"), Some("13"));
        }
        _ => {}
    }
}

#[test]
fn the_example_of_section_1_3() {
    let input = head(
        "GET /chat HTTP/1.1",
        &[
            "Host: server.example.com",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Origin: http://example.com",
            "Sec-WebSocket-Protocol: chat, superchat",
            "Sec-WebSocket-Version: 13",
        ],
    );
    let (request, len) = read(&input).unwrap();
    assert_eq!(len, input.len());
    assert_eq!((request.method, &*request.path, request.query), (Method::Get, "/chat", None));
    assert_eq!(
        (&*request.host, request.origin.as_deref()),
        ("server.example.com", Some("http://example.com"))
    );
    let upgrade = request.upgrade.unwrap();
    assert_eq!(upgrade.protocols, ["chat", "superchat"]);
    let mut reply = Vec::new();
    upgrade.write_accept(&mut reply, Some("chat"), &[]);
    assert_eq!(
        String::from_utf8(reply).unwrap(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    );
}

#[test]
fn bytes_behind_the_head_are_frames() {
    let input = upgrade("", &[]);
    let with_frames = [input.as_bytes(), b"\x81\x80\x00\n\r\x00"].concat();
    let Ok(Some((request, len))) = read_request(&with_frames, &LIMITS) else { panic!() };
    assert!(request.upgrade.is_some());
    assert_eq!(len, input.len());
    let after_empty_line = format!("\r\n{input}rest");
    assert_eq!(read_request(after_empty_line.as_bytes(), &LIMITS).unwrap().unwrap().1, input.len() + 2);
}

#[test]
fn handshakes_in_any_shape() {
    let mut reversed = UPGRADE.to_vec();
    reversed.reverse();
    check(head("GET / HTTP/1.1", &reversed), 101);
    let upper: Vec<String> = UPGRADE
        .iter()
        .map(|header| {
            let (name, value) = header.split_once(':').unwrap();
            format!("{}:{value}", name.to_uppercase())
        })
        .collect();
    check(head("GET / HTTP/1.1", &upper.iter().map(|header| &**header).collect::<Vec<_>>()), 101);
    check(upgrade("Upgrade", &["upgrade:WebSocket"]), 101);
    check(upgrade("Upgrade", &["Upgrade: h2c, websocket"]), 101);
    check(upgrade("Upgrade", &["Upgrade: h2c", "Upgrade: ,\twebsocket ,"]), 101);
    check(upgrade("Connection", &["Connection: keep-alive, Upgrade"]), 101);
    check(upgrade("Connection", &["Connection: keep-alive", "connection: UPGRADE"]), 101);
    check(upgrade("Connection", &["Connection:keep-alive ,\tupgrade\t"]), 101);
    check(upgrade("", &["Sec-WebSocket-Protocol: , a,,b ,", "Sec-WebSocket-Protocol:"]), 101);
    check(upgrade("", &["Content-Length: 0"]), 101);
    check(upgrade("", &["Content-Length: 0", "Content-Length: 0"]), 101);
    check(upgrade("", &["X-Bytes: \u{e9}\u{20ac}", "X-Empty:"]), 101);
    check(upgrade("Host", &["Host: [::1]:9000"]), 101);
    check(format!("\r\n{}", upgrade("", &[])), 101);
}

#[test]
fn requests_that_are_no_upgrade_stay_ordinary() {
    check("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 200);
    check("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", 200);
    check("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", 200);
    check("OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n", 200);
    check(head("GET / HTTP/1.1", &["Host: h", "Connection: Upgrade", "Upgrade: h2c"]), 200);
    check(head("GET / HTTP/1.1", &["Host: h", "Connection: Upgrade"]), 200);
    check(head("GET / HTTP/1.1", &["Host: h", "Upgrade: websocket2"]), 200);
    // HTTP/1.0 needs no Host, and its Upgrade is ignored.
    check("GET / HTTP/1.0\r\n\r\n", 200);
    check(upgrade("", &[]).replace("HTTP/1.1", "HTTP/1.0"), 200);
}

#[test]
fn handshakes_that_are_refused() {
    check(head("POST / HTTP/1.1", UPGRADE), 405);
    check(head("HEAD / HTTP/1.1", UPGRADE), 405);
    check(upgrade("Connection", &[]), 400);
    check(upgrade("Connection", &["Connection: keep-alive"]), 400);
    for version in ["8", "12", "14", "013", "13, 8", "x", ""] {
        check(upgrade("Sec-WebSocket-Version", &[&format!("Sec-WebSocket-Version: {version}")]), 426);
    }
    check(upgrade("Sec-WebSocket-Version", &[]), 426);
    check(upgrade("", &["Sec-WebSocket-Version: 13"]), 400);
    check(upgrade("Sec-WebSocket-Key", &[]), 400);
    check(upgrade("", &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]), 400);
    for key in [
        "",
        "x",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ===",
        "dGhlIHNhbXBsZSBub25jZR==",
        "dGhlIHNhbXBsZSBub25jZSE=",
        "dGhlIHNhbXBsZSBub25j",
        "dGhlIHNhbXBsZSBub25jZSEhISEh",
        "dGhlIHNhbXBs-SBub25jZQ==",
        "dGhlIHNhbXBs ZSBub25jZQ==",
    ] {
        check(upgrade("Sec-WebSocket-Key", &[&format!("Sec-WebSocket-Key: {key}")]), 400);
    }
    check(upgrade("", &["Sec-WebSocket-Protocol: a b"]), 400);
    check(upgrade("", &["Sec-WebSocket-Protocol: a, a"]), 400);
    check(upgrade("", &["Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b, a"]), 400);
    check(upgrade("", &["Sec-WebSocket-Extensions: a;;b"]), 400);
    check(upgrade("", &["Sec-WebSocket-Extensions: a b"]), 400);
    check(upgrade("", &["Sec-WebSocket-Extensions: a; b=\"c d\""]), 400);
    check(upgrade("", &["Sec-WebSocket-Extensions: a; b=\"c"]), 400);
    check(upgrade("", &["Sec-WebSocket-Extensions: a; b="]), 400);
    check(upgrade("", &["Origin: http://a", "Origin: http://b"]), 400);
    check(upgrade("", &["Origin: http://\u{fc}"]), 400);
}

#[test]
fn hosts() {
    check("GET / HTTP/1.1\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400);
    check("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400);
    // A target in absolute form takes precedence over the Host header.
    let (request, _) = read("GET http://a:1/b?c HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!((&*request.host, &*request.path, request.query.as_deref()), ("a:1", "/b", Some("c")));
    let (request, _) = read("GET ws://a?c HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!((&*request.host, &*request.path, request.query.as_deref()), ("a", "/", Some("c")));
}

#[test]
fn request_lines() {
    for line in [
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /a b HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /",
        "GET",
        "GET / HTTP",
        "GET / http/1.1",
        "GET / FTP/1.1",
        "G(T / HTTP/1.1",
        "GET a HTTP/1.1",
        "GET ftp://h/ HTTP/1.1",
        "GET http:///x HTTP/1.1",
        "GET http://u@h/ HTTP/1.1",
        "CONNECT h:80 HTTP/1.1",
        "GET /#f HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET /\u{7f} HTTP/1.1",
        "GET /%zz HTTP/1.1",
        "GET /%f HTTP/1.1",
        "GET /%ff HTTP/1.1",
        "GET /?q=%c3 HTTP/1.1",
    ] {
        check(head(line, &["Host: h"]), 400);
    }
    check(head("GET / HTTP/2.0", &["Host: h"]), 505);
    check(head("GET / HTTP/1.2", &["Host: h"]), 505);
    check(head("GET / HTTP/3", &["Host: h"]), 505);
    check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
}

#[test]
fn not_http_at_all() {
    for input in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"\x16",
        b"\x00",
        b"\x80\x46\x01",
        b" GET",
        b"\xef\xbb\xbfGET",
        b"\n",
    ] {
        check(input, 400);
    }
    let tls = read_request(b"\x16\x03", &LIMITS).unwrap_err();
    assert!(tls.reason.contains("TLS"), "{}", tls.reason);
    check("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400);
    assert_eq!(read_request(b"", &LIMITS), Ok(None));
    assert_eq!(read_request(b"\r", &LIMITS), Ok(None));
    assert_eq!(read_request(b"\r\n", &LIMITS), Ok(None));
}

#[test]
fn smuggling_shapes() {
    let with = |lines: &str| format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
    check("GET / HTTP/1.1\nHost: h\n\n", 400);
    check("GET / HTTP/1.1\r\nHost: h\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: h\r\n\n", 400);
    check("GET / HTTP/1.1\r\nHost: h\r\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n", 400);
    check(with("X: a\r\n b\r\n"), 400);
    check(with("X: a\r\n\tb\r\n"), 400);
    check("GET / HTTP/1.1\r\n Host: h\r\n\r\n", 400);
    check(with("X : a\r\n"), 400);
    check(with("X\t: a\r\n"), 400);
    check(with(": a\r\n"), 400);
    check(with("X\r\n"), 400);
    check(with("X Y: a\r\n"), 400);
    check(with("X: a\0b\r\n"), 400);
    check(with("X\0: a\r\n"), 400);
    check(with("X: a\x01b\r\n"), 400);
    check(with("X\u{e9}: a\r\n"), 400);
    check(with("Content-Length: 1\r\nContent-Length: 2\r\n"), 400);
    check(with("Content-Length: 0\r\nContent-Length: 00\r\n"), 400);
    check(with("Content-Length: 5, 6\r\n"), 400);
    check(with("Content-Length: -1\r\n"), 400);
    check(with("Content-Length: +0\r\n"), 400);
    check(with("Content-Length: 0x0\r\n"), 400);
    check(with("Content-Length:\r\n"), 400);
    check(with("Content-Length: 0,\r\n"), 400);
    check(with("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"), 400);
    check(with("Transfer-Encoding: chunked\r\n"), 400);
    check(with("Transfer-Encoding: identity\r\n"), 400);
    check(with("Content-Length: 5\r\n"), 413);
    check(with("Content-Length: 99999999999999999999999999\r\n"), 413);
    check(upgrade("", &["Content-Length: 5"]), 413);
}

#[test]
fn sizes() {
    let long_line = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(len));
    let rest = long_line(0).len();
    check(long_line(LIMITS.head_bytes_max - rest), 200);
    check(long_line(LIMITS.head_bytes_max - rest + 1), 431);
    check(long_line(LIMITS.head_bytes_max), 414);
    check(format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}", "a".repeat(LIMITS.head_bytes_max)), 431);
    let headers = |count: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    check(headers(LIMITS.headers_max), 200);
    check(headers(LIMITS.headers_max + 1), 431);
    // More headers than there is room for, whatever the limits say.
    let limits = HeadLimits { head_bytes_max: 1 << 20, headers_max: usize::MAX };
    assert!(read_request(headers(128).as_bytes(), &limits).unwrap().is_some());
    assert_eq!(read_request(headers(129).as_bytes(), &limits).unwrap_err().status, 431);
}

#[test]
fn refusals_come_early() {
    for (input, status) in [
        ("GET / HTTP/1.1\r\nHost: h\r\nX : ", 400),
        ("GET / HTTP/2", 505),
        ("G(", 400),
        ("GET / HTTP/1.1\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\n ", 400),
    ] {
        assert_eq!(read_request(input.as_bytes(), &LIMITS).unwrap_err().status, status, "{input:?}");
    }
}

#[test]
fn reasons_name_what_is_wrong() {
    for (input, word) in [
        ("GET / HTTP/1.1\n", "LF"),
        ("GET / HTTP/1.1\r\r", "CR"),
        ("GET / HTTP/1.1\r\nX: a\r\n b", "folded"),
        ("GET / HTTP/1.1\r\nX: a\r\n\tb", "folded"),
        ("GET / HTTP/1.1\r\nX : a\r\n\r\n", "colon"),
        ("GET / HTTP/1.1\r\nX: \0", "NUL"),
        ("GET / HTTP/1.1\r\n\r\n", "Host"),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nTransfer-Encoding: x\r\n\r\n", "both"),
        (&*upgrade("Connection", &[]), "proxy"),
        (&*upgrade("Sec-WebSocket-Key", &[]), "Sec-WebSocket-Key"),
        (&*upgrade("Sec-WebSocket-Version", &["Sec-WebSocket-Version: 8"]), "version 13"),
    ] {
        let reject = read_request(input.as_bytes(), &LIMITS).unwrap_err();
        assert!(reject.reason.contains(word), "{input:?} -> {reject}");
    }
}

#[test]
fn queries() {
    let (request, _) =
        read("GET /stream?topics=a%2Cb,c+d,,%c3%a9&x&y=&topics=z&%7a=1=2 HTTP/1.1\r\nHost: h\r\n\r\n")
            .unwrap();
    assert_eq!(request.query_value("topics").as_deref(), Some("a,b,c d,,é"));
    assert_eq!(request.query_list("topics").unwrap(), ["a,b", "c d", "é"]);
    assert_eq!(request.query_value("x").as_deref(), Some(""));
    assert_eq!(request.query_value("y").as_deref(), Some(""));
    assert_eq!(request.query_list("y").unwrap(), [""; 0]);
    assert_eq!(request.query_value("z").as_deref(), Some("1=2"));
    assert_eq!(request.query_value("w"), None);
    assert_eq!(request.query_list("w"), None);
    let (request, _) = read("GET /stream HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(request.query_value("topics"), None);
}

#[test]
fn extensions() {
    let check = |values: &[&str], expected: &[Extension]| {
        let headers: Vec<String> =
            values.iter().map(|value| format!("Sec-WebSocket-Extensions:{value}")).collect();
        let headers: Vec<&str> = headers.iter().map(|header| &**header).collect();
        let (request, _) = read(upgrade("", &headers)).unwrap();
        assert_eq!(request.upgrade.unwrap().extensions, expected, "{values:?}");
    };
    let extension = |name: &str, params: &[(&str, Option<&str>)]| Extension {
        name: name.to_owned(),
        params: params.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect(),
    };
    check(&[], &[]);
    check(&["", " , "], &[]);
    check(&[" permessage-deflate"], &[extension("permessage-deflate", &[])]);
    check(
        &["permessage-deflate; client_max_window_bits; server_max_window_bits = 10, x", "y;a=\"b\\c\""],
        &[
            extension(
                "permessage-deflate",
                &[("client_max_window_bits", None), ("server_max_window_bits", Some("10"))],
            ),
            extension("x", &[]),
            extension("y", &[("a", Some("bc"))]),
        ],
    );
}

#[test]
fn further_headers_are_written() {
    let (request, _) = read(upgrade("", &["Sec-WebSocket-Extensions: permessage-deflate"])).unwrap();
    let mut reply = Vec::new();
    let headers = [("Fanfare-Seq", "42"), ("Sec-WebSocket-Extensions", "permessage-deflate; x=1"), ("X", "")];
    request.upgrade.unwrap().write_accept(&mut reply, None, &headers);
    let expected = b"\r\nFanfare-Seq: 42\r\nSec-WebSocket-Extensions: permessage-deflate; x=1\r\nX: \r\n\r\n";
    assert!(reply.ends_with(expected), "{}", String::from_utf8_lossy(&reply));
    let mut headers = [httparse::EMPTY_HEADER; 8];
    let mut response = httparse::Response::new(&mut headers);
    assert_eq!(response.parse(&reply).unwrap(), httparse::Status::Complete(reply.len()));
    assert_eq!((response.code, response.headers.len()), (Some(101), 6));
}

#[test]
#[cfg(debug_assertions)]
fn no_header_holds_another() {
    let (request, _) = read(upgrade("", &[])).unwrap();
    let upgrade = request.upgrade.unwrap();
    for header in [
        ("X", "a\r\nY: b"),
        ("X", "a\n"),
        ("X", "\0"),
        ("X", "é"),
        ("X: a\r\nY", "b"),
        ("", "b"),
        ("X ", "b"),
    ] {
        let written = std::panic::catch_unwind(|| upgrade.write_accept(&mut Vec::new(), None, &[header]));
        assert!(written.is_err(), "{header:?}");
    }
}

#[test]
fn replies_of_the_router() {
    for (reject, status) in [
        (Reject::not_found(), 404),
        (Reject::upgrade_required(), 426),
        (Reject::method_not_allowed("GET"), 405),
        (Reject::bad_request("the topic's name is not valid"), 400),
        (Reject::forbidden("this origin may not connect"), 403),
        (Reject::request_timeout(), 408),
        (Reject::service_unavailable("too many connections", 5), 503),
    ] {
        assert_eq!(reject.status, status);
        check_reply(&reject);
        let (mut whole, mut head) = (Vec::new(), Vec::new());
        reject.write(&mut whole);
        reject.write_head(&mut head);
        assert_eq!(whole, [&*head, reject.reason.as_bytes(), b"\n"].concat());
    }
    let mut reply = Vec::new();
    Reject::service_unavailable("too many connections", 5).write(&mut reply);
    assert!(String::from_utf8(reply).unwrap().contains("\r\nRetry-After: 5\r\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// A head with one byte changed is accepted or refused, with no trace of it in the refusal, and never a
    /// panic.
    #[test]
    fn survives_a_changed_byte(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut input = upgrade("", &["X-Secret: secret-secret", "Origin: http://secret-secret"]).into_bytes();
        let at = at.index(input.len());
        input[at] = byte;
        if let Err(reject) = read_request(&input, &LIMITS) {
            let mut reply = Vec::new();
            reject.write(&mut reply);
            prop_assert!(!String::from_utf8(reply).unwrap().contains("secret"));
            check_reply(&reject);
        }
    }

    /// Whatever a peer writes into its request, no reply has a line that is not the server's own: the lines are
    /// counted and their names are known.
    #[test]
    fn no_reply_holds_a_line_of_a_peers(
        path in injection(),
        host in injection(),
        origin in injection(),
        protocols in injection(),
        extensions in injection(),
        dirty in 0..6,
    ) {
        // One of them at a time, or a request that is all dirty.
        let field = |at, clean: &[u8], given: &[u8]| if dirty == at || dirty == 5 { given.to_vec() } else { clean.to_vec() };
        let input = [
            b"GET /".to_vec(), field(0, b"chat", &path), b" HTTP/1.1\r\nHost: ".to_vec(), field(1, b"h", &host),
            b"\r\nOrigin: ".to_vec(), field(2, b"http://h", &origin),
            b"\r\nSec-WebSocket-Protocol: ".to_vec(), field(3, b"chat, chat2", &protocols),
            b"\r\nSec-WebSocket-Extensions: ".to_vec(), field(4, b"permessage-deflate", &extensions),
            b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".to_vec(),
        ].concat();
        match read_request(&input, &LIMITS) {
            Ok(None) => {}
            Ok(Some((Request { upgrade: None, .. }, _))) => {}
            Ok(Some((Request { upgrade: Some(upgrade), .. }, _))) => {
                let agreed = deflate::agree(&upgrade.extensions);
                let value = agreed.map(|agreed| agreed.header_value());
                let headers: Vec<_> = value.iter().map(|value| ("Sec-WebSocket-Extensions", *value)).collect();
                let protocols = upgrade.protocols.iter().map(|protocol| Some(&**protocol)).chain([None]);
                for protocol in protocols {
                    let mut reply = Vec::new();
                    upgrade.write_accept(&mut reply, protocol, &headers);
                    let lines = lines_of(&reply);
                    prop_assert_eq!(lines.len(), 4 + usize::from(protocol.is_some()) + headers.len());
                    prop_assert_eq!(lines[0], "HTTP/1.1 101 Switching Protocols");
                    for line in &lines[1..] {
                        let (name, _) = line.split_once(": ").unwrap();
                        prop_assert!(OURS.contains(&name), "{}", line);
                    }
                }
            }
            Err(reject) => {
                check_reply(&reject);
                let mut head = Vec::new();
                reject.write_head(&mut head);
                prop_assert_eq!(lines_of(&head).len(), 4 + reject.headers.len());
                prop_assert!(!reject.reason.contains(|byte: char| byte.is_ascii_control()));
            }
        }
    }

    #[test]
    fn survives_anything(input in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Err(reject) = read_request(&input, &LIMITS) {
            check_reply(&reject);
        }
    }
}
