//! `run`: one run, its summary and its files.

use std::io;
use std::time::SystemTime;

use fanfare_loadgen::options::{Output, Run};
use fanfare_loadgen::report::{Environment, Files, Style, Table};
use fanfare_loadgen::run::{Setting, run as carry_out};
use fanfare_loadgen::{Report, interrupt::Interrupt, live};

use super::{Exit, connect, invalid, misused, say};

pub(crate) fn run(options: &Run) -> Exit {
    let started = SystemTime::now();
    let plan = match options.plan() {
        Ok(plan) => plan,
        Err(sentence) => return misused(&sentence),
    };
    let interrupt = match Interrupt::catch() {
        Ok(interrupt) => interrupt,
        Err(error) => return invalid(&format!("signals cannot be caught: {error}")),
    };
    let mut agents = match connect(options.agents()) {
        Ok(agents) => agents,
        Err(sentence) => return invalid(&sentence),
    };
    let output = options.output();
    let files = files(output);
    let mut watcher = live::watcher(!output.live, interrupt);
    let setting = Setting {
        agents: &mut agents,
        watcher: &mut *watcher,
        environment: Environment::observe(started, std::env::args()),
        keeps_log: files.need_log(),
    };
    let seen = carry_out(&plan, setting);
    // The terminal is itself again before anything is printed.
    drop(watcher);
    let seen = match seen {
        Ok(seen) => seen,
        Err(error) => return invalid(&error.to_string()),
    };
    let report = Report::new(&plan, &seen);
    if files.take_standard_output() {
        eprint!("\n{}", Table::new(&report, Style::of(&io::stderr())));
    } else {
        say(&format!("\n{}", Table::new(&report, Style::of(&io::stdout()))));
    }
    if let Err(errors) = files.write(&report, seen.gathered.log().unwrap_or_default()) {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        return invalid(&errors.join("; "));
    }
    Exit::Verdict(report.verdict)
}

fn files(output: &Output) -> Files {
    Files {
        json: output.json.clone(),
        csv: output.csv.clone(),
        hgrm: output.hgrm.clone(),
        hlog: output.hlog.clone(),
        html: output.html.clone(),
    }
}
