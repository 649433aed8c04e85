//! The opening handshake of RFC 6455 section 4: an HTTP/1.1 request with `Upgrade: websocket`, and status
//! 101.
//!
//! Reads heads out of what has arrived so far and writes heads into buffers. It never guesses: a head that
//! two readers could understand differently is refused.
//!
//! - `tokens`: header values that are lists
//! - `accept`: the proof that the other side speaks WebSocket
//! - [`server`]: requests, and [`reject`] for those that are refused
//! - [`client`]: the request of a client and what came back, with `body` for refusals

mod accept;
mod body;
pub mod client;
pub mod reject;
pub mod server;
mod tokens;

pub use tokens::Extension;

/// The highest value of [`HeadLimits::headers_max`] that has an effect.
pub const HEADERS_CEILING: usize = 128;

/// How large the head of a request or a response may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes from the first line to the empty line, both included.
    pub head_bytes_max: usize,
    /// Header lines. At most [`HEADERS_CEILING`].
    pub headers_max: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { head_bytes_max: 8 * 1024, headers_max: 64 }
    }
}
