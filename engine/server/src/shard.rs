//! A shard's thread: it makes the driver, which belongs to the thread that made it, and runs the loop.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};
use std::{io, process};

use fanfare_core::{Seat, Shard};
use fanfare_io::uring::Options;
use fanfare_io::{UringDriver, Waker, affinity};

/// A shard that makes its driver.
pub(crate) struct Starting {
    thread: JoinHandle<()>,
    made: Receiver<io::Result<()>>,
    run: SyncSender<()>,
}

/// A shard that has its driver and waits to be let run. Dropping it ends it.
pub(crate) struct Made {
    thread: JoinHandle<()>,
    run: SyncSender<()>,
}

/// Starts a shard's thread, on its own core if one is given.
pub(crate) fn start(seat: Seat, options: Options, waker: Waker, core: Option<usize>) -> io::Result<Starting> {
    let (made_tell, made) = mpsc::sync_channel(1);
    let (run, run_told) = mpsc::sync_channel(1);
    let index = seat.index();
    let thread = thread::Builder::new().name(format!("fanfare-{index}")).spawn(move || {
        if let Some(core) = core
            && let Err(error) = affinity::pin(core)
        {
            tracing::warn!(shard = index, core, %error, "the shard's thread is not pinned to its core");
        }
        let driver = match UringDriver::new(options, &waker) {
            Ok(driver) => driver,
            Err(error) => {
                _ = made_tell.send(Err(error));
                return;
            }
        };
        _ = made_tell.send(Ok(()));
        // An error says that another shard could not be made, and that nothing runs.
        if run_told.recv().is_ok() {
            run_or_die(seat, driver);
        }
    })?;
    Ok(Starting { thread, made, run })
}

impl Starting {
    /// Waits for the driver.
    pub(crate) fn made(self) -> io::Result<Made> {
        let ended = || Err(io::Error::other("the shard's thread ended while it made its ring"));
        self.made.recv().unwrap_or_else(|_| ended())?;
        Ok(Made { thread: self.thread, run: self.run })
    }
}

impl Made {
    /// Lets the shard run.
    pub(crate) fn run(self) -> JoinHandle<()> {
        // It waits for nothing else, so it hears this.
        _ = self.run.send(());
        self.thread
    }
}

/// Runs a shard to its end. A shard that fails takes the process with it: its topics would stand still and its connections
/// hang, while everything else looked well.
fn run_or_die(seat: Seat, driver: UringDriver) {
    let index = seat.index();
    let outcome = catch_unwind(AssertUnwindSafe(|| Shard::new(seat, driver).run()));
    let why = match outcome {
        Ok(Ok(())) => return,
        Ok(Err(error)) => format!("its ring is broken: {error}"),
        Err(_) => "it panicked; the message above says where".to_owned(),
    };
    // Not through the log: that can be filtered, and may be what panicked.
    eprintln!(
        "fanfare: shard {index} failed, and an engine cannot go on without it: {why}. The process ends. Please report \
         this with the lines above: it is a defect of Fanfare, whatever its peers sent."
    );
    process::abort();
}
