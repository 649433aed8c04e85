//! RFC 6455 section 5 read literally, one byte at a time: slow, plain, and without a line of the crate's
//! decoder.

use fanfare_wire::Role;
use fanfare_wire::decode::{DecodeError, Rules};

/// An event, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Message { text: bool, payload: Vec<u8> },
    Compressed { text: bool, payload: Vec<u8> },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

pub(crate) struct Reference {
    rules: Rules,
    head: Vec<u8>,
    payload: Vec<u8>,
    message: Option<(bool, Vec<u8>)>,
    /// Whether the message in `message` is compressed, and how many of its frames have begun.
    compressed: bool,
    frames: u32,
    closed: bool,
    pub(crate) events: Vec<Seen>,
    pub(crate) failed: Option<DecodeError>,
}

impl Reference {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            head: Vec::new(),
            payload: Vec::new(),
            message: None,
            compressed: false,
            frames: 0,
            closed: false,
            events: Vec::new(),
            failed: None,
        }
    }

    pub(crate) fn push(&mut self, byte: u8) -> Result<(), DecodeError> {
        if self.closed {
            return Ok(());
        }
        self.step(byte).inspect_err(|error| self.failed = Some(*error))
    }

    fn step(&mut self, byte: u8) -> Result<(), DecodeError> {
        if self.head.len() < self.head_len() {
            self.head.push(byte);
            self.check_head()?;
        } else {
            let key: Vec<u8> =
                if self.masked() { self.head[self.head.len() - 4..].to_vec() } else { vec![0; 4] };
            self.payload.push(byte ^ key[self.payload.len() % 4]);
            self.check_text()?;
        }
        if self.head.len() == self.head_len() && self.payload.len() as u64 == self.length() {
            self.finish()?;
            self.head.clear();
            self.payload.clear();
        }
        Ok(())
    }

    fn masked(&self) -> bool {
        self.head[1] & 0x80 != 0
    }

    /// Bytes of the header, as far as it is known: at least one more than there are, until it is complete.
    fn head_len(&self) -> usize {
        if self.head.len() < 2 {
            return 2;
        }
        let length = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.masked() { 4 } else { 0 }
    }

    fn length(&self) -> u64 {
        let field =
            |len: usize| self.head[2..2 + len].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        match self.head[1] & 0x7f {
            126 => field(2),
            127 => field(8),
            short => u64::from(short),
        }
    }

    fn check_head(&self) -> Result<(), DecodeError> {
        let (fin, opcode) = (self.head[0] & 0x80 != 0, self.head[0] & 0x0f);
        let control = opcode >= 8;
        if self.head.len() == 1 {
            let rsv1 = self.head[0] & 0x40 != 0;
            let may_be_compressed = self.rules.compressed && (opcode == 1 || opcode == 2);
            if self.head[0] & 0x30 != 0 || (rsv1 && !may_be_compressed) {
                return Err(DecodeError::ReservedBits);
            }
            if !matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10) {
                return Err(DecodeError::ReservedOpcode);
            }
            if opcode == 0 && self.message.is_none() {
                return Err(DecodeError::ContinuationOfNothing);
            }
            if (opcode == 1 || opcode == 2) && self.message.is_some() {
                return Err(DecodeError::MessageInsideMessage);
            }
            if control && !fin {
                return Err(DecodeError::ControlFragmented);
            }
            if opcode == 0 && self.frames + 1 > self.rules.fragments_max {
                return Err(DecodeError::TooManyFragments);
            }
            return Ok(());
        }
        if self.head.len() == 2 {
            match (self.rules.role, self.masked()) {
                (Role::Server, false) => return Err(DecodeError::NotMasked),
                (Role::Client, true) => return Err(DecodeError::Masked),
                _ => {}
            }
            if control && self.head[1] & 0x7f > 125 {
                return Err(DecodeError::ControlTooLong);
            }
        }
        let length_end = match self.head[1] & 0x7f {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        if self.head.len() != length_end || control {
            return Ok(());
        }
        let length = self.length();
        if length >> 63 != 0 {
            return Err(DecodeError::LengthMsb);
        }
        if (length_end == 4 && length < 126) || (length_end == 10 && length < 65_536) {
            return Err(DecodeError::LengthNotMinimal);
        }
        if length > self.rules.frame_bytes_max {
            return Err(DecodeError::FrameTooBig);
        }
        let before = self.message.as_ref().map_or(0, |(_, before)| before.len());
        if u128::from(length) + before as u128 > self.rules.message_bytes_max as u128 {
            return Err(DecodeError::MessageTooBig);
        }
        Ok(())
    }

    /// Whether the text so far can become UTF-8 is what `error_len` tells.
    fn check_text(&self) -> Result<(), DecodeError> {
        let mut so_far = match (self.head[0] & 0x0f, &self.message) {
            (1, _) if self.head[0] & 0x40 != 0 => return Ok(()),
            (0, _) if self.compressed => return Ok(()),
            (1, _) => Vec::new(),
            (0, Some((true, before))) => before.clone(),
            _ => return Ok(()),
        };
        so_far.extend_from_slice(&self.payload);
        match std::str::from_utf8(&so_far) {
            Err(error) if error.error_len().is_some() => Err(DecodeError::TextNotUtf8),
            _ => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), DecodeError> {
        let payload = self.payload.clone();
        match self.head[0] & 0x0f {
            8 => {
                let close = match payload.len() {
                    0 => None,
                    1 => return Err(DecodeError::ClosePayloadOfOneByte),
                    _ => {
                        let code = u16::from(payload[0]) << 8 | u16::from(payload[1]);
                        let good = (1000..=1003).contains(&code)
                            || (1007..=1014).contains(&code)
                            || (3000..=4999).contains(&code);
                        if !good {
                            return Err(DecodeError::CloseCodeInvalid);
                        }
                        let reason = String::from_utf8(payload[2..].to_vec());
                        Some((code, reason.map_err(|_| DecodeError::CloseReasonNotUtf8)?))
                    }
                };
                self.events.push(Seen::Close(close));
                self.closed = true;
                return Ok(());
            }
            9 => {
                self.events.push(Seen::Ping(payload));
                return Ok(());
            }
            10 => {
                self.events.push(Seen::Pong(payload));
                return Ok(());
            }
            0 => {
                self.message.as_mut().unwrap().1.extend_from_slice(&payload);
                self.frames += 1;
            }
            opcode => {
                self.message = Some((opcode == 1, payload));
                self.compressed = self.head[0] & 0x40 != 0;
                self.frames = 1;
            }
        }
        if self.head[0] & 0x80 != 0 {
            let (text, payload) = self.message.take().unwrap();
            if std::mem::take(&mut self.compressed) {
                self.events.push(Seen::Compressed { text, payload });
                return Ok(());
            }
            if text && std::str::from_utf8(&payload).is_err() {
                return Err(DecodeError::TextNotUtf8);
            }
            self.events.push(Seen::Message { text, payload });
        }
        Ok(())
    }
}
