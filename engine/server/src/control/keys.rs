//! The keys of a body's messages: from the query, or from a member of each.

use std::fmt;

use axum::extract::Query;
use axum::http::Uri;
use fanfare_wire::Kind;
use fanfare_wire::key::Key;
use serde::Deserialize;
use serde::de::{Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::body::Format;
use super::error::ApiError;

/// Which keys a body's messages have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// None.
    Absent,
    /// All the same: `?key=`.
    Same(Key),
    /// Each its own, which is the string in the member of this name: `?key_member=`.
    Member(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishQuery {
    key: Option<String>,
    key_member: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveQuery {
    key: String,
}

impl Keys {
    /// Reads the query of a publish whose body has this format.
    pub(super) fn of(uri: &Uri, format: Format) -> Result<Self, ApiError> {
        let refused = |message| ApiError::bad_request("bad_query", message);
        let Ok(Query(PublishQuery { key, key_member })) = Query::try_from_uri(uri) else {
            return Err(refused("POST /topics/{topic} takes ?key= or ?key_member=."));
        };
        match (key, key_member) {
            (None, None) => Ok(Self::Absent),
            (Some(key), None) => parse(&key).map(Self::Same),
            (None, Some(_)) if !matches!(format, Format::Lines | Format::One(Kind::Json)) => Err(refused(
                "key_member needs messages that are JSON; give text and bytes their key with ?key=.",
            )),
            (None, Some(member)) => Ok(Self::Member(member)),
            (Some(_), Some(_)) => Err(refused("key and key_member exclude each other.")),
        }
    }

    /// The key of a message, or what is wrong with it. With a member, the payload is one JSON text.
    pub(super) fn key(&self, payload: &[u8]) -> Result<Option<Key>, String> {
        let name = match self {
            Self::Absent => return Ok(None),
            Self::Same(key) => return Ok(Some(key.clone())),
            Self::Member(name) => name,
        };
        let Some(text) = string_member(payload, name) else {
            return Err(format!("has no member {name} with a string, or more than one"));
        };
        Key::parse(&text).map(Some).map_err(|error| format!("has a member {name} that is no key: {error}"))
    }
}

/// Reads the query of a removal: the key.
pub(super) fn key_to_remove(uri: &Uri) -> Result<Key, ApiError> {
    let Ok(Query(RemoveQuery { key })) = Query::try_from_uri(uri) else {
        let message = "DELETE /topics/{topic} takes ?key=, the key to remove.";
        return Err(ApiError::bad_request("bad_query", message));
    };
    parse(&key)
}

fn parse(key: &str) -> Result<Key, ApiError> {
    Key::parse(key).map_err(|error| ApiError::bad_request("bad_key", format!("This is no key: {error}.")))
}

/// The string in the one member of this name of a JSON object.
fn string_member(object: &[u8], name: &str) -> Option<String> {
    let raw = serde_json::Deserializer::from_slice(object).deserialize_map(Member(name)).ok()??;
    serde_json::from_str(raw.get()).ok()
}

struct Member<'n>(&'n str);

impl<'a> Visitor<'a> for Member<'_> {
    type Value = Option<&'a RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value()?;
            if name == self.0 && found.replace(value).is_some() {
                return Err(A::Error::custom("the member is there twice"));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: Format = Format::One(Kind::Json);

    #[test]
    fn a_query_says_where_keys_come_from_and_nothing_else() {
        let key = |key| Keys::Same(Key::parse(key).expect("a key"));
        let member = |name: &str| Keys::Member(name.to_owned());
        for (query, format, outcome) in [
            ("", JSON, Ok(Keys::Absent)),
            ("?", JSON, Ok(Keys::Absent)),
            ("?key=EUR%2FUSD", Format::One(Kind::Text), Ok(key("EUR/USD"))),
            ("?key=a+b", Format::Lines, Ok(key("a b"))),
            ("?key_member=symbol", Format::Lines, Ok(member("symbol"))),
            ("?key_member=symbol", JSON, Ok(member("symbol"))),
            ("?key_member=symbol", Format::One(Kind::Text), Err("bad_query")),
            ("?key_member=symbol", Format::One(Kind::Binary), Err("bad_query")),
            ("?key=a&key_member=symbol", JSON, Err("bad_query")),
            ("?key=a&key=b", JSON, Err("bad_query")),
            ("?keys=a", JSON, Err("bad_query")),
            ("?key", JSON, Err("bad_key")),
            ("?key=", JSON, Err("bad_key")),
            ("?key=%0a", JSON, Err("bad_key")),
        ] {
            let uri = format!("/topics/t{query}").parse().expect("a URI");
            assert_eq!(Keys::of(&uri, format).map_err(|error| error.code()), outcome, "{query} {format:?}");
        }
    }

    #[test]
    fn a_removal_needs_its_key() {
        for (query, outcome) in [
            ("?key=a%20b", Ok("a b")),
            ("", Err("bad_query")),
            ("?key=a&tombstone=true", Err("bad_query")),
            ("?key_member=a", Err("bad_query")),
            ("?key=", Err("bad_key")),
        ] {
            let uri = format!("/topics/t{query}").parse().expect("a URI");
            let key = key_to_remove(&uri).map_err(|error| error.code());
            assert_eq!(key.as_ref().map(Key::as_str).map_err(|code| *code), outcome, "{query}");
        }
    }

    #[test]
    fn a_member_is_a_key_if_it_is_one_string_that_can_be() {
        let long = format!("{{\"k\":\"{}\"}}", "x".repeat(129));
        for (object, outcome) in [
            (r#"{"a":1,"k":"EUR"}"#, Ok("EUR")),
            (r#" { "k" : "a\u0062\"" } "#, Ok("ab\"")),
            (r#"{"\u006b":"c"}"#, Ok("c")),
            (r#"{"a":{"k":"inner"},"k":"outer"}"#, Ok("outer")),
            (r#"{"a":{"k":"inner"}}"#, Err("has no member k")),
            (r#"{"k":"a","k":"b"}"#, Err("more than one")),
            (r#"{"k":1}"#, Err("has no member k with a string")),
            (r#"{"k":null}"#, Err("has no member k with a string")),
            (r#"{"k":"\ud800"}"#, Err("has no member k with a string")),
            ("{}", Err("has no member k")),
            (r#"["k"]"#, Err("has no member k")),
            (r#""k""#, Err("has no member k")),
            (r#"{"k":""}"#, Err("is no key: a key must not be empty")),
            (long.as_str(), Err("at most 128 bytes")),
        ] {
            let key = Keys::Member("k".to_owned()).key(object.as_bytes());
            match (key, outcome) {
                (Ok(Some(key)), Ok(expected)) => assert_eq!(key.as_str(), expected),
                (Err(fault), Err(words)) => assert!(fault.contains(words), "{object}: {fault}"),
                (key, _) => panic!("{object}: {key:?}"),
            }
        }
    }
}
