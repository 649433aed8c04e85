//! Processor time of one thread, in nanoseconds.

use std::path::{Path, PathBuf};
use std::{fs, io};

use rustix::time::{ClockId, clock_gettime};

/// Processor time that the calling thread has used, in user and kernel mode.
pub(crate) fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// How long the calling thread has waited for a core that others used. 0 where the kernel does not tell.
pub(crate) fn thread_waited_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_ascii_whitespace().nth(1).and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

/// The processor time of one thread, for other threads to read.
///
/// The kernel brings it up to date when it schedules and at its timer ticks: while the thread runs, the figure may lag by
/// some milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct ThreadClock {
    schedstat: PathBuf,
}

impl ThreadClock {
    /// That of the calling thread.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub(crate) fn of_this_thread() -> io::Result<Self> {
        // The link names the thread, where a path through it would mean whoever follows it.
        let thread = fs::read_link("/proc/thread-self")?;
        Ok(Self { schedstat: Path::new("/proc").join(thread).join("schedstat") })
    }

    /// # Errors
    /// When the thread has ended.
    pub(crate) fn cpu_ns(&self) -> io::Result<u64> {
        let text = fs::read_to_string(&self.schedstat)?;
        let on_cpu = text.split_ascii_whitespace().next().and_then(|ns| ns.parse().ok());
        on_cpu.ok_or_else(|| io::Error::other("the kernel tells no processor time of single threads"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn time_passes_for_a_thread_that_works_and_for_no_other() {
        let before = thread_cpu_ns();
        let worked = thread::spawn(|| {
            let (begun, mut rounds) = (thread_cpu_ns(), 0u64);
            while thread_cpu_ns() < begun + 5_000_000 {
                rounds += 1;
            }
            rounds
        });
        assert!(worked.join().expect("no panic") > 0);
        let used = thread_cpu_ns() - before;
        assert!(used < 5_000_000, "this thread only waited, and used {used} ns");
    }

    #[test]
    fn another_thread_reads_the_clock() {
        let (clocks, received) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let worker = thread::spawn(move || {
            let before = thread_cpu_ns();
            while thread_cpu_ns() < before + 10_000_000 {}
            clocks.send(ThreadClock::of_this_thread().expect("/proc")).expect("received");
            ended.recv().expect_err("the other end is dropped");
        });
        let clock = received.recv().expect("a clock");
        // Ends once the worker sleeps, if not before: then the figure is exact.
        while clock.cpu_ns().expect("it lives") < 10_000_000 {}
        drop(end);
        worker.join().expect("no panic");
        clock.cpu_ns().expect_err("the thread has ended");
    }
}
