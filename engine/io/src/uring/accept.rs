//! Accepting: when to take many peers with one request, when one by one, and when to stop.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use super::ring::Ring;
use super::sqe::Sqe;

/// The longest queue of peers that a listener is taken to have when it does not tell: the kernel's usual
/// `somaxconn`.
const BACKLOG_DEFAULT: usize = 4096;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Armed {
    No,
    One,
    Many,
}

/// The listener and its request.
///
/// A multishot accept empties the whole backlog, and a peer for whom there is no slot is not left there: the
/// kernel takes it and hangs up on it. So when fewer slots are free than peers may wait, peers are taken one
/// at a time, and none when no slot is free.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: Option<TcpListener>,
    backlog: usize,
    armed: Armed,
    /// From `accept` until `AcceptStopped`.
    is_wanted: bool,
    /// `stop_accept` was called.
    is_stopping: bool,
    /// The multishot request was cancelled to go on one by one.
    is_narrowing: bool,
}

impl Acceptor {
    pub(super) fn new(listener: Option<TcpListener>) -> Self {
        let backlog = listener.as_ref().and_then(backlog_of).unwrap_or(BACKLOG_DEFAULT);
        Self {
            listener,
            backlog,
            armed: Armed::No,
            is_wanted: false,
            is_stopping: false,
            is_narrowing: false,
        }
    }

    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.as_ref()?.local_addr().ok()
    }

    /// Begins to accept. Returns why it cannot.
    pub(super) fn start(&mut self, ring: &mut Ring, free: usize) -> Option<io::Error> {
        if self.is_wanted {
            return None;
        }
        self.is_wanted = true;
        self.arm(ring, free)
    }

    /// Begins to stop.
    pub(super) fn stop(&mut self, ring: &mut Ring) {
        if self.is_wanted && !self.is_stopping {
            self.is_stopping = true;
            ring.push(&Sqe::cancel_accept());
        }
    }

    /// The request was answered, with `free` slots left after it. Returns why accepting stopped, if it did.
    pub(super) fn completed(
        &mut self,
        ring: &mut Ring,
        free: usize,
        error: Option<io::Error>,
        more: bool,
    ) -> Option<io::Error> {
        if more {
            if self.armed == Armed::Many && free <= self.backlog && !self.is_narrowing {
                self.is_narrowing = true;
                ring.push(&Sqe::cancel_accept());
            }
            return None;
        }
        self.armed = Armed::No;
        self.is_narrowing = false;
        if self.is_stopping {
            return self.stopped(libc::ECANCELED);
        }
        match error {
            Some(error) if is_lasting(&error) => {
                self.is_wanted = false;
                Some(error)
            }
            // Anything else was one peer's misfortune, or our own narrowing.
            _ => self.arm(ring, free),
        }
    }

    fn arm(&mut self, ring: &mut Ring, free: usize) -> Option<io::Error> {
        let Some(listener) = &self.listener else {
            return self.stopped(libc::EINVAL);
        };
        if free == 0 {
            return self.stopped(libc::ENFILE);
        }
        // Somewhat above where narrowing begins, so that a table around that point does not go back and forth.
        if free > self.backlog + self.backlog / 8 {
            ring.push(&Sqe::accept_many(listener.as_raw_fd()));
            self.armed = Armed::Many;
        } else {
            ring.push(&Sqe::accept_one(listener.as_raw_fd()));
            self.armed = Armed::One;
        }
        None
    }

    fn stopped(&mut self, errno: i32) -> Option<io::Error> {
        self.is_wanted = false;
        self.is_stopping = false;
        Some(io::Error::from_raw_os_error(errno))
    }

    /// The cancel of a stop or a narrowing found nothing, while the request still stands: it was just then at
    /// work. Asks again.
    pub(super) fn cancel_failed(&mut self, ring: &mut Ring) {
        if self.armed != Armed::No && (self.is_stopping || self.is_narrowing) {
            ring.push(&Sqe::cancel_accept());
        }
    }
}

/// Whether accepting again at once would fail again.
///
/// accept(2): errors of the new connection's own network come out of accept too, and mean only that peer.
fn is_lasting(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EMFILE
                | libc::ENFILE
                | libc::ENOMEM
                | libc::ENOBUFS
                | libc::EBADF
                | libc::EINVAL
                | libc::ENOTSOCK
                | libc::EOPNOTSUPP
                | libc::EFAULT
        )
    )
}

/// How many peers may wait at a listener. Linux tells in a field of TCP_INFO that means something else for
/// connections.
fn backlog_of(listener: &TcpListener) -> Option<usize> {
    // SAFETY: all fields are plain integers, for which zeros are valid.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    let fd = listener.as_raw_fd();
    let value = (&raw mut info).cast();
    // SAFETY: the kernel writes at most `len` bytes to `value`, which has that many.
    let got = unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, value, &mut len) };
    // The kernel lets one more wait than it says.
    (got == 0).then_some(info.tcpi_sacked as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_tells_its_backlog() {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().expect("an address").into()).expect("bind");
        socket.listen(17).expect("listen");
        assert_eq!(backlog_of(&socket.into()), Some(18));
    }
}
