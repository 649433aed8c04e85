//! Frames to messages: every rule of RFC 6455 section 5, held as early as the bytes allow, and the bit that
//! RFC 7692 section 6 adds.
//!
//! A message that lies whole in the input as one frame is unmasked where it is and handed out as a slice of
//! the input. Only what is cut, by the network or by fragmentation, is collected in a buffer, and that
//! buffer is given back when the message is done: an idle connection's decoder holds no memory but itself.
//!
//! The way of the bytes: `next` -> `whole_frame` (nothing to collect), or `collect_header` ->
//! `collect_payload`; both check the header with `check_header`, and both end in `Event`.

use std::fmt;

use crate::Role;
use crate::close::CloseCode;
use crate::frame::{CONTROL_PAYLOAD_MAX, FIN, Length, MASKED, MAX_HEADER, Opcode, RESERVED, RSV1, Received};
use crate::mask;
use crate::text::{InvalidUtf8, Utf8};

/// What a connection accepts. One value serves all connections of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Our own role. A server requires masked frames, a client refuses them (RFC 6455 section 5.1).
    pub role: Role,
    /// The longest payload of a single data frame, in bytes.
    pub frame_bytes_max: u64,
    /// The longest message, in bytes, summed over its fragments.
    pub message_bytes_max: usize,
    /// The most frames that a message may come in. One is always taken.
    pub fragments_max: u32,
    /// Whether permessage-deflate was agreed on: messages may be compressed (RFC 7692 section 6).
    pub compressed: bool,
}

/// Something that the peer said, complete and checked.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message.
    Message {
        /// Whether it came as text. Then the payload is valid UTF-8.
        text: bool,
        /// The message, unmasked and put together.
        payload: &'a [u8],
    },
    /// A whole compressed message. Its payload is as it was sent: neither inflated nor looked at.
    Compressed {
        /// Whether it came as text. Once it is inflated it must be UTF-8.
        text: bool,
        /// The message, unmasked and put together.
        payload: &'a [u8],
    },
    /// A ping; the answer is a pong with the same payload (RFC 6455 section 5.5.2).
    Ping(&'a [u8]),
    /// A pong, asked for or not (RFC 6455 section 5.5.3).
    Pong(&'a [u8]),
    /// The peer closes; without a frame body there is neither code nor reason.
    Close(Option<CloseFrame<'a>>),
}

/// The body of a Close frame (RFC 6455 section 5.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseFrame<'a> {
    /// Why, in a number.
    pub code: CloseCode,
    /// Why, in words for whoever debugs this.
    pub reason: &'a str,
}

impl<'a> CloseFrame<'a> {
    /// Checks a Close frame's payload: empty, or a code that may be sent and UTF-8.
    fn parse(payload: &'a [u8]) -> Result<Option<Self>, DecodeError> {
        if payload.is_empty() {
            return Ok(None);
        }
        let (&code, reason) = payload.split_first_chunk().ok_or(DecodeError::ClosePayloadOfOneByte)?;
        let code = CloseCode(u16::from_be_bytes(code));
        if !code.is_sendable() {
            return Err(DecodeError::CloseCodeInvalid);
        }
        let reason = std::str::from_utf8(reason).map_err(|_| DecodeError::CloseReasonNotUtf8)?;
        Ok(Some(Self { code, reason }))
    }
}

/// What the peer did wrong. Every one of these ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecodeError {
    /// A reserved bit is set without an extension that gives it meaning there (section 5.2).
    ReservedBits,
    /// The opcode is one of the reserved ones (section 5.2).
    ReservedOpcode,
    /// A control frame without the FIN bit (section 5.5).
    ControlFragmented,
    /// A control frame longer than 125 bytes (section 5.5).
    ControlTooLong,
    /// A client's frame without a mask (section 5.1).
    NotMasked,
    /// A server's frame with a mask (section 5.1).
    Masked,
    /// The length is not in its shortest form (section 5.2).
    LengthNotMinimal,
    /// The most significant bit of a 64-bit length is set (section 5.2).
    LengthMsb,
    /// A continuation frame while no message is unfinished (section 5.4).
    ContinuationOfNothing,
    /// A new message while another is unfinished (section 5.4).
    MessageInsideMessage,
    /// A Close frame whose payload is a single byte (section 5.5.1).
    ClosePayloadOfOneByte,
    /// A Close frame with a code that must not be sent (section 7.4).
    CloseCodeInvalid,
    /// A Close frame whose reason is not UTF-8 (section 5.5.1).
    CloseReasonNotUtf8,
    /// A text message that is not UTF-8 (section 8.1).
    TextNotUtf8,
    /// A frame longer than [`Rules::frame_bytes_max`].
    FrameTooBig,
    /// A message longer than [`Rules::message_bytes_max`].
    MessageTooBig,
    /// A message of more frames than [`Rules::fragments_max`].
    TooManyFragments,
}

impl DecodeError {
    /// The code with which to close the connection (RFC 6455 section 7.4.1).
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::CloseReasonNotUtf8 | Self::TextNotUtf8 => CloseCode::INVALID_DATA,
            Self::FrameTooBig | Self::MessageTooBig | Self::TooManyFragments => CloseCode::TOO_BIG,
            _ => CloseCode::PROTOCOL,
        }
    }

    /// The error as a sentence, short enough for the reason of a Close frame.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::ReservedBits => "a reserved bit of a frame header is set",
            Self::ReservedOpcode => "a frame has a reserved opcode",
            Self::ControlFragmented => "a control frame is fragmented",
            Self::ControlTooLong => "a control frame is longer than 125 bytes",
            Self::NotMasked => "a frame from a client is not masked",
            Self::Masked => "a frame from a server is masked",
            Self::LengthNotMinimal => "a frame's length is not in its shortest form",
            Self::LengthMsb => "the most significant bit of a frame's length is set",
            Self::ContinuationOfNothing => "a continuation frame continues no message",
            Self::MessageInsideMessage => "a message begins before the last one ended",
            Self::ClosePayloadOfOneByte => "a close frame has a payload of one byte",
            Self::CloseCodeInvalid => "a close frame has a code that must not be sent",
            Self::CloseReasonNotUtf8 => "a close frame's reason is not UTF-8",
            Self::TextNotUtf8 => "a text message is not UTF-8",
            Self::FrameTooBig => "a frame is longer than the limit",
            Self::MessageTooBig => "a message is longer than the limit",
            Self::TooManyFragments => "a message has more frames than the limit",
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for DecodeError {}

impl From<InvalidUtf8> for DecodeError {
    fn from(_: InvalidUtf8) -> Self {
        Self::TextNotUtf8
    }
}

/// Where the decoder stands in the stream of frames.
#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    /// Before or inside a header; `head[..head_len]` has arrived.
    #[default]
    Header,
    /// Inside the payload of the frame whose header is `head[..head_len]`; `left` bytes are missing.
    Payload,
    /// A Close frame came. What follows it is discarded (RFC 6455 section 5.5.1).
    Closed,
    /// The peer broke a rule.
    Failed(DecodeError),
}

/// The kind of a message, from its first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Message {
    text: bool,
    compressed: bool,
}

/// The part of the buffer that the last event lent out, and that the next call drops.
#[derive(Clone, Copy, Debug, Default)]
enum Lent {
    #[default]
    Nothing,
    /// A control frame's payload behind the fragments of a message.
    Tail(u8),
    All,
}

/// The decoder of one connection's incoming bytes.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The collected part of the unfinished message, then that of a control frame which interrupts it.
    buffer: Vec<u8>,
    /// Payload bytes of the current frame that have not arrived.
    left: u64,
    /// Frames of the unfinished message whose headers have arrived.
    fragments: u32,
    head: [u8; MAX_HEADER],
    head_len: u8,
    utf8: Utf8,
    unfinished: Option<Message>,
    lent: Lent,
    stage: Stage,
}

/// A complete frame's payload that has yet to become an event.
enum Found<'i> {
    /// In the input.
    Slice(What, &'i [u8]),
    /// At the end of the buffer, of this length.
    Buffered(What, usize),
}

/// What a complete payload is of.
#[derive(Clone, Copy, Debug)]
enum What {
    Message(Message),
    Close,
    Ping,
    Pong,
}

impl Decoder {
    /// Takes the next event out of `input`, and moves `input` past the bytes that were used.
    ///
    /// `None` means that all input was used and that more is needed. Payloads are unmasked in place, so the
    /// input is overwritten. After an error every call returns the same error; after [`Event::Close`] every
    /// call discards its input.
    #[inline]
    pub fn next<'e, 'i: 'e>(
        &'e mut self,
        rules: &Rules,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Event<'e>>, DecodeError> {
        let found = match self.find(rules, input) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(error) => return Err(self.fail(error)),
        };
        let (what, payload) = match found {
            Found::Slice(what, payload) => (what, payload),
            Found::Buffered(what, len) => (what, &self.buffer[self.buffer.len() - len..]),
        };
        Ok(Some(match what {
            What::Message(Message { text, compressed: false }) => Event::Message { text, payload },
            What::Message(Message { text, compressed: true }) => Event::Compressed { text, payload },
            What::Ping => Event::Ping(payload),
            What::Pong => Event::Pong(payload),
            What::Close => match CloseFrame::parse(payload) {
                Ok(frame) => {
                    self.stage = Stage::Closed;
                    Event::Close(frame)
                }
                Err(error) => {
                    self.stage = Stage::Failed(error);
                    return Err(error);
                }
            },
        }))
    }

    /// Whether the stream stands between two messages, with nothing of the next frame seen.
    pub fn is_idle(&self) -> bool {
        self.unfinished.is_none()
            && match self.stage {
                Stage::Header => self.head_len == 0,
                Stage::Closed => true,
                Stage::Payload | Stage::Failed(_) => false,
            }
    }

    /// Bytes of heap memory held.
    pub fn buffered(&self) -> usize {
        self.buffer.capacity()
    }

    #[inline]
    fn find<'i>(
        &mut self,
        rules: &Rules,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Found<'i>>, DecodeError> {
        self.take_back();
        loop {
            match self.stage {
                Stage::Header if input.is_empty() => return Ok(None),
                Stage::Header => {
                    if self.head_len == 0
                        && let Some((what, payload)) = self.whole_frame(rules, input)?
                    {
                        return Ok(Some(Found::Slice(what, payload)));
                    }
                    self.collect_header(rules, input)?;
                }
                // An empty payload is complete although no input is left.
                Stage::Payload if input.is_empty() && self.left > 0 => return Ok(None),
                Stage::Payload => {
                    if let Some((what, len)) = self.collect_payload(rules, input)? {
                        return Ok(Some(Found::Buffered(what, len)));
                    }
                }
                Stage::Closed => {
                    *input = &mut [];
                    return Ok(None);
                }
                Stage::Failed(error) => return Err(error),
            }
        }
    }

    /// Drops what the last event borrowed.
    #[inline]
    fn take_back(&mut self) {
        match std::mem::take(&mut self.lent) {
            Lent::Nothing => {}
            Lent::Tail(len) => self.buffer.truncate(self.buffer.len() - usize::from(len)),
            Lent::All => self.buffer = Vec::new(),
        }
    }

    #[cold]
    fn fail(&mut self, error: DecodeError) -> DecodeError {
        self.stage = Stage::Failed(error);
        self.buffer = Vec::new();
        error
    }

    /// The fast path: a frame that is an event of its own and lies whole in the input. `None` leaves the
    /// input untouched.
    #[inline]
    fn whole_frame<'i>(
        &mut self,
        rules: &Rules,
        input: &mut &'i mut [u8],
    ) -> Result<Option<(What, &'i [u8])>, DecodeError> {
        let Some(header) = Received::read(input) else { return Ok(None) };
        let opcode = self.check_header(rules, input)?;
        let first = input[0];
        let Some(what) = What::begins(opcode, first) else { return Ok(None) };
        if first & FIN == 0 {
            return Ok(None);
        }
        let frame_len = header.payload_len.saturating_add(header.header_len as u64);
        if frame_len > input.len() as u64 {
            return Ok(None);
        }
        let (frame, rest) = std::mem::take(input).split_at_mut(frame_len as usize);
        *input = rest;
        let payload = &mut frame[header.header_len..];
        if let Some(key) = header.key {
            mask::apply(payload, key, 0);
        }
        let is_text = matches!(what, What::Message(Message { text: true, compressed: false }));
        if is_text && simdutf8::basic::from_utf8(payload).is_err() {
            return Err(DecodeError::TextNotUtf8);
        }
        Ok(Some((what, payload)))
    }

    /// Moves header bytes from the input into `head`, until the header is complete.
    fn collect_header(&mut self, rules: &Rules, input: &mut &mut [u8]) -> Result<(), DecodeError> {
        let seen = usize::from(self.head_len);
        let taken = input.len().min(MAX_HEADER - seen);
        self.head[seen..seen + taken].copy_from_slice(&input[..taken]);
        let head = &self.head[..seen + taken];
        let opcode = self.check_header(rules, head)?;
        let Some(header) = Received::read(head) else {
            self.head_len += taken as u8;
            advance(input, taken);
            return Ok(());
        };
        self.head_len = header.header_len as u8;
        advance(input, header.header_len - seen);
        match What::begins(opcode, self.head[0]) {
            Some(What::Message(message)) => {
                self.unfinished = Some(message);
                self.fragments = 1;
            }
            // Cannot overflow: the header was held against the limit.
            None => self.fragments += 1,
            Some(What::Close | What::Ping | What::Pong) => {}
        }
        self.left = header.payload_len;
        self.stage = Stage::Payload;
        Ok(())
    }

    /// Moves payload bytes from the input into the buffer. Returns what is now complete, and its length.
    fn collect_payload(
        &mut self,
        rules: &Rules,
        input: &mut &mut [u8],
    ) -> Result<Option<(What, usize)>, DecodeError> {
        let head = &self.head[..usize::from(self.head_len)];
        let (Some(header), Some(opcode)) =
            (Received::read(head), Opcode::from_bits(head[0] & !(FIN | RESERVED)))
        else {
            unreachable!("the stage is Payload only behind a complete and checked header");
        };
        let control = What::begins(opcode, head[0]).filter(|_| opcode.is_control());
        let fin = head[0] & FIN != 0;

        let taken = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        let piece = &mut input[..taken];
        if let Some(key) = header.key {
            mask::apply(piece, key, ((header.payload_len - self.left) % 4) as usize);
        }
        if control.is_none() && self.unfinished == Some(Message { text: true, compressed: false }) {
            self.utf8.push(piece)?;
        }
        reserve(&mut self.buffer, taken, fin.then_some(self.left), rules.message_bytes_max);
        self.buffer.extend_from_slice(piece);
        self.left -= taken as u64;
        advance(input, taken);
        if self.left > 0 {
            return Ok(None);
        }

        self.stage = Stage::Header;
        self.head_len = 0;
        if let Some(control) = control {
            let len = header.payload_len as u8;
            self.lent = if self.unfinished.is_some() { Lent::Tail(len) } else { Lent::All };
            return Ok(Some((control, usize::from(len))));
        }
        if !fin {
            return Ok(None);
        }
        self.lent = Lent::All;
        let Some(message) = self.unfinished.take() else {
            unreachable!("a data frame begins or continues a message");
        };
        // Nothing is pending unless this is text.
        if !self.utf8.is_complete() {
            return Err(DecodeError::TextNotUtf8);
        }
        Ok(Some((What::Message(message), self.buffer.len())))
    }

    /// Holds the rules of RFC 6455 section 5 against as much of a header as has arrived (at least one byte).
    #[inline]
    fn check_header(&self, rules: &Rules, head: &[u8]) -> Result<Opcode, DecodeError> {
        let first = head[0];
        let opcode = Opcode::from_bits(first & !(FIN | RESERVED));
        let reserved = match opcode {
            Some(Opcode::Text | Opcode::Binary) if rules.compressed => RESERVED & !RSV1,
            _ => RESERVED,
        };
        if first & reserved != 0 {
            return Err(DecodeError::ReservedBits);
        }
        let opcode = opcode.ok_or(DecodeError::ReservedOpcode)?;
        match (opcode, self.unfinished) {
            (Opcode::Continuation, None) => return Err(DecodeError::ContinuationOfNothing),
            (Opcode::Continuation, Some(_)) if self.fragments >= rules.fragments_max => {
                return Err(DecodeError::TooManyFragments);
            }
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(DecodeError::MessageInsideMessage),
            _ if opcode.is_control() && first & FIN == 0 => return Err(DecodeError::ControlFragmented),
            _ => {}
        }
        let Some(second) = head.get(1) else { return Ok(opcode) };
        match (rules.role, second & MASKED != 0) {
            (Role::Server, false) => return Err(DecodeError::NotMasked),
            (Role::Client, true) => return Err(DecodeError::Masked),
            (Role::Server, true) | (Role::Client, false) => {}
        }
        if opcode.is_control() {
            let short = usize::from(second & !MASKED) <= CONTROL_PAYLOAD_MAX;
            return if short { Ok(opcode) } else { Err(DecodeError::ControlTooLong) };
        }
        self.check_length(rules, head)?;
        Ok(opcode)
    }

    /// Holds the limits against a data frame's length, before any of its payload arrives.
    #[inline]
    fn check_length(&self, rules: &Rules, head: &[u8]) -> Result<(), DecodeError> {
        let Some(length) = Length::read(head) else { return Ok(()) };
        if length.payload > i64::MAX as u64 {
            return Err(DecodeError::LengthMsb);
        }
        if !length.minimal {
            return Err(DecodeError::LengthNotMinimal);
        }
        if length.payload > rules.frame_bytes_max {
            return Err(DecodeError::FrameTooBig);
        }
        // Between frames the buffer holds the earlier fragments and nothing else.
        if length.payload.saturating_add(self.buffer.len() as u64) > rules.message_bytes_max as u64 {
            return Err(DecodeError::MessageTooBig);
        }
        Ok(())
    }
}

impl What {
    /// What a frame with this opcode and first byte begins; `None` if it goes on with a message.
    #[inline]
    const fn begins(opcode: Opcode, first: u8) -> Option<Self> {
        let compressed = first & RSV1 != 0;
        Some(match opcode {
            Opcode::Text => Self::Message(Message { text: true, compressed }),
            Opcode::Binary => Self::Message(Message { text: false, compressed }),
            Opcode::Close => Self::Close,
            Opcode::Ping => Self::Ping,
            Opcode::Pong => Self::Pong,
            Opcode::Continuation => return None,
        })
    }
}

/// Moves `input` past its first `len` bytes.
#[inline]
fn advance(input: &mut &mut [u8], len: usize) {
    *input = &mut std::mem::take(input)[len..];
}

/// Makes room for `more` bytes that have arrived.
///
/// Capacity doubles, as a `Vec`'s does, but not past the end of the message where `left` tells it (the
/// bytes up to there, those that arrived included), and not past the limit.
fn reserve(buffer: &mut Vec<u8>, more: usize, left: Option<u64>, max: usize) {
    let needed = buffer.len() + more;
    if needed <= buffer.capacity() {
        return;
    }
    let end = left.and_then(|left| buffer.len().checked_add(usize::try_from(left).ok()?)).unwrap_or(max);
    let wanted = (2 * buffer.capacity()).min(end).min(max).max(needed);
    buffer.reserve_exact(wanted - buffer.len());
}
