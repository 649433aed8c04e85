//! `search`: one run after the other, until a gate breaks.

use std::time::SystemTime;

use fanfare_loadgen::interrupt::Interrupt;
use fanfare_loadgen::options::{Raise, Search};
use fanfare_loadgen::progress::Silent;
use fanfare_loadgen::report::Environment;
use fanfare_loadgen::run::{RunError, Setting, run};
use fanfare_loadgen::search::{self, Range, Subject, Table};
use fanfare_loadgen::{Report, Verdict};

use super::{Exit, connect, invalid, is_standard_output, misused, say, write_json};

pub(crate) fn search(options: &Search) -> Exit {
    if let Err(sentence) = options.check() {
        return misused(&sentence);
    }
    let interrupt = match Interrupt::catch() {
        Ok(interrupt) => interrupt,
        Err(error) => return invalid(&format!("signals cannot be caught: {error}")),
    };
    let mut agents = match connect(options.run.agents()) {
        Ok(agents) => agents,
        Err(sentence) => return invalid(&sentence),
    };
    let range = Range {
        subject: match options.raise {
            Raise::Rate => Subject::MessagesPerSecond,
            Raise::Subscribers => Subject::Subscribers,
        },
        from: options.from,
        to: options.to,
        factor: options.step_factor,
        precision: options.precision,
    };
    let mut watcher = Silent(interrupt.clone());
    let measure = |value: f64| {
        let plan = options.plan_at(value).map_err(RunError::Setup)?;
        let environment = Environment::observe(SystemTime::now(), std::env::args());
        let setting = Setting { agents: &mut agents, watcher: &mut watcher, environment, keeps_log: false };
        let seen = run(&plan, setting)?;
        if interrupt.is_asked() {
            return Err(RunError::CalledOff);
        }
        Ok(Report::new(&plan, &seen))
    };
    let knee = match search::search(&range, measure, |step| eprintln!("{}", step.line())) {
        Ok(knee) => knee,
        Err(sentence) => return invalid(&sentence),
    };
    let json = options.run.output().json.as_deref();
    let table = format!("\n{}", Table(&knee));
    if is_standard_output(json) {
        eprint!("{table}");
    } else {
        say(&table);
    }
    if let Some(path) = json
        && let Err(sentence) = write_json(path, &knee)
    {
        return invalid(&sentence);
    }
    Exit::Verdict(match knee.passes {
        _ if knee.is_called_off => Verdict::Invalid,
        Some(_) => Verdict::Pass,
        None => Verdict::Gate,
    })
}
