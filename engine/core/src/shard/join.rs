//! Becoming a subscriber, and leaving.
//!
//! A topic's log is attached on its home shard before the answer to an upgrade or a subscribe goes out: whoever has
//! the answer gets every message that is published from then on.

use std::sync::Arc;

use fanfare_io::Driver;
use fanfare_wire::stream::{OpName, Recovery, Subscribe, Subscribed};
use fanfare_wire::subscribe::{Policy, Start, SubscribeOptions};
use fanfare_wire::topic::TopicName;
use fanfare_wire::{frame, stream};

use super::Shard;
use super::conn::{Announce, Holds, JoinPurpose, Joining, Membership, NIL, Session, State, Wanted};
use super::pace::Pace;
use super::subs::{NO_SNAPSHOT, Progress, Reader, ReaderKey, Route, Sub};
use crate::log::{Log, LogReader};
use crate::mailbox::{Command, ConnRef};
use crate::message::PublishError;
use crate::topics::{Attached, Listener};
use crate::view::View;

impl<D: Driver> Shard<D> {
    /// Subscribes a connection to topics, each named once, then does what `purpose` says. Until then the connection
    /// is held, and its new subscriptions too.
    pub(super) fn join(&mut self, slot: u32, asked: Vec<Subscribe>, view: View, purpose: JoinPurpose) {
        let mut joining = Box::new(Joining { purpose, wanted: Vec::new(), left: 0, refused: None });
        for Subscribe { topic, options } in asked {
            let before = self.membership(slot, &topic);
            if let (Some(before), None) = (before, &options) {
                joining.wanted.push(self.known(before.sub));
                continue;
            }
            let options = options.unwrap_or_default();
            self.want(slot, &topic, view, options, &mut joining);
            if options.presence && before.is_none_or(|before| before.presence.is_none()) {
                // The last count that was told, or the first to come. No count is worth waiting for.
                let (start, policy) = (Start::Last(1), Some(Policy::Latest));
                let options = SubscribeOptions { start, policy, ..SubscribeOptions::default() };
                self.want(slot, &topic, View::Presence, options, &mut joining);
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

    fn membership(&self, slot: u32, topic: &TopicName) -> Option<Membership> {
        match &self.conns[slot].session {
            Session::Stream(session) => session.subs.get(topic).copied(),
            _ => None,
        }
    }

    /// A subscription that is there already, and stays as it is.
    fn known(&mut self, sub: u32) -> Wanted {
        let mut wanted = Wanted::of(self.subs[sub].reader, SubscribeOptions::default());
        (wanted.sub, wanted.known) = (Some(sub), true);
        let reader = &mut self.readers.slab[wanted.reader];
        reader.look_anew(|log| (wanted.head, wanted.oldest) = head_and_oldest(log));
        wanted
    }

    /// Makes one subscription if its log is attached, or waits for the log.
    fn want(
        &mut self,
        slot: u32,
        topic: &TopicName,
        view: View,
        options: SubscribeOptions,
        joining: &mut Joining,
    ) {
        let period_ns = options.max_rate.map_or(0, |rate| Pace::rounded(rate.period_ns()));
        // Who wants to hear only so often gets snapshots, which are not compressed.
        let view = if period_ns > 0 { view.plain() } else { view };
        let key = ReaderKey { topic: topic.clone(), view, period_ns };
        match self.reader_of(key) {
            Ok(reader) => {
                let mut wanted = Wanted::of(reader, options);
                if self.readers.slab[reader].log.is_some() {
                    self.add_sub(slot, &mut wanted);
                } else {
                    let conn = self.conns.reference(slot);
                    self.readers.slab[reader].waiting.push(conn);
                    joining.left += 1;
                }
                joining.wanted.push(wanted);
            }
            Err(error) => joining.refused = Some(error),
        }
    }

    /// The shard's reader of a log; it is attached at once if its home is here and has it, and asked for otherwise.
    fn reader_of(&mut self, key: ReaderKey) -> Result<u32, PublishError> {
        if let Some(reader) = self.readers.find(&key) {
            return Ok(reader);
        }
        let (topic, view) = (key.topic.clone(), key.view);
        let home = self.plane.home_of(&topic);
        let limits = self.plane.rules.limits_of(&topic).clone();
        let reader = self.readers.insert(key, home, limits);
        let listener = Listener { shard: self.index, reader };
        if home == self.index {
            match self.topics.attach(&topic, view, listener, self.now) {
                Ok(Attached::Now(log)) => {
                    // This shard may have been told of this log before this reader was there to hear it.
                    log.looks(self.index);
                    self.readers.slab[reader].log = Some(LogReader::new(log));
                }
                Ok(Attached::Later) => {}
                Err(error) => {
                    self.readers.remove(reader);
                    return Err(error);
                }
            }
        } else {
            self.command(home, Command::Attach { topic, view, listener });
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
            let Some(slot) = self.conns.slot_of(conn) else { continue };
            let Some(mut joining) = self.conns[slot].joining.take() else { continue };
            joining.refused = joining.refused.or(refused);
            joining.left -= 1;
            if refused.is_none() {
                let wanted = joining.wanted.iter_mut().find(|wanted| wanted.reader == index && !wanted.known);
                self.add_sub(slot, wanted.expect("a connection waits for readers that it wants"));
            }
            if joining.left == 0 {
                complete.push(slot);
            }
            self.conns[slot].joining = Some(joining);
        }
        if refused.is_some() {
            self.readers.remove(index);
        } else {
            self.release_reader(index);
        }
        // Last, because what follows may end connections and with them the reader.
        complete.into_iter().for_each(|slot| self.joined(slot));
    }

    /// Makes a subscription where its options say, held until it is announced.
    fn add_sub(&mut self, slot: u32, wanted: &mut Wanted) {
        let index = wanted.reader;
        let reader = &mut self.readers.slab[index];
        let mut progress = Progress::whole();
        reader.look_anew(|log| {
            let (cursor, recovery) = log.place_of(wanted.options.start);
            if !wanted.options.snapshot || recovery == Some(Recovery::Recovered) {
                // What it asked for it may have, however far behind that makes it.
                progress = Progress { recovers_to: log.end(), ..Progress::from(cursor) };
            }
            (wanted.head, wanted.oldest) = head_and_oldest(log);
            wanted.recovery = recovery;
        });
        if reader.view != View::Presence {
            self.stats.subscriptions.add(1);
        }
        let sub = self.subs.insert(Sub {
            progress,
            conn: slot,
            reader: index,
            place: reader.subs.len() as u32,
            next_pending: NIL,
            policy: wanted.options.policy.unwrap_or(reader.limits.policy),
            pending: false,
            held: true,
            awaits: false,
        });
        reader.subs.push(sub);
        wanted.sub = Some(sub);
    }

    /// All topics of a join are there, or were refused.
    fn joined(&mut self, slot: u32) {
        let joining = self.conns[slot].joining.take().expect("a join ends once");
        let Joining { purpose, mut wanted, refused, .. } = *joining;
        if let Some(error) = refused {
            // Subscriptions from before this join stay.
            wanted
                .iter()
                .filter(|wanted| !wanted.known)
                .filter_map(|wanted| wanted.sub)
                .for_each(|sub| self.leave(sub));
            match purpose {
                JoinPurpose::Upgrade { .. } => {
                    let reject = self.unavailable(error.to_string());
                    self.reject(slot, &reject);
                }
                JoinPurpose::Reply { id } => self.refuse(slot, OpName::Subscribe, id, error.into()),
            }
        } else {
            // Topics of other shards came in any order.
            let topic_of = |wanted: &Wanted| &self.readers.slab[wanted.reader].topic;
            wanted.sort_by(|a, b| topic_of(a).cmp(topic_of(b)));
            self.announce(slot, purpose, &wanted);
            for wanted in wanted.iter().filter(|wanted| !wanted.known) {
                self.enter(slot, wanted);
            }
        }
        self.release(slot, Holds::JOIN);
    }

    /// What is told of a subscription that was made.
    fn subscribed(&self, wanted: &Wanted) -> Subscribed<'_> {
        let reader = &self.readers.slab[wanted.reader];
        let log = reader.log.as_ref().expect("the subscription was made of it");
        let (topic, epoch, oldest) = (&*reader.topic, log.log().epoch(), wanted.oldest);
        Subscribed { topic, epoch, seq: wanted.head, oldest, recovery: wanted.recovery }
    }

    /// Writes the answer that makes the subscriptions known.
    fn announce(&mut self, slot: u32, purpose: JoinPurpose, wanted: &[Wanted]) {
        for wanted in wanted {
            match wanted.recovery {
                Some(Recovery::Recovered) => self.stats.recovered.add(1),
                Some(Recovery::Lost { .. }) => self.stats.recoveries_failed.add(1),
                None => {}
            }
        }
        let id = match purpose {
            JoinPurpose::Upgrade { upgrade, subprotocol, agreed, announce } => {
                let mut headers = Vec::new();
                if let (Announce::Headers, [wanted]) = (announce, wanted) {
                    headers = headers_of(&self.subscribed(wanted));
                }
                headers.extend(
                    agreed.map(|agreed| ("Sec-WebSocket-Extensions", agreed.header_value().to_string())),
                );
                let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                self.stats.upgraded.add(1);
                self.conns[slot].state = State::Open;
                self.say(slot, |outbox| upgrade.write_accept(outbox, subprotocol, &headers));
                self.schedule(slot, self.config().ping_interval_ms);
                if announce != Announce::Reply {
                    return;
                }
                None
            }
            JoinPurpose::Reply { id } => id,
        };
        let mut text = Vec::new();
        let messages = wanted.iter().filter(|wanted| self.readers.slab[wanted.reader].view != View::Presence);
        stream::write_subscribed(&mut text, id.as_ref(), messages.map(|wanted| self.subscribed(wanted)));
        self.say(slot, |outbox| frame::write(outbox, frame::Opcode::Text, true, &text, None));
    }

    /// Lets an announced subscription take part, in place of the one that the connection had of this topic, if any.
    fn enter(&mut self, slot: u32, wanted: &Wanted) {
        let index = wanted.sub.expect("all subscriptions of a join are made");
        let Reader { topic, view, .. } = &self.readers.slab[wanted.reader];
        let is_presence = *view == View::Presence;
        let mut replaced = None;
        match &mut self.conns[slot].session {
            Session::Raw { sub, .. } => *sub = Some(index),
            Session::Stream(session) if is_presence => {
                let membership = session.subs.get_mut(topic).expect("the messages are entered before");
                replaced = membership.presence.replace(index);
            }
            Session::Stream(session) => {
                let before = session.subs.get(topic).copied();
                let mut membership = Membership { sub: index, presence: None };
                if let Some(before) = before {
                    replaced = Some(before.sub);
                    membership.presence = before.presence;
                }
                session.subs.insert(topic.clone(), membership);
            }
            Session::None | Session::Publish(_) | Session::Echo => {
                unreachable!("these sessions subscribe to nothing")
            }
        }
        if let Some(before) = replaced {
            let moves = wanted.options.start != Start::Head || wanted.options.snapshot;
            if !moves && !is_presence {
                let mut progress = self.subs[before].progress;
                if progress.route == Route::Part && progress.told_head == NO_SNAPSHOT {
                    // What it was not told of yet it may not want any more.
                    progress.route = Route::Log;
                }
                self.subs[index].progress = progress;
            }
            self.drop_sub(slot, before);
        }
        if let Some(log) = &self.readers.slab[wanted.reader].log {
            log.log().subscriber_joined();
        }
        if !is_presence && !wanted.options.presence {
            self.watch_no_more(slot, wanted.reader);
        }
        self.subs[index].held = false;
        let Sub { reader, place, pending, .. } = self.subs[index];
        if self.readers.slab[reader].pace.as_ref().is_some_and(|pace| pace.is_due(self.now)) {
            // It begins with the others: what it gets is its share of this period.
            self.head_moved(reader);
            return;
        }
        if !pending {
            self.compare(reader, place as usize);
        }
    }

    /// Ends the subscription to a topic's presence, if the connection has one.
    fn watch_no_more(&mut self, slot: u32, reader: u32) {
        let topic = &self.readers.slab[reader].topic;
        let Session::Stream(session) = &mut self.conns[slot].session else { return };
        let presence = session.subs.get_mut(topic).and_then(|membership| membership.presence.take());
        if let Some(presence) = presence {
            self.drop_sub(slot, presence);
        }
    }

    /// Ends a subscription, whatever list it stands in.
    pub(super) fn drop_sub(&mut self, slot: u32, index: u32) {
        self.remove_pending(slot, index);
        self.leave(index);
    }

    /// Ends a subscription that stands in no list of pending ones.
    pub(super) fn leave(&mut self, index: u32) {
        self.await_no_more(index);
        let sub = self.subs.remove(index);
        debug_assert!(!sub.pending, "a pending subscription is taken off its list first");
        let reader = &mut self.readers.slab[sub.reader];
        if reader.view != View::Presence {
            self.stats.subscriptions.sub(1);
        }
        if let Some(log) = reader.log.as_ref().filter(|_| !sub.held) {
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
    pub(super) fn release_reader(&mut self, index: u32) {
        let reader = &self.readers.slab[index];
        // One that is still being attached, or waits for a snapshot, is looked at again when that is there.
        let asked = reader.supply.as_ref().is_some_and(|supply| supply.is_busy());
        if !reader.subs.is_empty() || !reader.waiting.is_empty() || reader.log.is_none() || asked {
            return;
        }
        let reader = self.readers.remove(index);
        let listener = Listener { shard: self.index, reader: index };
        if reader.home == self.index {
            self.topics.detach(&reader.topic, reader.view, listener, self.now);
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

/// The sequence number of the last message, and of the oldest one held, if any.
fn head_and_oldest(log: &LogReader) -> (u64, Option<u64>) {
    (log.end() - 1, Some(log.oldest()).filter(|oldest| *oldest < log.end()))
}

/// What the answer to an upgrade says of its subscription.
fn headers_of(subscribed: &Subscribed<'_>) -> Vec<(&'static str, String)> {
    let mut headers =
        vec![("Fanfare-Epoch", subscribed.epoch.to_string()), ("Fanfare-Seq", subscribed.seq.to_string())];
    headers.extend(subscribed.oldest.map(|oldest| ("Fanfare-Oldest", oldest.to_string())));
    let recovered = |recovery| (recovery == Recovery::Recovered).to_string();
    headers.extend(subscribed.recovery.map(|recovery| ("Fanfare-Recovered", recovered(recovery))));
    headers
}
