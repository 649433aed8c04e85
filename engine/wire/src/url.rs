//! `ws:` and `wss:` URLs (RFC 6455 section 3): where a client connects to.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// The port of `ws:` URLs that name none.
pub const PORT_PLAIN: u16 = 80;
/// The port of `wss:` URLs that name none.
pub const PORT_SECURE: u16 = 443;

/// A parsed URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WsUrl {
    /// Whether the connection is under TLS (`wss:`).
    pub secure: bool,
    /// The host in lower case; an IPv6 address without its brackets.
    pub host: String,
    /// The port, 80 or 443 when the URL names none.
    pub port: u16,
    /// Path and query as they stand in the request line. Begins with `/`.
    pub target: String,
}

/// Why a text is no WebSocket URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlError {
    /// The scheme is not `ws` or `wss`.
    Scheme,
    /// A user name or a password.
    UserInfo,
    /// The host is missing.
    HostMissing,
    /// The host is not a name, an IPv4 address, or an IPv6 address in brackets.
    Host,
    /// The port is not a number from 1 to 65535.
    Port,
    /// Path or query contain spaces, control characters or other characters that must be percent-encoded.
    Target,
    /// A fragment, which WebSocket URLs must not have.
    Fragment,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "a WebSocket URL begins with ws:// or wss://",
            Self::UserInfo => "a WebSocket URL has no user name or password",
            Self::HostMissing => "the URL names no host",
            Self::Host => {
                "the URL's host must be a name in ASCII, an IPv4 address, or an IPv6 address in brackets"
            }
            Self::Port => "the URL's port must be a number from 1 to 65535",
            Self::Target => {
                "the URL's path and query must percent-encode everything but ASCII letters, digits and signs"
            }
            Self::Fragment => "a WebSocket URL has no fragment; write a # in it as %23",
        })
    }
}

impl std::error::Error for UrlError {}

impl WsUrl {
    /// Reads a URL such as `ws://example.org/stream?topics=a`.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
        let secure = match scheme {
            _ if scheme.eq_ignore_ascii_case("ws") => false,
            _ if scheme.eq_ignore_ascii_case("wss") => true,
            _ => return Err(UrlError::Scheme),
        };
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(UrlError::UserInfo);
        }
        if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UrlError::Target);
        }
        let (host, port) = split_port(authority)?;
        let port = match port {
            // A colon without a number is allowed (RFC 3986 section 3.2.3).
            None | Some("") if secure => PORT_SECURE,
            None | Some("") => PORT_PLAIN,
            Some(port) => parse_port(port)?,
        };
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self { secure, host: parse_host(host)?, port, target: format!("{slash}{target}") })
    }

    /// Host and port, with brackets around an IPv6 address.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The value of the Host header: the authority without the port if it is the scheme's own (RFC 6455
    /// section 4.1).
    pub fn host_header(&self) -> String {
        let mut authority = self.authority();
        if self.port == if self.secure { PORT_SECURE } else { PORT_PLAIN } {
            authority.truncate(authority.rfind(':').unwrap_or(authority.len()));
        }
        authority
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), UrlError> {
    if !authority.starts_with('[') {
        return Ok(match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        });
    }
    let (host, rest) = authority.split_at(authority.find(']').ok_or(UrlError::Host)? + 1);
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if rest.is_empty() => Ok((host, None)),
        None => Err(UrlError::Host),
    }
}

fn parse_port(port: &str) -> Result<u16, UrlError> {
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(UrlError::Port);
    }
    match port.parse() {
        Ok(0) | Err(_) => Err(UrlError::Port),
        Ok(port) => Ok(port),
    }
}

fn parse_host(host: &str) -> Result<String, UrlError> {
    if host.is_empty() {
        return Err(UrlError::HostMissing);
    }
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().map(|address| address.to_string()).map_err(|_| UrlError::Host);
    }
    if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        return Err(UrlError::Host);
    }
    Ok(host.to_ascii_lowercase())
}

impl FromStr for WsUrl {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        Self::parse(url)
    }
}

impl fmt::Display for WsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.host_header(), self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, expected: Result<(bool, &str, u16, &str, &str), UrlError>) {
        let parsed = WsUrl::parse(url);
        let seen =
            parsed.as_ref().map(|url| (url.secure, &*url.host, url.port, &*url.target, url.host_header()));
        let seen = seen.map_err(|error| *error);
        let expected = expected
            .map(|(secure, host, port, target, header)| (secure, host, port, target, header.to_owned()));
        assert_eq!(seen, expected, "{url}");
    }

    #[test]
    fn good() {
        check("ws://h", Ok((false, "h", 80, "/", "h")));
        check("wss://h", Ok((true, "h", 443, "/", "h")));
        check("WS://Example.ORG/A?b=C", Ok((false, "example.org", 80, "/A?b=C", "example.org")));
        check("ws://h?q", Ok((false, "h", 80, "/?q", "h")));
        check("ws://h/?q=a/b?c", Ok((false, "h", 80, "/?q=a/b?c", "h")));
        check("ws://h:/x", Ok((false, "h", 80, "/x", "h")));
        check("ws://h:80/x", Ok((false, "h", 80, "/x", "h")));
        check("ws://h:443/x", Ok((false, "h", 443, "/x", "h:443")));
        check("wss://h:80/x", Ok((true, "h", 80, "/x", "h:80")));
        check("ws://h:65535", Ok((false, "h", 65535, "/", "h:65535")));
        check("ws://127.0.0.1:9000/ws/a%20b", Ok((false, "127.0.0.1", 9000, "/ws/a%20b", "127.0.0.1:9000")));
        check("ws://[::1]:9000/", Ok((false, "::1", 9000, "/", "[::1]:9000")));
        check("ws://[0:0:0:0:0:0:0:1]", Ok((false, "::1", 80, "/", "[::1]")));
    }

    #[test]
    fn bad() {
        for url in ["", "h", "//h", "http://h", "ws:h", "ws:/h", "wsss://h", "ws ://h"] {
            check(url, Err(UrlError::Scheme));
        }
        for url in ["ws://u@h", "ws://u:p@h/x"] {
            check(url, Err(UrlError::UserInfo));
        }
        for url in ["ws://", "ws:///x", "ws://:80", "ws://?q"] {
            check(url, Err(UrlError::HostMissing));
        }
        for url in
            ["ws://h ost", "ws://ü", "ws://[::1", "ws://[::1]x", "ws://[]", "ws://[1.2.3.4]", "ws://[::1%1]"]
        {
            check(url, Err(UrlError::Host));
        }
        for url in
            ["ws://h:0", "ws://h:65536", "ws://h:+1", "ws://h:8x", "ws://h:1:2", "ws://::1", "ws://[::1]:x"]
        {
            check(url, Err(UrlError::Port));
        }
        for url in ["ws://h/a b", "ws://h/\r\nX: y", "ws://h/ü", "ws://h/\u{7f}"] {
            check(url, Err(UrlError::Target));
        }
        for url in ["ws://h#", "ws://h/x#y", "ws://h/?x#y"] {
            check(url, Err(UrlError::Fragment));
        }
    }

    #[test]
    fn displayed_urls_parse_to_themselves() {
        for url in ["ws://h/", "wss://h:80/x?y", "ws://[::1]:9000/", "wss://[fe80::1]/a"] {
            assert_eq!(WsUrl::parse(url).unwrap().to_string(), url);
        }
    }

    #[test]
    fn authority_always_has_a_port() {
        assert_eq!(WsUrl::parse("ws://h").unwrap().authority(), "h:80");
        assert_eq!(WsUrl::parse("wss://[::1]").unwrap().authority(), "[::1]:443");
    }
}
