//! What load is made: one list, [`Workload`], said in two ways.
//!
//! A field `connect_rate` is the flag `--connect-rate` and the TOML key `connect_rate`. A flag wins over the file, the file
//! over the default. All of them go through clap's parsers, so a value means the same, and is refused with the same
//! sentence, wherever it stands.
//!
//! - `mod.rs`: the list, and how its layers are put together
//! - `values`: values that are more than a number
//! - `file`: the TOML file
//! - `ready`: the files that come with this program
//! - `check`: from a workload to a plan

mod check;
mod file;
mod ready;
mod values;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args, Command, FromArgMatches};
use serde_json::{Map, Value};

use crate::dialect::subscribe_options;
use crate::gate::Gate;
use crate::payload::{Sizes, parse_bytes};
use crate::schedule::Shape;

pub use ready::{READY, Ready};
use values::{Amount, parameter, per_second, percent, percent_at_most, rate, share};
pub(crate) use values::{at_least_one, long_enough};

const TARGET: &str = "Target";
const MESSAGES: &str = "Messages";
const READERS: &str = "Subscribers that do not just read";
const CONNECTIONS: &str = "Connections";
const MACHINE: &str = "This machine";
const JUDGEMENT: &str = "Judgement";

/// Everything that can be said about a load. `None` where no layer says anything, and for what follows from other values.
#[derive(Args, Clone, Debug)]
pub struct Workload {
    /// What reports call it.
    #[arg(skip)]
    name: Option<String>,

    /// Where subscribers connect, such as ws://127.0.0.1:9000/ws/demo. {room} stands for the room's number, from 0
    #[arg(value_name = "URL")]
    url: Option<String>,
    /// Where publishers connect, ws:// or, for dialects that publish with POST, http:// [default: what the dialect makes of
    /// the URL; for raw, /ws/ at the beginning of the path becomes /pub/]
    #[arg(long, value_name = "URL", help_heading = TARGET)]
    publish_url: Option<String>,
    /// The protocol that the server wants to be spoken to
    #[arg(long, value_name = "NAME", help_heading = TARGET)]
    dialect: Option<String>,
    /// A parameter of the dialect, such as a key or a token; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parameter, help_heading = TARGET)]
    set: Option<Vec<(String, String)>>,
    /// The topic, channel or subject, for dialects that name it in messages; may contain {room}
    #[arg(long, value_name = "TOPIC", help_heading = TARGET)]
    topic: Option<String>,
    /// What every subscriber asks for beside its topic, such as {"policy":"skip"}: a JSON object, for the dialect stream. For
    /// raw it is the URL's query: ?policy=skip
    #[arg(long, value_name = "JSON", value_parser = subscribe_options, help_heading = TARGET)]
    subscribe: Option<Map<String, Value>>,
    /// Into how many rooms the connections are dealt, each with its own messages; then the URL or the topic has a {room}
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = TARGET)]
    rooms: Option<usize>,
    /// How many subscribers there are, over all rooms
    #[arg(long, short = 'n', value_name = "N", value_parser = at_least_one, help_heading = TARGET)]
    subscribers: Option<usize>,
    /// How many connections publish, in turn; a multiple of the rooms [default: one for each room]
    #[arg(long, short, value_name = "N", value_parser = at_least_one, help_heading = TARGET)]
    publishers: Option<usize>,

    /// Messages a second, over all rooms and publishers; 0 for connections that stay idle
    #[arg(long, short, value_name = "N", value_parser = rate, help_heading = MESSAGES)]
    rate: Option<f64>,
    /// When messages are due: constant, ramp:TO (from the rate to TO while it is measured), poisson, poisson:SEED, or
    /// bursts:N (N at once, as often as the rate asks for)
    #[arg(long, value_name = "SHAPE", help_heading = MESSAGES)]
    schedule: Option<Shape>,
    /// How long to publish, after the warm-up
    #[arg(long, short, value_name = "TIME", value_parser = long_enough, help_heading = MESSAGES)]
    duration: Option<Duration>,
    /// How long to publish before the measurement begins
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, help_heading = MESSAGES)]
    warmup: Option<Duration>,
    /// How long to wait for stragglers after the last message
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, help_heading = MESSAGES)]
    drain: Option<Duration>,
    /// The payload's size: 64, 1KiB, 64..1KiB (all as likely), lognormal:MEDIAN,SIGMA, or 64:90%,4KiB:10%
    #[arg(long, short, value_name = "SIZE", help_heading = MESSAGES)]
    size: Option<Sizes>,
    /// How much of a payload is repetitive text; the rest is random characters. 0.3 or 30%
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = MESSAGES)]
    compressible: Option<f64>,
    /// Publish the lines of this file in turn, each behind a header of 32 bytes, instead of filler of --size
    #[arg(long, value_name = "FILE", help_heading = MESSAGES)]
    records: Option<PathBuf>,
    /// Publish text messages instead of binary ones, where the dialect leaves the choice
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = MESSAGES)]
    text: Option<bool>,

    /// Subscribers that stop reading for good when the measurement begins: 100 or 10%
    #[arg(long, value_name = "AMOUNT", help_heading = READERS)]
    stalled: Option<Amount>,
    /// Subscribers that read slowly: 100 or 10%
    #[arg(long, value_name = "AMOUNT", help_heading = READERS)]
    slow: Option<Amount>,
    /// How much each slow subscriber reads in a second
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, help_heading = READERS)]
    slow_rate: Option<u64>,
    /// Subscribers that stop reading for a while and then catch up: 100 or 10%
    #[arg(long, value_name = "AMOUNT", help_heading = READERS)]
    pausing: Option<Amount>,
    /// When they stop, after the beginning of the measurement [default: a quarter of the duration]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, help_heading = READERS)]
    pause_at: Option<Duration>,
    /// How long they do not read [default: a quarter of the duration]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, help_heading = READERS)]
    pause_for: Option<Duration>,
    /// How many subscribers leave in a second, one after the other, and come back at once; 0 for none
    #[arg(long, value_name = "N", value_parser = rate, help_heading = READERS)]
    churn: Option<f64>,
    /// The subscribers who take part in the churn: 100 or 10%
    #[arg(long, value_name = "AMOUNT", help_heading = READERS)]
    returning: Option<Amount>,
    /// Subscribers whose connections all break at the same instant and who come back at once: 100 or 50%
    #[arg(long, value_name = "AMOUNT", help_heading = READERS)]
    storm: Option<Amount>,
    /// When the storm is, after the beginning of the measurement [default: a quarter of the duration]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, help_heading = READERS)]
    storm_at: Option<Duration>,

    /// Let those who come back go on behind the last message that they had, with the dialects stream and raw of a server that
    /// can do that
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = READERS)]
    recover: Option<bool>,

    /// Offer permessage-deflate (RFC 7692). A subscriber to whom the server does not grant it is not connected; publishers
    /// compress messages of 512 bytes and more where it is granted
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = CONNECTIONS)]
    deflate: Option<bool>,
    /// Connections begun each second [default: no limit]
    #[arg(long, value_name = "N", value_parser = per_second, help_heading = CONNECTIONS)]
    connect_rate: Option<f64>,
    /// Connections that are being made at once
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = CONNECTIONS)]
    connects_in_flight: Option<usize>,
    /// Give up when no connection becomes ready for so long
    #[arg(long, value_name = "TIME", value_parser = long_enough, help_heading = CONNECTIONS)]
    connect_timeout: Option<Duration>,

    /// The processor cores to run on, such as 1,2 [default: where the kernel puts it]
    #[arg(long, alias = "core", value_name = "N,...", value_delimiter = ',', help_heading = MACHINE)]
    cores: Option<Vec<usize>>,
    /// Threads with connections; 0 for one on each core, and more where the limit of open files asks for it
    #[arg(long, value_name = "N", help_heading = MACHINE)]
    workers: Option<usize>,
    /// Local addresses to connect from, in turn [default: the kernel's choice, or as many loopback addresses as it takes]
    #[arg(long, value_name = "IP,...", value_delimiter = ',', help_heading = MACHINE)]
    sources: Option<Vec<IpAddr>>,

    /// What must hold, such as 'p99<5ms' or 'missing==0'; may be given several times
    #[arg(long, value_name = "GATE", value_parser = Gate::parse, help_heading = JUDGEMENT)]
    require: Option<Vec<Gate>>,
    /// The run is invalid if more than 1 % of the messages are sent later than this after they were due
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, help_heading = JUDGEMENT)]
    send_lag_max: Option<Duration>,
    /// The run is invalid if this program uses more of a core than this while it publishes, in percent
    #[arg(long, value_name = "PERCENT", value_parser = percent, help_heading = JUDGEMENT)]
    own_cpu_max: Option<f64>,
    /// The run is invalid if more of the connections than this do not become ready, in percent
    #[arg(long, value_name = "PERCENT", value_parser = percent_at_most, help_heading = JUDGEMENT)]
    unready_max: Option<f64>,
    /// One row of the time line [default: a sixtieth of the run, from 100ms to 1s]
    #[arg(long, value_name = "TIME", value_parser = long_enough, help_heading = JUDGEMENT)]
    interval: Option<Duration>,
}

/// What holds when nothing else is said: the lowest layer, and what the help says.
pub(crate) const DEFAULTS: [(&str, &str); 26] = [
    ("dialect", "raw"),
    ("rooms", "1"),
    ("subscribers", "100"),
    ("rate", "100"),
    ("schedule", "constant"),
    ("duration", "10s"),
    ("warmup", "1s"),
    ("drain", "5s"),
    ("size", "64"),
    ("compressible", "100%"),
    ("text", "false"),
    ("stalled", "0"),
    ("slow", "0"),
    ("slow_rate", "1KiB"),
    ("pausing", "0"),
    ("churn", "0"),
    ("returning", "10%"),
    ("storm", "0"),
    ("recover", "false"),
    ("deflate", "false"),
    ("connects_in_flight", "256"),
    ("connect_timeout", "10s"),
    ("workers", "0"),
    ("send_lag_max", "10ms"),
    ("own_cpu_max", "98"),
    ("unready_max", "0"),
];

impl Workload {
    /// The layers put together: `flags` over the file or the ready workload called `name` over the defaults.
    ///
    /// # Errors
    /// What is unknown, unreadable or no value, in a sentence that says where it stands.
    pub(crate) fn layered(name: Option<&str>, flags: &Flags) -> Result<Self, String> {
        let mut workload = Self::defaults();
        if let Some(name) = name {
            match READY.iter().find(|ready| ready.name == name) {
                Some(ready) => workload.read_text(ready.toml, name)?,
                None => workload.read_file(name.as_ref())?,
            }
        }
        workload.update_from_arg_matches(&flags.0).map_err(|error| sentence(&error))?;
        Ok(workload)
    }

    /// Defaults, for subscribers that connect to this URL.
    pub(crate) fn to(url: &str) -> Self {
        Self { url: Some(url.to_owned()), ..Self::defaults() }
    }

    fn defaults() -> Self {
        let nothing = command().get_matches_from([""; 0]);
        let mut workload = Self::from_arg_matches(&nothing).expect("everything is optional");
        for (key, value) in DEFAULTS {
            workload.set(key, &[value.to_owned()]).expect("the defaults are good values");
        }
        workload
    }

    /// Gives a known key a value, or several where it takes them, as its flag would.
    fn set(&mut self, key: &str, values: &[String]) -> Result<(), String> {
        let command = command();
        let is_positional = command.get_positionals().any(|arg| arg.get_id() == key);
        let words: Vec<String> = if is_positional {
            std::iter::once("--".to_owned()).chain(values.iter().cloned()).collect()
        } else {
            values.iter().map(|value| format!("--{}={value}", key.replace('_', "-"))).collect()
        };
        let matches = command.try_get_matches_from(words).map_err(|error| sentence(&error))?;
        self.update_from_arg_matches(&matches).map_err(|error| sentence(&error))
    }

    /// The same load with so many messages a second.
    pub(crate) fn with_rate(mut self, per_second: f64) -> Self {
        self.rate = Some(per_second);
        self
    }

    /// The same load with so many subscribers.
    pub(crate) fn with_subscribers(mut self, subscribers: usize) -> Self {
        self.subscribers = Some(subscribers);
        self
    }
}

/// The list as a command of its own, to parse values with.
fn command() -> Command {
    Workload::augment_args(Command::new("workload").no_binary_name(true).disable_help_flag(true))
}

/// The keys of all settings.
pub(crate) fn keys() -> Vec<String> {
    command().get_arguments().map(|arg| arg.get_id().to_string()).collect()
}

/// A message of clap in one line, without the label and the hint at `--help`.
fn sentence(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.split("\n\n").next().unwrap_or_default();
    let text = text.strip_prefix("error: ").unwrap_or(text);
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// The flags as they were given, to be laid over a file.
#[derive(Clone, Debug)]
pub(crate) struct Flags(ArgMatches);

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(matches.clone()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0 = matches.clone();
        Ok(())
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        Workload::augment_args(command).mut_args(|arg| {
            let Some((_, default)) = DEFAULTS.iter().find(|(key, _)| arg.get_id() == key) else { return arg };
            let text = arg.get_help().map(ToString::to_string).unwrap_or_default();
            arg.help(format!("{text} [default: {default}]"))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
