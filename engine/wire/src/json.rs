//! JSON (RFC 8259) as the protocols need it: objects read with their members unparsed, and values written
//! without a detour.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The largest integer that every JSON implementation keeps exact (RFC 8259 section 6).
pub(crate) const INTEGER_MAX: u64 = (1 << 53) - 1;

/// How deep JSON data may nest. Common parsers fail far below what fits in a message, and a publisher must
/// not be able to take a topic's subscribers down.
pub const JSON_DEPTH_MAX: usize = 128;

/// The members of an object: the values of the names that were asked for, unparsed.
pub(crate) struct Members<'a, const N: usize> {
    pub(crate) values: [Option<&'a RawValue>; N],
    /// Whether there are members with other names.
    pub(crate) unknown: bool,
}

/// Reads one JSON object; `None` when the text is anything else, or one of `names` occurs twice.
pub(crate) fn members<'a, const N: usize>(text: &'a str, names: [&'static str; N]) -> Option<Members<'a, N>> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let members = deserializer.deserialize_map(MembersVisitor(names)).ok()?;
    deserializer.end().ok()?;
    Some(members)
}

struct MembersVisitor<const N: usize>([&'static str; N]);

impl<'a, const N: usize> Visitor<'a> for MembersVisitor<N> {
    type Value = Members<'a, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Members { values: [None; N], unknown: false };
        while let Some(index) = map.next_key_seed(IndexOf(&self.0))? {
            let Some(index) = index else {
                members.unknown = true;
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if members.values[index].replace(map.next_value()?).is_some() {
                return Err(serde::de::Error::duplicate_field(self.0[index]));
            }
        }
        Ok(members)
    }
}

/// Deserializes a member's name into its place in the list.
struct IndexOf<'n>(&'n [&'static str]);

impl<'a> DeserializeSeed<'a> for IndexOf<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IndexOf<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|known| *known == name))
    }
}

/// The content of a JSON string; `None` when this is another kind of value, or escapes half a surrogate pair.
pub(crate) fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let quoted = raw.get();
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(quoted).ok().map(Cow::Owned) } else { Some(inner.into()) }
}

/// A JSON boolean; `None` when this is another kind of value.
pub(crate) fn boolean(raw: &RawValue) -> Option<bool> {
    raw.get().parse().ok()
}

/// A non-negative integer as JSON writes it: digits, and no zero before them.
pub(crate) fn digits(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// Such an integer that is at most [`INTEGER_MAX`].
pub(crate) fn integer(text: &str) -> Option<u64> {
    digits(text).filter(|&number| number <= INTEGER_MAX)
}

/// A non-negative number as JSON writes it.
pub(crate) fn number(text: &str) -> Option<f64> {
    // White space may surround a JSON text; a number it is not part of.
    let bare = text.starts_with(|first: char| first.is_ascii_digit()) && !text.ends_with(char::is_whitespace);
    if bare { serde_json::from_str(text).ok() } else { None }
}

/// Whether this is exactly one JSON text (RFC 8259), in UTF-8, and at most [`JSON_DEPTH_MAX`] levels deep.
pub fn is_json(text: &[u8]) -> bool {
    // serde_json does not look at the bytes inside of strings that it skips.
    let Ok(text) = simdutf8::basic::from_utf8(text) else { return false };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    IgnoredAny::deserialize(&mut deserializer).is_ok() && deserializer.end().is_ok() && is_shallow(text)
}

/// Whether a JSON text nests at most [`JSON_DEPTH_MAX`] levels. serde_json sets no limit on what it skips.
pub(crate) fn is_shallow(json: &str) -> bool {
    let opening = json.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count();
    // The common case: so few that they could all be inside of each other.
    if opening <= JSON_DEPTH_MAX {
        return true;
    }
    let mut depth = 0_usize;
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
        if depth > JSON_DEPTH_MAX {
            return false;
        }
    }
    true
}

/// Moves behind the end of a string whose opening quote was taken.
fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

/// Appends a JSON string.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("writing to a Vec does not fail, and text is always JSON");
}

/// Appends a number.
pub(crate) fn write_number(out: &mut Vec<u8>, number: u64) {
    serde_json::to_writer(out, &number).expect("writing to a Vec does not fail, and numbers are JSON");
}
