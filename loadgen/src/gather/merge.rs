//! Putting together what parts of a run observed: counts are added, histograms merged, and no percentile is averaged.

use crate::observed::{Clock, Counts, Deflated, Ended, Lost, Observed, Others};

impl Observed {
    /// Adds what another part of the run observed.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.counts.merge(&other.counts);
        self.clock.merge(&other.clock);
        self.connect.merge(&other.connect);
        self.lost.merge(&other.lost);
        self.deflated.merge(&other.deflated);
        self.draining += other.draining;
        self.others.merge(&other.others);
        self.last_delivery = self.last_delivery.max(other.last_delivery);
        self.enters += other.enters;
        self.cpu_ns += other.cpu_ns;
        self.publishing_cpu_ns += other.publishing_cpu_ns;
        self.publishing_ns += other.publishing_ns;
        self.waited_ns += other.waited_ns;
    }
}

impl Counts {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.expected += other.expected;
        self.delivered += other.delivered;
        self.missing += other.missing;
        self.announced += other.announced;
        self.duplicate += other.duplicate;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.misrouted += other.misrouted;
        self.foreign += other.foreign;
        self.subscribers_affected += other.subscribers_affected;
    }
}

impl Clock {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.negative += other.negative;
        self.worst_ns = self.worst_ns.max(other.worst_ns);
    }
}

impl Lost {
    fn merge(&mut self, other: &Self) {
        self.subscribers += other.subscribers;
        self.publishers += other.publishers;
        self.reasons.merge(&other.reasons);
    }
}

impl Deflated {
    fn merge(&mut self, other: &Self) {
        self.subscribers += other.subscribers;
        self.publishers += other.publishers;
        self.messages += other.messages;
        self.compressed += other.compressed;
        self.wire_bytes += other.wire_bytes;
        self.payload_bytes += other.payload_bytes;
    }
}

impl Others {
    fn merge(&mut self, other: &Self) {
        self.all_back_ns = of_all(self, other, |others| others.all_back_ns);
        self.all_caught_up_ns = of_all(self, other, |others| others.all_caught_up_ns);
        self.stalled.merge(&other.stalled);
        self.slow.merge(&other.slow);
        self.pausing.merge(&other.pausing);
        self.returning.merge(&other.returning);
        self.catch_up.merge(&other.catch_up);
        self.reconnect.merge(&other.reconnect);
        self.left += other.left;
        self.returned += other.returned;
        self.recovered += other.recovered;
        self.recoveries_failed += other.recoveries_failed;
        self.recovery.merge(&other.recovery);
        self.refused.merge(&other.refused);
        self.silent += other.silent;
    }
}

/// When all who return have done something: when those of each part have. A part that has none of them has nothing to say.
fn of_all(one: &Others, other: &Others, at_ns: fn(&Others) -> Option<u64>) -> Option<u64> {
    if one.returning.subscribers == 0 {
        return at_ns(other);
    }
    if other.returning.subscribers == 0 {
        return at_ns(one);
    }
    at_ns(one).zip(at_ns(other)).map(|(one, other)| one.max(other))
}

impl Ended {
    fn merge(&mut self, other: &Self) {
        self.subscribers += other.subscribers;
        self.delivered += other.delivered;
        self.missing += other.missing;
        self.announced += other.announced;
        self.duplicate += other.duplicate;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.lost.merge(&other.lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Latency;
    use crate::reasons::Reasons;

    fn latency(ns: u64) -> Latency {
        let mut latency = Latency::default();
        latency.record(ns);
        latency
    }

    fn reasons(sentence: &str) -> Reasons {
        let mut reasons = Reasons::default();
        reasons.add(sentence.to_owned());
        reasons
    }

    /// Every figure differs from every other one, so that no two can be mixed up.
    fn part(base: u64) -> Observed {
        let ended = |at: u64| Ended {
            subscribers: base + at,
            delivered: base + at + 1,
            missing: base + at + 2,
            announced: base + at + 3,
            duplicate: base + at + 4,
            reordered: base + at + 5,
            corrupt: base + at + 6,
            lost: reasons("reset"),
        };
        Observed {
            counts: Counts {
                expected: base + 1,
                delivered: base + 2,
                missing: base + 3,
                announced: base + 4,
                duplicate: base + 5,
                reordered: base + 6,
                corrupt: base + 7,
                misrouted: base + 8,
                foreign: base + 9,
                subscribers_affected: base + 10,
            },
            clock: Clock { negative: base + 11, worst_ns: base + 12 },
            connect: latency(base),
            lost: Lost { subscribers: base + 13, publishers: base + 14, reasons: reasons("closed") },
            deflated: Deflated {
                subscribers: base + 28,
                publishers: base + 29,
                messages: base + 30,
                compressed: base + 31,
                wire_bytes: base + 32,
                payload_bytes: base + 33,
            },
            draining: base + 34,
            others: Others {
                stalled: ended(20),
                slow: ended(30),
                pausing: ended(40),
                returning: ended(50),
                catch_up: latency(base),
                reconnect: latency(base),
                left: base + 15,
                returned: base + 16,
                refused: reasons("not now"),
                silent: base + 23,
                all_back_ns: Some(base + 17),
                recovered: base + 25,
                recoveries_failed: base + 26,
                recovery: latency(base),
                all_caught_up_ns: Some(base + 27),
            },
            last_delivery: base + 18,
            enters: base + 19,
            cpu_ns: base + 20,
            publishing_cpu_ns: base + 21,
            publishing_ns: base + 22,
            waited_ns: base + 24,
            core: None,
        }
    }

    /// All numbers of a part, with their places.
    fn numbers(value: &serde_json::Value, path: &str, out: &mut Vec<(String, u64)>) {
        match value {
            serde_json::Value::Object(members) => {
                members.iter().for_each(|(name, value)| numbers(value, &format!("{path}.{name}"), out));
            }
            serde_json::Value::Number(number) => {
                out.push((path.to_owned(), number.as_u64().expect("a count")))
            }
            _ => (),
        }
    }

    #[test]
    fn every_figure_is_added_or_the_worst_one() {
        let of = |part: &Observed| {
            let mut out = Vec::new();
            numbers(&serde_json::to_value(part).expect("a value"), "", &mut out);
            out
        };
        let (one, two) = (part(1_000), part(50_000));
        let mut both = one.clone();
        both.merge(&two);
        let largest = ["worst_ns", "all_back_ns", "all_caught_up_ns", "last_delivery"];
        for (((path, one), (_, two)), (_, both)) in of(&one).iter().zip(of(&two)).zip(of(&both)) {
            let is_largest = largest.iter().any(|name| path.ends_with(name));
            let expected = if is_largest { two } else { one + two };
            assert_eq!(both, expected, "{path}");
        }
        for merged in [&both.connect, &both.others.catch_up, &both.others.reconnect, &both.others.recovery] {
            assert_eq!(merged.count(), 2);
        }
    }

    #[test]
    fn all_are_back_when_those_of_every_part_are() {
        let with = |subscribers, all_back_ns| Others {
            returning: Ended { subscribers, ..Ended::default() },
            all_back_ns,
            ..Others::default()
        };
        for (one, two, expected) in [
            (with(0, None), with(0, None), None),
            (with(0, None), with(2, Some(7)), Some(7)),
            (with(2, Some(7)), with(0, None), Some(7)),
            (with(2, Some(7)), with(2, Some(9)), Some(9)),
            (with(2, Some(7)), with(2, None), None),
            (with(2, None), with(2, Some(9)), None),
        ] {
            let mut both = one.clone();
            both.merge(&two);
            assert_eq!(both.all_back_ns, expected, "{one:?} {two:?}");
        }
    }
}
