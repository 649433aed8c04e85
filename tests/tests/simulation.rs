//! Whole shards against the simulated kernel with seeded faults: nobody sees a loss, a duplicate or a reorder.
//!
//! `FANFARE_SIM_SEEDS=1000` runs more seeds, `FANFARE_SIM_SEED=42` just one.

use std::collections::BTreeMap;

use bytes::Bytes;
use fanfare_core::{Config, Message, Tap, TapEvent};
use fanfare_io::sim::{Faults, SimOptions};
use fanfare_tests::cluster::{Chance, Cluster};
use fanfare_tests::peer::{Peer, Received};
use fanfare_tests::seeds::run_seeds;
use fanfare_wire::Kind;
use fanfare_wire::deflate::Compressor;
use fanfare_wire::frame::Opcode;
use fanfare_wire::topic::TopicName;

const TOPICS: [&str; 3] = ["alpha", "beta", "gamma"];

/// What a client is there for, and what it has done.
struct Client {
    role: Role,
    /// Messages it has published, by topic.
    published: BTreeMap<&'static str, usize>,
    number: usize,
    /// It left by itself.
    left: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// `/ws/{topic}`: publishes and gets everything.
    Raw(&'static str),
    /// `/pub/{topic}`.
    Publisher(&'static str),
    /// `/stream` with all topics.
    Stream,
}

impl Role {
    fn path(self) -> String {
        match self {
            Self::Raw(topic) => format!("/ws/{topic}"),
            Self::Publisher(topic) => format!("/pub/{topic}"),
            Self::Stream => format!("/stream?topics={}", TOPICS.join(",")),
        }
    }
}

struct World {
    cluster: Cluster,
    chance: Chance,
    peers: Vec<Peer>,
    clients: Vec<Client>,
    /// Messages published from outside, by topic.
    outside: BTreeMap<&'static str, usize>,
    taps: Vec<(&'static str, Tap)>,
    /// What was sequenced, by topic.
    order: Order,
    compressor: Compressor,
    /// A drain was asked for: nobody can join any more.
    draining: bool,
}

type Order = BTreeMap<&'static str, Vec<String>>;

impl World {
    fn new(seed: u64) -> Self {
        let config = Config {
            shards: 1 + (seed % 3) as usize,
            // More than there ever are, and fewer than come in all: whoever goes has to be counted out.
            connections_max: 40,
            connections_per_address_max: 40,
            handshakes_max: 32,
            // Small, so that every limit is met.
            log_bytes_max: 128 << 10,
            segment_bytes_max: 4 << 10,
            lag_bytes_max: 16 << 10,
            lag_messages_max: 500,
            inbox_commands_max: 16,
            inbox_bytes_max: 4096,
            message_bytes_max: 4096,
            outbox_bytes_max: 1024,
            deflate_bytes_min: 16,
            fan_out_slice: 3,
            send_slice: 4,
            ..Config::default()
        };
        let options = SimOptions { connections_max: 64, window_bytes: 2048, ..SimOptions::default() };
        let mut world = Self {
            cluster: Cluster::new(seed, config, options),
            chance: Chance::new(seed),
            peers: Vec::new(),
            clients: Vec::new(),
            outside: BTreeMap::new(),
            taps: Vec::new(),
            order: Order::new(),
            compressor: Compressor::new(1, 15),
            draining: false,
        };
        // A witness of everything, from the first message to the last.
        world.taps = TOPICS.iter().map(|topic| (*topic, world.cluster.tap(topic))).collect();
        world.join(Role::Stream);
        world
    }

    /// Notes what was sequenced.
    fn look(&mut self) {
        for (topic, tap) in &mut self.taps {
            let order = self.order.entry(topic).or_default();
            while let Some(event) = tap.poll() {
                let TapEvent::Message { seq, payload, .. } = event else {
                    panic!("the witness missed {event:?}")
                };
                order.push(plain(&payload));
                assert_eq!(seq, order.len() as u64, "every sequence number comes once, in order");
            }
        }
    }

    fn join(&mut self, role: Role) {
        let shard = self.chance.below(self.cluster.handle.shards());
        let peer = match self.chance.one_in(2) {
            true => self.cluster.connect_deflating(shard, &role.path()),
            false => self.cluster.connect(shard, &role.path()),
        };
        self.peers.push(peer);
        let number = self.clients.len();
        self.clients.push(Client { role, published: BTreeMap::new(), number, left: false });
    }

    fn act(&mut self) {
        let present: Vec<usize> =
            (0..self.peers.len()).filter(|pick| !self.peers[*pick].link.is_closed()).collect();
        let pick = present.get(self.chance.below(present.len().max(1))).copied().unwrap_or(0);
        match self.chance.below(24) {
            0 if present.len() < 24 && !self.draining => {
                let topic = TOPICS[self.chance.below(TOPICS.len())];
                let role = match self.chance.below(4) {
                    0 => Role::Publisher(topic),
                    1 => Role::Stream,
                    _ => Role::Raw(topic),
                };
                self.join(role);
            }
            1 if self.chance.one_in(4) => {
                self.peers[pick].stalled ^= true;
            }
            2 if self.chance.one_in(8) => {
                self.clients[pick].left = true;
                match self.chance.below(3) {
                    0 => self.peers[pick].reset(),
                    1 => self.peers[pick].finish(),
                    _ => self.peers[pick].close(1000),
                }
            }
            3 => self.publish_outside(),
            4..7 => self.publish(pick),
            // More than a mailbox holds.
            7 if self.chance.one_in(8) => (0..40).for_each(|_| self.publish(pick)),
            8..12 => {
                let max = 1 + self.chance.below(3000);
                if !self.peers[pick].stalled {
                    self.peers[pick].take(max);
                }
            }
            _ => self.cluster.turn(),
        }
        if self.draining {
            self.cluster.net.advance(1_000_000);
        }
    }

    /// From here on the connections are sent away, one after the other.
    fn drain(&mut self, spread_ms: u64) {
        self.draining = true;
        self.cluster.handle.drain(spread_ms);
    }

    fn publish_outside(&mut self) {
        let topic = TOPICS[self.chance.below(TOPICS.len())];
        let count = self.outside.entry(topic).or_default();
        let payload = Bytes::from(payload(topic, usize::MAX, *count));
        let name = TopicName::parse(topic).expect("a valid name");
        if self
            .cluster
            .handle
            .try_publish(&name, Message { kind: Kind::Text, key: None, payload }, None)
            .is_ok()
        {
            *count += 1;
        }
    }

    fn publish(&mut self, pick: usize) {
        let client = &mut self.clients[pick];
        if !self.peers[pick].is_open() || client.left {
            return;
        }
        let topic = match client.role {
            Role::Raw(topic) | Role::Publisher(topic) => topic,
            Role::Stream => TOPICS[self.chance.below(TOPICS.len())],
        };
        let count = client.published.entry(topic).or_default();
        let text = payload(topic, client.number, *count);
        *count += 1;
        match client.role {
            Role::Stream => self.peers[pick].send_text(&format!(
                r#"{{"op":"publish","args":{{"topic":"{topic}","data":"{text}"}},"id":{count}}}"#
            )),
            _ => self.peers[pick].send_compressed(&mut self.compressor, Opcode::Text, text.as_bytes()),
        }
    }

    /// Everybody who is still there reads; the network behaves.
    fn heal(&mut self) {
        self.cluster.net.set_faults(Faults::NONE);
        self.peers.iter_mut().for_each(|peer| peer.stalled = false);
        self.cluster.pass_ms(1_000, &mut self.peers);
    }
}

/// A message that says who published it and which of its messages it is; the length varies.
fn payload(topic: &str, publisher: usize, count: usize) -> String {
    let filler = (count * 37 + publisher % 1000 * 11) % 600;
    format!("{topic}/{publisher}/{count}/{}", "x".repeat(filler))
}

/// A raw payload as text. What a `/stream` client published is a JSON string to raw subscribers.
fn plain(payload: &[u8]) -> String {
    std::str::from_utf8(payload).expect("text").trim_matches('"').to_owned()
}

/// Who published a message, and which of its messages it is.
fn origin(payload: &str) -> (usize, usize) {
    let mut parts = payload.split('/').skip(1).map(|part| part.parse().expect("a number"));
    (parts.next().expect("a publisher"), parts.next().expect("a count"))
}

/// The data messages of a `/stream` client: topic, sequence number, payload.
fn stream_data(messages: &[Received]) -> Vec<(String, u64, String)> {
    let data = messages.iter().filter_map(|message| {
        let json: serde_json::Value = serde_json::from_str(message.as_str()).expect("JSON");
        let topic = json.get("topic").filter(|_| json.get("op").is_none())?;
        let text = |value: &serde_json::Value| value.as_str().expect("a string").to_owned();
        Some((text(topic), json["seq"].as_u64().expect("a number"), text(&json["data"])))
    });
    data.collect()
}

fn check(world: &World) {
    for (topic, messages) in &world.order {
        let mut next: BTreeMap<usize, usize> = BTreeMap::new();
        for message in messages {
            let (publisher, count) = origin(message);
            let expected = next.entry(publisher).or_default();
            assert_eq!(count, *expected, "{topic}: publisher {publisher}'s messages keep their order");
            *expected += 1;
        }
        // Who stays connected loses nothing it has published.
        for (client, peer) in world.clients.iter().zip(&world.peers) {
            if peer.is_open() && !client.left {
                let sent = client.published.get(topic).copied().unwrap_or(0);
                let arrived = next.get(&client.number).copied().unwrap_or(0);
                assert_eq!(arrived, sent, "{topic}: all messages of client {} are sequenced", client.number);
            }
        }
        let outside = world.outside.get(topic).copied().unwrap_or(0);
        assert_eq!(next.get(&usize::MAX).copied().unwrap_or(0), outside, "{topic}: messages from outside");
    }
    for (client, peer) in world.clients.iter().zip(&world.peers) {
        check_subscriber(client, peer, &world.order, world.draining);
    }
}

fn check_subscriber(client: &Client, peer: &Peer, order: &Order, drained: bool) {
    let number = client.number;
    let refused = peer.status == Some(503) && drained;
    assert!(refused || matches!(peer.status, Some(101) | None), "client {number}: {:?}", peer.status);
    let expected = |code| client.left || code == 4008 || (code == 1012 && drained);
    assert!(peer.closed.is_none_or(expected), "client {number}: {:?}", peer.closed);
    let mut seen: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let data: Vec<(String, u64, String)> = match client.role {
        Role::Publisher(_) => {
            assert!(peer.messages.is_empty(), "nothing comes back to a publisher");
            return;
        }
        Role::Raw(topic) => {
            peer.messages.iter().map(|message| (topic.to_owned(), 0, plain(&message.payload))).collect()
        }
        Role::Stream => stream_data(&peer.messages),
    };
    for (topic, seq, payload) in &data {
        assert!(
            *seq == 0 || order[topic.as_str()][*seq as usize - 1] == *payload,
            "a sequence number names one message"
        );
        seen.entry(topic).or_default().push(payload);
    }
    for (topic, messages) in seen {
        let Some(first) = messages.first() else { continue };
        let all = &order[topic];
        let start = all.iter().position(|message| message == first).expect("it was published");
        assert!(start + messages.len() <= all.len(), "client {number}: duplicates in {topic}");
        assert_eq!(messages, all[start..start + messages.len()], "client {number}: {topic} has no hole");
        if peer.is_open() && !client.left {
            assert_eq!(start + messages.len(), all.len(), "client {number}: {topic} is complete");
        }
    }
}

/// How often the interesting things happened: a simulation in which they do not proves nothing.
#[derive(Debug, Default)]
struct Coverage {
    delivered: u64,
    sends_short: u64,
    slow_disconnects: u64,
    inbox_refusals: u64,
    broken: u64,
    receive_buffers_exhausted: u64,
    drained: u64,
}

fn run(seed: u64, coverage: &mut Coverage) {
    let mut world = World::new(seed);
    // Some are sent away in the middle of it, before a restart.
    let drains_at = (seed % 4 == 2).then_some(4500);
    for act in 0..6000 {
        if drains_at == Some(act) {
            world.drain(1_000);
        }
        world.act();
        world.look();
    }
    world.heal();
    world.look();
    check(&world);
    world.cluster.handle.shutdown(5_000);
    world.cluster.pass_ms(8_000, &mut world.peers);
    assert_eq!(world.cluster.running(), 0, "the shutdown ends");
    for shard in 0..world.cluster.handle.shards() {
        assert_eq!(world.cluster.net.buffers_held(shard), 0, "no receive buffer is kept");
        let stats = &world.cluster.handle.stats()[shard];
        assert_eq!((stats.connections.get(), stats.subscriptions.get()), (0, 0), "nothing leaks");
        coverage.delivered += stats.delivered.get();
        coverage.sends_short += stats.sends_short.get();
        coverage.slow_disconnects += stats.slow_disconnects.get();
        coverage.inbox_refusals += stats.inbox_refusals.get();
        coverage.broken += stats.broken.get();
        coverage.receive_buffers_exhausted += stats.receive_buffers_exhausted.get();
        coverage.drained += stats.drained.get();
    }
}

#[test]
fn no_subscriber_sees_a_loss_a_duplicate_or_a_reorder() {
    let mut coverage = Coverage::default();
    let seeds = run_seeds("simulation", |seed| run(seed, &mut coverage));
    println!("{} seeds: {coverage:?}", seeds.unwrap_or(1));
    let Some(seeds) = seeds else { return };
    let Coverage {
        delivered,
        sends_short,
        slow_disconnects,
        inbox_refusals,
        broken,
        receive_buffers_exhausted,
        drained,
    } = coverage;
    let seldom = [sends_short, slow_disconnects, inbox_refusals, broken, receive_buffers_exhausted, drained];
    assert!(delivered > 1000 * seeds, "messages flow: {delivered}");
    assert!(seeds < 100 || seldom.iter().all(|count| *count > seeds / 10), "every fault is met: {seldom:?}");
}
