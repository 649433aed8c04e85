//! Sends what the schedule says is due.

use fanfare_io::Wait;
use fanfare_wire::frame::{self, Opcode};

use crate::connections::Connections;
use crate::latency::Latency;
use crate::payload::{Format, Stamp};
use crate::random::Random;
use crate::schedule::Schedule;

/// How much one publisher hands over in one turn. More is stamped and sent in the next turn.
const TURN_BYTES_MAX: usize = 64 * 1024;

#[derive(Clone, Debug, Default)]
struct Publisher {
    /// The sequence number of its next message, which is how many it has sent.
    next: u32,
    /// Messages that are due and not sent.
    due: u32,
}

/// All publishers of a run. Times are nanoseconds since the run's epoch, unless they are the driver's.
#[derive(Debug)]
pub(crate) struct Publishers {
    schedule: Schedule,
    format: Format,
    opcode: Opcode,
    /// The driver's time at the run's epoch.
    epoch: u64,
    /// The first slot that is not due yet.
    next_slot: u64,
    all: Box<[Publisher]>,
    /// Those with something due.
    behind: Vec<usize>,
    payload: Vec<u8>,
    /// What one publisher sends in one turn.
    frames: Vec<u8>,
    random: Random,
    /// From due to sent, of the measured messages.
    pub(crate) lag: Latency,
}

impl Publishers {
    pub(crate) fn new(
        schedule: Schedule,
        format: Format,
        opcode: Opcode,
        random: Random,
        epoch: u64,
    ) -> Self {
        Self {
            all: vec![Publisher::default(); schedule.publishers()].into(),
            schedule,
            format,
            opcode,
            epoch,
            next_slot: 0,
            behind: Vec::new(),
            payload: Vec::new(),
            frames: Vec::new(),
            random,
            lag: Latency::default(),
        }
    }

    /// How many messages each has sent.
    pub(crate) fn sent(&self) -> Vec<u32> {
        self.all.iter().map(|publisher| publisher.next).collect()
    }

    /// How many of those are measured.
    pub(crate) fn sent_measured(&self) -> u64 {
        self.schedule.measured_of(&self.sent())
    }

    /// Whether all that can be sent has been.
    pub(crate) fn is_done(&self, connections: &Connections) -> bool {
        let is_lost = |publisher| connections.is_publisher_lost(publisher);
        let is_over = self.next_slot == self.schedule.total();
        is_over && self.behind.iter().all(|&publisher| is_lost(publisher)) || (0..self.all.len()).all(is_lost)
    }

    /// Queues what is due at `now`, in the driver's time. Says how long to wait after that.
    pub(crate) fn publish(&mut self, connections: &mut Connections, now: u64) -> Wait {
        self.fall_due(now);
        let mut wait = match self.next_slot < self.schedule.total() {
            true => Wait::Until(self.due_at()),
            false => Wait::Forever,
        };
        let mut behind = std::mem::take(&mut self.behind);
        behind.retain(|&publisher| {
            // A publisher whose socket is full waits for room in it, not for the clock.
            if connections.may_publish(publisher) {
                self.fill(publisher, connections);
                if self.all[publisher].due > 0 {
                    wait = Wait::No;
                }
            }
            self.all[publisher].due > 0
        });
        self.behind = behind;
        wait
    }

    /// When the next slot is due, in the driver's time.
    fn due_at(&self) -> u64 {
        self.epoch + self.schedule.intended(self.next_slot)
    }

    fn fall_due(&mut self, now: u64) {
        while self.next_slot < self.schedule.total() && self.due_at() <= now {
            let publisher = self.schedule.publisher(self.next_slot);
            if self.all[publisher].due == 0 {
                self.behind.push(publisher);
            }
            self.all[publisher].due += 1;
            self.next_slot += 1;
        }
    }

    /// Queues the due messages of one publisher, up to the limit of a turn.
    fn fill(&mut self, publisher: usize, connections: &mut Connections) {
        self.frames.clear();
        let Publisher { next, due } = &mut self.all[publisher];
        while *due > 0 && self.frames.len() < TURN_BYTES_MAX {
            let slot = self.schedule.slot(publisher, *next);
            let intended = self.schedule.intended(slot);
            let sent = connections.now() - self.epoch;
            let stamp = Stamp { publisher: publisher as u16, seq: *next, intended, sent };
            self.format.write(&mut self.payload, &stamp);
            frame::write(&mut self.frames, self.opcode, true, &self.payload, Some(self.random.mask()));
            if slot >= self.schedule.warmup() {
                self.lag.record(sent - intended);
            }
            *next += 1;
            *due -= 1;
        }
        connections.publish(publisher, &self.frames);
    }
}
