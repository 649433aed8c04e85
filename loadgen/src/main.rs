//! The `fanfare-loadgen` program.

#![forbid(unsafe_code)]

mod commands;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use fanfare_loadgen::options::{Cli, Command};

use commands::{Exit, agent, calibrate, compare, echo, run, search, workloads};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Nothing is left to tell whoever closed the output.
            let _ = error.print();
            return if asked_for { ExitCode::SUCCESS } else { Exit::Usage.into() };
        }
    };
    let exit = match cli.command {
        Command::Run(options) => run::run(&options),
        Command::Search(options) => search::search(&options),
        Command::Calibrate(options) => calibrate::calibrate(&options),
        Command::Agent(options) => agent::agent(&options),
        Command::Compare(options) => compare::compare(&options),
        Command::Workloads(options) => workloads::workloads(&options),
        Command::Echo(options) => echo::echo(&options),
    };
    exit.into()
}
