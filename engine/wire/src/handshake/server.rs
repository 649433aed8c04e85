//! The server's side: a request read from what has arrived, and the 101 reply (RFC 6455 section 4.2).
//!
//! The head is read twice. First its line ends and its size are checked byte by byte, since `httparse`
//! takes a bare LF for a line end and other software may not; then `httparse` reads it, and the rules of
//! RFC 9110, 9112 and 6455 are held against what it found. All checks run on unfinished heads too, so that
//! nonsense is answered at once.

use super::accept::{ACCEPT_LEN, accept, is_key};
use super::tokens::{Repeated, elements, is_token, is_token_byte, lists, parse_extensions, single, values};
use super::{Extension, HEADERS_CEILING};
use crate::percent;

pub use super::HeadLimits;
pub use super::reject::Reject;

/// The method of a request. This port serves GET alone; HEAD is told apart since its replies have no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// Any other.
    Other,
}

/// A request, valid as HTTP. With an `upgrade` it is valid as a WebSocket handshake too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method. GET if there is an upgrade.
    pub method: Method,
    /// The target's path as it was sent. Its percent-encoding is valid and encodes UTF-8.
    pub path: String,
    /// The target's query as it was sent, without the question mark. Its encoding is as valid as the path's.
    pub query: Option<String>,
    /// The authority that the client wants to speak to. Empty if it did not say, which HTTP/1.0 allows.
    pub host: String,
    /// The origin of the page whose script connects. Browsers always say it; others may say anything.
    pub origin: Option<String>,
    /// What the client offers for a WebSocket connection, if it wants one.
    pub upgrade: Option<Upgrade>,
}

/// A client's offer of a WebSocket connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The subprotocols that the client speaks, the best first. No two are equal.
    pub protocols: Vec<String>,
    /// The extensions that the client would use, the best first.
    pub extensions: Vec<Extension>,
    accept: [u8; ACCEPT_LEN],
}

impl Request {
    /// The first value of this name in the query, decoded. A name without `=` has an empty value.
    pub fn query_value(&self, name: &str) -> Option<String> {
        let raw = self.query_raw(name)?;
        percent::decode(raw, true)
    }

    /// The first value of this name in the query, cut at its commas and decoded after that, so that an
    /// element can hold an encoded comma. Empty elements are left out.
    pub fn query_list(&self, name: &str) -> Option<Vec<String>> {
        let elements = self.query_raw(name)?.split(',').filter(|element| !element.is_empty());
        elements.map(|element| percent::decode(element, true)).collect()
    }

    fn query_raw(&self, name: &str) -> Option<&str> {
        self.query
            .as_deref()?
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find(|(raw, _)| percent::decode(raw, true).as_deref() == Some(name))
            .map(|(_, value)| value)
    }
}

impl Upgrade {
    /// Appends the 101 reply (RFC 6455 section 4.2.2).
    ///
    /// `protocol` must be one of those that were offered. `headers` are further header lines: ours, never
    /// what a peer wrote, so that nobody can slip in a line of their own; a Sec-WebSocket-Extensions among
    /// them must answer what was offered.
    pub fn write_accept(&self, out: &mut Vec<u8>, protocol: Option<&str>, headers: &[(&str, &str)]) {
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        );
        out.extend_from_slice(&self.accept);
        if let Some(protocol) = protocol {
            debug_assert!(
                self.protocols.iter().any(|offered| offered == protocol),
                "not offered: {protocol}"
            );
            out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
            out.extend_from_slice(protocol.as_bytes());
        }
        for (name, value) in headers {
            debug_assert!(is_token(name.as_bytes()), "not a header's name: {name:?}");
            debug_assert!(
                value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()),
                "not a header's value: {value:?}"
            );
            for part in ["\r\n", name, ": ", value] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n\r\n");
    }
}

/// Reads a request from the front of `input`.
///
/// `None` means that the head is not complete; call again with more of it. The number is the length of the
/// head; what stands behind it are the first frames.
pub fn read_request(input: &[u8], limits: &HeadLimits) -> Result<Option<(Request, usize)>, Reject> {
    let start = check_start(input)?;
    let complete = check_lines(&input[start..], limits)?;
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_CEILING];
    let mut request = httparse::Request::new(&mut headers[..limits.headers_max.min(HEADERS_CEILING)]);
    match request.parse(&input[start..]) {
        Ok(httparse::Status::Partial) if !complete => Ok(None),
        Ok(httparse::Status::Partial) => Err(Reject::bad_request("the request line is not valid")),
        Ok(httparse::Status::Complete(len)) => Ok(Some((interpret(&request)?, start + len))),
        Err(error) => Err(explain(error, &input[start..])),
    }
}

/// Skips an empty line before the request line (RFC 9112 section 2.2), and looks at the first byte after it.
fn check_start(input: &[u8]) -> Result<usize, Reject> {
    let start = if input.starts_with(b"\r\n") { 2 } else { 0 };
    match &input[start..] {
        [] => Ok(start),
        [b'\r'] if start == 0 => Ok(start),
        // The record header of a TLS handshake (RFC 8446 section 5.1).
        [0x16] | [0x16, 0x03, ..] => {
            Err(Reject::bad_request("this port speaks plain HTTP; the client began a TLS handshake"))
        }
        [first, ..] if is_token_byte(*first) => Ok(start),
        _ => Err(Reject::bad_request("this is not an HTTP request")),
    }
}

/// Checks line ends and sizes. True if the head is complete.
fn check_lines(head: &[u8], limits: &HeadLimits) -> Result<bool, Reject> {
    let mut lines = 0;
    let mut line_start = 0;
    let mut bytes = head.iter().enumerate().take(limits.head_bytes_max);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            0 => return Err(Reject::bad_request("the head contains a NUL byte")),
            b'\n' => return Err(Reject::bad_request("a line ends with LF and not with CR LF")),
            b'\r' => {
                let Some((_, next)) = bytes.next() else { break };
                if *next != b'\n' {
                    return Err(Reject::bad_request("the head contains a CR without LF"));
                }
                if line_start == at {
                    return Ok(true);
                }
                lines += 1;
                line_start = at + 2;
            }
            b' ' | b'\t' if line_start == at && lines > 0 => {
                return Err(Reject::bad_request("a header is folded over two lines"));
            }
            _ => {}
        }
    }
    match (head.len() >= limits.head_bytes_max, lines) {
        (false, _) => Ok(false),
        (true, 0) => Err(Reject::new(414, "the request line is too long")),
        (true, _) => Err(Reject::new(431, "the head of the request is too long")),
    }
}

/// What `httparse` has against a head.
fn explain(error: httparse::Error, head: &[u8]) -> Reject {
    match error {
        httparse::Error::TooManyHeaders => Reject::new(431, "the request has too many headers"),
        httparse::Error::HeaderName => {
            Reject::bad_request("a header name contains an invalid character, or space before its colon")
        }
        httparse::Error::HeaderValue => Reject::bad_request("a header value contains an invalid character"),
        httparse::Error::Version => {
            let line = head.split(|byte| *byte == b'\r').next().unwrap_or(head);
            let version = line.splitn(3, |byte| *byte == b' ').nth(2).unwrap_or(&[]);
            match version.strip_prefix(b"HTTP/") {
                Some([digit, ..]) if digit.is_ascii_digit() => {
                    Reject::new(505, "this server speaks HTTP/1.1 and HTTP/1.0")
                }
                _ => Reject::bad_request("the request line has no HTTP version"),
            }
        }
        httparse::Error::Token | httparse::Error::NewLine | httparse::Error::Status => {
            Reject::bad_request("the request line is not valid")
        }
    }
}

fn interpret(request: &httparse::Request<'_, '_>) -> Result<Request, Reject> {
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Reject::bad_request("the request line is not valid"));
    };
    let headers: &[httparse::Header<'_>] = request.headers;
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        _ => Method::Other,
    };
    let target = Target::parse(target)?;
    let host = read_host(headers, version == 1)?;
    refuse_body(headers)?;
    let origin = once(headers, "Origin", "the Origin header is repeated")?
        .map(|origin| visible(origin).ok_or_else(|| Reject::bad_request("the Origin header is not valid")))
        .transpose()?;
    // In HTTP/1.0 an Upgrade header has to be ignored (RFC 9110 section 7.8).
    let wants_upgrade = version == 1 && lists(headers, "Upgrade", "websocket");
    Ok(Request {
        method,
        path: target.path,
        query: target.query,
        host: target.authority.unwrap_or(host),
        origin,
        upgrade: if wants_upgrade { Some(read_upgrade(method, headers)?) } else { None },
    })
}

/// A request target (RFC 9112 section 3.2).
struct Target {
    authority: Option<String>,
    path: String,
    query: Option<String>,
}

impl Target {
    fn parse(target: &str) -> Result<Self, Reject> {
        let invalid = || Reject::bad_request("the request target is not valid");
        if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(invalid());
        }
        if percent::decode(target, false).is_none() {
            return Err(Reject::bad_request("the request target is not percent-encoded UTF-8"));
        }
        let (authority, rest) = match split_scheme(target) {
            Some(rest) => {
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                let (authority, rest) = rest.split_at(end);
                if authority.is_empty() || !authority.bytes().all(is_authority_byte) {
                    return Err(invalid());
                }
                (Some(authority.to_owned()), rest)
            }
            None if target.starts_with('/') || target == "*" => (None, target),
            None => return Err(invalid()),
        };
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (rest, None),
        };
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self { authority, path: path.to_owned(), query })
    }
}

/// What follows the scheme of a target in absolute form, which servers have to accept (RFC 9112 section
/// 3.2.2).
fn split_scheme(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    ["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known)).then_some(rest)
}

/// Exactly one Host header in HTTP/1.1 (RFC 9112 section 3.2), with a value that can be an authority.
fn read_host(headers: &[httparse::Header<'_>], required: bool) -> Result<String, Reject> {
    match once(headers, "Host", "the Host header is repeated")? {
        None if required => Err(Reject::bad_request("the Host header is missing")),
        None => Ok(String::new()),
        Some(host) if host.iter().copied().all(is_authority_byte) => {
            visible(host).ok_or_else(|| Reject::bad_request("the Host header is not valid"))
        }
        Some(_) => Err(Reject::bad_request("the Host header is not valid")),
    }
}

/// The bytes of `uri-host [":" port]` (RFC 3986 section 3.2.2).
const fn is_authority_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%' | b':' | b'[' | b']')
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}

/// No request to this port has a body. Framing that readers could understand differently is refused as such
/// (RFC 9112 section 6.3).
fn refuse_body(headers: &[httparse::Header<'_>]) -> Result<(), Reject> {
    let chunked = values(headers, "Transfer-Encoding").next().is_some();
    let mut length = None;
    for value in values(headers, "Content-Length") {
        for element in value.split(|byte| *byte == b',').map(super::tokens::trim) {
            if element.is_empty() || !element.iter().all(u8::is_ascii_digit) {
                return Err(Reject::bad_request("the Content-Length header is not a number"));
            }
            if *length.get_or_insert(element) != element {
                return Err(Reject::bad_request("two Content-Length headers differ"));
            }
        }
    }
    match (chunked, length) {
        (true, Some(_)) => {
            Err(Reject::bad_request("the request has both Transfer-Encoding and Content-Length"))
        }
        (true, None) => {
            Err(Reject::bad_request("a request to this port has no body, so no Transfer-Encoding"))
        }
        (false, Some(length)) if length.iter().any(|digit| *digit != b'0') => {
            Err(Reject::new(413, "a request to this port has no body"))
        }
        (false, _) => Ok(()),
    }
}

/// The requirements on a client's handshake (RFC 6455 section 4.2.1).
fn read_upgrade(method: Method, headers: &[httparse::Header<'_>]) -> Result<Upgrade, Reject> {
    if method != Method::Get {
        return Err(Reject::method_not_allowed("GET"));
    }
    if !lists(headers, "Connection", "upgrade") {
        return Err(Reject::bad_request(
            "the Connection header does not list Upgrade; a proxy on the way may have removed it",
        ));
    }
    let version = once(headers, "Sec-WebSocket-Version", "the Sec-WebSocket-Version header is repeated")?;
    if version != Some(b"13") {
        let reason = match version {
            Some(_) => "this server speaks version 13 of the WebSocket protocol",
            None => "the Sec-WebSocket-Version header is missing; this server speaks version 13",
        };
        return Err(Reject { reason: reason.into(), ..Reject::upgrade_required() });
    }
    let Some(key) = once(headers, "Sec-WebSocket-Key", "the Sec-WebSocket-Key header is repeated")? else {
        return Err(Reject::bad_request("the Sec-WebSocket-Key header is missing"));
    };
    if !is_key(key) {
        return Err(Reject::bad_request("the Sec-WebSocket-Key header is not 16 bytes of base64"));
    }
    Ok(Upgrade {
        protocols: read_protocols(headers)?,
        extensions: read_extensions(headers)?,
        accept: accept(key),
    })
}

fn read_protocols(headers: &[httparse::Header<'_>]) -> Result<Vec<String>, Reject> {
    let mut protocols: Vec<String> = Vec::new();
    for protocol in elements(headers, "Sec-WebSocket-Protocol") {
        let token = if is_token(protocol) { visible(protocol) } else { None };
        let Some(token) = token else {
            return Err(Reject::bad_request(
                "the Sec-WebSocket-Protocol header lists something that is no token",
            ));
        };
        if protocols.contains(&token) {
            return Err(Reject::bad_request("the Sec-WebSocket-Protocol header lists a protocol twice"));
        }
        protocols.push(token);
    }
    Ok(protocols)
}

fn read_extensions(headers: &[httparse::Header<'_>]) -> Result<Vec<Extension>, Reject> {
    let mut extensions = Vec::new();
    for value in values(headers, "Sec-WebSocket-Extensions") {
        parse_extensions(value, &mut extensions)
            .map_err(|_| Reject::bad_request("the Sec-WebSocket-Extensions header is not valid"))?;
    }
    Ok(extensions)
}

fn once<'b>(
    headers: &[httparse::Header<'b>],
    name: &'static str,
    repeated: &'static str,
) -> Result<Option<&'b [u8]>, Reject> {
    single(headers, name).map_err(|Repeated| Reject::bad_request(repeated))
}

/// A value of visible ASCII characters as text.
fn visible(value: &[u8]) -> Option<String> {
    value.iter().all(|byte| byte.is_ascii_graphic()).then(|| value.iter().copied().map(char::from).collect())
}
