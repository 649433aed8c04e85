//! What a subscriber asks for, and how that is written.

use fanfare_wire::subscribe::Policy;
use serde_json::{Map, Value, json};

/// Where a subscription is to begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum From {
    #[default]
    Head,
    Since {
        seq: u64,
        epoch: String,
    },
    Last(u64),
}

/// What is asked for beside the topic.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    pub from: From,
    pub snapshot: bool,
    pub policy: Option<Policy>,
    /// Updates a second of each key.
    pub max_rate: Option<f64>,
    pub presence: bool,
}

impl Terms {
    /// Whether they move a subscription that is there already.
    pub fn moves(&self) -> bool {
        self.snapshot || self.from != From::Head
    }

    /// The least time between two updates of a key, nanoseconds; 0 where every message is asked for.
    pub fn period_ns(&self) -> u64 {
        self.max_rate.map_or(0, |rate| (1e9 / rate) as u64)
    }

    fn members(&self) -> Map<String, Value> {
        let mut members = Map::new();
        match &self.from {
            From::Head => {}
            From::Since { seq, epoch } => {
                members.insert("since".into(), (*seq).into());
                members.insert("epoch".into(), epoch.as_str().into());
            }
            From::Last(count) => _ = members.insert("last".into(), (*count).into()),
        }
        if self.snapshot {
            members.insert("snapshot".into(), true.into());
        }
        if let Some(policy) = self.policy {
            members.insert("policy".into(), policy.as_str().into());
        }
        if let Some(rate) = self.max_rate {
            members.insert("max_rate".into(), rate.into());
        }
        members
    }

    /// An object among the arguments of a subscribe.
    pub fn object(&self, topic: &str) -> Value {
        let mut object = Value::Object(self.members());
        object["topic"] = topic.into();
        if self.presence {
            object["presence"] = json!(true);
        }
        object
    }

    /// The path of a raw subscriber.
    pub fn path(&self, topic: &str) -> String {
        let mut path = format!("/ws/{topic}");
        for (index, (name, value)) in self.members().into_iter().enumerate() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            path += &format!("{}{name}={value}", if index == 0 { '?' } else { '&' });
        }
        path
    }
}
