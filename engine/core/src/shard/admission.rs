//! Who is let in: connections in all, connections of each address, and requests in the making.
//!
//! A turn accepts `accept_slice` peers and looks at as many requests, whatever comes. So a storm gets its share of each turn
//! and no more; the rest waits in the kernel's queue, or with its request unread.
//!
//! Whoever is refused hears why. Its request is read before the answer, since an answer to bytes that were never read
//! is followed by a reset, which can destroy it. That takes a place in the driver's table for a moment, one of
//! [`REFUSED_AT_ONCE_MAX`], and counts as nothing else.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::IpAddr;

use fanfare_io::{ConnId, Driver};
use fanfare_wire::handshake::server::{Reject, Request};

use super::conn::{Conn, Conns, Holds, State};
use super::{NS_PER_MS, Shard};
use crate::mailbox::ConnRef;

/// How many refused connections a shard has at once. A driver's table has room for so many more than
/// `connections_max`.
pub const REFUSED_AT_ONCE_MAX: usize = 64;

/// How long the request of a refused connection may take, and how long its end.
const REFUSED_TIMEOUT_MS: u64 = 1_000;

/// Those who are refused at the same time are told to come back after 1 to so many seconds, in turn.
const RETRY_AFTER_S_MAX: u32 = 5;

/// So long nobody has to make room for a newer one: in a storm, requests take a while to come.
const UNDISTURBED_NS: u64 = 1_000 * NS_PER_MS;

/// Entries of the line that are not looked at for whether they still matter.
const STALE_MIN: usize = 16;

/// What an accepted connection may hope for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Admission {
    /// All it asks for.
    #[default]
    Admitted,
    /// Nothing: as many connections are open as may be.
    Full,
    /// Nothing: its address has as many as it may.
    Address,
    /// Nothing: as many requests are in the making as may be.
    Crowd,
    /// Nothing: the server restarts.
    Late,
    /// Nothing: a newer one took its place before its request was complete.
    Displaced,
}

/// What a shard knows of those who come.
#[derive(Debug, Default)]
pub(super) struct Door {
    /// Open connections that were refused when they came.
    refused: usize,
    /// Admitted connections whose request is not complete.
    asking: usize,
    /// Those, in the order in which they came and with the time, among others that have gone or are further.
    line: VecDeque<(u64, ConnRef)>,
    /// Those whose request has come and waits for another turn, in order.
    waiting: VecDeque<ConnRef>,
    /// How many more requests this turn looks at.
    entries: usize,
    /// How many were told when to come back.
    told: u32,
}

impl Door {
    /// A connection was admitted and is about to say what it wants.
    fn arrived(&mut self, conn: ConnRef, conns: &Conns, now: u64) {
        self.asking += 1;
        self.line.push_back((now, conn));
        if self.line.len() > 2 * self.asking + STALE_MIN {
            self.line.retain(|(_, conn)| is_asking(conns, *conn));
        }
    }

    /// True while a request waits for another turn.
    pub(super) fn is_waited_at(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes out the connection that has been asking for longest, if it came by `latest`.
    fn take_oldest(&mut self, conns: &Conns, latest: u64) -> Option<u32> {
        while let Some((_, conn)) =
            self.line.pop_front_if(|(at, conn)| *at <= latest || !is_asking(conns, *conn))
        {
            if is_asking(conns, conn) {
                return Some(conn.slot);
            }
        }
        None
    }
}

fn is_asking(conns: &Conns, conn: ConnRef) -> bool {
    conns.slot_of(conn).is_some_and(|slot| conns[slot].asking)
}

impl<D: Driver> Shard<D> {
    /// A peer connected.
    pub(super) fn accepted(&mut self, conn: ConnId, peer: Option<IpAddr>) {
        let slot = conn.index() as u32;
        self.accept_refused = false;
        let is_full = self.conns.len() - self.door.refused >= self.config().connections_max;
        self.conns.insert(slot, self.now);
        self.stats.accepted.add(1);
        self.stats.connections.set(self.conns.len() as u64);
        if self.drain.is_running() {
            self.finish(slot);
            return;
        }
        if self.wave.has_begun() {
            self.turn_away(slot, Admission::Late);
        } else if is_full {
            self.stats.connections_refused.add(1);
            self.turn_away(slot, Admission::Full);
        } else if let Some((addresses, peer)) = self.plane.addresses.as_ref().zip(peer) {
            self.conns[slot].place = addresses.add(peer);
            if self.conns[slot].place.is_none() {
                self.stats.address_refused.add(1);
                self.turn_away(slot, Admission::Address);
            }
        }
        if self.conns[slot].admission == Admission::Admitted && !self.make_way() {
            self.stats.handshakes_refused.add(1);
            self.turn_away(slot, Admission::Crowd);
        }
        if self.conns[slot].state == State::Gone {
            return;
        }
        self.conns[slot].receiving = true;
        self.driver.receive(conn);
        if self.conns[slot].admission == Admission::Admitted {
            self.conns[slot].asking = true;
            self.door.arrived(self.conns.reference(slot), &self.conns, self.now);
            self.schedule(slot, self.config().handshake_timeout_ms);
        } else {
            self.schedule(slot, self.config().handshake_timeout_ms.min(REFUSED_TIMEOUT_MS));
        }
    }

    /// Notes that a connection is refused. Where too many are, it is closed without a word.
    fn turn_away(&mut self, slot: u32, admission: Admission) {
        self.conns[slot].admission = admission;
        self.door.refused += 1;
        if self.door.refused > REFUSED_AT_ONCE_MAX {
            self.finish(slot);
        }
    }

    /// Sees to it that one more can ask, by displacing who has been asking for longest. False if all came just now.
    fn make_way(&mut self) -> bool {
        if self.door.asking < self.config().handshakes_max {
            return true;
        }
        let latest = self.now.saturating_sub(UNDISTURBED_NS);
        let Some(slot) = self.door.take_oldest(&self.conns, latest) else { return false };
        self.stats.handshakes_displaced.add(1);
        self.conns[slot].admission = Admission::Displaced;
        let reject = self.unavailable("the request took too long: others want the place");
        self.reject(slot, &reject);
        true
    }

    /// A new turn: looks at requests that had to wait for it.
    pub(super) fn let_in(&mut self) {
        self.door.entries = self.config().accept_slice;
        for _ in 0..self.config().accept_slice {
            let Some(conn) = self.door.waiting.pop_front() else { return };
            if let Some(slot) = self.conns.slot_of(conn) {
                self.release(slot, Holds::DOOR);
            }
        }
    }

    /// Whether a request may be looked at in this turn. Otherwise its connection is held until another one.
    pub(super) fn may_enter(&mut self, slot: u32) -> bool {
        if self.door.entries > 0 {
            return true;
        }
        self.door.waiting.push_back(self.conns.reference(slot));
        self.hold(slot, Holds::DOOR);
        false
    }

    /// A request has come whole, or is none.
    pub(super) fn entered(&mut self, slot: u32) {
        self.door.entries = self.door.entries.saturating_sub(1);
        self.asked(slot);
    }

    /// A connection asks no more: its request is complete, or it is over.
    pub(super) fn asked(&mut self, slot: u32) {
        if std::mem::take(&mut self.conns[slot].asking) {
            self.door.asking -= 1;
        }
    }

    /// A connection is closed: what it counted as goes with it.
    pub(super) fn let_out(&mut self, conn: &Conn) {
        if matches!(conn.admission, Admission::Full | Admission::Address | Admission::Crowd | Admission::Late)
        {
            self.door.refused -= 1;
        }
        if let (Some(addresses), Some(place)) = (&self.plane.addresses, conn.place) {
            addresses.remove(place);
        }
    }

    /// How long a connection that has its last answer may take to close.
    pub(super) fn close_timeout_ms(&self, slot: u32) -> u64 {
        match self.conns[slot].admission {
            Admission::Admitted => self.config().close_timeout_ms,
            _ => self.config().close_timeout_ms.min(REFUSED_TIMEOUT_MS),
        }
    }

    /// Why a whole request is refused before anybody looks at what it asks for.
    pub(super) fn refusal(&mut self, slot: u32) -> Option<Reject> {
        if self.drain.is_running() {
            return Some(self.unavailable("the server is shutting down"));
        }
        if self.wave.has_begun() {
            return Some(self.unavailable("the server restarts"));
        }
        match self.conns[slot].admission {
            Admission::Admitted => None,
            Admission::Crowd => Some(self.unavailable("too many connect at the same time")),
            Admission::Full | Admission::Late | Admission::Displaced => {
                Some(self.unavailable("the server has as many connections as it may have"))
            }
            Admission::Address => {
                let reject = Reject::new(429, "this address has as many connections as it may have");
                Some(reject.with_header("Retry-After", self.retry_after_s().to_string()))
            }
        }
    }

    /// 403 if the page that a request comes from may not connect. What does not come from a page may.
    pub(super) fn check_origin(&self, request: &Request) -> Result<(), Reject> {
        let allows = |origin: &String| self.config().origins_allowed.allows(origin, &request.host);
        if request.origin.as_ref().is_none_or(allows) {
            return Ok(());
        }
        self.stats.origin_refused.add(1);
        Err(Reject::forbidden("pages of this origin may not connect"))
    }

    /// 503, with another time to come back than the one before was told.
    pub(super) fn unavailable(&mut self, reason: impl Into<Cow<'static, str>>) -> Reject {
        Reject::service_unavailable(reason, self.retry_after_s())
    }

    fn retry_after_s(&mut self) -> u32 {
        self.door.told = self.door.told % RETRY_AFTER_S_MAX + 1;
        self.door.told
    }
}
