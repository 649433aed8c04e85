//! The commands: options in, figures and an exit code out.
//!
//! - `run`: one run
//! - `search`: runs until a gate breaks
//! - `calibrate`: this program's own ceiling
//! - `agent`: a machine for others' runs
//! - `compare`: reports side by side
//! - `workloads`: the ready ones
//! - `echo`: a conformance client

pub(crate) mod agent;
pub(crate) mod calibrate;
pub(crate) mod compare;
pub(crate) mod echo;
pub(crate) mod run;
pub(crate) mod search;
pub(crate) mod workloads;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use fanfare_loadgen::Verdict;
use fanfare_loadgen::agents::{Agent, Secret};
use fanfare_loadgen::report::put;
use serde::Serialize;

/// Where JSON goes to standard output.
const STANDARD_OUTPUT: &str = "-";

/// How the program ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    Verdict(Verdict),
    Usage,
}

impl Exit {
    /// Done, with nothing to judge.
    pub(crate) const DONE: Self = Self::Verdict(Verdict::Pass);
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        const USAGE: u8 = 4;
        Self::from(match exit {
            Exit::Verdict(verdict) => verdict.exit_code(),
            Exit::Usage => USAGE,
        })
    }
}

/// Says what the user got wrong.
fn misused(sentence: &str) -> Exit {
    eprintln!("error: {sentence}");
    Exit::Usage
}

/// Says why there are no figures.
fn invalid(sentence: &str) -> Exit {
    eprintln!("INVALID: {sentence}");
    Exit::Verdict(Verdict::Invalid)
}

/// Writes to standard output. Nothing is left to tell whoever closed it.
fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Takes the agents that were named.
fn connect(addresses: &[String]) -> Result<Vec<Agent>, String> {
    if addresses.is_empty() {
        return Ok(Vec::new());
    }
    let secret = Secret::find(None)?;
    addresses.iter().map(|address| Agent::connect(address, secret.as_ref())).collect()
}

/// Writes figures as JSON, to standard output for `-`.
fn write_json(path: &Path, figures: &impl Serialize) -> Result<(), String> {
    let text = serde_json::to_string_pretty(figures).map_err(|error| error.to_string())? + "\n";
    if path == Path::new(STANDARD_OUTPUT) {
        say(&text);
        return Ok(());
    }
    put(path, |out| out.write_all(text.as_bytes())).map_err(|error| error.to_string())
}

fn is_standard_output(path: Option<&Path>) -> bool {
    path == Some(Path::new(STANDARD_OUTPUT))
}
