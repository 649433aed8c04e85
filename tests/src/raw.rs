//! A WebSocket client on a plain socket that hides nothing, and can misbehave.
//!
//! It shares no code with what it tests: it writes and reads heads and frames by itself.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::server::SOON;

pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;

/// Any key will do: it is not secret here.
const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// The key of RFC 6455 section 1.3, and its answer.
const HANDSHAKE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const HANDSHAKE_ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A frame that came from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
    /// All of it, as it stood on the wire.
    pub bytes: Vec<u8>,
}

impl Frame {
    pub fn text(&self) -> &str {
        assert_eq!(self.opcode, TEXT, "{self:?}");
        std::str::from_utf8(&self.payload).expect("text is UTF-8")
    }

    /// The code of a close frame; 1005 if it has none.
    pub fn close_code(&self) -> u16 {
        assert_eq!(self.opcode, CLOSE, "{self:?}");
        self.payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code))
    }
}

/// The request that asks for `path`.
pub fn head(path: &str) -> Vec<u8> {
    head_with(path, "")
}

/// The request that asks for `path`, with further header lines, each with its line end.
pub fn head_with(path: &str, lines: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {HANDSHAKE_KEY}\r\n{lines}\r\n"
    )
    .into_bytes()
}

fn frame_head(first: u8, len: usize, mask_bit: u8) -> Vec<u8> {
    let mut bytes = vec![first];
    match len {
        0..126 => bytes.push(mask_bit | len as u8),
        126..65536 => {
            bytes.push(mask_bit | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        _ => {
            bytes.push(mask_bit | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes
}

/// A masked frame with any first byte: FIN, reserved bits and opcode.
pub fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame_head(first, payload.len(), 0x80);
    bytes.extend(KEY);
    bytes.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// A frame as the server has to write it: final and unmasked.
pub fn server_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame_head(0x80 | opcode, payload.len(), 0);
    bytes.extend(payload);
    bytes
}

/// The payload of a close frame.
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// The client.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    /// What has arrived and is not read yet: `buffer[at..]`.
    buffer: Vec<u8>,
    at: usize,
}

impl Raw {
    /// Connects and says nothing.
    pub fn tcp(addr: SocketAddr) -> Self {
        Self::from_stream(TcpStream::connect(addr).expect("the server accepts"))
    }

    /// Connects with a receive buffer of this size, so that a server soon notices when nobody reads.
    pub fn tcp_narrow(addr: SocketAddr, receive_bytes: usize) -> Self {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP));
        let socket = socket.expect("a socket");
        socket.set_recv_buffer_size(receive_bytes).expect("a receive buffer");
        socket.connect(&addr.into()).expect("the server accepts");
        Self::from_stream(socket.into())
    }

    /// Connects from an address of this machine, and says nothing.
    pub fn tcp_from(source: Ipv4Addr, addr: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
        // Ports of connections that still time out can be used again.
        socket.set_reuse_address(true).expect("an option");
        socket.bind(&SocketAddr::from((source, 0)).into()).expect("an address of this machine");
        socket.connect(&addr.into()).expect("the server accepts");
        Self::from_stream(socket.into())
    }

    fn from_stream(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(SOON)).expect("a read timeout");
        stream.set_write_timeout(Some(SOON)).expect("a write timeout");
        Self { stream, buffer: Vec::new(), at: 0 }
    }

    /// Connects, and is upgraded at `path`.
    pub fn connect(addr: SocketAddr, path: &str) -> Self {
        let mut raw = Self::tcp(addr);
        raw.upgrade(path);
        raw
    }

    /// Does the opening handshake.
    pub fn upgrade(&mut self, path: &str) {
        self.write(&head(path));
        self.expect_upgraded();
    }

    /// Reads the answer to an upgrade, which must be the right one.
    pub fn expect_upgraded(&mut self) {
        let answer = self.read_head();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.lines().any(|line| line == HANDSHAKE_ACCEPT), "{answer}");
    }

    pub fn write(&self, bytes: &[u8]) {
        (&self.stream).write_all(bytes).expect("the server reads");
    }

    /// Writes to a peer that may be gone.
    pub fn try_write(&self, bytes: &[u8]) -> std::io::Result<()> {
        (&self.stream).write_all(bytes)
    }

    /// Sends one final frame.
    pub fn send(&self, opcode: u8, payload: &[u8]) {
        self.write(&client_frame(0x80 | opcode, payload));
    }

    pub fn send_text(&self, text: &str) {
        self.send(TEXT, text.as_bytes());
    }

    /// Sends FIN; it can still read.
    pub fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection stands");
    }

    /// Breaks the connection with RST, whatever is in flight.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("linger");
    }

    /// A second handle to the same socket, for another thread to write.
    pub fn writer(&self) -> Self {
        let stream = self.stream.try_clone().expect("a descriptor");
        Self { stream, buffer: Vec::new(), at: 0 }
    }

    /// Reads a single byte from the socket, whatever is read already. False if none came.
    pub fn read_byte(&mut self) -> bool {
        let mut byte = [0];
        let is_one = matches!((&self.stream).read(&mut byte), Ok(1));
        if is_one {
            self.buffer.push(byte[0]);
        }
        is_one
    }

    /// How long a read waits for something to come.
    pub fn set_patience(&self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).expect("a read timeout");
    }

    /// Waits for more bytes. False at the end of the connection.
    fn fill(&mut self) -> bool {
        self.buffer.drain(..self.at);
        self.at = 0;
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(len) => {
                self.buffer.extend_from_slice(&chunk[..len]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            // By a ring that this thread had, and that ends now.
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) => panic!("nothing more came in time: {error}"),
        }
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// Reads a response head.
    pub fn read_head(&mut self) -> String {
        loop {
            let unread = self.unread();
            if let Some(len) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(unread[..len + 4].to_vec()).expect("a head is text");
                self.at += len + 4;
                return head;
            }
            let so_far = String::from_utf8_lossy(unread).into_owned();
            assert!(self.fill(), "the connection ended in the head: {so_far:?}");
        }
    }

    /// Reads an answer that is no upgrade, and the end of the connection: status, head and body.
    pub fn read_refusal(&mut self) -> (u16, String, String) {
        let head = self.read_head();
        let status = head[9..12].parse().expect("a status");
        let body = String::from_utf8(self.read_to_end()).expect("the body is text");
        let length = format!("Content-Length: {}", body.len());
        assert!(head.lines().any(|line| line == length), "{head}{body}");
        (status, head, body)
    }

    /// Reads whatever comes until the end of the connection.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill() {}
        let rest = self.unread().to_vec();
        self.at = self.buffer.len();
        rest
    }

    /// Reads one frame, or `None` if the connection ends before it. It must not end inside a frame, nor may the server
    /// send what no server may.
    pub fn next_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((header, len)) = parse_header(self.unread())
                && self.unread().len() >= header + len
            {
                let bytes = self.unread()[..header + len].to_vec();
                self.at += bytes.len();
                return Some(Frame { opcode: bytes[0] & 0xF, payload: bytes[header..].to_vec(), bytes });
            }
            if !self.fill() {
                assert!(self.unread().is_empty(), "the connection ended inside a frame");
                return None;
            }
        }
    }

    pub fn frame(&mut self) -> Frame {
        self.next_frame().expect("the connection should not end yet")
    }

    /// The next frame that is no ping. Pings are answered.
    pub fn next_but_pings(&mut self) -> Option<Frame> {
        loop {
            let frame = self.next_frame()?;
            if frame.opcode != PING {
                return Some(frame);
            }
            // The server may have closed its side meanwhile.
            _ = self.try_write(&client_frame(0x80 | PONG, &frame.payload));
        }
    }

    /// The next message. Pings are answered.
    pub fn message(&mut self) -> Frame {
        let frame = self.next_but_pings().expect("the connection should not end yet");
        assert!(matches!(frame.opcode, TEXT | BINARY), "{frame:?}");
        frame
    }

    /// The next so many messages.
    pub fn messages(&mut self, count: usize) -> Vec<Frame> {
        (0..count).map(|_| self.message()).collect()
    }

    /// The next message as JSON.
    pub fn json(&mut self) -> serde_json::Value {
        serde_json::from_str(self.message().text()).expect("JSON")
    }

    /// Reads the server's close frame, which must come next, and the end of the connection. Returns the code.
    pub fn expect_close(&mut self) -> u16 {
        let frame = self.next_but_pings().expect("a close frame comes before the end");
        let code = frame.close_code();
        _ = self.try_write(&client_frame(0x80 | CLOSE, &frame.payload[..frame.payload.len().min(2)]));
        assert_eq!(self.next_frame(), None, "nothing follows a close frame");
        code
    }

    /// Closes as a client should: with 1000, the server's echo, and its FIN.
    pub fn close(mut self) {
        self.send(CLOSE, &close_payload(1000, ""));
        loop {
            match self.next_but_pings() {
                Some(frame) if frame.opcode == CLOSE => {
                    assert_eq!(frame.close_code(), 1000);
                    assert_eq!(self.next_frame(), None, "nothing follows a close frame");
                    return;
                }
                Some(_) => {}
                None => panic!("the connection ended without the echo of the close frame"),
            }
        }
    }
}

/// The lengths of a frame's header and payload, once the header is there.
fn parse_header(bytes: &[u8]) -> Option<(usize, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    assert_eq!(first & 0xF0, 0x80, "the server's frames are final, without reserved bits");
    assert!(matches!(first & 0xF, TEXT | BINARY | CLOSE | PING | PONG), "opcode {:x}", first & 0xF);
    let (header, len) = match second {
        0..126 => (2, usize::from(second)),
        126 => (4, usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize),
        _ => panic!("the server's frames are not masked"),
    };
    assert!(first & 0x8 == 0 || len < 126, "control frames are short");
    assert_eq!(frame_head(first, len, 0).len(), header, "a length has its shortest form");
    Some((header, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_the_rfc() {
        // RFC 6455 section 5.7.
        assert_eq!(server_frame(TEXT, b"Hello"), [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(client_frame(0x81, b"Hello"), masked);
        assert_eq!(server_frame(BINARY, &[0; 256])[..4], [0x82, 0x7E, 0x01, 0x00]);
        assert_eq!(server_frame(BINARY, &[0; 65536])[..10], [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]);
        for len in [0, 125, 126, 65535, 65536] {
            let bytes = server_frame(BINARY, &vec![7; len]);
            assert_eq!(parse_header(&bytes), Some((bytes.len() - len, len)));
        }
    }
}
