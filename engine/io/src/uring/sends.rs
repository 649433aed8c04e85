//! A batch of sends on its way into the submission queue.

use std::io;
use std::time::Duration;

use crate::{Batch, PARTS_MAX};

use super::ring::Ring;
use super::slots::Slots;
use super::sqe::Sqe;
use super::tag::Op;

/// How many sends of several parts may lie in the submission queue at once.
const MESSAGES_MAX: usize = 1024;

/// How many parts they may have in all.
const RANGES_MAX: usize = 4096;

const _: () = assert!(RANGES_MAX >= PARTS_MAX, "one send of the most parts has to fit");

/// The most bytes of one send: the kernel counts what it took in an i32.
const SEND_BYTES_MAX: usize = i32::MAX as usize;

/// Message headers and ranges for sends of several parts. They stay where they are until submitted: the vectors
/// are emptied, and never grow.
pub(super) struct Sends {
    messages: Vec<libc::msghdr>,
    ranges: Vec<libc::iovec>,
}

impl Sends {
    pub(super) fn new() -> Self {
        Self { messages: Vec::with_capacity(MESSAGES_MAX), ranges: Vec::with_capacity(RANGES_MAX) }
    }

    /// Hands `batch` to the kernel behind what is queued already, and waits as [`Ring::enter`] does.
    /// All sends are over when this returns without an error.
    pub(super) fn submit<B: Batch>(
        &mut self,
        ring: &mut Ring,
        slots: &Slots,
        batch: &B,
        want: u32,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        if batch.is_empty() {
            return ring.enter(want, timeout);
        }
        // Should the batch panic or the kernel fail, then what is queued is never submitted.
        let mut ring = ring.lend()?;
        for index in 0..batch.len() {
            let (conn, parts) = batch.send(index);
            assert!((1..=PARTS_MAX).contains(&parts), "{conn}: a send of {parts} parts");
            let tag = slots.tag(Op::Send, slots.open(conn));
            let sqe = if parts == 1 {
                let bytes = batch.part(index, 0);
                check_size(bytes.len());
                // SAFETY: `batch` is borrowed until the queue was submitted, or the ring is never entered again.
                unsafe { Sqe::send(tag, bytes) }
            } else {
                if self.messages.len() == MESSAGES_MAX || self.ranges.len() + parts > RANGES_MAX {
                    ring.submit()?;
                    self.clear();
                }
                let message = self.message(parts, |part| batch.part(index, part));
                // SAFETY: as above for the batch; the arena is cleared only after a submit, and does not move.
                unsafe { Sqe::send_message(tag, message) }
            };
            ring.push(&sqe)?;
        }
        ring.enter(want, timeout)?;
        self.clear();
        Ok(())
    }

    fn clear(&mut self) {
        self.messages.clear();
        self.ranges.clear();
    }

    fn message<'a>(&mut self, parts: usize, part: impl Fn(usize) -> &'a [u8]) -> *const libc::msghdr {
        let first = self.ranges.len();
        let mut total = 0;
        for index in 0..parts {
            let bytes = part(index);
            total += bytes.len();
            // The kernel only reads from the ranges of a send.
            self.ranges
                .push(libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() });
        }
        check_size(total);
        let ranges = self.ranges.as_mut_ptr().wrapping_add(first);
        self.messages.push(libc::msghdr {
            msg_name: std::ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: ranges,
            msg_iovlen: parts as _,
            msg_control: std::ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
        });
        self.messages.as_ptr().wrapping_add(self.messages.len() - 1)
    }
}

#[track_caller]
fn check_size(bytes: usize) {
    assert!((1..=SEND_BYTES_MAX).contains(&bytes), "a send of {bytes} bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel reads when it is handed a message.
    fn gathered(message: *const libc::msghdr) -> Vec<u8> {
        // SAFETY: the arena is neither cleared nor dropped while this test has messages of it.
        let message = unsafe { &*message };
        (0..message.msg_iovlen)
            .flat_map(|index| {
                // SAFETY: a message has as many ranges as it says, in the same arena.
                let range = unsafe { &*message.msg_iov.add(index) };
                // SAFETY: the parts live as long as the test.
                unsafe { std::slice::from_raw_parts(range.iov_base.cast::<u8>(), range.iov_len) }.to_vec()
            })
            .collect()
    }

    #[test]
    fn messages_stay_where_they_are_until_they_are_submitted() {
        let texts: Vec<String> = (0..40).map(|index| format!("part {index} ")).collect();
        let parts = |first: usize, count: usize| texts[first..first + count].concat().into_bytes();
        let mut sends = Sends::new();
        for _ in 0..2 {
            let messages: Vec<_> = [(0, 2), (7, PARTS_MAX), (38, 2), (5, 3)]
                .map(|(first, count)| {
                    (first, count, sends.message(count, |part| texts[first + part].as_bytes()))
                })
                .into();
            for (first, count, message) in messages {
                assert_eq!(gathered(message), parts(first, count));
            }
            sends.clear();
        }
    }

    #[test]
    fn a_full_arena_does_not_move() {
        let mut sends = Sends::new();
        let (messages, ranges) = (sends.messages.as_ptr(), sends.ranges.as_ptr());
        let first = sends.message(2, |part| [&b"ab"[..], b"c"][part]);
        for _ in 1..MESSAGES_MAX {
            sends.message(RANGES_MAX / MESSAGES_MAX, |_| b"x");
        }
        assert_eq!((sends.messages.as_ptr(), sends.ranges.as_ptr()), (messages, ranges));
        assert_eq!(gathered(first), b"abc");
    }

    #[test]
    #[should_panic(expected = "a send of 0 bytes")]
    fn a_send_of_nothing_is_a_defect() {
        Sends::new().message(2, |_| b"");
    }
}
