//! `GET /`: a page that shows a topic live. One file, no outside resource.

use std::net::SocketAddr;

use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};

use super::Shared;

const PAGE: &str = include_str!("viewer.html");

/// The page runs its own script and style and opens WebSockets; everything else is forbidden to it.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; \
                      connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page for an engine that listens at `listen` and is controlled at `control`.
pub(super) fn page(listen: SocketAddr, control: SocketAddr) -> String {
    // The port alone stands for "on the host that the page came from", which also holds behind a port forwarding.
    let same_host = listen.ip().is_unspecified() || listen.ip() == control.ip();
    let place = if same_host { listen.port().to_string() } else { listen.to_string() };
    PAGE.replace("{{listen}}", &place)
}

pub(super) async fn viewer(State(shared): State<Shared>) -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, Html(shared.page.clone())).into_response()
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
    fn the_page_needs_nothing_from_outside() {
        for word in ["src=", "@import", "url(", "<link rel=\"stylesheet\""] {
            assert!(!PAGE.contains(word), "{word}");
        }
        let foreign =
            PAGE.split("http").skip(1).filter(|rest| !rest.starts_with("://www.w3.org/2000/svg")).count();
        assert_eq!(foreign, PAGE.matches("https:").count(), "only the scheme test may name http");
    }
}
