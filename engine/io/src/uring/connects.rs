//! Connections that are being made.

use std::io;
use std::net::SocketAddr;

use socket2::SockAddr;

use super::ring::Ring;
use super::sqe::Sqe;
use super::tag::{GENERATION_MASK, Op, Tag};

/// One attempt. It lives until the kernel has answered, since the kernel reads its addresses.
struct Attempt {
    token: u64,
    local: Option<SocketAddr>,
    remote: SockAddr,
    bind: Option<SockAddr>,
    slot: Option<u32>,
    /// A step before the connect failed.
    error: Option<io::Error>,
}

/// How an attempt ended.
pub(super) struct Ended {
    pub(super) token: u64,
    /// The slot that holds the socket, if one was made.
    pub(super) slot: Option<u32>,
    pub(super) result: io::Result<()>,
}

/// The attempts by number. Boxed, so that their addresses stay in place while the table grows.
#[derive(Default)]
pub(super) struct Connects {
    attempts: Vec<(u32, Option<Box<Attempt>>)>,
    free: Vec<u32>,
}

impl Connects {
    /// Begins an attempt with its socket.
    pub(super) fn start(
        &mut self,
        ring: &mut Ring,
        token: u64,
        local: Option<SocketAddr>,
        remote: SocketAddr,
    ) {
        let attempt = Attempt {
            token,
            local,
            remote: remote.into(),
            bind: local.map(SockAddr::from),
            slot: None,
            error: None,
        };
        let domain = i32::from(attempt.remote.family());
        let index = self.free.pop().unwrap_or_else(|| {
            self.attempts.push((0, None));
            self.attempts.len() as u32 - 1
        });
        self.attempts[index as usize].1 = Some(Box::new(attempt));
        ring.push(&Sqe::socket(self.tag(Op::Socket, index), domain));
    }

    fn tag(&self, op: Op, index: u32) -> Tag {
        Tag { op, generation: self.attempts[index as usize].0, index }
    }

    fn get(&mut self, tag: Tag) -> Option<&mut Attempt> {
        let (generation, attempt) = &mut self.attempts[tag.index as usize];
        if *generation == tag.generation { attempt.as_deref_mut() } else { None }
    }

    fn end(&mut self, tag: Tag, result: io::Result<()>) -> Option<Ended> {
        let (generation, attempt) = &mut self.attempts[tag.index as usize];
        if *generation != tag.generation {
            return None;
        }
        let attempt = attempt.take()?;
        *generation = (*generation + 1) & GENERATION_MASK;
        self.free.push(tag.index);
        Some(Ended { token: attempt.token, slot: attempt.slot, result })
    }

    /// The socket stands in `slot`: prepares and connects it. The kernel takes these steps at once and in order.
    pub(super) fn socket_made(&mut self, ring: &mut Ring, tag: Tag, slot: u32) {
        let (prepare, connect) = (self.tag(Op::Prepare, tag.index), self.tag(Op::Connect, tag.index));
        let Some(attempt) = self.get(tag) else { return };
        attempt.slot = Some(slot);
        ring.push(&Sqe::switch_on(prepare, slot, libc::IPPROTO_TCP, libc::TCP_NODELAY));
        if let (Some(local), Some(address)) = (attempt.local, &attempt.bind) {
            // Without a port, the choice of one waits for the connect, which knows the remote address: so one local
            // address can have as many connections to each remote address as there are ports.
            let (level, option) = if local.port() == 0 {
                (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT)
            } else {
                (libc::SOL_SOCKET, libc::SO_REUSEADDR)
            };
            ring.push(&Sqe::switch_on(prepare, slot, level, option));
            // SAFETY: the attempt lives until its connect, which comes behind this, is completed.
            ring.push(&unsafe { Sqe::bind(prepare, slot, address) });
        }
        // SAFETY: the attempt lives until this is completed.
        ring.push(&unsafe { Sqe::connect(connect, slot, &attempt.remote) });
    }

    /// The socket could not be made.
    pub(super) fn socket_failed(&mut self, tag: Tag, error: io::Error) -> Option<Ended> {
        self.end(tag, Err(error))
    }

    /// A step before the connect failed. The connect's own answer follows.
    pub(super) fn prepare_failed(&mut self, tag: Tag, error: io::Error) {
        if let Some(attempt) = self.get(tag) {
            attempt.error.get_or_insert(error);
        }
    }

    /// The connect was answered.
    pub(super) fn connected(&mut self, tag: Tag, result: io::Result<()>) -> Option<Ended> {
        let failed = self.get(tag)?.error.take();
        self.end(tag, failed.map_or(result, Err))
    }
}
