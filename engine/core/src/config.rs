//! The limits and times of an engine. Every queue, buffer, table and timer has its bound here.

use std::borrow::Cow;
use std::fmt;

use fanfare_wire::origin::Origins;
use fanfare_wire::subscribe::Policy;

use crate::rules::{LOG_BYTES_MIN, PolicySet, SEGMENTS_MIN, TopicLimits, TopicRule};

/// How an engine behaves. [`Config::default`] suits a newcomer; [`Config::check`] says what does not fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many shards share the work.
    pub shards: usize,
    /// Connections of one shard. One more gets status 503. Its driver's table has to have room for
    /// [`REFUSED_AT_ONCE_MAX`](crate::REFUSED_AT_ONCE_MAX) more; beyond those, peers wait in the kernel's accept queue.
    pub connections_max: usize,
    /// Connections of one address, over all shards; IPv6 addresses count by their first 64 bits. One more gets status
    /// 429. 0: no limit.
    pub connections_per_address_max: usize,
    /// Connections of one shard whose request is not complete. One more displaces the oldest of them that came more than a
    /// second ago, or else is refused; who is displaced or refused gets status 503.
    pub handshakes_max: usize,
    /// How many peers one turn of a shard accepts, and how many requests it looks at. Others wait, in the kernel's accept
    /// queue or with their request unread.
    pub accept_slice: usize,
    /// Which pages may connect. An upgrade whose Origin is not allowed gets status 403; requests without Origin,
    /// which come from programs and not from pages, pass. The default is pages of this machine, which suits a listener on
    /// loopback; for another one, name the sites.
    pub origins_allowed: Origins,
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
    /// The frames of one message from a client. A message in more of them closes the connection with 1009.
    pub fragments_max: usize,
    /// What a shard holds of clients' messages that have not arrived whole, or wait for a rate. When it is passed, the
    /// client that holds most is closed with 1013.
    pub unfinished_bytes_max: usize,
    /// A whole message, from any publisher. A larger one closes the connection with 1009, or is refused.
    pub message_bytes_max: usize,
    /// Whether clients may ask for compression (RFC 7692).
    pub deflate: bool,
    /// How hard the server compresses, from 1 (fast) to 9 (small).
    pub deflate_level: u32,
    /// Payloads below this size are not compressed.
    pub deflate_bytes_min: usize,
    /// Whether `/echo` sends back whatever comes, to try clients with. Without it there is no such path.
    pub echo: bool,
    /// Replies and control frames that wait for one connection. A connection that passes it is read from
    /// again when they are sent.
    pub outbox_bytes_max: usize,
    /// Pongs and other control frames that wait for one connection. A connection that has so many is read from again
    /// when they are sent.
    pub control_frames_max: usize,
    /// Messages that one connection may publish in a second; its pings count too. A second's worth of them may come
    /// at once. A connection beyond it is not read from until it is below. 0: no limit. HTTP and the library are free
    /// of it.
    pub publish_rate_max: u64,
    /// Payload bytes that one connection may publish in a second, as [`publish_rate_max`](Self::publish_rate_max). A
    /// message larger than this passes when nothing was published for a second, and the next one waits for as long as
    /// its size takes. 0: no limit.
    pub publish_bytes_rate_max: u64,
    /// How far a subscriber may fall behind, in bytes. Beyond it the topic's policy acts.
    pub lag_bytes_max: u64,
    /// How far a subscriber may fall behind, in messages. Beyond it the topic's policy acts.
    pub lag_messages_max: u64,
    /// How far a subscriber may fall behind, by the age of its next message. Beyond it the topic's policy acts.
    /// 0: no limit of age.
    pub lag_age_ms: u64,
    /// What happens to a subscriber that is too slow, unless it asks for another policy.
    pub policy: Policy,
    /// What a subscriber may ask to happen. A subscribe that asks for another policy is refused.
    pub policies_allowed: PolicySet,
    /// What one log holds. The oldest messages beyond it are dropped.
    pub log_bytes_max: usize,
    /// A topic's history, in messages: how far back those who come later can begin.
    pub log_messages_max: u64,
    /// A topic's history, by age. 0: no limit of age.
    pub log_age_ms: u64,
    /// What all logs and values of the process take from memory. The oldest messages beyond it are dropped.
    pub log_total_bytes_max: usize,
    /// The largest segment of a log.
    pub segment_bytes_max: usize,
    /// Keys of one topic. A publish that needs one more is refused.
    pub keys_max: usize,
    /// What the newest messages of a topic's keys take from memory. A publish that needs more is refused.
    pub values_bytes_max: usize,
    /// A topic that nobody reads, and to which nothing was published for so long, is forgotten.
    pub topic_idle_ms: u64,
    /// Commands that wait for one shard. When it is full, the publishers that fill it are not read from.
    pub inbox_commands_max: usize,
    /// Payload bytes that wait for one shard. When it is full, the publishers that fill it are not read from.
    pub inbox_bytes_max: usize,
    /// Changes of a topic's number of subscribers are told no more often than this.
    pub presence_interval_ms: u64,
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
    /// What holds for certain topics instead of the values above. The first rule that matches a topic counts.
    pub rules: Vec<TopicRule>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shards: 1,
            connections_max: 65_536,
            connections_per_address_max: 0,
            handshakes_max: 16_384,
            accept_slice: 16,
            origins_allowed: Origins::default(),
            topics_max: 100_000,
            subscriptions_max: 1_024,
            head_bytes_max: 16 * 1024,
            headers_max: 64,
            frame_bytes_max: 1 << 20,
            fragments_max: 16_384,
            unfinished_bytes_max: 128 << 20,
            message_bytes_max: 1 << 20,
            deflate: true,
            deflate_level: 1,
            deflate_bytes_min: 512,
            echo: false,
            outbox_bytes_max: 64 * 1024,
            control_frames_max: 64,
            publish_rate_max: 0,
            publish_bytes_rate_max: 0,
            lag_bytes_max: 16 << 20,
            lag_messages_max: 1 << 20,
            lag_age_ms: 0,
            policy: Policy::Disconnect,
            policies_allowed: PolicySet::ALL,
            log_bytes_max: 64 << 20,
            log_messages_max: 1 << 20,
            log_age_ms: 300_000,
            log_total_bytes_max: 1 << 30,
            segment_bytes_max: 1 << 20,
            keys_max: 10_000,
            values_bytes_max: 16 << 20,
            topic_idle_ms: 30_000,
            inbox_commands_max: 16_384,
            inbox_bytes_max: 64 << 20,
            presence_interval_ms: 500,
            fan_out_slice: 4_096,
            send_slice: 512,
            handshake_timeout_ms: 10_000,
            ping_interval_ms: 25_000,
            idle_timeout_ms: 60_000,
            close_timeout_ms: 5_000,
            rules: Vec::new(),
        }
    }
}

/// A configuration that cannot work, and the sentence that says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(Cow<'static, str>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// The longest message, and the most that a topic's values may take. A snapshot holds the values and at most one
/// message without a key.
const SNAPSHOT_PART_BYTES_MAX: usize = 256 << 20;

/// Counts of this size and some more fit into 32 bits.
const COUNT_MAX: usize = 1 << 30;

/// At this rate, a message takes a nanosecond.
const RATE_MAX: u64 = 1_000_000_000;

/// Times of this size and their sums fit into nanoseconds.
const TIME_MS_MAX: u64 = 1 << 38;

/// JSON writes a control character as six bytes. What else a frame holds is less than six times what a value is
/// accounted with beside its payload.
const _: () = assert!(6 * 2 * SNAPSHOT_PART_BYTES_MAX < u32::MAX as usize, "a segment has 32-bit offsets");

impl Config {
    /// Checks the chains of sizes that the engine relies on.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), ConfigError> {
        let rules = [
            (self.shards >= 1 && self.shards <= 1024, "shards must be from 1 to 1024"),
            (self.connections_max >= 1, "connections_max must be at least 1"),
            (
                self.connections_per_address_max <= COUNT_MAX,
                "connections_per_address_max must be at most 1 073 741 824",
            ),
            (self.handshakes_max >= 1, "handshakes_max must be at least 1"),
            ((1..=4096).contains(&self.accept_slice), "accept_slice must be from 1 to 4096"),
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
            (self.fragments_max >= 1, "fragments_max must be at least 1"),
            (self.fragments_max <= COUNT_MAX, "fragments_max must be at most 1 073 741 824"),
            (
                self.unfinished_bytes_max >= self.message_bytes_max,
                "unfinished_bytes_max must be at least message_bytes_max: one message has to fit",
            ),
            (self.message_bytes_max >= 1, "message_bytes_max must be at least 1"),
            (self.message_bytes_max <= SNAPSHOT_PART_BYTES_MAX, "message_bytes_max must be at most 256 MiB"),
            ((1..=9).contains(&self.deflate_level), "deflate_level must be from 1 to 9"),
            (self.outbox_bytes_max >= 1024, "outbox_bytes_max must be at least 1024"),
            (self.control_frames_max >= 1, "control_frames_max must be at least 1"),
            (self.control_frames_max <= COUNT_MAX, "control_frames_max must be at most 1 073 741 824"),
            (
                self.publish_rate_max <= RATE_MAX,
                "publish_rate_max must be at most 1 000 000 000: no message takes less than a nanosecond",
            ),
            (self.segment_bytes_max >= 4096, "segment_bytes_max must be at least 4096"),
            (self.segment_bytes_max <= 1 << 30, "segment_bytes_max must be at most 1 GiB"),
            (
                self.segment_bytes_max <= self.log_bytes_max / SEGMENTS_MIN,
                "log_bytes_max must be at least 4 times segment_bytes_max: a log drops whole segments",
            ),
            (self.inbox_commands_max >= 16, "inbox_commands_max must be at least 16"),
            (
                self.inbox_bytes_max >= self.message_bytes_max,
                "inbox_bytes_max must be at least message_bytes_max: one message has to fit",
            ),
            (self.presence_interval_ms >= 1, "presence_interval_ms must be at least 1"),
            (
                [
                    self.presence_interval_ms,
                    self.topic_idle_ms,
                    self.handshake_timeout_ms,
                    self.close_timeout_ms,
                    self.idle_timeout_ms,
                ]
                .iter()
                .all(|ms| *ms <= TIME_MS_MAX),
                "a time must be at most 274 877 906 944 ms, which are 8 years",
            ),
            (self.fan_out_slice >= 1, "fan_out_slice must be at least 1"),
            (self.send_slice >= 1, "send_slice must be at least 1"),
            (self.topic_idle_ms >= 1, "topic_idle_ms must be at least 1"),
            (self.handshake_timeout_ms >= 1, "handshake_timeout_ms must be at least 1"),
            (self.close_timeout_ms >= 1, "close_timeout_ms must be at least 1"),
            (self.ping_interval_ms >= 1, "ping_interval_ms must be at least 1"),
            (
                self.ping_interval_ms < self.idle_timeout_ms,
                "ping_interval_ms must be below idle_timeout_ms: a peer needs time to answer a ping",
            ),
        ];
        if let Some(sentence) = first_broken(&rules) {
            return Err(ConfigError(sentence.into()));
        }
        if let Some(sentence) = self.broken_limit(&TopicLimits::defaults(self)) {
            return Err(ConfigError(sentence.into()));
        }
        for rule in &self.rules {
            if let Some(sentence) = self.broken_limit(&rule.limits(self)) {
                return Err(ConfigError(format!("the rule for {}: {sentence}", rule.pattern).into()));
            }
        }
        Ok(())
    }

    /// The first rule that the limits of some topics break.
    fn broken_limit(&self, limits: &TopicLimits) -> Option<&'static str> {
        first_broken(&[
            (limits.log_bytes_max >= LOG_BYTES_MIN, "log_bytes_max must be at least 4096"),
            (
                limits.log_bytes_max <= self.log_total_bytes_max,
                "log_bytes_max must be at most log_total_bytes_max, which all topics share",
            ),
            (limits.lag_messages_max >= 1, "lag_messages_max must be at least 1"),
            (
                limits.log_age_ms <= TIME_MS_MAX && limits.lag_age_ms <= TIME_MS_MAX,
                "an age must be at most 274 877 906 944 ms, which are 8 years",
            ),
            (
                limits.lag_bytes_max <= limits.log_bytes_max as u64,
                "lag_bytes_max must be at most log_bytes_max: a lagging subscriber reads from the log",
            ),
            (
                limits.policies_allowed.contains(limits.policy),
                "policy must be one of policies_allowed: whoever asks for none gets it",
            ),
            (
                limits.values_bytes_max <= self.log_total_bytes_max / 2,
                "values_bytes_max must be at most half of log_total_bytes_max: values are not dropped for room",
            ),
            (
                limits.values_bytes_max <= SNAPSHOT_PART_BYTES_MAX,
                "values_bytes_max must be at most 256 MiB: a snapshot is sent from one piece of memory",
            ),
        ])
    }
}

/// The sentence of the first rule that does not hold.
fn first_broken(rules: &[(bool, &'static str)]) -> Option<&'static str> {
    rules.iter().find(|(holds, _)| !holds).map(|(_, sentence)| *sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_together() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[track_caller]
    fn check(config: &Config, sentence: &str) {
        let error = config.check().expect_err("the configuration cannot work");
        assert!(error.to_string().starts_with(sentence), "{error}");
    }

    #[test]
    fn a_broken_chain_of_sizes_names_its_keys() {
        let fits = Config::default;
        for (config, key) in [
            (Config { lag_bytes_max: 1 << 40, ..fits() }, "lag_bytes_max"),
            (Config { log_total_bytes_max: 1 << 20, ..fits() }, "log_bytes_max must be at most log_total"),
            (
                Config { log_total_bytes_max: 64 << 20, values_bytes_max: 33 << 20, ..fits() },
                "values_bytes_max",
            ),
            (
                Config { log_total_bytes_max: 1 << 40, values_bytes_max: 257 << 20, ..fits() },
                "values_bytes_max",
            ),
            (Config { policies_allowed: PolicySet::of(&[Policy::Skip]), ..fits() }, "policy"),
            (Config { segment_bytes_max: 17 << 20, ..fits() }, "log_bytes_max must be at least 4 times"),
        ] {
            check(&config, key);
        }
    }

    #[test]
    fn a_broken_rule_names_its_pattern() {
        let rule = || TopicRule::new("chat.*".parse().expect("a pattern"));
        for (rule, sentence) in [
            (TopicRule { log_bytes_max: Some(4095), ..rule() }, "log_bytes_max must be at least 4096"),
            (TopicRule { log_bytes_max: Some(2 << 30), ..rule() }, "log_bytes_max must be at most log_total"),
            (TopicRule { lag_messages_max: Some(0), ..rule() }, "lag_messages_max"),
            (TopicRule { lag_bytes_max: Some(65 << 20), ..rule() }, "lag_bytes_max"),
            (
                TopicRule { log_bytes_max: Some(8192), lag_bytes_max: Some(8193), ..rule() },
                "lag_bytes_max must be at most log_bytes_max",
            ),
            (TopicRule { policies_allowed: Some(PolicySet::of(&[Policy::Skip])), ..rule() }, "policy must"),
            (TopicRule { values_bytes_max: Some(513 << 20), ..rule() }, "values_bytes_max"),
        ] {
            let fits =
                TopicRule { log_messages_max: Some(0), ..TopicRule::new("*".parse().expect("a pattern")) };
            let config = Config { rules: vec![fits, rule], ..Config::default() };
            check(&config, &format!("the rule for chat.*: {sentence}"));
        }
    }
}
