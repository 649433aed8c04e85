//! What the control port counts of itself. It outlives the threads that serve it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers that several threads write, seldom.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Connections being served.
    connections: AtomicU64,
    refused: AtomicU64,
    timeouts: AtomicU64,
    panics: AtomicU64,
    restarts: AtomicU64,
}

impl Counters {
    pub(super) fn set_connections(&self, count: usize) {
        self.connections.store(count as u64, Ordering::Relaxed);
    }

    /// A connection beyond `connections_max`.
    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// A peer that took too long.
    pub(super) fn timed_out(&self) {
        self.timeouts.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn restarted(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// What only grows: names without their suffix, meanings, values.
    pub(super) fn each(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        [
            (
                "fanfare_control_refused",
                "Connections to the control port refused because of control_connections_max.",
                &self.refused,
            ),
            (
                "fanfare_control_timeouts",
                "Peers of the control port that were too slow with a request, or with taking its answer.",
                &self.timeouts,
            ),
            ("fanfare_control_panics", "Panics in the control plane.", &self.panics),
            (
                "fanfare_control_restarts",
                "Times that the control plane's thread was started anew.",
                &self.restarts,
            ),
        ]
        .into_iter()
        .map(|(name, help, number)| (name, help, number.load(Ordering::Relaxed)))
    }

    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}
