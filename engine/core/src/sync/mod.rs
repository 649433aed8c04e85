//! What threads share, each thing under one name: types of the standard library, crossbeam and arc-swap, and under
//! `cfg(loom)` stand-ins in which loom decides who comes when, and which of the values that the memory model allows a load
//! gives. docs/HARDENING.md says what is checked with them and what is not.
//!
//! The log, the mailbox, the tap's signal and the plane take what they share from here and from nowhere else, so that
//! `models/` runs the very code that ships. `Arc` is the standard library's in both: its own counting is trusted, loom's
//! cannot become an `Arc<dyn Wake>`, and one that loom does not see orders nothing that it would not order anyway.

#[cfg(loom)]
mod modelled;
#[cfg(not(loom))]
mod plain;

#[cfg(loom)]
pub(crate) use modelled::{
    Accesses, ArcSwap, AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Guard, Ordering, Queue, fence,
};
#[cfg(not(loom))]
pub(crate) use plain::{
    Accesses, ArcSwap, AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Guard, Ordering, Queue, fence,
};
