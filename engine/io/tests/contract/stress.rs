//! Random work on many connections at once, against a model that knows every byte.

use std::collections::HashMap;

use fanfare_io::{ConnId, Driver};

use crate::rig::{Rig, Seen, Sends, pattern, skip};
use crate::worlds::{Peer, Sim, Sizes, Uring, World};

/// splitmix64, apart from the simulation's own.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}

/// One connection's two streams, as they must be.
struct Line<P> {
    peer: P,
    /// What the peer wrote and the driver has not received.
    inbound: Vec<u8>,
    /// What was sent and the peer has not read.
    outbound: Vec<u8>,
    /// What is left of a short send.
    rest: Vec<Vec<u8>>,
    is_receiving: bool,
    is_polling: bool,
    is_closing: bool,
}

fn random_work<W: World>(seed: u64, turns: usize) {
    eprintln!("seed {seed}");
    let mut dice = Dice(seed);
    let sizes = Sizes { connections: 40, buffers: 16, buffer_bytes: 700, ..Sizes::default() };
    let mut rig = Rig::<W>::new(seed, sizes);
    rig.driver().accept();
    let mut waiting: Vec<W::Peer> = Vec::new();
    let mut lines = HashMap::<ConnId, Line<W::Peer>>::new();
    let part_max = (W::FLOOD / 64).min(50_000);
    let mut ended = 0;
    for turn in 0..turns {
        if waiting.is_empty() && lines.len() < 30 && dice.below(3) == 0 {
            // One at a time, so that it is known who was accepted.
            waiting.push(rig.world.connect());
        }
        let mut conns: Vec<_> = lines.keys().copied().collect();
        conns.sort();
        let mut batch = Vec::new();
        for conn in conns {
            let line = lines.get_mut(&conn).expect("a known line");
            work(&mut dice, rig.world.driver(), conn, line, &mut batch, (turn as u32, part_max));
        }
        let sends = Sends(batch);
        let seen = rig.turn(&sends);
        // Every send was taken whole, unless an event says otherwise.
        for (conn, parts) in &sends.0 {
            let line = lines.get_mut(conn).expect("a known line");
            line.outbound.extend(parts.concat());
            line.rest.clear();
        }
        for event in seen {
            ended += usize::from(matches!(event, Seen::Closed(_)));
            apply(&mut rig, &mut lines, &mut waiting, &sends, event);
        }
    }
    assert!(ended > turns / 200, "connections came and went: {ended}");
}

fn work<P: Peer, D: Driver>(
    dice: &mut Dice,
    driver: &mut D,
    conn: ConnId,
    line: &mut Line<P>,
    batch: &mut Vec<(ConnId, Vec<Vec<u8>>)>,
    (turn, part_max): (u32, usize),
) {
    if dice.below(3) == 0 {
        let bytes = pattern(1 + dice.below(3000), turn);
        let count = line.peer.write(&bytes);
        line.inbound.extend_from_slice(&bytes[..count]);
    }
    if dice.below(3) == 0 {
        let most = 1 + dice.below(200_000);
        let bytes = line.peer.read(most);
        assert!(line.outbound.starts_with(&bytes), "{conn}: the peer reads what was sent, in order");
        line.outbound.drain(..bytes.len());
    }
    if line.is_closing {
        return;
    }
    match dice.below(40) {
        0 => {
            line.is_closing = true;
            return driver.close(conn);
        }
        1..6 if line.is_receiving => driver.pause_receive(conn),
        6..30 if !line.is_receiving => {
            line.is_receiving = true;
            driver.receive(conn);
        }
        _ => {}
    }
    if !line.is_polling && (!line.rest.is_empty() || dice.below(2) == 0) {
        if line.rest.is_empty() {
            let count = 1 + dice.below(4);
            line.rest = (0..count).map(|part| pattern(1 + dice.below(part_max), part as u32)).collect();
        }
        batch.push((conn, line.rest.clone()));
    }
}

fn apply<W: World>(
    rig: &mut Rig<W>,
    lines: &mut HashMap<ConnId, Line<W::Peer>>,
    waiting: &mut Vec<W::Peer>,
    sends: &Sends,
    event: Seen,
) {
    match event {
        Seen::Accepted(conn, _) => {
            let line = Line {
                peer: waiting.pop().expect("somebody waits"),
                inbound: Vec::new(),
                outbound: Vec::new(),
                rest: Vec::new(),
                is_receiving: false,
                is_polling: false,
                is_closing: false,
            };
            assert!(lines.insert(conn, line).is_none(), "{conn} is in use");
        }
        Seen::AcceptStopped(_) => rig.driver().accept(),
        Seen::Received(conn, bytes) => {
            let line = lines.get_mut(&conn).expect("a known line");
            assert!(line.inbound.starts_with(&bytes), "{conn}: received what was written, in order");
            line.inbound.drain(..bytes.len());
        }
        Seen::NoBuffers(conn) | Seen::Paused(conn) => {
            lines.get_mut(&conn).expect("a known line").is_receiving = false;
        }
        Seen::Short(conn, sent) => {
            let parts = &sends.0.iter().find(|(of, _)| *of == conn).expect("it was sent").1;
            let total = parts.iter().map(Vec::len).sum::<usize>();
            let line = lines.get_mut(&conn).expect("a known line");
            let taken = line.outbound.len() - (total - sent);
            line.outbound.truncate(taken);
            line.rest = skip(parts.clone(), sent);
            line.is_polling = true;
            rig.driver().notify_writable(conn);
        }
        Seen::Writable(conn) => lines.get_mut(&conn).expect("a known line").is_polling = false,
        Seen::Closed(conn) => drop(lines.remove(&conn).expect("a known line")),
        Seen::Woken => {}
        other => panic!("nobody broke anything, and yet {other:?}"),
    }
}

#[test]
fn kernel() {
    for seed in 0..2 {
        random_work::<Uring>(seed, 3000);
    }
}

#[test]
fn calm() {
    for seed in 0..10 {
        random_work::<Sim<true>>(seed, 2000);
    }
}

#[test]
fn faults() {
    for seed in 0..40 {
        random_work::<Sim<false>>(seed, 2000);
    }
}
