//! Whole shards against the simulated kernel.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_core::{Config, Handle, Message, PublishError, Shard, ShardStats, Tap, plane};
use fanfare_io::Wake;
use fanfare_io::sim::{SimDriver, SimNet, SimOptions};
use fanfare_wire::Kind;
use fanfare_wire::subscribe::Start;
use fanfare_wire::topic::TopicName;

use crate::peer::Peer;

/// A small source of chance (splitmix64), so that a seed tells everything.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// Tests look for themselves.
#[derive(Debug)]
pub struct NoWake;

impl Wake for NoWake {
    fn wake(&self) {}
}

/// An engine without threads: the test turns its shards.
#[derive(Debug)]
pub struct Cluster {
    pub net: SimNet,
    pub handle: Handle,
    shards: Vec<Option<Shard<SimDriver>>>,
    chance: Chance,
}

/// More turns than any test needs until nothing is left to do.
const TURNS_MAX: usize = 1_000_000;

impl Cluster {
    pub fn new(seed: u64, config: Config, options: SimOptions) -> Self {
        let net = SimNet::new(seed, options);
        let drivers: Vec<SimDriver> = (0..config.shards).map(|_| net.driver()).collect();
        let wakers = drivers.iter().map(|driver| Arc::new(driver.waker()) as Arc<dyn Wake>).collect();
        let (handle, seats) = plane(config, wakers, seed).expect("the test's configuration works");
        let shards = seats.into_iter().zip(drivers).map(|(seat, driver)| Some(Shard::new(seat, driver)));
        Self { net, handle, shards: shards.collect(), chance: Chance::new(seed ^ 0x5A5A) }
    }

    /// A client that asked `shard` for `path`. Nothing has happened yet.
    pub fn connect(&self, shard: usize, path: &str) -> Peer {
        Peer::new(self.net.connect(shard), path, false)
    }

    /// As [`Self::connect`]; the client offers compression.
    pub fn connect_deflating(&self, shard: usize, path: &str) -> Peer {
        Peer::new(self.net.connect(shard), path, true)
    }

    /// As [`connect`](Self::connect), from this address.
    pub fn connect_from(&self, shard: usize, from: IpAddr, path: &str) -> Peer {
        Peer::new(self.net.connect_from(shard, from), path, false)
    }

    /// A number summed over the shards.
    pub fn sum(&self, number: impl Fn(&ShardStats) -> u64) -> u64 {
        self.handle.stats().iter().map(|stats| number(stats)).sum()
    }

    /// One turn of a random shard.
    pub fn turn(&mut self) {
        let index = self.chance.below(self.shards.len());
        self.turn_shard(index);
    }

    pub fn turn_shard(&mut self, index: usize) {
        if let Some(shard) = &mut self.shards[index]
            && !shard.turn().expect("a simulated driver does not break")
        {
            self.shards[index] = None;
        }
    }

    /// Publishes from outside; there must be room.
    pub fn publish(&self, topic: &str, text: &str) {
        assert!(self.try_publish(topic, text), "there is room");
    }

    /// Publishes from outside, if there is room.
    pub fn try_publish(&self, topic: &str, text: &str) -> bool {
        let name = TopicName::parse(topic).expect("a valid name");
        let message =
            Message { kind: Kind::Text, key: None, payload: Bytes::copy_from_slice(text.as_bytes()) };
        self.handle.try_publish(&name, message, None).is_ok()
    }

    /// Subscribes inside the process.
    pub fn tap(&mut self, topic: &str) -> Tap {
        let (sender, taps) = std::sync::mpsc::channel();
        let name = TopicName::parse(topic).expect("a valid name");
        let reply = move |tap: Result<Tap, PublishError>| sender.send(tap.expect("a tap")).expect("heard");
        self.handle.try_subscribe(&name, Start::Head, Arc::new(NoWake), reply).expect("there is room");
        self.settle(&mut []);
        taps.try_recv().expect("the home shard has answered")
    }

    /// A topic whose home is `shard`: finds one by publishing.
    pub fn topic_at(&mut self, shard: usize) -> String {
        for number in 0.. {
            let before = self.handle.stats()[shard].published.get();
            let topic = format!("topic-{number}");
            self.publish(&topic, "where?");
            self.settle(&mut []);
            if self.handle.stats()[shard].published.get() > before {
                return topic;
            }
        }
        unreachable!("some topic has its home there")
    }

    /// How many shards have not ended.
    pub fn running(&self) -> usize {
        self.shards.iter().flatten().count()
    }

    /// Turns all shards, and lets the peers read, until nothing happens any more without time passing.
    pub fn settle(&mut self, peers: &mut [Peer]) {
        let mut quiet = 0;
        for _ in 0..TURNS_MAX {
            (0..self.shards.len()).for_each(|index| self.turn_shard(index));
            let heard = peers.iter_mut().map(Peer::read).fold(false, |any, heard| any | heard);
            quiet = if heard || !self.net.is_idle() { 0 } else { quiet + 1 };
            // Shards that stay quiet for a few turns have told each other everything.
            if quiet > 3 || self.running() == 0 {
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }

    /// Lets time pass, with turns in between.
    pub fn pass_ms(&mut self, ms: u64, peers: &mut [Peer]) {
        let until = self.net.now() + ms * 1_000_000;
        while self.net.now() < until && self.running() > 0 {
            self.settle(peers);
            let next = self.net.next_wait().unwrap_or(until).clamp(self.net.now() + 1, until);
            self.net.advance_to(next);
        }
        self.settle(peers);
    }
}
