//! What the tests share: a simulated cluster of shards, and its clients.
//!
//! - `cluster`: shards over simulated drivers, turned in a seeded order on a virtual clock
//! - `peer`: a WebSocket client at the other end of a simulated connection

#![forbid(unsafe_code)]

pub mod cluster;
pub mod peer;
