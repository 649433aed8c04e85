//! `fanfare doctor`: what this kernel and these limits allow, with the remedy for each lack.

use std::env;

use clap::ArgMatches;
use fanfare_core::REFUSED_AT_ONCE_MAX;
use fanfare_io::{affinity, limits, probe};

use super::Failure;
use crate::settings;

pub(crate) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    let settings = settings::resolve(flags, env::vars_os()).map_err(Failure::usage)?;
    let report = probe::probe();
    print!("{report}");
    let shards = settings.shards.unwrap_or_else(|| affinity::cores().map_or(1, |cores| cores.len()));
    println!("\n{}", connections(shards, settings.config.connections_max, limits::open_files().ok()));
    match report.refusal() {
        None => {
            println!("Fanfare can run here.");
            Ok(())
        }
        Some(refusal) => {
            println!("{refusal}");
            Err(Failure::Reported)
        }
    }
}

/// How many connections these limits and settings allow, and what to raise for more.
fn connections(shards: usize, connections_max: usize, files: Option<limits::OpenFiles>) -> String {
    // The engine raises the soft limit itself, and keeps places for those that it only answers.
    let allowed = files.map_or(u64::MAX, |files| files.hard.max(files.soft));
    let allowed = allowed.saturating_sub(REFUSED_AT_ONCE_MAX as u64);
    let each = allowed.min(connections_max as u64);
    let total = each.saturating_mul(shards as u64);
    let text = format!("Connections possible: {total} ({shards} shards with {each} each)");
    if each < connections_max as u64 {
        format!(
            "{text}.\nconnections_max asks for {connections_max} a shard: raise the hard limit of open files (ulimit -Hn, or LimitNOFILE= in systemd)."
        )
    } else {
        format!("{text}; connections_max sets this bound.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_bound_counts_and_is_named() {
        let files = |soft, hard| Some(limits::OpenFiles { soft, hard });
        for (connections_max, files, words) in [
            (1000, files(1024, 4096), ["2000 (2 shards with 1000 each)", "connections_max sets"]),
            (65_536, files(1024, 4096), ["8064 (2 shards with 4032 each)", "LimitNOFILE"]),
            (65_536, None, ["131072", "connections_max sets"]),
        ] {
            let text = connections(2, connections_max, files);
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
        }
    }
}
