//! What tests of several modules need: plans and reports, without a run.
//!
//! Here is the small plan from which all others are made, and then:
//!
//! - `fixture`: one run: its plan, what was seen of it, and its report
//! - `sample`: reports as long runs make them, full of figures

pub(crate) mod fixture;
pub(crate) mod sample;

use std::time::Duration;

use crate::dialect::Dialect;
use crate::payload::Content;
use crate::plan::{Bounds, Pace, Place, Plan, Readers, Rooms, Server, Target};
use crate::schedule::{Schedule, Shape};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A plan of so many subscribers, publishers and rooms; 10 messages of 64 bytes in a second.
pub(crate) fn plan(subscribers: usize, publishers: usize, rooms: usize) -> Plan {
    let url = "ws://127.0.0.1:9/ws/{room}".to_owned();
    Plan {
        title: "a test".to_owned(),
        target: Target { subscribe: url.clone(), publish: url, topic: "room-{room}".to_owned() },
        dialect: Dialect::Raw,
        deflate: false,
        rooms: Rooms { count: rooms, subscribers, publishers },
        readers: Readers::default(),
        pace: Pace { in_flight_max: 10, per_second: None, timeout: SECOND },
        schedule: Schedule::new(Shape::Constant, 10.0, publishers, Duration::ZERO, SECOND),
        content: Content::filler("64".parse().expect("a size"), 1.0),
        text: false,
        drain: SECOND,
        interval: SECOND,
        place: Place::default(),
        server: Server::default(),
        bounds: Bounds { send_lag: SECOND, own_cpu_percent: 100.0, unready_percent: 0.0 },
        gates: Vec::new(),
    }
}
