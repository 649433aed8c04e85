//! Fanfare's load generator: measures a WebSocket broadcast server from outside, and says when it cannot.
//!
//! It knows nothing of the engine: any server that sends every message it receives to every subscriber can be measured. It
//! shares the protocol and the ring with the engine, and runs on one thread.
//!
//! - The schedule is computed ahead, and latency counts from when a message was *due* (open loop), so a server that stalls
//!   the publisher does not hide its own delay.
//! - Every delivery is checked: missing, duplicate, reordered and corrupt messages are counted for each subscriber and
//!   publisher.
//! - A run that measured this program rather than the server is declared invalid.
//!
//! The files, in the order in which a run meets them:
//!
//! - [`options`], [`plan`]: the command line, and what it means
//! - [`run`](mod@run): the phases of a run
//! - [`connections`]: sockets, handshakes and frames
//! - [`schedule`], `publishers`, [`payload`]: when each message is due, and what it carries
//! - [`tally`], with [`cursor`], [`broadcast`] and [`latency`]: every delivery, judged and timed
//! - [`proc_stat`]: what the server used
//! - [`report`], [`table`]: the figures and the verdict

#![forbid(unsafe_code)]

pub mod broadcast;
pub mod connections;
pub mod cursor;
pub mod latency;
pub mod options;
pub mod payload;
pub mod plan;
pub mod proc_stat;
mod publishers;
mod random;
pub mod report;
pub mod run;
pub mod schedule;
pub mod table;
pub mod tally;

pub use plan::Plan;
pub use report::{Report, Verdict};
pub use run::{RunError, run};
