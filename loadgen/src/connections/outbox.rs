//! Bytes on their way out: one buffer for each connection, all that can go in one submission.

use fanfare_io::{Batch, ConnId};

/// What waits for one connection.
#[derive(Debug, Default)]
struct Line {
    bytes: Vec<u8>,
    /// How many of them the current batch hands over.
    in_flight: usize,
    /// It stands in `ready`.
    is_queued: bool,
    /// The socket is full; [`Outbox::writable`] ends that.
    is_blocked: bool,
    /// The connection is closing: nothing goes out any more.
    is_shut: bool,
}

/// The lines of all connections.
///
/// A turn is: fill lines, [`Outbox::begin`], submit, report what was short, [`Outbox::settle`].
#[derive(Debug)]
pub(super) struct Outbox {
    /// By the connection's place.
    lines: Box<[Line]>,
    /// Connections with bytes for the next batch.
    ready: Vec<ConnId>,
    batch: Vec<ConnId>,
}

impl Outbox {
    pub(super) fn new(connections: usize) -> Self {
        Self {
            lines: (0..connections).map(|_| Line::default()).collect(),
            ready: Vec::new(),
            batch: Vec::new(),
        }
    }

    /// Where bytes for `conn` are appended.
    pub(super) fn line(&mut self, conn: ConnId) -> &mut Vec<u8> {
        let line = &mut self.lines[conn.index()];
        if !line.is_queued {
            line.is_queued = true;
            self.ready.push(conn);
        }
        &mut line.bytes
    }

    /// Whether all bytes were handed over.
    pub(super) fn is_empty(&self, conn: ConnId) -> bool {
        self.lines[conn.index()].bytes.is_empty()
    }

    /// Makes a batch of what is ready.
    pub(super) fn begin(&mut self) {
        debug_assert!(self.batch.is_empty(), "the last batch was settled");
        for conn in self.ready.drain(..) {
            let line = &mut self.lines[conn.index()];
            line.is_queued = false;
            if line.is_shut {
                line.bytes.clear();
            }
            if !line.is_blocked && !line.bytes.is_empty() {
                line.in_flight = line.bytes.len();
                self.batch.push(conn);
            }
        }
    }

    /// The kernel took only the first `sent` bytes of this batch's send. Nothing more goes out before
    /// [`Outbox::writable`].
    pub(super) fn short(&mut self, conn: ConnId, sent: usize) {
        let line = &mut self.lines[conn.index()];
        line.in_flight = sent;
        line.is_blocked = true;
    }

    pub(super) fn writable(&mut self, conn: ConnId) {
        self.lines[conn.index()].is_blocked = false;
        self.line(conn);
    }

    /// Ends the batch, once all shorts were reported.
    pub(super) fn settle(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        for conn in batch.drain(..) {
            let line = &mut self.lines[conn.index()];
            line.bytes.drain(..std::mem::take(&mut line.in_flight));
        }
        self.batch = batch;
    }

    /// Drops what waits for a connection that is closing, now and until [`Outbox::reset`].
    pub(super) fn shut(&mut self, conn: ConnId) {
        self.lines[conn.index()].is_shut = true;
        self.line(conn);
    }

    /// The connection is gone; its place may get another one.
    pub(super) fn reset(&mut self, conn: ConnId) {
        let line = &mut self.lines[conn.index()];
        *line = Line { is_queued: line.is_queued, ..Line::default() };
    }
}

impl Batch for Outbox {
    fn len(&self) -> usize {
        self.batch.len()
    }

    fn send(&self, index: usize) -> (ConnId, usize) {
        (self.batch[index], 1)
    }

    fn part(&self, index: usize, _: usize) -> &[u8] {
        let line = &self.lines[self.batch[index].index()];
        &line.bytes[..line.in_flight]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConnId = ConnId::new(0);
    const B: ConnId = ConnId::new(1);

    fn batch(outbox: &Outbox) -> Vec<(ConnId, Vec<u8>)> {
        (0..outbox.len()).map(|index| (outbox.send(index).0, outbox.part(index, 0).to_vec())).collect()
    }

    #[test]
    fn what_is_appended_during_a_batch_goes_with_the_next() {
        let mut outbox = Outbox::new(2);
        outbox.line(A).extend_from_slice(b"one");
        outbox.line(A).extend_from_slice(b"two");
        outbox.begin();
        assert_eq!(batch(&outbox), [(A, b"onetwo".to_vec())]);
        outbox.line(A).extend_from_slice(b"three");
        outbox.settle();
        outbox.begin();
        assert_eq!(batch(&outbox), [(A, b"three".to_vec())]);
        outbox.settle();
        assert!(outbox.is_empty(A));
    }

    #[test]
    fn the_rest_of_a_short_send_goes_first_once_there_is_room() {
        let mut outbox = Outbox::new(2);
        outbox.line(A).extend_from_slice(b"onetwo");
        outbox.begin();
        outbox.short(A, 2);
        outbox.line(A).extend_from_slice(b"three");
        outbox.settle();
        outbox.begin();
        assert!(outbox.is_empty(B) && batch(&outbox).is_empty(), "the socket is full");
        outbox.writable(A);
        outbox.begin();
        assert_eq!(batch(&outbox), [(A, b"etwothree".to_vec())]);
    }

    #[test]
    fn nothing_goes_to_a_closing_connection_or_to_the_next_in_its_place() {
        let mut outbox = Outbox::new(2);
        outbox.line(A).extend_from_slice(b"old");
        outbox.begin();
        outbox.short(A, 1);
        outbox.shut(A);
        outbox.settle();
        outbox.line(A).extend_from_slice(b"more");
        outbox.begin();
        assert!(batch(&outbox).is_empty() && outbox.is_empty(A));
        outbox.settle();
        outbox.reset(A);
        outbox.line(A).extend_from_slice(b"new");
        outbox.begin();
        assert_eq!(batch(&outbox), [(A, b"new".to_vec())]);
    }
}
