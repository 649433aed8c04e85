//! The points in a connection's life at which its peer can vanish, fall silent, or end its side.

use crate::raw::{CLOSE, PING, Raw, TEXT, client_frame, close_payload, head};

const FIN: u8 = 0x80;

/// A point in a connection's life.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    pub name: &'static str,
    /// What the client has sent when it is there.
    pub sent: fn() -> Vec<u8>,
    pub then: Then,
}

/// What the server waits for then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// For the rest of a request.
    Handshake,
    /// For whatever comes.
    Open,
    /// For nothing: both sides have said that they are done.
    Closed,
    /// For the peer's FIN: our close frame, or our HTTP answer, is with it.
    Ended,
}

impl Stage {
    /// Goes there.
    pub fn reach(&self, raw: &Raw) {
        raw.write(&(self.sent)());
    }
}

const fn stage(name: &'static str, then: Then, sent: fn() -> Vec<u8>) -> Stage {
    Stage { name, sent, then }
}

pub const STAGES: [Stage; 11] = [
    stage("connected", Then::Handshake, Vec::new),
    stage("inside the head", Then::Handshake, || b"GET /ws/t HTTP/1.1\r\nHost: te".to_vec()),
    stage("asked for an upgrade", Then::Open, || head("/ws/t")),
    stage("inside a frame's header", Then::Open, || {
        [&head("/ws/t")[..], &client_frame(FIN | TEXT, &[b'x'; 200])[..3]].concat()
    }),
    stage("inside a frame", Then::Open, || {
        [&head("/stream?topics=t,u")[..], &client_frame(FIN | TEXT, &[b'x'; 200])[..100]].concat()
    }),
    stage("between fragments", Then::Open, || [head("/pub/t"), client_frame(TEXT, b"unfinished")].concat()),
    stage("waiting for a pong", Then::Open, || [head("/ws/t"), client_frame(FIN | PING, b"?")].concat()),
    stage("waiting for a reply", Then::Open, || {
        let request = br#"{"op":"subscribe","args":["t","u","v"],"id":1}"#;
        [head("/stream"), client_frame(FIN | TEXT, request)].concat()
    }),
    stage("closing", Then::Closed, || {
        [head("/ws/t"), client_frame(FIN | CLOSE, &close_payload(1000, ""))].concat()
    }),
    // No server takes a frame whose reserved bits are set.
    stage("closed by the server", Then::Ended, || [&head("/ws/t")[..], &[0xFF, 0xFF]].concat()),
    stage("refused", Then::Ended, || head("/nowhere")),
];
