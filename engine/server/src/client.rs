//! A small WebSocket client over tokio, for `fanfare pub` and `fanfare sub`: wire's client side with a socket under it.

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use fanfare_wire::Role;
use fanfare_wire::close::{self, CloseCode};
use fanfare_wire::decode::{DecodeError, Decoder, Event, Rules};
use fanfare_wire::frame::{self, Opcode};
use fanfare_wire::handshake::HeadLimits;
use fanfare_wire::handshake::client::{self, ClientHandshake, Response};
use fanfare_wire::url::WsUrl;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// From the first packet until the upgrade stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the server may be silent between the last byte that was sent to it and its Close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest message that is accepted from a server.
const MESSAGE_BYTES_MAX: usize = 1 << 30;

const READ_BYTES: usize = 64 * 1024;

/// A connection to a server.
pub(crate) struct Client {
    stream: TcpStream,
    rules: Rules,
    decoder: Decoder,
    /// What was read, up to `filled`, and not decoded yet.
    input: Box<[u8]>,
    filled: usize,
    /// Frames to send; the first `sent` bytes are gone.
    output: Vec<u8>,
    sent: usize,
    keys: MaskKeys,
    /// Nothing can be sent any more.
    broken: Option<io::Error>,
    /// We sent a Close frame: nothing may follow it (RFC 6455 section 5.5.1).
    closing: bool,
}

/// What a turn of the connection brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Bytes went one way or the other; all messages that came were handed out.
    Moved,
    /// The receiver of messages asked to stop.
    Stopped,
    /// The server closed, or answered our Close frame.
    Closed(Closed),
}

/// How a server ended a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    /// Absent when the Close frame had none.
    pub(crate) code: Option<CloseCode>,
    pub(crate) reason: String,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self.code {
            Some(CloseCode::GOING_AWAY) => "it is shutting down",
            Some(CloseCode::TOO_BIG) => {
                "a message was larger than it accepts (message_bytes_max, frame_bytes_max)"
            }
            Some(CloseCode::POLICY) => "it refuses what was asked for",
            Some(CloseCode::INTERNAL) => "it had an error",
            Some(CloseCode::RESTART) => "it restarts",
            Some(CloseCode::TRY_LATER) => "it holds as much as it may",
            Some(CloseCode::IDLE) => "the connection was silent for too long (idle_timeout_ms)",
            Some(CloseCode::SLOW) => {
                "this subscriber fell too far behind (lag_bytes_max, lag_messages_max, lag_age_ms)"
            }
            _ => "",
        };
        f.write_str("the server closed the connection")?;
        if let Some(code) = self.code {
            write!(f, " with code {code}")?;
        }
        match (self.reason.as_str(), meaning) {
            ("", "") => Ok(()),
            ("", meaning) => write!(f, ": {meaning}"),
            (reason, "") => write!(f, ": {reason}"),
            (reason, meaning) => write!(f, ": {meaning}; it says: {reason}"),
        }
    }
}

/// Why a connection failed.
#[derive(Debug)]
pub(crate) enum ClientError {
    /// This program speaks plain WebSocket only.
    Secure,
    /// No connection could be made.
    Connect {
        authority: String,
        error: io::Error,
    },
    ConnectTimeout {
        authority: String,
    },
    Request(client::RequestError),
    /// The answer to the upgrade was not one of WebSocket.
    Handshake(client::ClientError),
    /// The server answered in plain HTTP.
    Refused {
        status: u16,
        body: String,
    },
    /// The connection broke.
    Io(io::Error),
    /// The server left without a closing handshake.
    Gone,
    /// The server broke the protocol.
    Protocol(DecodeError),
    CloseTimeout,
    /// The kernel gave no random bytes.
    Random(getrandom::Error),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secure => f.write_str(
                "wss:// is not supported by this build; use ws://, through a tunnel if the server is elsewhere",
            ),
            Self::Connect { authority, error } if error.kind() == io::ErrorKind::ConnectionRefused => {
                write!(f, "nothing listens on {authority}; is `fanfare serve` running?")
            }
            Self::Connect { authority, error } => write!(f, "cannot connect to {authority}: {error}"),
            Self::ConnectTimeout { authority } => write!(f, "{authority} did not answer in time"),
            Self::Request(error) => error.fmt(f),
            Self::Handshake(error) => write!(f, "the server did not accept a WebSocket connection: {error}"),
            Self::Refused { status, body } if body.is_empty() => write!(f, "the server answered with status {status}"),
            Self::Refused { status, body } => write!(f, "the server answered with status {status}: {body}"),
            Self::Io(error) => write!(f, "the connection to the server broke: {error}"),
            Self::Gone => f.write_str("the server left without closing the connection"),
            Self::Protocol(error) => write!(f, "the server broke the protocol: {error}"),
            Self::CloseTimeout => f.write_str("the server did not answer the close in time"),
            Self::Random(error) => write!(f, "the system gives no random bytes: {error}"),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Client {
    /// Connects and upgrades.
    pub(crate) async fn connect(url: &WsUrl) -> Result<Self, ClientError> {
        if url.secure {
            return Err(ClientError::Secure);
        }
        match timeout(CONNECT_TIMEOUT, Self::connect_slowly(url)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ClientError::ConnectTimeout { authority: url.authority() }),
        }
    }

    async fn connect_slowly(url: &WsUrl) -> Result<Self, ClientError> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(ClientError::Random)?;
        let handshake = ClientHandshake::new(url, nonce, &[], &[]).map_err(ClientError::Request)?;
        let mut stream = TcpStream::connect((url.host.as_str(), url.port))
            .await
            .map_err(|error| ClientError::Connect { authority: url.authority(), error })?;
        stream.set_nodelay(true)?;
        stream.write_all(handshake.request()).await?;

        let limits = HeadLimits::default();
        let mut input = Vec::with_capacity(READ_BYTES);
        let (response, used) = loop {
            let count = stream.read_buf(&mut input).await?;
            if count == 0 {
                break handshake.read_response_at_eof(&input, &limits).map_err(ClientError::Handshake)?;
            }
            if let Some(read) = handshake.read_response(&input, &limits).map_err(ClientError::Handshake)? {
                break read;
            }
        };
        if let Response::Refused { status, body, .. } = response {
            let body = String::from_utf8_lossy(&body).trim().to_owned();
            return Err(ClientError::Refused { status, body });
        }
        // What follows the response are the first frames.
        input.drain(..used);
        let filled = input.len();
        input.resize(input.capacity().max(READ_BYTES), 0);
        Ok(Self {
            stream,
            rules: Rules {
                role: Role::Client,
                frame_bytes_max: MESSAGE_BYTES_MAX as u64,
                message_bytes_max: MESSAGE_BYTES_MAX,
                fragments_max: u32::MAX,
                compressed: false,
            },
            decoder: Decoder::default(),
            input: input.into_boxed_slice(),
            filled,
            output: Vec::new(),
            sent: 0,
            keys: MaskKeys::default(),
            broken: None,
            closing: false,
        })
    }

    /// Queues a message as one frame.
    pub(crate) fn send(&mut self, text: bool, payload: &[u8]) -> Result<(), ClientError> {
        let opcode = if text { Opcode::Text } else { Opcode::Binary };
        let key = self.keys.next()?;
        frame::write(&mut self.output, opcode, true, payload, Some(key));
        Ok(())
    }

    /// Bytes that are queued and not yet with the kernel.
    pub(crate) fn queued(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Waits until bytes can go one way or the other, moves them, and hands every message that came to `on_message`,
    /// as (is it text, payload). Pings are answered. Nothing is lost when the future is dropped.
    pub(crate) async fn turn(
        &mut self,
        mut on_message: impl FnMut(bool, &[u8]) -> ControlFlow<()>,
    ) -> Result<Turn, ClientError> {
        if self.filled > 0 {
            return self.take_input(&mut on_message);
        }
        let interest =
            if self.queued() > 0 { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let ready = self.stream.ready(interest).await?;
        if ready.is_readable() {
            match self.stream.try_read(&mut self.input) {
                Ok(0) => return Err(self.broken.take().map_or(ClientError::Gone, ClientError::Io)),
                Ok(count) => self.filled = count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        if ready.is_writable() {
            self.write_some();
        }
        if self.filled > 0 { self.take_input(&mut on_message) } else { Ok(Turn::Moved) }
    }

    /// Sends a Close frame behind everything that is queued, and waits for the server's: then it has handled all that
    /// was sent before (RFC 6455 section 7.1.2). Messages that still come go to `on_message`.
    pub(crate) async fn close(
        &mut self,
        mut on_message: impl FnMut(bool, &[u8]),
    ) -> Result<Closed, ClientError> {
        self.queue_close(CloseCode::NORMAL)?;
        loop {
            // A server that holds its publishers back may do so for as long as it likes. Only once all is sent is its
            // silence suspect.
            let limit = if self.queued() > 0 { Duration::MAX } else { CLOSE_TIMEOUT };
            let turn = self.turn(|text, payload| {
                on_message(text, payload);
                ControlFlow::Continue(())
            });
            match timeout(limit, turn).await {
                Ok(Ok(Turn::Closed(closed))) => return Ok(closed),
                Ok(Ok(Turn::Moved | Turn::Stopped)) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(ClientError::CloseTimeout),
            }
        }
    }

    fn queue_close(&mut self, code: CloseCode) -> Result<(), ClientError> {
        if !self.closing {
            self.closing = true;
            let key = self.keys.next()?;
            close::write(&mut self.output, code, "", Some(key));
        }
        Ok(())
    }

    /// Hands as much to the kernel as it takes.
    fn write_some(&mut self) {
        match self.stream.try_write(&self.output[self.sent..]) {
            Ok(count) => self.sent += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                // What the server said before it went may still be read, and it says more than this error.
                self.broken = Some(error);
                self.sent = self.output.len();
            }
        }
        if self.sent == self.output.len() {
            self.output.clear();
            self.sent = 0;
        }
    }

    /// Decodes what was read.
    fn take_input(
        &mut self,
        on_message: &mut impl FnMut(bool, &[u8]) -> ControlFlow<()>,
    ) -> Result<Turn, ClientError> {
        let mut input = &mut self.input[..self.filled];
        self.filled = 0;
        let mut stopped = false;
        loop {
            let event = match self.decoder.next(&self.rules, &mut input) {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(if stopped { Turn::Stopped } else { Turn::Moved }),
                Err(error) => return Err(ClientError::Protocol(error)),
            };
            match event {
                // After a stop frames are still taken, so that the stream stays in step for the closing handshake.
                Event::Message { .. } if stopped => {}
                Event::Message { text, payload } => stopped = on_message(text, payload).is_break(),
                Event::Compressed { .. } => unreachable!("compression was not agreed on"),
                Event::Ping(payload) if !self.closing => {
                    let key = self.keys.next()?;
                    frame::write(&mut self.output, Opcode::Pong, true, payload, Some(key));
                }
                Event::Ping(_) | Event::Pong(_) => {}
                Event::Close(frame) => {
                    let closed = Closed {
                        code: frame.map(|frame| frame.code),
                        reason: frame.map(|frame| frame.reason.to_owned()).unwrap_or_default(),
                    };
                    self.queue_close(closed.code.unwrap_or(CloseCode::NORMAL))?;
                    // The server closes the TCP connection when it has the answer; if it does not take it, so be it.
                    self.write_some();
                    return Ok(Turn::Closed(closed));
                }
            }
        }
    }
}

/// Masking keys: fresh for each frame and unpredictable (RFC 6455 section 5.3), drawn from the kernel in batches.
#[derive(Default)]
struct MaskKeys {
    /// The unused keys.
    pool: Vec<[u8; 4]>,
}

impl MaskKeys {
    const BATCH: usize = 256;

    fn next(&mut self) -> Result<[u8; 4], ClientError> {
        if let Some(key) = self.pool.pop() {
            return Ok(key);
        }
        self.pool.resize(Self::BATCH, [0; 4]);
        getrandom::fill(self.pool.as_flattened_mut()).map_err(ClientError::Random)?;
        Ok(self.pool.pop().expect("a batch is not empty"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_says_what_it_means_and_what_the_server_says() {
        for (code, reason, words) in [
            (None, "", "the server closed the connection"),
            (Some(CloseCode::NORMAL), "", "the server closed the connection with code 1000"),
            (Some(CloseCode::TOO_BIG), "", "code 1009: a message was larger than it accepts"),
            (Some(CloseCode(3000)), "bye", "code 3000: bye"),
            (Some(CloseCode::SLOW), "too slow", "lag_age_ms); it says: too slow"),
        ] {
            let text = Closed { code, reason: reason.to_owned() }.to_string();
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn keys_are_not_used_twice() {
        let mut keys = MaskKeys::default();
        let mut seen: Vec<_> = (0..1000).map(|_| keys.next().expect("random bytes")).collect();
        seen.sort_unstable();
        seen.dedup();
        // Two of a thousand random keys are the same once in ten thousand runs, three pairs practically never.
        assert!(seen.len() > 997);
    }
}
