//! Connections as pairs of byte pipes, with windows, FIN and RST.

use std::collections::VecDeque;

/// Who reads and writes at one side of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    /// A test's own hands.
    Peer,
    /// A slot of a shard's driver.
    Conn { shard: usize, slot: u32 },
    /// Nobody yet: it waits to be accepted.
    Backlog,
    /// Nobody any more.
    Gone,
}

/// One side of one link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct End {
    pub(super) link: usize,
    pub(super) side: usize,
}

impl End {
    pub(super) fn other(self) -> Self {
        Self { link: self.link, side: 1 - self.side }
    }
}

/// What is known at one side.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) owner: Owner,
    /// Arrived and not read.
    pub(super) inbox: VecDeque<u8>,
    /// How much may lie between the other side's send and this side's read.
    pub(super) window: usize,
    /// Arrived bytes are counted and thrown away.
    pub(super) sink: bool,
    /// All bytes that ever arrived.
    pub(super) arrived: u64,
    /// Written here without room at the other side. Only peers have this: a driver's send is refused instead.
    unsent: VecDeque<u8>,
    /// A FIN waits behind `unsent`.
    finishing: bool,
    /// The other side's FIN stands behind `inbox`.
    pub(super) saw_fin: bool,
    /// The connection was broken by the other side.
    pub(super) saw_reset: bool,
    /// This side is closed: it takes no bytes.
    pub(super) closed: bool,
    /// This side sends no more.
    pub(super) wrote_fin: bool,
}

impl Side {
    fn new(owner: Owner, window: usize) -> Self {
        Self {
            owner,
            inbox: VecDeque::new(),
            window,
            sink: false,
            arrived: 0,
            unsent: VecDeque::new(),
            finishing: false,
            saw_fin: false,
            saw_reset: false,
            closed: false,
            wrote_fin: false,
        }
    }

    /// How many bytes this side still takes.
    pub(super) fn room(&self) -> usize {
        if self.sink { usize::MAX } else { self.window.saturating_sub(self.inbox.len()) }
    }

    pub(super) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    fn take(&mut self, bytes: &[u8]) {
        self.arrived += bytes.len() as u64;
        if !self.sink {
            self.inbox.extend(bytes);
        }
    }
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) sides: [Side; 2],
}

impl Link {
    pub(super) fn new(owners: [Owner; 2], window: usize) -> Self {
        Self { sides: owners.map(|owner| Side::new(owner, window)) }
    }

    /// Sends from a driver's side without keeping what finds no room. Returns how much was taken,
    /// or `None` if the connection is broken.
    pub(super) fn send(&mut self, from: usize, bytes: &[u8]) -> Option<usize> {
        if self.sides[from].saw_reset || self.sides[from].wrote_fin {
            return None;
        }
        let to = &mut self.sides[1 - from];
        if to.closed {
            // The kernel takes these bytes, and the answer to them is a RST.
            self.sides[from].saw_reset = true;
            return Some(bytes.len());
        }
        let taken = to.room().min(bytes.len());
        to.take(&bytes[..taken]);
        Some(taken)
    }

    /// Writes from a peer's side: what finds no room waits.
    pub(super) fn write(&mut self, from: usize, bytes: &[u8]) {
        let side = &mut self.sides[from];
        assert!(!side.wrote_fin && !side.finishing, "a peer writes after its FIN");
        if self.sides[1 - from].closed {
            self.sides[from].saw_reset = true;
        }
        if !self.sides[from].saw_reset {
            self.sides[from].unsent.extend(bytes);
            self.flush(from);
        }
    }

    /// Moves what a peer wrote as far as there is room.
    pub(super) fn flush(&mut self, from: usize) {
        let [a, b] = &mut self.sides;
        let (from, to) = if from == 0 { (a, b) } else { (b, a) };
        if from.saw_reset {
            from.unsent.clear();
        } else if to.closed {
            from.saw_reset |= !from.unsent.is_empty();
            from.unsent.clear();
        }
        let moved = to.room().min(from.unsent.len());
        to.arrived += moved as u64;
        let bytes = from.unsent.drain(..moved);
        if to.sink {
            drop(bytes);
        } else {
            to.inbox.extend(bytes);
        }
        if from.finishing && from.unsent.is_empty() {
            from.finishing = false;
            from.wrote_fin = true;
            to.saw_fin = true;
        }
    }

    /// Reads up to `max` bytes at a side; the room goes to what the other side has waiting.
    pub(super) fn read(&mut self, at: usize, max: usize) -> Vec<u8> {
        let inbox = &mut self.sides[at].inbox;
        let count = max.min(inbox.len());
        let bytes = inbox.drain(..count).collect();
        self.flush(1 - at);
        bytes
    }

    /// Sends FIN behind all that was written.
    pub(super) fn finish(&mut self, from: usize) {
        if !self.sides[from].wrote_fin {
            self.sides[from].finishing = true;
            self.flush(from);
        }
    }

    /// Breaks the connection for the other side. What arrived there can still be read.
    pub(super) fn reset(&mut self, from: usize) {
        self.sides[from].closed = true;
        self.sides[from].unsent.clear();
        self.sides[from].inbox.clear();
        self.sides[1 - from].saw_reset = true;
        self.flush(1 - from);
    }

    /// Closes one side as TCP does: FIN, or RST if bytes were left unread.
    pub(super) fn close(&mut self, from: usize) {
        let side = &mut self.sides[from];
        if side.closed {
            return;
        }
        if side.inbox.is_empty() && self.sides[1 - from].unsent.is_empty() {
            self.finish(from);
            self.sides[from].closed = true;
        } else {
            self.reset(from);
        }
    }

    /// Whether a send from this side would end at once, with bytes taken or with an error.
    pub(super) fn is_writable(&self, from: usize) -> bool {
        let to = &self.sides[1 - from];
        self.sides[from].saw_reset || to.closed || to.room() > 0
    }

    pub(super) fn is_gone(&self) -> bool {
        self.sides.iter().all(|side| side.owner == Owner::Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(window: usize) -> Link {
        Link::new([Owner::Peer, Owner::Peer], window)
    }

    #[test]
    fn a_write_beyond_the_window_waits_and_the_fin_waits_behind_it() {
        let mut link = link(4);
        link.write(0, b"abcdef");
        link.finish(0);
        assert_eq!(link.sides[0].unsent(), 2);
        assert!(!link.sides[1].saw_fin);
        assert_eq!(link.read(1, 3), b"abc");
        assert!(link.sides[1].saw_fin);
        assert_eq!(link.read(1, 9), b"def");
    }

    #[test]
    fn a_send_takes_what_there_is_room_for() {
        let mut link = link(4);
        assert_eq!(link.send(1, b"abc"), Some(3));
        assert_eq!(link.send(1, b"def"), Some(1));
        assert!(!link.is_writable(1));
        assert_eq!(link.read(0, 1), b"a");
        assert!(link.is_writable(1));
    }

    #[test]
    fn closing_with_unread_bytes_resets() {
        let mut link = link(4);
        link.write(0, b"ab");
        link.close(1);
        assert!(link.sides[0].saw_reset && !link.sides[0].saw_fin);
        assert_eq!(link.send(0, b"x"), None);
    }

    #[test]
    fn the_first_send_to_a_closed_side_is_taken_and_the_next_fails() {
        let mut link = link(4);
        link.close(0);
        assert!(link.sides[1].saw_fin && !link.sides[1].saw_reset);
        assert_eq!(link.send(1, b"into the void"), Some(13));
        assert_eq!(link.send(1, b"again"), None);
    }
}
