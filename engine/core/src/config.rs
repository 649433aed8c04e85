//! The limits and times of an engine. Every queue, buffer, table and timer has its bound here.

use std::fmt;

/// How an engine behaves. [`Config::default`] suits a newcomer; [`Config::check`] says what does not fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many shards share the work.
    pub shards: usize,
    /// Connections of one shard. One more waits in the kernel's accept queue until a place is free.
    pub connections_max: usize,
    /// Topics in the process. A publish or subscribe that needs one more is refused.
    pub topics_max: usize,
    /// Topics that one `/stream` connection can be subscribed to. A subscribe that passes it is refused.
    pub subscriptions_max: usize,
    /// The head of an HTTP request. A larger one gets status 431.
    pub head_bytes_max: usize,
    /// The header lines of an HTTP request. More get status 431.
    pub headers_max: usize,
    /// The payload of one frame from a client. A larger one closes the connection with 1009.
    pub frame_bytes_max: usize,
    /// A whole message, from any publisher. A larger one closes the connection with 1009, or is refused.
    pub message_bytes_max: usize,
    /// Replies and control frames that wait for one connection. A connection that passes it is read from
    /// again when they are sent.
    pub outbox_bytes_max: usize,
    /// How far a subscriber may fall behind, in bytes. Beyond it the connection is closed with 4008.
    pub lag_bytes_max: u64,
    /// How far a subscriber may fall behind, in messages. Beyond it the connection is closed with 4008.
    pub lag_messages_max: u64,
    /// What one log holds. The oldest messages beyond it are dropped.
    pub log_bytes_max: usize,
    /// The largest segment of a log.
    pub segment_bytes_max: usize,
    /// A log in which nothing was appended for so long is emptied.
    pub log_idle_ms: u64,
    /// Commands that wait for one shard. When it is full, the publishers that fill it are not read from.
    pub inbox_commands_max: usize,
    /// Payload bytes that wait for one shard. When it is full, the publishers that fill it are not read from.
    pub inbox_bytes_max: usize,
    /// How many subscribers of moved logs one turn of a shard looks at.
    pub fan_out_slice: usize,
    /// How many sends one turn of a shard submits. Others wait for no more than that.
    pub send_slice: usize,
    /// From accept until the upgrade stands. Then the connection gets status 408.
    pub handshake_timeout_ms: u64,
    /// A peer that was silent for so long gets a ping.
    pub ping_interval_ms: u64,
    /// A peer that was silent for so long, pings included, is closed with 4000.
    pub idle_timeout_ms: u64,
    /// From our close frame until the connection is cut.
    pub close_timeout_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shards: 1,
            connections_max: 65_536,
            topics_max: 100_000,
            subscriptions_max: 1_024,
            head_bytes_max: 16 * 1024,
            headers_max: 64,
            frame_bytes_max: 1 << 20,
            message_bytes_max: 1 << 20,
            outbox_bytes_max: 64 * 1024,
            lag_bytes_max: 16 << 20,
            lag_messages_max: 1 << 20,
            log_bytes_max: 64 << 20,
            segment_bytes_max: 1 << 20,
            log_idle_ms: 30_000,
            inbox_commands_max: 16_384,
            inbox_bytes_max: 64 << 20,
            fan_out_slice: 4_096,
            send_slice: 512,
            handshake_timeout_ms: 10_000,
            ping_interval_ms: 25_000,
            idle_timeout_ms: 60_000,
            close_timeout_ms: 5_000,
        }
    }
}

/// A configuration that cannot work, and the sentence that says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(&'static str);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for ConfigError {}

/// The longest chain of segments is `log_bytes_max / segment_bytes_max`; fewer than this drop too much at once.
const SEGMENTS_MIN: usize = 4;

impl Config {
    /// Checks the chains of sizes that the engine relies on.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), ConfigError> {
        let rules = [
            (self.shards >= 1 && self.shards <= 1024, "shards must be from 1 to 1024"),
            (self.connections_max >= 1, "connections_max must be at least 1"),
            (self.topics_max >= 1, "topics_max must be at least 1"),
            (self.subscriptions_max >= 1, "subscriptions_max must be at least 1"),
            (
                self.head_bytes_max >= 1024,
                "head_bytes_max must be at least 1024: common browsers send that much",
            ),
            (self.headers_max >= 16, "headers_max must be at least 16: common browsers send that many"),
            (
                self.frame_bytes_max >= 125,
                "frame_bytes_max must be at least 125, the size of a control frame",
            ),
            (self.message_bytes_max >= 1, "message_bytes_max must be at least 1"),
            (self.message_bytes_max <= 1 << 30, "message_bytes_max must be at most 1 GiB"),
            (self.outbox_bytes_max >= 1024, "outbox_bytes_max must be at least 1024"),
            (self.lag_messages_max >= 1, "lag_messages_max must be at least 1"),
            (self.segment_bytes_max >= 4096, "segment_bytes_max must be at least 4096"),
            (self.segment_bytes_max <= 1 << 30, "segment_bytes_max must be at most 1 GiB"),
            (
                self.segment_bytes_max <= self.log_bytes_max / SEGMENTS_MIN,
                "log_bytes_max must be at least 4 times segment_bytes_max: a log drops whole segments",
            ),
            (
                self.lag_bytes_max <= self.log_bytes_max as u64,
                "lag_bytes_max must be at most log_bytes_max: a lagging subscriber reads from the log",
            ),
            (self.inbox_commands_max >= 16, "inbox_commands_max must be at least 16"),
            (
                self.inbox_bytes_max >= self.message_bytes_max,
                "inbox_bytes_max must be at least message_bytes_max: one message has to fit",
            ),
            (self.fan_out_slice >= 1, "fan_out_slice must be at least 1"),
            (self.send_slice >= 1, "send_slice must be at least 1"),
            (self.log_idle_ms >= 1, "log_idle_ms must be at least 1"),
            (self.handshake_timeout_ms >= 1, "handshake_timeout_ms must be at least 1"),
            (self.close_timeout_ms >= 1, "close_timeout_ms must be at least 1"),
            (self.ping_interval_ms >= 1, "ping_interval_ms must be at least 1"),
            (
                self.ping_interval_ms < self.idle_timeout_ms,
                "ping_interval_ms must be below idle_timeout_ms: a peer needs time to answer a ping",
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, sentence)) => Err(ConfigError(sentence)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_together() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn a_broken_chain_of_sizes_names_its_keys() {
        let config = Config { lag_bytes_max: 1 << 40, ..Config::default() };
        let error = config.check().expect_err("a lag above the log's size cannot work");
        assert!(error.to_string().starts_with("lag_bytes_max"), "{error}");
    }
}
