//! What the two sides settle in the handshake (RFC 7692 sections 5 and 7.1).

use std::fmt;

use crate::handshake::Extension;

/// The name under which the extension is offered and accepted.
const NAME: &str = "permessage-deflate";

/// What our clients offer: both directions without context takeover, and any window that the server wants
/// us to compress in.
pub const OFFER: &str =
    "permessage-deflate; client_no_context_takeover; server_no_context_takeover; client_max_window_bits";

/// The windows in which a server compresses. There are two and not seven, so that subscribers can share the
/// bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    /// 32 KiB, for all who do not ask for less.
    Full,
    /// 512 bytes, for all who do. It is within every limit that zlib can keep.
    Small,
}

impl Window {
    /// The base-2 logarithm of the window's size in bytes.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Full => 15,
            Self::Small => 9,
        }
    }
}

/// What a server's answer settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The window in which the server compresses.
    pub window: Window,
    /// Whether the client set a limit for that window. Only then does the answer have to name one.
    limited: bool,
}

impl Agreed {
    /// The value of the answer's Sec-WebSocket-Extensions header.
    ///
    /// A server may ask for client_no_context_takeover although it was not offered (RFC 7692 section
    /// 7.1.1.2).
    pub const fn header_value(&self) -> &'static str {
        match (self.window, self.limited) {
            (Window::Full, false) => {
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
            }
            (Window::Full, true) => {
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15"
            }
            (Window::Small, _) => {
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9"
            }
        }
    }
}

/// Chooses the first of a client's offers that a server can accept (RFC 7692 section 5).
///
/// An offer is declined if one of its parameters is unknown, occurs twice or has an invalid value (section
/// 7.1), or if it wants a window of 256 bytes, which zlib does not have.
pub fn agree(offers: &[Extension]) -> Option<Agreed> {
    offers.iter().find_map(accept)
}

fn accept(offer: &Extension) -> Option<Agreed> {
    let params = Params::read(offer)?;
    let (window, limited) = match params.server_max_window_bits {
        None => (Window::Full, false),
        Some(Some(15)) => (Window::Full, true),
        Some(Some(9..=14)) => (Window::Small, true),
        // A limit without a value is not one (section 7.1.2.1).
        Some(_) => return None,
    };
    // A client may say how large its window is at most, or that it would take a limit (section 7.1.2.2). The
    // inflater has the largest window, so both are fine as they are.
    Some(Agreed { window, limited })
}

/// What a server's answer grants to a client that offered [`OFFER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The base-2 logarithm of the window in which the client may compress, from 8 to 15. zlib has no window
    /// of 8 bits: such a client does not compress, which is always allowed (RFC 7692 section 6.1).
    pub client_window_bits: u8,
}

/// A server's answer that is no valid answer to [`OFFER`]. It fails the handshake (RFC 7692 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// An extension that was not offered.
    NotOffered,
    /// permessage-deflate is accepted twice.
    Twice,
    /// A parameter is unknown, occurs twice or has an invalid value.
    Parameter,
    /// The server does not promise server_no_context_takeover, which was asked for (section 7.1.1.1).
    ContextTakeover,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOffered => "the server chose an extension that was not offered",
            Self::Twice => "the server accepted permessage-deflate twice",
            Self::Parameter => "the server answered permessage-deflate with an invalid parameter",
            Self::ContextTakeover => {
                "the server did not grant server_no_context_takeover, which was asked for"
            }
        })
    }
}

impl std::error::Error for AnswerError {}

/// Reads a server's answer to [`OFFER`]; `None` if it declined.
pub fn read_answer(extensions: &[Extension]) -> Result<Option<Granted>, AnswerError> {
    if extensions.iter().any(|extension| extension.name != NAME) {
        return Err(AnswerError::NotOffered);
    }
    let answer = match extensions {
        [] => return Ok(None),
        [answer] => answer,
        _ => return Err(AnswerError::Twice),
    };
    let params = Params::read(answer).ok_or(AnswerError::Parameter)?;
    // In an answer both limits need a value (sections 7.1.2.1 and 7.1.2.2). Whatever the server's window is,
    // the inflater has the largest.
    if params.server_max_window_bits == Some(None) {
        return Err(AnswerError::Parameter);
    }
    let client_window_bits = match params.client_max_window_bits {
        None => 15,
        Some(Some(bits)) => bits,
        Some(None) => return Err(AnswerError::Parameter),
    };
    if !params.server_no_context_takeover {
        return Err(AnswerError::ContextTakeover);
    }
    Ok(Some(Granted { client_window_bits }))
}

/// The parameters of one offer or answer. A limit that is there may lack its value.
#[derive(Debug, Default)]
struct Params {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<Option<u8>>,
    client_max_window_bits: Option<Option<u8>>,
}

impl Params {
    /// `None` if this is another extension, or a parameter is unknown, occurs twice or has an invalid value.
    fn read(extension: &Extension) -> Option<Self> {
        if extension.name != NAME {
            return None;
        }
        let mut params = Self::default();
        for (name, value) in &extension.params {
            let value = value.as_deref();
            let twice = match &**name {
                "server_no_context_takeover" if value.is_none() => {
                    std::mem::replace(&mut params.server_no_context_takeover, true)
                }
                "client_no_context_takeover" if value.is_none() => {
                    std::mem::replace(&mut params.client_no_context_takeover, true)
                }
                "server_max_window_bits" => {
                    params.server_max_window_bits.replace(window_bits(value)?).is_some()
                }
                "client_max_window_bits" => {
                    params.client_max_window_bits.replace(window_bits(value)?).is_some()
                }
                _ => return None,
            };
            if twice {
                return None;
            }
        }
        Some(params)
    }
}

/// A limit's value, if it has one: a decimal integer from 8 to 15 without leading zeros (RFC 7692 section
/// 7.1.2). The outer `None` is for any other value.
fn window_bits(value: Option<&str>) -> Option<Option<u8>> {
    Some(match value {
        None => None,
        Some("8") => Some(8),
        Some("9") => Some(9),
        Some("10") => Some(10),
        Some("11") => Some(11),
        Some("12") => Some(12),
        Some("13") => Some(13),
        Some("14") => Some(14),
        Some("15") => Some(15),
        Some(_) => return None,
    })
}
