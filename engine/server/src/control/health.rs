//! `GET /healthz`, `GET /readyz` and `GET /version`: whether all shards answer, whether to connect here, and what this is.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::Shared;
use super::error::{ApiError, json_response};
use super::topics::ask_slice;

/// A shard that does not answer for so long is not well: its turns last milliseconds.
const ANSWER_MAX: Duration = Duration::from_secs(2);

#[derive(Serialize)]
struct Health {
    status: &'static str,
    shards: usize,
}

#[derive(Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
    shards: usize,
    listen: SocketAddr,
}

pub(super) async fn healthz(State(shared): State<Shared>) -> Result<Response, ApiError> {
    for shard in 0..shared.handle.shards() {
        // An empty slice: the answer is what counts.
        match tokio::time::timeout(ANSWER_MAX, ask_slice(&shared.handle, shard, 0, 0)).await {
            Ok(answer) => _ = answer?,
            Err(_) => {
                let message = format!("Shard {shard} does not answer.");
                return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "stuck", message));
            }
        }
    }
    Ok(json_response(StatusCode::OK, &Health { status: "ok", shards: shared.handle.shards() }))
}

/// As `healthz`, and refused from the moment that a drain begins: a load balancer should send clients elsewhere.
pub(super) async fn readyz(state: State<Shared>) -> Result<Response, ApiError> {
    if state.draining.load(Ordering::Relaxed) {
        return Err(ApiError::draining());
    }
    healthz(state).await
}

pub(super) async fn version(State(shared): State<Shared>) -> Response {
    let value = Version {
        name: "fanfare",
        version: env!("CARGO_PKG_VERSION"),
        shards: shared.handle.shards(),
        listen: shared.listen,
    };
    json_response(StatusCode::OK, &value)
}
