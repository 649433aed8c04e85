//! System calls of a process, counted by the kernel at its tracepoint raw_syscalls:sys_enter.
//!
//! Nothing in `/proc` counts them: the fields of `/proc/PID/io` leave out io_uring_enter, which is where a server on io_uring
//! does everything.
//!
//! The kernel counts for as long as a counter stands. Meanwhile every system call on the machine takes a longer way in, so
//! processor time of servers that make one for each delivery is a little more than without.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::{fmt, fs};

use perf_event::events::Tracepoint;
use perf_event::{Builder, Counter};

/// Where tracefs may be mounted.
const ROOTS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

const EVENT_ID: &str = "events/raw_syscalls/sys_enter/id";

/// How often the list of threads may change while counters are attached to them.
const ATTEMPTS_MAX: usize = 10;

/// Counts from when it was made, on all threads that the process had then and all that they start.
pub(crate) struct SyscallCounter {
    /// One for each thread. Reading needs them mutable, though it changes nothing.
    counters: RefCell<Vec<Counter>>,
}

impl fmt::Debug for SyscallCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SyscallCounter of {} threads", self.counters.borrow().len())
    }
}

impl SyscallCounter {
    /// # Errors
    /// Why they cannot be counted, in a sentence that says what would help.
    pub(crate) fn of(pid: u32) -> Result<Self, String> {
        let event = Tracepoint::with_id(event_id(&ROOTS.map(Path::new))?);
        // A thread that starts between the two looks may be counted or not; then all is done again.
        for _ in 0..ATTEMPTS_MAX {
            let before = threads(pid)?;
            let counters = before.iter().map(|&thread| attach(event, thread)).collect::<Result<Vec<_>, _>>();
            match counters {
                Ok(counters) if threads(pid)? == before => {
                    return Ok(Self { counters: RefCell::new(counters) });
                }
                // The thread has ended, and the next look does not see it.
                Err(error) if error.raw_os_error() == Some(ESRCH) => {}
                Ok(_) => {}
                Err(error) => return Err(refused(&error, &paranoid())),
            }
        }
        Err("the process starts and ends threads too often to count its system calls".to_owned())
    }

    /// How many there were since the counter was made, those of threads that have ended included.
    ///
    /// # Errors
    /// Never on a sound kernel.
    pub(crate) fn count(&self) -> io::Result<u64> {
        self.counters.borrow_mut().iter_mut().map(Counter::read).sum()
    }
}

/// The error numbers of Linux that have no `ErrorKind` of their own.
const ESRCH: i32 = 3;

fn attach(event: Tracepoint, thread: i32) -> io::Result<Counter> {
    let mut builder = Builder::new(event);
    // Tracepoints fire in the kernel. Children that are other processes are not the server's own.
    builder.observe_pid(thread).any_cpu().include_kernel().inherit(true).inherit_thread(true).enabled(true);
    builder.build()
}

fn threads(pid: u32) -> Result<Vec<i32>, String> {
    let gone = |error: io::Error| format!("process {pid} cannot be looked at: {error}");
    let mut threads = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task")).map_err(gone)? {
        let name = entry.map_err(gone)?.file_name();
        threads.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    threads.sort_unstable();
    Ok(threads)
}

/// The tracepoint's number on this kernel.
fn event_id(roots: &[&Path]) -> Result<u64, String> {
    for root in roots {
        match fs::read_to_string(root.join(EVENT_ID)) {
            Ok(text) => {
                return text
                    .trim()
                    .parse()
                    .map_err(|_| format!("{} holds no number but {text:?}", root.join(EVENT_ID).display()));
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(format!(
                    "{} is not readable, so that system calls cannot be counted: run as root, or mount tracefs with \
                     -o gid= for a group of yours",
                    root.display()
                ));
            }
            Err(_) if root.join("events").is_dir() => {
                return Err("this kernel was built without CONFIG_FTRACE_SYSCALLS, so that it cannot count system calls"
                    .to_owned());
            }
            Err(_) => {}
        }
    }
    Err("tracefs is not mounted, so that system calls cannot be counted: as root, mount -t tracefs nodev \
         /sys/kernel/tracing"
        .to_owned())
}

/// The setting that keeps users from counting, as the kernel tells it.
fn paranoid() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid");
    text.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

fn refused(error: &io::Error, paranoid: &str) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => format!(
            "the kernel does not let this user count system calls of that process: run as root or with CAP_PERFMON, or set \
             kernel.perf_event_paranoid to 1 (it is {paranoid}) and run as the server's user"
        ),
        ErrorKind::Unsupported | ErrorKind::NotFound => {
            format!("this kernel was built without performance events: {error}")
        }
        _ => match error.raw_os_error() {
            Some(EMFILE) => {
                "counting system calls takes an open file for each of the server's threads, and this \
                             program has no more: raise it with ulimit -n"
                    .to_owned()
            }
            _ => format!("the kernel refused to count system calls: {error}"),
        },
    }
}

const EMFILE: i32 = 24;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// Each is a system call.
    fn yields(count: usize) {
        (0..count).for_each(|_| thread::yield_now());
    }

    #[test]
    fn calls_of_all_threads_count_those_that_start_later_and_those_that_have_ended_too() {
        let (begin, begun) = mpsc::channel::<()>();
        let (say, said) = mpsc::channel();
        let early = thread::spawn(move || {
            begun.recv().expect("a word");
            yields(1000);
            let late = thread::spawn(|| yields(1000));
            late.join().expect("no panic");
            say.send(()).expect("heard");
        });
        // Other tests start threads all the time, which is one reason to be refused.
        let counter = match SyscallCounter::of(std::process::id()) {
            Ok(counter) => Some(counter),
            Err(why) => {
                eprintln!("skipped: {why}");
                assert!(!why.is_empty() && !why.ends_with('.'), "{why}");
                None
            }
        };
        begin.send(()).expect("it waits");
        said.recv().expect("it is done");
        early.join().expect("no panic");
        if let Some(counter) = counter {
            let count = counter.count().expect("a count");
            assert!(count >= 2000, "{count}");
            yields(1000);
            assert!(counter.count().expect("a count") >= count + 1000);
        }
    }

    #[test]
    fn every_lack_is_told_with_its_remedy() {
        let temp = std::env::temp_dir().join(format!("fanfare-tracefs-{}", std::process::id()));
        let with_events = temp.join("without");
        fs::create_dir_all(with_events.join("events")).expect("a folder");
        let full = temp.join("full");
        fs::create_dir_all(full.join(EVENT_ID).parent().expect("a parent")).expect("a folder");
        fs::write(full.join(EVENT_ID), "443\n").expect("a file");
        let bad = temp.join("bad");
        fs::create_dir_all(bad.join(EVENT_ID).parent().expect("a parent")).expect("a folder");
        fs::write(bad.join(EVENT_ID), "four\n").expect("a file");
        let nothing = temp.join("nothing");

        assert_eq!(event_id(&[&nothing, &full]), Ok(443));
        for (root, part) in
            [(&nothing, "mount -t tracefs"), (&with_events, "CONFIG_FTRACE_SYSCALLS"), (&bad, "no number")]
        {
            let why = event_id(&[root]).expect_err("a lack");
            assert!(why.contains(part), "{why}");
        }
        fs::remove_dir_all(temp).expect("removed");

        for (errno, part) in [
            (13, "CAP_PERFMON"),
            (1, "it is 2"),
            (EMFILE, "ulimit"),
            (38, "performance events"),
            (22, "refused"),
        ] {
            let why = refused(&io::Error::from_raw_os_error(errno), "2");
            assert!(why.contains(part), "{errno}: {why}");
        }
    }

    #[test]
    fn there_is_no_process_0_to_count() {
        let why = threads(0).expect_err("no such process");
        assert!(why.starts_with("process 0 cannot be looked at"), "{why}");
    }
}
