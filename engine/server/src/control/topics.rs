//! `GET /topics`: what topics there are, in pages. `GET /topics/{topic}`: what one topic is about.
//!
//! Each shard tells of its own topics, a slice of its table at a time, so that no listing holds up a shard. A page goes
//! through the shards one after the other; within a page topics stand in the order of their names. While topics come and
//! go between two pages, one of them can be missed.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use fanfare_core::{AskRefused, Handle, TopicInfo};
use fanfare_wire::topic::TopicName;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::Shared;
use super::error::{ApiError, json_response};

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;

/// Slices that one page asks for at most. In a table with many gaps a page can thus be shorter than its limit.
const SLICES_MAX: usize = 64;

/// How long a question waits for room in a full inbox.
const INBOX_WAIT: Duration = Duration::from_secs(1);
const INBOX_PAUSE: Duration = Duration::from_millis(2);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    after: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn topics(State(shared): State<Shared>, uri: Uri) -> Result<Response, ApiError> {
    let Query(page) = Query::<Page>::try_from_uri(&uri).map_err(|_| {
        ApiError::bad_request(
            "bad_query",
            "GET /topics takes ?limit=N and ?after=, the next of an earlier page.",
        )
    })?;
    let limit = page.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        let message = format!("limit must be from 1 to {LIMIT_MAX}.");
        return Err(ApiError::bad_request("bad_limit", message));
    }
    let place = match page.after.as_deref().map(str::parse) {
        None => Place { shard: 0, slot: 0 },
        Some(Ok(place)) => place,
        Some(Err(())) => {
            let message = "after must be the next of an earlier page.";
            return Err(ApiError::bad_request("bad_after", message));
        }
    };
    let (mut topics, next) = read_page(&shared.handle, place, limit).await?;
    topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let reply = Listing {
        topics: topics.iter().map(Entry::from).collect(),
        next: next.map(|next| next.to_string()),
        total: shared.handle.topic_count(),
    };
    Ok(json_response(StatusCode::OK, &reply))
}

pub(super) async fn topic(State(shared): State<Shared>, uri: Uri) -> Result<Response, ApiError> {
    let topic = topic_of(&uri)?;
    if uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(ApiError::bad_request("bad_query", "GET /topics/{topic} takes no query."));
    }
    let describe =
        |tell: oneshot::Sender<_>| shared.handle.try_describe(&topic, move |info| _ = tell.send(info));
    match ask(describe).await? {
        Some(info) => Ok(json_response(StatusCode::OK, &Entry::from(&info))),
        None => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "no_such_topic",
            "There is no topic of this name: nothing was published to it lately, and nobody subscribes to it.",
        )),
    }
}

/// The topic that a path ends with.
pub(super) fn topic_of(uri: &Uri) -> Result<TopicName, ApiError> {
    let segment = uri.path().rsplit('/').next().unwrap_or_default();
    TopicName::from_path_segment(segment)
        .map_err(|error| ApiError::bad_request("bad_topic", format!("This is no topic: {error}.")))
}

#[derive(Serialize)]
struct Listing<'a> {
    topics: Vec<Entry<'a>>,
    /// Where the next page begins; `null` on the last one.
    next: Option<String>,
    /// Topics in the process.
    total: usize,
}

#[derive(Serialize)]
struct Entry<'a> {
    topic: &'a str,
    epoch: String,
    seq: u64,
    oldest: Option<u64>,
    subscribers: usize,
    keys: usize,
    log_bytes: usize,
}

impl<'a> From<&'a TopicInfo> for Entry<'a> {
    fn from(info: &'a TopicInfo) -> Self {
        Self {
            topic: &info.name,
            epoch: info.epoch.to_string(),
            seq: info.seq,
            oldest: info.oldest,
            subscribers: info.subscribers,
            keys: info.keys,
            log_bytes: info.bytes,
        }
    }
}

/// Where a page begins: a shard, and a slot of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    shard: usize,
    slot: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.shard, self.slot)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (shard, slot) = text.split_once('.').ok_or(())?;
        Ok(Self { shard: shard.parse().map_err(|_| ())?, slot: slot.parse().map_err(|_| ())? })
    }
}

/// Reads up to `limit` topics from `place` on. Returns where the next page begins, unless this is the last one.
async fn read_page(
    handle: &Handle,
    mut place: Place,
    limit: usize,
) -> Result<(Vec<TopicInfo>, Option<Place>), ApiError> {
    let mut topics = Vec::new();
    for _ in 0..SLICES_MAX {
        if place.shard >= handle.shards() {
            return Ok((topics, None));
        }
        let (slice, next_slot) = ask_slice(handle, place.shard, place.slot, limit - topics.len()).await?;
        topics.extend(slice);
        place = match next_slot {
            Some(slot) => Place { slot, ..place },
            None => Place { shard: place.shard + 1, slot: 0 },
        };
        if topics.len() >= limit {
            break;
        }
    }
    Ok((topics, (place.shard < handle.shards()).then_some(place)))
}

/// Asks a shard for the topics in `count` slots.
pub(super) async fn ask_slice(
    handle: &Handle,
    shard: usize,
    from: usize,
    count: usize,
) -> Result<(Vec<TopicInfo>, Option<usize>), ApiError> {
    ask(|tell| handle.try_list(shard, from, count, move |topics, next| _ = tell.send((topics, next)))).await
}

/// Asks a shard something, waits a while for room in its inbox, and then for the answer.
async fn ask<T>(question: impl Fn(oneshot::Sender<T>) -> Result<(), AskRefused>) -> Result<T, ApiError> {
    let start = Instant::now();
    loop {
        let (tell, told) = oneshot::channel();
        match question(tell) {
            Ok(()) => return told.await.map_err(|_| ApiError::shutting_down()),
            Err(AskRefused::ShuttingDown) => return Err(ApiError::shutting_down()),
            Err(AskRefused::Busy) if start.elapsed() >= INBOX_WAIT => return Err(ApiError::busy()),
            Err(AskRefused::Busy) => tokio::time::sleep(INBOX_PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        for place in [Place { shard: 0, slot: 0 }, Place { shard: 7, slot: 99_999 }] {
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        for text in ["", "1", ".", "1.", ".1", "1.2.3", "-1.0", "a.b"] {
            assert_eq!(text.parse::<Place>(), Err(()), "{text:?}");
        }
    }
}
