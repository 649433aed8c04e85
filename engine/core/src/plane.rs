//! The data plane as a whole: what all shards and the outside share.

use std::fmt;
use std::sync::Arc;

use crossbeam::utils::CachePadded;
use fanfare_io::Wake;
use fanfare_wire::subscribe::Start;
use fanfare_wire::topic::TopicName;

use crate::addresses::Addresses;
use crate::config::{Config, ConfigError};
use crate::mailbox::{Command, DescribeReply, ListReply, Mailbox, MailboxLimits, Source, TapReply};
use crate::message::{Ack, Message, PublishError};
use crate::rules::Rules;
use crate::stats::ShardStats;
use crate::sync::{AtomicU64, AtomicUsize, Ordering, fence};
use crate::tap::Tap;
use crate::topics::{TopicInfo, Usage};

/// `shutdown_grace_ms` before a shutdown was asked for, and `drain_spread_ms` before a drain was.
const RUNNING: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Plane {
    pub(crate) config: Config,
    pub(crate) mailboxes: Box<[CachePadded<Mailbox>]>,
    pub(crate) stats: Box<[Arc<ShardStats>]>,
    /// Topics in the process.
    pub(crate) topics: Arc<AtomicUsize>,
    /// What topics take from memory, over all shards.
    pub(crate) usage: Arc<Usage>,
    pub(crate) rules: Arc<Rules>,
    /// The connections of each address, if they are limited.
    pub(crate) addresses: Option<Addresses>,
    /// What the epochs of topics come from.
    pub(crate) seed: u64,
    /// Over how much time a drain is spread, or [`RUNNING`].
    drain_spread_ms: AtomicU64,
    /// How long a shutdown may take, or [`RUNNING`].
    shutdown_grace_ms: AtomicU64,
    /// Threads that are bringing a command from outside right now.
    outside: AtomicUsize,
    /// Shards that will bring no more commands to others.
    pub(crate) quiesced: AtomicUsize,
    /// Shards that have appended all they ever will.
    pub(crate) sequenced: AtomicUsize,
    /// Shards whose connections are all closed.
    pub(crate) flushed: AtomicUsize,
}

impl Plane {
    /// The shard that sequences a topic: FNV-1a of its name, so that every thread and every run agrees.
    pub(crate) fn home_of(&self, topic: &TopicName) -> usize {
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = topic.bytes().fold(0xcbf2_9ce4_8422_2325, mix);
        ((hash ^ (hash >> 32)) % self.mailboxes.len() as u64) as usize
    }

    /// How long the shutdown may take, once one was asked for.
    pub(crate) fn shutdown_grace_ms(&self) -> Option<u64> {
        Some(self.shutdown_grace_ms.load(Ordering::SeqCst)).filter(|grace| *grace != RUNNING)
    }

    /// Over how much time the drain is spread, once one was asked for.
    pub(crate) fn drain_spread_ms(&self) -> Option<u64> {
        Some(self.drain_spread_ms.load(Ordering::SeqCst)).filter(|spread| *spread != RUNNING)
    }

    /// True when no command from outside can arrive any more. Only meaningful during a shutdown.
    pub(crate) fn outside_is_quiet(&self) -> bool {
        // The shutdown was seen before. Either this sees who is bringing something, or they see the shutdown: both sides
        // fence between what they say and what they look at.
        fence(Ordering::SeqCst);
        self.outside.load(Ordering::SeqCst) == 0
    }

    pub(crate) fn wake_all(&self) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.wake_if_asleep());
    }
}

/// A shard's place in the plane, for the thread that will run it.
#[derive(Debug)]
pub struct Seat {
    pub(crate) index: usize,
    pub(crate) plane: Arc<Plane>,
}

impl Seat {
    /// Which shard this is, from 0.
    pub fn index(&self) -> usize {
        self.index
    }
}

/// The plane from outside: any thread may publish, subscribe and ask.
#[derive(Clone)]
pub struct Handle {
    plane: Arc<Plane>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({} shards)", self.shards())
    }
}

/// Why a message was not taken. Nothing of it was published.
pub enum PublishRefused {
    /// The home shard's mailbox is full. The message comes back, to be tried again.
    Full(Message, Option<Ack>),
    /// The payload is larger than `message_bytes_max`.
    TooLarge,
    ShuttingDown,
}

impl fmt::Debug for PublishRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(..) => "Full",
            Self::TooLarge => "TooLarge",
            Self::ShuttingDown => "ShuttingDown",
        })
    }
}

/// Makes a plane with one seat for each of `wakers`, which end the sleep of the shards' drivers. `seed` should be another
/// one in each life of the process: the epochs of topics come from it.
///
/// # Errors
/// If the configuration cannot work.
///
/// # Panics
/// If there are not as many wakers as `config.shards`.
pub fn plane(
    config: Config,
    wakers: Vec<Arc<dyn Wake>>,
    seed: u64,
) -> Result<(Handle, Vec<Seat>), ConfigError> {
    config.check()?;
    let shards = config.shards;
    assert_eq!(wakers.len(), shards, "each shard has its waker");
    let limits = MailboxLimits { commands_max: config.inbox_commands_max, bytes_max: config.inbox_bytes_max };
    let per_address_max = u32::try_from(config.connections_per_address_max).expect("checked");
    let addresses = (per_address_max > 0).then(|| Addresses::new(per_address_max));
    let mailbox = |waker| CachePadded::new(Mailbox::new(limits, shards, waker));
    let plane = Arc::new(Plane {
        rules: Arc::new(Rules::new(&config)),
        seed,
        usage: Arc::default(),
        addresses,
        config,
        mailboxes: wakers.into_iter().map(mailbox).collect(),
        stats: (0..shards).map(|_| Arc::default()).collect(),
        topics: Arc::default(),
        drain_spread_ms: AtomicU64::new(RUNNING),
        shutdown_grace_ms: AtomicU64::new(RUNNING),
        outside: AtomicUsize::new(0),
        quiesced: AtomicUsize::new(0),
        sequenced: AtomicUsize::new(0),
        flushed: AtomicUsize::new(0),
    });
    let seats = (0..shards).map(|index| Seat { index, plane: plane.clone() }).collect();
    Ok((Handle { plane }, seats))
}

impl Handle {
    pub fn shards(&self) -> usize {
        self.plane.mailboxes.len()
    }

    pub fn config(&self) -> &Config {
        &self.plane.config
    }

    /// Counters of each shard.
    pub fn stats(&self) -> &[Arc<ShardStats>] {
        &self.plane.stats
    }

    /// Open connections, over all shards: handshakes and refused ones included.
    pub fn connections(&self) -> usize {
        self.plane.stats.iter().map(|stats| stats.connections.get() as usize).sum()
    }

    /// Topics in the process.
    pub fn topic_count(&self) -> usize {
        self.plane.topics.load(Ordering::Relaxed)
    }

    /// Brings a message to its topic's home shard without waiting. `ack` hears the sequence number.
    ///
    /// Messages that one thread brings to one topic keep their order.
    ///
    /// # Errors
    /// If the message was not taken; `ack` is then never called.
    pub fn try_publish(
        &self,
        topic: &TopicName,
        message: Message,
        ack: Option<Ack>,
    ) -> Result<(), PublishRefused> {
        if message.payload.len() > self.plane.config.message_bytes_max {
            return Err(PublishRefused::TooLarge);
        }
        let source = ack.map_or(Source::Unasked, Source::Caller);
        let command = Command::Publish { topic: topic.clone(), message, source };
        match self.command(self.plane.home_of(topic), command) {
            Ok(()) => Ok(()),
            Err(None) => Err(PublishRefused::ShuttingDown),
            Err(Some(Command::Publish { message, source, .. })) => {
                let ack = if let Source::Caller(ack) = source { Some(ack) } else { None };
                Err(PublishRefused::Full(message, ack))
            }
            Err(Some(_)) => unreachable!("a refused command comes back as it was"),
        }
    }

    /// What all logs and values of the process take from memory, in bytes; at most `log_total_bytes_max`.
    pub fn log_total_bytes(&self) -> usize {
        self.plane.usage.total()
    }

    /// Subscribes inside the process, beginning where `start` says. `reply` gets the tap on the home shard's thread, so it must be short;
    /// `wake` is called whenever an empty tap has something to read again.
    ///
    /// # Errors
    /// `Busy` if the home shard's mailbox is full: try again; `ShuttingDown` at the end.
    pub fn try_subscribe(
        &self,
        topic: &TopicName,
        start: Start,
        wake: Arc<dyn Wake>,
        reply: impl FnOnce(Result<Tap, PublishError>) + Send + 'static,
    ) -> Result<(), AskRefused> {
        let reply: TapReply = Box::new(reply);
        self.ask(self.plane.home_of(topic), Command::Tap { topic: topic.clone(), start, wake, reply })
    }

    /// Asks a topic's home shard about it. `reply` gets `None` if there is no such topic.
    ///
    /// # Errors
    /// `Busy` if the shard's mailbox is full: try again; `ShuttingDown` at the end.
    pub fn try_describe(
        &self,
        topic: &TopicName,
        reply: impl FnOnce(Option<TopicInfo>) + Send + 'static,
    ) -> Result<(), AskRefused> {
        let reply: DescribeReply = Box::new(reply);
        self.ask(self.plane.home_of(topic), Command::Describe { topic: topic.clone(), reply })
    }

    /// Asks one shard for the topics in up to `count` slots of its table, from slot `from` on. `reply` gets them
    /// in no special order, and the slot to go on from, if any.
    ///
    /// # Errors
    /// `Busy` if the shard's mailbox is full: try again; `ShuttingDown` at the end.
    pub fn try_list(
        &self,
        shard: usize,
        from: usize,
        count: usize,
        reply: impl FnOnce(Vec<TopicInfo>, Option<usize>) + Send + 'static,
    ) -> Result<(), AskRefused> {
        let reply: ListReply = Box::new(reply);
        self.ask(shard, Command::List { from, count, reply })
    }

    /// Sends all connections away before a restart, without a rush: nobody is accepted any more, each open connection is
    /// told after how many milliseconds its time is, spread evenly over `spread_ms`, and is then closed with 1012. Until
    /// then it publishes and receives as before. [`Handle::connections`] tells how many are left, and
    /// [`Handle::shutdown`] may follow at any time. A second drain does nothing.
    pub fn drain(&self, spread_ms: u64) {
        let spread_ms = spread_ms.min(RUNNING - 1);
        let spread = &self.plane.drain_spread_ms;
        if spread.compare_exchange(RUNNING, spread_ms, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            self.plane.wake_all();
        }
    }

    /// Ends the engine: no new connections and messages, then everything sequenced is sent, then every connection
    /// is closed with 1001. What is not done after `grace_ms` is cut off.
    pub fn shutdown(&self, grace_ms: u64) {
        self.plane.shutdown_grace_ms.store(grace_ms.min(RUNNING - 1), Ordering::SeqCst);
        self.plane.wake_all();
    }

    fn ask(&self, shard: usize, command: Command) -> Result<(), AskRefused> {
        self.command(shard, command).map_err(|refused| match refused {
            Some(_) => AskRefused::Busy,
            None => AskRefused::ShuttingDown,
        })
    }

    /// Brings a command to a shard. `Err(None)`: the engine shuts down.
    fn command(&self, shard: usize, command: Command) -> Result<(), Option<Command>> {
        let plane = &*self.plane;
        // Shards wait for `outside` to reach zero before they trust an empty mailbox to be the last.
        plane.outside.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let result = match plane.shutdown_grace_ms() {
            None => plane.mailboxes[shard].command(command).map_err(Some),
            Some(_) => Err(None),
        };
        if plane.outside.fetch_sub(1, Ordering::SeqCst) == 1 && plane.shutdown_grace_ms().is_some() {
            plane.wake_all();
        }
        result
    }
}

/// Why a question was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskRefused {
    /// The shard's mailbox is full.
    Busy,
    ShuttingDown,
}
