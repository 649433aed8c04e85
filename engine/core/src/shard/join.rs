//! Becoming a subscriber, and leaving.
//!
//! A topic's log is attached on its home shard before the answer to an upgrade or a subscribe goes out: whoever has
//! the answer gets every message that is published from then on.

use fanfare_io::Driver;
use fanfare_wire::handshake::server::Reject;
use fanfare_wire::stream::OpName;
use fanfare_wire::topic::TopicName;
use fanfare_wire::{frame, stream};

use super::Shard;
use super::conn::{Holds, JoinPurpose, Joining, NIL, Session, State};
use super::subs::Sub;
use crate::log::{Log, LogReader};
use crate::mailbox::{Command, ConnRef};
use crate::message::PublishError;
use crate::topics::Listener;
use crate::view::View;
use std::sync::Arc;

impl<D: Driver> Shard<D> {
    /// Subscribes a connection to topics, each named once, then does what `purpose` says. Until then the connection
    /// is held, and its new subscriptions too.
    pub(super) fn join(&mut self, slot: u32, topics: Vec<TopicName>, view: View, purpose: JoinPurpose) {
        let mut joining = Box::new(Joining { purpose, subs: Vec::new(), left: 0, refused: None });
        for topic in &topics {
            if let Session::Stream(session) = &self.conns[slot].session
                && let Some(sub) = session.subs.get(topic)
            {
                joining.subs.push(*sub);
                continue;
            }
            match self.reader_of(topic, view) {
                Ok(reader) if self.readers.slab[reader].log.is_some() => {
                    joining.subs.push(self.add_sub(slot, reader));
                }
                Ok(reader) => {
                    let conn = self.conns.reference(slot);
                    self.readers.slab[reader].waiting.push(conn);
                    joining.left += 1;
                }
                Err(error) => joining.refused = Some(error),
            }
        }
        let waits = joining.left > 0;
        self.conns[slot].joining = Some(joining);
        if waits {
            self.hold(slot, Holds::JOIN);
        } else {
            self.joined(slot);
        }
    }

    /// The shard's reader of a log; it is attached at once if its home is here, and asked for otherwise.
    fn reader_of(&mut self, topic: &TopicName, view: View) -> Result<u32, PublishError> {
        if let Some(reader) = self.readers.find(topic, view) {
            return Ok(reader);
        }
        let home = self.plane.home_of(topic);
        let reader = self.readers.insert(topic, view, home);
        let listener = Listener { shard: self.index, reader };
        if home == self.index {
            match self.topics.attach(topic, view, listener, self.now) {
                Ok(log) => self.readers.slab[reader].log = Some(LogReader::new(log)),
                Err(error) => {
                    self.readers.remove(reader);
                    return Err(error);
                }
            }
        } else {
            self.command(home, Command::Attach { topic: topic.clone(), view, listener });
        }
        Ok(reader)
    }

    /// A home shard has attached a reader, or refused to.
    pub(super) fn attached(&mut self, index: u32, log: Result<Arc<Log>, PublishError>) {
        let reader = &mut self.readers.slab[index];
        let waiting: Vec<ConnRef> = std::mem::take(&mut reader.waiting);
        let refused = log.as_ref().err().copied();
        if let Ok(log) = &log {
            // What this shard was told of this log so far went to a reader without a log, or to one long gone.
            log.looks(self.index);
        }
        reader.log = log.ok().map(LogReader::new);
        let mut complete = Vec::new();
        for conn in waiting {
            let Some(slot) = self.conns.slot_of(conn).filter(|slot| self.conns[*slot].joining.is_some())
            else {
                continue;
            };
            let sub = refused.is_none().then(|| self.add_sub(slot, index));
            let joining = self.conns[slot].joining.as_mut().expect("it was there above");
            joining.subs.extend(sub);
            joining.refused = joining.refused.or(refused);
            joining.left -= 1;
            if joining.left == 0 {
                complete.push(slot);
            }
        }
        if refused.is_some() {
            self.readers.remove(index);
        } else {
            self.release_reader(index);
        }
        // Last, because what follows may end connections and with them the reader.
        complete.into_iter().for_each(|slot| self.joined(slot));
    }

    /// Makes a subscription that begins with the next message, held until it is announced.
    fn add_sub(&mut self, slot: u32, index: u32) -> u32 {
        let reader = &mut self.readers.slab[index];
        let log = reader.log.as_mut().expect("subscriptions are made of attached readers");
        log.refresh();
        log.log().subscriber_joined();
        self.stats.subscriptions.add(1);
        let sub = self.subs.insert(Sub {
            conn: slot,
            reader: index,
            cursor: log.end(),
            place: reader.subs.len() as u32,
            next_pending: NIL,
            pending: false,
            held: true,
        });
        reader.subs.push(sub);
        sub
    }

    /// All topics of a join are there, or were refused.
    fn joined(&mut self, slot: u32) {
        let joining = self.conns[slot].joining.take().expect("a join ends once");
        let Joining { purpose, mut subs, refused, .. } = *joining;
        // Topics of other shards came in any order.
        subs.sort_by(|a, b| self.topic_of(*a).cmp(self.topic_of(*b)));
        if let Some(error) = refused {
            for sub in subs {
                // Subscriptions from before this join stay.
                if self.subs[sub].held {
                    self.leave(sub);
                }
            }
            match purpose {
                JoinPurpose::Upgrade { .. } => {
                    self.reject(slot, &Reject::service_unavailable(error.to_string(), 5));
                }
                JoinPurpose::Reply { id } => self.refuse(slot, OpName::Subscribe, id, error.into()),
            }
        } else {
            self.announce(slot, purpose, &subs);
            for sub in subs {
                self.enter(slot, sub);
            }
        }
        self.release(slot, Holds::JOIN);
    }

    fn topic_of(&self, sub: u32) -> &TopicName {
        &self.readers.slab[self.subs[sub].reader].topic
    }

    /// Writes the answer that makes the subscriptions known.
    fn announce(&mut self, slot: u32, purpose: JoinPurpose, subs: &[u32]) {
        let (id, reply) = match purpose {
            JoinPurpose::Upgrade { answer, announce } => {
                self.stats.upgraded.add(1);
                self.conns[slot].state = State::Open;
                self.say(slot, |outbox| outbox.extend_from_slice(&answer));
                self.schedule(slot, self.config().ping_interval_ms);
                (None, announce)
            }
            JoinPurpose::Reply { id } => (id, true),
        };
        if !reply {
            return;
        }
        let mut text = Vec::new();
        let topics = subs.iter().map(|sub| (&**self.topic_of(*sub), self.subs[*sub].cursor - 1));
        stream::write_subscribed(&mut text, id.as_ref(), topics);
        self.say(slot, |outbox| frame::write(outbox, frame::Opcode::Text, true, &text, None));
    }

    /// Lets an announced subscription take part.
    fn enter(&mut self, slot: u32, index: u32) {
        let sub = &mut self.subs[index];
        sub.held = false;
        let (reader, place) = (sub.reader, sub.place as usize);
        match &mut self.conns[slot].session {
            Session::Raw { sub, .. } => *sub = Some(index),
            Session::Stream(session) => {
                session.subs.insert(self.readers.slab[reader].topic.clone(), index);
            }
            Session::None | Session::Publish(_) => unreachable!("these sessions subscribe to nothing"),
        }
        if !self.subs[index].pending {
            self.compare(reader, place);
        }
    }

    /// Ends a subscription that stands in no list of pending ones.
    pub(super) fn leave(&mut self, index: u32) {
        let sub = self.subs.remove(index);
        debug_assert!(!sub.pending, "a pending subscription is taken off its list first");
        self.stats.subscriptions.sub(1);
        let reader = &mut self.readers.slab[sub.reader];
        if let Some(log) = &reader.log {
            log.log().subscriber_left();
        }
        reader.subs.swap_remove(sub.place as usize);
        if let Some(moved) = reader.subs.get(sub.place as usize) {
            self.subs[*moved].place = sub.place;
            // A fan-out under way has passed this place; the subscription that moved here must not miss it.
            if reader.queued && (sub.place as usize) < reader.at {
                self.compare(sub.reader, sub.place as usize);
            }
        }
        self.release_reader(sub.reader);
    }

    /// Lets go of a reader that nobody needs any more.
    fn release_reader(&mut self, index: u32) {
        let reader = &self.readers.slab[index];
        // One that is still being attached is looked at again then.
        if !reader.subs.is_empty() || !reader.waiting.is_empty() || reader.log.is_none() {
            return;
        }
        let reader = self.readers.remove(index);
        let listener = Listener { shard: self.index, reader: index };
        if reader.home == self.index {
            self.topics.detach(&reader.topic, reader.view, listener);
        } else {
            self.command(reader.home, Command::Detach { topic: reader.topic, view: reader.view, listener });
        }
    }

    /// Takes one subscription out of its connection's list of those with messages to send.
    pub(super) fn remove_pending(&mut self, slot: u32, index: u32) {
        if !self.subs[index].pending {
            return;
        }
        let conn = &mut self.conns[slot];
        let next = self.subs[index].next_pending;
        let mut before = NIL;
        let mut at = conn.pending_first;
        while at != index {
            before = at;
            at = self.subs[at].next_pending;
        }
        match before {
            NIL => conn.pending_first = next,
            _ => self.subs[before].next_pending = next,
        }
        if conn.pending_last == index {
            conn.pending_last = before;
        }
        self.subs[index].pending = false;
    }
}
