//! What the control port answers when it does not do what was asked: always JSON, a code and a sentence.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fanfare_core::PublishError;
use serde::Serialize;

/// An error reply: `{"error":{"code":"...","message":"..."}}`.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    retry_after_s: Option<u32>,
    /// Messages of the request that were published before the error.
    published: Option<u64>,
}

#[derive(Serialize)]
struct Body<'a> {
    error: Fault<'a>,
}

#[derive(Serialize)]
struct Fault<'a> {
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<u64>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), retry_after_s: None, published: None }
    }

    pub(super) fn bad_request(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn busy() -> Self {
        let message = "The engine has as much to do as it may hold; try again in a moment.";
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message);
        Self { retry_after_s: Some(1), ..error }
    }

    pub(super) fn draining() -> Self {
        let message = "The engine is draining: it takes no new connections.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "draining", message)
    }

    pub(super) fn too_many_connections() -> Self {
        let message = "The control port has as many connections as control_connections_max allows.";
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", message);
        Self { retry_after_s: Some(1), ..error }
    }

    /// The handler panicked.
    pub(super) fn internal() -> Self {
        let message = "The control port failed at this request. It is a defect, and the log says where.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    pub(super) fn shutting_down() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", "The engine is shutting down.")
    }

    pub(super) fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// Says that so many messages of the request were published nevertheless.
    pub(super) fn after(self, published: u64) -> Self {
        Self { published: (published > 0).then_some(published), ..self }
    }

    /// Says which line of the request it is about.
    pub(super) fn of_line(self, number: u64) -> Self {
        Self { message: format!("Line {number}: {}", self.message).into(), ..self }
    }

    #[cfg(test)]
    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::ShuttingDown => Self::shutting_down(),
            PublishError::TooManyTopics => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many_topics",
                "The engine holds as many topics as topics_max allows, and this message needs a new one.",
            ),
            PublishError::TooManyKeys => Self::new(
                StatusCode::CONFLICT,
                "too_many_keys",
                "The topic has as many keys as keys_max allows, and this message has a new one.",
            ),
            PublishError::ValuesTooLarge => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "values_too_large",
                "The values of the topic's keys, or of all topics, take as much memory as they may.",
            ),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body =
            Body { error: Fault { code: self.code, message: &self.message, published: self.published } };
        let mut response = json_response(self.status, &body);
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// A JSON reply that no cache keeps.
pub(super) fn json_response(status: StatusCode, value: &impl Serialize) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    let mut body = serde_json::to_vec(value).expect("replies hold nothing that JSON cannot");
    body.push(b'\n');
    (status, headers, body).into_response()
}

/// The reply for a path that means nothing.
pub(super) async fn not_found() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "There is nothing here. The control port has /, /topics, /topics/{topic}, /healthz, /readyz, /metrics and /version; \
         WebSocket clients connect to the other port.",
    )
}

/// The reply for a method that a path does not take.
pub(super) async fn method_not_allowed() -> ApiError {
    let message =
        "This path does not take this method: /topics/{topic} takes GET, POST and DELETE, all else is GET.";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
