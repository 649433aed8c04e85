//! The payload of a measured message: which one it is, when it was due, when it was sent, a checksum, and what real
//! payloads would hold.
//!
//! Four words of eight characters, then the body, whose size and content are [`Content`]'s:
//!
//! | word | bits |
//! |---|---|
//! | 0 | checksum of everything behind it, 48 |
//! | 1 | publisher, 16; sequence, 32 |
//! | 2 | when it was due, in nanoseconds since the run's epoch, 48 |
//! | 3 | the run, 12; how long after that it was sent, in nanoseconds, 36 |
//!
//! Each character carries six bits. All of them are printable ASCII without `"` and `\`, and so is filler, so a payload can
//! travel as text, as binary or inside a JSON string, and be read by a person. Records from a file are as they are there.
//!
//! - `format`: writes payloads and reads them
//! - `words`: the characters of the header
//! - `content`: what stands behind the header
//! - `sizes`: how large payloads are
//! - `records`: payloads from a file

mod content;
mod format;
mod records;
mod sizes;
mod words;

pub use content::Content;
pub(crate) use format::{Format, PUBLISHERS_MAX, Stamp, Unread};
pub(crate) use records::Records;
pub use sizes::Sizes;
pub(crate) use sizes::parse_bytes;
