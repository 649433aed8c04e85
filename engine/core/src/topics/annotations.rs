//! What the raw log's bytes do not say of its messages: their kinds and their keys. Both together are enough to make any
//! other view of them later.

use std::collections::VecDeque;

use fanfare_wire::Kind;
use fanfare_wire::key::Key;

/// Kinds and keys of consecutive messages.
#[derive(Debug, Default)]
pub(super) struct Annotations {
    /// The sequence number of the first kind.
    first: u64,
    kinds: VecDeque<Kind>,
    /// Only of messages that have one, in order.
    keys: VecDeque<(u64, Key)>,
}

impl Annotations {
    /// Notes the next message.
    pub(super) fn push(&mut self, seq: u64, kind: Kind, key: Option<&Key>) {
        if self.kinds.is_empty() {
            self.first = seq;
        }
        debug_assert_eq!(seq, self.first + self.kinds.len() as u64, "messages come without holes");
        self.kinds.push_back(kind);
        if let Some(key) = key {
            self.keys.push_back((seq, key.clone()));
        }
    }

    /// Forgets all messages below `seq`.
    pub(super) fn forget_before(&mut self, seq: u64) {
        let gone = seq.saturating_sub(self.first).min(self.kinds.len() as u64) as usize;
        self.kinds.drain(..gone);
        self.first = self.first.max(seq);
        let gone = self.keys.partition_point(|(of, _)| *of < seq);
        self.keys.drain(..gone);
        if self.kinds.is_empty() {
            *self = Self::default();
        }
        shrink(&mut self.kinds);
        shrink(&mut self.keys);
    }

    /// Kind and key of a message.
    pub(super) fn of(&self, seq: u64) -> Option<(Kind, Option<&Key>)> {
        let kind = *self.kinds.get(seq.checked_sub(self.first)? as usize)?;
        let key = self.keys.binary_search_by_key(&seq, |(of, _)| *of).ok().map(|index| &self.keys[index].1);
        Some((kind, key))
    }

    /// What it takes from memory, but for the text of keys.
    pub(super) fn footprint(&self) -> usize {
        self.kinds.capacity() * size_of::<Kind>() + self.keys.capacity() * size_of::<(u64, Key)>()
    }
}

/// So much room is always worth keeping.
const SPARE_MIN: usize = 256;

/// Gives room back that a log no longer needs.
fn shrink<T>(queue: &mut VecDeque<T>) {
    if queue.capacity() > SPARE_MIN + 4 * queue.len() {
        queue.shrink_to(2 * queue.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_found_until_it_is_forgotten() {
        let key = Key::parse("EURUSD").expect("a valid key");
        let mut annotations = Annotations::default();
        for seq in 10..20 {
            let kind = if seq % 2 == 0 { Kind::Text } else { Kind::Json };
            annotations.push(seq, kind, (seq % 3 == 0).then_some(&key));
        }
        annotations.forget_before(13);
        for seq in 0..25 {
            let expected = (13..20).contains(&seq).then(|| {
                (if seq % 2 == 0 { Kind::Text } else { Kind::Json }, (seq % 3 == 0).then_some(&key))
            });
            assert_eq!(annotations.of(seq), expected, "{seq}");
        }
        annotations.forget_before(20);
        assert_eq!((annotations.of(19), annotations.footprint()), (None, 0));
        annotations.push(31, Kind::Binary, None);
        assert_eq!(annotations.of(31), Some((Kind::Binary, None)));
    }
}
