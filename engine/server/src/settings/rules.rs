//! The `[[topic]]` tables of the TOML file: what holds for the topics that match a pattern.
//!
//! ```toml
//! [[topic]]
//! match = "prices.*"
//! policy = "conflate"
//! log_messages_max = 0
//! ```
//!
//! Of several tables whose pattern matches a topic the first one counts. What it does not say has the value of the key
//! of the same name at the top of the file, wherever that comes from.

use fanfare::{TopicPattern, TopicRule};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{SettingsError, nearest};
use super::limits::RULE_KEYS;
use super::{Settings, file};

/// The key that says which topics a table is about.
const MATCH: &str = "match";

/// Reads all tables; `place` is what errors call a byte of the file.
pub(super) fn read(
    value: &Spanned<DeValue<'_>>,
    place: &impl Fn(usize) -> String,
) -> Result<Vec<TopicRule>, SettingsError> {
    let refused = |at: usize| SettingsError::Value {
        place: place(at),
        why: "rules are tables, each below a line [[topic]] of its own".to_owned(),
    };
    let DeValue::Array(tables) = value.get_ref() else { return Err(refused(value.span().start)) };
    let rule = |table: &Spanned<DeValue<'_>>| match table.get_ref() {
        DeValue::Table(keys) => read_one(keys, table.span().start, place),
        _ => Err(refused(table.span().start)),
    };
    tables.iter().map(rule).collect()
}

/// Reads the table that begins at byte `at`.
fn read_one(
    table: &DeTable<'_>,
    at: usize,
    place: &impl Fn(usize) -> String,
) -> Result<TopicRule, SettingsError> {
    let mut pattern = None;
    // What a rule may say are settings, so it is read as the settings are.
    let mut says = Settings::default();
    for (key, value) in table {
        let place = || format!("{}, in [[topic]]", place(key.span().start));
        let key = key.get_ref().as_ref();
        if key == MATCH {
            let why = |why: String| SettingsError::Value { place: format!("{}, key {key}", place()), why };
            let DeValue::String(text) = value.get_ref() else {
                return Err(why("expected a string".to_owned()));
            };
            pattern = Some(TopicPattern::parse(text).map_err(|error| why(error.to_string()))?);
        } else if RULE_KEYS.contains(&key) {
            file::set(&mut says, key, value.get_ref(), place)?;
        } else {
            let known = RULE_KEYS.iter().chain([&MATCH]).map(|known| (*known).to_owned());
            let (key, nearest) = (key.to_owned(), nearest(key, known));
            return Err(SettingsError::UnknownKey { place: place(), key, nearest });
        }
    }
    let Some(pattern) = pattern else {
        let why = "a [[topic]] table needs the key match, such as match = \"prices.*\"".to_owned();
        return Err(SettingsError::Value { place: place(at), why });
    };
    Ok(says.limits.rule(pattern))
}

#[cfg(test)]
mod tests {
    use fanfare::{Config, Policy};

    use super::*;

    fn read_text(text: &str) -> Result<Config, String> {
        let mut settings = Settings::default();
        let read = file::read_text(&mut settings, text, "f.toml").and_then(|()| settings.check());
        read.map(|resolved| resolved.config).map_err(|error| error.to_string())
    }

    #[test]
    fn every_field_of_a_rule_can_be_said() {
        let fields = format!("{:#?}", TopicRule::new(TopicPattern::parse("*").expect("a pattern")));
        let fields = fields.lines().filter_map(|line| line.trim().split_once(": ")).map(|(field, _)| field);
        assert_eq!(fields.filter(|field| *field != "pattern").collect::<Vec<_>>(), RULE_KEYS);
    }

    #[test]
    fn rules_stand_in_the_order_of_the_file_and_beside_what_is_flat() {
        let text = "
            keys_max = 5
            [[topic]]
            match = \"prices.*\"
            policy = \"conflate\"
            policies_allowed = [\"conflate\", \"latest\"]
            [[topic]]
            match = \"*\"
            log_messages_max = 0x10
        ";
        let config = read_text(text).expect("valid rules");
        assert_eq!(config.keys_max, 5);
        let patterns: Vec<_> = config.rules.iter().map(|rule| rule.pattern.as_str()).collect();
        assert_eq!(patterns, ["prices.*", "*"]);
        let [prices, all] = &config.rules[..] else { unreachable!("there are two") };
        assert_eq!((prices.policy, prices.log_messages_max), (Some(Policy::Conflate), None));
        assert_eq!(prices.policies_allowed.map(|set| set.to_string()).as_deref(), Some("conflate,latest"));
        assert_eq!((all.policy, all.log_messages_max), (None, Some(16)));
        assert_eq!(read_text("topic = [{ match = 'a' }]").expect("the same in one line").rules.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, words) in [
            (
                "shards = 1\n[[topic]]\nmatch = 'a'\npolcy = 'skip'",
                ["f.toml, line 4, in [[topic]]", "no setting polcy.", "Did you mean policy?"],
            ),
            ("[[topic]]\nmach = 'a'", ["line 2", "no setting mach.", "Did you mean match?"]),
            ("[[topic]]\nmatch = 'a'\ntopics_max = 1", ["line 3, in [[topic]]", "topics_max", "Did you"]),
            ("[[topic]]\nmatch = 'a'\nkeys_max = 'b'", ["line 3", "key keys_max", "invalid digit"]),
            ("[[topic]]\nmatch = 'a'\nkeys_max = [1]", ["line 3", "key keys_max", "whole number"]),
            ("[[topic]]\nmatch = 'a'\npolicy = 'slow'", ["line 3", "key policy", "'slow'"]),
            ("[[topic]]\nmatch = ''", ["line 2", "key match", "must not be empty"]),
            ("[[topic]]\nmatch = 1", ["line 2", "key match", "expected a string"]),
            (
                "[[topic]]\nmatch = 'a'\n\n[[topic]]\npolicy = 'skip'",
                ["f.toml, line 4", "needs the key match", "prices.*"],
            ),
            ("[topic]\nmatch = 'a'", ["line 1", "[[topic]]", "tables"]),
            ("topic = 'a'", ["line 1", "[[topic]]", "tables"]),
            ("topic = ['a']", ["line 1", "[[topic]]", "tables"]),
            ("[[topic]]\nmatch = 'a'\nmatch = 'b'", ["line 3", "duplicate", "f.toml"]),
            (
                "[[topic]]\nmatch = 'chat.*'\nlog_bytes_max = 10",
                ["the rule for chat.*", "log_bytes_max", "at least 4096"],
            ),
        ] {
            let error = read_text(text).expect_err(text);
            for word in words {
                assert!(error.contains(word), "{text:?}: {word:?} is missing in {error:?}");
            }
        }
    }
}
