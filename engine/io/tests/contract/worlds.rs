//! The kernels under test, with the peers that live in them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use fanfare_io::listen::{self, ListenOptions};
use fanfare_io::sim::{Faults, SimDriver, SimListener, SimNet, SimOptions, SimPeer};
use fanfare_io::uring::Options;
use fanfare_io::{Driver, UringDriver, Wait, Wake, Waker};
use socket2::{Domain, Socket, Type};

/// The other end of a connection. Nothing here waits: `read` takes what has arrived.
pub(crate) trait Peer {
    /// Writes as much as there is room for.
    fn write(&mut self, bytes: &[u8]) -> usize;
    fn read(&mut self, max: usize) -> Vec<u8>;
    fn finish(&mut self);
    fn reset(self);
    /// Whether everything up to a FIN was read.
    fn saw_fin(&mut self) -> bool;
    fn saw_reset(&mut self) -> bool;
}

#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) connections: usize,
    pub(crate) buffers: usize,
    pub(crate) buffer_bytes: usize,
    pub(crate) accept_slice: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { connections: 64, buffers: 64, buffer_bytes: 1024, accept_slice: 16 }
    }
}

/// A kernel with one driver.
pub(crate) trait World {
    type Driver: Driver;
    type Peer: Peer;
    /// Whether the driver does what it is asked to at once and nothing else.
    const CALM: bool;
    /// More bytes than fit between its send and its peer's read.
    const FLOOD: usize;

    fn new(seed: u64, sizes: Sizes) -> Self;
    fn driver(&mut self) -> &mut Self::Driver;
    fn connect(&mut self) -> Self::Peer;
    fn connect_from(&mut self, from: Ipv4Addr) -> Self::Peer;
    /// Whether nobody listens any more.
    fn refuses(&mut self) -> bool;
    /// A place to connect to, where `accept` finds who came.
    fn listen(&mut self) -> SocketAddr;
    fn accept(&mut self) -> Option<Self::Peer>;
    fn wake(&mut self);
    /// How to wait for something that is under way.
    fn wait(&mut self) -> Wait;
}

pub(crate) struct Uring {
    driver: UringDriver,
    address: SocketAddr,
    far: Option<TcpListener>,
    waker: Waker,
}

/// A listener with a long backlog.
pub(crate) fn listen() -> TcpListener {
    listen::bind((Ipv4Addr::LOCALHOST, 0).into(), &ListenOptions::default()).expect("a port")
}

pub(crate) struct TcpPeer {
    stream: TcpStream,
    fin: bool,
    reset: bool,
    ahead: Vec<u8>,
}

impl TcpPeer {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nonblocking(true).expect("nonblocking");
        Self { stream, fin: false, reset: false, ahead: Vec::new() }
    }
}

impl Peer for TcpPeer {
    fn write(&mut self, bytes: &[u8]) -> usize {
        match self.stream.write(bytes) {
            Ok(count) => count,
            Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => {
                self.reset = true;
                0
            }
        }
    }

    fn read(&mut self, max: usize) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.ahead);
        if bytes.len() > max {
            self.ahead = bytes.split_off(max);
        }
        while bytes.len() < max {
            let mut chunk = [0; 16 * 1024];
            let room = chunk.len().min(max - bytes.len());
            match self.stream.read(&mut chunk[..room]) {
                Ok(0) => {
                    self.fin = true;
                    break;
                }
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.reset = true;
                    break;
                }
            }
        }
        bytes
    }

    fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("a connection");
    }

    fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("linger");
    }

    fn saw_fin(&mut self) -> bool {
        self.ahead = self.read(usize::MAX);
        self.fin
    }

    fn saw_reset(&mut self) -> bool {
        self.ahead = self.read(usize::MAX);
        self.reset
    }
}

impl World for Uring {
    type Driver = UringDriver;
    type Peer = TcpPeer;
    const CALM: bool = true;
    const FLOOD: usize = 16 << 20;

    fn new(_: u64, sizes: Sizes) -> Self {
        let listener = listen();
        let address = listener.local_addr().expect("bound");
        let waker = Waker::new().expect("an eventfd");
        let options = Options {
            sq_entries: 64,
            cq_entries: 256,
            connections_max: sizes.connections,
            buffer_count: sizes.buffers,
            buffer_bytes: sizes.buffer_bytes,
            accept_slice: sizes.accept_slice,
            listener: Some(listener),
        };
        let driver = UringDriver::new(options, &waker).expect("io_uring");
        Self { driver, address, far: None, waker }
    }

    fn driver(&mut self) -> &mut UringDriver {
        &mut self.driver
    }

    fn connect(&mut self) -> TcpPeer {
        TcpPeer::new(TcpStream::connect(self.address).expect("the backlog takes it"))
    }

    fn connect_from(&mut self, from: Ipv4Addr) -> TcpPeer {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((from, 0)).into()).expect("an address of this machine");
        socket.connect(&self.address.into()).expect("the backlog takes it");
        TcpPeer::new(socket.into())
    }

    fn refuses(&mut self) -> bool {
        TcpStream::connect(self.address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    }

    fn listen(&mut self) -> SocketAddr {
        let listener = self.far.insert(listen());
        listener.set_nonblocking(true).expect("nonblocking");
        listener.local_addr().expect("bound")
    }

    fn accept(&mut self) -> Option<TcpPeer> {
        let (stream, _) = self.far.as_ref().expect("listens").accept().ok()?;
        Some(TcpPeer::new(stream))
    }

    fn wake(&mut self) {
        self.waker.wake();
    }

    fn wait(&mut self) -> Wait {
        Wait::Until(self.driver.now() + 2_000_000)
    }
}

/// The simulation, with `MODERATE` faults if not calm.
pub(crate) struct Sim<const CALM: bool> {
    net: SimNet,
    driver: SimDriver,
    far: Option<SimListener>,
}

// `Self::name` is the peer's own method, which comes before the trait's.
impl Peer for SimPeer {
    fn write(&mut self, bytes: &[u8]) -> usize {
        if self.unsent() > 0 || self.saw_reset() {
            return 0;
        }
        Self::write(self, bytes);
        bytes.len()
    }

    fn read(&mut self, max: usize) -> Vec<u8> {
        self.read_some(max)
    }

    fn finish(&mut self) {
        Self::finish(self);
    }

    fn reset(self) {
        Self::reset(&self);
    }

    fn saw_fin(&mut self) -> bool {
        Self::saw_fin(self)
    }

    fn saw_reset(&mut self) -> bool {
        Self::saw_reset(self)
    }
}

impl<const C: bool> World for Sim<C> {
    type Driver = SimDriver;
    type Peer = SimPeer;
    const CALM: bool = C;
    const FLOOD: usize = 256 << 10;

    fn new(seed: u64, sizes: Sizes) -> Self {
        let net = SimNet::new(
            seed,
            SimOptions {
                connections_max: sizes.connections,
                buffer_count: sizes.buffers,
                buffer_bytes: sizes.buffer_bytes,
                accept_slice: sizes.accept_slice,
                faults: if C { Faults::NONE } else { Faults::MODERATE },
                ..SimOptions::default()
            },
        );
        let driver = net.driver();
        Self { net, driver, far: None }
    }

    fn driver(&mut self) -> &mut SimDriver {
        &mut self.driver
    }

    fn connect(&mut self) -> SimPeer {
        self.net.connect(0)
    }

    fn connect_from(&mut self, from: Ipv4Addr) -> SimPeer {
        self.net.connect_from(0, from.into())
    }

    fn refuses(&mut self) -> bool {
        self.net.connect(0).saw_reset()
    }

    fn listen(&mut self) -> SocketAddr {
        let address = SocketAddr::from(([192, 0, 2, 1], 9));
        self.far = Some(self.net.listen(address));
        address
    }

    fn accept(&mut self) -> Option<SimPeer> {
        self.far.as_ref().expect("listens").accept()
    }

    fn wake(&mut self) {
        self.driver.waker().wake();
    }

    fn wait(&mut self) -> Wait {
        Wait::Forever
    }
}
