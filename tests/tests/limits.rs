//! Limits of connections and of what they may do, on the simulated kernel: each is reached, counted and answered, nobody
//! else notices, and it works again afterwards.

use std::net::IpAddr;

use fanfare_core::{Config, REFUSED_AT_ONCE_MAX, Tap, TapEvent};
use fanfare_io::sim::{SimOptions, SimPeer};
use fanfare_tests::cluster::Cluster;
use fanfare_tests::peer::Peer;
use fanfare_wire::frame::{self, Opcode};
use fanfare_wire::origin::OriginRule;

const KEY: Option<[u8; 4]> = Some([1, 2, 3, 4]);
const HALF_A_HEAD: &[u8] = b"GET /ws/t HTTP/1.1\r\nHost: sim\r\n";

fn cluster(config: Config) -> Cluster {
    Cluster::new(1, config, SimOptions::calm())
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Connections that are accepted one after the other.
fn connect_each(cluster: &mut Cluster, count: usize, path: &str) -> Vec<Peer> {
    let mut peers = Vec::new();
    for _ in 0..count {
        peers.push(cluster.connect(0, path));
        cluster.settle(&mut peers);
    }
    peers
}

/// The seconds after which a refused client is to come back.
fn retry_after(head: &str) -> u32 {
    let line = head.lines().find_map(|line| line.strip_prefix("Retry-After: "));
    line.expect("a refusal says when to come back").parse().expect("seconds")
}

fn answer(link: &SimPeer) -> String {
    String::from_utf8(link.read()).expect("an answer is text")
}

/// All of these still get what is published.
fn assert_undisturbed(cluster: &mut Cluster, topic: &str, peers: &mut [Peer]) {
    let before: Vec<usize> = peers.iter().map(|peer| peer.messages.len()).collect();
    cluster.publish(topic, "still here?");
    cluster.settle(peers);
    for (peer, before) in peers.iter().zip(before) {
        assert!(peer.is_open() && peer.messages.len() == before + 1, "{:?}", peer.closed);
    }
}

#[test]
fn beyond_connections_max_everybody_is_told_to_come_back() {
    let mut cluster = cluster(Config { connections_max: 3, ..Config::default() });
    let mut peers = connect_each(&mut cluster, 3, "/ws/t");
    let mut refused = connect_each(&mut cluster, 10, "/ws/t");
    let mut times: Vec<u32> = refused.iter().map(|peer| retry_after(&peer.head)).collect();
    assert!(refused.iter().all(|peer| peer.status == Some(503) && peer.link.saw_fin()));
    assert!(refused.iter().all(|peer| peer.link.is_closed() && !peer.link.saw_reset()));
    assert!(times.windows(2).all(|pair| pair[0] != pair[1]), "{times:?}");
    times.sort_unstable();
    assert_eq!(times, [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
    assert_eq!(cluster.sum(|stats| stats.connections_refused.get()), 10);
    assert_eq!(cluster.handle.connections(), 3);
    assert_undisturbed(&mut cluster, "t", &mut peers);

    peers.remove(1).reset();
    cluster.settle(&mut peers);
    refused.clear();
    peers.push(cluster.connect(0, "/ws/t"));
    cluster.settle(&mut peers);
    assert_undisturbed(&mut cluster, "t", &mut peers);
    assert_eq!(cluster.sum(|stats| stats.connections_refused.get()), 10);
}

#[test]
fn a_refused_connection_has_a_second_for_its_request_and_counts_as_nothing_else() {
    let mut cluster = cluster(Config { connections_max: 1, handshakes_max: 1, ..Config::default() });
    let open = cluster.net.connect(0);
    open.write(HALF_A_HEAD);
    cluster.settle(&mut []);
    let (silent, slow) = (cluster.net.connect(0), cluster.net.connect(0));
    slow.write(HALF_A_HEAD);
    cluster.pass_ms(800, &mut []);
    assert_eq!((silent.unread(), cluster.handle.connections()), (0, 3));
    slow.write(b"\r\n");
    cluster.pass_ms(300, &mut []);
    assert!(answer(&slow).starts_with("HTTP/1.1 503 "));
    assert!(answer(&silent).starts_with("HTTP/1.1 408 "));
    cluster.pass_ms(1_200, &mut []);
    assert_eq!(cluster.handle.connections(), 1, "they are cut off soon although they do not close");
    let stats = |cluster: &Cluster| {
        (
            cluster.sum(|stats| stats.handshake_timeouts.get()),
            cluster.sum(|stats| stats.handshakes_displaced.get()),
        )
    };
    assert_eq!(stats(&cluster), (0, 0));
    // The one that was let in has its whole time.
    open.write(b"\r\n");
    cluster.settle(&mut []);
    assert!(answer(&open).starts_with("HTTP/1.1 426 "));
}

#[test]
fn those_who_find_no_place_to_be_refused_at_wait_in_the_kernels_queue() {
    const MAX: usize = 2;
    let config = Config { connections_max: MAX, ..Config::default() };
    let options = SimOptions { connections_max: MAX + REFUSED_AT_ONCE_MAX, ..SimOptions::calm() };
    let mut cluster = Cluster::new(1, config, options);
    let mut peers = connect_each(&mut cluster, MAX, "/ws/t");
    let silent: Vec<SimPeer> = (0..REFUSED_AT_ONCE_MAX).map(|_| cluster.net.connect(0)).collect();
    cluster.settle(&mut peers);
    let mut late = [cluster.connect(0, "/ws/t")];
    cluster.settle(&mut late);
    assert_eq!((late[0].status, cluster.net.backlog(0)), (None, 1));
    assert_undisturbed(&mut cluster, "t", &mut peers);
    drop(silent);
    cluster.settle(&mut late);
    assert_eq!(late[0].status, Some(503));
    assert_eq!(cluster.handle.connections(), MAX);
}

#[test]
fn an_address_has_so_many_connections_over_all_shards() {
    let mut cluster = cluster(Config { shards: 2, connections_per_address_max: 2, ..Config::default() });
    let (crowded, other) = (address("198.51.100.7"), address("198.51.100.8"));
    let mut peers: Vec<Peer> = (0..2).map(|shard| cluster.connect_from(shard, crowded, "/ws/t")).collect();
    peers.push(cluster.connect_from(0, other, "/ws/t"));
    cluster.settle(&mut peers);
    let mut refused: Vec<Peer> =
        [0, 1, 1, 0].map(|shard| cluster.connect_from(shard, crowded, "/ws/t")).into();
    cluster.settle(&mut refused);
    for peer in &refused {
        assert_eq!((peer.status, peer.link.saw_reset()), (Some(429), false));
        assert!((1..=5).contains(&retry_after(&peer.head)));
    }
    assert_eq!(cluster.sum(|stats| stats.address_refused.get()), 4);
    assert_undisturbed(&mut cluster, "t", &mut peers);

    // However a connection ends, its place is free again.
    for end in [Peer::reset, Peer::finish, |peer: &mut Peer| peer.close(1000)] {
        end(&mut peers[1]);
        cluster.settle(&mut peers);
        peers[1] = cluster.connect_from(1, crowded, "/ws/t");
        cluster.settle(&mut peers);
        assert_undisturbed(&mut cluster, "t", &mut peers);
        let mut one_more = [cluster.connect_from(0, crowded, "/ws/t")];
        cluster.settle(&mut one_more);
        assert_eq!(one_more[0].status, Some(429));
    }
}

#[test]
fn an_ipv6_network_is_one_address() {
    let mut cluster = cluster(Config { connections_per_address_max: 1, ..Config::default() });
    let mut peers = ["2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1", "::ffff:192.0.2.1", "192.0.2.1"]
        .map(|from| cluster.connect_from(0, address(from), "/ws/t"));
    cluster.settle(&mut peers);
    assert_eq!(peers.map(|peer| peer.status), [Some(101), Some(429), Some(101), Some(101), Some(429)]);
}

#[test]
fn a_crowd_from_one_address_takes_nobody_elses_place() {
    const CROWD: usize = 200;
    let config = Config { connections_max: 20, connections_per_address_max: 4, ..Config::default() };
    let options = SimOptions { connections_max: 20 + REFUSED_AT_ONCE_MAX, ..SimOptions::calm() };
    let mut cluster = Cluster::new(1, config, options);
    let crowd: Vec<SimPeer> =
        (0..CROWD).map(|_| cluster.net.connect_from(0, address("203.0.113.9"))).collect();
    // Where the table was full for a moment, accepting goes on a little later.
    cluster.pass_ms(900, &mut []);
    assert_eq!(cluster.handle.connections(), 4 + REFUSED_AT_ONCE_MAX, "the others were closed at once");
    assert_eq!(cluster.sum(|stats| stats.address_refused.get()), (CROWD - 4) as u64);
    let mut peers: Vec<Peer> = (0..16_u32)
        .map(|number| cluster.connect_from(0, IpAddr::V4((0x0A00_0000 + number).into()), "/ws/t"))
        .collect();
    cluster.settle(&mut peers);
    assert_undisturbed(&mut cluster, "t", &mut peers);
    cluster.pass_ms(2_500, &mut peers);
    assert_eq!(cluster.handle.connections(), 20);
    drop(crowd);
    cluster.settle(&mut peers);
    assert_eq!(cluster.handle.connections(), 16);
}

#[test]
fn the_oldest_request_in_the_making_makes_room_for_a_new_one() {
    let mut cluster = cluster(Config { handshakes_max: 3, ..Config::default() });
    // Who is upgraded, or only waits for its answer, takes no place.
    let mut peers = connect_each(&mut cluster, 5, "/ws/t");
    let slow: Vec<SimPeer> = (0..3).map(|_| cluster.net.connect(0)).collect();
    cluster.settle(&mut peers);
    slow.iter().for_each(|link| link.write(HALF_A_HEAD));
    cluster.settle(&mut peers);
    assert_eq!(cluster.sum(|stats| stats.handshakes_displaced.get()), 0);
    // For a second nobody has to make room: the newcomer is refused.
    let early = connect_each(&mut cluster, 1, "/ws/t");
    assert_eq!((early[0].status, cluster.sum(|stats| stats.handshakes_refused.get())), (Some(503), 1));
    cluster.pass_ms(1_000, &mut peers);
    for (displaced, link) in (1..).zip(&slow) {
        peers.push(cluster.connect(0, "/ws/t"));
        cluster.settle(&mut peers);
        if displaced == 1 {
            let answer = answer(link);
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        }
        // The new one's request was complete at once, so the place is free.
        assert_eq!(cluster.sum(|stats| stats.handshakes_displaced.get()), 1);
    }
    assert!(slow[1..].iter().all(|link| link.unread() == 0));
    let flood: Vec<SimPeer> = (0..500).map(|_| cluster.net.connect(0)).collect();
    cluster.settle(&mut peers);
    let sums = [
        cluster.sum(|stats| stats.handshakes_displaced.get()),
        cluster.sum(|stats| stats.handshakes_refused.get()),
    ];
    assert_eq!(sums, [1 + 2, 1 + 497]);
    assert!(answer(&slow[2]).starts_with("HTTP/1.1 503 "));
    assert!(flood[..3].iter().all(|link| link.unread() == 0));
    assert_undisturbed(&mut cluster, "t", &mut peers);
    // A second for a request that does not come, and one for its end.
    cluster.pass_ms(2_500, &mut peers);
    assert_eq!(cluster.handle.connections(), peers.len() + 3, "who was displaced or refused is cut off soon");
    flood[2].write(b"GET /ws/t HTTP/1.1\r\nHost: sim\r\n\r\n");
    cluster.settle(&mut peers);
    assert!(answer(&flood[2]).starts_with("HTTP/1.1 426 "));
}

#[test]
fn a_message_in_too_many_fragments_closes_with_1009() {
    let mut cluster = cluster(Config { fragments_max: 3, ..Config::default() });
    let mut tap = cluster.tap("t");
    let mut peers = connect_each(&mut cluster, 2, "/pub/t");
    let send = |peer: &Peer, fragments: usize| {
        let mut bytes = Vec::new();
        for number in 0..fragments {
            let opcode = if number == 0 { Opcode::Text } else { Opcode::Continuation };
            frame::write(&mut bytes, opcode, number + 1 == fragments, b"x", KEY);
        }
        peer.link.write(&bytes);
    };
    send(&peers[0], 3);
    send(&peers[0], 1);
    send(&peers[0], 4);
    cluster.settle(&mut peers);
    assert_eq!(texts(&mut tap), ["xxx", "x"]);
    assert_eq!((peers[0].closed, peers[1].closed), (Some(1009), None));
    assert_eq!(cluster.sum(|stats| stats.protocol_errors.get()), 1);
    send(&peers[1], 2);
    cluster.settle(&mut peers);
    assert_eq!(texts(&mut tap), ["xx"]);
}

/// The messages that came since the last look.
fn texts(tap: &mut Tap) -> Vec<String> {
    let text = |event| match event {
        TapEvent::Message { payload, .. } => String::from_utf8(payload.to_vec()).expect("text"),
        event => panic!("{event:?}"),
    };
    std::iter::from_fn(|| tap.poll()).map(text).collect()
}

#[test]
fn who_does_not_take_its_pongs_is_soon_not_read_from() {
    const PINGS: u32 = 20_000;
    let config = Config { control_frames_max: 8, ..Config::default() };
    let mut cluster = Cluster::new(1, config, SimOptions { buffer_count: 4, ..SimOptions::calm() });
    let mut peers = connect_each(&mut cluster, 2, "/ws/t");
    peers[0].stalled = true;
    peers[0].link.set_window(64);
    let before = cluster.sum(|stats| stats.received_bytes.get());
    for number in 0..PINGS {
        peers[0].send(Opcode::Ping, &number.to_be_bytes());
    }
    cluster.settle(&mut peers);
    let read = cluster.sum(|stats| stats.received_bytes.get()) - before;
    // What the buffers hold is received before receiving stops.
    assert!(read <= 2 * 4 * 2048, "{read} bytes were read");
    assert_undisturbed(&mut cluster, "t", &mut peers[1..]);
    peers[0].stalled = false;
    peers[0].link.set_window(1 << 20);
    cluster.settle(&mut peers);
    let pongs = peers[0].pongs.iter().map(|(_, payload)| payload.as_slice());
    assert!(pongs.eq((0..PINGS).map(u32::to_be_bytes).collect::<Vec<_>>().iter().map(|bytes| &bytes[..])));
    assert!(peers[0].is_open());
}

#[test]
fn messages_begun_and_not_finished_share_a_bound() {
    let config = Config { message_bytes_max: 4096, unfinished_bytes_max: 8192, ..Config::default() };
    let mut cluster = cluster(config);
    let mut peers = connect_each(&mut cluster, 4, "/ws/t");
    // A frame of 4 000 bytes, unmasked by a key of zeros, but for its last byte.
    let mut frame = vec![0x81, 0xFE, 0x0F, 0xA0, 0, 0, 0, 0];
    frame.resize(8 + 3_999, b'x');
    for pick in [0, 1] {
        peers[pick].link.write(&frame);
        cluster.settle(&mut peers);
    }
    peers[2].link.write(&frame);
    // What comes whole takes no room.
    peers[3].send_text("meanwhile");
    cluster.settle(&mut peers);
    let closed: Vec<usize> = (0..4).filter(|pick| peers[*pick].closed == Some(1013)).collect();
    assert!(closed.len() == 1 && closed[0] < 3, "one of those who hold most is closed: {closed:?}");
    assert_eq!(cluster.sum(|stats| stats.unfinished_refused.get()), 1);
    // Who finishes makes room, and so did the one that was closed.
    let left = [0, 1, 2].into_iter().filter(|pick| *pick != closed[0]);
    left.for_each(|pick| peers[pick].link.write(b"x"));
    cluster.settle(&mut peers);
    peers.push(cluster.connect(0, "/ws/t"));
    peers.push(cluster.connect(0, "/ws/t"));
    cluster.settle(&mut peers);
    for part in [&frame[..], b"x"] {
        [4, 5].into_iter().for_each(|pick: usize| peers[pick].link.write(part));
        cluster.settle(&mut peers);
    }
    assert_eq!(peers[3].messages.len(), 1 + 2 + 2, "all that was finished came");
    assert_eq!(cluster.sum(|stats| stats.unfinished_refused.get()), 1);
}

#[test]
fn pongs_that_the_socket_did_not_take_wait_with_the_others() {
    let mut cluster = cluster(Config { control_frames_max: 8, ..Config::default() });
    let mut peers = connect_each(&mut cluster, 1, "/ws/t");
    peers[0].stalled = true;
    peers[0].link.set_window(64);
    let mut batch = |peers: &mut [Peer]| {
        let before = cluster.sum(|stats| stats.received_bytes.get());
        (0..5).for_each(|_| peers[0].send(Opcode::Ping, &[0; 100]));
        cluster.settle(peers);
        cluster.sum(|stats| stats.received_bytes.get()) > before
    };
    assert_eq!([batch(&mut peers), batch(&mut peers), batch(&mut peers)], [true, true, false]);
    peers[0].stalled = false;
    peers[0].link.set_window(1 << 20);
    cluster.settle(&mut peers);
    assert_eq!(peers[0].pongs.len(), 15);
}

#[test]
fn a_connection_that_is_closed_while_its_pongs_wait_still_closes_in_order() {
    let mut cluster =
        cluster(Config { control_frames_max: 8, close_timeout_ms: 3_600_000, ..Config::default() });
    let mut peers = connect_each(&mut cluster, 1, "/ws/t");
    peers[0].stalled = true;
    peers[0].link.set_window(64);
    (0..100).for_each(|_| peers[0].send(Opcode::Ping, &[0; 100]));
    cluster.settle(&mut peers);
    // Nothing it was pinged for is answered, so it is closed, and takes that late.
    cluster.pass_ms(70_000, &mut peers);
    assert_eq!(cluster.sum(|stats| stats.idle_disconnects.get()), 1);
    peers[0].stalled = false;
    peers[0].link.set_window(1 << 20);
    cluster.settle(&mut peers);
    assert_eq!((peers[0].closed, peers[0].link.saw_fin()), (Some(4000), true));
    assert_eq!(cluster.handle.connections(), 0);
}

#[test]
fn pages_of_other_origins_may_not_connect() {
    let rules = [OriginRule::Local, "https://app.example".parse().expect("a rule")];
    let mut cluster = cluster(Config { origins_allowed: rules.into_iter().collect(), ..Config::default() });
    let ask = |cluster: &mut Cluster, origin: &str, upgrade: bool| {
        let link = cluster.net.connect(0);
        let upgrade = if upgrade {
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        } else {
            ""
        };
        link.write(format!("GET /stream HTTP/1.1\r\nHost: sim\r\n{origin}{upgrade}\r\n").as_bytes());
        cluster.settle(&mut []);
        answer(&link)[9..12].parse::<u16>().expect("a status")
    };
    for (origin, upgrade, status) in [
        ("Origin: https://app.example\r\n", true, 101),
        ("Origin: http://localhost:3000\r\n", true, 101),
        ("", true, 101),
        ("Origin: https://evil.example\r\n", true, 403),
        ("Origin: http://sim\r\n", true, 403),
        ("Origin: null\r\n", true, 403),
        ("Origin: https://evil.example\r\n", false, 426),
    ] {
        assert_eq!(ask(&mut cluster, origin, upgrade), status, "{origin:?}");
    }
    assert_eq!(cluster.sum(|stats| stats.origin_refused.get()), 3);
}
