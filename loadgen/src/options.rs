//! The command line, and the plan that it makes.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use fanfare_wire::url::WsUrl;

use crate::connections::{Pace, Targets};
use crate::payload;
use crate::plan::{Bounds, Plan};
use crate::schedule::Schedule;

/// The largest payload that may be asked for.
const SIZE_MAX: usize = 16 << 20;

/// The longest run: a payload has 48 bits for the nanoseconds since its beginning.
const SPAN_MAX: Duration = Duration::from_hours(72);

const _: () = assert!(SPAN_MAX.as_nanos() < 1 << 48);

/// Measures a WebSocket broadcast server: open loop, every delivery checked and timed.
#[derive(Parser, Debug)]
#[command(name = "fanfare-loadgen", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Connects subscribers, publishes at a constant rate, and reports what arrived and when
    ///
    /// Exit codes: 0 every message reached every subscriber in order; 2 some did not; 3 the run is invalid: not all
    /// connections stood, or this program could not keep up, so the figures say nothing about the server; 4 usage.
    Run(Run),
}

#[derive(Args, Debug)]
pub struct Run {
    /// Where subscribers connect, such as ws://127.0.0.1:9000/ws/demo
    url: String,
    /// How many subscribers there are
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    subscribers: usize,
    /// Messages a second, over all publishers
    #[arg(long, short, value_name = "N", default_value_t = 100.0)]
    rate: f64,
    /// How long to publish, after the warm-up
    #[arg(long, short, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// How long to publish before the measurement begins
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    warmup: Duration,
    /// How long to wait for stragglers after the last message
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    drain: Duration,
    /// The payload's size in bytes
    #[arg(long, short, value_name = "BYTES", default_value_t = 64)]
    size: usize,
    /// Publish text messages instead of binary ones
    #[arg(long)]
    text: bool,
    /// How many connections publish, in turn
    #[arg(long, short, value_name = "N", default_value_t = 1)]
    publishers: usize,
    /// Where publishers connect [default: the URL, with /ws/ at the start of its path replaced by /pub/]
    #[arg(long, value_name = "URL")]
    publish_url: Option<String>,
    /// Connections begun each second [default: no limit]
    #[arg(long, value_name = "N")]
    connect_rate: Option<f64>,
    /// Connections that are being made at once
    #[arg(long, value_name = "N", default_value_t = 256)]
    connects_in_flight: usize,
    /// Give up when no connection becomes ready for so long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    connect_timeout: Duration,
    /// The processor core to run on
    #[arg(long, value_name = "N")]
    core: Option<usize>,
    /// The server's process, to report its processor time and memory
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// The run is invalid if more than 1 % of the messages are sent later than this after they were due
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = humantime::parse_duration)]
    send_lag_max: Duration,
    /// The run is invalid if this program uses more of a core than this while it publishes, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 98.0)]
    own_cpu_max: f64,
    /// Write the figures as JSON to a file, or to standard output with -
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Run {
    /// Where the JSON goes, if anywhere.
    pub fn json(&self) -> Option<&Path> {
        self.json.as_deref()
    }

    /// The plan that was asked for.
    ///
    /// # Errors
    /// What cannot work, in a sentence.
    pub fn plan(&self) -> Result<Plan, String> {
        let subscribe = parse_url(&self.url)?;
        let publish = match &self.publish_url {
            Some(url) => parse_url(url)?,
            None => default_publish_url(&subscribe),
        };
        if (&subscribe.host, subscribe.port) != (&publish.host, publish.port) {
            return Err(
                "--publish-url must name the same host and port as the URL of the subscribers".to_owned()
            );
        }
        self.check_numbers()?;
        let schedule = Schedule::constant(self.rate, self.publishers, self.warmup, self.duration);
        if schedule.measured() == 0 {
            return Err("--rate and --duration together make no message".to_owned());
        }
        if schedule.total().div_ceil(self.publishers as u64) > u64::from(u32::MAX) {
            return Err("a publisher can send at most 2^32 - 1 messages; use more --publishers".to_owned());
        }
        Ok(Plan {
            targets: Targets {
                remote: resolve(&subscribe)?,
                subscribe,
                publish,
                subscribers: self.subscribers,
                publishers: self.publishers,
            },
            pace: Pace {
                in_flight_max: self.connects_in_flight,
                per_second: self.connect_rate,
                timeout: self.connect_timeout,
            },
            schedule,
            size: self.size,
            text: self.text,
            drain: self.drain,
            core: self.core,
            server_pid: self.server_pid,
            bounds: Bounds { send_lag: self.send_lag_max, own_cpu_percent: self.own_cpu_max },
        })
    }

    fn check_numbers(&self) -> Result<(), String> {
        let header = payload::HEADER_BYTES;
        let rules = [
            (self.subscribers >= 1, "--subscribers must be at least 1".to_owned()),
            (
                (1..=payload::PUBLISHERS_MAX).contains(&self.publishers),
                format!("--publishers must be from 1 to {}", payload::PUBLISHERS_MAX),
            ),
            (self.rate > 0.0 && self.rate <= 1e9, "--rate must be above 0 and at most 1000000000".to_owned()),
            (
                self.size >= header,
                format!(
                    "--size must be at least {header}: a message carries its times, its number and a checksum"
                ),
            ),
            (self.size <= SIZE_MAX, format!("--size must be at most {SIZE_MAX}")),
            (
                self.warmup.saturating_add(self.duration) <= SPAN_MAX,
                "--warmup and --duration must be at most 72h together".to_owned(),
            ),
            (self.connects_in_flight >= 1, "--connects-in-flight must be at least 1".to_owned()),
            (self.connect_rate.is_none_or(|rate| rate > 0.0), "--connect-rate must be above 0".to_owned()),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, sentence)| Err(sentence))
    }
}

fn parse_url(url: &str) -> Result<WsUrl, String> {
    let parsed = WsUrl::parse(url).map_err(|error| format!("{url}: {error}"))?;
    if parsed.secure {
        return Err(format!("{url}: this version measures ws:// only"));
    }
    Ok(parsed)
}

/// Fanfare's publish-only path for a topic's path; the same URL for other servers.
fn default_publish_url(subscribe: &WsUrl) -> WsUrl {
    let mut publish = subscribe.clone();
    if let Some(topic) = subscribe.target.strip_prefix("/ws/") {
        publish.target = format!("/pub/{topic}");
    }
    publish
}

fn resolve(url: &WsUrl) -> Result<SocketAddr, String> {
    let mut addresses =
        (&*url.host, url.port).to_socket_addrs().map_err(|error| format!("{}: {error}", url.host))?;
    addresses.next().ok_or_else(|| format!("{}: no address", url.host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(arguments: &str) -> Result<Plan, String> {
        let words = ["fanfare-loadgen", "run"].into_iter().chain(arguments.split_whitespace());
        let Command::Run(run) = Cli::try_parse_from(words).map_err(|error| error.to_string())?.command;
        run.plan()
    }

    #[test]
    fn the_command_line_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn defaults_and_flags_make_a_plan() {
        let plan =
            plan("ws://127.0.0.1:9000/ws/demo --subscribers 1000 --rate 1000 --duration 10s --size 64")
                .expect("a plan");
        assert_eq!(plan.targets.remote.to_string(), "127.0.0.1:9000");
        assert_eq!(plan.targets.publish.to_string(), "ws://127.0.0.1:9000/pub/demo");
        assert_eq!((plan.schedule.warmup(), plan.schedule.measured()), (1_000, 10_000));
    }

    #[test]
    fn other_servers_publish_where_they_subscribe() {
        for (url, publish) in [
            ("ws://127.0.0.1/room", "ws://127.0.0.1/room"),
            ("ws://127.0.0.1/a/ws/b", "ws://127.0.0.1/a/ws/b"),
            ("ws://127.0.0.1/ws/a%20b?x=1", "ws://127.0.0.1/pub/a%20b?x=1"),
            ("ws://127.0.0.1/x --publish-url ws://127.0.0.1/y", "ws://127.0.0.1/y"),
        ] {
            assert_eq!(plan(url).expect(url).targets.publish.to_string(), publish);
        }
    }

    #[test]
    fn what_cannot_work_is_said_in_a_sentence() {
        let url = "ws://127.0.0.1/ws/x";
        for (arguments, part) in [
            ("wss://127.0.0.1/x".to_owned(), "ws:// only"),
            ("http://127.0.0.1/x".to_owned(), "begins with ws://"),
            (format!("{url} --size 31"), "--size must be at least 32"),
            (format!("{url} --size 99999999"), "--size must be at most"),
            (format!("{url} --rate 0"), "--rate must be above 0"),
            (format!("{url} --rate NaN"), "--rate must be above 0"),
            (format!("{url} --publishers 0"), "--publishers must be"),
            (format!("{url} --subscribers 0"), "--subscribers must be"),
            (format!("{url} --rate 0.001"), "no message"),
            (format!("{url} --connect-rate 0"), "--connect-rate must be"),
            (format!("{url} --publish-url ws://127.0.0.1:81/x"), "same host and port"),
            (format!("{url} --duration 10"), "time unit needed"),
            (format!("{url} --warmup 3d"), "at most 72h together"),
        ] {
            let error = plan(&arguments).expect_err(&arguments);
            assert!(error.contains(part), "{arguments}: {error}");
        }
    }
}
