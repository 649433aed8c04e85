//! What the tests share: engines to test, and clients that speak to them.
//!
//! On a simulated kernel:
//! - `cluster`: shards over simulated drivers, turned in a seeded order on a virtual clock
//! - `peer`: a WebSocket client at the other end of a simulated connection
//! - `seeds`: runs one seed, or many
//! - `owed`: a model of what each subscriber is owed, and clients that hold the engine to it
//!
//! On real sockets:
//! - `server`: an engine on io_uring, inside the test's process
//! - `program`: the program in a process of its own, seen from outside
//! - `raw`: a WebSocket client that hides nothing, and can misbehave; `stages`: where in its life it can do so
//! - `horde`: thousands of clients on one ring
//! - `witness`: a well-behaved subscriber, which must never notice what others do; `witnesses`: several, and a publisher
//! - `foreign`: clients in other languages; `scenarios`: what they play

#![forbid(unsafe_code)]

pub mod cluster;
pub mod foreign;
pub mod horde;
pub mod owed;
pub mod peer;
pub mod program;
pub mod raw;
pub mod scenarios;
pub mod seeds;
pub mod server;
pub mod stages;
pub mod witness;
pub mod witnesses;
