//! The other ends of simulated connections, in a test's hands.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Owner;
use super::link::{End, Side};
use super::net::Net;
use crate::Wake;

/// One end of a connection whose other end is a driver's. Dropping it closes it as a program's exit would:
/// FIN, or RST if bytes were left unread.
pub struct SimPeer {
    net: Rc<RefCell<Net>>,
    end: End,
}

impl SimPeer {
    pub(super) fn new(net: Rc<RefCell<Net>>, end: End) -> Self {
        Self { net, end }
    }

    fn side<T>(&self, ask: impl FnOnce(&mut Side) -> T) -> T {
        let mut net = self.net.borrow_mut();
        ask(&mut net.link(self.end).sides[self.end.side])
    }

    fn touch_other(&self) {
        self.net.borrow_mut().touch(self.end.other());
    }

    /// Writes all of `bytes`. What finds no room at the driver's side waits in [`unsent`](Self::unsent).
    ///
    /// # Panics
    /// After [`finish`](Self::finish).
    pub fn write(&self, bytes: &[u8]) {
        self.net.borrow_mut().link(self.end).write(self.end.side, bytes);
        self.touch_other();
    }

    /// How much of what was written still waits for room.
    pub fn unsent(&self) -> usize {
        self.side(|side| side.unsent())
    }

    /// Everything that arrived since the last read.
    pub fn read(&self) -> Vec<u8> {
        self.read_some(usize::MAX)
    }

    /// Up to `max` bytes of what arrived.
    pub fn read_some(&self, max: usize) -> Vec<u8> {
        let bytes = self.net.borrow_mut().link(self.end).read(self.end.side, max);
        self.touch_other();
        bytes
    }

    /// How many bytes arrived and were not read.
    pub fn unread(&self) -> usize {
        self.side(|side| side.inbox.len())
    }

    /// How many bytes arrived since the beginning, read or not.
    pub fn arrived(&self) -> u64 {
        self.side(|side| side.arrived)
    }

    /// How many bytes may lie here unread before the driver's sends find a full socket.
    pub fn set_window(&self, bytes: usize) {
        self.side(|side| side.window = bytes);
        self.touch_other();
    }

    /// From now on, takes everything at once, counts it and throws it away.
    pub fn sink(&self) {
        self.side(|side| {
            side.sink = true;
            side.inbox.clear();
        });
        self.touch_other();
    }

    /// Sends FIN behind all that was written.
    pub fn finish(&self) {
        self.net.borrow_mut().link(self.end).finish(self.end.side);
        self.touch_other();
    }

    /// Breaks the connection: the driver's side finds a RST.
    pub fn reset(&self) {
        self.net.borrow_mut().link(self.end).reset(self.end.side);
        self.touch_other();
    }

    /// Whether the driver's side sent FIN behind what can be read.
    pub fn saw_fin(&self) -> bool {
        self.side(|side| side.saw_fin)
    }

    /// Whether the connection was broken from the driver's side.
    pub fn saw_reset(&self) -> bool {
        self.side(|side| side.saw_reset)
    }

    /// Whether the driver closed its side, so that nothing comes any more and nothing is heard.
    pub fn is_closed(&self) -> bool {
        let other = self.end.other();
        self.net.borrow_mut().link(other).sides[other.side].closed
    }

    /// Whether this peer does not wait in the backlog: the driver's side took it, or it was refused or hung up on.
    pub fn is_accepted(&self) -> bool {
        let other = self.end.other();
        self.net.borrow_mut().link(other).sides[other.side].owner != Owner::Backlog
    }
}

impl Drop for SimPeer {
    fn drop(&mut self) {
        let mut net = self.net.borrow_mut();
        net.link(self.end).close(self.end.side);
        net.touch(self.end.other());
        net.let_go(self.end);
    }
}

impl fmt::Debug for SimPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimPeer").field("end", &self.end).finish_non_exhaustive()
    }
}

/// A listener in a test's hands, for drivers that connect. Dropping it refuses those that come after.
pub struct SimListener {
    net: Rc<RefCell<Net>>,
    index: usize,
}

impl SimListener {
    pub(super) fn new(net: Rc<RefCell<Net>>, index: usize) -> Self {
        Self { net, index }
    }

    /// The next connection, if one waits.
    pub fn accept(&self) -> Option<SimPeer> {
        let mut net = self.net.borrow_mut();
        let end = net.listeners[self.index].backlog.pop_front()?;
        net.link(end).sides[end.side].owner = Owner::Peer;
        Some(SimPeer::new(Rc::clone(&self.net), end))
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        while let Some(peer) = self.accept() {
            peer.reset();
        }
        self.net.borrow_mut().listeners[self.index].is_open = false;
    }
}

impl fmt::Debug for SimListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimListener").field("index", &self.index).finish_non_exhaustive()
    }
}

/// Wakes a [`SimDriver`](super::SimDriver): its next submit yields [`Woken`](crate::Event::Woken).
#[derive(Clone, Debug)]
pub struct SimWaker(Arc<AtomicBool>);

impl SimWaker {
    pub(super) fn new(woken: Arc<AtomicBool>) -> Self {
        Self(woken)
    }
}

impl Wake for SimWaker {
    fn wake(&self) {
        self.0.store(true, Ordering::Release);
    }
}
