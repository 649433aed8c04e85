//! Snapshots on their way from a topic's home shard to the subscribers that need one.
//!
//! Nobody owns a snapshot: a reader has those that its home shard made last, for all its subscribers, for a moment. A
//! subscriber that is stopped by a full socket goes on from its cursor with whatever is the newest then.

use std::sync::Arc;

use fanfare_io::Driver;
use fanfare_wire::topic::TopicName;

use super::subs::{NO_SNAPSHOT, Progress, Route};
use super::{NS_PER_MS, Shard};
use crate::mailbox::{Command, Reply};
use crate::snapshot::Snapshot;
use crate::topics::Listener;
use crate::view::View;

/// For so long after it arrived, a snapshot is new enough for those who have not asked for one yet.
const NEW_NS: u64 = 50 * NS_PER_MS;

/// After so long it is let go of.
const KEPT_NS: u64 = 1_000 * NS_PER_MS;

/// How much of snapshots is made in one turn, in bytes; what was begun is finished.
pub(super) const MADE_EACH_TURN: usize = 4 << 20;

/// A snapshot that this shard, as a home, has been asked for.
#[derive(Debug)]
pub(crate) struct Owed {
    pub(super) topic: TopicName,
    pub(super) view: View,
    pub(super) from: u64,
    pub(super) head_min: u64,
    pub(super) listener: Listener,
}

/// The snapshots of one reader.
#[derive(Debug, Default)]
pub(super) struct Supply {
    part: Option<Arc<Snapshot>>,
    whole: Option<Arc<Snapshot>>,
    /// When the last one arrived.
    arrived_at: u64,
    /// Subscriptions that wait for one.
    awaiting: Vec<u32>,
    /// The home shard was asked and has not answered.
    asked: bool,
}

impl Supply {
    /// The snapshot with which a subscription can go on.
    fn for_progress(&self, progress: &Progress, floor: u64, now: u64) -> Option<&Arc<Snapshot>> {
        // What it waited for or has begun; or what arrived just now.
        let suits = |snapshot: &&Arc<Snapshot>| {
            snapshot.head() + 1 >= floor
                && snapshot.head() >= progress.head_min()
                && (snapshot.head() == progress.snapshot_head || now < self.arrived_at + NEW_NS)
        };
        let whole = self.whole.as_ref().filter(suits);
        match progress.route {
            _ if progress.wants_whole() => whole,
            // A later whole snapshot would not tell of keys that were removed in between; a part does.
            Route::Whole if whole.is_some_and(|whole| whole.head() == progress.snapshot_head) => whole,
            _ => self.part.as_ref().filter(suits).filter(|part| part.covers(progress.cursor)),
        }
    }

    /// True while it must not be let go of.
    pub(super) fn is_busy(&self) -> bool {
        self.asked
    }
}

impl<D: Driver> Shard<D> {
    /// The snapshot with which a subscription can go on, if it is here.
    pub(super) fn supplied(&self, index: u32) -> Option<Arc<Snapshot>> {
        let sub = &self.subs[index];
        let reader = &self.readers.slab[sub.reader];
        let floor = reader.log.as_ref().map_or(0, |log| log.floor());
        reader.supply.as_ref()?.for_progress(&sub.progress, floor, self.now).cloned()
    }

    /// Lets a subscription wait for a snapshot.
    pub(super) fn await_snapshot(&mut self, index: u32) {
        let sub = &mut self.subs[index];
        debug_assert!(!sub.pending && !sub.awaits, "who waits has nothing to send");
        sub.awaits = true;
        let reader = sub.reader;
        let supply = self.readers.slab[reader].supply.get_or_insert_with(|| {
            self.supplied.push(reader);
            Box::default()
        });
        supply.awaiting.push(index);
        if !supply.asked {
            self.ask_snapshot(reader);
        }
    }

    /// Takes a subscription out of those that wait.
    pub(super) fn await_no_more(&mut self, index: u32) {
        let sub = &mut self.subs[index];
        if std::mem::take(&mut sub.awaits)
            && let Some(supply) = &mut self.readers.slab[sub.reader].supply
        {
            supply.awaiting.retain(|waiting| *waiting != index);
        }
    }

    /// Asks the home shard for what those who wait need: the whole, or everything since the one furthest behind.
    fn ask_snapshot(&mut self, index: u32) {
        let reader = &mut self.readers.slab[index];
        let Some(supply) = &mut reader.supply else { return };
        supply.asked = true;
        let wants_whole = |sub: &&u32| self.subs[**sub].progress.wants_whole();
        let from = match supply.awaiting.iter().find(wants_whole) {
            Some(_) => 0,
            None => supply.awaiting.iter().map(|sub| self.subs[*sub].progress.cursor).min().unwrap_or(0),
        };
        let newest = supply.awaiting.iter().map(|sub| self.subs[*sub].progress.head_min()).max().unwrap_or(0);
        // Behind the snapshot it goes on in the log, which may have become shorter.
        let head_min = reader.log.as_ref().map_or(0, |log| log.floor() - 1).max(newest);
        let listener = Listener { shard: self.index, reader: index };
        // Snapshots are not compressed: they are made in one go, while others wait.
        let (topic, view, home) = (reader.topic.clone(), reader.view.plain(), reader.home);
        let owed = Owed { topic, view, from, head_min, listener };
        match home == self.index {
            true => self.owe_snapshot(owed),
            false => self.command(home, Command::Snapshot(Box::new(owed))),
        }
    }

    /// Makes a snapshot that a reader has asked for, now or in a later turn.
    pub(super) fn owe_snapshot(&mut self, owed: Owed) {
        if self.snapshot_budget > 0 && self.owed.is_empty() {
            self.make_snapshot(&owed);
        } else {
            self.owed.push_back(owed);
        }
    }

    /// Makes snapshots that earlier turns had no time for.
    pub(super) fn pay_snapshots(&mut self) {
        self.snapshot_budget = MADE_EACH_TURN;
        while self.snapshot_budget > 0
            && let Some(owed) = self.owed.pop_front()
        {
            self.make_snapshot(&owed);
        }
    }

    fn make_snapshot(&mut self, owed: &Owed) {
        let Owed { topic, view, from, head_min, listener } = owed;
        let (snapshot, is_new) = self.topics.snapshot(topic, *view, *from, *head_min, self.now);
        if is_new {
            self.stats.snapshots_built.add(1);
            self.snapshot_budget = self.snapshot_budget.saturating_sub(snapshot.footprint());
        }
        if listener.shard == self.index {
            self.snapshot_arrived(listener.reader, *from, snapshot);
        } else {
            self.reply(listener.shard, Reply::Snapshot { reader: listener.reader, from: *from, snapshot });
        }
    }

    /// The home shard has answered. Whoever waited and can go on is listed for sending.
    pub(super) fn snapshot_arrived(&mut self, index: u32, from: u64, snapshot: Arc<Snapshot>) {
        let reader = &mut self.readers.slab[index];
        let Some(supply) = &mut reader.supply else { return };
        supply.asked = false;
        supply.arrived_at = self.now;
        let awaiting = std::mem::take(&mut supply.awaiting);
        let place = if snapshot.is_whole() { &mut supply.whole } else { &mut supply.part };
        *place = Some(snapshot.clone());
        let (mut served, mut left) = (Vec::new(), Vec::new());
        for sub in awaiting {
            let progress = &mut self.subs[sub].progress;
            let serves = if snapshot.is_whole() {
                // Asked for a part, got the whole: removed keys can no longer be told one by one.
                if from > 0 && !progress.wants_whole() {
                    *progress = Progress { lagging: progress.lagging, ..Progress::whole() };
                }
                progress.wants_whole()
            } else {
                !progress.wants_whole()
                    && snapshot.covers(progress.cursor)
                    && snapshot.head() >= progress.head_min()
            };
            if serves {
                progress.snapshot_head = snapshot.head();
                if progress.route == Route::Whole && !snapshot.is_whole() {
                    (progress.route, progress.told_head) = (Route::Rest, NO_SNAPSHOT);
                }
                served.push(sub);
            } else {
                left.push(sub);
            }
        }
        let waits = !left.is_empty();
        if let Some(supply) = &mut self.readers.slab[index].supply {
            supply.awaiting = left;
        }
        for sub in served {
            let entry = &mut self.subs[sub];
            entry.awaits = false;
            let slot = entry.conn;
            self.list(slot, sub);
        }
        if waits {
            self.ask_snapshot(index);
        } else {
            self.release_reader(index);
        }
    }

    /// Lets go of snapshots that nobody asked for of late.
    pub(super) fn expire_supplies(&mut self) {
        // The index of a reader that is gone may name another one, which stands here too.
        self.supplied.sort_unstable();
        self.supplied.dedup();
        let (readers, now) = (&mut self.readers, self.now);
        self.supplied.retain(|index| {
            let Some(reader) = readers.slab.get_mut(*index) else { return false };
            let Some(supply) = &mut reader.supply else { return false };
            if supply.asked || !supply.awaiting.is_empty() || now < supply.arrived_at + KEPT_NS {
                return true;
            }
            reader.supply = None;
            false
        });
    }
}
