//! The name of a topic, validated once, where it enters.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use crate::percent;

/// The longest topic name in bytes.
pub const TOPIC_NAME_BYTES_MAX: usize = 128;

/// A valid topic name: 1 to 128 bytes of UTF-8 without control characters and without space at either end.
///
/// Clones share the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// Why a text is no topic name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicNameError {
    /// There is no text.
    Empty,
    /// There are more than [`TOPIC_NAME_BYTES_MAX`] bytes.
    TooLong,
    /// One of the characters is a control character.
    ControlCharacter,
    /// The first or the last character is white space.
    OuterSpace,
    /// The path segment's percent-encoding is broken, or what it encodes is not UTF-8.
    Encoding,
}

impl fmt::Display for TopicNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a topic name must not be empty",
            Self::TooLong => "a topic name has at most 128 bytes",
            Self::ControlCharacter => "a topic name must not contain control characters",
            Self::OuterSpace => "a topic name must not begin or end with space",
            Self::Encoding => "a topic name in a path must be percent-encoded UTF-8",
        })
    }
}

impl std::error::Error for TopicNameError {}

impl TopicName {
    /// Checks a name.
    pub fn parse(name: &str) -> Result<Self, TopicNameError> {
        if name.is_empty() {
            return Err(TopicNameError::Empty);
        }
        if name.len() > TOPIC_NAME_BYTES_MAX {
            return Err(TopicNameError::TooLong);
        }
        if name.chars().any(char::is_control) {
            return Err(TopicNameError::ControlCharacter);
        }
        if name.trim().len() != name.len() {
            return Err(TopicNameError::OuterSpace);
        }
        Ok(Self(name.into()))
    }

    /// Checks a name that stands percent-encoded in a URL's path.
    pub fn from_path_segment(segment: &str) -> Result<Self, TopicNameError> {
        // Three bytes a character are the most that an encoding takes; what is longer need not be decoded.
        if segment.len() > 3 * TOPIC_NAME_BYTES_MAX {
            return Err(TopicNameError::TooLong);
        }
        Self::parse(&percent::decode(segment, false).ok_or(TopicNameError::Encoding)?)
    }

    /// The name as one segment of a URL's path.
    pub fn to_path_segment(&self) -> String {
        percent::encode(self)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for TopicName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for TopicName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for TopicName {
    type Err = TopicNameError;

    fn from_str(name: &str) -> Result<Self, TopicNameError> {
        Self::parse(name)
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}
