//! What [`Driver`] promises, held against the kernel and against the simulation, with and without faults.

mod rig;
mod stress;
mod suite;
mod uring;
mod worlds;
