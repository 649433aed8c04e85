//! The JSON protocol of `/stream`, in the idiom of market-data feeds.
//!
//! A client's message is one JSON object with an `op`, its `args`, and an `id` that the reply carries. This
//! folder turns text into requests and outcomes into text; what a request does is decided elsewhere. Apart
//! from the id, which the client chose in order to have it back, and from the names of topics, replies repeat
//! nothing that a peer wrote: errors are fixed words and sentences.
//!
//! The files, in the order in which data meets them:
//!
//! - `parse`: text to requests
//! - `request`: what a client asks for
//! - `refusal`: why it does not get it
//! - `reply`: what it is told
//! - `data`: the messages of topics

mod data;
mod parse;
mod refusal;
mod reply;
mod request;

pub use crate::json::{JSON_DEPTH_MAX, is_json};
pub use data::write_data;
pub use parse::parse;
pub use refusal::{ErrorCode, Refusal};
pub use reply::{
    Recovery, Subscribed, write_list, write_pong, write_published, write_refusal, write_subscribed,
    write_unsubscribed,
};
pub use request::{Content, ID_BYTES_MAX, ID_NUMBER_MAX, Id, Op, OpName, Request, Subscribe};
