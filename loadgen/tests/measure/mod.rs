//! Runs as the program makes them, in this process.

#![allow(dead_code, reason = "not every test file needs all of it")]

use clap::Parser;
use fanfare_loadgen::agents::Agent;
use fanfare_loadgen::interrupt::Interrupt;
use fanfare_loadgen::options::{Cli, Command};
use fanfare_loadgen::progress::Silent;
use fanfare_loadgen::report::Environment;
use fanfare_loadgen::run::{RunError, Setting, run};
use fanfare_loadgen::{Plan, Report};

/// Bounds that no busy machine passes, for tests that look at deliveries.
pub(crate) const LENIENT: &str = "--send-lag-max 1h --own-cpu-max 1000";

pub(crate) fn plan(arguments: &str) -> Plan {
    let words = ["fanfare-loadgen", "run"].into_iter().chain(arguments.split_whitespace());
    match Cli::try_parse_from(words).expect("options").command {
        Command::Run(options) => options.plan().expect("a plan"),
        other => panic!("{other:?}"),
    }
}

/// What `fanfare-loadgen run` does with these arguments, on these machines or on this one.
pub(crate) fn measure_on(agents: &mut [Agent], arguments: &str) -> Result<Report, RunError> {
    measure_plan(agents, &plan(&format!("{LENIENT} {arguments}")))
}

pub(crate) fn measure_plan(agents: &mut [Agent], plan: &Plan) -> Result<Report, RunError> {
    let mut watcher = Silent(Interrupt::default());
    let setting =
        Setting { agents, watcher: &mut watcher, environment: Environment::default(), keeps_log: false };
    run(plan, setting).map(|seen| Report::new(plan, &seen))
}

pub(crate) fn measure(arguments: &str) -> Result<Report, RunError> {
    measure_on(&mut [], arguments)
}
