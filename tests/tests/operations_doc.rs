//! docs/OPERATIONS.md, held against the program: every setting with its real default, every metric with its kind.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use fanfare::control::{Control, ControlConfig};
use fanfare::{Config, Engine};

/// The rows of all tables under the headings `from` up to the heading `to`: the first cell, and the others.
fn rows(from: &str, to: &str) -> BTreeMap<String, Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/OPERATIONS.md");
    let page = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let part = page.lines().skip_while(|line| *line != from).take_while(|line| *line != to);
    let mut rows = BTreeMap::new();
    for line in part {
        let cells: Vec<_> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
        // What stands in code is a name; heads and rulers do not.
        let [_, first, others @ .., _] = &cells[..] else { continue };
        let Some(name) = first.strip_prefix('`').and_then(|name| name.strip_suffix('`')) else { continue };
        assert!(rows.insert(name.to_owned(), others.to_vec()).is_none(), "{name} stands there twice");
    }
    rows
}

/// What `fanfare serve --help` says: each key with its default, if it has one.
fn settings() -> BTreeMap<String, Option<String>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["run", "--quiet", "--package", "fanfare", "--"]);
    let output = cargo.args(["serve", "--help"]).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let help = String::from_utf8(output.stdout).expect("the help is text");
    // The help is wrapped to a terminal's width, so that a default can stretch over two lines.
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let variables = words.split("env: FANFARE_").skip(1);
    let ends = words.match_indices("env: FANFARE_").map(|(at, _)| &words[..at]);
    let setting = |(after, before): (&str, &str)| {
        let variable = after.split(']').next().expect("a split has a first part");
        let opened = before.rsplit('[').next().expect("a split has a first part");
        let default = opened.strip_prefix("default: ").and_then(|text| text.strip_suffix(", "));
        (variable.to_lowercase(), default.map(str::to_owned))
    };
    variables.zip(ends).map(setting).collect()
}

#[test]
fn every_setting_is_described_with_its_real_default() {
    let described = rows("## Settings", "## Listeners");
    let settings = settings();
    assert!(settings.len() > 20, "the help was not understood: {settings:?}");
    for (key, default) in &settings {
        let row = described.get(key).unwrap_or_else(|| panic!("{key} is not described"));
        let default = default.as_deref().unwrap_or("none");
        assert_eq!(row[0].trim_matches('`'), default, "the default of {key}");
        assert!(row[1].len() > 10, "{key} has no meaning");
    }
    for key in described.keys() {
        assert!(settings.contains_key(key), "{key} is described and is no setting");
    }
}

#[test]
fn every_limit_of_the_library_is_described() {
    let described = rows("## Settings", "## Listeners");
    let fields = format!("{:#?}", Config::default());
    let fields = fields.lines().filter_map(|line| line.trim().split_once(": ").map(|(name, _)| name));
    // Rules have a section of their own.
    for field in fields.filter(|field| *field != "rules") {
        assert!(described.contains_key(field), "{field} is not described");
    }
}

/// The names that the control port exports, with their kinds.
fn metrics() -> BTreeMap<String, String> {
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config { connections_max: 16, ..Config::default() };
    let builder = Engine::builder().listen(any_port).shards(1).pin(false).receive_buffers(16, 4096);
    let engine = builder.config(config).start().expect("the engine starts");
    let control = ControlConfig { listen: any_port, body_bytes_max: 4096, ..ControlConfig::default() };
    let control = Control::start(&engine, control).expect("the control port starts");
    let mut stream = TcpStream::connect(control.addr()).expect("it listens");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("a reply");
    let types = reply.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    // OpenMetrics gives samples of these kinds a suffix; the page has the names that queries use.
    let suffix = |kind: &str| match kind {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    };
    types.map(|(name, kind)| (format!("{name}{}", suffix(kind)), kind.to_owned())).collect()
}

#[test]
fn every_metric_is_described_with_its_kind() {
    let described = rows("## Metrics", "## Health");
    let metrics = metrics();
    assert!(metrics.len() > 20, "the metrics were not understood: {metrics:?}");
    for (name, kind) in &metrics {
        let row = described.get(name).unwrap_or_else(|| panic!("{name} is not described"));
        assert_eq!(&row[0], kind, "the kind of {name}");
        assert!(!row[1].is_empty(), "{name} has no meaning");
    }
    for name in described.keys() {
        assert!(metrics.contains_key(name), "{name} is described and is no metric");
    }
}
