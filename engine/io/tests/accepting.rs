//! That accepting needs no thread of the kernel's. A process of its own, so that nobody else's are counted.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use fanfare_io::uring::Options;
use fanfare_io::{Driver, Event, NoSends, UringDriver, Wait, Waker};

/// How many threads io_uring has started for this process.
fn kernel_workers() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("proc is mounted");
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    tasks.flatten().map(name).filter(|name| name.starts_with("iou-wrk")).count()
}

/// One peer in each turn is what starves requests that are older than a new one: see `Acceptor`.
#[test]
fn peers_that_come_one_in_a_turn_cost_no_thread() {
    const PEERS: usize = 6000;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("bound");
    let options = Options { listener: Some(listener), ..Options::default() };
    let mut driver = UringDriver::new(options, &Waker::new().expect("an eventfd")).expect("io_uring");
    driver.accept();
    let (mut connected, mut closed) = (0, 0);
    while closed < PEERS {
        // Comes while the driver is not in the kernel, and stays until it is accepted.
        let _peer = (connected < PEERS).then(|| TcpStream::connect(address).expect("the backlog takes it"));
        connected += usize::from(connected < PEERS);
        let until = driver.now() + 1_000_000;
        driver.submit(&NoSends, Wait::Until(until)).expect("a sound ring");
        while let Some(event) = driver.next_event() {
            match event {
                Event::Accepted { conn, .. } => driver.close(conn),
                Event::Closed(_) => closed += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(kernel_workers(), 0);
}
