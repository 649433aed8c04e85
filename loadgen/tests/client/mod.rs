//! A blocking client that drives a dialect's session, with another library's WebSocket.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fanfare_loadgen::dialect::{Dialect, Frames, Heard, Poster, Resumed, Role, Session};
use fanfare_loadgen::random::Random;
use tungstenite::client::ClientRequestBuilder;
use tungstenite::{Message, WebSocket};

/// [`Heard`], to be kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Ready,
    Message(Vec<u8>),
    Gap(Option<u64>),
    Resumed(Resumed),
    CaughtUp,
    Draining(u64),
    Refused(String),
}

impl From<Heard<'_>> for Said {
    fn from(heard: Heard<'_>) -> Self {
        match heard {
            Heard::Ready => Self::Ready,
            Heard::Message(payload) => Self::Message(payload.to_vec()),
            Heard::Gap(count) => Self::Gap(count),
            Heard::Resumed(resumed) => Self::Resumed(resumed),
            Heard::CaughtUp => Self::CaughtUp,
            Heard::Draining(after_ms) => Self::Draining(after_ms),
            Heard::Refused(reason) => Self::Refused(reason),
        }
    }
}

/// Longer than any busy machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

fn dial(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.set_nodelay(true).expect("a socket");
    stream
}

pub(crate) struct Socket {
    socket: WebSocket<TcpStream>,
    session: Option<Box<dyn Session>>,
    random: Random,
    said: VecDeque<Said>,
}

impl Socket {
    pub(crate) fn connect(dialect: &Dialect, addr: SocketAddr, path: &str, role: Role, topic: &str) -> Self {
        let mut request = ClientRequestBuilder::new(format!("ws://{addr}{path}").parse().expect("a URL"));
        for subprotocol in dialect.subprotocols() {
            request = request.with_sub_protocol(*subprotocol);
        }
        let (socket, response) = tungstenite::client(request, dial(addr)).expect("a handshake");
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers =
            response.headers().iter().map(|(name, value)| (name.to_string(), text(value.as_bytes())));
        let headers: Vec<_> = headers.collect();
        let mut socket = Self {
            socket,
            session: dialect.session(role, topic, None),
            random: Random::from_kernel().expect("entropy"),
            said: VecDeque::new(),
        };
        match &mut socket.session {
            Some(session) => {
                session.accepted(&headers, &mut |heard| socket.said.push_back(heard.into()));
                let mut bytes = Vec::new();
                session.open(&mut Frames::new(&mut bytes, &mut socket.random));
                socket.write(&bytes);
            }
            None => socket.said.push_back(Said::Ready),
        }
        socket
    }

    /// The next thing that the server says.
    pub(crate) fn next(&mut self) -> Said {
        loop {
            if let Some(said) = self.said.pop_front() {
                return said;
            }
            let message = self.socket.read().expect("a message");
            let is_text = message.is_text();
            if !is_text && !message.is_binary() {
                continue;
            }
            let (payload, mut bytes) = (message.into_data(), Vec::new());
            match &mut self.session {
                Some(session) => {
                    let mut out = Frames::new(&mut bytes, &mut self.random);
                    session.hear(is_text, &payload, &mut out, &mut |heard| self.said.push_back(heard.into()));
                }
                None => self.said.push_back(Said::Message(payload.to_vec())),
            }
            self.write(&bytes);
        }
    }

    /// Writes frames behind the library's back, which has nothing of its own to write.
    fn write(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).expect("a socket that takes bytes");
    }
}

pub(crate) trait Publisher {
    fn publish(&mut self, payload: &[u8], text: bool);
}

/// A publisher over `ws` or `http` that may publish.
pub(crate) fn publisher(
    dialect: &Dialect,
    addr: SocketAddr,
    (scheme, path): (&str, &str),
    topic: &str,
) -> Box<dyn Publisher> {
    if scheme == "http" {
        let poster = dialect.poster(path, &addr.to_string(), topic).expect("a dialect that posts");
        return Box::new(Post { poster, stream: BufReader::new(dial(addr)) });
    }
    let mut socket = Socket::connect(dialect, addr, path, Role::Publisher, topic);
    assert_eq!(socket.next(), Said::Ready);
    Box::new(socket)
}

impl Publisher for Socket {
    fn publish(&mut self, payload: &[u8], text: bool) {
        let mut bytes = Vec::new();
        match &mut self.session {
            Some(session) => {
                session.publish(payload, &mut Frames::new(&mut bytes, &mut self.random));
                self.write(&bytes);
            }
            None => {
                let message = match text {
                    true => Message::text(String::from_utf8(payload.to_vec()).expect("text")),
                    false => Message::binary(payload.to_vec()),
                };
                self.socket.send(message).expect("a socket that takes messages");
            }
        }
    }
}

struct Post {
    poster: Box<dyn Poster>,
    stream: BufReader<TcpStream>,
}

impl Publisher for Post {
    fn publish(&mut self, payload: &[u8], text: bool) {
        let mut request = Vec::new();
        self.poster.request(payload, text, &mut request);
        self.stream.get_mut().write_all(&request).expect("a socket that takes bytes");
        let (status, body, closes) = self.response();
        let first_line = body.lines().next().unwrap_or_default();
        assert_eq!(self.poster.judge(status, first_line), Ok(()));
        if closes {
            let addr = self.stream.get_ref().peer_addr().expect("a socket");
            self.stream = BufReader::new(dial(addr));
        }
    }
}

impl Post {
    /// Status and body of a response that says how long it is, and whether it is the connection's last.
    fn response(&mut self) -> (u16, String, bool) {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(
                self.stream.read_line(&mut line).expect("a response") > 0,
                "the server hung up: {lines:?}"
            );
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_ascii_lowercase());
        }
        let status = lines[0].split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let length = lines.iter().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.expect("a length").parse().expect("a length")];
        self.stream.read_exact(&mut body).expect("a body");
        let closes = lines.iter().any(|line| line == "connection: close");
        (status, String::from_utf8(body).expect("text"), closes)
    }
}
