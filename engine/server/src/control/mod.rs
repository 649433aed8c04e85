//! The control port: an HTTP API beside the engine, on a thread of its own.
//!
//! It runs axum inside a tokio-uring runtime and reaches the shards only through their queues. It never touches a
//! WebSocket connection, and nothing here can hold up a shard.
//!
//! | request | answer | file |
//! |---|---|---|
//! | any | 403 for pages of other origins; 500 for a handler that panics | `guard.rs`, `shield.rs` |
//! | `POST /topics/{topic}` | publishes the body | `publish.rs`, `body.rs`, `keys.rs` |
//! | `DELETE /topics/{topic}` | publishes a tombstone | `publish.rs` |
//! | `GET /topics`, `GET /topics/{topic}` | what topics there are; what one is about | `topics.rs` |
//! | `GET /healthz`, `GET /readyz`, `GET /version` | whether all shards answer; whether to connect; what this is | `health.rs` |
//! | `GET /metrics` | the counters, for Prometheus | `metrics.rs`, `counters.rs` |
//! | `GET /` | a page that shows a topic live | `viewer.rs`, `viewer.html` |
//! | everything else | an error in JSON | `error.rs` |
//!
//! Below the requests are `connections.rs`, which bounds what a peer can hold, and `keeper.rs`, which starts the thread
//! anew if it ever panics.

mod body;
mod connections;
mod counters;
mod error;
mod guard;
mod health;
mod keeper;
mod keys;
mod metrics;
mod publish;
mod shield;
mod topics;
mod viewer;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use axum::Router;
use axum::middleware;
use axum::routing::get;
use fanfare_core::Handle;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::engine::{Engine, StartError};
use counters::Counters;
use error::ApiError;
use keeper::{Keeper, Stopped};
use viewer::Viewer;

/// How a control port starts.
#[derive(Clone, Copy, Debug)]
pub struct ControlConfig {
    /// Where it listens. It has no authentication: an address that others can reach lets them publish.
    pub listen: SocketAddr,
    /// Connections at once. One more is answered with status 503.
    pub connections_max: usize,
    /// The body of a request, in bytes. A larger one gets status 413.
    pub body_bytes_max: usize,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9001)),
            connections_max: 256,
            body_bytes_max: 16 << 20,
        }
    }
}

/// A running control port. Dropping it ends it.
///
/// A panic in it ends the request, or at worst the connections to it: its thread is started anew, and neither shards nor
/// WebSocket connections notice.
#[derive(Debug)]
pub struct Control {
    addr: SocketAddr,
    /// Dropping it says so to all who serve.
    stop: Option<watch::Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

/// What the handlers share.
type Shared = Arc<State>;

#[derive(Debug)]
struct State {
    handle: Handle,
    /// A drain or a shutdown has begun.
    draining: Arc<AtomicBool>,
    /// Where the engine listens.
    listen: SocketAddr,
    /// The control port is bound to an address of this machine alone.
    loopback: bool,
    connections_max: usize,
    body_bytes_max: usize,
    viewer: Viewer,
    counters: Arc<Counters>,
    metrics: Registry,
}

impl Control {
    /// Starts a control port for an engine.
    ///
    /// # Errors
    /// If the address cannot be listened on, or the thread or its runtime cannot be made.
    pub fn start(engine: &Engine, config: ControlConfig) -> Result<Self, StartError> {
        Self::start_with(engine, config, |listener, shared: Shared, stopped| {
            connections::serve(listener, router(shared.clone()), shared, stopped)
        })
    }

    /// Starts a control port whose threads run what `life` makes.
    fn start_with<F: Future<Output = ()>>(
        engine: &Engine,
        config: ControlConfig,
        life: impl Fn(tokio::net::TcpListener, Shared, Stopped) -> F + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let refused = |error| StartError::Listen(config.listen, error);
        let listener = TcpListener::bind(config.listen).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let addr = listener.local_addr().map_err(refused)?;
        let handle = engine.handle().clone();
        let counters = Arc::new(Counters::default());
        let shared = Arc::new(State {
            draining: engine.draining(),
            listen: engine.addr(),
            loopback: addr.ip().to_canonical().is_loopback(),
            connections_max: config.connections_max,
            body_bytes_max: config.body_bytes_max,
            viewer: Viewer::new(engine.addr(), addr),
            metrics: metrics::registry(handle.clone(), counters.clone()),
            counters,
            handle,
        });
        let (stop, stopped) = watch::channel(());
        let keeper = Keeper { listener, shared, stopped, life: Arc::new(life) }.start()?;
        Ok(Self { addr, stop: Some(stop), keeper: Some(keeper) })
    }

    /// Where it listens, with the real port.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            // It does not panic; what does runs in threads that it joins.
            _ = keeper.join();
        }
    }
}

fn router(shared: Shared) -> Router {
    let routes = Router::new()
        .route("/", get(viewer::viewer))
        .route("/topics", get(topics::topics))
        .route("/topics/{topic}", get(topics::topic).post(publish::publish).delete(publish::remove))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::metrics))
        .route("/version", get(health::version))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed);
    protected(routes, shared)
}

/// What connections beyond `connections_max` are told.
fn refusing_router(shared: Shared) -> Router {
    protected(Router::new().fallback(async || ApiError::too_many_connections()), shared)
}

/// Puts around routes what holds for all requests.
fn protected(routes: Router<Shared>, shared: Shared) -> Router {
    routes
        .layer(middleware::from_fn_with_state(shared.clone(), guard::guard))
        .layer(middleware::from_fn_with_state(shared.clone(), shield::shield))
        .with_state(shared)
}

#[cfg(test)]
mod tests;
