//! A subscriber inside the process, for threads and for async tasks of any runtime.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;
use fanfare_core::{Tap, TapEvent};
use fanfare_io::Wake;
use fanfare_wire::stream::Recovery;
use fanfare_wire::subscribe::Epoch;

use crate::message::Message;

/// What a subscription yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The topic's next message. JSON arrives as text here, a tombstone as an empty text, and keys do not arrive.
    Message {
        /// Its place in the topic.
        seq: u64,
        /// What was published.
        message: Message,
    },
    /// The subscriber fell so far behind that the topic's log dropped messages which it had not read.
    Gap {
        /// The first message that is lost to this subscriber.
        from: u64,
        /// The last one.
        to: u64,
    },
}

/// Nothing arrived in the time given to [`Subscription::recv_timeout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

impl std::fmt::Display for TimedOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no message arrived in time")
    }
}

impl std::error::Error for TimedOut {}

/// A topic's messages in order: from the moment of subscribing on, or from where
/// [`Engine::subscribe_from`](crate::Engine::subscribe_from) was told to
/// begin. Dropping it unsubscribes.
///
/// It is a cursor into the topic's log: it holds no queue, and what it has not read yet costs nothing of its own.
#[derive(Debug)]
pub struct Subscription {
    tap: Tap,
    bell: Arc<Bell>,
}

/// What the topic's home shard rings when an empty tap has something to read again.
#[derive(Debug, Default)]
pub(crate) struct Bell(AtomicWaker);

impl Wake for Bell {
    fn wake(&self) {
        self.0.wake();
    }
}

impl Subscription {
    pub(crate) fn new(tap: Tap, bell: Arc<Bell>) -> Self {
        Self { tap, bell }
    }

    /// The life of the topic in which its messages are counted. A topic that was forgotten, or outlived by its engine,
    /// counts from 1 again in another epoch.
    ///
    /// With [`Subscription::next_seq`] it says where to go on later:
    /// `Start::Since { seq: subscription.next_seq() - 1, epoch: subscription.epoch() }`.
    pub fn epoch(&self) -> Epoch {
        self.tap.epoch()
    }

    /// Whether the subscription goes on where [`Start::Since`](crate::Start::Since) asked it to. `None` if nothing was
    /// asked.
    pub fn recovery(&self) -> Option<Recovery> {
        self.tap.recovery()
    }

    /// The sequence number of the message that it reads next.
    pub fn next_seq(&self) -> u64 {
        self.tap.next_seq()
    }

    /// Waits for what is next. `None` when the engine has shut down and everything was read.
    pub fn recv(&mut self) -> Option<Delivery> {
        let waker = parker();
        loop {
            match self.poll_next(&mut Context::from_waker(&waker)) {
                Poll::Ready(next) => return next,
                Poll::Pending => thread::park(),
            }
        }
    }

    /// Waits for what is next, but not longer than `timeout`.
    ///
    /// # Errors
    /// [`TimedOut`] if nothing arrived.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Delivery>, TimedOut> {
        let start = Instant::now();
        let waker = parker();
        loop {
            if let Poll::Ready(next) = self.poll_next(&mut Context::from_waker(&waker)) {
                return Ok(next);
            }
            let left = timeout.checked_sub(start.elapsed()).filter(|left| !left.is_zero()).ok_or(TimedOut)?;
            thread::park_timeout(left);
        }
    }

    /// What is next, for an async task. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Delivery> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// [`Subscription::next`] for those who write futures and streams by hand.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        if let Some(event) = self.tap.poll() {
            return Poll::Ready(delivery(event));
        }
        self.bell.0.register(cx.waker());
        // What came before the waker stood rang for nobody.
        match self.tap.poll() {
            Some(event) => Poll::Ready(delivery(event)),
            None => Poll::Pending,
        }
    }
}

fn delivery(event: TapEvent) -> Option<Delivery> {
    match event {
        TapEvent::Message { seq, kind, payload } => {
            Some(Delivery::Message { seq, message: Message::valid(kind, payload) })
        }
        TapEvent::Gap { from, to } => Some(Delivery::Gap { from, to }),
        TapEvent::Closed => None,
    }
}

/// A waker that ends this thread's [`thread::park`]. Every wait of the thread uses the same one.
fn parker() -> Waker {
    struct Unpark(Thread);

    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    thread_local! {
        static PARKER: Waker = Waker::from(Arc::new(Unpark(thread::current())));
    }
    PARKER.with(Waker::clone)
}
