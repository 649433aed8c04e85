//! The engine: shards on their threads, and the way in for every other thread of the process.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io};

use fanfare_core::{
    Ack, AskRefused, Config, ConfigError, Handle, PublishRefused, REFUSED_AT_ONCE_MAX, ShardStats, TopicInfo,
};
use fanfare_io::listen::ListenOptions;
use fanfare_io::uring::Options;
use fanfare_io::{Wake, Waker, affinity, limits, probe};
use fanfare_wire::subscribe::Start;
use fanfare_wire::topic::TopicName;

use crate::message::Message;
use crate::subscription::{Bell, Subscription};
use crate::{listeners, shard};

/// How long after the wave of a drain its last connections may still be closing.
const DRAIN_LATE_MAX: Duration = Duration::from_millis(250);

/// How often a drain looks whether connections are left.
const DRAIN_PAUSE: Duration = Duration::from_millis(5);

/// How an engine starts. [`Engine::builder`] makes one with the defaults.
#[derive(Clone, Debug)]
pub struct EngineBuilder {
    listen: SocketAddr,
    shards: Option<usize>,
    pin: bool,
    config: Config,
    sockets: ListenOptions,
    receive_buffers: (usize, usize),
}

impl Default for EngineBuilder {
    fn default() -> Self {
        let Options { buffer_count, buffer_bytes, .. } = Options::default();
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9000)),
            shards: None,
            pin: true,
            config: Config::default(),
            sockets: ListenOptions::default(),
            receive_buffers: (buffer_count, buffer_bytes),
        }
    }
}

impl EngineBuilder {
    /// Where WebSocket clients connect: 127.0.0.1:9000 unless said otherwise. With port 0 the kernel chooses one;
    /// [`Engine::addr`] tells which.
    pub fn listen(mut self, addr: SocketAddr) -> Self {
        self.listen = addr;
        self
    }

    /// How many shards serve: one for each core that the process may use unless said otherwise.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Whether each shard's thread stays on a core of its own, which is so unless said otherwise.
    pub fn pin(mut self, pin: bool) -> Self {
        self.pin = pin;
        self
    }

    /// Limits and times. `config.shards` has no effect here: see [`EngineBuilder::shards`].
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// What the sockets of listener and connections are like.
    pub fn sockets(mut self, options: ListenOptions) -> Self {
        self.sockets = options;
        self
    }

    /// How many receive buffers each shard has, a power of two up to 32 768, and how large each of them is in bytes. When
    /// all are in use, what arrives waits in the sockets.
    pub fn receive_buffers(mut self, count: usize, bytes: usize) -> Self {
        self.receive_buffers = (count, bytes);
        self
    }

    /// Starts the engine. It accepts connections when this returns.
    ///
    /// If `connections_max` is above the soft limit of open files, that is raised as far as the process may; what is
    /// still missing then is taken off `connections_max`, and the log says so.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing is left running then.
    pub fn start(self) -> Result<Engine, StartError> {
        let cores = affinity::cores().unwrap_or_default();
        let shards = self.shards.unwrap_or_else(|| cores.len().max(1));
        let mut config = Config { shards, ..self.config };
        config.check().map_err(StartError::Config)?;
        if let Some(refusal) = probe::probe().refusal() {
            return Err(StartError::Unsupported(refusal));
        }
        config.connections_max = connections_possible(config.connections_max);

        let listeners = listeners::open(self.listen, shards, &self.sockets)
            .map_err(|error| StartError::Listen(self.listen, error))?;
        let addr = listeners[0].local_addr().map_err(|error| StartError::Listen(self.listen, error))?;
        let wakers = listeners.iter().map(|_| Waker::new()).collect::<io::Result<Vec<_>>>();
        let wakers = wakers.map_err(StartError::Driver)?;
        // Those that are only told that there is no room need a place meanwhile.
        let slots = config.connections_max.saturating_add(REFUSED_AT_ONCE_MAX);
        let accept_slice = config.accept_slice;
        // The standard library's hasher is keyed by the system's randomness: enough for epochs that differ.
        let seed = RandomState::new().build_hasher().finish();
        let shared_wakers = wakers.iter().map(|waker| Arc::new(waker.clone()) as Arc<dyn Wake>).collect();
        let (handle, seats) = fanfare_core::plane(config, shared_wakers, seed).map_err(StartError::Config)?;

        let mut starting = Starting { handle, shards: Vec::new() };
        for ((seat, listener), waker) in seats.into_iter().zip(listeners).zip(wakers) {
            let core = self.pin.then(|| cores.get(seat.index() % cores.len().max(1)).copied()).flatten();
            let options = Options {
                connections_max: slots,
                accept_slice,
                buffer_count: self.receive_buffers.0,
                buffer_bytes: self.receive_buffers.1,
                listener: Some(listener),
                ..Options::default()
            };
            starting.shards.push(shard::start(seat, options, waker, core).map_err(StartError::Thread)?);
        }
        starting.finish(addr)
    }
}

/// Shards whose drivers are in the making.
struct Starting {
    handle: Handle,
    shards: Vec<shard::Starting>,
}

impl Starting {
    /// Waits until every shard has its driver, then lets them run.
    fn finish(self, addr: SocketAddr) -> Result<Engine, StartError> {
        let mut made = Vec::new();
        for shard in self.shards {
            made.push(shard.made().map_err(StartError::Driver)?);
        }
        let threads = made.into_iter().map(shard::Made::run).collect();
        Ok(Engine { addr, handle: self.handle, draining: Arc::default(), threads: Mutex::new(threads) })
    }
}

/// How many of the connections that were asked for fit in this process's limit of open files.
fn connections_possible(asked: usize) -> usize {
    let Ok(mut files) = limits::open_files() else { return asked };
    let slots = asked.saturating_add(REFUSED_AT_ONCE_MAX) as u64;
    if files.soft < slots {
        files = limits::raise_open_files().unwrap_or(files);
    }
    if files.soft < slots {
        let (connections_max, limit) = (asked, files.soft);
        tracing::info!(
            connections_max,
            limit,
            "the limit of open files bounds each shard's connections (ulimit -n)"
        );
    }
    let slots = usize::try_from(files.soft).unwrap_or(usize::MAX);
    asked.min(slots.saturating_sub(REFUSED_AT_ONCE_MAX)).max(1)
}

/// Why an engine, or its control port, did not start.
#[derive(Debug)]
pub enum StartError {
    /// The configuration cannot work.
    Config(ConfigError),
    /// This system does not offer what io_uring needs. The text says what is missing, and how to enable it.
    Unsupported(String),
    /// The address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// A ring could not be made.
    Driver(io::Error),
    /// A thread could not be started.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Unsupported(text) => f.write_str(text),
            Self::Listen(addr, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "{addr} is in use: another program listens there")
            }
            Self::Listen(addr, error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                write!(f, "{addr} cannot be listened on: it is not an address of this machine")
            }
            Self::Listen(addr, error) => write!(f, "{addr} cannot be listened on: {error}"),
            Self::Driver(error) => write!(f, "a ring cannot be made: {error}"),
            Self::Thread(error) => write!(f, "a thread cannot be started: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Unsupported(_) => None,
            Self::Listen(_, error) | Self::Driver(error) | Self::Thread(error) => Some(error),
        }
    }
}

/// Why a message was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// It is larger than `message_bytes_max`.
    TooLarge,
    /// It needs a new topic, and `topics_max` is reached. Only [`Engine::publish_acked`] learns of this.
    TooManyTopics,
    /// It needs a new key, and the topic's `keys_max` is reached. Only [`Engine::publish_acked`] learns of this.
    TooManyKeys,
    /// The values of the topic's keys would pass `values_bytes_max`, or those of all topics half of
    /// `log_total_bytes_max`. Only [`Engine::publish_acked`] learns of this.
    ValuesTooLarge,
    /// The engine shuts down.
    ShuttingDown,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the message is larger than message_bytes_max",
            Self::TooManyTopics => "the engine holds as many topics as topics_max allows",
            Self::TooManyKeys => "the topic has as many keys as keys_max allows",
            Self::ValuesTooLarge => {
                "the values of the topic's keys, or of all topics, take as much memory as values_bytes_max and \
                 log_total_bytes_max allow"
            }
            Self::ShuttingDown => "the engine is shutting down",
        })
    }
}

impl std::error::Error for PublishError {}

impl From<fanfare_core::PublishError> for PublishError {
    fn from(error: fanfare_core::PublishError) -> Self {
        match error {
            fanfare_core::PublishError::TooManyTopics => Self::TooManyTopics,
            fanfare_core::PublishError::TooManyKeys => Self::TooManyKeys,
            fanfare_core::PublishError::ValuesTooLarge => Self::ValuesTooLarge,
            fanfare_core::PublishError::ShuttingDown => Self::ShuttingDown,
        }
    }
}

/// Why [`Engine::try_publish`] did not take a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TryPublishError {
    /// The topic's home shard has as much to do as it may hold. The message comes back.
    Full(Message),
    /// Trying again will not help.
    Refused(PublishError),
}

impl fmt::Display for TryPublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("the inbox of the topic's home shard is full"),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TryPublishError {}

/// A running engine. All methods work from any thread; share it in an `Arc`.
///
/// Dropping it ends it at once; [`Engine::shutdown`] lets subscribers have what was published first.
#[derive(Debug)]
pub struct Engine {
    addr: SocketAddr,
    handle: Handle,
    /// Set by the first drain or shutdown: who looks for an engine to connect to should look elsewhere.
    draining: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Engine {
    /// The way to start one.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// Where it listens, with the real port.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its limits and times.
    pub fn config(&self) -> &Config {
        self.handle.config()
    }

    /// The counters of each shard.
    pub fn stats(&self) -> &[Arc<ShardStats>] {
        self.handle.stats()
    }

    #[cfg(feature = "control")]
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Whether a drain or a shutdown has begun, now and later.
    #[cfg(feature = "control")]
    pub(crate) fn draining(&self) -> Arc<AtomicBool> {
        self.draining.clone()
    }

    /// Publishes a message, and waits while the topic's home shard is full.
    ///
    /// Messages that one thread publishes to one topic stay in order.
    ///
    /// # Errors
    /// If the message is too large, or the engine shuts down.
    pub fn publish(&self, topic: &TopicName, message: impl Into<Message>) -> Result<(), PublishError> {
        self.publish_waiting(topic, message.into(), None)
    }

    /// Publishes a message if its topic's home shard has room for it.
    ///
    /// # Errors
    /// [`TryPublishError::Full`] with the message if it has none, or what [`Engine::publish`] gives.
    pub fn try_publish(&self, topic: &TopicName, message: impl Into<Message>) -> Result<(), TryPublishError> {
        self.handle.try_publish(topic, message.into().into_core(), None).map_err(|refused| match refused {
            PublishRefused::Full(message, _) => TryPublishError::Full(Message::from_core(message)),
            PublishRefused::TooLarge => TryPublishError::Refused(PublishError::TooLarge),
            PublishRefused::ShuttingDown => TryPublishError::Refused(PublishError::ShuttingDown),
        })
    }

    /// Publishes a message and waits for its sequence number. It will reach every subscriber when this returns.
    ///
    /// # Errors
    /// If the message is too large, needs one topic or one key too many, or the engine shuts down.
    pub fn publish_acked(&self, topic: &TopicName, message: impl Into<Message>) -> Result<u64, PublishError> {
        let (tell, told) = mpsc::sync_channel(1);
        let ack: Ack = Box::new(move |outcome| _ = tell.send(outcome));
        self.publish_waiting(topic, message.into(), Some(ack))?;
        // A shard that ends without an answer drops the sender.
        Ok(told.recv().map_err(|_| PublishError::ShuttingDown)??)
    }

    /// Subscribes to a topic, beginning with the first message after this returns.
    ///
    /// # Errors
    /// If it needs a topic too many, or the engine shuts down.
    pub fn subscribe(&self, topic: &TopicName) -> Result<Subscription, PublishError> {
        self.subscribe_from(topic, Start::Head)
    }

    /// Subscribes to a topic, beginning where `start` says: [`Start::Last`] goes back into the topic's history, and
    /// [`Start::Since`] goes on behind the last message that an earlier subscription had, without loss or repetition.
    /// [`Subscription::recovery`] says whether the history still had what lies between; if not, the subscription begins
    /// with the first message after this returns.
    ///
    /// # Errors
    /// As [`Engine::subscribe`]. A recovery that fails is none.
    pub fn subscribe_from(&self, topic: &TopicName, start: Start) -> Result<Subscription, PublishError> {
        let bell = Arc::new(Bell::default());
        let ask = |tell| self.handle.try_subscribe(topic, start, bell.clone(), tell);
        let tap = ask_waiting(ask).ok_or(PublishError::ShuttingDown)??;
        Ok(Subscription::new(tap, bell))
    }

    /// Asks a topic's home shard about it, and waits for the answer. `None` if there is no such topic, or no shard any
    /// more that could know of it.
    pub fn topic(&self, topic: &TopicName) -> Option<TopicInfo> {
        ask_waiting(|tell| self.handle.try_describe(topic, tell))?
    }

    /// Sends the connections away in a paced wave, so that they do not all come back, here or elsewhere, in the same
    /// moment. The engine stops listening, tells each client when to come back, at a time of its own within `spread`,
    /// and closes its connection with 1012 at that time. Until then everything goes on for it.
    ///
    /// Returns when the last connection is gone, a moment after `spread` at the latest. The engine still runs then:
    /// publishing and in-process subscriptions work until [`Engine::shutdown`], which may come at any time. A second
    /// drain changes nothing; it only waits.
    ///
    /// Must not be called from an acknowledgement, which runs on a shard's thread.
    pub fn drain(&self, spread: Duration) {
        self.draining.store(true, Ordering::Relaxed);
        let start = Instant::now();
        self.handle.drain(millis(spread));
        let patience = spread.saturating_add(DRAIN_LATE_MAX);
        while self.handle.connections() > 0 && start.elapsed() < patience {
            thread::sleep(DRAIN_PAUSE);
        }
    }

    /// Ends the engine: it takes no new connections and messages, sends what was published, closes every connection
    /// with 1001, and returns when all shards have ended. What is not done after `grace` is cut off.
    ///
    /// Must not be called from an acknowledgement, which runs on a shard's thread.
    pub fn shutdown(&self, grace: Duration) {
        self.draining.store(true, Ordering::Relaxed);
        self.handle.shutdown(millis(grace));
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // A shard's thread does not unwind: a panic in it has ended the process.
            _ = thread.join();
        }
    }

    fn publish_waiting(
        &self,
        topic: &TopicName,
        message: Message,
        ack: Option<Ack>,
    ) -> Result<(), PublishError> {
        let mut pause = Pause::default();
        let (mut message, mut ack) = (message.into_core(), ack);
        loop {
            match self.handle.try_publish(topic, message, ack) {
                Ok(()) => return Ok(()),
                Err(PublishRefused::Full(message_back, ack_back)) => {
                    (message, ack) = (message_back, ack_back);
                    pause.sleep();
                }
                Err(PublishRefused::TooLarge) => return Err(PublishError::TooLarge),
                Err(PublishRefused::ShuttingDown) => return Err(PublishError::ShuttingDown),
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shutdown(Duration::ZERO);
    }
}

/// A time in milliseconds.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Asks a shard something, again while its inbox is full, and waits for the answer. `None` if the engine shuts down.
fn ask_waiting<T: Send + 'static>(
    ask: impl Fn(Box<dyn FnOnce(T) + Send>) -> Result<(), AskRefused>,
) -> Option<T> {
    let mut pause = Pause::default();
    loop {
        let (tell, told) = mpsc::sync_channel(1);
        match ask(Box::new(move |answer| _ = tell.send(answer))) {
            // A shard that ends without an answer drops the sender.
            Ok(()) => return told.recv().ok(),
            Err(AskRefused::ShuttingDown) => return None,
            Err(AskRefused::Busy) => pause.sleep(),
        }
    }
}

/// The sleep between two tries at a full inbox: short at first, since a shard empties it in a turn.
#[derive(Debug)]
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(Duration::from_micros(20))
    }
}

impl Pause {
    const MAX: Duration = Duration::from_millis(2);

    fn sleep(&mut self) {
        thread::sleep(self.0);
        self.0 = (self.0 * 2).min(Self::MAX);
    }
}
