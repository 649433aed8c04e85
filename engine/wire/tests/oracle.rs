//! Both roles against tungstenite, which shares no code with this crate's codec: what it writes we read,
//! and the reverse.

use std::io::{Cursor, Read, Write};

use fanfare_wire::Role;
use fanfare_wire::decode::{Decoder, Event, Rules};
use fanfare_wire::frame::{self, Opcode};
use fanfare_wire::handshake::HeadLimits;
use fanfare_wire::handshake::client::{ClientHandshake, Response};
use fanfare_wire::handshake::server::read_request;
use fanfare_wire::url::WsUrl;
use proptest::prelude::*;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader, FrameSocket};
use tungstenite::protocol::{Role as TheirRole, WebSocket};

/// A connection whose incoming bytes are already there.
struct Pipe {
    incoming: Cursor<Vec<u8>>,
    outgoing: Vec<u8>,
}

impl Pipe {
    fn new(incoming: Vec<u8>) -> Self {
        Self { incoming: Cursor::new(incoming), outgoing: Vec::new() }
    }
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.incoming.read(buf)
    }
}

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.outgoing.write(buf)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An event or message of either library.
#[derive(Clone, Debug, PartialEq)]
enum Item {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

fn item() -> impl Strategy<Value = Item> {
    let bytes = |max: usize| proptest::collection::vec(any::<u8>(), 0..=max);
    prop_oneof![
        4 => "\\PC{0,200}".prop_map(Item::Text),
        3 => bytes(300).prop_map(Item::Binary),
        1 => prop_oneof![Just(65_535_usize), Just(65_536), Just(125), Just(126)]
            .prop_map(|len| Item::Binary(vec![0xa5; len])),
        1 => bytes(125).prop_map(Item::Ping),
        1 => bytes(125).prop_map(Item::Pong),
    ]
}

impl Item {
    /// Opcode and payload in both libraries' terms.
    fn parts(&self) -> (Opcode, OpCode, &[u8]) {
        match self {
            Self::Text(text) => (Opcode::Text, OpCode::Data(Data::Text), text.as_bytes()),
            Self::Binary(payload) => (Opcode::Binary, OpCode::Data(Data::Binary), payload),
            Self::Ping(payload) => (Opcode::Ping, OpCode::Control(Control::Ping), payload),
            Self::Pong(payload) => (Opcode::Pong, OpCode::Control(Control::Pong), payload),
        }
    }
}

fn decode(role: Role, mut bytes: Vec<u8>, chunk: usize) -> Vec<Item> {
    let rules = Rules {
        role,
        frame_bytes_max: 1 << 20,
        message_bytes_max: 1 << 20,
        fragments_max: u32::MAX,
        compressed: false,
    };
    let mut decoder = Decoder::default();
    let mut items = Vec::new();
    for piece in bytes.chunks_mut(chunk) {
        let mut input = piece;
        while let Some(event) = decoder.next(&rules, &mut input).unwrap() {
            items.push(match event {
                Event::Message { text: true, payload } => {
                    Item::Text(String::from_utf8(payload.to_vec()).unwrap())
                }
                Event::Message { text: false, payload } => Item::Binary(payload.to_vec()),
                Event::Ping(payload) => Item::Ping(payload.to_vec()),
                Event::Pong(payload) => Item::Pong(payload.to_vec()),
                Event::Compressed { .. } | Event::Close(_) => panic!("{event:?}"),
            });
        }
    }
    assert!(decoder.is_idle());
    items
}

proptest! {
    /// Frames that tungstenite writes, in one piece or in two fragments, masked or not.
    #[test]
    fn we_read_their_frames(
        items in proptest::collection::vec((item(), any::<prop::sample::Index>(), any::<bool>()), 1..6),
        key in any::<[u8; 4]>(),
        masked in any::<bool>(),
        chunk in prop_oneof![Just(usize::MAX), 1_usize..100],
    ) {
        let mut bytes = Vec::new();
        let mut put = |opcode, is_final, payload: &[u8]| {
            let header = FrameHeader { is_final, opcode, mask: masked.then_some(key), ..FrameHeader::default() };
            Frame::from_payload(header, payload.to_vec().into()).format(&mut bytes).unwrap();
        };
        for (item, cut, fragmented) in &items {
            let (ours, theirs, payload) = item.parts();
            if *fragmented && !ours.is_control() {
                let cut = cut.index(payload.len() + 1);
                put(theirs, false, &payload[..cut]);
                put(OpCode::Control(Control::Ping), true, b"between");
                put(OpCode::Data(Data::Continue), true, &payload[cut..]);
            } else {
                put(theirs, true, payload);
            }
        }
        let role = if masked { Role::Server } else { Role::Client };
        let seen = decode(role, bytes, chunk);
        let seen: Vec<Item> = seen.into_iter().filter(|item| *item != Item::Ping(b"between".into())).collect();
        prop_assert_eq!(seen, items.into_iter().map(|(item, ..)| item).collect::<Vec<_>>());
    }

    /// Single frames that we write, as tungstenite's frame codec reads them.
    #[test]
    fn they_read_our_frames(item in item(), key in any::<Option<[u8; 4]>>(), fin in any::<bool>()) {
        let (ours, theirs, payload) = item.parts();
        let fin = fin || ours.is_control();
        let mut bytes = Vec::new();
        frame::write(&mut bytes, ours, fin, payload, key);
        prop_assert_eq!(bytes.len(), frame::header_len(payload.len() as u64, key.is_some()) + payload.len());

        let mut socket = FrameSocket::new(Pipe::new(bytes));
        let read = socket.read(None).unwrap().unwrap();
        let header = FrameHeader { is_final: fin, opcode: theirs, mask: key, ..FrameHeader::default() };
        prop_assert_eq!(read.header(), &header);
        let key = key.unwrap_or_default();
        let keyed = read.payload().iter().zip(key.iter().cycle());
        let unmasked: Vec<u8> = keyed.map(|(byte, key)| byte ^ key).collect();
        prop_assert_eq!(unmasked, payload);
        prop_assert!(socket.read(None).unwrap().is_none());
    }

    /// Whole messages that we write, in fragments, as tungstenite's connection reads them.
    #[test]
    fn they_read_our_messages(
        items in proptest::collection::vec((item(), any::<prop::sample::Index>(), any::<bool>()), 1..6),
        key in any::<[u8; 4]>(),
        masked in any::<bool>(),
    ) {
        let key = masked.then_some(key);
        let mut bytes = Vec::new();
        for (item, cut, fragmented) in &items {
            let (opcode, _, payload) = item.parts();
            if *fragmented && !opcode.is_control() {
                let cut = cut.index(payload.len() + 1);
                frame::write(&mut bytes, opcode, false, &payload[..cut], key);
                frame::write(&mut bytes, Opcode::Continuation, true, &payload[cut..], key);
            } else {
                frame::write(&mut bytes, opcode, true, payload, key);
            }
        }
        let role = if masked { TheirRole::Server } else { TheirRole::Client };
        let mut socket = WebSocket::from_raw_socket(Pipe::new(bytes), role, None);
        for (item, ..) in items {
            let seen = match socket.read().unwrap() {
                tungstenite::Message::Text(text) => Item::Text(text.to_string()),
                tungstenite::Message::Binary(payload) => Item::Binary(payload.to_vec()),
                tungstenite::Message::Ping(payload) => Item::Ping(payload.to_vec()),
                tungstenite::Message::Pong(payload) => Item::Pong(payload.to_vec()),
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(seen, item);
        }
    }

    /// The answer to a key, for any nonce.
    #[test]
    fn they_answer_our_key(nonce in any::<[u8; 16]>()) {
        let url = WsUrl::parse("ws://example.org:8080/a?b=c").unwrap();
        let handshake = ClientHandshake::new(&url, nonce, &["chat"], &[("Origin", "http://example.org")]).unwrap();
        let server = tungstenite::accept(Pipe::new(handshake.request().to_vec())).unwrap();
        let reply = &server.get_ref().outgoing;
        let (response, len) = handshake.read_response(reply, &HeadLimits::default()).unwrap().unwrap();
        prop_assert!(matches!(response, Response::Accepted { protocol: None, .. }), "{:?}", response);
        prop_assert_eq!(len, reply.len());
    }
}

#[test]
fn we_answer_their_key() {
    let request = "ws://example.org/chat".parse::<tungstenite::http::Uri>().unwrap();
    let request = tungstenite::client::IntoClientRequest::into_client_request(request).unwrap();
    for _ in 0..100 {
        let (bytes, key) = tungstenite::handshake::client::generate_request(request.clone()).unwrap();
        let (request, len) = read_request(&bytes, &HeadLimits::default()).unwrap().unwrap();
        assert_eq!((len, &*request.path, &*request.host), (bytes.len(), "/chat", "example.org"));
        let mut reply = Vec::new();
        request.upgrade.unwrap().write_accept(&mut reply, None, &[]);
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        assert!(
            String::from_utf8(reply).unwrap().contains(&format!("\r\nSec-WebSocket-Accept: {accept}\r\n"))
        );
    }
}
