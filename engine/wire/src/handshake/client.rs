//! The client's side: the request, and what came back (RFC 6455 section 4.1).
//!
//! Status 101 alone completes the handshake; the reason phrase is never looked at. Every other status is
//! plain HTTP and is reported as that, with headers and body.

use std::fmt;

use super::accept::{self, ACCEPT_LEN};
use super::body::{BadBody, Framing};
use super::tokens::{is_token, lists, parse_extensions, single, values};
use super::{Extension, HEADERS_CEILING, HeadLimits};
use crate::deflate::{self, AnswerError, Granted};
use crate::url::WsUrl;

/// The most of a refusal's body that is reported, in bytes. It is for people and logs.
pub const REFUSAL_BODY_BYTES_MAX: usize = 64 * 1024;

/// Headers that the handshake itself writes, or that would change how the request is framed.
const RESERVED: [&str; 9] = [
    "Host",
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Accept",
    "Content-Length",
    "Transfer-Encoding",
];

/// Why a request cannot be made of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// A subprotocol is not a token.
    ProtocolNotToken,
    /// A subprotocol is offered twice.
    ProtocolTwice,
    /// A header's name is not a token.
    HeaderName,
    /// A header's value contains a control character, or begins or ends with space.
    HeaderValue,
    /// A header is one of those that the handshake writes itself.
    HeaderReserved,
    /// The value given for Sec-WebSocket-Extensions does not follow its grammar.
    Extensions,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProtocolNotToken => "a subprotocol's name must be an HTTP token",
            Self::ProtocolTwice => "a subprotocol is offered twice",
            Self::HeaderName => "a header's name must be an HTTP token",
            Self::HeaderValue => "a header's value has no control characters and no space at its ends",
            Self::HeaderReserved => "a header is one that the handshake writes itself",
            Self::Extensions => "the Sec-WebSocket-Extensions header is not valid",
        })
    }
}

impl std::error::Error for RequestError {}

/// Why a connection attempt failed on what the server sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// The connection ended before the response's head did.
    Closed,
    /// The head is longer than [`HeadLimits::head_bytes_max`].
    HeadTooLong,
    /// There are more headers than [`HeadLimits::headers_max`].
    TooManyHeaders,
    /// This is not an HTTP response.
    NotHttp,
    /// The body of a response other than 101 is not framed validly.
    Body,
    /// Status 101 in a version below HTTP/1.1.
    Version,
    /// Status 101 without `Upgrade: websocket`.
    Upgrade,
    /// Status 101 without `Connection: Upgrade`.
    Connection,
    /// Status 101 whose Sec-WebSocket-Accept is missing, repeated, or not the answer to our key.
    Accept,
    /// Status 101 with a subprotocol that was not offered, or with several.
    Protocol,
    /// Status 101 with an extension that was not offered, or an invalid list of them.
    Extension,
    /// Status 101 with an answer to [`deflate::OFFER`] that is not valid.
    Deflate(AnswerError),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the server closed the connection during the handshake",
            Self::HeadTooLong => "the head of the server's response is longer than the limit",
            Self::TooManyHeaders => "the server's response has more headers than the limit",
            Self::NotHttp => "the server's response is not HTTP/1",
            Self::Body => "the body of the server's response is not framed validly",
            Self::Version => "the server switched protocols in HTTP/1.0",
            Self::Upgrade => "the server's 101 response has no Upgrade: websocket",
            Self::Connection => "the server's 101 response has no Connection: Upgrade",
            Self::Accept => {
                "the server's 101 response does not prove that it read our key (Sec-WebSocket-Accept)"
            }
            Self::Protocol => "the server chose a subprotocol that was not offered",
            Self::Extension => "the server chose an extension that was not offered",
            Self::Deflate(error) => return error.fmt(f),
        })
    }
}

impl std::error::Error for ClientError {}

/// What the server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Status 101, verified. What follows the response are the first frames.
    Accepted {
        /// The subprotocol that the server chose of those offered.
        protocol: Option<String>,
        /// The extensions that it chose.
        extensions: Vec<Extension>,
        /// What the server grants of permessage-deflate, if [`deflate::OFFER`] was offered and accepted. Otherwise
        /// it is for the caller to make sense of `extensions`.
        deflate: Option<Granted>,
        /// All headers, in order. Bytes that are not UTF-8 are replaced.
        headers: Vec<(String, String)>,
    },
    /// Any other final status.
    Refused {
        /// The status.
        status: u16,
        /// All headers, in order. Bytes that are not UTF-8 are replaced.
        headers: Vec<(String, String)>,
        /// The body, decoded if it was chunked; at most [`REFUSAL_BODY_BYTES_MAX`] bytes of it.
        body: Vec<u8>,
    },
}

/// One connection attempt: the request, and what is needed to judge the response.
#[derive(Clone, Debug)]
pub struct ClientHandshake {
    request: Vec<u8>,
    accept: [u8; ACCEPT_LEN],
    protocols: Vec<String>,
    extensions: Vec<String>,
    /// Whether [`deflate::OFFER`] is all that is offered.
    deflate: bool,
}

impl ClientHandshake {
    /// Prepares a request.
    ///
    /// The nonce must be random and used once. To offer extensions, give a `Sec-WebSocket-Extensions` header. If
    /// that is [`deflate::OFFER`] alone, the answer is read and held against it.
    pub fn new(
        url: &WsUrl,
        nonce: [u8; 16],
        protocols: &[&str],
        headers: &[(&str, &str)],
    ) -> Result<Self, RequestError> {
        check_protocols(protocols)?;
        let mut extensions = Vec::new();
        let mut deflate = false;
        for (name, value) in headers {
            check_header(name, value)?;
            if name.eq_ignore_ascii_case("Sec-WebSocket-Extensions") {
                deflate = extensions.is_empty() && *value == deflate::OFFER;
                parse_extensions(value.as_bytes(), &mut extensions).map_err(|_| RequestError::Extensions)?;
            }
        }
        let key = accept::key(nonce);
        Ok(Self {
            request: write_request(url, &key, protocols, headers),
            accept: accept::accept(&key),
            protocols: protocols.iter().map(ToString::to_string).collect(),
            extensions: extensions.into_iter().map(|extension| extension.name).collect(),
            deflate,
        })
    }

    /// The request's bytes, to be sent first.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// Reads the response from the front of `input`.
    ///
    /// `None` means that it is not complete; call again with more, or with
    /// [`read_response_at_eof`](Self::read_response_at_eof) if the connection ended. The number is the
    /// length of the response.
    pub fn read_response(
        &self,
        input: &[u8],
        limits: &HeadLimits,
    ) -> Result<Option<(Response, usize)>, ClientError> {
        self.read(input, limits, false)
    }

    /// Reads the response from `input`, after which the connection ended. A body that was cut off is
    /// reported as far as it came.
    pub fn read_response_at_eof(
        &self,
        input: &[u8],
        limits: &HeadLimits,
    ) -> Result<(Response, usize), ClientError> {
        self.read(input, limits, true)?.ok_or(ClientError::Closed)
    }

    fn read(
        &self,
        input: &[u8],
        limits: &HeadLimits,
        eof: bool,
    ) -> Result<Option<(Response, usize)>, ClientError> {
        let mut at = 0;
        loop {
            let mut buffer = [httparse::EMPTY_HEADER; HEADERS_CEILING];
            let mut response =
                httparse::Response::new(&mut buffer[..limits.headers_max.min(HEADERS_CEILING)]);
            let parsed = response.parse(&input[at..]);
            let head_end = match parsed {
                Ok(httparse::Status::Complete(len)) => at + len,
                Ok(httparse::Status::Partial) => input.len(),
                Err(httparse::Error::TooManyHeaders) => return Err(ClientError::TooManyHeaders),
                Err(_) => return Err(ClientError::NotHttp),
            };
            let partial = parsed == Ok(httparse::Status::Partial);
            if head_end > limits.head_bytes_max || (partial && head_end == limits.head_bytes_max) {
                return Err(ClientError::HeadTooLong);
            }
            let (false, Some(status), Some(version)) = (partial, response.code, response.version) else {
                return Ok(None);
            };
            match status {
                101 if version == 0 => return Err(ClientError::Version),
                101 => return Ok(Some((self.verify(response.headers)?, head_end))),
                // Interim responses come before the final one (RFC 9110 section 15.2).
                100..=199 => at = head_end,
                _ => {
                    let framing =
                        Framing::of(status, response.headers).map_err(|BadBody| ClientError::Body)?;
                    let body = framing.read(&input[head_end..], REFUSAL_BODY_BYTES_MAX, eof);
                    let Some(body) = body.map_err(|BadBody| ClientError::Body)? else { return Ok(None) };
                    let refused =
                        Response::Refused { status, headers: owned(response.headers), body: body.bytes };
                    return Ok(Some((refused, head_end + body.used)));
                }
            }
        }
    }

    /// Judges the headers of a 101 response (RFC 6455 section 4.1, the list after "Once the client's
    /// opening handshake has been sent").
    fn verify(&self, headers: &[httparse::Header<'_>]) -> Result<Response, ClientError> {
        if !lists(headers, "Upgrade", "websocket") {
            return Err(ClientError::Upgrade);
        }
        if !lists(headers, "Connection", "upgrade") {
            return Err(ClientError::Connection);
        }
        match single(headers, "Sec-WebSocket-Accept") {
            Ok(Some(accept)) if accept == self.accept => {}
            _ => return Err(ClientError::Accept),
        }
        let protocol = match single(headers, "Sec-WebSocket-Protocol") {
            Ok(None) => None,
            Ok(Some(chosen)) => {
                let offered = self.protocols.iter().find(|offered| offered.as_bytes() == chosen);
                Some(offered.ok_or(ClientError::Protocol)?.clone())
            }
            Err(_) => return Err(ClientError::Protocol),
        };
        let mut extensions = Vec::new();
        for value in values(headers, "Sec-WebSocket-Extensions") {
            parse_extensions(value, &mut extensions).map_err(|_| ClientError::Extension)?;
        }
        if !extensions.iter().all(|chosen| self.extensions.contains(&chosen.name)) {
            return Err(ClientError::Extension);
        }
        let deflate = match self.deflate {
            true => deflate::read_answer(&extensions).map_err(ClientError::Deflate)?,
            false => None,
        };
        Ok(Response::Accepted { protocol, extensions, deflate, headers: owned(headers) })
    }
}

fn check_protocols(protocols: &[&str]) -> Result<(), RequestError> {
    for (i, protocol) in protocols.iter().enumerate() {
        if !is_token(protocol.as_bytes()) {
            return Err(RequestError::ProtocolNotToken);
        }
        if protocols[..i].contains(protocol) {
            return Err(RequestError::ProtocolTwice);
        }
    }
    Ok(())
}

fn check_header(name: &str, value: &str) -> Result<(), RequestError> {
    if !is_token(name.as_bytes()) {
        return Err(RequestError::HeaderName);
    }
    if RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) {
        return Err(RequestError::HeaderReserved);
    }
    if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') || value.trim() != value {
        return Err(RequestError::HeaderValue);
    }
    Ok(())
}

fn write_request(url: &WsUrl, key: &[u8], protocols: &[&str], headers: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
    put(&[b"GET ", url.target.as_bytes(), b" HTTP/1.1\r\nHost: ", url.host_header().as_bytes()]);
    put(&[
        b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ",
        key,
    ]);
    if !protocols.is_empty() {
        put(&[b"\r\nSec-WebSocket-Protocol: ", protocols.join(", ").as_bytes()]);
    }
    for (name, value) in headers {
        put(&[b"\r\n", name.as_bytes(), b": ", value.as_bytes()]);
    }
    put(&[b"\r\n\r\n"]);
    out
}

fn owned(headers: &[httparse::Header<'_>]) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|header| (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned()))
        .collect()
}
