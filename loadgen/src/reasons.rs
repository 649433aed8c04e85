//! Why connections failed: counted by the sentence that says so.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How many different sentences are kept. Servers may put anything into theirs.
const SENTENCES_MAX: usize = 8;

const OTHERS: &str = "other reasons";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reasons(BTreeMap<String, u64>);

impl Reasons {
    pub(crate) fn add(&mut self, sentence: String) {
        self.add_times(sentence, 1);
    }

    /// Adds what another part of the run counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(sentence, &count)| self.add_times(sentence.clone(), count));
    }

    fn add_times(&mut self, sentence: String, count: u64) {
        let is_new = !self.0.contains_key(&sentence);
        let key = if is_new && self.0.len() >= SENTENCES_MAX { OTHERS.to_owned() } else { sentence };
        *self.0.entry(key).or_default() += count;
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by_key(|&(_, &count)| std::cmp::Reverse(count));
        for (index, (sentence, count)) in sorted.into_iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{count} x {sentence}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_comes_first_and_the_table_is_bounded() {
        let mut reasons = Reasons::default();
        for i in 0..100 {
            reasons.add(format!("reason {i:02}"));
            reasons.add("reset".to_owned());
        }
        assert_eq!(reasons.total(), 200);
        let text = reasons.to_string();
        assert!(text.starts_with("100 x reset, 93 x other reasons, 1 x reason 00"), "{text}");
    }
}
