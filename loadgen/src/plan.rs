//! What a run does, checked and complete.

use std::time::Duration;

use crate::connections::{Pace, Targets};
use crate::schedule::Schedule;

#[derive(Clone, Debug)]
pub struct Plan {
    pub targets: Targets,
    pub pace: Pace,
    pub schedule: Schedule,
    /// Of a payload, in bytes.
    pub size: usize,
    /// Text messages rather than binary ones.
    pub text: bool,
    /// How long stragglers are waited for.
    pub drain: Duration,
    pub core: Option<usize>,
    pub server_pid: Option<u32>,
    pub bounds: Bounds,
}

/// What makes a run invalid.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Of the 99th percentile of the send lag.
    pub send_lag: Duration,
    /// Of this program's own processor time while it publishes, in percent of a core.
    pub own_cpu_percent: f64,
}
