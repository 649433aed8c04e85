//! Values: the newest message of each key of one topic, for snapshots and conflation.
//!
//! Only the topic's home shard has them. What removed a key is kept for a while too, as a tombstone, for subscribers
//! that still have the key's value.

use std::collections::HashMap;

use fanfare_wire::Kind;
use fanfare_wire::key::Key;
use fanfare_wire::topic::TopicName;

use crate::rules::TopicLimits;
use crate::view::Sequenced;

/// No slot.
const NONE: u32 = u32::MAX;

/// What a key takes from memory beside its text and its payload: its places in both tables, which double when they
/// are full, and the counts before the text.
const ENTRY_BYTES: usize =
    2 * (size_of::<Option<Slot>>() + size_of::<(Key, u32)>() + 1) + 2 * size_of::<usize>();

/// So many tombstones are always worth keeping.
const TOMBSTONES_SPARED: usize = 64;

/// The newest message of one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Value<'a> {
    pub(crate) seq: u64,
    pub(crate) key: &'a Key,
    /// `Tombstone` if the message removed the key.
    pub(crate) kind: Kind,
    pub(crate) payload: &'a [u8],
}

/// Why a message's key cannot have it as its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ValueRefused {
    /// The key is new, and the topic has `keys_max` keys.
    TooManyKeys,
    /// The topic's values would take more than `values_bytes_max`.
    TooLarge,
}

impl<'a> Value<'a> {
    /// It as the message of its topic that it is.
    pub(crate) fn of_topic(self, topic: &'a TopicName) -> Sequenced<'a> {
        Sequenced { topic, seq: self.seq, key: Some(self.key), kind: self.kind, payload: self.payload }
    }
}

#[derive(Debug)]
struct Slot {
    key: Key,
    seq: u64,
    kind: Kind,
    payload: Vec<u8>,
    /// The neighbours in the line that it stands in.
    before: u32,
    after: u32,
}

impl Slot {
    fn footprint(&self) -> usize {
        ENTRY_BYTES + self.key.len() + self.payload.capacity()
    }
}

/// Slots linked in the order of their sequence numbers. Each message is newer than all before it, so a slot enters
/// at the end and nothing is ever searched for or allocated.
#[derive(Clone, Copy, Debug)]
struct Line {
    first: u32,
    last: u32,
    len: usize,
    /// What its slots take from memory.
    bytes: usize,
}

impl Line {
    const EMPTY: Self = Self { first: NONE, last: NONE, len: 0, bytes: 0 };
}

/// The newest message of each key.
#[derive(Debug)]
pub(crate) struct Values {
    by_key: HashMap<Key, u32>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    alive: Line,
    tombstones: Line,
    purged_through: u64,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            by_key: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            alive: Line::EMPTY,
            tombstones: Line::EMPTY,
            purged_through: 0,
        }
    }
}

impl Values {
    /// How many keys have a value.
    pub(crate) fn len(&self) -> usize {
        self.alive.len
    }

    /// How many removed keys are listed.
    pub(crate) fn tombstones(&self) -> usize {
        self.tombstones.len
    }

    /// What all of it takes from memory, counted generously.
    pub(crate) fn bytes(&self) -> usize {
        self.alive.bytes + self.tombstones.bytes
    }

    /// The part of it that is tombstones, which can be purged.
    pub(crate) fn tombstone_bytes(&self) -> usize {
        self.tombstones.bytes
    }

    /// The key as it is kept, so that all who name it share its text.
    pub(crate) fn shared(&self, key: &Key) -> Option<&Key> {
        self.by_key.get_key_value(key).map(|(key, _)| key)
    }

    /// The highest sequence number of a tombstone that was purged; 0 if none was. Whoever has got no further than
    /// that may have keys of which nothing here says that they are gone.
    pub(crate) fn purged_through(&self) -> u64 {
        self.purged_through
    }

    /// Whether the key may get a payload of `payload_len` bytes, and by how many bytes everything would grow.
    /// Tombstones do not count: nobody could make room.
    pub(crate) fn fits(
        &self,
        key: &Key,
        payload_len: usize,
        limits: &TopicLimits,
    ) -> Result<usize, ValueRefused> {
        let known = self.by_key.get(key).map(|index| self.slot(*index));
        let known = known.filter(|slot| slot.kind != Kind::Tombstone);
        if known.is_none() && self.len() >= limits.keys_max {
            return Err(ValueRefused::TooManyKeys);
        }
        let capacity = known.map_or(0, |slot| slot.payload.capacity());
        let others = self.alive.bytes - known.map_or(0, Slot::footprint);
        let bytes = others + ENTRY_BYTES + key.len() + capacity_for(capacity, payload_len);
        if bytes > limits.values_bytes_max {
            return Err(ValueRefused::TooLarge);
        }
        Ok(bytes.saturating_sub(self.alive.bytes))
    }

    /// Makes message `seq`, newer than all before, the value of its key. Whether it [`fits`](Self::fits) was asked.
    pub(crate) fn set(&mut self, seq: u64, key: &Key, kind: Kind, payload: &[u8]) {
        debug_assert!(kind != Kind::Tombstone, "a tombstone removes its key");
        let index = self.take_out(key);
        let slot = self.slot_mut(index);
        (slot.seq, slot.kind) = (seq, kind);
        let capacity = capacity_for(slot.payload.capacity(), payload.len());
        if capacity != slot.payload.capacity() {
            slot.payload = Vec::with_capacity(capacity);
        }
        slot.payload.clear();
        slot.payload.extend_from_slice(payload);
        self.line_up(index);
    }

    /// Notes that message `seq`, newer than all before, removed its key.
    pub(crate) fn remove(&mut self, seq: u64, key: &Key) {
        let index = self.take_out(key);
        let slot = self.slot_mut(index);
        (slot.seq, slot.kind, slot.payload) = (seq, Kind::Tombstone, Vec::new());
        self.line_up(index);
    }

    /// The values and the tombstones from sequence number `seq` on, in order. The work is in proportion to what is
    /// found, not to what is held.
    pub(crate) fn after(&self, seq: u64) -> impl Iterator<Item = Value<'_>> {
        let (mut alive, mut removed) =
            (self.first_from(&self.alive, seq), self.first_from(&self.tombstones, seq));
        std::iter::from_fn(move || {
            let next = match (self.get(alive), self.get(removed)) {
                (Some(value), Some(tombstone)) if tombstone.seq < value.seq => &mut removed,
                (Some(_), _) => &mut alive,
                (None, _) => &mut removed,
            };
            let slot = self.get(*next)?;
            *next = slot.after;
            Some(Value { seq: slot.seq, key: &slot.key, kind: slot.kind, payload: &slot.payload })
        })
    }

    /// Forgets the tombstones below `seq`.
    pub(crate) fn purge_before(&mut self, seq: u64) {
        while self.get(self.tombstones.first).is_some_and(|slot| slot.seq < seq) {
            self.purge_oldest();
        }
    }

    /// Forgets the oldest tombstones while there are more of them than keys: then a whole snapshot says the same in
    /// fewer messages. It keeps whoever removes many keys from filling the memory.
    pub(crate) fn purge_surplus(&mut self) {
        while self.tombstones() > self.len().max(TOMBSTONES_SPARED) {
            self.purge_oldest();
        }
    }

    fn purge_oldest(&mut self) {
        let index = self.tombstones.first;
        self.unlink(index);
        let slot = self.slots[index as usize].take().expect("a slot in line is there");
        self.free.push(index);
        self.by_key.remove(&slot.key);
        self.purged_through = slot.seq;
        if self.by_key.is_empty() {
            // The tables' memory goes too.
            *self = Self { purged_through: slot.seq, ..Self::default() };
        }
    }

    /// The key's slot, which stands in no line. If the key is new, the slot holds nothing yet.
    fn take_out(&mut self, key: &Key) -> u32 {
        if let Some(index) = self.by_key.get(key) {
            let index = *index;
            self.unlink(index);
            return index;
        }
        let slot = Slot {
            key: key.clone(),
            seq: 0,
            kind: Kind::Tombstone,
            payload: Vec::new(),
            before: NONE,
            after: NONE,
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = Some(slot);
                index
            }
            None => {
                self.slots.push(Some(slot));
                assert!(self.slots.len() < NONE as usize, "the last index means none");
                self.slots.len() as u32 - 1
            }
        };
        self.by_key.insert(key.clone(), index);
        index
    }

    fn get(&self, index: u32) -> Option<&Slot> {
        self.slots.get(index as usize)?.as_ref()
    }

    fn slot(&self, index: u32) -> &Slot {
        self.get(index).expect("a known slot is there")
    }

    fn slot_mut(&mut self, index: u32) -> &mut Slot {
        self.slots[index as usize].as_mut().expect("a known slot is there")
    }

    /// The line that a slot belongs in.
    fn line_of(&mut self, kind: Kind) -> &mut Line {
        if kind == Kind::Tombstone { &mut self.tombstones } else { &mut self.alive }
    }

    /// Puts a slot at the end of its line.
    fn line_up(&mut self, index: u32) {
        let slot = self.slot(index);
        let (kind, seq, bytes) = (slot.kind, slot.seq, slot.footprint());
        let line = self.line_of(kind);
        let last = line.last;
        line.last = index;
        line.len += 1;
        line.bytes += bytes;
        if last == NONE {
            line.first = index;
        } else {
            let before = self.slot_mut(last);
            debug_assert!(before.seq < seq, "messages come in order");
            before.after = index;
        }
        let slot = self.slot_mut(index);
        (slot.before, slot.after) = (last, NONE);
    }

    /// Takes a slot out of its line.
    fn unlink(&mut self, index: u32) {
        let slot = self.slot(index);
        let (kind, bytes, before, after) = (slot.kind, slot.footprint(), slot.before, slot.after);
        let line = self.line_of(kind);
        line.len -= 1;
        line.bytes -= bytes;
        if before == NONE {
            line.first = after;
        }
        if after == NONE {
            line.last = before;
        }
        if before != NONE {
            self.slot_mut(before).after = after;
        }
        if after != NONE {
            self.slot_mut(after).before = before;
        }
    }

    /// The first slot of a line from sequence number `seq` on.
    fn first_from(&self, line: &Line, seq: u64) -> u32 {
        if self.get(line.first).is_some_and(|slot| slot.seq >= seq) {
            return line.first;
        }
        let (mut first, mut at) = (NONE, line.last);
        while let Some(slot) = self.get(at).filter(|slot| slot.seq >= seq) {
            (first, at) = (at, slot.before);
        }
        first
    }
}

/// How large a buffer of `capacity` bytes becomes for a payload: it stays as it is unless the payload does not fit,
/// or leaves most of it empty.
fn capacity_for(capacity: usize, payload_len: usize) -> usize {
    let most = payload_len * 2 + 64;
    if (payload_len..=most).contains(&capacity) { capacity } else { payload_len }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;

    fn key(number: usize) -> Key {
        Key::parse(&format!("key {number}")).expect("a key")
    }

    fn limits(keys_max: usize, values_bytes_max: usize) -> TopicLimits {
        TopicLimits { keys_max, values_bytes_max, ..TopicLimits::defaults(&Config::default()) }
    }

    #[test]
    fn a_value_of_the_same_size_takes_the_memory_of_the_last_one() {
        let mut values = Values::default();
        (1..=9).for_each(|seq| values.set(seq, &key(seq as usize % 3), Kind::Text, &[0; 100]));
        let place = |values: &Values| values.after(0).map(|value| value.payload.as_ptr()).collect::<Vec<_>>();
        let (before, bytes) = (place(&values), values.bytes());
        (10..=12).for_each(|seq| values.set(seq, &key(seq as usize % 3), Kind::Text, &[1; 100]));
        assert_eq!((place(&values), values.bytes()), (before, bytes));
        assert!(values.after(0).all(|value| value.payload == [1; 100]));
    }

    #[test]
    fn a_small_value_does_not_keep_the_memory_of_a_large_one() {
        let mut values = Values::default();
        values.set(1, &key(1), Kind::Binary, &[0; 100_000]);
        assert!(values.bytes() >= 100_000);
        values.set(2, &key(1), Kind::Binary, &[0; 10]);
        assert!(values.bytes() < 1000, "{}", values.bytes());
    }

    #[test]
    fn keys_and_bytes_have_their_limits_but_a_known_key_can_always_change() {
        let mut values = Values::default();
        let two = limits(2, 1 << 20);
        for seq in 1..=2 {
            assert!(values.fits(&key(seq as usize), 5, &two).is_ok());
            values.set(seq, &key(seq as usize), Kind::Text, b"12345");
        }
        assert_eq!(values.fits(&key(3), 0, &two), Err(ValueRefused::TooManyKeys));
        assert!(values.fits(&key(1), 1000, &two).is_ok());
        assert_eq!(values.fits(&key(1), 1 << 20, &two), Err(ValueRefused::TooLarge));
        let full = limits(9, values.bytes());
        assert_eq!(values.fits(&key(1), 5, &full), Ok(0));
        assert_eq!(values.fits(&key(1), 6, &full), Err(ValueRefused::TooLarge));
        assert_eq!(values.fits(&key(3), 0, &full), Err(ValueRefused::TooLarge));
        values.remove(3, &key(2));
        assert!(values.fits(&key(3), 5, &two).is_ok(), "a tombstone is no key");
        assert!(values.fits(&key(3), 5, &full).is_ok(), "and it does not take the room of one");
    }

    #[test]
    fn more_tombstones_than_keys_are_surplus() {
        let mut values = Values::default();
        values.set(1, &key(0), Kind::Text, b"stays");
        for seq in 2..=2000 {
            values.remove(seq, &key(seq as usize));
            values.purge_surplus();
        }
        assert_eq!((values.len(), values.tombstones()), (1, TOMBSTONES_SPARED));
        assert_eq!(values.purged_through(), 2000 - TOMBSTONES_SPARED as u64);
        values.remove(2001, &key(0));
        values.purge_before(u64::MAX);
        assert_eq!((values.bytes(), values.purged_through()), (0, 2001));
        assert_eq!(values.slots.capacity(), 0);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set(usize, usize),
        Remove(usize),
        /// How far behind the head.
        Purge(u64),
        Look(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (0usize..12, 0usize..300).prop_map(|(key, length)| Step::Set(key, length)),
            3 => (0usize..16).prop_map(Step::Remove),
            1 => (0u64..30).prop_map(Step::Purge),
            4 => (0u64..40).prop_map(Step::Look),
        ];
        prop::collection::vec(step, 1..150)
    }

    /// A message as the model keeps it: all of them, in order.
    type Message = (u64, Key, Kind, Vec<u8>);

    /// The newest message of each key from `seq` on, but for tombstones below `purged`.
    fn newest(messages: &[Message], seq: u64, purged: u64) -> Vec<Message> {
        let is_newest =
            |message: &&Message| messages.iter().rev().find(|other| other.1 == message.1) == Some(*message);
        let is_listed =
            |message: &&Message| message.0 >= seq && (message.2 != Kind::Tombstone || message.0 >= purged);
        messages.iter().filter(is_newest).filter(is_listed).cloned().collect()
    }

    proptest! {
        /// Held against all messages replayed.
        #[test]
        fn values_are_the_newest_message_of_each_key(
            steps in steps(),
            keys_max in 1usize..14,
            values_bytes_max in 0usize..6000,
        ) {
            let limits = limits(keys_max, values_bytes_max);
            let mut values = Values::default();
            let mut messages: Vec<Message> = Vec::new();
            let (mut seq, mut purged, mut purged_through) = (0, 0, 0);
            for step in steps {
                let all = newest(&messages, 0, purged);
                let alive = all.iter().filter(|message| message.2 != Kind::Tombstone);
                match step {
                    Step::Set(number, length) => {
                        let key = key(number);
                        let known = alive.clone().any(|message| message.1 == key);
                        let fits = values.fits(&key, length, &limits);
                        prop_assert_eq!(fits == Err(ValueRefused::TooManyKeys), !known && alive.count() >= keys_max);
                        if fits.is_ok() {
                            seq += 1;
                            let kind = [Kind::Text, Kind::Binary, Kind::Json][seq as usize % 3];
                            let payload = vec![seq as u8; length];
                            values.set(seq, &key, kind, &payload);
                            messages.push((seq, key, kind, payload));
                            prop_assert!(values.alive.bytes <= values_bytes_max);
                        }
                    }
                    Step::Remove(number) => {
                        seq += 1;
                        values.remove(seq, &key(number));
                        messages.push((seq, key(number), Kind::Tombstone, Vec::new()));
                    }
                    Step::Purge(behind) => {
                        purged = purged.max(seq.saturating_sub(behind));
                        values.purge_before(purged);
                        let gone = all.iter().filter(|message| message.2 == Kind::Tombstone && message.0 < purged);
                        purged_through = gone.map(|message| message.0).max().unwrap_or(purged_through);
                    }
                    Step::Look(behind) => {
                        let from = seq.saturating_sub(behind);
                        let found = values.after(from);
                        let found = found.map(|value| (value.seq, value.key.clone(), value.kind, value.payload.to_vec()));
                        prop_assert_eq!(found.collect::<Vec<_>>(), newest(&messages, from, purged));
                    }
                }
                let all = newest(&messages, 0, purged);
                let alive = all.iter().filter(|message| message.2 != Kind::Tombstone).count();
                prop_assert_eq!((values.len(), values.tombstones()), (alive, all.len() - alive));
                prop_assert_eq!(values.purged_through(), purged_through);
                prop_assert!(values.bytes() >= all.iter().map(|message| message.1.len() + message.3.len()).sum());
                let slots: usize = values.slots.iter().flatten().map(Slot::footprint).sum();
                prop_assert_eq!(values.bytes(), slots);
            }
        }
    }
}
