//! The null sink: the least that a broadcast server can do, to measure the generator against.
//!
//! It relays what publishers send to all subscribers, and guarantees nothing: there are no topics and no history, and a
//! subscriber that falls behind is dropped. In each turn all that publishers sent is framed once, and goes to each subscriber
//! in one send. Publishers connect to paths that begin with `/pub`, subscribers to any other.
//!
//! - `lines`: bytes on their way out
//! - `relay`: connections, and the loop

mod lines;
mod relay;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use fanfare_io::{Wake, Waker, affinity, limits, listen};

use crate::process::ThreadClock;
use relay::Relay;

/// More are not needed to find out what one core of the generator can do.
const CONNECTIONS_MAX: u64 = 16 * 1024;

/// A running sink. It ends when this is dropped.
#[derive(Debug)]
pub struct NullSink {
    addr: SocketAddr,
    clock: ThreadClock,
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl NullSink {
    /// Starts one on a thread of its own, which stays on `core` if one is given, at a free port of the loopback address.
    ///
    /// # Errors
    /// When the kernel refuses a ring, a port or the core; the text says what was refused.
    pub fn start(core: Option<usize>) -> io::Result<Self> {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = listen::bind(any_port, &listen::ListenOptions::default())?;
        let addr = listener.local_addr()?;
        // Refused in some sandboxes, where the limit that holds may still be enough.
        let open_files = limits::raise_open_files().or_else(|_| limits::open_files())?.soft;
        let connections_max = open_files.min(CONNECTIONS_MAX) as usize;
        let (stop, waker) = (Arc::<AtomicBool>::default(), Waker::new()?);
        let (started, outcome) = mpsc::channel();
        let thread = thread::Builder::new().name("null-sink".to_owned()).spawn({
            let (stop, waker) = (stop.clone(), waker.clone());
            move || {
                let made = prepare(core).and_then(|clock| {
                    let relay = Relay::new(listener, connections_max, &waker)?;
                    Ok((relay, clock))
                });
                serve(made, &started, &stop);
            }
        })?;
        let clock =
            outcome.recv().unwrap_or_else(|_| Err(io::Error::other("the null sink did not start")))?;
        Ok(Self { addr, clock, stop, waker, thread: Some(thread) })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Processor time that its thread has used. It may lag by some milliseconds while the sink works.
    ///
    /// # Errors
    /// When the sink has ended, which it does by itself only when its ring breaks.
    pub(crate) fn cpu_ns(&self) -> io::Result<u64> {
        self.clock.cpu_ns()
    }
}

impl Drop for NullSink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic there was printed there.
            let _ = thread.join();
        }
    }
}

fn prepare(core: Option<usize>) -> io::Result<ThreadClock> {
    if let Some(core) = core {
        affinity::pin(core).map_err(|error| {
            io::Error::new(error.kind(), format!("core {core} for the null sink: {error}"))
        })?;
    }
    ThreadClock::of_this_thread()
}

/// Says how the start went, and relays until told to stop.
fn serve(
    made: io::Result<(Relay, ThreadClock)>,
    started: &Sender<io::Result<ThreadClock>>,
    stop: &AtomicBool,
) {
    let (mut relay, clock) = match made {
        Ok(made) => made,
        Err(error) => {
            // Who started it waits for this.
            let _ = started.send(Err(error));
            return;
        }
    };
    if started.send(Ok(clock)).is_err() {
        return;
    }
    while !stop.load(Ordering::Relaxed) {
        // The connections close with the ring, which is how the generator hears of it.
        if relay.turn().is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
