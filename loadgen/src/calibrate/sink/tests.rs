use std::net::TcpStream;
use std::time::Duration;

use tungstenite::{Error, Message, WebSocket};

use super::*;

type Client = WebSocket<TcpStream>;

fn connect(sink: &NullSink, path: &str) -> Client {
    let stream = TcpStream::connect(sink.addr()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let url = format!("ws://{}{path}", sink.addr());
    tungstenite::client(url, stream).expect("a handshake").0
}

fn start() -> NullSink {
    NullSink::start(None).expect("io_uring")
}

/// Messages of all forms of the length, as text and as bytes.
fn messages() -> Vec<Message> {
    let lengths = [0, 1, 125, 126, 65_535, 65_536, 300_000];
    let text = |len: usize, c: &str| Message::text(c.repeat(len));
    lengths.into_iter().flat_map(|len| [text(len, "t"), Message::binary(vec![0xff; len])]).collect()
}

#[test]
fn every_subscriber_receives_every_message_of_every_publisher_in_order() {
    let sink = start();
    let mut subscribers: Vec<_> = (0..5).map(|_| connect(&sink, "/ws/x")).collect();
    for publisher in ["/pub/x", "/pub/y"] {
        let mut publisher = connect(&sink, publisher);
        for message in messages() {
            publisher.send(message).expect("sent");
        }
        for subscriber in &mut subscribers {
            for message in messages() {
                assert!(subscriber.read().expect("a message") == message);
            }
        }
    }
    assert!(sink.cpu_ns().expect("it runs") > 0);
}

#[test]
fn pings_are_answered_and_so_is_a_close() {
    let sink = start();
    let (mut subscriber, mut publisher) = (connect(&sink, "/ws/x"), connect(&sink, "/pub/x"));
    let mut stays = connect(&sink, "/ws/x");
    for client in [&mut subscriber, &mut publisher] {
        client.send(Message::Ping("are you there".into())).expect("sent");
        assert_eq!(client.read().expect("an answer"), Message::Pong("are you there".into()));
    }
    subscriber.send(Message::text("subscribers are not relayed")).expect("sent");
    subscriber.close(None).expect("sent");
    assert!(matches!(subscriber.read().expect("an answer"), Message::Close(_)));
    assert!(matches!(subscriber.read().expect_err("the server closes first"), Error::ConnectionClosed));
    publisher.send(Message::text("relayed")).expect("sent");
    assert_eq!(stays.read().expect("a message"), Message::text("relayed"));
}

#[test]
fn what_is_no_handshake_is_hung_up_on() {
    use std::io::{Read, Write};
    let sink = start();
    for request in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "nonsense\r\n\r\n"] {
        let mut stream = TcpStream::connect(sink.addr()).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an end");
        assert!(answer.is_empty());
    }
}

#[test]
fn a_handshake_in_pieces_with_frames_behind_it_is_understood() {
    use std::io::Write;
    let sink = start();
    let mut subscriber = connect(&sink, "/ws/x");
    let mut request = b"GET /pub/x HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    // A masked text frame: "hi" under a key of zeros.
    request.extend_from_slice(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
    let mut stream = TcpStream::connect(sink.addr()).expect("it listens");
    stream.set_nodelay(true).expect("an option");
    for piece in request.chunks(50) {
        stream.write_all(piece).expect("sent");
    }
    assert_eq!(subscriber.read().expect("a message"), Message::text("hi"));
}

#[test]
fn a_subscriber_that_does_not_read_is_dropped_and_the_others_go_on() {
    const COUNT: usize = 1500;
    let sink = start();
    let (mut reads, mut sleeps) = (connect(&sink, "/ws/x"), connect(&sink, "/ws/x"));
    let mut publisher = connect(&sink, "/pub/x");
    let message = Message::binary(vec![7; 64 * 1024]);
    // In step with the one that reads: it does not fall behind.
    for _ in 0..COUNT {
        publisher.send(message.clone()).expect("sent");
        assert!(reads.read().expect("a message") == message);
    }
    let read = (0..COUNT).take_while(|_| sleeps.read().is_ok()).count();
    assert!(read < COUNT, "what it has not read is not kept for it");
}

#[test]
fn connections_end_with_the_sink_and_a_core_that_is_not_there_is_told() {
    let sink = start();
    let mut subscriber = connect(&sink, "/ws/x");
    drop(sink);
    subscriber.read().expect_err("the connection has ended");
    let error = NullSink::start(Some(1 << 20)).expect_err("no such core");
    assert!(error.to_string().contains("core 1048576 for the null sink"), "{error}");
}
