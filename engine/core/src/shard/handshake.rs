//! From a request to a session: which paths there are, and what each is for.

use fanfare_io::Driver;
use fanfare_wire::handshake::server::{Method, Reject, Request, Upgrade};
use fanfare_wire::topic::TopicName;

use super::Shard;
use super::conn::{JoinPurpose, Publisher, Session, StreamSession};
use crate::view::View;

/// The subprotocol of `/ws` and `/pub`: payloads as they are. Offering it is optional.
const SUBPROTOCOL_RAW: &str = "fanfare.v1.raw";
/// The subprotocol of `/stream`: JSON operations. Offering it is optional.
const SUBPROTOCOL_JSON: &str = "fanfare.v1.json";

/// What a path stands for.
enum Target {
    /// `/ws/{topic}`: subscribe, and publish what the client sends.
    Raw(TopicName),
    /// `/pub/{topic}`: publish only.
    Publish(TopicName),
    /// `/stream`: the JSON protocol.
    Stream,
}

impl Target {
    fn of(path: &str) -> Result<Self, Reject> {
        let topic = |segment| {
            TopicName::from_path_segment(segment).map_err(|error| Reject::bad_request(error.to_string()))
        };
        match path.strip_prefix('/').and_then(|path| path.split_once('/')) {
            Some(("ws", segment)) if !segment.contains('/') => Ok(Self::Raw(topic(segment)?)),
            Some(("pub", segment)) if !segment.contains('/') => Ok(Self::Publish(topic(segment)?)),
            None if path == "/stream" => Ok(Self::Stream),
            _ => Err(Reject::not_found()),
        }
    }

    fn subprotocol(&self) -> &'static str {
        match self {
            Self::Raw(_) | Self::Publish(_) => SUBPROTOCOL_RAW,
            Self::Stream => SUBPROTOCOL_JSON,
        }
    }
}

/// The 101 answer.
fn answer(upgrade: &Upgrade, target: &Target) -> Vec<u8> {
    let known = target.subprotocol();
    let agreed = upgrade.protocols.iter().any(|offered| offered == known).then_some(known);
    let mut answer = Vec::new();
    upgrade.write_accept(&mut answer, agreed, None);
    answer
}

/// Whether text messages of this publisher are JSON: `?data=json`.
fn publishes_json(request: &Request) -> Result<bool, Reject> {
    match request.query_value("data").as_deref() {
        None | Some("text") => Ok(false),
        Some("json") => Ok(true),
        Some(_) => Err(Reject::bad_request("the query value data must be text or json")),
    }
}

/// The topics of `?topics=a,b`, each once.
fn topics_asked(request: &Request, limit: usize) -> Result<Vec<TopicName>, Reject> {
    let mut topics = Vec::new();
    for name in request.query_list("topics").unwrap_or_default() {
        let topic = TopicName::parse(&name).map_err(|error| Reject::bad_request(error.to_string()))?;
        if !topics.contains(&topic) {
            topics.push(topic);
        }
        if topics.len() > limit {
            return Err(Reject::bad_request(
                "the query value topics names more topics than a connection may subscribe to",
            ));
        }
    }
    Ok(topics)
}

impl<D: Driver> Shard<D> {
    /// Acts on a whole request head.
    pub(super) fn route(&mut self, slot: u32, request: &Request) {
        if self.drain.is_running() {
            self.reject(slot, &Reject::service_unavailable("the server is shutting down", 1));
            return;
        }
        match self.start_session(slot, request) {
            Ok(()) => {}
            Err(reject) if request.method == Method::Head => self.reject_head(slot, &reject),
            Err(reject) => self.reject(slot, &reject),
        }
    }

    fn start_session(&mut self, slot: u32, request: &Request) -> Result<(), Reject> {
        let target = Target::of(&request.path)?;
        let upgrade = request.upgrade.as_ref().ok_or_else(Reject::upgrade_required)?;
        let answer = answer(upgrade, &target);
        let (session, view, topics) = match target {
            Target::Raw(topic) => {
                let publisher = Publisher { topic: topic.clone(), json: publishes_json(request)? };
                (Session::Raw { publisher, sub: None }, View::Raw, vec![topic])
            }
            Target::Publish(topic) => {
                let publisher = Publisher { topic, json: publishes_json(request)? };
                (Session::Publish(publisher), View::Raw, Vec::new())
            }
            Target::Stream => {
                let topics = topics_asked(request, self.config().subscriptions_max)?;
                (Session::Stream(Box::<StreamSession>::default()), View::Json, topics)
            }
        };
        let announce = view == View::Json && !topics.is_empty();
        self.conns[slot].session = session;
        self.join(slot, topics, view, JoinPurpose::Upgrade { answer, announce });
        Ok(())
    }
}
