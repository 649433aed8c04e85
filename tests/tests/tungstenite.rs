//! The engine against the crate `tungstenite`, a client that we did not write.

use std::net::TcpStream;

use fanfare::{Config, Delivery};
use fanfare_tests::server::{SOON, Server, limits, topic};
use tungstenite::client::{ClientRequestBuilder, IntoClientRequest};
use tungstenite::error::ProtocolError;
use tungstenite::handshake::client::Response;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::{Error, HandshakeError, Message, WebSocket};

type Client = WebSocket<TcpStream>;

fn try_connect(server: &Server, request: impl IntoClientRequest) -> Result<(Client, Response), Error> {
    let stream = TcpStream::connect(server.addr()).expect("the server accepts");
    stream.set_nodelay(true).expect("nodelay");
    stream.set_read_timeout(Some(SOON)).expect("a read timeout");
    tungstenite::client(request, stream).map_err(|error| match error {
        HandshakeError::Failure(error) => error,
        HandshakeError::Interrupted(_) => panic!("the handshake takes too long"),
    })
}

fn connect(server: &Server, path: &str) -> Client {
    try_connect(server, server.url(path)).expect("it is upgraded").0
}

/// Closes, and reads to the end. Returns what the server's close frame said.
fn close(mut client: Client, frame: Option<CloseFrame>) -> Option<CloseFrame> {
    client.close(frame).expect("the connection stands");
    closed(&mut client)
}

/// Reads the server's close frame and the end of the connection.
fn closed(client: &mut Client) -> Option<CloseFrame> {
    let frame = match client.read() {
        Ok(Message::Close(frame)) => frame,
        other => panic!("expected a close frame, not {other:?}"),
    };
    match client.read() {
        Err(Error::ConnectionClosed) => frame,
        other => panic!("expected the end, not {other:?}"),
    }
}

fn leave(client: Client) {
    let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    assert_eq!(close(client, Some(normal.clone())), Some(normal));
}

/// Messages of all sizes of which a frame knows, and some that no receive buffer holds.
fn messages() -> Vec<Message> {
    let text = |len: usize| Message::text("grüße ".repeat(len / 8 + 1).chars().take(len).collect::<String>());
    let binary = |len: usize| Message::binary((0..len).map(|at| (at * 7) as u8).collect::<Vec<_>>());
    let sizes = [0, 1, 2, 124, 125, 126, 127, 4096, 65_534, 65_535, 65_536, 65_537, 300_000];
    let all = sizes.into_iter().flat_map(|len| [text(len), binary(len)]);
    // The largest that the default limits allow.
    all.chain([binary(1 << 20), Message::text("x".repeat(1 << 20))]).collect()
}

#[test]
fn messages_of_every_size_come_back_and_reach_all_others() {
    let server = Server::default();
    let mut all: Vec<Client> = (0..8).map(|_| connect(&server, "/ws/sizes")).collect();
    for message in messages() {
        all[0].send(message.clone()).expect("sent");
        for client in &mut all {
            let got = client.read().expect("a message");
            assert!(got == message, "{} bytes came back changed", message.len());
        }
    }
    all.into_iter().for_each(leave);
    server.assert_empty();
}

#[test]
fn a_topic_name_is_percent_encoded_in_a_path_and_topics_do_not_mix() {
    let server = Server::default();
    let mut one = connect(&server, "/ws/caf%C3%A9%2Fone%20two");
    let mut other = connect(&server, "/ws/caf%C3%A9");
    server.publish("café/one two", "for one");
    server.publish("café", "for the other");
    assert_eq!(one.read().expect("a message"), Message::text("for one"));
    assert_eq!(other.read().expect("a message"), Message::text("for the other"));
    leave(one);
    leave(other);
    server.assert_empty();
}

#[test]
fn a_publisher_on_pub_hears_nothing_but_control_frames() {
    let server = Server::default();
    let mut subscription = server.engine.subscribe(&topic("quiet")).expect("subscribed");
    let mut subscriber = connect(&server, "/ws/quiet");
    let mut publisher = connect(&server, "/pub/quiet");
    for message in messages() {
        publisher.send(message.clone()).expect("sent");
        assert!(subscriber.read().expect("a message") == message);
        let Ok(Some(Delivery::Message { message: got, .. })) = subscription.recv_timeout(SOON) else {
            panic!("the subscription goes on");
        };
        assert!(got.payload()[..] == message.into_data()[..]);
    }
    publisher.send(Message::Ping("are you there?".into())).expect("sent");
    assert_eq!(publisher.read().expect("a pong"), Message::Pong("are you there?".into()));
    leave(publisher);
    leave(subscriber);
    server.assert_empty();
}

#[test]
fn fragments_become_one_message_with_pings_between_them() {
    let server = Server::default();
    let mut subscriber = connect(&server, "/ws/fragments");
    let mut client = connect(&server, "/pub/fragments");
    let data =
        |kind, fin, bytes: &[u8]| Message::Frame(Frame::message(bytes.to_vec(), OpCode::Data(kind), fin));
    // The euro sign is cut, and some fragments are empty.
    let euros = "1 € or 2 €".as_bytes();
    let parts = [&euros[..3], &euros[3..4], b"", &euros[4..13], &euros[13..]];
    for (kind, fin) in [(Data::Text, Message::text("1 € or 2 €")), (Data::Binary, Message::binary(euros))]
    {
        for (index, part) in parts.iter().enumerate() {
            let kind = if index == 0 { kind } else { Data::Continue };
            client.send(data(kind, index == parts.len() - 1, part)).expect("sent");
            let ping = format!("between {index}");
            client.send(Message::Ping(ping.clone().into())).expect("sent");
            assert_eq!(client.read().expect("a pong"), Message::Pong(ping.into()));
        }
        assert_eq!(subscriber.read().expect("a message"), fin, "it arrives whole, as one message");
    }
    // A thousand fragments, all at once.
    let big: Vec<u8> = (0..500_000).map(|at: usize| (at % 251) as u8).collect();
    let chunks: Vec<&[u8]> = big.chunks(500).collect();
    for (index, part) in chunks.iter().enumerate() {
        let kind = if index == 0 { Data::Binary } else { Data::Continue };
        client.write(data(kind, index == chunks.len() - 1, part)).expect("written");
    }
    client.flush().expect("flushed");
    assert!(subscriber.read().expect("a message") == Message::binary(big));
    leave(client);
    leave(subscriber);
    server.assert_empty();
}

#[test]
fn pings_are_answered_and_pongs_taken() {
    let server = Server::default();
    let mut client = connect(&server, "/ws/pings");
    for len in [0, 1, 124, 125] {
        client.send(Message::Ping(vec![b'p'; len].into())).expect("sent");
        client.send(Message::Pong("nobody asked".into())).expect("sent");
        assert_eq!(client.read().expect("a pong"), Message::Pong(vec![b'p'; len].into()));
    }
    leave(client);
    server.assert_empty();
}

#[test]
fn the_servers_pings_are_such_that_a_client_answers_them() {
    let server = Server::new(Config { ping_interval_ms: 100, idle_timeout_ms: 400, ..limits() });
    let mut client = connect(&server, "/ws/idle");
    // Reading answers pings. It stays connected for much longer than the idle timeout.
    for _ in 0..8 {
        assert!(matches!(client.read(), Ok(Message::Ping(_))), "a ping after silence");
    }
    assert_eq!(server.sum(|stats| stats.idle_disconnects.get()), 0);
    server.publish("idle", "and here it is");
    loop {
        match client.read().expect("it stands") {
            Message::Ping(_) => {}
            other => break assert_eq!(other, Message::text("and here it is")),
        }
    }
}

#[test]
fn the_servers_close_frame_repeats_the_code() {
    let server = Server::default();
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999] {
        for reason in ["", "because of this and that"] {
            let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
            let answer = close(connect(&server, "/ws/closes"), Some(frame)).expect("a code");
            assert_eq!(u16::from(answer.code), code);
        }
    }
    assert_eq!(close(connect(&server, "/stream"), None), None, "a close without a code gets one without");
    assert_eq!(close(connect(&server, "/pub/closes"), None), None);
    server.assert_empty();
}

#[test]
fn a_message_beyond_the_limit_is_closed_with_1009() {
    let server = Server::new(Config { message_bytes_max: 10_000, frame_bytes_max: 6_000, ..limits() });
    let parts = |sizes: &[usize]| {
        let last = sizes.len() - 1;
        let frame = move |(index, size): (usize, &usize)| {
            let kind = if index == 0 { Data::Binary } else { Data::Continue };
            Message::Frame(Frame::message(vec![1; *size], OpCode::Data(kind), index == last))
        };
        sizes.iter().enumerate().map(frame).collect::<Vec<_>>()
    };
    let mut fits = connect(&server, "/ws/limits");
    for frame in parts(&[6_000, 4_000]) {
        fits.send(frame).expect("sent");
    }
    assert_eq!(fits.read().expect("a message").len(), 10_000);
    for sizes in [&[6_001][..], &[6_000, 4_001], &[5_000, 5_000, 1]] {
        let mut client = connect(&server, "/pub/limits");
        for frame in parts(sizes) {
            client.write(frame).expect("written");
        }
        client.flush().expect("flushed");
        assert_eq!(closed(&mut client).expect("a code").code, CloseCode::Size, "{sizes:?}");
    }
    leave(fits);
    server.assert_empty();
}

#[test]
fn a_known_subprotocol_is_agreed_on_and_an_unknown_one_is_not() {
    let server = Server::default();
    let request = |path: &str, protocols: &[&str]| {
        let uri = server.url(path).parse().expect("a URL");
        protocols
            .iter()
            .fold(ClientRequestBuilder::new(uri), |request, name| request.with_sub_protocol(*name))
    };
    let agreed = |response: &Response| {
        let header = response.headers().get("Sec-WebSocket-Protocol")?;
        Some(header.to_str().expect("a token").to_owned())
    };
    for (path, protocols, expected) in [
        ("/ws/a", &["fanfare.v1.raw"][..], "fanfare.v1.raw"),
        ("/pub/a", &["mqtt", "fanfare.v1.raw"], "fanfare.v1.raw"),
        ("/stream", &["fanfare.v1.raw", "fanfare.v1.json"], "fanfare.v1.json"),
    ] {
        let (client, response) = try_connect(&server, request(path, protocols)).expect("it is upgraded");
        assert_eq!(agreed(&response).as_deref(), Some(expected), "{path} {protocols:?}");
        leave(client);
    }
    // RFC 6455 section 4.1 lets the server agree to none; this client then chooses to fail.
    let error = try_connect(&server, request("/ws/a", &["mqtt"])).expect_err("the client insists");
    assert!(
        matches!(error, Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_))),
        "an unknown protocol is not agreed on: {error:?}"
    );
    let (client, response) = try_connect(&server, server.url("/ws/a")).expect("it is upgraded");
    assert_eq!(agreed(&response), None, "nothing was offered");
    leave(client);
    server.assert_empty();
}

#[test]
fn a_refused_handshake_says_why() {
    let server = Server::default();
    let long = format!("/ws/{}", "x".repeat(129));
    for (path, status, words) in [
        ("/", 404, "nothing is at this path"),
        ("/ws", 404, "nothing is at this path"),
        ("/ws/a/b", 404, "nothing is at this path"),
        ("/streams", 404, "nothing is at this path"),
        ("/ws/", 400, "topic"),
        (&long, 400, "topic"),
        ("/ws/%00", 400, "topic"),
        ("/ws/%FF", 400, "UTF-8"),
        ("/ws/a?data=xml", 400, "data"),
        ("/stream?topics=a,%20b", 400, "topic"),
    ] {
        let error = try_connect(&server, server.url(path)).expect_err("it is refused");
        let Error::Http(response) = error else { panic!("{path}: {error:?}") };
        let body = String::from_utf8(response.body().clone().unwrap_or_default()).expect("text");
        assert_eq!(response.status(), status, "{path}: {body}");
        assert!(body.contains(words), "{path}: {body}");
        assert_eq!(body.lines().count(), 1, "{body}");
    }
    assert_eq!(server.sum(|stats| stats.rejected.get()), 10);
    server.assert_empty();
}
