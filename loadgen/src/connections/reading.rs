//! Subscribers that stop reading, and read again: bytes they do not read stay in their sockets.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use fanfare_io::{ConnId, Driver};

use super::Connections;

/// A connection that is not simply reading.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// The driver has not yet said that it stopped.
    is_stopping: bool,
    /// It shall read on as soon as it has stopped.
    reads_on: bool,
    /// When its rate allows it to read on, in the driver's time.
    not_before: u64,
}

/// Those that are not simply reading. Most runs have none.
#[derive(Debug, Default)]
pub(super) struct Readings {
    paused: HashMap<ConnId, Reading>,
    /// When slow ones may read on, in the driver's time.
    wake: BinaryHeap<Reverse<(u64, ConnId)>>,
    /// Slow ones read slowly from now on.
    is_slow_now: bool,
}

impl Readings {
    pub(super) fn is_slow_now(&self) -> bool {
        self.is_slow_now
    }

    pub(super) fn forget(&mut self, conn: ConnId) {
        self.paused.remove(&conn);
    }
}

impl Connections {
    /// The measurement begins: what came before was read as it came.
    pub(crate) fn begin_slowness(&mut self) {
        self.readings.is_slow_now = self.plan.readers.slow > 0;
    }

    /// A subscriber stops reading until [`Self::resume_subscriber`].
    pub(crate) fn pause_subscriber(&mut self, subscriber: usize) {
        if let Some(conn) = self.subscribers[subscriber] {
            self.pause(conn);
        }
    }

    pub(crate) fn resume_subscriber(&mut self, subscriber: usize) {
        if let Some(conn) = self.subscribers[subscriber] {
            self.resume(conn);
        }
    }

    /// A slow subscriber has read so many bytes: it reads on when its rate allows. What its socket holds by then comes at
    /// once, and counts for the time after that.
    pub(super) fn has_read_slowly(&mut self, conn: ConnId, bytes: usize, now: u64) {
        let rest_ns = bytes as f64 * 1e9 / self.plan.readers.slow_bytes_per_second as f64;
        self.pause(conn);
        if let Some(reading) = self.readings.paused.get_mut(&conn) {
            if reading.not_before == 0 {
                self.readings.wake.push(Reverse((now + rest_ns as u64, conn)));
            }
            reading.not_before = reading.not_before.max(now) + rest_ns as u64;
        }
    }

    /// When the next slow subscriber reads on.
    pub(crate) fn reads_on_at(&self) -> Option<u64> {
        self.readings.wake.peek().map(|&Reverse((at, _))| at)
    }

    /// Lets all slow subscribers read on whose rate allows it.
    pub(crate) fn read_on(&mut self, now: u64) {
        while let Some(&Reverse((at, conn))) = self.readings.wake.peek()
            && at <= now
        {
            self.readings.wake.pop();
            match self.readings.paused.get(&conn) {
                Some(reading) if reading.not_before > now => {
                    self.readings.wake.push(Reverse((reading.not_before, conn)));
                }
                _ => self.resume(conn),
            }
        }
    }

    fn pause(&mut self, conn: ConnId) {
        let reading = self.readings.paused.entry(conn);
        let reading = reading.or_insert_with(|| {
            self.driver.pause_receive(conn);
            Reading { is_stopping: true, reads_on: false, not_before: 0 }
        });
        reading.reads_on = false;
    }

    pub(super) fn resume(&mut self, conn: ConnId) {
        if let Some(reading) = self.readings.paused.get_mut(&conn) {
            if reading.is_stopping {
                reading.reads_on = true;
                // What comes until it has stopped is counted anew.
                reading.not_before = 0;
            } else {
                self.readings.paused.remove(&conn);
                self.driver.receive(conn);
            }
        }
    }

    /// Receiving stopped, because it was asked to or for lack of buffers: says whether to go on at once.
    pub(super) fn has_stopped(&mut self, conn: ConnId) -> bool {
        match self.readings.paused.get_mut(&conn) {
            None => true,
            Some(reading) if reading.reads_on => {
                self.readings.paused.remove(&conn);
                true
            }
            Some(reading) => {
                reading.is_stopping = false;
                false
            }
        }
    }
}
