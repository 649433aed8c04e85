//! permessage-deflate (RFC 7692): messages that are compressed on their way.
//!
//! A message is compressed once and sent to many, so no message may depend on an earlier one: both
//! directions are without context takeover, always (section 7.1.1). What is left to agree on is the window.
//!
//! - `agree`: offers and answers, of either side
//! - `code`: [`Compressor`] and [`Inflater`]

mod agree;
mod code;

pub use agree::{Agreed, AnswerError, Granted, OFFER, Window, agree, read_answer};
pub use code::{Compressor, InflateError, Inflater};
