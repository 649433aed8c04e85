//! Coordinators and agents over real connections, with workers that only pretend.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use super::agent::serve_with;
use super::link::{PATIENCE, Patience};
use super::*;
use crate::observed::{Counts, Flight, Interval, Observed};
use crate::party::{Order, Share, Word};
use crate::plan::{Place, Plan, Server};
use crate::reasons::Reasons;
use crate::testing;

/// Far more than anything here takes, on however busy a machine.
const LONG: Duration = Duration::from_secs(60);

const FLIGHTS: u64 = 100_000;

pub(super) fn plan() -> Plan {
    Plan {
        place: Place { cores: vec![4, 6], ..Place::default() },
        server: Server { pid: Some(17), syscalls: true },
        ..testing::plan(10, 1, 1)
    }
}

/// What happens at a fake agent, in order.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Spawned { share: (usize, usize, u16, Option<usize>), server_pid: Option<u32> },
    Epoch(u64),
    CalledOff(usize),
    Log(String),
}

struct Fake {
    seen: Sender<Seen>,
    clock_offset_ns: i64,
}

impl Host for Fake {
    fn workers_for(&self, _plan: &Plan, connections: usize) -> Result<usize, String> {
        if connections > 1000 {
            Err("the limit of open files is 1000".to_owned())
        } else {
            Ok(connections / 100)
        }
    }

    fn spawn(&self, plan: Arc<Plan>, share: Share, orders: Receiver<Order>, words: Sender<(usize, Word)>) {
        let seen = self.seen.clone();
        let described = (share.index, share.count, share.run, share.core);
        let _ = seen.send(Seen::Spawned { share: described, server_pid: plan.server.pid });
        thread::spawn(move || work(share.index, &orders, &words, &seen));
    }

    fn log(&self, line: &str) {
        let _ = self.seen.send(Seen::Log(line.to_owned()));
    }

    fn now_ns(&self) -> u64 {
        fanfare_io::now_ns().strict_add_signed(self.clock_offset_ns)
    }
}

fn flight(slot: u64) -> Flight {
    Flight { slot, intended: slot * 10, first: slot * 10 + 3, last: slot * 10 + 7, received: 5 }
}

/// A worker that has an answer to everything. Worker 13 ends without a word.
fn work(index: usize, orders: &Receiver<Order>, words: &Sender<(usize, Word)>, seen: &Sender<Seen>) {
    let say = |word| {
        let _ = words.send((index, word));
    };
    say(Word::Connected { ready: index as u64, failed: Reasons::default(), steady_by_room: vec![1] });
    for order in orders {
        match order {
            Order::Start { epoch_ns } => {
                let _ = seen.send(Seen::Epoch(epoch_ns));
                if index == 13 {
                    return;
                }
                let mut interval = Interval { sent: 7, ..Interval::default() };
                interval.response.record(1_000_000 * (index as u64 + 1));
                interval.flights = (0..FLIGHTS).map(flight).collect();
                say(Word::Interval(Box::new(interval)));
                say(Word::Published { sent: vec![index as u32] });
            }
            Order::Stop => {}
            Order::Drain { .. } => say(Word::Drained),
            Order::Close => {
                let counts = Counts { delivered: 100 + index as u64, ..Counts::default() };
                return say(Word::Done(Box::new(Observed { counts, ..Observed::default() })));
            }
        }
    }
    let _ = seen.send(Seen::CalledOff(index));
}

fn secret() -> Secret {
    Secret::new("a secret that is long enough").expect("it is")
}

/// An agent on a port of its own.
fn agent(secret: Option<Secret>, clock_offset_ns: i64, patience: Patience) -> (SocketAddr, Receiver<Seen>) {
    let listener = listen("127.0.0.1:0", secret.as_ref()).expect("a free port");
    let address = listener.local_addr().expect("it listens");
    let (seen, events) = mpsc::channel();
    thread::spawn(move || serve_with(&listener, secret, Fake { seen, clock_offset_ns }, patience));
    (address, events)
}

fn connect(address: SocketAddr) -> Agent {
    Agent::connect(&address.to_string(), None).expect("a coordinator's seat")
}

/// Waits until the agent has seen what `wanted` recognises.
fn wait_for<T>(events: &Receiver<Seen>, mut wanted: impl FnMut(&Seen) -> Option<T>) -> T {
    loop {
        let event = events.recv_timeout(LONG).expect("it should have come");
        if let Some(found) = wanted(&event) {
            return found;
        }
    }
}

fn log_with(part: &str) -> impl FnMut(&Seen) -> Option<String> {
    move |event| match event {
        Seen::Log(line) if line.contains(part) => Some(line.clone()),
        _ => None,
    }
}

fn called_off(event: &Seen) -> Option<usize> {
    match event {
        Seen::CalledOff(index) => Some(*index),
        _ => None,
    }
}

/// The next words of so many workers, sorted by worker.
fn hear(words: &Receiver<(usize, Word)>, count: usize) -> Vec<(usize, Word)> {
    let mut heard: Vec<_> =
        (0..count).map(|_| words.recv_timeout(LONG).expect("each worker has a word")).collect();
    heard.sort_by_key(|&(worker, _)| worker);
    heard
}

fn give(orders: &[Sender<Order>], order: &Order) {
    orders.iter().for_each(|worker| worker.send(order.clone()).expect("the agent is there"));
}

fn part(first: usize, workers: usize, count: usize) -> Part {
    Part { first, workers, count, run: 99 }
}

#[test]
fn a_run_on_two_machines_lives_its_whole_life_and_another_one_follows() {
    let (here, _) = agent(Some(secret()), 0, PATIENCE);
    let (there, seen) = agent(Some(secret()), 5_000_000_000, PATIENCE);
    let mut agents =
        [here, there].map(|address| Agent::connect(&address.to_string(), Some(&secret())).expect("a seat"));
    for _ in 0..2 {
        let (words, heard) = mpsc::channel();
        let [one, two] = &mut agents;
        let mut orders = one.begin(&plan(), part(0, 2, 5), words.clone()).expect("workers");
        orders.extend(two.begin(&plan(), part(2, 3, 5), words).expect("workers"));
        assert_eq!(orders.len(), 5);
        for (index, (worker, word)) in hear(&heard, 5).into_iter().enumerate() {
            let Word::Connected { ready, .. } = word else { panic!("{word:?}") };
            assert_eq!((worker, ready), (index, index as u64));
        }
        let offset = two.synchronize().expect("it is there");
        let epoch_ns = fanfare_io::now_ns() + 1_000_000;
        give(&orders, &Order::Start { epoch_ns });
        for (index, pair) in hear(&heard, 10).chunks(2).enumerate() {
            let [(_, Word::Interval(interval)), (_, Word::Published { sent })] = pair else {
                panic!("{pair:?}");
            };
            assert_eq!(sent, &[index as u32]);
            assert_eq!(interval.sent, 7);
            assert_eq!(interval.flights.len() as u64, FLIGHTS);
            assert!(interval.flights.iter().zip(0..).all(|(&seen, slot)| seen == flight(slot)));
            let response = interval.response.spectrum();
            assert!(response.max.abs_diff(1_000_000 * (index as u64 + 1)) <= response.max / 1000);
        }
        give(&orders, &Order::Drain { sent: vec![5] });
        assert!(hear(&heard, 5).iter().all(|(_, word)| matches!(word, Word::Drained)));
        give(&orders, &Order::Close);
        for (index, (_, word)) in hear(&heard, 5).into_iter().enumerate() {
            let Word::Done(observed) = word else { panic!("{word:?}") };
            assert_eq!(observed.counts.delivered, 100 + index as u64);
        }
        // All have said their last word, so nobody holds the other end.
        assert!(heard.recv_timeout(LONG).is_err_and(|error| error == mpsc::RecvTimeoutError::Disconnected));

        let spawned = |event: &Seen| match event {
            Seen::Spawned { share, server_pid } => Some((*share, *server_pid)),
            _ => None,
        };
        let shares: Vec<_> = (0..3).map(|_| wait_for(&seen, spawned)).collect();
        let core = |index: usize| Some([4, 6][index % 2]);
        assert_eq!(shares, [2, 3, 4].map(|index| ((index, 5, 99, core(index)), None)));
        for _ in 0..3 {
            let told = wait_for(&seen, |event| match event {
                Seen::Epoch(ns) => Some(*ns),
                _ => None,
            });
            assert_eq!(told, epoch_ns.strict_add_signed(offset.offset_ns));
            assert!(told.abs_diff(epoch_ns + 5_000_000_000) <= offset.uncertainty_ns, "{told} {offset:?}");
        }
    }
    let clock = agents[1].clock().expect("it is there");
    let uncertainty = clock.uncertainty_ns as i64;
    assert!((clock.offset_before_ns - 5_000_000_000).abs() <= uncertainty, "{clock:?}");
    assert!((clock.offset_after_ns - 5_000_000_000).abs() <= uncertainty, "{clock:?}");
    assert!(clock.machine.ends_with(&format!("({there})")), "{clock:?}");
}

#[test]
fn a_machine_says_how_many_workers_it_has() {
    let (address, _) = agent(None, 0, PATIENCE);
    let mut agent = connect(address);
    assert_eq!(agent.workers_for(&plan(), 400), Ok(4));
    let refused = agent.workers_for(&plan(), 4000).expect_err("too many");
    assert_eq!(refused, format!("{}: the limit of open files is 1000", agent.machine()));
    assert!(agent.cores() > 0);
    let (words, _heard) = mpsc::channel();
    let wrong = agent.begin(&plan(), part(4, 2, 5), words).expect_err("worker 5 of 5");
    assert!(wrong.ends_with("2 workers from 4 of 5: no such part"), "{wrong}");
    assert_eq!(agent.workers_for(&plan(), 400), Ok(4));
}

#[test]
fn strangers_are_not_let_in() {
    let other = Secret::new("another secret, also long").expect("it is");
    for (theirs, ours, sentence) in [
        (Some(secret()), Some(other.clone()), "it refused: the coordinator's secret is not this agent's"),
        (Some(secret()), None, "it refused: this agent wants a secret"),
        (None, Some(other), "it has no secret, and here is one"),
    ] {
        let (address, seen) = agent(theirs.clone(), 0, PATIENCE);
        let error = Agent::connect(&address.to_string(), ours.as_ref()).expect_err(sentence);
        assert!(error.contains(sentence), "{error}");
        wait_for(&seen, log_with("refused 127.0.0.1:"));
        // And it goes on.
        Agent::connect(&address.to_string(), theirs.as_ref()).expect("the right secret");
    }
}

#[test]
fn addresses_that_strangers_can_reach_need_a_secret() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let error = listen(address, None).expect_err("strangers could reach it");
        assert!(error.contains("give it a secret in FANFARE_LOADGEN_SECRET"), "{error}");
    }
    assert!(listen("127.0.0.1:0", None).is_ok());
    assert!(listen("0.0.0.0:0", Some(&secret())).is_ok());
    assert!(LISTEN_DEFAULT.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback()));
    let error = listen("127.0.0.1", None).expect_err("there is no port");
    assert!(error.starts_with("127.0.0.1: "), "{error}");
}

/// A message as the table in `wire` says, by other means.
fn raw(json: &str) -> Vec<u8> {
    [&(json.len() as u32).to_be_bytes()[..], &[0; 4], json.as_bytes()].concat()
}

fn raw_hello(version: &str) -> Vec<u8> {
    let challenge = format!("{:?}", [7; 32]);
    raw(&format!(
        r#"{{"Hello":{{"program":"fanfare-loadgen","version":"{version}","challenge":{challenge},"secret":false}}}}"#
    ))
}

#[test]
fn versions_have_to_be_the_same() {
    let (address, seen) = agent(None, 0, PATIENCE);
    let mut old = TcpStream::connect(address).expect("it listens");
    old.write_all(&raw_hello("0.0.1")).expect("it reads");
    let line = wait_for(&seen, log_with("refused"));
    assert!(line.contains("the coordinator is fanfare-loadgen 0.0.1, and this is"), "{line}");
    let mut answer = Vec::new();
    old.read_to_end(&mut answer).expect("it ends the connection");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("install the same version on all machines"), "{answer}");

    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it listens");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the coordinator");
        let _ = stream.write_all(&raw_hello("99.0.0"));
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let error = Agent::connect(&address.to_string(), None).expect_err("it is another version");
    assert!(error.contains("the agent is fanfare-loadgen 99.0.0, and this is"), "{error}");
}

#[test]
fn garbage_from_strangers_changes_nothing() {
    let (address, seen) = agent(None, 0, PATIENCE);
    for (bytes, sentence) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "bytes, where 4096 are allowed: not fanfare-loadgen"),
        (vec![0xff; 100], "are allowed"),
        (vec![0, 0, 0, 50, 0, 0, 0, 0, b'{'], "in the middle of a message"),
        (raw("{\"Hello\":17}"), "a message that makes no sense"),
        (raw("{\"Begin\":17}"), "a message that makes no sense"),
        (raw("\"Ping\""), "it did not begin with a hello"),
        (raw(r#"{"\u001b[2J":1}"#), "unknown variant `?[2J`"),
        ([raw_hello(env!("CARGO_PKG_VERSION")), raw("\"Ping\"")].concat(), "it did not prove who it is"),
        (Vec::new(), "it ended the connection"),
    ] {
        let mut stranger = TcpStream::connect(address).expect("it listens");
        stranger.write_all(&bytes).expect("it reads");
        stranger.shutdown(Shutdown::Write).expect("no more to say");
        let line = wait_for(&seen, log_with("refused"));
        assert!(line.contains(sentence), "{line}");
    }
    connect(address);
}

/// A coordinator that passes the handshake by hand.
fn raw_coordinator(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(&raw_hello(env!("CARGO_PKG_VERSION"))).expect("it reads");
    stream.write_all(&raw("{\"Prove\":null}")).expect("it reads");
    stream
}

#[test]
fn garbage_from_a_coordinator_ends_its_time_only() {
    let (address, seen) = agent(None, 0, PATIENCE);
    for (bytes, sentence) in [
        (raw("{\"Begin\":17}"), "a message that makes no sense"),
        (vec![0xff; 8], "where 67108864 are allowed"),
        (raw("\"Begun\""), "makes no sense"),
        (raw("{\"Workers\":{\"Ok\":1}}"), "it said what only an agent says"),
        (vec![0, 0, 0, 50, 0, 0, 0, 0, b'{'], "in the middle of a message"),
    ] {
        let mut stream = raw_coordinator(address);
        wait_for(&seen, log_with("coordinates"));
        stream.write_all(&bytes).expect("it reads");
        stream.shutdown(Shutdown::Write).expect("no more to say");
        let line = wait_for(&seen, log_with("is gone"));
        assert!(line.contains(sentence), "{line}");
    }
    connect(address);
}

#[test]
fn orders_for_nobody_are_let_pass() {
    let (address, seen) = agent(None, 0, PATIENCE);
    let mut stream = raw_coordinator(address);
    for json in [
        r#"{"HangUp":{"number":1,"worker":0}}"#,
        r#"{"Order":{"number":1,"worker":18446744073709551615,"order":"Close"}}"#,
    ] {
        stream.write_all(&raw(json)).expect("it reads");
    }
    stream.shutdown(Shutdown::Write).expect("no more to say");
    assert!(wait_for(&seen, log_with("is gone")).contains("it ended the connection"));
}

#[test]
fn one_coordinator_at_a_time() {
    let (address, seen) = agent(None, 0, PATIENCE);
    let mut first = connect(address);
    let error = Agent::connect(&address.to_string(), None).expect_err("it is taken");
    assert!(error.contains("it refused: this agent is busy with a run of 127.0.0.1:"), "{error}");
    assert_eq!(first.workers_for(&plan(), 100), Ok(1));
    drop(first);
    wait_for(&seen, log_with("is gone"));
    connect(address);
}

#[test]
fn a_coordinator_that_vanishes_calls_its_run_off() {
    let (address, seen) = agent(None, 0, PATIENCE);
    let mut first = connect(address);
    let (words, heard) = mpsc::channel();
    let orders = first.begin(&plan(), part(0, 2, 2), words).expect("workers");
    hear(&heard, 2);
    drop(first);
    let mut off = [wait_for(&seen, called_off), wait_for(&seen, called_off)];
    off.sort_unstable();
    assert_eq!(off, [0, 1]);
    drop(orders);
    wait_for(&seen, log_with("is gone"));
    let mut second = connect(address);
    assert_eq!(second.workers_for(&plan(), 100), Ok(1));
}

#[test]
fn a_dropped_sender_calls_its_worker_off_and_a_new_run_the_others() {
    let (address, seen) = agent(None, 0, PATIENCE);
    let mut agent = connect(address);
    let (words, heard) = mpsc::channel();
    let mut orders = agent.begin(&plan(), part(0, 3, 3), words).expect("workers");
    hear(&heard, 3);
    orders.remove(1);
    assert_eq!(wait_for(&seen, called_off), 1);
    let (words, heard_next) = mpsc::channel();
    let next = agent.begin(&plan(), part(0, 1, 1), words).expect("workers");
    let mut off = [wait_for(&seen, called_off), wait_for(&seen, called_off)];
    off.sort_unstable();
    assert_eq!(off, [0, 2]);
    // Senders of the old run reach nobody.
    drop(orders);
    hear(&heard_next, 1);
    give(&next, &Order::Close);
    assert!(matches!(hear(&heard_next, 1)[..], [(0, Word::Done(_))]));
}

/// Both sides of a silent network give up on each other, without a reset or an end to tell them.
#[test]
fn silence_is_noticed_on_both_sides() {
    let patience = Patience { beat: LONG, silence: Duration::from_secs(2), ..PATIENCE };
    let (address, seen) = agent(None, 0, patience);
    let half_open = raw_coordinator(address);
    wait_for(&seen, log_with("coordinates"));
    assert!(wait_for(&seen, log_with("is gone")).contains("not a byte for 2 s"));
    drop(half_open);

    let (address, _) = agent(None, 0, Patience { silence: LONG, ..patience });
    let mut agent = Agent::connect_with(&address.to_string(), None, patience).expect("a seat");
    let (words, heard) = mpsc::channel();
    let _orders = agent.begin(&plan(), part(0, 1, 1), words).expect("workers");
    assert!(matches!(hear(&heard, 1)[..], [(0, Word::Connected { .. })]));
    let [(0, Word::Failed(why))] = &hear(&heard, 1)[..] else { panic!("the agent is silent") };
    assert_eq!(why, &format!("the agent on {} is gone: not a byte for 2 s", agent.machine()));
}

#[test]
fn signs_of_life_keep_an_idle_connection() {
    // The silence is long enough for the busiest machine, and short enough to run out many beats later.
    let patience = Patience { beat: Duration::from_millis(20), silence: Duration::from_secs(3), ..PATIENCE };
    let (address, _) = agent(None, 0, patience);
    let mut agent = Agent::connect_with(&address.to_string(), None, patience).expect("a seat");
    thread::sleep(Duration::from_secs(4));
    assert_eq!(agent.workers_for(&plan(), 100), Ok(1));
}

/// Hands bytes on in both directions, each later than they came. Ends both sides when told.
fn proxy(to: SocketAddr, there: Duration, back: Duration) -> (SocketAddr, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it listens");
    let (cut, told) = mpsc::channel::<()>();
    thread::spawn(move || {
        let (near, _) = listener.accept().expect("the coordinator");
        let far = TcpStream::connect(to).expect("the agent");
        for (from, to, delay) in [(&near, &far, there), (&far, &near, back)] {
            to.set_nodelay(true).expect("a socket");
            let (mut from, mut to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
            thread::spawn(move || {
                let mut bytes = vec![0; 1 << 20];
                while let Ok(count @ 1..) = from.read(&mut bytes) {
                    thread::sleep(delay);
                    if to.write_all(&bytes[..count]).is_err() {
                        break;
                    }
                }
                let _ = to.shutdown(Shutdown::Both);
            });
        }
        let _ = told.recv();
        let _ = near.shutdown(Shutdown::Both);
        let _ = far.shutdown(Shutdown::Both);
    });
    (address, cut)
}

#[test]
fn the_uncertainty_covers_unequal_ways() {
    let ms = Duration::from_millis;
    for (offset_ns, there, back) in
        [(-3_000_000, ms(4), ms(0)), (7_000_000_000, ms(0), ms(4)), (0, ms(1), ms(3))]
    {
        let (address, _) = agent(None, offset_ns, PATIENCE);
        let (address, _cut) = proxy(address, there, back);
        let mut agent = connect(address);
        let offset = agent.synchronize().expect("it is there");
        let error = offset.offset_ns.abs_diff(offset_ns);
        assert!(error <= offset.uncertainty_ns, "{offset:?} for {offset_ns}");
        // The delays are in the round trip whatever else is.
        assert!(offset.uncertainty_ns >= 2_000_000, "{offset:?}");
    }
}

#[test]
fn an_agent_that_vanishes_has_failed() {
    let (address, _) = agent(None, 0, PATIENCE);
    let (address, cut) = proxy(address, Duration::ZERO, Duration::ZERO);
    let mut agent = connect(address);
    let (words, heard) = mpsc::channel();
    let orders = agent.begin(&plan(), part(4, 3, 7), words).expect("workers");
    hear(&heard, 3);
    orders[1].send(Order::Close).expect("it is there");
    assert!(matches!(hear(&heard, 1)[..], [(5, Word::Done(_))]));
    drop(cut);
    // Worker 5 was done.
    let failed = hear(&heard, 2);
    for ((worker, word), index) in failed.iter().zip([4, 6]) {
        let Word::Failed(why) = word else { panic!("{word:?}") };
        assert_eq!(why, &format!("the agent on {} is gone: it ended the connection", agent.machine()));
        assert_eq!(*worker, index);
    }
    assert!(heard.recv_timeout(LONG).is_err_and(|error| error == mpsc::RecvTimeoutError::Disconnected));
    let error = agent.clock().expect_err("it is gone");
    assert!(error.contains(agent.machine()) && error.contains("is gone"), "{error}");
    let (words, _heard) = mpsc::channel();
    agent.begin(&plan(), part(0, 1, 1), words).expect_err("it is gone");
}

#[test]
fn a_worker_that_ends_without_a_word_has_failed() {
    let (address, _) = agent(None, 0, PATIENCE);
    let mut agent = connect(address);
    let (words, heard) = mpsc::channel();
    let orders = agent.begin(&plan(), part(13, 1, 14), words).expect("workers");
    hear(&heard, 1);
    give(&orders, &Order::Start { epoch_ns: 1 });
    let [(13, Word::Failed(why))] = &hear(&heard, 1)[..] else { panic!("it said nothing") };
    assert_eq!(why, &format!("{}: a worker ended without a word", agent.machine()));
}

#[test]
fn nobody_there_is_said_with_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it listens");
    drop(listener);
    let error = Agent::connect(&address.to_string(), None).expect_err("nobody listens");
    assert!(error.starts_with(&format!("cannot reach the agent at {address}: ")), "{error}");
}
