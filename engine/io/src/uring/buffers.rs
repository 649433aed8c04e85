//! Receive buffers that are lent to the kernel, and by it to whoever handles what was received.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::{fmt, io, ptr, slice};

use io_uring::types::BufRingEntry;

/// The only buffer group of a ring.
pub(super) const GROUP: u16 = 0;

/// The most buffers that a group can have.
pub(super) const COUNT_MAX: usize = 1 << 15;

/// Memory of whole pages that the kernel fills with zeros when they are first touched.
struct Pages {
    start: NonNull<u8>,
    len: usize,
}

impl Pages {
    fn new(len: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping takes nothing from anyone.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).expect("a mapping does not start at null");
        Ok(Self { start, len })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and whoever has a pointer into it keeps `Pages` alive.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// The buffers of one ring: a queue of those that the kernel may fill, and their memory.
///
/// Every buffer is either in the queue, or out as one [`Bytes`].
pub(super) struct Pool {
    queue: Pages,
    memory: Pages,
    count: u16,
    buffer_bytes: u32,
    /// Where the next buffer is queued. The kernel only ever reads its published copy.
    tail: Cell<u16>,
}

impl Pool {
    pub(super) fn new(count: usize, buffer_bytes: usize) -> io::Result<Rc<Self>> {
        let is_valid = count.is_power_of_two() && count <= COUNT_MAX && (1..=1 << 30).contains(&buffer_bytes);
        if !is_valid {
            let text = format!(
                "buffer_count must be a power of two up to {COUNT_MAX}, and buffer_bytes 1 to 1 GiB (got \
                 {count} and {buffer_bytes})"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let pool = Self {
            queue: Pages::new(count * size_of::<BufRingEntry>())?,
            memory: Pages::new(count * buffer_bytes)?,
            count: count as u16,
            buffer_bytes: buffer_bytes as u32,
            tail: Cell::new(0),
        };
        for id in 0..pool.count {
            pool.put(id);
        }
        Ok(Rc::new(pool))
    }

    /// Makes the kernel take buffers from here.
    ///
    /// # Safety
    /// The pool must live until the ring of `submitter` is closed.
    pub(super) unsafe fn register(&self, submitter: &io_uring::Submitter<'_>) -> io::Result<()> {
        let address = self.queue.start.as_ptr() as u64;
        // SAFETY: the queue has as many entries as said, starts a page, and lives as the caller promises.
        unsafe { submitter.register_buf_ring_with_flags(address, self.count, GROUP, 0) }
    }

    fn buffer(&self, id: u16) -> *mut u8 {
        debug_assert!(id < self.count, "the kernel names buffers of this pool");
        // SAFETY: `id` is below `count`, so this stays within the memory.
        unsafe { self.memory.start.as_ptr().add(usize::from(id) * self.buffer_bytes as usize) }
    }

    /// Queues a buffer for the kernel.
    fn put(&self, id: u16) {
        let entries = self.queue.start.as_ptr().cast::<BufRingEntry>();
        let tail = self.tail.get();
        let place = usize::from(tail & (self.count - 1));
        // SAFETY: the place is within the queue. No more buffers exist than places, so the kernel has taken
        // what stood here and reads it no more. Its setters leave the queue's tail alone, which the first entry
        // holds in its last field.
        let entry = unsafe { &mut *entries.add(place) };
        entry.set_addr(self.buffer(id) as u64);
        entry.set_len(self.buffer_bytes);
        entry.set_bid(id);
        self.tail.set(tail.wrapping_add(1));
        // SAFETY: the queue is initialised (zeros are valid entries), its first entry holds the tail, and a u16
        // that only this thread writes and the kernel reads may be accessed as an atomic.
        let published = unsafe { &*BufRingEntry::tail(entries).cast::<AtomicU16>() };
        // The kernel must see the entry before it sees the tail that includes it.
        published.store(self.tail.get(), Ordering::Release);
    }

    /// Takes out a buffer that the kernel has filled with `len` bytes.
    ///
    /// # Safety
    /// A completion of the ring must have named this buffer and length, and only this call may answer it.
    pub(super) unsafe fn take(self: &Rc<Self>, id: u16, len: u32) -> Bytes {
        debug_assert!(id < self.count && len <= self.buffer_bytes, "the kernel filled a buffer of this pool");
        Bytes { pool: Rc::clone(self), id, len }
    }
}

/// A receive buffer on loan from the kernel, which gets it back when this is dropped.
pub struct Bytes {
    pool: Rc<Pool>,
    id: u16,
    len: u32,
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the kernel filled this many bytes and touches the buffer no more until it is put back, which
        // only `drop` does. The pool's memory lives as long as this.
        unsafe { slice::from_raw_parts(self.pool.buffer(self.id), self.len as usize) }
    }
}

impl DerefMut for Bytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and one buffer is never out as two `Bytes`.
        unsafe { slice::from_raw_parts_mut(self.pool.buffer(self.id), self.len as usize) }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.pool.put(self.id);
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_the_kernel_would_refuse_are_refused_here() {
        for (count, bytes) in [(0, 1), (3, 1), (COUNT_MAX * 2, 1), (8, 0)] {
            let error = Pool::new(count, bytes).err().expect("refused");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{count} x {bytes}");
        }
        // Miri takes its time for each buffer.
        assert!(Pool::new(if cfg!(miri) { 64 } else { COUNT_MAX }, 1).is_ok());
    }

    /// The kernel's side of a pool: it reads the queue up to the published tail, and writes into the buffers that stand
    /// there.
    struct Kernel<'a> {
        pool: &'a Pool,
        head: u16,
    }

    impl Kernel<'_> {
        /// Fills the next queued buffer with `text`, and names it.
        fn fill(&mut self, text: &[u8]) -> Option<u16> {
            let entries = self.pool.queue.start.as_ptr().cast::<BufRingEntry>();
            // SAFETY: as in `Pool::put`.
            let tail = unsafe { &*BufRingEntry::tail(entries).cast::<AtomicU16>() }.load(Ordering::Acquire);
            if self.head == tail {
                return None;
            }
            // SAFETY: the place is within the queue, and was published with the tail.
            let entry = unsafe { &*entries.add(usize::from(self.head & (self.pool.count - 1))) };
            self.head = self.head.wrapping_add(1);
            let memory = self.pool.memory.start.as_ptr();
            let offset = entry.addr() as usize - memory.addr();
            assert!(text.len() <= entry.len() as usize && offset + text.len() <= self.pool.memory.len);
            // SAFETY: the buffer lies within the memory, and is nobody else's while it is queued.
            unsafe { ptr::copy_nonoverlapping(text.as_ptr(), memory.add(offset), text.len()) };
            Some(entry.bid())
        }
    }

    #[test]
    fn buffers_go_round_between_the_kernel_and_those_who_read_them() {
        let pool = Pool::new(4, 16).expect("memory");
        let mut kernel = Kernel { pool: &pool, head: 0 };
        let mut out = std::collections::VecDeque::new();
        for round in 0..if cfg!(miri) { 100u8 } else { 255 } {
            let text = [round; 16];
            let len = usize::from(round % 17);
            let Some(id) = kernel.fill(&text[..len]) else { panic!("a buffer is missing in round {round}") };
            // SAFETY: the kernel of this test has filled it.
            let mut bytes = unsafe { pool.take(id, len as u32) };
            assert_eq!(&bytes[..], &text[..len]);
            bytes.iter_mut().for_each(|byte| *byte = !*byte);
            out.push_back((round, bytes));
            // One to three are out at any time, and none comes back in the order in which it went.
            if out.len() == 3 {
                for place in [1, 0] {
                    let (round, bytes): (u8, Bytes) = out.remove(place).expect("three are out");
                    assert!(bytes.iter().all(|byte| *byte == !round), "{round}: {bytes:?}");
                }
            }
        }
        drop(out);
        assert_eq!(std::iter::from_fn(|| kernel.fill(b"")).count(), 4, "every buffer is queued, once");
    }

    #[test]
    fn a_dropped_buffer_is_queued_again_and_outlives_its_pool_handle() {
        let pool = Pool::new(4, 16).expect("memory");
        assert_eq!(pool.tail.get(), 4);
        // SAFETY: no kernel knows this pool, so a buffer is taken when the test says so.
        let mut bytes = unsafe { pool.take(2, 16) };
        bytes.copy_from_slice(b"sixteen bytes ok");
        let weak = Rc::downgrade(&pool);
        drop(pool);
        assert_eq!(&bytes[..7], b"sixteen");
        assert_eq!(weak.upgrade().expect("the loan keeps it").tail.get(), 4);
        drop(bytes);
        assert!(weak.upgrade().is_none());
    }
}
