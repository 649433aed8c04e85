//! Patterns over topic names, by which rules say which topics they are for.

use std::fmt;
use std::str::FromStr;

/// The longest pattern in bytes.
pub const PATTERN_BYTES_MAX: usize = 128;

/// A pattern such as `prices.*`: `*` stands for any number of any characters, also for none; all else stands
/// for itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPattern(Box<str>);

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// There is no text.
    Empty,
    /// There are more than [`PATTERN_BYTES_MAX`] bytes.
    TooLong,
    /// One of the characters is a control character, which no topic name contains.
    ControlCharacter,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a topic pattern must not be empty",
            Self::TooLong => "a topic pattern has at most 128 bytes",
            Self::ControlCharacter => "a topic pattern must not contain control characters",
        })
    }
}

impl std::error::Error for PatternError {}

impl TopicPattern {
    /// Checks a pattern.
    pub fn parse(pattern: &str) -> Result<Self, PatternError> {
        if pattern.is_empty() {
            return Err(PatternError::Empty);
        }
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        if pattern.chars().any(char::is_control) {
            return Err(PatternError::ControlCharacter);
        }
        Ok(Self(pattern.into()))
    }

    /// Whether the pattern describes the whole of this name.
    ///
    /// Bytes are compared, not characters: in UTF-8 no character's encoding begins inside of another's, so
    /// both agree. Only the last star is ever taken back: what an earlier one covers is as short as it can
    /// be, and that leaves the most for the later ones. So the work is at most the product of the lengths.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut name_at) = (0, 0);
        // Behind the last star, and where the part of the name begins that follows what it covers.
        let mut last_star = None;
        while name_at < name.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    at += 1;
                    last_star = Some((at, name_at));
                }
                Some(byte) if *byte == name[name_at] => {
                    at += 1;
                    name_at += 1;
                }
                _ => {
                    let Some((behind_star, uncovered)) = last_star else { return false };
                    at = behind_star;
                    name_at = uncovered + 1;
                    last_star = Some((at, name_at));
                }
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TopicPattern {
    type Err = PatternError;

    fn from_str(pattern: &str) -> Result<Self, PatternError> {
        Self::parse(pattern)
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}
