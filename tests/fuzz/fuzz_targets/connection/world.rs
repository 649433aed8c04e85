//! The engine, the rogues, and those who must not notice.

use bytes::Bytes;
use fanfare_core::{Config, Message, StatKind, Tap, TapEvent};
use fanfare_io::sim::{Faults, SimOptions};
use fanfare_wire::Kind;
use fanfare_wire::frame;
use fanfare_wire::key::Key;
use fanfare_wire::topic::TopicName;

use crate::cluster::Cluster;
use crate::peer::Peer;
use crate::rogue::Rogue;
use crate::script::{Act, Setting};

/// The witnesses' topics.
const TOPICS: [&str; 2] = ["a", "b"];
const RAW: usize = 0;
const STREAM: usize = 1;
const ROGUES: usize = 8;
/// Less than the rogues, so that some have to wait.
const CONNECTIONS_MAX: usize = 7;
const KEY: [u8; 4] = [0x11, 0, 0xFF, 0x80];
/// More than a connection's whole life takes when its peer does nothing.
const LIFE_MS: u64 = 1200;
/// More than a topic that nobody uses lives.
const TOPIC_LIFE_MS: u64 = 1200;

pub(crate) struct World {
    cluster: Cluster,
    shards: usize,
    rogues: [Option<Rogue>; ROGUES],
    /// A raw subscriber of the first topic, and one on `/stream` with both.
    witnesses: Vec<Peer>,
    /// What was sequenced in each topic, as a subscription inside the process has it: text or not, and the payload.
    order: [Vec<(bool, Bytes)>; 2],
    taps: Vec<Tap>,
    /// How many messages of each witness were looked at.
    looked_at: [usize; 2],
    /// The next sequence number of each topic on `/stream`.
    next_seq: [u64; 2],
    /// The counters of each shard when they were looked at last.
    counters: Vec<Vec<u64>>,
    /// How long the shutdown may take, once it was asked for.
    shutdown: Option<u64>,
    calm: bool,
}

fn config(shards: usize) -> Config {
    Config {
        shards,
        // Small, so that every limit is met.
        topics_max: 6,
        subscriptions_max: 3,
        head_bytes_max: 1024,
        headers_max: 16,
        frame_bytes_max: 4096,
        message_bytes_max: 4096,
        outbox_bytes_max: 1024,
        log_bytes_max: 256 << 10,
        log_total_bytes_max: 1 << 20,
        segment_bytes_max: 4096,
        // Much for a witness, who reads after every act.
        lag_bytes_max: 96 << 10,
        lag_messages_max: 1000,
        keys_max: 3,
        values_bytes_max: 16 << 10,
        log_age_ms: 300,
        topic_idle_ms: 200,
        inbox_commands_max: 16,
        inbox_bytes_max: 8192,
        presence_interval_ms: 100,
        fan_out_slice: 3,
        send_slice: 4,
        handshake_timeout_ms: 300,
        ping_interval_ms: 200,
        idle_timeout_ms: 500,
        close_timeout_ms: 200,
        ..Config::default()
    }
}

impl World {
    pub(crate) fn new(setting: Setting) -> Self {
        let Setting { shards, faults, window_bytes, seed } = setting;
        let options = SimOptions {
            connections_max: CONNECTIONS_MAX,
            buffer_count: 8,
            buffer_bytes: 1024,
            window_bytes,
            ..SimOptions::calm()
        };
        let mut cluster = Cluster::new(u64::from(seed), config(shards), options);
        let taps = TOPICS.iter().map(|topic| cluster.tap(topic)).collect();
        let witness = |path| {
            let peer = cluster.connect(0, path);
            peer.link.set_window(1 << 16);
            peer
        };
        let witnesses = vec![witness("/ws/a"), witness("/stream?topics=a,b")];
        let mut world = Self {
            cluster,
            shards,
            rogues: [const { None }; ROGUES],
            witnesses,
            order: [Vec::new(), Vec::new()],
            taps,
            looked_at: [0; 2],
            next_seq: [1; 2],
            counters: Vec::new(),
            shutdown: None,
            calm: !faults,
        };
        world.rest();
        // Only now, since one of the faults is that nobody is accepted for a while.
        if faults {
            world.cluster.net.set_faults(Faults::MODERATE);
        }
        world
    }

    pub(crate) fn act(&mut self, act: Act<'_>) {
        match act {
            Act::Connect { peer, shard } => {
                if self.cluster.running() == self.shards {
                    let link = self.cluster.net.connect(shard % self.shards);
                    self.rogues[peer] = Some(Rogue::new(link));
                }
            }
            Act::Bytes { peer, cut, bytes } => self.send(peer, cut, bytes),
            Act::Request { peer, path, cut } => {
                let request = format!(
                    "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                );
                self.send(peer, cut, request.as_bytes());
            }
            Act::Frame { peer, first, cut, payload } => self.send(peer, cut, &masked(first, payload)),
            Act::Filler { peer, first, len } => self.send(peer, 0, &masked(first, &vec![b'x'; len])),
            Act::Text { peer, text } => self.send(peer, 0, &masked(0x81, text.as_bytes())),
            Act::Finish { peer } => self.with(peer, Rogue::finish),
            Act::Reset { peer } => self.with(peer, Rogue::reset),
            Act::Leave { peer } => self.rogues[peer] = None,
            Act::Stall { peer } => self.with(peer, |rogue| rogue.stalled ^= true),
            Act::Sip { peer, bytes } => self.with(peer, |rogue| _ = rogue.read(bytes)),
            Act::Answer { peer } => self.with(peer, Rogue::answer),
            Act::Window { peer, bytes } => self.with(peer, |rogue| rogue.set_window(bytes)),
            Act::Pass { ms } => self.pass(ms),
            Act::Publish { what, len } => self.publish(what, len),
            Act::Turn { count } => (0..count).for_each(|_| self.cluster.turn()),
            Act::Rest => self.rest(),
            Act::Shutdown { grace_ms } => {
                if self.shutdown.is_none() {
                    self.shutdown = Some(grace_ms);
                    self.cluster.handle.shutdown(grace_ms);
                }
            }
        }
        if !matches!(act, Act::Turn { .. }) {
            self.step();
        }
    }

    fn with(&mut self, peer: usize, act: impl FnOnce(&mut Rogue)) {
        if let Some(rogue) = &mut self.rogues[peer] {
            act(rogue);
        }
    }

    fn send(&mut self, peer: usize, cut: usize, bytes: &[u8]) {
        let (first, second) = bytes.split_at(cut.min(bytes.len()));
        self.with(peer, |rogue| rogue.write(first));
        if cut > 0 {
            self.step();
        }
        self.with(peer, |rogue| rogue.write(second));
    }

    fn publish(&mut self, what: u8, len: usize) {
        let topic = TopicName::parse(["a", "b", "b", "z"][usize::from(what & 3)]).expect("a name");
        let key =
            ["k", "l", "m", "n"].get(usize::from(what >> 2 & 7)).map(|key| Key::parse(key).expect("a key"));
        let (kind, payload) = match what >> 5 {
            0 => (Kind::Binary, vec![what; len]),
            1 if key.is_some() => (Kind::Tombstone, Vec::new()),
            2 => (Kind::Json, len.to_string().into_bytes()),
            3 => (Kind::Text, vec![b'y'; len * 20]),
            _ => (Kind::Text, vec![b'z'; len]),
        };
        // Refused when a mailbox is full, or when the engine shuts down.
        _ = self.cluster.handle.try_publish(&topic, Message { kind, key, payload: payload.into() }, None);
    }

    /// All shards turn twice, and who reads reads.
    fn step(&mut self) {
        for _ in 0..2 {
            (0..self.shards).for_each(|shard| self.cluster.turn_shard(shard));
            self.witnesses.iter_mut().for_each(|witness| _ = witness.read());
            self.read_rogues();
        }
        self.look();
    }

    fn read_rogues(&mut self) -> bool {
        let reading = self.rogues.iter_mut().flatten().filter(|rogue| !rogue.stalled);
        reading.fold(false, |any, rogue| rogue.read(usize::MAX) | any)
    }

    fn rest(&mut self) {
        loop {
            self.cluster.settle(&mut self.witnesses);
            if !self.read_rogues() {
                break;
            }
        }
        self.look();
        self.check();
    }

    fn pass(&mut self, ms: u64) {
        // Rogues that read must not come to look as if they stalled, and taps must not miss what passes its age.
        for _ in 0..ms.div_ceil(100) {
            self.cluster.pass_ms(ms.min(100), &mut self.witnesses);
            self.read_rogues();
            self.look();
        }
        self.rest();
    }

    /// Notes what was sequenced, and holds what the witnesses got against it.
    fn look(&mut self) {
        for (tap, order) in self.taps.iter_mut().zip(&mut self.order) {
            loop {
                match tap.poll() {
                    Some(TapEvent::Message { seq, kind, payload }) => {
                        order.push((kind == Kind::Text, payload));
                        assert_eq!(seq, order.len() as u64, "sequence numbers count");
                    }
                    Some(TapEvent::Closed) | None => break,
                    Some(TapEvent::Gap { from, to }) => panic!("{from} to {to} are lost"),
                }
            }
        }
        let raw = &self.witnesses[RAW].messages;
        for message in &raw[self.looked_at[RAW]..] {
            let (text, payload) = &self.order[0][self.looked_at[RAW]];
            assert!(message.text == *text && message.payload == *payload, "the raw witness got {message:?}");
            self.looked_at[RAW] += 1;
        }
        for message in &self.witnesses[STREAM].messages[self.looked_at[STREAM]..] {
            self.looked_at[STREAM] += 1;
            let message: serde_json::Value = serde_json::from_str(message.as_str()).expect("JSON");
            if message.get("op").is_some() {
                assert_eq!(
                    (&message["op"], &message["ok"]),
                    (&"subscribe".into(), &true.into()),
                    "{message}"
                );
                continue;
            }
            let topic = TOPICS.iter().position(|topic| message["topic"] == *topic).expect("its topic");
            assert_eq!(message["seq"], self.next_seq[topic], "{message}");
            self.next_seq[topic] += 1;
        }
    }

    /// What must be true when nothing happens any more.
    fn check(&mut self) {
        let stats = self.cluster.handle.stats();
        for (shard, stats) in stats.iter().enumerate() {
            assert_eq!(
                stats.connections.get(),
                self.cluster.net.connections(shard) as u64,
                "connections are counted"
            );
            assert!(stats.upgraded.get() + stats.rejected.get() <= stats.accepted.get(), "one answer each");
            assert_eq!(self.cluster.net.buffers_held(shard), 0, "receive buffers are given back");
            let views: Vec<_> = stats.each().collect();
            if self.counters.len() <= shard {
                self.counters.push(vec![0; views.len()]);
            }
            for (view, before) in views.iter().zip(&mut self.counters[shard]) {
                assert!(view.kind == StatKind::Gauge || view.value >= *before, "{} went down", view.name);
                assert!(view.value < 1 << 40, "{} is {}", view.name, view.value);
                *before = view.value;
            }
        }
        assert!(self.cluster.handle.log_total_bytes() <= self.cluster.handle.config().log_total_bytes_max);
        assert!(self.cluster.handle.topic_count() <= self.cluster.handle.config().topics_max);
        if self.shutdown.is_none() {
            assert!(self.witnesses.iter().all(Peer::is_open), "a witness was closed: {:?}", self.witnesses);
            self.check_complete();
        }
    }

    /// The witnesses have everything that was sequenced.
    fn check_complete(&self) {
        assert_eq!(self.looked_at[RAW], self.order[0].len(), "the raw witness has everything");
        for (next, order) in self.next_seq.iter().zip(&self.order) {
            assert_eq!(*next, order.len() as u64 + 1, "the witness on /stream has everything");
        }
    }

    /// Everybody leaves, one way or another; nothing may be left.
    pub(crate) fn end(mut self) {
        self.cluster.net.set_faults(Faults::NONE);
        if let Some(grace_ms) = self.shutdown {
            self.pass(grace_ms + 1500);
            return self.check_end(grace_ms);
        }
        self.pass(LIFE_MS);
        if !self.rogues.iter().flatten().all(Rogue::is_closed) {
            // Who waited for a place had it when those before it were closed.
            self.pass(LIFE_MS);
        }
        assert!(self.rogues.iter().flatten().all(Rogue::is_closed), "a peer that says nothing is closed");
        self.witnesses.iter_mut().for_each(|witness| witness.close(1000));
        self.taps.clear();
        self.shutdown = Some(0);
        self.remove_values();
        self.pass(TOPIC_LIFE_MS);
        let mut values = 0;
        for (shard, stats) in self.cluster.handle.stats().iter().enumerate() {
            assert_eq!((stats.connections.get(), stats.subscriptions.get()), (0, 0), "nobody is left");
            assert_eq!(self.cluster.net.connections(shard), 0);
            assert!(stats.topics.get() <= stats.values.get(), "a topic without a value is forgotten");
            values += stats.values.get();
        }
        if values == 0 {
            assert_eq!((self.cluster.handle.topic_count(), self.cluster.handle.log_total_bytes()), (0, 0));
        }
        self.cluster.handle.shutdown(0);
        self.pass(1500);
        assert_eq!(self.cluster.running(), 0, "the shutdown ends");
    }

    /// Removes the values of all keys that scripts usually have. A topic with a value stays for ever.
    fn remove_values(&mut self) {
        for topic in ["a", "b", "c", "z"].map(|name| TopicName::parse(name).expect("a name")) {
            for key in ["k", "l", "m", "n", "q"].map(|key| Key::parse(key).expect("a key")) {
                let message = Message { kind: Kind::Tombstone, key: Some(key), payload: Bytes::new() };
                self.cluster.handle.try_publish(&topic, message, None).expect("nothing else goes on");
            }
            self.rest();
        }
    }

    fn check_end(&self, grace_ms: u64) {
        assert_eq!(self.cluster.running(), 0, "the shutdown ends");
        for (shard, stats) in self.cluster.handle.stats().iter().enumerate() {
            assert_eq!((stats.connections.get(), stats.subscriptions.get()), (0, 0), "nobody is left");
            assert_eq!(self.cluster.net.buffers_held(shard), 0);
        }
        if self.calm && grace_ms >= 2000 {
            self.check_complete();
            assert!(
                self.witnesses.iter().all(|witness| witness.closed == Some(1001)),
                "{:?}",
                self.witnesses
            );
        }
    }
}

/// A masked frame with this first byte, whatever it says.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame::write(&mut frame, frame::Opcode::Binary, true, payload, Some(KEY));
    frame[0] = first;
    frame
}
