//! Subscriptions and readers: who wants which log, and how far each has got.

use std::collections::HashMap;

use fanfare_wire::topic::TopicName;

use crate::log::LogReader;
use crate::mailbox::ConnRef;
use crate::view::View;

use super::conn::NIL;

/// One connection's subscription to one log: a cursor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sub {
    pub(super) conn: u32,
    pub(super) reader: u32,
    /// The next message to send. Everything before it was sent, but for a remainder.
    pub(super) cursor: u64,
    /// Its place among the reader's subscriptions.
    pub(super) place: u32,
    /// The next subscription in its connection's list of those with messages to send.
    pub(super) next_pending: u32,
    pub(super) pending: bool,
    /// Not to be sent to yet: the reply that announces it is not written.
    pub(super) held: bool,
}

/// This shard's sight of one log, shared by all its subscriptions.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) topic: TopicName,
    pub(super) view: View,
    /// The topic's home shard.
    pub(super) home: usize,
    /// `None` until the home shard has attached it.
    pub(super) log: Option<LogReader>,
    pub(super) subs: Vec<u32>,
    /// Connections that wait for it to be attached.
    pub(super) waiting: Vec<ConnRef>,
    /// It stands in the queue of logs to fan out.
    pub(super) queued: bool,
    /// The head moved while a fan-out was under way: another pass is due.
    pub(super) again: bool,
    /// Where the fan-out under way goes on among `subs`.
    pub(super) at: usize,
}

/// A table whose indices stay valid while other entries come and go.
#[derive(Debug)]
pub(super) struct Slab<T> {
    entries: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, entry: T) -> u32 {
        if let Some(index) = self.free.pop() {
            self.entries[index as usize] = Some(entry);
            return index;
        }
        self.entries.push(Some(entry));
        assert!(self.entries.len() < NIL as usize, "the last index means none");
        self.entries.len() as u32 - 1
    }

    pub(super) fn remove(&mut self, index: u32) -> T {
        let entry = self.entries[index as usize].take().expect("an entry is removed once");
        self.free.push(index);
        entry
    }

    pub(super) fn get(&self, index: u32) -> Option<&T> {
        self.entries.get(index as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.entries.get_mut(index as usize)?.as_mut()
    }

    pub(super) fn indices(&self) -> impl Iterator<Item = u32> + '_ {
        self.entries.iter().enumerate().filter(|(_, entry)| entry.is_some()).map(|(index, _)| index as u32)
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        self.get(index).expect("the index names an entry")
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        self.get_mut(index).expect("the index names an entry")
    }
}

/// All readers of a shard.
#[derive(Debug, Default)]
pub(super) struct Readers {
    pub(super) slab: Slab<Reader>,
    by_name: HashMap<(TopicName, View), u32>,
}

impl Readers {
    pub(super) fn find(&self, topic: &TopicName, view: View) -> Option<u32> {
        self.by_name.get(&(topic.clone(), view)).copied()
    }

    pub(super) fn insert(&mut self, topic: &TopicName, view: View, home: usize) -> u32 {
        let index = self.slab.insert(Reader {
            topic: topic.clone(),
            view,
            home,
            log: None,
            subs: Vec::new(),
            waiting: Vec::new(),
            queued: false,
            again: false,
            at: 0,
        });
        self.by_name.insert((topic.clone(), view), index);
        index
    }

    pub(super) fn remove(&mut self, index: u32) -> Reader {
        let reader = self.slab.remove(index);
        self.by_name.remove(&(reader.topic.clone(), reader.view));
        reader
    }
}
