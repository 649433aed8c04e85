//! Masking and unmasking of payloads (RFC 6455 section 5.3), in place.
//!
//! The two are the same XOR with a key of four bytes, repeated. A client's messages all pass through here,
//! so it is written to cost no more than a copy: the key is rotated once to where the buffer stands in the
//! payload, and then whole vectors are XORed, at the width that the processor has.

use std::sync::LazyLock;

use pulp::{Arch, Simd, WithSimd};

/// Below this length the call into the vector code costs more than it saves.
const VECTOR_MIN: usize = 2 * BLOCK;

/// The unit of the vector code: a cache line, and one AVX-512 or two AVX2 registers.
const BLOCK: usize = 64;

/// What the processor can do. It is asked once, since asking costs more than masking a small message.
static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// XORs `buf` with the repeated key, in place.
///
/// `offset` is the position of `buf[0]` inside its frame's payload, so that a payload can be handled in
/// pieces, cut anywhere.
#[inline]
pub fn apply(buf: &mut [u8], key: [u8; 4], offset: usize) {
    let key = rotate(u32::from_ne_bytes(key), offset);
    if buf.len() < VECTOR_MIN {
        apply_words(buf, key);
    } else {
        ARCH.dispatch(Blocks { buf, key });
    }
}

/// The key as it stands `by` bytes further into the payload.
#[inline(always)]
fn rotate(key: u32, by: usize) -> u32 {
    let bits = 8 * (by % 4) as u32;
    if cfg!(target_endian = "little") { key.rotate_right(bits) } else { key.rotate_left(bits) }
}

/// One block, then eight bytes at a time, then four, then one: for payloads of less than two blocks.
#[inline]
fn apply_words(buf: &mut [u8], key: u32) {
    debug_assert!(buf.len() < VECTOR_MIN, "longer buffers have more than one block");
    let (block, rest) = buf.as_chunks_mut::<BLOCK>();
    if let Some(block) = block.first_mut() {
        *block = xored(*block, key);
    }
    let wide = u64::from(key) << 32 | u64::from(key);
    let (words, rest) = rest.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    let (half, rest) = rest.as_chunks_mut::<4>();
    for half in half {
        *half = (u32::from_ne_bytes(*half) ^ key).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.to_ne_bytes()) {
        *byte ^= key;
    }
}

/// The arguments of [`apply_blocks`]. A closure in its place would not be inlined into the code for the
/// processor's vectors.
struct Blocks<'a> {
    buf: &'a mut [u8],
    key: u32,
}

impl WithSimd for Blocks<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        apply_blocks(self.buf, self.key);
    }
}

/// Aligned blocks in the middle, one unaligned block at either end.
///
/// The end blocks are read before the middle is written and stored after it. Where they overlap the middle
/// they store the same bytes again, so neither end needs a loop of its own. A vector that crosses a cache
/// line costs two, which is why the middle is aligned.
#[inline(always)]
fn apply_blocks(buf: &mut [u8], key: u32) {
    let len = buf.len();
    let to_aligned = buf.as_ptr().align_offset(BLOCK).min(BLOCK);
    let (Some(&first), Some(&last)) = (buf.first_chunk::<BLOCK>(), buf.last_chunk::<BLOCK>()) else {
        return apply_words(buf, key);
    };

    let middle_key = rotate(key, to_aligned);
    // Four blocks a turn, so that the loop's bookkeeping hides behind its loads and stores. With two, rustc
    // 1.95 makes gathers and scatters of the loop, more than ten times slower: measure after any change.
    let (turns, rest) = buf[to_aligned..].as_chunks_mut::<{ 4 * BLOCK }>();
    for turn in turns {
        *turn = xored(*turn, middle_key);
    }
    // Less than four blocks are left: no loop, since the compiler would make it wider than it ever runs.
    let (pair, rest) = rest.as_chunks_mut::<{ 2 * BLOCK }>();
    if let Some(pair) = pair.first_mut() {
        *pair = xored(*pair, middle_key);
    }
    if let Some(block) = rest.first_chunk_mut::<BLOCK>() {
        *block = xored(*block, middle_key);
    }

    if let Some(block) = buf.first_chunk_mut() {
        *block = xored(first, key);
    }
    if let Some(block) = buf.last_chunk_mut() {
        *block = xored(last, rotate(key, len - BLOCK));
    }
}

/// A block XORed with the key. The compiler makes vector instructions of it; `N` is a multiple of four.
#[inline(always)]
fn xored<const N: usize>(mut block: [u8; N], key: u32) -> [u8; N] {
    for word in block.as_chunks_mut::<4>().0 {
        *word = (u32::from_ne_bytes(*word) ^ key).to_ne_bytes();
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: octet i of the payload is XORed with octet i modulo 4 of the key.
    fn reference(buf: &mut [u8], key: [u8; 4], offset: usize) {
        for (i, byte) in buf.iter_mut().enumerate() {
            *byte ^= key[(i + offset) % 4];
        }
    }

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i as u32).wrapping_mul(0x9e37_79b1).to_le_bytes()[3]).collect()
    }

    fn check(align: usize, offset: usize, len: usize) {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let mut fast = pattern(align + len + 64);
        let mut slow = fast.clone();
        apply(&mut fast[align..align + len], key, offset);
        reference(&mut slow[align..align + len], key, offset);
        assert_eq!(fast, slow, "align {align} offset {offset} len {len}");
    }

    #[test]
    fn every_alignment_offset_and_length() {
        for align in 0..64 {
            for offset in 0..8 {
                for len in 0..300 {
                    check(align, offset, len);
                }
            }
        }
    }

    #[test]
    fn long_buffers() {
        for align in [0, 1, 3, 31, 63] {
            for offset in [0, 1, 2, 3, usize::MAX] {
                for len in [511, 512, 513, 1023, 1024, 1025, 4095, 4096, 4097, 65_537] {
                    if offset == usize::MAX {
                        // The reference would overflow; MAX is 3 modulo 4.
                        let mut fast = pattern(len);
                        let mut same = fast.clone();
                        apply(&mut fast, [1, 2, 3, 4], offset);
                        apply(&mut same, [1, 2, 3, 4], 3);
                        assert_eq!(fast, same);
                    } else {
                        check(align, offset, len);
                    }
                }
            }
        }
    }

    #[test]
    fn the_scalar_variant_agrees() {
        for len in 0..300 {
            for offset in 0..4 {
                let mut scalar = pattern(len);
                let mut slow = scalar.clone();
                let key = [9, 8, 7, 6];
                apply_blocks(&mut scalar, rotate(u32::from_ne_bytes(key), offset));
                reference(&mut slow, key, offset);
                assert_eq!(scalar, slow, "offset {offset} len {len}");
            }
        }
    }

    #[test]
    fn twice_is_nothing() {
        let mut buf = pattern(1000);
        apply(&mut buf, [1, 2, 3, 4], 1);
        apply(&mut buf, [1, 2, 3, 4], 1);
        assert_eq!(buf, pattern(1000));
    }
}
