//! Which pages may connect (RFC 6454, RFC 6455 section 10.2).
//!
//! A browser lets any page of the web open a WebSocket to any server, with the user's cookies and from inside
//! the user's network, and says in the Origin header which page it was. To answer some origins alone is the
//! protection against the others. Programs that are no browsers can say anything, so this is no protection
//! against them.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A rule by which a page may connect. Reads and writes as what stands in quotes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OriginRule {
    /// `*`: any page at all, whatever its origin says.
    Any,
    /// `local`: pages over HTTP or HTTPS from this machine, at any port. Their host is localhost, an address
    /// in 127.0.0.0/8, or ::1.
    Local,
    /// `same-host`: pages over HTTP or HTTPS from the host that they connect to, at any port. That is no
    /// protection for a server that nobody but its own network should reach, since whoever owns a name can
    /// let it point there.
    SameHost,
    /// `null`: pages without an origin of their own, such as files and sandboxed frames. Any page can make
    /// itself one.
    Null,
    /// `https://a.example`, `https://a.example:8443` or `https://*.a.example`: the pages of a site.
    Site(Site),
}

/// The origins of a site's pages: scheme and port exactly, and one host or all below it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    origin: Origin,
    /// Whether the pages are those of the host's subdomains, at any depth, and not of the host itself.
    below: bool,
}

/// The rules that a page's origin is held against. One that allows it is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins(Vec<OriginRule>);

impl Default for Origins {
    /// [`OriginRule::Local`] alone.
    fn default() -> Self {
        Self(vec![OriginRule::Local])
    }
}

impl FromIterator<OriginRule> for Origins {
    fn from_iter<I: IntoIterator<Item = OriginRule>>(rules: I) -> Self {
        Self(rules.into_iter().collect())
    }
}

impl Origins {
    /// Whether a page may connect. `origin` is the value of the Origin header and `host` that of the Host
    /// header. What is no valid origin is allowed by [`OriginRule::Any`] alone.
    pub fn allows(&self, origin: &str, host: &str) -> bool {
        let page = Origin::parse(origin);
        self.0.iter().any(|rule| match (rule, &page) {
            (OriginRule::Any, _) => true,
            (OriginRule::Null, _) => origin == "null",
            (OriginRule::Local, Some(page)) => page.is_web() && page.host.is_local(),
            (OriginRule::SameHost, Some(page)) => {
                page.is_web() && Host::parse_authority(host).is_some_and(|(host, _)| host == page.host)
            }
            (OriginRule::Site(site), Some(page)) => site.has(page),
            (OriginRule::Local | OriginRule::SameHost | OriginRule::Site(_), None) => false,
        })
    }

    /// The rules, in order.
    pub fn rules(&self) -> impl Iterator<Item = &OriginRule> {
        self.0.iter()
    }
}

/// Why a text is no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginRuleError {
    /// It is neither a word nor does it have a scheme.
    Word,
    /// It is a URL with more than scheme, host and port.
    NotOrigin,
    /// The host is missing, or not one in the form in which browsers write it.
    Host,
    /// The port is not a number from 1 to 65535.
    Port,
    /// A `*` that stands elsewhere than before a domain.
    Wildcard,
}

impl fmt::Display for OriginRuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Word => {
                "an origin is *, local, same-host, null, or a site such as https://app.example or https://*.app.example"
            }
            Self::NotOrigin => {
                "an origin is a scheme, a host and perhaps a port, such as https://app.example:8443, and nothing behind that"
            }
            Self::Host => {
                "an origin's host is a name in ASCII (xn-- for others), an IPv4 address, or an IPv6 address in brackets"
            }
            Self::Port => "an origin's port is a number from 1 to 65535",
            Self::Wildcard => {
                "a * in an origin stands for all subdomains of a domain, as in https://*.app.example, and nowhere else"
            }
        })
    }
}

impl std::error::Error for OriginRuleError {}

impl FromStr for OriginRule {
    type Err = OriginRuleError;

    fn from_str(rule: &str) -> Result<Self, OriginRuleError> {
        match rule {
            "*" => return Ok(Self::Any),
            "local" => return Ok(Self::Local),
            "same-host" => return Ok(Self::SameHost),
            "null" => return Ok(Self::Null),
            _ => {}
        }
        let (scheme, authority) = rule.split_once("://").ok_or(OriginRuleError::Word)?;
        if authority.contains(['/', '?', '#', '@']) {
            return Err(OriginRuleError::NotOrigin);
        }
        let (below, authority) = match authority.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, authority),
        };
        if authority.contains('*') || scheme.contains('*') {
            return Err(OriginRuleError::Wildcard);
        }
        let scheme = parse_scheme(scheme).ok_or(OriginRuleError::Word)?;
        let (host, port) = split_port(authority).ok_or(OriginRuleError::Host)?;
        let host = Host::parse(host).ok_or(OriginRuleError::Host)?;
        let port = parse_port(port).ok_or(OriginRuleError::Port)?;
        if below && !matches!(host, Host::Name(_)) {
            return Err(OriginRuleError::Wildcard);
        }
        Ok(Self::Site(Site { origin: Origin::new(scheme, host, port), below }))
    }
}

impl fmt::Display for OriginRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Local => f.write_str("local"),
            Self::SameHost => f.write_str("same-host"),
            Self::Null => f.write_str("null"),
            Self::Site(site) => site.fmt(f),
        }
    }
}

impl Site {
    fn has(&self, page: &Origin) -> bool {
        let Origin { scheme, host, port } = &self.origin;
        if page.scheme != *scheme || page.port != *port {
            return false;
        }
        match (host, &page.host) {
            (Host::Name(domain), Host::Name(host)) if self.below => {
                host.strip_suffix(&**domain).is_some_and(|sub| sub.len() > 1 && sub.ends_with('.'))
            }
            (host, page) => !self.below && host == page,
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { scheme, host, port } = &self.origin;
        let below = if self.below { "*." } else { "" };
        write!(f, "{scheme}://{below}{host}")?;
        match port {
            Some(port) if Some(*port) != default_port(scheme) => write!(f, ":{port}"),
            _ => Ok(()),
        }
    }
}

/// The origin of a page (RFC 6454 section 4), in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Origin {
    scheme: String,
    host: Host,
    /// The scheme's own port when none is written. Schemes that are not of the network have none.
    port: Option<u16>,
}

impl Origin {
    fn new(scheme: String, host: Host, port: Option<u16>) -> Self {
        let port = port.or_else(|| default_port(&scheme));
        Self { scheme, host, port }
    }

    /// Reads what a browser sends (RFC 6454 section 6.1): a scheme, a host and perhaps a port.
    fn parse(origin: &str) -> Option<Self> {
        let (scheme, authority) = origin.split_once("://")?;
        let (host, port) = Host::parse_authority(authority)?;
        Some(Self::new(parse_scheme(scheme)?, host, port))
    }

    /// Whether the page came over HTTP or HTTPS, so that its host is one of the network.
    fn is_web(&self) -> bool {
        matches!(&*self.scheme, "http" | "https")
    }
}

/// The port of a scheme's URLs that name none.
fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// A scheme (RFC 3986 section 3.1) in lower case.
fn parse_scheme(scheme: &str) -> Option<String> {
    let valid = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    valid.then(|| scheme.to_ascii_lowercase())
}

/// Splits `host [":" port]`. The colons inside of an IPv6 address are within brackets.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    let end = if authority.starts_with('[') { authority.find(']')? + 1 } else { 0 };
    let (before, rest) = authority.split_at(end);
    match rest.split_once(':') {
        Some((name, port)) => Some((&authority[..before.len() + name.len()], Some(port))),
        None => Some((authority, None)),
    }
}

/// A port that need not be there. The outer `None` is for what is no port.
fn parse_port(port: Option<&str>) -> Option<Option<u16>> {
    let Some(digits) = port else { return Some(None) };
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
    (number > 0).then_some(Some(number))
}

/// A host, in lower case or as the address that it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Host {
    Name(String),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl Host {
    fn parse(host: &str) -> Option<Self> {
        if let Some(address) = host.strip_prefix('[') {
            return address.strip_suffix(']')?.parse().ok().map(Self::V6);
        }
        if let Ok(address) = host.parse() {
            return Some(Self::V4(address));
        }
        let is_label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        // A name may end with the root's dot, and is another name by that.
        let labels = host.strip_suffix('.').unwrap_or(host);
        labels.split('.').all(is_label).then(|| Self::Name(host.to_ascii_lowercase()))
    }

    /// A host with a port that need not be there.
    fn parse_authority(authority: &str) -> Option<(Self, Option<u16>)> {
        let (host, port) = split_port(authority)?;
        Some((Self::parse(host)?, parse_port(port)?))
    }

    fn is_local(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost",
            Self::V4(address) => address.is_loopback(),
            Self::V6(address) => address.is_loopback(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}
