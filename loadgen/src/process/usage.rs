//! What a process has used, from `/proc`.

use std::path::PathBuf;
use std::{fs, io};

/// The unit of processor time in `/proc/PID/stat`. The kernel shows user space this many ticks a second on every machine
/// that Fanfare runs on, whatever its own timer does.
const USER_HZ: u64 = 100;

const NS_PER_TICK: u64 = 1_000_000_000 / USER_HZ;

/// A process to look at.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    folder: PathBuf,
}

/// What it has used until now.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Usage {
    /// Processor time of all its threads, in user and kernel mode; a multiple of 10 ms.
    pub cpu_ns: u64,
    /// Memory that it has resident.
    pub resident_bytes: u64,
    /// System calls of all its threads, where a `SyscallCounter` counts them.
    pub syscalls: Option<u64>,
}

impl Usage {
    /// Processor time used since `earlier`. A process that was replaced by another one has used none.
    pub(crate) fn cpu_since(&self, earlier: &Self) -> u64 {
        self.cpu_ns.saturating_sub(earlier.cpu_ns)
    }
}

impl Process {
    pub(crate) fn with_pid(pid: u32) -> Self {
        Self { folder: PathBuf::from(format!("/proc/{pid}")) }
    }

    /// # Errors
    /// When there is no such process.
    pub(crate) fn usage(&self) -> io::Result<Usage> {
        let stat = fs::read_to_string(self.folder.join("stat"))?;
        let status = fs::read_to_string(self.folder.join("status"))?;
        let missing = || io::Error::other("/proc shows no processor time or no memory of the process");
        Ok(Usage {
            cpu_ns: cpu_ticks(&stat).ok_or_else(missing)? * NS_PER_TICK,
            resident_bytes: number(&status, "VmRSS:").ok_or_else(missing)? * 1024,
            syscalls: None,
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_program_name() {
        let stat = "77 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 100 200 300";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("77 (a"), None);
    }

    #[test]
    fn numbers_are_found_by_their_names() {
        let status = "Name:\tx\nVmRSS:\t   1234 kB\nRssAnon:\t 1 kB\nThreads:\t7\n";
        assert_eq!((number(status, "VmRSS:"), number(status, "Threads:")), (Some(1234), Some(7)));
        assert_eq!((number(status, "VmSwap:"), number("VmRSS: x", "VmRSS:")), (None, None));
    }

    #[test]
    fn this_process_uses_memory_and_time_passes() {
        let usage = || Process::with_pid(std::process::id()).usage().expect("this process");
        let before = usage();
        assert!(before.resident_bytes > 100_000);
        // Ends when the processor time that this loop takes becomes visible.
        while usage().cpu_ns == before.cpu_ns {}
        assert!(usage().cpu_since(&before) >= NS_PER_TICK);
    }

    #[test]
    fn there_is_no_process_0() {
        assert_eq!(
            Process::with_pid(0).usage().expect_err("no such process").kind(),
            io::ErrorKind::NotFound
        );
    }
}
