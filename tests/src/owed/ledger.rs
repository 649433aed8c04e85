//! Everything that was published: topic by topic, life by life, in the order that the publishers were told.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use fanfare_core::{Handle, Message, PublishError, TopicInfo};
use fanfare_wire::Kind;
use fanfare_wire::key::Key;
use fanfare_wire::topic::TopicName;

/// How many keys there are in the world, `k0` and on.
pub const KEYS: usize = 8;

/// Where messages without a key are counted among the keys: together they are one more.
pub const KEYLESS: usize = KEYS;

/// No message has replaced it yet.
const NEVER: u64 = u64::MAX;

/// One message.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What subscribers read in it; a text that no other message has. Empty for a tombstone.
    pub text: String,
    pub kind: Kind,
    /// Its key's number, or [`KEYLESS`].
    pub key: usize,
    /// When it was handed to the engine, nanoseconds.
    pub at: u64,
    /// The next message with the same key.
    replaced_by: u64,
}

impl Entry {
    pub fn new(text: String, kind: Kind, key: usize, at: u64) -> Self {
        Self { text, kind, key, at, replaced_by: NEVER }
    }

    pub fn is_tombstone(&self) -> bool {
        self.kind == Kind::Tombstone
    }

    fn message(&self) -> Message {
        let payload = match self.kind {
            Kind::Json => format!("\"{}\"", self.text),
            _ => self.text.clone(),
        };
        let key = (self.key != KEYLESS).then(|| Key::parse(&format!("k{}", self.key)).expect("a valid key"));
        Message { kind: self.kind, key, payload: Bytes::from(payload) }
    }
}

/// The messages of a topic from its creation until it was forgotten.
#[derive(Debug, Default)]
pub struct Life {
    /// As the engine writes it. Empty until the engine was asked.
    pub epoch: String,
    /// Message 1 and on.
    entries: Vec<Entry>,
    by_text: HashMap<String, u64>,
    /// The last message of each key; 0 for none.
    newest: [u64; KEYS + 1],
    asked: bool,
}

impl Life {
    /// The last sequence number; 0 before the first message.
    pub fn head(&self) -> u64 {
        self.entries.len() as u64
    }

    #[track_caller]
    pub fn entry(&self, seq: u64) -> &Entry {
        assert!((1..=self.head()).contains(&seq), "there is no message {seq} of {}", self.head());
        &self.entries[seq as usize - 1]
    }

    /// The sequence number of the message that says this.
    pub fn seq_of(&self, text: &str) -> Option<u64> {
        self.by_text.get(text).copied()
    }

    /// Whether a message was the newest of its key when `head` was the last message.
    pub fn is_newest(&self, seq: u64, head: u64) -> bool {
        seq <= head && self.entry(seq).replaced_by > head
    }

    /// The last message of a key; 0 for none.
    pub fn newest_of(&self, key: usize) -> u64 {
        self.newest[key]
    }

    /// Which keys messages have, for those who look for what went wrong. `-` is a tombstone.
    pub fn describe(&self, from: u64, to: u64) -> String {
        let one = |seq| {
            let entry = self.entry(seq);
            format!("{seq}:{}k{}", if entry.is_tombstone() { "-" } else { "" }, entry.key)
        };
        (from.max(1)..=to.min(self.head())).map(one).collect::<Vec<_>>().join(" ")
    }

    fn push(&mut self, entry: Entry) {
        let seq = self.head() + 1;
        let before = std::mem::replace(&mut self.newest[entry.key], seq);
        if before > 0 {
            self.entries[before as usize - 1].replaced_by = seq;
        }
        if !entry.is_tombstone() {
            self.by_text.insert(entry.text.clone(), seq);
        }
        self.entries.push(entry);
    }
}

/// What the engine told, in the order in which it happened.
enum Told {
    Published { topic: &'static str, entry: Entry, result: Result<u64, PublishError> },
    Described { topic: &'static str, info: Option<TopicInfo> },
}

pub struct Ledger {
    topics: BTreeMap<&'static str, Vec<Life>>,
    /// Stands for a life in which nothing was published.
    nothing: Life,
    sender: Sender<Told>,
    told: Receiver<Told>,
    /// Messages that the engine refused, because of what their keys' values would take.
    pub refused: u64,
}

impl Default for Ledger {
    fn default() -> Self {
        let (sender, told) = channel();
        Self { topics: BTreeMap::new(), nothing: Life::default(), sender, told, refused: 0 }
    }
}

impl Ledger {
    /// Publishes from outside, unless the engine has no room for it just now.
    pub fn publish(&self, handle: &Handle, topic: &'static str, entry: Entry) {
        let sender = self.sender.clone();
        let message = entry.message();
        let ack = move |result| sender.send(Told::Published { topic, entry, result }).expect("it is heard");
        _ = handle.try_publish(&name_of(topic), message, Some(Box::new(ack)));
    }

    /// Takes note of what the engine told. False while it owes the epoch of a topic that has begun a new life.
    pub fn settle(&mut self, handle: &Handle) -> bool {
        while let Ok(told) = self.told.try_recv() {
            match told {
                Told::Published { topic, entry, result: Ok(seq) } => self.published(topic, seq, entry),
                Told::Published { result: Err(_), .. } => self.refused += 1,
                Told::Described { topic, info } => {
                    let info = info.expect("a topic with a new message is there");
                    let life = self.topics.get_mut(topic).and_then(|lives| lives.last_mut());
                    let life = life.expect("it was asked for because something was published");
                    assert_eq!(info.seq, life.head(), "{topic}: every message was acknowledged");
                    life.epoch = info.epoch.to_string();
                }
            }
        }
        let mut complete = true;
        for (topic, lives) in &mut self.topics {
            let Some(life) = lives.last_mut().filter(|life| life.epoch.is_empty()) else { continue };
            complete = false;
            if !life.asked {
                let (topic, sender) = (*topic, self.sender.clone());
                let reply = move |info| sender.send(Told::Described { topic, info }).expect("it is heard");
                life.asked = handle.try_describe(&name_of(topic), reply).is_ok();
            }
        }
        complete
    }

    fn published(&mut self, topic: &'static str, seq: u64, entry: Entry) {
        let lives = self.topics.entry(topic).or_default();
        if seq == 1 {
            lives.push(Life::default());
        }
        let life = lives.last_mut().expect("the first message of a topic has number 1");
        assert_eq!(seq, life.head() + 1, "{topic}: sequence numbers count messages");
        life.push(entry);
    }

    /// What was published in one life of a topic.
    pub fn life(&self, topic: &str, epoch: &str) -> &Life {
        let lives = self.topics.get(topic).into_iter().flatten();
        lives.into_iter().find(|life| life.epoch == epoch).unwrap_or(&self.nothing)
    }

    /// The last life of a topic in which something was published.
    pub fn present(&self, topic: &str) -> &Life {
        self.topics.get(topic).and_then(|lives| lives.last()).unwrap_or(&self.nothing)
    }

    /// How many lives topics have had beyond their first.
    pub fn rebirths(&self) -> usize {
        self.topics.values().map(|lives| lives.len() - 1).sum()
    }
}

fn name_of(topic: &str) -> TopicName {
    TopicName::parse(topic).expect("a valid name")
}
