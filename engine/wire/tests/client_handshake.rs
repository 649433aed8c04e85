//! The client's side of the handshake: the request it writes, and what it makes of responses.

use fanfare_wire::handshake::HeadLimits;
use fanfare_wire::handshake::client::{
    ClientError, ClientHandshake, REFUSAL_BODY_BYTES_MAX, RequestError, Response,
};
use fanfare_wire::handshake::server::read_request;
use fanfare_wire::url::WsUrl;
use proptest::prelude::*;

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 4096, headers_max: 32 };

/// The nonce of the example in RFC 6455 section 1.3.
const NONCE: [u8; 16] = *b"the sample nonce";
const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn handshake(protocols: &[&str], headers: &[(&str, &str)]) -> ClientHandshake {
    let url = WsUrl::parse("ws://server.example.com/chat").unwrap();
    ClientHandshake::new(&url, NONCE, protocols, headers).unwrap()
}

fn accepted(status_line: &str, headers: &[&str]) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("{status_line}\r\n{headers}\r\n")
}

const GOOD: [&str; 3] = ["Upgrade: websocket", "Connection: Upgrade", ACCEPT];

/// Reads a response with more bytes behind it, and every prefix of it, which must want more.
#[track_caller]
fn check(handshake: &ClientHandshake, input: &str, expected: Result<(), ClientError>) {
    let with_frames = [input.as_bytes(), b"\x81\x00\x00"].concat();
    let outcome = handshake.read_response(&with_frames, &LIMITS);
    if expected.is_ok() {
        for len in 0..input.len() {
            assert_eq!(
                handshake.read_response(&input.as_bytes()[..len], &LIMITS),
                Ok(None),
                "{len} of {input:?}"
            );
        }
        assert_eq!(outcome.as_ref().map(|found| found.as_ref().map(|found| found.1)), Ok(Some(input.len())));
    }
    assert_eq!(outcome.map(|_| ()), expected, "{input:?}");
}

#[test]
fn the_request() {
    let handshake = handshake(&["chat", "superchat"], &[("Origin", "http://example.com"), ("X-Empty", "")]);
    assert_eq!(
        std::str::from_utf8(handshake.request()).unwrap(),
        "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: chat, superchat\r\nOrigin: http://example.com\r\nX-Empty: \r\n\r\n"
    );
    let (request, len) = read_request(handshake.request(), &LIMITS).unwrap().unwrap();
    assert_eq!(len, handshake.request().len());
    let upgrade = request.upgrade.unwrap();
    assert_eq!(upgrade.protocols, ["chat", "superchat"]);

    let mut reply = Vec::new();
    upgrade.write_accept(&mut reply, Some("superchat"), &[]);
    let (response, len) = handshake.read_response(&reply, &LIMITS).unwrap().unwrap();
    assert_eq!(len, reply.len());
    let Response::Accepted { protocol, extensions, headers, .. } = response else { panic!("{response:?}") };
    assert_eq!((protocol.as_deref(), extensions.len()), (Some("superchat"), 0));
    assert_eq!(headers[0], ("Upgrade".to_owned(), "websocket".to_owned()));
}

#[test]
fn requests_that_cannot_be() {
    let url = WsUrl::parse("ws://h/").unwrap();
    let check = |protocols: &[&str], headers: &[(&str, &str)], expected: RequestError| {
        assert_eq!(ClientHandshake::new(&url, NONCE, protocols, headers).unwrap_err(), expected);
    };
    check(&["a b"], &[], RequestError::ProtocolNotToken);
    check(&[""], &[], RequestError::ProtocolNotToken);
    check(&["a,b"], &[], RequestError::ProtocolNotToken);
    check(&["a", "b", "a"], &[], RequestError::ProtocolTwice);
    check(&[], &[("X Y", "z")], RequestError::HeaderName);
    check(&[], &[("", "z")], RequestError::HeaderName);
    check(&[], &[("X", "a\r\nY: b")], RequestError::HeaderValue);
    check(&[], &[("X", "a\0")], RequestError::HeaderValue);
    check(&[], &[("X", " a")], RequestError::HeaderValue);
    check(&[], &[("host", "a")], RequestError::HeaderReserved);
    check(&[], &[("Sec-WebSocket-Key", "a")], RequestError::HeaderReserved);
    check(&[], &[("Content-Length", "1")], RequestError::HeaderReserved);
    check(&[], &[("Sec-WebSocket-Extensions", "a;;")], RequestError::Extensions);
}

#[test]
fn status_101_alone_completes_the_handshake() {
    let plain = handshake(&[], &[]);
    for status_line in [
        "HTTP/1.1 101 Switching Protocols",
        "HTTP/1.1 101 Web Socket Protocol Handshake",
        "HTTP/1.1 101 ",
        "HTTP/1.1 101",
        "HTTP/1.1 101 200 OK",
        "HTTP/1.1 101 \u{c4}nderung",
        "HTTP/1.1 101 \t!",
    ] {
        check(&plain, &accepted(status_line, &GOOD), Ok(()));
    }
    check(&plain, &accepted("HTTP/1.0 101 Switching Protocols", &GOOD), Err(ClientError::Version));
    let switching = |headers: &[&str]| accepted("HTTP/1.1 101 x", headers);
    let upper =
        ["UPGRADE:WEBSOCKET", "CONNECTION: x, UPGRADE", &ACCEPT.replace("Sec-WebSocket", "sec-websocket")];
    check(&plain, &switching(&upper), Ok(()));
    check(&plain, &switching(&GOOD[1..]), Err(ClientError::Upgrade));
    check(&plain, &switching(&["Upgrade: h2c", GOOD[1], GOOD[2]]), Err(ClientError::Upgrade));
    check(&plain, &switching(&[GOOD[0], GOOD[2]]), Err(ClientError::Connection));
    check(&plain, &switching(&[GOOD[0], "Connection: keep-alive", GOOD[2]]), Err(ClientError::Connection));
    check(&plain, &switching(&GOOD[..2]), Err(ClientError::Accept));
    check(&plain, &switching(&[GOOD[0], GOOD[1], ACCEPT, ACCEPT]), Err(ClientError::Accept));
    for wrong in ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo", "S3PPLMBITXAQ9KYGZZHZRBK+XOO=", ""] {
        let accept = format!("Sec-WebSocket-Accept: {wrong}");
        check(&plain, &switching(&[GOOD[0], GOOD[1], &accept]), Err(ClientError::Accept));
    }
}

#[test]
fn only_what_was_offered() {
    let plain = handshake(&[], &[]);
    let offering = handshake(&["a", "b"], &[("Sec-WebSocket-Extensions", "x, y; p=1")]);
    let with = |headers: &[&str]| accepted("HTTP/1.1 101 x", &[&GOOD[..], headers].concat());
    check(&offering, &with(&[]), Ok(()));
    check(&offering, &with(&["Sec-WebSocket-Protocol: b"]), Ok(()));
    check(&offering, &with(&["Sec-WebSocket-Protocol: B"]), Err(ClientError::Protocol));
    check(&offering, &with(&["Sec-WebSocket-Protocol: c"]), Err(ClientError::Protocol));
    check(&offering, &with(&["Sec-WebSocket-Protocol: a, b"]), Err(ClientError::Protocol));
    let two = ["Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b"];
    check(&offering, &with(&two), Err(ClientError::Protocol));
    check(&plain, &with(&["Sec-WebSocket-Protocol: a"]), Err(ClientError::Protocol));
    check(&offering, &with(&["Sec-WebSocket-Extensions: y; q"]), Ok(()));
    check(
        &offering,
        &with(&["Sec-WebSocket-Extensions: y", "Sec-WebSocket-Extensions: z"]),
        Err(ClientError::Extension),
    );
    check(&offering, &with(&["Sec-WebSocket-Extensions: y;"]), Err(ClientError::Extension));
    check(&plain, &with(&["Sec-WebSocket-Extensions: x"]), Err(ClientError::Extension));
}

/// A refusal as it is reported: status and body, and the bytes it took.
#[track_caller]
fn refused(input: &str, eof: bool) -> Result<Option<(u16, String, usize)>, ClientError> {
    let plain = handshake(&[], &[]);
    let outcome = if eof {
        plain.read_response_at_eof(input.as_bytes(), &LIMITS).map(Some)
    } else {
        plain.read_response(input.as_bytes(), &LIMITS)
    };
    Ok(outcome?.map(|(response, len)| {
        let Response::Refused { status, body, .. } = response else { panic!("{response:?}") };
        (status, String::from_utf8(body).unwrap(), len)
    }))
}

#[track_caller]
fn check_refused(input: &str, status: u16, body: &str) {
    for len in 0..input.len() {
        assert_eq!(refused(&input[..len], false), Ok(None), "{len} of {input:?}");
    }
    let expected = Ok(Some((status, body.to_owned(), input.len())));
    assert_eq!(refused(input, false), expected);
    assert_eq!(refused(&format!("{input}more"), false), expected);
    assert_eq!(refused(input, true), expected);
}

#[test]
fn other_statuses_are_plain_http() {
    check_refused("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone", 404, "gone");
    check_refused("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "");
    check_refused("HTTP/1.1 204 \r\n\r\n", 204, "");
    check_refused("HTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\n", 304, "");
    check_refused("HTTP/1.0 503 Busy\r\nContent-Length: 2, 2\r\n\r\nno", 503, "no");
    check_refused(
        "HTTP/1.1 426 x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\n",
        426,
        "abc0123456789",
    );
    // Length does not count beside Transfer-Encoding.
    check_refused(
        "HTTP/1.1 400 x\r\nContent-Length: 1\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n1\r\nz\r\n0\r\n\r\n",
        400,
        "z",
    );
    // Interim responses are passed over.
    check_refused(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nLink: y\r\n\r\nHTTP/1.1 403 x\r\nContent-Length: 1\r\n\r\n!",
        403,
        "!",
    );

    for bad in [
        "Content-Length: x",
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: -1",
        "Content-Length: 99999999999999999999",
    ] {
        assert_eq!(
            refused(&format!("HTTP/1.1 400 x\r\n{bad}\r\n\r\nz"), true),
            Err(ClientError::Body),
            "{bad}"
        );
    }
    for bad in ["x\r\n", "1\r\nab", "11111111111111111\r\n", "-1\r\n"] {
        let input = format!("HTTP/1.1 400 x\r\nTransfer-Encoding: chunked\r\n\r\n{bad}");
        assert_eq!(refused(&input, false), Err(ClientError::Body), "{bad}");
    }
}

#[test]
fn bodies_until_the_connection_ends() {
    let open = "HTTP/1.1 500 x\r\n\r\nsorry";
    assert_eq!(refused(open, false), Ok(None));
    assert_eq!(refused(open, true), Ok(Some((500, "sorry".to_owned(), open.len()))));
    let cut = "HTTP/1.1 500 x\r\nContent-Length: 9\r\n\r\nsorry";
    assert_eq!(refused(cut, false), Ok(None));
    assert_eq!(refused(cut, true), Ok(Some((500, "sorry".to_owned(), cut.len()))));
    let chunks = "HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nsorry";
    assert_eq!(refused(chunks, false), Ok(None));
    assert_eq!(refused(chunks, true), Ok(Some((500, "sorry".to_owned(), chunks.len()))));
    for head in ["", "HTTP/1.1 5", "HTTP/1.1 500 x\r\n", "HTTP/1.1 100 x\r\n\r\n"] {
        assert_eq!(refused(head, true), Err(ClientError::Closed), "{head:?}");
    }
}

#[test]
fn bodies_are_bounded() {
    let long = "x".repeat(REFUSAL_BODY_BYTES_MAX + 10);
    let cut = long[..REFUSAL_BODY_BYTES_MAX].to_owned();
    for framing in [format!("Content-Length: {}", u64::MAX), "X: y".to_owned()] {
        let (status, body, _) =
            refused(&format!("HTTP/1.1 500 x\r\n{framing}\r\n\r\n{long}"), false).unwrap().unwrap();
        assert_eq!((status, body), (500, cut.clone()));
    }
    let chunked = format!("HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n{long}");
    assert_eq!(refused(&chunked, false).unwrap().unwrap().1, cut);
    let two = format!("HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\nFFFFF\r\n{long}");
    assert_eq!(refused(&two, false).unwrap().unwrap().1.len(), REFUSAL_BODY_BYTES_MAX);
}

#[test]
fn heads_are_bounded_and_http() {
    let plain = handshake(&[], &[]);
    let error = |input: &str| plain.read_response(input.as_bytes(), &LIMITS);
    assert_eq!(error("SSH-2.0-OpenSSH\r\n"), Err(ClientError::NotHttp));
    assert_eq!(error("HTTP/2 101 x\r\n"), Err(ClientError::NotHttp));
    assert_eq!(error("HTTP/1.1 1x1 x\r\n"), Err(ClientError::NotHttp));
    assert_eq!(error("HTTP/1.1 101 x\r\nA\0: b\r\n"), Err(ClientError::NotHttp));
    let many = format!("HTTP/1.1 101 x\r\n{}\r\n", "A: b\r\n".repeat(LIMITS.headers_max + 1));
    assert_eq!(error(&many), Err(ClientError::TooManyHeaders));
    let long = |len: usize| format!("HTTP/1.1 101 x\r\nA: {}", "b".repeat(len));
    assert_eq!(error(&long(LIMITS.head_bytes_max - long(1).len())), Ok(None));
    assert_eq!(error(&long(LIMITS.head_bytes_max)), Err(ClientError::HeadTooLong));
    let padding = LIMITS.head_bytes_max - long(0).len();
    assert_eq!(error(&long(padding)), Err(ClientError::HeadTooLong));
    // A whole head of just that length is not too long.
    let whole = format!("{}\r\n\r\n", long(padding - 4));
    assert_eq!(error(&whole), Err(ClientError::Upgrade));
    let endless = "HTTP/1.1 100 x\r\n\r\n".repeat(1000);
    assert_eq!(error(&endless), Err(ClientError::HeadTooLong));
}

proptest! {
    #[test]
    fn survives_anything(input in proptest::collection::vec(any::<u8>(), 0..200), status in 0_u16..1000) {
        let plain = handshake(&[], &[]);
        let framed = format!("HTTP/1.1 {status:03} x\r\nTransfer-Encoding: chunked\r\n\r\n");
        for input in [&*input, &[framed.as_bytes(), &input].concat()] {
            // Any outcome will do but a panic.
            let _ = plain.read_response(input, &LIMITS);
            let _ = plain.read_response_at_eof(input, &LIMITS);
        }
    }
}
