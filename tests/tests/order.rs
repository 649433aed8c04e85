//! Total order across shards: whoever publishes, from wherever, every subscriber sees one and the same sequence.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fanfare::{Config, Delivery, Message, Subscription};
use fanfare_tests::raw::{BINARY, Frame, Raw, TEXT, server_frame};
use fanfare_tests::server::{SHARDS, SOON, Server, limits, topic};
use serde_json::{Value, json};

/// How many messages each publisher sends to each topic.
const EACH: usize = 300;

/// The publishers of a topic: raw ones on each shard in text, binary and JSON, a `/stream` one on each shard, one that
/// subscribes too, and two threads.
const RAW: [(&str, u8); 3] = [("", TEXT), ("", BINARY), ("?data=json", TEXT)];
const PUBLISHERS: usize = SHARDS * (RAW.len() + 2) + 2;
const TOTAL: usize = PUBLISHERS * EACH;

/// What a publisher says: its own number, how many it said before, and filling, so that frames have all sorts of sizes.
fn words(publisher: usize, number: usize) -> String {
    let filling = match number % 50 {
        7 => 126,
        19 => 5_000,
        31 => 70_000,
        other => other,
    };
    format!("{publisher} {number} {}", "~".repeat(filling))
}

/// The publisher and number that words begin with.
fn origin(words: &str) -> (usize, usize) {
    let mut numbers = words.splitn(3, ' ').map(|number| number.parse().expect("a number"));
    (numbers.next().expect("a publisher"), numbers.next().expect("a number"))
}

/// What one subscriber got: for each message its sequence number, if it is told, and its words.
type Sequence = Vec<(Option<u64>, String)>;

/// Checks a whole sequence: nothing is lost or doubled, and each publisher's messages are in order.
fn check_sequence(sequence: &Sequence) {
    assert_eq!(sequence.len(), TOTAL);
    let mut next: HashMap<usize, usize> = HashMap::new();
    for (place, (seq, words)) in sequence.iter().enumerate() {
        assert!(seq.is_none_or(|seq| seq == place as u64 + 1), "seq {seq:?} at place {place}");
        let (publisher, number) = origin(words);
        let expected = next.entry(publisher).or_default();
        assert_eq!(number, *expected, "publisher {publisher} at place {place}");
        *expected += 1;
    }
    assert!(next.len() == PUBLISHERS && next.values().all(|count| *count == EACH));
}

fn words_of(sequence: &Sequence) -> impl Iterator<Item = &str> {
    sequence.iter().map(|(_, words)| words.as_str())
}

/// The publishers of one topic, each on a thread. They are connected now, and begin when `start` is passed.
fn publish_all(server: &Arc<Server>, topic_name: &str, start: &Arc<Barrier>) -> Vec<JoinHandle<()>> {
    let mut threads = Vec::new();
    let mut start = |publish: Box<dyn FnOnce(usize) + Send>| {
        let (publisher, start) = (threads.len(), start.clone());
        threads.push(thread::spawn(move || {
            start.wait();
            publish(publisher);
        }));
    };
    for shard in 0..SHARDS {
        for (query, opcode) in RAW {
            let raw = server.connect_on(shard, &format!("/pub/{topic_name}{query}"));
            let json = !query.is_empty();
            start(Box::new(move |publisher| {
                for number in 0..EACH {
                    let words = words(publisher, number);
                    let words = if json { Value::from(words).to_string() } else { words };
                    raw.send(opcode, words.as_bytes());
                }
                raw.close();
            }));
        }
        let mut stream = server.connect_on(shard, "/stream");
        let name = topic_name.to_owned();
        start(Box::new(move |publisher| {
            for number in 0..EACH {
                let args = json!({"topic": name, "data": words(publisher, number)});
                stream.send_text(&json!({"op": "publish", "args": args, "id": number}).to_string());
            }
            // Its own messages got rising numbers, and each was answered, though not in step with the sending.
            let replies: Vec<Value> = (0..EACH).map(|_| stream.json()).collect();
            let of = |key: &str| replies.iter().map(|reply| reply[key].as_u64()).collect::<Vec<_>>();
            assert_eq!(of("id"), (0..EACH as u64).map(Some).collect::<Vec<_>>());
            assert!(of("seq").is_sorted_by(|a, b| a.is_some() && a < b), "{replies:?}");
            stream.close();
        }));
        let mut both = server.connect_on(shard, &format!("/ws/{topic_name}"));
        start(Box::new(move |publisher| {
            let writer = both.writer();
            let writing = thread::spawn(move || {
                (0..EACH).for_each(|number| writer.send_text(&words(publisher, number)));
            });
            both.messages(TOTAL);
            writing.join().expect("written");
            both.close();
        }));
    }
    for _ in 0..2 {
        let (server, name) = (server.clone(), topic(topic_name));
        start(Box::new(move |publisher| {
            for number in 0..EACH {
                server.engine.publish(&name, words(publisher, number)).expect("published");
            }
        }));
    }
    assert_eq!(threads.len(), PUBLISHERS);
    threads
}

fn read_raw(mut raw: Raw) -> (Vec<Frame>, Sequence) {
    let frames = raw.messages(TOTAL);
    raw.close();
    let words = |frame: &Frame| {
        let text = String::from_utf8(frame.payload.clone()).expect("all payloads are text");
        // JSON arrives as it was published.
        if text.starts_with('"') { serde_json::from_str(&text).expect("JSON") } else { text }
    };
    let sequence = frames.iter().map(|frame| (None, words(frame))).collect();
    (frames, sequence)
}

/// One `/stream` connection's frames and messages of several topics, by topic.
fn read_stream(mut raw: Raw, topics: &[String]) -> HashMap<String, (Vec<Frame>, Sequence)> {
    let mut all: HashMap<_, (Vec<Frame>, Sequence)> = HashMap::new();
    for frame in raw.messages(TOTAL * topics.len()) {
        let data: Value = serde_json::from_str(frame.text()).expect("JSON");
        let text = data["data"].as_str().expect("a string");
        let words = match data.get("encoding") {
            None => text.to_owned(),
            Some(encoding) => {
                assert_eq!(encoding, "base64");
                String::from_utf8(BASE64_STANDARD.decode(text).expect("base64")).expect("text")
            }
        };
        let name = data["topic"].as_str().expect("a topic").to_owned();
        let (frames, sequence) = all.entry(name).or_default();
        frames.push(frame);
        sequence.push((data["seq"].as_u64(), words));
    }
    raw.close();
    all
}

fn read_subscription(mut subscription: Subscription) -> Sequence {
    let read = |_| match subscription.recv_timeout(SOON) {
        Ok(Some(Delivery::Message { seq, message })) => {
            let text = std::str::from_utf8(message.payload()).expect("text");
            let json = text.starts_with('"');
            let words = if json { serde_json::from_str(text).expect("JSON") } else { text.to_owned() };
            (Some(seq), words)
        }
        other => panic!("expected a message, not {other:?}"),
    };
    (0..TOTAL).map(read).collect()
}

fn join<T>(threads: Vec<JoinHandle<T>>) -> Vec<T> {
    threads.into_iter().map(|thread| thread.join().expect("it went well")).collect()
}

/// Compares a topic's frames as all subscribers of a view got them, byte for byte.
fn assert_same_frames(all: &[Vec<Frame>]) {
    for frames in &all[1..] {
        let differs = frames.iter().zip(&all[0]).position(|(one, first)| one.bytes != first.bytes);
        assert_eq!((frames.len(), differs), (all[0].len(), None));
    }
}

#[test]
fn every_subscriber_sees_the_same_sequence_of_all_publishers() {
    // The shards' inboxes are small, so that publishers are held back again and again.
    let server = Arc::new(Server::new(Config { inbox_commands_max: 64, ..limits() }));
    // One topic at home on each shard, so that every publisher is once at home and once abroad.
    let topics: Vec<String> = (0..SHARDS).map(|shard| server.topic_at(shard, "order")).collect();
    let (mut raws, mut streams, mut taps) =
        ([const { Vec::new() }; SHARDS], Vec::new(), [const { Vec::new() }; SHARDS]);
    for shard in 0..SHARDS {
        for ((name, raws), taps) in topics.iter().zip(&mut raws).zip(&mut taps) {
            for _ in 0..2 {
                let raw = server.connect_on(shard, &format!("/ws/{name}"));
                raws.push(thread::spawn(move || read_raw(raw)));
            }
            let subscription = server.engine.subscribe(&topic(name)).expect("subscribed");
            taps.push(thread::spawn(move || read_subscription(subscription)));
        }
        for _ in 0..2 {
            let mut raw = server.connect_on(shard, "/stream");
            raw.send_text(&json!({"op": "subscribe", "args": topics, "id": "all"}).to_string());
            assert_eq!(raw.json()["ok"], true);
            let topics = topics.clone();
            streams.push(thread::spawn(move || read_stream(raw, &topics)));
        }
    }
    // Those of both topics run at the same time.
    let start = Arc::new(Barrier::new(PUBLISHERS * topics.len()));
    let publishers: Vec<_> = topics.iter().flat_map(|name| publish_all(&server, name, &start)).collect();
    join(publishers);

    let mut streams = join(streams);
    for ((name, raws), taps) in topics.iter().zip(raws).zip(taps) {
        let (raw_frames, raw_sequences): (Vec<_>, Vec<_>) = join(raws).into_iter().unzip();
        let of_stream = |stream: &mut HashMap<_, _>| stream.remove(name).expect("it was subscribed");
        let (stream_frames, stream_sequences): (Vec<_>, Vec<_>) = streams.iter_mut().map(of_stream).unzip();
        assert_same_frames(&raw_frames);
        assert_same_frames(&stream_frames);
        for frame in &raw_frames[0] {
            assert_eq!(frame.bytes, server_frame(frame.opcode, &frame.payload));
        }
        let tap_sequences = join(taps);
        let first = &tap_sequences[0];
        for sequence in tap_sequences.iter().chain(&stream_sequences).chain(&raw_sequences) {
            check_sequence(sequence);
            assert!(words_of(sequence).eq(words_of(first)), "two subscribers saw different orders");
        }
    }
    server.assert_empty();
}

#[test]
fn who_joins_while_messages_flow_misses_nothing_from_then_on() {
    let server = Arc::new(Server::default());
    for home in 0..SHARDS {
        let name = server.topic_at(home, "join");
        let done = Arc::new(AtomicBool::new(false));
        let publisher = {
            let (server, name, done) = (server.clone(), topic(&name), done.clone());
            thread::spawn(move || {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    last += 1;
                    let message = Message::json(last.to_string()).expect("JSON");
                    assert_eq!(server.engine.publish_acked(&name, message), Ok(last));
                }
                last += 1;
                let end = Message::json(format!("-{last}")).expect("JSON");
                server.engine.publish(&name, end).expect("published");
                last
            })
        };
        let mut joined = Vec::new();
        for round in 0..20 {
            let raw = server.connect_on(round % SHARDS, &format!("/ws/{name}"));
            joined.push(thread::spawn(move || read_numbers(raw, |frame| (None, frame.text().to_owned()))));
            let mut raw = server.connect_on(round % SHARDS, &format!("/stream?topics={name}"));
            joined.push(thread::spawn(move || {
                let announced = raw.json()["topics"][0]["seq"].as_u64().expect("a number");
                let numbers = read_numbers(raw, |frame| {
                    let data: Value = serde_json::from_str(frame.text()).expect("JSON");
                    (data["seq"].as_u64(), data["data"].to_string())
                });
                assert_eq!(numbers[0], announced + 1, "the announced number is that of the message before");
                numbers
            }));
        }
        done.store(true, Ordering::Relaxed);
        let last = publisher.join().expect("published");
        for numbers in join(joined) {
            assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "a gap after {}", numbers[0]);
            assert_eq!(numbers.last(), Some(&last));
        }
    }
    server.assert_empty();
}

/// Reads numbers until a negative one, which is the last.
fn read_numbers(mut raw: Raw, parse: impl Fn(&Frame) -> (Option<u64>, String)) -> Vec<u64> {
    let mut numbers = Vec::new();
    loop {
        let (seq, text) = parse(&raw.message());
        let number: i64 = text.parse().expect("a number");
        assert!(seq.is_none_or(|seq| seq == number.unsigned_abs()), "seq {seq:?} of message {number}");
        numbers.push(number.unsigned_abs());
        if number < 0 {
            raw.close();
            return numbers;
        }
    }
}
