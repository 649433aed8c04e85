//! The frame decoder, in both roles.
//!
//! An input is one byte that chooses role and limits, and the bytes of frames. They are decoded in one piece and cut at
//! random places, and by an independent decoder that reads RFC 6455 literally, one byte at a time; all must see the same.
//! What is valid is read by tungstenite too. Whatever arrives, the memory held is bounded by it and by the limits.

#![no_main]

#[allow(dead_code, reason = "the decoder's own tests need all of it")]
#[path = "../../../engine/wire/tests/reference/mod.rs"]
mod reference;

use std::io::{Cursor, Read, Write};

use fanfare_fuzz::Choices;
use fanfare_wire::Role;
use fanfare_wire::decode::{DecodeError, Decoder, Event, Rules};
use fanfare_wire::frame::CONTROL_PAYLOAD_MAX;
use libfuzzer_sys::fuzz_target;
use reference::{Reference, Seen};
use tungstenite::Message;
use tungstenite::protocol::{Role as TheirRole, WebSocket};

/// Longer inputs are not given to the reference: it looks at a text from its beginning with every byte.
const REFERENCE_BYTES_MAX: usize = 1024;

fuzz_target!(|input: &[u8]| {
    let Some((&first, stream)) = input.split_first() else { return };
    let rules = rules(first);
    let whole = decode(&rules, stream, &[]);
    let mut choices = Choices::of(input);
    for count in [1, 4, 16] {
        assert_eq!(decode(&rules, stream, &choices.cuts(stream.len(), count)), whole);
    }
    if stream.len() <= REFERENCE_BYTES_MAX {
        let every_byte: Vec<usize> = (1..stream.len()).collect();
        assert_eq!(decode(&rules, stream, &every_byte), whole);
        assert_eq!(decode_literally(&rules, stream), whole);
    }
    // tungstenite knows neither compression nor close code 1014, which was registered later.
    let is_known = |seen: &Seen| !matches!(seen, Seen::Close(Some((1014, _))));
    if whole.1.is_none() && !rules.compressed && whole.0.iter().all(is_known) {
        assert_eq!(read_by_tungstenite(&rules, stream), whole.0);
    }
});

/// The lowest bit is the role, the next two are the limits, then come compression and a limit of fragments.
fn rules(first: u8) -> Rules {
    let sizes = [(1 << 20, 1 << 20), (64, 100), (1000, 300), (0, 0)];
    let (frame_bytes_max, message_bytes_max) = sizes[usize::from(first >> 1 & 3)];
    Rules {
        role: if first & 1 == 0 { Role::Server } else { Role::Client },
        frame_bytes_max,
        message_bytes_max,
        compressed: first & 8 != 0,
        fragments_max: if first & 16 == 0 { u32::MAX } else { 3 },
    }
}

/// The events, and the error after them.
type Outcome = (Vec<Seen>, Option<DecodeError>);

fn decode(rules: &Rules, stream: &[u8], cuts: &[usize]) -> Outcome {
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    let mut start = 0;
    for &end in cuts.iter().chain([&stream.len()]) {
        let mut piece = stream[start..end].to_vec();
        let mut input = &mut piece[..];
        loop {
            match decoder.next(rules, &mut input) {
                Ok(Some(event)) => events.push(seen(event)),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next(rules, &mut &mut [0x81_u8][..]), Err(error), "errors stay");
                    assert_eq!(decoder.buffered(), 0, "a decoder that failed holds nothing");
                    return (events, Some(error));
                }
            }
        }
        assert!(input.is_empty(), "all input is used when more is needed");
        let held = decoder.buffered();
        assert!(held <= 2 * end, "{held} bytes are held and {end} arrived");
        assert!(held <= rules.message_bytes_max + CONTROL_PAYLOAD_MAX, "{held} bytes are held");
        assert!(held == 0 || !decoder.is_idle(), "an idle decoder holds nothing");
        start = end;
    }
    (events, None)
}

fn seen(event: Event<'_>) -> Seen {
    match event {
        Event::Compressed { text, payload } => Seen::Compressed { text, payload: payload.to_vec() },
        Event::Message { text, payload } => Seen::Message { text, payload: payload.to_vec() },
        Event::Ping(payload) => Seen::Ping(payload.to_vec()),
        Event::Pong(payload) => Seen::Pong(payload.to_vec()),
        Event::Close(frame) => Seen::Close(frame.map(|frame| (frame.code.0, frame.reason.to_owned()))),
    }
}

fn decode_literally(rules: &Rules, stream: &[u8]) -> Outcome {
    let mut reference = Reference::new(*rules);
    // It stops at the first error, as the decoder does.
    _ = stream.iter().try_for_each(|byte| reference.push(*byte));
    (reference.events, reference.failed)
}

/// What tungstenite makes of a valid stream.
fn read_by_tungstenite(rules: &Rules, stream: &[u8]) -> Vec<Seen> {
    let role = match rules.role {
        Role::Server => TheirRole::Server,
        Role::Client => TheirRole::Client,
    };
    let mut socket = WebSocket::from_raw_socket(Pipe(Cursor::new(stream)), role, None);
    let mut events = Vec::new();
    loop {
        events.push(match socket.read() {
            Ok(Message::Text(text)) => Seen::Message { text: true, payload: text.as_bytes().to_vec() },
            Ok(Message::Binary(payload)) => Seen::Message { text: false, payload: payload.to_vec() },
            Ok(Message::Ping(payload)) => Seen::Ping(payload.to_vec()),
            Ok(Message::Pong(payload)) => Seen::Pong(payload.to_vec()),
            Ok(Message::Close(frame)) => {
                events.push(Seen::Close(frame.map(|frame| (frame.code.into(), frame.reason.to_string()))));
                return events;
            }
            Ok(Message::Frame(_)) => unreachable!("whole messages are read"),
            // The stream is over, perhaps inside a frame.
            Err(tungstenite::Error::Protocol(
                tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            )) => {
                return events;
            }
            Err(error) => panic!("{error:?} after {events:?}"),
        });
    }
}

/// A connection whose incoming bytes are already there, and whose outgoing bytes nobody reads.
struct Pipe<'a>(Cursor<&'a [u8]>);

impl Read for Pipe<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
