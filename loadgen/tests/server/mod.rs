//! A small broadcast server by other hands (tungstenite), with faults that can be counted exactly.

#![allow(dead_code, reason = "each test file has its own faults")]

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Error, Message, WebSocket};

/// What the server does wrong. Messages of each subscriber are counted from 1.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    None,
    /// Every 10th message is not sent.
    Drop,
    /// Every 10th message is sent twice.
    Double,
    /// Every 10th message is sent behind the one that follows it.
    Swap,
    /// In every 10th message one byte is wrong.
    Corrupt,
    /// The first subscriber is closed with this code after so many messages.
    CloseFirst {
        after: u64,
        code: u16,
    },
    /// Every message is sent so much later.
    Delay(Duration),
    /// The server does nothing at all for so long, once, when it has received so many messages.
    Stall {
        after: u64,
        pause: Duration,
    },
    /// Each subscriber is sent a ping before every 10th message.
    Ping,
    /// After so many connections, others are closed at once.
    RefuseAfter {
        accepts: usize,
    },
}

pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pongs: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        let addr = listener.local_addr().expect("bound");
        let (pongs, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let mut hub = Hub {
            listener,
            fault,
            peers: Vec::new(),
            delayed: VecDeque::new(),
            received: 0,
            accepted: 0,
            pongs: pongs.clone(),
            stop: stop.clone(),
        };
        let thread = thread::spawn({
            let stop = stop.clone();
            move || {
                while !stop.load(Ordering::Relaxed) {
                    if !hub.turn() {
                        thread::sleep(Duration::from_micros(100));
                    }
                }
            }
        });
        Self { addr, pongs, stop, thread: Some(thread) }
    }

    /// How many pongs came back with the right payload.
    pub(crate) fn pongs(&self) -> usize {
        self.pongs.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.expect("taken once").expect("the server did not panic");
        }
    }
}

struct Peer {
    socket: WebSocket<TcpStream>,
    is_subscriber: bool,
    is_first_subscriber: bool,
    /// How many messages were meant for it.
    count: u64,
    held: Option<Message>,
    is_gone: bool,
}

struct Hub {
    listener: TcpListener,
    fault: Fault,
    peers: Vec<Peer>,
    delayed: VecDeque<(Instant, Message)>,
    received: u64,
    accepted: usize,
    pongs: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

const PING: &[u8] = b"are you there";

impl Hub {
    /// Does what there is to do. False if there was nothing.
    fn turn(&mut self) -> bool {
        let accepted = self.accept();
        let received = self.read();
        let busy = accepted || !received.is_empty();
        for message in received {
            self.received += 1;
            match self.fault {
                Fault::Delay(delay) => self.delayed.push_back((Instant::now() + delay, message)),
                Fault::Stall { after, pause } if self.received == after => {
                    self.broadcast(&message);
                    let until = Instant::now() + pause;
                    while Instant::now() < until && !self.stop.load(Ordering::Relaxed) {
                        thread::sleep(Duration::from_millis(5));
                    }
                }
                _ => self.broadcast(&message),
            }
        }
        while self.delayed.front().is_some_and(|(due, _)| *due <= Instant::now()) {
            let (_, message) = self.delayed.pop_front().expect("looked at");
            self.broadcast(&message);
        }
        for peer in &mut self.peers {
            check(peer.socket.flush(), &mut peer.is_gone);
        }
        self.peers.retain(|peer| !peer.is_gone);
        busy
    }

    fn accept(&mut self) -> bool {
        let Ok((stream, _)) = self.listener.accept() else { return false };
        self.accepted += 1;
        if matches!(self.fault, Fault::RefuseAfter { accepts } if self.accepted > accepts) {
            return true;
        }
        stream.set_nonblocking(false).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        let mut is_subscriber = false;
        #[expect(clippy::result_large_err, reason = "tungstenite's callback has this type")]
        let look = |request: &Request, response: Response| {
            is_subscriber = request.uri().path().starts_with("/ws/");
            Ok(response)
        };
        let socket = tungstenite::accept_hdr(stream, look).expect("a handshake");
        socket.get_ref().set_nonblocking(true).expect("a socket");
        let is_first_subscriber = is_subscriber && !self.peers.iter().any(|peer| peer.is_subscriber);
        self.peers.push(Peer {
            socket,
            is_subscriber,
            is_first_subscriber,
            count: 0,
            held: None,
            is_gone: false,
        });
        true
    }

    fn read(&mut self) -> Vec<Message> {
        let mut received = Vec::new();
        for peer in &mut self.peers {
            loop {
                match peer.socket.read() {
                    Ok(message @ (Message::Binary(_) | Message::Text(_))) => received.push(message),
                    Ok(Message::Pong(payload)) => {
                        assert_eq!(&payload[..], PING);
                        self.pongs.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(_) => {}
                    Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => {
                        peer.is_gone = true;
                        break;
                    }
                }
            }
        }
        received
    }

    fn broadcast(&mut self, message: &Message) {
        let fault = self.fault;
        for peer in self.peers.iter_mut().filter(|peer| peer.is_subscriber) {
            peer.deliver(message, fault);
        }
    }
}

impl Peer {
    fn deliver(&mut self, message: &Message, fault: Fault) {
        self.count += 1;
        let is_tenth = self.count.is_multiple_of(10);
        match fault {
            Fault::Drop if is_tenth => {}
            Fault::Double if is_tenth => (0..2).for_each(|_| self.send(message.clone())),
            Fault::Swap if is_tenth => self.held = Some(message.clone()),
            Fault::Corrupt if is_tenth => self.send(corrupted(message, self.count as usize)),
            Fault::CloseFirst { after, code } if self.is_first_subscriber && self.count > after => {
                if self.count == after + 1 {
                    let frame = CloseFrame { code: code.into(), reason: "on purpose".into() };
                    check(self.socket.close(Some(frame)), &mut self.is_gone);
                }
            }
            Fault::Ping if is_tenth => {
                self.send(Message::Ping(PING.into()));
                self.send(message.clone());
            }
            _ => self.send(message.clone()),
        }
        if !is_tenth && let Some(held) = self.held.take() {
            self.send(held);
        }
    }

    fn send(&mut self, message: Message) {
        check(self.socket.write(message), &mut self.is_gone);
    }
}

/// A full socket is no error: tungstenite keeps the bytes for the next flush.
fn check(result: Result<(), Error>, is_gone: &mut bool) {
    match result {
        Ok(()) => {}
        Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
        Err(_) => *is_gone = true,
    }
}

fn corrupted(message: &Message, at: usize) -> Message {
    let mut payload = message.clone().into_data().to_vec();
    let at = at % payload.len();
    payload[at] ^= 1;
    Message::binary(payload)
}
