//! The machine that measured, and how it was asked to.

use std::fs;
use std::time::SystemTime;

use crate::report::Environment;

/// The option whose values are secrets: what a dialect needs to be let in.
const SECRET_OPTION: &str = "--set";

/// Parameters of URLs that let somebody in.
const SECRET_PARAMETERS: [&str; 10] =
    ["access_token", "api_key", "apikey", "auth", "jwt", "key", "password", "secret", "signature", "token"];

const HIDDEN: &str = "***";

impl Environment {
    /// This machine, for a run that started then with these arguments, the program's name first. What the machine does not
    /// tell is left empty.
    pub fn observe(started: SystemTime, arguments: impl IntoIterator<Item = String>) -> Self {
        Self {
            started: humantime::format_rfc3339_seconds(started).to_string(),
            kernel: line("/proc/sys/kernel/osrelease"),
            cpu: cpu(&text("/proc/cpuinfo")).unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: memory_bytes(&text("/proc/meminfo")).unwrap_or(0),
            congestion_control: line("/proc/sys/net/ipv4/tcp_congestion_control"),
            command: command(arguments),
        }
    }
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn line(path: &str) -> String {
    text(path).trim().to_owned()
}

/// The model of the first processor. ARM kernels name none.
fn cpu(cpuinfo: &str) -> Option<String> {
    let mut models = cpuinfo.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "model name").then(|| value.trim().to_owned())
    });
    models.next()
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// The command line as one could type it again, but for what is secret.
fn command(arguments: impl IntoIterator<Item = String>) -> String {
    let mut words = Vec::new();
    let mut secret_follows = false;
    for argument in arguments {
        let word = if secret_follows {
            without_value(&argument)
        } else if let Some(value) =
            argument.strip_prefix(SECRET_OPTION).and_then(|rest| rest.strip_prefix('='))
        {
            format!("{SECRET_OPTION}={}", without_value(value))
        } else {
            public(&argument)
        };
        secret_follows = !secret_follows && argument == SECRET_OPTION;
        words.push(quoted(word));
    }
    words.join(" ")
}

/// `name=value` with the value hidden.
fn without_value(setting: &str) -> String {
    match setting.split_once('=') {
        Some((name, _)) => format!("{name}={HIDDEN}"),
        None => HIDDEN.to_owned(),
    }
}

/// A URL without its user, password and parameters that let somebody in; other texts as they are.
pub(crate) fn public(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (authority, behind) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{HIDDEN}@{host}"),
        None => authority.to_owned(),
    };
    let behind = match behind.split_once('?') {
        Some((path, query)) => format!("{path}?{}", public_query(query)),
        None => behind.to_owned(),
    };
    format!("{scheme}://{authority}{behind}")
}

fn public_query(query: &str) -> String {
    let parameters = query.split('&').map(|parameter| match parameter.split_once('=') {
        Some((name, _)) if SECRET_PARAMETERS.contains(&name.to_ascii_lowercase().as_str()) => {
            format!("{name}={HIDDEN}")
        }
        _ => parameter.to_owned(),
    });
    parameters.collect::<Vec<_>>().join("&")
}

/// In single quotes if a shell would read it as something else.
fn quoted(word: String) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@,+%*".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word;
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn this_machine_is_known() {
        let started = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let seen = Environment::observe(started, ["fanfare-loadgen".to_owned(), "run".to_owned()]);
        assert_eq!(seen.started, "2023-11-14T22:13:20Z");
        assert_eq!(seen.command, "fanfare-loadgen run");
        assert!(!seen.kernel.is_empty() && seen.cores > 0 && seen.memory_bytes > 1 << 20, "{seen:?}");
    }

    #[test]
    fn files_of_proc_are_read_and_odd_ones_are_harmless() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A CPU: fast @ 3 GHz\nprocessor\t: 1\nmodel name\t: B\n";
        assert_eq!(cpu(cpuinfo).as_deref(), Some("A CPU: fast @ 3 GHz"));
        assert_eq!(cpu("processor\t: 0\n"), None);
        assert_eq!(memory_bytes("MemTotal:       2048 kB\nMemFree: 1 kB\n"), Some(2 << 20));
        assert_eq!(memory_bytes("MemTotal: much kB\n"), None);
    }

    #[test]
    fn secrets_are_hidden() {
        for (arguments, expected) in [
            ("run ws://h/ws/a --set token=abc --rate 5", "run ws://h/ws/a --set token=*** --rate 5"),
            ("run --set=key=a=b", "run --set=key=***"),
            ("run --set abc --set --set=x", "run --set *** --set --set=***"),
            ("run ws://me:pw@h:9000/ws/a?x=1&token=t", "run 'ws://***@h:9000/ws/a?x=1&token=***'"),
            ("run ws://h/a?TOKEN=t#f", "run 'ws://h/a?TOKEN=***'"),
            ("run ws://h/@a p99<5ms", "run ws://h/@a 'p99<5ms'"),
        ] {
            let hidden = command(arguments.split(' ').map(str::to_owned));
            assert_eq!(hidden, expected, "{arguments}");
        }
    }

    #[test]
    fn a_shell_reads_back_the_same_words() {
        for (word, expected) in [("plain", "plain"), ("", "''"), ("a b", "'a b'"), ("it's", r"'it'\''s'")] {
            assert_eq!(quoted(word.to_owned()), expected);
        }
    }
}
