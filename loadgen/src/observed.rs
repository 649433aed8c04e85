//! What was observed, in parts that can be put together: of workers, of machines.

use serde::{Deserialize, Serialize};

use crate::latency::Latency;
use crate::reasons::Reasons;

/// What one worker observed in one interval of the time line. Times are nanoseconds since the run's epoch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Interval {
    /// Which one, counted from the epoch.
    pub index: u32,
    /// Messages published.
    pub sent: u64,
    /// Messages that steady subscribers received.
    pub delivered: u64,
    /// Bytes that all subscribers received.
    pub bytes: u64,
    /// Connections that stand at its end, and those that were lost until then.
    pub connected: u64,
    pub lost: u64,
    /// Subscribers that came back and went on where they had left, and those that could not.
    pub recovered: u64,
    pub recoveries_failed: u64,
    /// Processor time of the worker's thread.
    pub cpu_ns: u64,
    /// Of steady subscribers, measured messages only.
    pub response: Latency,
    pub service: Latency,
    pub send_lag: Latency,
    /// The part of it in which the server would have taken the message.
    pub own_lag: Latency,
    /// Messages as this worker's steady subscribers saw them.
    pub flights: Vec<Flight>,
}

/// One message on its way to one worker's steady subscribers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flight {
    pub slot: u64,
    /// When it was due.
    pub intended: u64,
    /// When the first and the last subscriber received it.
    pub first: u64,
    pub last: u64,
    pub received: u32,
}

/// What one worker observed in the whole run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Observed {
    pub counts: Counts,
    pub clock: Clock,
    /// From the first packet to ready, of all connections.
    pub connect: Latency,
    pub lost: Lost,
    pub deflated: Deflated,
    /// How often the server told a subscriber that it restarts.
    pub draining: u64,
    pub others: Others,
    /// When a steady subscriber received a measured message for the last time, in nanoseconds since the run's epoch.
    pub last_delivery: u64,
    /// System calls of the ring while the measurement lasted.
    pub enters: u64,
    /// Processor time of the worker's thread until all was delivered.
    pub cpu_ns: u64,
    /// Processor time while the worker published, and how long that took.
    pub publishing_cpu_ns: u64,
    pub publishing_ns: u64,
    /// How much of that the worker's thread waited for a core that others used.
    pub waited_ns: u64,
    /// The core that one worker was kept on. Says nothing once several are merged.
    pub core: Option<usize>,
}

/// Deliveries to steady subscribers, and what was wrong with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub expected: u64,
    /// Messages of which an intact copy arrived, each counted once for each subscriber.
    pub delivered: u64,
    /// Messages of which no intact copy arrived, except those that the server said it left out.
    pub missing: u64,
    /// Messages that did not arrive and that the server said it left out.
    pub announced: u64,
    pub duplicate: u64,
    pub reordered: u64,
    /// Also missing, unless an intact copy came too.
    pub corrupt: u64,
    /// Messages of another room.
    pub misrouted: u64,
    /// Intact messages of other runs.
    pub foreign: u64,
    /// Subscribers with anything missing, duplicate, reordered, corrupt or misrouted.
    pub subscribers_affected: u64,
}

/// Latencies that clocks which differ made negative. They are in no histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    pub negative: u64,
    /// The most negative of them, in nanoseconds; positive.
    pub worst_ns: u64,
}

/// Connections that ended before the run did, though nobody here asked for that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    pub subscribers: u64,
    pub publishers: u64,
    pub reasons: Reasons,
}

/// What permessage-deflate did, if it was offered: from the first connection to the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deflated {
    /// Connections to which the server granted it.
    pub subscribers: u64,
    pub publishers: u64,
    /// Messages to subscribers, and how many of them came compressed.
    pub messages: u64,
    pub compressed: u64,
    /// What subscribers received in all, and what was in their messages once these were inflated.
    pub wire_bytes: u64,
    pub payload_bytes: u64,
}

/// Subscribers that are not steady.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Others {
    pub stalled: Ended,
    pub slow: Ended,
    pub pausing: Ended,
    pub returning: Ended,
    /// From reading again to the first message that was due after that.
    pub catch_up: Latency,
    /// From leaving to ready again.
    pub reconnect: Latency,
    /// How often one of those who return left, and could come back.
    pub left: u64,
    pub returned: u64,
    /// Why some could not, at first or for good.
    pub refused: Reasons,
    /// Those who came back and heard nothing, though others did.
    pub silent: u64,
    /// When the last one that left in a storm was back, in nanoseconds after the storm began.
    pub all_back_ns: Option<u64>,
    /// Those of them that went on where they had left, and those that were to and could not.
    pub recovered: u64,
    pub recoveries_failed: u64,
    /// From leaving until a recovered one had all that was published until it was back.
    pub recovery: Latency,
    /// When the last one that left in a storm had, in nanoseconds after the storm began.
    pub all_caught_up_ns: Option<u64>,
}

/// What became of subscribers of one kind.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ended {
    pub subscribers: u64,
    pub delivered: u64,
    /// Within what one connection should have seen.
    pub missing: u64,
    pub announced: u64,
    pub duplicate: u64,
    pub reordered: u64,
    pub corrupt: u64,
    pub lost: Reasons,
}
