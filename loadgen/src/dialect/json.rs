//! Payloads inside JSON: escaped when they are published, unescaped when they are delivered.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A JSON string; borrowed when it has no escapes.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// What an error says, in the members that all the protocols have.
#[derive(Debug, Deserialize)]
pub(super) struct Problem<'a> {
    #[serde(borrow)]
    pub(super) code: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) message: Option<Text<'a>>,
}

impl Problem<'_> {
    /// In words, such as `permission denied (code 103)`.
    pub(super) fn words(&self) -> String {
        let message = self.message.as_ref().map_or("no reason given", |text| &text.0);
        match self.code {
            Some(code) => format!("{message} (code {})", code.get().trim_matches('"')),
            None => message.to_owned(),
        }
    }
}

/// The payload in a member `data`: the text of a string, or else the JSON itself. `None` for a string of half
/// surrogates, which is no text.
pub(super) fn payload(data: &RawValue) -> Option<Cow<'_, str>> {
    if data.get().starts_with('"') {
        serde_json::from_str::<Text<'_>>(data.get()).ok().map(|text| text.0)
    } else {
        Some(Cow::Borrowed(data.get()))
    }
}

/// A payload as it stands between the quotes of a JSON string. What is not UTF-8 is replaced.
pub(super) fn escaped(payload: &[u8]) -> Cow<'_, [u8]> {
    match (is_plain(payload), String::from_utf8_lossy(payload)) {
        (true, Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
        (_, text) => {
            let quoted = quoted(&text);
            Cow::Owned(quoted.as_bytes()[1..quoted.len() - 1].to_vec())
        }
    }
}

/// `text` as a JSON string, with its quotes.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Whether nothing here has to be escaped in a JSON string. Without branches, so that it runs on whole vectors.
#[inline]
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |plain, &byte| plain & (byte >= 0x20) & (byte != b'"') & (byte != b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_needs_no_escape_is_borrowed() {
        assert!(matches!(escaped(b"EURUSD 1.0842 \xc3\xa9"), Cow::Borrowed(_)));
        assert_eq!(&*escaped(b"a \"b\" \\ \n \x01"), br#"a \"b\" \\ \n \u0001"#);
        assert_eq!(&*escaped(b"a\xffb"), "a\u{fffd}b".as_bytes());
    }

    #[test]
    fn data_that_is_no_string_is_the_json_itself() {
        for (data, expected) in [
            (r#""text""#, Some("text")),
            (r#""a \"b\"""#, Some("a \"b\"")),
            (r#"{"a": [1, 2]}"#, Some(r#"{"a": [1, 2]}"#)),
            ("null", Some("null")),
            (r#""\ud800""#, None),
        ] {
            let raw: &RawValue = serde_json::from_str(data).expect(data);
            assert_eq!(payload(raw).as_deref(), expected);
        }
    }

    proptest! {
        #[test]
        fn payloads_come_back(text: String) {
            let escaped = escaped(text.as_bytes());
            prop_assert_eq!(matches!(escaped, Cow::Borrowed(_)), is_plain(text.as_bytes()));
            let json = format!("\"{}\"", std::str::from_utf8(&escaped).expect("JSON"));
            let raw: &RawValue = serde_json::from_str(&json).expect("JSON");
            prop_assert_eq!(payload(raw).expect("text"), text);
        }
    }
}
