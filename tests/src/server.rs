//! An engine on real sockets, inside the test's process.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use fanfare::{Config, Engine, EngineBuilder, Message, ShardStats, TopicName};

use crate::raw::Raw;

/// How long anything may take before a test fails: far longer than it takes on a slow machine.
pub const SOON: Duration = Duration::from_secs(30);

/// The shards of a test's engine.
pub const SHARDS: usize = 2;

/// Waits until `condition` holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_micros(500));
    }
}

/// Limits of a size for tests.
pub fn limits() -> Config {
    Config { connections_max: 2048, ..Config::default() }
}

pub fn topic(name: &str) -> TopicName {
    TopicName::parse(name).expect("a valid name")
}

/// A running engine of two shards at a port of its own.
#[derive(Debug)]
pub struct Server {
    pub engine: Engine,
}

impl Default for Server {
    fn default() -> Self {
        Self::new(limits())
    }
}

impl Server {
    pub fn new(config: Config) -> Self {
        Self::build(Self::builder(config))
    }

    /// A builder with all that tests want, to be changed further.
    pub fn builder(config: Config) -> EngineBuilder {
        // Many engines run at the same time here: the kernel shares out the cores better than pinning would.
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        Engine::builder().listen(addr).shards(SHARDS).pin(false).receive_buffers(256, 4096).config(config)
    }

    pub fn build(builder: EngineBuilder) -> Self {
        Self { engine: builder.start().expect("the engine starts") }
    }

    pub fn addr(&self) -> SocketAddr {
        self.engine.addr()
    }

    pub fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.addr())
    }

    /// A client that is upgraded at `path`, on whichever shard the kernel chose.
    pub fn connect(&self, path: &str) -> Raw {
        Raw::connect(self.addr(), path)
    }

    /// A client without a request, on the shard of the caller's choice. No one else may connect meanwhile.
    pub fn tcp_on(&self, shard: usize) -> Raw {
        let accepted = || self.engine.stats()[shard].accepted.get();
        loop {
            let (before, total) = (accepted(), self.sum(|stats| stats.accepted.get()));
            let raw = Raw::tcp(self.addr());
            eventually("an accept", || self.sum(|stats| stats.accepted.get()) > total);
            if accepted() > before {
                return raw;
            }
        }
    }

    /// A client that is upgraded at `path`, on the shard of the caller's choice. No one else may connect meanwhile.
    pub fn connect_on(&self, shard: usize, path: &str) -> Raw {
        let mut raw = self.tcp_on(shard);
        raw.upgrade(path);
        raw
    }

    pub fn publish(&self, name: &str, message: impl Into<Message>) {
        self.engine.publish(&topic(name), message).expect("published");
    }

    /// A topic whose home is `shard`. Nothing was published to it yet. No one else may publish meanwhile.
    pub fn topic_at(&self, shard: usize, prefix: &str) -> String {
        for number in 0.. {
            let name = format!("{prefix}-{number}");
            let topics = || self.engine.stats()[shard].topics.get();
            let before = topics();
            // A subscription makes the topic, and its home counts it before it takes anything else.
            let _kept = self.engine.subscribe(&topic(&name)).expect("subscribed");
            _ = self.engine.subscribe(&topic(&name)).expect("subscribed");
            if topics() > before {
                return name;
            }
        }
        unreachable!("some topic has its home there")
    }

    /// A number summed over the shards.
    pub fn sum(&self, number: impl Fn(&ShardStats) -> u64) -> u64 {
        self.engine.stats().iter().map(|stats| number(stats)).sum()
    }

    pub fn connections(&self) -> u64 {
        self.sum(|stats| stats.connections.get())
    }

    /// Waits until there are exactly so many connections.
    pub fn wait_for_connections(&self, count: u64) {
        eventually(&format!("{count} connections"), || self.connections() == count);
    }

    /// Waits until all connections, and all that they held, are gone. To be called when all clients have left.
    pub fn assert_empty(&self) {
        self.wait_for_connections(0);
        assert_eq!(self.sum(|stats| stats.subscriptions.get()), 0, "subscriptions without a connection");
    }
}
