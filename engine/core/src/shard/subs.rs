//! Subscriptions and readers: who wants which log, and how far each has got.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use fanfare_wire::subscribe::Policy;
use fanfare_wire::topic::TopicName;

use super::conn::NIL;
use super::cuts::Cuts;
use super::pace::Pace;
use super::policy::Thresholds;
use super::supply::Supply;
use crate::log::{LogReader, Marks};
use crate::mailbox::ConnRef;
use crate::rules::TopicLimits;
use crate::view::View;

/// How a subscription gets what lies between its cursor and the head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Route {
    /// From the log, message by message.
    Log,
    /// The newest message of each key, from the cursor on.
    Part,
    /// A whole snapshot. The cursor is 0 until its beginning was told.
    Whole,
    /// The rest of a whole snapshot, as of a later head than its beginning: keys that were removed in between are a part
    /// of it.
    Rest,
}

/// How far a subscription has got. A send that was short puts back what it was before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Progress {
    /// The next message to send. Everything before it was sent, or told of as missed, but for a remainder.
    pub(super) cursor: u64,
    /// The head of the snapshot that it is to have, or has begun, or [`NO_SNAPSHOT`].
    pub(super) snapshot_head: u64,
    /// The head of the last snapshot that it was told of, or [`NO_SNAPSHOT`].
    pub(super) told_head: u64,
    /// Up to here it is behind because it asked for old messages: it may be as late with them as the log allows.
    pub(super) recovers_to: u64,
    pub(super) route: Route,
    /// A policy has acted on it, and it has not caught up since.
    pub(super) lagging: bool,
}

/// No head of any snapshot.
pub(super) const NO_SNAPSHOT: u64 = u64::MAX;

impl Progress {
    /// A subscription that reads the log from `cursor` on.
    pub(super) fn from(cursor: u64) -> Self {
        Self {
            cursor,
            snapshot_head: NO_SNAPSHOT,
            told_head: NO_SNAPSHOT,
            route: Route::Log,
            lagging: false,
            recovers_to: 0,
        }
    }

    /// One that gets a whole snapshot first.
    pub(super) fn whole() -> Self {
        Self { route: Route::Whole, ..Self::from(0) }
    }

    /// The lowest head that a snapshot for it may have. It never goes back to an older one, which lacks the newer values
    /// that replaced what it has been spared; and one that ends below its cursor would get it nowhere.
    pub(super) fn head_min(&self) -> u64 {
        let begun = if self.snapshot_head == NO_SNAPSHOT { 0 } else { self.snapshot_head };
        if self.wants_whole() { begun } else { begun.max(self.cursor) }
    }

    /// True while it waits for the beginning of a whole snapshot.
    pub(super) fn wants_whole(&self) -> bool {
        self.route == Route::Whole && self.cursor == 0
    }

    /// True when it has all of the snapshot that it began.
    pub(super) fn had_snapshot(&self) -> bool {
        matches!(self.route, Route::Part | Route::Whole | Route::Rest)
            && !self.wants_whole()
            && self.snapshot_head != NO_SNAPSHOT
            && self.cursor > self.snapshot_head
    }

    /// True if there is anything for it below a head.
    pub(super) fn has_work(&self, end: u64) -> bool {
        self.route != Route::Log || self.cursor < end
    }
}

/// One connection's subscription to one log: a cursor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sub {
    pub(super) progress: Progress,
    pub(super) conn: u32,
    pub(super) reader: u32,
    /// Its place among the reader's subscriptions.
    pub(super) place: u32,
    /// The next subscription in its connection's list of those with messages to send.
    pub(super) next_pending: u32,
    pub(super) policy: Policy,
    pub(super) pending: bool,
    /// Not to be sent to yet: the reply that announces it is not written.
    pub(super) held: bool,
    /// It waits for a snapshot.
    pub(super) awaits: bool,
}

/// This shard's sight of one log, shared by all its subscriptions.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) topic: TopicName,
    pub(super) view: View,
    /// The topic's home shard.
    pub(super) home: usize,
    /// `None` until the home shard has attached it.
    pub(super) log: Option<LogReader>,
    pub(super) subs: Vec<u32>,
    /// Connections that wait for it to be attached.
    pub(super) waiting: Vec<ConnRef>,
    /// It stands in the queue of logs to fan out.
    pub(super) queued: bool,
    /// The head moved while a fan-out was under way: another pass is due.
    pub(super) again: bool,
    /// Where the fan-out under way goes on among `subs`.
    pub(super) at: usize,
    /// How far its subscribers may fall behind.
    pub(super) limits: Arc<TopicLimits>,
    pub(super) thresholds: Thresholds,
    /// When the head stood where, if lag is limited in time.
    pub(super) marks: Option<Box<Marks>>,
    /// How often its subscribers want to hear, if not of everything.
    pub(super) pace: Option<Box<Pace>>,
    /// Snapshots for its subscribers, while there is need of them.
    pub(super) supply: Option<Box<Supply>>,
    /// Frames that short sends have cut.
    pub(super) cuts: Option<Box<Cuts>>,
}

impl Reader {
    /// Looks at the log's head anew, and at what else `look` wants to see. Where the head is looked at only so often,
    /// nothing of the log is held in between: that may be long.
    pub(super) fn look_anew(&mut self, look: impl FnOnce(&LogReader)) {
        let log = self.log.as_mut().expect("only attached readers are looked at");
        log.refresh();
        look(log);
        if self.pace.is_some() {
            log.let_go();
        }
    }
}

/// A table whose indices stay valid while other entries come and go.
#[derive(Debug)]
pub(super) struct Slab<T> {
    entries: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, entry: T) -> u32 {
        if let Some(index) = self.free.pop() {
            self.entries[index as usize] = Some(entry);
            return index;
        }
        self.entries.push(Some(entry));
        assert!(self.entries.len() < NIL as usize, "the last index means none");
        self.entries.len() as u32 - 1
    }

    pub(super) fn remove(&mut self, index: u32) -> T {
        let entry = self.entries[index as usize].take().expect("an entry is removed once");
        self.free.push(index);
        entry
    }

    pub(super) fn get(&self, index: u32) -> Option<&T> {
        self.entries.get(index as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.entries.get_mut(index as usize)?.as_mut()
    }

    pub(super) fn indices(&self) -> impl Iterator<Item = u32> + '_ {
        self.entries.iter().enumerate().filter(|(_, entry)| entry.is_some()).map(|(index, _)| index as u32)
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        self.get(index).expect("the index names an entry")
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        self.get_mut(index).expect("the index names an entry")
    }
}

/// All readers of a shard.
#[derive(Debug, Default)]
pub(super) struct Readers {
    pub(super) slab: Slab<Reader>,
    by_name: HashMap<ReaderKey, u32>,
    /// Those whose lag is limited in time.
    with_marks: BTreeSet<u32>,
}

/// What a reader is for: a log, and how often its head is looked at. A period of 0 stands for always.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct ReaderKey {
    pub(super) topic: TopicName,
    pub(super) view: View,
    pub(super) period_ns: u64,
}

impl Readers {
    /// True if the lag of some reader is limited in time.
    pub(super) fn has_marks(&self) -> bool {
        !self.with_marks.is_empty()
    }

    /// The readers whose subscribers have to be looked at although their heads did not move: time has passed for
    /// messages that some of them may not have.
    pub(super) fn aged(&mut self, now: u64) -> Vec<u32> {
        let slab = &mut self.slab;
        let aged = self.with_marks.iter().copied().filter(|index| {
            let reader = &mut slab[*index];
            let before = reader.thresholds.act;
            reader.look_at_thresholds(now).act > before
        });
        aged.collect()
    }

    pub(super) fn find(&self, key: &ReaderKey) -> Option<u32> {
        self.by_name.get(key).copied()
    }

    pub(super) fn insert(&mut self, key: ReaderKey, home: usize, limits: Arc<TopicLimits>) -> u32 {
        // Who wants to hear only so often is never too slow.
        let lag_age_ns = if key.period_ns > 0 { 0 } else { limits.lag_age_ms * super::NS_PER_MS };
        let index = self.slab.insert(Reader {
            topic: key.topic.clone(),
            view: key.view,
            home,
            log: None,
            subs: Vec::new(),
            waiting: Vec::new(),
            queued: false,
            again: false,
            at: 0,
            thresholds: Thresholds::default(),
            marks: (lag_age_ns > 0).then(|| Box::new(Marks::new(lag_age_ns))),
            limits,
            pace: (key.period_ns > 0).then(|| Box::new(Pace::new(key.period_ns))),
            supply: None,
            cuts: None,
        });
        if lag_age_ns > 0 {
            self.with_marks.insert(index);
        }
        self.by_name.insert(key, index);
        index
    }

    pub(super) fn remove(&mut self, index: u32) -> Reader {
        let reader = self.slab.remove(index);
        self.with_marks.remove(&index);
        let period_ns = reader.pace.as_ref().map_or(0, |pace| pace.period_ns());
        self.by_name.remove(&ReaderKey { topic: reader.topic.clone(), view: reader.view, period_ns });
        reader
    }
}
