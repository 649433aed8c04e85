//! Close codes (RFC 6455 section 7.4) and the Close frame (section 5.5.1).

use std::fmt;

use crate::frame::{self, CONTROL_PAYLOAD_MAX, Opcode};

/// The longest reason that a Close frame holds beside its code.
pub const REASON_MAX: usize = CONTROL_PAYLOAD_MAX - 2;

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The connection did what it was for.
    pub const NORMAL: Self = Self(1000);
    /// The server shuts down, or the browser left the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL: Self = Self(1002);
    /// The peer sent a kind of data that is not accepted here.
    pub const UNSUPPORTED: Self = Self(1003);
    /// A text message or a close reason was not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// The peer broke a rule of ours that no other code describes.
    pub const POLICY: Self = Self(1008);
    /// A frame or message is over the limit.
    pub const TOO_BIG: Self = Self(1009);
    /// The server failed.
    pub const INTERNAL: Self = Self(1011);
    /// The server restarts; reconnect after a while.
    pub const RESTART: Self = Self(1012);
    /// The server is overloaded; try again later.
    pub const TRY_LATER: Self = Self(1013);
    /// Fanfare: the connection was silent for longer than the idle timeout.
    pub const IDLE: Self = Self(4000);
    /// Fanfare: the subscriber fell further behind than its lag limit.
    pub const SLOW: Self = Self(4008);

    /// Whether this code may stand in a Close frame, ours or a peer's (RFC 6455 section 7.4).
    ///
    /// 1004 is reserved; 1005, 1006 and 1015 describe closures without a frame and are never sent; 1016 to
    /// 2999 await definition. 3000 to 4999 are for libraries and applications. 1012 to 1014 were registered
    /// with IANA later.
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Appends a Close frame, masked when there is a key.
///
/// A reason longer than [`REASON_MAX`] bytes is cut, at a boundary between characters.
pub fn write(out: &mut Vec<u8>, code: CloseCode, reason: &str, key: Option<[u8; 4]>) {
    debug_assert!(code.is_sendable(), "{code} must not be sent");
    let reason = &reason[..reason.floor_char_boundary(REASON_MAX)];
    let mut payload = [0; CONTROL_PAYLOAD_MAX];
    payload[..2].copy_from_slice(&code.0.to_be_bytes());
    payload[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
    frame::write(out, Opcode::Close, true, &payload[..2 + reason.len()], key);
}
