//! What stands around every handler: a panic in one is an answer, and browsers are told not to guess.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::error::ApiError;

pub(super) async fn shield(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut handled = pin!(next.run(request));
    // A handler owns what it works with, and what all share are queues and counters: nothing is left half done.
    let handled = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| handled.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    });
    let mut response = handled.await.unwrap_or_else(|panic| {
        shared.counters.panicked();
        tracing::error!(%method, path, panic = words(&*panic), "the control port failed at a request");
        ApiError::internal().into_response()
    });
    if response.status() == StatusCode::REQUEST_TIMEOUT {
        shared.counters.timed_out();
    }
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// What a panic said.
pub(super) fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}
