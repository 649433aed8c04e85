//! Who may ask: the control port can publish, so pages of other origins in a browser on this machine must not reach it.
//!
//! A browser names the page's origin in `Origin`, and a page whose name was rebound to 127.0.0.1 betrays itself by the
//! name in `Host`. Programs that are no browsers send no `Origin` and address the port by what it is.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::error::ApiError;

/// Lets a request through to its handler, or refuses it.
pub(super) async fn guard(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    match check(shared.loopback, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Holds the rules against a request's head. `loopback`: the port is bound to an address of this machine alone.
fn check(loopback: bool, headers: &HeaderMap) -> Result<(), ApiError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(Ok(host)), None) = (hosts.next().map(HeaderValue::to_str), hosts.next()) else {
        return Err(ApiError::bad_request("bad_host", "A request needs exactly one Host header."));
    };
    if loopback && !is_local_name(host) {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "foreign_host",
            "The control port is bound to a loopback address, so the Host header must be localhost or a loopback \
             address. A proxy in front of it has to set Host accordingly.",
        ));
    }
    match headers.get(header::ORIGIN).map(|origin| origin.to_str()) {
        None => Ok(()),
        Some(Ok(origin)) if is_same_origin(origin, host) => Ok(()),
        Some(_) => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "foreign_origin",
            "A page of another origin may not use the control port.",
        )),
    }
}

/// Whether a Host value names this machine without asking DNS, which an attacker could answer.
fn is_local_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || bare.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
}

/// Whether the page came from here itself. Its scheme is https when a proxy adds TLS.
fn is_same_origin(origin: &str, host: &str) -> bool {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(loopback: bool, lines: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().expect("a header value"));
        }
        check(loopback, &headers).is_ok()
    }

    #[test]
    fn a_port_on_loopback_answers_to_local_names_only() {
        for (host, local) in [
            ("localhost:9001", true),
            ("LocalHost", true),
            ("127.0.0.1:9001", true),
            ("127.0.0.1", true),
            ("127.8.9.1:1", true),
            ("[::1]:9001", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]:9001", true),
            ("evil.example:9001", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("192.168.0.1:9001", false),
            ("[2001:db8::1]:9001", false),
            ("localhost:9001x", false),
            ("", false),
            (":9001", false),
        ] {
            assert_eq!(passes(true, &[("host", host)]), local, "{host:?}");
            assert!(passes(false, &[("host", host)]), "a public address has any name: {host:?}");
        }
    }

    #[test]
    fn a_page_may_only_ask_where_it_came_from() {
        for (origin, host, passes_guard) in [
            ("http://127.0.0.1:9001", "127.0.0.1:9001", true),
            ("http://localhost:9001", "LOCALHOST:9001", true),
            ("https://localhost:9001", "localhost:9001", true),
            ("http://localhost:9001", "127.0.0.1:9001", false),
            ("http://localhost:9000", "localhost:9001", false),
            ("http://localhost", "localhost:9001", false),
            ("https://evil.example", "localhost:9001", false),
            ("ftp://localhost:9001", "localhost:9001", false),
            ("null", "localhost:9001", false),
            ("", "localhost:9001", false),
        ] {
            for loopback in [true, false] {
                let outcome = passes(loopback, &[("host", host), ("origin", origin)]);
                assert_eq!(outcome, passes_guard, "{origin:?} to {host:?}");
            }
        }
    }

    #[test]
    fn a_request_has_one_host() {
        assert!(!passes(true, &[]));
        assert!(!passes(false, &[]));
        assert!(!passes(true, &[("host", "localhost"), ("host", "localhost")]));
    }
}
