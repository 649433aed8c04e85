//! The layer of the TOML file: a flat table of the settings' keys, and `[[topic]]` tables with rules.

use std::path::Path;

use toml::de::{DeArray, DeTable, DeValue};

use super::error::{SettingsError, nearest};
use super::{Settings, rules};

/// The keys whose value may be a list of words; as one string it has commas between them.
const LISTS: [&str; 2] = ["policies_allowed", "origins_allowed"];

/// The key of the rules.
const RULES: &str = "topic";

/// Reads a file into the settings.
pub(super) fn read(settings: &mut Settings, path: &Path) -> Result<(), SettingsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| SettingsError::File { path: path.to_owned(), error })?;
    read_text(settings, &text, &path.display().to_string())
}

/// Reads TOML into the settings; `name` is what errors call it.
pub(super) fn read_text(settings: &mut Settings, text: &str, name: &str) -> Result<(), SettingsError> {
    let place = |at: usize| format!("{name}, line {}", line_of(text, at));
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        SettingsError::Value { place: place(at), why: error.message().to_owned() }
    })?;
    // A file that names another file would need an order between the two.
    let keys: Vec<String> = super::keys().into_iter().filter(|key| key != "config").collect();
    for (key, value) in table.get_ref() {
        if key.get_ref() == RULES {
            settings.rules = rules::read(value, &place)?;
            continue;
        }
        let known = || keys.iter().map(String::as_str);
        if !known().any(|known| known == key.get_ref()) {
            let nearest = nearest(key.get_ref(), known().chain([RULES]).map(str::to_owned));
            let (place, key) = (place(key.span().start), key.get_ref().to_string());
            return Err(SettingsError::UnknownKey { place, key, nearest });
        }
        set(settings, key.get_ref(), value.get_ref(), || place(key.span().start))?;
    }
    Ok(())
}

/// Gives a known key a value of the file.
pub(super) fn set(
    settings: &mut Settings,
    key: &str,
    value: &DeValue<'_>,
    place: impl Fn() -> String,
) -> Result<(), SettingsError> {
    let refused = |why| SettingsError::Value { place: format!("{}, key {key}", place()), why };
    let value = match value {
        DeValue::Array(words) if LISTS.contains(&key) => list(words),
        value => scalar(value),
    };
    settings.set(key, &value.map_err(refused)?).map_err(refused)
}

/// A list of words as it would stand behind its flag.
fn list(words: &DeArray<'_>) -> Result<String, String> {
    let words = words.iter().map(|word| match word.get_ref() {
        DeValue::String(word) => Ok(&**word),
        _ => Err("expected a string, or a list of strings".to_owned()),
    });
    Ok(words.collect::<Result<Vec<_>, _>>()?.join(","))
}

/// A value as it would stand behind its flag.
fn scalar(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(value) => Ok(value.to_string()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map(|number| number.to_string())
            .map_err(|_| "this number is too large".to_owned()),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            Err("expected a string, a whole number, true or false".to_owned())
        }
    }
}

/// The number of the line in which byte `at` stands.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str) -> String {
        read_text(&mut Settings::default(), text, "f.toml").expect_err(text).to_string()
    }

    #[test]
    fn every_key_but_the_files_own_is_known() {
        for key in super::super::keys() {
            let outcome = read_text(&mut Settings::default(), &format!("{key} = \"\""), "f.toml");
            let unknown = matches!(outcome, Err(SettingsError::UnknownKey { .. }));
            assert_eq!(unknown, key == "config", "{key}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, words) in [
            (
                "shards = 2\nlisten_addr = \"127.0.0.1:1\"",
                ["f.toml, line 2", "listen_addr", "Did you mean listen?"],
            ),
            ("lag_byte_max = 1", ["line 1", "lag_byte_max", "Did you mean lag_bytes_max?"]),
            ("\n\nshards = true", ["line 3", "key shards", "invalid digit"]),
            ("listen = 9000", ["line 1", "key listen", "127.0.0.1:9000"]),
            ("log_format = \"xml\"", ["key log_format", "human", "json"]),
            ("insecure = \"maybe\"", ["key insecure", "true", "false"]),
            ("shards = [1]", ["key shards", "whole number", "line 1"]),
            ("[limits]\nshards = 1", ["line 1", "limits", "Did you mean"]),
            ("shards = 1\nshards = 2", ["line 2", "duplicate", "f.toml"]),
            ("shards =", ["line 1", "f.toml", "value"]),
            ("policy = \"slow\"", ["line 1, key policy", "'slow'", "disconnect, skip, conflate or latest"]),
            ("policy = [\"skip\"]", ["line 1", "key policy", "expected a string"]),
            ("policies_allowed = []", ["key policies_allowed", "a policy is", "skip"]),
            ("policies_allowed = [1]", ["key policies_allowed", "list of strings", "line 1"]),
            ("origins_allowed = []", ["key origins_allowed", "origins-allowed", "line 1"]),
            ("origins_allowed = [\"local\", 1]", ["key origins_allowed", "list of strings", "line 1"]),
            ("origins_allowed = \"example.org\"", ["key origins_allowed", "example.org", "https://"]),
            ("echo = 1", ["key echo", "true", "false"]),
            ("[[topics]]\nmatch = \"a\"", ["line 1", "no setting topics", "Did you mean topic?"]),
        ] {
            let error = error_of(text);
            for word in words {
                assert!(error.contains(word), "{text:?}: {word:?} is missing in {error:?}");
            }
        }
    }

    #[test]
    fn numbers_may_be_written_as_toml_allows() {
        let mut settings = Settings::default();
        read_text(&mut settings, "log_bytes_max = 0x1000_0000\nshards = 1_0", "f.toml")
            .expect("both are numbers");
        assert_eq!(settings.shards, Some(10));
    }

    #[test]
    fn policies_are_words() {
        for (text, policies) in [
            ("policies_allowed = \"disconnect, skip\"", "disconnect,skip"),
            ("policies_allowed = [\"latest\", \"disconnect\"]", "disconnect,latest"),
            ("policy = \"skip\"\npolicies_allowed = 'skip'", "skip"),
        ] {
            let mut settings = Settings::default();
            read_text(&mut settings, text, "f.toml").expect(text);
            assert_eq!(settings.check().expect(text).config.policies_allowed.to_string(), policies);
        }
    }
}
