//! A well-behaved subscriber that reads all the time. Whatever its neighbours do, it must not notice.

use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};

use crate::raw::{CLOSE, Frame, Raw, close_payload};
use crate::server::{SOON, Server};

/// The subscriber, on a thread of its own.
#[derive(Debug)]
pub struct Witness {
    topic: String,
    messages: Receiver<Frame>,
    /// Ends with the code of the server's close frame, if one came.
    thread: JoinHandle<Option<u16>>,
    writer: Raw,
    said: u64,
}

impl Witness {
    /// Subscribes to a topic to which nobody but [`Witness::check`] will publish.
    pub fn new(server: &Server, topic: &str) -> Self {
        let mut raw = server.connect(&format!("/ws/{topic}"));
        let writer = raw.writer();
        let (tell, messages) = mpsc::channel();
        let thread = thread::spawn(move || {
            loop {
                let frame = raw.next_but_pings()?;
                if frame.opcode == CLOSE {
                    assert_eq!(raw.next_frame(), None, "nothing follows a close frame");
                    return Some(frame.close_code());
                }
                // Nobody may be interested any more.
                _ = tell.send(frame);
            }
        });
        Self { topic: topic.to_owned(), messages, thread, writer, said: 0 }
    }

    /// Publishes something, which must be the next thing it gets.
    pub fn check(&mut self, server: &Server) {
        self.said += 1;
        let text = format!("still here {}", self.said);
        server.publish(&self.topic, text.clone());
        self.expect(text.as_bytes());
    }

    /// The next message must have this payload.
    pub fn expect(&mut self, payload: &[u8]) {
        let frame = self.messages.recv_timeout(SOON).expect("the witness gets every message");
        assert!(frame.payload == payload, "the witness got {frame:?}");
    }

    /// Leaves. It must have been connected all the time, and have got nothing unexpected.
    pub fn leave(self) {
        assert_eq!(self.messages.try_recv().ok(), None, "the witness got too much");
        self.writer.send(CLOSE, &close_payload(1000, ""));
        let code = self.thread.join().expect("the witness read to the end");
        assert_eq!(code, Some(1000), "the witness was closed by others");
    }
}
