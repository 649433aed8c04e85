//! What processes and threads have used: processor time, memory, system calls.
//!
//! - `usage`: from `/proc`, of any process
//! - `thread`: processor time of one thread of this process
//! - `syscalls`: counted by the kernel, where it lets us

mod syscalls;
mod thread;
mod usage;

pub(crate) use syscalls::SyscallCounter;
pub(crate) use thread::{ThreadClock, thread_cpu_ns, thread_waited_ns};
pub(crate) use usage::Process;
pub use usage::Usage;
