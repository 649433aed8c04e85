//! What `fanfare serve` can be told: one list, [`Settings`], said in three ways.
//!
//! A field `lag_bytes_max` is the flag `--lag-bytes-max`, the variable `FANFARE_LAG_BYTES_MAX` and the TOML key
//! `lag_bytes_max`. A flag wins over a variable, a variable over the file, the file over the default. All three
//! go through clap's parsers, so a value means the same, and is refused with the same sentence, wherever it stands.
//!
//! The one thing that only the file can say are rules: its `[[topic]]` tables.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the list, and how its layers are put together |
//! | `limits.rs` | the part of the list that is the engine's configuration |
//! | `file.rs` | the TOML file |
//! | `rules.rs` | its `[[topic]]` tables |
//! | `variables.rs` | the `FANFARE_*` variables |
//! | `error.rs` | what can be wrong with them |

mod error;
mod file;
mod limits;
mod rules;
mod variables;

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{ArgMatches, Args as _, Command, FromArgMatches as _, ValueEnum};
use fanfare::control::ControlConfig;
use fanfare::{Config, ListenOptions, TopicRule};
use fanfare_io::uring;
use fanfare_wire::origin::{OriginRule, Origins};
use tracing_subscriber::filter::Targets;

pub(crate) use error::SettingsError;
use limits::Limits;

/// Where WebSocket clients connect unless something else is said.
pub(crate) const LISTEN_DEFAULT: &str = "127.0.0.1:9000";
const LOG_DEFAULT: &str = "info";
const LOG_FORMAT_DEFAULT: &str = "human";
const DRAIN_MS_DEFAULT: u64 = 2_000;
const SHUTDOWN_GRACE_MS_DEFAULT: u64 = 10_000;

/// Everything that can be set; `None` where a layer says nothing.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Settings {
    /// TOML file with settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Address for WebSocket clients
    #[arg(long, value_name = "ADDR", value_parser = address)]
    listen: Option<SocketAddr>,

    /// Address of the control port: HTTP publishing, topics, metrics, the viewer page
    #[arg(long, value_name = "ADDR", value_parser = address)]
    control: Option<SocketAddr>,

    /// Serve addresses that other machines can reach although nobody has to authenticate
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    insecure: Option<bool>,

    /// Shards: threads that serve connections, each pinned to its core
    #[arg(long, value_name = "N")]
    shards: Option<usize>,

    /// What is logged: a level, or levels of modules such as warn,fanfare_core=debug
    #[arg(long, value_name = "FILTER")]
    log: Option<Targets>,

    /// How log lines look
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,

    /// Pages that may connect, by their origin, with commas between: local (pages of this machine), same-host (pages of
    /// the host they connect to), null, sites such as https://example.org or https://*.example.org, or * for all
    #[arg(long, value_name = "ORIGINS", value_parser = origins)]
    origins_allowed: Option<Origins>,

    /// Connections to the control port at once; one more is answered with status 503
    #[arg(long, value_name = "N")]
    control_connections_max: Option<usize>,

    /// The body of a request to the control port, in bytes; a larger one gets status 413
    #[arg(long, value_name = "N")]
    control_body_bytes_max: Option<usize>,

    /// On SIGTERM, over how long the connections are told to reconnect and closed, one after the other, in milliseconds
    #[arg(long, value_name = "N")]
    drain_ms: Option<u64>,

    /// How long a stop waits for connections to take what is theirs and close, in milliseconds
    #[arg(long, value_name = "N")]
    shutdown_grace_ms: Option<u64>,

    /// Peers that wait to be accepted by one shard; the kernel allows at most net.core.somaxconn
    #[arg(long, value_name = "N", help_heading = SOCKETS)]
    accept_backlog_max: Option<u32>,

    /// What the kernel buffers on the way to one connection, in bytes
    #[arg(long, value_name = "N", help_heading = SOCKETS)]
    send_buffer_bytes: Option<usize>,

    /// A connection counts as full while so many bytes of what it took were not sent yet; 0 for the kernel's limit
    #[arg(long, value_name = "N", help_heading = SOCKETS)]
    notsent_lowat_bytes: Option<u32>,

    /// Receive buffers of one shard, a power of two; when all are in use, what arrives waits in the sockets
    #[arg(long, value_name = "N", help_heading = SOCKETS)]
    receive_buffers_max: Option<usize>,

    /// The size of one receive buffer, in bytes
    #[arg(long, value_name = "N", help_heading = SOCKETS)]
    receive_buffer_bytes: Option<usize>,

    #[command(flatten)]
    limits: Limits,

    /// What holds for certain topics instead of the limits. Only the file has them: a rule has several keys, and the
    /// order of the rules counts, which one flag or variable cannot say.
    #[arg(skip)]
    rules: Vec<TopicRule>,
}

/// The part of the help that the socket settings stand under.
const SOCKETS: &str = "Sockets";

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Settings put together, checked, and with every default filled in.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) listen: SocketAddr,
    pub(crate) control: ControlConfig,
    pub(crate) log: Targets,
    pub(crate) log_format: LogFormat,
    pub(crate) drain_ms: u64,
    pub(crate) shutdown_grace_ms: u64,
    /// `None`: one shard for each core.
    pub(crate) shards: Option<usize>,
    pub(crate) config: Config,
    pub(crate) sockets: ListenOptions,
    /// Their number and the size of each in bytes.
    pub(crate) receive_buffers: (usize, usize),
}

/// Adds the flags to a command, each with its variable and its default in the help.
pub(crate) fn add_flags(command: Command) -> Command {
    let defaults = defaults();
    Settings::augment_args(command).mut_args(|arg| {
        let key = arg.get_id().as_str();
        let default = defaults.iter().find(|(known, _)| *known == key).map(|(_, value)| value);
        let variable = variables::name_of(key);
        let text = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let default = default.map(|value| format!("default: {value}, ")).unwrap_or_default();
        arg.help(format!("{text} [{default}env: {variable}]"))
    })
}

/// Puts the layers together: the flags in `flags`, over `variables`, over the file that one of them names.
///
/// # Errors
/// The first thing that is unknown, unreadable, or that does not fit together.
pub(crate) fn resolve(
    flags: &ArgMatches,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Resolved, SettingsError> {
    let variables = variables::read(variables)?;
    let named_by_variable = variables.iter().find(|variable| variable.key == "config");
    let path = flags.get_one::<PathBuf>("config").cloned();
    let path = path.or_else(|| named_by_variable.map(|variable| PathBuf::from(&variable.value)));

    let mut settings = Settings::default();
    if let Some(path) = path {
        file::read(&mut settings, &path)?;
    }
    for variable in &variables {
        settings.set(&variable.key, &variable.value).map_err(|why| variable.refused(why))?;
    }
    settings.update_from_arg_matches(flags).map_err(SettingsError::Flags)?;
    settings.check()
}

/// Refuses `FANFARE_*` variables that name nothing, for commands that use no settings.
///
/// # Errors
/// The first such variable.
pub(crate) fn check_variables() -> Result<(), SettingsError> {
    variables::read(std::env::vars_os()).map(drop)
}

/// The keys of all settings, as clap knows them.
fn keys() -> Vec<String> {
    let command = Settings::augment_args(Command::new("settings"));
    command.get_arguments().map(|arg| arg.get_id().to_string()).collect()
}

/// What the help says about keys that are not given.
fn defaults() -> Vec<(&'static str, String)> {
    let control = ControlConfig::default();
    let mut defaults = vec![
        ("listen", LISTEN_DEFAULT.to_owned()),
        ("control", control.listen.to_string()),
        ("insecure", "false".to_owned()),
        ("shards", "one for each core".to_owned()),
        ("log", LOG_DEFAULT.to_owned()),
        ("log_format", LOG_FORMAT_DEFAULT.to_owned()),
        ("origins_allowed", "local if listen is a loopback address, else same-host".to_owned()),
        ("control_connections_max", control.connections_max.to_string()),
        ("control_body_bytes_max", control.body_bytes_max.to_string()),
        ("drain_ms", DRAIN_MS_DEFAULT.to_string()),
        ("shutdown_grace_ms", SHUTDOWN_GRACE_MS_DEFAULT.to_string()),
    ];
    let (sockets, driver) = (ListenOptions::default(), uring::Options::default());
    let or_kernel =
        |bytes: Option<usize>| bytes.map_or_else(|| "the kernel's".to_owned(), |bytes| bytes.to_string());
    defaults.extend([
        ("accept_backlog_max", sockets.backlog.to_string()),
        ("send_buffer_bytes", or_kernel(sockets.send_buffer_bytes)),
        ("notsent_lowat_bytes", sockets.notsent_lowat_bytes.to_string()),
        ("receive_buffers_max", driver.buffer_count.to_string()),
        ("receive_buffer_bytes", driver.buffer_bytes.to_string()),
    ]);
    defaults.extend(Limits::defaults());
    defaults
}

impl Settings {
    /// Gives one known key a value, as its flag would.
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let flag = format!("--{}={value}", key.replace('_', "-"));
        let command =
            Self::augment_args(Command::new("settings").no_binary_name(true).disable_help_flag(true));
        let matches = command.try_get_matches_from([flag]).map_err(|error| error::sentence(&error))?;
        self.update_from_arg_matches(&matches).map_err(|error| error::sentence(&error))
    }

    /// Fills in the defaults and checks what fits together.
    fn check(self) -> Result<Resolved, SettingsError> {
        let listen =
            self.listen.unwrap_or_else(|| LISTEN_DEFAULT.parse().expect("the default is an address"));
        let control = ControlConfig::default();
        let control = ControlConfig {
            listen: self.control.unwrap_or(control.listen),
            connections_max: self.control_connections_max.unwrap_or(control.connections_max),
            body_bytes_max: self.control_body_bytes_max.unwrap_or(control.body_bytes_max),
        };
        if !self.insecure.unwrap_or(false) {
            for (key, addr) in [("listen", listen), ("control", control.listen)] {
                if !is_loopback(addr.ip()) {
                    return Err(SettingsError::Exposed { key, addr });
                }
            }
        }
        if control.connections_max == 0 {
            return Err(SettingsError::Unworkable("control_connections_max must be at least 1"));
        }
        let mut config = Config {
            shards: self.shards.unwrap_or(1),
            origins_allowed: self.origins_allowed.unwrap_or_else(|| origins_default(listen.ip())),
            rules: self.rules,
            ..Config::default()
        };
        self.limits.apply(&mut config);
        config.check().map_err(SettingsError::Config)?;
        let (sockets, driver) = (ListenOptions::default(), uring::Options::default());
        Ok(Resolved {
            listen,
            control,
            log: self.log.unwrap_or_else(|| LOG_DEFAULT.parse().expect("the default is a filter")),
            log_format: self.log_format.unwrap_or(LogFormat::Human),
            drain_ms: self.drain_ms.unwrap_or(DRAIN_MS_DEFAULT),
            shutdown_grace_ms: self.shutdown_grace_ms.unwrap_or(SHUTDOWN_GRACE_MS_DEFAULT),
            shards: self.shards,
            config,
            sockets: ListenOptions {
                backlog: self.accept_backlog_max.unwrap_or(sockets.backlog),
                send_buffer_bytes: self.send_buffer_bytes.or(sockets.send_buffer_bytes),
                notsent_lowat_bytes: self.notsent_lowat_bytes.unwrap_or(sockets.notsent_lowat_bytes),
                ..sockets
            },
            receive_buffers: (
                self.receive_buffers_max.unwrap_or(driver.buffer_count),
                self.receive_buffer_bytes.unwrap_or(driver.buffer_bytes),
            ),
        })
    }
}

/// Whether only this machine can reach an address.
fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// Which pages may connect unless something else is said: on loopback those of this machine; where others connect, those
/// of the host that serves them.
fn origins_default(listen: IpAddr) -> Origins {
    let rule = if is_loopback(listen) { OriginRule::Local } else { OriginRule::SameHost };
    [rule].into_iter().collect()
}

/// Reads rules with commas between them, at least one.
fn origins(text: &str) -> Result<Origins, String> {
    let rules = text.split(',').map(|rule| rule.trim().parse::<OriginRule>());
    rules.collect::<Result<_, _>>().map_err(|error| error.to_string())
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "expected an IP address and a port, such as 127.0.0.1:9000 or [::1]:9000")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a file's text, variables and flags together.
    fn layered(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Result<Resolved, String> {
        let command = add_flags(Command::new("fanfare").no_binary_name(true));
        let path = std::env::temp_dir().join(format!(
            "fanfare-settings-{}-{:?}.toml",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::write(&path, file).expect("a file in the temporary directory");
        let config = format!("--config={}", path.display());
        let flags =
            command.try_get_matches_from([config.as_str()].iter().chain(flags)).map_err(|e| e.to_string())?;
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        let resolved = resolve(&flags, variables).map_err(|error| error.to_string());
        std::fs::remove_file(&path).expect("the file is still there");
        resolved
    }

    #[test]
    fn flags_win_over_variables_over_the_file_over_defaults() {
        let variable = [("FANFARE_TOPICS_MAX", "2")];
        for (file, variables, flags, topics_max) in [
            ("", &[][..], &[][..], Config::default().topics_max),
            ("topics_max = 1", &[], &[], 1),
            ("topics_max = 1", &variable, &[], 2),
            ("topics_max = 1", &variable, &["--topics-max=3"], 3),
            ("", &variable, &["--topics-max", "3"], 3),
            ("topics_max = 1", &[], &["--topics-max", "3"], 3),
        ] {
            let resolved = layered(file, variables, flags).expect("valid settings");
            assert_eq!(resolved.config.topics_max, topics_max, "{file:?} {variables:?} {flags:?}");
        }
    }

    #[test]
    fn layers_that_speak_of_different_things_add_up() {
        let file = "listen = \"127.0.0.1:1\"\nlog_format = \"json\"\nshards = 3";
        let variables =
            [("FANFARE_CONTROL", "[::1]:2"), ("FANFARE_INSECURE", "true"), ("FANFARE_LOG", "debug")];
        let resolved = layered(file, &variables, &["--listen=0.0.0.0:3"]).expect("valid settings");
        assert_eq!(resolved.listen.to_string(), "0.0.0.0:3");
        assert_eq!(resolved.control.listen.to_string(), "[::1]:2");
        assert_eq!(resolved.log_format, LogFormat::Json);
        assert_eq!(resolved.log.to_string(), "debug");
        assert_eq!(resolved.shards, Some(3));
    }

    #[test]
    fn a_variable_can_name_the_file() {
        let flags = add_flags(Command::new("fanfare").no_binary_name(true)).get_matches_from([] as [&str; 0]);
        let variables = [("FANFARE_CONFIG".into(), "/nowhere/fanfare.toml".into())];
        let error = resolve(&flags, variables).expect_err("there is no such file").to_string();
        assert!(error.contains("/nowhere/fanfare.toml"), "{error}");
    }

    #[test]
    fn an_address_that_others_reach_has_to_be_meant() {
        for (flags, refused) in [
            (&["--listen=127.0.0.1:0"][..], None),
            (&["--listen=127.9.9.9:1", "--control=[::1]:2"], None),
            (&["--listen=[::ffff:127.0.0.1]:1"], None),
            (&["--listen=0.0.0.0:1"], Some("listen is 0.0.0.0:1")),
            (&["--listen=[::]:1"], Some("listen is [::]:1")),
            (&["--control=10.0.0.1:2"], Some("control is 10.0.0.1:2")),
            (&["--control=10.0.0.1:2", "--insecure=false"], Some("--insecure")),
            (&["--listen=0.0.0.0:1", "--control=10.0.0.1:2", "--insecure"], None),
            (&["--listen=0.0.0.0:1", "--insecure=true"], None),
        ] {
            match (layered("", &[], flags), refused) {
                (Ok(_), None) => {}
                (Err(error), Some(words)) => assert!(error.contains(words), "{flags:?}: {error}"),
                (outcome, _) => panic!("{flags:?}: {outcome:?}"),
            }
        }
        let override_of_variable =
            layered("", &[("FANFARE_INSECURE", "true")], &["--insecure=false", "--listen=0.0.0.0:1"]);
        assert!(override_of_variable.is_err(), "the flag takes the consent back");
    }

    #[test]
    fn values_that_do_not_fit_are_refused_in_a_sentence() {
        for (file, variables, flags, words) in [
            (
                "",
                &[("FANFARE_SHARDS", "two")][..],
                &[][..],
                ["the variable FANFARE_SHARDS", "'two'", "invalid digit"],
            ),
            (
                "",
                &[("FANFARE_LISTEN", "localhost")],
                &[],
                ["FANFARE_LISTEN", "IP address and a port", "127.0.0.1:9000"],
            ),
            ("", &[("FANFARE_LOG_FORMAT", "xml")], &[], ["FANFARE_LOG_FORMAT", "human", "json"]),
            ("", &[("FANFARE_SHARD", "2")], &[], ["FANFARE_SHARD", "Did you mean", "FANFARE_SHARDS?"]),
            ("shard = 2", &[], &[], ["line 1", "no setting shard.", "Did you mean shards?"]),
            ("", &[], &["--control-connections-max=0"], ["control_connections_max", "at least", "1"]),
            ("", &[], &["--shards=0"], ["shards", "at least", "1"]),
            ("lag_bytes_max = 99_000_000", &[], &[], ["lag_bytes_max", "at most", "log_bytes_max"]),
            ("", &[], &["--shard=1"], ["--shard", "similar", "--shards"]),
        ] {
            let error = layered(file, variables, flags).expect_err("refused");
            for word in words {
                // The check of the configuration words its bounds itself.
                let is_there = error.contains(word) || (word == "at least" && error.contains("from 1"));
                assert!(is_there, "{word:?} is missing in {error:?}");
            }
        }
    }

    #[test]
    fn pages_may_connect_as_the_address_or_the_setting_says() {
        let rules = |flags: &[&str], file: &str| {
            let origins = layered(file, &[], flags).expect("valid settings").config.origins_allowed;
            origins.rules().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        for (flags, file, expected) in [
            (&[][..], "", "local"),
            (&["--listen=[::1]:1"], "", "local"),
            (&["--listen=0.0.0.0:1", "--insecure"], "", "same-host"),
            (&["--listen=0.0.0.0:1", "--insecure"], "origins_allowed = \"local\"", "local"),
            (&["--origins-allowed=*"], "origins_allowed = \"local\"", "*"),
            (&[], "origins_allowed = [\"https://a.example:8443\", \"null\"]", "https://a.example:8443 null"),
            (&["--origins-allowed", "same-host, https://*.a.example"], "", "same-host https://*.a.example"),
        ] {
            assert_eq!(rules(flags, file), expected, "{flags:?} {file:?}");
        }
    }

    #[test]
    fn switches_can_be_given_bare_or_with_a_value() {
        let of = |flags: &[&str]| layered("", &[], flags).expect("valid settings").config;
        assert_eq!((of(&[]).echo, of(&[]).deflate), (false, true));
        assert_eq!((of(&["--echo"]).echo, of(&["--deflate"]).deflate), (true, true));
        assert_eq!((of(&["--echo=true"]).echo, of(&["--deflate=false"]).deflate), (true, false));
    }

    #[test]
    fn every_setting_has_a_default_in_the_help_and_one_meaning() {
        let defaults = defaults();
        for key in keys().iter().filter(|key| *key != "config") {
            assert_eq!(defaults.iter().filter(|(known, _)| known == key).count(), 1, "{key}");
        }
        let help = add_flags(Command::new("fanfare")).term_width(0).render_long_help().to_string();
        for (key, default) in defaults {
            let words = format!("[default: {default}, env: FANFARE_{}]", key.to_uppercase());
            assert!(help.contains(&words), "{words:?} is missing in\n{help}");
            assert!(help.contains(&format!("--{}", key.replace('_', "-"))), "{key}");
        }
    }
}
