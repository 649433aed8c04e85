//! Payloads compressed and inflated (RFC 7692 sections 7.2.1 and 7.2.2).

use std::fmt;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::close::CloseCode;

/// What ends a flushed DEFLATE stream: the lengths of an empty block without compression. It is taken off
/// each message (section 7.2.1).
const FLUSHED: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// What is put behind each message to inflate it: what was taken off, and an empty last block. The stream
/// ends there, and not before or behind it, if the message's last block is whole.
const END: [u8; 6] = [0x00, 0x00, 0xff, 0xff, 0x03, 0x00];

/// The least room for output that a step of compressing is made with, in bytes. It is more than an empty block
/// takes, which zlib would repeat otherwise.
const COMPRESS_STEP_MIN: usize = 64;

/// The least and the most room for output that a step of inflating is made with, in bytes.
const INFLATE_STEP_MIN: usize = 512;
const INFLATE_STEP_MAX: usize = 64 * 1024;

/// Compresses payloads, each for itself. One serves all connections and topics of a thread.
#[derive(Debug)]
pub struct Compressor(Compress);

impl Compressor {
    /// A compressor that works so hard, from 1 (fast) to 9 (small), in a window of so many bits, from 9 to
    /// 15. Values outside are taken as the nearest.
    pub fn new(level: u32, window_bits: u8) -> Self {
        let level = Compression::new(level.clamp(1, 9));
        Self(Compress::new_with_window_bits(level, false, window_bits.clamp(9, 15)))
    }

    /// Appends a message's payload, compressed, to `out`: what stands behind a header with RSV1.
    pub fn compress(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        self.0.reset();
        let start = out.len();
        loop {
            let rest = &payload[self.0.total_in() as usize..];
            // What is worth compressing shrinks at least to a half.
            let room = COMPRESS_STEP_MIN + rest.len() / 2;
            let before = self.0.total_out();
            let taken = append(out, room, usize::MAX, |out| {
                let status = self.0.compress(rest, out, FlushCompress::Sync);
                status.expect("a new stream takes any input");
                (self.0.total_out() - before) as usize
            });
            // Room that is left over means that nothing is left inside.
            if taken < room {
                break;
            }
        }
        debug_assert!(out[start..].ends_with(&FLUSHED), "a flushed stream ends with an empty block");
        out.truncate(out.len() - FLUSHED.len());
    }
}

/// Why a message cannot be inflated. It ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InflateError {
    /// This is not DEFLATE (RFC 1951), or it ends inside a block.
    Invalid,
    /// The message is longer than the limit.
    TooBig,
}

impl InflateError {
    /// The code with which to close the connection (RFC 6455 section 7.4.1).
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::Invalid => CloseCode::INVALID_DATA,
            Self::TooBig => CloseCode::TOO_BIG,
        }
    }

    /// The error as a sentence, short enough for the reason of a Close frame.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Invalid => "a message's compressed data is not valid",
            Self::TooBig => "a message is longer than the limit once it is inflated",
        }
    }
}

impl fmt::Display for InflateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for InflateError {}

/// How many streams, each ended by a block with the BFINAL bit, one message may be of. An honest one is of one or two.
const STREAMS_MAX: usize = 64;

/// Inflates payloads that were compressed each for itself, in any window.
#[derive(Debug)]
pub struct Inflater(Decompress);

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl Inflater {
    /// An inflater with the largest window.
    pub fn new() -> Self {
        Self(Decompress::new(false))
    }

    /// Appends a message to `out`, inflated: at most `bytes_max` bytes of it. After an error `out` holds what
    /// it held before.
    ///
    /// A block with the BFINAL bit ends a stream, and what follows is another one (section 7.2.3.4). An empty
    /// payload, and one that ends with such a block, lack the empty block that section 7.2.1 wants behind
    /// them; they are taken as they are meant.
    pub fn inflate(
        &mut self,
        payload: &[u8],
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), InflateError> {
        let start = out.len();
        let inflated = self.run(payload, bytes_max, out);
        if inflated.is_err() {
            out.truncate(start);
        }
        inflated
    }

    fn run(&mut self, payload: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> Result<(), InflateError> {
        let end = out.len().saturating_add(bytes_max);
        // A first guess of how much will come out. Further streams in one message are rare, unless somebody wants
        // to keep us busy with them: they begin small.
        let mut room = payload.len().saturating_mul(4);
        let mut rest = payload;
        for _ in 0..STREAMS_MAX {
            if rest.is_empty() {
                return Ok(());
            }
            self.0.reset(false);
            let (used, ended) = self.feed(rest, room, end, out)?;
            rest = &rest[used..];
            room = 0;
            if !ended {
                let len = out.len();
                return match self.feed(&END, room, end, out)? {
                    // What is put behind a message is not a part of it.
                    (used, true) if used == END.len() && out.len() == len => Ok(()),
                    _ => Err(InflateError::Invalid),
                };
            }
        }
        if rest.is_empty() { Ok(()) } else { Err(InflateError::Invalid) }
    }

    /// Inflates `input` until it or its stream ends. Returns how much of it was used, and whether the stream
    /// ended. `room` is how much output is expected.
    fn feed(
        &mut self,
        input: &[u8],
        room: usize,
        end: usize,
        out: &mut Vec<u8>,
    ) -> Result<(usize, bool), InflateError> {
        let (in_before, start) = (self.0.total_in(), out.len());
        loop {
            let used = (self.0.total_in() - in_before) as usize;
            // One byte more than may come tells that too much came.
            let room = room.max(out.len() - start).clamp(INFLATE_STEP_MIN, INFLATE_STEP_MAX);
            let room = room.min(end.saturating_add(1) - out.len());
            let out_before = self.0.total_out();
            let mut status = Ok(Status::Ok);
            let taken = append(out, room, end.saturating_add(1), |out| {
                status = self.0.decompress(&input[used..], out, FlushDecompress::None);
                (self.0.total_out() - out_before) as usize
            });
            let status = status.map_err(|_| InflateError::Invalid)?;
            if out.len() > end {
                return Err(InflateError::TooBig);
            }
            let used = (self.0.total_in() - in_before) as usize;
            if status == Status::StreamEnd {
                return Ok((used, true));
            }
            // Room that is left over means that all input was looked at.
            if taken < room {
                return Ok((used, false));
            }
        }
    }
}

/// Appends what `write` puts into `room` bytes at the end of `out`, which is as much as it returns.
///
/// Capacity doubles, as a `Vec`'s does, but not past a length of `end`. Only the room is cleared, never all that
/// `out` has: it may be large and is used for many messages.
fn append(out: &mut Vec<u8>, room: usize, end: usize, write: impl FnOnce(&mut [u8]) -> usize) -> usize {
    let start = out.len();
    if start + room > out.capacity() {
        let wanted = out.capacity().saturating_mul(2).min(end).max(start + room);
        out.reserve_exact(wanted - start);
    }
    out.resize(start + room, 0);
    let taken = write(&mut out[start..]);
    out.truncate(start + taken);
    taken
}
