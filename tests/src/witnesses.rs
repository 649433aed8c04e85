//! Well-behaved peers of a server that others attack: subscribers that must get every message in order, all the time,
//! and a publisher that must be acknowledged.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::raw::{CLOSE, Frame, Raw, close_payload};
use crate::server::SOON;

/// The topic that is theirs alone.
const TOPIC: &str = "witnessed";

/// How long the publisher rests after each acknowledgement.
const REST: Duration = Duration::from_millis(2);

/// Enough that the kernel gives each shard some of them.
const RAW: usize = 3;
const STREAMS: usize = 3;

/// How many messages after a moment everybody must have before that moment counts as survived.
const MORE: u64 = 3;

#[derive(Debug)]
pub struct Witnesses {
    is_over: Arc<AtomicBool>,
    /// The number of the last message that was acknowledged.
    published: Arc<AtomicU64>,
    /// Ends with that number.
    publisher: JoinHandle<u64>,
    readers: Vec<Reader>,
}

#[derive(Debug)]
struct Reader {
    /// The number of the last message that it got.
    seen: Arc<AtomicU64>,
    /// Ends with the code of the server's close frame, if one came.
    thread: JoinHandle<Option<u16>>,
    writer: Raw,
}

impl Reader {
    fn start(mut raw: Raw, expected: fn(u64) -> String) -> Self {
        let seen = Arc::new(AtomicU64::new(0));
        let (tell, writer) = (Arc::clone(&seen), raw.writer());
        let thread = thread::spawn(move || {
            for number in 1.. {
                let frame = raw.next_but_pings()?;
                if frame.opcode == CLOSE {
                    let reason = frame.payload.get(2..).unwrap_or_default().escape_ascii();
                    eprintln!(
                        "a witness is closed behind message {}: {} {reason}",
                        number - 1,
                        frame.close_code()
                    );
                    assert_eq!(raw.next_frame(), None, "nothing follows a close frame");
                    return Some(frame.close_code());
                }
                assert!(is(&frame, &expected(number)), "a witness expected {number} and got {frame:?}");
                tell.store(number, Ordering::Release);
            }
            None
        });
        Self { seen, thread, writer }
    }
}

fn is(frame: &Frame, text: &str) -> bool {
    frame.text() == text
}

impl Witnesses {
    /// How many connections they have.
    pub const CONNECTIONS: u64 = (RAW + STREAMS + 1) as u64;

    /// Connects them all and begins.
    pub fn new(addr: SocketAddr) -> Self {
        let mut readers = Vec::new();
        for _ in 0..RAW {
            readers.push(Reader::start(Raw::connect(addr, &format!("/ws/{TOPIC}")), |number| {
                number.to_string()
            }));
        }
        for _ in 0..STREAMS {
            let mut raw = Raw::connect(addr, &format!("/stream?topics={TOPIC}"));
            assert_eq!(raw.json()["ok"], true);
            let expected = |number| format!("{{\"topic\":\"{TOPIC}\",\"seq\":{number},\"data\":{number}}}");
            readers.push(Reader::start(raw, expected));
        }
        let (is_over, published) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let publisher = thread::spawn({
            let (raw, is_over, published) =
                (Raw::connect(addr, "/stream"), Arc::clone(&is_over), Arc::clone(&published));
            move || publish(raw, &is_over, &published)
        });
        let mut witnesses = Self { is_over, published, publisher, readers };
        witnesses.check();
        witnesses
    }

    /// Waits until some messages of this very time were acknowledged and have reached them all.
    pub fn check(&mut self) {
        self.wait_until_all_have(self.published.load(Ordering::Acquire) + MORE);
    }

    fn wait_until_all_have(&self, number: u64) {
        let deadline = Instant::now() + SOON;
        let has = |reader: &Reader| reader.seen.load(Ordering::Acquire) >= number;
        while !self.readers.iter().all(has) {
            assert!(
                !self.readers.iter().any(|reader| reader.thread.is_finished()),
                "a witness was disconnected"
            );
            let publishes = self.is_over.load(Ordering::Relaxed) || !self.publisher.is_finished();
            assert!(publishes, "the witnesses' publisher failed");
            assert!(Instant::now() < deadline, "the witnesses do not get message {number}");
            thread::sleep(Duration::from_micros(500));
        }
    }

    /// Leaves with everything that was published, and as well-behaved as ever. Returns how much that was.
    pub fn leave(mut self) -> u64 {
        self.check();
        self.is_over.store(true, Ordering::Relaxed);
        while !self.publisher.is_finished() {
            thread::sleep(REST);
        }
        let last = self.published.load(Ordering::Acquire);
        self.wait_until_all_have(last);
        assert_eq!(self.publisher.join().expect("the publisher was acknowledged to the end"), last);
        for reader in self.readers {
            reader.writer.send(CLOSE, &close_payload(1000, ""));
            let code = reader.thread.join().expect("the witness read to the end");
            assert_eq!(code, Some(1000), "a witness was closed by others");
            assert_eq!(reader.seen.load(Ordering::Acquire), last);
        }
        last
    }
}

/// Publishes a number after the other, each when the one before is acknowledged.
fn publish(mut raw: Raw, is_over: &AtomicBool, published: &AtomicU64) -> u64 {
    let mut number = 0;
    while !is_over.load(Ordering::Relaxed) {
        number += 1;
        let args = json!({"topic": TOPIC, "data": number});
        raw.send_text(&json!({"op": "publish", "args": args, "id": number}).to_string());
        let reply = raw.json();
        assert_eq!((&reply["ok"], &reply["seq"]), (&json!(true), &json!(number)), "{reply}");
        published.store(number, Ordering::Release);
        thread::sleep(REST);
    }
    raw.close();
    number
}
