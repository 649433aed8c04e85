//! Accepting: how many peers at once, where they come from, and when to stop.

use std::cell::UnsafeCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use super::ring::Ring;
use super::sqe::Sqe;

/// Where the kernel writes from where the peer of one request comes.
pub(super) struct Address {
    storage: libc::sockaddr_storage,
    /// The room in bytes before the request, and what was needed after it.
    len: libc::socklen_t,
}

impl Address {
    fn new() -> Self {
        // SAFETY: all fields are plain integers, for which zeros are valid.
        let storage = unsafe { std::mem::zeroed() };
        Self { storage, len: size_of::<libc::sockaddr_storage>() as libc::socklen_t }
    }

    /// The address without its port. An IPv4 peer of an IPv6 listener is an IPv4 peer all the same.
    fn ip(&self) -> Option<IpAddr> {
        let start = &raw const self.storage;
        match i32::from(self.storage.ss_family) {
            libc::AF_INET if self.len as usize >= size_of::<libc::sockaddr_in>() => {
                // SAFETY: the storage is large enough and aligned for every kind of address, and this is its kind.
                let address = unsafe { &*start.cast::<libc::sockaddr_in>() };
                Some(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)).into())
            }
            libc::AF_INET6 if self.len as usize >= size_of::<libc::sockaddr_in6>() => {
                // SAFETY: as above.
                let address = unsafe { &*start.cast::<libc::sockaddr_in6>() };
                Some(IpAddr::from(Ipv6Addr::from(address.sin6_addr.s6_addr)).to_canonical())
            }
            _ => None,
        }
    }
}

/// One request: whether the kernel has it, and what it points to.
struct Request {
    is_armed: bool,
    address: UnsafeCell<Address>,
}

/// The listener and its requests.
///
/// Peers are taken in rounds. A round is up to `accept_slice` requests for one peer each, armed with one submit; the
/// next round begins with the submit after the last of them was answered. So one submit takes at most a slice of
/// peers, and the others wait in the kernel's queue.
///
/// A request that is armed beside older ones would take their peers: a submission looks at the queue at once, they
/// only after they were woken. The kernel gives up on a request that was woken 128 times in vain and lets a thread
/// wait for it. In rounds nobody is woken in vain.
///
/// A peer that was taken and finds no slot is hung up on. So no more requests are armed than slots are free.
pub(super) struct Acceptor {
    listener: Option<TcpListener>,
    /// As many as a slice has. They stay where they are, since the kernel writes into those that are armed.
    requests: Box<[Request]>,
    armed: usize,
    /// From `accept` until `AcceptStopped`.
    is_wanted: bool,
    /// Why accepting ends, from then on until nothing is armed any more.
    ending: Option<i32>,
    /// `stop_accept` was called.
    is_over: bool,
}

impl Acceptor {
    pub(super) fn new(listener: Option<TcpListener>, slice: usize) -> Self {
        let slice = if listener.is_some() { slice } else { 0 };
        let request = || Request { is_armed: false, address: UnsafeCell::new(Address::new()) };
        Self {
            listener,
            requests: (0..slice).map(|_| request()).collect(),
            armed: 0,
            is_wanted: false,
            ending: None,
            is_over: false,
        }
    }

    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.as_ref()?.local_addr().ok()
    }

    /// Begins to accept with the next submit. Returns why it cannot.
    pub(super) fn start(&mut self) -> Option<io::Error> {
        if self.is_wanted {
            return None;
        }
        if self.listener.is_none() {
            return Some(io::Error::from_raw_os_error(libc::EINVAL));
        }
        self.is_wanted = true;
        None
    }

    /// Begins to stop for good. Returns what to say if that is done already.
    pub(super) fn stop(&mut self, ring: &mut Ring) -> Option<io::Error> {
        if std::mem::replace(&mut self.is_over, true) {
            return None;
        }
        self.end(ring, libc::ECANCELED);
        self.ended()
    }

    /// Begins a round if the last one is over. `free` slots are neither in use nor promised. Returns why accepting
    /// stopped, if it did.
    pub(super) fn arm(&mut self, ring: &mut Ring, free: usize) -> Option<io::Error> {
        if !self.is_wanted || self.ending.is_some() || self.armed > 0 {
            return None;
        }
        let listener = self.listener.as_ref()?.as_raw_fd();
        if free == 0 {
            self.ending = Some(libc::ENFILE);
            return self.ended();
        }
        for (index, request) in self.requests.iter_mut().take(free).enumerate() {
            *request.address.get_mut() = Address::new();
            let address = request.address.get();
            // SAFETY: `address` points to a request. Those stay where they are until the ring is closed, and are
            // neither read nor written here while armed.
            let (storage, len) = unsafe { (&raw mut (*address).storage, &raw mut (*address).len) };
            // SAFETY: as above.
            ring.push(&unsafe { Sqe::accept(index as u32, listener, storage.cast(), len) });
            request.is_armed = true;
            self.armed += 1;
        }
        None
    }

    /// Request `index` was answered. Returns from where its peer comes, if that is known.
    pub(super) fn answered(&mut self, index: u32) -> Option<IpAddr> {
        let request = &mut self.requests[index as usize];
        debug_assert!(request.is_armed, "accept {index} is answered once");
        request.is_armed = false;
        self.armed -= 1;
        request.address.get_mut().ip()
    }

    /// A request was answered like this. Returns why accepting stopped, if it did.
    pub(super) fn settle(&mut self, ring: &mut Ring, error: Option<&io::Error>) -> Option<io::Error> {
        if let Some(errno) = error.and_then(io::Error::raw_os_error).filter(|&errno| is_lasting(errno)) {
            self.end(ring, errno);
        }
        self.ended()
    }

    /// Cancels what is armed.
    fn end(&mut self, ring: &mut Ring, errno: i32) {
        if self.ending.is_none() {
            for (index, _) in self.requests.iter().enumerate().filter(|(_, request)| request.is_armed) {
                ring.push(&Sqe::cancel_accept(index as u32));
            }
        }
        // The caller's own wish is the better reason.
        if self.ending.is_none() || self.is_over {
            self.ending = Some(if self.is_over { libc::ECANCELED } else { errno });
        }
    }

    fn ended(&mut self) -> Option<io::Error> {
        if self.armed > 0 {
            return None;
        }
        let errno = self.ending.take()?;
        self.is_wanted = false;
        if self.is_over {
            // Whoever still waits is hung up on, and whoever comes is refused.
            self.listener = None;
        }
        Some(io::Error::from_raw_os_error(errno))
    }

    /// A cancel found nothing. If its request still stands, then it was just then at work: asks again.
    pub(super) fn cancel_failed(&mut self, ring: &mut Ring, index: u32) {
        if self.ending.is_some() && self.requests[index as usize].is_armed {
            ring.push(&Sqe::cancel_accept(index));
        }
    }
}

/// Whether accepting again at once would fail again.
///
/// accept(2): errors of the new connection's own network come out of accept too, and mean only that peer.
fn is_lasting(errno: i32) -> bool {
    matches!(
        errno,
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
}

#[cfg(test)]
mod tests {
    use socket2::SockAddr;

    use super::*;

    fn address(of: &SockAddr) -> Address {
        let mut address = Address::new();
        // SAFETY: both are valid for this many bytes, which is the size of some kind of address.
        unsafe {
            let to = (&raw mut address.storage).cast::<u8>();
            std::ptr::copy_nonoverlapping(of.as_ptr().cast::<u8>(), to, of.len() as usize);
        }
        address.len = of.len();
        address
    }

    #[test]
    fn addresses_are_read_by_their_kind() {
        for (text, expected) in [
            ("192.0.2.7:80", "192.0.2.7"),
            ("[2001:db8::7]:80", "2001:db8::7"),
            ("[::ffff:192.0.2.7]:80", "192.0.2.7"),
        ] {
            let socket: SocketAddr = text.parse().expect("an address");
            assert_eq!(address(&socket.into()).ip(), Some(expected.parse().expect("an address")), "{text}");
        }
        let path = SockAddr::unix("/tmp/nobody").expect("a path");
        assert_eq!(address(&path).ip(), None);
        assert_eq!(Address::new().ip(), None);
    }
}
