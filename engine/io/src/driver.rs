//! The driver: everything a shard asks of the kernel, behind one trait.
//!
//! A shard's turn is: [`Driver::submit`] (send a batch, perhaps wait), then [`Driver::next_event`]
//! until it returns `None`. All other calls only queue work for the next submit.

use std::net::{IpAddr, SocketAddr};
use std::ops::DerefMut;
use std::{fmt, io};

/// A connection's place in the driver's descriptor table: dense, from 0 up to `connections_max`.
///
/// It names one connection from [`Event::Accepted`] or [`Event::Connected`] until [`Event::Closed`],
/// and may name another one afterwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(u32);

impl ConnId {
    pub const fn new(slot: u32) -> Self {
        Self(slot)
    }

    /// The place as a table index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conn {}", self.0)
    }
}

/// What happened since the last submit.
#[derive(Debug)]
pub enum Event<B> {
    /// A peer connected to the listener, from the address `peer`: `None` if it has no IP address, or its address
    /// is not known. Nothing is received until [`Driver::receive`].
    Accepted { conn: ConnId, peer: Option<IpAddr> },
    /// Accepting stopped, and no `Accepted` follows. Because of a lack of descriptors (`ENFILE` when all places are
    /// taken) or memory: then it starts again with [`Driver::accept`]. Or after [`Driver::stop_accept`]
    /// (`ECANCELED`); from then on, and without a listener, [`Driver::accept`] is answered by `EINVAL`.
    AcceptStopped(io::Error),
    /// The connection asked for with `token` stands.
    Connected { conn: ConnId, token: u64 },
    /// The connection asked for with `token` could not be made. No `Closed` follows.
    ConnectFailed { token: u64, error: io::Error },
    /// Bytes arrived. They may be changed in place; dropping the buffer gives it back to the kernel.
    Received { conn: ConnId, bytes: B },
    /// Receiving is over until [`Driver::receive`] is called again.
    ReceiveEnded { conn: ConnId, cause: ReceiveEnd },
    /// The send of the last batch was not taken whole: the kernel took the first `sent` bytes of it.
    SendShort { conn: ConnId, sent: usize, cause: SendShort },
    /// The socket takes bytes again, or is broken: the next send tells. Answers [`Driver::notify_writable`].
    Writable(ConnId),
    /// The connection is gone and its [`ConnId`] is free. Answers [`Driver::close`].
    Closed(ConnId),
    /// Another thread called [`Wake::wake`].
    Woken,
}

/// Why receiving ended.
#[derive(Debug)]
pub enum ReceiveEnd {
    /// The peer will send no more (FIN).
    Eof,
    /// All receive buffers were in use. Bytes are safe in the socket: call `receive` again.
    NoBuffers,
    /// [`Driver::pause_receive`] did it. Bytes that follow stay in the socket.
    Paused,
    /// The connection is broken.
    Error(io::Error),
}

/// Why a send was short.
#[derive(Debug)]
pub enum SendShort {
    /// The socket's buffer is full.
    Full,
    /// The connection is broken.
    Error(io::Error),
}

/// How long a submit may sleep when no event is ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// Not at all.
    No,
    /// Until an event comes or [`Driver::now`] reaches this time (nanoseconds).
    Until(u64),
    /// Until an event comes.
    Forever,
}

/// The sends of one submit, held by the caller. The driver reads it and keeps nothing of it.
///
/// A connection stands in a batch at most once: after a short send nothing else of it may go out.
pub trait Batch {
    /// How many sends there are.
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The connection of send `index` and how many parts it has (1 ..= [`PARTS_MAX`]).
    fn send(&self, index: usize) -> (ConnId, usize);

    /// One part of send `index`; the parts go out one after the other. Never empty.
    fn part(&self, index: usize, part: usize) -> &[u8];
}

/// The most parts that one send can have.
pub const PARTS_MAX: usize = 32;

/// A batch of nothing, for a submit that only asks or waits.
#[derive(Debug)]
pub struct NoSends;

impl Batch for NoSends {
    fn len(&self) -> usize {
        0
    }

    fn send(&self, _: usize) -> (ConnId, usize) {
        unreachable!("an empty batch has no sends")
    }

    fn part(&self, _: usize, _: usize) -> &[u8] {
        unreachable!("an empty batch has no parts")
    }
}

/// The kernel as one shard sees it: one listener, many stream sockets, one clock.
pub trait Driver {
    /// A receive buffer on loan from the driver. Dropping it gives it back.
    type Bytes: DerefMut<Target = [u8]>;

    /// Monotonic time in nanoseconds. It has no fixed beginning.
    fn now(&self) -> u64;

    /// Accepts peers from the listener until [`Event::AcceptStopped`], at most a fixed number with each submit: the
    /// others wait in the kernel's queue. Does nothing if it accepts already.
    ///
    /// Nobody is hung up on for a lack of places, as long as the driver does not also connect while it accepts.
    fn accept(&mut self);

    /// Ends accepting for good and closes the listener, so that whoever comes later is refused, and whoever waits in
    /// the kernel's queue is hung up on. Answered by one [`Event::AcceptStopped`], even if it did not accept;
    /// some `Accepted` may still come before that. Does nothing the second time.
    fn stop_accept(&mut self);

    /// Connects to `remote`, from `local` if given. Answered by `Connected` or `ConnectFailed`.
    fn connect(&mut self, token: u64, local: Option<SocketAddr>, remote: SocketAddr);

    /// Receives from `conn` until [`Event::ReceiveEnded`]. Not allowed while it receives already.
    fn receive(&mut self, conn: ConnId);

    /// Ends receiving; some `Received` may still come, then `ReceiveEnded`. Does nothing if it does not receive.
    fn pause_receive(&mut self, conn: ConnId);

    /// Asks for one [`Event::Writable`]. Not allowed while one is outstanding.
    fn notify_writable(&mut self, conn: ConnId);

    /// Sends FIN after what was sent; receiving goes on.
    fn shutdown_write(&mut self, conn: ConnId);

    /// Ends receiving and closes, in this order. Only `Received`, `ReceiveEnded`, `Writable` and at last
    /// `Closed` come for `conn` after this. Called once for each connection.
    fn close(&mut self, conn: ConnId);

    /// Hands the queued work and `batch` to the kernel, then waits for an event as `wait` says.
    ///
    /// Sends never wait for room: when this returns, the kernel has taken all it would take and reads the
    /// batch no more. For each send that it did not take whole, `next_event` yields one
    /// [`Event::SendShort`] before it yields `None`; for all others it yields nothing.
    ///
    /// # Errors
    /// Only when the ring itself is broken, which ends the shard.
    fn submit<B: Batch>(&mut self, batch: &B, wait: Wait) -> io::Result<()>;

    /// The next thing that happened, or `None` until the next submit.
    fn next_event(&mut self) -> Option<Event<Self::Bytes>>;
}

/// Ends the sleep of a driver from any thread. A wake before the sleep counts too.
pub trait Wake: Send + Sync {
    fn wake(&self);
}
