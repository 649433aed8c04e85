//! One suite for every driver.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use fanfare_io::{Driver, NoSends, PARTS_MAX, Wait};

use crate::rig::{Rig, Seen, Sends, pattern};
use crate::worlds::{Peer, Sim, Sizes, Uring, World};

fn rig<W: World>(seed: u64) -> Rig<W> {
    let mut rig = Rig::<W>::new(seed, Sizes::default());
    rig.driver().accept();
    rig
}

fn bytes_go_both_ways<W: World>(seed: u64) {
    let mut rig = rig::<W>(seed);
    let (conn, mut peer) = rig.pair();
    assert_eq!(peer.write(b"before receive is asked for"), 27);
    rig.driver().receive(conn);
    rig.expect_received(conn, b"before receive is asked for");
    assert_eq!(peer.write(b" and after"), 10);
    rig.expect_received(conn, b"before receive is asked for and after");
    let sent = vec![b"one part".to_vec()];
    assert_eq!(rig.send_all(conn, &sent, || peer.read(usize::MAX)), b"one part");
}

fn all_parts_arrive_in_order<W: World>(seed: u64) {
    let mut rig = rig::<W>(seed);
    let (conn, mut peer) = rig.pair();
    for count in [2, 3, PARTS_MAX] {
        let parts: Vec<_> = (0..count).map(|i| pattern(1 + i * 37, i as u32)).collect();
        assert_eq!(rig.send_all(conn, &parts, || peer.read(usize::MAX)), parts.concat(), "{count} parts");
    }
}

/// The synchronous contract: a short send is told within its own submit, and says exactly how much was taken.
fn a_short_send_tells_how_much_and_the_rest_follows<W: World>(seed: u64) {
    for parts in [1, 7] {
        let mut rig = rig::<W>(seed);
        let (conn, mut peer) = rig.pair();
        let data = vec![pattern(W::FLOOD / parts, 1); parts];
        let seen = rig.turn(&Sends(vec![(conn, data.clone())]));
        let shorts: Vec<_> = seen.iter().filter(|e| matches!(e, Seen::Short(..))).collect();
        let [&Seen::Short(of, sent)] = shorts[..] else { panic!("one short send in {seen:?}") };
        assert_eq!(of, conn);

        // With a full socket the next send takes nothing at all.
        let rest = crate::rig::skip(data.clone(), sent);
        let mut total = sent;
        let seen = rig.turn(&Sends(vec![(conn, rest.clone())]));
        let Some(again) = seen.iter().find_map(|e| if let Seen::Short(_, n) = *e { Some(n) } else { None })
        else {
            panic!("the socket was full, and now {seen:?}")
        };
        total += again;
        let rest = crate::rig::skip(rest, again);

        rig.driver().notify_writable(conn);
        if W::CALM {
            let seen = rig.turn(&Sends::default());
            assert!(!seen.contains(&Seen::Writable(conn)), "nobody read, so there is no room");
        }
        let mut arrived = Vec::new();
        while !rig.seen.contains(&Seen::Writable(conn)) {
            arrived.extend(peer.read(usize::MAX));
            let seen = rig.turn(&Sends::default());
            rig.seen.extend(seen);
        }
        rig.seen.clear();
        arrived.extend(rig.send_all(conn, &rest, || peer.read(usize::MAX)));
        while arrived.len() < data.concat().len() {
            arrived.extend(peer.read(usize::MAX));
            rig.turn(&Sends::default());
        }
        assert!(arrived == data.concat(), "the stream is whole after {total} bytes went out first");
    }
}

fn a_pause_leaves_bytes_in_the_socket<W: World>(seed: u64) {
    let mut rig = rig::<W>(seed);
    let (conn, mut peer) = rig.pair();
    rig.driver().receive(conn);
    peer.write(b"first");
    rig.expect_received(conn, b"first");
    rig.driver().pause_receive(conn);
    rig.expect(&Seen::Paused(conn));
    peer.write(b", second");
    for _ in 0..5 {
        let seen = rig.turn(&Sends::default());
        assert!(!seen.iter().any(|e| matches!(e, Seen::Received(..))), "it is paused");
    }
    // Pausing what is paused does nothing.
    rig.driver().pause_receive(conn);
    rig.driver().receive(conn);
    rig.expect_received(conn, b"first, second");
}

fn a_pause_and_a_fin_race<W: World>(seed: u64) {
    let mut rig = rig::<W>(seed);
    let (conn, mut peer) = rig.pair();
    rig.driver().receive(conn);
    peer.write(b"last words");
    peer.finish();
    rig.driver().pause_receive(conn);
    let paused = rig.until("the end", |seen| {
        seen.iter().find_map(|e| match *e {
            Seen::Paused(_) => Some(true),
            Seen::Eof(_) => Some(false),
            _ => None,
        })
    });
    if paused {
        rig.driver().receive(conn);
        rig.expect(&Seen::Eof(conn));
    }
    assert_eq!(rig.received(conn), b"last words");
}

fn after_the_peers_fin_it_still_hears<W: World>(seed: u64) {
    let mut rig = rig::<W>(seed);
    let (conn, mut peer) = rig.pair();
    rig.driver().receive(conn);
    peer.write(b"bye");
    peer.finish();
    rig.expect(&Seen::Eof(conn));
    assert_eq!(rig.received(conn), b"bye");
    assert_eq!(rig.send_all(conn, &[b"so long".to_vec()], || peer.read(usize::MAX)), b"so long");
    assert!(!peer.saw_fin());
    rig.close(conn);
    rig.expect(&Seen::Closed(conn));
    rig.until("FIN at the peer", |_| peer.saw_fin().then_some(()));
}

fn after_our_fin_we_still_hear<W: World>(seed: u64) {
    let mut rig = rig::<W>(seed);
    let (conn, mut peer) = rig.pair();
    rig.driver().receive(conn);
    rig.driver().shutdown_write(conn);
    rig.until("FIN at the peer", |_| peer.saw_fin().then_some(()));
    peer.write(b"heard");
    rig.expect_received(conn, b"heard");
    peer.finish();
    rig.expect(&Seen::Eof(conn));
    rig.close(conn);
    rig.expect(&Seen::Closed(conn));
}

fn a_reset_ends_receiving_and_sending<W: World>(seed: u64) {
    let mut rig = rig::<W>(seed);
    let (conn, peer) = rig.pair();
    rig.driver().receive(conn);
    rig.turn(&Sends::default());
    peer.reset();
    rig.expect(&Seen::ReceiveError(conn));
    rig.driver().notify_writable(conn);
    rig.expect(&Seen::Writable(conn));
    loop {
        let seen = rig.turn(&Sends(vec![(conn, vec![b"anyone?".to_vec()])]));
        if seen.contains(&Seen::SendError(conn)) {
            break;
        }
        assert!(!W::CALM, "a send into a broken connection fails at once: {seen:?}");
    }
    rig.close(conn);
    rig.expect(&Seen::Closed(conn));
}

/// An armed receive holds the socket, so a bare close would leave the peer waiting.
fn a_close_while_receiving_and_polling_reaches_the_peer<W: World>(seed: u64) {
    let mut rig = rig::<W>(seed);
    let (conn, mut peer) = rig.pair();
    rig.driver().receive(conn);
    // Fill the socket, so that the poll stays armed.
    loop {
        let seen = rig.turn(&Sends(vec![(conn, vec![vec![7; 1 << 20]])]));
        if seen.iter().any(|e| matches!(e, Seen::Short(..))) {
            break;
        }
    }
    rig.driver().notify_writable(conn);
    rig.turn(&Sends::default());
    rig.close(conn);
    rig.expect(&Seen::Closed(conn));
    rig.until("FIN at the peer", |_| peer.saw_fin().then_some(()));
    let ended = rig.seen.iter().filter(|e| matches!(e, Seen::Paused(of) if *of == conn)).count();
    assert_eq!(ended, 1, "receiving ended before the close");
    assert!(!peer.saw_reset());
}

fn a_lack_of_buffers_loses_nothing<W: World>(seed: u64) {
    let sizes = Sizes { buffers: 4, buffer_bytes: 16, ..Sizes::default() };
    let mut rig = Rig::<W>::new(seed, sizes);
    rig.driver().accept();
    let (conn, mut peer) = rig.pair();
    let data = pattern(1000, 3);
    assert_eq!(peer.write(&data), 1000);
    rig.hold = true;
    rig.driver().receive(conn);
    let mut rounds = 0;
    loop {
        let is_whole = rig.until("an end of buffers or of data", |seen| {
            let bytes = seen.iter().map(|e| if let Seen::Received(_, b) = e { b.len() } else { 0 });
            let is_whole = bytes.sum::<usize>() == 1000;
            (is_whole || seen.contains(&Seen::NoBuffers(conn))).then_some(is_whole)
        });
        if is_whole {
            break;
        }
        assert!(rig.held.len() <= 4, "there are only four buffers");
        rig.seen.retain(|event| *event != Seen::NoBuffers(conn));
        rig.held.clear();
        rig.driver().receive(conn);
        rounds += 1;
    }
    assert!(rounds >= 5, "{rounds} rounds of at most 64 bytes");
    assert_eq!(rig.received(conn), data);
}

fn a_stop_is_final_and_closes_the_listener<W: World>(seed: u64) {
    let mut rig = rig::<W>(seed);
    let (first, mut peer) = rig.pair();
    // These race with the stop: each is either accepted before it is told, or hung up on.
    let mut racing: Vec<_> = (0..40).map(|_| rig.world.connect()).collect();
    rig.driver().stop_accept();
    rig.driver().stop_accept();
    let end = Seen::AcceptStopped(Some(libc::ECANCELED));
    let at = rig.until("the end", |seen| seen.iter().position(|event| *event == end));
    let is_accepted = |event: &&Seen| matches!(event, Seen::Accepted(..));
    let accepted = rig.seen[..at].iter().filter(is_accepted).count();
    assert_eq!(rig.seen[at + 1..].iter().find(is_accepted), None, "nobody comes behind the end");
    rig.seen.clear();
    let alive = racing.iter_mut().map(|peer| usize::from(!peer.saw_reset())).sum::<usize>();
    assert_eq!(alive, accepted, "whoever was not accepted was hung up on");

    assert!(rig.world.refuses());
    for _ in 0..2 {
        rig.driver().accept();
        rig.expect(&Seen::AcceptStopped(Some(libc::EINVAL)));
    }
    rig.driver().stop_accept();
    for _ in 0..10 {
        let seen = rig.turn(&Sends::default());
        assert!(!seen.iter().any(|e| matches!(e, Seen::Accepted(..) | Seen::AcceptStopped(_))), "{seen:?}");
    }
    // Those that stand go on.
    rig.driver().receive(first);
    peer.write(b"still here");
    rig.expect_received(first, b"still here");
}

fn a_stop_without_accepting_closes_the_listener_too<W: World>(seed: u64) {
    let mut rig = Rig::<W>::new(seed, Sizes::default());
    let mut waiting = rig.world.connect();
    rig.driver().stop_accept();
    rig.expect(&Seen::AcceptStopped(Some(libc::ECANCELED)));
    assert!(waiting.saw_reset());
    assert!(rig.world.refuses());
}

fn a_stop_with_a_full_table_closes_the_listener_too<W: World>(seed: u64) {
    let mut rig = Rig::<W>::new(seed, Sizes { connections: 2, ..Sizes::default() });
    let _peers: Vec<_> = (0..3).map(|_| rig.world.connect()).collect();
    rig.driver().accept();
    let conn = rig.accepted();
    rig.expect(&Seen::AcceptStopped(Some(libc::ENFILE)));
    rig.driver().stop_accept();
    rig.expect(&Seen::AcceptStopped(Some(libc::ECANCELED)));
    assert!(rig.world.refuses());
    rig.close(conn);
    rig.expect(&Seen::Closed(conn));
}

fn peers_come_with_their_address<W: World>(seed: u64) {
    let mut rig = rig::<W>(seed);
    // More than a slice, so that places for addresses are used again.
    let hosts: Vec<_> = (1..=50).map(|host| Ipv4Addr::new(127, 0, 3, host)).collect();
    let _peers: Vec<_> = hosts.iter().map(|&from| rig.world.connect_from(from)).collect();
    let mut seen: Vec<_> = hosts.iter().map(|_| rig.accepted_from().1.expect("an address")).collect();
    if !W::CALM {
        seen.sort();
    }
    assert_eq!(seen, hosts.into_iter().map(IpAddr::from).collect::<Vec<_>>());
}

fn one_submit_accepts_a_slice_and_all_get_in<W: World>(seed: u64) {
    const PEERS: usize = 300;
    for accept_slice in [1, 7, 16] {
        let sizes = Sizes { connections: 500, accept_slice, ..Sizes::default() };
        let mut rig = Rig::<W>::new(seed, sizes);
        let _peers: Vec<_> = (0..PEERS).map(|_| rig.world.connect()).collect();
        rig.driver().accept();
        let mut conns = HashSet::new();
        let mut turns = 0;
        while conns.len() < PEERS {
            let mut count = 0;
            for event in rig.turn(&Sends::default()) {
                match event {
                    Seen::Accepted(conn, _) => {
                        assert!(conns.insert(conn), "{conn} is in use");
                        count += 1;
                    }
                    Seen::AcceptStopped(_) => rig.driver().accept(),
                    _ => {}
                }
            }
            if W::CALM {
                assert!(count <= accept_slice, "{count} in one turn");
            }
            turns += 1;
            assert!(turns < 50 * PEERS, "{} of {PEERS}", conns.len());
        }
        assert!(turns >= PEERS / accept_slice, "{turns} turns");
    }
}

fn a_full_table_leaves_peers_in_the_backlog<W: World>(seed: u64) {
    let mut rig = Rig::<W>::new(seed, Sizes { connections: 3, ..Sizes::default() });
    let mut peers: Vec<_> = (0..5).map(|_| rig.world.connect()).collect();
    rig.driver().accept();
    let mut conns: Vec<_> = (0..3).map(|_| rig.accepted()).collect();
    for &conn in &conns {
        assert!(conn.index() < 3, "slots are dense");
    }
    rig.expect(&Seen::AcceptStopped(Some(libc::ENFILE)));
    for peer in &mut peers {
        assert!(!peer.saw_fin() && !peer.saw_reset(), "nobody was hung up on");
    }
    for _ in 0..2 {
        let conn = conns.remove(0);
        rig.close(conn);
        rig.expect(&Seen::Closed(conn));
        rig.driver().accept();
        assert_eq!(rig.accepted(), conn, "the only free slot");
        rig.expect(&Seen::AcceptStopped(Some(libc::ENFILE)));
    }
    for peer in &mut peers[3..] {
        assert!(!peer.saw_fin() && !peer.saw_reset());
    }
}

/// All buffers are in somebody's hands: whoever receives is told so, and nobody else notices.
fn a_lack_of_buffers_is_the_receivers_affair_only<W: World>(seed: u64) {
    let sizes = Sizes { buffers: 4, buffer_bytes: 16, ..Sizes::default() };
    let mut rig = Rig::<W>::new(seed, sizes);
    rig.driver().accept();
    let (greedy, mut greedy_peer) = rig.pair();
    let (other, mut other_peer) = rig.pair();
    rig.hold = true;
    greedy_peer.write(&pattern(200, 1));
    rig.driver().receive(greedy);
    loop {
        rig.expect(&Seen::NoBuffers(greedy));
        if rig.held.len() == 4 {
            break;
        }
        rig.driver().receive(greedy);
    }
    other_peer.write(b"patient");
    rig.driver().receive(other);
    rig.expect(&Seen::NoBuffers(other));
    assert_eq!(rig.received(other), b"");

    // What needs no buffer goes on: sending, waiting for room, coming and going.
    let parts = [pattern(W::FLOOD, 2)];
    assert!(rig.send_all(other, &parts, || other_peer.read(usize::MAX)) == parts[0]);
    let (third, mut third_peer) = rig.pair();
    rig.close(third);
    rig.expect(&Seen::Closed(third));
    rig.until("FIN at the peer", |_| third_peer.saw_fin().then_some(()));

    rig.hold = false;
    rig.held.clear();
    rig.driver().receive(other);
    rig.expect_received(other, b"patient");
    rig.driver().receive(greedy);
    rig.expect_received(greedy, &pattern(200, 1));
}

/// What a connection is at when its peer breaks it.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Accepted,
    Receiving,
    Sending,
    Polling,
    Pausing,
    Paused,
    HalfClosed,
    Closing,
}

fn a_reset_at_any_stage_costs_one_connection_and_no_slot<W: World>(seed: u64) {
    const SLOTS: usize = 4;
    let mut rig = Rig::<W>::new(seed, Sizes { connections: SLOTS, ..Sizes::default() });
    use Stage::*;
    // More rounds than slots: one that leaks is missed.
    for stage in [Accepted, Receiving, Sending, Polling, Pausing, Paused, HalfClosed, Closing].repeat(2) {
        rig.driver().accept();
        let (conn, mut peer) = rig.pair();
        peer.write(b"hello");
        match stage {
            Accepted | Sending => {}
            Receiving | Closing => {
                rig.driver().receive(conn);
                rig.expect_received(conn, b"hello");
            }
            Polling => loop {
                let seen = rig.turn(&Sends(vec![(conn, vec![vec![7; 1 << 20]])]));
                if seen.iter().any(|e| matches!(e, Seen::Short(..))) {
                    rig.driver().notify_writable(conn);
                    rig.turn(&Sends::default());
                    break;
                }
            },
            Pausing | Paused => {
                rig.driver().receive(conn);
                rig.expect_received(conn, b"hello");
                rig.driver().pause_receive(conn);
                if matches!(stage, Paused) {
                    rig.expect(&Seen::Paused(conn));
                }
            }
            HalfClosed => {
                rig.driver().receive(conn);
                rig.expect_received(conn, b"hello");
                rig.driver().shutdown_write(conn);
            }
        }
        if matches!(stage, Closing) {
            rig.close(conn);
            peer.reset();
        } else {
            peer.reset();
            if matches!(stage, Sending) {
                rig.turn(&Sends(vec![(conn, vec![b"too late".to_vec()])]));
            }
            rig.turn(&Sends::default());
            rig.close(conn);
        }
        rig.expect(&Seen::Closed(conn));
        for _ in 0..5 {
            let seen = rig.turn(&Sends::default());
            let of_it = |e: &Seen| matches!(*e, Seen::Closed(of) | Seen::Writable(of) if of == conn);
            assert!(!seen.iter().any(of_it), "{stage:?}: {conn} was closed already: {seen:?}");
        }
        rig.seen.clear();
    }
    rig.driver().accept();
    let _peers: Vec<_> = (0..SLOTS).map(|_| rig.world.connect()).collect();
    let conns: HashSet<_> = (0..SLOTS).map(|_| rig.accepted()).collect();
    assert_eq!(conns.len(), SLOTS, "all slots are there");
}

fn every_slot_of_those_who_vanish_comes_back<W: World>(seed: u64) {
    let mut rig = Rig::<W>::new(seed, Sizes { connections: 100, ..Sizes::default() });
    rig.driver().accept();
    for round in 0..40 {
        let mut peers: Vec<_> = (0..50).map(|_| rig.world.connect()).collect();
        // Some vanish before they are accepted, some after, some in the middle of a word.
        for (index, peer) in peers.iter_mut().enumerate() {
            if index % 3 == 0 {
                peer.write(b"hel");
            }
        }
        let mut rest = peers.split_off(25);
        for (index, peer) in peers.into_iter().enumerate() {
            if index % 2 == 0 {
                peer.reset();
            }
        }
        let conns: Vec<_> = (0..50).map(|_| rig.accepted()).collect();
        for &conn in &conns {
            rig.driver().receive(conn);
        }
        rig.turn(&Sends::default());
        if round % 2 == 0 {
            rest.clear();
        }
        for &conn in &conns {
            rig.close(conn);
        }
        for &conn in &conns {
            rig.expect(&Seen::Closed(conn));
        }
        rig.seen.clear();
    }
    // All slots are free: as many can be accepted at once.
    let _peers: Vec<_> = (0..100).map(|_| rig.world.connect()).collect();
    for _ in 0..100 {
        rig.accepted();
    }
}

fn connections_are_made_and_refused<W: World>(seed: u64) {
    let mut rig = Rig::<W>::new(seed, Sizes::default());
    let address = rig.world.listen();
    let nobody = "127.0.0.1:1".parse().expect("an address");
    rig.driver().connect(7, None, address);
    rig.driver().connect(8, None, nobody);
    rig.expect(&Seen::ConnectFailed(8, Some(libc::ECONNREFUSED)));
    let conn = rig.until("Connected", |seen| {
        seen.iter().find_map(|e| if let Seen::Connected(conn, 7) = *e { Some(conn) } else { None })
    });
    let mut peer = rig.world.accept().expect("it came");
    rig.driver().receive(conn);
    peer.write(b"welcome");
    rig.expect_received(conn, b"welcome");
    assert_eq!(rig.send_all(conn, &[b"thanks".to_vec()], || peer.read(usize::MAX)), b"thanks");
    rig.close(conn);
    rig.expect(&Seen::Closed(conn));
    rig.until("FIN at the peer", |_| peer.saw_fin().then_some(()));
}

fn a_wake_before_the_sleep_counts<W: World>(seed: u64) {
    let mut rig = rig::<W>(seed);
    for _ in 0..100 {
        rig.seen.clear();
        rig.world.wake();
        rig.world.wake();
        rig.expect(&Seen::Woken);
    }
    if W::CALM {
        rig.turn(&Sends::default());
        assert_eq!(rig.turn(&Sends::default()), [], "nobody woke it again");
    }
}

fn a_submit_that_does_not_wait_returns<W: World>(seed: u64) {
    let mut rig = rig::<W>(seed);
    for _ in 0..10 {
        rig.driver().submit(&NoSends, Wait::No).expect("a sound ring");
        while rig.driver().next_event().is_some() {}
    }
    // It does its part of the work all the same.
    let _peer = rig.world.connect();
    let mut accepted = false;
    for _ in 0..100 {
        rig.driver().submit(&NoSends, Wait::No).expect("a sound ring");
        while let Some(event) = rig.driver().next_event() {
            match event {
                fanfare_io::Event::Accepted { .. } => accepted = true,
                fanfare_io::Event::AcceptStopped(_) => rig.driver().accept(),
                _ => {}
            }
        }
    }
    assert!(accepted);
}

macro_rules! suite {
    ($($test:ident)*) => {
        mod kernel {
            $(#[test] fn $test() { super::$test::<super::Uring>(0); })*
        }
        mod calm {
            $(#[test] fn $test() { super::$test::<super::Sim<true>>(1); })*
        }
        mod faults {
            $(#[test] fn $test() {
                for seed in 0..30 {
                    eprintln!("seed {seed}");
                    super::$test::<super::Sim<false>>(seed);
                }
            })*
        }
    };
}

suite! {
    bytes_go_both_ways
    all_parts_arrive_in_order
    a_short_send_tells_how_much_and_the_rest_follows
    a_pause_leaves_bytes_in_the_socket
    a_pause_and_a_fin_race
    after_the_peers_fin_it_still_hears
    after_our_fin_we_still_hear
    a_reset_ends_receiving_and_sending
    a_close_while_receiving_and_polling_reaches_the_peer
    a_lack_of_buffers_loses_nothing
    a_stop_is_final_and_closes_the_listener
    a_stop_without_accepting_closes_the_listener_too
    a_stop_with_a_full_table_closes_the_listener_too
    peers_come_with_their_address
    one_submit_accepts_a_slice_and_all_get_in
    a_lack_of_buffers_is_the_receivers_affair_only
    a_reset_at_any_stage_costs_one_connection_and_no_slot
    a_full_table_leaves_peers_in_the_backlog
    every_slot_of_those_who_vanish_comes_back
    connections_are_made_and_refused
    a_wake_before_the_sleep_counts
    a_submit_that_does_not_wait_returns
}
