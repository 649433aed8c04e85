//! A model of what Fanfare owes one subscriber, spoken through a dialect's session into the tally: the counts must be those
//! of the model, whatever notices stand between the messages.

use std::time::Duration;

use fanfare_wire::notice::Notice;
use fanfare_wire::subscribe::Epoch;
use proptest::prelude::*;

use super::*;
use crate::dialect::{Dialect, Frames, Heard, Position, Role, Session};
use crate::payload::{Format, Stamp};
use crate::random::Random;
use crate::testing::plan;

const RUN: u16 = 1;
const PUBLISHERS: usize = 2;
const NOW: u64 = 1_000;

/// What becomes of the next messages. Those of a range that come are true; the last one of a conflated range always comes.
#[derive(Clone, Debug)]
enum Step {
    Deliver,
    Twice,
    /// Silently: the server's fault.
    Lose,
    Gap(u64),
    Conflate(Vec<bool>),
    /// The subscriber is too slow again before the range has ended, so often over.
    ConflateAndSkip(Vec<bool>, u64),
    ConflateAgain(Vec<bool>, Vec<bool>),
    /// In the place of a conflated range. Old messages are repeated.
    Snapshot(Vec<bool>),
    /// The subscriber leaves; so many messages are published before it is back.
    Recover(u64),
    RecoverInVain(u64),
    /// Even the epoch is another one.
    BeForgotten(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let range = || prop::collection::vec(any::<bool>(), 1..6);
    prop_oneof![
        6 => Just(Step::Deliver),
        1 => Just(Step::Twice),
        1 => Just(Step::Lose),
        2 => (1..5u64).prop_map(Step::Gap),
        2 => range().prop_map(Step::Conflate),
        1 => (range(), 1..4u64).prop_map(|(range, more)| Step::ConflateAndSkip(range, more)),
        1 => (range(), range()).prop_map(|(one, two)| Step::ConflateAgain(one, two)),
        1 => range().prop_map(Step::Snapshot),
        2 => (0..4u64).prop_map(Step::Recover),
        1 => (1..4u64).prop_map(Step::RecoverInVain),
        1 => (0..4u64).prop_map(Step::BeForgotten),
    ]
}

/// What must have been counted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Owed {
    delivered: u64,
    announced: u64,
    missing: u64,
    duplicate: u64,
    reordered: u64,
    recovered: u64,
    recoveries_failed: u64,
}

struct Model {
    dialect: Dialect,
    session: Box<dyn Session>,
    tally: Tally,
    plan: Plan,
    subscriber: usize,
    random: Random,
    epoch: u64,
    /// The topic's last message in this epoch.
    head: u64,
    /// The stamps of the messages in this epoch.
    stamps: Vec<(u16, u32)>,
    sent: [u32; PUBLISHERS],
    owed: Owed,
}

impl Model {
    fn new(dialect: &str) -> Self {
        let mut plan = plan(2, PUBLISHERS, 1);
        plan.schedule = Schedule::new(
            crate::schedule::Shape::Constant,
            10_000.0,
            PUBLISHERS,
            Duration::ZERO,
            Duration::from_secs(1),
        );
        (plan.readers.returning, plan.readers.recovers) = (1, true);
        let subscriber = (0..2).find(|&number| plan.reader(number) == Reader::Returning).expect("one");
        let share = Share { index: 0, count: 1, run: RUN, core: None };
        let tally = Tally::new(&plan, &share, Format::new(RUN, &plan.content), |_| true);
        let dialect = Dialect::parse(dialect, &[]).expect("a dialect");
        let session = dialect.session(Role::Subscriber, "t", None).expect("a session");
        let mut model = Self {
            dialect,
            session,
            tally,
            plan,
            subscriber,
            random: Random::seeded(1),
            epoch: 7,
            head: 0,
            stamps: Vec::new(),
            sent: [0; PUBLISHERS],
            owed: Owed::default(),
        };
        assert_eq!(model.begin(None), (None, false));
        model
    }

    fn is_raw(&self) -> bool {
        self.dialect == Dialect::Raw
    }

    /// The publishers take turns, not quite regularly.
    fn publish_all(&mut self, messages: u64) {
        for _ in 0..messages {
            let publisher = usize::from((self.head + self.head / 3) % 2 == 1);
            self.stamps.push((publisher as u16, self.sent[publisher]));
            self.sent[publisher] += 1;
            self.head += 1;
        }
    }

    /// The session hears something, and the tally hears of it as from a connection. Says whether it caught up.
    fn hear(
        &mut self,
        hear: impl FnOnce(&mut dyn Session, &mut Frames<'_>, &mut dyn FnMut(Heard<'_>)),
    ) -> (Option<Resumed>, bool) {
        let (tally, subscriber) = (&mut self.tally, self.subscriber);
        let (mut resumed, mut is_ready, mut has_caught_up) = (None, false, false);
        let mut bytes = Vec::new();
        let mut out = Frames::new(&mut bytes, &mut self.random);
        hear(&mut *self.session, &mut out, &mut |heard| match heard {
            Heard::Message(payload) => tally.receive(subscriber, payload, NOW),
            Heard::Gap(messages) => tally.announce(subscriber, messages, NOW),
            Heard::Ready => is_ready = true,
            Heard::Resumed(how) => resumed = Some(how),
            Heard::CaughtUp => has_caught_up = true,
            Heard::Draining(_) => unreachable!("nobody restarts"),
            Heard::Refused(reason) => panic!("{reason}"),
        });
        if is_ready && self.tally.subscribers[subscriber].is_away {
            self.tally.returned(subscriber, resumed, NOW);
        }
        (resumed, has_caught_up)
    }

    /// Says whether it caught up with that.
    fn send(&mut self, seq: u64) -> bool {
        let (publisher, stamp) = self.stamps[seq as usize - 1];
        let mut payload = Vec::new();
        let stamp = Stamp { publisher, seq: stamp, intended: 100, sent: 150 };
        Format::new(RUN, &self.plan.content).write(&mut payload, &stamp);
        if !self.is_raw() {
            let text = String::from_utf8(payload).expect("text");
            payload = format!(r#"{{"topic":"t","seq":{seq},"data":"{text}"}}"#).into_bytes();
        }
        self.hear(|session, out, heard| session.hear(true, &payload, out, heard)).1
    }

    fn notify(&mut self, notice: Notice) {
        let mut bytes = Vec::new();
        if self.is_raw() {
            notice.write_words(&mut bytes);
            self.hear(|session, _, heard| session.hear_pong(&bytes, heard));
        } else {
            notice.write_json(&mut bytes, "t");
            self.hear(|session, out, heard| session.hear(true, &bytes, out, heard));
        }
    }

    /// The server answers a subscription: to one that resumes with whether it recovered, and what it misses if not.
    fn begin(&mut self, recovery: Option<(bool, Option<(u64, u64)>)>) -> (Option<Resumed>, bool) {
        let (epoch, head) = (Epoch(self.epoch), self.head);
        if self.is_raw() {
            let mut headers = vec![
                ("fanfare-epoch".to_owned(), epoch.to_string()),
                ("Fanfare-Seq".to_owned(), head.to_string()),
            ];
            headers.extend(recovery.map(|(whole, _)| ("Fanfare-Recovered".to_owned(), whole.to_string())));
            return self.hear(|session, _, heard| session.accepted(&headers, heard));
        }
        let recovery = match recovery {
            None => String::new(),
            Some((true, _)) => r#","recovered":true"#.to_owned(),
            Some((false, None)) => r#","recovered":false,"missing":null"#.to_owned(),
            Some((false, Some((from, to)))) => {
                format!(r#","recovered":false,"missing":{{"from":{from},"to":{to}}}"#)
            }
        };
        let topic = format!(r#"{{"topic":"t","epoch":"{epoch}","seq":{head},"oldest":null{recovery}}}"#);
        let reply = format!(r#"{{"id":1,"op":"subscribe","ok":true,"topics":[{topic}]}}"#);
        self.hear(|session, out, heard| session.hear(true, reply.as_bytes(), out, heard))
    }

    /// It leaves, and connects again after `away` messages. What it asks for must be what it has not had.
    fn reconnect(&mut self, away: u64) {
        let position = self.session.position();
        assert_eq!(position, Some(Position { epoch: Epoch(self.epoch), seq: self.head }));
        self.tally.left(self.subscriber);
        self.publish_all(away);
        self.session = self.dialect.session(Role::Subscriber, "t", position).expect("a session");
    }

    fn deliver(&mut self) {
        self.publish_all(1);
        self.send(self.head);
        self.owed.delivered += 1;
    }

    /// From a publisher's next message on it is known what came before it.
    fn deliver_of_each(&mut self) {
        (0..4).for_each(|_| self.deliver());
    }

    /// Announces a range that is conflated, and sends those of its messages that come.
    fn conflate(&mut self, range: &[bool], is_whole: bool) -> u64 {
        let from = self.head + 1;
        self.publish_all(range.len() as u64);
        self.notify(Notice::Conflated { from, to: self.head });
        self.send_some(from, range, is_whole)
    }

    /// Returns the last one that came.
    fn send_some(&mut self, from: u64, range: &[bool], is_whole: bool) -> u64 {
        let mut last = from - 1;
        for (at, &comes) in range.iter().enumerate() {
            if comes || is_whole && at + 1 == range.len() {
                last = from + at as u64;
                self.send(last);
                self.owed.delivered += 1;
            } else {
                self.owed.announced += 1;
            }
        }
        last
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Deliver => self.deliver(),
            Step::Twice => {
                self.deliver();
                self.send(self.head);
                self.owed.duplicate += 1;
            }
            Step::Lose => {
                self.publish_all(1);
                self.owed.missing += 1;
                self.deliver_of_each();
            }
            &Step::Gap(messages) => {
                let from = self.head + 1;
                self.publish_all(messages);
                self.notify(Notice::Gap { from, to: self.head });
                self.owed.announced += messages;
            }
            Step::Conflate(range) => {
                self.conflate(range, true);
            }
            Step::ConflateAndSkip(range, more) => {
                let had = self.conflate(range, false);
                self.publish_all(*more);
                self.notify(Notice::Gap { from: had + 1, to: self.head });
                self.owed.announced += more;
            }
            Step::ConflateAgain(one, two) => {
                let had = self.conflate(one, false);
                self.publish_all(two.len() as u64);
                self.notify(Notice::Conflated { from: had + 1, to: self.head });
                self.send_some(self.head + 1 - two.len() as u64, two, true);
            }
            Step::Snapshot(range) => self.snapshot(range),
            &Step::Recover(away) => {
                let had = self.head;
                self.reconnect(away);
                assert_eq!(self.begin(Some((true, None))), (Some(Resumed::Recovered), away == 0));
                (had + 1..=self.head).for_each(|seq| assert_eq!(self.send(seq), seq == self.head));
                self.owed.delivered += away;
                self.owed.recovered += 1;
            }
            &Step::RecoverInVain(away) => {
                let had = self.head;
                self.reconnect(away);
                let missing = Some((had + 1, self.head));
                assert_eq!(self.begin(Some((false, missing))), (Some(Resumed::Announced), false));
                self.owed.announced += away;
                self.owed.recoveries_failed += 1;
            }
            &Step::BeForgotten(away) => {
                // What it lacks until here is known.
                self.deliver_of_each();
                self.reconnect(away);
                (self.epoch, self.head) = (self.epoch + 1, 0);
                self.stamps.clear();
                assert_eq!(self.begin(Some((false, None))), (Some(Resumed::Lost), false));
                self.owed.recoveries_failed += 1;
                self.deliver_of_each();
            }
        }
    }

    fn snapshot(&mut self, range: &[bool]) {
        let (old, from) = (self.head, self.head + 1);
        self.publish_all(range.len() as u64);
        self.notify(Notice::Snapshot { seq: self.head });
        if old > 0 {
            self.send(old);
        }
        let before = (self.owed.delivered, self.owed.announced);
        self.send_some(from, range, false);
        if self.is_raw() {
            // Nobody knows which ones they are.
            (self.owed.delivered, self.owed.announced) = (before.0, before.1 + range.len() as u64);
        }
        self.notify(Notice::Live { seq: self.head });
    }

    fn counted(&mut self) -> Owed {
        let (counts, others) = self.tally.finish(&self.sent);
        assert_eq!((counts.corrupt, counts.foreign, counts.misrouted), (0, 0, 0));
        Owed {
            delivered: others.returning.delivered,
            announced: others.returning.announced,
            missing: others.returning.missing,
            duplicate: others.returning.duplicate,
            reordered: others.returning.reordered,
            recovered: others.recovered,
            recoveries_failed: others.recoveries_failed,
        }
    }
}

fn check(dialect: &str, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut model = Model::new(dialect);
    steps.iter().for_each(|step| model.step(step));
    let owed = std::mem::take(&mut model.owed);
    prop_assert_eq!(model.counted(), owed);
    Ok(())
}

proptest! {
    #[test]
    fn numbered_messages_are_counted_exactly(steps in prop::collection::vec(step(), 0..40)) {
        check("stream", &steps)?;
    }

    /// Without numbers, what a server loses or sends twice hides where the subscriber stands, and a conflated range hides
    /// what is lost beside it.
    #[test]
    fn counted_messages_are_counted_exactly(
        steps in prop::collection::vec(step(), 0..40),
        which in 0..3usize,
    ) {
        let is_possible = |step: &Step| match step {
            Step::Deliver | Step::Gap(_) => true,
            Step::Recover(_) | Step::RecoverInVain(_) | Step::BeForgotten(_) | Step::Snapshot(_) => which == 0,
            Step::Conflate(_) | Step::ConflateAgain(..) | Step::ConflateAndSkip(..) => which == 1,
            Step::Twice | Step::Lose => which == 2,
        };
        let steps: Vec<_> = steps.into_iter().filter(is_possible).collect();
        check("raw", &steps)?;
    }
}
