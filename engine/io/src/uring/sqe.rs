//! The submissions that this driver makes, and no others.

use std::os::fd::RawFd;

use io_uring::types::{CancelBuilder, DestinationSlot, Fd, Fixed};
use io_uring::{opcode, squeue};

use super::buffers::GROUP;
use super::tag::{Op, Tag};

/// An entry that may be pushed: what it points to, if anything, is the promise of the one who made it.
#[derive(Debug)]
pub(super) struct Sqe(squeue::Entry);

/// With DONTWAIT a send never waits for room, and with WAITALL the kernel counts anything less than all of it as
/// a failure. So under SKIP_SUCCESS a whole send posts nothing, and a short one posts how far it came.
const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// What the options of [`Sqe::switch_on`] are set to.
static ONE: libc::c_int = 1;

impl Sqe {
    pub(super) fn entry(&self) -> &squeue::Entry {
        &self.0
    }

    fn tagged(entry: squeue::Entry, tag: Tag) -> Self {
        Self(entry.user_data(tag.to_bits()))
    }

    fn quiet(self) -> Self {
        Self(self.0.flags(squeue::Flags::SKIP_SUCCESS))
    }

    /// Tells of every write to an eventfd, for as long as it lives.
    pub(super) fn watch_eventfd(fd: RawFd) -> Self {
        let poll = opcode::PollAdd::new(Fd(fd), libc::POLLIN as u32).multi(true);
        Self::tagged(poll.build(), Tag::WAKE)
    }

    /// Accepts one peer into a free slot, and writes its address.
    ///
    /// # Safety
    /// `storage` must have room for `len` bytes, and both must stay valid and untouched until this is completed.
    pub(super) unsafe fn accept(
        request: u32,
        listener: RawFd,
        storage: *mut libc::sockaddr,
        len: *mut libc::socklen_t,
    ) -> Self {
        let accept =
            opcode::Accept::new(Fd(listener), storage, len).file_index(Some(DestinationSlot::auto_target()));
        Self::tagged(accept.build(), Tag::accept(Op::Accept, request))
    }

    pub(super) fn cancel_accept(request: u32) -> Self {
        Self::cancel_as(Op::AcceptCancel, Tag::accept(Op::Accept, request))
    }

    /// Receives into provided buffers until cancelled.
    pub(super) fn receive(tag: Tag) -> Self {
        Self::tagged(opcode::RecvMulti::new(Fixed(tag.index), GROUP).build(), tag)
    }

    /// Tells once when there is room to send.
    pub(super) fn poll_writable(tag: Tag) -> Self {
        Self::tagged(opcode::PollAdd::new(Fixed(tag.index), libc::POLLOUT as u32).build(), tag)
    }

    /// Ends what was submitted with the tag `target`.
    ///
    /// By its tag, since the kernel finds that in one bucket of its table of waiting requests, and searches all
    /// of them for a descriptor.
    pub(super) fn cancel(target: Tag) -> Self {
        Self::cancel_as(Op::Cancel, target)
    }

    fn cancel_as(op: Op, target: Tag) -> Self {
        let cancel = opcode::AsyncCancel2::new(CancelBuilder::user_data(target.to_bits())).build();
        Self::tagged(cancel, Tag { op, ..target }).quiet()
    }

    pub(super) fn shutdown_write(tag: Tag) -> Self {
        Self::tagged(opcode::Shutdown::new(Fixed(tag.index), libc::SHUT_WR).build(), tag)
    }

    pub(super) fn close(tag: Tag) -> Self {
        Self::tagged(opcode::Close::new(Fixed(tag.index)).build(), tag)
    }

    /// Closes a slot that nobody was told of.
    pub(super) fn close_unseen(tag: Tag) -> Self {
        Self::close(tag).quiet()
    }

    /// Makes a stream socket in a free slot.
    pub(super) fn socket(tag: Tag, domain: i32) -> Self {
        let socket = opcode::Socket::new(domain, libc::SOCK_STREAM, 0)
            .file_index(Some(DestinationSlot::auto_target()));
        Self::tagged(socket.build(), tag)
    }

    /// Sets an integer socket option to 1.
    pub(super) fn switch_on(tag: Tag, slot: u32, level: i32, option: i32) -> Self {
        let value = (&raw const ONE).cast();
        let set = opcode::SetSockOpt::new(
            Fixed(slot),
            level as u32,
            option as u32,
            value,
            size_of_val(&ONE) as u32,
        );
        Self::tagged(set.build(), tag).quiet()
    }

    /// Binds the socket in `slot`.
    ///
    /// # Safety
    /// `address` must stay valid until this is submitted.
    pub(super) unsafe fn bind(tag: Tag, slot: u32, address: &socket2::SockAddr) -> Self {
        Self::tagged(opcode::Bind::new(Fixed(slot), address.as_ptr().cast(), address.len()).build(), tag)
            .quiet()
    }

    /// Connects the socket in `slot`.
    ///
    /// # Safety
    /// `address` must stay valid until this is completed.
    pub(super) unsafe fn connect(tag: Tag, slot: u32, address: &socket2::SockAddr) -> Self {
        Self::tagged(opcode::Connect::new(Fixed(slot), address.as_ptr().cast(), address.len()).build(), tag)
    }

    /// Sends what the socket has room for.
    ///
    /// # Safety
    /// `bytes` must stay valid until this is submitted: the send does not wait, so it is over by then.
    pub(super) unsafe fn send(tag: Tag, bytes: &[u8]) -> Self {
        let send = opcode::Send::new(Fixed(tag.index), bytes.as_ptr(), bytes.len() as u32).flags(SEND_FLAGS);
        Self::tagged(send.build(), tag).quiet()
    }

    /// Sends what the socket has room for, from several places.
    ///
    /// # Safety
    /// `message` and all it points to must stay valid until this is submitted: the send does not wait, so it is
    /// over by then.
    pub(super) unsafe fn send_message(tag: Tag, message: *const libc::msghdr) -> Self {
        let send = opcode::SendMsg::new(Fixed(tag.index), message).flags(SEND_FLAGS as u32);
        Self::tagged(send.build(), tag).quiet()
    }
}
