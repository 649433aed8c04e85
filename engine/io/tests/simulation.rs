//! The simulated network itself: its clock, its seeds, and how it holds its callers to the contract.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fanfare_io::sim::{Faults, SimBytes, SimDriver, SimNet, SimOptions};
use fanfare_io::{Batch, ConnId, Driver, Event, NoSends, Wait, Wake};

struct Sends(Vec<(ConnId, Vec<&'static [u8]>)>);

impl Batch for Sends {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn send(&self, index: usize) -> (ConnId, usize) {
        (self.0[index].0, self.0[index].1.len())
    }

    fn part(&self, index: usize, part: usize) -> &[u8] {
        self.0[index].1[part]
    }
}

fn turn<B: Batch>(driver: &mut SimDriver, batch: &B, wait: Wait) -> Vec<Event<SimBytes>> {
    driver.submit(batch, wait).expect("the simulation does not break");
    std::iter::from_fn(|| driver.next_event()).collect()
}

/// A calm network with one accepted peer.
fn one() -> (SimNet, SimDriver, fanfare_io::sim::SimPeer, ConnId) {
    let net = SimNet::new(0, SimOptions::calm());
    let mut driver = net.driver();
    let peer = net.connect(0);
    driver.accept();
    let [Event::Accepted { conn, .. }] = turn(&mut driver, &NoSends, Wait::Forever)[..] else {
        panic!("one peer waits")
    };
    (net, driver, peer, conn)
}

/// Some traffic under faults, as text.
fn trace(seed: u64) -> String {
    let net = SimNet::new(seed, SimOptions::default());
    let mut driver = net.driver();
    let peers: Vec<_> = (0..20).map(|_| net.connect(0)).collect();
    driver.accept();
    let mut trace = String::new();
    for round in 0..100 {
        peers[round % 20].write(&[round as u8; 300]);
        for event in turn(&mut driver, &NoSends, Wait::Forever) {
            trace += &format!("{event:?}\n");
            match event {
                Event::Accepted { conn, .. } | Event::ReceiveEnded { conn, .. } => driver.receive(conn),
                Event::AcceptStopped(_) => driver.accept(),
                _ => {}
            }
        }
    }
    trace
}

#[test]
fn a_seed_decides_everything() {
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}

#[test]
fn the_clock_stands_still_unless_it_is_moved() {
    let (net, mut driver, peer, conn) = one();
    let begin = driver.now();
    turn(&mut driver, &NoSends, Wait::Until(begin + 500));
    assert_eq!((driver.now(), net.next_wait()), (begin, Some(begin + 500)));
    assert!(net.is_idle());
    net.advance(200);
    net.advance_to(begin);
    assert_eq!(driver.now(), begin + 200);
    net.advance_to(begin + 500);
    assert!(!net.is_idle());

    turn(&mut driver, &NoSends, Wait::Forever);
    assert_eq!(net.next_wait(), None);
    // Bytes for a connection that does not receive wake nobody; for one that does, they do.
    peer.write(b"x");
    assert!(net.is_idle());
    driver.receive(conn);
    assert_eq!(net.next_wait(), Some(net.now()), "work is queued");
    assert_eq!(turn(&mut driver, &NoSends, Wait::Forever).len(), 1);
    assert!(net.is_idle());
    peer.write(b"y");
    assert_eq!(net.next_wait(), Some(net.now()));
    assert_eq!(turn(&mut driver, &NoSends, Wait::Forever).len(), 1);
    driver.waker().wake();
    assert!(!net.is_idle());
    assert!(matches!(turn(&mut driver, &NoSends, Wait::Forever)[..], [Event::Woken]));
    assert!(net.is_idle());
}

#[test]
fn shards_have_their_own_peers_and_can_connect_to_each_other() {
    let net = SimNet::new(0, SimOptions::calm());
    let (mut first, mut second) = (net.driver(), net.driver());
    assert_eq!((first.shard(), second.shard()), (0, 1));
    second.accept();
    first.accept();
    first.connect(5, None, net.address(1));
    let [Event::Connected { conn: near, token: 5 }] = turn(&mut first, &NoSends, Wait::Forever)[..] else {
        panic!("connected")
    };
    let [Event::Accepted { conn: far, .. }] = turn(&mut second, &NoSends, Wait::Forever)[..] else {
        panic!("accepted")
    };
    second.receive(far);
    turn(&mut second, &NoSends, Wait::Forever);
    turn(&mut first, &Sends(vec![(near, vec![b"over ", b"there"])]), Wait::Forever);
    assert_eq!(net.shard_wait(1), Some(net.now()));
    let events = turn(&mut second, &NoSends, Wait::Forever);
    let [Event::Received { ref bytes, .. }] = events[..] else { panic!("received: {events:?}") };
    assert_eq!(&bytes[..], b"over there");
    assert_eq!(net.buffers_held(1), 1);
    drop(events);
    assert_eq!(net.buffers_held(1), 0);
}

#[test]
fn a_dropped_driver_hangs_up_on_its_peers() {
    let (net, driver, peer, _) = one();
    let waiting = net.connect(0);
    assert!(!peer.is_closed() && peer.is_accepted() && !waiting.is_accepted());
    drop(driver);
    assert!(peer.saw_fin() && peer.is_closed());
    assert!(waiting.saw_fin());
    assert_eq!(net.next_wait(), None);
}

#[test]
fn a_sink_takes_everything_and_keeps_nothing() {
    let (_net, mut driver, peer, conn) = one();
    peer.set_window(10);
    static LONG: [u8; 1 << 16] = [0; 1 << 16];
    let long = Sends(vec![(conn, vec![&LONG])]);
    assert!(matches!(turn(&mut driver, &long, Wait::Forever)[..], [Event::SendShort { sent: 10, .. }]));
    peer.sink();
    assert!(turn(&mut driver, &long, Wait::Forever).is_empty());
    assert_eq!((peer.unread(), peer.arrived()), (0, 10 + (1 << 16)));
}

#[test]
fn a_peers_unsent_bytes_follow_as_they_are_received() {
    let options = SimOptions { window_bytes: 100, ..SimOptions::calm() };
    let net = SimNet::new(0, options);
    let mut driver = net.driver();
    let peer = net.connect(0);
    peer.write(&[1; 250]);
    assert_eq!(peer.unsent(), 150);
    driver.accept();
    turn(&mut driver, &NoSends, Wait::Forever);
    driver.receive(ConnId::new(0));
    let events = turn(&mut driver, &NoSends, Wait::Forever);
    let total = events.iter().map(|e| if let Event::Received { bytes, .. } = e { bytes.len() } else { 0 });
    assert_eq!((total.sum::<usize>(), peer.unsent()), (250, 0));
}

#[test]
fn faults_can_end() {
    let net = SimNet::new(
        3,
        SimOptions { faults: Faults { delay: 1.0, ..Faults::MODERATE }, ..SimOptions::default() },
    );
    let mut driver = net.driver();
    let _peer = net.connect(0);
    driver.accept();
    assert!(turn(&mut driver, &NoSends, Wait::Forever).iter().all(|e| !matches!(e, Event::Accepted { .. })));
    net.set_faults(Faults { wake: 0.0, ..Faults::NONE });
    let mut turns = 0;
    while !net.is_idle() {
        turn(&mut driver, &NoSends, Wait::Forever);
        turns += 1;
        assert!(turns < 20, "what was delayed is delayed for some submits only");
    }
    assert_eq!((net.connections(0), net.backlog(0)), (1, 0));
}

/// Every breach of the trait's contract panics, and says what was wrong.
#[test]
fn a_breach_of_contract_panics() {
    type Breach = fn(&mut SimDriver, ConnId);
    let breaches: [(&str, Breach); 13] = [
        ("receives already", |driver, conn| {
            driver.receive(conn);
            driver.receive(conn);
        }),
        ("while one is outstanding", |driver, conn| {
            driver.notify_writable(conn);
            driver.notify_writable(conn);
        }),
        ("not open", |driver, conn| {
            driver.close(conn);
            driver.close(conn);
        }),
        ("not open", |driver, conn| {
            driver.close(conn);
            turn(driver, &Sends(vec![(conn, vec![b"x"])]), Wait::No);
        }),
        ("not open", |driver, conn| {
            driver.close(conn);
            driver.pause_receive(conn);
        }),
        ("not open", |driver, _| driver.receive(ConnId::new(7))),
        ("within the table", |driver, _| driver.receive(ConnId::new(1 << 20))),
        ("two sends", |driver, conn| {
            turn(driver, &Sends(vec![(conn, vec![b"x"]), (conn, vec![b"y"])]), Wait::No);
        }),
        ("is empty", |driver, conn| {
            turn(driver, &Sends(vec![(conn, vec![b"x", b""])]), Wait::No);
        }),
        ("0 parts", |driver, conn| {
            turn(driver, &Sends(vec![(conn, vec![])]), Wait::No);
        }),
        ("33 parts", |driver, conn| {
            turn(driver, &Sends(vec![(conn, vec![b"x"; 33])]), Wait::No);
        }),
        ("after its FIN", |driver, conn| {
            driver.shutdown_write(conn);
            turn(driver, &Sends(vec![(conn, vec![b"x"])]), Wait::No);
        }),
        ("before next_event returned None", |driver, conn| {
            driver.notify_writable(conn);
            driver.submit(&NoSends, Wait::No).expect("the simulation does not break");
            driver.submit(&NoSends, Wait::No).expect("the simulation does not break");
        }),
    ];
    for (index, (expected, breach)) in breaches.into_iter().enumerate() {
        let (_net, mut driver, _peer, conn) = one();
        let panic = catch_unwind(AssertUnwindSafe(|| breach(&mut driver, conn))).expect_err("a panic");
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).expect("a message");
        assert!(text.contains(expected), "breach {index}: {text:?} does not say {expected:?}");
    }
}
