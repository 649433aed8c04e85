//! permessage-deflate.
//!
//! An input is a compressed payload, a payload to compress, and, where it is printable, the value of a
//! Sec-WebSocket-Extensions header. What is compressed inflates to the same; what is inflated is held against flate2's
//! plain inflater and against one that shares no code with it; what is negotiated is what both sides understand.

#![no_main]

use fanfare_fuzz::Choices;
use fanfare_wire::deflate::{self, Compressor, InflateError, Inflater, Window};
use fanfare_wire::handshake::{Extension, HeadLimits, server};
use flate2::{Decompress, FlushDecompress, Status};
use libfuzzer_sys::fuzz_target;
use miniz_oxide::inflate::{DecompressError, decompress_to_vec_with_limit};

/// What ends a message that was flushed, and an empty last block (RFC 7692 section 7.2.2).
const END: [u8; 6] = [0x00, 0x00, 0xff, 0xff, 0x03, 0x00];

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices::of(input);
    check_round_trip(input, &mut choices);
    let plain = inflate_plainly(input);
    for bytes_max in [1 << 20, choices.below(2000), choices.below(100_000)] {
        check_inflate(input, &plain, bytes_max);
    }
    if let Ok(value) = std::str::from_utf8(input)
        && value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
    {
        check_negotiation(value);
    }
});

fn check_round_trip(payload: &[u8], choices: &mut Choices) {
    let bits = [Window::Full.bits(), Window::Small.bits(), 9 + choices.below(7) as u8][choices.below(3)];
    let mut compressor = Compressor::new(1 + choices.below(9) as u32, bits);
    let mut inflater = Inflater::new();
    let mut compressed = b"before".to_vec();
    compressor.compress(payload, &mut compressed);
    let first = compressed.split_off(6);
    assert_eq!(compressed, b"before");
    // Nothing of one message is left for the next.
    let mut again = Vec::new();
    compressor.compress(payload, &mut again);
    assert_eq!(first, again);
    let mut inflated = b"before".to_vec();
    assert_eq!(inflater.inflate(&first, payload.len(), &mut inflated), Ok(()));
    assert_eq!(inflated.split_off(6), payload);
    if !payload.is_empty() {
        assert_eq!(inflater.inflate(&first, payload.len() - 1, &mut inflated), Err(InflateError::TooBig));
        assert_eq!(inflated, b"before");
    }
    // An inflater is as good as new after an error.
    assert_eq!(inflater.inflate(&again, payload.len(), &mut inflated), Ok(()));
}

fn check_inflate(payload: &[u8], (plain, valid): &(Vec<u8>, bool), bytes_max: usize) {
    let mut out = Vec::new();
    let outcome = Inflater::new().inflate(payload, bytes_max, &mut out);
    // Room is doubled for what came out, and made beforehand for four times what came in.
    let produced = plain.len().min(bytes_max + 1);
    let room = 4 * produced + 4 * payload.len() + 1024;
    assert!(out.capacity() <= room.min(bytes_max + 8), "{} bytes for {produced}", out.capacity());
    match outcome {
        Ok(()) => {
            assert!(*valid && out.len() <= bytes_max);
            assert_eq!(out, *plain);
            check_unrelated(payload, &out);
        }
        Err(InflateError::TooBig) => assert!(plain.len() > bytes_max && out.is_empty()),
        Err(InflateError::Invalid) => assert!(!valid && out.is_empty()),
    }
}

/// A message of more streams is refused.
const STREAMS_MAX: usize = 64;

/// What flate2 makes of a message in one step, and whether it is one: streams, of which the last may lack its end.
fn inflate_plainly(payload: &[u8]) -> (Vec<u8>, bool) {
    // DEFLATE cannot do better than 258 bytes for two bits.
    let mut plain = Vec::with_capacity(1040 * (payload.len() + END.len()));
    let mut rest = payload;
    for _ in 0..STREAMS_MAX {
        if rest.is_empty() {
            return (plain, true);
        }
        let start = plain.len();
        _ = Decompress::new(false).decompress_vec(rest, &mut plain, FlushDecompress::Sync);
        let of_rest = plain.len();
        plain.truncate(start);
        let whole = [rest, &END].concat();
        let mut stream = Decompress::new(false);
        let status = stream.decompress_vec(&whole, &mut plain, FlushDecompress::Finish);
        let used = stream.total_in() as usize;
        if !matches!(status, Ok(Status::StreamEnd)) {
            return (plain, false);
        }
        if used > rest.len() {
            // What is put behind the message is not a part of it.
            let valid = used == whole.len() && plain.len() == of_rest;
            return (plain, valid);
        }
        rest = &rest[used..];
    }
    let valid = rest.is_empty();
    (plain, valid)
}

/// The same by miniz_oxide, which sees the first stream of a message.
fn check_unrelated(payload: &[u8], plain: &[u8]) {
    if payload.is_empty() {
        return;
    }
    let whole = [payload, &END].concat();
    match decompress_to_vec_with_limit(&whole, 1 << 20) {
        Ok(theirs) => assert!(plain.starts_with(&theirs), "another text"),
        Err(DecompressError { status, output }) => panic!("{status:?} after {} bytes", output.len()),
    }
}

fn check_negotiation(value: &str) {
    let Some(extensions) = extensions(value) else { return };
    if let Some(agreed) = deflate::agree(&extensions) {
        assert!(extensions.iter().any(|extension| extension.name == "permessage-deflate"));
        let answer = self::extensions(agreed.header_value()).expect("our own answer");
        let granted = deflate::read_answer(&answer).expect("a valid answer").expect("an acceptance");
        assert_eq!(granted.client_window_bits, 15, "the client may use any window");
    }
    if let Ok(granted) = deflate::read_answer(&extensions) {
        assert_eq!(granted.is_some(), extensions.len() == 1);
        assert!(granted.is_none_or(|granted| (8..=15).contains(&granted.client_window_bits)));
    }
}

/// The extensions that a server reads out of a request.
fn extensions(value: &str) -> Option<Vec<Extension>> {
    let head = format!(
        "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: {value}\r\n\r\n"
    );
    let (request, _) = server::read_request(head.as_bytes(), &HeadLimits::default()).ok()??;
    request.upgrade.map(|upgrade| upgrade.extensions)
}
