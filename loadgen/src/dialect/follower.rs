//! Where one subscriber of Fanfare's stands in its topic, and what the server's notices say about its messages.
//!
//! On `/stream` every message has its sequence number. Raw ones are counted from the number that the handshake tells,
//! which goes well until a range is conflated: nothing says where its messages end and the live ones begin.

use fanfare_wire::notice::Notice;
use fanfare_wire::subscribe::Epoch;

use super::{Heard, Position, Resumed};

/// What the server says of a subscription that begins.
#[derive(Debug, Default)]
pub(super) struct Begun {
    pub(super) epoch: Option<Epoch>,
    /// The sequence number of the topic's last message.
    pub(super) head: Option<u64>,
    /// Of one that resumes: whether it does, and the first and the last message that it does not get if not.
    pub(super) is_recovered: bool,
    pub(super) missing: Option<(u64, u64)>,
}

#[derive(Debug, Default)]
pub(super) struct Follower {
    /// It asked for less than all: what the server skips needs no notice.
    is_paced: bool,
    epoch: Option<Epoch>,
    /// The sequence number that comes next, if that is known.
    next: Option<u64>,
    /// The first and the last of those messages of which only some come.
    conflated: Option<(u64, u64)>,
    /// What comes is what holds, and not what happens.
    in_snapshot: bool,
    /// One that resumed has caught up when it has this message.
    catches_up_with: Option<u64>,
}

impl Follower {
    pub(super) fn paced(is_paced: bool) -> Self {
        Self { is_paced, ..Self::default() }
    }

    /// The subscription stands; it resumes at `from`, if that was asked for.
    pub(super) fn begin(&mut self, begun: &Begun, from: Option<Position>, heard: &mut dyn FnMut(Heard<'_>)) {
        self.epoch = begun.epoch;
        self.next = begun.head.map(|head| head.saturating_add(1));
        let Some(from) = from else { return };
        match begun.missing {
            _ if begun.is_recovered => {
                self.next = Some(from.seq.saturating_add(1));
                self.catches_up_with = Some(begun.head.unwrap_or(from.seq));
                heard(Heard::Resumed(Resumed::Recovered));
            }
            Some((first, last)) => {
                heard(Heard::Resumed(Resumed::Announced));
                if first <= last {
                    heard(Heard::Gap(count(first, last)));
                }
            }
            None => heard(Heard::Resumed(Resumed::Lost)),
        }
        self.look(heard);
    }

    /// Where it stands, if that is known.
    pub(super) fn position(&self) -> Option<Position> {
        Some(Position { epoch: self.epoch?, seq: self.next?.saturating_sub(1) })
    }

    /// A message with its sequence number comes. False if it is an old one, which a snapshot repeats.
    #[inline]
    pub(super) fn numbered(&mut self, seq: u64, heard: &mut dyn FnMut(Heard<'_>)) -> bool {
        match self.next {
            Some(next) if seq < next => return !self.in_snapshot,
            Some(next) if seq > next => self.skip_to(seq, heard),
            None if self.in_snapshot => return false,
            _ => {}
        }
        self.next = Some(seq.saturating_add(1));
        self.look(heard);
        true
    }

    /// A message without a sequence number comes. False if it belongs to a snapshot, and nobody knows what it is.
    #[inline]
    pub(super) fn counted(&mut self, heard: &mut dyn FnMut(Heard<'_>)) -> bool {
        if self.in_snapshot {
            return false;
        }
        if let Some(next) = &mut self.next {
            *next = next.saturating_add(1);
            self.look(heard);
        }
        true
    }

    /// The server says something about the messages. `are_numbered`: those of this connection have sequence numbers.
    pub(super) fn notice(&mut self, notice: Notice, are_numbered: bool, heard: &mut dyn FnMut(Heard<'_>)) {
        match notice {
            Notice::Gap { from, to } => {
                self.skip_to(from, heard);
                heard(Heard::Gap(count(from, to)));
                self.next = self.next.max(Some(to.saturating_add(1)));
            }
            Notice::Conflated { from, to } if are_numbered && count(from, to).is_some() => {
                self.skip_to(from, heard);
                self.conflated = Some((from, to));
            }
            Notice::Conflated { from, to } => {
                heard(Heard::Gap(count(from, to)));
                self.next = None;
            }
            // A subscriber that was too slow gets it in the place of all that it has not got.
            Notice::Snapshot { seq } => {
                self.conflated = self.next.map(|next| (next, seq));
                self.in_snapshot = true;
            }
            Notice::Live { seq } => {
                self.in_snapshot = false;
                self.skip_to(seq.saturating_add(1), heard);
                self.next = self.next.max(Some(seq.saturating_add(1)));
            }
        }
        self.look(heard);
    }

    /// The next message is `seq` or a later one. What the server may leave out before it, it did.
    fn skip_to(&mut self, seq: u64, heard: &mut dyn FnMut(Heard<'_>)) {
        let Some(next) = self.next.filter(|&next| next < seq) else { return };
        self.next = Some(seq);
        let left_out = match self.conflated {
            _ if self.is_paced => seq - next,
            Some((from, to)) => seq.min(to.saturating_add(1)).saturating_sub(next.max(from)),
            None => 0,
        };
        if left_out > 0 {
            heard(Heard::Gap(Some(left_out)));
        }
    }

    /// Whether one that resumed has caught up.
    #[inline]
    fn look(&mut self, heard: &mut dyn FnMut(Heard<'_>)) {
        if let Some(head) = self.catches_up_with
            && self.next.is_some_and(|next| next > head)
        {
            self.catches_up_with = None;
            heard(Heard::CaughtUp);
        }
    }
}

/// How many messages that are, if it makes sense.
fn count(first: u64, last: u64) -> Option<u64> {
    last.checked_sub(first)?.checked_add(1)
}
