//! One suite for every driver.

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

fn accepting_stops_and_goes_on<W: World>(seed: u64) {
    let mut rig = rig::<W>(seed);
    let (first, _peer) = rig.pair();
    rig.driver().stop_accept();
    rig.driver().stop_accept();
    rig.expect(&Seen::AcceptStopped(Some(libc::ECANCELED)));
    let mut waiting = rig.world.connect();
    waiting.write(b"patient");
    for _ in 0..5 {
        let seen = rig.turn(&Sends::default());
        assert!(!seen.iter().any(|e| matches!(e, Seen::Accepted(_) | Seen::AcceptStopped(_))), "{seen:?}");
    }
    rig.driver().accept();
    let second = rig.accepted();
    assert_ne!(first, second);
    rig.driver().receive(second);
    rig.expect_received(second, b"patient");
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
                fanfare_io::Event::Accepted(_) => accepted = true,
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
    accepting_stops_and_goes_on
    a_full_table_leaves_peers_in_the_backlog
    every_slot_of_those_who_vanish_comes_back
    connections_are_made_and_refused
    a_wake_before_the_sleep_counts
    a_submit_that_does_not_wait_returns
}
