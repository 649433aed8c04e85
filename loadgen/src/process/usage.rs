//! What a process has used, from `/proc`.

use std::path::PathBuf;
use std::{fs, io};

/// The unit of processor time in `/proc/PID/stat`. The kernel shows user space this many ticks a second on every machine
/// that Fanfare runs on, whatever its own timer does.
const USER_HZ: u64 = 100;

const NS_PER_TICK: u64 = 1_000_000_000 / USER_HZ;

/// A process to look at.
#[derive(Clone, Debug)]
pub struct Process {
    folder: PathBuf,
}

/// What it has used until now.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Usage {
    /// Processor time of all its threads, in user and kernel mode; a multiple of 10 ms.
    pub cpu_ns: u64,
    /// Memory that it has resident.
    pub resident_bytes: u64,
    pub threads: u64,
    /// How often its threads gave up a core or were put off it. Of the threads that live: those that ended took their
    /// count with them.
    pub context_switches: u64,
    /// System calls of all its threads, where a [`SyscallCounter`](super::SyscallCounter) counts them.
    pub syscalls: Option<u64>,
}

impl Usage {
    /// Processor time used since `earlier`. A process that was replaced by another one has used none.
    pub fn cpu_since(&self, earlier: &Self) -> u64 {
        self.cpu_ns.saturating_sub(earlier.cpu_ns)
    }

    /// Context switches since `earlier`.
    pub fn context_switches_since(&self, earlier: &Self) -> u64 {
        self.context_switches.saturating_sub(earlier.context_switches)
    }
}

impl Process {
    pub fn with_pid(pid: u32) -> Self {
        Self { folder: PathBuf::from(format!("/proc/{pid}")) }
    }

    /// This process.
    pub fn own() -> Self {
        Self { folder: PathBuf::from("/proc/self") }
    }

    /// # Errors
    /// When there is no such process.
    pub fn usage(&self) -> io::Result<Usage> {
        let stat = fs::read_to_string(self.folder.join("stat"))?;
        let status = fs::read_to_string(self.folder.join("status"))?;
        let missing = || io::Error::other("/proc shows no processor time or no memory of the process");
        Ok(Usage {
            cpu_ns: cpu_ticks(&stat).ok_or_else(missing)? * NS_PER_TICK,
            resident_bytes: number(&status, "VmRSS:").ok_or_else(missing)? * 1024,
            threads: number(&status, "Threads:").ok_or_else(missing)?,
            context_switches: self.context_switches()?,
            syscalls: None,
        })
    }

    /// Summed over the threads, since the process's own file counts only its first one.
    fn context_switches(&self) -> io::Result<u64> {
        let mut sum = 0;
        for thread in fs::read_dir(self.folder.join("task"))? {
            // A thread may end while this looks at them.
            if let Ok(status) = fs::read_to_string(thread?.path().join("status")) {
                sum += context_switches(&status);
            }
        }
        Ok(sum)
    }
}

/// utime and stime, fields 14 and 15 of proc_pid_stat(5). Field 2 is the program's name, which may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(14 - 3);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The number in the line of proc_pid_status(5) that begins with `name`, without its unit.
fn number(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn context_switches(status: &str) -> u64 {
    let kinds = ["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"];
    kinds.into_iter().filter_map(|kind| number(status, kind)).sum()
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn fields_are_found_behind_any_program_name() {
        let stat = "77 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 100 200 300";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("77 (a"), None);
    }

    #[test]
    fn numbers_are_found_by_their_names() {
        let status = "Name:\tx\nVmRSS:\t   1234 kB\nRssAnon:\t 1 kB\nThreads:\t7\nvoluntary_ctxt_switches:\t40\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!((number(status, "VmRSS:"), number(status, "Threads:")), (Some(1234), Some(7)));
        assert_eq!((number(status, "VmSwap:"), number("VmRSS: x", "VmRSS:")), (None, None));
        assert_eq!(context_switches(status), 42);
        assert_eq!(context_switches("Name:\tx\n"), 0);
    }

    #[test]
    fn this_process_uses_memory_and_time_passes() {
        let usage = || Process::own().usage().expect("this process");
        let before = usage();
        assert!(before.resident_bytes > 100_000 && before.threads >= 1);
        // Ends when the processor time that this loop takes becomes visible.
        while usage().cpu_ns == before.cpu_ns {}
        assert!(usage().cpu_since(&before) >= NS_PER_TICK);
    }

    #[test]
    fn sleeping_switches_contexts() {
        let (looks, looked) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let sleeper = thread::spawn(move || {
            let own =
                || context_switches(&fs::read_to_string("/proc/thread-self/status").expect("this thread"));
            let before = own();
            (0..20).for_each(|_| thread::sleep(Duration::from_micros(100)));
            looks.send(own() - before).expect("received");
            ended.recv().expect_err("the other end is dropped");
        });
        assert!(looked.recv().expect("a count") >= 20);
        assert!(Process::own().usage().expect("this process").context_switches >= 20);
        drop(end);
        sleeper.join().expect("no panic");
    }

    #[test]
    fn there_is_no_process_0() {
        assert_eq!(
            Process::with_pid(0).usage().expect_err("no such process").kind(),
            io::ErrorKind::NotFound
        );
    }
}
