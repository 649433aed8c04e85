//! One coordinator's time with an agent: it asks, begins runs, and gives their workers orders.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use super::agent::Host;
use super::coordinator::Part;
use super::link::Link;
use super::wire::{Message, WireError};
use crate::party::{Order, Share, Word};
use crate::plan::Plan;

/// More threads than any machine has cores.
const WORKERS_MAX: usize = 4096;

pub(super) struct Session<H> {
    link: Arc<Link>,
    host: Arc<H>,
    run: Option<Running>,
}

/// A run's workers on this machine, under way or just done.
struct Running {
    number: u32,
    first: usize,
    /// `None` once the director has dropped them.
    orders: Vec<Option<Sender<Order>>>,
    reporter: JoinHandle<()>,
}

impl<H: Host> Session<H> {
    /// Does what the coordinator says until it is gone; returns how that came.
    pub(super) fn run(link: Arc<Link>, host: Arc<H>) -> String {
        let beats = match link.keep_alive() {
            Ok(beats) => beats,
            Err(error) => return format!("no thread for signs of life: {error}"),
        };
        let mut session = Self { link, host, run: None };
        let end = session.obey();
        // Workers that still have something to say find nobody who listens.
        session.link.end();
        session.call_off();
        drop(beats);
        end
    }

    fn obey(&mut self) -> String {
        loop {
            let message = match self.link.receive() {
                Ok(message) => message,
                Err(error) => {
                    let why = self.link.why(&error);
                    if !matches!(error, WireError::Closed) {
                        // The connection may be worse off than that.
                        let _ = self.link.send(Message::Refused(why.clone()));
                    }
                    return why;
                }
            };
            let answered = match message {
                Message::Beat => Ok(()),
                Message::Ping => self.tell_time(),
                Message::Ask { plan, connections } => {
                    self.link.send(Message::Workers(self.host.workers_for(&plan, connections)))
                }
                Message::Begin { number, plan, part } => {
                    let begun = self.begin(number, *plan, part);
                    self.link.send(Message::Begun(begun))
                }
                Message::Order { number, worker, order } => {
                    self.pass(number, worker, Some(order));
                    Ok(())
                }
                Message::HangUp { number, worker } => {
                    self.pass(number, worker, None);
                    Ok(())
                }
                _ => {
                    let why = "it said what only an agent says".to_owned();
                    // As above.
                    let _ = self.link.send(Message::Refused(why.clone()));
                    return why;
                }
            };
            if let Err(error) = answered {
                return self.link.why(&error);
            }
        }
    }

    fn tell_time(&self) -> Result<(), WireError> {
        let received_ns = self.host.now_ns();
        self.link.send_timed(|| (Message::Pong { received_ns, sent_ns: self.host.now_ns() }, ()))
    }

    /// Starts the workers of a run. If another one is still under way it is called off.
    fn begin(&mut self, number: u32, plan: Plan, part: Part) -> Result<(), String> {
        self.call_off();
        let end = part.first.checked_add(part.workers).filter(|&end| end <= part.count);
        let Some(end) = end.filter(|_| part.workers <= WORKERS_MAX) else {
            return Err(format!(
                "{} workers from {} of {}: no such part",
                part.workers, part.first, part.count
            ));
        };
        let (words, heard) = mpsc::channel();
        let reporter =
            Reporter { link: Arc::clone(&self.link), number, unfinished: (part.first..end).collect() };
        let reporter = thread::Builder::new()
            .name("reporter".to_owned())
            .spawn(move || reporter.report(&heard))
            .map_err(|error| format!("no thread for reports: {error}"))?;
        let plan = Arc::new(plan);
        let cores = &plan.place.cores;
        let orders = (0..part.workers).map(|local| {
            let core = cores.get(local % cores.len().max(1)).copied();
            let share = Share { index: part.first + local, count: part.count, run: part.run, core };
            let (orders, taken) = mpsc::channel();
            self.host.spawn(Arc::clone(&plan), share, taken, words.clone());
            Some(orders)
        });
        self.run = Some(Running { number, first: part.first, orders: orders.collect(), reporter });
        self.host.log(&format!("run of {}: {} of {} workers here", plan.title, part.workers, part.count));
        Ok(())
    }

    /// Gives a worker its order, or hangs up. What is meant for workers that are done comes too late.
    fn pass(&mut self, number: u32, worker: usize, order: Option<Order>) {
        let Some(run) = self.run.as_mut().filter(|run| run.number == number) else { return };
        let Some(orders) = worker.checked_sub(run.first).and_then(|local| run.orders.get_mut(local)) else {
            return;
        };
        match (order, &orders) {
            (Some(order), Some(worker)) => {
                // It reports by itself that it failed.
                let _ = worker.send(order);
            }
            (_, _) => *orders = None,
        }
    }

    /// Hangs up on all workers, and waits until they are gone.
    fn call_off(&mut self) {
        if let Some(Running { orders, reporter, .. }) = self.run.take() {
            drop(orders);
            if reporter.join().is_err() {
                self.host.log("the thread that reports what workers say has panicked");
            }
        }
    }
}

/// Tells the coordinator what workers say.
struct Reporter {
    link: Arc<Link>,
    number: u32,
    unfinished: BTreeSet<usize>,
}

impl Reporter {
    /// Returns when all workers are gone.
    fn report(mut self, heard: &Receiver<(usize, Word)>) {
        for (worker, word) in heard {
            self.say(worker, word);
        }
        for worker in self.unfinished.clone() {
            self.say(worker, Word::Failed("a worker ended without a word".to_owned()));
        }
    }

    fn say(&mut self, worker: usize, word: Word) {
        if !self.unfinished.contains(&worker) {
            return;
        }
        if matches!(word, Word::Done(_) | Word::Failed(_)) {
            self.unfinished.remove(&worker);
        }
        let number = self.number;
        let told = self.link.send(Message::Word { number, worker, word });
        if let Err(error @ (WireError::TooLong { .. } | WireError::Garbage(_))) = told {
            self.unfinished.remove(&worker);
            let word = Word::Failed(format!("a worker has something to tell that cannot travel: {error}"));
            // When the connection is gone the coordinator knows what became of its workers.
            let _ = self.link.send(Message::Word { number, worker, word });
        }
    }
}
