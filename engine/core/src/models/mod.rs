//! What threads do to each other's state, in every order that the memory model allows: loom runs each model again and again,
//! with another interleaving or another permitted value of a load each time. `tests/memory loom` runs them.
//!
//! - `log`: bytes are published whole, through new segments and dropped ones; a moved head is told once until it is seen
//! - `mailbox`: nothing brought is slept through; what is refused is told of room
//! - `tap`: a reader inside the process
//! - `plane`: the shutdown, and commands from outside

mod log;
mod mailbox;
mod plane;
mod tap;

use std::sync::Arc;

use bytes::Bytes;
use fanfare_io::Wake;
use fanfare_wire::Kind;
use fanfare_wire::topic::TopicName;
use loom::sync::Notify;

use crate::mailbox::{Command, Mailbox, MailboxLimits, Source};
use crate::message::Message;

/// The eventfd of a shard that sleeps in its ring. A shard that nobody wakes ends its model as a deadlock.
#[derive(Default)]
struct Bell(Notify);

impl Bell {
    fn wait(&self) {
        self.0.wait();
    }
}

impl Wake for Bell {
    fn wake(&self) {
        self.0.notify();
    }
}

/// One shard as others reach it.
#[derive(Clone)]
struct Post {
    mailbox: Arc<Mailbox>,
    bell: Arc<Bell>,
}

impl Post {
    fn new(commands_max: usize, bytes_max: usize, shards: usize) -> Self {
        let bell = Arc::<Bell>::default();
        let mailbox = Mailbox::new(MailboxLimits { commands_max, bytes_max }, shards, bell.clone());
        Self { mailbox: Arc::new(mailbox), bell }
    }

    /// What a shard does when nothing is left to do.
    fn sleep(&self) {
        if self.mailbox.fall_asleep() {
            self.bell.wait();
        }
        self.mailbox.woke_up();
    }
}

fn message(payload: &'static [u8]) -> Message {
    Message { kind: Kind::Binary, key: None, payload: Bytes::from_static(payload) }
}

fn topic() -> TopicName {
    TopicName::parse("t").expect("a valid name")
}

fn publish(payload: &'static [u8]) -> Command {
    Command::Publish { topic: topic(), message: message(payload), source: Source::Unasked }
}
