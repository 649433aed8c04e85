//! Shutdown under load: what was acknowledged reaches everyone who reads, then the connection ends with 1001.

use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fanfare::{Config, Delivery, ListenOptions, PublishError, Subscription};
use fanfare_tests::raw::{CLOSE, Frame, Raw, TEXT, client_frame};
use fanfare_tests::server::{SHARDS, SOON, Server, eventually, limits, topic};
use serde_json::{Value, json};

/// How many messages are out before the shutdown begins: it comes in the middle of the work.
const WARM_UP: u64 = 2_000;

/// How many publishes a client has under way.
const PIPELINE: usize = 32;

/// Acknowledged messages, or received ones: sequence number and text.
type Numbered = Vec<(u64, String)>;

/// Notes an acknowledgement, and tells of the first.
fn acknowledged(acked: &mut Numbered, seq: u64, text: String, begun: &Sender<()>) {
    if acked.is_empty() {
        begun.send(()).expect("the test waits");
    }
    acked.push((seq, text));
}

/// Publishes from a thread until the engine ends. Returns what was acknowledged.
fn publish_until_refused(server: &Server, name: &str, who: usize, begun: &Sender<()>) -> Numbered {
    let topic = topic(name);
    let mut acked = Vec::new();
    loop {
        let text = format!("thread {who} {}", acked.len());
        match server.engine.publish_acked(&topic, text.clone()) {
            Ok(seq) => acknowledged(&mut acked, seq, text, begun),
            Err(PublishError::ShuttingDown) => return acked,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Publishes over `/stream` until the connection is closed, which must be with 1001. Returns what was acknowledged.
fn stream_until_closed(mut raw: Raw, name: &str, who: usize, begun: &Sender<()>) -> Numbered {
    let text = |id: usize| format!("client {who} {id}");
    let mut acked = Vec::new();
    let (mut sent, mut answered) = (0, 0);
    loop {
        while sent < answered + PIPELINE {
            let args = json!({"topic": name, "data": text(sent)});
            let request = json!({"op": "publish", "args": args, "id": sent}).to_string();
            // The server may have gone; what it said before is still to be read.
            _ = raw.try_write(&client_frame(0x80 | TEXT, request.as_bytes()));
            sent += 1;
        }
        let Some(frame) = raw.next_but_pings() else { panic!("no close frame") };
        if frame.opcode == CLOSE {
            end(raw, &frame);
            return acked;
        }
        let reply: Value = serde_json::from_str(frame.text()).expect("JSON");
        let id = reply["id"].as_u64().expect("an id") as usize;
        answered += 1;
        if reply["ok"] == true {
            acknowledged(&mut acked, reply["seq"].as_u64().expect("a number"), text(id), begun);
        } else {
            assert_eq!(reply["error"]["code"], "shutting_down");
        }
    }
}

/// Reads messages to the end, which must be a close with 1001.
fn read_until_closed(mut raw: Raw) -> Vec<Frame> {
    let mut frames = Vec::new();
    loop {
        let Some(frame) = raw.next_but_pings() else { panic!("no close frame after {}", frames.len()) };
        if frame.opcode == CLOSE {
            end(raw, &frame);
            return frames;
        }
        frames.push(frame);
    }
}

/// Answers the server's close frame and reads to the end.
fn end(mut raw: Raw, close: &Frame) {
    assert_eq!(close.close_code(), 1001);
    _ = raw.try_write(&client_frame(0x80 | CLOSE, &close.payload[..2]));
    assert_eq!(raw.next_frame(), None, "nothing follows a close frame");
}

fn numbered_by_place(frames: &[Frame]) -> Numbered {
    let text = |frame: &Frame| {
        let text = frame.text();
        // JSON arrives as it was published.
        if text.starts_with('"') { serde_json::from_str(text).expect("JSON") } else { text.to_owned() }
    };
    (1..).zip(frames.iter().map(text)).collect()
}

fn numbered_by_seq(frames: &[Frame]) -> Numbered {
    let parse = |frame: &Frame| {
        let data: Value = serde_json::from_str(frame.text()).expect("JSON");
        (data["seq"].as_u64().expect("a number"), data["data"].as_str().expect("a text").to_owned())
    };
    frames.iter().map(parse).collect()
}

fn read_subscription(mut subscription: Subscription) -> Numbered {
    let mut all = Vec::new();
    loop {
        match subscription.recv_timeout(SOON).expect("it ends in time") {
            None => return all,
            Some(Delivery::Message { seq, message }) => {
                let text = message.as_text().expect("text");
                let json = text.starts_with('"');
                let text = if json { serde_json::from_str(text).expect("JSON") } else { text.to_owned() };
                all.push((seq, text));
            }
            Some(gap) => panic!("{gap:?}"),
        }
    }
}

fn join<T>(thread: JoinHandle<T>) -> T {
    thread.join().expect("it went well")
}

#[test]
fn whatever_was_acknowledged_reaches_every_subscriber_that_reads() {
    let server = Arc::new(Server::default());
    let (begun_tell, begun) = mpsc::channel();
    let mut topics = Vec::new();
    for home in 0..SHARDS {
        let name = server.topic_at(home, "last");
        let subscription = server.engine.subscribe(&topic(&name)).expect("subscribed");
        let tap = thread::spawn(move || read_subscription(subscription));
        let (mut readers, mut late, mut publishers) = (Vec::new(), Vec::new(), Vec::new());
        for shard in 0..SHARDS {
            let raw = server.connect_on(shard, &format!("/ws/{name}"));
            readers.push(thread::spawn(move || numbered_by_place(&read_until_closed(raw))));
            let mut stream = server.connect_on(shard, &format!("/stream?topics={name}"));
            assert_eq!(stream.json()["ok"], true);
            readers.push(thread::spawn(move || numbered_by_seq(&read_until_closed(stream))));
            late.push(server.connect_on(shard, &format!("/ws/{name}")));
        }
        for shard in 0..SHARDS {
            let (raw, name, begun) = (server.connect_on(shard, "/stream"), name.clone(), begun_tell.clone());
            publishers.push(thread::spawn(move || stream_until_closed(raw, &name, shard, &begun)));
        }
        for who in 0..2 {
            let (server, name, begun) = (server.clone(), name.clone(), begun_tell.clone());
            publishers.push(thread::spawn(move || publish_until_refused(&server, &name, who, &begun)));
        }
        topics.push((tap, readers, late, publishers));
    }
    let published = || server.sum(|stats| stats.published.get());
    for _ in 0..SHARDS * (SHARDS + 2) {
        begun.recv_timeout(SOON).expect("every publisher gets to work");
    }
    eventually("the publishers are at work", || published() > WARM_UP);
    let shutdown = {
        let server = server.clone();
        thread::spawn(move || server.engine.shutdown(SOON))
    };
    let mut sequenced = 0;
    for (tap, readers, late, publishers) in topics {
        let acked: Vec<Numbered> = publishers.into_iter().map(join).collect();
        let all = join(tap);
        assert!((1..).zip(&all).all(|(place, (seq, _))| *seq == place), "the sequence has no gaps");
        for (seq, text) in acked.iter().flatten() {
            assert_eq!(
                all.get(*seq as usize - 1).map(|(_, text)| text),
                Some(text),
                "seq {seq} was acknowledged"
            );
        }
        for reader in readers {
            assert!(join(reader) == all, "a subscriber got something else");
        }
        // These read nothing until now, when the publishers have been sent away.
        for raw in late {
            assert!(numbered_by_place(&read_until_closed(raw)) == all, "a late reader got something else");
        }
        sequenced += all.len() as u64;
    }
    join(shutdown);
    assert_eq!(published(), sequenced, "nothing was sequenced that nobody got");
    server.assert_empty();
}

#[test]
fn a_shutdown_takes_nothing_new_and_waits_for_those_who_read() {
    let server = Arc::new(Server::build(
        Server::builder(limits())
            .sockets(ListenOptions { send_buffer_bytes: Some(16 * 1024), ..ListenOptions::default() }),
    ));
    let mut reader = Raw::tcp_narrow(server.addr(), 4096);
    reader.upgrade("/ws/held");
    let half_open = server.tcp_on(0);
    half_open.write(b"GET /ws/held HTTP/1.1\r\n");
    // More than the sockets take, and less than the lag limit.
    let texts: Vec<String> = (0..100).map(|number| format!("{number:0>20000}")).collect();
    for text in &texts {
        server.engine.publish_acked(&topic("held"), text.clone()).expect("published");
    }
    let (done_tell, done) = mpsc::channel();
    let shutdown = {
        let server = server.clone();
        thread::spawn(move || {
            server.engine.shutdown(SOON);
            done_tell.send(()).expect("the test waits");
        })
    };
    eventually("new messages are refused", || {
        server.engine.publish(&topic("other"), "late") == Err(PublishError::ShuttingDown)
    });
    assert_eq!(server.engine.subscribe(&topic("held")).map(drop), Err(PublishError::ShuttingDown));
    let mut half_open = half_open;
    assert_eq!(half_open.read_to_end(), b"", "who is not upgraded yet is let go");
    server.wait_for_connections(1);
    assert!(done.try_recv().is_err(), "it waits for the reader");

    let got = read_until_closed(reader);
    assert!(got.iter().map(Frame::text).eq(&texts));
    join(shutdown);
    assert!(std::net::TcpStream::connect(server.addr()).is_err(), "nobody listens any more");
    server.assert_empty();
}

#[test]
fn who_does_not_read_is_cut_off_when_the_grace_is_over() {
    let config = Config { close_timeout_ms: 3_600_000, ..limits() };
    let server = Server::build(
        Server::builder(config)
            .sockets(ListenOptions { send_buffer_bytes: Some(16 * 1024), ..ListenOptions::default() }),
    );
    let mut stalled = Raw::tcp_narrow(server.addr(), 4096);
    stalled.upgrade("/ws/stalled");
    for number in 0..100 {
        server.engine.publish_acked(&topic("stalled"), format!("{number:0>20000}")).expect("published");
    }
    server.engine.shutdown(Duration::from_millis(200));
    assert_eq!(server.sum(|stats| stats.broken.get()), 1);
    assert!(stalled.read_to_end().len() < 100 * 20_000);
    server.assert_empty();
}
