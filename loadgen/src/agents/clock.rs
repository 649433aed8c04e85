//! How far an agent's clock is from the coordinator's.
//!
//! The coordinator asks for the time and notes when; the answer says when the question came and when it left. The two
//! ways together took as long as the round trip, but how that divides between them cannot be known: so the offset is
//! known give or take half the round trip. The quickest of many exchanges tells most.

/// One question and its answer. Four times, two of them by the agent's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) asked_ns: u64,
    pub(super) agent_received_ns: u64,
    pub(super) agent_sent_ns: u64,
    pub(super) answered_ns: u64,
}

/// An agent's clock minus the coordinator's, give or take the uncertainty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offset {
    pub(crate) offset_ns: i64,
    pub(crate) uncertainty_ns: u64,
}

impl Offset {
    /// Of the quickest exchange. `None` without any.
    pub(super) fn of(exchanges: &[Exchange]) -> Option<Self> {
        exchanges.iter().map(Exchange::offset).min_by_key(|offset| offset.uncertainty_ns)
    }

    /// The agent's time when the coordinator's is `ns`.
    pub(super) fn in_agent_time(offset_ns: i64, ns: u64) -> u64 {
        ns.saturating_add_signed(offset_ns)
    }
}

impl Exchange {
    fn offset(&self) -> Offset {
        let apart = |agent: u64, own: u64| i128::from(agent) - i128::from(own);
        // The question arrived after it was asked, and the answer left before it arrived: the offset is between these.
        let most = apart(self.agent_received_ns, self.asked_ns);
        let least = apart(self.agent_sent_ns, self.answered_ns);
        let middle = ((most + least) / 2).clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        let round_trip = (most - least).clamp(0, i128::from(u64::MAX));
        Offset { offset_ns: middle as i64, uncertainty_ns: (round_trip as u64).div_ceil(2) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_quickest_exchange_counts() {
        let exchange = |asked_ns, there, back| Exchange {
            asked_ns,
            agent_received_ns: asked_ns + 5_000 + there,
            agent_sent_ns: asked_ns + 5_000 + there + 7,
            answered_ns: asked_ns + there + 7 + back,
        };
        let exchanges = [exchange(1_000, 400, 100), exchange(2_000, 20, 10), exchange(3_000, 10, 900)];
        let offset = Offset::of(&exchanges).expect("three exchanges");
        assert_eq!(offset, Offset { offset_ns: 5_005, uncertainty_ns: 15 });
        assert_eq!(Offset::of(&[]), None);
    }

    #[test]
    fn the_epoch_is_told_in_the_agents_time() {
        for (offset_ns, ns, told) in [
            (0, 17, 17),
            (500, 1_000, 1_500),
            (-500, 1_000, 500),
            (-500, 100, 0),
            (i64::MAX, u64::MAX, u64::MAX),
        ] {
            assert_eq!(Offset::in_agent_time(offset_ns, ns), told, "{ns} {offset_ns:+}");
        }
    }

    proptest! {
        #[test]
        fn the_uncertainty_covers_the_error(
            offset in -1_000_000_000_000i64..1_000_000_000_000,
            trips in prop::collection::vec((0u64..10_000_000, 0u64..1_000_000, 0u64..10_000_000), 1..80),
        ) {
            let mut now = 2_000_000_000_000u64;
            let exchanges: Vec<_> = trips.iter().map(|&(there, thinking, back)| {
                let asked_ns = now;
                now += there + thinking + back;
                Exchange {
                    asked_ns,
                    agent_received_ns: (asked_ns + there).strict_add_signed(offset),
                    agent_sent_ns: (asked_ns + there + thinking).strict_add_signed(offset),
                    answered_ns: now,
                }
            }).collect();
            let estimate = Offset::of(&exchanges).expect("at least one exchange");
            prop_assert!(estimate.offset_ns.abs_diff(offset) <= estimate.uncertainty_ns);
            let least = trips.iter().map(|(there, _, back)| there + back).min().expect("at least one");
            prop_assert_eq!(estimate.uncertainty_ns, least.div_ceil(2));
        }

        #[test]
        fn no_answer_is_too_absurd(times in any::<[u64; 4]>()) {
            let [asked_ns, agent_received_ns, agent_sent_ns, answered_ns] = times;
            let _ = Offset::of(&[Exchange { asked_ns, agent_received_ns, agent_sent_ns, answered_ns }]);
        }
    }
}
