//! Fan-out: cursors against heads that moved.
//!
//! This only finds out who has something to send. A crowd is taken in slices, with sends and completions between.

use fanfare_io::Driver;
use fanfare_wire::subscribe::Policy;

use super::Shard;
use super::conn::{Conn, NIL, State};
use super::subs::{Slab, Sub};

/// With so many connections ready, comparing more would only run ahead of the sends.
const READY_ENOUGH: usize = 4096;

impl<D: Driver> Shard<D> {
    /// Notes that a reader's log has a new head.
    pub(super) fn head_moved(&mut self, index: u32) {
        if self.readers.slab.get(index).is_none() || self.must_wait(index) {
            return;
        }
        let reader = &mut self.readers.slab[index];
        if reader.queued {
            reader.again = true;
            return;
        }
        reader.queued = true;
        reader.again = false;
        reader.at = 0;
        self.moved.push_back(index);
    }

    /// Lists the connections whose cursors are behind moved heads.
    pub(super) fn fan_out(&mut self) {
        let mut budget = self.config().fan_out_slice;
        while budget > 0 && self.ready.len() < READY_ENOUGH {
            let Some(&index) = self.moved.front() else { break };
            // The reader may be gone, and its index may name another one by now.
            let Some(reader) = self.readers.slab.get_mut(index).filter(|reader| reader.queued) else {
                self.moved.pop_front();
                self.looks += 1;
                continue;
            };
            if let Some(log) = &mut reader.log
                && reader.at == 0
            {
                log.log().looks(self.index);
                log.refresh();
                if let Some(marks) = &mut reader.marks {
                    marks.note(self.now, log.end());
                }
                if let Some(pace) = &mut reader.pace {
                    pace.looks(self.now);
                    log.let_go();
                }
                self.spreads.begin(self.now);
            }
            let end = reader.subs.len().min(reader.at + budget);
            budget -= end.saturating_sub(reader.at).min(budget);
            let start = std::mem::replace(&mut reader.at, end);
            let finished = end == reader.subs.len();
            for place in start..end {
                self.compare(index, place);
            }
            if finished {
                self.moved.pop_front();
                self.looks += 1;
                self.spreads.end_of_pass();
                let reader = &mut self.readers.slab[index];
                reader.queued = false;
                if reader.again {
                    self.head_moved(index);
                }
            }
        }
        while let Some(index) = self.slow.pop() {
            // The index may name another subscription by now.
            if let Some(sub) = self.subs.get(index).copied()
                && sub.policy == Policy::Disconnect
                && self.is_too_slow(index)
            {
                self.close_slow(&sub);
            }
        }
    }

    /// Compares one subscription with its head, and lists its connection if it is behind.
    pub(super) fn compare(&mut self, reader: u32, place: usize) {
        let reader = &self.readers.slab[reader];
        let Some(log) = &reader.log else { return };
        let index = reader.subs[place];
        let Sub { progress, conn: slot, policy, pending, held, awaits, .. } = self.subs[index];
        if held || awaits || !progress.has_work(log.end()) {
            return;
        }
        // Slow consumers that are not disconnected cost nothing until their sockets take bytes again.
        if pending && policy != Policy::Disconnect {
            return;
        }
        if policy == Policy::Disconnect && self.conns[slot].blocked && self.is_too_slow(index) {
            self.slow.push(index);
        } else if !pending {
            add_pending(&mut self.subs, &mut self.conns[slot], index);
            self.make_ready(slot);
        }
    }

    /// Lists a connection for sending, if it has anything to send and its socket takes it.
    pub(super) fn make_ready(&mut self, slot: u32) {
        let conn = &mut self.conns[slot];
        if !conn.ready && !conn.blocked && conn.state <= State::Closing && conn.has_work() {
            conn.ready = true;
            self.ready.push_back(slot);
            self.spreads.listed();
        }
    }
}

/// Appends a subscription to its connection's list of those with messages to send.
pub(super) fn add_pending(subs: &mut Slab<Sub>, conn: &mut Conn, index: u32) {
    let sub = &mut subs[index];
    debug_assert!(!sub.pending, "a subscription stands in the list once");
    sub.pending = true;
    sub.next_pending = NIL;
    match conn.pending_last {
        NIL => conn.pending_first = index,
        last => subs[last].next_pending = index,
    }
    conn.pending_last = index;
}

/// Puts a subscription at the beginning of its connection's list of those with messages to send.
pub(super) fn put_first(subs: &mut Slab<Sub>, conn: &mut Conn, index: u32) {
    let sub = &mut subs[index];
    debug_assert!(!sub.pending, "a subscription stands in the list once");
    sub.pending = true;
    sub.next_pending = conn.pending_first;
    conn.pending_first = index;
    if conn.pending_last == NIL {
        conn.pending_last = index;
    }
}

/// Takes the first subscription off its connection's list.
pub(super) fn take_pending(subs: &mut Slab<Sub>, conn: &mut Conn) -> Option<u32> {
    let first = conn.pending_first;
    if first == NIL {
        return None;
    }
    let sub = &mut subs[first];
    sub.pending = false;
    conn.pending_first = sub.next_pending;
    if conn.pending_first == NIL {
        conn.pending_last = NIL;
    }
    Some(first)
}
