//! docs/HARDENING.md, held against the tests: every one that its table of attacks names exists.

use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// Whether a test such as `peers::name` or `hostile::heads::name` exists.
fn exists(test: &str) -> bool {
    let Some((file, name)) = test.rsplit_once("::") else { return false };
    let path = folder().join(file.replace("::", "/")).with_extension("rs");
    let text = fs::read_to_string(path).unwrap_or_default();
    // Other attributes may stand between.
    let blocks = text.split("#[test]\n").skip(1);
    blocks
        .filter_map(|block| block.lines().find(|line| !line.starts_with("#[")))
        .any(|line| line == format!("fn {name}() {{"))
}

#[test]
fn every_attack_has_its_tests() {
    let page = fs::read_to_string(folder().join("../../docs/HARDENING.md")).expect("the page");
    let section = page.split("\n## ").find(|section| section.starts_with("Hostile peers\n"));
    let rows = section.expect("the section").lines().filter(|line| line.starts_with("| ")).skip(1);
    let mut attacks = 0;
    for row in rows {
        let tests = row.split('|').nth(4).unwrap_or_else(|| panic!("four cells: {row}"));
        let mut names = tests.split('`').filter(|part| part.contains("::")).peekable();
        assert!(names.peek().is_some(), "no test: {row}");
        for name in names {
            assert!(exists(name), "there is no test {name}");
        }
        attacks += 1;
    }
    assert!(attacks > 20, "the table was not understood");
}
