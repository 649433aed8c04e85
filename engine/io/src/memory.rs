//! Whether memory that was freed goes back to the system.

/// Large pieces of memory, such as the segments of logs, come straight from the kernel from now on, and go back to it when
/// they are freed. For the whole process, so it is the program's decision: call it early, before threads are started.
///
/// glibc begins with such a bound but raises it with the first large piece that is freed, after which those that follow
/// stay with the process: mallopt(3), M_MMAP_THRESHOLD. With another C library this does nothing.
pub fn give_back_large_pieces() {
    #[cfg(target_env = "gnu")]
    {
        const LARGE_BYTES: libc::c_int = 64 * 1024;
        // SAFETY: it sets a number in the allocator, which guards it.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES) };
    }
}
