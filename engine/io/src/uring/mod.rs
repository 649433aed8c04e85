//! The driver over io_uring.
//!
//! One ring for each driver, on the thread that made it. Peers are accepted into direct descriptors, received from
//! with multishot receives into provided buffers, and sent to with one submission for each send that the
//! kernel executes before the submitting system call returns.
//!
//! - `tag`: what a completion answers
//! - `sqe`: the submissions there are
//! - `ring`: the queues and the system call
//! - `slots`: what is in flight for each connection
//! - `accept`, `connects`: how connections come to be
//! - `buffers`: what they receive into
//! - `sends`: a batch on its way out

mod accept;
mod buffers;
mod connects;
mod ring;
mod sends;
mod slots;
mod sqe;
mod tag;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use io_uring::cqueue;

use crate::wake::Waker;
use crate::{Batch, ConnId, Driver, Event, ReceiveEnd, SendShort, Wait};

use accept::Acceptor;
use connects::{Connects, Ended};
use ring::Ring;
use sends::Sends;
use slots::{Slots, flag};
use sqe::Sqe;
use tag::{Op, Tag};

pub use buffers::Bytes;

/// The sizes of a [`UringDriver`], and its listener.
#[derive(Debug)]
pub struct Options {
    /// How many operations one system call can hand over; more take several. Rounded up to a power of two.
    pub sq_entries: u32,
    /// How many completions can wait to be handled before the kernel has to allocate memory for more.
    /// Rounded up to a power of two.
    pub cq_entries: u32,
    /// How many connections can stand at once. The kernel allows at most RLIMIT_NOFILE.
    pub connections_max: usize,
    /// How many receive buffers there are: a power of two, at most 32 768.
    pub buffer_count: usize,
    /// The size of each.
    pub buffer_bytes: usize,
    /// The most peers that one submit accepts, at least 1; the others wait in the kernel's queue. Each takes some
    /// 150 bytes.
    pub accept_slice: usize,
    /// Where peers are accepted from, if at all.
    pub listener: Option<TcpListener>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sq_entries: 4096,
            cq_entries: 4 * 4096,
            connections_max: 16 * 1024,
            buffer_count: 1024,
            buffer_bytes: 4096,
            accept_slice: 16,
            listener: None,
        }
    }
}

/// The kernel as one shard sees it. See [`Driver`] for the contract.
///
/// It belongs to the thread that made it. Dropping it cancels what is in flight and closes all connections.
pub struct UringDriver {
    // The ring is dropped before what the kernel reads and writes: buffers, addresses, the eventfd.
    ring: Ring,
    slots: Slots,
    acceptor: Acceptor,
    connects: Connects,
    sends: Sends,
    buffers: Rc<buffers::Pool>,
    waker: Waker,
    /// Events that are not one completion's own.
    extra: VecDeque<Event<Bytes>>,
}

impl UringDriver {
    /// Makes a driver for the calling thread, to be woken by `waker`.
    ///
    /// # Errors
    /// When the kernel refuses, with what was refused in the text; [`probe`](crate::probe::probe) tells why
    /// and what to do. `InvalidInput` for impossible sizes.
    pub fn new(options: Options, waker: &Waker) -> io::Result<Self> {
        let Options {
            sq_entries,
            cq_entries,
            connections_max,
            buffer_count,
            buffer_bytes,
            accept_slice,
            listener,
        } = options;
        let slot_count = u32::try_from(connections_max).ok().filter(|&count| count > 0).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "connections_max must be 1 to 2^32 - 1")
        })?;
        if accept_slice == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "accept_slice must be at least 1"));
        }
        let buffers = buffers::Pool::new(buffer_count, buffer_bytes)?;
        let mut ring = Ring::new(sq_entries, cq_entries).map_err(|e| refused("a ring", e))?;
        let submitter = ring.submitter();
        submitter.register_files_sparse(slot_count).map_err(|e| {
            refused(&format!("a table of {slot_count} connections (see RLIMIT_NOFILE, ulimit -n)"), e)
        })?;
        // SAFETY: the ring is closed before the driver lets go of the buffers.
        unsafe { buffers.register(&submitter) }.map_err(|e| refused("a ring of receive buffers", e))?;
        ring.push(&Sqe::watch_eventfd(waker.as_raw_fd()));
        Ok(Self {
            ring,
            slots: Slots::new(connections_max),
            acceptor: Acceptor::new(listener, accept_slice),
            connects: Connects::default(),
            sends: Sends::new(),
            buffers,
            waker: waker.clone(),
            extra: VecDeque::new(),
        })
    }

    /// Where the listener stands, if there is one and accepting was not stopped.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.acceptor.local_addr()
    }

    /// How many system calls the driver has made since it stands: every one is an io_uring_enter.
    pub fn enters(&self) -> u64 {
        self.ring.enters()
    }

    /// Turns one completion into the first event that it is, if any. Others go to `extra`.
    fn complete(&mut self, cqe: &cqueue::Entry) -> Option<Event<Bytes>> {
        let tag = Tag::from_bits(cqe.user_data());
        let result = cqe.result();
        match tag.op {
            Op::Send => self.send_ended(tag, result),
            Op::Receive => self.receive_completed(tag, cqe),
            Op::Poll => self.poll_ended(tag),
            Op::Accept => self.accept_completed(tag, result),
            Op::AcceptCancel => {
                self.acceptor.cancel_failed(&mut self.ring, tag.index);
                None
            }
            Op::Wake => {
                if !cqueue::more(cqe.flags()) {
                    self.ring.push(&Sqe::watch_eventfd(self.waker.as_raw_fd()));
                }
                Some(Event::Woken)
            }
            Op::Close => {
                let is_current = self.slots.is_current(tag);
                is_current.then(|| self.closed(tag.index))
            }
            Op::Cancel => {
                self.cancel_failed(tag);
                None
            }
            // A half-close that fails finds the connection broken, which receiving tells.
            Op::Shutdown => {
                self.slots.clear(tag.index, flag::SHUTTING);
                self.close_if_quiet(tag.index);
                None
            }
            Op::Socket => self.socket_completed(tag, result),
            Op::Prepare => {
                self.connects.prepare_failed(tag, io::Error::from_raw_os_error(-result));
                None
            }
            Op::Connect => {
                let ended = self.connects.connected(tag, check(result).map(drop));
                ended.map(|ended| self.connect_ended(ended))
            }
        }
    }

    fn send_ended(&mut self, tag: Tag, result: i32) -> Option<Event<Bytes>> {
        debug_assert!(self.slots.is_current(tag), "a send ends in its own submit");
        let (sent, cause) = match result {
            sent if sent >= 0 => (sent as usize, SendShort::Full),
            errno if errno == -libc::EAGAIN => (0, SendShort::Full),
            errno => (0, SendShort::Error(io::Error::from_raw_os_error(-errno))),
        };
        Some(Event::SendShort { conn: ConnId::new(tag.index), sent, cause })
    }

    fn receive_completed(&mut self, tag: Tag, cqe: &cqueue::Entry) -> Option<Event<Bytes>> {
        let buffer = cqueue::buffer_select(cqe.flags());
        let len = u32::try_from(cqe.result()).unwrap_or(0);
        // SAFETY: this completion named the buffer, and is handled once.
        let bytes = buffer.map(|id| unsafe { self.buffers.take(id, len) });
        let slot = tag.index;
        debug_assert!(self.slots.is_current(tag), "a slot is not freed while it receives");
        let conn = ConnId::new(slot);
        let received = bytes.filter(|_| len > 0).map(|bytes| Event::Received { conn, bytes });
        if cqueue::more(cqe.flags()) {
            return received;
        }
        let is_ending = self.slots.has(slot, flag::PAUSING) || self.slots.has(slot, flag::CLOSING);
        let cause = match -cqe.result() {
            0 => ReceiveEnd::Eof,
            libc::ENOBUFS => ReceiveEnd::NoBuffers,
            libc::ECANCELED => ReceiveEnd::Paused,
            errno if errno > 0 => ReceiveEnd::Error(io::Error::from_raw_os_error(errno)),
            // The kernel ends a multishot with its data when there is no room for completions.
            _ if is_ending => ReceiveEnd::Paused,
            _ => {
                self.ring.push(&Sqe::receive(tag));
                return received;
            }
        };
        self.slots.clear(slot, flag::RECEIVING | flag::PAUSING);
        self.close_if_quiet(slot);
        let ended = Event::ReceiveEnded { conn, cause };
        if received.is_some() {
            self.extra.push_back(ended);
            return received;
        }
        Some(ended)
    }

    fn poll_ended(&mut self, tag: Tag) -> Option<Event<Bytes>> {
        let slot = tag.index;
        debug_assert!(self.slots.is_current(tag), "a slot is not freed while it polls");
        self.slots.clear(slot, flag::POLLING);
        if self.slots.has(slot, flag::CLOSING) {
            self.close_if_quiet(slot);
            return None;
        }
        Some(Event::Writable(ConnId::new(slot)))
    }

    fn accept_completed(&mut self, tag: Tag, result: i32) -> Option<Event<Bytes>> {
        let peer = self.acceptor.answered(tag.index);
        let accepted = check(result);
        let stopped = self.acceptor.settle(&mut self.ring, accepted.as_ref().err());
        if let Ok(slot) = accepted {
            let events = self.occupy(slot, peer);
            self.extra.extend(events);
        }
        self.extra.extend(stopped.map(Event::AcceptStopped));
        self.extra.pop_front()
    }

    /// Notes the peer in `slot`. The close of the one before may not be heard of yet: completions of one submit
    /// need not come in the order in which they were made.
    fn occupy(&mut self, slot: u32, peer: Option<IpAddr>) -> impl IntoIterator<Item = Event<Bytes>> + use<> {
        let closed = self.slots.has(slot, flag::CLOSED).then(|| self.closed(slot));
        self.slots.occupy(slot);
        [closed, Some(Event::Accepted { conn: ConnId::new(slot), peer })].into_iter().flatten()
    }

    fn closed(&mut self, slot: u32) -> Event<Bytes> {
        self.slots.release(slot);
        Event::Closed(ConnId::new(slot))
    }

    fn socket_completed(&mut self, tag: Tag, result: i32) -> Option<Event<Bytes>> {
        match check(result) {
            Ok(slot) => {
                let closed = self.slots.has(slot, flag::CLOSED).then(|| self.closed(slot));
                self.slots.occupy(slot);
                self.connects.socket_made(&mut self.ring, tag, slot);
                closed
            }
            Err(error) => {
                let ended = self.connects.socket_failed(tag, error);
                ended.map(|ended| self.connect_ended(ended))
            }
        }
    }

    fn connect_ended(&mut self, ended: Ended) -> Event<Bytes> {
        let Ended { token, slot, result } = ended;
        match (slot, result) {
            (Some(slot), Ok(())) => Event::Connected { conn: ConnId::new(slot), token },
            (slot, result) => {
                if let Some(slot) = slot {
                    self.ring.push(&Sqe::close_unseen(self.slots.tag(Op::Close, slot)));
                    self.slots.release(slot);
                }
                let error = result.err().unwrap_or_else(|| io::Error::other("a connection without a socket"));
                Event::ConnectFailed { token, error }
            }
        }
    }

    /// A cancel found nothing to cancel. Either its target's last completion is on its way, or the target was just
    /// then at work: then it is asked again.
    fn cancel_failed(&mut self, tag: Tag) {
        if !self.slots.is_current(tag) {
            return;
        }
        let slot = tag.index;
        if self.slots.has(slot, flag::PAUSING) {
            self.ring.push(&Sqe::cancel(self.slots.tag(Op::Receive, slot)));
        }
        if self.slots.has(slot, flag::CLOSING) && self.slots.has(slot, flag::POLLING) {
            self.ring.push(&Sqe::cancel(self.slots.tag(Op::Poll, slot)));
        }
    }

    /// Closes a closing connection once nothing is armed. A close before that would not reach the peer: what is armed
    /// holds the socket.
    fn close_if_quiet(&mut self, slot: u32) {
        let has = |flag| self.slots.has(slot, flag);
        if has(flag::CLOSING) && !has(flag::RECEIVING) && !has(flag::POLLING) && !has(flag::SHUTTING) {
            self.slots.set(slot, flag::CLOSED);
            self.ring.push(&Sqe::close(self.slots.tag(Op::Close, slot)));
        }
    }
}

impl Driver for UringDriver {
    type Bytes = Bytes;

    fn now(&self) -> u64 {
        now_ns()
    }

    fn accept(&mut self) {
        let stopped = self.acceptor.start();
        self.extra.extend(stopped.map(Event::AcceptStopped));
    }

    fn stop_accept(&mut self) {
        let stopped = self.acceptor.stop(&mut self.ring);
        self.extra.extend(stopped.map(Event::AcceptStopped));
    }

    fn connect(&mut self, token: u64, local: Option<SocketAddr>, remote: SocketAddr) {
        self.connects.start(&mut self.ring, token, local, remote);
    }

    fn receive(&mut self, conn: ConnId) {
        let slot = self.slots.open(conn);
        debug_assert!(!self.slots.has(slot, flag::RECEIVING), "{conn} receives already");
        self.slots.set(slot, flag::RECEIVING);
        self.ring.push(&Sqe::receive(self.slots.tag(Op::Receive, slot)));
    }

    fn pause_receive(&mut self, conn: ConnId) {
        let slot = self.slots.open(conn);
        if self.slots.has(slot, flag::RECEIVING) && !self.slots.has(slot, flag::PAUSING) {
            self.slots.set(slot, flag::PAUSING);
            self.ring.push(&Sqe::cancel(self.slots.tag(Op::Receive, slot)));
        }
    }

    fn notify_writable(&mut self, conn: ConnId) {
        let slot = self.slots.open(conn);
        debug_assert!(!self.slots.has(slot, flag::POLLING), "{conn} is polled already");
        self.slots.set(slot, flag::POLLING);
        self.ring.push(&Sqe::poll_writable(self.slots.tag(Op::Poll, slot)));
    }

    fn shutdown_write(&mut self, conn: ConnId) {
        let slot = self.slots.open(conn);
        self.slots.set(slot, flag::SHUTTING);
        self.ring.push(&Sqe::shutdown_write(self.slots.tag(Op::Shutdown, slot)));
    }

    fn close(&mut self, conn: ConnId) {
        self.pause_receive(conn);
        let slot = self.slots.open(conn);
        self.slots.set(slot, flag::CLOSING);
        if self.slots.has(slot, flag::POLLING) {
            self.ring.push(&Sqe::cancel(self.slots.tag(Op::Poll, slot)));
        }
        self.close_if_quiet(slot);
    }

    fn submit<B: Batch>(&mut self, batch: &B, wait: Wait) -> io::Result<()> {
        let stopped = self.acceptor.arm(&mut self.ring, self.slots.free());
        self.extra.extend(stopped.map(Event::AcceptStopped));
        let (want, timeout) = match wait {
            _ if !self.extra.is_empty() => (0, None),
            Wait::No => (0, None),
            Wait::Forever => (1, None),
            Wait::Until(at) => match at.saturating_sub(now_ns()) {
                0 => (0, None),
                ns => (1, Some(Duration::from_nanos(ns))),
            },
        };
        self.sends.submit(&mut self.ring, &self.slots, batch, want, timeout)
    }

    fn next_event(&mut self) -> Option<Event<Bytes>> {
        loop {
            if let Some(event) = self.extra.pop_front() {
                return Some(event);
            }
            let cqe = self.ring.pop()?;
            if let Some(event) = self.complete(&cqe) {
                return Some(event);
            }
        }
    }
}

impl Drop for UringDriver {
    fn drop(&mut self) {
        self.ring.shut();
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`, on which every [`UringDriver`] of this machine runs.
pub fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is ours to write.
    let got = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    assert_eq!(got, 0, "every Linux has a monotonic clock");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A completion's result as a slot number, or its error.
fn check(result: i32) -> io::Result<u32> {
    u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

fn refused(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the kernel refused {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "a system call that Miri does not know")]
    fn a_slot_given_out_ahead_of_its_close_is_closed_first_and_once() {
        let waker = Waker::new().expect("an eventfd");
        let mut driver = UringDriver::new(Options::default(), &waker).expect("io_uring");
        let conn = ConnId::new(3);
        driver.slots.occupy(3);
        driver.close(conn);
        let late = driver.slots.tag(Op::Close, 3);
        let events: Vec<_> = driver.occupy(3, None).into_iter().collect();
        let [Event::Closed(closed), Event::Accepted { conn: accepted, .. }] = events[..] else {
            panic!("{events:?}")
        };
        assert_eq!((closed, accepted), (conn, conn));
        assert!(!driver.slots.is_current(late), "the close that comes late means nobody");
        assert_eq!(driver.slots.free(), Options::default().connections_max - 1);
    }

    #[test]
    #[cfg_attr(miri, ignore = "a system call that Miri does not know")]
    fn every_submit_enters_the_kernel_and_a_batch_enters_as_often_as_it_fills_the_queue() {
        let waker = Waker::new().expect("an eventfd");
        let options = Options { sq_entries: 8, cq_entries: 64, ..Options::default() };
        let mut driver = UringDriver::new(options, &waker).expect("io_uring");
        for _ in 0..5 {
            let before = driver.enters();
            driver.submit(&crate::NoSends, Wait::No).expect("a sound ring");
            assert_eq!(driver.enters(), before + 1);
        }
        let before = driver.enters();
        // One submission each, into a queue of eight that is handed over whenever it is full.
        for _ in 0..17 {
            driver.ring.push(&Sqe::watch_eventfd(driver.waker.as_raw_fd()));
        }
        assert_eq!(driver.enters(), before + 2);
        driver.submit(&crate::NoSends, Wait::No).expect("a sound ring");
        assert_eq!(driver.enters(), before + 3);
    }
}
