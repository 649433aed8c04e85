//! Fanfare's core: topics, logs, cursors, subscriptions, policies and the shard loop.
//!
//! A message is framed once into its topic's log; a subscriber is a cursor into that log. A [`Shard`] is one plain
//! loop over a [`fanfare_io::Driver`]: it reaps completions, advances connections, takes what other shards brought,
//! fans out, submits and waits.
//!
//! This crate never makes a system call, never asks the clock (the driver tells the time), never sees a real socket.
//! All of it runs against the simulated kernel as it runs against io_uring.
//!
//! The files in the order a message meets them:
//! - `shard/`: the loop; connections, their handshakes and sessions
//! - `message`, `mailbox`: a message on its way to its topic's home shard
//! - `topics/`, `rules`: the home shard's table: sequence numbers, history, who listens, and what each topic may hold
//! - `view`, `framer`, `log/`: the message framed once for each encoding, into memory that all shards read
//! - `values`, `snapshot`: the newest message of each key, and all of them framed for whoever cannot have every message
//! - `shard/fan_out`, `shard/send`, `shard/policy`: cursors against heads, the sends that follow, and slow consumers
//! - `tap`: a subscriber inside the process
//! - `plane`: what all shards share, and the handle for other threads
//! - `addresses`: how many connections each address has
//! - `config`, `stats`: limits and counters
//! - `sync`: the atomics and queues that threads share; `models`: what loom proves of those who use them

mod addresses;
pub mod config;
mod framer;
pub mod log;
mod mailbox;
pub mod message;
#[cfg(all(test, loom))]
mod models;
mod plane;
pub mod rules;
mod shard;
mod snapshot;
pub mod stats;
mod sync;
mod tap;
mod topics;
mod values;
pub mod view;

pub use config::{Config, ConfigError};
pub use message::{Ack, Message, PublishError};
pub use plane::{AskRefused, Handle, PublishRefused, Seat, plane};
pub use rules::{PolicySet, TopicRule};
pub use shard::{REFUSED_AT_ONCE_MAX, Shard};
pub use stats::{ShardStats, Stat, StatKind, StatView};
pub use tap::{Tap, TapEvent};
pub use topics::TopicInfo;
