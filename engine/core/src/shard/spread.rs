//! How long a fan-out takes: from the moment a shard looks at a moved head until the last of its subscribers that were
//! behind has been sent to.

use std::collections::VecDeque;

use crate::stats::Histogram;

/// The fan-outs under way.
#[derive(Debug, Default)]
pub(super) struct Spreads {
    /// When the one that is being compared began.
    began: u64,
    /// How many had been listed then.
    listed_before: u64,
    /// How many connections were ever listed for sending, and how many of those had their turn.
    listed: u64,
    taken: u64,
    /// Fan-outs whose subscribers are all listed: when they began, and the last one listed for them.
    open: VecDeque<(u64, u64)>,
}

impl Spreads {
    /// A fan-out begins to compare.
    pub(super) fn begin(&mut self, now: u64) {
        self.began = now;
        self.listed_before = self.listed;
    }

    /// Every subscriber of it has been compared.
    pub(super) fn end_of_pass(&mut self) {
        if self.listed > self.listed_before {
            self.open.push_back((self.began, self.listed));
        }
    }

    /// A connection was listed for sending.
    pub(super) fn listed(&mut self) {
        self.listed += 1;
    }

    /// A connection was taken off the list.
    pub(super) fn taken(&mut self) {
        self.taken += 1;
    }

    /// The batch has been handed to the kernel: what is complete by it is observed, in microseconds.
    pub(super) fn sent(&mut self, now: u64, spread_us: &Histogram) {
        while let Some((began, last)) = self.open.front()
            && *last <= self.taken
        {
            spread_us.observe(now.saturating_sub(*began) / 1_000);
            self.open.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fan_out_is_over_when_the_last_one_listed_for_it_was_sent_to() {
        let (mut spreads, histogram) = (Spreads::default(), Histogram::default());
        spreads.begin(1_000);
        spreads.listed();
        spreads.listed();
        spreads.end_of_pass();
        spreads.begin(50_000);
        spreads.end_of_pass();
        spreads.taken();
        spreads.sent(9_000, &histogram);
        assert_eq!(histogram.count(), 0, "one of two has had its turn");
        spreads.taken();
        spreads.sent(101_000, &histogram);
        assert_eq!((histogram.count(), histogram.sum()), (1, 100), "nobody was behind in the second one");
    }
}
