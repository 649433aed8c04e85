//! Bytes on their way out: the same ones for all subscribers, and a few of each connection's own.

use fanfare_io::{Batch, ConnId};

/// How far a subscriber may fall behind what its socket takes before it is dropped.
const BEHIND_BYTES_MAX: usize = 4 << 20;

/// What waits for one connection only: the handshake's answer, control frames, and what its socket did not take.
#[derive(Debug, Default)]
struct Line {
    own: Vec<u8>,
    /// How many of them the current batch hands over.
    in_flight: usize,
    /// The current batch hands over the shared bytes, behind its own.
    takes_shared: bool,
    /// It stands in `ready`.
    is_ready: bool,
    /// The socket is full; [`Lines::writable`] ends that.
    is_blocked: bool,
}

/// The lines of all connections, and what is shared.
///
/// A turn is: [`Lines::begin`], submit, report what was short, [`Lines::settle`].
#[derive(Debug)]
pub(super) struct Lines {
    /// By the connection's place.
    lines: Box<[Line]>,
    /// Frames for all subscribers, for the next batch.
    next: Vec<u8>,
    /// Those of the current batch.
    shared: Vec<u8>,
    /// Connections with bytes of their own for the next batch.
    ready: Vec<ConnId>,
    batch: Vec<ConnId>,
}

impl Lines {
    pub(super) fn new(connections: usize) -> Self {
        Self {
            lines: (0..connections).map(|_| Line::default()).collect(),
            next: Vec::new(),
            shared: Vec::new(),
            ready: Vec::new(),
            batch: Vec::new(),
        }
    }

    /// Where frames for all subscribers are appended.
    pub(super) fn shared_line(&mut self) -> &mut Vec<u8> {
        &mut self.next
    }

    /// Where bytes for `conn` alone are appended.
    pub(super) fn line(&mut self, conn: ConnId) -> &mut Vec<u8> {
        let line = &mut self.lines[conn.index()];
        if !line.is_ready {
            line.is_ready = true;
            self.ready.push(conn);
        }
        &mut line.own
    }

    /// Whether bytes of its own wait for `conn`.
    pub(super) fn has_own(&self, conn: ConnId) -> bool {
        !self.lines[conn.index()].own.is_empty()
    }

    /// Makes a batch of what is there. Subscribers that are too far behind are put into `dropped`.
    pub(super) fn begin(&mut self, subscribers: &[ConnId], dropped: &mut Vec<ConnId>) {
        debug_assert!(self.batch.is_empty(), "the last batch was settled");
        self.shared.clear();
        std::mem::swap(&mut self.shared, &mut self.next);
        if !self.shared.is_empty() {
            for &conn in subscribers {
                let line = &mut self.lines[conn.index()];
                if !line.is_blocked {
                    line.in_flight = line.own.len();
                    line.takes_shared = true;
                    self.batch.push(conn);
                } else if line.own.len() + self.shared.len() <= BEHIND_BYTES_MAX {
                    line.own.extend_from_slice(&self.shared);
                } else {
                    dropped.push(conn);
                }
            }
        }
        for conn in self.ready.drain(..) {
            let line = &mut self.lines[conn.index()];
            line.is_ready = false;
            if !line.is_blocked && !line.takes_shared && !line.own.is_empty() {
                line.in_flight = line.own.len();
                self.batch.push(conn);
            }
        }
    }

    /// The kernel took only the first `sent` bytes of this batch's send. Nothing more goes out before
    /// [`Lines::writable`].
    pub(super) fn short(&mut self, conn: ConnId, sent: usize) {
        let line = &mut self.lines[conn.index()];
        if std::mem::take(&mut line.takes_shared) {
            // Behind what the batch had of its own, and ahead of what was appended since.
            line.own.splice(line.in_flight..line.in_flight, self.shared.iter().copied());
        }
        line.in_flight = 0;
        line.own.drain(..sent);
        line.is_blocked = true;
    }

    pub(super) fn writable(&mut self, conn: ConnId) {
        self.lines[conn.index()].is_blocked = false;
        self.line(conn);
    }

    /// Ends the batch, once all shorts were reported.
    pub(super) fn settle(&mut self) {
        for conn in self.batch.drain(..) {
            let line = &mut self.lines[conn.index()];
            line.takes_shared = false;
            line.own.drain(..std::mem::take(&mut line.in_flight));
        }
    }

    /// The connection is gone; its place may get another one.
    pub(super) fn reset(&mut self, conn: ConnId) {
        let line = &mut self.lines[conn.index()];
        *line = Line { is_ready: line.is_ready, ..Line::default() };
    }
}

impl Batch for Lines {
    fn len(&self) -> usize {
        self.batch.len()
    }

    fn send(&self, index: usize) -> (ConnId, usize) {
        let conn = self.batch[index];
        let line = &self.lines[conn.index()];
        (conn, usize::from(line.in_flight > 0) + usize::from(line.takes_shared))
    }

    fn part(&self, index: usize, part: usize) -> &[u8] {
        let line = &self.lines[self.batch[index].index()];
        if part == 0 && line.in_flight > 0 { &line.own[..line.in_flight] } else { &self.shared }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ConnId = ConnId::new(1);
    const TWO: ConnId = ConnId::new(2);

    /// All parts of all sends.
    fn batch(lines: &Lines) -> Vec<(usize, String)> {
        let text = |index, parts| (0..parts).map(|part| lines.part(index, part)).collect::<Vec<_>>().concat();
        let sends = (0..lines.len()).map(|index| {
            let (conn, parts) = lines.send(index);
            (conn.index(), String::from_utf8(text(index, parts)).expect("text"))
        });
        sends.collect()
    }

    fn begin(lines: &mut Lines) -> Vec<ConnId> {
        let mut dropped = Vec::new();
        lines.begin(&[ONE, TWO], &mut dropped);
        dropped
    }

    #[test]
    fn own_bytes_go_ahead_of_shared_ones_and_both_go_once() {
        let mut lines = Lines::new(3);
        lines.line(ONE).extend_from_slice(b"hello ");
        lines.shared_line().extend_from_slice(b"all");
        begin(&mut lines);
        assert_eq!(batch(&lines), [(1, "hello all".to_owned()), (2, "all".to_owned())]);
        lines.line(TWO).extend_from_slice(b"bye");
        lines.settle();
        begin(&mut lines);
        assert_eq!(batch(&lines), [(2, "bye".to_owned())]);
        lines.settle();
        begin(&mut lines);
        assert_eq!(lines.len(), 0);
    }

    #[test]
    fn a_short_send_goes_on_where_it_stopped_for_every_cut() {
        for cut in 0.."own-shared".len() {
            let mut lines = Lines::new(3);
            lines.line(ONE).extend_from_slice(b"own-");
            lines.shared_line().extend_from_slice(b"shared");
            begin(&mut lines);
            lines.line(ONE).extend_from_slice(b"-pong");
            lines.short(ONE, cut);
            lines.shared_line().extend_from_slice(b"-later");
            lines.settle();
            begin(&mut lines);
            assert_eq!(batch(&lines), [(2, "-later".to_owned())], "it is blocked");
            lines.settle();
            lines.writable(ONE);
            begin(&mut lines);
            assert_eq!(batch(&lines), [(1, "own-shared-pong-later"[cut..].to_owned())]);
            lines.settle();
            assert!(!lines.has_own(ONE));
        }
    }

    #[test]
    fn who_is_too_far_behind_is_dropped_and_leaves_nothing_in_its_place() {
        let mut lines = Lines::new(3);
        lines.shared_line().extend_from_slice(&vec![b'x'; BEHIND_BYTES_MAX]);
        assert!(begin(&mut lines).is_empty());
        lines.short(ONE, 1);
        lines.settle();
        lines.shared_line().push(b'y');
        assert!(begin(&mut lines).is_empty(), "just as much as may be");
        lines.settle();
        lines.shared_line().push(b'z');
        assert_eq!(begin(&mut lines), [ONE]);
        lines.settle();
        lines.reset(ONE);
        assert!(!lines.has_own(ONE));
        lines.shared_line().extend_from_slice(b"new");
        begin(&mut lines);
        assert_eq!(batch(&lines), [(1, "new".to_owned()), (2, "new".to_owned())]);
    }
}
