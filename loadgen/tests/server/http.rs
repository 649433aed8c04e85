//! Publishing with POST: one thread for each connection, one request after the other.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::Sender;
use std::thread;

use super::{Posted, Published};

/// Whether a connection, which does not block, begins with a POST. `None` until that is known, for ever if it ends before.
pub(super) fn is_post(stream: &TcpStream) -> Option<bool> {
    let mut begin = [0; 4];
    let len = stream.peek(&mut begin).ok()?;
    (len == begin.len()).then(|| begin == *b"POST")
}

pub(super) fn serve(stream: TcpStream, posted: Posted, hub: Sender<Published>, closes: bool) {
    thread::spawn(move || {
        let mut writer = stream.try_clone().expect("a socket");
        let mut reader = BufReader::new(stream);
        while let Some((path, text, body)) = read(&mut reader) {
            if hub.send(posted(&path, text, &body)).is_err() {
                return;
            }
            let close = if closes { "Connection: close\r\n" } else { "" };
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{close}Content-Length: 2\r\n\r\n{{}}"
            );
            if writer.write_all(answer.as_bytes()).is_err() || closes {
                return;
            }
        }
    });
}

/// The path, whether the body is text, and the body; `None` when the connection ended.
fn read(reader: &mut BufReader<TcpStream>) -> Option<(String, bool, Vec<u8>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&len| len > 0)?;
    let path = line.split(' ').nth(1).expect("a request line").to_owned();
    let (mut length, mut text) = (0, false);
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|&len| len > 0)?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name {
            "Content-Length" => length = value.parse().expect("a length"),
            "Content-Type" => text = value.starts_with("text/"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, text, body))
}
