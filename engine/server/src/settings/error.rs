//! What can be wrong with settings, each with a sentence to act on.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::{error, fmt, io};

use fanfare::ConfigError;

/// Why the settings cannot be used.
#[derive(Debug)]
pub(crate) enum SettingsError {
    /// The command line itself.
    Flags(clap::Error),
    /// The file cannot be read.
    File { path: PathBuf, error: io::Error },
    /// The file has a key that is no setting.
    UnknownKey { place: String, key: String, nearest: String },
    /// A variable begins with `FANFARE_` and is no setting.
    UnknownVariable { name: String, nearest: String },
    /// A value that its key does not take.
    Value { place: String, why: String },
    /// Values that do not fit together.
    Config(ConfigError),
    /// A value that cannot work, in a sentence.
    Unworkable(&'static str),
    /// Others can reach the address, and nobody has to authenticate.
    Exposed { key: &'static str, addr: SocketAddr },
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flags(error) => write!(f, "{}", sentence(error)),
            Self::File { path, error } => {
                write!(f, "cannot read the settings in {}: {error}", path.display())
            }
            Self::UnknownKey { place, key, nearest } => {
                write!(f, "{place}: there is no setting {key}. Did you mean {nearest}?")
            }
            Self::UnknownVariable { name, nearest } => {
                write!(f, "the variable {name} names no setting. Did you mean {nearest}?")
            }
            Self::Value { place, why } => write!(f, "{place}: {why}"),
            Self::Config(error) => error.fmt(f),
            Self::Unworkable(sentence) => f.write_str(sentence),
            Self::Exposed { key, addr } => write!(
                f,
                "{key} is {addr}, which other machines can reach, and this version has no authentication: whoever \
                 reaches it can {}. Use a loopback address such as 127.0.0.1:{} behind a proxy that authenticates, \
                 or accept it with --insecure (FANFARE_INSECURE=true, or insecure = true in the file).",
                if *key == "control" {
                    "publish, and read topics and metrics"
                } else {
                    "publish and subscribe"
                },
                addr.port(),
            ),
        }
    }
}

impl error::Error for SettingsError {}

/// The known name that is most like an unknown one.
pub(super) fn nearest(unknown: &str, known: impl Iterator<Item = String>) -> String {
    let unknown = unknown.to_lowercase();
    let likeness = |name: &String| strsim::jaro_winkler(&unknown, &name.to_lowercase());
    known.max_by(|a, b| likeness(a).total_cmp(&likeness(b))).unwrap_or_default()
}

/// A message of clap in one line, without the label and the hint at `--help`.
pub(super) fn sentence(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.split("\n\n").next().unwrap_or_default();
    let text = text.strip_prefix("error: ").unwrap_or(text);
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
