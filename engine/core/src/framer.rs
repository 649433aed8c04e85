//! The framer: messages to frames, in any view.
//!
//! One message is framed once for each view, whatever the number of its subscribers. Here stands what that needs from one
//! message to the next: buffers, and compressors, which are made when the first subscriber wants one.

use std::sync::Arc;

use fanfare_wire::deflate::{Compressor, Window};
use fanfare_wire::frame::{self, Opcode};
use fanfare_wire::topic::TopicName;

use crate::config::Config;
use crate::log::LogWriter;
use crate::stats::ShardStats;
use crate::view::{Coding, NO_MESSAGES, Sequenced, View, frame_presence, write_frame};

/// Buffers beyond this size are given back after use.
const KEPT_BYTES: usize = 256 * 1024;

/// How much a turn compresses of what others bring, in bytes: a few milliseconds' worth.
const COMPRESSED_EACH_TURN: usize = 1 << 20;

/// Makes the frames of one shard's topics.
#[derive(Debug)]
pub(crate) struct Framer {
    level: u32,
    /// Payloads below this size are not compressed.
    bytes_min: usize,
    full: Option<Box<Compressor>>,
    small: Option<Box<Compressor>>,
    /// A payload in the making.
    payload: Vec<u8>,
    /// A compressed one.
    compressed: Vec<u8>,
    /// How much this turn has compressed, in bytes.
    compressed_now: usize,
    stats: Arc<ShardStats>,
}

impl Framer {
    pub(crate) fn new(config: &Config, stats: Arc<ShardStats>) -> Self {
        Self {
            level: config.deflate_level,
            bytes_min: config.deflate_bytes_min,
            full: None,
            small: None,
            payload: Vec::new(),
            compressed: Vec::new(),
            compressed_now: 0,
            stats,
        }
    }

    /// A new turn: it may compress again.
    pub(crate) fn begin_turn(&mut self) {
        self.compressed_now = 0;
    }

    /// True when this turn has compressed so much that more should wait.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.compressed_now >= COMPRESSED_EACH_TURN
    }

    /// Frames one message in a view and appends it to the view's log.
    pub(crate) fn append(&mut self, view: View, log: &mut LogWriter, message: &Sequenced<'_>) {
        let mut made = std::mem::take(&mut self.payload);
        let (opcode, payload, coding) = match view {
            View::Raw(coding) => (message.kind.opcode(), message.payload, coding),
            View::Json(coding) => {
                made.clear();
                message.write_json(&mut made);
                (Opcode::Text, &*made, coding)
            }
            View::Presence => unreachable!("{NO_MESSAGES}"),
        };
        // In two parts, so that the payload is not copied to stand behind its header.
        let (header, payload) = match self.compress(payload, coding) {
            Some(compressed) => (frame::header_compressed(opcode, compressed.len() as u64, None), compressed),
            None => (frame::header(opcode, true, payload.len() as u64, None), payload),
        };
        log.append(&[&header, payload]);
        self.keep(made);
    }

    /// Appends the frame of a message on its own to any buffer.
    pub(crate) fn frame(&mut self, out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], coding: Coding) {
        match self.compress(payload, coding) {
            Some(compressed) => frame::write_compressed(out, opcode, compressed, None),
            None => frame::write(out, opcode, true, payload, None),
        }
        self.keep(Vec::new());
    }

    /// Frames how many subscribers a topic has and appends it to the log of [`View::Presence`].
    pub(crate) fn append_presence(&mut self, log: &mut LogWriter, topic: &TopicName, subscribers: usize) {
        self.payload.clear();
        frame_presence(&mut self.payload, topic, subscribers);
        log.append(&[&self.payload]);
    }

    /// The payload compressed, if the coding asks for it and it becomes smaller.
    fn compress(&mut self, payload: &[u8], coding: Coding) -> Option<&[u8]> {
        let Coding::Deflate(window) = coding else { return None };
        if payload.len() < self.bytes_min {
            return None;
        }
        let slot = match window {
            Window::Full => &mut self.full,
            Window::Small => &mut self.small,
        };
        let level = self.level;
        let compressor = slot.get_or_insert_with(|| Box::new(Compressor::new(level, window.bits())));
        self.compressed.clear();
        self.compressed_now += payload.len();
        compressor.compress(payload, &mut self.compressed);
        if self.compressed.len() >= payload.len() {
            return None;
        }
        self.stats.compressed_messages.add(1);
        self.stats.compressed_bytes_in.add(payload.len() as u64);
        self.stats.compressed_bytes_out.add(self.compressed.len() as u64);
        Some(&self.compressed)
    }

    /// Keeps the buffers for the next message, unless they became large.
    fn keep(&mut self, payload: Vec<u8>) {
        if payload.capacity() > self.payload.capacity() {
            self.payload = payload;
        }
        for buffer in [&mut self.payload, &mut self.compressed] {
            if buffer.capacity() > KEPT_BYTES {
                *buffer = Vec::new();
            }
        }
    }
}

/// Appends the frame of one message in a view, not compressed, to any buffer.
pub(crate) fn frame_plain(view: View, out: &mut Vec<u8>, message: &Sequenced<'_>) {
    match view {
        View::Raw(_) => frame::write(out, message.kind.opcode(), true, message.payload, None),
        View::Json(_) => write_frame(out, Opcode::Text, |out| message.write_json(out)),
        View::Presence => unreachable!("{NO_MESSAGES}"),
    }
}

#[cfg(test)]
mod tests {
    use fanfare_wire::Kind;
    use fanfare_wire::deflate::Inflater;
    use fanfare_wire::subscribe::Epoch;

    use super::*;
    use crate::log::{LogLimits, LogReader};

    /// The frame that a log gets of a text message in a view.
    fn framed(framer: &mut Framer, view: View, text: &str) -> Vec<u8> {
        let topic: TopicName = "prices".parse().expect("a name");
        let limits = LogLimits { log_bytes_max: 1 << 20, segment_bytes_max: 1 << 18 };
        let mut log = LogWriter::new(limits, Epoch(0), 1, 1, Arc::default());
        let message =
            Sequenced { topic: &topic, seq: 1, key: None, kind: Kind::Text, payload: text.as_bytes() };
        framer.append(view, &mut log, &message);
        let reader = LogReader::new(log.log().clone());
        let range = reader.range(1).expect("it was appended");
        reader.segment(range.segment).bytes(range.start..range.end).to_vec()
    }

    /// Whether it is compressed, and its payload. It is a text frame of up to 125 bytes.
    fn read(frame: &[u8]) -> (bool, String) {
        assert_eq!((frame[0] & !0x40, usize::from(frame[1])), (0x81, frame.len() - 2));
        let compressed = frame[0] & 0x40 != 0;
        let mut payload = frame[2..].to_vec();
        if compressed {
            payload.clear();
            Inflater::new().inflate(&frame[2..], 1 << 20, &mut payload).expect("our own work");
        }
        (compressed, String::from_utf8(payload).expect("text"))
    }

    #[test]
    fn what_is_worth_it_is_compressed_and_says_the_same() {
        let stats: Arc<ShardStats> = Arc::default();
        let mut framer = Framer::new(&Config { deflate_bytes_min: 20, ..Config::default() }, stats.clone());
        let repeated = "tick ".repeat(20);
        for window in [Window::Full, Window::Small] {
            let coding = Coding::Deflate(window);
            for (text, compressed) in [
                (repeated.as_str(), true),
                // Too short, though it could become shorter.
                ("aaaaaaaaaaaaaaaaaaa", false),
                // Long enough, but nothing to gain.
                ("0qA}z;W@v9[k2#L)x7!Rj", false),
            ] {
                assert_eq!(
                    read(&framed(&mut framer, View::Raw(coding), text)),
                    (compressed, text.to_owned())
                );
            }
            let (compressed, json) = read(&framed(&mut framer, View::Json(coding), &repeated));
            assert!(compressed && json.contains(&repeated) && json.starts_with("{\"topic\""), "{json}");
        }
        assert_eq!(read(&framed(&mut framer, View::HISTORY, &repeated)), (false, repeated.clone()));
        assert_eq!(stats.compressed_messages.get(), 4);
        assert!(stats.compressed_bytes_out.get() * 2 < stats.compressed_bytes_in.get());
    }
}
