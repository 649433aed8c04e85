//! `POST /topics/{topic}`: a body becomes one message or many.

use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use fanfare_core::{Ack, Handle, Message, PublishError, PublishRefused};
use fanfare_wire::topic::TopicName;
use serde::Serialize;
use tokio::sync::oneshot;

use super::Shared;
use super::body::{self, Format};
use super::error::{ApiError, json_response};

/// How long a message waits for room in a full inbox before the client is told to come back.
const INBOX_WAIT: Duration = Duration::from_secs(1);

/// The sleep between two tries at a full inbox.
const INBOX_PAUSE: Duration = Duration::from_millis(2);

/// After so many messages of one body, other requests get their turn.
const MESSAGES_PER_TURN: u64 = 1024;

pub(super) async fn publish(State(shared): State<Shared>, request: Request) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let segment = head.uri.path().rsplit('/').next().unwrap_or_default();
    let topic = TopicName::from_path_segment(segment)
        .map_err(|error| ApiError::bad_request("bad_topic", format!("This is no topic: {error}.")))?;
    let format = Format::of(&head.headers)?;

    let message_bytes_max = shared.handle.config().message_bytes_max;
    let (limit, limit_key) = match format {
        Format::One(_) if message_bytes_max < shared.body_bytes_max => {
            (message_bytes_max, "message_bytes_max")
        }
        Format::One(_) | Format::Lines => (shared.body_bytes_max, "control_body_bytes_max"),
    };
    let body = body::read(&head.headers, body, limit, limit_key).await?;
    let count = format.check(&body, message_bytes_max)?;
    let (first_seq, last_seq) = publish_all(&shared.handle, &topic, format, &body, count).await?;

    let topic = topic.as_str();
    Ok(match format {
        Format::One(_) => json_response(StatusCode::OK, &PublishedOne { topic, seq: first_seq }),
        Format::Lines => json_response(StatusCode::OK, &PublishedLines { topic, first_seq, last_seq, count }),
    })
}

#[derive(Serialize)]
struct PublishedOne<'a> {
    topic: &'a str,
    seq: u64,
}

#[derive(Serialize)]
struct PublishedLines<'a> {
    topic: &'a str,
    first_seq: u64,
    last_seq: u64,
    count: u64,
}

/// Publishes a checked body's messages in order. Returns the sequence numbers of the first and the last one; other
/// publishers' messages may stand between them.
async fn publish_all(
    handle: &Handle,
    topic: &TopicName,
    format: Format,
    body: &Bytes,
    count: u64,
) -> Result<(u64, u64), ApiError> {
    let (mut first, mut last) = (None, None);
    for (message, index) in format.messages(body).zip(0..) {
        // Messages of one bringer stay in order, so what holds for the first and the last holds for all.
        let ack = match index {
            0 => Some(acknowledgement(&mut first)),
            index if index == count - 1 => Some(acknowledgement(&mut last)),
            _ => None,
        };
        bring(handle, topic, message, ack).await.map_err(|error| error.after(index))?;
        if index % MESSAGES_PER_TURN == MESSAGES_PER_TURN - 1 {
            tokio::task::yield_now().await;
        }
    }
    let first_seq = sequence(first).await?.ok_or_else(ApiError::shutting_down)?;
    let last_seq = sequence(last).await?;
    Ok((first_seq, last_seq.unwrap_or(first_seq)))
}

/// Makes an acknowledgement that `told` will hear.
fn acknowledgement(told: &mut Option<Told>) -> Ack {
    let (tell, receiver) = oneshot::channel();
    *told = Some(receiver);
    Box::new(move |outcome| _ = tell.send(outcome))
}

type Told = oneshot::Receiver<Result<u64, PublishError>>;

/// Waits for an acknowledgement, if one was asked for.
async fn sequence(told: Option<Told>) -> Result<Option<u64>, ApiError> {
    let Some(told) = told else { return Ok(None) };
    // A shard that ends without an answer drops the sender.
    let outcome = told.await.map_err(|_| ApiError::shutting_down())?;
    Ok(Some(outcome?))
}

/// Brings one message to its topic's home shard, and waits a while for room there.
async fn bring(
    handle: &Handle,
    topic: &TopicName,
    mut message: Message,
    mut ack: Option<Ack>,
) -> Result<(), ApiError> {
    let mut full_since = None;
    loop {
        match handle.try_publish(topic, message, ack) {
            Ok(()) => return Ok(()),
            Err(PublishRefused::Full(message_back, ack_back)) => (message, ack) = (message_back, ack_back),
            // Sizes were checked; only a message_bytes_max that differs between here and there could do this.
            Err(PublishRefused::TooLarge) => return Err(ApiError::too_large("The message is too large.")),
            Err(PublishRefused::ShuttingDown) => return Err(ApiError::shutting_down()),
        }
        if full_since.get_or_insert_with(Instant::now).elapsed() >= INBOX_WAIT {
            return Err(ApiError::busy());
        }
        tokio::time::sleep(INBOX_PAUSE).await;
    }
}
