//! `calibrate`: this program's own ceiling on this machine.

use std::time::SystemTime;

use fanfare_loadgen::Report;
use fanfare_loadgen::calibrate::{self, Settings, Table};
use fanfare_loadgen::interrupt::Interrupt;
use fanfare_loadgen::options::Calibrate;
use fanfare_loadgen::progress::Silent;
use fanfare_loadgen::report::Environment;
use fanfare_loadgen::run::{RunError, Setting, run};

use super::{Exit, invalid, is_standard_output, misused, say, write_json};

pub(crate) fn calibrate(options: &Calibrate) -> Exit {
    let base = match options.plan() {
        Ok(base) => base,
        Err(sentence) => return misused(&sentence),
    };
    let interrupt = match Interrupt::catch() {
        Ok(interrupt) => interrupt,
        Err(error) => return invalid(&format!("signals cannot be caught: {error}")),
    };
    let settings = Settings {
        subscribers: options.subscribers,
        connections: options.connections,
        measured: options.duration,
    };
    let measure = |plan: &_| {
        let environment = Environment::observe(SystemTime::now(), std::env::args());
        let mut watcher = Silent(interrupt.clone());
        let setting = Setting { agents: &mut [], watcher: &mut watcher, environment, keeps_log: false };
        let seen = run(plan, setting)?;
        if interrupt.is_asked() {
            return Err(RunError::CalledOff);
        }
        Ok(Report::new(plan, &seen))
    };
    let calibration = match calibrate::calibrate(&base, &settings, measure, |line| eprintln!("{line}")) {
        Ok(calibration) => calibration,
        Err(sentence) => return invalid(&sentence),
    };
    let table = format!("\n{}", Table(&calibration));
    let json = options.json.as_deref();
    if is_standard_output(json) {
        eprint!("{table}");
    } else {
        say(&table);
    }
    match json.map(|path| write_json(path, &calibration)) {
        Some(Err(sentence)) => invalid(&sentence),
        _ => Exit::DONE,
    }
}
