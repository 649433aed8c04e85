//! The shutdown: nothing that was sequenced is lost to a subscriber who takes it in time.
//!
//! Each shard passes the same stages. A stage ends when it is safe on all shards:
//! - *quiescing*: no new connections and no new messages; messages under way to other shards get there
//! - *sequencing*: no shard brings commands any more; what is in the mailbox is appended
//! - *flushing*: every head is final; a connection that has everything is closed with 1001
//! - *flushed*: no connection is left here; other shards may still ask this one for snapshots
//!
//! What is not done by the deadline is cut off.

use std::sync::atomic::Ordering;

use fanfare_io::Driver;
use fanfare_wire::close::CloseCode;

use super::conn::{Conn, NIL, State};
use super::{NS_PER_MS, Shard};

/// How many connections one turn looks at.
const FLUSHED_EACH_TURN: u32 = 1024;

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Stage {
    #[default]
    Running,
    Quiescing,
    Sequencing,
    Sequenced,
    Flushing,
    Flushed,
}

#[derive(Debug, Default)]
pub(super) struct Drain {
    stage: Stage,
    /// When the rest is cut off, nanoseconds.
    deadline: u64,
    /// Where the look at all connections goes on.
    at: u32,
}

impl Drain {
    /// True from the moment the shard heard of the shutdown.
    pub(super) fn is_running(&self) -> bool {
        self.stage != Stage::Running
    }
}

impl<D: Driver> Shard<D> {
    /// One step of the shutdown, if there is one. False when it is done.
    pub(super) fn drain(&mut self) -> bool {
        let Some(grace_ms) = self.plane.shutdown_grace_ms() else { return true };
        let shards = self.plane.mailboxes.len();
        match self.drain.stage {
            Stage::Running => {
                self.driver.stop_accept();
                self.drain.deadline = self.now.saturating_add(grace_ms.saturating_mul(NS_PER_MS));
                self.drain.stage = Stage::Quiescing;
            }
            Stage::Quiescing => {
                if self.commands_out.iter().all(|waiting| waiting.is_empty())
                    && self.stalled.iter().all(|waiting| waiting.is_empty())
                {
                    self.plane.quiesced.fetch_add(1, Ordering::SeqCst);
                    self.plane.wake_all();
                    self.drain.stage = Stage::Sequencing;
                }
            }
            Stage::Sequencing => {
                if self.plane.quiesced.load(Ordering::SeqCst) == shards
                    && self.plane.outside_is_quiet()
                    && !self.mailbox().has_commands()
                {
                    self.topics.close();
                    self.plane.sequenced.fetch_add(1, Ordering::SeqCst);
                    self.plane.wake_all();
                    self.drain.stage = Stage::Sequenced;
                }
            }
            Stage::Sequenced => {
                if self.plane.sequenced.load(Ordering::SeqCst) == shards && self.replies_out.is_empty() {
                    self.all_heads_moved();
                    self.drain.stage = Stage::Flushing;
                }
            }
            Stage::Flushing => {
                self.flush();
                if self.conns.len() == 0 {
                    self.plane.flushed.fetch_add(1, Ordering::SeqCst);
                    self.plane.wake_all();
                    self.drain.stage = Stage::Flushed;
                }
            }
            Stage::Flushed => {}
        }
        if self.now >= self.drain.deadline {
            return self.cut_off();
        }
        self.drain.stage != Stage::Flushed || self.plane.flushed.load(Ordering::SeqCst) < shards
    }

    /// Closes connections that have everything.
    fn flush(&mut self) {
        if !self.moved.is_empty() {
            return;
        }
        let slots = self.conns.slots();
        for _ in 0..slots.min(FLUSHED_EACH_TURN) {
            let slot = self.drain.at % slots;
            self.drain.at = slot + 1;
            let Some(conn) = self.conns.get(slot) else { continue };
            match conn.state {
                State::Handshake => self.finish(slot),
                State::Open
                    if conn.pending_first == NIL && conn.joining.is_none() && self.has_everything(conn) =>
                {
                    self.close(slot, CloseCode::GOING_AWAY, "the server is shutting down");
                }
                _ => {}
            }
        }
    }

    /// True if no subscription of a connection lacks anything.
    pub(super) fn has_everything(&self, conn: &Conn) -> bool {
        conn.session.subs().all(|sub| {
            let sub = &self.subs[sub];
            let log = self.readers.slab[sub.reader].log.as_ref();
            log.is_none_or(|log| !sub.progress.has_work(log.end()))
        })
    }

    /// Time is up. False when nothing is left to wait for.
    fn cut_off(&mut self) -> bool {
        let open: Vec<u32> = (0..self.conns.slots()).filter(|slot| self.conns.get(*slot).is_some()).collect();
        for slot in &open {
            if self.conns[*slot].state <= State::Open {
                self.stats.broken.add(1);
            }
            self.finish(*slot);
        }
        // The driver answers every close; a little later than the deadline is enough for all of them.
        !open.is_empty() && self.now < self.drain.deadline.saturating_add(1000 * NS_PER_MS)
    }
}
