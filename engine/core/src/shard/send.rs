//! Sends: one for each connection that has something to send, all in one batch.
//!
//! Cursors move when a send is planned. The driver reports the few sends that a socket did not take whole, before
//! anything else is looked at; those cursors move back.

use std::ops::Range;
use std::sync::Arc;

use fanfare_io::{Batch, ConnId, Driver, PARTS_MAX, SendShort};
use fanfare_wire::notice::Notice;

use super::Shard;
use super::conn::{Holds, NIL, Remainder, State};
use super::fan_out::take_pending;
use super::subs::{Progress, Readers, Route};
use crate::snapshot::Snapshot;
use crate::view::View;

/// A send that holds so many bytes gets no further part.
const SEND_BYTES_ENOUGH: usize = 256 * 1024;

/// The most parts that one subscription puts into a send: a notice, a piece of a snapshot, a notice, messages of the log.
const PARTS_EACH: usize = 4;

/// Where a part of a send comes from. Those of a subscription say how far it was before.
#[derive(Debug)]
pub(super) enum Source {
    /// Bytes of the plan's `control`.
    Control(Range<usize>),
    /// The rest of a frame that was cut before.
    Remainder(Remainder),
    /// Messages of a log: bytes of one segment of a reader.
    Log { sub: u32, reader: u32, segment: u32, bytes: Range<u32>, next_seq: u64, before: Progress },
    /// Messages of a snapshot.
    Snapshot { sub: u32, snapshot: Arc<Snapshot>, entries: Range<u32>, bytes: Range<u32>, before: Progress },
    /// A notice: bytes of the plan's `control`.
    Notice { sub: u32, bytes: Range<usize>, notice: Notice, before: Progress },
}

impl Source {
    fn len(&self) -> usize {
        match self {
            Self::Control(bytes) | Self::Notice { bytes, .. } => bytes.len(),
            Self::Remainder(rest) => rest.bytes().len(),
            Self::Log { bytes, .. } | Self::Snapshot { bytes, .. } => bytes.len(),
        }
    }
}

#[derive(Debug)]
struct PlannedSend {
    conn: u32,
    /// Its parts in `Plan::parts`.
    first: u32,
    count: u32,
}

/// One batch of sends. It stays as it is until its short sends are undone.
#[derive(Debug, Default)]
pub(super) struct Plan {
    sends: Vec<PlannedSend>,
    pub(super) parts: Vec<Source>,
    /// The outboxes of the batch's connections and the notices, one behind the other.
    pub(super) control: Vec<u8>,
}

impl Plan {
    fn clear(&mut self) {
        self.sends.clear();
        self.parts.clear();
        self.control.clear();
    }
}

/// A plan with the logs it points into: what the driver sends.
#[derive(Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) plan: &'a Plan,
    pub(super) readers: &'a Readers,
}

impl Batch for Outgoing<'_> {
    fn len(&self) -> usize {
        self.plan.sends.len()
    }

    fn send(&self, index: usize) -> (ConnId, usize) {
        let send = &self.plan.sends[index];
        (ConnId::new(send.conn), send.count as usize)
    }

    fn part(&self, index: usize, part: usize) -> &[u8] {
        match &self.plan.parts[self.plan.sends[index].first as usize + part] {
            Source::Control(bytes) | Source::Notice { bytes, .. } => &self.plan.control[bytes.clone()],
            Source::Remainder(rest) => rest.bytes(),
            Source::Snapshot { snapshot, bytes, .. } => snapshot.segment().bytes(bytes.clone()),
            Source::Log { reader, segment, bytes, .. } => {
                let log = self.readers.slab[*reader].log.as_ref().expect("a planned reader is attached");
                log.segment(*segment).bytes(bytes.clone())
            }
        }
    }
}

impl<D: Driver> Shard<D> {
    /// Plans a send for each of the first ready connections.
    pub(super) fn plan_sends(&mut self) {
        self.plan.clear();
        for _ in 0..self.ready.len().min(self.config().send_slice) {
            let slot = self.ready.pop_front().expect("the list is as long as it was");
            self.spreads.taken();
            // Its connection may be gone, and the slot may even be in use again.
            if let Some(conn) = self.conns.get_mut(slot)
                && std::mem::take(&mut conn.ready)
                && !conn.blocked
            {
                self.plan_send(slot);
            }
        }
    }

    fn plan_send(&mut self, slot: u32) {
        let conn = &mut self.conns[slot];
        let plan = &mut self.plan;
        let first = plan.parts.len();
        let mut bytes = 0;
        if let Some(rest) = conn.remainder.take() {
            bytes += rest.bytes().len();
            plan.parts.push(Source::Remainder(rest));
        }
        if !conn.outbox.is_empty() {
            let start = plan.control.len();
            plan.control.extend_from_slice(&conn.outbox);
            // The memory goes too: most connections rarely have a reply to send.
            conn.outbox = Vec::new();
            conn.controls_planned = std::mem::take(&mut conn.controls);
            bytes += plan.control.len() - start;
            plan.parts.push(Source::Control(start..plan.control.len()));
        }
        // Topics take turns, a segment's worth each, so that a busy one does not starve a quiet one.
        while self.plan.parts.len() - first + PARTS_EACH <= PARTS_MAX && bytes < SEND_BYTES_ENOUGH {
            let Some(index) = take_pending(&mut self.subs, &mut self.conns[slot]) else { break };
            let lagged = self.conns[slot].lagged;
            bytes += match self.reads_on(index) && !(lagged && self.is_too_slow(index)) {
                true => self.plan_log(slot, index).unwrap_or_else(|| self.plan_behind(slot, index)),
                false => self.plan_behind(slot, index),
            };
        }
        let conn = &mut self.conns[slot];
        if conn.pending_first == NIL {
            conn.lagged = false;
        }
        let plan = &mut self.plan;
        let count = plan.parts.len() - first;
        if count == 0 {
            return;
        }
        conn.batch_send = plan.sends.len() as u32;
        plan.sends.push(PlannedSend { conn: slot, first: first as u32, count: count as u32 });
        self.stats.sends.add(1);
        self.stats.sent_bytes.add(bytes as u64);
        if conn.state == State::Closing || conn.holds.has(Holds::OUTBOX) {
            self.follow_up.push(slot);
        }
        // What did not fit waits for the next batch.
        self.make_ready(slot);
    }

    /// True if a subscription gets every message, from its log.
    fn reads_on(&self, index: u32) -> bool {
        let sub = &self.subs[index];
        sub.progress.route == Route::Log && self.readers.slab[sub.reader].pace.is_none()
    }

    /// Plans messages of the log. Returns how many bytes that is; `None` if the log holds the next one no more.
    pub(super) fn plan_log(&mut self, slot: u32, index: u32) -> Option<usize> {
        let sub = &mut self.subs[index];
        let log = self.readers.slab[sub.reader].log.as_ref().expect("a subscription's log is attached");
        let before = sub.progress;
        let Some(range) = log.range(before.cursor) else {
            return (before.cursor >= log.floor()).then_some(0);
        };
        let is_message = self.readers.slab[sub.reader].view != View::Presence;
        if is_message {
            self.stats.lag_messages.observe(log.end() - before.cursor);
            self.stats.delivered.add(range.next_seq - before.cursor);
        }
        sub.progress.cursor = range.next_seq;
        let bytes = range.start..range.end;
        let planned = bytes.len();
        self.plan.parts.push(Source::Log {
            sub: index,
            reader: sub.reader,
            segment: range.segment,
            bytes,
            next_seq: range.next_seq,
            before,
        });
        if range.next_seq < log.end() {
            self.requeue(slot, index);
        } else {
            sub.progress.lagging = false;
        }
        Some(planned)
    }

    /// Takes back what the kernel did not take of a send.
    pub(super) fn undo_short_send(&mut self, conn: ConnId, sent: usize, cause: SendShort) {
        let slot = conn.index() as u32;
        if let SendShort::Error(_) = cause {
            // What the peer sent before it went may still be on its way to us: receiving ends the connection. It is begun
            // anew for that: Linux (6.18, measured) can lose the end that comes right behind data.
            let broken = &mut self.conns[slot];
            broken.break_off();
            if broken.receiving {
                self.driver.pause_receive(conn);
            } else if !broken.holds.any() {
                self.finish_broken(slot);
            }
            return;
        }
        self.stats.sends_short.add(1);
        let conn = &mut self.conns[slot];
        let send = &self.plan.sends[conn.batch_send as usize];
        assert_eq!(send.conn, slot, "a short send belongs to the batch submitted last");
        let parts = send.first as usize..(send.first + send.count) as usize;
        let mut taken = sent;
        let mut cut = parts.start;
        while cut < parts.end && self.plan.parts[cut].len() <= taken {
            taken -= self.plan.parts[cut].len();
            cut += 1;
        }
        // Backwards, so that of several parts of one subscription the first one has the last word on how far it is.
        for index in (cut..parts.end).rev() {
            let taken = if index == cut { taken } else { 0 };
            self.undo_part(slot, index, taken);
        }
        let conn = &mut self.conns[slot];
        if conn.is_mutilated {
            // Nothing that follows could be read: the rest of a frame would be missing before it.
            self.stats.cut_disconnects.add(1);
            self.finish_broken(slot);
            return;
        }
        conn.lagged = true;
        conn.blocked = true;
        self.driver.notify_writable(ConnId::new(slot));
    }

    /// Takes back a part of which only the first `taken` bytes went out.
    fn undo_part(&mut self, slot: u32, part: usize, taken: usize) {
        let conn = &mut self.conns[slot];
        let part = &self.plan.parts[part];
        self.stats.sent_bytes.sub((part.len() - taken) as u64);
        let (index, progress) = match part {
            Source::Control(bytes) => {
                // Bytes that came to the outbox since stand behind those.
                conn.controls += conn.controls_planned;
                conn.outbox.splice(0..0, self.plan.control[bytes.start + taken..bytes.end].iter().copied());
                return;
            }
            Source::Remainder(rest) => {
                conn.remainder = Some(Remainder { start: rest.start + taken as u32, ..rest.clone() });
                return;
            }
            Source::Notice { bytes, .. } if taken > 0 => {
                // What it tells stays true: only its rest is left to send.
                conn.outbox.splice(0..0, self.plan.control[bytes.start + taken..bytes.end].iter().copied());
                return;
            }
            Source::Notice { sub, notice, before, .. } => {
                self.count_notice(self.subs[*sub].policy, *notice, false);
                (*sub, *before)
            }
            Source::Log { sub, reader, segment, bytes, next_seq, before } => {
                let reader = &mut self.readers.slab[*reader];
                let log = reader.log.as_ref().expect("a planned reader is attached");
                let segment = log.segment(*segment);
                let offset = bytes.start + taken as u32;
                let (mut seq, message) = segment.message_at(offset);
                if message.start < offset {
                    let (cuts, frame) = (reader.cuts.get_or_insert_default(), segment.bytes(message.clone()));
                    let cut = cuts.copy(seq, frame, &self.plane.usage, self.plane.config.log_total_bytes_max);
                    conn.cut_at(cut, offset - message.start);
                    seq += 1;
                }
                if reader.view != View::Presence {
                    self.stats.delivered.sub(next_seq - seq);
                }
                (*sub, Progress { cursor: seq, ..*before })
            }
            Source::Snapshot { sub, snapshot, entries, bytes, before } => {
                let offset = bytes.start + taken as u32;
                let (mut entry, message) = snapshot.entry_at(offset);
                if message.start < offset {
                    let seq = snapshot.seq_of(entry).expect("a cut frame is one of a message");
                    let reader = &mut self.readers.slab[self.subs[*sub].reader];
                    let frame = snapshot.segment().bytes(message.clone());
                    let cuts = reader.cuts.get_or_insert_default();
                    let cut = cuts.copy(seq, frame, &self.plane.usage, self.plane.config.log_total_bytes_max);
                    conn.cut_at(cut, offset - message.start);
                    entry += 1;
                }
                self.stats.delivered.sub(u64::from(entries.end - entry));
                let cursor = snapshot.cursor_at(entry, before.cursor);
                (*sub, Progress { cursor, snapshot_head: snapshot.head(), ..*before })
            }
        };
        self.subs[index].progress = progress;
        // What it began to wait for behind this part it may not need.
        self.await_no_more(index);
        self.requeue_undone(slot, index, taken > 0);
    }

    /// Goes on with the connections of the batch for which it matters that their outbox was sent.
    pub(super) fn follow_up_sends(&mut self) {
        while let Some(slot) = self.follow_up.pop() {
            if self.conns.get(slot).is_some_and(|conn| conn.outbox.is_empty()) {
                self.release(slot, Holds::OUTBOX);
            }
            let Some(conn) = self.conns.get(slot) else { continue };
            if conn.state == State::Closing && !conn.blocked && !conn.has_work() {
                self.last_bytes_sent(slot);
            }
        }
    }
}
