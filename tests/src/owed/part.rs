//! The newest message of each key, now and then, in place of every message: what a subscription with `max_rate` gets.

use super::ledger::{Entry, Life};

/// Messages received since a subscription stopped getting every one.
///
/// The rules: they come in order. Up to some head `h` what came is the newest of each key changed from `from` to `h`, possibly
/// after older messages of the same keys. After `h`, if it wants every message again, every message follows.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Every key that changed from here on is owed.
    from: u64,
    /// The sequence numbers of what came. `None`: a tombstone that a raw subscriber got, which does not say its key.
    got: Vec<Option<u64>>,
}

impl Part {
    pub(super) fn new(from: u64) -> Self {
        Self { from, got: Vec::new() }
    }

    pub(super) fn push(&mut self, seq: Option<u64>) {
        self.got.push(seq);
    }

    /// Whether what came is all that a subscription that stands behind message `end` is owed. `may_lack` says which
    /// messages need not have come.
    pub(super) fn is_explained(&self, life: &Life, end: u64, may_lack: impl Fn(&Entry) -> bool) -> bool {
        // Of what came last, so many messages may have come live.
        let live = self.got.iter().rev().zip((1..=end).rev()).take_while(|(got, seq)| match got {
            Some(got) => got == seq,
            None => life.entry(*seq).is_tombstone(),
        });
        let live = live.count() as u64;
        // It may have stopped on its way to a later head; what it lacks of that is told by what follows.
        (end.saturating_sub(live)..=life.head())
            .any(|head| self.is_complete(life, head, end, end.saturating_sub(head), &may_lack))
    }

    /// Whether what came, but for the last `live` messages, is the newest of each key changed from `from` to `head`, as
    /// far as that lies below `end`.
    fn is_complete(
        &self,
        life: &Life,
        head: u64,
        end: u64,
        live: u64,
        may_lack: impl Fn(&Entry) -> bool,
    ) -> bool {
        let Some(count) = self.got.len().checked_sub(live as usize) else { return false };
        let got = &self.got[..count];
        let known: Vec<u64> = got.iter().copied().flatten().collect();
        if known.last().is_some_and(|last| *last > head) {
            return false;
        }
        let unknown = got.len() - known.len();
        let mut unseen_tombstones = 0;
        for seq in (self.from..=head.min(end)).filter(|seq| life.is_newest(*seq, head)) {
            let entry = life.entry(seq);
            if known.binary_search(&seq).is_ok() {
                continue;
            }
            match entry.is_tombstone() {
                true => unseen_tombstones += 1,
                false if may_lack(entry) => {}
                false => return false,
            }
        }
        unseen_tombstones <= unknown
    }
}
