//! What is in flight for each connection: a byte of flags and a generation.

use crate::ConnId;

use super::tag::{GENERATION_MASK, Op, Tag};

/// Facts about a slot. A free slot has none.
pub(super) mod flag {
    /// The kernel put a socket here, and the caller knows.
    pub(crate) const OPEN: u8 = 1 << 0;
    /// A multishot receive is armed, or its last completion was not handled yet.
    pub(crate) const RECEIVING: u8 = 1 << 1;
    /// That receive is to end.
    pub(crate) const PAUSING: u8 = 1 << 2;
    /// A poll for room is armed.
    pub(crate) const POLLING: u8 = 1 << 3;
    /// The caller closed it; what is armed has to end first.
    pub(crate) const CLOSING: u8 = 1 << 4;
    /// The close itself is queued or submitted.
    pub(crate) const CLOSED: u8 = 1 << 5;
    /// A half-close is on its way. A kernel thread does it, and looks up the slot only then: the slot must not name
    /// another connection before.
    pub(crate) const SHUTTING: u8 = 1 << 6;
}

#[derive(Clone, Copy, Default, Debug)]
struct Slot {
    /// Flags in the low byte, the generation above.
    bits: u32,
}

/// The table of slots, as large as the kernel's table of direct descriptors.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Box<[Slot]>,
    used: usize,
}

impl Slots {
    pub(super) fn new(count: usize) -> Self {
        Self { slots: vec![Slot::default(); count].into(), used: 0 }
    }

    pub(super) fn free(&self) -> usize {
        self.slots.len() - self.used
    }

    pub(super) fn has(&self, slot: u32, flag: u8) -> bool {
        self.slots[slot as usize].bits & u32::from(flag) != 0
    }

    pub(super) fn set(&mut self, slot: u32, flag: u8) {
        self.slots[slot as usize].bits |= u32::from(flag);
    }

    pub(super) fn clear(&mut self, slot: u32, flags: u8) {
        self.slots[slot as usize].bits &= !u32::from(flags);
    }

    /// The tag for an operation on the connection that has this slot now.
    pub(super) fn tag(&self, op: Op, slot: u32) -> Tag {
        Tag { op, generation: self.generation(slot), index: slot }
    }

    fn generation(&self, slot: u32) -> u32 {
        self.slots[slot as usize].bits >> 8
    }

    /// Whether a completion is about the connection that has its slot now.
    pub(super) fn is_current(&self, tag: Tag) -> bool {
        self.generation(tag.index) == tag.generation
    }

    /// Notes that the kernel put a socket into a free slot.
    pub(super) fn occupy(&mut self, slot: u32) {
        debug_assert!(!self.has(slot, flag::OPEN), "the kernel gave out slot {slot} twice");
        self.set(slot, flag::OPEN);
        self.used += 1;
    }

    /// Notes that the slot is free, so that nothing that still comes for it is believed.
    pub(super) fn release(&mut self, slot: u32) {
        let generation = (self.generation(slot) + 1) & GENERATION_MASK;
        self.slots[slot as usize].bits = generation << 8;
        self.used -= 1;
    }

    /// The slot of a connection that the caller may name.
    #[track_caller]
    pub(super) fn open(&self, conn: ConnId) -> u32 {
        let slot = conn.index() as u32;
        debug_assert!(self.has(slot, flag::OPEN) && !self.has(slot, flag::CLOSING), "{conn} is not open");
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_slot_does_not_believe_old_tags() {
        let mut slots = Slots::new(2);
        slots.occupy(1);
        slots.set(1, flag::RECEIVING);
        let old = slots.tag(Op::Receive, 1);
        assert!(slots.is_current(old));
        assert_eq!(slots.free(), 1);
        slots.release(1);
        assert_eq!(slots.free(), 2);
        assert!(!slots.is_current(old));
        assert!(!slots.has(1, flag::RECEIVING));
        slots.occupy(1);
        assert_ne!(slots.tag(Op::Receive, 1), old);
    }

    #[test]
    fn generations_wrap_within_their_bits() {
        let mut slots = Slots::new(1);
        slots.slots[0].bits = GENERATION_MASK << 8;
        slots.occupy(0);
        slots.release(0);
        assert_eq!(slots.tag(Op::Send, 0).generation, 0);
    }
}
