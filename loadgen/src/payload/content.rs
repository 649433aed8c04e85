//! What stands behind the header: filler of some size, or records from a file.
//!
//! The same message has the same content in every run and on every machine: all that is random about it comes from its
//! publisher and its sequence number.

use serde::{Deserialize, Serialize};

use super::format::HEADER_BYTES;
use super::records::Records;
use super::sizes::Sizes;
use super::words::{WORD, spread};
use crate::random::Random;

/// What payloads hold behind their header.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Content(Body);

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Body {
    Filler {
        sizes: Sizes,
        /// The share of it that is repetitive text, from 0 to 1. The rest is random characters of an alphabet of 64, of
        /// which no compressor can take off more than a quarter.
        compressible: f64,
    },
    /// Whole records, used in turn by each publisher.
    Records(Records),
}

impl Content {
    pub(crate) fn filler(sizes: Sizes, compressible: f64) -> Self {
        Self(Body::Filler { sizes, compressible: compressible.clamp(0.0, 1.0) })
    }

    pub(crate) fn records(records: Records) -> Self {
        Self(Body::Records(records))
    }

    /// In words, such as `64 bytes`.
    pub(crate) fn words(&self) -> String {
        match &self.0 {
            Body::Filler { sizes, compressible } if *compressible < 1.0 => {
                format!("{sizes}, {} % compressible", (compressible * 1e4).round() / 100.0)
            }
            Body::Filler { sizes, .. } => sizes.to_string(),
            Body::Records(records) => format!(
                "{} records, {} to {} bytes with the header",
                records.count(),
                self.smallest_bytes(),
                self.largest_bytes()
            ),
        }
    }

    /// Of whole payloads, header included; so are the others.
    pub(crate) fn mean_bytes(&self) -> f64 {
        match &self.0 {
            Body::Filler { sizes, .. } => sizes.mean_bytes(),
            Body::Records(records) => HEADER_BYTES as f64 + records.mean_bytes(),
        }
    }

    pub(crate) fn smallest_bytes(&self) -> usize {
        match &self.0 {
            Body::Filler { sizes, .. } => sizes.smallest_bytes(),
            Body::Records(records) => HEADER_BYTES + records.lengths().min().unwrap_or(0),
        }
    }

    pub(crate) fn largest_bytes(&self) -> usize {
        match &self.0 {
            Body::Filler { sizes, .. } => sizes.largest_bytes(),
            Body::Records(records) => HEADER_BYTES + records.lengths().max().unwrap_or(0),
        }
    }

    /// Whether all payloads are valid UTF-8, which text messages have to be.
    pub(crate) fn is_text(&self) -> bool {
        match &self.0 {
            Body::Filler { .. } => true,
            Body::Records(records) => records.is_text(),
        }
    }
}

/// The length of the repetitive text's pattern; a prime, so that it lines up with nothing.
const PERIOD: usize = 61;

/// Writes the content, from what is prepared once for all messages.
#[derive(Clone, Debug)]
pub(super) struct Filling {
    content: Content,
    /// Repetitive text, longer than any filler by one period, so that each message has its own part of it.
    pattern: Vec<u8>,
}

impl Filling {
    pub(super) fn new(content: &Content) -> Self {
        let pattern_bytes = match &content.0 {
            Body::Filler { sizes, .. } => sizes.largest_bytes() - HEADER_BYTES + PERIOD,
            Body::Records(_) => 0,
        };
        let pattern = (0..pattern_bytes).map(|i| b'a' + (i % PERIOD % 26) as u8).collect();
        Self { content: content.clone(), pattern }
    }

    /// Appends what a message holds behind its header.
    pub(super) fn append(&self, out: &mut Vec<u8>, publisher: u16, seq: u32) {
        match &self.content.0 {
            Body::Filler { sizes, compressible } => {
                let mut random = Random::seeded(u64::from(publisher) << 32 | u64::from(seq));
                let bytes = sizes.draw(&mut random) - HEADER_BYTES;
                let repetitive = (bytes as f64 * compressible).round() as usize;
                // It differs from message to message, so that a server that mixes two of them up is found out.
                out.extend_from_slice(&self.pattern[seq as usize % PERIOD..][..repetitive]);
                append_random(out, bytes - repetitive, &mut random);
            }
            // Publishers begin at different records, or all of them would be at the same one all the time.
            Body::Records(records) => {
                out.extend_from_slice(records.get(seq as usize + usize::from(publisher)))
            }
        }
    }
}

/// Appends random characters of the header's alphabet.
fn append_random(out: &mut Vec<u8>, bytes: usize, random: &mut Random) {
    let end = out.len() + bytes;
    for _ in 0..bytes.div_ceil(WORD) {
        out.extend_from_slice(&spread(random.number()));
    }
    out.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(content: &Content, publisher: u16) -> Vec<Vec<u8>> {
        let filling = Filling::new(content);
        let body = |seq| {
            let mut out = Vec::new();
            filling.append(&mut out, publisher, seq);
            out
        };
        (0..500).map(body).collect()
    }

    #[test]
    fn a_message_is_the_same_in_each_run_and_another_one_is_not() {
        let content = Content::filler("64..1KiB".parse().expect("sizes"), 0.5);
        let json = serde_json::to_string(&content).expect("a content as JSON");
        let elsewhere: Content = serde_json::from_str(&json).expect(&json);
        assert_eq!(bodies(&content, 3), bodies(&elsewhere, 3));
        assert_ne!(bodies(&content, 3), bodies(&content, 4));
    }

    #[test]
    fn the_sizes_are_those_that_were_asked_for() {
        for (text, mean) in [("64..1KiB", 544.0), ("64:90%,4KiB:10%", 467.2), ("lognormal:200,0.8", 275.4)] {
            let content = Content::filler(text.parse().expect(text), 1.0);
            assert!((content.mean_bytes() / mean - 1.0).abs() < 0.01, "{text}: {}", content.mean_bytes());
            let lengths: Vec<_> = bodies(&content, 0).iter().map(|body| HEADER_BYTES + body.len()).collect();
            let bounds = content.smallest_bytes()..=content.largest_bytes();
            assert!(lengths.iter().all(|length| bounds.contains(length)), "{text}");
            let seen = lengths.iter().sum::<usize>() as f64 / lengths.len() as f64;
            assert!((seen / mean - 1.0).abs() < 0.25, "{text}: {seen}");
        }
    }

    #[test]
    fn the_compressible_share_is_repetitive_and_the_rest_is_not() {
        for (share, repetitive) in [(1.0, 1000), (0.25, 250), (0.0, 0)] {
            let content = Content::filler("1032".parse().expect("a size"), share);
            for body in bodies(&content, 0) {
                let period = |from: usize| (0..100).all(|i| body[from + i] == body[from + PERIOD + i]);
                assert_eq!(body.len(), 1000);
                assert_eq!(period(0), repetitive >= 161, "share {share}");
                assert_eq!(period(800), repetitive >= 961, "share {share}");
                let letters: std::collections::HashSet<u8> = body[repetitive..].iter().copied().collect();
                assert!(repetitive == 1000 || letters.len() == 64, "{} letters", letters.len());
                assert!(body.iter().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(byte)));
            }
        }
    }

    #[test]
    fn records_come_in_turn() {
        let content = Content::records(Records::read(b"one\nthree\nfive and a half").expect("records"));
        let texts = |publisher| {
            bodies(&content, publisher).into_iter().map(|b| String::from_utf8_lossy(&b).into_owned())
        };
        assert!(texts(0).take(4).eq(["one", "three", "five and a half", "one"]));
        assert!(texts(1).take(3).eq(["three", "five and a half", "one"]));
        assert_eq!((content.smallest_bytes(), content.largest_bytes()), (35, 47));
        assert_eq!(content.words(), "3 records, 35 to 47 bytes with the header");
    }

    #[test]
    fn contents_are_written_in_words() {
        let sizes = || "64".parse().expect("a size");
        assert_eq!(Content::filler(sizes(), 1.0).words(), "64 bytes");
        assert_eq!(Content::filler(sizes(), 0.3).words(), "64 bytes, 30 % compressible");
    }
}
