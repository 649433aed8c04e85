//! The topics whose home is one shard: they are sequenced and appended here, and nowhere else.
//!
//! - `topic`: one topic, its history and its logs
//! - `annotations`: what is known of messages beside their bytes
//! - `listeners`: who hears of new messages
//! - `memory`: the ceiling over all logs

mod annotations;
mod listeners;
mod memory;
mod topic;

use std::collections::HashMap;
use std::sync::Arc;

use fanfare_wire::subscribe::Epoch;
use fanfare_wire::topic::TopicName;

use crate::framer::Framer;
use crate::log::Log;
use crate::message::{Draft, PublishError};
use crate::plane::Plane;
use crate::rules::Rules;
use crate::snapshot::Snapshot;
use crate::sync::{AtomicUsize, Ordering};
use crate::tap::TapSignal;
use crate::view::View;

pub(crate) use listeners::Listener;
pub(crate) use memory::Usage;
use memory::{Memory, Sealed};
use topic::Topic;

/// What a topic is about, for listings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    pub name: TopicName,
    pub epoch: Epoch,
    /// The sequence number of the last message; 0 before the first.
    pub seq: u64,
    /// The lowest sequence number that a subscriber can start from, if any message is held.
    pub oldest: Option<u64>,
    /// Subscribers over all shards and views.
    pub subscribers: usize,
    /// Keys that have a value.
    pub keys: usize,
    /// What its logs and values take from memory.
    pub bytes: usize,
}

/// What became of a wish to listen.
pub(crate) enum Attached {
    /// The log has everything.
    Now(Arc<Log>),
    /// The log is made from history first; [`Topics::build`] says when it is there.
    Later,
}

/// How much of logs is made from history in one turn, in bytes of messages.
const BUILT_EACH_TURN: usize = 256 * 1024;

#[derive(Debug)]
pub(crate) struct Topics {
    rules: Arc<Rules>,
    shards: usize,
    topics_max: usize,
    idle_ns: u64,
    /// Topics in the process, over all shards.
    total: Arc<AtomicUsize>,
    /// The source of epochs.
    epochs: u64,
    by_name: HashMap<TopicName, u32>,
    slots: Vec<Option<Box<Topic>>>,
    free: Vec<u32>,
    memory: Memory,
    /// Keys that have a value.
    keys: usize,
    /// The logs that are being made from history: their topics and views.
    building: Vec<(u32, View)>,
    /// How much more may be made in this turn, in bytes of messages.
    build_budget: usize,
    /// Topics whose presence somebody watches.
    watched: Vec<u32>,
    /// All logs were emptied for lack of memory since the last sweep, which was not enough, and took so many bytes then.
    emptied: Option<usize>,
    segment_bytes_max: usize,
    /// Where the next look for idle topics starts.
    sweep_at: usize,
    framer: Framer,
}

impl Topics {
    pub(crate) fn new(plane: &Plane, shard: usize) -> Self {
        let config = &plane.config;
        Self {
            rules: plane.rules.clone(),
            shards: config.shards,
            topics_max: config.topics_max,
            idle_ns: config.topic_idle_ms * 1_000_000,
            total: plane.topics.clone(),
            epochs: mix(plane.seed ^ shard as u64),
            by_name: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            memory: Memory::new(plane.usage.clone(), config.log_total_bytes_max),
            keys: 0,
            building: Vec::new(),
            build_budget: BUILT_EACH_TURN,
            watched: Vec::new(),
            emptied: None,
            segment_bytes_max: config.segment_bytes_max,
            sweep_at: 0,
            framer: Framer::new(config, plane.stats[shard].clone()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// What makes the shard's frames.
    pub(crate) fn framer(&mut self) -> &mut Framer {
        &mut self.framer
    }

    /// What the logs and values of these topics take from memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.memory.own()
    }

    /// Gives the message the topic's next sequence number, appends it to every log that takes it, and calls `tell`
    /// for each listener.
    pub(crate) fn publish(
        &mut self,
        name: &TopicName,
        draft: &Draft<'_>,
        now: u64,
        tell: impl FnMut(Listener),
    ) -> Result<u64, PublishError> {
        let slot = self.find_or_create(name, now)?;
        let Self { slots, memory, framer, keys, .. } = self;
        let topic = slots[slot as usize].as_mut().expect("a named topic stands in its slot");
        if let Some(growth) = topic.growth_of_values(draft)?
            && growth > 0
            && !memory.has_room_for_values(growth)
        {
            return Err(PublishError::ValuesTooLarge);
        }
        let (before, keys_before, epoch) = (topic.footprint(), topic.keys(), topic.epoch);
        let mut rolled = [None; View::COUNT];
        let seq = topic.append(draft, now, framer, tell, |view, end_seq| {
            rolled[view.index()] = Some(Sealed { slot, epoch, view, end_seq });
        });
        *keys = *keys - keys_before + topic.keys();
        let after = topic.footprint();
        if after != before {
            self.memory.account(before, after);
            rolled.into_iter().flatten().for_each(|sealed| self.sealed(sealed));
        }
        Ok(seq)
    }

    /// Adds a listener to a view's log. If the log has to be made from history first, it waits.
    pub(crate) fn attach(
        &mut self,
        name: &TopicName,
        view: View,
        listener: Listener,
        now: u64,
    ) -> Result<Attached, PublishError> {
        let slot = self.find_or_create(name, now)?;
        let Self { slots, building, build_budget, watched, framer, memory, .. } = self;
        let topic = slots[slot as usize].as_mut().expect("a named topic stands in its slot");
        let before = topic.footprint();
        if view == View::Presence && topic.log_mut(view).is_none() {
            watched.push(slot);
        }
        topic.want(view, now);
        let built = topic.is_built(view) || topic.build(view, framer, build_budget);
        memory.account(before, topic.footprint());
        let log = topic.want(view, now);
        let attached = if built {
            log.listeners.add(listener);
            Attached::Now(log.writer.log().clone())
        } else {
            log.listeners.waiting.push(listener);
            if !building.contains(&(slot, view)) {
                building.push((slot, view));
            }
            Attached::Later
        };
        if View::MADE.contains(&view) {
            self.note_sealed(slot, view);
        }
        Ok(attached)
    }

    /// A new turn: logs may be made from history again.
    pub(crate) fn begin_turn(&mut self) {
        self.build_budget = BUILT_EACH_TURN;
        self.framer.begin_turn();
    }

    /// Goes on making logs from history, as far as this turn allows, and hands out one listener whose log is there. `None`
    /// when there is none for now.
    pub(crate) fn build(&mut self) -> Option<(Listener, Arc<Log>)> {
        let (slot, view) = *self.building.last()?;
        let topic = self.slots[slot as usize].as_mut().expect("a topic that somebody waits for stays");
        let before = topic.footprint();
        let built = topic.build(view, &mut self.framer, &mut self.build_budget);
        self.memory.account(before, topic.footprint());
        self.note_sealed(slot, view);
        let topic = self.slots[slot as usize].as_mut().expect("it was there above");
        let log = topic.log_mut(view).as_mut().expect("a log that somebody waits for stays");
        if !built {
            // Others have their turn.
            self.building.rotate_right(1);
            return None;
        }
        let Some(listener) = log.listeners.waiting.pop() else {
            self.building.pop();
            return None;
        };
        log.listeners.add(listener);
        Some((listener, log.writer.log().clone()))
    }

    /// True while a log is being made from history.
    pub(crate) fn is_building(&self) -> bool {
        !self.building.is_empty()
    }

    pub(crate) fn detach(&mut self, name: &TopicName, view: View, listener: Listener, now: u64) {
        if let Some(log) = self.find(name).and_then(|topic| topic.log_mut(view).as_mut()) {
            log.listeners.remove(listener);
            log.wanted_at = now;
        }
    }

    /// Adds a reader inside the process to the raw view.
    pub(crate) fn tap(
        &mut self,
        name: &TopicName,
        signal: Arc<TapSignal>,
        now: u64,
    ) -> Result<Arc<Log>, PublishError> {
        let slot = self.find_or_create(name, now)?;
        let topic = self.slots[slot as usize].as_mut().expect("a named topic stands in its slot");
        let before = topic.footprint();
        let log = topic.want(View::HISTORY, now);
        log.listeners.add_tap(signal);
        let log = log.writer.log().clone();
        self.memory.account(before, topic.footprint());
        Ok(log)
    }

    /// In a view that is not compressed, the newest message of each key changed since `from`, or of all keys from 0 on, as of `head_min` or later; and
    /// whether it was made just now. Somebody listens to the topic.
    pub(crate) fn snapshot(
        &mut self,
        name: &TopicName,
        view: View,
        from: u64,
        head_min: u64,
        now: u64,
    ) -> (Arc<Snapshot>, bool) {
        let Self { by_name, slots, memory, .. } = self;
        let topic = by_name.get(name).and_then(|slot| slots[*slot as usize].as_mut());
        let topic = topic.expect("a topic that somebody listens to is not forgotten");
        let before = topic.footprint();
        let snapshot = topic.snapshot(view, from, head_min, now);
        memory.account(before, topic.footprint());
        snapshot
    }

    fn find(&mut self, name: &TopicName) -> Option<&mut Topic> {
        let slot = *self.by_name.get(name)?;
        self.slots[slot as usize].as_deref_mut()
    }

    fn find_or_create(&mut self, name: &TopicName, now: u64) -> Result<u32, PublishError> {
        if let Some(slot) = self.by_name.get(name) {
            return Ok(*slot);
        }
        if self.total.fetch_add(1, Ordering::Relaxed) >= self.topics_max {
            self.total.fetch_sub(1, Ordering::Relaxed);
            return Err(PublishError::TooManyTopics);
        }
        self.epochs = mix(self.epochs);
        let limits = self.rules.limits_of(name).clone();
        let topic = Box::new(Topic::new(name.clone(), Epoch(self.epochs), limits, self.shards, now));
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(topic);
                slot
            }
            None => {
                self.slots.push(Some(topic));
                self.slots.len() as u32 - 1
            }
        };
        self.by_name.insert(name.clone(), slot);
        Ok(slot)
    }

    /// Notes that a log may have got full segments, for when memory becomes short.
    fn note_sealed(&mut self, slot: u32, view: View) {
        let topic = self.slots[slot as usize].as_mut().expect("a topic in use stands in its slot");
        let epoch = topic.epoch;
        if let Some(log) = topic.log_mut(view)
            && log.writer.floor() < log.writer.tail_seq()
        {
            let end_seq = log.writer.tail_seq();
            self.sealed(Sealed { slot, epoch, view, end_seq });
        }
    }

    /// Notes full segments, for when memory becomes short.
    fn sealed(&mut self, sealed: Sealed) {
        let slots = &mut self.slots;
        let is_held = |sealed: &Sealed| {
            let topic = slots[sealed.slot as usize].as_mut().filter(|topic| topic.epoch == sealed.epoch);
            let log = topic.and_then(|topic| topic.log_mut(sealed.view).as_ref());
            log.is_some_and(|log| log.writer.floor() < sealed.end_seq)
        };
        self.memory.sealed(sealed, is_held);
    }

    /// Drops the oldest segments of these topics while the process holds more than it may. Calls `tell` for the
    /// listeners of logs that became shorter. Returns how many bytes that were, and whether it was enough.
    pub(crate) fn make_room(&mut self, mut tell: impl FnMut(Listener)) -> (usize, bool) {
        let before = self.memory.own();
        while self.memory.is_over()
            && let Some(sealed) = self.memory.take_oldest_sealed()
        {
            let topic = self.slots[sealed.slot as usize].as_mut().filter(|topic| topic.epoch == sealed.epoch);
            let Some(topic) = topic else { continue };
            let footprint = topic.footprint();
            let is_held = |topic: &mut Topic| {
                topic.log_mut(sealed.view).as_ref().is_some_and(|log| log.writer.floor() < sealed.end_seq)
            };
            if is_held(topic) {
                topic.drop_oldest(sealed.view, &mut tell);
                self.memory.account(footprint, topic.footprint());
                if is_held(topic) {
                    self.memory.put_back_sealed(sealed);
                }
            }
        }
        // Full segments go first, those of other shards too, if these do not take too long to drop them. And looking through
        // all topics has to be worth it.
        let has_grown = |left: usize| self.memory.own_logs() >= left + self.segment_bytes_max;
        let must = !self.memory.has_sealed() || self.memory.is_far_over();
        if must && self.emptied.is_none_or(has_grown) {
            self.empty_logs(tell);
        }
        (before.saturating_sub(self.memory.own()), !self.memory.is_over())
    }

    /// Empties logs while the process holds more than it may. What they hold are segments that are not full yet.
    fn empty_logs(&mut self, mut tell: impl FnMut(Listener)) {
        for slot in 0..self.slots.len() {
            if !self.memory.is_over() {
                return;
            }
            let Some(topic) = &mut self.slots[slot] else { continue };
            let footprint = topic.footprint();
            topic.empty(&mut tell);
            self.memory.account(footprint, topic.footprint());
        }
        // Others hold what is too much.
        self.emptied = Some(self.memory.own_logs());
    }

    /// True while the process holds more than it may.
    pub(crate) fn is_over_memory(&self) -> bool {
        self.memory.is_over()
    }

    /// Looks at up to `count` topics: lets go of what passed retention, and forgets topics that nobody uses.
    /// Calls `tell` for the listeners of a log that became shorter, so that they let go of it too.
    pub(crate) fn sweep(&mut self, count: usize, now: u64, mut tell: impl FnMut(Listener)) {
        self.emptied = None;
        for _ in 0..count.min(self.slots.len()) {
            let slot = self.sweep_at % self.slots.len();
            self.sweep_at = slot + 1;
            let Some(topic) = &mut self.slots[slot] else { continue };
            let before = topic.footprint();
            topic.expire(now, self.idle_ns, &mut tell);
            if topic.is_forgotten(now, self.idle_ns) {
                self.memory.account(before, memory::Footprint::default());
                self.by_name.remove(&topic.name);
                self.slots[slot] = None;
                self.free.push(slot as u32);
                self.total.fetch_sub(1, Ordering::Relaxed);
            } else {
                self.memory.account(before, topic.footprint());
            }
        }
    }

    /// Tells those who watch topics how many subscribers these have, where the number changed.
    pub(crate) fn tell_presence(&mut self, mut tell: impl FnMut(Listener)) {
        let Self { slots, watched, framer, memory, .. } = self;
        watched.retain(|slot| {
            let Some(topic) = &mut slots[*slot as usize] else { return false };
            let before = topic.footprint();
            topic.tell_presence(framer, &mut tell);
            memory.account(before, topic.footprint());
            topic.log_mut(View::Presence).is_some()
        });
    }

    /// True while somebody watches a topic's presence.
    pub(crate) fn is_watched(&self) -> bool {
        !self.watched.is_empty()
    }

    /// Keys that have a value, over all these topics.
    pub(crate) fn keys(&self) -> usize {
        self.keys
    }

    /// Describes the topics in up to `count` slots from slot `from` on, and says where to go on, if anywhere.
    pub(crate) fn list(&self, from: usize, count: usize) -> (Vec<TopicInfo>, Option<usize>) {
        let end = from.saturating_add(count).min(self.slots.len());
        let infos = self.slots.get(from..end).unwrap_or_default().iter().flatten().map(|topic| info(topic));
        (infos.collect(), (end < self.slots.len()).then_some(end))
    }

    /// Describes one topic.
    pub(crate) fn describe(&self, name: &TopicName) -> Option<TopicInfo> {
        let slot = *self.by_name.get(name)?;
        self.slots[slot as usize].as_deref().map(info)
    }

    /// Tells all taps that nothing follows.
    pub(crate) fn close(&mut self) {
        for log in self.slots.iter_mut().flatten().flat_map(|topic| topic.logs()) {
            log.writer.log().close();
            log.listeners.signal_taps();
        }
    }
}

fn info(topic: &Topic) -> TopicInfo {
    let footprint = topic.footprint();
    TopicInfo {
        name: topic.name.clone(),
        epoch: topic.epoch,
        seq: topic.seq,
        oldest: topic.oldest(),
        subscribers: topic.subscribers.load(Ordering::Relaxed),
        keys: topic.keys(),
        bytes: footprint.logs + footprint.values,
    }
}

/// One step of splitmix64: epochs need to differ, not to be secret.
fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
