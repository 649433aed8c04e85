//! Masking in place against a copy of the same length, both in the first cache.
//!
//! `cargo run --release -p fanfare-bench --bin ratios`

#![forbid(unsafe_code)]

use std::hint::black_box;

use fanfare_bench::{Buffers, Versus, versus};
use fanfare_wire::mask;

const ROUNDS: usize = 401;

/// Up to what masking may cost, as a multiple of the copy.
const RATIO_MAX: f64 = 1.10;

const SIZES: [usize; 4] = [64, 1024, 4096, 16 * 1024];

/// How far behind a cache line's beginning the buffers begin, and where in its frame's payload the masked one begins.
const PLACES: [(usize, usize); 5] = [(0, 0), (0, 1), (1, 0), (6, 3), (31, 2)];

fn mask_against_copy(size: usize, align: usize, offset: usize) -> Versus {
    let (mut masked, mut to, from) =
        (Buffers::new(size, align), Buffers::new(size, align), Buffers::new(size, align));
    versus(
        ROUNDS,
        || mask::apply(black_box(masked.next()), black_box([0x37, 0xfa, 0x21, 0x3d]), black_box(offset)),
        || {
            let (to, from) = to.next_with(&from);
            black_box(to).copy_from_slice(black_box(from));
        },
    )
}

fn main() {
    println!("mask::apply in place against copy_from_slice; medians of {ROUNDS} interleaved rounds");
    println!();
    println!(
        "{:>6} {:>6} {:>7} {:>10} {:>11} {:>12}",
        "bytes", "align", "offset", "mask ns", "memcpy ns", "mask/memcpy"
    );
    let mut over = 0;
    for size in SIZES {
        for (align, offset) in PLACES {
            let Versus { a_ns, b_ns, ratio } = mask_against_copy(size, align, offset);
            let mark = if ratio > RATIO_MAX { "  over" } else { "" };
            over += usize::from(ratio > RATIO_MAX);
            println!("{size:>6} {align:>6} {offset:>7} {a_ns:>10.2} {b_ns:>11.2} {ratio:>12.2}{mark}");
        }
    }
    println!();
    println!(
        "{} of {} at most {RATIO_MAX:.2}",
        SIZES.len() * PLACES.len() - over,
        SIZES.len() * PLACES.len()
    );
}
