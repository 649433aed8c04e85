//! Sends: one for each connection that has something to send, all in one batch.
//!
//! Cursors move when a send is planned. The driver reports the few sends that a socket did not take whole, before
//! anything else is looked at; those cursors move back.

use std::ops::Range;

use fanfare_io::{Batch, ConnId, Driver, PARTS_MAX, SendShort};

use super::Shard;
use super::conn::{Holds, Remainder, State};
use super::fan_out::{add_pending, take_pending};
use super::subs::Readers;

/// A send that holds so many bytes gets no further part.
const SEND_BYTES_ENOUGH: usize = 256 * 1024;

/// Where a part of a send comes from.
#[derive(Debug)]
enum Source {
    /// Bytes of the plan's `control`.
    Control(Range<usize>),
    /// The rest of a frame that was cut before.
    Remainder(Remainder),
    /// Messages of a log: bytes of one segment of a reader.
    Log { sub: u32, reader: u32, segment: u32, bytes: Range<u32>, next_seq: u64 },
}

impl Source {
    fn len(&self) -> usize {
        match self {
            Self::Control(range) => range.len(),
            Self::Remainder(rest) => (rest.end - rest.start) as usize,
            Self::Log { bytes, .. } => bytes.len(),
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
    parts: Vec<Source>,
    /// The outboxes of the batch's connections, one behind the other.
    control: Vec<u8>,
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
            Source::Control(range) => &self.plan.control[range.clone()],
            Source::Remainder(rest) => rest.segment.bytes(rest.start..rest.end),
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
            bytes += (rest.end - rest.start) as usize;
            plan.parts.push(Source::Remainder(rest));
        }
        if !conn.outbox.is_empty() {
            let start = plan.control.len();
            plan.control.extend_from_slice(&conn.outbox);
            // The memory goes too: most connections rarely have a reply to send.
            conn.outbox = Vec::new();
            bytes += plan.control.len() - start;
            plan.parts.push(Source::Control(start..plan.control.len()));
        }
        // Topics take turns, a segment's worth each, so that a busy one does not starve a quiet one.
        while plan.parts.len() - first < PARTS_MAX && bytes < SEND_BYTES_ENOUGH {
            let Some(index) = take_pending(&mut self.subs, conn) else { break };
            let sub = &mut self.subs[index];
            let log = self.readers.slab[sub.reader].log.as_ref().expect("a subscription's log is attached");
            let Some(range) = log.range(sub.cursor) else {
                if sub.cursor < log.floor() {
                    // The log dropped what comes next while the send before was under way.
                    self.slow.push(index);
                }
                continue;
            };
            self.stats.delivered.add(range.next_seq - sub.cursor);
            sub.cursor = range.next_seq;
            bytes += (range.end - range.start) as usize;
            plan.parts.push(Source::Log {
                sub: index,
                reader: sub.reader,
                segment: range.segment,
                bytes: range.start..range.end,
                next_seq: range.next_seq,
            });
            if range.next_seq < log.end() {
                add_pending(&mut self.subs, conn, index);
            }
        }
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

    /// Takes back what the kernel did not take of a send.
    pub(super) fn undo_short_send(&mut self, conn: ConnId, sent: usize, cause: SendShort) {
        let slot = conn.index() as u32;
        if let SendShort::Error(_) = cause {
            // What the peer sent before it went may still be on its way to us: receiving ends the connection.
            let conn = &mut self.conns[slot];
            conn.break_off();
            if !conn.receiving && !conn.holds.any() {
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
        // Backwards, so that of several parts of one log the first one has the last word on the cursor.
        for index in (cut..parts.end).rev() {
            let taken = if index == cut { taken } else { 0 };
            self.stats.sent_bytes.sub((self.plan.parts[index].len() - taken) as u64);
            match &self.plan.parts[index] {
                Source::Control(range) => {
                    // Bytes that came to the outbox since stand behind those.
                    conn.outbox
                        .splice(0..0, self.plan.control[range.start + taken..range.end].iter().copied());
                }
                Source::Remainder(rest) => {
                    conn.remainder = Some(Remainder { start: rest.start + taken as u32, ..rest.clone() });
                }
                Source::Log { sub: index, reader, segment, bytes, next_seq } => {
                    let log = self.readers.slab[*reader].log.as_ref().expect("a planned reader is attached");
                    let segment = log.segment(*segment);
                    let offset = bytes.start + taken as u32;
                    let (mut seq, message) = segment.message_at(offset);
                    if message.start < offset {
                        let segment = segment.clone();
                        conn.remainder = Some(Remainder { segment, start: offset, end: message.end });
                        seq += 1;
                    }
                    self.stats.delivered.sub(next_seq - seq);
                    let sub = &mut self.subs[*index];
                    sub.cursor = seq;
                    if !sub.pending && seq < log.end() {
                        add_pending(&mut self.subs, conn, *index);
                    }
                }
            }
        }
        conn.blocked = true;
        self.driver.notify_writable(ConnId::new(slot));
    }

    /// Goes on with the connections of the batch for which it matters that their outbox was sent.
    pub(super) fn follow_up_sends(&mut self) {
        while let Some(slot) = self.follow_up.pop() {
            let Some(conn) = self.conns.get(slot) else { continue };
            if conn.state == State::Closing && !conn.blocked && !conn.has_work() {
                self.last_bytes_sent(slot);
            } else if conn.outbox.is_empty() {
                self.release(slot, Holds::OUTBOX);
            }
        }
    }
}
