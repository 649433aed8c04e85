//! What processes and threads have used: processor time, memory, context switches, system calls.
//!
//! - `usage`: from `/proc`, of any process
//! - `thread`: processor time of one thread of this process
//! - `syscalls`: counted by the kernel, where it lets us

mod syscalls;
mod thread;
mod usage;

pub use syscalls::SyscallCounter;
pub use thread::{ThreadClock, thread_cpu_ns};
pub use usage::{Process, Usage};
