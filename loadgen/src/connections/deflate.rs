//! permessage-deflate (RFC 7692) for all connections of one thread. No message depends on another one, so one inflater
//! serves all that come, and one compressor all that go in the same window.

use fanfare_wire::close::CloseCode;
use fanfare_wire::decode::DecodeError;
use fanfare_wire::deflate::{Compressor, Granted, Inflater, OFFER};

use super::MESSAGE_BYTES_MAX;

/// The header that offers it.
pub(super) const HEADER: (&str, &str) = ("Sec-WebSocket-Extensions", OFFER);

/// The windows in which a client may compress, as base-2 logarithms of bytes. zlib has none of 8.
const WINDOW_BITS_MIN: u8 = 9;
const WINDOW_BITS_MAX: u8 = 15;
const WINDOWS: usize = (WINDOW_BITS_MAX - WINDOW_BITS_MIN) as usize + 1;

/// Publishing takes little of the time that the worker has for what it measures.
const LEVEL: u32 = 1;

/// Why a compressed message ends the connection: with which code, and a sentence.
pub(super) type Breach = (CloseCode, &'static str);

/// What comes.
#[derive(Debug, Default)]
pub(super) struct Inflation {
    inflater: Inflater,
    inflated: Vec<u8>,
}

/// What goes: a compressor for each window that a server granted.
#[derive(Debug, Default)]
pub(super) struct Compressors([Option<Compressor>; WINDOWS]);

impl Inflation {
    /// A compressed message as it was before. Text must be UTF-8.
    pub(super) fn inflate(&mut self, text: bool, payload: &[u8]) -> Result<&[u8], Breach> {
        self.inflated.clear();
        let inflated = self.inflater.inflate(payload, MESSAGE_BYTES_MAX, &mut self.inflated);
        inflated.map_err(|error| (error.close_code(), error.reason()))?;
        if text && std::str::from_utf8(&self.inflated).is_err() {
            let error = DecodeError::TextNotUtf8;
            return Err((error.close_code(), error.reason()));
        }
        Ok(&self.inflated)
    }
}

impl Compressors {
    /// What compresses for a server that granted this; nothing if it wants a window that there is not, when messages go
    /// plain (section 6.1).
    pub(super) fn get(&mut self, granted: Granted) -> Option<&mut Compressor> {
        let bits = granted.client_window_bits;
        let window = usize::from(bits.checked_sub(WINDOW_BITS_MIN)?);
        Some(self.0.get_mut(window)?.get_or_insert_with(|| Compressor::new(LEVEL, bits)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_in_every_window() {
        let (mut inflation, mut compressors) = (Inflation::default(), Compressors::default());
        assert!(compressors.get(Granted { client_window_bits: 8 }).is_none());
        for client_window_bits in 9..=15 {
            for message in ["", "x", &"many of the same words, ".repeat(4_000)] {
                let mut out = Vec::new();
                let compressor = compressors.get(Granted { client_window_bits });
                compressor.expect("a window of zlib").compress(message.as_bytes(), &mut out);
                assert_eq!(inflation.inflate(true, &out), Ok(message.as_bytes()), "{client_window_bits}");
            }
        }
    }

    #[test]
    fn what_is_not_deflate_and_what_is_not_text_are_breaches() {
        let (mut inflation, mut compressors) = (Inflation::default(), Compressors::default());
        let code = |result: Result<&[u8], Breach>| result.map(<[u8]>::len).map_err(|(code, _)| code);
        assert_eq!(code(inflation.inflate(false, b"\xff\xff\xff")), Err(CloseCode::INVALID_DATA));
        let mut compressed = |message: &[u8]| {
            let mut out = Vec::new();
            let compressor = compressors.get(Granted { client_window_bits: 15 });
            compressor.expect("a window of zlib").compress(message, &mut out);
            out
        };
        let not_text = compressed(b"\xff\xfe");
        assert_eq!(code(inflation.inflate(true, &not_text)), Err(CloseCode::INVALID_DATA));
        assert_eq!(code(inflation.inflate(false, &not_text)), Ok(2));
        let bomb = compressed(&vec![0; MESSAGE_BYTES_MAX + 1]);
        assert_eq!(code(inflation.inflate(false, &bomb)), Err(CloseCode::TOO_BIG));
    }
}
