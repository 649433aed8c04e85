//! The two queues that are shared with the kernel, and the one system call.

use std::io;
use std::time::Duration;

use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue};

use super::sqe::Sqe;

/// After how many completions a turn takes no more than what is there.
///
/// Linux (6.18, measured) does 20 pieces of deferred work at an enter, which alone would make for small turns: a
/// shard with a thousand publishers would fan out twenty messages at a time.
const TURN_COMPLETIONS: u32 = 512;

/// How often the kernel may refuse a submission for a lack of memory before the ring counts as broken.
const REFUSALS_MAX: u32 = 1000;

pub(super) struct Ring {
    ring: IoUring,
    /// Why the ring must not be entered any more: the kernel failed it, or a batch was left half handed over
    /// (see [`Lent`]), so that the submission queue points at memory that may be gone.
    broken: Option<io::Error>,
    /// Completions taken since the last submit.
    taken: u32,
    /// How often the kernel was entered.
    enters: u64,
}

impl Ring {
    pub(super) fn new(sq_entries: u32, cq_entries: u32) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(cq_entries)
            .setup_clamp()
            .dontfork();
        Ok(Self { ring: builder.build(sq_entries)?, broken: None, taken: 0, enters: 0 })
    }

    pub(super) fn submitter(&self) -> io_uring::Submitter<'_> {
        self.ring.submitter()
    }

    /// How often io_uring_enter was called, also in vain.
    pub(super) fn enters(&self) -> u64 {
        self.enters
    }

    /// Appends to the submission queue. A full queue is handed to the kernel first.
    pub(super) fn push(&mut self, sqe: &Sqe) {
        while !self.try_push(sqe) {
            self.flush();
            if self.broken.is_some() {
                return;
            }
        }
    }

    fn try_push(&mut self, sqe: &Sqe) -> bool {
        // SAFETY: who made the entry vouches for what it points to.
        unsafe { self.ring.submission().push(sqe.entry()) }.is_ok()
    }

    /// Hands the submission queue to the kernel without waiting. A failure is told by the next [`Ring::enter`].
    fn flush(&mut self) {
        if self.broken.is_some() {
            return;
        }
        if let Err(error) = self.submit_all(0, EnterFlags::empty(), None) {
            self.broken.get_or_insert(error);
        }
    }

    /// Lets the submission queue point at borrowed memory.
    pub(super) fn lend(&mut self) -> io::Result<Lent<'_>> {
        self.check()?;
        Ok(Lent { ring: self })
    }

    fn check(&self) -> io::Result<()> {
        match &self.broken {
            None => Ok(()),
            Some(error) => match error.raw_os_error() {
                Some(errno) => Err(io::Error::from_raw_os_error(errno)),
                None => Err(io::Error::new(error.kind(), error.to_string())),
            },
        }
    }

    /// Hands the submission queue to the kernel, lets it finish what is due, and waits for `want`
    /// completions, no longer than `timeout`. May return early.
    pub(super) fn enter(&mut self, want: u32, timeout: Option<Duration>) -> io::Result<()> {
        self.check()?;
        self.taken = 0;
        // Deferred work is done by an enter with GETEVENTS only, even if there is nothing to wait for.
        self.submit_all(want, EnterFlags::GETEVENTS, timeout)
    }

    fn submit_all(&mut self, want: u32, flags: EnterFlags, timeout: Option<Duration>) -> io::Result<()> {
        let mut refusals = 0;
        loop {
            let queued = self.ring.submission().len() as u32;
            self.enters += 1;
            let entered = match timeout {
                Some(timeout) if want > 0 => {
                    let timeout = Timespec::from(timeout);
                    let args = SubmitArgs::new().timespec(&timeout);
                    let flags = flags | EnterFlags::EXT_ARG;
                    // SAFETY: EXT_ARG announces the argument's type, and it lives until the call returns.
                    unsafe { self.ring.submitter().enter(queued, want, flags.bits(), Some(&args)) }
                }
                // SAFETY: without EXT_ARG a null argument means no signal mask.
                _ => unsafe {
                    self.ring.submitter().enter::<libc::sigset_t>(queued, want, flags.bits(), None)
                },
            };
            match entered {
                Ok(_) if self.ring.submission().is_empty() => return Ok(()),
                // The kernel stopped in the middle, for a lack of memory, and did not wait.
                Ok(_) => {}
                Err(error) => match error.raw_os_error() {
                    Some(libc::ETIME | libc::EINTR) if queued == 0 => return Ok(()),
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN | libc::EBUSY) if refusals < REFUSALS_MAX => {
                        refusals += 1;
                        std::thread::yield_now();
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    /// The next completion of this turn. When the queue is empty, fetches those that found no room in it, and in
    /// measure those that are due.
    pub(super) fn pop(&mut self) -> Option<cqueue::Entry> {
        loop {
            if let Some(cqe) = self.ring.completion().next() {
                self.taken += 1;
                return Some(cqe);
            }
            let queue = self.ring.submission();
            if !queue.cq_overflow() && (self.taken >= TURN_COMPLETIONS || !queue.taskrun()) {
                return None;
            }
            drop(queue);
            if let Err(error) = self.fetch() {
                self.broken.get_or_insert(error);
                return None;
            }
            // The kernel may set TASKRUN after the work it announces was done; it is then left until more work comes.
            if self.ring.completion().is_empty() {
                return None;
            }
        }
    }

    /// Has due completions made, and submits nothing.
    fn fetch(&mut self) -> io::Result<()> {
        self.check()?;
        self.enters += 1;
        let flags = EnterFlags::GETEVENTS.bits();
        // SAFETY: without EXT_ARG a null argument means no signal mask.
        match unsafe { self.ring.submitter().enter::<libc::sigset_t>(0, 0, flags, None) } {
            Err(error) if error.raw_os_error() != Some(libc::EINTR) => Err(error),
            _ => Ok(()),
        }
    }

    /// Ends everything that is in flight, and closes all direct descriptors.
    pub(super) fn shut(&mut self) {
        if self.broken.is_some() {
            return;
        }
        self.flush();
        // Without an operation in flight this fails with ENOENT, and then there is nothing to end.
        let _ = self.ring.submitter().register_sync_cancel(None, CancelBuilder::any());
        // The cancelled let go of their sockets as their completions are made.
        while self.enter(0, None).is_ok() && self.pop().is_some() {
            while self.ring.completion().next().is_some() {}
        }
        // At once, where closing the ring would leave it to a kernel thread.
        let _ = self.ring.submitter().unregister_files();
    }
}

/// A ring whose submission queue may point at borrowed memory. Unless it ends with [`Lent::enter`], the ring is
/// never entered again.
pub(super) struct Lent<'a> {
    ring: &'a mut Ring,
}

impl Lent<'_> {
    pub(super) fn push(&mut self, sqe: &Sqe) -> io::Result<()> {
        if !self.ring.try_push(sqe) {
            self.submit()?;
            assert!(self.ring.try_push(sqe), "a submitted queue has room");
        }
        Ok(())
    }

    /// Hands over what is queued, without waiting.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        self.ring.submit_all(0, EnterFlags::empty(), None)
    }

    /// Hands over what is queued, and gives the ring back; else as [`Ring::enter`].
    pub(super) fn enter(self, want: u32, timeout: Option<Duration>) -> io::Result<()> {
        self.ring.taken = 0;
        let ended = self.ring.submit_all(want, EnterFlags::GETEVENTS, timeout);
        if ended.is_ok() {
            std::mem::forget(self);
        }
        ended
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.ring.broken = Some(io::Error::other("a batch was not handed to the kernel to its end"));
    }
}
