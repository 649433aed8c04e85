//! Fanfare: a WebSocket broadcast engine for Linux, to be embedded or run as a program.
//!
//! Publishers send a message to a topic, and every subscriber of that topic gets it, in order. An [`Engine`] serves
//! WebSocket clients on one thread for each core, through io_uring; the program that embeds it publishes and subscribes
//! from any of its own threads:
//!
//! ```
//! use std::time::Duration;
//!
//! use fanfare::{Delivery, Engine, Message, TopicName};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::builder().listen("127.0.0.1:0".parse()?).shards(1).start()?;
//! println!("try ws://{}/ws/prices", engine.addr());
//!
//! let prices = TopicName::parse("prices")?;
//! let mut subscription = engine.subscribe(&prices)?;
//!
//! engine.publish(&prices, "a text")?;
//! let seq = engine.publish_acked(&prices, Message::json(r#"{"bid":1.08}"#)?)?;
//! assert_eq!(seq, 2);
//!
//! let first = subscription.recv_timeout(Duration::from_secs(1))?;
//! assert_eq!(first, Some(Delivery::Message { seq: 1, message: Message::text("a text") }));
//!
//! engine.shutdown(Duration::from_secs(5));
//! # Ok(())
//! # }
//! ```
//!
//! [`Subscription::next`] is the same for async tasks, of any runtime. [`Engine::subscribe_from`] goes back into the
//! topic's history, or goes on where an earlier subscription ended. A message with a key
//! ([`Message::with_key`]) is the value of that key until the next one: WebSocket clients that are slow, or new, can
//! have the newest value of each key instead of every message. [`Config::rules`] says what holds for which topics.
//!
//! **A shard that panics ends the process**, embedding or not: half an engine would look alive and deliver nothing. It
//! writes a report to standard error and aborts. What a peer sends cannot cause this, short of a defect.
//!
//! The feature `control` (on by default, through `program`) adds the [`control`] port: HTTP publishing, metrics and a
//! viewer page. `program` adds what the `fanfare` binary needs. A program that only embeds the engine turns both off.
//!
//! The files, in the order in which a message meets them:
//! - `message`: what is published
//! - `engine`: start, publish, subscribe, shutdown; `listeners` and `shard`: what it starts
//! - `subscription`: a subscriber in the process
//! - `control/`: the HTTP port

#![forbid(unsafe_code)]
#![warn(missing_docs)]

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

#[cfg(feature = "control")]
pub mod control;
mod engine;
mod listeners;
mod message;
mod shard;
mod subscription;

pub use engine::{Engine, EngineBuilder, PublishError, StartError, TryPublishError};
pub use fanfare_core::{Config, ConfigError, PolicySet, ShardStats, TopicInfo, TopicRule};
pub use fanfare_io::listen::ListenOptions;
pub use fanfare_io::memory;
pub use fanfare_wire::Kind;
pub use fanfare_wire::key::{Key, KeyError};
pub use fanfare_wire::origin::{OriginRule, OriginRuleError, Origins};
pub use fanfare_wire::pattern::{PatternError, TopicPattern};
pub use fanfare_wire::stream::Recovery;
pub use fanfare_wire::subscribe::{Epoch, EpochError, Policy, PolicyError, Start};
pub use fanfare_wire::topic::{TopicName, TopicNameError};
pub use message::{Message, NotJson};
pub use subscription::{Delivery, Subscription, TimedOut};
