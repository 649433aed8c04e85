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

use fanfare_io::Wake;
use fanfare_wire::stream::Id;
use fanfare_wire::subscribe::Start;
use fanfare_wire::topic::TopicName;

use crate::log::Log;
use crate::message::{Ack, Message, PublishError};
use crate::shard::Owed;
use crate::snapshot::Snapshot;
use crate::sync::{AtomicBool, AtomicU64, Ordering, Queue, fence};
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
const MOVED_MAX: usize = if cfg!(loom) { 1 } else { 4096 };

/// How much of a mailbox commands take: their number, and the bytes of their payloads. One number holds both, so that one
/// step takes both or nothing. Taking the one and giving it back for a lack of the other would refuse, for a moment,
/// commands for which there is room; and of room that comes so nobody is told.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Room {
    commands: usize,
    bytes: usize,
}

impl Room {
    const BYTES_BITS: u32 = 40;
    const BYTES_MAX: usize = (1 << Self::BYTES_BITS) - 1;
    const COMMANDS_MAX: usize = (1 << (u64::BITS - Self::BYTES_BITS)) - 1;

    fn of(command: &Command) -> Self {
        Self { commands: 1, bytes: command.payload_bytes() }
    }

    fn to_bits(self) -> u64 {
        (self.commands as u64) << Self::BYTES_BITS | self.bytes as u64
    }

    fn from_bits(bits: u64) -> Self {
        let bytes = bits as usize & Self::BYTES_MAX;
        Self { commands: (bits >> Self::BYTES_BITS) as usize, bytes }
    }
}

pub(crate) struct Mailbox {
    limits: MailboxLimits,
    commands: Queue<Command>,
    /// What [`Room`] is taken: by commands in the queue, and by those on their way into it.
    taken: AtomicU64,
    replies: Queue<Reply>,
    moved: Queue<u32>,
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
        let limits = MailboxLimits {
            commands_max: limits.commands_max.min(Room::COMMANDS_MAX),
            bytes_max: limits.bytes_max.min(Room::BYTES_MAX),
        };
        Self {
            limits,
            commands: Queue::new(limits.commands_max),
            taken: AtomicU64::new(0),
            replies: Queue::new(limits.commands_max),
            moved: Queue::new(MOVED_MAX),
            moved_overflow: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            waker,
            refused: (0..shards).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Brings a command, or hands it back if the mailbox is full.
    pub(crate) fn command(&self, command: Command) -> Result<(), Command> {
        let room = Room::of(&command);
        let take = |taken| self.with_room_for(Room::from_bits(taken), room).map(Room::to_bits);
        // Acquire: the commands whose room this is were taken out of the queue, so it has a place.
        if self.taken.fetch_update(Ordering::Acquire, Ordering::Relaxed, take).is_err() {
            return Err(command);
        }
        let pushed = self.commands.push(command);
        assert!(pushed.is_ok(), "the queue has a place for each command that has room");
        self.wake_if_asleep();
        Ok(())
    }

    /// What is taken when `room` is taken, too; `None` if there is not so much.
    fn with_room_for(&self, taken: Room, room: Room) -> Option<Room> {
        let MailboxLimits { commands_max, bytes_max } = self.limits;
        let bytes = taken.bytes + room.bytes;
        // A mailbox without bytes takes any message, so that none is too large for ever.
        let fits = room.bytes == 0 || taken.bytes == 0 || bytes <= bytes_max;
        let fits = fits && taken.commands < commands_max && bytes <= Room::BYTES_MAX;
        fits.then_some(Room { commands: taken.commands + room.commands, bytes })
    }

    /// Asks that `shard` be woken when there is room for commands. To be called before it tries again.
    pub(crate) fn refused(&self, shard: usize) {
        self.refused[shard].store(true, Ordering::SeqCst);
        // Either the attempt that follows finds the room that commands left, or who took them out sees the flag.
        fence(Ordering::SeqCst);
    }

    /// Whether `shard` asked to be woken and was not yet.
    pub(crate) fn is_refused(&self, shard: usize) -> bool {
        self.refused[shard].load(Ordering::SeqCst)
    }

    /// The shards that wait for room here; they are forgotten. To be called after commands were taken out.
    pub(crate) fn take_refused(&self) -> impl Iterator<Item = usize> + '_ {
        // See `refused`.
        fence(Ordering::SeqCst);
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
        self.taken.fetch_sub(Room::of(&command).to_bits(), Ordering::Release);
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
        if !self.sleeping.load(Ordering::Relaxed) {
            return;
        }
        // Of several that see it asleep, one wakes it.
        let woken = self.sleeping.compare_exchange(true, false, Ordering::SeqCst, Ordering::Relaxed);
        if woken.is_ok() {
            self.waker.wake();
        }
    }
}
