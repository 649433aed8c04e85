//! Keeps the control port served: whatever befalls its thread, shards and connections do not notice, and another thread
//! goes on at the same address.
//!
//! A life is one thread with a runtime and everything that runs in it. The listening socket belongs to the keeper, so who
//! connects between two lives waits and is not refused.

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::watch;

use super::Shared;
use super::shield::words;
use crate::engine::StartError;

/// From the end of one life to the next: one that always fails must not keep a core busy, nor fill the log.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// Its sender's end is the control port's end.
pub(super) type Stopped = watch::Receiver<()>;

/// What a life needs from the keeper.
pub(super) struct Keeper<L> {
    pub(super) listener: TcpListener,
    pub(super) shared: Shared,
    pub(super) stopped: Stopped,
    /// Makes what is run on a life's thread.
    pub(super) life: Arc<L>,
}

/// How a life ended.
enum End {
    /// As it was told to.
    Stopped,
    /// It did not begin.
    Failed(StartError),
    Panicked(String),
}

impl<L, F> Keeper<L>
where
    L: Fn(tokio::net::TcpListener, Shared, Stopped) -> F + Send + Sync + 'static,
    F: Future<Output = ()>,
{
    /// Starts the first life, and the thread that sees to it that there is another one if it fails.
    ///
    /// # Errors
    /// If the first life does not begin.
    pub(super) fn start(self) -> Result<JoinHandle<()>, StartError> {
        let (tell, told) = mpsc::sync_channel(1);
        let keeper = thread::Builder::new().name("fanfare-keeper".to_owned());
        let keeper = keeper.spawn(move || self.keep(&tell)).map_err(StartError::Thread)?;
        let ended = || Err(StartError::Thread(io::Error::other("the control port's thread ended")));
        told.recv().unwrap_or_else(|_| ended())?;
        Ok(keeper)
    }

    fn keep(self, tell: &SyncSender<Result<(), StartError>>) {
        let mut is_first = true;
        loop {
            match self.live(tell.clone()) {
                End::Stopped => return,
                End::Failed(error) if is_first => {
                    _ = tell.send(Err(error));
                    return;
                }
                End::Failed(error) => tracing::error!(%error, "the control port is not served; trying again"),
                End::Panicked(panic) => {
                    self.shared.counters.panicked();
                    tracing::error!(panic, "the control port's thread panicked; it is started anew");
                }
            }
            is_first = false;
            thread::sleep(RESTART_PAUSE);
            if self.stopped.has_changed().is_err() {
                return;
            }
            self.shared.counters.restarted();
        }
    }

    /// One life, from its beginning to its end. `tell` hears of the beginning; nobody may listen any more.
    fn live(&self, tell: SyncSender<Result<(), StartError>>) -> End {
        let (listener, shared, stopped) =
            (self.listener.try_clone(), self.shared.clone(), self.stopped.clone());
        let life = self.life.clone();
        let thread = thread::Builder::new().name("fanfare-control".to_owned()).spawn(move || {
            let runtime = tokio_uring::Runtime::new(&tokio_uring::builder())?;
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener?)?;
                _ = tell.try_send(Ok(()));
                life(listener, shared, stopped).await;
                Ok(())
            })
        });
        match thread.map(JoinHandle::join) {
            Ok(Ok(Ok(()))) => End::Stopped,
            Ok(Ok(Err(error))) => End::Failed(StartError::Driver(error)),
            Ok(Err(panic)) => End::Panicked(words(&*panic).to_owned()),
            Err(error) => End::Failed(StartError::Thread(error)),
        }
    }
}
