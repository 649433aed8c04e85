//! The control port: an HTTP API beside the engine, on a thread of its own.
//!
//! It runs axum inside a tokio-uring runtime and reaches the shards only through their queues. It never touches a
//! WebSocket connection, and nothing here can hold up a shard.
//!
//! | request | answer | file |
//! |---|---|---|
//! | any | 403 for pages of other origins | `guard.rs` |
//! | `POST /topics/{topic}` | publishes the body | `publish.rs`, `body.rs`, `keys.rs` |
//! | `DELETE /topics/{topic}` | publishes a tombstone | `publish.rs` |
//! | `GET /topics`, `GET /topics/{topic}` | what topics there are; what one is about | `topics.rs` |
//! | `GET /healthz`, `GET /version` | whether all shards answer; what this is | `health.rs` |
//! | `GET /metrics` | the counters, for Prometheus | `metrics.rs` |
//! | `GET /` | a page that shows a topic live | `viewer.rs`, `viewer.html` |
//! | everything else | an error in JSON | `error.rs` |

mod body;
mod error;
mod guard;
mod health;
mod keys;
mod metrics;
mod publish;
mod topics;
mod viewer;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::middleware;
use axum::routing::get;
use fanfare_core::Handle;
use prometheus_client::registry::Registry;
use tokio::sync::oneshot;

use crate::engine::{Engine, StartError};

/// How long requests in progress may take once the control port is told to end.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// How a control port starts.
#[derive(Clone, Copy, Debug)]
pub struct ControlConfig {
    /// Where it listens. It has no authentication: an address that others can reach lets them publish.
    pub listen: SocketAddr,
    /// The body of a request. A larger one gets status 413.
    pub body_bytes_max: usize,
}

/// A running control port. Dropping it ends it.
#[derive(Debug)]
pub struct Control {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the handlers share.
type Shared = Arc<State>;

#[derive(Debug)]
struct State {
    handle: Handle,
    /// Where the engine listens.
    listen: SocketAddr,
    /// The control port is bound to an address of this machine alone.
    loopback: bool,
    body_bytes_max: usize,
    page: String,
    metrics: Registry,
}

impl Control {
    /// Starts a control port for an engine.
    ///
    /// # Errors
    /// If the address cannot be listened on, or the thread or its runtime cannot be made.
    pub fn start(engine: &Engine, config: ControlConfig) -> Result<Self, StartError> {
        let refused = |error| StartError::Listen(config.listen, error);
        let listener = TcpListener::bind(config.listen).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let addr = listener.local_addr().map_err(refused)?;
        let handle = engine.handle().clone();
        let state = Arc::new(State {
            listen: engine.addr(),
            loopback: addr.ip().to_canonical().is_loopback(),
            body_bytes_max: config.body_bytes_max,
            page: viewer::page(engine.addr(), addr),
            metrics: metrics::registry(handle.clone()),
            handle,
        });
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name("fanfare-control".to_owned())
            .spawn(move || match tokio_uring::Runtime::new(&tokio_uring::builder()) {
                Ok(runtime) => {
                    _ = tell.send(Ok(()));
                    runtime.block_on(serve(listener, state, stopped));
                }
                Err(error) => _ = tell.send(Err(error)),
            })
            .map_err(StartError::Thread)?;
        told.recv()
            .unwrap_or_else(|_| Err(io::Error::other("its thread ended")))
            .map_err(StartError::Driver)?;
        Ok(Self { addr, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens, with the real port.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // If it panicked, the panic was reported, and there is nothing left to end.
            _ = thread.join();
        }
    }
}

/// Serves until `stopped`, and a little longer for requests in progress.
async fn serve(listener: TcpListener, state: Shared, stopped: oneshot::Receiver<()>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the control port cannot be served");
            return;
        }
    };
    let (stopping, last) = oneshot::channel::<()>();
    let graceful = async move {
        // An error says that the `Control` is gone, which means the same.
        _ = stopped.await;
        _ = stopping.send(());
    };
    let served = axum::serve(listener, router(state)).with_graceful_shutdown(graceful);
    let cut_off = async {
        _ = last.await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    tokio::select! {
        outcome = served.into_future() => {
            if let Err(error) = outcome {
                tracing::error!(%error, "the control port ended");
            }
        }
        () = cut_off => {}
    }
}

fn router(state: Shared) -> Router {
    Router::new()
        .route("/", get(viewer::viewer))
        .route("/topics", get(topics::topics))
        .route("/topics/{topic}", get(topics::topic).post(publish::publish).delete(publish::remove))
        .route("/healthz", get(health::healthz))
        .route("/metrics", get(metrics::metrics))
        .route("/version", get(health::version))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(middleware::from_fn_with_state(state.clone(), guard::guard))
        .with_state(state)
}
