//! The listener of a simulated shard: who waits at it, and what one submit takes.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;

use super::link::{End, Owner};
use super::net::{Net, SimEvent};
use crate::{ConnId, Event};

/// A peer in the kernel's queue.
#[derive(Debug)]
struct Waiting {
    end: End,
    from: IpAddr,
}

/// Why and when accepting ends.
#[derive(Debug)]
struct Ending {
    errno: i32,
    /// How many submits it still waits for.
    delay: usize,
}

/// The listener of one shard.
#[derive(Debug)]
pub(super) struct Listening {
    queue: VecDeque<Waiting>,
    /// False from `stop_accept` on: whoever comes is refused.
    is_open: bool,
    /// From `accept` until `AcceptStopped`.
    is_wanted: bool,
    ending: Option<Ending>,
    /// How many accepted peers the driver's caller was not told of.
    untold: usize,
}

impl Listening {
    pub(super) fn new() -> Self {
        Self { queue: VecDeque::new(), is_open: true, is_wanted: false, ending: None, untold: 0 }
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Whether the next submit finds something to do here.
    pub(super) fn has_work(&self) -> bool {
        self.ending.is_some() || (self.is_wanted && !self.queue.is_empty())
    }

    pub(super) fn arrive(&mut self, end: End, from: IpAddr) {
        self.queue.push_back(Waiting { end, from });
    }

    /// The caller is being told of an accepted peer.
    pub(super) fn told(&mut self) {
        self.untold -= 1;
    }

    /// Refuses whoever comes from now on. Returns those who wait.
    pub(super) fn close(&mut self) -> impl Iterator<Item = End> + use<> {
        self.is_open = false;
        std::mem::take(&mut self.queue).into_iter().map(|waiting| waiting.end)
    }

    /// The end of accepting, if it is due. It comes behind all `Accepted`.
    pub(super) fn stopped(&mut self) -> Option<SimEvent> {
        let ending = self.ending.as_mut()?;
        if ending.delay > 0 {
            ending.delay -= 1;
            return None;
        }
        if self.untold > 0 {
            return None;
        }
        self.is_wanted = false;
        let errno = self.ending.take()?.errno;
        Some(Event::AcceptStopped(io::Error::from_raw_os_error(errno)))
    }
}

impl Net {
    pub(super) fn start_accept(&mut self, shard: usize) {
        let listening = &mut self.shards[shard].listening;
        if listening.is_wanted || listening.ending.is_some() {
            return;
        }
        if listening.is_open {
            listening.is_wanted = true;
        } else {
            self.end_accept(shard, libc::EINVAL);
        }
    }

    /// Ends accepting for good.
    pub(super) fn stop_accept(&mut self, shard: usize) {
        if !self.shards[shard].listening.is_open {
            return;
        }
        // The cancels and the peers race.
        if self.rng.chance(0.5) {
            self.accept_some(shard);
        }
        let waiting: Vec<_> = self.shards[shard].listening.close().collect();
        for end in waiting {
            self.hang_up(end);
        }
        self.end_accept(shard, libc::ECANCELED);
    }

    fn end_accept(&mut self, shard: usize, errno: i32) {
        let delay = self.delay();
        self.shards[shard].listening.ending = Some(Ending { errno, delay });
    }

    /// Takes as many peers as one submit may.
    pub(super) fn accept_some(&mut self, shard: usize) {
        for _ in 0..self.options.accept_slice {
            let listening = &self.shards[shard].listening;
            if !listening.is_wanted || listening.ending.is_some() {
                return;
            }
            if self.shards[shard].free.is_empty() {
                return self.end_accept(shard, libc::ENFILE);
            }
            if self.shards[shard].listening.queue.is_empty() {
                return;
            }
            if self.rng.chance(self.options.faults.accept_stop) {
                return self.end_accept(shard, libc::ENOMEM);
            }
            let listening = &mut self.shards[shard].listening;
            let Waiting { end, from } = listening.queue.pop_front().expect("somebody waits, as seen above");
            listening.untold += 1;
            let slot = self.take_slot(shard, end).expect("a free slot was seen above");
            self.push_event(shard, slot, Event::Accepted { conn: ConnId::new(slot), peer: Some(from) });
        }
    }

    /// A peer that connects from `from`, and is refused if nobody listens.
    pub(super) fn connect_peer(&mut self, shard: usize, from: IpAddr) -> End {
        assert!(self.shards[shard].is_open, "the driver of shard {shard} was dropped");
        let link = self.add_link([Owner::Peer, Owner::Backlog]);
        let far = End { link, side: 1 };
        if self.shards[shard].listening.is_open {
            self.shards[shard].listening.arrive(far, from);
        } else {
            self.hang_up(far);
        }
        far.other()
    }

    /// Breaks a connection that nobody accepted.
    fn hang_up(&mut self, end: End) {
        self.link(end).reset(end.side);
        self.touch(end.other());
        self.let_go(end);
    }
}
