//! What a completion answers: packed into the 64 bits that the kernel carries from submission to completion.

/// What was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Op {
    /// The eventfd of the waker. The index means nothing.
    Wake = 1,
    /// The index is that of the request.
    Accept,
    /// The end of an accept; heard of only when it fails. The index is that of the request.
    AcceptCancel,
    /// A socket for a connection to be made. The index is that of the attempt.
    Socket,
    /// An option or address of a socket to be connected; heard of only when it fails. The index is that of the
    /// attempt.
    Prepare,
    /// The index is that of the attempt.
    Connect,
    // From here on the index is the connection's slot.
    Receive,
    Send,
    Poll,
    /// The end of receiving or polling; heard of only when it fails.
    Cancel,
    Shutdown,
    Close,
}

impl Op {
    const ALL: [Self; 12] = [
        Self::Wake,
        Self::Accept,
        Self::AcceptCancel,
        Self::Socket,
        Self::Prepare,
        Self::Connect,
        Self::Receive,
        Self::Send,
        Self::Poll,
        Self::Cancel,
        Self::Shutdown,
        Self::Close,
    ];
}

/// The part of a generation that fits a tag.
pub(super) const GENERATION_MASK: u32 = (1 << 24) - 1;

/// An operation, the place in its table that it is about, and which use of that place.
///
/// The generation keeps a late completion from reaching the next user of its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tag {
    pub(super) op: Op,
    pub(super) generation: u32,
    pub(super) index: u32,
}

impl Tag {
    pub(super) const WAKE: Self = Self { op: Op::Wake, generation: 0, index: 0 };

    /// An operation on the accept with the number `request`.
    ///
    /// It needs no generation: a request's place is used again only after its answer, and a late cancel that meets
    /// the next one costs a round.
    pub(super) const fn accept(op: Op, request: u32) -> Self {
        Self { op, generation: 0, index: request }
    }

    pub(super) fn to_bits(self) -> u64 {
        debug_assert!(self.generation <= GENERATION_MASK, "generations are counted within the mask");
        u64::from(self.op as u8) << 56 | u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        // Only this driver submits to its ring, so every completion carries a tag that `to_bits` made.
        let op = Op::ALL[(bits >> 56) as usize - 1];
        Self { op, generation: (bits >> 32) as u32 & GENERATION_MASK, index: bits as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tag_survives_the_round_trip() {
        for op in Op::ALL {
            for generation in [0, 1, GENERATION_MASK] {
                for index in [0, 1, u32::MAX] {
                    let tag = Tag { op, generation, index };
                    assert_eq!(Tag::from_bits(tag.to_bits()), tag);
                }
            }
        }
    }
}
