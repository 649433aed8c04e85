//! The body of a response that refuses a handshake (RFC 9112 section 6.3).

use super::tokens::{elements, values};

/// How a body's end is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After a chunk of length zero.
    Chunked,
    /// Where the connection ends.
    UntilEof,
}

/// The framing does not follow its grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadBody;

/// A body, or as much of it as will be reported.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    /// Bytes of input that it took.
    pub(super) used: usize,
}

impl Framing {
    /// How the body of a response with this status and these headers ends.
    pub(super) fn of(status: u16, headers: &[httparse::Header<'_>]) -> Result<Self, BadBody> {
        if matches!(status, 204 | 304) {
            return Ok(Self::Length(0));
        }
        if values(headers, "Transfer-Encoding").next().is_some() {
            let last = elements(headers, "Transfer-Encoding").last();
            let chunked = last.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
            return Ok(if chunked { Self::Chunked } else { Self::UntilEof });
        }
        let mut length = None;
        for element in elements(headers, "Content-Length") {
            if *length.get_or_insert(element) != element {
                return Err(BadBody);
            }
        }
        let Some(digits) = length else { return Ok(Self::UntilEof) };
        let number = std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit));
        number.and_then(|number| number.parse().ok()).map(Self::Length).ok_or(BadBody)
    }

    /// Takes the body from the front of `input`, at most `max` bytes of it. `None`: more is needed, and may
    /// come.
    pub(super) fn read(self, input: &[u8], max: usize, eof: bool) -> Result<Option<Body>, BadBody> {
        match self {
            Self::Length(length) => {
                let wanted = usize::try_from(length).unwrap_or(usize::MAX).min(max);
                Ok(take(input, wanted, eof))
            }
            Self::Chunked => read_chunks(input, max, eof),
            Self::UntilEof => Ok(take(input, max, eof)),
        }
    }
}

fn take(input: &[u8], wanted: usize, eof: bool) -> Option<Body> {
    let used = wanted.min(input.len());
    (used == wanted || eof).then(|| Body { bytes: input[..used].to_vec(), used })
}

/// Decodes chunks (RFC 9112 section 7.1). The trailer is skipped.
fn read_chunks(input: &[u8], max: usize, eof: bool) -> Result<Option<Body>, BadBody> {
    let mut bytes = Vec::new();
    let mut at = 0;
    loop {
        let (size_len, size) = match httparse::parse_chunk_size(&input[at..]) {
            Ok(httparse::Status::Complete(line)) => line,
            Ok(httparse::Status::Partial) => break,
            Err(_) => return Err(BadBody),
        };
        at += size_len;
        if size == 0 {
            let Some(trailer_len) = trailer_len(&input[at..]) else { break };
            return Ok(Some(Body { bytes, used: at + trailer_len }));
        }
        let arrived = usize::try_from(size).unwrap_or(usize::MAX).min(input.len() - at);
        let wanted = arrived.min(max - bytes.len());
        bytes.extend_from_slice(&input[at..at + wanted]);
        at += wanted;
        if bytes.len() == max {
            return Ok(Some(Body { bytes, used: at }));
        }
        if (wanted as u64) < size {
            break;
        }
        match &input[at..] {
            [b'\r', b'\n', ..] => at += 2,
            [] | [b'\r'] => break,
            _ => return Err(BadBody),
        }
    }
    Ok(eof.then_some(Body { bytes, used: input.len() }))
}

/// The length of the trailer, up to the empty line that ends the body.
fn trailer_len(input: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line_len = input[at..].windows(2).position(|pair| pair == b"\r\n")? + 2;
        at += line_len;
        if line_len == 2 {
            return Some(at);
        }
    }
}
