//! What one subscriber has seen of one publisher.

/// How many separate gaps are remembered. The oldest beyond it stay missing, and what fills them counts as a duplicate.
const GAPS_MAX: usize = 1024;

/// What an arriving message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arrival {
    /// The next one, or one further on.
    Fresh,
    /// Late: one with a higher sequence number was here before it.
    Reordered,
    /// It was here already.
    Duplicate,
}

/// Stands for the next sequence number when any may come first.
const ANY: u32 = u32::MAX;

/// The sequence numbers seen, as plain counters. Only a gap takes memory.
#[derive(Debug)]
pub(crate) struct Cursor {
    /// The lowest sequence number above all that were seen.
    next: u32,
    pub(crate) reordered: u32,
    pub(crate) duplicate: u32,
    /// The ranges `from..to` below `next` that were not seen, in ascending order.
    gaps: Vec<(u32, u32)>,
    /// Messages in gaps that are no longer remembered.
    forgotten: u32,
}

impl Cursor {
    /// A cursor that waits for `first`.
    pub(crate) fn new(first: u32) -> Self {
        Self { next: first, reordered: 0, duplicate: 0, gaps: Vec::new(), forgotten: 0 }
    }

    /// The subscriber left, and will come back anywhere. What it missed while it was here stays missing.
    pub(crate) fn leave(&mut self) {
        self.forgotten += self.gaps.drain(..).map(|(from, to)| to - from).sum::<u32>();
        self.next = ANY;
    }

    #[inline]
    pub(crate) fn arrive(&mut self, seq: u32) -> Arrival {
        if seq == self.next {
            self.next += 1;
            return Arrival::Fresh;
        }
        self.arrive_out_of_order(seq)
    }

    /// A message that comes too late to count is missing, unless it was here before.
    pub(crate) fn arrive_late(&mut self, seq: u32) {
        let is_in_gap = self.gaps.iter().any(|&(from, to)| (from..to).contains(&seq));
        self.duplicate += u32::from(self.next != ANY && seq < self.next && !is_in_gap);
    }

    #[cold]
    fn arrive_out_of_order(&mut self, seq: u32) -> Arrival {
        if self.next == ANY {
            self.next = seq + 1;
            return Arrival::Fresh;
        }
        if seq > self.next {
            if self.gaps.len() == GAPS_MAX {
                let (from, to) = self.gaps.remove(0);
                self.forgotten += to - from;
            }
            self.gaps.push((self.next, seq));
            self.next = seq + 1;
            return Arrival::Fresh;
        }
        let at = self.gaps.partition_point(|&(_, to)| to <= seq);
        match self.gaps.get(at).copied() {
            Some((from, to)) if from <= seq => {
                let left = [(from, seq), (seq + 1, to)].into_iter().filter(|(from, to)| from < to);
                self.gaps.splice(at..=at, left);
                self.reordered += 1;
                Arrival::Reordered
            }
            _ => {
                self.duplicate += 1;
                Arrival::Duplicate
            }
        }
    }

    /// Whether the last message below `end` was here, or none of them is waited for.
    pub(crate) fn has_reached(&self, end: u32) -> bool {
        self.next >= end
    }

    /// How many messages below `end` never came, of those that should have.
    pub(crate) fn missing(&self, end: u32) -> u64 {
        let in_gaps: u64 = self.gaps.iter().map(|&(from, to)| u64::from(to - from)).sum();
        in_gaps + u64::from(self.forgotten) + u64::from(end.saturating_sub(self.next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[track_caller]
    fn check(arrivals: &[u32], end: u32, (missing, reordered, duplicate): (u64, u32, u32)) {
        let mut cursor = Cursor::new(10);
        arrivals.iter().for_each(|&seq| {
            cursor.arrive(seq);
        });
        let seen = (cursor.missing(end), cursor.reordered, cursor.duplicate);
        assert_eq!(seen, (missing, reordered, duplicate), "{arrivals:?}");
    }

    #[test]
    fn faults_are_told_apart() {
        check(&[], 10, (0, 0, 0));
        check(&[], 15, (5, 0, 0));
        check(&[10, 11, 12], 13, (0, 0, 0));
        check(&[10, 12], 13, (1, 0, 0));
        check(&[10, 12, 11], 13, (0, 1, 0));
        check(&[10, 12, 11, 11], 13, (0, 1, 1));
        check(&[10, 10, 11], 13, (1, 0, 1));
        check(&[15, 12, 14, 10, 13, 11], 16, (0, 5, 0));
        check(&[15, 12, 12], 16, (4, 1, 1));
    }

    #[test]
    fn gaps_beyond_the_limit_stay_missing() {
        let gaps = GAPS_MAX as u32 + 10;
        let mut cursor = Cursor::new(0);
        for seq in 0..gaps {
            cursor.arrive(2 * seq + 1);
        }
        assert_eq!(cursor.missing(2 * gaps), u64::from(gaps));
        // The oldest is forgotten, the newest is not.
        assert_eq!((cursor.arrive(0), cursor.arrive(2 * gaps - 2)), (Arrival::Duplicate, Arrival::Reordered));
        assert_eq!(cursor.missing(2 * gaps), u64::from(gaps) - 1);
    }

    #[test]
    fn who_comes_and_goes_misses_only_what_was_sent_meanwhile() {
        let mut cursor = Cursor::new(20);
        for seq in [20, 21, 23] {
            assert_eq!(cursor.arrive(seq), Arrival::Fresh);
        }
        cursor.leave();
        assert_eq!(
            (cursor.missing(100), cursor.arrive(50), cursor.arrive(51)),
            (1, Arrival::Fresh, Arrival::Fresh)
        );
        assert_eq!((cursor.missing(52), cursor.missing(54)), (1, 3));
    }

    #[test]
    fn what_is_late_fills_no_gap() {
        let mut cursor = Cursor::new(10);
        [10, 12].into_iter().for_each(|seq| assert_eq!(cursor.arrive(seq), Arrival::Fresh));
        [11, 13, 12, 10].into_iter().for_each(|seq| cursor.arrive_late(seq));
        assert_eq!((cursor.missing(14), cursor.duplicate, cursor.reordered), (2, 2, 0));
    }

    proptest! {
        /// Against the definition, with a set of all that was seen.
        #[test]
        fn counts_are_those_of_a_set(arrivals in prop::collection::vec(0u32..40, 0..200)) {
            let mut cursor = Cursor::new(0);
            let (mut seen, mut reordered, mut duplicate) = (HashSet::new(), 0, 0);
            for seq in arrivals {
                let highest = seen.iter().copied().max();
                let expected = if !seen.insert(seq) {
                    duplicate += 1;
                    Arrival::Duplicate
                } else if highest > Some(seq) {
                    reordered += 1;
                    Arrival::Reordered
                } else {
                    Arrival::Fresh
                };
                prop_assert_eq!(cursor.arrive(seq), expected);
            }
            prop_assert_eq!(cursor.missing(40), 40 - seen.len() as u64);
            prop_assert_eq!((cursor.reordered, cursor.duplicate), (reordered, duplicate));
        }
    }
}
