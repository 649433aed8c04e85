//! The waiting side: a machine that lends its workers to one coordinator after the other.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::link::{Link, PATIENCE, Patience};
use super::secret::{Challenge, Challenges, SECRET_VARIABLE, Secret, Side};
use super::session::Session;
use super::wire::{Hello, Message};
use crate::party::{Order, Share, Word};
use crate::plan::Plan;

/// Where an agent listens unless told otherwise.
pub(crate) const LISTEN_DEFAULT: &str = "127.0.0.1:9310";

/// Connections at once, of which at most one is the coordinator's.
const GUESTS_MAX: usize = 32;

/// Before the next attempt when the kernel has no descriptor for a peer.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a coordinator waits for another one's workers to go: runs in a script follow close on each other.
const SEAT_TIMEOUT: Duration = Duration::from_secs(1);

/// What a machine has for a run, and what it tells the person at its terminal.
pub trait Host: Send + Sync + 'static {
    /// How many workers so many of the plan's connections need here.
    ///
    /// # Errors
    /// When this machine does not allow so many.
    fn workers_for(&self, plan: &Plan, connections: usize) -> Result<usize, String>;

    /// Starts a worker on a thread of its own. It takes orders until they hang up, and its last word is
    /// [`Word::Done`] or [`Word::Failed`]; if it cannot even start, that is said here.
    fn spawn(&self, plan: Arc<Plan>, share: Share, orders: Receiver<Order>, words: Sender<(usize, Word)>);

    /// One line about who comes and goes.
    fn log(&self, line: &str);

    /// The clock that its workers run on.
    fn now_ns(&self) -> u64 {
        fanfare_io::now_ns()
    }
}

/// Opens the agent's listener.
///
/// # Errors
/// When the address is no address, is taken, or could be reached by strangers and there is no secret.
pub fn listen(address: &str, secret: Option<&Secret>) -> Result<TcpListener, String> {
    let addresses = address.to_socket_addrs().map_err(|error| format!("{address}: {error}"))?;
    let addresses: Vec<SocketAddr> = addresses.collect();
    if secret.is_none() && !addresses.iter().all(|address| address.ip().is_loopback()) {
        return Err(format!(
            "an agent on {address} would send load for everyone who can reach it: give it a secret in {} or with \
             --secret-file, or listen on 127.0.0.1",
            SECRET_VARIABLE
        ));
    }
    TcpListener::bind(&addresses[..]).map_err(|error| format!("cannot listen on {address}: {error}"))
}

/// Lends `host` to one coordinator after the other, for as long as the process runs.
pub fn serve(listener: &TcpListener, secret: Option<Secret>, host: impl Host) -> ! {
    serve_with(listener, secret, host, PATIENCE)
}

pub(super) fn serve_with(
    listener: &TcpListener,
    secret: Option<Secret>,
    host: impl Host,
    patience: Patience,
) -> ! {
    let agent = Arc::new(Agent { secret, host: Arc::new(host), patience, seat: Seat::default() });
    let guests = Arc::new(AtomicUsize::new(0));
    loop {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                agent.host.log(&format!("cannot accept a connection: {error}"));
                thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        let Some(guest) = Guest::new(&guests) else { continue };
        let agent = Arc::clone(&agent);
        let welcome = move || {
            agent.welcome(stream, peer);
            drop(guest);
        };
        // A machine without a thread for it has hung up on the peer by that.
        let _ = thread::Builder::new().name("session".to_owned()).spawn(welcome);
    }
}

struct Agent<H> {
    secret: Option<Secret>,
    host: Arc<H>,
    patience: Patience,
    seat: Seat,
}

impl<H: Host> Agent<H> {
    /// Serves one peer until it goes.
    fn welcome(&self, stream: TcpStream, peer: SocketAddr) {
        let Ok(link) = Link::new(stream, self.patience).map(Arc::new) else { return };
        match self.admit(&link, peer) {
            Ok(seated) => {
                self.host.log(&format!("{peer} coordinates"));
                let end = Session::run(Arc::clone(&link), Arc::clone(&self.host));
                drop(seated);
                self.host.log(&format!("{peer} is gone: {end}"));
            }
            Err(why) => {
                self.host.log(&format!("refused {peer}: {why}"));
                // It may not want to know.
                let _ = link.send(Message::Refused(why));
            }
        }
        link.end();
    }

    /// Both sides prove who they are, and the peer takes the coordinator's seat.
    fn admit(&self, link: &Link, peer: SocketAddr) -> Result<Seated<'_>, String> {
        let deadline = link.handshake_deadline();
        let hear = || link.receive_before(deadline).map_err(|error| error.to_string());
        let Message::Hello(theirs) = hear()? else { return Err("it did not begin with a hello".to_owned()) };
        let ours = Hello::new(Challenge::new()?, self.secret.is_some());
        let challenges = Challenges { coordinator: theirs.challenge, agent: ours.challenge };
        link.send(Message::Hello(ours)).map_err(|error| error.to_string())?;
        theirs.check("coordinator")?;
        let Message::Prove(proof) = hear()? else { return Err("it did not prove who it is".to_owned()) };
        let proof = match (&self.secret, proof) {
            (Some(secret), Some(proof)) if secret.holds(&proof, Side::Coordinator, &challenges) => {
                Some(secret.prove(Side::Agent, &challenges))
            }
            (Some(_), Some(_)) => return Err("the coordinator's secret is not this agent's".to_owned()),
            (Some(_), None) => {
                return Err(format!(
                    "this agent wants a secret: give the coordinator the same in the variable {}",
                    SECRET_VARIABLE
                ));
            }
            (None, _) => None,
        };
        let seated = self.seat.take(peer)?;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let welcome = Message::Welcome { machine: host_name(), cores, proof };
        link.send(welcome).map_err(|error| error.to_string())?;
        Ok(seated)
    }
}

/// The coordinator's seat. Whose connection has it may have runs here.
#[derive(Default)]
struct Seat {
    taken_by: Mutex<Option<SocketAddr>>,
    left: Condvar,
}

struct Seated<'a>(&'a Seat);

impl Seat {
    fn take(&self, peer: SocketAddr) -> Result<Seated<'_>, String> {
        let taken_by = self.taken_by.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.left.wait_timeout_while(taken_by, SEAT_TIMEOUT, |taken_by| taken_by.is_some());
        let (mut taken_by, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = *taken_by {
            return Err(format!("this agent is busy with a run of {other}: one coordinator at a time"));
        }
        *taken_by = Some(peer);
        Ok(Seated(self))
    }
}

impl Drop for Seated<'_> {
    fn drop(&mut self) {
        *self.0.taken_by.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.0.left.notify_one();
    }
}

/// One of the connections that there may be at once.
struct Guest(Arc<AtomicUsize>);

impl Guest {
    fn new(guests: &Arc<AtomicUsize>) -> Option<Self> {
        let guest = Self(Arc::clone(guests));
        (guests.fetch_add(1, Ordering::Relaxed) < GUESTS_MAX).then_some(guest)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What this machine calls itself.
fn host_name() -> String {
    let name: io::Result<String> = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.map_or_else(|_| "unnamed".to_owned(), |name| name.trim().to_owned())
}
