//! The `fanfare` program in a process of its own, as a supervisor sees it.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::raw::Raw;
use crate::server::{SHARDS, SOON, eventually};

/// A running `fanfare serve` at ports of the kernel's choice. Dropping it kills it.
#[derive(Debug)]
pub struct Program {
    process: Child,
    log: BufReader<ChildStderr>,
    pub addr: SocketAddr,
    pub control: SocketAddr,
}

/// What a supervisor sends, by its name for `kill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Int,
    Term,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Int => "INT",
            Self::Term => "TERM",
        })
    }
}

/// Where the program is. It is built once, in the profile of the test that asks.
fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let me = std::env::current_exe().expect("a path");
        // target/PROFILE/deps/TEST
        let folder = me.ancestors().nth(2).expect("a test stands in deps").to_owned();
        let profile = match folder.file_name().and_then(|name| name.to_str()).expect("a profile's folder") {
            "debug" => "dev",
            profile => profile,
        };
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.args(["build", "--quiet", "--package", "fanfare", "--bin", "fanfare", "--profile", profile]);
        let output = cargo.output().expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        folder.join("fanfare")
    })
}

impl Program {
    /// Starts it with these flags beside those for the addresses, and waits until it listens.
    pub fn start(flags: &[&str]) -> Self {
        let mut command = Command::new(path());
        command.args(["serve", "--listen=127.0.0.1:0", "--control=127.0.0.1:0", "--log-format=json"]);
        command.arg(format!("--shards={SHARDS}")).args(flags).stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = command.stderr(Stdio::piped()).spawn().expect("the program starts");
        let log = BufReader::new(process.stderr.take().expect("it is piped"));
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        // Killed from now on if it is not what it should be.
        let mut program = Self { process, log, addr: unknown, control: unknown };
        let listening = program.event("listening");
        let addr = |key: &str| listening[key].as_str().expect("an address").parse().expect("an address");
        (program.addr, program.control) = (addr("listen"), addr("control"));
        program
    }

    /// Reads its log up to an event with this message.
    fn event(&mut self, message: &str) -> Value {
        loop {
            let mut line = String::new();
            let len = self.log.read_line(&mut line).expect("the log is text");
            assert!(len > 0, "its log ended before {message:?}");
            let event: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if event["message"] == message {
                return event;
            }
        }
    }

    /// A client that is upgraded at `path`.
    pub fn connect(&self, path: &str) -> Raw {
        Raw::connect(self.addr, path)
    }

    /// What the control port answers to a request for `path`: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.control).expect("the control port listens");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("an answer");
        let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
        (head[9..12].parse().expect("a status"), body.to_owned())
    }

    /// A metric, summed over the shards.
    pub fn metric(&self, name: &str) -> u64 {
        let (_, metrics) = self.get("/metrics");
        let samples = metrics.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
        samples
            .filter(|(labels, _)| labels.is_empty() || labels.starts_with('{'))
            .map(|(_, value)| value.parse::<u64>().expect("a number"))
            .sum()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.process.id();
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{signal} {pid}")).status();
        assert!(sent.expect("a shell").success(), "the process is there to get it");
    }

    /// Waits for its end. Returns its status and the rest of its log.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let mut status = None;
        eventually("the process ends", || {
            status = self.process.try_wait().expect("a child");
            status.is_some()
        });
        let mut log = String::new();
        self.log.read_to_string(&mut log).expect("the log is text");
        (status.expect("it ended"), log)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}
