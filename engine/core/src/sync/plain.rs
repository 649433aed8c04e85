//! What runs outside of models.

use std::ops::Range;

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

pub(crate) use arc_swap::{ArcSwap, Guard};
pub(crate) use crossbeam::queue::ArrayQueue as Queue;

/// Tells loom which bytes of a shared memory are written and read. Without loom it is nothing.
pub(crate) struct Accesses;

impl Accesses {
    pub(crate) fn new(_bytes: usize) -> Self {
        Self
    }

    #[inline]
    pub(crate) fn written(&self, _range: Range<usize>) {}

    #[inline]
    pub(crate) fn read(&self, _range: Range<usize>) {}
}
