//! A tap: a subscriber inside the process. It reads the log like any shard, from any thread.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_io::Wake;
use fanfare_wire::Kind;
use fanfare_wire::stream::Recovery;
use fanfare_wire::subscribe::{Epoch, Start};

use crate::log::{Log, LogReader};
use crate::sync::{AtomicBool, Ordering};
use crate::view::unframe;

/// How the topic's home shard reaches a tap.
pub(crate) struct TapSignal {
    /// The tap was woken and has not looked yet.
    told: AtomicBool,
    gone: AtomicBool,
    wake: Arc<dyn Wake>,
}

impl TapSignal {
    pub(crate) fn new(wake: Arc<dyn Wake>) -> Arc<Self> {
        Arc::new(Self { told: AtomicBool::new(false), gone: AtomicBool::new(false), wake })
    }

    /// Wakes the tap, unless it was woken already and has not looked.
    pub(crate) fn signal(&self) {
        if !self.told.swap(true, Ordering::AcqRel) {
            self.wake.wake();
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for TapSignal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TapSignal")
    }
}

/// What a tap reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TapEvent {
    /// The next message. `kind` is `Text` or `Binary`: JSON is text here.
    Message { seq: u64, kind: Kind, payload: Bytes },
    /// The tap fell behind what the log holds: messages `from ..= to` are lost to it.
    Gap { from: u64, to: u64 },
    /// The engine has shut down and everything was read.
    Closed,
}

/// A cursor into a topic's raw log.
#[derive(Debug)]
pub struct Tap {
    reader: LogReader,
    cursor: u64,
    recovery: Option<Recovery>,
    signal: Arc<TapSignal>,
}

impl Tap {
    pub(crate) fn new(log: Arc<Log>, start: Start, signal: Arc<TapSignal>) -> Self {
        log.subscriber_joined();
        let mut reader = LogReader::new(log);
        let (cursor, recovery) = reader.place_of(start);
        reader.let_go();
        Self { reader, cursor, recovery, signal }
    }

    /// The topic's epoch, within which sequence numbers count.
    pub fn epoch(&self) -> Epoch {
        self.reader.log().epoch()
    }

    /// Whether it goes on where it was asked to, if it was asked to go on somewhere.
    pub fn recovery(&self) -> Option<Recovery> {
        self.recovery
    }

    /// The sequence number of the next message.
    pub fn next_seq(&self) -> u64 {
        self.cursor
    }

    /// The next event, or `None` when there is nothing new: the [`Wake`] given with the subscription is called
    /// once when that changes.
    pub fn poll(&mut self) -> Option<TapEvent> {
        if self.cursor >= self.reader.end() {
            self.signal.told.swap(false, Ordering::AcqRel);
        }
        // Before the head: what was appended ahead of the close has to be seen.
        let closed = self.reader.log().is_closed();
        self.reader.refresh();
        let event = match self.cursor < self.reader.end() {
            true => Some(self.next_event()),
            false => closed.then_some(TapEvent::Closed),
        };
        // Whoever does not poll holds nothing of the log.
        self.reader.let_go();
        event
    }

    fn next_event(&mut self) -> TapEvent {
        let Some(range) = self.reader.range(self.cursor) else {
            let gap = TapEvent::Gap { from: self.cursor, to: self.reader.floor() - 1 };
            self.cursor = self.reader.floor();
            return gap;
        };
        let seq = self.cursor;
        let segment = self.reader.segment(range.segment);
        let message = segment.bytes(range.start..segment.offset_of(seq + 1));
        let (kind, payload) = unframe(message);
        let event = TapEvent::Message { seq, kind, payload: Bytes::copy_from_slice(payload) };
        self.cursor += 1;
        event
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.reader.log().subscriber_left();
        self.signal.gone.store(true, Ordering::Relaxed);
    }
}
