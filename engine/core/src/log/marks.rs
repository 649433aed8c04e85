//! Marks: when the head stood where, so that limits of age need no time beside each message.

use std::collections::VecDeque;

/// How many marks are kept. A limit of age is about this many times finer than its span.
const MARKS_MAX: usize = 64;

/// At this time, all messages below this sequence number were there.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// When the first note of its step came, nanoseconds.
    since: u64,
    /// When the last one came.
    time: u64,
    next_seq: u64,
}

/// Tells which messages are older than a span, late by up to a 63rd of it and never early.
#[derive(Debug)]
pub struct Marks {
    span_ns: u64,
    /// Notes within so much time share a mark.
    step_ns: u64,
    /// Oldest first; those past the span are let go when the next one is made.
    marks: VecDeque<Mark>,
    /// All messages below this one are older than the span, as far as the marks let go say.
    passed: u64,
}

impl Marks {
    pub fn new(span_ns: u64) -> Self {
        let step_ns = span_ns.div_ceil(MARKS_MAX as u64 - 1).max(1);
        Self { span_ns, step_ns, marks: VecDeque::new(), passed: 0 }
    }

    /// Notes that the head stands before `next_seq`. Neither the time nor the number ever goes back.
    pub fn note(&mut self, now: u64, next_seq: u64) {
        let mark = Mark { since: now, time: now, next_seq };
        if let Some(last) = self.marks.back_mut() {
            debug_assert!(last.time <= now && last.next_seq <= next_seq, "time and head only grow");
            if last.next_seq == next_seq {
                // Those messages were there before, so they are older than this note.
                return;
            }
            if now - last.since < self.step_ns {
                *last = Mark { since: last.since, ..mark };
                return;
            }
        } else if next_seq == self.passed {
            return;
        }
        self.let_go(now);
        self.marks.push_back(mark);
        // From the first mark's last note to this one lie at least 63 steps.
        debug_assert!(self.marks.len() <= MARKS_MAX, "a mark is past the span before there are too many");
    }

    /// The lowest sequence number that is not known to be older than the span: all messages below it were there
    /// for at least that long. 0 if no message was.
    pub fn older_than(&self, now: u64) -> u64 {
        let past = self.marks.partition_point(|mark| self.is_past(mark, now));
        past.checked_sub(1).map_or(self.passed, |last| self.marks[last].next_seq)
    }

    fn is_past(&self, mark: &Mark, now: u64) -> bool {
        mark.time.saturating_add(self.span_ns) <= now
    }

    fn let_go(&mut self, now: u64) {
        while let Some(mark) = self.marks.front().filter(|mark| self.is_past(mark, now)) {
            self.passed = mark.next_seq;
            self.marks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_is_old_when_its_span_is_over() {
        let mut marks = Marks::new(6400);
        assert_eq!(marks.older_than(1 << 40), 0);
        marks.note(1000, 2);
        marks.note(5000, 3);
        for (now, seq) in [(1000, 0), (7399, 0), (7400, 2), (11_399, 2), (11_400, 3)] {
            assert_eq!(marks.older_than(now), seq, "at {now}");
        }
    }

    #[test]
    fn noting_the_same_head_again_makes_nothing_younger() {
        let mut marks = Marks::new(6400);
        marks.note(0, 2);
        (1..20).for_each(|step| marks.note(step * 1000, 2));
        assert_eq!(marks.older_than(6400), 2);
        assert_eq!(marks.marks.len(), 1);
    }

    proptest! {
        /// Held against all notes: never early, late by no more than a step, and done when the stream was quiet for a span.
        #[test]
        fn marks_are_like_a_list_of_all_notes(
            span in 0u64..5000,
            notes in prop::collection::vec((0u64..300, 0u64..3, 0u64..400), 1..400),
        ) {
            let mut marks = Marks::new(span);
            let mut list: Vec<(u64, u64)> = Vec::new();
            let (mut now, mut next_seq) = (7, 1);
            let known = |list: &[(u64, u64)], until: Option<u64>| {
                let until = until?;
                list.iter().rev().find(|(time, _)| *time <= until).map(|(_, seq)| *seq)
            };
            for (wait, messages, later) in notes {
                now += wait;
                next_seq += messages;
                marks.note(now, next_seq);
                list.push((now, next_seq));
                prop_assert!(marks.marks.len() <= MARKS_MAX);
                for now in [now, now + later] {
                    let old = marks.older_than(now);
                    prop_assert!(old <= known(&list, now.checked_sub(span)).unwrap_or(0));
                    let step = span / 63 + 1;
                    prop_assert!(old >= known(&list, now.checked_sub(span + step)).unwrap_or(0));
                }
            }
            prop_assert_eq!(marks.older_than(now + span), next_seq);
        }
    }
}
