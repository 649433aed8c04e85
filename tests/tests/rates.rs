//! How fast a connection may publish, on the simulated kernel: to the millisecond, and nothing is lost.

use fanfare_core::{Config, Tap, TapEvent};
use fanfare_io::sim::SimOptions;
use fanfare_tests::cluster::Cluster;
use fanfare_tests::peer::Peer;
use fanfare_wire::frame::Opcode;

fn cluster(config: Config) -> Cluster {
    Cluster::new(1, config, SimOptions::calm())
}

/// A client at this path of shard 0.
fn connect(cluster: &mut Cluster, path: &str) -> [Peer; 1] {
    let mut peers = [cluster.connect(0, path)];
    cluster.settle(&mut peers);
    assert!(peers[0].is_open());
    peers
}

fn texts(tap: &mut Tap) -> Vec<String> {
    let text = |event| match event {
        TapEvent::Message { payload, .. } => String::from_utf8(payload.to_vec()).expect("text"),
        event => panic!("{event:?}"),
    };
    std::iter::from_fn(|| tap.poll()).map(text).collect()
}

/// Lets `ms` pass. Returns when each message came, in milliseconds, with its text.
fn watch(cluster: &mut Cluster, peers: &mut [Peer], tap: &mut Tap, ms: u64) -> Vec<(u64, String)> {
    let begin = cluster.net.now();
    let mut seen = Vec::new();
    cluster.settle(peers);
    for passed in 0..=ms {
        cluster.pass_ms(begin / 1_000_000 + passed - cluster.net.now() / 1_000_000, peers);
        seen.extend(texts(tap).into_iter().map(|text| (passed, text)));
    }
    seen
}

fn throttled(cluster: &Cluster) -> u64 {
    cluster.sum(|stats| stats.publish_throttled.get())
}

#[track_caller]
fn check(shards: usize, home: usize, path: &str, text: impl Fn(&str, usize) -> (String, String)) {
    let mut cluster = cluster(Config { shards, publish_rate_max: 10, ..Config::default() });
    let topic = cluster.topic_at(home);
    let mut tap = cluster.tap(&topic);
    let mut peers = connect(&mut cluster, &path.replace("TOPIC", &topic));
    let (sent, expected): (Vec<String>, Vec<String>) = (0..25).map(|number| text(&topic, number)).unzip();
    sent.iter().for_each(|text| peers[0].send_text(text));
    let seen = watch(&mut cluster, &mut peers, &mut tap, 3_000);
    // The first ten at once, then one each 100 ms: the last one after (25 - 10) / 10 seconds.
    let times: Vec<u64> = (0..25).map(|number: u64| number.saturating_sub(9) * 100).collect();
    let (seen_at, seen): (Vec<u64>, Vec<String>) = seen.into_iter().unzip();
    assert_eq!((seen_at, seen), (times, expected));
    assert_eq!(throttled(&cluster), 15);
    // What it may publish comes back with time, and no more than a second's worth.
    cluster.pass_ms(10_000, &mut peers);
    sent[..11].iter().for_each(|text| peers[0].send_text(text));
    let times: Vec<u64> =
        watch(&mut cluster, &mut peers, &mut tap, 200).into_iter().map(|(at, _)| at).collect();
    assert_eq!(times, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100]);
    assert!(peers[0].is_open());
}

#[test]
fn so_many_messages_a_second_pass() {
    let text = |_: &str, number: usize| (format!("number {number}"), format!("number {number}"));
    check(1, 0, "/pub/TOPIC", text);
    check(1, 0, "/ws/TOPIC", text);
    check(2, 1, "/pub/TOPIC", text);
}

#[test]
fn so_many_publishes_of_a_stream_connection_pass() {
    let text = |topic: &str, number: usize| {
        let publish =
            format!(r#"{{"op":"publish","args":{{"topic":"{topic}","data":{number}}},"id":{number}}}"#);
        (publish, number.to_string())
    };
    check(1, 0, "/stream", text);
    check(2, 1, "/stream", text);
}

#[test]
fn who_keeps_to_the_rate_is_never_throttled() {
    let mut cluster =
        cluster(Config { publish_rate_max: 10, publish_bytes_rate_max: 100, ..Config::default() });
    let mut tap = cluster.tap("t");
    let mut peers = connect(&mut cluster, "/pub/t");
    for _ in 0..100 {
        for _ in 0..5 {
            peers[0].send_text("ten bytes!");
        }
        cluster.pass_ms(500, &mut peers);
    }
    assert_eq!((texts(&mut tap).len(), throttled(&cluster)), (500, 0));
}

#[test]
fn so_many_bytes_a_second_pass_and_a_larger_message_waits_for_full_credit() {
    let mut cluster = cluster(Config { publish_bytes_rate_max: 1_000, ..Config::default() });
    let mut tap = cluster.tap("t");
    let mut peers = connect(&mut cluster, "/pub/t");
    for len in [400, 600, 100, 5_000, 0, 1] {
        peers[0].send_text(&"x".repeat(len));
    }
    let seen = watch(&mut cluster, &mut peers, &mut tap, 8_000);
    let seen: Vec<(u64, usize)> = seen.into_iter().map(|(at, text)| (at, text.len())).collect();
    assert_eq!(seen, [(0, 400), (0, 600), (100, 100), (1_100, 5_000), (5_100, 0), (5_101, 1)]);
}

#[test]
fn a_fast_rate_is_kept_too() {
    let mut cluster = cluster(Config { publish_rate_max: 5_000, ..Config::default() });
    let mut tap = cluster.tap("t");
    let mut peers = connect(&mut cluster, "/pub/t");
    (0..12_000).for_each(|number| peers[0].send_text(&number.to_string()));
    let seen = watch(&mut cluster, &mut peers, &mut tap, 1_500);
    assert!(seen.iter().map(|(_, text)| text.clone()).eq((0..12_000).map(|number| number.to_string())));
    for (number, (at, _)) in seen.iter().enumerate() {
        let due = number.saturating_sub(5_000).div_ceil(5) as u64;
        assert!((due..=due + 1).contains(at), "message {number} at {at} ms and not {due}");
    }
    assert!(throttled(&cluster) <= 1_500, "it is not woken for each message: {}", throttled(&cluster));
}

#[test]
fn pings_count_as_messages() {
    let mut cluster = cluster(Config { publish_rate_max: 10, ..Config::default() });
    let mut peers = connect(&mut cluster, "/stream");
    (0..20).for_each(|_| peers[0].send(Opcode::Ping, b"?"));
    (0..10).for_each(|_| peers[0].send_text(r#"{"op":"ping"}"#));
    let answered = |peers: &[Peer]| peers[0].pongs.len() + peers[0].messages.len();
    cluster.settle(&mut peers);
    assert_eq!(answered(&peers), 11, "the one that is too much passes, and what follows waits");
    cluster.pass_ms(1_000, &mut peers);
    assert_eq!(answered(&peers), 21);
    cluster.pass_ms(900, &mut peers);
    assert_eq!(answered(&peers), 30);
    assert_eq!((peers[0].pongs.len(), peers[0].messages.len()), (20, 10));
}

#[test]
fn nobody_else_waits() {
    let mut cluster = cluster(Config { publish_rate_max: 1, ..Config::default() });
    let mut peers = [cluster.connect(0, "/ws/t"), cluster.connect(0, "/ws/t"), cluster.connect(0, "/pub/t")];
    cluster.settle(&mut peers);
    (0..100).for_each(|_| peers[2].send_text("fast"));
    cluster.settle(&mut peers);
    peers[0].send_text("slow");
    for _ in 0..100 {
        cluster.publish("t", "from inside");
    }
    cluster.settle(&mut peers);
    assert_eq!(peers[..2].iter().map(|peer| peer.messages.len()).collect::<Vec<_>>(), [102, 102]);
}

#[test]
fn a_throttled_connection_is_neither_pinged_to_death_nor_forgotten() {
    let mut cluster = cluster(Config { publish_bytes_rate_max: 10, ..Config::default() });
    let mut tap = cluster.tap("t");
    let mut peers = connect(&mut cluster, "/pub/t");
    // It says nothing for 400 s, and its goodbye is heard afterwards.
    peers[0].send_text(&"x".repeat(4_010));
    peers[0].send_text("later");
    peers[0].close(1000);
    cluster.settle(&mut peers);
    assert_eq!(texts(&mut tap).len(), 1);
    cluster.pass_ms(399_000, &mut peers);
    assert_eq!((texts(&mut tap).len(), peers[0].closed, peers[0].pings), (0, None, 0));
    cluster.pass_ms(2_000, &mut peers);
    assert_eq!(texts(&mut tap), ["later"]);
    assert_eq!((peers[0].closed, cluster.handle.connections()), (Some(1000), 0));
}

#[test]
fn who_leaves_while_it_is_throttled_loses_nothing() {
    for reset in [false, true] {
        let mut cluster = cluster(Config { publish_rate_max: 10, ..Config::default() });
        let mut tap = cluster.tap("t");
        let mut peers = connect(&mut cluster, "/pub/t");
        (0..30).for_each(|number| peers[0].send_text(&number.to_string()));
        cluster.settle(&mut peers);
        if reset {
            peers[0].reset();
        } else {
            peers[0].finish();
        }
        cluster.pass_ms(1_900, &mut peers);
        assert_eq!(cluster.handle.connections(), 1);
        cluster.pass_ms(200, &mut peers);
        let numbers: Vec<String> = (0..30).map(|number| number.to_string()).collect();
        assert_eq!((texts(&mut tap), cluster.handle.connections()), (numbers, 0), "reset: {reset}");
    }
}

#[test]
fn a_throttled_subscriber_that_is_too_slow_is_closed_at_once_and_what_it_said_is_published() {
    let config = Config { publish_rate_max: 1, lag_messages_max: 10, ..Config::default() };
    let mut cluster = cluster(config);
    let mut tap = cluster.tap("other");
    let mut peers = connect(&mut cluster, "/stream?topics=t");
    (0..3).for_each(|number| {
        peers[0].send_text(&format!(r#"{{"op":"publish","args":{{"topic":"other","data":{number}}}}}"#));
    });
    cluster.settle(&mut peers);
    assert_eq!(texts(&mut tap), ["0"]);
    peers[0].stalled = true;
    peers[0].link.set_window(10);
    for _ in 0..100 {
        cluster.publish("t", &"x".repeat(100));
        cluster.settle(&mut peers);
    }
    assert_eq!(cluster.sum(|stats| stats.slow_disconnects.get()), 1);
    assert_eq!(texts(&mut tap), ["1"], "what had been read is published; what had not been is not");
    peers[0].stalled = false;
    peers[0].link.set_window(1 << 20);
    cluster.settle(&mut peers);
    assert_eq!((peers[0].closed, cluster.handle.connections()), (Some(4008), 0));
    cluster.pass_ms(5_000, &mut peers);
    assert!(texts(&mut tap).is_empty());
}

#[test]
fn a_shutdown_does_not_wait_for_the_throttled() {
    let mut cluster = cluster(Config { shards: 2, publish_rate_max: 1, ..Config::default() });
    let mut peers = vec![cluster.connect(0, "/pub/t"), cluster.connect(1, "/ws/t")];
    cluster.settle(&mut peers);
    for peer in &peers {
        (0..50).for_each(|number| peer.send_text(&number.to_string()));
    }
    cluster.settle(&mut peers);
    cluster.handle.shutdown(5_000);
    cluster.pass_ms(100, &mut peers);
    assert_eq!(peers.iter().map(|peer| peer.closed).collect::<Vec<_>>(), [Some(1001), Some(1001)]);
    assert_eq!((cluster.running(), cluster.handle.connections()), (0, 0));
}
