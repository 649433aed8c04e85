use loom::thread;

use super::{Post, publish};
use crate::mailbox::{Command, ConnRef, Reply};

fn reply() -> Reply {
    let conn = ConnRef { slot: 0, generation: 0 };
    Reply::Published { conn, id: None, topic: super::topic(), result: Ok(1) }
}

/// What a shard finds in its mailbox; it sleeps until it has found `count` things.
fn take(shard: &Post, count: usize) {
    let mailbox = &shard.mailbox;
    let mut taken = 0;
    while taken < count {
        let before = taken;
        taken += usize::from(mailbox.take_reply().is_some());
        taken += usize::from(mailbox.take_command().is_some());
        taken += usize::from(mailbox.take_moved().is_some());
        if taken == before {
            shard.sleep();
        }
    }
}

/// A shard sleeps until it has all that these bring, each on a thread of its own.
fn brought(bringers: &'static [fn(&Post)]) {
    loom::model(move || {
        let shard = Post::new(4, 100, 1);
        let bring = |bring: &fn(&Post)| {
            let (bring, post) = (*bring, shard.clone());
            thread::spawn(move || bring(&post))
        };
        let bringers: Vec<_> = bringers.iter().map(bring).collect();
        take(&shard, bringers.len());
        bringers.into_iter().for_each(|bringer| bringer.join().expect("a bringer"));
    });
}

fn a_command(post: &Post) {
    post.mailbox.command(publish(b"abc")).expect("room");
}

fn a_reply(post: &Post) {
    post.mailbox.reply(reply()).expect("room");
}

fn a_head(post: &Post) {
    post.mailbox.head_moved(7);
}

#[test]
fn no_command_is_slept_through() {
    brought(&[a_command]);
}

#[test]
fn no_reply_is_slept_through() {
    brought(&[a_reply]);
}

#[test]
fn no_moved_head_is_slept_through() {
    brought(&[a_head]);
}

#[test]
fn of_two_at_a_time_none_is_slept_through() {
    brought(&[a_command, a_head]);
}

/// Nobody is named: the flag alone has to end the sleep.
#[test]
fn no_overflow_is_slept_through() {
    loom::model(|| {
        let shard = Post::new(1, 1, 1);
        shard.mailbox.head_moved(1);
        let post = shard.clone();
        let bringer = thread::spawn(move || {
            post.mailbox.head_moved(2);
            post.mailbox.head_moved(3);
        });
        let (mut last, mut overflow) = (0, false);
        while last < 3 && !overflow {
            match shard.mailbox.take_moved() {
                Some(reader) => last = reader,
                None if shard.mailbox.take_overflow() => overflow = true,
                None => shard.sleep(),
            }
        }
        bringer.join().expect("the bringer");
    });
}

/// A home shard's turns as in `Shard::take_mail`, with one command in each: whoever was refused is told that there is room.
/// It turns until a command was taken of which `last` is true. Returns how many were taken.
fn take_commands(home: &Post, sender: &Post, last: impl Fn(usize, &Command) -> bool) -> usize {
    let mut taken = 0;
    loop {
        let Some(command) = home.mailbox.take_command() else {
            home.sleep();
            continue;
        };
        taken += 1;
        home.mailbox.take_refused().for_each(|_| sender.mailbox.wake_if_asleep());
        if last(taken, &command) {
            return taken;
        }
    }
}

/// A shard brings one command to a mailbox that may be full, as `Shard::retry_commands` and `Shard::rest` do.
fn bring_when_there_is_room(home: &Post, sender: &Post) {
    loop {
        home.mailbox.refused(0);
        if home.mailbox.command(publish(b"abc")).is_ok() {
            return;
        }
        if sender.mailbox.fall_asleep() && home.mailbox.is_refused(0) {
            sender.bell.wait();
        }
        sender.mailbox.woke_up();
    }
}

/// The mailbox has room for one command; another is in it.
fn refused(commands_max: usize, bytes_max: usize) {
    loom::model(move || {
        let (home, sender) = (Post::new(commands_max, bytes_max, 1), Post::new(1, 1, 1));
        home.mailbox.command(publish(b"abc")).expect("an empty mailbox takes it");
        let (to, from) = (home.clone(), sender.clone());
        let bringer = thread::spawn(move || bring_when_there_is_room(&to, &from));
        take_commands(&home, &sender, |taken, _| taken == 2);
        bringer.join().expect("the bringer");
    });
}

#[test]
fn who_is_refused_for_the_number_hears_of_room() {
    refused(1, 100);
}

#[test]
fn who_is_refused_for_the_bytes_hears_of_room() {
    refused(4, 4);
}

/// A thread from outside tries as well, and gives up. What it does must not keep a shard waiting.
fn given_up(commands_max: usize, bytes_max: usize) {
    let mut model = loom::model::Builder::new();
    // Of three threads, each with its own loops, a bound of three takes minutes.
    model.preemption_bound = model.preemption_bound.map(|bound| bound.min(2));
    model.check(move || {
        let (home, sender) = (Post::new(commands_max, bytes_max, 1), Post::new(1, 1, 1));
        home.mailbox.command(publish(b"old")).expect("an empty mailbox takes it");
        let (to, from) = (home.clone(), sender.clone());
        let bringer = thread::spawn(move || bring_when_there_is_room(&to, &from));
        let to = home.clone();
        let outside = thread::spawn(move || usize::from(to.mailbox.command(publish(b"xyz")).is_ok()));
        let taken = take_commands(&home, &sender, |_, command| payload(command) == b"abc");
        bringer.join().expect("the bringer");
        let outside = outside.join().expect("outside");
        let rest = std::iter::from_fn(|| home.mailbox.take_command()).count();
        assert_eq!(taken + rest, 2 + outside, "what was taken is there, and nothing else");
        // All that was reserved was given back: a message of any size fits again.
        home.mailbox.command(publish(b"longer than all")).expect("an empty mailbox takes any message");
    });
}

fn payload(command: &Command) -> &[u8] {
    match command {
        Command::Publish { message, .. } => &message.payload,
        _ => unreachable!("all commands here are messages"),
    }
}

#[test]
fn who_gives_up_for_the_number_leaves_nobody_waiting() {
    given_up(1, 100);
}

#[test]
fn who_gives_up_for_the_bytes_leaves_nobody_waiting() {
    given_up(4, 4);
}

/// Both bound what is in the mailbox, whoever comes first.
#[test]
fn two_that_bring_at_a_time_do_not_pass_the_bounds() {
    for (commands_max, bytes_max, fit) in [(4, 4, 1), (4, 6, 2), (1, 100, 1)] {
        loom::model(move || {
            let home = Post::new(commands_max, bytes_max, 1);
            let bringers: Vec<_> = (0..2)
                .map(|_| {
                    let home = home.clone();
                    thread::spawn(move || usize::from(home.mailbox.command(publish(b"abc")).is_ok()))
                })
                .collect();
            let taken: usize = bringers.into_iter().map(|one| one.join().expect("a bringer")).sum();
            assert_eq!(taken, fit);
            assert_eq!(std::iter::from_fn(|| home.mailbox.take_command()).count(), fit);
        });
    }
}
