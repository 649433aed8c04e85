//! The answer's head, as a client reads it, and the request that it writes.
//!
//! An input is what a server answers, up to the first NUL byte. What stands behind that, cut at further NUL bytes, is what
//! a program asks the client for: URL, subprotocol, a header's name and its value.

#![no_main]

use fanfare_fuzz::{Choices, line_ends};
use fanfare_wire::deflate::OFFER;
use fanfare_wire::handshake::HeadLimits;
use fanfare_wire::handshake::client::{ClientError, ClientHandshake, REFUSAL_BODY_BYTES_MAX, Response};
use fanfare_wire::handshake::server::read_request;
use fanfare_wire::url::WsUrl;
use libfuzzer_sys::fuzz_target;

/// The nonce of RFC 6455 section 1.3, so that the accept value of its example proves something.
const NONCE: [u8; 16] = *b"the sample nonce";
const PROTOCOLS: [&str; 2] = ["chat", "superchat"];

fuzz_target!(|input: &[u8]| {
    let mut parts = input.split(|byte| *byte == 0);
    check_answer(parts.next().unwrap_or_default());
    let mut text = || std::str::from_utf8(parts.next().unwrap_or_default()).ok();
    if let (Some(url), Some(protocol), Some(name), Some(value)) = (text(), text(), text(), text()) {
        check_asked(url, protocol, name, value);
    }
});

fn check_answer(input: &[u8]) {
    let url = WsUrl::parse("ws://server.example.com/chat").expect("a URL");
    let handshake = ClientHandshake::new(&url, NONCE, &PROTOCOLS, &[("Sec-WebSocket-Extensions", OFFER)])
        .expect("a request");
    let mut choices = Choices::of(input);
    let small = HeadLimits { head_bytes_max: 200, headers_max: 6 };
    let limits = [HeadLimits::default(), HeadLimits::default(), small][choices.below(3)];
    let whole = handshake.read_response(input, &limits);
    for cut in choices.cuts(input.len(), 6) {
        let prefix = handshake.read_response(&input[..cut], &limits);
        match (&prefix, &whole) {
            (Ok(None), Ok(Some((_, len)))) => assert!(cut < *len, "a whole answer is seen as such"),
            (Ok(None), _) | (Err(_), Err(_)) => {}
            (Ok(Some(_)), _) => assert_eq!(prefix, whole),
            (Err(_), Ok(_)) => panic!("{prefix:?} became {whole:?}"),
        }
    }
    let at_eof = handshake.read_response_at_eof(input, &limits);
    match &whole {
        Ok(Some(outcome)) => assert_eq!(at_eof.as_ref(), Ok(outcome)),
        Ok(None) => {}
        Err(error) => assert_eq!(at_eof.as_ref(), Err(error)),
    }
    match at_eof {
        Ok((response, len)) => {
            assert!(len <= input.len());
            check_response(&response, &limits);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn check_response(response: &Response, limits: &HeadLimits) {
    let value = |headers: &[(String, String)], name: &str| {
        let found = headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned())
    };
    match response {
        Response::Accepted { protocol, extensions, deflate, headers } => {
            assert!(headers.len() <= limits.headers_max);
            assert_eq!(
                value(headers, "Sec-WebSocket-Accept").as_deref(),
                Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
            );
            assert_eq!(value(headers, "Sec-WebSocket-Protocol"), *protocol);
            assert!(protocol.as_deref().is_none_or(|protocol| PROTOCOLS.contains(&protocol)));
            // What was offered, once, or nothing.
            assert_eq!(extensions.len(), usize::from(deflate.is_some()));
            assert!(deflate.is_none_or(|granted| (8..=15).contains(&granted.client_window_bits)));
        }
        Response::Refused { status, headers, body } => {
            // Beyond 599 and below 100 there is nothing, and a client takes it for a failure (RFC 9110 section 15).
            assert!(!(100..=199).contains(status) && headers.len() <= limits.headers_max);
            assert!(body.len() <= REFUSAL_BODY_BYTES_MAX);
        }
    }
}

/// A request that can be made is one that a server reads, with no line in it but those that were meant.
fn check_asked(url: &str, protocol: &str, name: &str, value: &str) {
    let Ok(url) = WsUrl::parse(url) else { return };
    assert_eq!(WsUrl::parse(&url.to_string()).as_ref(), Ok(&url));
    let protocols: &[&str] = if protocol.is_empty() { &[] } else { &[protocol] };
    let Ok(handshake) = ClientHandshake::new(&url, NONCE, protocols, &[(name, value)]) else { return };
    assert_eq!(line_ends(handshake.request()), 8 + protocols.len());
    let limits = HeadLimits { head_bytes_max: 1 << 20, headers_max: 64 };
    if let Ok(Some((request, len))) = read_request(handshake.request(), &limits) {
        assert_eq!(len, handshake.request().len());
        assert_eq!(request.host, url.host_header());
        let upgrade = request.upgrade.expect("it asks for an upgrade");
        assert_eq!(upgrade.protocols, protocols);
        let mut answer = Vec::new();
        upgrade.write_accept(&mut answer, protocols.first().copied(), &[]);
        let read = handshake.read_response(&answer, &HeadLimits { head_bytes_max: 1 << 20, headers_max: 64 });
        match read {
            Ok(Some((Response::Accepted { protocol, .. }, len))) => {
                assert_eq!((protocol.as_deref(), len), (protocols.first().copied(), answer.len()));
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert_ne!(error, ClientError::Accept),
        }
    }
}
