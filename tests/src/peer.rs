//! A WebSocket client at the other end of a simulated connection. It answers pings and close frames.

use fanfare_io::sim::SimPeer;
use fanfare_wire::Role;
use fanfare_wire::decode::{Decoder, Event, Rules};
use fanfare_wire::deflate::{Compressor, Inflater};
use fanfare_wire::frame::{self, Opcode};

const BYTES_MAX: usize = 1 << 24;

/// What it asks for when it wants compression.
const OFFER: &str = "permessage-deflate; client_max_window_bits";

/// Any key will do: it is not secret here.
const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// One message as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub text: bool,
    pub payload: Vec<u8>,
}

impl Received {
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("a text message")
    }
}

#[derive(Debug)]
pub struct Peer {
    pub link: SimPeer,
    /// The status of the answer to the upgrade, once it came.
    pub status: Option<u16>,
    /// The head of that answer.
    pub head: String,
    /// Every message received so far.
    pub messages: Vec<Received>,
    /// The payload of every Pong frame, each with the number of messages that came before it.
    pub pongs: Vec<(usize, Vec<u8>)>,
    /// The code of the server's close frame, 1005 for none.
    pub closed: Option<u16>,
    /// The reason that it gave.
    pub close_reason: String,
    /// It does not read.
    pub stalled: bool,
    pub pings: usize,
    /// Bytes that are no whole head or frame yet.
    bytes: Vec<u8>,
    decoder: Decoder,
    /// There if compression was agreed to.
    inflater: Option<Inflater>,
    /// Messages that came compressed.
    pub inflated: usize,
    said_close: bool,
    finished: bool,
}

impl Peer {
    pub(crate) fn new(link: SimPeer, path: &str, deflates: bool) -> Self {
        let offer = if deflates { format!("Sec-WebSocket-Extensions: {OFFER}\r\n") } else { String::new() };
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: sim\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{offer}\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        link.write(head.as_bytes());
        Self {
            link,
            status: None,
            head: String::new(),
            messages: Vec::new(),
            pongs: Vec::new(),
            closed: None,
            close_reason: String::new(),
            stalled: false,
            pings: 0,
            bytes: Vec::new(),
            decoder: Decoder::default(),
            inflater: None,
            inflated: 0,
            said_close: false,
            finished: false,
        }
    }

    pub fn is_open(&self) -> bool {
        self.status == Some(101) && self.closed.is_none() && !self.link.is_closed()
    }

    /// Sends one compressed message, if that was agreed to; it goes as it is otherwise.
    pub fn send_compressed(&self, compressor: &mut Compressor, opcode: Opcode, payload: &[u8]) {
        if self.inflater.is_none() {
            return self.send(opcode, payload);
        }
        if self.finished {
            return;
        }
        let (mut compressed, mut frame) = (Vec::new(), Vec::new());
        compressor.compress(payload, &mut compressed);
        frame::write_compressed(&mut frame, opcode, &compressed, Some(KEY));
        self.link.write(&frame);
    }

    /// Sends one frame, unless it has finished or reset its side.
    pub fn send(&self, opcode: Opcode, payload: &[u8]) {
        if self.finished {
            return;
        }
        let mut frame = Vec::new();
        frame::write(&mut frame, opcode, true, payload, Some(KEY));
        self.link.write(&frame);
    }

    pub fn send_text(&self, text: &str) {
        self.send(Opcode::Text, text.as_bytes());
    }

    /// Sends FIN: it reads on, but says nothing any more.
    pub fn finish(&mut self) {
        if !std::mem::replace(&mut self.finished, true) {
            self.link.finish();
        }
    }

    /// Breaks the connection.
    pub fn reset(&mut self) {
        self.finished = true;
        self.link.reset();
    }

    /// Begins the closing handshake.
    pub fn close(&mut self, code: u16) {
        self.said_close = true;
        self.send(Opcode::Close, &code.to_be_bytes());
    }

    /// Reads all that has arrived, unless it is stalled. True if there was anything.
    pub fn read(&mut self) -> bool {
        if self.stalled {
            return false;
        }
        self.take(usize::MAX)
    }

    /// Reads up to `max` bytes. True if there was anything.
    pub fn take(&mut self, max: usize) -> bool {
        let heard = self.link.unread() > 0;
        if heard {
            self.bytes.extend_from_slice(&self.link.read_some(max));
        }
        if self.status.is_none() {
            let Some(end) = self.bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
                return heard;
            };
            let head = std::str::from_utf8(&self.bytes[..end]).expect("a head is text");
            self.status = Some(head[9..12].parse().expect("a status line has a status"));
            self.head = head.to_owned();
            self.inflater = head.contains("permessage-deflate").then(Inflater::new);
            self.bytes.drain(..end + 4);
        }
        if self.status == Some(101) {
            self.decode();
        }
        if self.link.saw_fin() && !self.link.is_closed() {
            self.finish();
        }
        heard
    }

    fn decode(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut input = &mut bytes[..];
        let mut answers = Vec::new();
        loop {
            let rules = Rules {
                role: Role::Client,
                frame_bytes_max: BYTES_MAX as u64,
                message_bytes_max: BYTES_MAX,
                compressed: self.inflater.is_some(),
                fragments_max: u32::MAX,
            };
            match self.decoder.next(&rules, &mut input).expect("the server follows the protocol") {
                None => break,
                Some(Event::Compressed { text, payload }) => {
                    assert!(self.closed.is_none(), "no message follows a close frame");
                    let inflater = self.inflater.as_mut().expect("it was agreed to");
                    let mut message = Vec::new();
                    inflater.inflate(payload, BYTES_MAX, &mut message).expect("the server's own work");
                    self.inflated += 1;
                    self.messages.push(Received { text, payload: message });
                }
                Some(Event::Message { text, payload }) => {
                    assert!(self.closed.is_none(), "no message follows a close frame");
                    self.messages.push(Received { text, payload: payload.to_vec() });
                }
                Some(Event::Ping(payload)) => {
                    self.pings += 1;
                    answers.push((Opcode::Pong, payload.to_vec()));
                }
                Some(Event::Pong(payload)) => self.pongs.push((self.messages.len(), payload.to_vec())),
                Some(Event::Close(close)) => {
                    assert!(self.closed.is_none(), "one close frame is enough");
                    let code = close.as_ref().map(|close| close.code.0);
                    self.closed = Some(code.unwrap_or(1005));
                    self.close_reason = close.map(|close| close.reason.to_owned()).unwrap_or_default();
                    if !std::mem::replace(&mut self.said_close, true) {
                        let echo = code.map(|code| code.to_be_bytes().to_vec()).unwrap_or_default();
                        answers.push((Opcode::Close, echo));
                    }
                }
            }
        }
        for (opcode, payload) in answers {
            self.send(opcode, &payload);
        }
    }
}
