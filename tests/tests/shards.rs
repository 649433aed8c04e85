//! What a shard does in particular situations, on the simulated kernel without faults.

use fanfare_core::Config;
use fanfare_io::sim::SimOptions;
use fanfare_tests::cluster::Cluster;
use fanfare_tests::peer::Peer;
use fanfare_wire::frame::{self, Opcode};

fn cluster(config: Config) -> Cluster {
    Cluster::new(1, config, SimOptions::calm())
}

fn two_shards() -> Config {
    Config { shards: 2, ..Config::default() }
}

fn texts(peer: &Peer) -> Vec<&str> {
    peer.messages.iter().map(|message| message.as_str()).collect()
}

#[test]
fn a_shard_that_comes_back_to_a_log_hears_of_new_heads() {
    let mut cluster = cluster(two_shards());
    let topic = cluster.topic_at(1);
    // Keeps the log alive while shard 0 leaves it.
    let _tap = cluster.tap(&topic);
    let mut first = [cluster.connect(0, &format!("/ws/{topic}"))];
    cluster.settle(&mut first);
    cluster.publish(&topic, "told, but never looked at");
    cluster.turn_shard(1);
    first[0].reset();
    cluster.turn_shard(0);
    let mut second = [cluster.connect(0, &format!("/ws/{topic}"))];
    cluster.settle(&mut second);
    cluster.publish(&topic, "news");
    cluster.settle(&mut second);
    assert_eq!(texts(&second[0]), ["news"]);
}

#[test]
fn a_publisher_that_leaves_while_it_is_held_back_loses_nothing() {
    let mut cluster = cluster(Config { inbox_commands_max: 16, ..two_shards() });
    let topic = cluster.topic_at(1);
    let mut tap = cluster.tap(&topic);
    let mut peers = [cluster.connect(0, &format!("/pub/{topic}"))];
    cluster.settle(&mut peers);
    for number in 0..200 {
        peers[0].send_text(&number.to_string());
    }
    peers[0].finish();
    // The home shard does not turn, so its mailbox fills and the publisher is held.
    (0..20).for_each(|_| cluster.turn_shard(0));
    assert!(cluster.handle.stats()[0].inbox_refusals.get() > 0);
    cluster.settle(&mut peers);
    let count = std::iter::from_fn(|| tap.poll()).count();
    assert_eq!(count, 200);
}

#[test]
fn a_stalled_reader_is_closed_with_4008_between_whole_frames_and_nobody_waits_for_it() {
    let mut cluster = cluster(Config { lag_bytes_max: 64 << 10, ..Config::default() });
    let mut peers = [cluster.connect(0, "/ws/t"), cluster.connect(0, "/ws/t")];
    cluster.settle(&mut peers);
    peers[0].stalled = true;
    for number in 0..1000 {
        cluster.publish("t", &format!("{number:0>1000}"));
        cluster.settle(&mut peers);
    }
    assert_eq!(peers[1].messages.len(), 1000);
    assert_eq!(cluster.handle.stats()[0].slow_disconnects.get(), 1);
    peers[0].stalled = false;
    cluster.settle(&mut peers);
    assert_eq!(peers[0].closed, Some(4008), "the close frame follows a whole frame");
    let numbers: Vec<usize> = texts(&peers[0]).iter().map(|text| text.parse().expect("a number")).collect();
    assert_eq!(numbers, (0..numbers.len()).collect::<Vec<_>>());
}

#[test]
fn silence_is_pinged_and_then_closed() {
    let mut cluster = cluster(Config::default());
    let mut peers = [cluster.connect(0, "/ws/t"), cluster.connect(0, "/ws/t")];
    cluster.settle(&mut peers);
    peers[1].stalled = true;
    cluster.pass_ms(61_000, &mut peers);
    assert!(peers[0].is_open() && peers[0].pings == 2, "who answers stays: {} pings", peers[0].pings);
    peers[1].stalled = false;
    peers[1].read();
    assert_eq!(peers[1].closed, Some(4000));
}

#[test]
fn a_request_that_does_not_come_gets_408() {
    let mut cluster = cluster(Config::default());
    let link = cluster.net.connect(0);
    link.write(b"GET /ws/t HTTP/1.1\r\nHost: ");
    cluster.pass_ms(11_000, &mut []);
    assert!(link.read().starts_with(b"HTTP/1.1 408 "));
    cluster.pass_ms(6_000, &mut []);
    assert!(link.saw_fin());
    assert_eq!(cluster.net.connections(0), 0, "a peer that never sends FIN is cut off after a while");
}

#[test]
fn the_closing_handshake_echoes_the_code_and_ends_with_the_servers_fin() {
    let mut cluster = cluster(Config::default());
    let mut peers = [cluster.connect(0, "/ws/t")];
    cluster.settle(&mut peers);
    peers[0].close(3000);
    cluster.settle(&mut peers);
    assert_eq!(peers[0].closed, Some(3000));
    assert!(peers[0].link.saw_fin() && !peers[0].link.saw_reset());
    assert_eq!(cluster.net.connections(0), 0);
}

#[test]
fn frames_may_be_split_anywhere() {
    let mut head = b"GET /ws/t HTTP/1.1\r\nHost: sim\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    frame::write(&mut head, Opcode::Text, false, "gr\u{fc}".as_bytes(), Some([1, 2, 3, 4]));
    frame::write(&mut head, Opcode::Ping, true, b"?", Some([5, 6, 7, 8]));
    frame::write(&mut head, Opcode::Continuation, true, "\u{df} dich".as_bytes(), Some([9, 9, 9, 9]));
    for split in 1..head.len() {
        let mut cluster = cluster(Config::default());
        let mut tap = cluster.tap("t");
        let link = cluster.net.connect(0);
        link.write(&head[..split]);
        cluster.settle(&mut []);
        link.write(&head[split..]);
        cluster.settle(&mut []);
        let Some(fanfare_core::TapEvent::Message { payload, .. }) = tap.poll() else {
            panic!("split at {split}")
        };
        assert_eq!(payload, "gr\u{fc}\u{df} dich".as_bytes(), "split at {split}");
        let answer = link.read();
        assert!(answer.windows(3).any(|window| window == b"\x8A\x01?"), "split at {split}: no pong");
    }
}

#[test]
fn a_thousand_topics_on_one_connection() {
    let mut cluster = cluster(two_shards());
    let mut peers = [cluster.connect(0, "/stream")];
    cluster.settle(&mut peers);
    let names: Vec<String> = (0..1000).map(|number| format!("t{number}")).collect();
    peers[0].send_text(&serde_json::json!({"op": "subscribe", "args": names, "id": 1}).to_string());
    cluster.settle(&mut peers);
    assert!(peers[0].messages[0].as_str().starts_with(r#"{"id":1,"op":"subscribe","ok":true"#));
    names.iter().for_each(|name| cluster.publish(name, name));
    cluster.settle(&mut peers);
    let mut seen: Vec<String> = texts(&peers[0])[1..]
        .iter()
        .map(|text| {
            serde_json::from_str::<serde_json::Value>(text).expect("JSON")["data"]
                .as_str()
                .expect("text")
                .to_owned()
        })
        .collect();
    let mut expected = names;
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
    peers[0].send_text(r#"{"op":"subscribe","args":["x1","x2","x3","x4","x5","x6","x7","x8","x9","x10","x11","x12","x13","x14","x15","x16","x17","x18","x19","x20","x21","x22","x23","x24","x25"],"id":2}"#);
    cluster.settle(&mut peers);
    let last = peers[0].messages.last().expect("a reply").as_str();
    assert!(last.contains(r#""code":"too_many_subscriptions""#), "{last}");
}

#[test]
fn a_topic_too_many_is_refused_everywhere() {
    let mut cluster = cluster(Config { topics_max: 2, ..two_shards() });
    let mut peers = vec![cluster.connect(0, "/stream?topics=a,b")];
    cluster.settle(&mut peers);
    peers.push(cluster.connect(1, "/ws/c"));
    peers.push(cluster.connect(1, "/pub/c"));
    cluster.settle(&mut peers);
    peers[0].send_text(r#"{"op":"subscribe","args":["a","c"],"id":1}"#);
    peers[0].send_text(r#"{"op":"publish","args":{"topic":"c","data":1},"id":2}"#);
    peers[0].send_text(r#"{"op":"publish","args":{"topic":"a","data":1},"id":3}"#);
    cluster.settle(&mut peers);
    assert_eq!(peers[1].status, Some(503));
    let seen = texts(&peers[0]);
    assert!(
        seen[1].contains(r#""id":1,"op":"subscribe","ok":false"#) && seen[1].contains("too_many_topics"),
        "{seen:?}"
    );
    assert!(seen.iter().any(|text| text.contains(r#""id":2,"op":"publish","ok":false"#)), "{seen:?}");
    assert!(seen.iter().any(|text| text.contains(r#""id":3,"op":"publish","ok":true"#)), "{seen:?}");
    assert!(seen.contains(&r#"{"topic":"a","seq":1,"data":1}"#), "what it had stays: {seen:?}");
}

#[test]
fn logs_are_emptied_by_age_and_idle_topics_forgotten() {
    let mut cluster = cluster(Config { log_age_ms: 30_000, topic_idle_ms: 10_000, ..two_shards() });
    let mut peers = [cluster.connect(0, "/ws/kept")];
    cluster.settle(&mut peers);
    for _ in 0..100 {
        cluster.publish("kept", &"x".repeat(1000));
        cluster.publish("forgotten", "x");
    }
    cluster.pass_ms(100, &mut peers);
    let bytes = |cluster: &mut Cluster| {
        let (sender, lists) = std::sync::mpsc::channel();
        for shard in 0..2 {
            let sender = sender.clone();
            let reply = move |topics, _| sender.send(topics).expect("heard");
            cluster.handle.try_list(shard, 0, 100, reply).expect("there is room");
        }
        cluster.settle(&mut []);
        let topics: Vec<_> = lists.try_iter().flatten().collect();
        topics.iter().map(|info| info.bytes).sum::<usize>()
    };
    assert!(bytes(&mut cluster) > 64 * 1024);
    assert_eq!(cluster.handle.topic_count(), 2);
    cluster.pass_ms(31_000, &mut peers);
    assert!(bytes(&mut cluster) < 512, "{}", bytes(&mut cluster));
    assert_eq!(cluster.handle.topic_count(), 1);
    cluster.publish("kept", "on it goes");
    cluster.settle(&mut peers);
    assert_eq!(texts(&peers[0]).last(), Some(&"on it goes"));
}

#[test]
fn a_shutdown_delivers_what_was_sequenced_and_says_1001() {
    let mut cluster = cluster(two_shards());
    let mut peers: Vec<Peer> = (0..20).map(|number| cluster.connect(number % 2, "/ws/t")).collect();
    cluster.settle(&mut peers);
    for number in 0..500 {
        cluster.publish("t", &format!("{number:0>500}"));
    }
    cluster.handle.shutdown(5_000);
    cluster.pass_ms(1_000, &mut peers);
    for peer in &peers {
        assert_eq!((peer.messages.len(), peer.closed), (500, Some(1001)));
    }
    assert_eq!(cluster.running(), 0);
}

#[test]
fn a_shutdown_does_not_wait_for_the_stalled_beyond_its_deadline() {
    let mut cluster = cluster(two_shards());
    let mut peers = [cluster.connect(0, "/ws/t")];
    cluster.settle(&mut peers);
    peers[0].stalled = true;
    for _ in 0..1000 {
        cluster.publish("t", &"x".repeat(500));
    }
    cluster.handle.shutdown(2_000);
    cluster.pass_ms(1_900, &mut peers);
    assert!(cluster.running() > 0);
    cluster.pass_ms(300, &mut peers);
    assert_eq!(cluster.running(), 0);
}
