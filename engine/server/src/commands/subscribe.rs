//! `fanfare sub`: prints messages, one a line.

use std::borrow::Cow;
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::pin::pin;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fanfare_wire::close::CloseCode;
use fanfare_wire::topic::TopicName;
use fanfare_wire::url::WsUrl;
use serde::{Deserialize, Deserializer};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::signal;
use tokio::time::timeout;

use super::{Failure, URL_DEFAULT, URL_VARIABLE, block_on, endpoint, server_url};
use crate::client::{Client, Turn};

#[derive(clap::Args, Debug)]
pub(crate) struct SubscribeArgs {
    /// Topics to subscribe to; with several, each line begins with its topic and a tab
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<TopicName>,

    /// Server to connect to
    #[arg(long, value_name = "URL", env = URL_VARIABLE, default_value = URL_DEFAULT, value_parser = server_url)]
    url: WsUrl,

    /// Print each message as the JSON that /stream delivers: {"topic":...,"seq":...,"data":...}
    #[arg(long)]
    json: bool,

    /// End after N messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

pub(crate) fn run(args: &SubscribeArgs) -> Result<(), Failure> {
    block_on(subscribe(args))
}

async fn subscribe(args: &SubscribeArgs) -> Result<(), Failure> {
    let mut printer = Printer { left: args.count.unwrap_or(u64::MAX), ..Printer::new(args) };
    let path = match (&printer.form, args.topics.as_slice()) {
        (Form::Raw, [topic, ..]) => format!("/ws/{}", topic.to_path_segment()),
        _ => "/stream".to_owned(),
    };
    let mut client = Client::connect(&endpoint(&args.url, &path)).await?;
    if printer.form != Form::Raw {
        let topics: Vec<&str> = args.topics.iter().map(TopicName::as_str).collect();
        client.send(true, json!({ "op": "subscribe", "args": topics, "id": 1 }).to_string().as_bytes())?;
    }
    let mut interrupt = pin!(signal::ctrl_c());
    loop {
        let turn = tokio::select! {
            turn = client.turn(|text, payload| printer.take(text, payload)) => turn,
            _ = &mut interrupt => break,
        };
        match printer.flush() {
            Ok(()) => {}
            // Whoever read this has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Err(error) => return Err(Failure::runtime(format!("standard output: {error}"))),
        }
        if let Some(refusal) = printer.refusal.take() {
            return Err(Failure::Runtime(format!("the server refused the subscription: {refusal}")));
        }
        match turn? {
            Turn::Moved => {}
            Turn::Stopped => break,
            Turn::Closed(closed) if closed.code == Some(CloseCode::NORMAL) => return Ok(()),
            Turn::Closed(closed) => return Err(closed.into()),
        }
    }
    // What still comes is not wanted, and whether the server says goodbye does not matter.
    _ = timeout(Duration::from_secs(1), client.close(|_, _| {})).await;
    Ok(())
}

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The payload.
    Raw,
    /// The topic, a tab, and the payload.
    Labelled,
    /// The JSON of `/stream`.
    Envelope,
}

/// Messages to lines.
#[derive(Debug)]
struct Printer {
    form: Form,
    /// Messages that are still to be printed.
    left: u64,
    /// Lines that are not written yet.
    lines: Vec<u8>,
    refusal: Option<String>,
}

/// A message of `/stream`: a delivery or a reply.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    topic: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    encoding: Option<Cow<'a, str>>,
    error: Option<EnvelopeError>,
}

/// Reads a member that is there, were it `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct EnvelopeError {
    message: String,
}

impl Printer {
    fn new(args: &SubscribeArgs) -> Self {
        let form = match args.topics.len() {
            _ if args.json => Form::Envelope,
            1 => Form::Raw,
            _ => Form::Labelled,
        };
        Self { form, left: u64::MAX, lines: Vec::new(), refusal: None }
    }

    /// Adds a message's line, or notes what a reply says. Breaks when enough was printed.
    fn take(&mut self, text: bool, payload: &[u8]) -> ControlFlow<()> {
        match self.form {
            Form::Raw if text => self.lines.extend_from_slice(payload),
            Form::Raw => write_bytes(&mut self.lines, payload),
            Form::Labelled | Form::Envelope => match serde_json::from_slice::<Envelope<'_>>(payload) {
                Ok(Envelope { topic: Some(topic), data: Some(data), encoding, .. }) => {
                    if self.form == Form::Envelope {
                        // JSON data may stretch over lines. Outside of strings, where a line feed is escaped, it is mere space.
                        self.lines.extend(
                            payload
                                .iter()
                                .map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }),
                        );
                    } else {
                        self.lines.extend_from_slice(topic.as_bytes());
                        self.lines.push(b'\t');
                        write_data(&mut self.lines, data, encoding.is_some());
                    }
                }
                Ok(Envelope { error: Some(error), .. }) => {
                    self.refusal = Some(error.message);
                    return ControlFlow::Break(());
                }
                // The reply to the subscription, and what later versions may say.
                Ok(_) | Err(_) => return ControlFlow::Continue(()),
            },
        }
        self.lines.push(b'\n');
        self.left -= 1;
        if self.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(&self.lines)?;
        self.lines.clear();
        out.flush()
    }
}

/// Appends bytes as they would stand in Rust or Python, which is lossless and cannot disturb a terminal.
fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(b"b\"");
    out.extend(bytes.escape_ascii());
    out.push(b'"');
}

/// Appends the data of an envelope: text without its quotes, bytes escaped, other JSON as it is.
fn write_data(out: &mut Vec<u8>, data: &RawValue, is_base64: bool) {
    let data = data.get();
    match serde_json::from_str::<Cow<'_, str>>(data) {
        Ok(text) if is_base64 => match BASE64_STANDARD.decode(text.as_bytes()) {
            Ok(bytes) => write_bytes(out, &bytes),
            Err(_) => out.extend_from_slice(text.as_bytes()),
        },
        Ok(text) => out.extend_from_slice(text.as_bytes()),
        Err(_) => out.extend_from_slice(data.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(form: Form, text: bool, payload: &[u8]) -> String {
        let mut printer = Printer { form, left: 2, lines: Vec::new(), refusal: None };
        _ = printer.take(text, payload);
        String::from_utf8(printer.lines).expect("lines are text here")
    }

    #[test]
    fn a_message_is_a_line() {
        for (form, text, payload, line) in [
            (Form::Raw, true, &b"hello"[..], "hello\n"),
            (Form::Raw, true, b"", "\n"),
            (Form::Raw, false, b"a\"\\\n\xff\x1b", "b\"a\\\"\\\\\\n\\xff\\x1b\"\n"),
            (Form::Labelled, true, br#"{"topic":"t","seq":1,"data":"a\tb\n\u00e9"}"#, "t\ta\tb\n\u{e9}\n"),
            (Form::Labelled, true, br#"{"topic":"t","seq":1,"data":{"a": 1}}"#, "t\t{\"a\": 1}\n"),
            (Form::Labelled, true, br#"{"topic":"t","seq":1,"data":null}"#, "t\tnull\n"),
            (
                Form::Labelled,
                true,
                br#"{"topic":"t","seq":1,"data":"/w==","encoding":"base64"}"#,
                "t\tb\"\\xff\"\n",
            ),
            (
                Form::Envelope,
                true,
                b"{\"topic\":\"t\",\"seq\":1,\"data\":[1,\r\n2]}",
                "{\"topic\":\"t\",\"seq\":1,\"data\":[1,  2]}\n",
            ),
            (
                Form::Envelope,
                true,
                br#"{"id":1,"op":"subscribe","ok":true,"topics":[{"topic":"t","seq":0}]}"#,
                "",
            ),
        ] {
            assert_eq!(printed(form, text, payload), line, "{form:?} {payload:?}");
        }
    }

    #[test]
    fn it_stops_after_the_count_and_at_a_refusal() {
        let mut printer = Printer { form: Form::Raw, left: 2, lines: Vec::new(), refusal: None };
        assert!(printer.take(true, b"1").is_continue());
        assert!(printer.take(true, b"2").is_break());
        let mut printer = Printer { form: Form::Labelled, left: 2, lines: Vec::new(), refusal: None };
        let refusal = br#"{"id":1,"op":"subscribe","ok":false,"error":{"code":"bad_topic","message":"No."}}"#;
        assert!(printer.take(true, refusal).is_break());
        assert_eq!(printer.refusal.as_deref(), Some("No."));
        assert!(printer.lines.is_empty());
    }
}
