//! The program's commands, one in each file.

pub(crate) mod doctor;
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
}
