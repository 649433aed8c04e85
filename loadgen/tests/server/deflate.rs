//! A broadcast server with permessage-deflate by other hands: frames read and written byte by byte, and flate2 as it is.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use tungstenite::handshake::derive_accept_key;

/// To whom the server grants compression.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Grants {
    Everybody,
    Subscribers,
    Nobody,
}

pub(crate) struct DeflateServer {
    pub(crate) addr: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Who asked for exactly what our clients offer.
    offers: AtomicUsize,
    compressed: AtomicUsize,
    plain: AtomicUsize,
    /// Each with whether it was granted compression.
    subscribers: Mutex<Vec<(TcpStream, bool)>>,
}

impl DeflateServer {
    /// Its threads end with the test's process.
    pub(crate) fn start(grants: Grants) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("bound");
        let seen = Arc::<Seen>::default();
        thread::spawn({
            let seen = seen.clone();
            move || {
                for stream in listener.incoming() {
                    let seen = seen.clone();
                    thread::spawn(move || serve(stream.expect("a peer"), grants, &seen));
                }
            }
        });
        Self { addr, seen }
    }

    /// Handshakes that offered compression.
    pub(crate) fn offers(&self) -> usize {
        self.seen.offers.load(Ordering::SeqCst)
    }

    /// What publishers sent: compressed messages, and others.
    pub(crate) fn published(&self) -> (usize, usize) {
        (self.seen.compressed.load(Ordering::SeqCst), self.seen.plain.load(Ordering::SeqCst))
    }
}

fn serve(stream: TcpStream, grants: Grants, seen: &Seen) {
    stream.set_nodelay(true).expect("a socket");
    let mut input = BufReader::new(stream.try_clone().expect("a socket"));
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(input.read_line(&mut head).expect("a request") > 0);
    }
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    };
    let is_subscriber = head.starts_with("GET /ws/");
    let is_offered = header("Sec-WebSocket-Extensions").is_some_and(|offer| {
        ["permessage-deflate", "server_no_context_takeover"].iter().all(|word| offer.contains(word))
    });
    seen.offers.fetch_add(usize::from(is_offered), Ordering::SeqCst);
    let granted = is_offered
        && match grants {
            Grants::Everybody => true,
            Grants::Subscribers => is_subscriber,
            Grants::Nobody => false,
        };
    let extensions = if granted {
        "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits=10\r\n"
    } else {
        ""
    };
    let accept = derive_accept_key(header("Sec-WebSocket-Key").expect("a key").as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{extensions}\r\n"
    );
    let mut output = &stream;
    let mut subscribers = seen.subscribers.lock().expect("no panic");
    output.write_all(answer.as_bytes()).expect("a client");
    if is_subscriber {
        subscribers.push((stream.try_clone().expect("a socket"), granted));
    }
    drop(subscribers);
    let mut count = 0;
    while let Some((first, payload)) = frame(&mut input) {
        match first & 0x0f {
            1 | 2 => {
                count += 1;
                let is_compressed = first & 0x40 != 0;
                assert!(granted || !is_compressed, "compressed without leave");
                let counter = if is_compressed { &seen.compressed } else { &seen.plain };
                counter.fetch_add(1, Ordering::SeqCst);
                let payload = if is_compressed { inflate(&payload) } else { payload };
                // Every other one goes out as it is, which a server may decide as it likes.
                let compressed = written(0xc0 | first & 0x0f, &deflate(&payload));
                let plain = written(0x80 | first & 0x0f, &payload);
                for (subscriber, granted) in seen.subscribers.lock().expect("no panic").iter() {
                    // One that has left does not matter.
                    let out = if *granted && count % 2 == 0 { &compressed } else { &plain };
                    let mut subscriber: &TcpStream = subscriber;
                    _ = subscriber.write_all(out);
                }
            }
            8 => {
                _ = output.write_all(&written(0x88, &payload));
                // The client may close at once.
                _ = stream.shutdown(std::net::Shutdown::Write);
                return;
            }
            other => panic!("opcode {other}"),
        }
    }
}

/// A masked frame's first byte and its payload; nothing at the end.
fn frame(input: &mut impl Read) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    input.read_exact(&mut head).ok()?;
    assert!(head[0] & 0x80 != 0 && head[1] & 0x80 != 0, "a masked frame in one piece");
    let mut long = [0; 8];
    let len = match head[1] & 0x7f {
        126 => {
            input.read_exact(&mut long[6..]).ok()?;
            u64::from_be_bytes(long)
        }
        127 => {
            input.read_exact(&mut long).ok()?;
            u64::from_be_bytes(long)
        }
        short => u64::from(short),
    };
    let mut key = [0; 4];
    input.read_exact(&mut key).ok()?;
    let mut payload = vec![0; len as usize];
    input.read_exact(&mut payload).ok()?;
    payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    Some((head[0], payload))
}

fn written(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        len @ 0..126 => out.push(len as u8),
        len @ 126..65_536 => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

fn deflate(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() * 2 + 64);
    let mut stream = Compress::new(Compression::default(), false);
    stream.compress_vec(payload, &mut out, FlushCompress::Sync).expect("room enough");
    assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
    out.truncate(out.len() - 4);
    out
}

/// In a window of 1 KiB, which is what was granted.
fn inflate(payload: &[u8]) -> Vec<u8> {
    let whole = [payload, &[0, 0, 0xff, 0xff]].concat();
    let mut out = Vec::with_capacity(1 << 20);
    let mut stream = Decompress::new_with_window_bits(false, 10);
    stream.decompress_vec(&whole, &mut out, FlushDecompress::Sync).expect("deflate");
    assert!(out.len() < out.capacity());
    out
}
