//! Sends what the schedule says is due, on the publishers of one worker.

use std::collections::VecDeque;

use fanfare_io::Wait;

use crate::connections::Connections;
use crate::party::Share;
use crate::payload::{Format, Stamp};
use crate::schedule::{Dues, Schedule};
use crate::tally::Tally;

/// Messages of one publisher that are due and not sent: their due times, in order.
#[derive(Clone, Debug, Default)]
struct Publisher {
    /// The sequence number of its next message, which is how many it has sent.
    next: u32,
    due: VecDeque<u64>,
    /// Its socket is full, or its last request not answered.
    is_held: bool,
    /// When that ended last.
    free_at: u64,
}

/// The publishers of one worker. Times are nanoseconds since the run's epoch, unless they are the driver's.
#[derive(Debug)]
pub(crate) struct Publishers {
    schedule: Schedule,
    share: Share,
    format: Format,
    /// The driver's time at the run's epoch.
    epoch: u64,
    dues: Dues,
    /// Of this worker: publisher `index + number * count` of all.
    own: Box<[Publisher]>,
    /// Those with something due.
    behind: Vec<usize>,
    payload: Vec<u8>,
    is_stopped: bool,
}

impl Publishers {
    pub(crate) fn new(schedule: Schedule, share: Share, format: Format, epoch: u64) -> Self {
        let own = (share.index..schedule.publishers()).step_by(share.count).count();
        Self {
            own: vec![Publisher::default(); own].into(),
            dues: schedule.dues(),
            schedule,
            share,
            format,
            epoch,
            behind: Vec::new(),
            payload: Vec::new(),
            is_stopped: false,
        }
    }

    /// How many messages each publisher of the run has sent, as far as it is this worker's.
    pub(crate) fn sent(&self) -> Vec<u32> {
        let mut sent = vec![0; self.schedule.publishers()];
        for (number, publisher) in self.own.iter().enumerate() {
            sent[self.everyone(number)] = publisher.next;
        }
        sent
    }

    fn everyone(&self, number: usize) -> usize {
        number * self.share.count + self.share.index
    }

    /// What is due from now on is not sent any more.
    pub(crate) fn stop(&mut self) {
        self.is_stopped = true;
        self.behind.clear();
    }

    /// Whether all has been sent that was to be sent.
    pub(crate) fn is_done(&self) -> bool {
        self.is_stopped || self.own.is_empty() || self.dues.due().is_none() && self.behind.is_empty()
    }

    /// Whether nothing will be sent any more, however long one waits.
    pub(crate) fn is_cut_short(&self, connections: &Connections) -> bool {
        let mut own = 0..self.own.len();
        self.is_stopped || !own.is_empty() && own.all(|number| connections.is_publisher_lost(number))
    }

    /// Queues what is due at `now`, in the driver's time. Says how long to wait after that.
    pub(crate) fn publish(&mut self, connections: &mut Connections, tally: &mut Tally, now: u64) -> Wait {
        if self.is_stopped || self.own.is_empty() {
            return Wait::Forever;
        }
        let Some(since_epoch) = now.checked_sub(self.epoch) else {
            return Wait::Until(self.epoch);
        };
        let mut wait = match self.fall_due(since_epoch) {
            Some(due) => Wait::Until(self.epoch + due),
            None => Wait::Forever,
        };
        let mut behind = std::mem::take(&mut self.behind);
        behind.retain(|&number| {
            // A publisher whose socket is full waits for room in it, not for the clock.
            if connections.may_publish(number) {
                let publisher = &mut self.own[number];
                if std::mem::take(&mut publisher.is_held) {
                    publisher.free_at = since_epoch;
                }
                self.send(number, connections, tally);
                if !self.own[number].due.is_empty() {
                    wait = Wait::No;
                }
            } else {
                self.own[number].is_held = true;
            }
            if connections.is_publisher_lost(number) {
                self.own[number].due.clear();
            }
            !self.own[number].due.is_empty()
        });
        self.behind = behind;
        wait
    }

    /// Notes all slots that are due at `now`. Returns when the next one of this worker is due.
    fn fall_due(&mut self, now: u64) -> Option<u64> {
        loop {
            let due = self.dues.due()?;
            let publisher = self.schedule.publisher(self.dues.slot());
            let is_own = publisher % self.share.count == self.share.index;
            if due > now && (is_own || due > now + LOOK_AHEAD_NS) {
                return Some(due);
            }
            if is_own {
                let number = publisher / self.share.count;
                if self.own[number].due.is_empty() {
                    self.behind.push(number);
                }
                self.own[number].due.push_back(due);
            }
            self.dues.advance();
        }
    }

    /// Queues the due messages of one publisher, up to the limit of a turn.
    fn send(&mut self, number: usize, connections: &mut Connections, tally: &mut Tally) {
        let everyone = self.everyone(number);
        let Publisher { next, due, free_at, .. } = &mut self.own[number];
        while let Some(intended) = due.pop_front() {
            let sent = connections.now() - self.epoch;
            let stamp = Stamp { publisher: everyone as u16, seq: *next, intended, sent };
            self.format.write(&mut self.payload, &stamp);
            let has_room = connections.publish(number, &self.payload);
            tally.published(
                self.schedule.slot(everyone, *next),
                sent - intended,
                sent - intended.max(*free_at),
            );
            *next += 1;
            if !has_room {
                break;
            }
        }
    }
}

/// Slots of other workers are passed over so far ahead, rather than woken up for one by one.
const LOOK_AHEAD_NS: u64 = 10_000_000;
