//! Ends the sleep of a ring from another thread.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::Wake;

/// An eventfd that a [`UringDriver`](crate::UringDriver) watches. Clones wake the same driver.
///
/// Each wake is a system call: who wakes often asks first whether the driver sleeps.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no memory of ours.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was made above, and nobody else knows it.
        Ok(Self(Arc::new(unsafe { OwnedFd::from_raw_fd(fd) })))
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Wake for Waker {
    fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the eight bytes are read before this returns.
        let written = unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        // The ring watches writes and nobody reads the count. It would be full after 2^64 - 2 of them.
        debug_assert_eq!(written, 8, "{}", io::Error::last_os_error());
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;

    #[test]
    fn wakes_are_counted_until_somebody_reads_them_and_clones_share_them() {
        let waker = Waker::new().expect("an eventfd");
        let clone = waker.clone();
        std::thread::spawn(move || clone.wake()).join().expect("woken from another thread");
        waker.wake();
        let mut file = File::from(waker.0.try_clone().expect("a descriptor"));
        let mut count = [0; 8];
        file.read_exact(&mut count).expect("eight bytes");
        assert_eq!(u64::from_ne_bytes(count), 2);
        assert_eq!(file.read(&mut count).expect_err("nobody woke it").kind(), io::ErrorKind::WouldBlock);
    }
}
