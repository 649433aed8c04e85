//! The runs of a calibration: ordinary ones, at the null sink.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dialect::Dialect;
use crate::figures::{grouped, plural};
use crate::plan::{Place, Plan, Readers, Rooms, Server, Target};
use crate::schedule::{Schedule, Shape};

/// Before each measurement: caches, branch predictors and the kernel's buffers settle.
const WARMUP: Duration = Duration::from_millis(500);

/// Deliveries a second of the paced run: far from the ceiling, and enough to measure their cost.
const PACED_DELIVERIES_PER_SECOND: f64 = 100_000.0;

/// Messages a second of the paced run, at most: further apart than a turn lasts.
const PACED_MESSAGES_PER_SECOND_MAX: f64 = 2_000.0;

/// How large the runs are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// Of the runs that measure deliveries.
    pub subscribers: usize,
    /// Of the run that measures connecting. The sink takes no more than 16 000.
    pub connections: usize,
    /// How long each run measures.
    pub measured: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { subscribers: 100, connections: 2000, measured: Duration::from_secs(3) }
    }
}

/// Makes the plans.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plans<'a> {
    pub(super) base: &'a Plan,
    pub(super) settings: &'a Settings,
    /// The sink's.
    pub(super) addr: SocketAddr,
    /// The generator's.
    pub(super) core: Option<usize>,
}

impl Plans<'_> {
    /// Many connections, and next to no messages.
    pub(super) fn connecting(&self) -> Plan {
        self.plan("connecting", self.settings.connections, 1.0)
    }

    pub(super) fn alone(&self) -> Plan {
        self.plan("latency", 1, 1000.0)
    }

    pub(super) fn together(&self) -> Plan {
        self.plan("latency", self.settings.subscribers, 100.0)
    }

    pub(super) fn paced(&self) -> Plan {
        self.plan("cost with one message in each read", self.settings.subscribers, self.paced_rate())
    }

    fn paced_rate(&self) -> f64 {
        let rate = PACED_DELIVERIES_PER_SECOND / self.settings.subscribers as f64;
        rate.clamp(10.0, PACED_MESSAGES_PER_SECOND_MAX)
    }

    /// The first rate of the flood.
    pub(super) fn flood_from(&self) -> f64 {
        self.paced_rate() * 2.0
    }

    pub(super) fn flood(&self, messages_per_second: f64) -> Plan {
        self.plan("ceiling", self.settings.subscribers, messages_per_second)
    }

    fn plan(&self, name: &str, subscribers: usize, messages_per_second: f64) -> Plan {
        let addr = self.addr;
        Plan {
            title: format!(
                "{name}: {}, {} messages/s",
                plural(subscribers as u64, "subscriber"),
                grouped(messages_per_second.round() as u64)
            ),
            target: Target {
                subscribe: format!("ws://{addr}/ws/calibrate"),
                publish: format!("ws://{addr}/pub/calibrate"),
                topic: "calibrate".to_owned(),
            },
            dialect: Dialect::Raw,
            rooms: Rooms { count: 1, subscribers, publishers: 1 },
            readers: Readers::default(),
            schedule: Schedule::new(Shape::Constant, messages_per_second, 1, WARMUP, self.settings.measured),
            place: Place { workers: 1, cores: Vec::from_iter(self.core), ..Place::default() },
            server: Server::default(),
            gates: Vec::new(),
            ..self.base.clone()
        }
    }
}
