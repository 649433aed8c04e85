//! What subscribers do besides reading, and when. Times are the driver's.

use super::Measuring;
use crate::connections::Connections;
use crate::plan::{Leaving, Plan, Reader};

/// Something that all of a kind do at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    /// Stalled ones stop reading, and slow ones begin to read slowly.
    Begin,
    Pause,
    Resume,
    Storm,
}

/// The subscribers of one worker that are not steady.
pub(crate) struct Behaviour {
    stalled: Vec<usize>,
    pausing: Vec<usize>,
    returning: Vec<usize>,
    /// What is still to be done, the last first.
    acts: Vec<(u64, Act)>,
    /// The next one that leaves by itself: when, and how long after the one before.
    churn: Option<Churn>,
}

struct Churn {
    next_at: u64,
    gap_ns: u64,
    until: u64,
    /// Whose turn it is.
    turn: usize,
}

impl Behaviour {
    pub(crate) fn new(plan: &Plan, connections: &Connections, epoch: u64) -> Self {
        let of = |kind| {
            (0..connections.subscribers()).filter(|&number| connections.reader(number) == kind).collect()
        };
        let (stalled, pausing, returning): (Vec<_>, Vec<_>, Vec<_>) =
            (of(Reader::Stalled), of(Reader::Pausing), of(Reader::Returning));
        let begun = epoch + plan.schedule.measured_from();
        let readers = &plan.readers;
        let pause_at = begun + readers.pause_at.as_nanos() as u64;
        let mut acts = Vec::new();
        acts.push((begun, Act::Begin));
        if !pausing.is_empty() {
            acts.push((pause_at, Act::Pause));
            acts.push((pause_at + readers.pause_for.as_nanos() as u64, Act::Resume));
        }
        let mut churn = None;
        match readers.leaving {
            Leaving::At(at) if !returning.is_empty() => acts.push((begun + at.as_nanos() as u64, Act::Storm)),
            Leaving::PerSecond(rate) if !returning.is_empty() => {
                // Each worker sends away its part of the whole.
                let gap_ns = (1e9 / rate * readers.returning as f64 / returning.len() as f64) as u64;
                churn = Some(Churn {
                    next_at: begun + gap_ns,
                    gap_ns,
                    until: epoch + plan.schedule.end(),
                    turn: 0,
                });
            }
            _ => {}
        }
        acts.sort_by_key(|&(at, _)| std::cmp::Reverse(at));
        Self { stalled, pausing, returning, acts, churn }
    }

    /// Does what is due at `now`. Returns when the next thing is.
    pub(crate) fn act(
        &mut self,
        connections: &mut Connections,
        measuring: &mut Measuring,
        now: u64,
    ) -> Option<u64> {
        while let Some((_, act)) = self.acts.pop_if(|&mut (at, _)| at <= now) {
            match act {
                Act::Begin => {
                    connections.begin_slowness();
                    self.stalled.iter().for_each(|&number| connections.pause_subscriber(number));
                }
                Act::Pause => self.pausing.iter().for_each(|&number| connections.pause_subscriber(number)),
                Act::Resume => {
                    measuring.resume(now);
                    self.pausing.iter().for_each(|&number| connections.resume_subscriber(number));
                }
                Act::Storm => {
                    measuring.storm(now);
                    self.returning.iter().for_each(|&number| connections.send_away(number, false, measuring));
                }
            }
        }
        self.churn(connections, measuring, now);
        connections.read_on(now);
        let churn = self.churn.as_ref().map(|churn| churn.next_at);
        let act = self.acts.last().map(|&(at, _)| at);
        let heartbeat = connections.heartbeat(now);
        [churn, act, heartbeat, connections.reads_on_at()].into_iter().flatten().min()
    }

    fn churn(&mut self, connections: &mut Connections, measuring: &mut Measuring, now: u64) {
        let Some(churn) = &mut self.churn else { return };
        while churn.next_at <= now {
            connections.send_away(self.returning[churn.turn], true, measuring);
            churn.turn = (churn.turn + 1) % self.returning.len();
            churn.next_at += churn.gap_ns;
            if churn.next_at > churn.until {
                self.churn = None;
                return;
            }
        }
    }
}
