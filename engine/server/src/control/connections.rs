//! The control port's connections: how many there are at once, and how long a peer may take.
//!
//! What a peer can hold is bounded: a place among `connections_max` for as long as it keeps asking and taking the
//! answers. One more is told so with status 503. HTTP itself is hyper's (RFC 9112).

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Sleep, sleep, timeout};

use super::keeper::Stopped;
use super::shield::words;
use super::{Shared, refusing_router};

/// How long requests in progress may take once the control port is told to end.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// From accept, or from the last answer, until the head of the next request is complete. Then the connection is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The same for a connection that will only be told that there is no room.
const REFUSED_HEAD_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a peer may take nothing of an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The head of a request, in bytes. A larger one gets status 431.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Connections that are being told that there is no room. One more is closed without a word.
const REFUSED_AT_ONCE_MAX: usize = 64;

/// How long to leave the listener alone that cannot accept, for a lack of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stopped`, and a little longer for requests in progress.
pub(super) async fn serve(listener: TcpListener, router: Router, shared: Shared, mut stopped: Stopped) {
    let refusing = refusing_router(shared.clone());
    let (mut served, mut refused) = (JoinSet::new(), JoinSet::new());
    let mut accept_failed = false;
    loop {
        shared.counters.set_connections(served.len());
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    accept_failed = false;
                    reap(&mut served, &shared);
                    reap(&mut refused, &shared);
                    if served.len() < shared.connections_max {
                        let one = Connection { stream, head_timeout: HEAD_TIMEOUT, keep_alive: true };
                        served.spawn(one.serve(router.clone(), shared.clone(), stopped.clone()));
                        continue;
                    }
                    shared.counters.refused();
                    if refused.len() < REFUSED_AT_ONCE_MAX {
                        let one = Connection { stream, head_timeout: REFUSED_HEAD_TIMEOUT, keep_alive: false };
                        refused.spawn(one.serve(refusing.clone(), shared.clone(), stopped.clone()));
                    }
                }
                // The peer's own doing: the next one may be there already.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if !std::mem::replace(&mut accept_failed, true) {
                        tracing::error!(%error, "the control port cannot accept connections; it tries again");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = served.join_next() => note(ended, &shared),
            Some(ended) = refused.join_next() => note(ended, &shared),
            _ = stopped.changed() => break,
        }
    }
    drop(listener);
    let rest = async {
        while let Some(ended) = served.join_next().await {
            note(ended, &shared);
        }
    };
    // What is not done by then is dropped.
    _ = timeout(STOP_GRACE, rest).await;
    shared.counters.set_connections(0);
}

/// Takes the ends of connections that nobody waited for yet.
fn reap(tasks: &mut JoinSet<()>, shared: &Shared) {
    while let Some(ended) = tasks.try_join_next() {
        note(ended, shared);
    }
}

/// A connection ended. That it panicked outside of a handler, which is shielded, ends no other one.
fn note(ended: Result<(), JoinError>, shared: &Shared) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        shared.counters.panicked();
        tracing::error!(panic = words(&*panic), "the control port failed at a connection");
    }
}

/// An accepted connection.
struct Connection {
    stream: TcpStream,
    head_timeout: Duration,
    keep_alive: bool,
}

impl Connection {
    /// Answers its requests until it ends, or until `stopped` and the answer to the request in progress.
    async fn serve(self, router: Router, shared: Shared, mut stopped: Stopped) {
        let owed = Arc::new(AtomicBool::new(true));
        let io = Watched { stream: self.stream, owed: owed.clone(), stalled: None };
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(self.head_timeout);
        builder.keep_alive(self.keep_alive).max_buf_size(HEAD_BYTES_MAX);
        let service = TowerToHyperService::new(router);
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            _ = stopped.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        // A connection that is idle between two requests also ends by the timeout of heads, and did nothing wrong.
        if owed.load(Ordering::Relaxed) && ended.is_err_and(|error| is_timeout(&error)) {
            shared.counters.timed_out();
        }
    }
}

fn is_timeout(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    error.is_timeout() || source.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

/// A socket that knows who owes something, and fails when the peer takes nothing for too long.
struct Watched {
    stream: TcpStream,
    /// The peer was heard since the last answer, or was not answered at all yet.
    owed: Arc<AtomicBool>,
    /// Since the socket is full.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    /// Notes how a write went.
    fn wrote(&mut self, wrote: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if wrote.is_ready() {
            self.stalled = None;
            self.owed.store(false, Ordering::Relaxed);
            return wrote;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(WRITE_TIMEOUT)));
        ready!(stalled.as_mut().poll(cx));
        self.owed.store(true, Ordering::Relaxed);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.owed.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(wrote, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(wrote, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
