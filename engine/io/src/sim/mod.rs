//! A simulated kernel: shards run against it in one thread, on a virtual clock, with seeded faults.
//!
//! [`SimNet`] is the network and its clock. It hands out [`SimDriver`]s, one for each shard, and [`SimPeer`]s,
//! the other ends of their connections in a test's hands. With the same seed and the same calls, everything
//! happens in the same order.
//!
//! It never starts a thread, reads a real clock or touches a socket.
//!
//! - `rng`: the seeded source of chance
//! - `link`: connections as byte pipes with windows, FIN and RST
//! - `accept`: who waits at a shard's listener, and what one submit takes
//! - `net`: the state of all shards, and what one submit does to it
//! - `driver`: the [`Driver`](crate::Driver) over it, which holds its caller to the trait's contract
//! - `peer`: peers, listeners and wakers
//!
//! ```
//! use fanfare_io::sim::{SimNet, SimOptions};
//! use fanfare_io::{Driver, Event, NoSends, Wait};
//!
//! let net = SimNet::new(1, SimOptions::calm());
//! let mut driver = net.driver();
//! let peer = net.connect(0);
//! driver.accept();
//! driver.submit(&NoSends, Wait::Forever)?;
//! let Some(Event::Accepted { conn, .. }) = driver.next_event() else { panic!("a peer waits") };
//! assert!(driver.next_event().is_none());
//!
//! peer.write(b"hello");
//! driver.receive(conn);
//! driver.submit(&NoSends, Wait::Forever)?;
//! let Some(Event::Received { bytes, .. }) = driver.next_event() else { panic!("bytes wait") };
//! assert_eq!(&bytes[..], b"hello");
//! # Ok::<(), std::io::Error>(())
//! ```

mod accept;
mod driver;
mod link;
mod net;
mod peer;
mod rng;

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

pub use driver::{SimBytes, SimDriver};
pub use peer::{SimListener, SimPeer, SimWaker};

use link::Owner;
use net::Net;

/// Where peers come from unless they say otherwise.
pub const PEER_DEFAULT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));

/// The sizes and the faults of a [`SimNet`].
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// The slots of each driver's descriptor table.
    pub connections_max: usize,
    /// The receive buffers of each driver.
    pub buffer_count: usize,
    /// The size of each of them.
    pub buffer_bytes: usize,
    /// The most peers that one submit accepts.
    pub accept_slice: usize,
    /// The room that the kernel has at each side of a new connection, between send and read.
    pub window_bytes: usize,
    pub faults: Faults,
}

/// How often the network misbehaves, as probabilities from 0 to 1. None of it breaks the trait's contract.
#[derive(Clone, Debug)]
pub struct Faults {
    /// A send is cut at a random byte, although there is room.
    pub short_send: f64,
    /// A send finds a full socket, although there is room.
    pub full_send: f64,
    /// An event waits for 1 to `delay_submits_max` submits. Events of one connection keep their order.
    pub delay: f64,
    pub delay_submits_max: usize,
    /// Arrived bytes are received in pieces of random sizes.
    pub split_receive: f64,
    /// Receiving ends for a lack of buffers, although some are free.
    pub no_buffers: f64,
    /// A submit yields [`Woken`](crate::Event::Woken) though nobody woke it.
    pub wake: f64,
    /// Accepting stops for a lack of memory.
    pub accept_stop: f64,
    /// Whether events of different connections come in random order.
    pub reorder: bool,
}

impl Faults {
    /// No faults.
    pub const NONE: Self = Self {
        short_send: 0.0,
        full_send: 0.0,
        delay: 0.0,
        delay_submits_max: 1,
        split_receive: 0.0,
        no_buffers: 0.0,
        wake: 0.0,
        accept_stop: 0.0,
        reorder: false,
    };

    /// Faults as a bad day has them.
    pub const MODERATE: Self = Self {
        short_send: 0.1,
        full_send: 0.05,
        delay: 0.2,
        delay_submits_max: 5,
        split_receive: 0.3,
        no_buffers: 0.03,
        wake: 0.05,
        accept_stop: 0.01,
        reorder: true,
    };
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            buffer_count: 256,
            buffer_bytes: 2048,
            accept_slice: 16,
            window_bytes: 64 * 1024,
            faults: Faults::MODERATE,
        }
    }
}

impl SimOptions {
    /// The default sizes without faults.
    pub fn calm() -> Self {
        Self { faults: Faults::NONE, ..Self::default() }
    }
}

/// The simulated network: a cloneable handle, for one thread.
#[derive(Clone, Debug)]
pub struct SimNet(Rc<RefCell<Net>>);

impl SimNet {
    pub fn new(seed: u64, options: SimOptions) -> Self {
        Self(Rc::new(RefCell::new(Net::new(seed, options))))
    }

    /// The driver of the next shard; the first is shard 0. Its listener stands at once, but accepts
    /// nothing until [`Driver::accept`](crate::Driver::accept).
    pub fn driver(&self) -> SimDriver {
        let shard = self.0.borrow_mut().add_shard();
        SimDriver::new(Rc::clone(&self.0), shard)
    }

    /// Where the listener of `shard` stands, for [`Driver::connect`](crate::Driver::connect).
    pub fn address(&self, shard: usize) -> SocketAddr {
        self.0.borrow().shards[shard].address
    }

    /// A peer that connects to `shard` from [`PEER_DEFAULT`]. It may write at once, and waits in the backlog until
    /// accepted. After [`Driver::stop_accept`](crate::Driver::stop_accept) it is refused: it saw a RST.
    pub fn connect(&self, shard: usize) -> SimPeer {
        self.connect_from(shard, PEER_DEFAULT)
    }

    /// As [`connect`](Self::connect), from this address.
    pub fn connect_from(&self, shard: usize, from: IpAddr) -> SimPeer {
        let end = self.0.borrow_mut().connect_peer(shard, from);
        SimPeer::new(Rc::clone(&self.0), end)
    }

    /// A listener in the test's hands, for drivers that connect.
    ///
    /// # Panics
    /// When something listens at `address` already.
    pub fn listen(&self, address: SocketAddr) -> SimListener {
        let index = self.0.borrow_mut().add_listener(address);
        SimListener::new(Rc::clone(&self.0), index)
    }

    /// The virtual time in nanoseconds.
    pub fn now(&self) -> u64 {
        self.0.borrow().now
    }

    /// Moves the clock on.
    pub fn advance(&self, ns: u64) {
        self.0.borrow_mut().now += ns;
    }

    /// Moves the clock to `ns`, or leaves it if that is past.
    pub fn advance_to(&self, ns: u64) {
        let mut net = self.0.borrow_mut();
        net.now = net.now.max(ns);
    }

    /// When the next shard would wake up: now if one has an event to take or asked not to wait, otherwise the
    /// earliest time that one waits for, and `None` if all sleep for ever.
    ///
    /// A harness is a loop: advance to this time, and let every shard take a turn.
    pub fn next_wait(&self) -> Option<u64> {
        let net = self.0.borrow();
        (0..net.shards.len()).filter_map(|shard| net.shard_wait(shard)).min()
    }

    /// When this one shard would wake up; as [`next_wait`](Self::next_wait).
    pub fn shard_wait(&self, shard: usize) -> Option<u64> {
        self.0.borrow().shard_wait(shard)
    }

    /// Whether nothing happens until the clock moves or a peer acts.
    pub fn is_idle(&self) -> bool {
        self.next_wait().is_none_or(|at| at > self.now())
    }

    /// Changes the faults from here on, for a test that misbehaves and then lets things settle.
    pub fn set_faults(&self, faults: Faults) {
        self.0.borrow_mut().options.faults = faults;
    }

    /// How many connections of `shard` are in use, those included that it was not told of yet.
    pub fn connections(&self, shard: usize) -> usize {
        let net = self.0.borrow();
        net.shards[shard].conns.len() - net.shards[shard].free.len()
    }

    /// How many receive buffers `shard` holds.
    pub fn buffers_held(&self, shard: usize) -> usize {
        self.0.borrow().shards[shard].buffers_out.get()
    }

    /// How many peers wait to be accepted by `shard`.
    pub fn backlog(&self, shard: usize) -> usize {
        self.0.borrow().shards[shard].listening.waiting()
    }
}
