//! The topics whose home is one shard: they are sequenced and appended here, and nowhere else.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fanfare_wire::Kind;
use fanfare_wire::topic::TopicName;

use crate::log::{Log, LogLimits, LogWriter};
use crate::message::PublishError;
use crate::tap::TapSignal;
use crate::view::{Sequenced, View};

/// What a topic is about, for listings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    pub name: TopicName,
    /// The sequence number of the last message; 0 before the first.
    pub seq: u64,
    /// Subscribers over all shards and views.
    pub subscribers: usize,
    /// What its logs take from memory.
    pub bytes: usize,
}

/// Who has to hear that a head moved: a shard, and the reader it knows the log by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Listener {
    pub(crate) shard: usize,
    pub(crate) reader: u32,
}

/// One topic. Its logs exist only while somebody reads them.
#[derive(Debug)]
struct Topic {
    name: TopicName,
    /// The sequence number of the last message.
    seq: u64,
    views: [Option<Box<ViewLog>>; View::COUNT],
    /// When something was published last, nanoseconds.
    used_at: u64,
}

/// A topic's log in one view, and who listens to it.
#[derive(Debug)]
struct ViewLog {
    writer: LogWriter,
    listeners: Vec<Listener>,
    taps: Vec<Arc<TapSignal>>,
}

impl ViewLog {
    fn is_wanted(&self) -> bool {
        !self.listeners.is_empty() || !self.taps.is_empty()
    }

    /// Tells the taps that the head moved, and forgets those that are gone.
    fn signal_taps(&mut self) {
        self.taps.retain(|tap| {
            tap.signal();
            !tap.is_gone()
        });
    }
}

#[derive(Debug)]
pub(crate) struct Topics {
    limits: LogLimits,
    shards: usize,
    topics_max: usize,
    /// Topics in the process, over all shards.
    total: Arc<AtomicUsize>,
    by_name: HashMap<TopicName, u32>,
    slots: Vec<Option<Topic>>,
    free: Vec<u32>,
    /// Where the next look for idle topics starts.
    sweep_at: usize,
    /// A frame in the making.
    scratch: Vec<u8>,
}

impl Topics {
    pub(crate) fn new(limits: LogLimits, shards: usize, topics_max: usize, total: Arc<AtomicUsize>) -> Self {
        Self {
            limits,
            shards,
            topics_max,
            total,
            by_name: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            sweep_at: 0,
            scratch: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Gives the message the topic's next sequence number, appends it to every view that is wanted, and calls
    /// `tell` for each listener.
    pub(crate) fn publish(
        &mut self,
        name: &TopicName,
        kind: Kind,
        payload: &[u8],
        now: u64,
        mut tell: impl FnMut(&Log, Listener),
    ) -> Result<u64, PublishError> {
        let slot = self.find_or_create(name, now)?;
        let topic = self.slots[slot as usize].as_mut().expect("a named topic stands in its slot");
        topic.seq += 1;
        topic.used_at = now;
        let message = Sequenced { topic: name, seq: topic.seq, kind, payload };
        for view in View::ALL {
            let Some(log) = &mut topic.views[view.index()] else { continue };
            view.append(&mut log.writer, &message, &mut self.scratch);
            for listener in &log.listeners {
                tell(log.writer.log(), *listener);
            }
            log.signal_taps();
        }
        Ok(topic.seq)
    }

    /// Adds a listener to a view's log, which begins with the next message if it is new.
    pub(crate) fn attach(
        &mut self,
        name: &TopicName,
        view: View,
        listener: Listener,
        now: u64,
    ) -> Result<Arc<Log>, PublishError> {
        let log = self.view_log(name, view, now)?;
        debug_assert!(!log.listeners.contains(&listener), "a shard reads a log once");
        log.listeners.push(listener);
        Ok(log.writer.log().clone())
    }

    pub(crate) fn detach(&mut self, name: &TopicName, view: View, listener: Listener) {
        let Some(slot) = self.by_name.get(name) else { return };
        let topic = self.slots[*slot as usize].as_mut().expect("a named topic stands in its slot");
        let Some(log) = &mut topic.views[view.index()] else { return };
        log.listeners.retain(|known| *known != listener);
        if !log.is_wanted() {
            topic.views[view.index()] = None;
        }
    }

    /// Adds a reader inside the process to the raw view.
    pub(crate) fn tap(
        &mut self,
        name: &TopicName,
        signal: Arc<TapSignal>,
        now: u64,
    ) -> Result<Arc<Log>, PublishError> {
        let log = self.view_log(name, View::Raw, now)?;
        log.taps.push(signal);
        Ok(log.writer.log().clone())
    }

    fn view_log(&mut self, name: &TopicName, view: View, now: u64) -> Result<&mut ViewLog, PublishError> {
        let slot = self.find_or_create(name, now)?;
        let topic = self.slots[slot as usize].as_mut().expect("a named topic stands in its slot");
        let next_seq = topic.seq + 1;
        Ok(topic.views[view.index()].get_or_insert_with(|| {
            let writer = LogWriter::new(self.limits, next_seq, self.shards);
            Box::new(ViewLog { writer, listeners: Vec::new(), taps: Vec::new() })
        }))
    }

    fn find_or_create(&mut self, name: &TopicName, now: u64) -> Result<u32, PublishError> {
        if let Some(slot) = self.by_name.get(name) {
            return Ok(*slot);
        }
        if self.total.fetch_add(1, Ordering::Relaxed) >= self.topics_max {
            self.total.fetch_sub(1, Ordering::Relaxed);
            return Err(PublishError::TooManyTopics);
        }
        let topic = Topic { name: name.clone(), seq: 0, views: [const { None }; View::COUNT], used_at: now };
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

    /// Looks at up to `count` topics: empties the logs, and forgets the topics, that were idle for `idle_ns`.
    /// Calls `tell` for the listeners of an emptied log, so that they let go of it too.
    pub(crate) fn sweep(
        &mut self,
        count: usize,
        now: u64,
        idle_ns: u64,
        mut tell: impl FnMut(&Log, Listener),
    ) {
        for _ in 0..count.min(self.slots.len()) {
            let slot = self.sweep_at % self.slots.len();
            self.sweep_at = slot + 1;
            let Some(topic) = &mut self.slots[slot] else { continue };
            if now.saturating_sub(topic.used_at) < idle_ns {
                continue;
            }
            for view in &mut topic.views {
                let Some(log) = view else { continue };
                log.taps.retain(|tap| !tap.is_gone());
                if !log.is_wanted() {
                    *view = None;
                } else if !log.writer.is_empty() {
                    log.writer.clear();
                    log.listeners.iter().for_each(|listener| tell(log.writer.log(), *listener));
                }
            }
            if topic.views.iter().all(Option::is_none) {
                self.by_name.remove(&topic.name);
                self.slots[slot] = None;
                self.free.push(slot as u32);
                self.total.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Describes the topics in up to `count` slots from slot `from` on, and says where to go on, if anywhere.
    pub(crate) fn list(&self, from: usize, count: usize) -> (Vec<TopicInfo>, Option<usize>) {
        let end = from.saturating_add(count).min(self.slots.len());
        let slots = self.slots.get(from..end).unwrap_or_default();
        let infos = slots.iter().flatten().map(|topic| {
            let logs = || topic.views.iter().flatten();
            TopicInfo {
                name: topic.name.clone(),
                seq: topic.seq,
                subscribers: logs().map(|log| log.writer.log().subscribers()).sum(),
                bytes: logs().map(|log| log.writer.footprint()).sum(),
            }
        });
        (infos.collect(), (end < self.slots.len()).then_some(end))
    }

    /// Tells all taps that nothing follows.
    pub(crate) fn close(&mut self) {
        for log in self.slots.iter_mut().flatten().flat_map(|topic| topic.views.iter_mut().flatten()) {
            log.writer.log().close();
            log.signal_taps();
        }
    }
}
