//! What a run saw, however it ran: on one thread, on all cores, or on several machines.

use crate::gather::Gathered;
use crate::process::Usage;
use crate::reasons::Reasons;
use crate::report::{Environment, MachineClock};

/// What the server had used at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// In nanoseconds of this machine's monotonic clock.
    pub at_ns: u64,
    /// `None` when no process was named, or when it is gone.
    pub server: Option<Usage>,
}

/// Samples at the boundaries of a run's phases.
#[derive(Clone, Copy, Debug)]
pub struct Samples {
    /// Before the first connection, and when all were ready.
    pub idle: Sample,
    pub ready: Sample,
    /// Just before the first measured message, after the last one was sent, and after the last delivery.
    pub begun: Sample,
    pub published: Sample,
    pub drained: Sample,
}

/// Everything that a report is made of.
#[derive(Clone, Debug)]
pub struct RunSeen {
    pub environment: Environment,
    pub samples: Samples,
    /// Connections that became ready, and why others did not.
    pub ready: u64,
    pub unready: Reasons,
    /// Measured messages that were sent.
    pub sent: u64,
    pub gathered: Gathered,
    /// When somebody ended the run before its time, in nanoseconds since its epoch.
    pub stopped_at_ns: Option<u64>,
    /// Of the busiest core that this program ran on, from `begun` to `published`, in percent.
    pub own_cpu_percent: f64,
    /// How long the worst worker waited for a core that others used, from `begun` to `published`, in percent of that time.
    pub own_waited_percent: f64,
    /// Why the server's system calls are not known, if something counts them and failed.
    pub server_syscalls_unknown: Option<String>,
    /// Empty when this machine measured alone.
    pub clocks: Vec<MachineClock>,
    /// Of all machines.
    pub workers: usize,
    pub machines: usize,
}
