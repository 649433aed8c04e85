//! docs/LOADGEN.md and docs/MEASURING.md name every flag, dialect, metric and ready workload that there is.

use clap::CommandFactory;
use fanfare_loadgen::dialect::DESCRIPTIONS;
use fanfare_loadgen::gate::Gate;
use fanfare_loadgen::options::Cli;
use fanfare_loadgen::workload::READY;

fn documents() -> String {
    ["LOADGEN.md", "MEASURING.md"]
        .map(|name| {
            let path = format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"));
            std::fs::read_to_string(&path).expect(&path)
        })
        .concat()
}

/// Whether a word stands there, and not only as the beginning of a longer one.
fn names(text: &str, word: &str) -> bool {
    let goes_on = |rest: &str| {
        rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '-' || next == '_')
    };
    text.match_indices(word).any(|(at, _)| !goes_on(&text[at + word.len()..]))
}

#[test]
fn every_flag_is_described() {
    let text = documents();
    for command in Cli::command().get_subcommands() {
        for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
            let flag = format!("--{flag}");
            assert!(names(&text, &flag), "{} {flag}", command.get_name());
        }
        assert!(names(&text, command.get_name()), "{}", command.get_name());
    }
}

#[test]
fn every_dialect_with_its_settings_and_every_ready_workload_is_described() {
    let text = documents();
    for description in DESCRIPTIONS {
        assert!(text.contains(&format!("`{}`", description.name)), "{}", description.name);
        for (setting, _) in description.settings {
            assert!(text.contains(&format!("`{setting}`")), "{} {setting}", description.name);
        }
    }
    READY.iter().for_each(|ready| assert!(text.contains(&format!("`{}`", ready.name)), "{}", ready.name));
}

#[test]
fn every_metric_is_described() {
    let text = documents();
    // The refusal lists what there is.
    let refusal = "nonsense<1".parse::<Gate>().expect_err("no such metric");
    let (_, list) = refusal.split_once("There are ").expect("a list");
    let words = list.split([' ', ',']).filter(|word| !["", "each", "also", "behind", "and"].contains(word));
    let mut count = 0;
    for word in words {
        assert!(text.contains(&format!("`{word}`")), "{word} in {refusal}");
        count += 1;
    }
    assert!(count > 30, "{refusal}");
}
