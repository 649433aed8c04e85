//! The shard as a home: publishing, and what other shards and threads ask of it.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_io::{Driver, Wake};
use fanfare_wire::stream::Id;
use fanfare_wire::subscribe::Start;
use fanfare_wire::topic::TopicName;

use super::conn::Holds;
use super::{NS_PER_MS, Shard};
use crate::mailbox::{Command, ConnRef, Reply, Source, TapReply};
use crate::message::{Draft, Message, PublishError};
use crate::plane::Plane;
use crate::tap::{Tap, TapSignal};
use crate::topics::{Attached, Listener};

/// How much mail of each sort one turn takes.
const MAIL_EACH_TURN: usize = 1024;

/// Payloads up to this size share the memory they are copied to.
const SHARED_COPY_MAX: usize = 8 * 1024;
const COPY_CHUNK: usize = 64 * 1024;

/// How often, and how many topics at a time, idle topics are looked for.
const SWEEP_NS: u64 = 100 * NS_PER_MS;
const SWEPT_EACH_TIME: usize = 512;

impl<D: Driver> Shard<D> {
    /// Publishes a connection's message. [`Self::published`] follows at once if the topic's home is here; otherwise
    /// when the home shard has answered, and the connection may be held until the message is on its way.
    ///
    /// If the connection publishes faster than it may, all of this happens later.
    pub(super) fn publish(&mut self, slot: u32, topic: &TopicName, draft: &Draft<'_>, id: Option<Id>) {
        if self.drain.is_running() || !self.must_slow_down(slot, topic, draft, id.as_ref()) {
            self.publish_now(slot, topic, draft, id);
        }
    }

    /// As [`Self::publish`], however fast the connection publishes.
    pub(super) fn publish_now(&mut self, slot: u32, topic: &TopicName, draft: &Draft<'_>, id: Option<Id>) {
        if self.drain.is_running() {
            self.published(slot, topic, id, Err(PublishError::ShuttingDown));
            return;
        }
        let home = self.plane.home_of(topic);
        if home == self.index {
            let result = self.publish_here(topic, draft);
            self.published(slot, topic, id, result);
            return;
        }
        let conn = self.conns.reference(slot);
        let source = Source::Connection { shard: self.index, conn, id };
        let message =
            Message { kind: draft.kind, key: draft.key.cloned(), payload: self.copy(draft.payload) };
        let command = Command::Publish { topic: topic.clone(), message, source };
        // Behind what waits already, so that everything of one shard keeps its order.
        let busy = !self.commands_out[home].is_empty() || !self.stalled[home].is_empty();
        let refused = if busy { Err(command) } else { self.plane.mailboxes[home].command(command) };
        if let Err(command) = refused {
            self.stats.inbox_refusals.add(1);
            self.conns[slot].stalled = Some(Box::new(command));
            self.stalled[home].push_back(conn);
            self.hold(slot, Holds::PUBLISH);
        }
    }

    /// Sequences a message of a topic whose home is here.
    fn publish_here(&mut self, topic: &TopicName, draft: &Draft<'_>) -> Result<u64, PublishError> {
        let (plane, here, told_here) = (&self.plane, self.index, &mut self.told_here);
        let tell = |listener: Listener| told(plane, here, told_here, listener);
        let result = self.topics.publish(topic, draft, self.now, tell);
        match result {
            Ok(_) => {
                self.stats.published.add(1);
                self.stats.published_bytes.add(draft.payload.len() as u64);
            }
            Err(_) => self.stats.publish_refused.add(1),
        }
        self.hear_here();
        if self.topics.is_over_memory() {
            self.make_room(true);
        }
        result
    }

    /// Drops the oldest messages of this shard's topics until the process holds no more than it may. If that is not
    /// enough, other shards have something to drop too; `ask` wakes them.
    fn make_room(&mut self, ask: bool) {
        let (plane, here, told_here) = (&self.plane, self.index, &mut self.told_here);
        let tell = |listener: Listener| told(plane, here, told_here, listener);
        let (dropped, enough) = self.topics.make_room(tell);
        self.stats.log_bytes_dropped.add(dropped as u64);
        if ask && !enough {
            self.plane.wake_all();
        }
        self.hear_here();
    }

    /// Passes on what topics of this shard told readers of this shard.
    fn hear_here(&mut self) {
        while let Some(reader) = self.told_here.pop() {
            self.head_moved(reader);
        }
    }

    /// Copies a payload for another shard. Small ones share an allocation.
    pub(super) fn copy(&mut self, payload: &[u8]) -> Bytes {
        if payload.len() > SHARED_COPY_MAX {
            return Bytes::copy_from_slice(payload);
        }
        if self.copies.capacity() < payload.len() {
            self.copies.reserve(COPY_CHUNK);
        }
        self.copies.extend_from_slice(payload);
        self.copies.split().freeze()
    }

    /// Sends a command that must arrive, behind all that wait.
    pub(super) fn command(&mut self, home: usize, command: Command) {
        let waiting = &mut self.commands_out[home];
        let refused = match waiting.is_empty() {
            true => self.plane.mailboxes[home].command(command),
            false => Err(command),
        };
        if let Err(command) = refused {
            self.stats.inbox_refusals.add(1);
            waiting.push_back(command);
        }
    }

    pub(super) fn reply(&mut self, shard: usize, reply: Reply) {
        let refused = match self.replies_out.is_empty() {
            true => self.plane.mailboxes[shard].reply(reply),
            false => Err(reply),
        };
        if let Err(reply) = refused {
            self.replies_out.push_back((shard, reply));
        }
    }

    /// Tries again what did not fit into other shards' mailboxes.
    pub(super) fn retry(&mut self) {
        while let Some((shard, reply)) = self.replies_out.pop_front() {
            if let Err(reply) = self.plane.mailboxes[shard].reply(reply) {
                self.replies_out.push_front((shard, reply));
                break;
            }
        }
        for home in 0..self.commands_out.len() {
            if !self.commands_out[home].is_empty() || !self.stalled[home].is_empty() {
                self.retry_commands(home);
            }
        }
    }

    fn retry_commands(&mut self, home: usize) {
        let plane = self.plane.clone();
        let mailbox = &plane.mailboxes[home];
        // Before the attempts: if they fail, the home shard has commands to take, and looks at this after it.
        mailbox.refused(self.index);
        while let Some(command) = self.commands_out[home].pop_front() {
            if let Err(command) = mailbox.command(command) {
                self.commands_out[home].push_front(command);
                return;
            }
        }
        while let Some(conn) = self.stalled[home].pop_front() {
            let Some(slot) = self.conns.slot_of(conn) else { continue };
            let Some(command) = self.conns[slot].stalled.take() else { continue };
            if let Err(command) = mailbox.command(*command) {
                self.conns[slot].stalled = Some(Box::new(command));
                self.stalled[home].push_front(conn);
                return;
            }
            // May publish, and stall again behind the others.
            self.release(slot, Holds::PUBLISH);
        }
    }

    /// Takes what others brought.
    pub(super) fn take_mail(&mut self) {
        let plane = self.plane.clone();
        let mailbox = &plane.mailboxes[self.index];
        while let Some(reply) = mailbox.take_reply() {
            self.take_reply(reply);
        }
        // A command may produce a reply, so it waits until there is room for one.
        let mut taken = 0;
        while taken < MAIL_EACH_TURN && self.replies_out.is_empty() && !self.topics.framer().is_exhausted() {
            let Some(command) = mailbox.take_command() else { break };
            self.take_command(command);
            taken += 1;
        }
        if taken > 0 {
            for shard in mailbox.take_refused() {
                plane.mailboxes[shard].wake_if_asleep();
            }
        }
        for _ in 0..MAIL_EACH_TURN {
            let Some(reader) = mailbox.take_moved() else { break };
            self.head_moved(reader);
        }
        if mailbox.take_overflow() {
            self.all_heads_moved();
        }
    }

    /// Looks at every log anew.
    pub(super) fn all_heads_moved(&mut self) {
        let readers: Vec<u32> = self.readers.slab.indices().collect();
        readers.into_iter().for_each(|reader| self.head_moved(reader));
    }

    fn take_reply(&mut self, reply: Reply) {
        match reply {
            Reply::Attached { reader, log } => self.attached(reader, log),
            Reply::Snapshot { reader, from, snapshot } => self.snapshot_arrived(reader, from, snapshot),
            Reply::Published { conn, id, topic, result } => {
                if let Some(slot) = self.open_slot_of(conn) {
                    self.published(slot, &topic, id, result);
                }
            }
        }
    }

    fn open_slot_of(&self, conn: ConnRef) -> Option<u32> {
        self.conns.slot_of(conn).filter(|slot| self.conns[*slot].state == super::conn::State::Open)
    }

    fn take_command(&mut self, command: Command) {
        match command {
            Command::Publish { topic, message, source } => {
                let result = self.publish_here(&topic, &message.draft());
                match source {
                    Source::Unasked => {}
                    Source::Caller(ack) => ack(result),
                    Source::Connection { id: None, .. } if result.is_ok() => {}
                    Source::Connection { shard, conn, id } => {
                        self.reply(shard, Reply::Published { conn, id, topic, result });
                    }
                }
            }
            Command::Attach { topic, view, listener } => {
                let log = match self.topics.attach(&topic, view, listener, self.now) {
                    Ok(Attached::Now(log)) => Ok(log),
                    Ok(Attached::Later) => return,
                    Err(error) => Err(error),
                };
                self.reply(listener.shard, Reply::Attached { reader: listener.reader, log });
            }
            Command::Detach { topic, view, listener } => {
                self.topics.detach(&topic, view, listener, self.now);
            }
            Command::Snapshot(owed) => self.owe_snapshot(*owed),
            Command::Tap { topic, start, wake, reply } => self.tap(&topic, start, wake, reply),
            Command::Describe { topic, reply } => reply(self.topics.describe(&topic)),
            Command::List { from, count, reply } => {
                let (topics, next) = self.topics.list(from, count.min(MAIL_EACH_TURN));
                reply(topics, next);
            }
        }
        self.stats.topics.set(self.topics.len() as u64);
    }

    fn tap(&mut self, topic: &TopicName, start: Start, wake: Arc<dyn Wake>, reply: TapReply) {
        let signal = TapSignal::new(wake);
        let log = self.topics.tap(topic, signal.clone(), self.now);
        reply(log.map(|log| Tap::new(log, start, signal)));
    }

    /// What topics need now and then: logs made from history, room, presence told, idle ones forgotten.
    pub(super) fn keep_topics(&mut self) {
        self.topics.begin_turn();
        self.pay_snapshots();
        while let Some((listener, log)) = self.topics.build() {
            if listener.shard == self.index {
                self.attached(listener.reader, Ok(log));
            } else {
                self.reply(listener.shard, Reply::Attached { reader: listener.reader, log: Ok(log) });
            }
        }
        if self.topics.is_over_memory() {
            self.make_room(false);
        }
        if self.topics.is_watched() && self.now >= self.presence_due {
            self.presence_due = self.now + self.config().presence_interval_ms * NS_PER_MS;
            let (plane, here, told_here) = (&self.plane, self.index, &mut self.told_here);
            self.topics.tell_presence(|listener| told(plane, here, told_here, listener));
            self.hear_here();
        }
        if self.now >= self.sweep_due {
            self.sweep_due = self.now + SWEEP_NS;
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        let (plane, here, told_here) = (&self.plane, self.index, &mut self.told_here);
        let tell = |listener: Listener| told(plane, here, told_here, listener);
        self.topics.sweep(SWEPT_EACH_TIME, self.now, tell);
        self.hear_here();
        self.stats.topics.set(self.topics.len() as u64);
        self.stats.log_bytes.set(self.topics.bytes() as u64);
        self.stats.values.set(self.topics.keys() as u64);
        self.expire_supplies();
        self.readers.aged(self.now).into_iter().for_each(|reader| self.head_moved(reader));
    }
}

/// Passes on that a log's head moved: to a reader of another shard through its mailbox, to one of this shard a little
/// later, since the topics are being worked on.
fn told(plane: &Plane, here: usize, told_here: &mut Vec<u32>, listener: Listener) {
    if listener.shard == here {
        told_here.push(listener.reader);
    } else {
        plane.mailboxes[listener.shard].head_moved(listener.reader);
    }
}
