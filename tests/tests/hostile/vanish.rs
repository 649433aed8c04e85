//! Peers that connect, begin something, and are gone.

use std::net::Ipv4Addr;
use std::thread;

use fanfare_tests::raw::Raw;
use fanfare_tests::stages::STAGES;

use crate::{NEVER_MS, Scene, scale};

/// Far fewer of everything than there are peers: what is lost with one of them is missed soon.
const CONNECTIONS_MAX: usize = 200;
const RECEIVE_BUFFERS: usize = 64;

const THREADS: usize = 4;

/// What the server may have taken from memory in between. A byte of each peer would be less, but 100 of each would not.
const GROWN_BYTES_MAX: u64 = 8 << 20;

/// Connects, goes to one stage after the other, and breaks each connection, or just ends it.
fn vanish(scene: &Scene, peers: usize) {
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let addr = scene.program.addr();
            scope.spawn(move || {
                for number in 0..peers / THREADS {
                    // A port of each address can be used again only after a while.
                    let source = Ipv4Addr::new(127, 0, 0, 2 + ((THREADS * number + thread) % 16) as u8);
                    let raw = Raw::tcp_from(source, addr);
                    STAGES[number % STAGES.len()].reach(&raw);
                    if !(number / STAGES.len()).is_multiple_of(4) {
                        raw.reset();
                    }
                }
            });
        }
    });
}

#[test]
fn nothing_is_left_of_those_who_connect_and_vanish() {
    let peers = scale(6_000, 100_000);
    // Linux (6.18) can lose the RST that comes right behind data. The next thing that is sent finds it out, here a ping; no
    // peer is ever silent for too long.
    let flags = format!(
        "--shards 2 --connections-max {CONNECTIONS_MAX} --receive-buffers-max {RECEIVE_BUFFERS} \
         --receive-buffer-bytes 1024 --ping-interval-ms 2000 --idle-timeout-ms {NEVER_MS}"
    );
    let mut scene = Scene::start(&flags);
    // The first ones show what the server needs anyway.
    vanish(&scene, 2_000);
    scene.witnesses.check();
    scene.program.wait_for_holdings(&scene.before);
    let (resident, accepted) = (scene.program.resident_bytes(), scene.program.count("accepted"));
    vanish(&scene, peers);
    scene.witnesses.check();
    scene.program.wait_for_holdings(&scene.before);
    scene.program.wait_for("accepted", |count| count == accepted + peers as u64);
    let grown = scene.program.resident_bytes().saturating_sub(resident);
    assert!(grown < GROWN_BYTES_MAX, "{grown} bytes are left of {peers} peers");
    // Every slot and every buffer is there: half of what two shards can hold, since the kernel does not share out evenly.
    let all: Vec<Raw> = (0..CONNECTIONS_MAX).map(|_| scene.program.connect("/ws/after")).collect();
    assert_eq!(scene.program.count("connections"), scene.before.connections + CONNECTIONS_MAX as u64);
    all.into_iter().for_each(Raw::close);
    scene.end();
}
