//! What each subscriber is owed: a simple model of it, and clients that hold the engine to it.
//!
//! The model knows nothing of cursors, sockets, shards or snapshots. It is told what publishers were told, and what
//! subscribers asked for and received, and says whether the two fit together.
//!
//! - `ledger`: everything that was published, in the order that its publishers were told
//! - `terms`: what a subscriber asks for, and how that is written
//! - `subscription`: the rules: what one subscription may receive, message by message
//! - `newest`: the rules for the newest message of each key in a range that was told
//! - `part`: the rules for the newest message of each key now and then, in place of every message
//! - `inside`: a subscriber inside the process
//! - `client`: a connection with its subscriptions; reads what came, and passes it to the rules

pub mod client;
pub mod inside;
pub mod ledger;
mod newest;
mod part;
pub mod subscription;
pub mod terms;
