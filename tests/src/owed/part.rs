//! The newest message of each key, in place of every message: what follows a `conflated` notice, and what a
//! subscription with `max_rate` gets.

use super::ledger::{Entry, Life};

/// Messages received since a subscription stopped getting every one.
///
/// The rules: they come in order. Of the messages up to `to` only those come that were the newest of their keys then. A
/// stop at a full socket may make the rest newer than that, up to some head `h`: then what came is the newest of each key
/// changed from `from` to `h`, possibly after older messages of the same keys. After `h` every message follows.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Every key that changed from here on is owed.
    from: u64,
    /// What was told as conflated ends here.
    to: u64,
    /// The sequence numbers of what came. `None`: a tombstone that a raw subscriber got, which does not say its key.
    got: Vec<Option<u64>>,
}

impl Part {
    pub(super) fn new(from: u64, to: u64) -> Self {
        Self { from, to, got: Vec::new() }
    }

    /// Whether a stop made it newer than what was told.
    pub(super) fn was_continued(&self, head: u64) -> bool {
        self.to > 0 && head > self.to
    }

    pub(super) fn push(&mut self, life: &Life, seq: Option<u64>) {
        if let Some(seq) = seq {
            assert!(
                seq > self.to || life.is_newest(seq, self.to),
                "{seq} was not the newest of its key at {}",
                self.to
            );
        }
        self.got.push(seq);
    }

    /// Whether what came is all that a subscription that stands behind message `end` is owed. If so, says up to where it
    /// was the newest of each key, before every message followed. `may_lack` says which messages need not have come.
    pub(super) fn explain(&self, life: &Life, end: u64, may_lack: impl Fn(&Entry) -> bool) -> Option<u64> {
        // Of what came last, so many messages may have come live.
        let live = self.got.iter().rev().zip((1..=end).rev()).take_while(|(got, seq)| match got {
            Some(got) => got == seq,
            None => life.entry(*seq).is_tombstone(),
        });
        let live = live.count() as u64;
        (end.saturating_sub(live).max(self.to)..=end)
            .find(|head| self.is_complete(life, *head, end - head, &may_lack))
    }

    /// Whether what came, but for the last `live` messages, is the newest of each key changed from `from` to `head`.
    fn is_complete(&self, life: &Life, head: u64, live: u64, may_lack: impl Fn(&Entry) -> bool) -> bool {
        let Some(count) = self.got.len().checked_sub(live as usize) else { return false };
        let got = &self.got[..count];
        let known: Vec<u64> = got.iter().copied().flatten().collect();
        if known.last().is_some_and(|last| *last > head) {
            return false;
        }
        let unknown = got.len() - known.len();
        let mut unseen_tombstones = 0;
        for seq in (self.from..=head).filter(|seq| life.is_newest(*seq, head)) {
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
