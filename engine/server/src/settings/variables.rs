//! The layer of the `FANFARE_*` variables.

use std::ffi::OsString;

use super::error::{SettingsError, nearest};

const PREFIX: &str = "FANFARE_";

/// Variables of other commands than `serve`.
const OTHERS: [&str; 1] = [crate::commands::URL_VARIABLE];

/// One variable that names a setting.
#[derive(Debug)]
pub(crate) struct Variable {
    pub(super) key: String,
    pub(super) value: String,
    name: String,
}

impl Variable {
    pub(super) fn refused(&self, why: String) -> SettingsError {
        SettingsError::Value { place: format!("the variable {}", self.name), why }
    }
}

/// The variable of a key.
pub(super) fn name_of(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase())
}

/// Picks the settings out of an environment.
///
/// # Errors
/// A variable that begins like ours but names nothing: most likely a slip of the pen that must not pass unseen.
pub(crate) fn read(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<Variable>, SettingsError> {
    let keys = super::keys();
    let mut variables = Vec::new();
    for (name, value) in environment {
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with(PREFIX) || OTHERS.contains(&name.as_str()) || is_service_link(&name) {
            continue;
        }
        let Some(key) = keys.iter().find(|key| name_of(key) == name) else {
            let known = keys.iter().map(|key| name_of(key)).chain(OTHERS.map(str::to_owned));
            let nearest = nearest(&name, known);
            return Err(SettingsError::UnknownVariable { name, nearest });
        };
        let value = value.to_string_lossy().into_owned();
        variables.push(Variable { key: key.clone(), value, name });
    }
    Ok(variables)
}

/// Whether Kubernetes set this variable for a Service that is called fanfare: every pod gets `FANFARE_SERVICE_HOST`,
/// `FANFARE_SERVICE_PORT`, `FANFARE_PORT`, `FANFARE_PORT_9000_TCP` and so on.
fn is_service_link(name: &str) -> bool {
    let name = &name[PREFIX.len()..];
    ["SERVICE_HOST", "SERVICE_PORT", "PORT"].contains(&name)
        || name.starts_with("SERVICE_PORT_")
        || name.starts_with("PORT_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(name: &str) -> Result<Vec<Variable>, SettingsError> {
        read([(OsString::from(name), OsString::from("1"))])
    }

    #[test]
    fn an_unknown_variable_names_the_nearest() {
        for (name, nearest) in [
            ("FANFARE_LISTN", "FANFARE_LISTEN"),
            ("FANFARE_lag_bytes_max", "FANFARE_LAG_BYTES_MAX"),
            ("FANFARE_SHARD", "FANFARE_SHARDS"),
            ("FANFARE_URI", "FANFARE_URL"),
        ] {
            let error = read_one(name).expect_err(name).to_string();
            assert!(error.contains(name) && error.contains(&format!("Did you mean {nearest}?")), "{error}");
        }
    }

    #[test]
    fn variables_of_others_are_let_be() {
        for name in [
            "PATH",
            "FANFARE",
            "FANFARE_URL",
            "FANFARE_PORT",
            "FANFARE_PORT_9000_TCP",
            "FANFARE_SERVICE_HOST",
        ] {
            assert!(read_one(name).expect(name).is_empty(), "{name}");
        }
        assert_eq!(read_one("FANFARE_SHARDS").expect("a setting").len(), 1);
    }
}
