//! The dialects by name, with the settings that each takes on the command line or in a workload.

use std::collections::BTreeMap;

use super::Dialect;

/// A dialect, for those who choose one.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    pub name: &'static str,
    /// What it measures, in a line.
    pub summary: &'static str,
    /// The settings it takes, none of which it needs for every server, with a line about each.
    pub settings: &'static [(&'static str, &'static str)],
}

/// All dialects.
pub const DESCRIPTIONS: &[Description] = &[
    Description {
        name: "raw",
        summary: "every message is a payload, as with Fanfare's /ws, uWebSockets, ws or tungstenite",
        settings: &[],
    },
    Description { name: "stream", summary: "Fanfare's /stream: JSON, many topics", settings: &[] },
    Description {
        name: "nats",
        summary: "NATS over WebSocket",
        settings: &[
            ("user", "the user's name"),
            ("password", "the user's password"),
            ("token", "a token in the place of user and password"),
        ],
    },
    Description {
        name: "mqtt",
        summary: "MQTT 3.1.1 over WebSocket, QoS 0",
        settings: &[("user", "the user's name"), ("password", "the user's password")],
    },
    Description {
        name: "nchan",
        summary: "Nchan in nginx; its subscribers should begin with the newest message, not with stored ones",
        settings: &[],
    },
    Description {
        name: "pusher",
        summary: "the Pusher protocol, version 7: Sockudo, Soketi, Reverb; payloads must be text",
        settings: &[
            ("key", "the app's key, for private channels and for publishers"),
            ("secret", "the app's secret, for private channels and for publishers"),
            ("app_id", "the app's id, for publishers at an http:// URL"),
            ("event", "the event's name [default: message, or client-message between clients]"),
        ],
    },
    Description {
        name: "centrifuge",
        summary: "Centrifugo 4 and later, JSON; payloads must be text",
        settings: &[
            ("token", "the connection token, a JWT"),
            ("api_key", "the key of the HTTP API, for publishers at an http:// URL"),
        ],
    },
];

impl Dialect {
    /// The dialect's name, as it is given on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Stream(_) => "stream",
            Self::Nats(_) => "nats",
            Self::Mqtt(_) => "mqtt",
            Self::Nchan => "nchan",
            Self::Pusher(_) => "pusher",
            Self::Centrifuge(_) => "centrifuge",
        }
    }

    /// The dialect of this name with these settings.
    ///
    /// # Errors
    /// For names that are not known, and settings given twice, with a list of what there is.
    pub fn parse(name: &str, settings: &[(String, String)]) -> Result<Self, String> {
        let Some(description) = DESCRIPTIONS.iter().find(|description| description.name == name) else {
            let names: Vec<_> = DESCRIPTIONS.iter().map(|description| description.name).collect();
            return Err(format!("there is no dialect {name:?}; there are {}", names.join(", ")));
        };
        let mut given = BTreeMap::from([("name", name)]);
        for (key, value) in settings {
            if !description.settings.iter().any(|(known, _)| known == key) {
                return Err(unknown(description, key));
            }
            if given.insert(key, value).is_some() {
                return Err(format!("the setting {key:?} of the dialect {name} is given twice"));
            }
        }
        let given = serde_json::to_value(given).map_err(|error| error.to_string())?;
        serde_json::from_value(given).map_err(|error| format!("the dialect {name}: {error}"))
    }
}

fn unknown(description: &Description, key: &str) -> String {
    let name = description.name;
    let known: Vec<_> = description.settings.iter().map(|(key, _)| *key).collect();
    match known.as_slice() {
        [] => format!("the dialect {name} takes no settings, so no {key:?}"),
        known => format!("the dialect {name} has no setting {key:?}; it has {}", known.join(", ")),
    }
}
