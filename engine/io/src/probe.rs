//! What this kernel and these limits allow, and what to do where they do not.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::{fmt, fs, io};

use io_uring::{IoUring, Probe, opcode};

use crate::uring::{Options, UringDriver};
use crate::{Driver, Event, NoSends, Wait, Waker, affinity, limits};

/// The oldest kernel with all that the driver needs.
const KERNEL_MIN: &str = "Linux 6.1";

/// How long the trial connection may take.
const TRIAL_NS: u64 = 2_000_000_000;

/// How one question was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is there; the text says more.
    Ok(String),
    /// It is not there.
    Missing { what: String, remedy: String },
    /// A fact without a right answer.
    Note(String),
}

/// One question to the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    pub name: &'static str,
    pub outcome: Outcome,
    /// Whether the driver does not run without it.
    pub required: bool,
}

/// All answers. Its `Display` is a table for a terminal.
#[derive(Clone, Debug)]
pub struct Report {
    pub checks: Vec<Check>,
}

impl Report {
    /// The required ones that are not there.
    pub fn missing(&self) -> Vec<&Check> {
        let is_missing = |check: &&Check| check.required && matches!(check.outcome, Outcome::Missing { .. });
        self.checks.iter().filter(is_missing).collect()
    }

    /// Why the driver cannot run here and what to do about it, or `None` if it can.
    pub fn refusal(&self) -> Option<String> {
        let missing = self.missing();
        let mut lines =
            vec!["Fanfare needs io_uring, and this system does not offer what it takes:".to_owned()];
        for check in &missing {
            if let Outcome::Missing { what, remedy } = &check.outcome {
                lines.push(format!("  {}: {what}", check.name));
                lines.push(format!("    remedy: {remedy}"));
            }
        }
        (!missing.is_empty()).then(|| lines.join("\n"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        for Check { name, outcome, required } in &self.checks {
            match outcome {
                Outcome::Ok(text) => writeln!(f, "  ok       {name:width$}  {text}")?,
                Outcome::Note(text) => writeln!(f, "  note     {name:width$}  {text}")?,
                Outcome::Missing { what, remedy } => {
                    let mark = if *required { "MISSING" } else { "without" };
                    writeln!(f, "  {mark}  {name:width$}  {what}")?;
                    writeln!(f, "           {:width$}  remedy: {remedy}", "")?;
                }
            }
        }
        Ok(())
    }
}

/// Asks the kernel everything. Takes some milliseconds, and leaves nothing behind.
///
/// It uses a thread of its own: tearing down the trial rings interrupts system calls of the thread that made them.
pub fn probe() -> Report {
    std::thread::spawn(examine).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn examine() -> Report {
    let mut checks = vec![note("kernel", kernel_release())];
    match IoUring::new(8) {
        Ok(ring) => {
            checks.push(required("io_uring", Outcome::Ok("this process may use it".into())));
            checks.extend(ring_checks(&ring));
        }
        Err(error) => {
            let sysctl = read("/proc/sys/kernel/io_uring_disabled");
            let (what, remedy) = setup_refused(&error, sysctl.as_deref(), is_filtered());
            checks.push(required("io_uring", Outcome::Missing { what, remedy }));
        }
    }
    checks.extend(limit_checks());
    Report { checks }
}

fn note(name: &'static str, text: String) -> Check {
    Check { name, outcome: Outcome::Note(text), required: false }
}

fn required(name: &'static str, outcome: Outcome) -> Check {
    Check { name, outcome, required: true }
}

fn newer_kernel() -> String {
    format!("run {KERNEL_MIN} or newer")
}

/// Why io_uring_setup(2) failed, and the remedy.
fn setup_refused(error: &io::Error, sysctl: Option<&str>, is_filtered: bool) -> (String, String) {
    let (what, remedy) = match (error.raw_os_error(), sysctl) {
        (Some(libc::ENOSYS), _) if is_filtered => (
            "a seccomp filter hides io_uring from this process",
            "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile \
             (docker run --security-opt seccomp=PROFILE.json)",
        ),
        (Some(libc::ENOSYS), _) => (
            "the kernel was built without io_uring",
            "run a kernel with CONFIG_IO_URING=y, Linux 6.1 or newer",
        ),
        (Some(libc::EPERM | libc::EACCES), Some("2")) => (
            "io_uring is switched off on this system (kernel.io_uring_disabled = 2)",
            "sysctl -w kernel.io_uring_disabled=0",
        ),
        (Some(libc::EPERM | libc::EACCES), Some("1")) => (
            "io_uring is for privileged processes only (kernel.io_uring_disabled = 1)",
            "sysctl -w kernel.io_uring_disabled=0, or run as a member of the group in kernel.io_uring_group",
        ),
        (Some(libc::EPERM | libc::EACCES), _) => (
            "a security policy forbids io_uring to this process, as the default seccomp profiles of Docker and \
             containerd do",
            "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile \
             (docker run --security-opt seccomp=PROFILE.json), or in the SELinux or AppArmor policy",
        ),
        (Some(libc::ENOMEM), _) => (
            "the ring's memory exceeds RLIMIT_MEMLOCK",
            "raise the limit: ulimit -l, or LimitMEMLOCK= in systemd",
        ),
        (Some(libc::EMFILE | libc::ENFILE), _) => (
            "no file descriptor is left for a ring",
            "raise the limit: ulimit -n, or LimitNOFILE= in systemd",
        ),
        _ => return (format!("io_uring_setup failed: {error}"), newer_kernel()),
    };
    (what.into(), remedy.into())
}

fn ring_checks(ring: &IoUring) -> Vec<Check> {
    let params = ring.params();
    let features = [
        ("waiting with a timeout (EXT_ARG)", params.is_feature_ext_arg()),
        ("completions kept on overflow (NODROP)", params.is_feature_nodrop()),
        ("arguments free after submission (SUBMIT_STABLE)", params.is_feature_submit_stable()),
        ("silent success (CQE_SKIP)", params.is_feature_skip_cqe_on_success()),
        ("polling without threads (FAST_POLL)", params.is_feature_fast_poll()),
    ];
    let lacks: Vec<_> = features.iter().filter(|(_, is_there)| !is_there).map(|(name, _)| *name).collect();
    let features = if lacks.is_empty() {
        Outcome::Ok("all that are needed".into())
    } else {
        Outcome::Missing { what: lacks.join(", "), remedy: newer_kernel() }
    };
    let mut checks = vec![required("ring features", features)];
    checks.extend(opcode_checks(ring));
    checks.push(required("setup flags", setup_flags()));
    if checks.iter().all(|check| !matches!(check.outcome, Outcome::Missing { .. }) || !check.required) {
        checks.push(required("trial connection", trial()));
    }
    checks
}

fn opcode_checks(ring: &IoUring) -> [Check; 2] {
    let served = [
        ("POLL_ADD", opcode::PollAdd::CODE),
        ("ACCEPT", opcode::Accept::CODE),
        ("RECV", opcode::Recv::CODE),
        ("SEND", opcode::Send::CODE),
        ("SENDMSG", opcode::SendMsg::CODE),
        ("ASYNC_CANCEL", opcode::AsyncCancel::CODE),
        ("SHUTDOWN", opcode::Shutdown::CODE),
        ("CLOSE", opcode::Close::CODE),
    ];
    let connecting = [
        ("SOCKET", opcode::Socket::CODE),
        ("URING_CMD", opcode::SetSockOpt::CODE),
        ("BIND", opcode::Bind::CODE),
        ("CONNECT", opcode::Connect::CODE),
    ];
    let mut probe = Probe::new();
    let known = ring.submitter().register_probe(&mut probe);
    let outcome = |wanted: &[(&str, u8)], remedy: String| {
        let lacks: Vec<_> =
            wanted.iter().filter(|(_, code)| !probe.is_supported(*code)).map(|(name, _)| *name).collect();
        match &known {
            Err(error) => Outcome::Missing {
                what: format!("the kernel does not tell: {error}"),
                remedy: newer_kernel(),
            },
            Ok(()) if lacks.is_empty() => Outcome::Ok("all that are needed".into()),
            Ok(()) => Outcome::Missing { what: lacks.join(", "), remedy },
        }
    };
    [
        required("operations", outcome(&served, newer_kernel())),
        Check {
            name: "operations to connect",
            outcome: outcome(&connecting, "run Linux 6.11 or newer, if this is to generate load".into()),
            required: false,
        },
    ]
}

fn setup_flags() -> Outcome {
    let built = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_cqsize(32)
        .setup_clamp()
        .build(8);
    match built.map(|ring: IoUring| drop(ring)) {
        Ok(()) => Outcome::Ok("SINGLE_ISSUER, DEFER_TASKRUN, SUBMIT_ALL".into()),
        Err(error) => Outcome::Missing {
            what: format!("SINGLE_ISSUER, DEFER_TASKRUN or SUBMIT_ALL ({error})"),
            remedy: newer_kernel(),
        },
    }
}

/// Runs one connection through a real driver: direct descriptors, provided buffers, accept and multishot receive.
fn trial() -> Outcome {
    match try_trial() {
        Ok(()) => {
            Outcome::Ok("accepted and received from (direct descriptors, multishot, provided buffers)".into())
        }
        Err(error) => {
            let remedy = match error.raw_os_error() {
                Some(libc::EINVAL) => newer_kernel(),
                _ => "allow this process to connect to 127.0.0.1, and see the limits below".into(),
            };
            Outcome::Missing { what: error.to_string(), remedy }
        }
    }
}

fn try_trial() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let options = Options {
        sq_entries: 8,
        cq_entries: 32,
        connections_max: 8,
        buffer_count: 2,
        buffer_bytes: 64,
        listener: Some(listener),
        ..Options::default()
    };
    let mut driver = UringDriver::new(options, &Waker::new()?)?;
    let peer = TcpStream::connect(address)?;
    driver.accept();
    let deadline = driver.now() + TRIAL_NS;
    loop {
        driver.submit(&NoSends, Wait::Until(deadline))?;
        while let Some(event) = driver.next_event() {
            match event {
                Event::Accepted { conn, .. } => {
                    driver.receive(conn);
                    io::Write::write_all(&mut &peer, b"trial")?;
                }
                Event::Received { bytes, .. } if *bytes == *b"trial" => return Ok(()),
                Event::AcceptStopped(error) => return Err(error),
                Event::ReceiveEnded { cause: crate::ReceiveEnd::Error(error), .. } => return Err(error),
                _ => {}
            }
        }
        if driver.now() >= deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "nothing arrived within two seconds"));
        }
    }
}

fn limit_checks() -> Vec<Check> {
    let mut checks = Vec::new();
    match limits::open_files() {
        Ok(limits::OpenFiles { soft, hard }) => checks.push(note(
            "open files",
            format!("{soft}, may be raised to {hard}; bounds the connections of each shard (ulimit -n)"),
        )),
        Err(error) => checks.push(note("open files", error.to_string())),
    }
    if let Ok(limit) = limits::get(libc::RLIMIT_MEMLOCK) {
        let text = match limit.rlim_cur {
            libc::RLIM_INFINITY => "unlimited".into(),
            bytes => format!("{} KiB (ulimit -l)", bytes / 1024),
        };
        checks.push(note("locked memory", text));
    }
    let files = [
        ("backlog", "/proc/sys/net/core/somaxconn", "peers may wait to be accepted (net.core.somaxconn)"),
        ("receive buffers", "/proc/sys/net/ipv4/tcp_rmem", "bytes: least, first, most (net.ipv4.tcp_rmem)"),
        ("send buffers", "/proc/sys/net/ipv4/tcp_wmem", "bytes: least, first, most (net.ipv4.tcp_wmem)"),
        (
            "local ports",
            "/proc/sys/net/ipv4/ip_local_port_range",
            "to connect from (net.ipv4.ip_local_port_range)",
        ),
    ];
    for (name, path, meaning) in files {
        if let Some(value) = read(path) {
            checks.push(note(name, format!("{} {meaning}", value.replace('\t', " "))));
        }
    }
    if let Ok(cores) = affinity::cores() {
        checks.push(note("cores", format!("{} for this process", cores.len())));
    }
    checks.push(Check { name: "kernel TLS", outcome: kernel_tls(), required: false });
    checks
}

/// Whether TLS records can be made by the kernel.
fn kernel_tls() -> Outcome {
    let outcome = || -> io::Result<()> {
        // A socket takes the protocol only once it is connected.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let stream = TcpStream::connect(listener.local_addr()?)?;
        let name = b"tls";
        let (level, option) = (libc::IPPROTO_TCP, libc::TCP_ULP);
        let len = name.len() as libc::socklen_t;
        // SAFETY: the kernel reads the three bytes of the name before this returns.
        let set = unsafe { libc::setsockopt(stream.as_raw_fd(), level, option, name.as_ptr().cast(), len) };
        if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    match outcome() {
        Ok(()) => Outcome::Ok("available".into()),
        Err(error) => Outcome::Note(format!("not available ({error})")),
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn kernel_release() -> String {
    read("/proc/sys/kernel/osrelease").map_or_else(|| "unknown".into(), |release| format!("Linux {release}"))
}

/// Whether a seccomp filter is on this process.
fn is_filtered() -> bool {
    let status = read("/proc/self/status").unwrap_or_default();
    status.lines().filter_map(|line| line.strip_prefix("Seccomp:")).any(|mode| mode.trim() == "2")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "a system call that Miri does not know")]
    fn this_kernel_has_all_that_is_required() {
        let report = probe();
        assert_eq!(report.missing(), Vec::<&Check>::new(), "{report}");
        assert_eq!(report.refusal(), None);
        assert!(report.checks.iter().any(|check| check.name == "trial connection"), "{report}");
        eprintln!("{report}");
    }

    #[test]
    fn every_refusal_has_its_own_remedy() {
        let table = [
            (libc::ENOSYS, None, false, "built without", "CONFIG_IO_URING"),
            (libc::ENOSYS, None, true, "seccomp", "seccomp profile"),
            (libc::EPERM, Some("2"), false, "io_uring_disabled = 2", "io_uring_disabled=0"),
            (libc::EPERM, Some("1"), false, "io_uring_disabled = 1", "io_uring_group"),
            (libc::EPERM, Some("0"), true, "Docker", "--security-opt"),
            (libc::EPERM, None, true, "Docker", "--security-opt"),
            (libc::ENOMEM, Some("0"), false, "MEMLOCK", "ulimit -l"),
            (libc::EMFILE, Some("0"), false, "descriptor", "ulimit -n"),
            (libc::EINVAL, Some("0"), false, "Invalid argument", "6.1"),
        ];
        for (errno, sysctl, filtered, in_what, in_remedy) in table {
            let (what, remedy) = setup_refused(&io::Error::from_raw_os_error(errno), sysctl, filtered);
            assert!(what.contains(in_what), "{errno} {sysctl:?}: {what}");
            assert!(remedy.contains(in_remedy), "{errno} {sysctl:?}: {remedy}");
        }
    }

    #[test]
    fn a_refusal_names_only_what_is_required() {
        let missing = |name, required| Check {
            name,
            required,
            outcome: Outcome::Missing { what: format!("no {name}"), remedy: format!("get {name}") },
        };
        let report = Report { checks: vec![missing("tea", false), missing("water", true)] };
        let refusal = report.refusal().expect("water is required");
        assert!(refusal.contains("water: no water\n    remedy: get water"), "{refusal}");
        assert!(!refusal.contains("tea"), "{refusal}");
        assert!(report.to_string().contains("MISSING  water"), "{report}");
        assert!(report.to_string().contains("without  tea"), "{report}");
    }
}
