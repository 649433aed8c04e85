//! The rules: what one subscription may receive, message by message.

use fanfare_wire::notice::Notice;
use fanfare_wire::subscribe::Policy;

use super::client::Topic;
use super::ledger::{Entry, KEYLESS, KEYS, Life};
use super::newest::Newest;
use super::part::Part;
use super::terms::{From, Terms};

/// What the answer to a subscribe said.
#[derive(Clone, Debug)]
pub struct Answer {
    pub epoch: String,
    pub seq: u64,
    pub oldest: Option<u64>,
    pub recovered: Option<bool>,
    /// All of it was true at the moment when the subscription was made.
    pub exact: bool,
}

/// What the subscription expects next.
#[derive(Clone, Debug)]
enum Stage {
    /// Its first message is one of these.
    Begins { from: u64, to: u64 },
    /// Exactly this message.
    Log { next: u64 },
    /// The newest message of each key in the range that was told, then every message.
    Conflated(Newest),
    /// The newest message of each key now and then, and then perhaps every message.
    Part(Part),
    /// The notice of a snapshot.
    SnapshotDue,
    /// The messages of a snapshot, or the notice of its end.
    Snapshot(Newest),
    /// The rest of a snapshot that a full socket stopped, as of a later head, or the notice of its end.
    Rest(Newest),
}

/// How often the rarer rules were followed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub messages: u64,
    pub gaps: u64,
    pub conflated: u64,
    /// Conflations and snapshots that a full socket stopped, and that went on as of a later head.
    pub continued: u64,
    pub snapshots: u64,
    /// Snapshots that nobody had asked for, because removed keys could no longer be told one by one.
    pub forced_snapshots: u64,
    pub tombstones: u64,
    pub slow_closes: u64,
    pub caught_up: u64,
    pub complete_values: u64,
    pub paced: u64,
    /// Updates whose times were looked at.
    pub clocked: u64,
}

/// One subscription, as its subscriber sees it.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub epoch: String,
    pub policy: Policy,
    /// The least time between two updates of a key, nanoseconds; 0 for one that gets every message.
    period_ns: u64,
    stage: Stage,
    /// The highest sequence number that came, or the one before the first that could.
    pub last: u64,
    /// What it holds of each key: the sequence number of the last message.
    held: [u64; KEYS + 1],
    /// Keys that changed from here on are held.
    since: u64,
    /// By its policy or its rate it was to get the newest of each key, now or before its terms changed.
    conflates: bool,
    /// It was told that messages are missing.
    has_gaps: bool,
    /// Nothing of it is ever stopped at a full socket.
    healthy: bool,
    /// Its topic's log never drops a message.
    roomy: bool,
    /// When updates of each key came, if it has a rate that is looked at.
    clocked: Option<Vec<Vec<u64>>>,
    pub seen: Seen,
}

impl Subscription {
    /// One that has just been answered.
    pub fn new(topic: &Topic, terms: &Terms, answer: &Answer, healthy: bool) -> Self {
        let head = answer.seq;
        let (mut from, mut to) = (head + 1, head + 1);
        match terms.from {
            From::Since { seq, .. } if answer.recovered == Some(true) => (from, to) = (seq + 1, seq + 1),
            From::Last(count) => {
                // What was the oldest when it began may be gone when that was told.
                from = (head + 1).saturating_sub(count).max(1);
                to = from.max(answer.oldest.unwrap_or(head + 1)).min(head + 1);
                from = if answer.exact { to } else { from };
            }
            From::Head | From::Since { .. } => {}
        }
        let mut subscription = Self {
            epoch: answer.epoch.clone(),
            policy: terms.policy.unwrap_or(topic.policy),
            period_ns: terms.period_ns(),
            stage: Stage::Begins { from, to },
            last: from - 1,
            held: [0; KEYS + 1],
            since: to,
            conflates: false,
            has_gaps: false,
            healthy,
            roomy: topic.roomy,
            clocked: (healthy && terms.period_ns() > 0).then(|| vec![Vec::new(); KEYS + 1]),
            seen: Seen::default(),
        };
        if terms.snapshot && answer.recovered != Some(true) {
            subscription.stage = Stage::SnapshotDue;
        }
        subscription.pace();
        subscription
    }

    /// Other terms, which do not move it.
    pub fn change(&mut self, terms: &Terms, policy: Policy) {
        self.policy = terms.policy.unwrap_or(policy);
        self.period_ns = terms.period_ns();
        self.clocked = None;
        self.pace();
    }

    /// With a rate, not every message comes any more.
    fn pace(&mut self) {
        self.conflates |= self.policy == Policy::Conflate || self.period_ns > 0;
        if self.period_ns > 0 {
            match self.stage {
                Stage::Begins { to: next, .. } | Stage::Log { next } => {
                    self.stage = Stage::Part(Part::new(next));
                }
                Stage::Conflated(ref range) => self.stage = Stage::Part(Part::new(range.next)),
                Stage::Part(_) | Stage::SnapshotDue | Stage::Snapshot(_) | Stage::Rest(_) => {}
            }
        }
    }

    /// A message came. `None`: a raw tombstone, which says nothing of itself.
    pub fn message(&mut self, life: &Life, seq: Option<u64>, now: u64) {
        self.seen.messages += 1;
        let mut known = seq;
        let roomy = self.roomy;
        let may_lack = |entry: &Entry| may_lack(entry, roomy);
        match &mut self.stage {
            Stage::Begins { from, to } => {
                // A raw subscriber is told exactly where it begins.
                let seq = seq.unwrap_or(*from);
                assert!((*from..=*to).contains(&seq), "{seq} is the first, not one of {from} to {to}");
                (known, self.since) = (Some(seq), seq);
                self.stage = Stage::Log { next: seq + 1 };
            }
            Stage::Log { next } => {
                let seq = seq.unwrap_or(*next);
                assert_eq!(seq, *next, "the next message is {next}");
                known = Some(seq);
                *next += 1;
            }
            Stage::Part(part) => part.push(seq),
            Stage::Conflated(range) => {
                let to = range.to;
                known = range.take(life, seq, may_lack).or_else(|| {
                    let seq = seq.unwrap_or(to + 1);
                    assert_eq!(seq, to + 1, "every message follows the range that ends at {to}");
                    Some(seq)
                });
                if known == Some(to + 1) {
                    self.stage = Stage::Log { next: to + 2 };
                }
            }
            Stage::SnapshotDue => panic!("message {seq:?} comes before the snapshot that was asked for"),
            Stage::Snapshot(range) | Stage::Rest(range) => {
                let to = range.to;
                known = range.take(life, seq, may_lack);
                assert!(known.is_some(), "{seq:?} comes where the snapshot of {to} has nothing");
            }
        }
        let Some(known) = known else {
            self.seen.tombstones += 1;
            return;
        };
        let entry = life.entry(known);
        assert!(seq.is_some() || entry.is_tombstone(), "message {known} is no tombstone");
        assert!(known > self.last, "{known} comes after {}", self.last);
        self.last = known;
        self.held[entry.key] = known;
        self.seen.tombstones += u64::from(entry.is_tombstone());
        if self.period_ns > 0 {
            self.seen.paced += 1;
            if let Some(times) = &mut self.clocked {
                times[entry.key].push(now);
            }
        }
    }

    /// The server said something of what lies between messages.
    pub fn notice(&mut self, life: &Life, notice: Notice) {
        match notice {
            Notice::Gap { from, to } => {
                let may = matches!(self.policy, Policy::Skip | Policy::Latest) && self.period_ns == 0;
                assert!(may, "a gap under the policy {}", self.policy);
                assert!(from <= to && to <= life.head(), "a gap from {from} to {to} of {}", life.head());
                self.close(life, from - 1);
                (self.stage, self.last) = (Stage::Log { next: to + 1 }, to);
                self.has_gaps = true;
                self.seen.gaps += 1;
            }
            Notice::Conflated { from, to } => self.conflated(life, from, to),
            Notice::Snapshot { seq } => {
                assert!(seq <= life.head(), "a snapshot as of {seq} of {}", life.head());
                if !matches!(self.stage, Stage::SnapshotDue) {
                    // One that was stopped may have to begin anew.
                    let may = self.conflates || matches!(self.stage, Stage::Snapshot(_) | Stage::Rest(_));
                    assert!(may, "a snapshot that was not asked for, under the policy {}", self.policy);
                    self.seen.forced_snapshots += 1;
                }
                self.stage = Stage::Snapshot(Newest::snapshot(seq));
                (self.last, self.since, self.has_gaps) = (0, 0, false);
                self.held = [0; KEYS + 1];
            }
            Notice::Live { seq: head } => self.live(life, head),
        }
    }

    /// It is in the midst of what is not every message: what it is told then goes on with that.
    pub fn is_shortened(&self) -> bool {
        matches!(self.stage, Stage::Conflated(_) | Stage::Snapshot(_) | Stage::Rest(_))
    }

    /// Of these messages only the newest of each key come.
    fn conflated(&mut self, life: &Life, from: u64, to: u64) {
        assert!(from <= to && to <= life.head(), "conflated {from} to {to} of {}", life.head());
        let roomy = self.roomy;
        let range = Newest::conflated(from, to);
        let in_snapshot = matches!(self.stage, Stage::Snapshot(_) | Stage::Rest(_));
        match &self.stage {
            // A full socket stopped what was told before, and it goes on as of a later head.
            Stage::Conflated(before) | Stage::Snapshot(before) | Stage::Rest(before)
                if in_snapshot || from <= before.to =>
            {
                assert!(!self.healthy, "nothing stopped the newest as of {}", before.to);
                assert!(before.to <= to, "conflated to {to} after {before:?}");
                assert!((before.next..=before.to + 1).contains(&from), "{from} after {before:?}");
                before.end_below(life, from, |entry| may_lack(entry, roomy));
                self.stage = if in_snapshot { Stage::Rest(range) } else { Stage::Conflated(range) };
                self.seen.continued += 1;
            }
            _ => {
                // One that conflated, was given a rate and lost it again may still have to go on with what it was told first.
                let goes_on = self.conflates && matches!(self.stage, Stage::Part(_));
                let may = (self.policy == Policy::Conflate || goes_on) && self.period_ns == 0;
                assert!(
                    may,
                    "a conflation from {from} to {to} under the policy {}: {:?}",
                    self.policy, self.stage
                );
                self.close(life, from - 1);
                self.stage = Stage::Conflated(range);
                self.seen.conflated += 1;
            }
        }
    }

    /// The snapshot is over: what it holds now is the newest of each key as of `head`.
    fn live(&mut self, life: &Life, head: u64) {
        let (Stage::Snapshot(range) | Stage::Rest(range)) = &self.stage else {
            panic!("no snapshot ends at {head}")
        };
        assert_eq!(range.to, head, "the snapshot ends where it was told to");
        range.end_below(life, head + 1, |entry| self.may_lack(entry));
        for newest in (1..=head).filter(|newest| life.is_newest(*newest, head)) {
            let entry = life.entry(newest);
            let held = self.held[entry.key];
            // A key that was removed before it was ever sent is not told.
            let may = self.may_lack(entry) || entry.is_tombstone() && held == 0;
            assert!(held == newest || may, "after the snapshot of {head} a key is at {held}, not {newest}");
        }
        self.seen.snapshots += 1;
        self.last = head;
        self.stage = Stage::Log { next: head + 1 };
        self.pace();
    }

    /// Nothing more comes as before: the subscription stands behind message `end`.
    #[track_caller]
    fn close(&mut self, life: &Life, end: u64) {
        match &self.stage {
            Stage::Begins { from, to } => {
                assert!(
                    (*from..=*to).contains(&(end + 1)),
                    "it begins at {from} to {to}, not at {}",
                    end + 1
                );
                self.since = end + 1;
            }
            Stage::Log { next } => assert_eq!(*next, end + 1, "it has what is below {next}"),
            Stage::Conflated(range) => {
                assert_eq!(range.to, end, "every message follows the range that was told");
                range.end_below(life, end + 1, |entry| self.may_lack(entry));
            }
            Stage::Part(part) => assert!(
                part.is_explained(life, end, |entry| self.may_lack(entry)),
                "it stands at {end}, and what came is {part:?}; {}",
                life.describe(1, end)
            ),
            Stage::SnapshotDue => panic!("the snapshot that was asked for did not come"),
            Stage::Snapshot(range) | Stage::Rest(range) => panic!("the snapshot was not ended: {range:?}"),
        }
    }

    fn may_lack(&self, entry: &Entry) -> bool {
        may_lack(entry, self.roomy)
    }

    /// The connection was closed because this subscription was too slow, and told to resume behind `since`.
    pub fn slow(&mut self, life: &Life, since: u64) {
        assert_eq!(self.policy, Policy::Disconnect, "the policy says what happens to slow consumers");
        assert_eq!(self.period_ns, 0, "who hears only so often is never too slow");
        self.close(life, since);
        self.seen.slow_closes += 1;
    }

    /// Its subscriber reads all the time, and nothing is under way: it has everything, but for what it does not want yet.
    pub fn check_current(&self, life: &Life) {
        match &self.stage {
            Stage::Begins { from, to } => assert!((*from..=*to).contains(&(life.head() + 1)), "nothing came"),
            Stage::Log { next } => assert_eq!(*next, life.head() + 1, "the next message"),
            Stage::Conflated(range) => {
                assert_eq!(range.to, life.head(), "the end of what was conflated");
                range.end_below(life, range.to + 1, |entry| self.may_lack(entry));
            }
            Stage::Part(_) => {}
            Stage::SnapshotDue | Stage::Snapshot(_) | Stage::Rest(_) => panic!("the snapshot is not there"),
        }
    }

    /// Everybody has had all the time in the world.
    pub fn at_end(&mut self, life: &Life) {
        let head = life.head();
        self.close(life, head);
        self.seen.caught_up += 1;
        if self.has_gaps {
            return;
        }
        for key in 0..=KEYS {
            let newest = life.newest_of(key);
            if newest < self.since.max(1) || self.held[key] == newest {
                continue;
            }
            let entry = life.entry(newest);
            // A removed key is not told to those who never held it, nor by its name to raw subscribers.
            let may = entry.is_tombstone() || self.may_lack(entry);
            assert!(may, "key {key} is at {}, not {newest}", self.held[key]);
        }
        self.seen.complete_values += 1;
    }

    /// At least a period lies between two updates of a key, but for what a subscription begins with.
    pub fn check_rate(&mut self) {
        for times in self.clocked.take().into_iter().flatten() {
            self.seen.clocked += times.len() as u64;
            for two in times.windows(2).skip(1) {
                let between = two[1] - two[0];
                assert!(between >= self.period_ns, "two updates in {between} ns: {times:?}");
            }
        }
    }
}

/// Whether a message may be missing where the newest of each key comes: one without a key lives only as long as the log
/// holds it.
fn may_lack(entry: &Entry, roomy: bool) -> bool {
    entry.key == KEYLESS && !roomy
}
