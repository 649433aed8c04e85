//! A connection by itself that answers what it hears: the same ring, handshake, decoder and outbox as the load's
//! connections have, without a plan.

use std::io;
use std::time::Duration;

use fanfare_io::uring::{Bytes, Options};
use fanfare_io::{ConnId, Driver, Event, ReceiveEnd, SendShort, UringDriver, Wait, Waker};
use fanfare_wire::Role;
use fanfare_wire::close::{self, CloseCode};
use fanfare_wire::decode::{Decoder, Event as Said, Rules};
use fanfare_wire::deflate::Granted;
use fanfare_wire::frame::{self, Opcode};
use fanfare_wire::handshake::HeadLimits;
use fanfare_wire::handshake::client::{ClientHandshake, Response};

use super::deflate::{self, Breach, Compressors, Inflation};
use super::lifecycle::refusal;
use super::outbox::Outbox;
use super::{BUFFER_BYTES, BUFFER_COUNT, MESSAGE_BYTES_MAX, parse, resolve};
use crate::dialect::Frames;
use crate::random::Random;

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// It goes back as it came.
    Itself,
    Nothing,
}

/// A client for one connection.
pub(crate) struct EchoClient {
    driver: UringDriver,
    outbox: Outbox,
    rules: Rules,
    inflation: Inflation,
    compressors: Compressors,
    random: Random,
    /// How long the server may be silent.
    silence_max: Duration,
}

enum Stage {
    Connecting,
    /// The request is out; what came of the answer is kept.
    Upgrading(Box<ClientHandshake>, Vec<u8>),
    /// With what the server granted of permessage-deflate.
    Open(Box<Decoder>, Option<Granted>),
    /// A Close frame went out. The server ends the connection next (RFC 6455 section 7.1.1).
    Leaving,
    /// The driver closes it.
    Closing,
    Gone,
}

/// One connection, from the first packet to the last.
struct Conversation {
    conn: Option<ConnId>,
    stage: Stage,
    /// Why there was none, or why it was given up.
    failure: Option<String>,
}

impl EchoClient {
    /// # Errors
    /// What the machine does not allow, in a sentence.
    pub(crate) fn new(silence_max: Duration) -> Result<Self, String> {
        let options = Options {
            connections_max: 1,
            buffer_count: BUFFER_COUNT,
            buffer_bytes: BUFFER_BYTES,
            ..Options::default()
        };
        let random =
            Random::from_kernel().map_err(|error| format!("no randomness from the kernel: {error}"))?;
        let driver = Waker::new()
            .and_then(|waker| UringDriver::new(options, &waker))
            .map_err(|error| error.to_string())?;
        let rules = Rules {
            role: Role::Client,
            frame_bytes_max: MESSAGE_BYTES_MAX as u64,
            message_bytes_max: MESSAGE_BYTES_MAX,
            fragments_max: u32::MAX,
            compressed: false,
        };
        Ok(Self {
            driver,
            outbox: Outbox::new(1),
            rules,
            inflation: Inflation::default(),
            compressors: Compressors::default(),
            random,
            silence_max,
        })
    }

    /// Connects to `url`, gives each message to `hear`, and returns when the connection is gone. How the server ends it,
    /// and whether it keeps to the protocol, is the server's business.
    ///
    /// # Errors
    /// When there was no connection, or the server was silent for too long, in a sentence.
    pub(crate) fn converse(mut self, url: &str, hear: &mut dyn FnMut(&[u8]) -> Answer) -> Result<(), String> {
        let (address, (url, _)) = (resolve(url)?.address, parse(url)?);
        let handshake = ClientHandshake::new(&url, self.random.nonce(), &[], &[deflate::HEADER]);
        let handshake = handshake.expect("the header is good");
        let mut conversation = Conversation { conn: None, stage: Stage::Connecting, failure: None };
        self.driver.connect(0, None, address);
        let mut handshake = Some(Box::new(handshake));
        let silence_ns = u64::try_from(self.silence_max.as_nanos()).unwrap_or(u64::MAX);
        let mut heard_at = self.driver.now();
        while !matches!(conversation.stage, Stage::Gone) {
            let deadline = heard_at.saturating_add(silence_ns);
            self.outbox.begin();
            self.driver.submit(&self.outbox, Wait::Until(deadline)).map_err(|error| error.to_string())?;
            while let Some(event) = self.driver.next_event() {
                heard_at = self.driver.now();
                match event {
                    Event::Connected { conn, .. } => {
                        let handshake = handshake.take().expect("one connection was asked for");
                        self.outbox.line(conn).extend_from_slice(handshake.request());
                        conversation.conn = Some(conn);
                        conversation.stage = Stage::Upgrading(handshake, Vec::new());
                        self.driver.receive(conn);
                    }
                    Event::ConnectFailed { error, .. } => return Err(format!("connecting: {error}")),
                    Event::Received { conn, bytes } => self.received(&mut conversation, conn, bytes, hear),
                    Event::ReceiveEnded { conn, cause } => self.receive_ended(&mut conversation, conn, cause),
                    Event::SendShort { conn, sent, cause } => {
                        self.outbox.short(conn, sent);
                        let is_closing = matches!(conversation.stage, Stage::Closing);
                        if matches!(cause, SendShort::Full) && !is_closing {
                            self.driver.notify_writable(conn);
                        }
                    }
                    Event::Writable(conn) => self.outbox.writable(conn),
                    Event::Closed(conn) => {
                        self.outbox.reset(conn);
                        conversation.stage = Stage::Gone;
                    }
                    Event::Accepted { .. } | Event::AcceptStopped(_) => {
                        unreachable!("the driver has no listener")
                    }
                    Event::Woken => unreachable!("nobody has the waker"),
                }
            }
            self.outbox.settle();
            let now = self.driver.now();
            if now.saturating_sub(heard_at) >= silence_ns && !matches!(conversation.stage, Stage::Gone) {
                self.give_up(&mut conversation)?;
                // Closing takes its time too.
                heard_at = now;
            }
        }
        conversation.failure.map_or(Ok(()), Err)
    }

    /// The server says nothing any more.
    fn give_up(&mut self, conversation: &mut Conversation) -> Result<(), String> {
        let silence = humantime::format_duration(self.silence_max);
        let failure = format!("the server was silent for {silence}");
        // That is for the kernel to end, and it does not.
        if matches!(conversation.stage, Stage::Connecting | Stage::Closing) {
            return Err(failure);
        }
        conversation.failure.get_or_insert(failure);
        self.close(conversation);
        Ok(())
    }

    fn received(
        &mut self,
        conversation: &mut Conversation,
        conn: ConnId,
        mut bytes: Bytes,
        hear: &mut dyn FnMut(&[u8]) -> Answer,
    ) {
        let mut frames = &mut bytes[..];
        if let Stage::Upgrading(handshake, head) = &mut conversation.stage {
            let before = head.len();
            head.extend_from_slice(frames);
            match handshake.read_response(head, &HeadLimits::default()) {
                Ok(None) => return,
                Ok(Some((Response::Accepted { deflate, .. }, used))) => {
                    frames = &mut frames[used - before..];
                    conversation.stage = Stage::Open(Box::default(), deflate);
                }
                Ok(Some((Response::Refused { status, body, .. }, _))) => {
                    conversation.failure = Some(refusal(status, &body));
                    return self.close(conversation);
                }
                Err(error) => {
                    conversation.failure = Some(error.to_string());
                    return self.close(conversation);
                }
            }
        }
        let Stage::Open(decoder, granted) = &mut conversation.stage else { return };
        if let Some((code, reason)) = self.answer(decoder, *granted, conn, frames, hear) {
            close::write(self.outbox.line(conn), code, reason, Some(self.random.mask()));
            conversation.stage = Stage::Leaving;
        }
    }

    /// Answers what the server says. When that ends the connection, says with which code and reason.
    fn answer(
        &mut self,
        decoder: &mut Decoder,
        granted: Option<Granted>,
        conn: ConnId,
        mut frames: &mut [u8],
        hear: &mut dyn FnMut(&[u8]) -> Answer,
    ) -> Option<Breach> {
        let rules = Rules { compressed: granted.is_some(), ..self.rules };
        loop {
            let (text, payload) = match decoder.next(&rules, &mut frames) {
                Ok(None) => return None,
                Ok(Some(Said::Message { text, payload })) => (text, payload),
                Ok(Some(Said::Compressed { text, payload })) => match self.inflation.inflate(text, payload) {
                    Ok(payload) => (text, payload),
                    Err(breach) => return Some(breach),
                },
                Ok(Some(Said::Ping(payload))) => {
                    let key = Some(self.random.mask());
                    frame::write(self.outbox.line(conn), Opcode::Pong, true, payload, key);
                    continue;
                }
                Ok(Some(Said::Pong(_))) => continue,
                Ok(Some(Said::Close(frame))) => {
                    return Some((frame.map_or(CloseCode::NORMAL, |frame| frame.code), ""));
                }
                Err(error) => return Some((error.close_code(), error.reason())),
            };
            if hear(payload) == Answer::Itself {
                let compressor = granted.and_then(|granted| self.compressors.get(granted));
                let out = Frames::new(self.outbox.line(conn), &mut self.random);
                let mut out = out.compressing_from(0, compressor);
                if text { out.text_of(&[payload]) } else { out.binary(payload) }
            }
        }
    }

    fn receive_ended(&mut self, conversation: &mut Conversation, conn: ConnId, cause: ReceiveEnd) {
        let reason = match cause {
            ReceiveEnd::NoBuffers | ReceiveEnd::Paused => {
                if !matches!(conversation.stage, Stage::Closing) {
                    self.driver.receive(conn);
                }
                return;
            }
            ReceiveEnd::Eof => io::Error::from(io::ErrorKind::UnexpectedEof).to_string(),
            ReceiveEnd::Error(error) => error.to_string(),
        };
        if let Stage::Upgrading(handshake, head) = &conversation.stage {
            let answer = handshake.read_response_at_eof(head, &HeadLimits::default());
            conversation.failure = Some(match answer {
                Ok((Response::Refused { status, body, .. }, _)) => refusal(status, &body),
                Ok((Response::Accepted { .. }, _)) => reason,
                Err(error) => error.to_string(),
            });
        }
        self.close(conversation);
    }

    fn close(&mut self, conversation: &mut Conversation) {
        if let (Some(conn), false) = (conversation.conn, matches!(conversation.stage, Stage::Closing)) {
            conversation.stage = Stage::Closing;
            self.outbox.shut(conn);
            self.driver.close(conn);
        }
    }
}
