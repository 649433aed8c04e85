//! The `fanfare-loadgen` program.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use fanfare_loadgen::options::{Cli, Command, Run};
use fanfare_loadgen::table::Table;
use fanfare_loadgen::{Report, Verdict, run};

const EXIT_USAGE: u8 = 4;

/// Where `--json -` writes.
const STANDARD_OUTPUT: &str = "-";

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Nothing is left to tell whoever closed the output.
            let _ = error.print();
            return if asked_for { ExitCode::SUCCESS } else { ExitCode::from(EXIT_USAGE) };
        }
    };
    let Command::Run(options) = cli.command;
    ExitCode::from(measure(&options))
}

fn measure(options: &Run) -> u8 {
    let plan = match options.plan() {
        Ok(plan) => plan,
        Err(sentence) => {
            eprintln!("error: {sentence}");
            return EXIT_USAGE;
        }
    };
    let report = match run(&plan, |line| eprintln!("{line}")) {
        Ok(observed) => Report::new(&plan, &observed),
        Err(error) => {
            eprintln!("INVALID: {error}");
            return Verdict::Invalid.exit_code();
        }
    };
    if let Err(error) = print(&report, options.json()) {
        eprintln!("error: the report could not be written: {error}");
        return Verdict::Invalid.exit_code();
    }
    report.verdict.exit_code()
}

/// Writes the table, and the JSON if it is wanted. When the JSON takes standard output, the table goes to standard error.
fn print(report: &Report, json: Option<&Path>) -> io::Result<()> {
    let table = Table(report);
    let Some(path) = json else { return write!(io::stdout(), "\n{table}") };
    let text = serde_json::to_string_pretty(report)? + "\n";
    if path == Path::new(STANDARD_OUTPUT) {
        write!(io::stderr(), "\n{table}")?;
        io::stdout().write_all(text.as_bytes())
    } else {
        write!(io::stdout(), "\n{table}")?;
        std::fs::write(path, text)
    }
}
