//! Messages between a coordinator and an agent, and how they travel.
//!
//! A message is eight bytes of lengths, JSON, and the flights of an interval if it has any:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | how many bytes of JSON, big-endian |
//! | 4 | how many flights, big-endian |
//! | | the JSON |
//! | 36 each | slot, intended, first and last in 8 bytes each, received in 4; little-endian |
//!
//! Flights are the bulk: each worker tells one for each message of the run. 100 000 of them, a second of a fast run,
//! take 3.6 MB like this, 1.5 ms to write and 1.7 ms to read; as JSON it was 9.3 MB, 8.9 ms and 18.9 ms
//! (`cargo test --release -p fanfare-loadgen --lib packed_flights -- --nocapture`).
//! All the rest is small, and JSON does not care how its types are derived.

use std::fmt;
use std::io::{self, Read};
use std::mem;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::coordinator::Part;
use super::secret::{Challenge, Proof};
use crate::observed::{Flight, Interval};
use crate::party::{Order, Word};
use crate::plan::Plan;
use crate::printable::printable_line;

/// The longest message, with its flights. Plans may carry a file of payloads.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// The longest message before both sides have proved who they are.
pub(super) const HANDSHAKE_BYTES_MAX: usize = 4096;

const LENGTHS_BYTES: usize = 8;
const FLIGHT_BYTES: usize = 36;

/// What the first message of both sides begins with.
const PROGRAM: &str = "fanfare-loadgen";

/// Everything that is said. Above the line, once at the beginning.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// The first of each side.
    Hello(Hello),
    /// The coordinator's second; `None` when it has no secret.
    Prove(Option<Proof>),
    /// The agent lets the coordinator in.
    Welcome {
        machine: String,
        cores: usize,
        proof: Option<Proof>,
    },
    /// The agent does not; or something was said that makes no sense. The connection ends.
    Refused(String),
    // ---
    /// Nothing, but the sender lives.
    Beat,
    /// What time is it?
    Ping,
    /// When the question came and when the answer left, in the agent's time.
    Pong {
        received_ns: u64,
        sent_ns: u64,
    },
    /// How many workers for so many of the plan's connections?
    Ask {
        plan: Box<Plan>,
        connections: usize,
    },
    Workers(Result<usize, String>),
    /// Start the workers of a run. `number` tells the runs of one connection apart.
    Begin {
        number: u32,
        plan: Box<Plan>,
        part: Part,
    },
    Begun(Result<(), String>),
    Order {
        number: u32,
        worker: usize,
        order: Order,
    },
    /// The director has dropped a worker's orders.
    HangUp {
        number: u32,
        worker: usize,
    },
    Word {
        number: u32,
        worker: usize,
        word: Word,
    },
}

/// Both have to run the same version, or a plan might mean something else on the other machine. What a hello looks like
/// must not change, so that other versions can say so.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    program: String,
    version: String,
    pub(super) challenge: Challenge,
    /// Whether this side has a secret.
    pub(super) secret: bool,
}

/// Why there is no further message.
#[derive(Debug)]
pub(super) enum WireError {
    /// The peer ended the connection between two messages.
    Closed,
    /// The peer ended the connection within a message.
    Truncated,
    /// Longer than allowed: hardly a message at all.
    TooLong {
        bytes: u64,
        bytes_max: usize,
    },
    /// Not what this program writes.
    Garbage(String),
    /// Nothing came, or nothing could be sent, for so long.
    Silent(Duration),
    Io(io::Error),
}

impl Hello {
    pub(super) fn new(challenge: Challenge, secret: bool) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Self { program: PROGRAM.to_owned(), version: version.to_owned(), challenge, secret }
    }

    /// # Errors
    /// When the peer is something else, or of another version.
    pub(super) fn check(&self, peer: &str) -> Result<(), String> {
        let version = env!("CARGO_PKG_VERSION");
        if self.program != PROGRAM || self.version != version {
            return Err(format!(
                "the {peer} is {} {}, and this is {PROGRAM} {version}: install the same version on all machines",
                printable_line(&self.program),
                printable_line(&self.version)
            ));
        }
        Ok(())
    }
}

/// The message as it travels.
///
/// # Errors
/// When it is too long.
pub(super) fn encode(mut message: Message) -> Result<Vec<u8>, WireError> {
    let flights = flights_of(&mut message).map(mem::take).unwrap_or_default();
    let mut bytes = vec![0; LENGTHS_BYTES];
    serde_json::to_writer(&mut bytes, &message).map_err(|error| WireError::Garbage(error.to_string()))?;
    let json = bytes.len() - LENGTHS_BYTES;
    let total = json + flights.len() * FLIGHT_BYTES;
    if total > MESSAGE_BYTES_MAX {
        return Err(WireError::TooLong { bytes: total as u64, bytes_max: MESSAGE_BYTES_MAX });
    }
    bytes[..4].copy_from_slice(&(json as u32).to_be_bytes());
    bytes[4..LENGTHS_BYTES].copy_from_slice(&(flights.len() as u32).to_be_bytes());
    bytes.reserve_exact(flights.len() * FLIGHT_BYTES);
    flights.iter().for_each(|flight| bytes.extend_from_slice(&pack(flight)));
    Ok(bytes)
}

/// Reads one message of at most `bytes_max` bytes.
///
/// # Errors
/// When there is none. The connection is of no use any more then.
pub(super) fn decode(from: &mut impl Read, bytes_max: usize) -> Result<Message, WireError> {
    let mut lengths = Vec::with_capacity(LENGTHS_BYTES);
    from.take(LENGTHS_BYTES as u64).read_to_end(&mut lengths)?;
    let [j0, j1, j2, j3, f0, f1, f2, f3] = lengths[..] else {
        return Err(if lengths.is_empty() { WireError::Closed } else { WireError::Truncated });
    };
    let json = u32::from_be_bytes([j0, j1, j2, j3]) as usize;
    let flights = u32::from_be_bytes([f0, f1, f2, f3]) as usize;
    let total = json as u64 + flights as u64 * FLIGHT_BYTES as u64;
    if total > bytes_max as u64 {
        return Err(WireError::TooLong { bytes: total, bytes_max });
    }
    // Memory is taken as bytes come, not as lengths claim.
    let mut bytes = Vec::new();
    from.take(total).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != total {
        return Err(WireError::Truncated);
    }
    let (json, packed) = bytes.split_at(json);
    let mut message = serde_json::from_slice(json).map_err(|error| WireError::Garbage(error.to_string()))?;
    if let Some(place) = flights_of(&mut message) {
        place.extend(packed.as_chunks().0.iter().map(unpack));
    } else if flights > 0 {
        return Err(WireError::Garbage("flights without an interval".to_owned()));
    }
    Ok(message)
}

/// What travels behind the JSON.
fn flights_of(message: &mut Message) -> Option<&mut Vec<Flight>> {
    match message {
        Message::Word { word: Word::Interval(interval), .. } => {
            let Interval { flights, .. } = &mut **interval;
            Some(flights)
        }
        _ => None,
    }
}

fn pack(flight: &Flight) -> [u8; FLIGHT_BYTES] {
    let mut bytes = [0; FLIGHT_BYTES];
    let words = [flight.slot, flight.intended, flight.first, flight.last];
    for (place, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *place = word.to_le_bytes();
    }
    bytes[32..].copy_from_slice(&flight.received.to_le_bytes());
    bytes
}

fn unpack(bytes: &[u8; FLIGHT_BYTES]) -> Flight {
    let (words, rest) = bytes.as_chunks::<8>();
    let word = |index: usize| u64::from_le_bytes(words[index]);
    let received = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
    Flight { slot: word(0), intended: word(1), first: word(2), last: word(3), received }
}

impl WireError {
    /// Names the time that ran out, if that is what happened.
    pub(super) fn silent_for(self, time: Duration) -> Self {
        match self {
            // What a socket with a timeout says depends on the system.
            Self::Io(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                Self::Silent(time)
            }
            other => other,
        }
    }
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // A reset is how an end is told to who still had something to say.
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("it ended the connection"),
            Self::Truncated => f.write_str("the connection ended in the middle of a message"),
            Self::TooLong { bytes, bytes_max } => {
                write!(
                    f,
                    "a message of {bytes} bytes, where {bytes_max} are allowed: not {PROGRAM}, or a too long interval"
                )
            }
            Self::Garbage(error) => write!(f, "a message that makes no sense: {}", printable_line(error)),
            Self::Silent(time) => write!(f, "not a byte for {} s", time.as_secs_f64()),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::agents::tests::plan;

    fn interval(flights: Vec<Flight>) -> Message {
        let word = Word::Interval(Box::new(Interval { index: 3, sent: 8, flights, ..Interval::default() }));
        Message::Word { number: 1, worker: 2, word }
    }

    fn flights(count: u64) -> Vec<Flight> {
        let flight = |slot| {
            let intended = 60_000_000_000 + slot * 10_000;
            Flight { slot, intended, first: intended + 123_456, last: intended + 987_654, received: 5_000 }
        };
        (0..count).map(flight).collect()
    }

    fn flights_in(message: Message) -> Vec<Flight> {
        let Message::Word { number: 1, worker: 2, word: Word::Interval(interval) } = message else {
            panic!("an interval went in: {message:?}");
        };
        assert_eq!((interval.index, interval.sent), (3, 8));
        interval.flights
    }

    proptest! {
        #[test]
        fn flights_travel_unchanged(
            parts in prop::collection::vec(any::<(u64, u64, u64, u64, u32)>(), 0..40),
        ) {
            let flights: Vec<_> = parts.into_iter().map(|(slot, intended, first, last, received)| {
                Flight { slot, intended, first, last, received }
            }).collect();
            let bytes = encode(interval(flights.clone())).expect("short enough");
            let mut from = &bytes[..];
            prop_assert_eq!(flights_in(decode(&mut from, MESSAGE_BYTES_MAX).expect("a message")), flights);
            prop_assert!(from.is_empty());
        }

        #[test]
        fn rates_travel_to_the_last_bit(rate in 1e-3f64..1e9) {
            let mut plan = plan();
            plan.pace.per_second = Some(rate);
            let bytes = encode(Message::Ask { plan: Box::new(plan), connections: 1 }).expect("short enough");
            let Message::Ask { plan, .. } = decode(&mut &bytes[..], MESSAGE_BYTES_MAX).expect("a message") else {
                panic!("a question went in");
            };
            prop_assert_eq!(plan.pace.per_second, Some(rate));
        }

        #[test]
        fn no_garbage_is_too_absurd(bytes in prop::collection::vec(any::<u8>(), 0..60), json in 0u8..40) {
            let _ = decode(&mut &bytes[..], MESSAGE_BYTES_MAX);
            let with_lengths = [&[0, 0, 0, json, 0, 0, 0, 0], &bytes[..]].concat();
            let _ = decode(&mut &with_lengths[..], MESSAGE_BYTES_MAX);
        }
    }

    #[test]
    fn what_is_cut_short_is_told_from_what_has_ended() {
        let bytes = encode(interval(flights(2))).expect("short enough");
        for length in 0..bytes.len() {
            let error = decode(&mut &bytes[..length], MESSAGE_BYTES_MAX).expect_err("it is cut");
            match length {
                0 => assert!(matches!(error, WireError::Closed), "{error:?}"),
                _ => assert!(matches!(error, WireError::Truncated), "{length}: {error:?}"),
            }
        }
    }

    #[test]
    fn lengths_are_bounded_before_anything_is_read() {
        for (lengths, fits) in [
            ([0, 0, 0, 100, 0, 0, 0, 0], true),
            ([0, 0, 0, 101, 0, 0, 0, 0], false),
            ([0, 0, 0, 64, 0, 0, 0, 1], true),
            ([0, 0, 0, 65, 0, 0, 0, 1], false),
            ([0xff; 8], false),
            (*b"GET / HT", false),
        ] {
            let error = decode(&mut &lengths[..], 100).expect_err("there is nothing behind the lengths");
            assert_eq!(matches!(error, WireError::Truncated), fits, "{lengths:?}: {error:?}");
            assert_eq!(matches!(error, WireError::TooLong { .. }), !fits, "{lengths:?}: {error:?}");
        }
        let too_many = MESSAGE_BYTES_MAX / FLIGHT_BYTES + 1;
        let error = encode(interval(vec![Flight::default(); too_many])).expect_err("it is too long");
        assert!(matches!(error, WireError::TooLong { .. }), "{error:?}");
    }

    #[test]
    fn flights_belong_to_intervals() {
        let bytes = [&[0, 0, 0, 6, 0, 0, 0, 1], &b"\"Beat\""[..], &[0; FLIGHT_BYTES]].concat();
        let error = decode(&mut &bytes[..], MESSAGE_BYTES_MAX).expect_err("a beat has no flights");
        assert!(matches!(error, WireError::Garbage(_)), "{error:?}");
        let beat = decode(&mut &[&[0, 0, 0, 6, 0, 0, 0, 0], &b"\"Beat\""[..]].concat()[..], 100);
        assert!(matches!(beat, Ok(Message::Beat)), "{beat:?}");
    }

    /// Prints what this file's header claims: the least of many rounds, since the machine may do something else too.
    #[test]
    fn packed_flights_take_less_than_half_of_their_json() {
        let all = flights(100_000);
        let mut least = [Duration::MAX; 4];
        let mut took = |index: usize, began: Instant| least[index] = least[index].min(began.elapsed());
        let mut sizes = [0; 2];
        for _ in 0..3 {
            let began = Instant::now();
            let text = serde_json::to_vec(&all).expect("numbers");
            took(0, began);
            let began = Instant::now();
            let read: Vec<Flight> = serde_json::from_slice(&text).expect("numbers");
            took(1, began);
            assert_eq!(read, all);

            let message = interval(all.clone());
            let began = Instant::now();
            let bytes = encode(message).expect("short enough");
            took(2, began);
            let began = Instant::now();
            let read = decode(&mut &bytes[..], MESSAGE_BYTES_MAX).expect("a message");
            took(3, began);
            assert_eq!(flights_in(read), all);
            sizes = [text.len(), bytes.len()];
        }
        assert!(2 * sizes[1] < sizes[0], "{sizes:?}");
        for (name, bytes, times) in [("json", sizes[0], &least[..2]), ("packed", sizes[1], &least[2..])] {
            println!("{name}: {bytes} bytes, {:?} to write, {:?} to read", times[0], times[1]);
        }
    }
}
