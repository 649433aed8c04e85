//! Clients in other languages: their libraries, fetched once into the target folder, and their processes.
//!
//! A script is started with a scenario's name and the server's URL. It says on standard output where it stands, a line
//! at a time, and may wait for lines on standard input. It ends with status 0 if all went as it should.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::server::SOON;

/// Where the clients stand in the repository.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients");

/// A language whose clients can be started.
#[derive(Debug)]
pub struct Runtime {
    program: PathBuf,
    script: PathBuf,
}

/// Python with the packages of clients/python/requirements.txt, in a virtual environment below `target`, which is
/// `env!("CARGO_TARGET_TMPDIR")`. `None`: it cannot be had here, which is an error in CI.
pub fn python(target: &str) -> Option<Runtime> {
    let home = Path::new(target).join("clients/python");
    let sources = Path::new(SOURCES).join("python");
    let venv = home.join("venv");
    let program = venv.join("bin/python");
    let made = set_up(&home, &program, &[sources.join("requirements.txt")], |_| {
        if venv.exists() {
            fs::remove_dir_all(&venv).map_err(|error| error.to_string())?;
        }
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        run(Command::new(&program)
            .args(["-m", "pip", "install", "--disable-pip-version-check", "--requirement"])
            .arg(sources.join("requirements.txt")))
    });
    let remedy = "install python3 with the modules venv and pip (Debian: python3-venv), and let it reach the Python package index";
    found("Python clients", remedy, made)?;
    Some(Runtime { program, script: sources.join("client.py") })
}

/// Node with the packages of clients/node/package-lock.json, below `target`, which is `env!("CARGO_TARGET_TMPDIR")`.
/// `None`: it cannot be had here, which is an error in CI.
pub fn node(target: &str) -> Option<Runtime> {
    let home = Path::new(target).join("clients/node");
    let names = ["package.json", "package-lock.json", "client.mjs"];
    let sources = names.map(|name| Path::new(SOURCES).join("node").join(name));
    let made = set_up(&home, &home.join("node_modules/ws"), &sources, |home| {
        // A module looks for its packages in the folders above it, so it stands beside them.
        for (name, source) in names.iter().zip(&sources) {
            fs::copy(source, home.join(name)).map_err(|error| error.to_string())?;
        }
        run(Command::new("npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(home))
    });
    found("Node clients", "install Node 20 or later with npm, and let it reach the npm registry", made)?;
    Some(Runtime { program: "node".into(), script: home.join("client.mjs") })
}

/// Sets `home` up with `make`, which makes `result`, unless it was done before with the same `sources`. One process and
/// thread at a time.
fn set_up(
    home: &Path,
    result: &Path,
    sources: &[PathBuf],
    make: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    fs::create_dir_all(home).map_err(text)?;
    let lock = File::create(home.join("lock")).map_err(text)?;
    lock.lock().map_err(text)?;
    let mut wanted = Vec::new();
    for source in sources {
        wanted.extend(fs::read(source).map_err(|error| format!("{}: {error}", source.display()))?);
    }
    let stamp = home.join("made-from");
    if result.exists() && fs::read(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(());
    }
    // Whatever stands there now is not to be trusted if this fails half-way.
    _ = fs::remove_file(&stamp);
    make(home)?;
    fs::write(&stamp, wanted).map_err(text)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("{command:?}: {}\n{out}{err}", output.status))
}

/// What cannot be had is an error in CI, and skips the test elsewhere.
fn found(what: &str, remedy: &str, made: Result<(), String>) -> Option<()> {
    let Err(error) = made else { return Some(()) };
    let message = format!("{what} cannot be run here. To have them, {remedy}.\n{error}");
    assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{message}");
    eprintln!("skipped: {message}");
    None
}

impl Runtime {
    /// Starts a scenario.
    pub fn start(&self, scenario: &str, url: &str) -> Client {
        let mut child = Command::new(&self.program)
            .arg(&self.script)
            .args([scenario, url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program was there a moment ago");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut stderr = child.stderr.take().expect("it is piped");
        let (tell, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                _ = tell.send(line);
            }
        });
        let complaints = thread::spawn(move || {
            let mut bytes = Vec::new();
            _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Client { child, lines, complaints: Some(complaints), scenario: scenario.to_owned() }
    }
}

/// A scenario's process. Dropping it kills it.
#[derive(Debug)]
pub struct Client {
    child: Child,
    lines: Receiver<String>,
    complaints: Option<JoinHandle<String>>,
    scenario: String,
}

impl Client {
    /// The next line that it says.
    pub fn line(&mut self) -> String {
        match self.lines.recv_timeout(SOON) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => self.fail("it says nothing"),
            Err(RecvTimeoutError::Disconnected) => self.fail("it ended too early"),
        }
    }

    /// The next line that it says must be this one.
    pub fn expect(&mut self, line: &str) {
        let said = self.line();
        if said != line {
            self.fail(&format!("it said {said:?} and not {line:?}"));
        }
    }

    /// Says a line to it.
    pub fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        if let Err(error) = writeln!(stdin, "{line}") {
            self.fail(&format!("it does not listen: {error}"));
        }
    }

    /// Waits for its end, which must be a good one.
    pub fn finish(mut self) {
        let deadline = Instant::now() + SOON;
        let status = loop {
            match self.child.try_wait().expect("it is our child") {
                Some(status) => break status,
                None if Instant::now() > deadline => self.fail("it does not end"),
                None => thread::sleep(Duration::from_millis(2)),
            }
        };
        if !status.success() {
            self.fail(&status.to_string());
        }
    }

    fn fail(&mut self, why: &str) -> ! {
        _ = self.child.kill();
        let complaints = self.complaints.take().map(|thread| thread.join().unwrap_or_default());
        panic!("scenario {}: {why}\n{}", self.scenario, complaints.unwrap_or_default());
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
