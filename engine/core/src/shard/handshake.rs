//! From a request to a session: which paths there are, and what each is for.

use fanfare_io::Driver;
use fanfare_wire::deflate;
use fanfare_wire::handshake::server::{Method, Reject, Request};
use fanfare_wire::key::Key;
use fanfare_wire::stream::Subscribe;
use fanfare_wire::subscribe::SubscribeOptions;
use fanfare_wire::topic::TopicName;

use super::Shard;
use super::conn::{Announce, JoinPurpose, Publisher, Session, StreamSession};
use crate::config::Config;
use crate::view::{Coding, View};

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
    /// `/echo`, where the config has it: whatever comes goes back.
    Echo,
}

impl Target {
    fn of(path: &str, config: &Config) -> Result<Self, Reject> {
        let topic = |segment| {
            TopicName::from_path_segment(segment).map_err(|error| Reject::bad_request(error.to_string()))
        };
        match path.strip_prefix('/').and_then(|path| path.split_once('/')) {
            Some(("ws", segment)) if !segment.contains('/') => Ok(Self::Raw(topic(segment)?)),
            Some(("pub", segment)) if !segment.contains('/') => Ok(Self::Publish(topic(segment)?)),
            None if path == "/stream" => Ok(Self::Stream),
            None if path == "/echo" && config.echo => Ok(Self::Echo),
            _ => Err(Reject::not_found()),
        }
    }

    fn subprotocol(&self) -> &'static str {
        match self {
            Self::Raw(_) | Self::Publish(_) | Self::Echo => SUBPROTOCOL_RAW,
            Self::Stream => SUBPROTOCOL_JSON,
        }
    }
}

/// Whether text messages of this publisher are JSON: `?data=json`.
fn publishes_json(request: &Request) -> Result<bool, Reject> {
    match request.query_value("data").as_deref() {
        None | Some("text") => Ok(false),
        Some("json") => Ok(true),
        Some(_) => Err(Reject::bad_request("the query value data must be text or json")),
    }
}

/// The key of this publisher's messages: `?key=`.
fn key_of(request: &Request) -> Result<Option<Key>, Reject> {
    let key = request.query_value("key").map(|key| Key::parse(&key));
    key.transpose().map_err(|error| Reject::bad_request(error.to_string()))
}

/// The topics of `?topics=a,b`, each once.
fn topics_asked(request: &Request, limit: usize) -> Result<Vec<Subscribe>, Reject> {
    let mut topics: Vec<Subscribe> = Vec::new();
    for name in request.query_list("topics").unwrap_or_default() {
        let topic = TopicName::parse(&name).map_err(|error| Reject::bad_request(error.to_string()))?;
        if !topics.iter().any(|known| known.topic == topic) {
            topics.push(Subscribe { topic, options: None });
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
        let started = match self.refusal(slot) {
            Some(reject) => Err(reject),
            None => self.start_session(slot, request),
        };
        match started {
            Ok(()) => {}
            Err(reject) if request.method == Method::Head => self.reject_head(slot, &reject),
            Err(reject) => self.reject(slot, &reject),
        }
    }

    fn start_session(&mut self, slot: u32, request: &Request) -> Result<(), Reject> {
        let target = Target::of(&request.path, self.config())?;
        let upgrade = request.upgrade.clone().ok_or_else(Reject::upgrade_required)?;
        self.check_origin(request)?;
        let known = target.subprotocol();
        let subprotocol = upgrade.protocols.iter().any(|offered| offered == known).then_some(known);
        let agreed = if self.config().deflate { deflate::agree(&upgrade.extensions) } else { None };
        let coding = Coding::of(agreed.map(|agreed| agreed.window));
        let publisher = |topic| {
            Ok::<_, Reject>(Publisher { topic, json: publishes_json(request)?, key: key_of(request)? })
        };
        let (session, view, asked, announce) = match target {
            Target::Raw(topic) => {
                let options = Some(SubscribeOptions::from_query(request)?);
                let asked = Subscribe { topic: topic.clone(), options };
                if !self.allows(&asked) {
                    return Err(Reject::bad_request("this policy is not allowed for this topic"));
                }
                let session = Session::Raw { publisher: publisher(topic)?, sub: None };
                (session, View::Raw(coding), vec![asked], Announce::Headers)
            }
            Target::Publish(topic) => {
                (Session::Publish(publisher(topic)?), View::Raw(coding), Vec::new(), Announce::Nothing)
            }
            Target::Stream => {
                let topics = topics_asked(request, self.config().subscriptions_max)?;
                let announce = if topics.is_empty() { Announce::Nothing } else { Announce::Reply };
                (Session::Stream(Box::<StreamSession>::default()), View::Json(coding), topics, announce)
            }
            Target::Echo => (Session::Echo, View::Raw(coding), Vec::new(), Announce::Nothing),
        };
        let conn = &mut self.conns[slot];
        conn.session = session;
        conn.deflate = agreed.map(|agreed| agreed.window);
        self.join(slot, asked, view, JoinPurpose::Upgrade { upgrade, subprotocol, agreed, announce });
        Ok(())
    }
}
