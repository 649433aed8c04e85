//! The program `fanfare serve` in a process of its own, as an operator runs it, looked at from outside only.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fanfare_io::limits;
use serde_json::Value;

use crate::raw::Raw;
use crate::server::SOON;

/// How long to leave a server alone between two questions.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// The server. Dropping it kills it; [`Program::stop`] ends it as an operator does.
#[derive(Debug)]
pub struct Program {
    child: Child,
    addr: SocketAddr,
    control: SocketAddr,
    /// What it has said on standard error.
    log: Arc<Mutex<Vec<String>>>,
    log_reader: Option<JoinHandle<()>>,
}

/// What a server holds for its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holdings {
    pub connections: u64,
    pub subscriptions: u64,
    /// Entries of `/proc/PID/fd`. Connections are not among them: their descriptors are the ring's.
    pub descriptors: usize,
}

/// The program, built as the tests are. `HOSTILE_FANFARE` names another one.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os("HOSTILE_FANFARE").map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["build", "--quiet", "--package", "fanfare", "--bin", "fanfare"]);
    cargo.args(["--message-format", "json"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.output().expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let executable = lines.filter_map(|line| line["executable"].as_str().map(PathBuf::from)).next_back();
    executable.expect("cargo says where the program is")
}

impl Program {
    /// Starts it at ports of the kernel's choice, with these flags of `fanfare serve` in one line.
    pub fn start(flags: &str) -> Self {
        Self::spawn(&mut Command::new(binary()), flags)
    }

    /// Starts it with a bound on its memory (RLIMIT_DATA): an allocation beyond it fails, and would end it.
    pub fn start_in_memory(data_bytes_max: u64, flags: &str) -> Self {
        let mut shell = Command::new("sh");
        let script = format!("ulimit -d {} && exec \"$0\" \"$@\"", data_bytes_max / 1024);
        shell.args(["-c", &script]).arg(binary());
        Self::spawn(&mut shell, flags)
    }

    fn spawn(command: &mut Command, flags: &str) -> Self {
        // The clients of a test are in its own process.
        limits::raise_open_files().expect("the hard limit of open files is ours");
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"FANFARE_") {
                command.env_remove(name);
            }
        }
        command.args("serve --listen 127.0.0.1:0 --control 127.0.0.1:0 --log-format json".split(' '));
        command.args(flags.split_whitespace());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let log = Arc::default();
        let (listening, log_reader) = read_log(&mut child, &log);
        let Ok([addr, control]) = listening.recv_timeout(SOON) else {
            _ = child.kill();
            panic!("{command:?} does not listen: {:?}", lock(&log));
        };
        Self { child, addr, control, log, log_reader: Some(log_reader) }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A client that is upgraded at `path`.
    pub fn connect(&self, path: &str) -> Raw {
        Raw::connect(self.addr, path)
    }

    /// What the control port answers to a request for `path`: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.control).expect("the control port is there");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        (head[9..12].parse().expect("a status"), body.to_owned())
    }

    /// What `GET /metrics` says: each number summed over the shards, under its name without `fanfare_` and `_total`.
    pub fn metrics(&self) -> BTreeMap<String, u64> {
        let (status, body) = self.get("/metrics");
        assert_eq!(status, 200, "{body}");
        let mut numbers = BTreeMap::new();
        for line in body.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            let name = name.split('{').next().expect("a split has a first part");
            let name = name.trim_start_matches("fanfare_").trim_end_matches("_total");
            let value: f64 = value.parse().expect("a number");
            *numbers.entry(name.to_owned()).or_default() += value as u64;
        }
        numbers
    }

    /// One of these numbers.
    pub fn count(&self, name: &str) -> u64 {
        *self.metrics().get(name).unwrap_or_else(|| panic!("there is no metric {name}"))
    }

    /// Waits until one of these numbers is as it should be. Returns it.
    pub fn wait_for(&self, name: &str, is_right: impl Fn(u64) -> bool) -> u64 {
        let deadline = Instant::now() + SOON;
        loop {
            let count = self.count(name);
            if is_right(count) {
                return count;
            }
            assert!(Instant::now() < deadline, "not in time: {name} is {count}");
            thread::sleep(ASK_AGAIN);
        }
    }

    pub fn holdings(&self) -> Holdings {
        let metrics = self.metrics();
        Holdings {
            connections: metrics["connections"],
            subscriptions: metrics["subscriptions"],
            descriptors: fs::read_dir(self.proc("fd")).expect("the process lives").count(),
        }
    }

    /// Waits until the server holds no more than it did before.
    pub fn wait_for_holdings(&self, before: &Holdings) {
        let deadline = Instant::now() + SOON;
        loop {
            let now = self.holdings();
            // The control port's own connections come and go.
            let back = Holdings { descriptors: now.descriptors.max(before.descriptors), ..now };
            if back == *before {
                return;
            }
            assert!(Instant::now() < deadline, "something is left: {now:?}, before {before:?}");
            thread::sleep(ASK_AGAIN);
        }
    }

    /// Resident memory.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(self.proc("status")).expect("the process lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("proc_pid_status(5)");
        let kilobytes = line.trim().strip_suffix(" kB").expect("a number of kB");
        kilobytes.trim().parse::<u64>().expect("a number") * 1024
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(file)
    }

    /// Sends a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        let kill = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(kill.is_ok_and(|status| status.success()), "kill -s {name}");
    }

    /// Ends it as an operator does. It must have lived until now, and end well.
    pub fn stop(self) {
        self.signal("TERM");
        let (status, log) = self.ended();
        assert!(status.success(), "{status}: {log}");
    }

    /// Waits for its end. Returns its status and its log.
    pub fn ended(mut self) -> (ExitStatus, String) {
        let status = self.wait();
        let log = self.log_reader.take().expect("it is joined once");
        log.join().expect("no panic");
        (status, lock(&self.log).join("\n"))
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not end");
            thread::sleep(ASK_AGAIN);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail if it has ended.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Reads what it says to its end. Sends the addresses of its WebSocket and control ports when it has them.
fn read_log(child: &mut Child, log: &Arc<Mutex<Vec<String>>>) -> (Receiver<[SocketAddr; 2]>, JoinHandle<()>) {
    let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let (tell, listening) = mpsc::channel();
    let log = Arc::clone(log);
    let reader = thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            let said: Value = serde_json::from_str(&line).unwrap_or_default();
            lock(&log).push(line);
            if said["message"] == "listening" {
                let addr = |key: &str| said[key].as_str().and_then(|addr| addr.parse().ok());
                let addrs = ["listen", "control"].map(|key| addr(key).expect("an address"));
                // Nobody waits any more if it took too long.
                _ = tell.send(addrs);
            }
        }
    });
    (listening, reader)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
