//! Rules: what holds for which topics. A rule's pattern names topics; what it does not say, the config says.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use fanfare_wire::pattern::TopicPattern;
use fanfare_wire::subscribe::{Policy, PolicyError};

use crate::config::Config;
use crate::log::SEGMENT_BYTES_MIN;

/// A log that is full has at least so many segments of the largest size; with fewer it drops too much at once.
pub(crate) const SEGMENTS_MIN: usize = 4;

/// The smallest log that is worth its segments.
pub(crate) const LOG_BYTES_MIN: usize = 4096;

const _: () = assert!(LOG_BYTES_MIN / SEGMENTS_MIN >= SEGMENT_BYTES_MIN, "the smallest log can be written");

/// Some of the policies.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PolicySet(u8);

impl PolicySet {
    pub const ALL: Self = Self((1 << Policy::ALL.len()) - 1);

    pub fn of(policies: &[Policy]) -> Self {
        Self(policies.iter().fold(0, |bits, policy| bits | Self::bit(*policy)))
    }

    pub const fn contains(self, policy: Policy) -> bool {
        self.0 & Self::bit(policy) != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Policy> {
        Policy::ALL.into_iter().filter(move |policy| self.contains(*policy))
    }

    const fn bit(policy: Policy) -> u8 {
        1 << policy as u8
    }
}

impl fmt::Display for PolicySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, policy) in self.iter().enumerate() {
            f.write_str(if index > 0 { "," } else { "" })?;
            f.write_str(policy.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for PolicySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PolicySet {
    type Err = PolicyError;

    /// Reads policies with commas between them, at least one.
    fn from_str(words: &str) -> Result<Self, PolicyError> {
        let policies = words.split(',').map(|word| word.trim().parse());
        Ok(Self::of(&policies.collect::<Result<Vec<Policy>, _>>()?))
    }
}

/// What holds for one topic. The fields are those of [`Config`] with the same names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicLimits {
    pub log_bytes_max: usize,
    pub log_messages_max: u64,
    pub log_age_ms: u64,
    pub lag_bytes_max: u64,
    pub lag_messages_max: u64,
    pub lag_age_ms: u64,
    pub policy: Policy,
    pub policies_allowed: PolicySet,
    pub keys_max: usize,
    pub values_bytes_max: usize,
    pub segment_bytes_max: usize,
}

impl TopicLimits {
    /// What holds where no rule says otherwise.
    pub(crate) fn defaults(config: &Config) -> Self {
        Self {
            log_bytes_max: config.log_bytes_max,
            log_messages_max: config.log_messages_max,
            log_age_ms: config.log_age_ms,
            lag_bytes_max: config.lag_bytes_max,
            lag_messages_max: config.lag_messages_max,
            lag_age_ms: config.lag_age_ms,
            policy: config.policy,
            policies_allowed: config.policies_allowed,
            keys_max: config.keys_max,
            values_bytes_max: config.values_bytes_max,
            segment_bytes_max: config.segment_bytes_max,
        }
    }
}

/// What holds for the topics that match a pattern. `None`: what [`Config`] says in the field of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRule {
    pub pattern: TopicPattern,
    /// Segments are at most a quarter of it, however large [`Config::segment_bytes_max`] is.
    pub log_bytes_max: Option<usize>,
    pub log_messages_max: Option<u64>,
    pub log_age_ms: Option<u64>,
    /// `None`: what [`Config`] says, or this rule's `log_bytes_max` where that is less.
    pub lag_bytes_max: Option<u64>,
    pub lag_messages_max: Option<u64>,
    pub lag_age_ms: Option<u64>,
    pub policy: Option<Policy>,
    pub policies_allowed: Option<PolicySet>,
    pub keys_max: Option<usize>,
    pub values_bytes_max: Option<usize>,
}

impl TopicRule {
    /// A rule that says nothing yet.
    pub const fn new(pattern: TopicPattern) -> Self {
        Self {
            pattern,
            log_bytes_max: None,
            log_messages_max: None,
            log_age_ms: None,
            lag_bytes_max: None,
            lag_messages_max: None,
            lag_age_ms: None,
            policy: None,
            policies_allowed: None,
            keys_max: None,
            values_bytes_max: None,
        }
    }

    /// What holds for its topics.
    pub(crate) fn limits(&self, config: &Config) -> TopicLimits {
        let defaults = TopicLimits::defaults(config);
        let log_bytes_max = self.log_bytes_max.unwrap_or(defaults.log_bytes_max);
        TopicLimits {
            log_bytes_max,
            log_messages_max: self.log_messages_max.unwrap_or(defaults.log_messages_max),
            log_age_ms: self.log_age_ms.unwrap_or(defaults.log_age_ms),
            // Who makes the log smaller does not have to know that another limit hangs on it.
            lag_bytes_max: self
                .lag_bytes_max
                .unwrap_or_else(|| defaults.lag_bytes_max.min(log_bytes_max as u64)),
            lag_messages_max: self.lag_messages_max.unwrap_or(defaults.lag_messages_max),
            lag_age_ms: self.lag_age_ms.unwrap_or(defaults.lag_age_ms),
            policy: self.policy.unwrap_or(defaults.policy),
            policies_allowed: self.policies_allowed.unwrap_or(defaults.policies_allowed),
            keys_max: self.keys_max.unwrap_or(defaults.keys_max),
            values_bytes_max: self.values_bytes_max.unwrap_or(defaults.values_bytes_max),
            segment_bytes_max: defaults.segment_bytes_max.min(log_bytes_max / SEGMENTS_MIN),
        }
    }
}

/// All rules of a checked config, resolved.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<(TopicPattern, Arc<TopicLimits>)>,
    defaults: Arc<TopicLimits>,
}

impl Rules {
    pub fn new(config: &Config) -> Self {
        let resolve = |rule: &TopicRule| (rule.pattern.clone(), Arc::new(rule.limits(config)));
        Self {
            rules: config.rules.iter().map(resolve).collect(),
            defaults: Arc::new(TopicLimits::defaults(config)),
        }
    }

    /// What the first rule says whose pattern matches.
    pub fn limits_of(&self, topic: &str) -> &Arc<TopicLimits> {
        let rule = self.rules.iter().find(|(pattern, _)| pattern.matches(topic));
        rule.map_or(&self.defaults, |(_, limits)| limits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn rule(pattern: &str) -> TopicRule {
        TopicRule::new(pattern.parse().expect("a pattern"))
    }

    #[test]
    fn the_first_rule_that_matches_counts_and_the_rest_comes_from_the_config() {
        let config = Config {
            keys_max: 7,
            rules: vec![
                TopicRule { policy: Some(Policy::Conflate), ..rule("prices.*") },
                TopicRule { policy: Some(Policy::Skip), keys_max: Some(8), ..rule("*s.*") },
            ],
            ..Config::default()
        };
        let rules = Rules::new(&config);
        let of = |topic| {
            let limits = rules.limits_of(topic);
            (limits.policy, limits.keys_max)
        };
        assert_eq!(of("prices.eur"), (Policy::Conflate, 7));
        assert_eq!(of("rooms.1"), (Policy::Skip, 8));
        assert_eq!(of("prices"), (Policy::Disconnect, 7));
        assert_eq!(**rules.limits_of("prices"), TopicLimits::defaults(&config));
    }

    #[test]
    fn a_small_log_brings_the_lag_and_the_segments_down() {
        let config = Config {
            rules: vec![
                TopicRule { log_bytes_max: Some(4096), ..rule("tiny") },
                TopicRule { log_bytes_max: Some(32 << 20), lag_bytes_max: Some(99), ..rule("half") },
            ],
            ..Config::default()
        };
        assert_eq!(config.check(), Ok(()));
        let rules = Rules::new(&config);
        let of = |topic| {
            let limits = rules.limits_of(topic);
            (limits.lag_bytes_max, limits.segment_bytes_max)
        };
        assert_eq!(of("tiny"), (4096, 1024));
        assert_eq!(of("half"), (99, 1 << 20));
    }

    #[test]
    fn a_set_of_policies_is_written_as_it_is_read() {
        for (words, read, written) in [
            ("skip", &[Policy::Skip][..], "skip"),
            ("latest, skip", &[Policy::Skip, Policy::Latest], "skip,latest"),
            ("skip,skip", &[Policy::Skip], "skip"),
            ("disconnect,skip,conflate,latest", &Policy::ALL, "disconnect,skip,conflate,latest"),
        ] {
            let set: PolicySet = words.parse().expect("policies");
            assert_eq!((set, set.to_string().as_str()), (PolicySet::of(read), written));
            assert!(set.iter().eq(Policy::ALL.into_iter().filter(|policy| read.contains(policy))));
        }
        for words in ["", ",", "skip,", "Skip", "skip conflate", "none"] {
            assert!(words.parse::<PolicySet>().is_err(), "{words}");
        }
        assert_eq!(PolicySet::of(&Policy::ALL), PolicySet::ALL);
        assert_eq!(format!("{:#?}", PolicySet::ALL).lines().count(), 1);
    }

    proptest! {
        /// Whatever a rule says: it is refused, or the limits that come of it obey the chains.
        #[test]
        fn limits_that_pass_the_check_obey_the_chains(
            log_bytes_max in option::of(0usize..(80 << 20)),
            small in option::of(0usize..20_000),
            lag_bytes_max in option::of(0u64..(80 << 20)),
            values_bytes_max in option::of(0usize..(80 << 20)),
            allowed in option::of(0u8..16),
            policy in option::of(0usize..4),
        ) {
            let rule = TopicRule {
                log_bytes_max: small.or(log_bytes_max),
                lag_bytes_max,
                values_bytes_max,
                policies_allowed: allowed.map(PolicySet),
                policy: policy.map(|index| Policy::ALL[index]),
                ..rule("*")
            };
            let config = Config { rules: vec![rule], log_total_bytes_max: 80 << 20, ..Config::default() };
            let limits = Rules::new(&config).limits_of("any").clone();
            let chains = limits.log_bytes_max >= 4096
                && limits.log_bytes_max <= config.log_total_bytes_max
                && limits.lag_bytes_max <= limits.log_bytes_max as u64
                && limits.values_bytes_max <= config.log_total_bytes_max / 2
                && limits.policies_allowed.contains(limits.policy);
            prop_assert_eq!(config.check().is_ok(), chains);
            if chains {
                prop_assert!(limits.segment_bytes_max >= SEGMENT_BYTES_MIN);
                prop_assert!(limits.segment_bytes_max <= limits.log_bytes_max / 4);
                prop_assert_eq!(limits.lag_bytes_max, lag_bytes_max.unwrap_or(limits.lag_bytes_max));
            }
        }
    }
}
