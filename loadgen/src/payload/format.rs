//! Writes payloads, and reads what a server delivered.

use super::content::{Content, Filling};
use super::words::{WORD, WORD_BITS, checksum, gather, spread};

/// The smallest payload: the four words.
pub(super) const HEADER_BYTES: usize = 4 * WORD;

/// How many publishers can be told apart.
pub(crate) const PUBLISHERS_MAX: usize = 1 << 16;

const SEQ_BITS: u32 = 32;
const RUN_BITS: u32 = 12;
const LAG_BITS: u32 = WORD_BITS - RUN_BITS;

/// Identifies one message and when it was due and sent. Times are nanoseconds since the run's epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    pub(crate) publisher: u16,
    pub(crate) seq: u32,
    pub(crate) intended: u64,
    /// At most 68 seconds after `intended`: what is later says that much.
    pub(crate) sent: u64,
}

/// Why a payload is not one of this run's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unread {
    /// Not what anybody published: the length or the checksum is wrong.
    Corrupt,
    /// An intact payload of another run.
    Foreign,
}

/// The payloads of one run.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    run: u16,
    smallest_bytes: usize,
    largest_bytes: usize,
    filling: Filling,
}

impl Format {
    /// Payloads of a run that the low bits of `run` tell from others.
    pub(crate) fn new(run: u16, content: &Content) -> Self {
        Self {
            run: run & ((1 << RUN_BITS) - 1),
            smallest_bytes: content.smallest_bytes(),
            largest_bytes: content.largest_bytes(),
            filling: Filling::new(content),
        }
    }

    /// Writes a payload in the place of what `out` held.
    pub(crate) fn write(&self, out: &mut Vec<u8>, stamp: &Stamp) {
        let lag = stamp.sent.saturating_sub(stamp.intended).min((1 << LAG_BITS) - 1);
        out.clear();
        out.extend_from_slice(&[0; WORD]);
        out.extend_from_slice(&spread(u64::from(stamp.publisher) << SEQ_BITS | u64::from(stamp.seq)));
        out.extend_from_slice(&spread(stamp.intended));
        out.extend_from_slice(&spread(u64::from(self.run) << LAG_BITS | lag));
        self.filling.append(out, stamp.publisher, stamp.seq);
        let checksum = checksum(&out[WORD..]);
        out[..WORD].copy_from_slice(&checksum);
    }

    /// Reads a payload that a server delivered.
    ///
    /// Where sizes vary, the checksum vouches for the length: XXH3 of a part or of more is another value.
    ///
    /// # Errors
    /// If it is not one of this run's, as it was published.
    #[inline]
    pub(crate) fn read(&self, payload: &[u8]) -> Result<Stamp, Unread> {
        let fits = (self.smallest_bytes..=self.largest_bytes).contains(&payload.len());
        let (Some((header, _)), true) = (payload.split_first_chunk(), fits) else {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Records;
    use proptest::prelude::*;

    const STAMP: Stamp = Stamp { publisher: 7, seq: 123_456, intended: 10_000_000_000, sent: 10_000_012_345 };

    fn of(sizes: &str) -> Content {
        Content::filler(sizes.parse().expect(sizes), 1.0)
    }

    fn written(format: &Format, stamp: &Stamp) -> Vec<u8> {
        let mut payload = b"what was there before".to_vec();
        format.write(&mut payload, stamp);
        payload
    }

    #[test]
    fn a_payload_of_every_size_comes_back() {
        for size in [HEADER_BYTES, 33, 63, 64, 65, 241, 1024, 100_000] {
            for compressible in [0.0, 0.3, 1.0] {
                let format = Format::new(
                    99,
                    &Content::filler(size.to_string().parse().expect("a size"), compressible),
                );
                let payload = written(&format, &STAMP);
                assert_eq!((payload.len(), format.read(&payload)), (size, Ok(STAMP)));
                assert!(std::str::from_utf8(&payload).is_ok());
            }
        }
    }

    #[test]
    fn every_changed_byte_is_corrupt() {
        let format = Format::new(3, &of("80"));
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
        let format = Format::new(3, &of("80"));
        let payload = written(&format, &STAMP);
        let longer = [&payload[..], b"x"].concat();
        for bad in [&payload[..79], &longer, b"", b"hello"] {
            assert_eq!(format.read(bad), Err(Unread::Corrupt));
        }
        assert_eq!(Format::new(4, &of("80")).read(&payload), Err(Unread::Foreign));
    }

    #[test]
    fn parts_and_extensions_are_corrupt_where_sizes_vary() {
        let records = Records::read(b"{\"a\":1}\n{\"a\":1}{\"a\":1}\n").expect("records");
        for content in
            [of("32..4KiB"), of("lognormal:400,2"), of("64:50%,300:50%"), Content::records(records)]
        {
            let format = Format::new(3, &content);
            for seq in 0..20 {
                let stamp = Stamp { seq, ..STAMP };
                let payload = written(&format, &stamp);
                assert_eq!(format.read(&payload), Ok(stamp));
                for length in 0..payload.len() {
                    assert_eq!(format.read(&payload[..length]), Err(Unread::Corrupt), "{content:?} {length}");
                }
                let mut longer = payload.clone();
                for byte in b"\0#aa {\"a\":1}".iter().chain(&payload) {
                    longer.push(*byte);
                    assert_eq!(format.read(&longer), Err(Unread::Corrupt), "{content:?} {longer:?}");
                }
            }
        }
    }

    #[test]
    fn neighbours_have_different_filler() {
        for compressible in [0.0, 1.0] {
            let format = Format::new(3, &Content::filler("80".parse().expect("a size"), compressible));
            let (one, two) = (written(&format, &STAMP), written(&format, &Stamp { seq: 123_457, ..STAMP }));
            assert_ne!(one[HEADER_BYTES..], two[HEADER_BYTES..]);
        }
    }

    #[test]
    fn a_lag_too_long_to_carry_says_the_longest() {
        let format = Format::new(0, &of("32"));
        let payload = written(&format, &Stamp { sent: STAMP.intended + (1 << 40), ..STAMP });
        assert_eq!(format.read(&payload).map(|stamp| stamp.sent), Ok(STAMP.intended + (1 << LAG_BITS) - 1));
    }

    proptest! {
        #[test]
        fn stamps_come_back(publisher: u16, seq: u32, intended in 0u64..1 << 48, lag in 0u64..1 << 36, run in 0u16..1 << 12) {
            let stamp = Stamp { publisher, seq, intended, sent: intended + lag };
            for sizes in ["64", "32..1KiB", "lognormal:200,1", "40:1%,99:99%"] {
                let format = Format::new(run, &of(sizes));
                prop_assert_eq!(format.read(&written(&format, &stamp)), Ok(stamp));
            }
        }
    }
}
