//! A shard's mailbox: the lock-free queues through which everybody else reaches it.
//!
//! Three queues, because they must not wait for each other:
//! - *commands* ask a topic's home shard for something. Bounded in number and bytes; a full one refuses, and the
//!   sender holds back its own publishers. Taking a command may produce replies.
//! - *replies* answer a shard's own commands. Taking one produces nothing for other shards, so a shard can always
//!   drain them: two shards can never wait for each other.
//! - *moved* names logs whose head moved. When it overflows, one flag says "look at all of them" instead.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

use crossbeam::queue::ArrayQueue;
use fanfare_io::Wake;
use fanfare_wire::stream::Id;
use fanfare_wire::subscribe::Start;
use fanfare_wire::topic::TopicName;

use crate::log::Log;
use crate::message::{Ack, Message, PublishError};
use crate::shard::Owed;
use crate::snapshot::Snapshot;
use crate::tap::Tap;
use crate::topics::{Listener, TopicInfo};
use crate::view::View;

/// Which connection of a shard: its slot, and how often the slot was used before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ConnRef {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// Who wants to know what became of a message.
pub(crate) enum Source {
    /// A thread of the process that does not ask.
    Unasked,
    /// A connection. It hears of success only if it gave an id, and of failure always.
    Connection { shard: usize, conn: ConnRef, id: Option<Id> },
    /// Another thread of the process.
    Caller(Ack),
}

pub(crate) type TapReply = Box<dyn FnOnce(Result<Tap, PublishError>) + Send>;
pub(crate) type DescribeReply = Box<dyn FnOnce(Option<TopicInfo>) + Send>;
pub(crate) type ListReply = Box<dyn FnOnce(Vec<TopicInfo>, Option<usize>) + Send>;

/// What a topic's home shard is asked for.
pub(crate) enum Command {
    Publish {
        topic: TopicName,
        message: Message,
        source: Source,
    },
    Attach {
        topic: TopicName,
        view: View,
        listener: Listener,
    },
    Detach {
        topic: TopicName,
        view: View,
        listener: Listener,
    },
    /// The newest message of each key changed since some message, or of all keys.
    Snapshot(Box<Owed>),
    Tap {
        topic: TopicName,
        start: Start,
        wake: Arc<dyn Wake>,
        reply: TapReply,
    },
    Describe {
        topic: TopicName,
        reply: DescribeReply,
    },
    List {
        from: usize,
        count: usize,
        reply: ListReply,
    },
}

impl Command {
    fn payload_bytes(&self) -> usize {
        match self {
            Self::Publish { message, .. } => message.payload.len(),
            _ => 0,
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish { .. } => "Publish",
            Self::Attach { .. } => "Attach",
            Self::Detach { .. } => "Detach",
            Self::Snapshot(_) => "Snapshot",
            Self::Tap { .. } => "Tap",
            Self::Describe { .. } => "Describe",
            Self::List { .. } => "List",
        })
    }
}

/// What a home shard answers.
#[derive(Debug)]
pub(crate) enum Reply {
    Attached { reader: u32, log: Result<Arc<Log>, PublishError> },
    Snapshot { reader: u32, from: u64, snapshot: Arc<Snapshot> },
    Published { conn: ConnRef, id: Option<Id>, topic: TopicName, result: Result<u64, PublishError> },
}

/// How large a mailbox's queues are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MailboxLimits {
    pub(crate) commands_max: usize,
    pub(crate) bytes_max: usize,
}

/// Logs whose head moved; more than these at once set the overflow flag.
const MOVED_MAX: usize = 4096;

pub(crate) struct Mailbox {
    limits: MailboxLimits,
    commands: ArrayQueue<Command>,
    command_bytes: AtomicUsize,
    replies: ArrayQueue<Reply>,
    moved: ArrayQueue<u32>,
    moved_overflow: AtomicBool,
    /// The shard sleeps, or is about to: whoever brings something wakes it.
    sleeping: AtomicBool,
    waker: Arc<dyn Wake>,
    /// For each shard: it was refused a command and wants to hear when there is room.
    refused: Box<[AtomicBool]>,
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox({} commands, {} replies)", self.commands.len(), self.replies.len())
    }
}

impl Mailbox {
    pub(crate) fn new(limits: MailboxLimits, shards: usize, waker: Arc<dyn Wake>) -> Self {
        Self {
            limits,
            commands: ArrayQueue::new(limits.commands_max),
            command_bytes: AtomicUsize::new(0),
            replies: ArrayQueue::new(limits.commands_max),
            moved: ArrayQueue::new(MOVED_MAX),
            moved_overflow: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            waker,
            refused: (0..shards).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Brings a command, or hands it back if the mailbox is full.
    pub(crate) fn command(&self, command: Command) -> Result<(), Command> {
        let bytes = command.payload_bytes();
        let before = self.command_bytes.fetch_add(bytes, Ordering::Relaxed);
        // An empty mailbox takes any message, so that none is too large for ever.
        let fits = bytes == 0 || before == 0 || before + bytes <= self.limits.bytes_max;
        let pushed = if fits { self.commands.push(command) } else { Err(command) };
        match pushed {
            Ok(()) => self.wake_if_asleep(),
            Err(_) => _ = self.command_bytes.fetch_sub(bytes, Ordering::Relaxed),
        }
        pushed
    }

    /// Asks that `shard` be woken when there is room for commands.
    pub(crate) fn refused(&self, shard: usize) {
        self.refused[shard].store(true, Ordering::SeqCst);
    }

    /// Whether `shard` asked to be woken and was not yet.
    pub(crate) fn is_refused(&self, shard: usize) -> bool {
        self.refused[shard].load(Ordering::SeqCst)
    }

    /// The shards that wait for room here; they are forgotten.
    pub(crate) fn take_refused(&self) -> impl Iterator<Item = usize> + '_ {
        let waits = |(shard, flag): (usize, &AtomicBool)| {
            (flag.load(Ordering::Relaxed) && flag.swap(false, Ordering::SeqCst)).then_some(shard)
        };
        self.refused.iter().enumerate().filter_map(waits)
    }

    pub(crate) fn reply(&self, reply: Reply) -> Result<(), Reply> {
        self.replies.push(reply)?;
        self.wake_if_asleep();
        Ok(())
    }

    /// Says that the log which the shard knows as `reader` has a new head.
    pub(crate) fn head_moved(&self, reader: u32) {
        if self.moved.push(reader).is_err() {
            self.moved_overflow.store(true, Ordering::SeqCst);
        }
        self.wake_if_asleep();
    }

    pub(crate) fn take_command(&self) -> Option<Command> {
        let command = self.commands.pop()?;
        self.command_bytes.fetch_sub(command.payload_bytes(), Ordering::Relaxed);
        Some(command)
    }

    pub(crate) fn take_reply(&self) -> Option<Reply> {
        self.replies.pop()
    }

    pub(crate) fn take_moved(&self) -> Option<u32> {
        self.moved.pop()
    }

    /// True once after more heads moved than the queue could name.
    pub(crate) fn take_overflow(&self) -> bool {
        self.moved_overflow.load(Ordering::Relaxed) && self.moved_overflow.swap(false, Ordering::SeqCst)
    }

    pub(crate) fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    /// Announces that the shard is about to sleep. False if something arrived: then it must not.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        // Either this sees what was brought, or the bringer sees `sleeping`: both sides store, fence, then load.
        fence(Ordering::SeqCst);
        let quiet = self.commands.is_empty()
            && self.replies.is_empty()
            && self.moved.is_empty()
            && !self.moved_overflow.load(Ordering::Relaxed);
        if !quiet {
            self.sleeping.store(false, Ordering::Relaxed);
        }
        quiet
    }

    pub(crate) fn woke_up(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }

    pub(crate) fn wake_if_asleep(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::SeqCst) {
            self.waker.wake();
        }
    }
}
