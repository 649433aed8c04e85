//! The settings file.
//!
//! An input is the file. Whatever stands in it, it is read or refused in one sentence; what the file's text is to blame
//! for is said with the line. What is accepted fits together.

#![no_main]

#[allow(dead_code, reason = "the program needs all of it")]
#[path = "../../../engine/server/src/settings/mod.rs"]
mod settings;

/// What the settings need of the program beside themselves.
mod commands {
    pub(crate) const URL_VARIABLE: &str = "FANFARE_URL";
}

use std::cell::LazyCell;
use std::path::PathBuf;

use clap::{ArgMatches, Command};
use libfuzzer_sys::fuzz_target;
use settings::SettingsError;

thread_local! {
    /// The one flag: where the file is. A process has a file of its own.
    static FLAGS: LazyCell<(PathBuf, ArgMatches)> = LazyCell::new(|| {
        let path = std::env::temp_dir().join(format!("fanfare-fuzz-{}.toml", std::process::id()));
        let command = settings::add_flags(Command::new("fanfare").no_binary_name(true));
        let flags = command.get_matches_from([format!("--config={}", path.display())]);
        (path, flags)
    });
}

fuzz_target!(|input: &[u8]| FLAGS.with(|flags| check(input, &flags.0, &flags.1)));

fn check(input: &[u8], path: &PathBuf, flags: &ArgMatches) {
    std::fs::write(path, input).expect("the temporary directory takes a file");
    let outcome = settings::resolve(flags, []);
    std::fs::remove_file(path).expect("the file is still there");
    let error = match outcome {
        Ok(resolved) => return assert_eq!(resolved.config.check(), Ok(())),
        Err(error) => error,
    };
    let sentence = error.to_string();
    assert!(!sentence.is_empty() && !sentence.contains('\n'), "{sentence:?}");
    match error {
        SettingsError::UnknownKey { place, .. } | SettingsError::Value { place, .. } => {
            check_place(&place, input)
        }
        SettingsError::File { .. } => assert!(std::str::from_utf8(input).is_err(), "{sentence}"),
        SettingsError::Config(_) | SettingsError::Unworkable(_) | SettingsError::Exposed { .. } => {}
        SettingsError::Flags(_) | SettingsError::UnknownVariable { .. } => {
            panic!("nobody said that: {sentence}")
        }
    }
}

/// A place names a line that there is.
fn check_place(place: &str, input: &[u8]) {
    let line = place.split(", line ").nth(1).and_then(|rest| rest.split(',').next());
    let line: usize =
        line.and_then(|line| line.parse().ok()).unwrap_or_else(|| panic!("no line in {place:?}"));
    let lines = 1 + input.iter().filter(|byte| **byte == b'\n').count();
    assert!((1..=lines).contains(&line), "{place:?} of {lines} lines");
}
