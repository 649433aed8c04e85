//! Small sound servers, one for each dialect, written from the protocols' documents and sharing no code with the
//! program: every message that a publisher sends, or posts, goes to every subscriber of its topic.

mod centrifuge;
mod http;
mod mqtt;
mod nats;
mod pusher;
mod raw;
pub(crate) mod stream;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tungstenite::handshake::server::{Request, Response};
use tungstenite::http::HeaderValue;
use tungstenite::{Error, Message, WebSocket};

/// What the server of the Pusher protocol knows its app by.
pub(crate) const PUSHER_KEY: &str = "app-key";
pub(crate) const PUSHER_SECRET: &str = "app-secret";

/// A payload on its way to a topic.
pub(crate) struct Published {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) text: bool,
}

/// What comes of a client's message.
enum Act {
    Reply(Message),
    Publish(Published),
}

/// The server's side of one connection.
trait Protocol: Send {
    /// The client's path is known before anything else.
    fn greet(&mut self, path: &str) -> Vec<Message>;
    fn hear(&mut self, message: Message) -> Vec<Act>;
    /// The messages for this client: none if it is not subscribed to the topic.
    fn deliver(&mut self, published: &Published) -> Vec<Message>;
}

/// Reads one payload out of an HTTP request.
type Posted = fn(path: &str, text: bool, body: &[u8]) -> Published;

fn protocol(dialect: &str) -> (fn() -> Box<dyn Protocol>, Posted) {
    match dialect {
        "raw" | "closing raw" | "nchan" => (|| Box::<raw::Raw>::default(), raw::posted),
        "stream" => (|| Box::<stream::Stream>::default(), raw::posted),
        "stream with gaps" => (|| Box::new(stream::Stream::with_gaps()), raw::posted),
        "stream that restarts" => (|| Box::new(stream::Stream::that_restarts()), raw::posted),
        "stream with a log" => (|| Box::new(stream::Stream::with_log()), raw::posted),
        "nats" => (|| Box::<nats::Nats>::default(), raw::posted),
        "mqtt" => (|| Box::<mqtt::Mqtt>::default(), raw::posted),
        "pusher" => (|| Box::<pusher::Pusher>::default(), pusher::posted),
        "centrifuge" => (|| Box::<centrifuge::Centrifuge>::default(), centrifuge::posted),
        other => panic!("no server for {other}"),
    }
}

/// A server in a thread of its own, which ends when this is dropped.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Starts a server that speaks the dialect of this name.
pub(crate) fn start(dialect: &str) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    listener.set_nonblocking(true).expect("a listener");
    let addr = listener.local_addr().expect("an address");
    let (new, posted) = protocol(dialect);
    let closes = dialect.starts_with("closing");
    let stop = Arc::<AtomicBool>::default();
    let (sender, posts) = mpsc::channel();
    let mut hub = Hub { new, peers: Vec::new(), posts };
    let thread = thread::spawn({
        let stop = stop.clone();
        move || {
            let mut silent: Vec<TcpStream> = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true).expect("a socket");
                    stream.set_nodelay(true).expect("a socket");
                    silent.push(stream);
                }
                for stream in std::mem::take(&mut silent) {
                    let Some(is_post) = http::is_post(&stream) else {
                        silent.push(stream);
                        continue;
                    };
                    stream.set_nonblocking(false).expect("a socket");
                    if is_post {
                        http::serve(stream, posted, sender.clone(), closes);
                    } else {
                        hub.accept(stream);
                    }
                }
                if !hub.turn() {
                    thread::sleep(Duration::from_micros(100));
                }
            }
        }
    });
    Server { addr, stop, thread: Some(thread) }
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

struct Hub {
    new: fn() -> Box<dyn Protocol>,
    peers: Vec<Peer>,
    posts: Receiver<Published>,
}

struct Peer {
    socket: WebSocket<TcpStream>,
    protocol: Box<dyn Protocol>,
    is_gone: bool,
}

impl Hub {
    fn accept(&mut self, stream: TcpStream) {
        let mut path = String::new();
        #[expect(clippy::result_large_err, reason = "tungstenite's callback has this type")]
        let look = |request: &Request, mut response: Response| {
            path = request.uri().path().to_owned();
            // MQTT clients end the connection when the server does not choose their subprotocol.
            if request.headers().get("Sec-WebSocket-Protocol").is_some_and(|offer| offer == "mqtt") {
                let chosen = HeaderValue::from_static("mqtt");
                response.headers_mut().insert("Sec-WebSocket-Protocol", chosen);
            }
            Ok(response)
        };
        let socket = tungstenite::accept_hdr(stream, look).expect("a handshake");
        socket.get_ref().set_nonblocking(true).expect("a socket");
        let mut peer = Peer { socket, protocol: (self.new)(), is_gone: false };
        for message in peer.protocol.greet(&path) {
            peer.send(message);
        }
        self.peers.push(peer);
    }

    /// Does what there is to do. False if there was nothing.
    fn turn(&mut self) -> bool {
        let mut published: Vec<_> = self.posts.try_iter().collect();
        for peer in &mut self.peers {
            while let Some(message) = peer.read() {
                for act in peer.protocol.hear(message) {
                    match act {
                        Act::Reply(reply) => peer.send(reply),
                        Act::Publish(message) => published.push(message),
                    }
                }
            }
        }
        for message in &published {
            for peer in &mut self.peers {
                for delivery in peer.protocol.deliver(message) {
                    peer.send(delivery);
                }
            }
        }
        for peer in &mut self.peers {
            let flushed = peer.socket.flush();
            peer.check(flushed);
        }
        self.peers.retain(|peer| !peer.is_gone);
        !published.is_empty()
    }
}

impl Peer {
    fn read(&mut self) -> Option<Message> {
        loop {
            match self.socket.read() {
                Ok(message @ (Message::Binary(_) | Message::Text(_))) => return Some(message),
                Ok(_) => {}
                Err(error) => {
                    self.check(Err(error));
                    return None;
                }
            }
        }
    }

    fn send(&mut self, message: Message) {
        let written = self.socket.write(message);
        self.check(written);
    }

    /// A socket that is full, or empty, is no error.
    fn check(&mut self, result: Result<(), Error>) {
        match result {
            Ok(()) => {}
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.is_gone = true,
        }
    }
}
