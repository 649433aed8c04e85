//! The incremental validator against `std::str::from_utf8`, at every split point.

use fanfare_wire::text::Utf8;
use proptest::prelude::*;

/// The number of bytes after which the text cannot become UTF-8 any more; `None` if it always can.
fn impossible_after(bytes: &[u8]) -> Option<usize> {
    (1..=bytes.len())
        .find(|&len| std::str::from_utf8(&bytes[..len]).is_err_and(|error| error.error_len().is_some()))
}

/// Feeds two pieces and then single bytes, and compares the place of the failure, or completeness at the end.
#[track_caller]
fn check(bytes: &[u8]) {
    let failure = impossible_after(bytes);
    for cut in 0..=bytes.len() {
        let mut utf8 = Utf8::default();
        let first = utf8.push(&bytes[..cut]);
        assert_eq!(first.is_err(), failure.is_some_and(|at| at <= cut), "{bytes:x?} cut at {cut}");
        if first.is_err() {
            continue;
        }
        let mut at_once = utf8;
        assert_eq!(at_once.push(&bytes[cut..]).is_err(), failure.is_some(), "{bytes:x?} cut at {cut}");
        let failed_at = bytes[cut..].chunks(1).position(|byte| utf8.push(byte).is_err());
        assert_eq!(failed_at.map(|at| cut + at + 1), failure, "{bytes:x?} from {cut}");
        if failure.is_none() {
            let complete = std::str::from_utf8(bytes).is_ok();
            assert_eq!(at_once.is_complete(), complete, "{bytes:x?} cut at {cut}");
            assert_eq!(utf8.is_complete(), complete, "{bytes:x?} cut at {cut}");
        }
    }
}

#[test]
fn tables() {
    let good: &[&[u8]] = &[
        b"",
        b"a",
        b"\x00",
        b"\x7f",
        "é€😀".as_bytes(),
        b"\xc2\x80",
        b"\xdf\xbf",
        b"\xe0\xa0\x80",
        b"\xed\x9f\xbf",
        b"\xee\x80\x80",
        b"\xef\xbf\xbf",
        b"\xf0\x90\x80\x80",
        b"\xf4\x8f\xbf\xbf",
        "κόσμε".as_bytes(),
    ];
    let bad: &[&[u8]] = &[
        b"\x80",
        b"\xbf",
        b"\xc0\x80",
        b"\xc1\xbf",
        b"\xc2\x41",
        b"\xe0\x80\x80",
        b"\xe0\x9f\xbf",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xe2\x28\xa1",
        b"\xe2\x82\x28",
        b"\xf0\x80\x80\x80",
        b"\xf0\x8f\xbf\xbf",
        b"\xf0\x9f\x98\x28",
        b"\xf0\x9f\x28\x80",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xfe",
        b"\xff",
        // Autobahn's case 6.4: fails with the byte that leaves Unicode, long before the frame ends.
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80\x65\x64\x69\x74\x65\x64",
    ];
    for text in good {
        assert!(std::str::from_utf8(text).is_ok());
    }
    for text in bad {
        assert!(impossible_after(text).is_some(), "{text:x?}");
    }
    for text in good.iter().chain(bad) {
        for prefix in ["", "ab", "é", &"x".repeat(70)] {
            for suffix in ["", "yz", "€"] {
                check(&[prefix.as_bytes(), text, suffix.as_bytes()].concat());
            }
        }
        for len in 0..text.len() {
            check(&text[..len]);
        }
    }
}

#[test]
fn every_pair_of_bytes() {
    for first in 0x80..=0xff {
        for second in 0..=0xff {
            check(&[first, second]);
            check(&[first, second, 0x80, 0xbf]);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
        check(&bytes);
    }

    #[test]
    fn text_with_one_byte_changed(text in "\\PC{0,40}", at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = text.into_bytes();
        check(&bytes);
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            check(&bytes);
        }
    }
}
