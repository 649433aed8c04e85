//! What a run says about the server, and whether it may say so.
//!
//! - `seen`: what a run saw, however it ran
//! - `judge`, `verdict`: from that to figures and a verdict
//! - `timeline`: one row for each interval
//! - `environment`: the machine that measured
//! - `units`: figures that carry their units
//! - `parameters`: what a run was told to do, in words
//! - `table`, with `plot`: for people at a terminal
//! - `csv`, `hgrm`, `hlog`: for other tools
//! - `html`: for a report, in one file
//! - `compare`: several reports side by side
//! - `files`: what was asked for, written

pub mod compare;
mod csv;
pub(crate) mod environment;
mod files;
mod hgrm;
pub mod hlog;
pub mod html;
mod judge;
mod parameters;
mod plot;
pub mod seen;
mod table;
pub(crate) mod timeline;
mod units;
mod verdict;

pub use files::{FileError, Files, put};
pub use table::{Style, Table};

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::gate::Outcome;
use crate::latency::{Latency, Spectrum};
use crate::reasons::Reasons;

/// The version of the JSON's shape.
pub(crate) const FORMAT: u32 = 2;

/// The judgement of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every message reached every steady subscriber once, in order and intact, or the server said that it left it out; and
    /// all gates hold.
    Pass,
    /// A gate does not hold.
    Gate,
    /// Delivery is broken.
    Broken,
    /// The figures say more about this program or this machine than about the server.
    Invalid,
}

impl Verdict {
    /// The program's exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Gate => 1,
            Self::Broken => 2,
            Self::Invalid => 3,
        }
    }
}

/// All figures of a run. Names end in their units.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub format: u32,
    /// Of this program.
    pub version: String,
    pub title: String,
    pub environment: Environment,
    pub verdict: Verdict,
    /// Why it is not a pass.
    pub reasons: Vec<String>,
    pub gates: Vec<Outcome>,
    pub run: Parameters,
    pub connect: Connect,
    pub messages: Messages,
    pub deliveries: Deliveries,
    /// `null` if permessage-deflate was not offered.
    #[serde(default)]
    pub deflate: Option<Deflate>,
    pub latency_ns: Spectra,
    /// Only the kinds of subscribers that the run has.
    pub readers: Vec<ReadersReport>,
    pub cost: Cost,
    pub clocks: Clocks,
    pub timeline: Vec<Row>,
    /// The whole histograms, in HdrHistogram's V2 encoding with deflate, in base64.
    pub histograms: Histograms,
}

impl Report {
    /// As JSON for people too: each member on a line of its own.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)
    }
}

/// The machine that measured. With agents, that of the coordinator.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Environment {
    /// RFC 3339, UTC.
    pub started: String,
    pub kernel: String,
    pub cpu: String,
    pub cores: usize,
    pub memory_bytes: u64,
    /// TCP congestion control.
    pub congestion_control: String,
    /// The program's arguments as given, without secrets.
    pub command: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Parameters {
    pub url: String,
    pub publish_url: String,
    pub dialect: String,
    pub topic: String,
    /// What subscribers asked for beside the topic, as JSON.
    #[serde(default)]
    pub subscribe: String,
    pub rooms: usize,
    pub subscribers: usize,
    pub publishers: usize,
    /// Whether those that came back were to go on where they had left.
    #[serde(default)]
    pub recover: bool,
    /// Whether permessage-deflate was offered.
    #[serde(default)]
    pub deflate: bool,
    /// The schedule in words, such as `constant 1000/s`.
    pub schedule: String,
    pub messages_per_second: f64,
    /// The content in words, such as `64 bytes`.
    pub content: String,
    pub mean_bytes: f64,
    pub text: bool,
    pub seconds: f64,
    pub messages_warmup: u64,
    pub messages_measured: u64,
    pub workers: usize,
    pub machines: usize,
}

/// The making of the connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Connect {
    pub connections: u64,
    /// Until all were ready.
    pub seconds: f64,
    /// From a connection's first packet to ready.
    pub latency_ns: Spectrum,
    /// `null` without a server process to look at; so are the other server figures.
    pub server_cpu_ns_per_connection: Option<f64>,
    pub server_resident_bytes_per_connection: Option<f64>,
    pub server_resident_bytes: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Messages {
    pub scheduled: u64,
    pub sent: u64,
    /// Those that reached every steady subscriber while they were followed.
    pub complete: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deliveries {
    pub expected: u64,
    pub delivered: u64,
    pub per_second: f64,
    /// As many as the schedule asked for in a second.
    pub due_per_second: f64,
    pub missing: u64,
    /// What the server said it left out.
    pub announced: u64,
    pub duplicate: u64,
    pub reordered: u64,
    pub corrupt: u64,
    pub misrouted: u64,
    /// Intact messages that another run of this program published.
    pub foreign: u64,
    pub subscribers_affected: u64,
    pub subscribers_lost: u64,
    pub publishers_lost: u64,
    pub lost: Reasons,
    /// How often the server told a subscriber that it restarts.
    #[serde(default)]
    pub draining_notices: u64,
}

/// What permessage-deflate did, from the first connection to the last.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deflate {
    /// Connections to which the server granted it; each time, where they come back.
    pub subscribers_granted: u64,
    pub publishers_granted: u64,
    /// Messages to subscribers, and how many of them came compressed.
    pub messages: u64,
    pub compressed_messages: u64,
    /// What subscribers received, frame headers and all.
    pub wire_bytes: u64,
    /// What was in their messages once these were inflated.
    pub payload_bytes: u64,
}

/// Of each delivery: `response`, `service`. Of each message: the others.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Spectra {
    /// Due to received.
    pub response: Spectrum,
    /// Sent to received.
    pub service: Spectrum,
    /// Due to sent.
    pub send_lag: Spectrum,
    /// The part of it in which the server would have taken the message: the rest is what it held the publisher back.
    pub own_lag: Spectrum,
    /// Due to received by the first.
    pub to_first: Spectrum,
    /// Due to received by the last.
    pub to_last: Spectrum,
    /// Received by the first to received by the last.
    pub spread: Spectrum,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Histograms {
    pub response: Latency,
    pub service: Latency,
    pub send_lag: Latency,
    pub own_lag: Latency,
    pub to_first: Latency,
    pub to_last: Latency,
    pub spread: Latency,
}

impl Histograms {
    pub(crate) fn spectra(&self) -> Spectra {
        Spectra {
            response: self.response.spectrum(),
            service: self.service.spectrum(),
            send_lag: self.send_lag.spectrum(),
            own_lag: self.own_lag.spectrum(),
            to_first: self.to_first.spectrum(),
            to_last: self.to_last.spectrum(),
            spread: self.spread.spectrum(),
        }
    }
}

/// Subscribers that did something else than read at once what came.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReadersReport {
    /// `stalled`, `slow`, `pausing` or `returning`.
    pub kind: String,
    pub subscribers: u64,
    pub delivered: u64,
    pub missing: u64,
    pub announced: u64,
    pub duplicate: u64,
    pub reordered: u64,
    pub corrupt: u64,
    /// Connections that the server ended, or that broke.
    pub lost: Reasons,
    /// For `pausing`: from reading again to the first message that was due after that. For `returning`: from leaving to ready again.
    pub latency_ns: Option<Spectrum>,
    /// For `returning`: how often one left, and could come back.
    pub left: u64,
    pub returned: u64,
    pub all_back_ns: Option<u64>,
    /// For `returning`, in a run with recovery: how often one went on where it had left, and could not.
    #[serde(default)]
    pub recovered: u64,
    #[serde(default)]
    pub recoveries_failed: u64,
    /// From leaving until a recovered one had all that was published until it was back.
    #[serde(default)]
    pub recovery_ns: Option<Spectrum>,
    #[serde(default)]
    pub all_caught_up_ns: Option<u64>,
}

/// Processor time and system calls. Percentages are of one core.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Cost {
    pub server_cpu_ns_per_delivery: Option<f64>,
    pub server_cpu_percent: Option<f64>,
    pub server_resident_bytes: Option<u64>,
    pub server_syscalls_per_delivery: Option<f64>,
    /// Why there is no figure for the server's system calls, if there is none.
    pub server_syscalls_unknown: Option<String>,
    pub own_cpu_ns_per_delivery: Option<f64>,
    /// Of the busiest core that this program ran on.
    pub own_cpu_percent: f64,
    /// How long its worst thread waited for a core that others used, while it published; in percent of that time.
    pub own_waited_percent: f64,
    pub own_syscalls_per_delivery: Option<f64>,
}

/// How far the clocks of the machines can be trusted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Clocks {
    /// Latencies that came out negative; they are in no histogram.
    pub negative: u64,
    pub worst_ns: u64,
    /// Empty when this machine measured alone.
    pub machines: Vec<MachineClock>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MachineClock {
    pub machine: String,
    /// This machine's clock minus the coordinator's, before and after the run, each give or take the uncertainty.
    pub offset_before_ns: i64,
    pub offset_after_ns: i64,
    pub uncertainty_ns: u64,
}

/// One interval. Latencies are of deliveries to steady subscribers, in nanoseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Row {
    /// From the beginning of the warm-up to the interval's end.
    pub seconds: f64,
    pub interval_seconds: f64,
    pub warmup: bool,
    pub sent: u64,
    pub delivered: u64,
    pub bytes: u64,
    pub connected: u64,
    /// Subscribers that came back and went on where they had left, and those that were to and could not.
    #[serde(default)]
    pub recovered: u64,
    #[serde(default)]
    pub recoveries_failed: u64,
    pub response: Spectrum,
    pub send_lag_max: u64,
    pub server_cpu_percent: Option<f64>,
    pub server_resident_bytes: Option<u64>,
}
