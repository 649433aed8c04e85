//! Fanfare's load generator: measures a WebSocket broadcast server from outside, and says when it cannot.
//!
//! It knows nothing of the engine: any server that sends every message it receives to every subscriber can be measured. It
//! shares the protocol and the ring with the engine.
//!
//! - The schedule is computed ahead, and latency counts from when a message was *due* (open loop), so a server that stalls
//!   the publisher does not hide its own delay.
//! - Every delivery is checked: missing, duplicate, reordered and corrupt messages are counted for each subscriber and
//!   publisher. What the server says it left out is counted apart.
//! - A run that measured this program rather than the server is declared invalid.
//! - Histograms are merged, over workers and machines, and percentiles never averaged.
//!
//! The files, in the order in which a run meets them:
//!
//! - [`options`], [`workload`], [`plan`]: what a user asks for, and what it means
//! - [`run`](mod@run), [`preflight`], [`party`]: the director of a run, and what it says to its workers
//! - [`worker`]: a thread with a ring; what it publishes, and what its subscribers do besides reading
//! - `connections`, [`dialect`]: sockets, handshakes and frames, and what servers want to hear
//! - [`schedule`], [`payload`]: when each message is due, and what it carries
//! - `tally`, with [`latency`]: every delivery, judged and timed
//! - [`observed`], [`gather`]: what all workers saw, put together
//! - [`process`]: what the server and this program used
//! - [`report`], [`gate`]: the figures and the verdict, for people and for other tools
//! - [`progress`], [`live`], [`interrupt`]: a run while it lasts
//!
//! And around a run:
//!
//! - [`search`]: runs until a gate breaks
//! - [`calibrate`]: this program's own ceiling
//! - [`agents`]: other machines
//! - [`mod@echo`]: no run at all: a client for suites that test clients
//!
//! And what all of them use:
//!
//! - `figures`, `printable`: numbers as people read them, and texts from outside made fit to be shown
//! - [`reasons`]: why connections failed
//! - [`random`]: numbers from the kernel, and from seeds
//! - `testing`: plans and reports for tests

#![forbid(unsafe_code)]

pub mod agents;
pub mod calibrate;
mod connections;
pub mod dialect;
pub mod echo;
mod figures;
pub mod gate;
pub mod gather;
pub mod interrupt;
pub mod latency;
pub mod live;
pub mod observed;
pub mod options;
pub mod party;
pub mod payload;
pub mod plan;
pub mod preflight;
mod printable;
pub mod process;
pub mod progress;
pub mod random;
pub mod reasons;
pub mod report;
pub mod run;
pub mod schedule;
pub mod search;
mod tally;
#[cfg(test)]
mod testing;
pub mod worker;
pub mod workload;

pub use plan::Plan;
pub use report::{Report, Verdict};
