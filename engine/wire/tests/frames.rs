//! Frame headers and whole frames, against the examples and boundaries of RFC 6455.

use fanfare_wire::close::{self, CloseCode};
use fanfare_wire::frame::{self, MAX_HEADER, Opcode};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn frame(opcode: Opcode, fin: bool, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write(&mut out, opcode, fin, payload, key);
    out
}

#[test]
fn examples_of_section_5_7() {
    assert_eq!(frame(Opcode::Text, true, b"Hello", None), b"\x81\x05Hello");
    assert_eq!(
        frame(Opcode::Text, true, b"Hello", Some(KEY)),
        b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
    );
    assert_eq!(frame(Opcode::Text, false, b"Hel", None), b"\x01\x03Hel");
    assert_eq!(frame(Opcode::Continuation, true, b"lo", None), b"\x80\x02lo");
    assert_eq!(frame(Opcode::Ping, true, b"Hello", None), b"\x89\x05Hello");
    assert_eq!(
        frame(Opcode::Pong, true, b"Hello", Some(KEY)),
        b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
    );
    assert_eq!(frame(Opcode::Binary, true, &[7; 256], None)[..4], [0x82, 0x7e, 0x01, 0x00]);
    assert_eq!(frame(Opcode::Binary, true, &[7; 65536], None)[..10], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn boundaries_of_the_length() {
    let table: &[(u64, &[u8])] = &[
        (0, &[0x82, 0]),
        (1, &[0x82, 1]),
        (125, &[0x82, 125]),
        (126, &[0x82, 126, 0, 126]),
        (127, &[0x82, 126, 0, 127]),
        (65_535, &[0x82, 126, 0xff, 0xff]),
        (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        (u64::MAX >> 1, &[0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    ];
    for (len, expected) in table {
        let plain = frame::header(Opcode::Binary, true, *len, None);
        assert_eq!(plain.as_ref(), *expected, "length {len}");
        assert_eq!(plain.len(), frame::header_len(*len, false));

        let masked = frame::header(Opcode::Binary, true, *len, Some(KEY));
        let mut with_key = [*expected, &KEY].concat();
        with_key[1] |= 0x80;
        assert_eq!(masked.as_ref(), with_key, "length {len}");
        assert_eq!(masked.len(), frame::header_len(*len, true));
        assert!(masked.len() <= MAX_HEADER);
    }
}

#[test]
fn opcodes_survive_their_bits() {
    for bits in 0..=255 {
        let known = matches!(bits, 0 | 1 | 2 | 8 | 9 | 10);
        assert_eq!(Opcode::from_bits(bits).map(|opcode| opcode as u8), known.then_some(bits));
    }
    assert!(Opcode::Close.is_control() && Opcode::Ping.is_control() && Opcode::Pong.is_control());
    assert!(!Opcode::Text.is_control() && !Opcode::Binary.is_control() && !Opcode::Continuation.is_control());
}

#[test]
fn close_codes_on_the_wire() {
    let sendable = |code: u16| CloseCode(code).is_sendable();
    for code in
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
    {
        assert!(sendable(code), "{code}");
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        assert!(!sendable(code), "{code}");
    }
}

#[test]
fn close_frames_hold_what_fits() {
    let check = |reason: &str, expected: &str| {
        let mut out = Vec::new();
        close::write(&mut out, CloseCode::GOING_AWAY, reason, None);
        let payload = [&1001_u16.to_be_bytes(), expected.as_bytes()].concat();
        assert_eq!(out, frame(Opcode::Close, true, &payload, None));
    };
    check("", "");
    check("bye", "bye");
    check(&"x".repeat(123), &"x".repeat(123));
    check(&"x".repeat(124), &"x".repeat(123));
    check(&format!("{}é", "x".repeat(122)), &"x".repeat(122));
    check(&format!("{}😀😀", "x".repeat(117)), &format!("{}😀", "x".repeat(117)));
    check(&format!("{}😀", "x".repeat(120)), &"x".repeat(120));

    let mut masked = Vec::new();
    close::write(&mut masked, CloseCode::NORMAL, "Hi", Some(KEY));
    assert_eq!(masked, frame(Opcode::Close, true, b"\x03\xe8Hi", Some(KEY)));
}
