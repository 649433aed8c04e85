//! How connections end: by the closing handshake, by a final HTTP answer, by time, or by breaking.

use std::io;

use fanfare_io::{ConnId, Driver};
use fanfare_wire::close::{self, CloseCode};
use fanfare_wire::decode::Decoder;
use fanfare_wire::frame::{self, Opcode};
use fanfare_wire::handshake::server::Reject;

use super::admission::Admission;
use super::conn::{Holds, NIL, State};
use super::subs::Sub;
use super::timers::Tick;
use super::{NS_PER_MS, Shard};

/// How long to leave a listener alone that has no room for another connection.
const ACCEPT_RETRY_NS: u64 = 100 * NS_PER_MS;

/// How long to be quiet after saying so.
const ACCEPT_WARN_NS: u64 = 10_000 * NS_PER_MS;

impl<D: Driver> Shard<D> {
    /// Starts the closing handshake, or answers the peer's close frame.
    pub(super) fn close(&mut self, slot: u32, code: CloseCode, reason: &str) {
        let mut last = Vec::new();
        close::write(&mut last, code, reason, None);
        self.say_last(slot, &last);
    }

    /// Answers a close frame that carried no code.
    pub(super) fn close_without_code(&mut self, slot: u32) {
        let mut last = Vec::new();
        frame::write(&mut last, Opcode::Close, true, &[], None);
        self.say_last(slot, &last);
    }

    /// Closes because the peer broke the protocol. No closing handshake is expected of it.
    pub(super) fn fail(&mut self, slot: u32, code: CloseCode, reason: &str) {
        self.stats.protocol_errors.add(1);
        self.conns[slot].deaf = true;
        self.close(slot, code, reason);
    }

    /// Closes the connection of a subscription that fell too far behind, and says where it can go on.
    pub(super) fn close_slow(&mut self, sub: &Sub) {
        if self.conns[sub.conn].state != State::Open {
            return;
        }
        self.stats.slow_disconnects.add(1);
        let log = self.readers.slab[sub.reader].log.as_ref().expect("a subscription's log is attached");
        // What a short send left of a message still goes out before the close frame.
        let (since, epoch) = (sub.progress.cursor - 1, log.log().epoch());
        let reason = format!("too slow: resume with since={since}&epoch={epoch}");
        self.close(sub.conn, CloseCode::SLOW, &reason);
    }

    /// Refuses an upgrade with an HTTP answer, the last of the connection.
    pub(super) fn reject(&mut self, slot: u32, reject: &Reject) {
        self.answer(slot, |answer| reject.write(answer));
    }

    /// As [`Self::reject`], for a HEAD request: an answer without a body (RFC 9110 section 9.3.2).
    pub(super) fn reject_head(&mut self, slot: u32, reject: &Reject) {
        self.answer(slot, |answer| reject.write_head(answer));
    }

    fn answer(&mut self, slot: u32, write: impl FnOnce(&mut Vec<u8>)) {
        self.stats.rejected.add(1);
        let mut answer = Vec::new();
        write(&mut answer);
        self.conns[slot].deaf = true;
        self.say_last(slot, &answer);
    }

    /// Queues the last bytes of a connection: nothing of its topics follows.
    fn say_last(&mut self, slot: u32, bytes: &[u8]) {
        if self.conns[slot].state >= State::Closing {
            return;
        }
        self.asked(slot);
        self.leave_all(slot);
        let conn = &mut self.conns[slot];
        conn.outbox.extend_from_slice(bytes);
        conn.state = State::Closing;
        self.schedule(slot, self.close_timeout_ms(slot));
        self.make_ready(slot);
        // A close frame of the peer may stand behind what we waited with. A stalled message still goes out.
        self.speed_up(slot);
        for hold in [Holds::JOIN, Holds::PUBLISH, Holds::DOOR] {
            self.release(slot, hold);
        }
    }

    /// The last bytes are with the kernel.
    pub(super) fn last_bytes_sent(&mut self, slot: u32) {
        let conn = &mut self.conns[slot];
        if conn.peer_finished || conn.peer_closed {
            // RFC 6455 section 7.1.1: the server closes first.
            self.finish(slot);
        } else if conn.deaf {
            // The peer may still be sending. FIN now, and the socket when its FIN came: closing with unread bytes
            // would send a reset, which can destroy our last bytes on their way.
            conn.state = State::Lingering;
            conn.backlog = Vec::new();
            self.driver.shutdown_write(ConnId::new(slot));
        }
    }

    /// The peer is gone without a closing handshake.
    pub(super) fn finish_broken(&mut self, slot: u32) {
        if self.conns[slot].state <= State::Open {
            self.stats.broken.add(1);
        }
        self.finish(slot);
    }

    /// Lets go of everything and closes the socket.
    pub(super) fn finish(&mut self, slot: u32) {
        if self.conns[slot].state == State::Gone {
            return;
        }
        self.asked(slot);
        self.leave_all(slot);
        let conn = &mut self.conns[slot];
        conn.state = State::Gone;
        conn.backlog = Vec::new();
        conn.outbox = Vec::new();
        conn.remainder = None;
        self.unfinished_bytes -= conn.unfinished_bytes();
        conn.decoder = Decoder::default();
        conn.stalled = None;
        conn.due = 0;
        self.driver.close(ConnId::new(slot));
    }

    /// The driver has closed the socket.
    pub(super) fn closed(&mut self, slot: u32) {
        let conn = self.conns.remove(slot);
        self.unfinished_bytes -= conn.decoder.buffered();
        self.let_out(&conn);
        self.stats.connections.set(self.conns.len() as u64);
        self.accept_again();
    }

    pub(super) fn accept_again(&mut self) {
        if !self.accepting && !self.is_ending() {
            self.accepting = true;
            self.driver.accept();
        }
    }

    /// Accepting stopped. It goes on when a connection closes, or after a while.
    pub(super) fn accept_stopped(&mut self, error: &io::Error) {
        self.accepting = false;
        self.accept_due = self.now + ACCEPT_RETRY_NS;
        if !self.is_ending() {
            // It is tried again and again while there is no room; once is enough to count.
            if !std::mem::replace(&mut self.accept_refused, true) {
                self.stats.accept_stopped.add(1);
            }
            if self.now >= self.accept_warn_due {
                self.accept_warn_due = self.now + ACCEPT_WARN_NS;
                let (connections, connections_max) = (self.conns.len(), self.config().connections_max);
                tracing::warn!(shard = self.index, connections, connections_max, %error, "no room for connections");
            }
        }
    }

    /// Ends all subscriptions of a connection.
    fn leave_all(&mut self, slot: u32) {
        let conn = &mut self.conns[slot];
        conn.pending_first = NIL;
        conn.pending_last = NIL;
        let joining = conn.joining.take();
        let session = std::mem::take(&mut conn.session);
        // Those that the session does not know yet; a join may also name topics from before.
        let new = joining.into_iter().flat_map(|joining| joining.wanted);
        let new = new.filter(|wanted| !wanted.known).filter_map(|wanted| wanted.sub);
        let all: Vec<u32> = new.chain(session.subs()).collect();
        for sub in all {
            // The list they stand in is gone.
            self.subs[sub].pending = false;
            self.leave(sub);
        }
    }

    /// Sets the connection's timeout to `ms` from now.
    pub(super) fn schedule(&mut self, slot: u32, ms: u64) {
        let at = self.wheel.tick_at(self.now + ms * NS_PER_MS);
        self.schedule_at(slot, at);
    }

    fn schedule_at(&mut self, slot: u32, at: Tick) {
        self.conns[slot].due = at;
        self.wheel.set(self.conns.reference(slot), at);
    }

    /// Handles the timeouts that have come up, and what is tried again with time.
    pub(super) fn expire(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.advance(self.now, &mut due);
        for (conn, tick) in due.drain(..) {
            if let Some(slot) = self.conns.slot_of(conn)
                && self.conns[slot].due == tick
            {
                self.timed_out(slot);
            }
        }
        self.due = due;
        if self.now >= self.accept_due {
            self.accept_again();
        }
    }

    fn timed_out(&mut self, slot: u32) {
        let silent_ms = (self.now - self.conns[slot].heard_at) / NS_PER_MS;
        let config = self.config();
        let (ping_interval_ms, idle_timeout_ms) = (config.ping_interval_ms, config.idle_timeout_ms);
        match self.conns[slot].state {
            State::Handshake => {
                if self.conns[slot].admission == Admission::Admitted {
                    self.stats.handshake_timeouts.add(1);
                }
                self.reject(slot, &Reject::request_timeout());
            }
            State::Open if silent_ms >= idle_timeout_ms => {
                self.stats.idle_disconnects.add(1);
                self.close(slot, CloseCode::IDLE, "no answer to pings");
            }
            State::Open if silent_ms >= ping_interval_ms => {
                // A connection that we do not read from, for reasons of our own, cannot show that it answers.
                let holds = self.conns[slot].holds;
                if [Holds::JOIN, Holds::PUBLISH, Holds::RATE].into_iter().any(|hold| holds.has(hold)) {
                    self.conns[slot].heard_at = self.now;
                    self.schedule(slot, ping_interval_ms);
                    return;
                }
                if !std::mem::replace(&mut self.conns[slot].pinged, true) {
                    self.say_control(slot, Opcode::Ping, &[]);
                }
                self.schedule(slot, idle_timeout_ms - silent_ms);
            }
            State::Open => self.schedule(slot, ping_interval_ms - silent_ms),
            State::Closing | State::Lingering => self.finish(slot),
            State::Gone => {}
        }
    }

    /// Queues a control frame for a connection. One that has too many of them waiting is not read from.
    pub(super) fn say_control(&mut self, slot: u32, opcode: Opcode, payload: &[u8]) {
        self.say(slot, |outbox| frame::write(outbox, opcode, true, payload, None));
        self.conns[slot].controls += 1;
        if self.conns[slot].controls as usize >= self.config().control_frames_max {
            self.hold(slot, Holds::OUTBOX);
        }
    }

    /// Queues bytes for a connection: a control frame or a reply.
    pub(super) fn say(&mut self, slot: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let conn = &mut self.conns[slot];
        write(&mut conn.outbox);
        if conn.outbox.len() > self.plane.config.outbox_bytes_max {
            self.hold(slot, Holds::OUTBOX);
        }
        self.make_ready(slot);
    }
}
