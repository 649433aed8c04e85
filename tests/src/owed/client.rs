//! A connection with its subscriptions. It reads what came, and passes it to the rules.

use std::collections::{BTreeMap, VecDeque};

use fanfare_core::PolicySet;
use fanfare_wire::notice::Notice;
use fanfare_wire::subscribe::Policy;
use serde_json::{Value, json};

use super::ledger::{KEYLESS, Ledger, Life};
use super::subscription::{Answer, Seen, Subscription};
use super::terms::{From, Terms};
use crate::peer::{Peer, Received};

/// A topic of the world, and what the engine's rules say of it.
#[derive(Clone, Debug)]
pub struct Topic {
    pub name: &'static str,
    pub policy: Policy,
    pub allowed: PolicySet,
    /// Its history, in messages and by age; 0: no limit of age.
    pub log_messages_max: u64,
    pub log_age_ms: u64,
    /// How far its subscribers may fall behind; 0: no limit of age.
    pub lag_bytes_max: u64,
    pub lag_messages_max: u64,
    pub lag_age_ms: u64,
    /// Its log is never outrun by its publishers.
    pub roomy: bool,
    /// Whatever happens is heard of before time goes on.
    pub steady: bool,
}

/// What a message takes from a log beside its text, at most.
const FRAME_BYTES: u64 = 120;

/// How late age may be noticed: sweeps come every 100 ms, and time goes in steps.
const AGE_SLACK_MS: u64 = 250;

impl Topic {
    fn allows(&self, terms: &Terms) -> bool {
        terms.policy.is_none_or(|policy| policy == self.policy || self.allowed.contains(policy))
    }

    /// Whether who lacks `from ..= to` is so far behind that a policy may act: half a limit is enough for one on whom it
    /// acted before.
    fn is_lag(&self, life: &Life, from: u64, to: u64, now: u64) -> bool {
        let bytes: u64 = (from..=to).map(|seq| life.entry(seq).text.len() as u64 + FRAME_BYTES).sum();
        let age_ms = (now - life.entry(from).at) / 1_000_000;
        to + 1 - from > self.lag_messages_max.div_ceil(2)
            || bytes > self.lag_bytes_max / 2
            || (self.lag_age_ms > 0 && age_ms >= self.lag_age_ms / 2)
    }
}

/// One topic in a subscribe that was not answered yet.
#[derive(Clone, Debug)]
struct Wish {
    topic: usize,
    /// `None`: a bare name.
    terms: Option<Terms>,
    /// The topic's epoch and head when it was asked for.
    present: (String, u64),
}

#[derive(Clone, Debug)]
enum Ask {
    Subscribe(Vec<Wish>),
    Unsubscribe(usize),
}

/// A place to go on from, of a subscription that is over.
#[derive(Clone, Debug)]
pub struct Resume {
    pub topic: usize,
    pub seq: u64,
    pub epoch: String,
}

#[derive(Debug)]
pub struct Client {
    /// For a raw subscriber, its topic.
    pub raw: Option<usize>,
    /// By topic.
    pub subscriptions: BTreeMap<usize, Subscription>,
    /// By topic, the last number of subscribers that it was told.
    pub watched: BTreeMap<usize, Option<u64>>,
    /// What was not answered yet, in order, each with its id.
    asks: VecDeque<(u64, Ask)>,
    next_id: u64,
    /// It reads all the time and has room for everything, and the network behaves.
    pub healthy: bool,
    /// It left by itself.
    pub left: bool,
    is_answered: bool,
    is_closed: bool,
    pub recovered: u64,
    pub refused: u64,
    pub told_presence: u64,
    /// What its subscriptions that are over have seen.
    pub seen: Vec<Seen>,
}

impl Client {
    fn new(raw: Option<usize>) -> Self {
        Self {
            raw,
            subscriptions: BTreeMap::new(),
            watched: BTreeMap::new(),
            asks: VecDeque::new(),
            next_id: 1,
            healthy: false,
            left: false,
            is_answered: false,
            is_closed: false,
            recovered: 0,
            refused: 0,
            told_presence: 0,
            seen: Vec::new(),
        }
    }

    /// A raw subscriber that has asked for `terms`.
    pub fn raw(topics: &[Topic], topic: usize, terms: Terms, ledger: &Ledger) -> Self {
        let mut client = Self::new(Some(topic));
        client.asks.push_back((0, Ask::Subscribe(vec![wish(topics, topic, Some(terms), ledger)])));
        client
    }

    /// A `/stream` client without subscriptions.
    pub fn stream() -> Self {
        Self::new(None)
    }

    /// Asks for topics, each with its terms or as a bare name.
    pub fn subscribe(
        &mut self,
        peer: &Peer,
        topics: &[Topic],
        asked: Vec<(usize, Option<Terms>)>,
        ledger: &Ledger,
    ) {
        let argument = |(topic, terms): &(usize, Option<Terms>)| {
            let name = topics[*topic].name;
            terms.as_ref().map_or_else(|| name.into(), |terms| terms.object(name))
        };
        let args: Vec<Value> = asked.iter().map(argument).collect();
        // Of a topic that is named twice, the last one counts.
        let mut wishes = BTreeMap::new();
        for (topic, terms) in asked {
            wishes.insert(topics[topic].name, wish(topics, topic, terms, ledger));
        }
        self.ask(peer, "subscribe", &args.into(), Ask::Subscribe(wishes.into_values().collect()));
    }

    pub fn unsubscribe(&mut self, peer: &Peer, topics: &[Topic], topic: usize) {
        self.ask(peer, "unsubscribe", &json!([topics[topic].name]), Ask::Unsubscribe(topic));
    }

    fn ask(&mut self, peer: &Peer, op: &str, args: &Value, ask: Ask) {
        peer.send_text(&json!({ "op": op, "args": args, "id": self.next_id }).to_string());
        self.asks.push_back((self.next_id, ask));
        self.next_id += 1;
    }

    /// Where its subscriptions stand, for one who comes after it.
    pub fn places(&self) -> impl Iterator<Item = Resume> + '_ {
        self.subscriptions.iter().map(|(topic, subscription)| Resume {
            topic: *topic,
            seq: subscription.last,
            epoch: subscription.epoch.clone(),
        })
    }

    /// Holds what came since the last time against the rules.
    pub fn hear(&mut self, peer: &mut Peer, topics: &[Topic], ledger: &Ledger, now: u64) -> Option<Resume> {
        if !std::mem::replace(&mut self.is_answered, peer.status.is_some()) {
            self.answered(peer, topics, ledger, now);
        }
        let messages = std::mem::take(&mut peer.messages);
        let mut pongs = std::mem::take(&mut peer.pongs).into_iter().peekable();
        for index in 0..=messages.len() {
            while let Some((_, words)) = pongs.next_if(|(before, _)| *before == index) {
                let notice = Notice::parse_words(&words).expect("a raw notice");
                self.notice(topics, ledger, self.raw.expect("a raw subscriber"), notice, now);
            }
            if let Some(message) = messages.get(index) {
                match self.raw {
                    Some(topic) => self.raw_message(topics, ledger, topic, message, now),
                    None => self.stream_message(topics, ledger, message, now),
                }
            }
        }
        let was_closed = std::mem::replace(&mut self.is_closed, peer.closed.is_some());
        peer.closed
            .filter(|_| !was_closed)
            .and_then(|code| self.closed(code, &peer.close_reason, topics, ledger, now))
    }

    /// The answer to the upgrade, once it is there.
    fn answered(&mut self, peer: &Peer, topics: &[Topic], ledger: &Ledger, now: u64) {
        let Some(status) = peer.status else { return };
        let Some(topic) = self.raw else {
            assert_eq!(status, 101, "/stream takes everybody");
            return;
        };
        let Some((_, Ask::Subscribe(wishes))) = self.asks.pop_front() else { panic!("it asked") };
        let terms = wishes[0].terms.clone().expect("a raw subscriber has terms");
        if !topics[topic].allows(&terms) {
            assert_eq!(status, 400, "the policy is not allowed");
            self.refused += 1;
            return;
        }
        assert_eq!(status, 101, "{}", peer.head);
        let header = |name: &str| {
            let mut lines = peer.head.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
        };
        let number = |name| header(name).map(|value| value.parse().expect("a number"));
        let answer = Answer {
            epoch: header("Fanfare-Epoch").expect("the epoch is always told"),
            seq: number("Fanfare-Seq").expect("the head is always told"),
            oldest: number("Fanfare-Oldest"),
            recovered: header("Fanfare-Recovered").map(|value| value.parse().expect("true or false")),
            exact: true,
        };
        if let Some(oldest) = answer.oldest
            && topics[topic].steady
            && self.healthy
            && topics[topic].log_age_ms > 0
        {
            let age_ms = (now - ledger.life(topics[topic].name, &answer.epoch).entry(oldest).at) / 1_000_000;
            assert!(age_ms <= topics[topic].log_age_ms + AGE_SLACK_MS, "{oldest} is {age_ms} ms old");
        }
        self.begin(topics, ledger, &wishes[0], &answer, None);
    }

    /// A subscription begins, or is moved.
    fn begin(
        &mut self,
        topics: &[Topic],
        ledger: &Ledger,
        wish: &Wish,
        answer: &Answer,
        missing: Option<&Value>,
    ) {
        let topic = &topics[wish.topic];
        let terms = wish.terms.clone().unwrap_or_default();
        let head = ledger.life(topic.name, &answer.epoch).head();
        assert!(answer.seq <= head, "{} has {head} messages, not {}", topic.name, answer.seq);
        let (epoch, before) = &wish.present;
        assert!(*epoch != answer.epoch || *before <= answer.seq, "message {before} was there before");
        if let Some(oldest) = answer.oldest {
            assert!(oldest <= answer.seq && oldest + topic.log_messages_max > answer.seq, "{answer:?}");
        }
        if let From::Since { seq, epoch } = &terms.from {
            let recovered = answer.recovered.expect("whoever asks for it is told");
            let is_known = *epoch == answer.epoch && *seq <= answer.seq;
            assert!(!recovered || is_known, "{terms:?} cannot be recovered: {answer:?}");
            let is_held = answer.oldest.is_some_and(|oldest| oldest <= seq + 1) || *seq == answer.seq;
            assert!(recovered || !is_known || !is_held, "{terms:?} can be recovered: {answer:?}");
            if let Some(missing) = missing {
                let told = match (recovered, is_known) {
                    (true, _) => Value::Null,
                    (false, true) => json!({ "from": seq + 1, "to": answer.seq }),
                    (false, false) => Value::Null,
                };
                assert_eq!(*missing, told, "{terms:?}: {answer:?}");
            }
            self.recovered += u64::from(recovered);
        } else {
            assert_eq!(answer.recovered, None, "nobody asked for recovery");
        }
        let subscription = Subscription::new(topic, &terms, answer, self.healthy);
        let before = self.subscriptions.insert(wish.topic, subscription);
        self.seen.extend(before.map(|before| before.seen));
    }

    fn subscription(&mut self, topics: &[Topic], topic: usize) -> &mut Subscription {
        let name = topics[topic].name;
        self.subscriptions.get_mut(&topic).unwrap_or_else(|| panic!("no subscription to {name}"))
    }

    fn notice(&mut self, topics: &[Topic], ledger: &Ledger, index: usize, notice: Notice, now: u64) {
        let (topic, healthy) = (&topics[index], self.healthy);
        let subscription = self.subscription(topics, index);
        let life = ledger.life(topic.name, &subscription.epoch);
        if let Notice::Gap { from, to } | Notice::Conflated { from, to } = notice
            && topic.roomy
        {
            assert!(!healthy, "{}: {notice:?} to one who reads all the time", topic.name);
            // The values may be older than the look at the lag.
            let to = if matches!(notice, Notice::Gap { .. }) { to } else { life.head() };
            let is_lag = subscription.policy == Policy::Latest
                || subscription.is_shortened()
                || topic.is_lag(life, from, to, now);
            assert!(is_lag, "{}: {notice:?} to one who is not far behind", topic.name);
        }
        subscription.notice(life, notice);
    }

    fn raw_message(&mut self, topics: &[Topic], ledger: &Ledger, topic: usize, message: &Received, now: u64) {
        let name = topics[topic].name;
        let subscription = self.subscription(topics, topic);
        let life = ledger.life(name, &subscription.epoch);
        assert!(message.text, "everything here is text");
        let text = message.as_str().trim_matches('"');
        let seq = (!text.is_empty())
            .then(|| life.seq_of(text).unwrap_or_else(|| panic!("{name}: nobody published {text}")));
        subscription.message(life, seq, now);
    }

    fn stream_message(&mut self, topics: &[Topic], ledger: &Ledger, message: &Received, now: u64) {
        let json: Value = serde_json::from_str(message.as_str()).expect("JSON");
        let topic = json["topic"]
            .as_str()
            .map(|name| topics.iter().position(|topic| topic.name == name).expect("a topic of this world"));
        let number = |name: &str| json[name].as_u64().unwrap_or_else(|| panic!("{name} in {json}"));
        let op = json["op"].as_str();
        let Some(topic) = topic else {
            return self.replied(topics, ledger, &json);
        };
        let Some(op) = op else {
            let subscription = self.subscription(topics, topic);
            let life = ledger.life(topics[topic].name, &subscription.epoch);
            let seq = number("seq");
            let entry = life.entry(seq);
            let key = (entry.key != KEYLESS).then(|| format!("k{}", entry.key));
            assert_eq!(json.get("key").and_then(Value::as_str), key.as_deref(), "{json}");
            assert_eq!(json.get("tombstone").is_some(), entry.is_tombstone(), "{json}");
            let text = (!entry.is_tombstone()).then_some(&*entry.text);
            assert_eq!(json.get("data").and_then(Value::as_str), text, "{json}");
            return subscription.message(life, Some(seq), now);
        };
        let notice = match op {
            "gap" => Notice::Gap { from: number("from"), to: number("to") },
            "conflated" => Notice::Conflated { from: number("from"), to: number("to") },
            "snapshot" => Notice::Snapshot { seq: number("seq") },
            "live" => Notice::Live { seq: number("seq") },
            "presence" => {
                let count = number("subscribers");
                let told = self.watched.get_mut(&topic).expect("it watches this topic");
                *told = Some(count);
                self.told_presence += 1;
                return;
            }
            _ => panic!("nothing is known of {json}"),
        };
        self.notice(topics, ledger, topic, notice, now);
    }

    fn replied(&mut self, topics: &[Topic], ledger: &Ledger, reply: &Value) {
        let (id, ask) = self.asks.pop_front().unwrap_or_else(|| panic!("nothing was asked: {reply}"));
        assert_eq!(reply["id"], id, "answers come in order");
        match ask {
            Ask::Unsubscribe(topic) => {
                let removed = self.subscriptions.remove(&topic);
                assert_eq!(reply["ok"], removed.is_some(), "{reply}");
                self.watched.remove(&topic);
                self.seen.extend(removed.map(|removed| removed.seen));
            }
            Ask::Subscribe(wishes) => {
                let allows =
                    |wish: &Wish| wish.terms.as_ref().is_none_or(|terms| topics[wish.topic].allows(terms));
                if !wishes.iter().all(allows) {
                    assert_eq!(reply["error"]["code"], "policy_not_allowed", "{reply}");
                    self.refused += 1;
                    return;
                }
                assert_eq!(reply["ok"], true, "{reply}");
                let told = reply["topics"].as_array().expect("an array");
                assert_eq!(told.len(), wishes.len(), "{reply}");
                for (wish, told) in wishes.iter().zip(told) {
                    self.subscribed(topics, ledger, wish, told);
                }
            }
        }
    }

    fn subscribed(&mut self, topics: &[Topic], ledger: &Ledger, wish: &Wish, told: &Value) {
        let topic = &topics[wish.topic];
        assert_eq!(told["topic"], topic.name);
        let answer = Answer {
            epoch: told["epoch"].as_str().expect("an epoch").to_owned(),
            seq: told["seq"].as_u64().expect("a number"),
            oldest: told["oldest"].as_u64(),
            recovered: told.get("recovered").map(|recovered| recovered.as_bool().expect("a bool")),
            exact: false,
        };
        match (self.subscriptions.get_mut(&wish.topic), &wish.terms) {
            (Some(known), None) => assert_eq!(known.epoch, answer.epoch),
            (Some(known), Some(terms)) if !terms.moves() => {
                assert_eq!(known.epoch, answer.epoch);
                known.change(terms, topic.policy);
            }
            _ => self.begin(topics, ledger, wish, &answer, Some(&told["missing"])),
        }
        match &wish.terms {
            Some(terms) if terms.presence => _ = self.watched.entry(wish.topic).or_default(),
            Some(_) => _ = self.watched.remove(&wish.topic),
            None => {}
        }
    }

    /// The server's close frame. Says where to go on, if it was because of a topic.
    fn closed(
        &mut self,
        code: u16,
        reason: &str,
        topics: &[Topic],
        ledger: &Ledger,
        now: u64,
    ) -> Option<Resume> {
        if code != 4008 {
            assert!(self.left || code == 1001, "closed with {code} {reason}");
            return None;
        }
        let place = reason.strip_prefix("too slow: resume with since=");
        let (since, epoch) = place.and_then(|place| place.split_once("&epoch=")).expect("a place to resume");
        let since: u64 = since.parse().expect("a number");
        let mut subscriptions = self.subscriptions.iter_mut();
        let slow = subscriptions.find(|(_, subscription)| subscription.epoch == epoch);
        let (index, subscription) = slow.expect("a topic of this connection");
        let (topic, life) = (&topics[*index], ledger.life(topics[*index].name, epoch));
        if topic.roomy {
            assert!(!self.healthy, "{} is too fast for one who reads all the time", topic.name);
            assert!(
                topic.is_lag(life, since + 1, life.head(), now),
                "{}: {since} is not far behind",
                topic.name
            );
        }
        subscription.slow(life, since);
        Some(Resume { topic: *index, seq: since, epoch: epoch.to_owned() })
    }

    /// Nothing is under way to anybody who reads: whoever does has everything.
    pub fn check_current(&self, topics: &[Topic], ledger: &Ledger) {
        assert!(self.asks.is_empty(), "everything is answered");
        for (topic, subscription) in &self.subscriptions {
            subscription.check_current(ledger.life(topics[*topic].name, &subscription.epoch));
        }
    }

    /// What came of each key did not come more often than it was asked for.
    pub fn check_rates(&mut self) {
        self.subscriptions.values_mut().for_each(Subscription::check_rate);
    }

    /// Everybody has had all the time in the world: it lacks nothing.
    pub fn at_end(&mut self, topics: &[Topic], ledger: &Ledger) {
        assert!(self.asks.is_empty(), "everything is answered");
        for (topic, subscription) in &mut self.subscriptions {
            subscription.at_end(ledger.life(topics[*topic].name, &subscription.epoch));
        }
    }

    /// What all its subscriptions have seen.
    pub fn seen(&self) -> impl Iterator<Item = Seen> + '_ {
        self.seen.iter().copied().chain(self.subscriptions.values().map(|subscription| subscription.seen))
    }
}

fn wish(topics: &[Topic], topic: usize, terms: Option<Terms>, ledger: &Ledger) -> Wish {
    let life = ledger.present(topics[topic].name);
    Wish { topic, terms, present: (life.epoch.clone(), life.head()) }
}
