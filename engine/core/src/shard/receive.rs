//! What happened on connections: bytes arrived, peers came and went.
//!
//! Bytes are worked on where the kernel put them. Only what has to wait is copied to the connection's backlog.

use fanfare_io::{ConnId, Driver, Event, ReceiveEnd};
use fanfare_wire::close::CloseCode;
use fanfare_wire::decode::{CloseFrame, Decoder, Event as Incoming};
use fanfare_wire::frame::Opcode;
use fanfare_wire::handshake::server::read_request;

use super::Shard;
use super::conn::{Conn, Holds, State};

impl<D: Driver> Shard<D> {
    /// Handles one event. Short sends are handled before.
    pub(super) fn handle(&mut self, event: Event<D::Bytes>) {
        match event {
            Event::Accepted { conn, peer } => self.accepted(conn, peer),
            Event::AcceptStopped(error) => self.accept_stopped(&error),
            Event::Received { conn, mut bytes } => self.received(conn.index() as u32, &mut bytes),
            Event::ReceiveEnded { conn, cause } => self.receive_ended(conn.index() as u32, cause),
            Event::Writable(conn) => {
                let slot = conn.index() as u32;
                self.conns[slot].blocked = false;
                self.make_ready(slot);
            }
            Event::Closed(conn) => self.closed(conn.index() as u32),
            Event::Woken => {}
            Event::SendShort { .. } => unreachable!("short sends are taken out of the events before"),
            Event::Connected { .. } | Event::ConnectFailed { .. } => {
                unreachable!("a shard connects to nobody")
            }
        }
    }

    fn received(&mut self, slot: u32, bytes: &mut [u8]) {
        let conn = &mut self.conns[slot];
        self.stats.received_bytes.add(bytes.len() as u64);
        if conn.state >= State::Lingering {
            return;
        }
        conn.heard_at = self.now;
        conn.pinged = false;
        if conn.holds.any() || !conn.backlog.is_empty() {
            conn.backlog.extend_from_slice(bytes);
            // A request that comes byte by byte is looked at once for each line.
            let is_no_line = conn.state == State::Handshake
                && !conn.holds.any()
                && conn.backlog.len() < self.head_limits.head_bytes_max
                && !bytes.contains(&b'\n');
            if is_no_line {
                return;
            }
            self.work_off(slot);
            return;
        }
        let used = self.advance(slot, bytes);
        if used < bytes.len() {
            self.conns[slot].backlog.extend_from_slice(&bytes[used..]);
        }
    }

    fn receive_ended(&mut self, slot: u32, cause: ReceiveEnd) {
        let conn = &mut self.conns[slot];
        conn.receiving = false;
        match cause {
            ReceiveEnd::NoBuffers => {
                // The buffers come back as this turn's events are handled.
                self.stats.receive_buffers_exhausted.add(1);
                self.receive_again(slot);
            }
            ReceiveEnd::Paused => self.receive_again(slot),
            ReceiveEnd::Eof => {
                conn.peer_finished = true;
                self.peer_finished(slot);
            }
            ReceiveEnd::Error(_) => {
                conn.break_off();
                conn.peer_finished = true;
                if !conn.holds.any() {
                    self.finish_broken(slot);
                }
            }
        }
    }

    /// The peer will send no more. What it sent before counts: the end waits until all of it is worked off.
    fn peer_finished(&mut self, slot: u32) {
        let conn = &self.conns[slot];
        if conn.holds.any() {
            return;
        }
        let answering = conn.state == State::Closing && conn.has_work() && !conn.broken;
        if !answering {
            self.finish_broken(slot);
        }
    }

    fn receive_again(&mut self, slot: u32) {
        let conn = &mut self.conns[slot];
        if !conn.receiving && !conn.holds.any() && !conn.peer_finished && conn.state != State::Gone {
            conn.receiving = true;
            self.driver.receive(ConnId::new(slot));
        }
    }

    /// Stops reading from a connection for a reason.
    pub(super) fn hold(&mut self, slot: u32, hold: Holds) {
        let conn = &mut self.conns[slot];
        let first = !conn.holds.any();
        conn.holds.add(hold);
        if first && conn.receiving && conn.state != State::Gone {
            self.driver.pause_receive(ConnId::new(slot));
        }
    }

    /// Takes back a reason not to read from a connection, and goes on if it was the last.
    pub(super) fn release(&mut self, slot: u32, hold: Holds) {
        let conn = &mut self.conns[slot];
        if !conn.holds.has(hold) {
            return;
        }
        conn.holds.remove(hold);
        self.work_off(slot);
    }

    /// Works on the backlog as far as it goes, then reads again.
    fn work_off(&mut self, slot: u32) {
        if self.conns[slot].holds.any() {
            return;
        }
        let mut backlog = std::mem::take(&mut self.conns[slot].backlog);
        let used = self.advance(slot, &mut backlog);
        let conn = &mut self.conns[slot];
        if used < backlog.len() && conn.state != State::Gone {
            backlog.drain(..used);
            conn.backlog = backlog;
        }
        if conn.peer_finished {
            self.peer_finished(slot);
        } else {
            self.receive_again(slot);
        }
    }

    /// Works on received bytes until they are used up or the connection is held. Returns how many were used.
    fn advance(&mut self, slot: u32, input: &mut [u8]) -> usize {
        let mut used = 0;
        if self.conns[slot].state == State::Handshake && !self.conns[slot].holds.any() {
            if !self.may_enter(slot) {
                return 0;
            }
            match read_request(input, &self.head_limits) {
                Ok(None) => return 0,
                Ok(Some((request, head))) => {
                    used = head;
                    self.entered(slot);
                    self.route(slot, &request);
                }
                Err(reject) => {
                    self.entered(slot);
                    self.reject(slot, &reject);
                }
            }
        }
        used + self.frames(slot, &mut input[used..])
    }

    /// Works on received frames. Returns how many bytes were used.
    fn frames(&mut self, slot: u32, input: &mut [u8]) -> usize {
        let total = input.len();
        let mut rest = input;
        let mut decoder = std::mem::take(&mut self.conns[slot].decoder);
        let before = decoder.buffered();
        self.unfinished_bytes -= before;
        loop {
            let conn = &self.conns[slot];
            let over = conn.state >= State::Lingering
                || (conn.state == State::Closing && (conn.peer_closed || conn.deaf));
            if over {
                // Nothing that still comes matters.
                return total;
            }
            if conn.holds.any() || conn.state == State::Handshake {
                break;
            }
            let rules = if conn.deflate.is_some() { &self.compressed_rules } else { &self.rules };
            match decoder.next(rules, &mut rest) {
                Ok(None) => break,
                Ok(Some(Incoming::Message { text, payload })) => self.message(slot, text, payload),
                Ok(Some(Incoming::Compressed { text, payload })) => {
                    self.compressed_message(slot, text, payload);
                }
                Ok(Some(Incoming::Ping(payload))) => {
                    if conn.state == State::Open {
                        self.say_control(slot, Opcode::Pong, payload);
                        self.charge_ping(slot);
                    }
                }
                Ok(Some(Incoming::Pong(_))) => {}
                Ok(Some(Incoming::Close(frame))) => self.peer_closes(slot, frame),
                Err(error) => self.fail(slot, error.close_code(), &error.to_string()),
            }
        }
        let used = total - rest.len();
        let after = decoder.buffered();
        self.unfinished_bytes += after;
        self.conns[slot].decoder = decoder;
        if after > before {
            self.bound_unfinished(slot);
        }
        used
    }

    /// Closes the connection that holds most of messages that are not finished, if all together hold too much; of equals,
    /// `slot`.
    pub(super) fn bound_unfinished(&mut self, slot: u32) {
        if self.unfinished_bytes <= self.config().unfinished_bytes_max {
            return;
        }
        let held = |slot| self.conns.get(slot).map_or(0, Conn::unfinished_bytes);
        let greediest = (0..self.conns.slots())
            .fold(slot, |most, other| if held(other) > held(most) { other } else { most });
        self.stats.unfinished_refused.add(1);
        let conn = &mut self.conns[greediest];
        conn.deaf = true;
        self.unfinished_bytes -= conn.unfinished_bytes();
        conn.decoder = Decoder::default();
        conn.stalled = conn.stalled.take().filter(|_| !conn.holds.has(Holds::RATE));
        self.close(
            greediest,
            CloseCode::TRY_LATER,
            "the server holds as much of unfinished messages as it may",
        );
    }

    /// The peer's close frame (RFC 6455 section 5.5.1).
    fn peer_closes(&mut self, slot: u32, frame: Option<CloseFrame<'_>>) {
        let conn = &mut self.conns[slot];
        conn.peer_closed = true;
        if conn.state == State::Closing {
            // It answers ours, or crossed it.
            if !conn.has_work() && !conn.blocked {
                self.last_bytes_sent(slot);
            }
            return;
        }
        match frame {
            None => self.close_without_code(slot),
            Some(frame) => self.close(slot, frame.code, ""),
        }
    }
}
