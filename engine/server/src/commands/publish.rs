//! `fanfare pub`: a line of standard input is a message.

use std::ops::ControlFlow;
use std::pin::pin;

use fanfare_wire::close::CloseCode;
use fanfare_wire::key::Key;
use fanfare_wire::stream;
use fanfare_wire::topic::TopicName;
use fanfare_wire::url::WsUrl;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, stdin};
use tokio::signal;

use super::{Failure, URL_DEFAULT, URL_VARIABLE, block_on, endpoint, query_value, server_url};
use crate::client::{Client, Turn};

/// While more than this is queued, standard input is not read: whoever writes to it waits, as the server wants.
const QUEUE_BYTES_MAX: usize = 256 * 1024;

const READ_BYTES: usize = 64 * 1024;

/// The longest line. No server takes a message of this size.
const LINE_BYTES_MAX: usize = 1 << 30;

#[derive(clap::Args, Debug)]
pub(crate) struct PublishArgs {
    /// Topic to publish to
    topic: TopicName,

    /// Server to connect to
    #[arg(long, value_name = "URL", env = URL_VARIABLE, default_value = URL_DEFAULT, value_parser = server_url)]
    url: WsUrl,

    /// Publish each line as a JSON message, and wait until the server has acknowledged every one; blank lines are skipped
    #[arg(long)]
    json: bool,

    /// Make each message the value of this key, until the next one with it
    #[arg(long, value_name = "KEY")]
    key: Option<Key>,

    /// Remove the key: no input is read, and one message says that the key has no value any more
    #[arg(long, requires = "key", conflicts_with = "json")]
    tombstone: bool,
}

pub(crate) fn run(args: &PublishArgs) -> Result<(), Failure> {
    block_on(publish(args))
}

async fn publish(args: &PublishArgs) -> Result<(), Failure> {
    let mut client = Client::connect(&endpoint(&args.url, &path(args))).await?;
    let mut encoder = Encoder::new(args.json.then_some(&args.topic), args.key.as_ref());
    let mut answers = Answers::default();
    let bad_input = match &args.key {
        Some(key) if args.tombstone => {
            client.send(true, encoder.tombstone(&args.topic, key).as_bytes())?;
            None
        }
        _ => send_lines(&mut client, &mut encoder, &mut answers).await?,
    };
    // Bad input ends the input and no more: the lines before it are brought to their end.
    tokio::select! {
        outcome = finish(&mut client, encoder.asked, &mut answers) => outcome?,
        _ = signal::ctrl_c() => {
            return Err(Failure::Runtime("interrupted before the server had taken everything".to_owned()));
        }
    }
    bad_input.map_or(Ok(()), |why| Err(Failure::Runtime(why)))
}

/// Where the server takes what is to be published.
fn path(args: &PublishArgs) -> String {
    if args.json || args.tombstone {
        return "/stream".to_owned();
    }
    let query = args.key.as_ref().map(|key| format!("?key={}", query_value(key))).unwrap_or_default();
    format!("/pub/{}{query}", args.topic.to_path_segment())
}

/// Waits for the answers to `asked` requests, then for the end of the closing handshake.
async fn finish(client: &mut Client, asked: u64, answers: &mut Answers) -> Result<(), Failure> {
    while answers.received < asked {
        let turn = client.turn(|_, payload| answers.take(payload)).await;
        answers.check()?;
        if let Turn::Closed(closed) = turn? {
            return Err(closed.into());
        }
    }
    let closed = client.close(|_, _| {}).await?;
    if closed.code.is_some_and(|code| code != CloseCode::NORMAL) {
        return Err(closed.into());
    }
    Ok(())
}

/// Sends lines until the input ends or somebody interrupts. Returns what is wrong with the input, if anything.
async fn send_lines(
    client: &mut Client,
    encoder: &mut Encoder,
    answers: &mut Answers,
) -> Result<Option<String>, Failure> {
    let mut lines = Lines::default();
    let mut input = stdin();
    let mut interrupt = pin!(signal::ctrl_c());
    loop {
        tokio::select! {
            count = input.read_buf(lines.room()), if client.queued() < QUEUE_BYTES_MAX => {
                let at_end = match count {
                    Ok(count) => count == 0,
                    Err(error) => return Ok(Some(format!("standard input: {error}"))),
                };
                while let Some((number, line)) = lines.next(at_end) {
                    match encoder.encode(number, line) {
                        Ok(Some((text, payload))) => client.send(text, payload)?,
                        Ok(None) => {}
                        Err(why) => return Ok(Some(why)),
                    }
                }
                if lines.unfinished() > LINE_BYTES_MAX {
                    return Ok(Some(format!("line {} is longer than any message", lines.taken + 1)));
                }
                if at_end {
                    return Ok(None);
                }
            }
            turn = client.turn(|_, payload| answers.take(payload)) => {
                answers.check()?;
                if let Turn::Closed(closed) = turn? {
                    return Err(closed.into());
                }
            }
            _ = &mut interrupt => return Ok(None),
        }
    }
}

/// Lines to messages.
#[derive(Debug)]
struct Encoder {
    /// With `--json`: what a request begins with, up to the data.
    start: Option<String>,
    /// Requests that will be answered.
    asked: u64,
    request: String,
}

impl Encoder {
    /// With a topic, lines become requests of `/stream`, with the key if there is one.
    fn new(topic: Option<&TopicName>, key: Option<&Key>) -> Self {
        let key = key.map(|key| format!(r#""key":{},"#, json!(key.as_str()))).unwrap_or_default();
        let start = |topic: &TopicName| {
            format!(r#"{{"op":"publish","args":{{"topic":{},{key}"data":"#, json!(topic.as_str()))
        };
        Self { start: topic.map(start), asked: 0, request: String::new() }
    }

    /// The request that removes a key.
    fn tombstone(&mut self, topic: &TopicName, key: &Key) -> String {
        self.asked += 1;
        let args = json!({ "topic": topic.as_str(), "key": key.as_str(), "tombstone": true });
        json!({ "op": "publish", "args": args, "id": "tombstone" }).to_string()
    }

    /// The message for a line as (is it text, payload); `None` if the line is none.
    fn encode<'a>(&'a mut self, number: u64, line: &'a [u8]) -> Result<Option<(bool, &'a [u8])>, String> {
        let text = std::str::from_utf8(line);
        let Some(start) = &self.start else {
            // What is not UTF-8 cannot be a text message; as bytes nothing of it is lost.
            return Ok(Some((text.is_ok(), line)));
        };
        if line.trim_ascii().is_empty() {
            return Ok(None);
        }
        let Some(text) = text.ok().filter(|_| stream::is_json(line)) else {
            return Err(format!("line {number} is not one JSON text; the lines before it were published"));
        };
        self.request.clear();
        for part in [start, text, r#"},"id":"#] {
            self.request.push_str(part);
        }
        self.request.push_str(&number.to_string());
        self.request.push('}');
        self.asked += 1;
        Ok(Some((true, self.request.as_bytes())))
    }
}

/// What the server answered to publishes over `/stream`.
#[derive(Debug, Default)]
struct Answers {
    received: u64,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    /// The number of the line, unless it was no line that was sent.
    id: Option<Value>,
    error: Option<AnswerError>,
}

#[derive(Deserialize)]
struct AnswerError {
    message: String,
}

impl Answers {
    fn take(&mut self, payload: &[u8]) -> ControlFlow<()> {
        // On `/pub` nothing comes, and on `/stream` without a subscription only answers do.
        if let Ok(answer) = serde_json::from_slice::<Answer>(payload) {
            self.received += 1;
            if let Some(error) = answer.error {
                let line = answer.id.and_then(|id| id.as_u64());
                let what = line.map_or_else(|| "it".to_owned(), |number| format!("line {number}"));
                self.refusal.get_or_insert_with(|| format!("{what}: {}", error.message));
            }
        }
        ControlFlow::Continue(())
    }

    fn check(&mut self) -> Result<(), Failure> {
        match self.refusal.take() {
            None => Ok(()),
            Some(refusal) => Err(Failure::Runtime(format!("the server refused {refusal}"))),
        }
    }
}

/// Standard input, cut into lines.
#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// Up to here there is no line feed.
    searched: usize,
    /// Lines taken.
    taken: u64,
}

impl Lines {
    /// Where the next read goes.
    fn room(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.bytes.reserve(READ_BYTES);
        &mut self.bytes
    }

    /// Bytes of a line that is not complete.
    fn unfinished(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// The next complete line and its number. What stands behind the last line feed is a line once the input is at its end.
    fn next(&mut self, at_end: bool) -> Option<(u64, &[u8])> {
        let line_feed = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n');
        let end = match line_feed {
            Some(offset) => self.searched + offset,
            None if at_end && self.start < self.bytes.len() => self.bytes.len(),
            None => {
                self.searched = self.bytes.len();
                return None;
            }
        };
        let line = self.start..end;
        self.start = (end + 1).min(self.bytes.len());
        self.searched = self.start;
        self.taken += 1;
        Some((self.taken, &self.bytes[line]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cuts `input`, read in pieces of `piece` bytes, into lines.
    fn cut(input: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let mut lines = Lines::default();
        let mut cut = Vec::new();
        for piece in input.chunks(piece).map(Some).chain([None]) {
            lines.room().extend_from_slice(piece.unwrap_or_default());
            while let Some((number, line)) = lines.next(piece.is_none()) {
                cut.push(line.to_vec());
                assert_eq!(number, cut.len() as u64);
            }
        }
        cut
    }

    #[test]
    fn lines_do_not_depend_on_how_they_are_read() {
        for (input, lines) in [
            ("", &[][..]),
            ("\n", &[""]),
            ("a", &["a"]),
            ("a\n", &["a"]),
            ("a\n\nbc\r\n d ", &["a", "", "bc\r", " d "]),
        ] {
            for piece in 1..=input.len().max(1) {
                assert_eq!(
                    cut(input.as_bytes(), piece),
                    lines.iter().map(|l| l.as_bytes()).collect::<Vec<_>>()
                );
            }
        }
    }

    #[test]
    fn a_line_becomes_what_its_server_understands() {
        let mut raw = Encoder::new(None, None);
        assert_eq!(raw.encode(1, b"{"), Ok(Some((true, &b"{"[..]))));
        assert_eq!(raw.encode(2, b""), Ok(Some((true, &b""[..]))));
        assert_eq!(raw.encode(3, b"\xff"), Ok(Some((false, &b"\xff"[..]))));
        assert_eq!(raw.asked, 0);

        let topic = TopicName::parse("a \"b\"").expect("a topic");
        let mut json = Encoder::new(Some(&topic), None);
        assert_eq!(json.encode(1, b" \r"), Ok(None));
        let request = json.encode(2, b" [1] ").expect("JSON").expect("a message").1.to_vec();
        let parsed = stream::parse(std::str::from_utf8(&request).expect("text")).expect("a request");
        assert_eq!(parsed.id, Some(stream::Id::Number(2)));
        let content = stream::Content::Data("[1]");
        assert_eq!(parsed.op, stream::Op::Publish { topic, key: None, content });
        for line in [&b"{"[..], b"1 2", b"\"\xff\""] {
            let why = json.encode(9, line).expect_err("not JSON");
            assert!(why.starts_with("line 9 "), "{why}");
        }
        assert_eq!(json.asked, 1);
    }

    #[test]
    fn a_key_goes_with_every_line_and_a_tombstone_alone() {
        let (topic, key) = (TopicName::parse("t").expect("a topic"), Key::parse("a \"b\"").expect("a key"));
        let mut encoder = Encoder::new(Some(&topic), Some(&key));
        for number in [1, 2] {
            let request = encoder.encode(number, b"[1]").expect("JSON").expect("a message").1.to_vec();
            let parsed = stream::parse(std::str::from_utf8(&request).expect("text")).expect("a request");
            let (topic, key) = (topic.clone(), Some(key.clone()));
            assert_eq!(parsed.op, stream::Op::Publish { topic, key, content: stream::Content::Data("[1]") });
        }
        let request = encoder.tombstone(&topic, &key);
        let parsed = stream::parse(&request).expect("a request");
        assert_eq!(encoder.asked, 3);
        let content = stream::Content::Tombstone;
        assert_eq!(parsed.op, stream::Op::Publish { topic, key: Some(key), content });
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: PublishArgs,
    }

    #[test]
    fn a_key_stands_in_the_path_or_in_the_requests() {
        for (line, outcome) in [
            (&["t"][..], Ok("/pub/t")),
            (&["a b", "--key", "EUR/USD"], Ok("/pub/a%20b?key=EUR%2FUSD")),
            (&["t", "--key=k", "--json"], Ok("/stream")),
            (&["t", "--key=k", "--tombstone"], Ok("/stream")),
            (&["t", "--tombstone"], Err("--key")),
            (&["t", "--tombstone", "--key=k", "--json"], Err("--json")),
            (&["t", "--key="], Err("a key must not be empty")),
        ] {
            let parsed = <Line as clap::Parser>::try_parse_from(["pub"].iter().chain(line));
            match (parsed, outcome) {
                (Ok(line), Ok(expected)) => assert_eq!(path(&line.args), expected),
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error}"),
                (parsed, _) => panic!("{line:?}: {:?}", parsed.map(|line| line.args)),
            }
        }
    }

    #[test]
    fn a_refusal_names_its_line() {
        let mut answers = Answers::default();
        _ = answers.take(br#"{"id":1,"op":"publish","ok":true,"topic":"a","seq":1}"#);
        assert!(answers.check().is_ok());
        _ = answers.take(br#"{"id":2,"op":"publish","ok":false,"error":{"code":"busy","message":"Wait."}}"#);
        assert_eq!(answers.received, 2);
        let Err(Failure::Runtime(sentence)) = answers.check() else { panic!("it was refused") };
        assert_eq!(sentence, "the server refused line 2: Wait.");
        _ = answers
            .take(br#"{"id":"tombstone","op":"publish","ok":false,"error":{"code":"x","message":"No."}}"#);
        let Err(Failure::Runtime(sentence)) = answers.check() else { panic!("it was refused") };
        assert_eq!((answers.received, sentence.as_str()), (3, "the server refused it: No."));
    }
}
