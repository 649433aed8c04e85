//! What is agreed on of permessage-deflate: offers that browsers and libraries make, and answers of servers.

use fanfare_wire::deflate::{AnswerError, Granted, OFFER, Window, agree, read_answer};
use fanfare_wire::handshake::client::{ClientError, ClientHandshake, Response};
use fanfare_wire::handshake::server::{HeadLimits, read_request};
use fanfare_wire::url::WsUrl;
use proptest::prelude::*;

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 4096, headers_max: 32 };

const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// The answer to a request with this Sec-WebSocket-Extensions header, and the window.
fn answer(offer: &str) -> Option<(&'static str, Window)> {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n"
    );
    let (request, _) =
        read_request(request.as_bytes(), &LIMITS).expect("a valid head").expect("a whole head");
    agree(&request.upgrade.unwrap().extensions).map(|agreed| (agreed.header_value(), agreed.window))
}

#[test]
fn offers() {
    const SMALL: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9";
    const FULL: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15";
    let plain = Some((PLAIN, Window::Full));
    let full = Some((FULL, Window::Full));
    let small = Some((SMALL, Window::Small));
    for (offer, expected) in [
        // Chrome and python's websockets; Firefox and Safari; Safari long ago.
        ("permessage-deflate; client_max_window_bits", plain),
        ("permessage-deflate", plain),
        ("x-webkit-deflate-frame", None),
        ("x-webkit-deflate-frame, permessage-deflate", plain),
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", plain),
        (OFFER, plain),
        // The examples of section 5.2 and 7.1.3.
        ("permessage-deflate; client_max_window_bits; server_max_window_bits=10", small),
        (
            "permessage-deflate; client_max_window_bits; server_max_window_bits=10, permessage-deflate; client_max_window_bits",
            small,
        ),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", plain),
        // Limits for the server's window.
        ("permessage-deflate; server_max_window_bits=15", full),
        ("permessage-deflate; server_max_window_bits=14", small),
        ("permessage-deflate; server_max_window_bits=9", small),
        ("permessage-deflate; server_max_window_bits=\"10\"", small),
        ("permessage-deflate; server_max_window_bits=\"15\"", full),
        ("permessage-deflate; server_max_window_bits=8", None),
        ("permessage-deflate; server_max_window_bits=7", None),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; server_max_window_bits=010", None),
        ("permessage-deflate; server_max_window_bits=09", None),
        ("permessage-deflate; server_max_window_bits=+9", None),
        ("permessage-deflate; server_max_window_bits=0", None),
        ("permessage-deflate; server_max_window_bits=9.0", None),
        ("permessage-deflate; server_max_window_bits=1e1", None),
        ("permessage-deflate; server_max_window_bits=265", None),
        ("permessage-deflate; server_max_window_bits", None),
        // Limits for the client's window, and what it says of its own.
        ("permessage-deflate; client_max_window_bits=8", plain),
        ("permessage-deflate; client_max_window_bits=\"15\"", plain),
        ("permessage-deflate; client_max_window_bits=7", None),
        ("permessage-deflate; client_max_window_bits=16", None),
        ("permessage-deflate; client_max_window_bits=08", None),
        // Values where there are none, parameters twice, and unknown ones.
        ("permessage-deflate; server_no_context_takeover=1", None),
        ("permessage-deflate; client_no_context_takeover=true", None),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits", None),
        ("permessage-deflate; client_max_window_bits=9; client_max_window_bits=9", None),
        ("permessage-deflate; server_max_window_bits=9; server_max_window_bits=10", None),
        ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
        ("permessage-deflate; client_no_context_takeover; client_no_context_takeover", None),
        ("permessage-deflate; mux", None),
        ("permessage-deflate; Server_No_Context_Takeover", None),
        // An offer that is declined leaves the next one.
        ("permessage-deflate; mux, permessage-deflate; server_max_window_bits=12", small),
        ("permessage-foo; x=1, permessage-deflate", plain),
        ("Permessage-Deflate", None),
        ("permessage-bzip2", None),
        ("", None),
    ] {
        assert_eq!(answer(offer), expected, "{offer}");
    }
    assert_eq!((Window::Full.bits(), Window::Small.bits()), (15, 9));
}

/// What a client that offered [`OFFER`] makes of a 101 reply with these lines.
fn granted(offered: &str, lines: &str) -> Result<Option<Granted>, ClientError> {
    let url = WsUrl::parse("ws://h/").unwrap();
    let nonce = *b"the sample nonce";
    let handshake = ClientHandshake::new(&url, nonce, &[], &[("Sec-WebSocket-Extensions", offered)]).unwrap();
    let reply = format!(
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n{lines}\r\n"
    );
    let (response, _) = handshake.read_response(reply.as_bytes(), &LIMITS)?.expect("a whole reply");
    let Response::Accepted { deflate, extensions, .. } = response else { panic!("{response:?}") };
    if offered == OFFER {
        assert_eq!(read_answer(&extensions), Ok(deflate));
    }
    Ok(deflate)
}

#[test]
fn answers() {
    let bits = |client_window_bits| Ok(Some(Granted { client_window_bits }));
    let parameter = Err(ClientError::Deflate(AnswerError::Parameter));
    for (answer, expected) in [
        ("permessage-deflate; server_no_context_takeover", bits(15)),
        (PLAIN, bits(15)),
        ("permessage-deflate; client_no_context_takeover; server_no_context_takeover", bits(15)),
        ("permessage-deflate; server_no_context_takeover; client_max_window_bits=12", bits(12)),
        ("permessage-deflate; server_no_context_takeover; client_max_window_bits=\"9\"", bits(9)),
        ("permessage-deflate; server_no_context_takeover; client_max_window_bits=8", bits(8)),
        // A server may limit itself without having been asked (section 7.1.2.1).
        ("permessage-deflate; server_no_context_takeover; server_max_window_bits=8", bits(15)),
        ("permessage-deflate; server_no_context_takeover; server_max_window_bits=15", bits(15)),
        ("permessage-deflate", Err(ClientError::Deflate(AnswerError::ContextTakeover))),
        (
            "permessage-deflate; client_no_context_takeover",
            Err(ClientError::Deflate(AnswerError::ContextTakeover)),
        ),
        ("permessage-deflate; server_no_context_takeover; client_max_window_bits", parameter),
        ("permessage-deflate; server_no_context_takeover; client_max_window_bits=7", parameter),
        ("permessage-deflate; server_no_context_takeover; client_max_window_bits=016", parameter),
        ("permessage-deflate; server_no_context_takeover; server_max_window_bits", parameter),
        ("permessage-deflate; server_no_context_takeover; server_max_window_bits=16", parameter),
        ("permessage-deflate; server_no_context_takeover=1", parameter),
        ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", parameter),
        ("permessage-deflate; server_no_context_takeover; mux", parameter),
        (
            "permessage-deflate; server_no_context_takeover, permessage-deflate; server_no_context_takeover",
            Err(ClientError::Deflate(AnswerError::Twice)),
        ),
        ("x-webkit-deflate-frame", Err(ClientError::Extension)),
        ("permessage-deflate; server_no_context_takeover, mux", Err(ClientError::Extension)),
        ("", Ok(None)),
    ] {
        let line = format!("Sec-WebSocket-Extensions: {answer}\r\n");
        assert_eq!(granted(OFFER, &line), expected, "{answer}");
        // Whoever offers in words of its own reads the answer itself.
        if expected.is_ok() {
            assert_eq!(granted("permessage-deflate", &line), Ok(None));
        }
    }
    assert_eq!(granted(OFFER, ""), Ok(None));
    let twice = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n".repeat(2);
    assert_eq!(granted(OFFER, &twice), Err(ClientError::Deflate(AnswerError::Twice)));
    let other =
        read_answer(&[fanfare_wire::handshake::Extension { name: "x".to_owned(), params: Vec::new() }]);
    assert_eq!(other, Err(AnswerError::NotOffered));
}

#[test]
fn our_client_takes_what_our_server_answers() {
    for offer in [
        OFFER,
        "permessage-deflate; server_max_window_bits=9",
        "permessage-deflate; server_max_window_bits=15",
    ] {
        let (value, _) = answer(offer).unwrap();
        let line = format!("Sec-WebSocket-Extensions: {value}\r\n");
        assert_eq!(granted(OFFER, &line), Ok(Some(Granted { client_window_bits: 15 })));
    }
}

proptest! {
    /// Whatever is offered, the answer is one that a client can take, and keeps within the client's limit.
    #[test]
    fn answers_keep_what_was_asked(
        names in proptest::collection::vec(prop::sample::select(vec![
            "server_no_context_takeover", "client_no_context_takeover", "server_max_window_bits",
            "client_max_window_bits", "x",
        ]), 0..5),
        values in proptest::collection::vec(proptest::option::of(0..20_u8), 5),
    ) {
        let mut offer = "permessage-deflate".to_owned();
        for (name, value) in names.iter().zip(&values) {
            offer += &format!("; {name}");
            if let Some(value) = value {
                offer += &format!("={value}");
            }
        }
        if let Some((value, window)) = answer(&offer) {
            let limit = names.iter().position(|name| *name == "server_max_window_bits");
            prop_assert!(limit.is_none_or(|at| window.bits() <= values[at].unwrap()));
            prop_assert_eq!(limit.is_some(), value.contains("server_max_window_bits"));
            let line = format!("Sec-WebSocket-Extensions: {value}\r\n");
            prop_assert_eq!(granted(OFFER, &line), Ok(Some(Granted { client_window_bits: 15 })));
        }
    }
}
