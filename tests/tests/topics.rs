//! A hundred thousand topics in one process, and what they cost.

use fanfare_core::Config;
use fanfare_io::sim::SimOptions;
use fanfare_tests::cluster::Cluster;
use fanfare_tests::peer::Peer;

const CONNECTIONS: usize = 100;
const TOPICS_EACH: usize = 1000;

/// What a quiet topic may take from memory: its table entries, one subscription, one reader, one log with a segment of
/// 1 KiB that holds a message.
const BYTES_EACH_MAX: usize = 3 * 1024;

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = statm.split(' ').nth(1).expect("a second field").parse().expect("a number");
    pages * 4096
}

#[test]
fn a_hundred_thousand_quiet_topics_cost_little() {
    let config = Config { shards: 2, ..Config::default() };
    let options = SimOptions { window_bytes: 1 << 20, ..SimOptions::calm() };
    let mut cluster = Cluster::new(1, config, options);
    let connect = |number: usize| cluster.connect(number % 2, "/stream");
    let mut peers: Vec<Peer> = (0..CONNECTIONS).map(connect).collect();
    cluster.settle(&mut peers);
    let before = resident();
    for (number, peer) in peers.iter().enumerate() {
        let names: Vec<String> = (0..TOPICS_EACH).map(|topic| format!("room-{number}-{topic}")).collect();
        peer.send_text(&serde_json::json!({ "op": "subscribe", "args": names, "id": number }).to_string());
    }
    cluster.settle(&mut peers);
    let subscribed = resident();
    for (number, peer) in peers.iter_mut().enumerate() {
        peer.messages = Vec::new();
        for topic in 0..TOPICS_EACH {
            cluster.publish(&format!("room-{number}-{topic}"), "one message");
        }
        cluster.settle(std::slice::from_mut(peer));
        assert_eq!(peer.messages.len(), TOPICS_EACH);
        peer.messages = Vec::new();
    }
    let after = resident();
    assert_eq!(cluster.handle.topic_count(), CONNECTIONS * TOPICS_EACH);
    let each = |bytes: usize| bytes.saturating_sub(before) / (CONNECTIONS * TOPICS_EACH);
    println!("a subscribed topic: {} B; with a message in its log: {} B", each(subscribed), each(after));
    assert!(each(after) <= BYTES_EACH_MAX, "{} B for each topic", each(after));
}
