//! The decoder against the examples, boundaries and prohibitions of RFC 6455 section 5, at every split
//! point, and against a reference that reads one byte at a time.

mod reference;

use fanfare_wire::Role;
use fanfare_wire::close::CloseCode;
use fanfare_wire::decode::{DecodeError, Decoder, Event, Rules};
use fanfare_wire::frame::{self, Opcode};
use proptest::prelude::*;
use reference::{Reference, Seen};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

const CLIENT: Rules = Rules {
    role: Role::Client,
    frame_bytes_max: 1 << 20,
    message_bytes_max: 1 << 20,
    fragments_max: u32::MAX,
    compressed: false,
};
const SERVER: Rules = Rules { role: Role::Server, ..CLIENT };
const AGREED: Rules = Rules { compressed: true, ..CLIENT };

fn seen(event: Event<'_>) -> Seen {
    match event {
        Event::Message { text, payload } => Seen::Message { text, payload: payload.to_vec() },
        Event::Compressed { text, payload } => Seen::Compressed { text, payload: payload.to_vec() },
        Event::Ping(payload) => Seen::Ping(payload.to_vec()),
        Event::Pong(payload) => Seen::Pong(payload.to_vec()),
        Event::Close(frame) => Seen::Close(frame.map(|frame| (frame.code.0, frame.reason.to_owned()))),
    }
}

/// Feeds one piece, until the decoder wants more.
fn feed(
    decoder: &mut Decoder,
    rules: &Rules,
    piece: &[u8],
    events: &mut Vec<Seen>,
) -> Result<(), DecodeError> {
    let mut copy = piece.to_vec();
    let mut input = copy.as_mut_slice();
    while let Some(event) = decoder.next(rules, &mut input)? {
        events.push(seen(event));
    }
    assert!(input.is_empty(), "all input is used when more is needed");
    Ok(())
}

/// What a decoder makes of bytes that arrive cut at these places, and the error that ends it.
fn decode(rules: &Rules, bytes: &[u8], cuts: &[usize]) -> (Vec<Seen>, Result<(), DecodeError>) {
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    let mut start = 0;
    for &end in cuts.iter().chain([&bytes.len()]) {
        if let Err(error) = feed(&mut decoder, rules, &bytes[start..end], &mut events) {
            assert_eq!(decoder.next(rules, &mut &mut [0x81_u8][..]), Err(error), "errors stay");
            assert_eq!(decoder.buffered(), 0);
            return (events, Err(error));
        }
        start = end;
    }
    if decoder.is_idle() {
        assert_eq!(decoder.buffered(), 0, "an idle decoder holds no heap memory");
    }
    (events, Ok(()))
}

/// The same outcome for all input at once, byte by byte, and cut in two at every place.
#[track_caller]
fn check(rules: &Rules, bytes: &[u8], events: &[Seen], end: Result<(), DecodeError>) {
    let every_byte: Vec<usize> = (1..bytes.len()).collect();
    let mut cuts = vec![vec![], every_byte];
    if bytes.len() < 2000 {
        cuts.extend((0..=bytes.len()).map(|at| vec![at]));
    } else {
        cuts.extend((0..40).chain(bytes.len() - 20..=bytes.len()).map(|at| vec![at]));
    }
    for cuts in cuts {
        let outcome = decode(rules, bytes, &cuts);
        assert_eq!((&*outcome.0, outcome.1), (events, end), "cut at {:?}", &cuts[..cuts.len().min(8)]);
    }
}

fn text(payload: &str) -> Seen {
    Seen::Message { text: true, payload: payload.into() }
}

fn binary(payload: &[u8]) -> Seen {
    Seen::Message { text: false, payload: payload.into() }
}

/// Frames for a server, masked.
fn masked(frames: &[(Opcode, bool, &[u8])]) -> Vec<u8> {
    encode(frames, Some(KEY))
}

/// Frames for a client, not masked.
fn plain(frames: &[(Opcode, bool, &[u8])]) -> Vec<u8> {
    encode(frames, None)
}

fn encode(frames: &[(Opcode, bool, &[u8])], key: Option<[u8; 4]>) -> Vec<u8> {
    let mut out = Vec::new();
    for (opcode, fin, payload) in frames {
        frame::write(&mut out, *opcode, *fin, payload, key);
    }
    out
}

#[test]
fn a_decoder_is_a_cache_line() {
    assert!(size_of::<Decoder>() <= 64, "{}", size_of::<Decoder>());
    assert_eq!(Decoder::default().buffered(), 0);
    assert!(Decoder::default().is_idle());
}

#[test]
fn examples_of_section_5_7() {
    check(&CLIENT, b"\x81\x05Hello", &[text("Hello")], Ok(()));
    check(&SERVER, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", &[text("Hello")], Ok(()));
    check(&CLIENT, b"\x01\x03Hel\x80\x02lo", &[text("Hello")], Ok(()));
    check(&CLIENT, b"\x89\x05Hello", &[Seen::Ping(b"Hello".into())], Ok(()));
    check(&SERVER, b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", &[Seen::Pong(b"Hello".into())], Ok(()));
}

#[test]
fn boundaries_of_the_length() {
    for len in [0, 1, 125, 126, 127, 65_535, 65_536] {
        let payload: Vec<u8> = (0..len).map(|i| b'a' + (i % 23) as u8).collect();
        let as_text = String::from_utf8(payload.clone()).unwrap();
        for (rules, key) in [(&CLIENT, None), (&SERVER, Some(KEY))] {
            let bytes = encode(&[(Opcode::Binary, true, &payload), (Opcode::Text, true, &payload)], key);
            check(rules, &bytes, &[binary(&payload), text(&as_text)], Ok(()));
        }
    }
}

#[test]
fn whole_frames_are_not_copied() {
    let mut bytes = masked(&[(Opcode::Binary, true, b"first"), (Opcode::Text, true, b"second")]);
    let range = bytes.as_ptr_range();
    let mut input = bytes.as_mut_slice();
    let mut decoder = Decoder::default();
    for expected in ["first", "second"] {
        let Ok(Some(Event::Message { payload, .. })) = decoder.next(&SERVER, &mut input) else { panic!() };
        assert_eq!(payload, expected.as_bytes());
        assert!(range.contains(&payload.as_ptr()), "the payload is a slice of the input");
        assert_eq!(decoder.buffered(), 0);
    }
}

#[test]
fn fragments_with_control_frames_between() {
    let frames: &[(Opcode, bool, &[u8])] = &[
        (Opcode::Text, false, b"a"),
        (Opcode::Ping, true, b"1"),
        (Opcode::Continuation, false, b""),
        (Opcode::Ping, true, b""),
        (Opcode::Continuation, false, "é".as_bytes()),
        (Opcode::Pong, true, &[b'p'; 125]),
        (Opcode::Continuation, true, b"z"),
        (Opcode::Binary, false, b""),
        (Opcode::Continuation, true, b""),
        (Opcode::Ping, true, b"2"),
        (Opcode::Close, true, b"\x03\xe8bye"),
    ];
    let events = [
        Seen::Ping(b"1".into()),
        Seen::Ping(b"".into()),
        Seen::Pong(vec![b'p'; 125]),
        text("aéz"),
        binary(b""),
        Seen::Ping(b"2".into()),
        Seen::Close(Some((1000, "bye".to_owned()))),
    ];
    check(&SERVER, &masked(frames), &events, Ok(()));
    check(&CLIENT, &plain(frames), &events, Ok(()));
}

#[test]
fn a_code_point_over_fragments() {
    let emoji = "😀".as_bytes();
    let frames: &[(Opcode, bool, &[u8])] = &[
        (Opcode::Text, false, &emoji[..1]),
        (Opcode::Continuation, false, &emoji[1..2]),
        (Opcode::Ping, true, b"\xff"),
        (Opcode::Continuation, false, &emoji[2..3]),
        (Opcode::Continuation, true, &emoji[3..]),
    ];
    check(&SERVER, &masked(frames), &[Seen::Ping(b"\xff".into()), text("😀")], Ok(()));
}

#[test]
fn close_frames() {
    let close = |payload: &[u8]| masked(&[(Opcode::Close, true, payload)]);
    check(&SERVER, &close(b""), &[Seen::Close(None)], Ok(()));
    check(&SERVER, &close(b"\x03\xe8"), &[Seen::Close(Some((1000, String::new())))], Ok(()));
    check(&SERVER, &close(b"\x0f\xa0\xc3\xa9"), &[Seen::Close(Some((4000, "é".to_owned())))], Ok(()));
    check(&SERVER, &close(b"\x03"), &[], Err(DecodeError::ClosePayloadOfOneByte));
    check(&SERVER, &close(b"\x03\xe8\xff"), &[], Err(DecodeError::CloseReasonNotUtf8));
    check(&SERVER, &close(b"\x03\xe8\xc3"), &[], Err(DecodeError::CloseReasonNotUtf8));
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        check(&SERVER, &close(&code.to_be_bytes()), &[], Err(DecodeError::CloseCodeInvalid));
    }
}

#[test]
fn nothing_counts_after_a_close() {
    let mut bytes = plain(&[(Opcode::Close, true, b""), (Opcode::Ping, true, b"late")]);
    bytes.extend_from_slice(b"\xff\xff\xff");
    check(&CLIENT, &bytes, &[Seen::Close(None)], Ok(()));
}

#[test]
fn prohibited_headers() {
    use DecodeError::*;
    let table: &[(&[u8], DecodeError)] = &[
        (b"\xc1\x00", ReservedBits),
        (b"\xa1\x00", ReservedBits),
        (b"\x91\x00", ReservedBits),
        (b"\xf1\x00", ReservedBits),
        (b"\x83\x00", ReservedOpcode),
        (b"\x87\x00", ReservedOpcode),
        (b"\x8b\x00", ReservedOpcode),
        (b"\x8f\x00", ReservedOpcode),
        (b"\x08\x00", ControlFragmented),
        (b"\x09\x00", ControlFragmented),
        (b"\x0a\x00", ControlFragmented),
        (b"\x88\x7e\x00\x7e", ControlTooLong),
        (b"\x89\x7e\x00\x01", ControlTooLong),
        (b"\x8a\x7f\x00\x00\x00\x00\x00\x00\x00\x01", ControlTooLong),
        (b"\x81\x80\x00\x00\x00\x00", Masked),
        (b"\x89\x80\x00\x00\x00\x00", Masked),
        (b"\x81\x7e\x00\x00", LengthNotMinimal),
        (b"\x81\x7e\x00\x7d", LengthNotMinimal),
        (b"\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x00", LengthNotMinimal),
        (b"\x81\x7f\x00\x00\x00\x00\x00\x00\xff\xff", LengthNotMinimal),
        (b"\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x00", LengthMsb),
        (b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff", LengthMsb),
        (b"\x80\x00", ContinuationOfNothing),
        (b"\x00\x00", ContinuationOfNothing),
    ];
    for (bytes, error) in table {
        check(&CLIENT, bytes, &[], Err(*error));
        assert_eq!(error.close_code(), CloseCode::PROTOCOL);
    }
    check(&SERVER, b"\x81\x00", &[], Err(NotMasked));
    check(&SERVER, b"\x89\x00", &[], Err(NotMasked));
    check(&CLIENT, b"\x01\x01a\x81\x01b", &[], Err(MessageInsideMessage));
    check(&CLIENT, b"\x02\x01a\x02\x01b", &[], Err(MessageInsideMessage));
    check(&CLIENT, b"\x81\x01a\x80\x01b", &[text("a")], Err(ContinuationOfNothing));
    check(&CLIENT, b"\x01\x01a\x80\x01b\x80\x00", &[text("ab")], Err(ContinuationOfNothing));
}

#[test]
fn limits_are_held_before_the_payload() {
    let rules = |frame_bytes_max, message_bytes_max| Rules { frame_bytes_max, message_bytes_max, ..CLIENT };
    let too_big = Err(DecodeError::FrameTooBig);
    check(&rules(3, 10), b"\x82\x03abc", &[binary(b"abc")], Ok(()));
    check(&rules(3, 10), b"\x82\x04", &[], too_big);
    check(&rules(1 << 16, usize::MAX), b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x01", &[], too_big);
    check(&rules(u64::MAX, 3), b"\x82\x04", &[], Err(DecodeError::MessageTooBig));
    check(&rules(3, 4), b"\x02\x03abc\x80\x01d", &[binary(b"abcd")], Ok(()));
    check(&rules(3, 4), b"\x02\x03abc\x80\x02", &[], Err(DecodeError::MessageTooBig));
    check(&rules(0, 0), b"\x82\x00\x89\x02hi", &[binary(b""), Seen::Ping(b"hi".into())], Ok(()));
    // Control frames between fragments do not count.
    check(
        &rules(3, 4),
        b"\x02\x03abc\x89\x03123\x80\x01d",
        &[Seen::Ping(b"123".into()), binary(b"abcd")],
        Ok(()),
    );
    assert_eq!(DecodeError::FrameTooBig.close_code(), CloseCode::TOO_BIG);
    assert_eq!(DecodeError::MessageTooBig.close_code(), CloseCode::TOO_BIG);
    assert_eq!(DecodeError::TextNotUtf8.close_code(), CloseCode::INVALID_DATA);
}

#[test]
fn a_limit_is_held_before_the_key_arrives() {
    let rules = Rules { frame_bytes_max: 10, ..SERVER };
    check(&rules, b"\x82\x8b", &[], Err(DecodeError::FrameTooBig));
}

#[test]
fn memory_follows_what_arrived() {
    let rules = Rules { frame_bytes_max: u64::MAX, message_bytes_max: usize::MAX, ..CLIENT };
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    feed(&mut decoder, &rules, b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", &mut events).unwrap();
    assert_eq!(decoder.buffered(), 0, "a header alone reserves nothing");
    assert!(!decoder.is_idle());
    for _ in 0..100 {
        feed(&mut decoder, &rules, &[0; 1000], &mut events).unwrap();
    }
    assert!(decoder.buffered() <= 2 * 100_000, "{}", decoder.buffered());

    // Where the end is known, the buffer does not grow past it.
    let mut decoder = Decoder::default();
    let bytes = plain(&[(Opcode::Binary, true, &[0; 1500])]);
    feed(&mut decoder, &CLIENT, &bytes[..1200], &mut events).unwrap();
    feed(&mut decoder, &CLIENT, &bytes[1200..1400], &mut events).unwrap();
    assert_eq!(decoder.buffered(), 1500);
    assert!(events.is_empty());
    feed(&mut decoder, &CLIENT, &bytes[1400..], &mut events).unwrap();
    assert_eq!(events, [binary(&[0; 1500])]);
    assert_eq!(decoder.buffered(), 0);
    assert!(decoder.is_idle());
}

#[test]
fn the_buffer_is_given_back_after_a_control_frame_too() {
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    feed(&mut decoder, &CLIENT, b"\x89\x05Hel", &mut events).unwrap();
    assert!(decoder.buffered() > 0);
    feed(&mut decoder, &CLIENT, b"lo", &mut events).unwrap();
    assert_eq!(events, [Seen::Ping(b"Hello".into())]);
    assert_eq!(decoder.buffered(), 0);
}

#[test]
fn text_fails_inside_an_unfinished_frame() {
    // A frame of 100 bytes whose third can start no code point: the error comes with that byte.
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    feed(&mut decoder, &CLIENT, b"\x81\x64ab", &mut events).unwrap();
    assert_eq!(feed(&mut decoder, &CLIENT, b"\xff", &mut events), Err(DecodeError::TextNotUtf8));
    // An unfinished code point at the end of the message.
    check(&CLIENT, b"\x81\x02a\xc3", &[], Err(DecodeError::TextNotUtf8));
    check(&CLIENT, b"\x01\x02a\xc3\x80\x00", &[], Err(DecodeError::TextNotUtf8));
    // Fragments may end inside a code point, and the next one must go on with it.
    check(&CLIENT, b"\x01\x02a\xc3\x80\x01b", &[], Err(DecodeError::TextNotUtf8));
}

#[test]
fn compressed_messages_are_handed_out_as_they_came() {
    let compressed = |text, payload: &[u8]| Seen::Compressed { text, payload: payload.into() };
    // Not UTF-8 on its own, whole and in fragments, with control frames between and plain messages around it.
    check(&AGREED, b"\xc1\x02\xff\xfe\x81\x01a", &[compressed(true, b"\xff\xfe"), text("a")], Ok(()));
    check(
        &AGREED,
        b"\x82\x01b\x41\x02\xc3\x28\x89\x02hi\x00\x00\x80\x01\xc3\x81\x02\xc3\xa9\x42\x00\x8a\x00\x80\x03abc\xc2\x00",
        &[
            binary(b"b"),
            Seen::Ping(b"hi".into()),
            compressed(true, b"\xc3\x28\xc3"),
            text("é"),
            Seen::Pong(b"".into()),
            compressed(false, b"abc"),
            compressed(false, b""),
        ],
        Ok(()),
    );
    let server = Rules { role: Role::Server, ..AGREED };
    let mut bytes = Vec::new();
    frame::write_compressed(&mut bytes, Opcode::Text, &[0xff; 200], Some(KEY));
    check(&server, &bytes, &[compressed(true, &[0xff; 200])], Ok(()));
    // Text that is not compressed is held to its rules still.
    check(&AGREED, b"\xc1\x01\xff\x81\x01\xff", &[compressed(true, b"\xff")], Err(DecodeError::TextNotUtf8));
    check(&AGREED, b"\x01\x01\xc3\x80\x00", &[], Err(DecodeError::TextNotUtf8));
}

#[test]
fn rsv1_stands_on_the_first_frame_of_a_message_alone() {
    use DecodeError::*;
    let a = [text("a")];
    for (bytes, events, error) in [
        // On a continuation, on control frames and on what is reserved.
        (&b"\x41\x01a\xc0\x01b"[..], &[][..], ReservedBits),
        (b"\x01\x01a\xc0\x01b", &[], ReservedBits),
        (b"\x81\x01a\x40\x01b", &a, ReservedBits),
        (b"\xc8\x00", &[], ReservedBits),
        (b"\xc9\x00", &[], ReservedBits),
        (b"\xca\x00", &[], ReservedBits),
        (b"\x41\x01a\xc9\x00", &[], ReservedBits),
        (b"\xc3\x00", &[], ReservedBits),
        // The other two bits have no meaning.
        (b"\xe1\x00", &[], ReservedBits),
        (b"\xd2\x00", &[], ReservedBits),
        (b"\xa1\x00", &[], ReservedBits),
        (b"\x92\x00", &[], ReservedBits),
        (b"\xf1\x00", &[], ReservedBits),
        (b"\x01\x01a\xc1\x01b", &[], MessageInsideMessage),
        (b"\x41\x01a\x81\x01b", &[], MessageInsideMessage),
    ] {
        check(&AGREED, bytes, events, Err(error));
    }
    check(&CLIENT, b"\xc1\x00", &[], Err(ReservedBits));
    check(&CLIENT, b"\x42\x00", &[], Err(ReservedBits));
}

#[test]
fn limits_hold_for_compressed_messages() {
    let rules = |frame_bytes_max, message_bytes_max| Rules { frame_bytes_max, message_bytes_max, ..AGREED };
    let whole = |payload: &[u8]| [Seen::Compressed { text: false, payload: payload.into() }];
    check(&rules(3, 4), b"\xc2\x03abc", &whole(b"abc"), Ok(()));
    check(&rules(3, 4), b"\xc2\x04", &[], Err(DecodeError::FrameTooBig));
    check(&rules(9, 3), b"\xc2\x04", &[], Err(DecodeError::MessageTooBig));
    check(&rules(3, 4), b"\x42\x03abc\x80\x01d", &whole(b"abcd"), Ok(()));
    check(&rules(3, 4), b"\x42\x03abc\x80\x02", &[], Err(DecodeError::MessageTooBig));
}

#[test]
fn a_message_has_so_many_fragments() {
    let rules = |fragments_max| Rules { fragments_max, ..AGREED };
    let too_many = Err(DecodeError::TooManyFragments);
    let three = b"\x01\x01a\x00\x00\x80\x01b";
    check(&rules(3), three, &[text("ab")], Ok(()));
    check(&rules(2), three, &[], too_many);
    check(&rules(1), three, &[], too_many);
    check(&rules(2), b"\x01\x01a\x00\x00\x80", &[], too_many);
    check(&rules(2), b"\x42\x00\x00\x00\x00", &[], too_many);
    // One frame is a message, and an unfinished one ends with the second at the earliest.
    for fragments_max in [0, 1] {
        check(&rules(fragments_max), b"\x81\x01a\x81\x01b", &[text("a"), text("b")], Ok(()));
        check(&rules(fragments_max), b"\x01\x01a", &[], Ok(()));
    }
    // Control frames do not count, and every message begins anew.
    let with_pings = b"\x01\x01a\x89\x00\x89\x00\x89\x00\x80\x01b".repeat(3);
    let ping = Seen::Ping(Vec::new());
    let events = vec![[ping.clone(), ping.clone(), ping, text("ab")]; 3].concat();
    check(&rules(2), &with_pings, &events, Ok(()));
    assert_eq!(DecodeError::TooManyFragments.close_code(), CloseCode::TOO_BIG);
    assert!(DecodeError::TooManyFragments.reason().len() <= fanfare_wire::close::REASON_MAX);
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![
        6 => Just(0x81_u8), 4 => Just(0x01), 6 => Just(0x82), 3 => Just(0x02), 6 => Just(0x00), 6 => Just(0x80),
        4 => Just(0x89), 3 => Just(0x8a), 1 => Just(0x88), 1 => any::<u8>(),
        4 => Just(0xc1), 3 => Just(0x41), 3 => Just(0xc2), 3 => Just(0x42), 1 => Just(0xc0), 1 => Just(0xc9),
    ];
    let payload = prop_oneof![
        6 => "[a-zé€😀]{0,40}".prop_map(String::into_bytes),
        2 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => proptest::collection::vec(any::<u8>(), 100..140),
        1 => Just(b"\x03\xe8ok".to_vec()),
    ];
    // Most frames have the form that their length wants; a few take a longer one.
    let form = prop_oneof![20 => Just(0_u8), 1 => Just(126), 1 => Just(127)];
    (opcode, payload, form, prop::bool::weighted(0.95), any::<[u8; 4]>()).prop_map(
        |(first, mut payload, form, masked, key)| {
            let form = if form == 0 && payload.len() > 125 { 126 } else { form };
            let mask_bit = if masked { 0x80 } else { 0 };
            let mut out = vec![first];
            match form {
                126 => {
                    out.push(mask_bit | 126);
                    out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
                }
                127 => {
                    out.push(mask_bit | 127);
                    out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
                }
                _ => out.push(mask_bit | payload.len() as u8),
            }
            if masked {
                out.extend_from_slice(&key);
                payload.iter_mut().enumerate().for_each(|(i, byte)| *byte ^= key[i % 4]);
            }
            out.extend_from_slice(&payload);
            out
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever arrives, and however it is cut, the decoder says what the byte-wise reference says, at the
    /// same byte.
    #[test]
    fn agrees_with_the_reference(
        frames in proptest::collection::vec(any_frame(), 1..8),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        frame_bytes_max in prop_oneof![Just(u64::MAX), 30_u64..140],
        message_bytes_max in prop_oneof![Just(usize::MAX), 60_usize..200],
        fragments_max in prop_oneof![Just(u32::MAX), 1_u32..4],
        compressed in prop::bool::weighted(0.8),
    ) {
        let rules =
            Rules { role: Role::Server, frame_bytes_max, message_bytes_max, fragments_max, compressed };
        let bytes = frames.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();

        let mut reference = Reference::new(rules);
        let failed_at = bytes.iter().position(|byte| reference.push(*byte).is_err());
        let expected = (reference.events, reference.failed.map_or(Ok(()), Err));
        prop_assert_eq!(&decode(&rules, &bytes, &cuts), &expected);

        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        let position = bytes.chunks(1).position(|byte| feed(&mut decoder, &rules, byte, &mut events).is_err());
        prop_assert_eq!(position, failed_at);
        prop_assert_eq!(&events, &expected.0);
    }

    /// Bytes that are no frames at all end in an error or in waiting, never in a panic.
    #[test]
    fn survives_anything(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..10),
        server in any::<bool>(),
        compressed in any::<bool>(),
    ) {
        let rules = Rules { compressed, ..if server { SERVER } else { CLIENT } };
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for piece in &pieces {
            if feed(&mut decoder, &rules, piece, &mut events).is_err() {
                break;
            }
        }
    }
}
