//! The frame header of RFC 6455 section 5.2, and whole frames written into a buffer.

use crate::mask;

/// The longest header: two bytes, a 64-bit length and a masking key.
pub const MAX_HEADER: usize = 14;

/// The longest payload of a control frame (RFC 6455 section 5.5).
pub const CONTROL_PAYLOAD_MAX: usize = 125;

/// The largest payload length that fits into the second byte.
const SHORT_MAX: u64 = 125;
/// In the length field: the length is in the next two bytes.
const LENGTH_16: u8 = 126;
/// In the length field: the length is in the next eight bytes.
const LENGTH_64: u8 = 127;

pub(crate) const FIN: u8 = 0x80;
pub(crate) const RESERVED: u8 = 0x70;
/// In a message's first frame: the message is compressed (RFC 7692 section 6).
pub(crate) const RSV1: u8 = 0x40;
pub(crate) const MASKED: u8 = 0x80;

const _: () = assert!(CONTROL_PAYLOAD_MAX as u64 == SHORT_MAX);
const _: () = assert!(MAX_HEADER == 2 + size_of::<u64>() + size_of::<[u8; 4]>());

/// What a frame is (RFC 6455 section 5.2 and 11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// The next fragment of the message that an earlier frame began.
    Continuation = 0x0,
    /// The first or only frame of a text message.
    Text = 0x1,
    /// The first or only frame of a binary message.
    Binary = 0x2,
    /// The closing handshake.
    Close = 0x8,
    /// A question whether the peer is alive.
    Ping = 0x9,
    /// The answer to a ping, or a heartbeat nobody asked for.
    Pong = 0xa,
}

impl Opcode {
    /// The opcode in the low four bits of a frame's first byte; `None` for the reserved ones.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    /// Whether this is one of Close, Ping and Pong (RFC 6455 section 5.5).
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// An encoded frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderBytes {
    bytes: [u8; MAX_HEADER],
    len: u8,
}

impl AsRef<[u8]> for HeaderBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl std::ops::Deref for HeaderBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_ref()
    }
}

/// The length in bytes of a frame header.
pub const fn header_len(payload_len: u64, masked: bool) -> usize {
    let length = match payload_len {
        0..=SHORT_MAX => 0,
        126..=0xffff => 2,
        _ => 8,
    };
    2 + length + if masked { 4 } else { 0 }
}

/// Encodes a frame header with the shortest form of the length (RFC 6455 section 5.2).
///
/// A control frame must be final and at most [`CONTROL_PAYLOAD_MAX`] bytes long, and no payload is longer
/// than 2^63 - 1 bytes; that is the caller's duty, checked in debug builds.
#[inline]
pub fn header(opcode: Opcode, fin: bool, payload_len: u64, key: Option<[u8; 4]>) -> HeaderBytes {
    debug_assert!(payload_len <= i64::MAX as u64, "the length's most significant bit must be 0");
    debug_assert!(
        !opcode.is_control() || (fin && payload_len <= SHORT_MAX),
        "control frames are short and final"
    );
    let mut bytes = [0; MAX_HEADER];
    bytes[0] = opcode as u8 | if fin { FIN } else { 0 };
    let mask_bit = if key.is_some() { MASKED } else { 0 };
    let mut len = 2;
    match payload_len {
        0..=SHORT_MAX => bytes[1] = mask_bit | payload_len as u8,
        126..=0xffff => {
            bytes[1] = mask_bit | LENGTH_16;
            bytes[2..4].copy_from_slice(&(payload_len as u16).to_be_bytes());
            len = 4;
        }
        _ => {
            bytes[1] = mask_bit | LENGTH_64;
            bytes[2..10].copy_from_slice(&payload_len.to_be_bytes());
            len = 10;
        }
    }
    if let Some(key) = key {
        bytes[len..len + 4].copy_from_slice(&key);
        len += 4;
    }
    HeaderBytes { bytes, len: len as u8 }
}

/// Encodes the header of a final frame that begins a compressed message (RFC 7692 section 6.1): FIN and RSV1.
///
/// The opcode must be [`Opcode::Text`] or [`Opcode::Binary`]; that is the caller's duty, checked in debug builds.
#[inline]
pub fn header_compressed(opcode: Opcode, payload_len: u64, key: Option<[u8; 4]>) -> HeaderBytes {
    debug_assert!(matches!(opcode, Opcode::Text | Opcode::Binary), "{opcode:?} begins no message");
    let mut header = header(opcode, true, payload_len, key);
    header.bytes[0] |= RSV1;
    header
}

/// Appends a whole frame; its payload is masked when there is a key.
pub fn write(out: &mut Vec<u8>, opcode: Opcode, fin: bool, payload: &[u8], key: Option<[u8; 4]>) {
    put(out, &header(opcode, fin, payload.len() as u64, key), payload, key);
}

/// Appends a whole message whose payload was compressed before; it is masked when there is a key.
pub fn write_compressed(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], key: Option<[u8; 4]>) {
    put(out, &header_compressed(opcode, payload.len() as u64, key), payload, key);
}

fn put(out: &mut Vec<u8>, header: &[u8], payload: &[u8], key: Option<[u8; 4]>) {
    out.reserve(header.len() + payload.len());
    out.extend_from_slice(header);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = key {
        mask::apply(&mut out[start..], key, 0);
    }
}

/// The length field of a received header, before any rule is held against it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Length {
    pub(crate) payload: u64,
    /// Whether this is the shortest form of the length.
    pub(crate) minimal: bool,
    /// Where the length field ends and the masking key or the payload begins.
    end: usize,
}

impl Length {
    /// Reads the length out of the header at the front of `bytes`; `None` when it is not all there.
    #[inline]
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        Some(match *bytes.get(1)? & !MASKED {
            LENGTH_16 => {
                let payload = u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?));
                Self { payload, minimal: payload > SHORT_MAX, end: 4 }
            }
            LENGTH_64 => {
                let payload = u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
                Self { payload, minimal: payload > 0xffff, end: 10 }
            }
            short => Self { payload: u64::from(short), minimal: true, end: 2 },
        })
    }
}

/// The fields of a received header that decoding needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) payload_len: u64,
    pub(crate) key: Option<[u8; 4]>,
    /// Bytes that the header itself took.
    pub(crate) header_len: usize,
}

impl Received {
    /// Reads a header from the front of `bytes`; `None` when it is not all there.
    #[inline]
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let Length { payload: payload_len, end, .. } = Length::read(bytes)?;
        if bytes[1] & MASKED == 0 {
            return Some(Self { payload_len, key: None, header_len: end });
        }
        let key = *bytes.get(end..)?.first_chunk()?;
        Some(Self { payload_len, key: Some(key), header_len: end + 4 })
    }
}
