//! What only the real kernel can get wrong.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use fanfare_io::uring::Options;
use fanfare_io::{ConnId, Driver, Event, NoSends, ReceiveEnd, UringDriver, Wait, Wake, Waker};

use crate::rig::{Sends, pattern};
use crate::worlds::listen;

struct Setup {
    driver: UringDriver,
    address: SocketAddr,
    waker: Waker,
}

fn setup(change: impl FnOnce(&mut Options)) -> Setup {
    let listener = listen();
    let address = listener.local_addr().expect("bound");
    let mut options = Options { listener: Some(listener), ..Options::default() };
    change(&mut options);
    let waker = Waker::new().expect("an eventfd");
    let driver = UringDriver::new(options, &waker).expect("io_uring");
    Setup { driver, address, waker }
}

/// Submits until `count` events were picked.
#[track_caller]
fn pick<T>(
    driver: &mut UringDriver,
    count: usize,
    mut choose: impl FnMut(&mut UringDriver, Event<fanfare_io::uring::Bytes>) -> Option<T>,
) -> Vec<T> {
    let mut picked = Vec::new();
    let end = Instant::now() + Duration::from_secs(20);
    while picked.len() < count {
        assert!(Instant::now() < end, "{} of {count} within 20 s", picked.len());
        let until = driver.now() + 5_000_000;
        driver.submit(&NoSends, Wait::Until(until)).expect("a sound ring");
        while let Some(event) = driver.next_event() {
            picked.extend(choose(driver, event));
        }
    }
    picked
}

#[track_caller]
fn accept(driver: &mut UringDriver, count: usize) -> Vec<ConnId> {
    driver.accept();
    pick(driver, count, |_, event| if let Event::Accepted { conn, .. } = event { Some(conn) } else { None })
}

#[test]
fn a_batch_larger_than_the_queues_is_sent_whole_and_every_short_send_is_told() {
    let mut setup = setup(|options| {
        options.sq_entries = 8;
        options.cq_entries = 16;
    });
    let driver = &mut setup.driver;
    let mut peers: Vec<_> = (0..300).map(|_| TcpStream::connect(setup.address).expect("accepted")).collect();
    let conns = accept(driver, 300);
    let data = [pattern(100, 1), pattern(50, 2)];
    let batch = |parts: usize, times: usize| {
        let parts: Vec<_> = (0..times).flat_map(|_| data[..parts].to_vec()).collect();
        Sends(conns.iter().map(|&conn| (conn, parts.clone())).collect())
    };
    for parts in [1, 2] {
        driver.submit(&batch(parts, 1), Wait::No).expect("a sound ring");
        while let Some(event) = driver.next_event() {
            assert!(!matches!(event, Event::SendShort { .. }), "all had room: {event:?}");
        }
        for peer in &mut peers {
            let mut bytes = vec![0; data[..parts].concat().len()];
            peer.read_exact(&mut bytes).expect("all of it");
            assert_eq!(bytes, data[..parts].concat());
        }
    }
    // Now everybody's socket overflows, and there are far more answers than the completion queue holds.
    let flood = Sends(conns.iter().map(|&conn| (conn, vec![vec![0; 8 << 20]])).collect());
    setup.waker.wake();
    driver.submit(&flood, Wait::No).expect("a sound ring");
    let mut short = HashSet::new();
    let mut woken = false;
    while let Some(event) = driver.next_event() {
        match event {
            Event::SendShort { conn, .. } => assert!(short.insert(conn), "{conn} was told of twice"),
            Event::Woken => woken = true,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(short.len(), 300);
    assert!(woken);
    setup.waker.wake();
    pick(driver, 1, |_, event| matches!(event, Event::Woken).then_some(()));
}

/// The kernel ends a multishot when it finds no room for a completion. That is no affair of the caller's.
#[test]
fn receiving_survives_a_full_completion_queue() {
    let mut setup = setup(|options| {
        options.sq_entries = 8;
        options.cq_entries = 16;
        options.buffer_count = 4096;
        options.buffer_bytes = 64;
    });
    let driver = &mut setup.driver;
    let mut peers: Vec<_> = (0..200).map(|_| TcpStream::connect(setup.address).expect("accepted")).collect();
    for conn in accept(driver, 200) {
        driver.receive(conn);
    }
    driver.submit(&NoSends, Wait::No).expect("a sound ring");
    for round in 0..5 {
        for peer in &mut peers {
            peer.write_all(&pattern(1000, round)).expect("written");
        }
        let mut streams = HashMap::<ConnId, Vec<u8>>::new();
        let mut total = 0;
        while total < 200 * 1000 {
            let until = driver.now() + 5_000_000_000;
            driver.submit(&NoSends, Wait::Until(until)).expect("a sound ring");
            assert!(driver.now() < until, "{total} bytes came, and then no more");
            while let Some(event) = driver.next_event() {
                let Event::Received { conn, bytes } = event else { panic!("nothing ends: {event:?}") };
                total += bytes.len();
                streams.entry(conn).or_default().extend_from_slice(&bytes);
            }
        }
        assert!(streams.values().all(|stream| *stream == pattern(1000, round)));
    }
}

/// Hundreds of answers to one submit, into a queue of sixteen.
#[test]
fn a_full_completion_queue_loses_nothing() {
    const PEERS: usize = 300;
    let mut setup = setup(|options| {
        options.sq_entries = 8;
        options.cq_entries = 16;
        options.accept_slice = 128;
    });
    let driver = &mut setup.driver;
    let mut peers: Vec<_> =
        (0..PEERS).map(|_| TcpStream::connect(setup.address).expect("accepted")).collect();
    let conns = accept(driver, PEERS);
    for peer in &mut peers {
        peer.write_all(b"all of it").expect("written");
        peer.shutdown(std::net::Shutdown::Write).expect("a connection");
    }
    for &conn in &conns {
        driver.receive(conn);
        driver.notify_writable(conn);
    }
    setup.waker.wake();
    let (mut bytes, mut ended, mut writable) = (HashMap::new(), HashSet::new(), HashSet::new());
    pick(driver, 2 * PEERS + 1, |_, event| match event {
        Event::Received { conn, bytes: some } => {
            bytes.entry(conn).or_insert_with(Vec::new).extend_from_slice(&some);
            None
        }
        Event::ReceiveEnded { conn, cause: ReceiveEnd::Eof } => ended.insert(conn).then_some(()),
        Event::Writable(conn) => writable.insert(conn).then_some(()),
        Event::Woken => Some(()),
        other => panic!("{other:?}"),
    });
    assert!(bytes.len() == PEERS && bytes.values().all(|bytes| bytes == b"all of it"));
    assert_eq!((ended.len(), writable.len()), (PEERS, PEERS));
    for &conn in &conns {
        driver.close(conn);
    }
    let closed = pick(driver, PEERS, |_, event| match event {
        Event::Closed(conn) => Some(conn),
        other => panic!("{other:?}"),
    });
    assert_eq!(closed.into_iter().collect::<HashSet<_>>().len(), PEERS);
}

/// Connections that were made meanwhile have the slots on which the armed requests counted.
#[test]
fn an_accept_that_fails_for_good_ends_the_others_and_accepting_goes_on_later() {
    let mut setup = setup(|options| options.connections_max = 8);
    let driver = &mut setup.driver;
    let far = listen();
    driver.accept();
    driver.submit(&NoSends, Wait::No).expect("a sound ring");
    for token in 0..6 {
        driver.connect(token, None, far.local_addr().expect("bound"));
    }
    let mut conns =
        pick(driver, 6, |_, event| if let Event::Connected { conn, .. } = event { Some(conn) } else { None });
    let _peers: Vec<_> = (0..3).map(|_| TcpStream::connect(setup.address).expect("accepted")).collect();
    let mut stopped = 0;
    pick(driver, 3, |_, event| match event {
        Event::Accepted { conn, .. } => {
            assert_eq!(stopped, 0, "nobody comes behind the end");
            conns.push(conn);
            Some(())
        }
        Event::AcceptStopped(error) => {
            assert_eq!(error.raw_os_error(), Some(libc::ENFILE));
            stopped += 1;
            Some(())
        }
        other => panic!("{other:?}"),
    });
    assert_eq!((conns.len(), stopped), (8, 1));
    for _ in 0..5 {
        driver.submit(&NoSends, Wait::No).expect("a sound ring");
        assert!(driver.next_event().is_none(), "that was all");
    }
    for conn in conns {
        driver.close(conn);
    }
    pick(driver, 8, |_, event| matches!(event, Event::Closed(_)).then_some(()));
    let _more: Vec<_> = (0..8).map(|_| TcpStream::connect(setup.address).expect("accepted")).collect();
    assert_eq!(accept(driver, 8).into_iter().collect::<HashSet<_>>().len(), 8);
}

#[test]
fn a_wait_ends_in_time() {
    let mut setup = setup(|_| {});
    let driver = &mut setup.driver;
    // The first submit finds nothing to do but to arm the waker's watch.
    driver.submit(&NoSends, Wait::No).expect("a sound ring");
    let begin = driver.now();
    driver.submit(&NoSends, Wait::Until(begin + 30_000_000)).expect("a sound ring");
    let waited = driver.now() - begin;
    assert!((30_000_000..300_000_000).contains(&waited), "30 ms took {waited} ns");
    assert!(driver.next_event().is_none());
    // A time that is past is no wait.
    let begin = driver.now();
    driver.submit(&NoSends, Wait::Until(1)).expect("a sound ring");
    assert!(driver.now() - begin < 20_000_000);
}

#[test]
fn another_thread_ends_an_endless_sleep() {
    let mut setup = setup(|_| {});
    for _ in 0..20 {
        let waker = setup.waker.clone();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(2));
            waker.wake();
        });
        let mut woken = false;
        while !woken {
            setup.driver.submit(&NoSends, Wait::Forever).expect("a sound ring");
            while let Some(event) = setup.driver.next_event() {
                woken |= matches!(event, Event::Woken);
            }
        }
        thread.join().expect("no panic");
    }
}

#[test]
fn many_wakes_from_many_threads_leave_none_asleep() {
    let mut setup = setup(|_| {});
    let done = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (waker, done) = (setup.waker.clone(), done.clone());
            std::thread::spawn(move || {
                for _ in 0..5000 {
                    done.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    waker.wake();
                }
            })
        })
        .collect();
    // Sleeps without end: a lost wake-up would hang here.
    while done.load(std::sync::atomic::Ordering::SeqCst) < 20_000 {
        setup.driver.submit(&NoSends, Wait::Forever).expect("a sound ring");
        while setup.driver.next_event().is_some() {}
    }
    for thread in threads {
        thread.join().expect("no panic");
    }
}

#[test]
fn dropping_the_driver_closes_everything_at_once() {
    let mut setup = setup(|_| {});
    let mut peers: Vec<_> = (0..100).map(|_| TcpStream::connect(setup.address).expect("accepted")).collect();
    for conn in accept(&mut setup.driver, 100) {
        setup.driver.receive(conn);
        if conn.index() % 2 == 0 {
            setup.driver.notify_writable(conn);
        }
    }
    setup.driver.submit(&NoSends, Wait::No).expect("a sound ring");
    let mut kept = None;
    peers[0].write_all(b"kept").expect("written");
    while kept.is_none() {
        setup.driver.submit(&NoSends, Wait::Forever).expect("a sound ring");
        while let Some(event) = setup.driver.next_event() {
            if let Event::Received { bytes, .. } = event {
                kept = Some(bytes);
            }
        }
    }
    drop(setup.driver);
    for peer in &mut peers {
        peer.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
        assert_eq!(peer.read(&mut [0; 8]).expect("FIN is here already"), 0);
    }
    // A buffer outlives its driver, and the port is free.
    assert_eq!(&kept.expect("received above")[..], b"kept");
    let _listener = TcpListener::bind(setup.address).expect("nobody listens there any more");
}

/// A slice is larger than what is free in the end.
#[test]
fn a_burst_into_a_nearly_full_table_is_not_hung_up_on() {
    const SLOTS: usize = 350;
    // A std listener's backlog is 128. The bursts fit into it.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("bound");
    let mut setup = setup(|options| {
        options.connections_max = SLOTS;
        options.listener = Some(listener);
    });
    let driver = &mut setup.driver;
    driver.accept();
    let mut peers = Vec::new();
    let mut conns = Vec::new();
    let mut stopped = 0;
    while stopped == 0 {
        peers.extend((0..100).map(|_| TcpStream::connect(address).expect("the backlog has room")));
        for _ in 0..200 {
            driver.submit(&NoSends, Wait::Until(driver.now() + 1_000_000)).expect("a sound ring");
            while let Some(event) = driver.next_event() {
                match event {
                    Event::Accepted { conn, .. } => conns.push(conn),
                    Event::AcceptStopped(error) => {
                        assert_eq!(error.raw_os_error(), Some(libc::ENFILE));
                        stopped += 1;
                    }
                    _ => {}
                }
            }
            if conns.len() == peers.len() || stopped > 0 {
                break;
            }
        }
    }
    assert_eq!((conns.len(), stopped, peers.len()), (SLOTS, 1, 400));
    assert_eq!(conns.iter().collect::<HashSet<_>>().len(), SLOTS);
    for peer in &mut peers {
        peer.set_nonblocking(true).expect("nonblocking");
        let error = peer.read(&mut [0; 8]).expect_err("nobody was hung up on");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
    for &conn in &conns[..50] {
        driver.close(conn);
    }
    pick(driver, 50, |_, event| matches!(event, Event::Closed(_)).then_some(()));
    assert_eq!(accept(driver, 50).len(), 50);
}

#[test]
fn connections_come_from_the_address_asked_for() {
    let waker = Waker::new().expect("an eventfd");
    let mut driver = UringDriver::new(Options::default(), &waker).expect("io_uring");
    let far = listen();
    let remote = far.local_addr().expect("bound");
    for host in 1..=200u8 {
        let local = SocketAddr::from(([127, 0, 7, host], 0));
        driver.connect(u64::from(host), Some(local), remote);
    }
    let mut conns = Vec::new();
    let mut sources = HashSet::new();
    far.set_nonblocking(true).expect("nonblocking");
    while conns.len() < 200 || sources.len() < 200 {
        let until = driver.now() + 1_000_000;
        driver.submit(&NoSends, Wait::Until(until)).expect("a sound ring");
        while let Some(event) = driver.next_event() {
            match event {
                Event::Connected { conn, token } => conns.push((token, conn)),
                other => panic!("{other:?}"),
            }
        }
        while let Ok((_, source)) = far.accept() {
            sources.insert(source.ip());
        }
    }
    for host in 1..=200u8 {
        assert!(sources.contains(&IpAddr::from(Ipv4Addr::new(127, 0, 7, host))));
    }

    // An address of somebody else, and no address at all.
    driver.connect(900, Some("192.0.2.7:0".parse().expect("an address")), remote);
    driver.connect(901, Some("[::1]:0".parse().expect("an address")), remote);
    let mut failed = pick(&mut driver, 2, |_, event| {
        if let Event::ConnectFailed { token, error } = event {
            Some((token, error.raw_os_error()))
        } else {
            None
        }
    });
    failed.sort();
    assert_eq!(failed, [(900, Some(libc::EADDRNOTAVAIL)), (901, Some(libc::EAFNOSUPPORT))]);
    drop(far);
}

#[test]
fn a_full_table_fails_to_connect_and_gives_failed_slots_back() {
    let waker = Waker::new().expect("an eventfd");
    let options = Options { connections_max: 4, ..Options::default() };
    let mut driver = UringDriver::new(options, &waker).expect("io_uring");
    let nobody = "127.0.0.1:1".parse().expect("an address");
    for round in 0..5 {
        for token in 0..4 {
            driver.connect(token, None, nobody);
        }
        let failed = pick(&mut driver, 4, |_, event| {
            if let Event::ConnectFailed { error, .. } = event { error.raw_os_error() } else { None }
        });
        assert_eq!(failed, [libc::ECONNREFUSED; 4], "round {round}");
    }
    let far = listen();
    for token in 0..6 {
        driver.connect(token, None, far.local_addr().expect("bound"));
    }
    let results = pick(&mut driver, 6, |_, event| match event {
        Event::Connected { .. } => Some(None),
        Event::ConnectFailed { error, .. } => Some(error.raw_os_error()),
        _ => None,
    });
    assert_eq!(results.iter().filter(|r| r.is_none()).count(), 4);
    assert_eq!(results.iter().filter(|r| **r == Some(libc::ENFILE)).count(), 2);
}

#[test]
fn two_thousand_connect_and_vanish_while_accepted_in_the_usual_way() {
    let mut setup = setup(|options| options.connections_max = 512);
    let address = setup.address;
    let driver = &mut setup.driver;
    driver.accept();
    let clients = std::thread::spawn(move || {
        for index in 0..2000 {
            let mut peer = TcpStream::connect(address).expect("connected");
            match index % 3 {
                0 => drop(peer.write_all(b"GET / HTTP/1.1\r\n\r\n")),
                1 => {
                    let linger = socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO));
                    linger.expect("linger");
                }
                _ => {}
            }
        }
    });
    let mut open = HashSet::new();
    let closed = pick(driver, 2000, |driver, event| match event {
        Event::Accepted { conn, .. } => {
            assert!(open.insert(conn), "{conn} is in use");
            driver.receive(conn);
            None
        }
        Event::ReceiveEnded { conn, .. } => {
            driver.close(conn);
            None
        }
        Event::Closed(conn) => {
            assert!(open.remove(&conn), "{conn} was not open");
            Some(conn)
        }
        _ => None,
    });
    assert_eq!(closed.len(), 2000);
    assert!(open.is_empty());
    clients.join().expect("no panic");
    // All 512 slots are there: as many peers fit at once.
    let _peers: Vec<_> = (0..4)
        .flat_map(|_| {
            let peers: Vec<_> = (0..100).map(|_| TcpStream::connect(address).expect("connected")).collect();
            pick(driver, 100, |_, event| matches!(event, Event::Accepted { .. }).then_some(()));
            peers
        })
        .collect();
}

#[test]
fn impossible_sizes_are_refused_with_a_reason() {
    let waker = Waker::new().expect("an eventfd");
    for (change, reason) in [
        (Options { connections_max: 0, ..Options::default() }, "connections_max"),
        (Options { accept_slice: 0, ..Options::default() }, "accept_slice"),
        (Options { buffer_count: 1000, ..Options::default() }, "power of two"),
        (Options { connections_max: 1 << 31, ..Options::default() }, "RLIMIT_NOFILE"),
    ] {
        let error = UringDriver::new(change, &waker).err().expect("refused");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

/// A panic of the batch leaves entries in the queue that point into it: the ring must never submit them.
#[test]
fn a_batch_that_panics_breaks_the_ring_for_good() {
    struct Bomb(Vec<ConnId>);
    impl fanfare_io::Batch for Bomb {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn send(&self, index: usize) -> (ConnId, usize) {
            (self.0[index], 1)
        }
        fn part(&self, index: usize, _: usize) -> &[u8] {
            assert!(index == 0, "boom");
            b"gone"
        }
    }
    let mut setup = setup(|_| {});
    let mut peer = TcpStream::connect(setup.address).expect("accepted");
    let _other = TcpStream::connect(setup.address).expect("accepted");
    let conns = accept(&mut setup.driver, 2);
    let driver = std::panic::AssertUnwindSafe(&mut setup.driver);
    std::panic::catch_unwind(move || {
        let driver = driver;
        driver.0.submit(&Bomb(conns), Wait::No)
    })
    .expect_err("the batch panics");
    setup.driver.submit(&NoSends, Wait::No).expect_err("the ring is broken");
    drop(setup.driver);
    let mut bytes = Vec::new();
    peer.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    peer.read_to_end(&mut bytes).expect("FIN");
    assert_eq!(bytes, b"", "what was queued never went out");
}
