//! UTF-8 validated while it arrives (RFC 6455 section 8.1).
//!
//! Pieces of a message may be cut anywhere, inside a code point too. What is cut off is kept (at most three
//! bytes) and joined with the next piece, so that invalid text is noticed at its first impossible byte, not
//! at its message's end.

use simdutf8::compat;

/// Whether bytes that are all there are UTF-8.
pub fn is_utf8(bytes: &[u8]) -> bool {
    simdutf8::basic::from_utf8(bytes).is_ok()
}

/// The text cannot become UTF-8, whatever follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidUtf8;

/// The longest encoding of a code point.
const POINT_MAX: usize = 4;

/// An incremental validator: what of the text so far is the beginning of an unfinished code point.
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8 {
    pending: [u8; POINT_MAX - 1],
    pending_len: u8,
}

impl Utf8 {
    /// Takes the next piece of the text.
    ///
    /// After an error the validator has no meaningful state.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), InvalidUtf8> {
        let piece = self.finish_pending(piece)?;
        let Err(error) = compat::from_utf8(piece) else { return Ok(()) };
        if error.error_len().is_some() {
            return Err(InvalidUtf8);
        }
        let unfinished = &piece[error.valid_up_to()..];
        self.pending[..unfinished.len()].copy_from_slice(unfinished);
        self.pending_len = unfinished.len() as u8;
        Ok(())
    }

    /// Whether the text may end here.
    pub fn is_complete(&self) -> bool {
        self.pending_len == 0
    }

    /// Completes the pending code point from the front of `piece`, and returns the rest of it.
    fn finish_pending<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], InvalidUtf8> {
        if self.pending_len == 0 {
            return Ok(piece);
        }
        let mut point = [0; POINT_MAX];
        let mut len = usize::from(self.pending_len);
        point[..len].copy_from_slice(&self.pending[..len]);
        for (taken, &byte) in piece.iter().enumerate() {
            point[len] = byte;
            len += 1;
            match std::str::from_utf8(&point[..len]) {
                Ok(_) => {
                    self.pending_len = 0;
                    return Ok(&piece[taken + 1..]);
                }
                Err(error) if error.error_len().is_some() => return Err(InvalidUtf8),
                // Four bytes are a code point or an error, so there is room to keep these.
                Err(_) => {
                    self.pending[len - 1] = byte;
                    self.pending_len = len as u8;
                }
            }
        }
        Ok(&[])
    }
}
