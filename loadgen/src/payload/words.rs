//! Words of a payload's header: 48 bits in eight printable characters, with six bits each.

use xxhash_rust::xxh3::xxh3_64;

pub(super) const WORD: usize = 8;
pub(super) const WORD_BITS: u32 = 48;

/// Every byte of a word.
const EACH: u64 = 0x0101_0101_0101_0101;
/// The character of zero: `#`. The alphabet goes on from here and leaves out the backslash.
const ZERO: u64 = 0x23;
/// The first value whose character stands behind the backslash.
const BEHIND_BACKSLASH: u64 = 0x5c - ZERO;

/// The checksum as it stands in word 0.
#[inline]
pub(super) fn checksum(covered: &[u8]) -> [u8; WORD] {
    spread(xxh3_64(covered))
}

/// The low 48 bits as eight characters, the highest bits first.
#[inline]
pub(super) fn spread(value: u64) -> [u8; WORD] {
    let x = (value & 0x0000_ffff_ff00_0000) << 8 | value & 0x0000_0000_00ff_ffff;
    let x = (x & 0x00ff_f000_00ff_f000) << 4 | x & 0x0000_0fff_0000_0fff;
    let x = (x & 0x0fc0_0fc0_0fc0_0fc0) << 2 | x & 0x003f_003f_003f_003f;
    let behind = (x + (0x80 - BEHIND_BACKSLASH) * EACH) >> 7 & EACH;
    (x + ZERO * EACH + behind).to_be_bytes()
}

/// The value of eight characters. Other bytes than [`spread`] writes give some other value.
#[inline]
pub(super) fn gather(word: [u8; WORD]) -> u64 {
    let x = u64::from_be_bytes(word).wrapping_sub(ZERO * EACH);
    let behind = x.wrapping_add((0x80 - BEHIND_BACKSLASH - 1) * EACH) >> 7 & EACH;
    let x = x.wrapping_sub(behind);
    let x = (x & 0x3f00_3f00_3f00_3f00) >> 2 | x & 0x003f_003f_003f_003f;
    let x = (x & 0x0fff_0000_0fff_0000) >> 4 | x & 0x0000_0fff_0000_0fff;
    (x & 0x00ff_ffff_0000_0000) >> 8 | x & 0x0000_0000_00ff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_printable_and_needs_no_escape() {
        for value in 0..64 {
            let word = spread(value << 42 | value);
            for byte in word {
                assert!(byte.is_ascii_graphic() && byte != b'"' && byte != b'\\', "{value}: {byte:#x}");
            }
            assert_eq!(gather(word), value << 42 | value);
        }
    }
}
