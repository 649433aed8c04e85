//! Fanfare's protocols without I/O: bytes in, events and bytes out.
//!
//! Both roles of RFC 6455 live here, so that the engine and the load generator share one encoder and one
//! decoder. Callers own the sockets, the buffers and the clock, and hand in slices.
//!
//! This crate never opens a socket, reads a clock, draws a random number, starts a thread or uses `unsafe`.
//! What a peer sends can produce an error value and nothing worse: no input makes it panic, and no header
//! makes it reserve memory that has not been filled by bytes that arrived.
//!
//! The files, in the order in which data meets them:
//!
//! | file | holds |
//! |---|---|
//! | [`url`] | where a client connects to |
//! | [`handshake`] | the HTTP/1.1 upgrade, from either side |
//! | [`origin`] | which pages may connect |
//! | [`decode`] | frames to messages, with every rule of RFC 6455 section 5 |
//! | [`mask`] | the XOR of section 5.3, as fast as a copy |
//! | [`deflate`] | permessage-deflate: what is agreed on, and payloads compressed and inflated |
//! | [`text`] | UTF-8 validated while it arrives |
//! | [`topic`], [`key`] | the name of a topic, and the key of a message |
//! | [`pattern`] | which topics a rule is for |
//! | [`subscribe`] | what a subscriber may ask for |
//! | [`stream`] | the JSON protocol of `/stream` |
//! | [`notice`] | what the server says between a topic's messages |
//! | [`frame`] | the frame header, and whole frames written |
//! | [`close`] | close codes and the Close frame |
//!
//! `percent` undoes and does the percent-encoding that topic names and queries have in URLs; `json` reads and
//! writes what the JSON protocol is made of.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod close;
pub mod decode;
pub mod deflate;
pub mod frame;
pub mod handshake;
pub mod key;
pub mod mask;
pub mod notice;
pub mod origin;
pub mod pattern;
pub mod stream;
pub mod subscribe;
pub mod text;
pub mod topic;
pub mod url;

mod json;
mod percent;

use frame::Opcode;

/// Which end of a connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// We connected: what we send is masked, what we receive must not be.
    Client,
    /// We accepted: what we receive must be masked, what we send is not.
    Server,
}

/// What a publisher said a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// Bytes without further meaning.
    Binary,
    /// One JSON text (RFC 8259). Raw subscribers receive it as a text frame.
    Json,
    /// No payload: the message removes its key. Raw subscribers receive an empty text frame.
    Tombstone,
}

impl Kind {
    /// The opcode under which raw subscribers receive a payload of this kind.
    pub const fn opcode(self) -> Opcode {
        match self {
            Self::Text | Self::Json | Self::Tombstone => Opcode::Text,
            Self::Binary => Opcode::Binary,
        }
    }
}
