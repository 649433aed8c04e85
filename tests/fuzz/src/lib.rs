//! What the fuzz targets share.
//!
//! An input is what a peer would send, as it would send it, wherever that is possible: so seeds can be written by hand
//! and read by people. What else a target has to choose (where bytes are cut, which limits hold) comes from a checksum of
//! the input, so that the same input always does the same.

#![forbid(unsafe_code)]

/// A source of choices that an input determines (FNV-1a of it, then splitmix64).
#[derive(Clone, Debug)]
pub struct Choices(u64);

impl Choices {
    /// The choices of this input.
    pub fn of(input: &[u8]) -> Self {
        let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(input.iter().fold(0xcbf2_9ce4_8422_2325, mix))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to `end`, without `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// Up to `count` places, in order, at which to cut `len` bytes. A place can come twice: an empty piece.
    pub fn cuts(&mut self, len: usize, count: usize) -> Vec<usize> {
        let mut cuts: Vec<usize> = (0..count).map(|_| self.below(len + 1)).collect();
        cuts.sort_unstable();
        cuts
    }
}

/// How many line ends there are; every CR and every LF must be part of one.
pub fn line_ends(bytes: &[u8]) -> usize {
    let count = bytes.windows(2).filter(|pair| pair == b"\r\n").count();
    for end in [b'\r', b'\n'] {
        let alone = bytes.iter().filter(|byte| **byte == end).count() - count;
        assert_eq!(alone, 0, "half a line end in {:?}", String::from_utf8_lossy(bytes));
    }
    count
}
