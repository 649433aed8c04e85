//! The part of the settings that is the engine's configuration: each key is the field of [`Config`] of that name.

use fanfare::{Config, Policy, PolicySet, TopicPattern, TopicRule};

/// What stands for a value in the help: a number unless the list says otherwise.
macro_rules! value_name {
    () => {
        "N"
    };
    ($name:literal) => {
        $name
    };
}

macro_rules! limits {
    ($($(#[doc = $help:literal])+ $(#[arg($($arg:tt)+)])? $key:ident: $value:ty $(, named $name:literal)?;)+) => {
        /// Limits, policies and times; `None` where a layer says nothing.
        #[derive(clap::Args, Clone, Debug, Default)]
        pub(super) struct Limits {
            $(
                $(#[doc = $help])+
                #[arg(long, value_name = value_name!($($name)?), help_heading = "Limits")]
                $(#[arg($($arg)+)])?
                $key: Option<$value>,
            )+
        }

        impl Limits {
            /// Changes what is given and leaves the rest.
            pub(super) fn apply(&self, config: &mut Config) {
                $(if let Some(value) = self.$key { config.$key = value; })+
            }

            /// The keys with their values in [`Config::default`].
            pub(super) fn defaults() -> Vec<(&'static str, String)> {
                let config = Config::default();
                vec![$((stringify!($key), config.$key.to_string()),)+]
            }
        }
    };
}

limits! {
    /// Connections of one shard; one more is answered with status 503
    connections_max: usize;
    /// Connections from one address, an IPv6 one without its last 64 bits; one more gets status 429; 0 for no limit
    connections_per_address_max: usize;
    /// Connections of one shard whose request is not complete; one more displaces one that took over a second, or gets 503
    handshakes_max: usize;
    /// Peers that one turn of a shard accepts, and requests that it looks at
    accept_slice: usize;
    /// Topics in the process; a publish or subscribe that needs one more is refused
    topics_max: usize;
    /// Topics that one /stream connection can be subscribed to
    subscriptions_max: usize;
    /// The head of an HTTP request, in bytes; a larger one gets status 431
    head_bytes_max: usize;
    /// The header lines of an HTTP request; more get status 431
    headers_max: usize;
    /// The payload of one frame from a client, in bytes; a larger one closes the connection with 1009
    frame_bytes_max: usize;
    /// A whole message from any publisher, in bytes; a larger one is refused, over WebSocket with 1009
    message_bytes_max: usize;
    /// The frames of one message from a client; more close the connection with 1009
    fragments_max: usize;
    /// What a shard holds of messages that have not arrived whole, in bytes; beyond it the client with most gets 1013
    unfinished_bytes_max: usize;
    /// Messages that one connection may publish a second; one that sends more is read from later; 0 for no limit
    publish_rate_max: u64;
    /// Payload bytes that one connection may publish a second; one that sends more is read from later; 0 for no limit
    publish_bytes_rate_max: u64;
    /// Control frames that wait for one connection; it is read from again when they are sent
    control_frames_max: usize;
    /// Replies and control frames that wait for one connection, in bytes
    outbox_bytes_max: usize;
    /// How far a subscriber may fall behind, in bytes, before the topic's policy acts
    lag_bytes_max: u64;
    /// How far a subscriber may fall behind, in messages, before the topic's policy acts
    lag_messages_max: u64;
    /// How far a subscriber may fall behind, by the age of its next message in milliseconds; 0 for no limit of age
    lag_age_ms: u64;
    /// What happens to a subscriber that is too slow, unless it asks for another policy: disconnect, skip, conflate or latest
    policy: Policy, named "POLICY";
    /// The policies that a subscriber may ask for, with commas between them
    policies_allowed: PolicySet, named "POLICIES";
    /// What one topic's log holds, in bytes; the oldest messages beyond it are dropped
    log_bytes_max: usize;
    /// A topic's history, in messages: how far back those who come later can begin
    log_messages_max: u64;
    /// A topic's history, by age in milliseconds; 0 for no limit of age
    log_age_ms: u64;
    /// What all logs and values of the process take, in bytes; the oldest messages beyond it are dropped
    log_total_bytes_max: usize;
    /// The largest segment of a log, in bytes
    segment_bytes_max: usize;
    /// Keys of one topic; a publish that needs one more is refused
    keys_max: usize;
    /// What the newest messages of one topic's keys take, in bytes; a publish that needs more is refused
    values_bytes_max: usize;
    /// A topic that nobody reads, and to which nothing was published for so long, is forgotten, in milliseconds
    topic_idle_ms: u64;
    /// Commands that wait for one shard; when it is full, the publishers that fill it have to wait
    inbox_commands_max: usize;
    /// Payload bytes that wait for one shard; when it is full, the publishers that fill it have to wait
    inbox_bytes_max: usize;
    /// Changes of a topic's number of subscribers are told no more often than this, in milliseconds
    presence_interval_ms: u64;
    /// Subscribers that one turn of a shard compares with the heads of their topics
    fan_out_slice: usize;
    /// Sends that one turn of a shard submits
    send_slice: usize;
    /// From accept until the upgrade stands, in milliseconds; then the connection gets status 408
    handshake_timeout_ms: u64;
    /// A peer that was silent for so long gets a ping, in milliseconds
    ping_interval_ms: u64;
    /// A peer that was silent for so long, pings included, is closed with 4000, in milliseconds
    idle_timeout_ms: u64;
    /// From the server's close frame until the connection is cut, in milliseconds
    close_timeout_ms: u64;
    /// Compress messages for clients that offer permessage-deflate
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    deflate: bool, named "BOOL";
    /// How hard to compress: 1 is fast, 9 is small
    deflate_level: u32;
    /// Payloads smaller than this go uncompressed, in bytes
    deflate_bytes_min: usize;
    /// Serve /echo, which sends messages back to their sender, for conformance tests
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    echo: bool, named "BOOL";
}

macro_rules! rule_keys {
    ($($key:ident,)+) => {
        /// What a `[[topic]]` table may say of its topics beside `match`: keys of [`Limits`] with another value.
        pub(super) const RULE_KEYS: &[&str] = &[$(stringify!($key)),+];

        impl Limits {
            /// The rule for topics that match a pattern, of what is given here.
            pub(super) fn rule(&self, pattern: TopicPattern) -> TopicRule {
                TopicRule { pattern, $($key: self.$key,)+ }
            }
        }
    };
}

rule_keys! {
    log_bytes_max,
    log_messages_max,
    log_age_ms,
    lag_bytes_max,
    lag_messages_max,
    lag_age_ms,
    policy,
    policies_allowed,
    keys_max,
    values_bytes_max,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_field_of_the_configuration_can_be_set() {
        // `{:#?}` writes each field on a line of its own. The number of shards and the origins are settings beside the
        // limits, since their defaults depend on something else, and rules are tables of the file.
        let fields = format!("{:#?}", Config::default());
        let fields = fields.lines().filter_map(|line| line.trim().split_once(": ")).map(|(field, _)| field);
        let fields = fields.filter(|field| !["shards", "origins_allowed", "rules"].contains(field));
        let keys: BTreeSet<_> = Limits::defaults().into_iter().map(|(key, _)| key).collect();
        assert_eq!(fields.collect::<BTreeSet<_>>(), keys);
    }
}
