//! A peer that does what the script says. What the server sends it must be well-formed all the same.

use fanfare_io::sim::SimPeer;
use fanfare_wire::Role;
use fanfare_wire::decode::{Decoder, Event, Rules};
use fanfare_wire::frame::{self, Opcode};

const RULES: Rules = Rules {
    role: Role::Client,
    frame_bytes_max: 1 << 20,
    message_bytes_max: 1 << 20,
    fragments_max: 1,
    compressed: false,
};

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

#[derive(Debug)]
pub(crate) struct Rogue {
    link: SimPeer,
    pub(crate) stalled: bool,
    /// It sends no more.
    finished: bool,
    /// Bytes that are no whole head or frame yet.
    bytes: Vec<u8>,
    /// The status of the answer, once it came.
    status: Option<u16>,
    decoder: Decoder,
    /// What an answer to the last ping would say.
    pinged: Option<Vec<u8>>,
    /// The server's close frame came, and whether it was answered.
    closed: Option<bool>,
}

impl Rogue {
    pub(crate) fn new(link: SimPeer) -> Self {
        Self {
            link,
            stalled: false,
            finished: false,
            bytes: Vec::new(),
            status: None,
            decoder: Decoder::default(),
            pinged: None,
            closed: None,
        }
    }

    pub(crate) fn write(&self, bytes: &[u8]) {
        if !self.finished {
            self.link.write(bytes);
        }
    }

    pub(crate) fn finish(&mut self) {
        if !std::mem::replace(&mut self.finished, true) {
            self.link.finish();
        }
    }

    pub(crate) fn reset(&mut self) {
        self.finished = true;
        self.link.reset();
    }

    pub(crate) fn set_window(&self, bytes: usize) {
        self.link.set_window(bytes);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.link.is_closed()
    }

    /// Answers the last ping, and the close frame.
    pub(crate) fn answer(&mut self) {
        let mut answer = Vec::new();
        if let Some(payload) = self.pinged.take() {
            frame::write(&mut answer, Opcode::Pong, true, &payload, Some(KEY));
        }
        if self.closed == Some(false) {
            self.closed = Some(true);
            frame::write(&mut answer, Opcode::Close, true, &[], Some(KEY));
        }
        self.write(&answer);
    }

    /// Reads up to `max` bytes. True if there was anything.
    pub(crate) fn read(&mut self, max: usize) -> bool {
        let bytes = self.link.read_some(max);
        self.bytes.extend_from_slice(&bytes);
        if self.status.is_none() {
            self.read_head();
        }
        match self.status {
            Some(101) => self.decode(),
            // The body of a refusal.
            Some(_) => self.bytes.clear(),
            None => {}
        }
        !bytes.is_empty()
    }

    fn read_head(&mut self) {
        let Some(end) = self.bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return };
        let head = std::str::from_utf8(&self.bytes[..end]).expect("a head is text");
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|digits| digits.parse().ok());
        self.status = Some(status.unwrap_or_else(|| panic!("no status in {head:?}")));
        self.bytes.drain(..end + 4);
    }

    fn decode(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        assert!(bytes.is_empty() || self.closed.is_none(), "nothing follows a close frame");
        let mut input = &mut bytes[..];
        while let Some(event) =
            self.decoder.next(&RULES, &mut input).expect("the server follows the protocol")
        {
            match event {
                Event::Message { .. } | Event::Pong(_) => {}
                Event::Compressed { .. } => panic!("compression was not agreed on"),
                Event::Ping(payload) => self.pinged = Some(payload.to_vec()),
                Event::Close(_) => self.closed = Some(false),
            }
            assert!(self.closed.is_none() || input.is_empty(), "nothing follows a close frame");
        }
    }
}
