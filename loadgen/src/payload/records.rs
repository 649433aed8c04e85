//! Payloads from a file: one on each line.
//!
//! A line ends with LF or CRLF, which are not part of the payload. Empty lines are skipped. This is what NDJSON files and
//! logs are; a payload that holds a line feed cannot be in such a file.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::format::HEADER_BYTES;
use super::sizes::SIZE_MAX;

/// The largest file: plans travel to other machines with all records inside.
const FILE_BYTES_MAX: usize = 64 << 20;

/// The payloads of a file, in its order. At least one.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Records {
    /// All of them, without line ends. Shared, as every worker has its own format.
    bytes: Arc<[u8]>,
    /// Where each one ends.
    ends: Arc<[usize]>,
}

impl Records {
    /// # Errors
    /// If the file cannot be read, or holds no payloads.
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        let file = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::read(&file).map_err(|sentence| format!("{}: {sentence}", path.display()))
    }

    /// Takes a file's content apart.
    ///
    /// # Errors
    /// If it holds no payloads, or too much of them.
    pub(crate) fn read(file: &[u8]) -> Result<Self, String> {
        if file.len() > FILE_BYTES_MAX {
            return Err(format!("a file of payloads may have at most {FILE_BYTES_MAX} bytes"));
        }
        let (mut bytes, mut ends) = (Vec::with_capacity(file.len()), Vec::new());
        for line in file.split(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            if line.len() > SIZE_MAX - HEADER_BYTES {
                return Err(format!(
                    "payload {} is larger than {} bytes",
                    ends.len() + 1,
                    SIZE_MAX - HEADER_BYTES
                ));
            }
            bytes.extend_from_slice(line);
            ends.push(bytes.len());
        }
        if ends.is_empty() {
            return Err("there is no payload in it; it should have one on each line".to_owned());
        }
        Ok(Self { bytes: bytes.into(), ends: ends.into() })
    }

    pub(crate) fn count(&self) -> usize {
        self.ends.len()
    }

    /// A record; behind the last one the first one comes again.
    #[inline]
    pub(super) fn get(&self, index: usize) -> &[u8] {
        let index = index % self.ends.len();
        let begin = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[begin..self.ends[index]]
    }

    pub(super) fn lengths(&self) -> impl Iterator<Item = usize> {
        (0..self.count()).map(|index| self.get(index).len())
    }

    pub(super) fn mean_bytes(&self) -> f64 {
        self.bytes.len() as f64 / self.count() as f64
    }

    /// Whether each of them is valid UTF-8.
    pub(super) fn is_text(&self) -> bool {
        (0..self.count()).all(|index| std::str::from_utf8(self.get(index)).is_ok())
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Records({} with {} bytes)", self.count(), self.bytes.len())
    }
}

/// The file, in base64: JSON carries no bytes.
impl From<Records> for String {
    fn from(records: Records) -> Self {
        let lines: Vec<&[u8]> = (0..records.count()).map(|index| records.get(index)).collect();
        STANDARD.encode(lines.join(&b'\n'))
    }
}

impl TryFrom<String> for Records {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::read(&STANDARD.decode(text).map_err(|error| format!("records that are no base64: {error}"))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(file: &[u8], expected: &[&[u8]]) {
        let records = Records::read(file).expect("records");
        assert_eq!((0..records.count()).map(|index| records.get(index)).collect::<Vec<_>>(), expected);
        assert_eq!(records.get(records.count()), expected[0], "after the last comes the first");
        let json = serde_json::to_string(&records).expect("records as JSON");
        assert_eq!(serde_json::from_str::<Records>(&json).expect(&json), records);
    }

    #[test]
    fn each_line_is_a_payload() {
        check(b"one", &[b"one"]);
        check(b"one\ntwo\n", &[b"one", b"two"]);
        check(b"one\r\n\r\n\n two \r\n", &[b"one", b" two "]);
        check(b"a\xff\0\nb\rc", &[b"a\xff\0", b"b\rc"]);
    }

    #[test]
    fn a_file_without_payloads_is_refused() {
        for file in [&b""[..], b"\n", b"\r\n\n"] {
            assert!(Records::read(file).expect_err("no records").contains("no payload"));
        }
        assert!(
            Records::load(Path::new("/nowhere.ndjson"))
                .expect_err("no file")
                .starts_with("/nowhere.ndjson: ")
        );
        let large = vec![b'x'; SIZE_MAX];
        assert!(Records::read(&large).expect_err("a large record").contains("payload 1 is larger than"));
    }

    #[test]
    fn text_is_valid_in_each_line() {
        assert!(Records::read("{\"name\":\"Zo\u{eb}\"}\n".as_bytes()).expect("records").is_text());
        assert!(!Records::read(b"fine\n\xff\n").expect("records").is_text());
    }
}
