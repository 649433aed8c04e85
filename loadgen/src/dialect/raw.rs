//! Raw broadcast: every message is a payload, both ways.
//!
//! Fanfare takes payloads over HTTP too, at `POST /topics/{topic}` of its control port, and so does anything that
//! takes a body as it is.

use super::post::{BodyPoster, Poster};

/// Fanfare's publish-only path for a topic's path; the same URL for other servers.
pub(super) fn default_publish(subscribe_url: &str) -> String {
    let authority_at = subscribe_url.find("://").map_or(0, |at| at + "://".len());
    let path_at = subscribe_url[authority_at..].find(['/', '?']).map(|at| authority_at + at);
    match path_at.and_then(|at| Some((at, subscribe_url[at..].strip_prefix("/ws/")?))) {
        Some((at, topic)) => format!("{}/pub/{topic}", &subscribe_url[..at]),
        None => subscribe_url.to_owned(),
    }
}

pub(super) fn poster(target: &str, host: &str) -> Box<dyn Poster> {
    Box::new(BodyPoster::new(target, host))
}
