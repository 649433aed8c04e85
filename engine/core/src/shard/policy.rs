//! What becomes of a subscriber that cannot just read on: one too far behind, one that wants a snapshot, and one that
//! wants to hear only so often.
//!
//! All of it is a move of the cursor, told by a notice. A notice is a part of the send that follows it; if the kernel
//! does not take it, the move is taken back with it.

use fanfare_io::Driver;
use fanfare_wire::notice::Notice;
use fanfare_wire::subscribe::Policy;

use super::Shard;
use super::send::Source;
use super::subs::{NO_SNAPSHOT, Progress, Reader, Route, Sub};
use crate::stats::Stat;
use crate::view::View;

/// How much of a snapshot one send takes, about.
const PIECE_BYTES: u32 = 256 * 1024;

/// Below which cursors a subscriber is too far behind its head, as of one look at it.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Thresholds {
    /// The head and the time they were worked out for.
    end: u64,
    at: u64,
    /// Below it the policy acts.
    pub(super) act: u64,
    /// Below it the policy acts on a subscriber on which it has acted before, until that one has caught up. So a
    /// subscriber at the edge is not moved again and again, each time after having heard a limit's worth of old messages.
    act_again: u64,
}

impl Reader {
    /// Works out the thresholds of the present head.
    pub(super) fn look_at_thresholds(&mut self, now: u64) -> Thresholds {
        let Some(log) = &self.log else { return self.thresholds };
        let known = self.thresholds;
        if known.end == log.end() && (known.at == now || self.marks.is_none()) {
            return known;
        }
        let (end, limits) = (log.end(), &self.limits);
        let half_age = limits.lag_age_ms * super::NS_PER_MS / 2;
        let aged = |now| self.marks.as_ref().map_or(0, |marks| marks.older_than(now));
        let below =
            |bytes, messages, aged: u64| log.within_bytes(bytes).max(end.saturating_sub(messages)).max(aged);
        self.thresholds = Thresholds {
            end,
            at: now,
            act: below(limits.lag_bytes_max, limits.lag_messages_max, aged(now)),
            act_again: below(
                limits.lag_bytes_max / 2,
                limits.lag_messages_max.div_ceil(2),
                aged(now.saturating_add(half_age)),
            ),
        };
        self.thresholds
    }
}

impl<D: Driver> Shard<D> {
    /// Whether a subscription whose socket was full is further behind than it may be.
    pub(super) fn is_too_slow(&mut self, index: u32) -> bool {
        let Sub { progress, reader, policy, .. } = self.subs[index];
        let reader = &mut self.readers.slab[reader];
        let Some(log) = &reader.log else { return false };
        // Who wants to hear only so often gets the newest of each key however far behind.
        if progress.route != Route::Log || progress.cursor >= log.end() || reader.pace.is_some() {
            return false;
        }
        if progress.cursor < log.floor() {
            return true;
        }
        if progress.cursor < progress.recovers_to {
            return false;
        }
        if policy == Policy::Latest {
            return progress.cursor + 1 < log.end();
        }
        let thresholds = reader.look_at_thresholds(self.now);
        progress.cursor < if progress.lagging { thresholds.act_again } else { thresholds.act }
    }

    /// Plans what a subscription gets that does not just read on. Returns how many bytes that is.
    pub(super) fn plan_behind(&mut self, slot: u32, index: u32) -> usize {
        let reader = &self.readers.slab[self.subs[index].reader];
        let end = reader.log.as_ref().expect("a subscription's log is attached").end();
        let paced = reader.pace.is_some();
        let Sub { progress, policy, .. } = self.subs[index];
        if progress.route != Route::Log {
            return self.plan_snapshot(slot, index);
        }
        let (cursor, mut next) = (progress.cursor, Progress { lagging: true, ..progress });
        match policy {
            _ if paced => {
                self.subs[index].progress = Progress { route: Route::Part, ..Progress::from(cursor) };
                self.plan_snapshot(slot, index)
            }
            Policy::Disconnect => {
                self.slow.push(index);
                0
            }
            Policy::Conflate => {
                self.subs[index].progress =
                    Progress { route: Route::Part, lagging: true, ..Progress::from(cursor) };
                self.plan_snapshot(slot, index)
            }
            Policy::Skip => {
                next.cursor = end;
                self.plan_notice(index, Notice::Gap { from: cursor, to: end - 1 }, next)
            }
            Policy::Latest => {
                // The newest message may have left the log, too.
                next.cursor = (end - 1).max(reader.log.as_ref().map_or(0, |log| log.floor()));
                let mut bytes = 0;
                if self.readers.slab[self.subs[index].reader].view == View::Presence {
                    self.subs[index].progress = next;
                } else if cursor < next.cursor {
                    bytes = self.plan_notice(index, Notice::Gap { from: cursor, to: next.cursor - 1 }, next);
                }
                bytes + self.plan_log(slot, index).unwrap_or(0)
            }
        }
    }

    /// Plans a notice, after which the subscription stands at `next`.
    fn plan_notice(&mut self, index: u32, notice: Notice, next: Progress) -> usize {
        let sub = &mut self.subs[index];
        let reader = &self.readers.slab[sub.reader];
        let before = std::mem::replace(&mut sub.progress, next);
        let start = self.plan.control.len();
        reader.view.frame_notice(&mut self.plan.control, &reader.topic, notice);
        let bytes = start..self.plan.control.len();
        let policy = sub.policy;
        self.count_notice(policy, notice, true);
        self.plan.parts.push(Source::Notice { sub: index, bytes: bytes.clone(), notice, before });
        bytes.len()
    }

    /// Counts what a notice tells, or takes it back.
    pub(super) fn count_notice(&self, policy: Policy, notice: Notice, told: bool) {
        let count = |stat: &Stat, count| if told { stat.add(count) } else { stat.sub(count) };
        match notice {
            Notice::Gap { from, to } => {
                let latest = policy == Policy::Latest;
                count(if latest { &self.stats.slow_latest } else { &self.stats.slow_skips }, 1);
                count(&self.stats.skipped_messages, to + 1 - from);
            }
            Notice::Conflated { from, to } => {
                count(&self.stats.slow_conflations, 1);
                count(&self.stats.conflated_messages, to + 1 - from);
            }
            Notice::Snapshot { .. } => count(&self.stats.snapshots_sent, 1),
            Notice::Live { .. } => {}
        }
    }

    /// Plans the next piece of a snapshot, or lets the subscription wait for one.
    fn plan_snapshot(&mut self, slot: u32, index: u32) -> usize {
        let Sub { progress, reader, .. } = self.subs[index];
        if progress.had_snapshot() {
            return self.end_snapshot(slot, index);
        }
        let Some(snapshot) = self.supplied(index) else {
            self.await_snapshot(index);
            return 0;
        };
        let head = snapshot.head();
        // Who wants to hear only so often knows that not every message comes. But each whole snapshot is told.
        let is_untold = progress.route == Route::Part && self.readers.slab[reader].pace.is_some();
        let told_head = if is_untold { NO_SNAPSHOT } else { head };
        let mut next = Progress { snapshot_head: head, told_head, ..progress };
        let mut is_told = is_untold || progress.told_head == head;
        if next.route == Route::Whole && !snapshot.is_whole() {
            (next.route, is_told) = (Route::Rest, false);
        }
        let mut planned = 0;
        if progress.wants_whole() {
            next.cursor = 1;
            planned += self.plan_notice(index, Notice::Snapshot { seq: head }, next);
        } else if !is_told {
            // The beginning, or a newer snapshot than the one that a full socket stopped.
            planned += self.plan_notice(index, Notice::Conflated { from: progress.cursor, to: head }, next);
        }
        let before = std::mem::replace(&mut self.subs[index].progress, next);
        let first = snapshot.start_for(next.cursor);
        let piece = snapshot.piece(first, PIECE_BYTES);
        self.subs[index].progress.cursor = snapshot.cursor_at(piece.end, next.cursor);
        if !piece.is_empty() {
            let bytes = snapshot.bytes_of(piece.clone());
            planned += bytes.len();
            let messages = u64::from(piece.end - piece.start);
            self.stats.delivered.add(messages);
            if self.readers.slab[reader].pace.is_some() {
                self.stats.paced_updates.add(messages);
            }
            let snapshot = snapshot.clone();
            self.plan.parts.push(Source::Snapshot {
                sub: index,
                snapshot,
                entries: piece.clone(),
                bytes,
                before,
            });
        }
        if piece.end < snapshot.end() {
            self.requeue(slot, index);
            return planned;
        }
        planned + self.end_snapshot(slot, index)
    }

    /// The subscription has all of its snapshot, and reads the log from here on.
    fn end_snapshot(&mut self, slot: u32, index: u32) -> usize {
        let progress = self.subs[index].progress;
        let next = Progress { route: Route::Log, ..progress };
        let mut planned = 0;
        if matches!(progress.route, Route::Whole | Route::Rest) {
            planned = self.plan_notice(index, Notice::Live { seq: progress.snapshot_head }, next);
        }
        self.subs[index].progress = next;
        self.requeue(slot, index);
        planned
    }

    /// Sees to it that a subscription gets what is left for it, when its turn comes.
    pub(super) fn requeue(&mut self, slot: u32, index: u32) {
        if self.has_more(index) {
            super::fan_out::add_pending(&mut self.subs, &mut self.conns[slot], index);
        }
    }

    /// As [`Self::requeue`], after a send that the kernel did not take whole: whoever got nothing of it keeps its turn.
    pub(super) fn requeue_undone(&mut self, slot: u32, index: u32, had_turn: bool) {
        self.remove_pending(slot, index);
        if had_turn {
            self.requeue(slot, index);
        } else if self.has_more(index) {
            super::fan_out::put_first(&mut self.subs, &mut self.conns[slot], index);
        }
    }

    /// Whether a subscription that is not listed has something left to be sent now.
    fn has_more(&mut self, index: u32) -> bool {
        let Sub { progress, reader, pending, awaits, .. } = self.subs[index];
        let Some(log) = &self.readers.slab[reader].log else { return false };
        if pending || awaits || !progress.has_work(log.end()) {
            return false;
        }
        // One that wants to hear only so often has heard for now, unless it is in the middle of a piece.
        if progress.route == Route::Log && self.readers.slab[reader].pace.is_some() {
            self.head_moved(reader);
            return false;
        }
        true
    }

    /// Lists a subscription for sending from outside of a plan.
    pub(super) fn list(&mut self, slot: u32, index: u32) {
        if !self.subs[index].pending {
            super::fan_out::add_pending(&mut self.subs, &mut self.conns[slot], index);
        }
        self.make_ready(slot);
    }
}
