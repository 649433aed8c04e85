//! The payload of a measured message: which one it is, when it was due, when it was sent, and a checksum.
//!
//! Four words of eight characters, then filler up to the size asked for:
//!
//! | word | bits |
//! |---|---|
//! | 0 | checksum of everything behind it, 48 |
//! | 1 | publisher, 16; sequence, 32 |
//! | 2 | when it was due, in nanoseconds since the run's epoch, 48 |
//! | 3 | the run, 12; how long after that it was sent, in nanoseconds, 36 |
//!
//! Each character carries six bits. All of them are printable ASCII without `"` and `\`, so a payload can travel as text,
//! as binary or inside a JSON string, and be read by a person.

use xxhash_rust::xxh3::xxh3_64;

/// The smallest payload: the four words.
pub const HEADER_BYTES: usize = 4 * WORD;

/// How many publishers can be told apart.
pub const PUBLISHERS_MAX: usize = 1 << 16;

const WORD: usize = 8;
const WORD_BITS: u32 = 48;

const SEQ_BITS: u32 = 32;
const RUN_BITS: u32 = 12;
const LAG_BITS: u32 = WORD_BITS - RUN_BITS;

/// Every byte of a word.
const EACH: u64 = 0x0101_0101_0101_0101;
/// The character of zero: `#`. The alphabet goes on from here and leaves out the backslash.
const ZERO: u64 = 0x23;
/// The first value whose character stands behind the backslash.
const BEHIND_BACKSLASH: u64 = 0x5c - ZERO;

/// Identifies one message and when it was due and sent. Times are nanoseconds since the run's epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    pub publisher: u16,
    pub seq: u32,
    pub intended: u64,
    /// At most 68 seconds after `intended`: what is later says that much.
    pub sent: u64,
}

/// Why a payload is not one of this run's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unread {
    /// Not what anybody published: the length or the checksum is wrong.
    Corrupt,
    /// An intact payload of another run.
    Foreign,
}

/// The payloads of one run.
#[derive(Clone, Debug)]
pub struct Format {
    run: u16,
    size: usize,
    /// Printable characters, longer than the filler by one period, so that each message has its own part of it.
    pattern: Vec<u8>,
}

/// The length of the filler's pattern; a prime, so that it lines up with nothing.
const PERIOD: usize = 61;

impl Format {
    /// Payloads of `size` bytes, of a run that the low bits of `run` tell from others.
    ///
    /// # Panics
    /// If `size` is below [`HEADER_BYTES`].
    pub fn new(run: u16, size: usize) -> Self {
        assert!(size >= HEADER_BYTES, "a payload holds at least its header");
        let pattern = (0..size - HEADER_BYTES + PERIOD).map(|i| b'a' + (i % PERIOD % 26) as u8).collect();
        Self { run: run & ((1 << RUN_BITS) - 1), size, pattern }
    }

    pub fn size(&self) -> usize {
        self.size
    }

    /// Writes a payload in the place of what `out` held.
    pub fn write(&self, out: &mut Vec<u8>, stamp: &Stamp) {
        let lag = stamp.sent.saturating_sub(stamp.intended).min((1 << LAG_BITS) - 1);
        out.clear();
        out.extend_from_slice(&[0; WORD]);
        out.extend_from_slice(&spread(u64::from(stamp.publisher) << SEQ_BITS | u64::from(stamp.seq)));
        out.extend_from_slice(&spread(stamp.intended));
        out.extend_from_slice(&spread(u64::from(self.run) << LAG_BITS | lag));
        // The filler differs from message to message, so that a server that mixes two of them up is found out.
        let filler = &self.pattern[stamp.seq as usize % PERIOD..];
        out.extend_from_slice(&filler[..self.size - HEADER_BYTES]);
        let checksum = checksum(&out[WORD..]);
        out[..WORD].copy_from_slice(&checksum);
    }

    /// Reads a payload that a server delivered.
    ///
    /// # Errors
    /// If it is not one of this run's, as it was published.
    #[inline]
    pub fn read(&self, payload: &[u8]) -> Result<Stamp, Unread> {
        let (Some((header, _)), true) = (payload.split_first_chunk(), payload.len() == self.size) else {
            return Err(Unread::Corrupt);
        };
        let header: &[u8; HEADER_BYTES] = header;
        let (words, _) = header.as_chunks::<WORD>();
        if words[0] != checksum(&payload[WORD..]) {
            return Err(Unread::Corrupt);
        }
        let message = gather(words[1]);
        let intended = gather(words[2]);
        let timing = gather(words[3]);
        if timing >> LAG_BITS != u64::from(self.run) {
            return Err(Unread::Foreign);
        }
        Ok(Stamp {
            publisher: (message >> SEQ_BITS) as u16,
            seq: message as u32,
            intended,
            sent: intended + (timing & ((1 << LAG_BITS) - 1)),
        })
    }
}

/// The checksum as it stands in word 0.
#[inline]
fn checksum(covered: &[u8]) -> [u8; WORD] {
    spread(xxh3_64(covered))
}

/// The low 48 bits as eight characters, the highest bits first.
#[inline]
fn spread(value: u64) -> [u8; WORD] {
    let x = (value & 0x0000_ffff_ff00_0000) << 8 | value & 0x0000_0000_00ff_ffff;
    let x = (x & 0x00ff_f000_00ff_f000) << 4 | x & 0x0000_0fff_0000_0fff;
    let x = (x & 0x0fc0_0fc0_0fc0_0fc0) << 2 | x & 0x003f_003f_003f_003f;
    let behind = (x + (0x80 - BEHIND_BACKSLASH) * EACH) >> 7 & EACH;
    (x + ZERO * EACH + behind).to_be_bytes()
}

/// The value of eight characters. Other bytes than [`spread`] writes give some other value.
#[inline]
fn gather(word: [u8; WORD]) -> u64 {
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
    use proptest::prelude::*;

    const STAMP: Stamp = Stamp { publisher: 7, seq: 123_456, intended: 10_000_000_000, sent: 10_000_012_345 };

    fn written(format: &Format, stamp: &Stamp) -> Vec<u8> {
        let mut payload = Vec::new();
        format.write(&mut payload, stamp);
        payload
    }

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

    #[test]
    fn a_payload_of_every_size_comes_back() {
        for size in [HEADER_BYTES, 33, 63, 64, 65, 241, 1024, 100_000] {
            let format = Format::new(99, size);
            let payload = written(&format, &STAMP);
            assert_eq!((payload.len(), format.read(&payload)), (size, Ok(STAMP)));
            assert!(std::str::from_utf8(&payload).is_ok());
        }
    }

    #[test]
    fn every_changed_byte_is_corrupt() {
        let format = Format::new(3, 80);
        let payload = written(&format, &STAMP);
        for at in 0..payload.len() {
            for flip in 1..=255 {
                let mut bad = payload.clone();
                bad[at] ^= flip;
                assert_eq!(format.read(&bad), Err(Unread::Corrupt), "byte {at} ^ {flip:#x}");
            }
        }
    }

    #[test]
    fn another_length_is_corrupt_and_another_run_is_foreign() {
        let format = Format::new(3, 80);
        let payload = written(&format, &STAMP);
        let longer = [&payload[..], b"x"].concat();
        for bad in [&payload[..79], &longer, b"", b"hello"] {
            assert_eq!(format.read(bad), Err(Unread::Corrupt));
        }
        assert_eq!(Format::new(4, 80).read(&payload), Err(Unread::Foreign));
    }

    #[test]
    fn neighbours_have_different_filler() {
        let format = Format::new(3, 80);
        let (one, two) = (written(&format, &STAMP), written(&format, &Stamp { seq: 123_457, ..STAMP }));
        assert_ne!(one[HEADER_BYTES..], two[HEADER_BYTES..]);
    }

    #[test]
    fn a_lag_too_long_to_carry_says_the_longest() {
        let format = Format::new(0, HEADER_BYTES);
        let payload = written(&format, &Stamp { sent: STAMP.intended + (1 << 40), ..STAMP });
        assert_eq!(format.read(&payload).map(|stamp| stamp.sent), Ok(STAMP.intended + (1 << LAG_BITS) - 1));
    }

    proptest! {
        #[test]
        fn stamps_come_back(publisher: u16, seq: u32, intended in 0u64..1 << 48, lag in 0u64..1 << 36, run in 0u16..1 << 12) {
            let stamp = Stamp { publisher, seq, intended, sent: intended + lag };
            let format = Format::new(run, 64);
            prop_assert_eq!(format.read(&written(&format, &stamp)), Ok(stamp));
        }
    }
}
