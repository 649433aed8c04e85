//! The words between the director of a run and its workers, in this process or on another machine.

use serde::{Deserialize, Serialize};

use crate::observed::{Interval, Observed};
use crate::reasons::Reasons;

/// A worker's part of the run: subscriber `s` and publisher `p` are its own when the remainder by `count` is `index`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Share {
    pub index: usize,
    /// Workers of all machines.
    pub count: usize,
    /// Tells the payloads of this run from those of others.
    pub run: u16,
    pub core: Option<usize>,
}

/// What the director tells every worker, in this order. When it hangs up instead, the run is called off.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// The run's epoch, in nanoseconds of the worker's machine's monotonic clock.
    Start { epoch_ns: u64 },
    /// Publish no more: the user has seen enough.
    Stop,
    /// All has been published: how many messages by each publisher, warm-up included. Wait for what is on its way.
    Drain { sent: Vec<u32> },
    /// Say goodbye on all connections, and report.
    Close,
}

/// What a worker tells the director.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Word {
    /// Some more connections are ready, or have failed.
    Connecting {
        ready: u64,
        failed: Reasons,
    },
    /// As many as will ever be are ready; the rest have failed, or the server answers no more.
    Connected {
        ready: u64,
        failed: Reasons,
        steady_by_room: Vec<u32>,
    },
    Interval(Box<Interval>),
    /// It has sent what it had to: by publisher, zero for those of other workers.
    Published {
        sent: Vec<u32>,
    },
    Drained,
    /// The last word of a worker that did its work.
    Done(Box<Observed>),
    /// The last word of one that could not.
    Failed(String),
}
