//! One connection between a coordinator and an agent, as both sides use it: one thread reads, any may write.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::wire::{self, MESSAGE_BYTES_MAX, Message, WireError};

/// How long the sides wait for each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Between two signs of life.
    pub(super) beat: Duration,
    /// Without a sign of life, until the other side is taken for gone. Also for what the network does not take.
    pub(super) silence: Duration,
    /// Until both have proved who they are.
    pub(super) handshake: Duration,
}

/// A machine that is cut off is noticed after ten seconds, and a beat or two may be late.
pub(super) const PATIENCE: Patience = Patience {
    beat: Duration::from_secs(2),
    silence: Duration::from_secs(10),
    handshake: Duration::from_secs(5),
};

#[derive(Debug)]
pub(super) struct Link {
    stream: TcpStream,
    /// Held while a message is written.
    writing: Mutex<()>,
    /// Why nothing more can be sent. The reader only sees that the connection ended.
    unsent: OnceLock<String>,
    patience: Patience,
}

impl Link {
    /// # Errors
    /// When the connection is gone already.
    pub(super) fn new(stream: TcpStream, patience: Patience) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(patience.silence))?;
        Ok(Self { stream, writing: Mutex::new(()), unsent: OnceLock::new(), patience })
    }

    /// The next message, a large one too.
    ///
    /// # Errors
    /// When there is none any more.
    pub(super) fn receive(&self) -> Result<Message, WireError> {
        let silence = self.patience.silence;
        self.stream.set_read_timeout(Some(silence))?;
        wire::decode(&mut &self.stream, MESSAGE_BYTES_MAX).map_err(|error| error.silent_for(silence))
    }

    /// The next message, of a peer that has to prove who it is: a small one, and all of it before `deadline`.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn receive_before(&self, deadline: Instant) -> Result<Message, WireError> {
        let mut hurried = Hurried { stream: &self.stream, deadline };
        wire::decode(&mut hurried, wire::HANDSHAKE_BYTES_MAX)
            .map_err(|error| error.silent_for(self.patience.handshake))
    }

    /// When a handshake that begins now has to be over.
    pub(super) fn handshake_deadline(&self) -> Instant {
        Instant::now() + self.patience.handshake
    }

    /// # Errors
    /// When it is too long, which leaves the connection as it was; or when it cannot be sent, which ends it.
    pub(super) fn send(&self, message: Message) -> Result<(), WireError> {
        let bytes = wire::encode(message)?;
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(&bytes)
    }

    /// Sends a message that says when it was sent: made after all others are out of the way.
    ///
    /// # Errors
    /// As `send`.
    pub(super) fn send_timed<T>(&self, make: impl FnOnce() -> (Message, T)) -> Result<T, WireError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let (message, time) = make();
        self.write(&wire::encode(message)?)?;
        Ok(time)
    }

    fn write(&self, bytes: &[u8]) -> Result<(), WireError> {
        (&self.stream).write_all(bytes).map_err(|error| {
            let error = WireError::from(error).silent_for(self.patience.silence);
            // The reader sees an end too, and only the first failure has a cause of its own.
            if !matches!(error, WireError::Closed) {
                self.unsent.get_or_init(|| format!("sending failed: {error}"));
            }
            self.end();
            error
        })
    }

    /// Ends the connection, for all threads that use it and for the peer.
    pub(super) fn end(&self) {
        // It may have ended already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Why the connection is over, given what its reader saw.
    pub(super) fn why(&self, seen: &WireError) -> String {
        self.unsent.get().cloned().unwrap_or_else(|| seen.to_string())
    }

    /// Shows signs of life from another thread, until what is returned is dropped.
    ///
    /// # Errors
    /// When the machine has no thread for that.
    pub(super) fn keep_alive(self: &Arc<Self>) -> io::Result<Sender<()>> {
        let (alive, ended) = mpsc::channel();
        let link = Arc::clone(self);
        thread::Builder::new().name("beats".to_owned()).spawn(move || {
            while ended.recv_timeout(link.patience.beat) == Err(RecvTimeoutError::Timeout) {
                if link.send(Message::Beat).is_err() {
                    return;
                }
            }
        })?;
        Ok(alive)
    }
}

/// Reads until a moment, however little comes at a time.
struct Hurried<'a> {
    stream: &'a TcpStream,
    deadline: Instant,
}

impl Read for Hurried<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(bytes)
    }
}
