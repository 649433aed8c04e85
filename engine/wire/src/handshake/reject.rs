//! The reply to a request that does not become a WebSocket connection.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;

/// A refused request: an HTTP status, one line that says why, and headers that the status asks for.
///
/// Reasons and headers are ours. Nothing that the peer sent appears in the reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The HTTP status.
    pub status: u16,
    /// The body, without its line end.
    pub reason: Cow<'static, str>,
    /// Further header lines.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
}

impl Reject {
    /// A reply with this status.
    pub fn new(status: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { status, reason: reason.into(), headers: Vec::new() }
    }

    /// Adds a header line. The value must not contain line ends.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        let value = value.into();
        debug_assert!(!value.contains(['\r', '\n']), "a header value has no line ends");
        self.headers.push((name, value));
        self
    }

    /// 400: the request breaks a rule.
    pub fn bad_request(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, reason)
    }

    /// 403: the request is understood and not allowed, as for its origin.
    pub fn forbidden(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(403, reason)
    }

    /// 404: nothing is at this path.
    pub fn not_found() -> Self {
        Self::new(404, "nothing is at this path")
    }

    /// 405: the method is not one of `allow`, which is a list such as `GET, HEAD`.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        Self::new(405, "this method is not allowed here").with_header("Allow", allow)
    }

    /// 408: the head did not arrive in time.
    pub fn request_timeout() -> Self {
        Self::new(408, "the request did not arrive in time")
    }

    /// 426: this path is for WebSocket connections (RFC 9110 section 15.5.22).
    pub fn upgrade_required() -> Self {
        Self::new(426, "connect to this path with a WebSocket client")
            .with_header("Upgrade", "websocket")
            .with_header("Sec-WebSocket-Version", "13")
    }

    /// 503: not now; try again after so many seconds.
    pub fn service_unavailable(reason: impl Into<Cow<'static, str>>, retry_after_s: u32) -> Self {
        Self::new(503, reason).with_header("Retry-After", retry_after_s.to_string())
    }

    /// Appends the whole reply. The connection is to be closed after it.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_head(out);
        out.extend_from_slice(self.reason.as_bytes());
        out.push(b'\n');
    }

    /// Appends the reply to a HEAD request: the same head without the body (RFC 9110 section 9.3.2).
    pub fn write_head(&self, out: &mut Vec<u8>) {
        // An Upgrade header has to be named in Connection (RFC 9110 section 7.8).
        let upgrade = self.headers.iter().any(|(name, _)| *name == "Upgrade");
        let connection = if upgrade { "Upgrade, close" } else { "close" };
        let written = write!(
            out,
            "HTTP/1.1 {} {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: {connection}\r\n",
            self.status,
            phrase(self.status),
            self.reason.len() + 1,
        );
        written.expect("writing to a Vec does not fail");
        for (name, value) in &self.headers {
            for part in [name, ": ", value, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, phrase(self.status), self.reason)
    }
}

impl std::error::Error for Reject {}

/// The customary phrase of a status (RFC 9110 section 15). Nobody examines it.
const fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
