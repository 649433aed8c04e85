//! Buffers of one size that take turns, all of them in the first cache.

use std::ops::Range;

/// How much memory all buffers take together: two such sets fit into a first cache of 48 KiB, one into 32 KiB.
const SET_BYTES: usize = 16 * 1024;

const CACHE_LINE: usize = 64;

/// Equal buffers that take turns.
///
/// Work on one single buffer would be measured by how fast the processor forwards its last store to the next load, which
/// does not happen to messages: each comes in another place.
#[derive(Debug)]
pub struct Buffers {
    bytes: Vec<u8>,
    /// Where the first buffer begins.
    start: usize,
    size: usize,
    stride: usize,
    count: usize,
    turn: usize,
}

impl Buffers {
    /// Buffers of `size` bytes that begin `align` bytes behind the beginning of a cache line.
    pub fn new(size: usize, align: usize) -> Self {
        let stride = (align + size).next_multiple_of(CACHE_LINE);
        let count = (SET_BYTES / stride).max(1);
        let bytes = vec![0x5a; count * stride + CACHE_LINE];
        let start = bytes.as_ptr().align_offset(CACHE_LINE) + align;
        Self { bytes, start, size, stride, count, turn: 0 }
    }

    /// The buffer whose turn it is.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "the buffer is lent, which an Iterator cannot do")]
    pub fn next(&mut self) -> &mut [u8] {
        let place = self.advance();
        &mut self.bytes[place]
    }

    /// The buffer whose turn it is, and its counterpart among `others`, which are of the same size and alignment.
    #[inline]
    pub fn next_with<'a>(&'a mut self, others: &'a Self) -> (&'a mut [u8], &'a [u8]) {
        let place = self.advance();
        let counterpart = others.start + place.start - self.start;
        (&mut self.bytes[place], &others.bytes[counterpart..counterpart + others.size])
    }

    #[inline]
    fn advance(&mut self) -> Range<usize> {
        self.turn = if self.turn + 1 < self.count { self.turn + 1 } else { 0 };
        let start = self.start + self.turn * self.stride;
        start..start + self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_take_turns_where_they_should() {
        for (size, align) in [(64, 0), (64, 63), (1000, 1), (16 * 1024, 0), (16 * 1024, 31)] {
            let mut buffers = Buffers::new(size, align);
            let mut seen = Vec::new();
            for _ in 0..buffers.count {
                let buffer = buffers.next();
                assert_eq!((buffer.len(), buffer.as_ptr() as usize % CACHE_LINE), (size, align));
                seen.push(buffer.as_ptr() as usize);
            }
            seen.sort_unstable();
            assert!(seen.windows(2).all(|pair| pair[1] - pair[0] >= size), "{size} {align}");
        }
    }
}
