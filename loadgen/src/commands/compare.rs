//! `compare`: reports side by side.

use std::collections::HashSet;

use fanfare_loadgen::Report;
use fanfare_loadgen::options::Compare;
use fanfare_loadgen::report::compare::{Comparison, read};
use fanfare_loadgen::report::{html, put};

use super::{Exit, invalid, misused, say};

pub(crate) fn compare(options: &Compare) -> Exit {
    let mut runs: Vec<(String, Report)> = Vec::new();
    for path in &options.files {
        match read(path) {
            Ok(report) => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                runs.push((stem.into_owned(), report));
            }
            Err(sentence) => return misused(&sentence),
        }
    }
    // Titles say more than file names, where each is another.
    let titles: HashSet<&str> = runs.iter().map(|(_, report)| &*report.title).collect();
    if titles.len() == runs.len() {
        runs = runs.into_iter().map(|(_, report)| (report.title.clone(), report)).collect();
    }
    let comparison = Comparison::new(runs);
    say(&comparison.to_string());
    let page = options
        .html
        .as_deref()
        .map(|path| put(path, |out| out.write_all(html::comparison(&comparison).as_bytes())));
    match page {
        Some(Err(error)) => invalid(&error.to_string()),
        _ => Exit::DONE,
    }
}
