//! `POST /topics/{topic}`: a body becomes one message or many. `DELETE /topics/{topic}`: a key is removed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use bytes::Bytes;
use fanfare_core::{Ack, Handle, Message, PublishError, PublishRefused};
use fanfare_wire::Kind;
use fanfare_wire::topic::TopicName;
use serde::Serialize;
use tokio::sync::oneshot;

use super::Shared;
use super::body::{self, Format};
use super::error::{ApiError, json_response};
use super::keys::{Keys, key_to_remove};
use super::topics::topic_of;

/// How long a message waits for room in a full inbox before the client is told to come back.
const INBOX_WAIT: Duration = Duration::from_secs(1);

/// The sleep between two tries at a full inbox.
const INBOX_PAUSE: Duration = Duration::from_millis(2);

/// After so many messages of one body, other requests get their turn.
const MESSAGES_PER_TURN: u64 = 1024;

pub(super) async fn publish(State(shared): State<Shared>, request: Request) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let topic = topic_of(&head.uri)?;
    let format = Format::of(&head.headers)?;
    let keys = Keys::of(&head.uri, format)?;

    let message_bytes_max = shared.handle.config().message_bytes_max;
    let (limit, limit_key) = match format {
        Format::One(_) if message_bytes_max < shared.body_bytes_max => {
            (message_bytes_max, "message_bytes_max")
        }
        Format::One(_) | Format::Lines => (shared.body_bytes_max, "control_body_bytes_max"),
    };
    let body = body::read(&head.headers, body, limit, limit_key).await?;
    let count = format.check(&body, &keys, message_bytes_max)?;
    let messages = format.messages(&body, &keys);
    let published = publish_all(&shared.handle, &topic, messages, count).await;

    let topic = topic.as_str();
    match (format, published) {
        (Format::One(_), Ok((seq, _))) => Ok(json_response(StatusCode::OK, &PublishedOne { topic, seq })),
        (Format::Lines, Ok((first_seq, last_seq))) => {
            Ok(json_response(StatusCode::OK, &PublishedLines { topic, first_seq, last_seq, count }))
        }
        (Format::Lines, Err(NotPublished { error, line: Some(line) })) => Err(error.of_line(line)),
        (_, Err(NotPublished { error, .. })) => Err(error),
    }
}

pub(super) async fn remove(State(shared): State<Shared>, uri: Uri) -> Result<Response, ApiError> {
    let topic = topic_of(&uri)?;
    let key = Some(key_to_remove(&uri)?);
    let tombstone = Message { kind: Kind::Tombstone, key, payload: Bytes::new() };
    let published = publish_all(&shared.handle, &topic, [(1, tombstone)].into_iter(), 1).await;
    let (seq, _) = published.map_err(|refused| refused.error)?;
    Ok(json_response(StatusCode::OK, &PublishedOne { topic: topic.as_str(), seq }))
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

/// Why not all messages of a request were published, and which line was the first that was refused, if that was for
/// its key.
struct NotPublished {
    error: ApiError,
    line: Option<u64>,
}

impl From<ApiError> for NotPublished {
    fn from(error: ApiError) -> Self {
        Self { error, line: None }
    }
}

/// Publishes `count` messages, each with its line, in order. Returns the sequence numbers of the first and the last
/// one; other publishers' messages may stand between them.
async fn publish_all(
    handle: &Handle,
    topic: &TopicName,
    messages: impl Iterator<Item = (u64, Message)>,
    count: u64,
) -> Result<(u64, u64), NotPublished> {
    let refused = Arc::new(Refused::default());
    let (mut first, mut last) = (None, None);
    for ((line, message), index) in messages.zip(0..) {
        let told = match index {
            0 => Some(&mut first),
            index if index == count - 1 => Some(&mut last),
            _ => None,
        };
        let ack = Some(acknowledgement(refused.clone(), line, told));
        bring(handle, topic, message, ack).await.map_err(|error| error.after(index - refused.count()))?;
        if index % MESSAGES_PER_TURN == MESSAGES_PER_TURN - 1 {
            tokio::task::yield_now().await;
        }
    }
    let first_seq = sequence(first).await?;
    let last_seq = sequence(last).await?;
    // Messages of one bringer stay in order, so with the last one all were heard of.
    if let Some((line, error)) = refused.first.get() {
        let is_of_key = matches!(error, PublishError::TooManyKeys | PublishError::ValuesTooLarge);
        let error = ApiError::from(*error).after(count - refused.count());
        return Err(NotPublished { error, line: is_of_key.then_some(*line) });
    }
    let first_seq = first_seq.ok_or_else(ApiError::shutting_down)?;
    Ok((first_seq, last_seq.unwrap_or(first_seq)))
}

/// The messages of a request that their topic's home shard refused. The shard writes it, and waits for nobody doing so.
#[derive(Debug, Default)]
struct Refused {
    count: AtomicU64,
    /// The line of the first one, and why.
    first: OnceLock<(u64, PublishError)>,
}

impl Refused {
    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// Makes an acknowledgement that notes a refusal. `told`, if given, will hear the sequence number: so few of a
/// request's acknowledgements wake this thread.
fn acknowledgement(refused: Arc<Refused>, line: u64, told: Option<&mut Option<Told>>) -> Ack {
    let tell = told.map(|told| {
        let (tell, receiver) = oneshot::channel();
        *told = Some(receiver);
        tell
    });
    Box::new(move |outcome| {
        if let Err(error) = outcome {
            refused.count.fetch_add(1, Ordering::Relaxed);
            _ = refused.first.set((line, error));
        }
        if let Some(tell) = tell {
            _ = tell.send(outcome.ok());
        }
    })
}

type Told = oneshot::Receiver<Option<u64>>;

/// Waits for an acknowledgement, if one was asked for. `None` too if the message was refused.
async fn sequence(told: Option<Told>) -> Result<Option<u64>, ApiError> {
    match told {
        // A shard that ends without an answer drops the sender.
        Some(told) => told.await.map_err(|_| ApiError::shutting_down()),
        None => Ok(None),
    }
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
