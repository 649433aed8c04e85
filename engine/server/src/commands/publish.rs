//! `fanfare pub`: a line of standard input is a message.

use std::ops::ControlFlow;
use std::pin::pin;

use fanfare_wire::close::CloseCode;
use fanfare_wire::stream;
use fanfare_wire::topic::TopicName;
use fanfare_wire::url::WsUrl;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, stdin};
use tokio::signal;

use super::{Failure, URL_DEFAULT, URL_VARIABLE, block_on, endpoint, server_url};
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
}

pub(crate) fn run(args: &PublishArgs) -> Result<(), Failure> {
    block_on(publish(args))
}

async fn publish(args: &PublishArgs) -> Result<(), Failure> {
    let path =
        if args.json { "/stream".to_owned() } else { format!("/pub/{}", args.topic.to_path_segment()) };
    let mut client = Client::connect(&endpoint(&args.url, &path)).await?;
    let mut encoder = Encoder::new(args.json.then_some(&args.topic));
    let mut answers = Answers::default();
    let bad_input = send_lines(&mut client, &mut encoder, &mut answers).await?;
    // Bad input ends the input and no more: the lines before it are brought to their end.
    tokio::select! {
        outcome = finish(&mut client, encoder.asked, &mut answers) => outcome?,
        _ = signal::ctrl_c() => {
            return Err(Failure::Runtime("interrupted before the server had taken everything".to_owned()));
        }
    }
    bad_input.map_or(Ok(()), |why| Err(Failure::Runtime(why)))
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
    /// With `--json`: the topic as a JSON string.
    topic: Option<String>,
    /// Requests that will be answered.
    asked: u64,
    request: String,
}

impl Encoder {
    /// With a topic, lines become requests of `/stream`.
    fn new(topic: Option<&TopicName>) -> Self {
        let quoted =
            |topic: &TopicName| serde_json::to_string(topic.as_str()).expect("a string is always JSON");
        Self { topic: topic.map(quoted), asked: 0, request: String::new() }
    }

    /// The message for a line as (is it text, payload); `None` if the line is none.
    fn encode<'a>(&'a mut self, number: u64, line: &'a [u8]) -> Result<Option<(bool, &'a [u8])>, String> {
        let text = std::str::from_utf8(line);
        let Some(topic) = &self.topic else {
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
        for part in [r#"{"op":"publish","args":{"topic":"#, topic, r#","data":"#, text, r#"},"id":"#] {
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
    id: Option<u64>,
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
                let line = answer.id.map(|id| format!("line {id}: ")).unwrap_or_default();
                self.refusal.get_or_insert_with(|| format!("{line}{}", error.message));
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
        let mut raw = Encoder::new(None);
        assert_eq!(raw.encode(1, b"{"), Ok(Some((true, &b"{"[..]))));
        assert_eq!(raw.encode(2, b""), Ok(Some((true, &b""[..]))));
        assert_eq!(raw.encode(3, b"\xff"), Ok(Some((false, &b"\xff"[..]))));
        assert_eq!(raw.asked, 0);

        let topic = TopicName::parse("a \"b\"").expect("a topic");
        let mut json = Encoder::new(Some(&topic));
        assert_eq!(json.encode(1, b" \r"), Ok(None));
        let request = json.encode(2, b" [1] ").expect("JSON").expect("a message").1.to_vec();
        let parsed = stream::parse(std::str::from_utf8(&request).expect("text")).expect("a request");
        assert_eq!(parsed.id, Some(stream::Id::Number(2)));
        assert_eq!(parsed.op, stream::Op::Publish { topic, data: "[1]" });
        for line in [&b"{"[..], b"1 2", b"\"\xff\""] {
            let why = json.encode(9, line).expect_err("not JSON");
            assert!(why.starts_with("line 9 "), "{why}");
        }
        assert_eq!(json.asked, 1);
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
    }
}
