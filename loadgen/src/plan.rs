//! What a run does: checked, complete, and the same for all machines that take part in it.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dialect::Dialect;
use crate::gate::Gate;
use crate::payload::Content;
use crate::schedule::Schedule;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The workload's name, or the URL.
    pub title: String,
    pub target: Target,
    pub dialect: Dialect,
    /// permessage-deflate is offered: subscribers must be granted it, and publishers use it where they are.
    pub deflate: bool,
    pub rooms: Rooms,
    pub readers: Readers,
    pub pace: Pace,
    pub schedule: Schedule,
    pub content: Content,
    /// Text messages rather than binary ones, where the dialect leaves the choice.
    pub text: bool,
    /// How long stragglers are waited for.
    pub drain: Duration,
    /// How long one row of the time line is.
    pub interval: Duration,
    pub place: Place,
    pub server: Server,
    pub bounds: Bounds,
    pub gates: Vec<Gate>,
}

/// Where connections go. `{room}` in a text stands for the room's number, from 0.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    /// A `ws://` URL.
    pub subscribe: String,
    /// A `ws://` URL, or an `http://` URL for dialects that publish with POST.
    pub publish: String,
    /// The topic, channel or subject, for dialects that name it in messages.
    pub topic: String,
}

/// Who is in which room: subscriber `s` in room `s % rooms`, publisher `p` in room `p % rooms`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Rooms {
    pub count: usize,
    pub subscribers: usize,
    /// A multiple of the rooms.
    pub publishers: usize,
}

/// How many subscribers do something else than read at once all that comes. The rest are steady: they are what is measured.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Readers {
    /// They stop reading when the measurement begins, and never read again.
    pub stalled: usize,
    /// They read at most `slow_bytes_per_second` each.
    pub slow: usize,
    pub slow_bytes_per_second: u64,
    /// They stop reading for a while, then catch up.
    pub pausing: usize,
    /// From the beginning of the measurement.
    pub pause_at: Duration,
    pub pause_for: Duration,
    /// They leave and come back.
    pub returning: usize,
    pub leaving: Leaving,
    /// They go on behind the last message that they had.
    pub recovers: bool,
}

/// When those who return leave.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leaving {
    /// One after the other with a closing handshake, so many each second, all the time: churn.
    PerSecond(f64),
    /// All at once without a word, so long after the beginning of the measurement: a reconnect storm.
    At(Duration),
    #[default]
    Never,
}

/// How fast connections are made.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Pace {
    /// Begun and not yet ready.
    pub in_flight_max: usize,
    /// Begun each second; no limit if `None`.
    pub per_second: Option<f64>,
    /// How long nothing may become ready before that counts as a failure.
    pub timeout: Duration,
}

/// What is looked at of the server, when it runs on the coordinator's machine.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Server {
    pub pid: Option<u32>,
    /// Its system calls too, which makes each of them a little slower.
    pub syscalls: bool,
}

/// Where a machine runs its share.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Place {
    /// Threads with a ring each; 0 for one on each core, and more where the limit of open files asks for it.
    pub workers: usize,
    /// The cores to run on, in turn. Empty for wherever the scheduler puts them.
    pub cores: Vec<usize>,
    /// Local addresses to connect from, in turn. Empty for the kernel's choice, or for as many loopback addresses as are needed.
    pub sources: Vec<IpAddr>,
}

/// What makes a run invalid.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Bounds {
    /// Of the 99th percentile of the send lag.
    pub send_lag: Duration,
    /// Of this program's own processor time while it publishes, in percent of the busiest core.
    pub own_cpu_percent: f64,
    /// Of connections that do not become ready, in percent.
    pub unready_percent: f64,
}

/// What a subscriber does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reader {
    Steady,
    Stalled,
    Slow,
    Pausing,
    Returning,
}

/// A prime above any number of subscribers, so that multiples of it visit each of them once.
const STRIDE: u64 = 4_294_967_311;

impl Plan {
    /// What subscriber `number` does. Each kind is spread evenly over rooms and workers.
    pub(crate) fn reader(&self, number: usize) -> Reader {
        let readers = &self.readers;
        let mut place = (number as u64 * STRIDE % self.rooms.subscribers as u64) as usize;
        for (count, reader) in [
            (readers.stalled, Reader::Stalled),
            (readers.slow, Reader::Slow),
            (readers.pausing, Reader::Pausing),
            (readers.returning, Reader::Returning),
        ] {
            if place < count {
                return reader;
            }
            place -= count;
        }
        Reader::Steady
    }
}

impl Rooms {
    pub(crate) fn room_of_subscriber(&self, subscriber: usize) -> usize {
        subscriber % self.count
    }

    pub(crate) fn room_of_publisher(&self, publisher: usize) -> usize {
        publisher % self.count
    }

    /// How many publishers each room has.
    pub(crate) fn publishers_in_each(&self) -> usize {
        self.publishers / self.count
    }
}

impl Target {
    /// `text` for one room.
    pub(crate) fn in_room(text: &str, room: usize) -> String {
        text.replace("{room}", &room.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan;

    #[test]
    fn each_kind_of_reader_is_there_as_often_as_planned_and_in_all_rooms() {
        let mut plan = plan(1_000, 10, 10);
        plan.readers = Readers { stalled: 100, slow: 50, pausing: 30, returning: 20, ..Readers::default() };
        for (kind, count) in [
            (Reader::Stalled, 100),
            (Reader::Slow, 50),
            (Reader::Pausing, 30),
            (Reader::Returning, 20),
            (Reader::Steady, 800),
        ] {
            let of = |number: &usize| plan.reader(*number) == kind;
            assert_eq!((0..1_000).filter(of).count(), count, "{kind:?}");
        }
        for room in 0..10 {
            let stalled =
                (room..1_000).step_by(10).filter(|&number| plan.reader(number) == Reader::Stalled).count();
            assert!((5..=15).contains(&stalled), "room {room} has {stalled} of 100");
        }
    }

    #[test]
    fn rooms_share_out_everybody() {
        let rooms = Rooms { count: 3, subscribers: 8, publishers: 6 };
        assert_eq!(
            (rooms.publishers_in_each(), rooms.room_of_publisher(4), rooms.room_of_subscriber(7)),
            (2, 1, 1)
        );
        assert_eq!(Target::in_room("ws://h/{room}/x{room}", 12), "ws://h/12/x12");
    }
}
