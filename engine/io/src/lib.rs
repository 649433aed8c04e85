//! Everything Fanfare asks of the kernel for its connections: one trait, [`Driver`], with io_uring behind it, and a
//! simulated kernel beside it.
//!
//! This crate never knows a topic, a frame or an HTTP request, and starts no thread.
//!
//! In the order in which a connection meets them:
//!
//! - `driver`: the trait and its contract
//! - [`probe`]: what this kernel offers, and the remedy for what it lacks
//! - [`limits`], [`affinity`] and [`memory`]: descriptors, cores, and what is given back
//! - [`listen`]: a listener for each shard at one address
//! - [`uring`]: the driver that servers run on
//! - `wake`: ends its sleep from another thread
//! - [`sim`]: the driver that tests run on, with a virtual clock and seeded faults

pub mod affinity;
mod driver;
pub mod limits;
pub mod listen;
pub mod memory;
pub mod probe;
pub mod sim;
pub mod uring;
mod wake;

pub use driver::{Batch, ConnId, Driver, Event, NoSends, PARTS_MAX, ReceiveEnd, SendShort, Wait, Wake};
pub use uring::{UringDriver, now_ns};
pub use wake::Waker;
