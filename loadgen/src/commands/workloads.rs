//! `workloads`: the ready ones.

use fanfare_loadgen::options::Workloads;
use fanfare_loadgen::workload::READY;

use super::{Exit, misused, say};

pub(crate) fn workloads(options: &Workloads) -> Exit {
    let Some(name) = &options.name else {
        let width = READY.iter().map(|ready| ready.name.len()).max().unwrap_or(0);
        READY.iter().for_each(|ready| say(&format!("{:width$}  {}\n", ready.name, ready.summary())));
        return Exit::DONE;
    };
    match READY.iter().find(|ready| ready.name == name) {
        Some(ready) => {
            say(ready.toml);
            Exit::DONE
        }
        None => {
            let names: Vec<&str> = READY.iter().map(|ready| ready.name).collect();
            misused(&format!("there is no workload {name}; there are {}", names.join(", ")))
        }
    }
}
