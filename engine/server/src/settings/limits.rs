//! The part of the settings that is the engine's configuration: each key is the field of [`Config`] of that name.

use fanfare::Config;

macro_rules! limits {
    ($($(#[doc = $help:literal])+ $key:ident: $number:ty,)+) => {
        /// Limits and times; `None` where a layer says nothing.
        #[derive(clap::Args, Clone, Debug, Default)]
        pub(super) struct Limits {
            $($(#[doc = $help])+ #[arg(long, value_name = "N", help_heading = "Limits")] $key: Option<$number>,)+
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
    /// Connections of one shard; one more waits in the kernel until a place is free
    connections_max: usize,
    /// Topics in the process; a publish or subscribe that needs one more is refused
    topics_max: usize,
    /// Topics that one /stream connection can be subscribed to
    subscriptions_max: usize,
    /// The head of an HTTP request, in bytes; a larger one gets status 431
    head_bytes_max: usize,
    /// The header lines of an HTTP request; more get status 431
    headers_max: usize,
    /// The payload of one frame from a client, in bytes; a larger one closes the connection with 1009
    frame_bytes_max: usize,
    /// A whole message from any publisher, in bytes; a larger one is refused, over WebSocket with 1009
    message_bytes_max: usize,
    /// Replies and control frames that wait for one connection, in bytes
    outbox_bytes_max: usize,
    /// How far a subscriber may fall behind, in bytes, before it is closed with 4008
    lag_bytes_max: u64,
    /// How far a subscriber may fall behind, in messages, before it is closed with 4008
    lag_messages_max: u64,
    /// What one topic's log holds, in bytes; the oldest messages beyond it are dropped
    log_bytes_max: usize,
    /// The largest segment of a log, in bytes
    segment_bytes_max: usize,
    /// A log to which nothing was appended for so long is emptied, in milliseconds
    log_idle_ms: u64,
    /// Commands that wait for one shard; when it is full, the publishers that fill it have to wait
    inbox_commands_max: usize,
    /// Payload bytes that wait for one shard; when it is full, the publishers that fill it have to wait
    inbox_bytes_max: usize,
    /// Subscribers that one turn of a shard compares with the heads of their topics
    fan_out_slice: usize,
    /// Sends that one turn of a shard submits
    send_slice: usize,
    /// From accept until the upgrade stands, in milliseconds; then the connection gets status 408
    handshake_timeout_ms: u64,
    /// A peer that was silent for so long gets a ping, in milliseconds
    ping_interval_ms: u64,
    /// A peer that was silent for so long, pings included, is closed with 4000, in milliseconds
    idle_timeout_ms: u64,
    /// From the server's close frame until the connection is cut, in milliseconds
    close_timeout_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_the_configuration_can_be_set() {
        // `{:#?}` writes each field on a line of its own. The number of shards is a setting beside the limits.
        let fields = format!("{:#?}", Config::default());
        let fields = fields.lines().filter_map(|line| line.trim().split_once(": ")).map(|(field, _)| field);
        let keys: Vec<_> = Limits::defaults().into_iter().map(|(key, _)| key).collect();
        assert_eq!(fields.filter(|field| *field != "shards").collect::<Vec<_>>(), keys);
    }
}
