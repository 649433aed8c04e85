//! permessage-deflate: the examples of RFC 7692, round trips in every window, and what a hostile peer sends.

mod puff;

use fanfare_wire::Role;
use fanfare_wire::close::CloseCode;
use fanfare_wire::decode::{Decoder, Event, Rules};
use fanfare_wire::deflate::{Compressor, InflateError, Inflater};
use fanfare_wire::frame::{self, Opcode};
use flate2::{Compress, Compression, FlushCompress, Status};
use proptest::prelude::*;

/// The most by which an inflater's output may be larger than its limit, in bytes.
const SLACK: usize = 512;

fn compress(level: u32, window_bits: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Compressor::new(level, window_bits).compress(payload, &mut out);
    out
}

fn inflate(payload: &[u8]) -> Result<Vec<u8>, InflateError> {
    let mut out = b"before".to_vec();
    let inflated = Inflater::new().inflate(payload, 1 << 20, &mut out);
    assert!(out.starts_with(b"before"), "appends");
    inflated.map(|()| out.split_off(6)).inspect_err(|_| assert_eq!(out, b"before", "an error leaves nothing"))
}

#[test]
fn one_compressed_block_of_section_7_2_3_1() {
    let payload = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(inflate(&payload).unwrap(), b"Hello");
    for level in 1..=9 {
        for window_bits in 9..=15 {
            assert_eq!(compress(level, window_bits, b"Hello"), payload, "level {level}");
        }
    }
    let mut written = Vec::new();
    frame::write_compressed(&mut written, Opcode::Text, &payload, None);
    assert_eq!(written, [&[0xc1, 0x07][..], &payload].concat());

    // The same in one frame and in two.
    for bytes in [&written[..], b"\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00"] {
        let rules = Rules {
            role: Role::Client,
            frame_bytes_max: 100,
            message_bytes_max: 100,
            fragments_max: 2,
            compressed: true,
        };
        let mut bytes = bytes.to_vec();
        let mut decoder = Decoder::default();
        let event = decoder.next(&rules, &mut &mut bytes[..]).unwrap();
        assert_eq!(event, Some(Event::Compressed { text: true, payload: &payload }));
    }
}

#[test]
fn no_shared_window_of_section_7_2_3_2() {
    // The second "Hello" refers to the first, which is forgotten between messages on both sides.
    let mut inflater = Inflater::new();
    let mut out = Vec::new();
    inflater.inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 100, &mut out).unwrap();
    let second = inflater.inflate(&[0xf2, 0x00, 0x11, 0x00, 0x00], 100, &mut out);
    assert_eq!((second, &*out), (Err(InflateError::Invalid), &b"Hello"[..]));
    // And it goes on after an error.
    inflater.inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 100, &mut out).unwrap();
    assert_eq!(out, b"HelloHello");

    let mut compressor = Compressor::new(6, 15);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    compressor.compress(b"Hello", &mut first);
    compressor.compress(b"Hello", &mut second);
    assert_eq!(first, second);
}

#[test]
fn no_compression_of_section_7_2_3_3() {
    let payload = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
    assert_eq!(inflate(&payload).unwrap(), b"Hello");
}

#[test]
fn the_last_block_of_section_7_2_3_4() {
    let payload = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    assert_eq!(inflate(&payload).unwrap(), b"Hello");
    // Without the empty block behind it, and with another stream behind it.
    assert_eq!(inflate(&payload[..7]).unwrap(), b"Hello");
    assert_eq!(inflate(&[&payload[..7], &payload].concat()).unwrap(), b"HelloHello");
    let open = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(inflate(&[&payload[..7], &open].concat()).unwrap(), b"HelloHello");
    // So many streams in one message that somebody wants to keep us busy with them.
    assert_eq!(inflate(&b"\x03\x00".repeat(64)).unwrap(), b"");
    assert_eq!(inflate(&b"\x03\x00".repeat(65)), Err(InflateError::Invalid));
}

#[test]
fn two_blocks_of_section_7_2_3_5() {
    let payload = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(inflate(&payload).unwrap(), b"Hello");
}

#[test]
fn the_empty_message_of_section_7_2_3_6() {
    assert_eq!(inflate(&[0x00]).unwrap(), b"");
    assert_eq!(inflate(b"").unwrap(), b"");
    for level in 1..=9 {
        for window_bits in 9..=15 {
            assert_eq!(compress(level, window_bits, b""), [0x00], "level {level}");
        }
    }
}

#[test]
fn windows_are_kept() {
    // Noise that comes again at a distance is shorter by its copy where the window reaches it.
    let mut state = 1_u32;
    let mut noise = |len: usize| -> Vec<u8> {
        let step = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..len).map(step).collect()
    };
    for window_bits in 9..=15 {
        let near = noise(1 << (window_bits - 2)).repeat(2);
        let far = noise((1 << window_bits) + 1).repeat(2);
        for level in 1..=9 {
            let compressed = compress(level, window_bits, &near);
            assert!(compressed.len() < near.len() * 3 / 4, "{window_bits} bits, level {level}");
            assert_eq!(puff::inflate(&compressed, 1 << window_bits), Some(near.clone()));
            assert!(compress(level, window_bits, &far).len() > far.len());
        }
        if window_bits < 15 {
            assert_eq!(puff::inflate(&compress(6, 15, &far), 1 << window_bits), None, "the test can fail");
        }
    }
}

#[test]
fn what_is_no_deflate() {
    for payload in [
        // The reserved kind of block.
        &[0x06][..],
        &[0x07],
        // A block without compression whose lengths do not match, and one that is not all there.
        &[0x00, 0x05, 0x00, 0xfa, 0xfe, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
        &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65],
        &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48],
        &[0x00, 0x05, 0x00, 0xfa],
        &[0x00, 0x05],
        // What was taken off is still there.
        &[0x00, 0x00, 0x00, 0xff, 0xff],
        &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0x00, 0xff, 0xff],
        // A distance that leads before the message.
        &[0xf2, 0x00, 0x11, 0x00, 0x00],
        // Bytes behind the last block that begin nothing.
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x07],
        b"Hello",
        &[0xff; 100],
    ] {
        assert_eq!(inflate(payload), Err(InflateError::Invalid), "{payload:x?}");
    }
    assert_eq!(InflateError::Invalid.close_code(), CloseCode::INVALID_DATA);
    assert_eq!(InflateError::TooBig.close_code(), CloseCode::TOO_BIG);
    for error in [InflateError::Invalid, InflateError::TooBig] {
        assert!(error.reason().len() <= fanfare_wire::close::REASON_MAX);
        assert_eq!(error.to_string(), error.reason());
    }
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let bomb = compress(9, 15, &vec![0; 64 << 20]);
    assert!(bomb.len() < 70_000, "{}", bomb.len());
    for bytes_max in [0, 1, 255, 1000, 1 << 20, (64 << 20) - 1] {
        let mut out = Vec::new();
        let mut inflater = Inflater::new();
        assert_eq!(inflater.inflate(&bomb, bytes_max, &mut out), Err(InflateError::TooBig));
        assert!(out.is_empty());
        assert!(out.capacity() <= bytes_max + SLACK, "{} for {bytes_max}", out.capacity());
    }
    let mut out = Vec::new();
    Inflater::new().inflate(&bomb, 64 << 20, &mut out).unwrap();
    assert_eq!(out.len(), 64 << 20);
    assert!(out.capacity() <= (64 << 20) + SLACK, "{}", out.capacity());
    let mut out = Vec::new();
    Inflater::new().inflate(&bomb, usize::MAX, &mut out).unwrap();
    assert!(out.capacity() <= (128 << 20) + SLACK, "{}", out.capacity());
}

#[test]
fn a_limit_is_exact() {
    for len in [0, 1, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 100_000] {
        let payload: Vec<u8> = (0..len).map(|i| (i * i % 251) as u8).collect();
        let compressed = compress(6, 15, &payload);
        // With no room before, and with more room than the limit.
        for capacity in [0, 3 * len] {
            let mut out = Vec::with_capacity(capacity);
            Inflater::new().inflate(&compressed, len, &mut out).unwrap();
            assert_eq!(out, payload);
            if len > 0 {
                let mut out = Vec::with_capacity(capacity);
                assert_eq!(
                    Inflater::new().inflate(&compressed, len - 1, &mut out),
                    Err(InflateError::TooBig)
                );
                assert!(out.is_empty());
            }
        }
    }
}

#[test]
fn the_bits_of_the_header() {
    for (opcode, first) in [(Opcode::Text, 0xc1), (Opcode::Binary, 0xc2)] {
        for len in [0, 125, 126, 65_535, 65_536] {
            for key in [None, Some([1, 2, 3, 4])] {
                let mut expected = frame::header(opcode, true, len, key).to_vec();
                expected[0] = first;
                assert_eq!(frame::header_compressed(opcode, len, key).as_ref(), expected);
            }
        }
    }
    let mut masked = Vec::new();
    frame::write_compressed(&mut masked, Opcode::Binary, b"abc", Some([1, 2, 3, 4]));
    assert_eq!(masked, [0xc2, 0x83, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2, b'c' ^ 3]);
}

/// Something like what is published: text that repeats itself near and far, or noise.
fn any_payload() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec!["price", "\":", "ABC", "{\"", "},", "1.25", "é", "volume", "\0"]);
    prop_oneof![
        3 => proptest::collection::vec(words, 0..400).prop_map(|words| words.concat().into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 0..600),
        1 => (proptest::collection::vec(any::<u8>(), 1..700), 1..60_usize)
            .prop_map(|(noise, times)| noise.repeat(times)),
        1 => (any::<u8>(), 0..100_000_usize).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn messages_come_back(payloads in proptest::collection::vec(any_payload(), 1..4), level in 1..=9_u32, window_bits in 9..=15_u8) {
        let mut compressor = Compressor::new(level, window_bits);
        let mut inflater = Inflater::new();
        let mut inflated = Vec::new();
        for payload in &payloads {
            let mut compressed = b"before".to_vec();
            compressor.compress(payload, &mut compressed);
            let compressed = compressed.strip_prefix(b"before").expect("appends");
            prop_assert_eq!(compressed, compress(level, window_bits, payload), "every message starts anew");
            inflated.clear();
            inflater.inflate(compressed, payload.len(), &mut inflated).unwrap();
            prop_assert_eq!(&inflated, payload);
            // Whoever asked for a window can do with it.
            prop_assert_eq!(puff::inflate(compressed, 1 << window_bits), Some(payload.clone()));
        }
    }

    /// What another program made of one message with several flushes, at any place and of any kind.
    #[test]
    fn messages_of_many_blocks(
        pieces in proptest::collection::vec((any_payload(), 0..4_u8), 1..6),
        level in 0..=9_u32,
    ) {
        let mut zlib = Compress::new(Compression::new(level), false);
        let mut made = Vec::new();
        let last = pieces.len() - 1;
        for (i, (piece, flush)) in pieces.iter().enumerate() {
            let flush = match flush {
                _ if i == last => FlushCompress::Sync,
                0 => FlushCompress::None,
                1 => FlushCompress::Sync,
                2 => FlushCompress::Full,
                _ => FlushCompress::Finish,
            };
            made.reserve(2 * piece.len() + 1000);
            let status = zlib.compress_vec(piece, &mut made, flush).unwrap();
            if matches!(flush, FlushCompress::Finish) {
                prop_assert_eq!(status, Status::StreamEnd);
                zlib.reset();
            }
        }
        // An empty last piece may have been flushed already.
        if !made.ends_with(&[0, 0, 0xff, 0xff]) {
            made.extend([0, 0, 0, 0xff, 0xff]);
        }
        made.truncate(made.len() - 4);
        let whole: Vec<u8> = pieces.iter().flat_map(|(piece, _)| piece.clone()).collect();
        prop_assert_eq!(inflate(&made).unwrap(), whole);
    }

    /// Noise, and good data with one byte changed or its end cut off, ends in a message or an error. Memory
    /// stays within the limit, and the inflater goes on.
    #[test]
    fn survives_anything(
        noise in proptest::collection::vec(any::<u8>(), 0..300),
        good in any_payload(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        bytes_max in prop_oneof![Just(0_usize), 0..1000_usize, Just(1 << 20)],
    ) {
        let mut changed = compress(6, 15, &good);
        let at = at.index(changed.len());
        let cut = changed[..at].to_vec();
        changed[at] = byte;
        let mut inflater = Inflater::new();
        for payload in [noise, changed, cut] {
            let mut out = Vec::new();
            let inflated = inflater.inflate(&payload, bytes_max, &mut out);
            prop_assert!(out.len() <= bytes_max);
            prop_assert!(inflated.is_ok() || out.is_empty());
            if inflated.is_ok() {
                // The empty block may be missing behind a last one.
                let by_the_letter = puff::inflate(&payload, 1 << 15)
                    .or_else(|| puff::inflate(&[&payload[..], &[0x00]].concat(), 1 << 15));
                prop_assert_eq!(by_the_letter.as_ref(), Some(&out));
            }
            prop_assert!(out.capacity() <= bytes_max + SLACK);
            inflater.inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 5, &mut out).unwrap();
            prop_assert!(out.ends_with(b"Hello"));
        }
    }
}
