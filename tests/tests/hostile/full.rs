//! As many connections as there may be, and more who want in.

use std::time::{Duration, Instant};

use fanfare_tests::horde::Horde;
use fanfare_tests::raw::{Raw, head};
use fanfare_tests::server::{SOON, eventually};

use crate::{NEVER_MS, Scene, scale};

/// How many come too late. A listener lets more than that wait.
const LATE: usize = 200;

/// Comes to a server that may be full. Whoever is not let in waits in the kernel's queue, or is told to come again.
fn is_let_in(scene: &Scene) -> bool {
    let mut raw = Raw::tcp(scene.program.addr());
    raw.write(&head("/ws/late"));
    raw.set_patience(Duration::from_millis(200));
    if !raw.read_byte() {
        return false;
    }
    raw.set_patience(SOON);
    let answer = raw.read_head();
    if answer.starts_with("HTTP/1.1 101 ") {
        raw.close();
        return true;
    }
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    false
}

#[test]
fn a_full_server_disturbs_nobody_and_lets_others_in_when_there_is_room() {
    // One shard, so that no other one has room. A shard's table is bounded by the limit of open files, here 20 000.
    let connections_max = scale(500, 19_900);
    let mut scene = Scene::start(&format!(
        "--shards 1 --connections-max {connections_max} --handshake-timeout-ms {NEVER_MS} \
         --ping-interval-ms {NEVER_MS} --idle-timeout-ms {}",
        2 * NEVER_MS
    ));
    let room = connections_max - scene.before.connections as usize;
    // Two rings: so is a client's table.
    let horde = || Horde::new(scene.program.addr(), room / 2 + 2 * LATE, head("/ws/full"));
    let (mut first, mut second) = (horde(), horde());
    for (horde, count) in [(&mut first, room / 2), (&mut second, room - room / 2)] {
        horde.connect(count);
        horde.turn_until("all are upgraded", |horde| horde.upgraded() == count);
        scene.witnesses.check();
    }
    assert_eq!(scene.program.count("connections"), connections_max as u64);
    // It is full: nobody gets in, and nobody who is in notices.
    first.connect(LATE);
    first.turn_until("all knock", |horde| horde.connecting() == 0);
    scene.witnesses.check();
    assert!(!is_let_in(&scene), "it is full");
    assert_eq!((first.upgraded(), second.upgraded()), (room / 2, room - room / 2));
    // Some leave. Those who waited come in, and so do those who were refused and come again.
    second.leave(LATE + 10);
    let wanted = room / 2 + LATE;
    let deadline = Instant::now() + SOON;
    while first.upgraded() < wanted {
        assert!(Instant::now() < deadline, "only {} of {wanted} are let in", first.upgraded());
        first.connect(wanted - first.upgraded() - first.unanswered() - first.connecting());
        first.turn();
    }
    eventually("there is room again", || is_let_in(&scene));
    scene.witnesses.check();
    second.turn();
    first.turn_until("the refused are done", |horde| horde.ended() >= horde.refused().len());
    assert_eq!((first.ended(), second.ended()), (first.refused().len(), 0), "nobody was hung up on");
    drop((first, second));
    scene.end();
}
