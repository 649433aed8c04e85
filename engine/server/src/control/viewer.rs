//! `GET /`: a page that shows a topic live. One file, no outside resource.

use std::net::SocketAddr;

use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::Shared;

const PAGE: &str = include_str!("viewer.html");

/// The page, and what it may do.
#[derive(Debug)]
pub(super) struct Viewer {
    page: String,
    policy: String,
}

impl Viewer {
    /// The viewer of an engine that listens at `listen` and is controlled at `control`.
    pub(super) fn new(listen: SocketAddr, control: SocketAddr) -> Self {
        Self { page: page(listen, control), policy: policy() }
    }
}

fn page(listen: SocketAddr, control: SocketAddr) -> String {
    // The port alone stands for "on the host that the page came from", which also holds behind a port forwarding.
    let same_host = listen.ip().is_unspecified() || listen.ip() == control.ip();
    let place = if same_host { listen.port().to_string() } else { listen.to_string() };
    PAGE.replace("{{listen}}", &place)
}

/// The page runs its own script and style, known by their hashes, lists topics and opens WebSockets. All else is
/// forbidden to it, and with that to whatever a message could smuggle in (<https://www.w3.org/TR/CSP3/>).
fn policy() -> String {
    format!(
        "default-src 'none'; script-src {}; style-src {}; img-src data:; connect-src 'self' ws: wss:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        source_of("<script>", "</script>"),
        source_of("<style>", "</style>"),
    )
}

/// The hash of what stands between two tags of the page, as a policy names it.
fn source_of(open: &str, close: &str) -> String {
    let (_, from) = PAGE.split_once(open).expect("the page has this tag");
    let (text, _) = from.split_once(close).expect("the tag is closed");
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

pub(super) async fn viewer(State(shared): State<Shared>) -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, shared.viewer.policy.as_str()),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, Html(shared.viewer.page.clone())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_knows_where_the_engine_listens() {
        for (listen, control, place) in [
            ("127.0.0.1:9000", "127.0.0.1:9001", "9000"),
            ("0.0.0.0:9000", "127.0.0.1:9001", "9000"),
            ("[::]:80", "[::1]:9001", "80"),
            ("10.0.0.5:9000", "127.0.0.1:9001", "10.0.0.5:9000"),
            ("[::1]:9000", "127.0.0.1:9001", "[::1]:9000"),
        ] {
            let page = page(listen.parse().expect("an address"), control.parse().expect("an address"));
            assert!(page.contains(&format!("content=\"{place}\"")), "{listen} {control}");
            assert!(!page.contains("{{"), "every gap is filled");
        }
    }

    #[test]
    fn the_policy_lets_the_page_run_what_it_has_and_nothing_else() {
        for tag in ["<script", "<style"] {
            assert_eq!(PAGE.matches(tag).count(), 1, "the policy has one hash for {tag}");
        }
        // Inside tags a hash does not help.
        for word in [" style=\"", " onclick=", " onload=", " onerror=", "javascript:"] {
            assert!(!PAGE.contains(word), "{word}");
        }
        let script = source_of("<script>", "</script>");
        let policy = policy();
        assert!(policy.contains(&format!("script-src {script};")) && !policy.contains("unsafe"), "{policy}");
        // What a browser hashes is the text between the tags, so the gap for the address must not stand in it.
        let (_, behind) = PAGE.split_once("{{listen}}").expect("the gap");
        assert!(behind.contains("<style>") && behind.contains("<script>"));
        // A SHA-256 in base64, with the quotes and the name.
        assert_eq!(script.len(), 44 + "'sha256-'".len());
    }

    #[test]
    fn the_page_needs_nothing_from_outside() {
        for word in ["src=", "@import", "url(", "<link rel=\"stylesheet\""] {
            assert!(!PAGE.contains(word), "{word}");
        }
        let foreign =
            PAGE.split("http").skip(1).filter(|rest| !rest.starts_with("://www.w3.org/2000/svg")).count();
        assert_eq!(foreign, PAGE.matches("https:").count(), "only the scheme test may name http");
    }
}
