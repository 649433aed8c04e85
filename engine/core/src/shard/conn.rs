//! A connection as its shard knows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use fanfare_wire::decode::Decoder;
use fanfare_wire::deflate::{Agreed, Window};
use fanfare_wire::handshake::server::Upgrade;
use fanfare_wire::key::Key;
use fanfare_wire::stream::{Id, Recovery};
use fanfare_wire::subscribe::SubscribeOptions;
use fanfare_wire::topic::TopicName;

use crate::addresses::Place;
use crate::mailbox::{Command, ConnRef};
use crate::message::PublishError;

use super::admission::Admission;
use super::cuts::Cut;
use super::rate::Paid;
use super::timers::Tick;

/// Where a connection is in its life. It only moves down this list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum State {
    /// Its request has not arrived whole, or its subscriptions are not ready yet. Nothing was sent.
    Handshake,
    /// Frames go both ways.
    Open,
    /// Our last bytes (a close frame or an HTTP answer) are in the outbox or sent. It has no subscription, and
    /// what it sends is not published.
    Closing,
    /// We sent FIN to a peer that may still be sending, and wait for its FIN. What comes is dropped.
    Lingering,
    /// The driver is closing it. Nothing of it is held any more.
    Gone,
}

/// Why a connection is not read from at the moment. Any number of reasons can hold at once.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Holds(u8);

impl Holds {
    /// It waits for topics to be attached.
    pub(super) const JOIN: Self = Self(1);
    /// A message of it waits for room in another shard's mailbox.
    pub(super) const PUBLISH: Self = Self(2);
    /// It does not take its replies.
    pub(super) const OUTBOX: Self = Self(4);
    /// It published faster than it may.
    pub(super) const RATE: Self = Self(8);
    /// Its request waits for a turn in which it can be looked at.
    pub(super) const DOOR: Self = Self(16);

    pub(super) fn any(self) -> bool {
        self.0 != 0
    }

    pub(super) fn has(self, hold: Self) -> bool {
        self.0 & hold.0 != 0
    }

    pub(super) fn add(&mut self, hold: Self) {
        self.0 |= hold.0;
    }

    pub(super) fn remove(&mut self, hold: Self) {
        self.0 &= !hold.0;
    }
}

/// The rest of a frame that a short send cut. It goes out before anything else.
#[derive(Clone, Debug)]
pub(super) struct Remainder {
    pub(super) cut: Arc<Cut>,
    /// Where the rest begins.
    pub(super) start: u32,
}

impl Remainder {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.cut.frame()[self.start as usize..]
    }
}

/// Subscriptions on their way: some topics are still being attached on their home shards.
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) purpose: JoinPurpose,
    pub(super) wanted: Vec<Wanted>,
    /// How many of them are not made yet.
    pub(super) left: usize,
    pub(super) refused: Option<PublishError>,
}

/// One subscription that a connection asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) reader: u32,
    pub(super) options: SubscribeOptions,
    /// The subscription, held until all are there.
    pub(super) sub: Option<u32>,
    /// It was there before, and stays as it is.
    pub(super) known: bool,
    /// The sequence number of the topic's last message when it was made.
    pub(super) head: u64,
    /// The oldest message that was held then, if any.
    pub(super) oldest: Option<u64>,
    pub(super) recovery: Option<Recovery>,
}

impl Wanted {
    pub(super) fn of(reader: u32, options: SubscribeOptions) -> Self {
        Self { reader, options, sub: None, known: false, head: 0, oldest: None, recovery: None }
    }
}

/// What follows when all subscriptions are there.
#[derive(Debug)]
pub(super) enum JoinPurpose {
    /// The 101 answer with the subprotocol and the compression, and how the subscriptions are made known with it.
    Upgrade {
        upgrade: Upgrade,
        subprotocol: Option<&'static str>,
        agreed: Option<Agreed>,
        announce: Announce,
    },
    /// The reply to a subscribe operation.
    Reply { id: Option<Id> },
}

/// How subscriptions that come with the upgrade are made known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Announce {
    /// There are none.
    Nothing,
    /// In headers of the answer.
    Headers,
    /// In a subscribe reply behind it.
    Reply,
}

/// Where a raw connection's messages go.
#[derive(Clone, Debug)]
pub(super) struct Publisher {
    pub(super) topic: TopicName,
    /// Its text messages are JSON.
    pub(super) json: bool,
    /// The key of all its messages.
    pub(super) key: Option<Key>,
}

#[derive(Debug, Default)]
pub(super) enum Session {
    /// Not upgraded, or over.
    #[default]
    None,
    /// `/ws/{topic}`: its subscription, once it stands.
    Raw { publisher: Publisher, sub: Option<u32> },
    /// `/pub/{topic}`.
    Publish(Publisher),
    /// `/stream`.
    Stream(Box<StreamSession>),
    /// `/echo`.
    Echo,
}

impl Session {
    /// All its subscriptions.
    pub(super) fn subs(&self) -> impl Iterator<Item = u32> + '_ {
        let (one, many) = match self {
            Self::Raw { sub, .. } => (*sub, None),
            Self::Stream(stream) => (None, Some(stream.subs.values().flat_map(Membership::subs))),
            Self::None | Self::Publish(_) | Self::Echo => (None, None),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

/// A `/stream` connection's own state.
#[derive(Debug, Default)]
pub(super) struct StreamSession {
    pub(super) subs: BTreeMap<TopicName, Membership>,
}

/// What a `/stream` connection has of one topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Membership {
    /// Its subscription to the messages.
    pub(super) sub: u32,
    /// Its subscription to the topic's presence.
    pub(super) presence: Option<u32>,
}

impl Membership {
    pub(super) fn subs(&self) -> impl Iterator<Item = u32> + use<> {
        std::iter::once(self.sub).chain(self.presence)
    }
}

/// The end of a list of subscriptions.
pub(super) const NIL: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Conn {
    /// How often the slot was used before.
    pub(super) generation: u32,
    pub(super) state: State,
    pub(super) admission: Admission,
    /// Its request is not complete, and that counts among all of which this is so.
    pub(super) asking: bool,
    /// Where it counts among the connections of its address, if those are limited.
    pub(super) place: Option<Place>,
    pub(super) holds: Holds,
    /// The driver receives from it.
    pub(super) receiving: bool,
    /// It stands in the shard's list of connections to send to.
    pub(super) ready: bool,
    /// Its socket is full; the driver will say when it takes bytes again.
    pub(super) blocked: bool,
    /// Its socket was full since it last had everything.
    pub(super) lagged: bool,
    /// The peer's close frame arrived.
    pub(super) peer_closed: bool,
    /// No close frame is expected of the peer, and whatever it still sends is dropped.
    pub(super) deaf: bool,
    /// The socket reported an error: no send can succeed.
    pub(super) broken: bool,
    /// The peer sent FIN.
    pub(super) peer_finished: bool,
    /// A ping is out and nothing was heard since.
    pub(super) pinged: bool,
    /// Messages may be compressed; ours are in this window.
    pub(super) deflate: Option<Window>,
    pub(super) decoder: Decoder,
    /// Received bytes that could not be worked on yet.
    pub(super) backlog: Vec<u8>,
    /// Replies and control frames to send.
    pub(super) outbox: Vec<u8>,
    /// How many control frames are among them, at most, and how many were in the send that was planned last.
    pub(super) controls: u32,
    pub(super) controls_planned: u32,
    pub(super) remainder: Option<Remainder>,
    /// A part of a frame was sent, and its rest is lost.
    pub(super) is_mutilated: bool,
    /// The subscriptions with messages to send: first and last of a list linked through them.
    pub(super) pending_first: u32,
    pub(super) pending_last: u32,
    pub(super) session: Session,
    pub(super) joining: Option<Box<Joining>>,
    /// A message that another shard's mailbox had no room for, or that came too early for the connection's rate.
    pub(super) stalled: Option<Box<Command>>,
    pub(super) paid: Paid,
    /// When something was received last, nanoseconds.
    pub(super) heard_at: u64,
    /// Its valid entry in the timer wheel.
    pub(super) due: Tick,
    /// Its send in the batch that was submitted last.
    pub(super) batch_send: u32,
}

impl Conn {
    pub(super) fn new(generation: u32, now: u64) -> Self {
        Self {
            generation,
            state: State::Handshake,
            admission: Admission::default(),
            asking: false,
            place: None,
            holds: Holds::default(),
            receiving: false,
            ready: false,
            blocked: false,
            lagged: false,
            peer_closed: false,
            deaf: false,
            broken: false,
            peer_finished: false,
            pinged: false,
            deflate: None,
            decoder: Decoder::default(),
            backlog: Vec::new(),
            outbox: Vec::new(),
            controls: 0,
            controls_planned: 0,
            remainder: None,
            is_mutilated: false,
            pending_first: NIL,
            pending_last: NIL,
            session: Session::None,
            joining: None,
            stalled: None,
            paid: Paid::default(),
            heard_at: now,
            due: 0,
            batch_send: 0,
        }
    }

    /// Notes what a short send left of a frame, if there was memory to keep it.
    pub(super) fn cut_at(&mut self, cut: Option<Arc<Cut>>, start: u32) {
        self.is_mutilated |= cut.is_none();
        self.remainder = cut.map(|cut| Remainder { cut, start });
    }

    /// Notes that nothing can be sent any more. What was received before still counts.
    pub(super) fn break_off(&mut self) {
        self.blocked = true;
        self.broken = true;
    }

    /// What it holds of messages that have not arrived whole, or that wait for its rate.
    pub(super) fn unfinished_bytes(&self) -> usize {
        let waiting = match self.stalled.as_deref() {
            Some(Command::Publish { message, .. }) if self.holds.has(Holds::RATE) => message.payload.len(),
            _ => 0,
        };
        self.decoder.buffered() + waiting
    }

    /// True if there is anything to send.
    pub(super) fn has_work(&self) -> bool {
        !self.outbox.is_empty() || self.remainder.is_some() || self.pending_first != NIL
    }
}

/// All connections of a shard, by slot.
#[derive(Debug, Default)]
pub(super) struct Conns {
    slots: Vec<Option<Conn>>,
    /// How often each slot was used.
    generations: Vec<u32>,
    open: usize,
}

impl Conns {
    pub(super) fn len(&self) -> usize {
        self.open
    }

    /// One past the highest slot ever used.
    pub(super) fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(super) fn insert(&mut self, slot: u32, now: u64) {
        let index = slot as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
            self.generations.resize(index + 1, 0);
        }
        assert!(self.slots[index].is_none(), "a slot names one connection at a time");
        self.generations[index] = self.generations[index].wrapping_add(1);
        self.slots[index] = Some(Conn::new(self.generations[index], now));
        self.open += 1;
    }

    pub(super) fn remove(&mut self, slot: u32) -> Conn {
        let removed = self.slots[slot as usize].take().expect("a connection is removed once");
        self.open -= 1;
        removed
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Conn> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Conn> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// The slot, if it still holds the connection that `conn` means.
    pub(super) fn slot_of(&self, conn: ConnRef) -> Option<u32> {
        self.get(conn.slot).filter(|known| known.generation == conn.generation).map(|_| conn.slot)
    }

    pub(super) fn reference(&self, slot: u32) -> ConnRef {
        ConnRef { slot, generation: self[slot].generation }
    }
}

impl std::ops::Index<u32> for Conns {
    type Output = Conn;

    fn index(&self, slot: u32) -> &Conn {
        self.get(slot).expect("the slot holds a connection")
    }
}

impl std::ops::IndexMut<u32> for Conns {
    fn index_mut(&mut self, slot: u32) -> &mut Conn {
        self.get_mut(slot).expect("the slot holds a connection")
    }
}
