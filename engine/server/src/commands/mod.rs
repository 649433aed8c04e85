//! The program's commands, one in each file. `printer` is what `subscribe` says.

pub(crate) mod doctor;
mod printer;
pub(crate) mod publish;
pub(crate) mod serve;
pub(crate) mod subscribe;

use std::fmt;
use std::future::Future;

use fanfare_wire::url::WsUrl;

use crate::client::{ClientError, Closed};

/// The variable that says where `pub` and `sub` connect.
pub(crate) const URL_VARIABLE: &str = "FANFARE_URL";

/// Where they connect unless something else is said: the default of `serve --listen`.
const URL_DEFAULT: &str = "ws://127.0.0.1:9000";

/// Why a command failed, in a sentence, and with which exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was asked for in a way that cannot work: 2.
    Usage(String),
    /// It did not work: 1.
    Runtime(String),
    /// It did not work, and what it printed says why: 1.
    Reported,
}

impl Failure {
    pub(crate) fn usage(error: impl fmt::Display) -> Self {
        Self::Usage(error.to_string())
    }

    pub(crate) fn runtime(error: impl fmt::Display) -> Self {
        Self::Runtime(error.to_string())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::runtime(error)
    }
}

impl From<Closed> for Failure {
    fn from(closed: Closed) -> Self {
        Self::runtime(closed)
    }
}

/// Parses `--url`: the server, and perhaps a path before its own ones.
fn server_url(text: &str) -> Result<WsUrl, String> {
    let url = WsUrl::parse(text).map_err(|error| error.to_string())?;
    if url.target.contains('?') {
        return Err("the URL names the server, so it has no query".to_owned());
    }
    Ok(url)
}

/// A path of the server.
fn endpoint(server: &WsUrl, path: &str) -> WsUrl {
    WsUrl { target: format!("{}{path}", server.target.trim_end_matches('/')), ..server.clone() }
}

/// A text as it stands in a query: all but the unreserved characters is percent-encoded (RFC 3986 section 2.3).
fn query_value(text: &str) -> String {
    let mut value = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                value.push(char::from(byte))
            }
            byte => value.push_str(&format!("%{byte:02X}")),
        }
    }
    value
}

/// Runs a client's future. Its sockets are tokio's, so that clients work where io_uring does not.
fn block_on(future: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::runtime)?;
    let outcome = runtime.block_on(future);
    // A thread may wait for standard input for ever; nobody waits for that thread.
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_stands_below_the_servers_path() {
        for (server, target) in
            [("ws://h", "/ws/a"), ("ws://h/", "/ws/a"), ("ws://h:1/x", "/x/ws/a"), ("ws://h:1/x/", "/x/ws/a")]
        {
            assert_eq!(endpoint(&server_url(server).expect(server), "/ws/a").target, target);
        }
        assert!(server_url("ws://h/?a=b").is_err());
        assert!(server_url("http://h").is_err());
    }

    #[test]
    fn a_query_value_is_plain_ascii() {
        for (text, value) in
            [("a-Z0._~", "a-Z0._~"), (" &=+%#/", "%20%26%3D%2B%25%23%2F"), ("é\"", "%C3%A9%22")]
        {
            assert_eq!(query_value(text), value);
        }
    }
}
