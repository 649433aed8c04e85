//! The walls that Cargo cannot enforce, and the habits that reviews forget. docs/ARCHITECTURE.md names them.

use std::fs;
use std::path::{Path, PathBuf};

/// The longest that a file may be, without its tests.
const LINES_MAX: usize = 600;

/// The only files that may hold `unsafe`: the ring, what the kernel reads and writes, and the shared log's memory.
const MAY_BE_UNSAFE: [&str; 7] = [
    "engine/core/src/log/segment.rs",
    "engine/io/src/affinity.rs",
    "engine/io/src/limits.rs",
    "engine/io/src/memory.rs",
    "engine/io/src/probe.rs",
    "engine/io/src/uring/",
    "engine/io/src/wake.rs",
];

/// How much the seeds of one fuzz target may be: they are in every checkout, and every run begins with all of them.
const SEEDS_MAX: usize = 99;
const SEEDS_BYTES_MAX: u64 = 200_000;

/// What a crate's sources must not mention, tests included, and what the crate is free of by that.
const ABSENT: [(&str, &[&str]); 3] = [
    (
        "engine/wire/src",
        &[
            "TcpStream",
            "UdpSocket",
            "UnixStream",
            "std::thread",
            "std::time",
            "std::fs",
            "std::sync::atomic",
            "unsafe {",
        ],
    ),
    (
        "engine/core/src",
        &[
            "TcpStream",
            "TcpListener",
            "std::time",
            "std::fs",
            "Instant",
            "SystemTime",
            "libc",
            "Mutex",
            "RwLock",
        ],
    ),
    ("loadgen/src", &["fanfare_core", "fanfare::"]),
];

/// What a crate may depend on inside the workspace.
const MAY_DEPEND: [(&str, &[&str]); 4] = [
    ("engine/wire", &[]),
    ("engine/io", &[]),
    ("engine/core", &["fanfare-io", "fanfare-wire"]),
    ("loadgen", &["fanfare-io", "fanfare-wire"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the workspace").to_owned()
}

/// All Rust sources of the workspace, with their paths from its root.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["engine", "loadgen", "bench", "tests"].iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name =
                    path.strip_prefix(root()).expect("below the root").to_str().expect("UTF-8").to_owned();
                found.push((name, fs::read_to_string(&path).expect("UTF-8")));
            }
        }
    }
    assert!(found.len() > 50, "the sources are found");
    found
}

/// The code of a file: without comments and without the text of its tests module.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let before_tests = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
    before_tests.filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn unsafe_stands_only_where_it_may() {
    for (name, text) in sources() {
        let may = MAY_BE_UNSAFE.iter().any(|allowed| name.starts_with(allowed));
        let has = code(&text).any(|line| line.split([' ', '(']).any(|word| word == "unsafe"));
        assert!(
            may || !has,
            "{name} holds code that the compiler cannot check: move it behind a safe type of engine/io or the log's segment"
        );
    }
}

#[test]
fn files_hold_one_noun() {
    for (name, text) in sources() {
        let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
        assert!(lines <= LINES_MAX, "{name} has {lines} lines before its tests; more than one noun inside?");
    }
}

#[test]
fn what_a_crate_never_does_is_absent_from_it() {
    let sources = sources();
    for (folder, words) in ABSENT {
        for (name, text) in sources.iter().filter(|(name, _)| name.starts_with(folder)) {
            for word in words {
                let line = code(text).find(|line| line.contains(word));
                assert!(line.is_none(), "{name} mentions {word}: {}", line.unwrap_or_default());
            }
        }
    }
}

#[test]
fn crates_depend_only_downwards() {
    for (folder, allowed) in MAY_DEPEND {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("a manifest");
        let dependencies = manifest.split("[dev-dependencies]").next().expect("the part before");
        for line in dependencies.lines().skip_while(|line| *line != "[dependencies]") {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            let inside = name.starts_with("fanfare");
            assert!(!inside || allowed.contains(&name), "{folder} must not depend on {name}");
            let runtime = ["tokio", "tokio-uring", "axum"].contains(&name);
            assert!(!runtime, "{folder} is free of async runtimes, so it must not depend on {name}");
        }
    }
}

#[test]
fn seeds_are_few_and_small() {
    let targets = fs::read_dir(root().join("tests/fuzz/corpus")).expect("the seeds of the fuzz targets");
    for target in targets.map(|target| target.expect("an entry").path()) {
        let seeds = fs::read_dir(&target).expect("a target's seeds");
        let sizes: Vec<u64> =
            seeds.map(|seed| seed.and_then(|seed| seed.metadata()).expect("a seed").len()).collect();
        let (count, bytes) = (sizes.len(), sizes.iter().sum::<u64>());
        assert!(
            (1..=SEEDS_MAX).contains(&count) && bytes <= SEEDS_BYTES_MAX,
            "{}: {count} seeds of {bytes} bytes; docs/HARDENING.md says how to choose among them",
            target.display()
        );
    }
}
