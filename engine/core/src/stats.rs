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

/// The bounds of a histogram's buckets are 1, 2, 4 and so on up to 2 to the power of this, and one for all above.
const BUCKETS: usize = 24;

/// How often a number was how large. Written by one thread, read by all.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Stat; BUCKETS + 2],
    sum: Stat,
}

impl Histogram {
    pub(crate) fn observe(&self, value: u64) {
        let bucket = (value.max(1) - 1).checked_ilog2().map_or(0, |power| power as usize + 1);
        self.buckets[bucket.min(BUCKETS + 1)].add(1);
        self.sum.add(value);
    }

    /// The upper bound of each bucket, which it includes, and how many observations fell into it; the last bound is
    /// `u64::MAX`.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let bound = |index: usize| if index > BUCKETS { u64::MAX } else { 1 << index };
        self.buckets.iter().enumerate().map(move |(index, count)| (bound(index), count.get()))
    }

    /// How many observations there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(Stat::get).sum()
    }

    /// All of them added up.
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }
}

macro_rules! shard_stats {
    ($($kind:ident $name:ident: $help:literal,)*) => {
        /// Counters and gauges of one shard.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct ShardStats {
            $(#[doc = $help] pub $name: Stat,)*
            /// How many messages behind its head a subscriber was when messages were handed to the kernel for it; 1 for
            /// one that had all but the newest.
            pub lag_messages: Histogram,
            /// From the moment that a moved head was looked at until the last subscriber behind it was sent to, in
            /// microseconds.
            pub spread_us: Histogram,
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
    Gauge connections: "Open connections, handshakes and refused ones included.",
    Counter accepted: "Connections accepted, refused ones included.",
    Counter connections_refused: "Connections refused because connections_max were open.",
    Counter address_refused: "Connections refused because their address had as many as it may have.",
    Counter handshakes_refused: "Connections refused because handshakes_max others were about to say what they want, all of them for less than a second.",
    Counter handshakes_displaced: "Connections without a complete request that had to make room for a new one.",
    Counter accept_stopped: "Times that accepting stopped because all connections were in use, or for a lack of memory.",
    Counter upgraded: "Handshakes completed.",
    Counter rejected: "Requests answered with an HTTP error.",
    Counter handshake_timeouts: "Connections that did not complete a handshake in time.",
    Counter origin_refused: "Upgrades refused because their Origin is not allowed.",
    Gauge subscriptions: "Subscriptions of connections to topics.",
    Gauge topics: "Topics whose home is this shard.",
    Counter published: "Messages sequenced by this shard.",
    Counter published_bytes: "Payload bytes of messages sequenced by this shard.",
    Counter publish_refused: "Messages refused because they would need a topic, a key or memory for values beyond the limits.",
    Counter publish_throttled: "Times that a connection was not read from for a while because it published faster than it may.",
    Counter delivered: "Messages handed to the kernel for a subscriber.",
    Counter sent_bytes: "Bytes handed to the kernel.",
    Counter sends: "Sends submitted.",
    Counter sends_short: "Sends that a full socket did not take whole.",
    Counter unfinished_refused: "Connections closed because the shard held as much of unfinished messages as it may.",
    Counter received_bytes: "Bytes received.",
    Counter compressed_messages: "Messages compressed, once for all subscribers of a view.",
    Counter compressed_bytes_in: "Payload bytes of messages before they were compressed.",
    Counter compressed_bytes_out: "Payload bytes of compressed messages.",
    Counter inflated_bytes: "Payload bytes of messages that came compressed, after inflating.",
    Counter receive_buffers_exhausted: "Times that receiving stopped because all receive buffers were in use.",
    Counter slow_disconnects: "Subscribers closed with 4008 because they fell too far behind.",
    Counter cut_disconnects: "Subscribers cut off because the rests of frames cut by full sockets took a quarter of log_total_bytes_max.",
    Counter slow_skips: "Times that a slow subscriber was moved to the head.",
    Counter slow_conflations: "Times that a slow subscriber was given the newest message of each key instead of all.",
    Counter slow_latest: "Times that a slow subscriber was moved to the newest message.",
    Counter skipped_messages: "Messages that slow subscribers were told they do not get.",
    Counter conflated_messages: "Messages of which slow subscribers were told that only the newest of each key come.",
    Counter recovered: "Subscriptions that went on where they were asked to.",
    Counter recoveries_failed: "Subscriptions that could not go on where they were asked to.",
    Counter snapshots_built: "Snapshots framed, for all who asked for one at that head.",
    Counter snapshots_sent: "Whole snapshots begun for a subscriber.",
    Counter paced_updates: "Messages handed to the kernel for subscribers with a max_rate.",
    Gauge log_bytes: "What the logs and values of this shard's topics take from memory.",
    Counter log_bytes_dropped: "Bytes of logs dropped early because all logs together reached log_total_bytes_max.",
    Gauge values: "Keys that have a value.",
    Counter idle_disconnects: "Peers closed with 4000 because they answered no ping.",
    Counter drained: "Connections closed with 1012 in a drain.",
    Counter protocol_errors: "Connections closed because the peer broke the protocol.",
    Counter broken: "Connections that ended without a closing handshake.",
    Counter inbox_refusals: "Commands that had to wait because another shard's inbox was full.",
    Counter turns: "Turns of the shard's loop.",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_falls_into_the_first_bucket_that_holds_it() {
        for (value, bound) in [
            (0, 1),
            (1, 1),
            (2, 2),
            (3, 4),
            (4, 4),
            (5, 8),
            (1 << 24, 1 << 24),
            ((1 << 24) + 1, u64::MAX),
            (u64::MAX / 2, u64::MAX),
        ] {
            let histogram = Histogram::default();
            histogram.observe(value);
            let hit: Vec<u64> =
                histogram.buckets().filter(|(_, count)| *count == 1).map(|(bound, _)| bound).collect();
            assert_eq!((hit, histogram.count(), histogram.sum()), (vec![bound], 1, value), "{value}");
        }
    }
}
