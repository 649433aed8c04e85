//! Many topics on one connection share its socket: a busy one does not starve the quiet ones.

use std::collections::BTreeMap;

use fanfare_core::Config;
use fanfare_io::sim::SimOptions;
use fanfare_tests::cluster::Cluster;
use fanfare_tests::peer::Peer;
use serde_json::{Value, json};

const BUSY: &str = "busy";
const QUIET: usize = 20;
const SEGMENT_BYTES: usize = 1 << 20;
const WINDOW_BYTES: usize = 2048;

/// What a quiet message may have to wait for: what the socket holds, a turn of the busy topic, which is over when the socket
/// is full, the rest of a message that was cut, and the other quiet ones.
const WAIT_BYTES_MAX: u64 = (2 * WINDOW_BYTES + 1100 + QUIET * 100) as u64;

/// Reads a little, and notes where in the stream each message ended.
struct Reader {
    peer: Peer,
    read: u64,
    /// By topic, the sequence number of the last message.
    last: BTreeMap<String, u64>,
    /// By topic and sequence number, how many bytes had been read when it had come.
    came_at: BTreeMap<(String, u64), u64>,
}

impl Reader {
    fn take(&mut self, bytes: usize) {
        self.read += bytes.min(self.peer.link.unread()) as u64;
        self.peer.take(bytes);
        for message in std::mem::take(&mut self.peer.messages) {
            let json: Value = serde_json::from_str(message.as_str()).expect("JSON");
            assert!(json.get("op").is_none(), "nothing but messages: {json}");
            let topic = json["topic"].as_str().expect("a topic").to_owned();
            let seq = json["seq"].as_u64().expect("a number");
            let last = self.last.entry(topic.clone()).or_default();
            assert_eq!(seq, *last + 1, "{topic} keeps its order");
            *last = seq;
            self.came_at.insert((topic, seq), self.read);
        }
    }
}

#[track_caller]
fn check(shards: usize) {
    let config = Config {
        shards,
        segment_bytes_max: SEGMENT_BYTES,
        log_bytes_max: 4 << 20,
        lag_bytes_max: 4 << 20,
        ..Config::default()
    };
    let options = SimOptions { window_bytes: WINDOW_BYTES, ..SimOptions::default() };
    let mut cluster = Cluster::new(7, config, options);
    let quiet: Vec<String> = (0..QUIET).map(|number| format!("quiet-{number}")).collect();
    let peer = cluster.connect(0, &format!("/stream?topics={BUSY},{}", quiet.join(",")));
    let mut reader = Reader { peer, read: 0, last: BTreeMap::new(), came_at: BTreeMap::new() };
    cluster.settle(std::slice::from_mut(&mut reader.peer));
    let answer: Value = serde_json::from_str(reader.peer.messages.remove(0).as_str()).expect("JSON");
    assert_eq!((&answer["ok"], answer["topics"].as_array().map(Vec::len)), (&json!(true), Some(QUIET + 1)));

    let mut said: BTreeMap<(String, u64), u64> = BTreeMap::new();
    let mut busy_bytes = 0;
    for round in 1..=50 {
        // The busy topic says more than is ever read meanwhile.
        for _ in 0..20 {
            cluster.publish(BUSY, &"x".repeat(1000));
            busy_bytes += 1000;
        }
        for topic in &quiet {
            cluster.publish(topic, "hear me");
            said.insert((topic.clone(), round), reader.read);
        }
        for _ in 0..50 {
            (0..shards).for_each(|shard| cluster.turn_shard(shard));
            reader.take(150);
        }
    }
    assert!(reader.read < busy_bytes / 2, "the busy topic is far behind");
    assert!(reader.last[BUSY] > 100, "and it has its share");
    for (message, said_at) in &said {
        match reader.came_at.get(message) {
            Some(came_at) => assert!(came_at - said_at <= WAIT_BYTES_MAX, "{message:?} {said_at} {came_at}"),
            None => assert!(reader.read - said_at <= WAIT_BYTES_MAX, "{message:?} is still to come"),
        }
    }

    cluster.settle(std::slice::from_mut(&mut reader.peer));
    reader.take(0);
    assert!(
        reader.last.values().eq([1000].iter().chain(vec![&50; QUIET])),
        "all of it came: {:?}",
        reader.last
    );
}

#[test]
fn a_busy_topic_does_not_starve_quiet_ones() {
    check(1);
}

#[test]
fn nor_does_one_of_another_shard() {
    check(2);
}
