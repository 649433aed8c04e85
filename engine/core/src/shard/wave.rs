//! The drain: before a restart, connections are sent away one after the other, so that they do not all come back at once.
//!
//! Each shard sends away its own, in the order of their slots:
//! - nobody is accepted any more, and whose request is not complete gets 503
//! - every open connection is told when its time is, spread evenly over the time that the drain may take
//! - when its time has come, it is closed with 1012 as soon as it has what was published until then
//!
//! Publishing and delivery go on meanwhile. A shutdown may follow at any time and takes over.

use std::collections::VecDeque;

use fanfare_io::Driver;
use fanfare_wire::close::CloseCode;
use fanfare_wire::frame::Opcode;
use fanfare_wire::notice;

use super::conn::{NIL, Session, State};
use super::{NS_PER_MS, RETRY_NS, Shard};
use crate::mailbox::ConnRef;

/// How many connections one turn tells when their time is.
const TOLD_EACH_TURN: u32 = 512;

/// How many connections whose time has come one turn looks at.
const CLOSED_EACH_TURN: usize = 512;

/// A connection whose time has come.
#[derive(Debug)]
struct Leaving {
    conn: ConnRef,
    /// How many looks at heads have to be over.
    looks: u64,
    /// They began after its time had come. Before that, one was perhaps under way that missed the newest messages.
    is_late: bool,
    /// When it goes even so, in nanoseconds.
    deadline: u64,
}

/// The drain of one shard.
#[derive(Debug)]
struct Begun {
    at: u64,
    spread_ns: u64,
    /// How many connections there were, and how many of them were told.
    expected: u64,
    told: u64,
    /// The next slot to be told.
    slot: u32,
}

#[derive(Debug, Default)]
pub(super) struct Wave {
    begun: Option<Begun>,
    /// Who was told when its time is, the earliest first.
    told: VecDeque<(u64, ConnRef)>,
    leaving: VecDeque<Leaving>,
}

impl Wave {
    /// True from the moment the shard heard of the drain.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// When there is something to do here, if ever.
    pub(super) fn next_time(&self, now: u64, slots: u32) -> Option<u64> {
        let begun = self.begun.as_ref()?;
        if begun.slot < slots {
            return Some(now);
        }
        let retry = (!self.leaving.is_empty()).then_some(now + RETRY_NS);
        let due = self.told.front().map(|(time, _)| *time);
        retry.into_iter().chain(due).min()
    }
}

impl Begun {
    /// When the next connection's time is.
    fn next_due(&mut self) -> u64 {
        let share = u128::from(self.spread_ns) * u128::from(self.told) / u128::from(self.expected);
        self.told += 1;
        self.at.saturating_add(share as u64)
    }
}

impl<D: Driver> Shard<D> {
    /// One step of the drain, if there is one.
    pub(super) fn send_away(&mut self) {
        let Some(spread_ms) = self.plane.drain_spread_ms() else { return };
        if self.drain.is_running() {
            return;
        }
        if !self.wave.has_begun() {
            self.driver.stop_accept();
            self.wave.begun = Some(Begun {
                at: self.now,
                spread_ns: spread_ms.saturating_mul(NS_PER_MS),
                expected: self.conns.len() as u64,
                told: 0,
                slot: 0,
            });
        }
        self.tell_times();
        self.close_due();
    }

    /// Tells some of the connections when their time is.
    fn tell_times(&mut self) {
        for _ in 0..TOLD_EACH_TURN {
            let slots = self.conns.slots();
            let Some(begun) = self.wave.begun.as_mut().filter(|begun| begun.slot < slots) else { return };
            let slot = begun.slot;
            begun.slot += 1;
            let Some(conn) = self.conns.get(slot) else { continue };
            match conn.state {
                State::Handshake => {
                    let reject = self.unavailable("the server restarts");
                    self.reject(slot, &reject);
                }
                State::Open => {
                    let due = begun.next_due();
                    self.wave.told.push_back((due, self.conns.reference(slot)));
                    self.tell_time(slot, due.saturating_sub(self.now) / NS_PER_MS);
                }
                State::Closing | State::Lingering | State::Gone => {}
            }
        }
    }

    fn tell_time(&mut self, slot: u32, reconnect_after_ms: u64) {
        if let Session::Stream(_) = self.conns[slot].session {
            self.say_json(slot, |out| notice::write_draining(out, reconnect_after_ms));
        } else {
            let mut words = Vec::new();
            notice::write_draining_words(&mut words, reconnect_after_ms);
            self.say_control(slot, Opcode::Pong, &words);
        }
    }

    /// Closes connections whose time has come.
    fn close_due(&mut self) {
        for _ in 0..CLOSED_EACH_TURN {
            let Some((_, conn)) = self.wave.told.pop_front_if(|(due, _)| *due <= self.now) else { break };
            let looks = self.looks + self.moved.len() as u64;
            let deadline = self.now + self.config().close_timeout_ms * NS_PER_MS;
            self.wave.leaving.push_back(Leaving { conn, looks, is_late: false, deadline });
        }
        for _ in 0..self.wave.leaving.len().min(CLOSED_EACH_TURN) {
            let Some(mut leaving) = self.wave.leaving.pop_front() else { return };
            let Some(slot) = self.conns.slot_of(leaving.conn) else { continue };
            if self.conns[slot].state != State::Open {
                continue;
            }
            if self.now < leaving.deadline && !self.has_its_share(slot, &mut leaving) {
                self.wave.leaving.push_back(leaving);
                continue;
            }
            self.stats.drained.add(1);
            self.close(slot, CloseCode::RESTART, "the server restarts: reconnect");
        }
    }

    /// True if a connection has all that was published until its time came.
    fn has_its_share(&self, slot: u32, leaving: &mut Leaving) -> bool {
        if self.looks >= leaving.looks && !std::mem::replace(&mut leaving.is_late, true) {
            leaving.looks = self.looks + self.moved.len() as u64;
        }
        let conn = &self.conns[slot];
        self.looks >= leaving.looks
            && conn.pending_first == NIL
            && conn.joining.is_none()
            && self.has_everything(conn)
    }
}
