//! Frames that a short send has cut.
//!
//! The rest of such a frame must go out before anything else, however long the subscriber takes. It is copied out of the
//! log, so that a stalled subscriber keeps no segment in memory; and subscribers that stall in the same message share
//! the copy.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// The cut frames of one log that somebody still needs.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    frames: HashMap<u64, Weak<[u8]>>,
}

/// Fewer entries are not looked through for those that nobody needs any more.
const TIDY_MIN: usize = 16;

impl Cuts {
    /// A copy of message `seq`'s frame.
    pub(super) fn copy(&mut self, seq: u64, frame: &[u8]) -> Arc<[u8]> {
        let frames = &mut self.frames;
        if let Some(copy) = frames.get(&seq).and_then(Weak::upgrade) {
            return copy;
        }
        if frames.len() >= TIDY_MIN && frames.len() == frames.capacity() {
            frames.retain(|_, copy| copy.strong_count() > 0);
        }
        let copy: Arc<[u8]> = frame.into();
        frames.insert(seq, Arc::downgrade(&copy));
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_frame_is_copied_once_while_somebody_needs_it() {
        let mut cuts = Cuts::default();
        let first = cuts.copy(1, b"frame");
        assert!(Arc::ptr_eq(&first, &cuts.copy(1, b"frame")));
        assert_eq!(*cuts.copy(2, b"other"), *b"other");
        drop(first);
        assert_eq!(*cuts.copy(1, b"frame"), *b"frame");
    }

    #[test]
    fn what_nobody_needs_is_forgotten() {
        let mut cuts = Cuts::default();
        (0..100_000).for_each(|seq| drop(cuts.copy(seq, b"frame")));
        assert!(cuts.frames.len() < 100);
    }
}
