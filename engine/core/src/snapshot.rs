//! Snapshots: the newest message of each key, framed once for each view and head, and sent to all who need it.

use std::ops::Range;
use std::sync::Arc;

use fanfare_wire::Kind;

use crate::framer::frame_plain;
use crate::log::Segment;
use crate::view::{Sequenced, View};

/// The newest message of each key as of a head, in order, in the frames that live subscribers got.
///
/// Its messages are numbered from 0. A whole one has all keys; a part, for a subscriber that lacks only what came since
/// some message, has those that changed since, removed ones too. Nobody owns it: whoever reads it keeps a sequence number,
/// and can go on from there with the next one.
#[derive(Debug)]
pub(crate) struct Snapshot {
    segment: Arc<Segment>,
    /// The sequence numbers of its messages.
    seqs: Box<[u64]>,
    from: u64,
    head: u64,
    whole: bool,
}

impl Snapshot {
    /// Frames `values`, the newest message of each key among `from ..= head`, in order. A whole snapshot is of all
    /// messages, and leaves the removed keys out.
    pub(crate) fn build<'a>(
        view: View,
        from: u64,
        head: u64,
        whole: bool,
        values: impl Iterator<Item = Sequenced<'a>>,
    ) -> Self {
        debug_assert!(!whole || from == 0, "a whole snapshot is of all messages");
        let messages: Vec<Sequenced<'_>> =
            values.filter(|value| !whole || value.kind != Kind::Tombstone).collect();
        debug_assert!(messages.is_sorted_by(|one, next| one.seq < next.seq), "messages come in order");
        debug_assert!(messages.iter().all(|message| (from..=head).contains(&message.seq)));

        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(messages.len()));
        for message in &messages {
            frame_plain(view, &mut bytes, message);
            ends.push(u32::try_from(bytes.len()).expect("the config bounds what a topic's values take"));
        }
        let seqs = messages.iter().map(|message| message.seq).collect();
        Self { segment: Segment::complete(bytes, ends), seqs, from, head, whole }
    }

    /// Whether it has, for a subscriber whose next message would be `cursor`, everything up to its head.
    pub(crate) fn covers(&self, cursor: u64) -> bool {
        (self.from..=self.head).contains(&cursor)
    }

    /// The sequence number of the last message before it was made: the live stream goes on behind that.
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// What it takes from memory.
    pub(crate) fn footprint(&self) -> usize {
        self.segment.footprint() + self.seqs.len() * size_of::<u64>()
    }

    /// Whether it is still worth handing out when the head has moved to `head`: what came since is less than itself, so
    /// whoever reads both reads no more than twice what a new one has, and making one costs no more than publishing did.
    pub(crate) fn is_fresh(&self, head: u64) -> bool {
        head - self.head < self.seqs.len().max(1) as u64
    }

    /// The first entry from sequence number `cursor` on; the end if there is none.
    pub(crate) fn start_for(&self, cursor: u64) -> u32 {
        self.seqs.partition_point(|seq| *seq < cursor) as u32
    }

    /// The entry after the last one.
    pub(crate) fn end(&self) -> u32 {
        self.seqs.len() as u32
    }

    /// The sequence number of an entry; `None` at the end.
    pub(crate) fn seq_of(&self, entry: u32) -> Option<u64> {
        self.seqs.get(entry as usize).copied()
    }

    /// Where a subscriber stands that stood at `cursor` and now has everything before an entry.
    pub(crate) fn cursor_at(&self, entry: u32, cursor: u64) -> u64 {
        if entry == self.end() {
            return self.head + 1;
        }
        // Behind the last message that it got, not before the next one: what lies between is not passed over yet.
        let behind = entry.checked_sub(1).and_then(|last| self.seq_of(last)).map_or(0, |last| last + 1);
        behind.max(cursor)
    }

    /// The entries from `first` on that one send takes: at least one if there is one, and others up to `bytes_max`.
    pub(crate) fn piece(&self, first: u32, bytes_max: u32) -> Range<u32> {
        if first >= self.end() {
            return first..first;
        }
        let start = self.segment.offset_of(first.into());
        let (last, _) = self
            .segment
            .message_at((start.saturating_add(bytes_max)).min(self.bytes_of(0..self.end()).end - 1));
        first..last as u32 + 1
    }

    /// Where the bytes of consecutive entries lie in the segment.
    pub(crate) fn bytes_of(&self, entries: Range<u32>) -> Range<u32> {
        self.segment.offset_of(entries.start.into())..self.segment.offset_of(entries.end.into())
    }

    /// The frames of all entries.
    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// The entry that holds byte `offset` of the segment, and that entry's bytes.
    pub(crate) fn entry_at(&self, offset: u32) -> (u32, Range<u32>) {
        let (entry, bytes) = self.segment.message_at(offset);
        (entry as u32, bytes)
    }
}

#[cfg(test)]
mod tests {
    use fanfare_wire::Role;
    use fanfare_wire::decode::{Decoder, Event, Rules};
    use fanfare_wire::key::Key;
    use fanfare_wire::subscribe::Epoch;
    use fanfare_wire::topic::TopicName;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Config;
    use crate::framer::Framer;
    use crate::log::{LogLimits, LogReader, LogWriter};
    use crate::view::Coding;

    /// How far after the one before, whether it has a key, what it is.
    type Message = (u64, Option<Key>, Kind, Vec<u8>);

    fn messages() -> impl Strategy<Value = Vec<Message>> {
        let content = prop_oneof![
            ".{0,200}".prop_map(|text| (Kind::Text, text.into_bytes())),
            prop::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| (Kind::Binary, bytes)),
            prop::sample::select(vec!["1", "null", "{\"a\":[1,2]}", "\"text\""])
                .prop_map(|text| (Kind::Json, text.as_bytes().to_vec())),
            Just((Kind::Tombstone, Vec::new())),
            Just((Kind::Text, vec![b'x'; 70_000])),
        ];
        let key = "[a-z \"]{1,12}".prop_map(|text| Key::parse(&text).expect("a key"));
        let message = (1u64..5, key, any::<bool>(), content);
        let messages = prop::collection::vec(message, 0..40);
        messages.prop_map(|messages| {
            let numbered = messages.into_iter().scan(0, |seq, (step, key, keyed, (kind, payload))| {
                *seq += step;
                let key = (keyed || kind == Kind::Tombstone).then_some(key);
                Some((*seq, key, kind, payload))
            });
            numbered.collect()
        })
    }

    fn sequenced<'a>(topic: &'a TopicName, (seq, key, kind, payload): &'a Message) -> Sequenced<'a> {
        Sequenced { topic, seq: *seq, key: key.as_ref(), kind: *kind, payload }
    }

    /// What a live subscriber gets of a message.
    fn live_frame(view: View, message: &Sequenced<'_>) -> Vec<u8> {
        let limits = LogLimits { log_bytes_max: 1 << 20, segment_bytes_max: 1 << 18 };
        let mut log = LogWriter::new(limits, Epoch(0), message.seq, 1, Arc::default());
        Framer::new(&Config::default(), Arc::default()).append(view, &mut log, message);
        let reader = LogReader::new(log.log().clone());
        let range = reader.range(message.seq).expect("it was appended");
        reader.segment(range.segment).bytes(range.start..range.end).to_vec()
    }

    /// What a `/stream` client reads of a message.
    fn json_of(topic: &TopicName, (seq, key, kind, payload): &Message) -> Value {
        use base64::prelude::{BASE64_STANDARD, Engine};
        let mut object = json!({ "topic": topic.as_str(), "seq": seq });
        if let Some(key) = key {
            object["key"] = key.as_str().into();
        }
        match kind {
            Kind::Text => object["data"] = std::str::from_utf8(payload).expect("text").into(),
            Kind::Json => object["data"] = serde_json::from_slice(payload).expect("JSON"),
            Kind::Tombstone => object["tombstone"] = true.into(),
            Kind::Binary => {
                object["data"] = BASE64_STANDARD.encode(payload).into();
                object["encoding"] = "base64".into();
            }
        }
        object
    }

    fn check_decoded(view: View, snapshot: &Snapshot, topic: &TopicName, sent: &[&Message]) {
        let rules = Rules {
            role: Role::Client,
            frame_bytes_max: 1 << 30,
            message_bytes_max: 1 << 30,
            compressed: false,
            fragments_max: 1,
        };
        let mut bytes = snapshot.segment.bytes(snapshot.bytes_of(0..snapshot.end())).to_vec();
        let (mut input, mut decoder) = (&mut bytes[..], Decoder::default());
        let mut next = |check: &dyn Fn(Event<'_>)| {
            check(decoder.next(&rules, &mut input).expect("frames by the rules").expect("one more frame"));
        };
        for message in sent {
            next(&|event| {
                let Event::Message { text, payload } = event else { panic!("{event:?} is no message") };
                if matches!(view, View::Raw(_)) {
                    assert_eq!((text, payload), (message.2 != Kind::Binary, &*message.3));
                } else {
                    assert!(text);
                    let object: Value = serde_json::from_slice(payload).expect("JSON");
                    assert_eq!(object, json_of(topic, message));
                }
            });
        }
        assert_eq!(decoder.next(&rules, &mut input).expect("nothing wrong"), None);
        assert!(decoder.is_idle());
    }

    #[test]
    fn a_snapshot_of_nothing_covers_its_range() {
        let whole = Snapshot::build(View::Raw(Coding::Plain), 0, 0, true, std::iter::empty());
        let part = Snapshot::build(View::Json(Coding::Plain), 3, 9, false, std::iter::empty());
        assert_eq!((part.end(), part.bytes_of(0..0), part.piece(0, 100)), (0, 0..0, 0..0));
        for (cursor, covered) in [(2, false), (3, true), (9, true), (10, false)] {
            assert_eq!((part.covers(cursor), whole.covers(cursor)), (covered, false), "{cursor}");
        }
        assert!(part.is_fresh(9) && !part.is_fresh(10));
    }

    proptest! {
        /// Each entry is byte by byte what a live subscriber got, the whole is what a client can read, and every
        /// place in it is found.
        #[test]
        fn a_snapshot_is_what_live_subscribers_got(
            messages in messages(),
            whole in any::<bool>(),
            json in any::<bool>(),
            later in 0u64..3,
            cursor in 0u64..100,
        ) {
            let view = if json { View::Json(Coding::Plain) } else { View::HISTORY };
            let topic: TopicName = "to \"pic".parse().expect("a name");
            let head = messages.last().map_or(0, |message| message.0) + later;
            let all = messages.iter().map(|message| sequenced(&topic, message));
            let snapshot = Snapshot::build(view, 0, head, whole, all);
            let sent: Vec<&Message> =
                messages.iter().filter(|message| !whole || message.2 != Kind::Tombstone).collect();

            prop_assert_eq!((snapshot.end() as usize, snapshot.head(), snapshot.is_whole()), (sent.len(), head, whole));
            check_decoded(view, &snapshot, &topic, &sent);
            for (index, message) in sent.iter().enumerate() {
                let entry = snapshot.start_for(message.0);
                prop_assert_eq!((entry as usize, snapshot.seq_of(entry)), (index, Some(message.0)));
                let bytes = snapshot.bytes_of(entry..entry + 1);
                let frame = snapshot.segment().bytes(bytes.clone());
                prop_assert_eq!(frame, live_frame(view, &sequenced(&topic, message)));
                for offset in [bytes.start, (bytes.start + bytes.end) / 2, bytes.end - 1] {
                    prop_assert_eq!(snapshot.entry_at(offset), (entry, bytes.clone()));
                }
            }
            let before = sent.iter().filter(|message| message.0 < cursor).count();
            prop_assert_eq!(snapshot.start_for(cursor) as usize, before);
            let piece = snapshot.piece(before as u32, 500);
            if piece.is_empty() {
                prop_assert_eq!(before, sent.len());
            } else {
                let bytes = snapshot.bytes_of(piece.clone()).len();
                let (_, last) = snapshot.entry_at(snapshot.bytes_of(piece.clone()).end - 1);
                prop_assert!(bytes - last.len() <= 500, "{bytes}");
                prop_assert!(piece.end == snapshot.end() || bytes > 500, "{bytes}");
            }
            prop_assert_eq!(snapshot.covers(cursor), cursor <= head);
        }
    }
}
