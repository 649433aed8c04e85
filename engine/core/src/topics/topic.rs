//! One topic: its sequence, its history, its logs and the newest message of each key.

use std::sync::Arc;

use fanfare_wire::Kind;
use fanfare_wire::subscribe::Epoch;
use fanfare_wire::topic::TopicName;

use super::annotations::Annotations;
use super::listeners::{Listener, Listeners};
use super::memory::Footprint;
use crate::framer::Framer;
use crate::log::{LogLimits, LogReader, LogWriter, Marks};
use crate::message::{Draft, PublishError};
use crate::rules::TopicLimits;
use crate::snapshot::Snapshot;
use crate::sync::AtomicUsize;
use crate::values::{ValueRefused, Values};
use crate::view::{Sequenced, View};

/// A topic's log in one view, and who listens to it.
#[derive(Debug)]
pub(super) struct ViewLog {
    pub(super) writer: LogWriter,
    pub(super) listeners: Listeners,
    /// When somebody listened last, nanoseconds.
    pub(super) wanted_at: u64,
}

/// One topic.
///
/// The raw log is its history, and every other view can be made from it. It is there from the first message on, unless
/// the topic keeps no history and nobody reads it.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: TopicName,
    pub(super) epoch: Epoch,
    pub(super) limits: Arc<TopicLimits>,
    /// The sequence number of the last message.
    pub(super) seq: u64,
    /// Subscribers of all views of its messages, over all shards.
    pub(super) subscribers: Arc<AtomicUsize>,
    shards: usize,
    raw: Option<Box<ViewLog>>,
    /// Those of [`View::MADE`].
    made: [Option<Box<ViewLog>>; View::MADE.len()],
    /// Its messages are about the topic, with sequence numbers of their own.
    presence: Option<Box<ViewLog>>,
    /// The number that the last presence message told.
    presence_told: Option<usize>,
    /// Of the messages in the raw log.
    annotations: Annotations,
    /// The lowest sequence number that subscribers may start from, as far as numbers and age go.
    oldest: u64,
    /// When the head stood where, if age is limited.
    marks: Option<Box<Marks>>,
    values: Option<Box<Values>>,
    /// The last message without a key; 0 before the first.
    last_keyless: u64,
    snapshots: Vec<CachedSnapshot>,
    /// When something was published last, nanoseconds.
    pub(super) used_at: u64,
}

#[derive(Debug)]
struct CachedSnapshot {
    view: View,
    snapshot: Arc<Snapshot>,
    asked_at: u64,
}

/// What making a message's frame from history costs at least, counted as bytes.
const BUILT_EACH_MIN: usize = 64;

/// Compressing a byte costs so many times what copying one does, about.
const COMPRESSED_WEIGHT: usize = 16;

/// Where one of [`View::MADE`] stands among them.
const fn place_of(made: View) -> usize {
    match made {
        View::HISTORY | View::Presence => unreachable!(),
        view => view.index() - 1,
    }
}

impl Topic {
    pub(super) fn new(
        name: TopicName,
        epoch: Epoch,
        limits: Arc<TopicLimits>,
        shards: usize,
        now: u64,
    ) -> Self {
        let marks = (limits.log_age_ms > 0).then(|| Box::new(Marks::new(limits.log_age_ms * 1_000_000)));
        Self {
            name,
            epoch,
            limits,
            seq: 0,
            subscribers: Arc::default(),
            shards,
            raw: None,
            made: Default::default(),
            presence: None,
            presence_told: None,
            annotations: Annotations::default(),
            oldest: 1,
            marks,
            values: None,
            last_keyless: 0,
            snapshots: Vec::new(),
            used_at: now,
        }
    }

    /// Keys that have a value.
    pub(super) fn keys(&self) -> usize {
        self.values.as_ref().map_or(0, |values| values.len())
    }

    /// What may be missing before it: `None` if it holds nothing.
    pub(super) fn oldest(&self) -> Option<u64> {
        let raw = self.raw.as_ref()?;
        let oldest = raw.writer.floor().max(self.oldest);
        (oldest <= self.seq).then_some(oldest)
    }

    pub(super) fn footprint(&self) -> Footprint {
        let logs = [&self.raw, &self.presence].into_iter().chain(&self.made).flatten();
        let logs = logs.map(|log| log.writer.footprint()).sum::<usize>();
        let snapshots = self.snapshots.iter().map(|cached| cached.snapshot.footprint()).sum::<usize>();
        let (values, tombstones) =
            self.values.as_ref().map_or((0, 0), |values| (values.bytes(), values.tombstone_bytes()));
        Footprint {
            logs: logs + snapshots + tombstones + self.annotations.footprint(),
            values: values - tombstones,
        }
    }

    /// Drops the oldest segment of a log. Calls `tell` for its listeners.
    pub(super) fn drop_oldest(&mut self, view: View, tell: &mut impl FnMut(Listener)) {
        if let Some(log) = self.log_mut(view) {
            log.writer.drop_oldest();
            log.listeners.tell(log.writer.log(), tell);
        }
        self.forget_annotations();
    }

    /// Empties all logs, and drops what else can be made again or need not be known. Calls `tell` for listeners.
    pub(super) fn empty(&mut self, tell: &mut impl FnMut(Listener)) {
        for log in self.logs().filter(|log| !log.writer.is_empty()) {
            log.writer.clear();
            log.listeners.tell(log.writer.log(), tell);
        }
        if let Some(values) = &mut self.values {
            values.purge_before(u64::MAX);
        }
        self.snapshots.clear();
        self.forget_annotations();
    }

    /// Forgets what is known of messages that the raw log holds no more.
    fn forget_annotations(&mut self) {
        match &self.raw {
            Some(raw) => self.annotations.forget_before(raw.writer.floor()),
            None => self.annotations = Annotations::default(),
        }
    }

    /// By how many bytes a message would make the values grow; `None` if it does not touch them.
    pub(super) fn growth_of_values(&self, draft: &Draft<'_>) -> Result<Option<usize>, PublishError> {
        let Some(key) = draft.key.filter(|_| draft.kind != Kind::Tombstone) else { return Ok(None) };
        let none = Values::default();
        let values = self.values.as_deref().unwrap_or(&none);
        match values.fits(key, draft.payload.len(), &self.limits) {
            Ok(growth) => Ok(Some(growth)),
            Err(ValueRefused::TooManyKeys) => Err(PublishError::TooManyKeys),
            Err(ValueRefused::TooLarge) => Err(PublishError::ValuesTooLarge),
        }
    }

    pub(super) fn log_mut(&mut self, view: View) -> &mut Option<Box<ViewLog>> {
        match view {
            View::HISTORY => &mut self.raw,
            View::Presence => &mut self.presence,
            made => &mut self.made[place_of(made)],
        }
    }

    /// All logs.
    pub(super) fn logs(&mut self) -> impl Iterator<Item = &mut ViewLog> {
        let logs = [&mut self.raw, &mut self.presence].into_iter().chain(&mut self.made);
        logs.flatten().map(|log| &mut **log)
    }

    /// Whether a view is made from history, or was lately.
    fn is_made_of(&self) -> bool {
        self.made.iter().any(Option::is_some)
    }

    fn new_log(&self, view: View, next_seq: u64, now: u64) -> Box<ViewLog> {
        let limits = match view {
            // Only the last of its messages matters.
            View::Presence => LogLimits { log_bytes_max: 4096, segment_bytes_max: 1024 },
            View::Raw(_) | View::Json(_) => LogLimits {
                log_bytes_max: self.limits.log_bytes_max,
                segment_bytes_max: self.limits.segment_bytes_max,
            },
        };
        // Whoever watches a topic's presence is no subscriber of its messages.
        let subscribers = if view == View::Presence { Arc::default() } else { self.subscribers.clone() };
        let mut writer = LogWriter::new(limits, self.epoch, next_seq, self.shards, subscribers);
        if view != View::Presence {
            writer.set_oldest(self.oldest.min(next_seq));
        }
        Box::new(ViewLog { writer, listeners: Listeners::default(), wanted_at: now })
    }

    /// Gives a message the next sequence number, appends it to every log that takes messages, and calls `tell` for
    /// each listener. Calls `sealed` for each log that went on in a new segment.
    pub(super) fn append(
        &mut self,
        draft: &Draft<'_>,
        now: u64,
        framer: &mut Framer,
        mut tell: impl FnMut(Listener),
        mut sealed: impl FnMut(View, u64),
    ) -> u64 {
        let Draft { kind, key, payload } = *draft;
        self.seq += 1;
        self.used_at = now;
        let seq = self.seq;
        // Without history it is there for the last message, of which other views are made.
        if self.raw.is_none() && (self.limits.log_messages_max > 0 || self.is_made_of()) {
            self.raw = Some(self.new_log(View::HISTORY, seq, now));
        }
        match key {
            Some(key) if kind == Kind::Tombstone => {
                // Even of a key that had no value: subscribers of everything get it, too.
                let values = self.values.get_or_insert_default();
                values.remove(seq, key);
                values.purge_surplus();
            }
            Some(key) => self.values.get_or_insert_default().set(seq, key, kind, payload),
            None => self.last_keyless = seq,
        }
        if let Some(marks) = &mut self.marks {
            marks.note(now, seq + 1);
        }
        self.oldest = self.oldest.max((seq + 1).saturating_sub(self.limits.log_messages_max));
        let Self { name, raw, made, annotations, values, oldest, .. } = self;
        let message = Sequenced { topic: name, seq, key, kind, payload };
        if raw.is_some() {
            // The text of a key is kept once.
            let key = key.map(|key| values.as_ref().and_then(|values| values.shared(key)).unwrap_or(key));
            annotations.push(seq, kind, key);
        }
        let made = View::MADE.into_iter().zip(made);
        for (view, log) in [(View::HISTORY, &mut *raw)].into_iter().chain(made) {
            let Some(log) = log else { continue };
            // A log that is still being made from history comes to this message by itself.
            if log.writer.end_seq() != seq {
                continue;
            }
            let tail_seq = log.writer.tail_seq();
            framer.append(view, &mut log.writer, &message);
            log.writer.set_oldest(*oldest);
            if log.writer.tail_seq() != tail_seq {
                sealed(view, seq);
            }
            log.listeners.tell(log.writer.log(), &mut tell);
        }
        if let Some(raw) = raw {
            annotations.forget_before(raw.writer.floor());
        }
        seq
    }

    /// The log of a view, made if it is not there. It may still have to be made from history: see [`Self::build`].
    pub(super) fn want(&mut self, view: View, now: u64) -> &mut ViewLog {
        if self.log_mut(view).is_none() {
            let next_seq = match (view, &self.raw) {
                (View::Presence, _) => 1,
                (View::HISTORY, _) | (_, None) => self.seq + 1,
                (_, Some(raw)) => raw.writer.floor().max(self.oldest),
            };
            *self.log_mut(view) = Some(self.new_log(view, next_seq, now));
        }
        let log = self.log_mut(view).as_mut().expect("it was made above");
        log.wanted_at = now;
        log
    }

    /// True when a view's log has all of the history.
    pub(super) fn is_built(&self, view: View) -> bool {
        if view == View::HISTORY || view == View::Presence {
            return true;
        }
        self.made[place_of(view)].as_ref().is_none_or(|log| log.writer.end_seq() > self.seq)
    }

    /// Goes on making a view's log from history, as long as there is something left of `budget`, in bytes of messages. True
    /// when it is done: then it takes messages like any other.
    pub(super) fn build(&mut self, view: View, framer: &mut Framer, budget: &mut usize) -> bool {
        let Some(made) = &mut self.made[place_of(view)] else { return true };
        let Some(raw) = &self.raw else {
            made.writer.skip_to(self.seq + 1);
            return true;
        };
        let weight = if view == view.plain() { 1 } else { COMPRESSED_WEIGHT };
        let reader = LogReader::new(raw.writer.log().clone());
        while made.writer.end_seq() <= self.seq {
            if *budget == 0 {
                return false;
            }
            let seq = made.writer.end_seq();
            let Some(message) = message_of(&self.name, &reader, &self.annotations, seq) else {
                // Retention was faster.
                made.writer.skip_to(reader.floor());
                continue;
            };
            framer.append(view, &mut made.writer, &message);
            *budget = budget.saturating_sub(weight * message.payload.len().max(BUILT_EACH_MIN));
        }
        made.writer.set_oldest(self.oldest);
        true
    }

    /// The newest message of each key whose newest message is `from` or later, in a view that is not compressed, framed once for all who ask, as of `head_min`
    /// or later. From 0 on, or where removed keys are forgotten, it is a whole snapshot.
    pub(super) fn snapshot(
        &mut self,
        view: View,
        from: u64,
        head_min: u64,
        now: u64,
    ) -> (Arc<Snapshot>, bool) {
        let purged = self.values.as_ref().map_or(0, |values| values.purged_through());
        let whole = from <= purged;
        let from = if whole { 0 } else { from };
        let head = self.seq;
        self.snapshots.retain(|cached| cached.view != view || cached.snapshot.is_fresh(head));
        let serves = |cached: &&mut CachedSnapshot| {
            cached.view == view
                && cached.snapshot.head() >= head_min
                && cached.snapshot.is_whole() == whole
                && (whole || cached.snapshot.covers(from))
        };
        if let Some(cached) = self.snapshots.iter_mut().find(serves) {
            cached.asked_at = now;
            return (cached.snapshot.clone(), false);
        }
        let reader = self.raw.as_ref().map(|raw| LogReader::new(raw.writer.log().clone()));
        let keyless = reader
            .as_ref()
            .filter(|_| self.last_keyless >= from.max(1))
            .and_then(|reader| message_of(&self.name, reader, &self.annotations, self.last_keyless));
        let keyless_seq = keyless.as_ref().map_or(u64::MAX, |message| message.seq);
        let name = &self.name;
        let valued =
            || self.values.iter().flat_map(|values| values.after(from)).map(|value| value.of_topic(name));
        let before = valued().take_while(|message| message.seq < keyless_seq);
        let after = valued().skip_while(|message| message.seq < keyless_seq);
        let snapshot = Arc::new(Snapshot::build(view, from, head, whole, before.chain(keyless).chain(after)));
        // One whole and one part for each view are enough.
        self.snapshots.retain(|cached| cached.view != view || cached.snapshot.is_whole() != whole);
        self.snapshots.push(CachedSnapshot { view, snapshot: snapshot.clone(), asked_at: now });
        (snapshot, true)
    }

    /// Lets go of what passed retention and of what nobody wants any more. Calls `tell` for listeners of a log that
    /// became shorter, so that they let go of it too.
    pub(super) fn expire(&mut self, now: u64, idle_ns: u64, mut tell: impl FnMut(Listener)) {
        self.snapshots.retain(|cached| now.saturating_sub(cached.asked_at) < SNAPSHOT_KEPT_NS);
        let aged = self.marks.as_ref().map_or(0, |marks| marks.older_than(now));
        self.oldest = self.oldest.max(aged);
        for view in [View::HISTORY, View::Presence].into_iter().chain(View::MADE) {
            self.expire_log(view, aged, now, idle_ns, &mut tell);
        }
        self.forget_annotations();
        let floor = self.raw.as_ref().map_or(self.seq + 1, |raw| raw.writer.floor());
        if let Some(values) = &mut self.values {
            values.purge_before(floor);
        }
    }

    fn expire_log(&mut self, view: View, aged: u64, now: u64, idle_ns: u64, tell: &mut impl FnMut(Listener)) {
        let keeps = view == View::HISTORY && (self.limits.log_messages_max > 0 || self.is_made_of());
        let (oldest, seq, lag_bytes_max) = (self.oldest, self.seq, self.limits.lag_bytes_max);
        let slot = self.log_mut(view);
        let Some(log) = slot else { return };
        log.listeners.forget_gone();
        if log.listeners.any() {
            log.wanted_at = now;
        } else if !keeps && now.saturating_sub(log.wanted_at) >= idle_ns {
            *slot = None;
            return;
        }
        if view == View::Presence {
            return;
        }
        // A log that is still being made from history may end below its beginning.
        log.writer.set_oldest(oldest.min(log.writer.end_seq()));
        let trimmed = if aged > seq {
            !log.writer.is_empty() && {
                log.writer.clear();
                true
            }
        } else if log.writer.floor() < oldest {
            // Who is behind may go on as far as the lag limit lets it, but age has the last word.
            let needed = match log.listeners.any() {
                true => LogReader::new(log.writer.log().clone()).within_bytes(lag_bytes_max),
                false => oldest,
            };
            log.writer.trim_before(aged.max(oldest.min(needed)))
        } else {
            false
        };
        if trimmed {
            log.listeners.tell(log.writer.log(), tell);
        }
    }

    /// True when nothing of it is worth keeping.
    pub(super) fn is_forgotten(&self, now: u64, idle_ns: u64) -> bool {
        now.saturating_sub(self.used_at) >= idle_ns
            && !self.is_made_of()
            && self.presence.is_none()
            && self.raw.as_ref().is_none_or(|raw| !raw.listeners.any() && raw.writer.is_empty())
            && self.keys() == 0
    }

    /// Tells those who watch how many subscribers there are, if the number changed. Calls `tell` for each listener.
    pub(super) fn tell_presence(&mut self, framer: &mut Framer, mut tell: impl FnMut(Listener)) {
        let count = self.subscribers.load(std::sync::atomic::Ordering::Relaxed);
        let Some(log) = &mut self.presence else { return };
        if self.presence_told.replace(count) == Some(count) && !log.writer.is_empty() {
            return;
        }
        framer.append_presence(&mut log.writer, &self.name, count);
        log.listeners.tell(log.writer.log(), &mut tell);
    }
}

/// How long a snapshot is kept after somebody asked for it.
const SNAPSHOT_KEPT_NS: u64 = 1_000_000_000;

/// A message of the raw log with all that is known of it.
fn message_of<'a>(
    name: &'a TopicName,
    reader: &'a LogReader,
    annotations: &'a Annotations,
    seq: u64,
) -> Option<Sequenced<'a>> {
    let range = reader.range(seq)?;
    let segment = reader.segment(range.segment);
    let (_, payload) = crate::view::unframe(segment.bytes(range.start..segment.offset_of(seq + 1)));
    let (kind, key) = annotations.of(seq)?;
    Some(Sequenced { topic: name, seq, key, kind, payload })
}
