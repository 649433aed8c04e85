//! The newest message of each key in a range: what follows a `conflated` or a `snapshot` notice.

use super::ledger::{Entry, Life};

/// Of the messages `from ..= to`, those are owed that were the newest of their keys when `to` was the last message, in
/// order, and no others.
#[derive(Clone, Debug)]
pub(super) struct Newest {
    pub(super) to: u64,
    /// Removed keys are told. A snapshot leaves them out.
    tombstones: bool,
    /// All that is owed below it came.
    pub(super) next: u64,
}

impl Newest {
    pub(super) fn conflated(from: u64, to: u64) -> Self {
        Self { to, tombstones: true, next: from }
    }

    pub(super) fn snapshot(to: u64) -> Self {
        Self { to, tombstones: false, next: 1 }
    }

    fn is_owed(&self, life: &Life, seq: u64) -> bool {
        life.is_newest(seq, self.to) && (self.tombstones || !life.entry(seq).is_tombstone())
    }

    /// A message came; `None` is a raw tombstone, which says nothing of itself. Returns which one it was, or `None` if
    /// everything owed came before and it lies behind the range.
    pub(super) fn take(
        &mut self,
        life: &Life,
        seq: Option<u64>,
        may_lack: impl Fn(&Entry) -> bool,
    ) -> Option<u64> {
        while self.next <= self.to {
            let at = self.next;
            let entry = life.entry(at);
            let is_it = seq.map_or_else(|| entry.is_tombstone(), |seq| seq == at);
            if self.is_owed(life, at) {
                assert!(is_it || may_lack(entry), "{seq:?} comes where {at} is owed");
            } else {
                assert!(seq != Some(at), "{at} was not the newest of its key at {}", self.to);
            }
            self.next += 1;
            if is_it && self.is_owed(life, at) {
                return Some(at);
            }
        }
        None
    }

    /// No message below `end` follows.
    pub(super) fn end_below(&self, life: &Life, end: u64, may_lack: impl Fn(&Entry) -> bool) {
        let lacking = (self.next..end.min(self.to + 1))
            .find(|seq| self.is_owed(life, *seq) && !may_lack(life.entry(*seq)));
        assert_eq!(lacking, None, "a message of the newest as of {} did not come", self.to);
    }
}
