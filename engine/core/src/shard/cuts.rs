//! Frames that a short send has cut.
//!
//! The rest of such a frame must go out before anything else, however long the subscriber takes. It is copied out of the
//! log, so that a stalled subscriber keeps no segment in memory; and subscribers that stall in the same message share
//! the copy.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use crate::topics::Usage;

/// A copy of a frame, counted while somebody needs it.
#[derive(Debug)]
pub(super) struct Cut {
    frame: Box<[u8]>,
    usage: Arc<Usage>,
}

impl Cut {
    pub(super) fn frame(&self) -> &[u8] {
        &self.frame
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.usage.remove_cut(self.frame.len());
    }
}

/// The cut frames of one log that somebody still needs.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    /// By sequence number and first byte: a message's frame in a snapshot is not compressed, that in the log may be.
    frames: HashMap<(u64, u8), Weak<Cut>>,
}

/// Fewer entries are not looked through for those that nobody needs any more.
const TIDY_MIN: usize = 16;

impl Cuts {
    /// A copy of message `seq`'s frame. `None` if such copies take as much memory as they may: a quarter of `total_max`.
    pub(super) fn copy(
        &mut self,
        seq: u64,
        frame: &[u8],
        usage: &Arc<Usage>,
        total_max: usize,
    ) -> Option<Arc<Cut>> {
        let key = (seq, frame[0]);
        if let Some(copy) = self.frames.get(&key).and_then(Weak::upgrade) {
            return Some(copy);
        }
        if self.frames.len() >= TIDY_MIN && self.frames.len() == self.frames.capacity() {
            self.frames.retain(|_, copy| copy.strong_count() > 0);
        }
        if !usage.add_cut(frame.len(), total_max) {
            return None;
        }
        let copy = Arc::new(Cut { frame: frame.into(), usage: usage.clone() });
        self.frames.insert(key, Arc::downgrade(&copy));
        Some(copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL_MAX: usize = 100;

    #[test]
    fn one_frame_is_copied_once_while_somebody_needs_it() {
        let (mut cuts, usage) = (Cuts::default(), Arc::default());
        let mut copy = |seq, frame: &[u8]| cuts.copy(seq, frame, &usage, TOTAL_MAX);
        let first = copy(1, b"frame").expect("there is room");
        assert!(Arc::ptr_eq(&first, &copy(1, b"frame").expect("it is there")));
        assert_eq!((copy(2, b"other").expect("there is room").frame(), usage.total()), (&b"other"[..], 10));
        drop(first);
        assert_eq!(usage.total(), 0);
        assert_eq!(copy(1, b"frame").expect("there is room").frame(), b"frame");
    }

    #[test]
    fn a_message_in_another_coding_is_another_frame() {
        let (mut cuts, usage) = (Cuts::default(), Arc::default());
        let mut copy = |frame: &[u8]| cuts.copy(1, frame, &usage, TOTAL_MAX).expect("there is room");
        let (plain, compressed) = (copy(b"\x81plain"), copy(b"\xc1compressed"));
        assert_eq!((plain.frame(), compressed.frame()), (&b"\x81plain"[..], &b"\xc1compressed"[..]));
    }

    #[test]
    fn copies_have_their_share_of_memory() {
        let (mut cuts, usage) = (Cuts::default(), Arc::default());
        let kept = cuts.copy(1, &[0; 20], &usage, TOTAL_MAX);
        assert!(kept.is_some() && cuts.copy(2, &[0; 6], &usage, TOTAL_MAX).is_none());
        assert!(cuts.copy(2, &[0; 5], &usage, TOTAL_MAX).is_some() && usage.total() == 20);
    }

    #[test]
    fn what_nobody_needs_is_forgotten() {
        let (mut cuts, usage) = (Cuts::default(), Arc::default());
        (0..100_000).for_each(|seq| drop(cuts.copy(seq, b"frame", &usage, TOTAL_MAX)));
        assert!(cuts.frames.len() < 100 && usage.total() == 0);
    }
}
