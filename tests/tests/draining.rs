//! The drain before a restart, on the simulated kernel: everybody goes at a time of its own and has what was published
//! until then.

use std::collections::BTreeSet;

use fanfare_core::{Config, TapEvent};
use fanfare_io::sim::{SimOptions, SimPeer};
use fanfare_tests::cluster::{Chance, Cluster};
use fanfare_tests::peer::Peer;
use fanfare_tests::seeds::run_seeds;
use fanfare_wire::notice;

fn cluster(config: Config) -> Cluster {
    Cluster::new(1, config, SimOptions::calm())
}

fn two_shards() -> Config {
    Config { shards: 2, ..Config::default() }
}

/// The time that a client was told.
fn told(peer: &Peer) -> Option<u64> {
    let words = peer.pongs.iter().find_map(|(_, payload)| notice::parse_draining_words(payload));
    let json = || {
        let text = peer.messages.iter().rev().find(|message| message.as_str().contains("draining"))?.as_str();
        let json: serde_json::Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(json["op"], "draining");
        json["reconnect_after_ms"].as_u64()
    };
    words.or_else(json)
}

fn texts(peer: &Peer) -> Vec<&str> {
    peer.messages.iter().map(|message| message.as_str()).collect()
}

/// Lets `ms` pass, and does `each` after each of them. Returns when each peer's connection was closed, if it was.
fn watch(
    cluster: &mut Cluster,
    peers: &mut [Peer],
    ms: u64,
    mut each: impl FnMut(&mut Cluster, &mut [Peer], u64),
) -> Vec<Option<u64>> {
    let mut closed = vec![None; peers.len()];
    for passed in 0..=ms {
        if passed > 0 {
            cluster.pass_ms(1, peers);
        }
        cluster.settle(peers);
        for (closed, peer) in closed.iter_mut().zip(peers.iter()) {
            *closed = closed.or(peer.closed.map(|_| passed));
        }
        each(cluster, peers, passed);
    }
    closed
}

#[test]
fn everybody_is_told_a_time_and_goes_then() {
    let mut cluster = cluster(two_shards());
    let paths = ["/ws/t", "/pub/t", "/stream?topics=t,u", "/stream", "/ws/u"];
    let mut peers: Vec<Peer> =
        (0..40).map(|number| cluster.connect(number % 2, paths[number / 2 % 5])).collect();
    cluster.settle(&mut peers);
    assert_eq!(cluster.handle.connections(), 40);
    cluster.handle.drain(1_000);
    let closed = watch(&mut cluster, &mut peers, 1_000, |_, _, _| {});
    for shard in 0..2 {
        let times: BTreeSet<u64> = peers.iter().skip(shard).step_by(2).filter_map(told).collect();
        assert!(times.into_iter().eq((0..20).map(|place| place * 50)), "each shard spreads its own evenly");
    }
    for (peer, closed) in peers.iter().zip(closed) {
        assert_eq!(closed, told(peer), "it goes when it was told");
        assert_eq!(peer.closed, Some(1012));
        assert_eq!(peer.close_reason, "the server restarts: reconnect");
        assert!(peer.link.saw_fin() && !peer.link.saw_reset());
    }
    assert_eq!((cluster.handle.connections(), cluster.sum(|stats| stats.drained.get())), (0, 40));
    assert_eq!(cluster.sum(|stats| stats.subscriptions.get()), 0);
    // The engine itself goes on until its shutdown.
    let mut tap = cluster.tap("t");
    cluster.publish("t", "inside");
    cluster.settle(&mut []);
    assert!(matches!(tap.poll(), Some(TapEvent::Message { .. })));
    assert_eq!(cluster.running(), 2);
    cluster.handle.shutdown(1_000);
    cluster.pass_ms(10, &mut []);
    assert_eq!(cluster.running(), 0);
}

#[test]
fn publishing_and_delivery_go_on_until_each_ones_time() {
    let mut cluster = cluster(two_shards());
    // Subscribers, and two publishers that stay until the end of the wave.
    let mut peers: Vec<Peer> = (0..40).map(|number| cluster.connect(number % 2, "/ws/t")).collect();
    cluster.settle(&mut peers);
    peers.extend((0..2).map(|shard| cluster.connect(shard, "/pub/t")));
    cluster.settle(&mut peers);
    let mut tap = cluster.tap("t");
    cluster.handle.drain(1_000);
    let closed = watch(&mut cluster, &mut peers, 1_000, |cluster, peers, passed| {
        if passed % 7 == 0 {
            cluster.publish("t", &format!("inside {passed}"));
            cluster.settle(peers);
            let publisher = &peers[40 + (passed % 2) as usize];
            if publisher.is_open() {
                publisher.send_text(&format!("client {passed}"));
            }
        }
    });
    let mut all = Vec::new();
    while let Some(TapEvent::Message { payload, .. }) = tap.poll() {
        all.push(String::from_utf8(payload.to_vec()).expect("text"));
    }
    assert!(
        all.iter().filter(|text| text.starts_with("client")).count() > 100,
        "clients publish during the wave"
    );
    for (peer, closed) in peers[..40].iter().zip(closed) {
        let closed = closed.expect("all are closed");
        let seen = texts(peer);
        assert!(seen.iter().zip(&all).all(|(seen, sent)| seen == sent), "no hole");
        let number =
            |text: &str| -> u64 { text.split(' ').nth(1).expect("two words").parse().expect("a time") };
        let owed = all.iter().filter(|text| number(text) < closed).count();
        assert!(seen.len() >= owed, "closed at {closed} with {} of {owed}", seen.len());
        assert!(seen.len() <= owed + 2);
    }
}

#[test]
fn who_has_not_asked_yet_gets_503_and_nobody_new_comes() {
    let mut cluster = cluster(two_shards());
    let links: Vec<SimPeer> = (0..4).map(|number| cluster.net.connect(number % 2)).collect();
    links[0].write(b"GET /ws/t HTTP/1.1\r\nHost: ");
    let mut peers = [cluster.connect(0, "/ws/t")];
    cluster.settle(&mut peers);
    cluster.handle.drain(60_000);
    cluster.settle(&mut peers);
    for link in &links {
        let answer = String::from_utf8(link.read()).expect("text");
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nRetry-After: "), "{answer}");
        assert!(link.saw_fin() && !link.saw_reset());
    }
    let late = cluster.net.connect(0);
    assert!(late.saw_reset(), "nobody listens any more");
    links.iter().for_each(SimPeer::finish);
    cluster.settle(&mut peers);
    assert_eq!((peers[0].closed, cluster.handle.connections()), (Some(1012), 0), "the first time is at once");
}

#[test]
fn who_was_accepted_at_the_last_moment_gets_503() {
    let mut cluster = cluster(Config::default());
    let mut peers = [cluster.connect(0, "/ws/t"), cluster.connect(0, "/ws/t")];
    cluster.settle(&mut peers[..1]);
    cluster.handle.drain(60_000);
    let mut late = [cluster.connect(0, "/ws/t")];
    for _ in 0..3 {
        cluster.turn_shard(0);
    }
    cluster.settle(&mut late);
    assert!(late[0].status == Some(503) || late[0].link.saw_reset(), "{:?}", late[0]);
}

#[test]
fn who_waits_for_topics_of_another_shard_is_sent_away_too() {
    let mut cluster = cluster(two_shards());
    let topic = cluster.topic_at(1);
    let mut peers = vec![cluster.connect(0, "/stream"), cluster.connect(0, "/stream")];
    cluster.settle(&mut peers);
    peers.push(cluster.connect(0, &format!("/ws/{topic}")));
    peers[0].send_text(&format!(r#"{{"op":"subscribe","args":["{topic}"],"id":1}}"#));
    // The home shard does not turn.
    (0..10).for_each(|_| cluster.turn_shard(0));
    cluster.handle.drain(0);
    (0..10).for_each(|_| cluster.turn_shard(0));
    peers.iter_mut().for_each(|peer| _ = peer.read());
    assert_eq!(peers[2].status, Some(503), "its answer was not sent yet");
    assert_eq!((peers[0].closed, peers[1].closed), (None, Some(1012)), "a reply is on its way");
    cluster.settle(&mut peers);
    assert_eq!(peers[0].closed, Some(1012));
    assert!(texts(&peers[0]).iter().any(|text| text.contains(r#""id":1,"op":"subscribe","ok":true"#)));
    assert_eq!((cluster.handle.connections(), cluster.sum(|stats| stats.subscriptions.get())), (0, 0));
}

#[test]
fn a_stalled_reader_is_closed_between_frames_when_it_reads_and_cut_off_when_it_does_not() {
    let mut cluster = cluster(Config { close_timeout_ms: 1_000, ..two_shards() });
    let mut peers: Vec<Peer> = [("/stream?topics=t", 0), ("/ws/t", 0), ("/ws/t", 1), ("/stream?topics=t", 1)]
        .map(|(path, shard)| cluster.connect(shard, path))
        .into();
    cluster.settle(&mut peers);
    for peer in &mut peers {
        peer.stalled = true;
        peer.link.set_window(100);
    }
    for number in 0..20 {
        cluster.publish("t", &format!("{number:0>300}"));
        cluster.settle(&mut peers);
    }
    cluster.handle.drain(100);
    cluster.settle(&mut peers);
    cluster.pass_ms(500, &mut peers);
    // Two of them read on: they get all that was published, the notice between two frames, and the close frame.
    for pick in [0, 1] {
        peers[pick].stalled = false;
        peers[pick].link.set_window(1 << 20);
    }
    cluster.settle(&mut peers);
    for pick in [0, 1] {
        assert_eq!(peers[pick].closed, Some(1012));
        assert!(told(&peers[pick]).is_some());
    }
    assert_eq!((peers[0].messages.len(), peers[1].messages.len()), (1 + 20 + 1, 20));
    assert_eq!(cluster.handle.connections(), 2);
    // The others are given the time for a close twice: to catch up, and for the close itself.
    cluster.pass_ms(2_000, &mut peers);
    assert_eq!(cluster.handle.connections(), 0);
    assert_eq!(cluster.sum(|stats| stats.drained.get()), 4);
}

#[test]
fn a_throttled_publisher_goes_at_its_time() {
    let mut cluster = cluster(Config { publish_rate_max: 1, ..Config::default() });
    let mut tap = cluster.tap("t");
    let mut peers = [cluster.connect(0, "/pub/t"), cluster.connect(0, "/pub/t")];
    cluster.settle(&mut peers);
    (0..50).for_each(|number| peers[1].send_text(&number.to_string()));
    cluster.settle(&mut peers);
    cluster.handle.drain(100);
    cluster.pass_ms(100, &mut peers);
    assert_eq!((peers[1].closed, cluster.handle.connections()), (Some(1012), 0));
    assert_eq!(std::iter::from_fn(|| tap.poll()).count(), 2, "what had been read before was published");
}

#[test]
fn a_shutdown_in_the_middle_takes_over() {
    let mut cluster = cluster(two_shards());
    let mut peers: Vec<Peer> = (0..20).map(|number| cluster.connect(number % 2, "/ws/t")).collect();
    cluster.settle(&mut peers);
    cluster.handle.drain(1_000);
    cluster.pass_ms(450, &mut peers);
    // A second drain changes nothing.
    cluster.handle.drain(0);
    cluster.pass_ms(40, &mut peers);
    assert_eq!(peers.iter().filter(|peer| peer.closed == Some(1012)).count(), 10);
    for number in 0..100 {
        cluster.publish("t", &number.to_string());
    }
    cluster.handle.shutdown(5_000);
    cluster.pass_ms(100, &mut peers);
    let closed = |code| peers.iter().filter(|peer| peer.closed == Some(code)).collect::<Vec<_>>();
    assert_eq!((closed(1012).len(), closed(1001).len()), (10, 10));
    assert!(closed(1001).iter().all(|peer| peer.messages.len() == 100), "with all that was published");
    assert_eq!((cluster.running(), cluster.handle.connections()), (0, 0));
    assert_eq!(cluster.sum(|stats| stats.drained.get()), 10);
}

#[test]
fn a_turn_sends_a_bounded_number_away() {
    const CROWD: usize = 3_000;
    let mut cluster =
        Cluster::new(1, Config::default(), SimOptions { connections_max: 4_096, ..SimOptions::calm() });
    let mut peers: Vec<Peer> = (0..CROWD).map(|_| cluster.connect(0, "/ws/t")).collect();
    cluster.settle(&mut peers);
    cluster.handle.drain(0);
    let mut before = 0;
    for _ in 0..100 {
        cluster.turn_shard(0);
        let drained = cluster.sum(|stats| stats.drained.get());
        assert!(drained - before <= 512, "{} at once", drained - before);
        before = drained;
    }
    cluster.settle(&mut peers);
    assert_eq!((before, cluster.handle.connections()), (CROWD as u64, 0));
    assert!(peers.iter().all(|peer| peer.closed == Some(1012) && told(peer) == Some(0)));
}

#[test]
fn an_engine_without_connections_drains_at_once_and_sleeps() {
    let mut cluster = cluster(two_shards());
    cluster.settle(&mut []);
    cluster.handle.drain(60_000);
    cluster.settle(&mut []);
    assert_eq!(cluster.handle.connections(), 0);
    let turns = cluster.sum(|stats| stats.turns.get());
    cluster.pass_ms(10_000, &mut []);
    assert!(cluster.sum(|stats| stats.turns.get()) - turns < 1_000, "nothing is left to wake up for");
}

const NS_PER_MS: u64 = 1_000_000;

/// Whatever the network does: what was sequenced before a shard found that a subscriber's time had come, that one gets.
fn what_was_published_before_ones_time_comes(seed: u64) {
    const EACH: usize = 12;
    const SPREAD_MS: u64 = 24;
    let mut chance = Chance::new(seed);
    let shards = 1 + (seed % 3) as usize;
    let config =
        Config { shards, fan_out_slice: 3, send_slice: 4, inbox_commands_max: 16, ..Config::default() };
    let options = SimOptions { window_bytes: 2_048, ..SimOptions::default() };
    let mut cluster = Cluster::new(seed, config, options);
    let mut tap = cluster.tap("t");
    let mut peers: Vec<Peer> =
        (0..EACH * shards).map(|number| cluster.connect(number % shards, "/ws/t")).collect();
    cluster.pass_ms(1_000, &mut peers);
    assert!(peers.iter().all(Peer::is_open));

    let (mut all, mut sequenced) = (Vec::new(), 0);
    // The turns of each shard: when, and how many messages there were before.
    let mut turns: Vec<Vec<(u64, usize)>> = vec![Vec::new(); shards];
    cluster.handle.drain(SPREAD_MS);
    while peers.iter().any(|peer| peer.closed.is_none()) {
        assert!(all.len() < 100_000, "the drain does not end");
        if chance.one_in(3) {
            let text = format!("{} {}", all.len(), "x".repeat(chance.below(200)));
            if cluster.try_publish("t", &text) {
                all.push(text);
            }
        }
        sequenced += std::iter::from_fn(|| tap.poll()).count();
        let shard = chance.below(shards);
        turns[shard].push((cluster.net.now(), sequenced));
        cluster.turn_shard(shard);
        peers.iter_mut().filter(|_| !chance.one_in(4)).for_each(|peer| _ = peer.read());
        cluster.net.advance(NS_PER_MS / 20);
    }
    for (number, peer) in peers.iter().enumerate() {
        assert_eq!(peer.closed, Some(1012));
        assert!(texts(peer).iter().zip(&all).all(|(seen, sent)| seen == sent), "no hole");
        let turns = &turns[number % shards];
        let due = turns[0].0 + told(peer).expect("it was told") * NS_PER_MS;
        let (_, owed) = turns.iter().find(|(at, _)| *at >= due).expect("there was a turn");
        assert!(peer.messages.len() >= *owed, "{} of {owed} messages", peer.messages.len());
    }
    cluster.pass_ms(6_000, &mut peers);
    assert_eq!((cluster.handle.connections(), cluster.sum(|stats| stats.subscriptions.get())), (0, 0));
}

#[test]
fn everybody_gets_what_was_published_before_its_time() {
    run_seeds("draining", what_was_published_before_ones_time_comes);
}
