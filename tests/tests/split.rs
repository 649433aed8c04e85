//! Bytes arrive in whatever pieces the network makes of them. None of the cuts may change what they mean.

use fanfare_tests::raw::{
    BINARY, CLOSE, CONTINUATION, PING, PONG, Raw, TEXT, client_frame, close_payload, head,
};
use fanfare_tests::server::{SHARDS, Server, eventually};

const FIN: u8 = 0x80;

/// The server, and how much it has received.
struct Pieces {
    server: Server,
    sent: u64,
}

impl Pieces {
    fn new() -> Self {
        Self { server: Server::default(), sent: 0 }
    }

    /// Sends a piece on each connection, and waits until the server has taken them all, each on its own.
    fn send<'a>(&mut self, pieces: impl Iterator<Item = (&'a Raw, &'a [u8])>) {
        for (raw, piece) in pieces {
            raw.write(piece);
            self.sent += piece.len() as u64;
        }
        let received = || self.server.sum(|stats| stats.received_bytes.get());
        eventually("all that was sent is received", || received() == self.sent);
    }

    /// Sends `bytes(at)` in two pieces on a connection of its own, for each place `at` where it can be cut.
    fn send_cut_everywhere(&mut self, len: usize, bytes: impl Fn(usize) -> Vec<u8>) -> Vec<(usize, Raw)> {
        let cuts: Vec<_> = (1..len).map(|at| (at, bytes(at), Raw::tcp(self.server.addr()))).collect();
        self.send(cuts.iter().map(|(at, bytes, raw)| (raw, &bytes[..*at])));
        self.send(cuts.iter().map(|(at, bytes, raw)| (raw, &bytes[*at..])));
        cuts.into_iter().map(|(at, _, raw)| (at, raw)).collect()
    }
}

const FIRST: &str = "Grüße an \u{1F600} und \u{10FFFF}";

/// A handshake, a message in three fragments with a ping between them, and one with a 16-bit length.
fn conversation(at: usize) -> Vec<u8> {
    // A cut here falls into characters of several bytes.
    let text = FIRST.as_bytes();
    [
        head(&format!("/ws/split-{at:03}")),
        client_frame(TEXT, &text[..3]),
        client_frame(FIN | PING, b"still there?"),
        client_frame(CONTINUATION, &text[3..13]),
        client_frame(FIN | CONTINUATION, &text[13..]),
        client_frame(FIN | BINARY, &[0xFF; 130]),
    ]
    .concat()
}

/// Reads what the server has to answer to it.
fn check_conversation(mut raw: Raw) {
    raw.expect_upgraded();
    let frames: Vec<_> = (0..3).map(|_| raw.frame()).collect();
    // The pong and the messages take different ways, and nothing orders one behind the other.
    let (pongs, messages): (Vec<_>, Vec<_>) = frames.into_iter().partition(|frame| frame.opcode == PONG);
    assert_eq!(pongs.len(), 1);
    assert_eq!(pongs[0].payload, b"still there?");
    assert_eq!(messages[0].text(), FIRST);
    assert_eq!((messages[1].opcode, &messages[1].payload[..]), (BINARY, &[0xFF; 130][..]));
    raw.close();
}

#[test]
fn a_cut_anywhere_changes_nothing() {
    let mut pieces = Pieces::new();
    let len = conversation(0).len();
    for (at, raw) in pieces.send_cut_everywhere(len, conversation) {
        eprintln!("cut at {at} of {len}");
        check_conversation(raw);
    }
    pieces.server.assert_empty();
}

#[test]
fn a_byte_at_a_time_is_as_good_as_all_at_once() {
    let mut pieces = Pieces::new();
    let raws: Vec<Raw> = (0..SHARDS).map(|shard| pieces.server.tcp_on(shard)).collect();
    let bytes: Vec<_> = (0..SHARDS).map(conversation).collect();
    for at in 0..bytes[0].len() {
        pieces.send(raws.iter().zip(&bytes).map(|(raw, bytes)| (raw, &bytes[at..=at])));
    }
    raws.into_iter().for_each(check_conversation);
    pieces.server.assert_empty();
}

#[test]
fn everything_at_once_is_understood_too() {
    let mut pieces = Pieces::new();
    let raws: Vec<Raw> = (0..SHARDS).map(|shard| pieces.server.tcp_on(shard)).collect();
    let bytes: Vec<_> = (0..SHARDS).map(conversation).collect();
    pieces.send(raws.iter().zip(bytes.iter().map(Vec::as_slice)));
    raws.into_iter().for_each(check_conversation);
    pieces.server.assert_empty();
}

#[test]
fn a_verdict_does_not_depend_on_the_cut() {
    let mut pieces = Pieces::new();
    let cases: [(&str, Vec<u8>, u16); 6] = [
        ("a close", client_frame(FIN | CLOSE, &close_payload(4321, "bye")), 4321),
        ("no mask", vec![0x81, 0x03, b'a', b'b', b'c'], 1002),
        ("half a character", client_frame(FIN | TEXT, b"ab\xE2\x82"), 1007),
        ("a reserved bit", client_frame(FIN | 0x20 | BINARY, b"ab"), 1002),
        (
            "a length of 64 bits that is not minimal",
            vec![0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5],
            1002,
        ),
        ("the header of 2 MiB", vec![0x82, 0xFF, 0, 0, 0, 0, 0, 0x20, 0, 0, 1, 2, 3, 4], 1009),
    ];
    for (what, frame, code) in cases {
        let head = head("/pub/verdict");
        let bytes = [&head[..], &frame].concat();
        for (at, mut raw) in pieces.send_cut_everywhere(bytes.len(), |_| bytes.clone()) {
            raw.expect_upgraded();
            let close = raw.frame();
            assert_eq!(close.close_code(), code, "{what}, cut at {at}");
            assert_eq!(raw.next_frame(), None, "{what}, cut at {at}");
        }
    }
    pieces.server.assert_empty();
}
