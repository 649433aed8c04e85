//! What a shard counts. Written by the shard alone, read by anybody at any time.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread writes and all threads read.
#[derive(Debug, Default)]
pub struct Stat(AtomicU64);

impl Stat {
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A load and a store: cheaper than an atomic addition, and right because only the shard writes.
    pub(crate) fn add(&self, count: u64) {
        self.0.store(self.get().wrapping_add(count), Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, count: u64) {
        self.0.store(self.get().wrapping_sub(count), Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

macro_rules! shard_stats {
    ($($kind:ident $name:ident: $help:literal,)*) => {
        /// Counters and gauges of one shard.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct ShardStats {
            $(#[doc = $help] pub $name: Stat,)*
        }

        impl ShardStats {
            /// Every number with its name, meaning and kind, in a fixed order.
            pub fn each(&self) -> impl Iterator<Item = StatView> + '_ {
                [$(StatView { name: stringify!($name), help: $help, kind: StatKind::$kind, value: self.$name.get() },)*]
                    .into_iter()
            }
        }
    };
}

/// How a number behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One number of a shard, for those who export it.
#[derive(Clone, Copy, Debug)]
pub struct StatView {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: StatKind,
    pub value: u64,
}

shard_stats! {
    Gauge connections: "Open connections, handshakes included.",
    Counter accepted: "Connections accepted.",
    Counter accept_stopped: "Times that accepting stopped because all connections were in use, or for a lack of memory.",
    Counter upgraded: "Handshakes completed.",
    Counter rejected: "Requests answered with an HTTP error.",
    Counter handshake_timeouts: "Connections that did not complete a handshake in time.",
    Gauge subscriptions: "Subscriptions of connections to topics.",
    Gauge topics: "Topics whose home is this shard.",
    Counter published: "Messages sequenced by this shard.",
    Counter published_bytes: "Payload bytes of messages sequenced by this shard.",
    Counter publish_refused: "Messages refused because they would need one topic too many.",
    Counter delivered: "Messages handed to the kernel for a subscriber.",
    Counter sent_bytes: "Bytes handed to the kernel.",
    Counter sends: "Sends submitted.",
    Counter sends_short: "Sends that a full socket did not take whole.",
    Counter received_bytes: "Bytes received.",
    Counter receive_buffers_exhausted: "Times that receiving stopped because all receive buffers were in use.",
    Counter slow_disconnects: "Subscribers closed with 4008 because they fell too far behind.",
    Counter idle_disconnects: "Peers closed with 4000 because they answered no ping.",
    Counter protocol_errors: "Connections closed because the peer broke the protocol.",
    Counter broken: "Connections that ended without a closing handshake.",
    Counter inbox_refusals: "Commands that had to wait because another shard's inbox was full.",
    Counter turns: "Turns of the shard's loop.",
}
