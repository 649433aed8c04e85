//! An agent as the director of a run sees it: workers that take orders and say words, like those of this machine.

use std::collections::BTreeSet;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::clock::{Exchange, Offset};
use super::link::{Link, PATIENCE, Patience};
use super::secret::{Challenge, Challenges, Secret, Side};
use super::wire::{Hello, Message, WireError};
use crate::party::{Order, Word};
use crate::plan::{Plan, Server};
use crate::printable::printable_line;
use crate::report::MachineClock;

/// How long a machine may take to let itself be connected to.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an agent may take for an answer, such as to call off a run of many connections before the next.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How often an agent is asked for its time, unless that takes too long.
const EXCHANGES: usize = 64;
const EXCHANGES_MIN: usize = 8;
const EXCHANGES_TIME: Duration = Duration::from_secs(2);

/// A machine's part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// The index of its first worker, and how many it has.
    pub(crate) first: usize,
    pub(crate) workers: usize,
    /// Workers of all machines.
    pub(crate) count: usize,
    /// Tells the payloads of this run from those of others.
    pub(crate) run: u16,
}

/// A machine that takes part in runs. When this is dropped the machine is free again, and what it still does called off.
#[derive(Debug)]
pub struct Agent {
    machine: String,
    cores: usize,
    link: Arc<Link>,
    answers: Receiver<Answer>,
    standing: Arc<Mutex<Standing>>,
    /// How many runs have begun on it.
    runs: u32,
    before: Offset,
    /// That of `before`, for the threads that pass orders on.
    offset_ns: Arc<AtomicI64>,
    /// Signs of life, until it is dropped.
    _beats: Sender<()>,
}

/// What the agent answers to questions.
#[derive(Debug)]
enum Answer {
    Time { received_ns: u64, sent_ns: u64, answered_ns: u64 },
    Workers(Result<usize, String>),
    Begun(Result<(), String>),
}

/// How things are with the agent.
#[derive(Debug, Default)]
struct Standing {
    /// Why it is gone.
    gone: Option<String>,
    run: Option<Running>,
}

#[derive(Debug)]
struct Running {
    number: u32,
    words: Sender<(usize, Word)>,
    /// Workers that have not said their last word.
    unfinished: BTreeSet<usize>,
}

impl Agent {
    /// Takes the agent at `address`, such as `10.0.0.2:9310`, and compares the clocks.
    ///
    /// # Errors
    /// When there is none, when it is another version or busy, or when the secrets differ.
    pub fn connect(address: &str, secret: Option<&Secret>) -> Result<Self, String> {
        Self::connect_with(address, secret, PATIENCE)
    }

    pub(super) fn connect_with(
        address: &str,
        secret: Option<&Secret>,
        patience: Patience,
    ) -> Result<Self, String> {
        let fail = |error: &dyn std::fmt::Display| format!("the agent at {address}: {error}");
        let stream = open(address)?;
        let link = Arc::new(Link::new(stream, patience).map_err(|error| fail(&error))?);
        let (machine, cores) = introduce(&link, secret).map_err(|error| fail(&error))?;
        let machine = format!("{machine} ({address})");
        let beats = link.keep_alive().map_err(|error| fail(&error))?;
        let standing = Arc::new(Mutex::new(Standing::default()));
        let (answered, answers) = mpsc::channel();
        let listener = Listener {
            machine: machine.clone(),
            link: Arc::clone(&link),
            standing: Arc::clone(&standing),
            answered,
        };
        thread::Builder::new()
            .name("agent".to_owned())
            .spawn(move || listener.listen())
            .map_err(|error| fail(&error))?;
        let mut agent = Self {
            machine,
            cores,
            link,
            answers,
            standing,
            runs: 0,
            before: Offset::default(),
            offset_ns: Arc::default(),
            _beats: beats,
        };
        agent.synchronize()?;
        Ok(agent)
    }

    /// The machine's name and address, for people.
    pub fn machine(&self) -> &str {
        &self.machine
    }

    pub fn cores(&self) -> usize {
        self.cores
    }

    /// How many workers the machine needs for so many of the plan's connections.
    ///
    /// # Errors
    /// When it does not allow so many, or is gone.
    pub(crate) fn workers_for(&mut self, plan: &Plan, connections: usize) -> Result<usize, String> {
        self.send(Message::Ask { plan: Box::new(for_agents(plan)), connections })?;
        match self.answer()? {
            Answer::Workers(workers) => workers.map_err(|why| format!("{}: {why}", self.machine)),
            other => Err(self.nonsense(&other)),
        }
    }

    /// Compares the clocks. [`Order::Start`] goes by the last time that this was done: best just before it.
    ///
    /// # Errors
    /// When the agent is gone.
    pub(crate) fn synchronize(&mut self) -> Result<Offset, String> {
        self.before = self.compare_clocks()?;
        self.offset_ns.store(self.before.offset_ns, Ordering::Relaxed);
        Ok(self.before)
    }

    /// Compares the clocks again after a run, and says how they were before and after it.
    ///
    /// # Errors
    /// When the agent is gone.
    pub(crate) fn clock(&mut self) -> Result<MachineClock, String> {
        let after = self.compare_clocks()?;
        Ok(MachineClock {
            machine: self.machine.clone(),
            offset_before_ns: self.before.offset_ns,
            offset_after_ns: after.offset_ns,
            uncertainty_ns: self.before.uncertainty_ns.max(after.uncertainty_ns),
        })
    }

    /// Starts the machine's part of a run: one sender of orders for each of its workers, in their order. They say
    /// their words in `words`; if the agent is lost, [`Word::Failed`] is said for each that is not done. To drop a
    /// sender calls its worker off.
    ///
    /// # Errors
    /// When the machine cannot take part.
    pub(crate) fn begin(
        &mut self,
        plan: &Plan,
        part: Part,
        words: Sender<(usize, Word)>,
    ) -> Result<Vec<Sender<Order>>, String> {
        self.runs += 1;
        let number = self.runs;
        // Workers may have something to say before the agent has said that they are there.
        let unfinished = (part.first..part.first + part.workers).collect();
        lock(&self.standing).run = Some(Running { number, words, unfinished });
        let begun = self.begin_numbered(number, plan, part);
        if begun.is_err() {
            lock(&self.standing).run = None;
        }
        begun
    }

    fn begin_numbered(&self, number: u32, plan: &Plan, part: Part) -> Result<Vec<Sender<Order>>, String> {
        self.send(Message::Begin { number, plan: Box::new(for_agents(plan)), part })?;
        match self.answer()? {
            Answer::Begun(begun) => begun.map_err(|why| format!("{}: {why}", self.machine))?,
            other => return Err(self.nonsense(&other)),
        }
        (part.first..part.first + part.workers)
            .map(|worker| {
                let (orders, given) = mpsc::channel();
                let link = Arc::clone(&self.link);
                let offset_ns = Arc::clone(&self.offset_ns);
                let messenger = Messenger { link, offset_ns, number, worker };
                thread::Builder::new()
                    .name("orders".to_owned())
                    .spawn(move || messenger.carry(&given))
                    .map_err(|error| format!("no thread for the orders to {}: {error}", self.machine))?;
                Ok(orders)
            })
            .collect()
    }

    /// Asks for the time again and again.
    fn compare_clocks(&self) -> Result<Offset, String> {
        let began = Instant::now();
        let mut exchanges = Vec::with_capacity(EXCHANGES);
        while exchanges.len() < EXCHANGES
            && (exchanges.len() < EXCHANGES_MIN || began.elapsed() < EXCHANGES_TIME)
        {
            let asked_ns = self
                .link
                .send_timed(|| (Message::Ping, fanfare_io::now_ns()))
                .map_err(|error| self.lost(&error))?;
            match self.answer()? {
                Answer::Time { received_ns, sent_ns, answered_ns } => exchanges.push(Exchange {
                    asked_ns,
                    agent_received_ns: received_ns,
                    agent_sent_ns: sent_ns,
                    answered_ns,
                }),
                other => return Err(self.nonsense(&other)),
            }
        }
        Ok(Offset::of(&exchanges).expect("it was asked at least once"))
    }

    fn send(&self, message: Message) -> Result<(), String> {
        self.link.send(message).map_err(|error| self.lost(&error))
    }

    fn answer(&self) -> Result<Answer, String> {
        self.answers.recv_timeout(ANSWER_TIMEOUT).map_err(|error| match error {
            RecvTimeoutError::Disconnected => self.lost(&WireError::Closed),
            RecvTimeoutError::Timeout => {
                // An answer that comes late would be taken for that to the next question.
                self.link.end();
                format!("{} gave no answer for {} s", self.machine, ANSWER_TIMEOUT.as_secs())
            }
        })
    }

    /// Why the agent is gone, given what is seen of it here.
    fn lost(&self, error: &WireError) -> String {
        let known = lock(&self.standing).gone.clone();
        known.unwrap_or_else(|| gone(&self.machine, &self.link.why(error)))
    }

    fn nonsense(&self, answer: &Answer) -> String {
        self.link.end();
        format!("{} answered another question: {answer:?}", self.machine)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.link.end();
    }
}

fn open(address: &str) -> Result<TcpStream, String> {
    let addresses = address.to_socket_addrs().map_err(|error| format!("{address}: {error}"))?;
    let mut why = "the name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => why = error.to_string(),
        }
    }
    Err(format!("cannot reach the agent at {address}: {why}; does fanfare-loadgen agent listen there?"))
}

/// Both sides prove who they are. Returns the machine's name and its cores.
fn introduce(link: &Link, secret: Option<&Secret>) -> Result<(String, usize), String> {
    let deadline = link.handshake_deadline();
    let hear = || match link.receive_before(deadline) {
        Ok(Message::Refused(why)) => Err(format!("it refused: {}", printable_line(&why))),
        Ok(message) => Ok(message),
        Err(error) => Err(error.to_string()),
    };
    let say = |message| link.send(message).map_err(|error| error.to_string());

    let ours = Hello::new(Challenge::new()?, secret.is_some());
    let coordinator = ours.challenge;
    say(Message::Hello(ours))?;
    let Message::Hello(theirs) = hear()? else { return Err("it did not begin with a hello".to_owned()) };
    theirs.check("agent")?;
    if secret.is_some() && !theirs.secret {
        return Err("it has no secret, and here is one: start it with the same".to_owned());
    }
    let challenges = Challenges { coordinator, agent: theirs.challenge };
    say(Message::Prove(secret.map(|secret| secret.prove(Side::Coordinator, &challenges))))?;
    let Message::Welcome { machine, cores, proof } = hear()? else {
        return Err("it neither welcomed nor refused".to_owned());
    };
    let proved = match (secret, proof) {
        (Some(secret), Some(proof)) => secret.holds(&proof, Side::Agent, &challenges),
        (Some(_), None) => false,
        (None, _) => true,
    };
    if !proved {
        return Err("it could not prove that it has the secret: it may be somebody else's".to_owned());
    }
    Ok((printable_line(&machine), cores))
}

/// The plan without what only this machine can do.
fn for_agents(plan: &Plan) -> Plan {
    Plan { server: Server::default(), ..plan.clone() }
}

fn gone(machine: &str, why: &str) -> String {
    format!("the agent on {machine} is gone: {why}")
}

fn lock(standing: &Mutex<Standing>) -> MutexGuard<'_, Standing> {
    standing.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hears what the agent says.
struct Listener {
    machine: String,
    link: Arc<Link>,
    standing: Arc<Mutex<Standing>>,
    answered: Sender<Answer>,
}

impl Listener {
    fn listen(self) {
        let why = self.hear();
        self.link.end();
        let mut standing = lock(&self.standing);
        let sentence = gone(&self.machine, &why);
        if let Some(run) = standing.run.take() {
            for worker in run.unfinished {
                // The director may be gone too.
                let _ = run.words.send((worker, Word::Failed(sentence.clone())));
            }
        }
        standing.gone = Some(sentence);
    }

    /// Returns why there is no more to hear.
    fn hear(&self) -> String {
        loop {
            let answer = match self.link.receive() {
                Ok(Message::Beat) => continue,
                Ok(Message::Word { number, worker, word }) => {
                    self.pass(number, worker, word);
                    continue;
                }
                Ok(Message::Pong { received_ns, sent_ns }) => {
                    Answer::Time { received_ns, sent_ns, answered_ns: fanfare_io::now_ns() }
                }
                Ok(Message::Workers(workers)) => Answer::Workers(workers),
                Ok(Message::Begun(begun)) => Answer::Begun(begun),
                Ok(Message::Refused(why)) => return format!("it says: {}", printable_line(&why)),
                Ok(_) => return "it said what only a coordinator says".to_owned(),
                Err(error) => return self.link.why(&error),
            };
            if self.answered.send(answer).is_err() {
                return "nobody here needs it any more".to_owned();
            }
        }
    }

    /// Tells the director what a worker says.
    fn pass(&self, number: u32, worker: usize, word: Word) {
        let mut standing = lock(&self.standing);
        let Some(run) = standing.run.as_mut().filter(|run| run.number == number) else { return };
        if !run.unfinished.contains(&worker) {
            return;
        }
        let word = match word {
            Word::Failed(why) => Word::Failed(format!("{}: {why}", self.machine)),
            other => other,
        };
        if matches!(word, Word::Done(_) | Word::Failed(_)) {
            run.unfinished.remove(&worker);
        }
        let over = run.unfinished.is_empty();
        // The director may have given up on the run.
        let _ = run.words.send((worker, word));
        if over {
            standing.run = None;
        }
    }
}

/// Carries a director's orders to one worker.
struct Messenger {
    link: Arc<Link>,
    offset_ns: Arc<AtomicI64>,
    number: u32,
    worker: usize,
}

impl Messenger {
    /// Returns when the director hangs up, or when the agent is gone, which others tell.
    fn carry(&self, given: &Receiver<Order>) {
        let (number, worker) = (self.number, self.worker);
        for order in given {
            let order = match order {
                Order::Start { epoch_ns } => {
                    let offset_ns = self.offset_ns.load(Ordering::Relaxed);
                    Order::Start { epoch_ns: Offset::in_agent_time(offset_ns, epoch_ns) }
                }
                other => other,
            };
            if self.link.send(Message::Order { number, worker, order }).is_err() {
                return;
            }
        }
        // As above.
        let _ = self.link.send(Message::HangUp { number, worker });
    }
}
