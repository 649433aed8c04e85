//! Agents: other machines that take part in a run, under one coordinator.
//!
//! An agent waits for a coordinator, and lends it workers for one run after the other. The director of a run talks to
//! them through the same channels as to the workers of its own machine ([`crate::party`]), and merges what they
//! observed in the same way: histograms travel whole, and no percentile is ever averaged.
//!
//! **Clocks.** All times are of the machines' monotonic clocks. The coordinator asks each agent for its time before and
//! after the run, and keeps the exchange with the least round trip: half of that is how far the offset can be wrong.
//! The epoch is told to each machine in its own clock's time; every other time counts from the epoch.
//!
//! **Trust.** An agent sends load to whatever it is told to. So it listens on loopback addresses, and on others only
//! with a secret, which both sides prove to have before anything else is heard (HMAC-SHA-256 over two challenges). The
//! secret never crosses the wire, but nothing that follows is encrypted or signed: plans, with the passwords and keys
//! of dialects in them, can be read, and a connection can be taken over by who can change its packets. Where that
//! matters, use a tunnel, such as `ssh -L`.
//!
//! **Loss.** Both sides say something every two seconds, and give up on each other after ten of silence. A coordinator
//! that is gone calls its run off; the workers of an agent that is gone have failed.
//!
//! - `secret`: the secret, and its proof
//! - `wire`: messages, and how they travel
//! - `link`: one connection as both sides use it
//! - `clock`: the offset of an agent's clock
//! - `agent`: the waiting side, and who is let in
//! - `session`: one coordinator and its runs, on the waiting side
//! - `coordinator`: an agent as the director of a run sees it

mod agent;
mod clock;
mod coordinator;
mod link;
mod secret;
mod session;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use agent::LISTEN_DEFAULT;
pub use agent::{Host, listen, serve};
pub use coordinator::Agent;
pub(crate) use coordinator::Part;
pub use secret::Secret;
