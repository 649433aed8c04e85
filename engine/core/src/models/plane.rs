use std::sync::Arc;
use std::sync::atomic::Ordering;

use fanfare_io::Wake;
use loom::thread;

use super::{Bell, message, publish, topic};
use crate::config::Config;
use crate::plane::{Handle, Plane, Seat, plane};

fn new(shards: usize) -> (Handle, Vec<Seat>, Vec<Arc<Bell>>) {
    let config = Config { shards, inbox_commands_max: 16, ..Config::default() };
    let bells: Vec<Arc<Bell>> = (0..shards).map(|_| Arc::default()).collect();
    let wakers = bells.iter().map(|bell| bell.clone() as Arc<dyn Wake>).collect();
    let (handle, seats) = plane(config, wakers, 1).expect("a sound configuration");
    (handle, seats, bells)
}

/// What `Shard::drain` asks, in its order, before it trusts the mailbox to stay empty.
fn no_command_follows(plane: &Plane, shard: usize) -> bool {
    plane.quiesced.load(Ordering::SeqCst) == plane.mailboxes.len()
        && plane.outside_is_quiet()
        && !plane.mailboxes[shard].has_commands()
}

/// Turns a shard through its shutdown until it trusts its mailbox to stay empty. Returns how many commands it took.
fn drain(plane: &Plane, shard: usize) -> usize {
    let (mut quiesced, mut taken) = (false, 0);
    loop {
        // Not an attempt in vain: it would fence, and hide what the questions below have to order themselves.
        while plane.mailboxes[shard].has_commands() {
            taken += usize::from(plane.mailboxes[shard].take_command().is_some());
        }
        if plane.shutdown_grace_ms().is_some() {
            if !quiesced {
                plane.quiesced.fetch_add(1, Ordering::SeqCst);
                quiesced = true;
                // Without a rest: after one, loom would hand out no value that is older.
                continue;
            }
            if no_command_follows(plane, shard) {
                return taken;
            }
        }
        // A draining shard looks again after a while, whoever wakes it.
        thread::yield_now();
    }
}

#[test]
fn what_is_taken_from_outside_is_taken_before_the_end() {
    loom::model(|| {
        let (handle, seats, _bells) = new(1);
        let outside = handle.clone();
        let outside =
            thread::spawn(move || usize::from(outside.try_publish(&topic(), message(b"abc"), None).is_ok()));
        let ender = thread::spawn(move || handle.shutdown(1000));
        let taken = drain(&seats[0].plane, 0);
        assert_eq!(
            taken,
            outside.join().expect("the publisher"),
            "a command came after the end, or was lost"
        );
        ender.join().expect("the one who ends it");
    });
}

#[test]
fn what_shards_bring_is_taken_before_the_end() {
    loom::model(|| {
        let (handle, seats, _bells) = new(2);
        handle.shutdown(1000);
        let plane = seats[0].plane.clone();
        let other = thread::spawn(move || {
            plane.mailboxes[1].command(publish(b"abc")).expect("room");
            drain(&plane, 0)
        });
        assert_eq!(drain(&seats[1].plane, 1), 1, "the other shard quiesces after it has brought this");
        assert_eq!(other.join().expect("the other shard"), 0);
    });
}

/// As `Shard::rest` does: first it says that it sleeps, then it looks whether it should.
#[test]
fn no_shutdown_is_slept_through() {
    loom::model(|| {
        let (handle, seats, bells) = new(1);
        let ender = thread::spawn(move || handle.shutdown(1000));
        let plane = &seats[0].plane;
        while plane.shutdown_grace_ms().is_none() {
            if plane.mailboxes[0].fall_asleep() && plane.shutdown_grace_ms().is_none() {
                bells[0].wait();
            }
            plane.mailboxes[0].woke_up();
        }
        ender.join().expect("the one who ends it");
    });
}
