//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use fanfare_wire::url::WsUrl;

use crate::agents::LISTEN_DEFAULT;
use crate::payload::{Content, Sizes};
use crate::plan::{Place, Plan, Server};
use crate::workload::{Flags, Workload, at_least_one, long_enough};

const EXIT_CODES: &str = "\
Exit codes:
  0  every message reached every subscriber once, in order and intact, and all gates hold
  1  a gate does not hold
  2  delivery is broken: messages are missing, duplicate, reordered, corrupt or in the wrong room
  3  the run is invalid: connections are missing, or this program could not keep up
  4  usage: the command line or the workload makes no sense";

const OUTPUT: &str = "Output";
const SEARCH: &str = "Search";
const MACHINE: &str = "This machine";

/// Measures a WebSocket broadcast server: open loop, every delivery checked and timed
#[derive(Parser, Debug)]
#[command(name = "fanfare-loadgen", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Connects subscribers, publishes on a schedule, and reports what arrived and when
    #[command(after_help = EXIT_CODES)]
    Run(Box<Run>),
    /// Raises the rate or the subscribers until a gate breaks, and reports the last step that held
    ///
    /// Each step is a run of its own. It begins at --from and goes on by --step-factor up to --to. From the first step that
    /// breaks a gate, loses messages or is invalid, also when it is repeated, it goes back by halves until --precision is reached.
    #[command(after_help = EXIT_CODES)]
    Search(Box<Search>),
    /// Measures this program's own ceiling on this machine, against a server inside it that does next to nothing
    #[command(after_help = EXIT_CODES)]
    Calibrate(Calibrate),
    /// Waits for a coordinator (`run --agents`) and makes its share of the load on this machine
    ///
    /// Whoever may use it can make this machine connect anywhere. So on other addresses than loopback it needs a secret, which
    /// the coordinator must have too; what they say to each other is not encrypted.
    Agent(Agent),
    /// Puts the reports of several runs side by side
    Compare(Compare),
    /// Lists the ready workloads, or prints one of them, to run it or to begin a new one with
    Workloads(Workloads),
    /// Answers every message with itself, for suites that test clients: a conformance client, which measures nothing
    ///
    /// It runs all cases of Autobahn's fuzzing server, with the connection code that runs use. The judgement is the server's.
    Echo(Echo),
}

/// One run. The load is in the workload and the flags, the rest is about how it is run and where its figures go.
#[derive(Args, Debug)]
pub struct Run {
    /// A TOML file with the same settings as the flags below (with _ for -), or the name of a ready workload. Flags win
    #[arg(long, value_name = "FILE|NAME")]
    workload: Option<String>,
    #[command(flatten)]
    flags: Flags,
    /// The server's process on this machine, to report its processor time and memory
    #[arg(long, value_name = "PID", help_heading = MACHINE)]
    server_pid: Option<u32>,
    /// Count the system calls of the --server-pid too. While they are counted, each takes some 0.1 us longer
    #[arg(long, requires = "server_pid", help_heading = MACHINE)]
    server_syscalls: bool,
    /// Let these agents make the load together instead of this machine
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', value_parser = host_and_port, help_heading = MACHINE)]
    agents: Vec<String>,
    #[command(flatten)]
    output: Output,
}

/// Where figures go besides the summary.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = OUTPUT)]
pub struct Output {
    /// Show the run in the terminal while it goes on
    #[arg(long)]
    pub live: bool,
    /// Write all figures as JSON to a file, or to standard output with -
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the time line as CSV
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Write the percentiles of the response time as HdrHistogram's .hgrm
    #[arg(long, value_name = "FILE")]
    pub hgrm: Option<PathBuf>,
    /// Write the histograms of all intervals as HdrHistogram's .hlog
    #[arg(long, value_name = "FILE")]
    pub hlog: Option<PathBuf>,
    /// Write a page with charts, all in one file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

impl Run {
    /// The load: defaults, workload and flags put together.
    ///
    /// # Errors
    /// What is unknown, unreadable or no value, in a sentence.
    pub fn workload(&self) -> Result<Workload, String> {
        Workload::layered(self.workload.as_deref(), &self.flags)
    }

    /// The plan that was asked for.
    ///
    /// # Errors
    /// What cannot work, in a sentence.
    pub fn plan(&self) -> Result<Plan, String> {
        self.plan_of(&self.workload()?)
    }

    fn plan_of(&self, workload: &Workload) -> Result<Plan, String> {
        let mut plan = workload.plan()?;
        plan.server = Server { pid: self.server_pid, syscalls: self.server_syscalls };
        Ok(plan)
    }

    /// Machines that make the load, as `HOST:PORT`; this one if there are none.
    pub fn agents(&self) -> &[String] {
        &self.agents
    }

    pub fn output(&self) -> &Output {
        &self.output
    }
}

/// What a search raises.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Raise {
    /// Messages a second.
    Rate,
    Subscribers,
}

/// One run after the other, each with more to do.
#[derive(Args, Debug)]
pub struct Search {
    /// What is raised from step to step
    #[arg(long, value_name = "WHAT", help_heading = SEARCH)]
    pub raise: Raise,
    /// Where the search begins
    #[arg(long, value_name = "N", help_heading = SEARCH)]
    pub from: f64,
    /// Where it ends if no gate breaks before
    #[arg(long, value_name = "N", help_heading = SEARCH)]
    pub to: f64,
    /// How many times as much each step is
    #[arg(long, value_name = "F", default_value_t = 1.5, help_heading = SEARCH)]
    pub step_factor: f64,
    /// How close to each other the last value that holds and the first that does not shall be, as a share
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, help_heading = SEARCH)]
    pub precision: f64,
    #[command(flatten)]
    pub run: Run,
}

impl Search {
    /// Whether a search can be made of this.
    ///
    /// # Errors
    /// What cannot work, in a sentence.
    pub fn check(&self) -> Result<(), String> {
        if self.plan_at(self.from)?.gates.is_empty() {
            return Err(
                "a search needs to know what must hold; say it with --require, such as 'p99<5ms'".to_owned()
            );
        }
        let Output { live, csv, hgrm, hlog, html, .. } = self.run.output();
        let is_for_one_run = *live || [csv, hgrm, hlog, html].iter().any(|file| file.is_some());
        let rules = [
            (!is_for_one_run, "a search has many runs: of the output flags it takes --json only"),
            (self.from >= 1.0 && self.from <= self.to, "--from must be at least 1, and at most --to"),
            ((1.01..=100.0).contains(&self.step_factor), "--step-factor must be from 1.01 to 100"),
            (self.precision > 0.0 && self.precision < 1.0, "--precision must be between 0 and 1"),
        ];
        if let Some((_, sentence)) = rules.into_iter().find(|&(holds, _)| !holds) {
            return Err(sentence.to_owned());
        }
        self.plan_at(self.to).map(drop)
    }

    /// The plan of one step.
    ///
    /// # Errors
    /// What cannot work, in a sentence.
    pub fn plan_at(&self, value: f64) -> Result<Plan, String> {
        let workload = self.run.workload()?;
        match self.raise {
            Raise::Rate if (0.0..=crate::schedule::RATE_MAX).contains(&value) => {
                self.run.plan_of(&workload.with_rate(value))
            }
            Raise::Subscribers if value >= 1.0 && value <= f64::from(u32::MAX) => {
                self.run.plan_of(&workload.with_subscribers(value as usize))
            }
            Raise::Rate | Raise::Subscribers => {
                Err(format!("{value} is no number that --raise could go to; look at --from and --to"))
            }
        }
    }
}

/// How this program's ceiling is measured.
#[derive(Args, Clone, Debug)]
pub struct Calibrate {
    /// The processor cores to run on, such as 1,2 [default: where the kernel puts it]
    #[arg(long, alias = "core", value_name = "N,...", value_delimiter = ',')]
    pub cores: Vec<usize>,
    /// How many subscribers there are
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100, value_parser = at_least_one)]
    pub subscribers: usize,
    /// The payload's size, as in `run`
    #[arg(long, short, value_name = "SIZE", default_value = "64")]
    pub size: Sizes,
    /// How many connections are made to measure that
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = at_least_one)]
    pub connections: usize,
    /// How long each of the runs measures
    #[arg(long, short, value_name = "TIME", default_value = "3s", value_parser = long_enough)]
    pub duration: Duration,
    /// Write all figures as JSON to a file, or to standard output with -
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub json: Option<PathBuf>,
}

impl Calibrate {
    /// The plan that the runs are made of.
    ///
    /// # Errors
    /// What cannot work, in a sentence.
    pub fn plan(&self) -> Result<Plan, String> {
        // The sink has an address of its own; this one is never connected to.
        let mut plan = Workload::to("ws://127.0.0.1:9/ws/calibrate").plan()?;
        plan.content = Content::filler(self.size.clone(), 1.0);
        plan.place.cores.clone_from(&self.cores);
        Ok(plan)
    }
}

/// A machine that makes a share of the load.
#[derive(Args, Clone, Debug)]
pub struct Agent {
    /// Where to wait for the coordinator
    #[arg(long, value_name = "ADDR", default_value = LISTEN_DEFAULT)]
    pub listen: String,
    /// A file with the secret that the coordinator must have too [default: the variable FANFARE_LOADGEN_SECRET]
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// The processor cores to run on, such as 1,2 [default: where the kernel puts it]
    #[arg(long, alias = "core", value_name = "N,...", value_delimiter = ',')]
    cores: Vec<usize>,
    /// Threads with connections; 0 for one on each core, and more where the limit of open files asks for it
    #[arg(long, value_name = "N", default_value_t = 0)]
    workers: usize,
    /// Local addresses to connect from, in turn [default: the kernel's choice, or as many loopback addresses as it takes]
    #[arg(long, value_name = "IP,...", value_delimiter = ',')]
    sources: Vec<IpAddr>,
}

impl Agent {
    /// Where this machine runs its share, whatever the coordinator's plan says of its own machine.
    pub fn place(&self) -> Place {
        Place { workers: self.workers, cores: self.cores.clone(), sources: self.sources.clone() }
    }
}

/// Reports to compare.
#[derive(Args, Clone, Debug)]
pub struct Compare {
    /// Reports that `run --json` wrote; the first one is what the others are compared with
    #[arg(value_name = "FILE", num_args = 2.., required = true)]
    pub files: Vec<PathBuf>,
    /// Write a page with charts, all in one file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// The ready workloads.
#[derive(Args, Clone, Debug)]
pub struct Workloads {
    /// The one to print
    pub name: Option<String>,
}

/// A conformance client.
#[derive(Args, Clone, Debug)]
pub struct Echo {
    /// Where the fuzzing server is, such as ws://127.0.0.1:9001
    #[arg(long, value_name = "URL")]
    pub url: String,
    /// What its reports call this client
    #[arg(long, value_name = "NAME", default_value = "fanfare-loadgen")]
    pub agent: String,
    /// Give a case up when the server says nothing for so long
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = long_enough)]
    pub silence_max: Duration,
}

impl Echo {
    /// Whether the URL can be one.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub fn check(&self) -> Result<(), String> {
        let url = WsUrl::parse(&self.url).map_err(|error| format!("{}: {error}", self.url))?;
        if url.target.contains('?') {
            return Err(format!("{}: the cases' own queries come behind this URL, so it has none", self.url));
        }
        Ok(())
    }
}

fn host_and_port(text: &str) -> Result<String, String> {
    let port =
        text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse().ok());
    match port {
        Some(1..=u16::MAX) => Ok(text.to_owned()),
        _ => Err("an agent is written HOST:PORT".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use std::collections::BTreeSet;

    use crate::gate::Gate;
    use crate::plan::{Leaving, Target};
    use crate::workload::{DEFAULTS, READY, keys};

    const URL: &str = "ws://127.0.0.1:9000/ws/{room}";

    fn command(words: &[&str]) -> Result<Command, String> {
        let words = ["fanfare-loadgen"].iter().chain(words);
        Cli::try_parse_from(words).map(|cli| cli.command).map_err(|error| error.to_string())
    }

    fn run(arguments: &str) -> Result<Run, String> {
        let words: Vec<&str> = ["run"].into_iter().chain(arguments.split_whitespace()).collect();
        match command(&words)? {
            Command::Run(run) => Ok(*run),
            other => panic!("{other:?}"),
        }
    }

    fn plan(arguments: &str) -> Result<Plan, String> {
        run(arguments)?.plan()
    }

    /// A file that is gone when the test is.
    struct File(PathBuf);

    impl File {
        fn new(name: &str, text: &[u8]) -> Self {
            let name = format!("fanfare-loadgen-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::write(&path, text).expect("a file in the temporary directory");
            Self(path)
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            // A file that cannot be removed does no harm there.
            let _ = std::fs::remove_file(&self.0);
        }
    }

    /// What a plan has at a place of its JSON, or nothing.
    fn at(plan: &Plan, pointer: &str) -> String {
        let json = serde_json::to_value(plan).expect("a plan as JSON");
        json.pointer(pointer).map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_simple_case_is_simple() {
        let plan = plan("ws://127.0.0.1:9000/ws/demo --subscribers 1000 --rate 1000").expect("a plan");
        assert_eq!(plan.target.subscribe, "ws://127.0.0.1:9000/ws/demo");
        assert_eq!(plan.target.publish, "ws://127.0.0.1:9000/pub/demo");
        assert_eq!(plan.title, plan.target.subscribe);
        assert_eq!((plan.rooms.count, plan.rooms.subscribers, plan.rooms.publishers), (1, 1000, 1));
        assert_eq!((plan.schedule.warmup(), plan.schedule.measured()), (1_000, 10_000));
        assert_eq!(
            (plan.schedule.words(), plan.content.words()),
            ("constant 1000/s".into(), "64 bytes".into())
        );
        assert_eq!((plan.interval, plan.bounds.unready_percent), (Duration::from_nanos(183_333_333), 0.0));
    }

    /// For each setting: TOML, the same as flags, what it needs besides as TOML, and where it is in the plan.
    const SETTINGS: [(&str, &str, &str, &str, &str); 42] = [
        (
            "publish_url = 'http://h/{room}'",
            "--publish-url http://h/{room}",
            "",
            "/target/publish",
            "\"http://h/{room}\"",
        ),
        ("topic = 'a.{room}'", "--topic a.{room}", "", "/target/topic", "\"a.{room}\""),
        ("rooms = 5", "--rooms 5", "", "/rooms/count", "5"),
        ("subscribers = 7", "-n 7", "", "/rooms/subscribers", "7"),
        ("publishers = 3", "-p 3", "", "/rooms/publishers", "3"),
        ("rate = 2.5", "-r 2.5", "", "/schedule/per_second", "2.5"),
        (
            "schedule = 'bursts:9'",
            "--schedule bursts:9",
            "",
            "/schedule/shape",
            "{\"bursts\":{\"messages\":9}}",
        ),
        (
            "schedule = 'ramp:9'",
            "--schedule ramp:9",
            "",
            "/schedule/shape",
            "{\"ramp\":{\"to_per_second\":9.0}}",
        ),
        ("duration = '20s'", "-d 20s", "", "/schedule/measured/span_ns", "20000000000"),
        ("warmup = '2500ms'", "--warmup 2500ms", "", "/schedule/warmup/span_ns", "2500000000"),
        ("drain = '3s'", "--drain 3s", "", "/drain/secs", "3"),
        ("size = 100", "-s 100", "", "/content/filler/sizes/fixed", "100"),
        ("size = '1KiB..2KiB'", "--size 1KiB..2KiB", "", "/content/filler/sizes/uniform", "[1024,2048]"),
        ("compressible = 0.5", "--compressible 50%", "", "/content/filler/compressible", "0.5"),
        ("text = true", "--text", "", "/text", "true"),
        ("stalled = '5%'", "--stalled 5%", "", "/readers/stalled", "5"),
        ("slow = 4", "--slow 4", "", "/readers/slow", "4"),
        ("slow_rate = '2KiB'", "--slow-rate 2KiB", "", "/readers/slow_bytes_per_second", "2048"),
        ("pausing = 6", "--pausing 6", "", "/readers/pausing", "6"),
        ("pause_at = '1s'", "--pause-at 1s", "", "/readers/pause_at/secs", "1"),
        ("pause_for = '3s'", "--pause-for 3s", "", "/readers/pause_for/secs", "3"),
        ("churn = 8", "--churn 8", "", "/readers/leaving", "{\"per_second\":8.0}"),
        ("returning = 30", "--returning 30", "churn = 1", "/readers/returning", "30"),
        ("storm = '50%'", "--storm 50%", "", "/readers/returning", "50"),
        ("storm_at = '7s'", "--storm-at 7s", "storm = 1", "/readers/leaving/at/secs", "7"),
        ("recover = true", "--recover", "storm = 1", "/readers/recovers", "true"),
        ("deflate = true", "--deflate", "", "/deflate", "true"),
        (
            "subscribe = '{\"policy\":\"skip\"}'",
            "--subscribe {\"policy\":\"skip\"}",
            "dialect = 'stream'\ntopic = 't'",
            "/dialect/subscribe",
            "{\"policy\":\"skip\"}",
        ),
        ("connect_rate = 500", "--connect-rate 500", "", "/pace/per_second", "500.0"),
        ("connects_in_flight = 9", "--connects-in-flight 9", "", "/pace/in_flight_max", "9"),
        ("connect_timeout = '4s'", "--connect-timeout 4s", "", "/pace/timeout/secs", "4"),
        ("cores = [1, 3]", "--cores 1,3", "", "/place/cores", "[1,3]"),
        ("cores = 2", "--core 2", "", "/place/cores", "[2]"),
        ("workers = 6", "--workers 6", "", "/place/workers", "6"),
        (
            "sources = ['127.0.0.2', '::1']",
            "--sources 127.0.0.2,::1",
            "",
            "/place/sources",
            "[\"127.0.0.2\",\"::1\"]",
        ),
        ("require = ['missing==0', 'p99<5ms']", "--require missing==0 --require p99<5ms", "", "/gates/1", ""),
        ("send_lag_max = '2s'", "--send-lag-max 2s", "", "/bounds/send_lag/secs", "2"),
        ("own_cpu_max = 50", "--own-cpu-max 50", "", "/bounds/own_cpu_percent", "50.0"),
        ("unready_max = 1.5", "--unready-max 1.5", "", "/bounds/unready_percent", "1.5"),
        ("interval = '2s'", "--interval 2s", "", "/interval/secs", "2"),
        ("dialect = 'raw'", "--dialect raw", "", "/dialect", "{\"name\":\"raw\"}"),
        ("url = 'ws://h/x'", "ws://h/x", "", "/target/subscribe", "\"ws://h/x\""),
    ];

    #[test]
    fn every_setting_reaches_the_plan_from_the_file_and_from_the_flags() {
        for (toml, flags, also, pointer, expected) in SETTINGS {
            // Gates look as their own file decides.
            let expected = if pointer.starts_with("/gates") {
                serde_json::to_string(&Gate::parse("p99<5ms").expect("a gate")).expect("a gate as JSON")
            } else {
                expected.to_owned()
            };
            let url = if toml.starts_with("url") { String::new() } else { format!("url = '{URL}'\n") };
            let file = |text: String| {
                let place = if text.contains(toml) { "with.toml" } else { "without.toml" };
                let file = File::new(place, text.as_bytes());
                let name = file.0.display().to_string();
                (file, name)
            };
            let (_file, name) = file(format!("{url}{also}\n{toml}"));
            let said = plan(&format!("--workload {name}")).expect(toml);
            assert_eq!(at(&said, pointer), expected, "{toml}");
            let (_beside, without) = file(format!("{url}{also}"));
            let said = plan(&format!("--workload {without} {flags}")).expect(flags);
            assert_eq!(at(&said, pointer), expected, "{flags}");
            // A flag wins, even if it says what the file is an exception from.
            let key = toml.split(' ').next().expect("a key");
            let default = DEFAULTS.iter().find(|(known, _)| *known == key && key != "dialect");
            if let Some((key, default)) = default {
                let flag = format!("--{}={default}", key.replace('_', "-"));
                let unsaid = at(&plan(&format!("--workload {without}")).expect(toml), pointer);
                let overridden = at(&plan(&format!("--workload {name} {flag}")).expect(&flag), pointer);
                assert_eq!((overridden == unsaid, unsaid == expected), (true, false), "{flag} over {toml}");
            }
        }
    }

    #[test]
    fn no_setting_is_left_out_above() {
        let tested = SETTINGS.iter().map(|row| row.0.split(' ').next().expect("a key").to_owned());
        // These have tests of their own below.
        let tested: BTreeSet<String> = tested.chain(["set".to_owned(), "records".to_owned()]).collect();
        assert_eq!(tested, keys().into_iter().collect());
    }

    #[test]
    fn records_are_found_beside_the_workload_that_names_them() {
        let records = File::new("records.ndjson", b"{\"a\":1}\n{\"b\":22}\n");
        let path = records.0.display().to_string();
        let stem = records.0.file_name().expect("a name").to_string_lossy();
        let workload =
            File::new("with-records.toml", format!("url = '{URL}'\nrecords = '{stem}'\n").as_bytes());
        for arguments in [format!("{URL} --records {path}"), format!("--workload {}", workload.0.display())] {
            let plan = plan(&arguments).expect(&arguments);
            assert_eq!(plan.content.words(), "2 records, 39 to 40 bytes with the header");
        }
        let binary = File::new("binary", b"\xff\xfe\n");
        let arguments = format!("{URL} --records {}", binary.0.display());
        plan(&arguments).expect("binary messages may be anything");
        let error = plan(&format!("{arguments} --text")).expect_err("no text");
        assert!(error.contains("--text needs payloads that are valid UTF-8"), "{error}");
    }

    #[test]
    fn parameters_reach_the_dialect_from_the_file_and_from_the_flags() {
        let table = File::new("table.toml", format!("url = '{URL}'\nset.nonsense = 'x'\n").as_bytes());
        let list = File::new("list.toml", format!("url = '{URL}'\nset = ['nonsense=x']\n").as_bytes());
        for arguments in [
            format!("{URL} --set nonsense=x"),
            format!("--workload {}", table.0.display()),
            format!("--workload {}", list.0.display()),
        ] {
            let error = plan(&arguments).expect_err("raw has no such parameter");
            assert!(error.starts_with("--dialect: ") && error.contains("nonsense"), "{error}");
        }
    }

    #[test]
    fn what_raw_subscribers_ask_for_stays_in_their_url() {
        let plan = plan("ws://h/ws/{room}?policy=skip --rooms 2 --storm 1 --recover").expect("a plan");
        assert_eq!(Target::in_room(&plan.target.subscribe, 1), "ws://h/ws/1?policy=skip");
        assert_eq!(plan.target.publish, "ws://h/pub/{room}?policy=skip");
    }

    #[test]
    fn reports_are_called_after_the_workload() {
        let file = File::new("title.toml", format!("url = '{URL}'").as_bytes());
        let stem = file.0.file_stem().expect("a stem").to_string_lossy().into_owned();
        assert_eq!(plan(&format!("--workload {}", file.0.display())).expect("a plan").title, stem);
        assert_eq!(plan("--workload chat-rooms").expect("a plan").title, "chat-rooms");
        assert_eq!(plan(URL).expect("a plan").title, URL);
    }

    #[test]
    fn what_follows_from_other_values() {
        let plan = plan(&format!("{URL} -n 90 --rooms 30 -d 40s --storm 10% --pausing 2 --server-pid 77"))
            .expect("a plan");
        assert_eq!(plan.rooms.publishers, 30);
        assert_eq!(plan.target.publish, "ws://127.0.0.1:9000/pub/{room}");
        assert_eq!((plan.readers.pause_at.as_secs(), plan.readers.pause_for.as_secs()), (10, 10));
        assert!(matches!(plan.readers.leaving, Leaving::At(at) if at.as_secs() == 10));
        assert_eq!((plan.readers.returning, plan.server.pid), (9, Some(77)));
        let idle = self::plan(&format!("{URL} --rate 0")).expect("idle connections");
        assert_eq!((idle.schedule.total(), idle.readers.returning), (0, 0));
        assert!(matches!(idle.readers.leaving, Leaving::Never));
    }

    #[test]
    fn what_cannot_work_is_said_in_a_sentence() {
        let url = "ws://127.0.0.1/ws/x";
        for (arguments, part) in [
            ("".to_owned(), "where subscribers connect is missing"),
            ("wss://127.0.0.1/x".to_owned(), "ws:// only"),
            ("http://127.0.0.1/x".to_owned(), "begins with ws://"),
            ("ws://127.0.0.1/{rooms}x#".to_owned(), "no fragment"),
            (
                format!("{url} --publish-url wss://127.0.0.1/x"),
                "--publish-url: wss://127.0.0.1/x: this version",
            ),
            (
                format!("{url} --publish-url https://127.0.0.1/x"),
                "--publish-url: https://127.0.0.1/x: a WebSocket URL",
            ),
            (format!("{url} --publish-url http://:80/x"), "--publish-url: ws://:80/x: the URL names no host"),
            (format!("{url} --dialect nonsense"), "nonsense"),
            (format!("{url} --set x"), "a parameter is written name=value"),
            (format!("{url} --size 31"), "'--size <SIZE>': a size must be at least 32"),
            (format!("{url} --size 99999999"), "a size must be at most"),
            (format!("{url} --compressible 2"), "a share is a number from 0 to 1"),
            (format!("{url} --records /nowhere"), "--records: /nowhere: "),
            (format!("{url} --rate -1"), "unexpected argument"),
            (format!("{url} --rate=-1"), "'--rate <N>': must be a number from 0"),
            (format!("{url} --rate NaN"), "'--rate <N>': must be a number from 0"),
            (format!("{url} --schedule sometimes"), "a schedule is constant, ramp:TO"),
            (format!("{url} --publishers 0"), "'--publishers <N>': must be a whole number, at least 1"),
            (format!("{url} --publishers 65537"), "at most 65536 --publishers"),
            (format!("{url} --subscribers 0"), "'--subscribers <N>': must be a whole number, at least 1"),
            (format!("{url} --rate 0.001"), "no message"),
            (format!("{url} --rate 1e9 --duration 20s"), "at most 2^32 - 1 messages"),
            (format!("{url} --connect-rate 0"), "must be a number above 0"),
            (format!("{url} --duration 10"), "time unit needed"),
            (format!("{url} --duration 0s"), "must be at least 10ms"),
            (format!("{url} --warmup 3d"), "at most 72h together"),
            (format!("{url} --interval 10ms --duration 2h"), "--interval makes more than"),
            (format!("{url} --rooms 2"), "write {room} where the room's number belongs in the URL"),
            (format!("{URL} --rooms 2 --publish-url {url}"), "belongs in --publish-url"),
            (format!("{URL} --rooms 2 --publishers 3"), "a multiple of the 2 --rooms"),
            (format!("{URL} --rooms 2 --publishers 1"), "a multiple of the 2 --rooms"),
            (format!("{URL} --rooms 101"), "rooms without any of the 100 --subscribers"),
            (format!("{url} --stalled 0.1"), "an amount is a whole number"),
            (format!("{url} --stalled 50% --slow 50"), "no subscriber is left to be measured"),
            (format!("{url} --storm 100%"), "no subscriber is left to be measured"),
            (format!("{url} --slow 1 --slow-rate 0"), "--slow-rate must be above 0"),
            (format!("{url} --pausing 1 --pause-at 9s"), "--pause-at and --pause-for end after the run"),
            (format!("{url} --storm 1 --storm-at 10s"), "--storm-at is after the end"),
            (format!("{url} --storm 1 --churn 1"), "--churn and --storm cannot be in the same run"),
            (format!("{url} --churn 1 -n 4"), "say how many with --returning"),
            (format!("{url} --recover"), "--recover is for subscribers who come back"),
            (
                format!("{url} --recover --storm 1 --dialect nchan"),
                "--recover: the dialect nchan cannot recover; stream and raw can",
            ),
            (format!("{url}?last=3 --recover --storm 1"), "which last=3 in the URL would upset"),
            (format!("{url}?x=1&policy=conflate --recover --churn 1"), "policy=conflate in the URL"),
            (format!("{url} --subscribe []"), "'--subscribe <JSON>': must be a JSON object"),
            (format!("{url} --subscribe {{}}"), "--subscribe: the dialect raw has no JSON to say that in"),
            (
                format!("{url} --subscribe {{}} --dialect nats --topic t"),
                "--subscribe: this is for the dialect stream, and not for nats",
            ),
            (format!("{url} --subscribe {{\"topic\":\"x\"}}"), "names no topic"),
            (format!("{url} --unready-max 101"), "a percentage from 0 to 100"),
            (format!("{url} --agents here"), "an agent is written HOST:PORT"),
            (format!("{url} --sources localhost"), "invalid IP address"),
            ("--workload /nowhere.toml".to_owned(), "/nowhere.toml: No such file"),
        ] {
            let error = plan(&arguments).expect_err(&arguments);
            assert!(error.contains(part), "{arguments}: {error}");
        }
    }

    #[test]
    fn ready_workloads_are_good_and_can_be_changed() {
        for ready in READY {
            let plan = plan(&format!("--workload {}", ready.name)).expect(ready.name);
            assert!(
                plan.schedule.measured() > 0 && plan.target.subscribe.starts_with("ws://127.0.0.1:9000/ws/")
            );
            assert_eq!(plan.title, ready.name);
            assert!(ready.summary().len() > 20 && !ready.summary().starts_with('#'), "{}", ready.summary());
            let changed = self::plan(&format!("--workload {} ws://h/{{room}} -n 1000 -d 5s", ready.name));
            assert_eq!(changed.expect(ready.name).rooms.subscribers, 1000);
        }
    }

    #[test]
    fn a_search_makes_a_plan_of_each_value() {
        let search = |arguments: &str| {
            let words: Vec<&str> =
                ["search", URL, "--raise"].into_iter().chain(arguments.split(' ')).collect();
            match command(&words)? {
                Command::Search(search) => search.check().map(|()| search),
                other => panic!("{other:?}"),
            }
        };
        let by_rate =
            search("rate --from 100 --to 1000 --step-factor 2 --require p99<5ms").expect("a search");
        assert_eq!(by_rate.plan_at(400.0).expect("a plan").schedule.messages_per_second(), 400.0);
        let by_count = search("subscribers --from 2 --to 5 --step-factor 1.1 --slow 40% --require p99<5ms");
        let plan = by_count.expect("a search").plan_at(5.0).expect("a plan");
        assert_eq!((plan.rooms.subscribers, plan.readers.slow), (5, 2));
        for (arguments, part) in [
            ("rate --from 1 --to 2", "say it with --require"),
            ("rate --from 3 --to 2 --require a", "--from must be at least 1, and at most --to"),
            ("rate --from 1 --to 2e9 --require a", "is no number that --raise could go to"),
            ("subscribers --from 0 --to 2 --require a", "is no number that --raise could go to"),
            ("rate --from 1 --to 2 --step-factor 1 --require a", "--step-factor must be"),
            ("rate --from 1 --to 2 --precision 1 --require a", "--precision must be"),
            ("rate --from 1 --to 2 --require a --html x", "it takes --json only"),
        ] {
            let arguments = arguments.replace("--require a", "--require p99<5ms");
            let error = search(&arguments).expect_err(&arguments);
            assert!(error.contains(part), "{arguments}: {error}");
        }
    }

    #[test]
    fn other_commands_take_their_flags() {
        let Ok(Command::Agent(agent)) =
            command(&["agent", "--listen", "127.0.0.1:7", "--cores", "1,2", "--sources", "127.0.0.9"])
        else {
            panic!("an agent");
        };
        assert_eq!(
            (&*agent.listen, agent.place().cores, agent.place().sources.len()),
            ("127.0.0.1:7", vec![1, 2], 1)
        );
        let Ok(Command::Calibrate(calibrate)) =
            command(&["calibrate", "--core", "1", "-n", "9", "-s", "1KiB"])
        else {
            panic!("a calibration");
        };
        assert_eq!((calibrate.cores, calibrate.subscribers), (vec![1], 9));
        assert_eq!(calibrate.size.to_string(), "1024 bytes");
        let Ok(Command::Compare(compare)) = command(&["compare", "a.json", "b.json", "--html", "c.html"])
        else {
            panic!("a comparison");
        };
        assert_eq!((compare.files.len(), compare.html.is_some()), (2, true));
        assert!(command(&["compare", "a.json"]).expect_err("one file").contains("2 values"));
        let run =
            run(&format!("{URL} --agents a:1,[::1]:2 --json - --live --csv c --hgrm h --hlog l --html p"))
                .expect("a run");
        assert_eq!(run.agents(), ["a:1", "[::1]:2"]);
        let output = run.output();
        assert!(output.live && output.json == Some("-".into()) && output.html == Some("p".into()));
        assert!(
            output.csv == Some("c".into())
                && output.hgrm == Some("h".into())
                && output.hlog == Some("l".into())
        );
    }
}
