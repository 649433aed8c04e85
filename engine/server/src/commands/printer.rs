//! What comes over `/stream`, for people and their pipes: messages are lines on standard output, all else is said in
//! words on standard error.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::ops::ControlFlow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The payload.
    Payload,
    /// The topic, a tab, and the payload.
    Labelled,
    /// The JSON of `/stream`.
    Envelope,
}

/// How far a topic's messages came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) epoch: String,
    /// The last message that there was; `None` if nothing says yet where the first one stands.
    pub(super) seq: Option<u64>,
}

/// Messages to lines, and notices to words.
#[derive(Debug)]
pub(super) struct Printer {
    form: Form,
    /// Messages that are still to be printed.
    left: u64,
    /// Neither earlier messages nor a snapshot were asked for.
    begins_at_head: bool,
    /// What is not written yet, in its order.
    output: Vec<Output>,
    /// Why the server refused the subscription.
    pub(super) refusal: Option<String>,
    /// By topic.
    pub(super) places: BTreeMap<String, Place>,
}

#[derive(Debug, PartialEq, Eq)]
enum Output {
    /// Whole lines for standard output.
    Lines(Vec<u8>),
    /// A sentence for standard error.
    Words(String),
}

/// What `/stream` sends: a message, a notice or a reply.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    op: Option<Cow<'a, str>>,
    #[serde(borrow)]
    topic: Option<Cow<'a, str>>,
    seq: Option<u64>,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    encoding: Option<Cow<'a, str>>,
    from: Option<u64>,
    to: Option<u64>,
    subscribers: Option<u64>,
    topics: Option<Vec<Subscribed>>,
    error: Option<EnvelopeError>,
}

/// Reads a member that is there, were it `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A topic in the reply to a subscribe.
#[derive(Deserialize)]
struct Subscribed {
    topic: String,
    epoch: String,
    seq: u64,
    recovered: Option<bool>,
    missing: Option<Missing>,
}

#[derive(Deserialize)]
struct Missing {
    from: u64,
    to: u64,
}

#[derive(Deserialize)]
struct EnvelopeError {
    message: String,
}

impl Printer {
    /// Prints at most `count` messages. `begins_at_head`: neither earlier ones nor a snapshot were asked for.
    pub(super) fn new(form: Form, count: u64, begins_at_head: bool) -> Self {
        let (output, refusal, places) = (Vec::new(), None, BTreeMap::new());
        Self { form, left: count, begins_at_head, output, refusal, places }
    }

    /// Takes what the server sent. Breaks when enough was printed.
    pub(super) fn take(&mut self, payload: &[u8]) -> ControlFlow<()> {
        // What later versions may say besides is let be.
        let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(payload) else {
            return ControlFlow::Continue(());
        };
        match &envelope {
            Envelope { error: Some(error), .. } => {
                self.refusal = Some(error.message.clone());
                return ControlFlow::Break(());
            }
            Envelope { op: None, topic: Some(topic), seq: Some(seq), .. } => {
                return self.message(payload, topic, *seq, &envelope);
            }
            Envelope { op: Some(op), topic: Some(topic), .. } => self.notice(op, topic, &envelope),
            Envelope { op: Some(op), topics: Some(topics), .. } if op == "subscribe" => {
                topics.iter().for_each(|topic| self.subscribed(topic));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    /// Adds a message's line.
    fn message(&mut self, whole: &[u8], topic: &str, seq: u64, envelope: &Envelope<'_>) -> ControlFlow<()> {
        self.reached(topic, seq);
        let form = self.form;
        match (form, envelope) {
            (Form::Envelope, _) => self.line(|line| {
                // JSON data may stretch over lines. Outside of strings, where a line feed is escaped, it is mere space.
                line.extend(
                    whole.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }),
                );
            }),
            (_, Envelope { data: Some(data), encoding, .. }) => self.line(|line| {
                if form == Form::Labelled {
                    line.extend_from_slice(topic.as_bytes());
                    line.push(b'\t');
                }
                write_data(line, data, encoding.is_some());
            }),
            (_, Envelope { key: Some(key), .. }) => self.words(topic, &format!("the key {key} was removed")),
            _ => return ControlFlow::Continue(()),
        }
        self.left -= 1;
        if self.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Says what happened between two messages.
    fn notice(&mut self, op: &str, topic: &str, envelope: &Envelope<'_>) {
        let words = match (op, envelope) {
            ("gap", Envelope { from: Some(from), to: Some(to), .. }) => {
                self.reached(topic, *to);
                format!("too slow: {} left out", messages(*from, *to))
            }
            ("conflated", Envelope { from: Some(from), to: Some(to), .. }) => {
                let messages = messages(*from, *to);
                format!("too slow: {messages} shortened to the newest of each key, which follow")
            }
            ("snapshot", Envelope { seq: Some(seq), .. }) => {
                format!("a snapshot follows: the newest message of each key, as of message {seq}")
            }
            ("live", Envelope { seq: Some(seq), .. }) => {
                self.reached(topic, *seq);
                "the snapshot is complete; from here on messages follow as they come".to_owned()
            }
            ("presence", Envelope { subscribers: Some(1), .. }) => "1 subscriber".to_owned(),
            ("presence", Envelope { subscribers: Some(count), .. }) => format!("{count} subscribers"),
            _ => return,
        };
        self.words(topic, &words);
    }

    /// Notes where a subscription stands, and says what became of a recovery.
    fn subscribed(&mut self, subscribed: &Subscribed) {
        let Subscribed { topic, epoch, seq, recovered, missing } = subscribed;
        match (recovered, missing) {
            (None, _) => {}
            (Some(true), _) => self.words(topic, "going on where it stopped; nothing is missing"),
            (Some(false), Some(Missing { from, to })) => {
                let messages = messages(*from, *to);
                self.words(topic, &format!("{messages} lost: the topic does not hold them any more"));
            }
            (Some(false), None) => {
                let words = "cannot go on where it stopped: the topic is at message";
                self.words(topic, &format!("{words} {seq} of the epoch {epoch}"));
            }
        }
        // Other messages than those behind the head come first when some are recovered or were asked for.
        let at_head = self.begins_at_head && *recovered != Some(true);
        let place = Place { epoch: epoch.clone(), seq: at_head.then_some(*seq) };
        self.places.insert(topic.clone(), place);
    }

    fn reached(&mut self, topic: &str, seq: u64) {
        if let Some(place) = self.places.get_mut(topic) {
            place.seq = Some(seq);
        }
    }

    /// Adds a line.
    fn line(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if !matches!(self.output.last(), Some(Output::Lines(_))) {
            self.output.push(Output::Lines(Vec::new()));
        }
        if let Some(Output::Lines(lines)) = self.output.last_mut() {
            write(lines);
            lines.push(b'\n');
        }
    }

    fn words(&mut self, topic: &str, words: &str) {
        self.output.push(Output::Words(format!("fanfare: {topic}: {words}\n")));
    }

    /// Writes what was added.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        for output in self.output.drain(..) {
            match output {
                Output::Lines(lines) => {
                    let mut out = io::stdout().lock();
                    out.write_all(&lines)?;
                    out.flush()?;
                }
                // Nobody may be there to read it, and the messages count all the same.
                Output::Words(words) => _ = io::stderr().write_all(words.as_bytes()),
            }
        }
        Ok(())
    }
}

/// A range of messages, with its verb.
fn messages(from: u64, to: u64) -> String {
    if from == to { format!("message {from} is") } else { format!("messages {from} to {to} are") }
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

    /// What is written to standard output, and to standard error.
    fn printed(form: Form, payload: &[u8]) -> (String, String) {
        let mut printer = Printer::new(form, 2, true);
        assert!(printer.take(payload).is_continue());
        let (mut lines, mut words) = (String::new(), String::new());
        for output in printer.output {
            match output {
                Output::Lines(more) => lines.push_str(std::str::from_utf8(&more).expect("text here")),
                Output::Words(more) => words.push_str(&more),
            }
        }
        (lines, words)
    }

    #[test]
    fn a_message_is_a_line() {
        for (form, payload, line) in [
            (Form::Payload, &br#"{"topic":"t","seq":1,"data":"hello"}"#[..], "hello\n"),
            (Form::Payload, br#"{"topic":"t","seq":1,"data":""}"#, "\n"),
            (Form::Payload, br#"{"topic":"t","seq":1,"key":"k","data":{"a": 1}}"#, "{\"a\": 1}\n"),
            (
                Form::Payload,
                br#"{"topic":"t","seq":1,"data":"/x4=","encoding":"base64"}"#,
                "b\"\\xff\\x1e\"\n",
            ),
            (Form::Labelled, br#"{"topic":"t","seq":1,"data":"a\tb\n\u00e9"}"#, "t\ta\tb\n\u{e9}\n"),
            (Form::Labelled, br#"{"topic":"t","seq":1,"data":{"a": 1}}"#, "t\t{\"a\": 1}\n"),
            (Form::Labelled, br#"{"topic":"t","seq":1,"data":null}"#, "t\tnull\n"),
            (
                Form::Labelled,
                br#"{"topic":"t","seq":1,"data":"/w==","encoding":"base64"}"#,
                "t\tb\"\\xff\"\n",
            ),
            (
                Form::Envelope,
                b"{\"topic\":\"t\",\"seq\":1,\"data\":[1,\r\n2]}",
                "{\"topic\":\"t\",\"seq\":1,\"data\":[1,  2]}\n",
            ),
            (
                Form::Envelope,
                br#"{"topic":"t","seq":1,"key":"k","tombstone":true}"#,
                "{\"topic\":\"t\",\"seq\":1,\"key\":\"k\",\"tombstone\":true}\n",
            ),
            (Form::Payload, br#"{"op":"later","topic":"t","seq":1}"#, ""),
            (Form::Payload, br#"{"topic":"t","seq":1}"#, ""),
            (Form::Payload, b"no JSON", ""),
        ] {
            let expected = (line.to_owned(), String::new());
            assert_eq!(printed(form, payload), expected, "{form:?} {}", payload.escape_ascii());
        }
    }

    #[test]
    fn all_else_is_said_in_words() {
        for (payload, words) in [
            (&br#"{"topic":"t","seq":1,"key":"k","tombstone":true}"#[..], "fanfare: t: the key k was removed\n"),
            (br#"{"op":"gap","topic":"t","from":6,"to":20}"#, "fanfare: t: too slow: messages 6 to 20 are left out\n"),
            (br#"{"op":"gap","topic":"t","from":6,"to":6}"#, "fanfare: t: too slow: message 6 is left out\n"),
            (
                br#"{"op":"conflated","topic":"t","from":6,"to":20}"#,
                "fanfare: t: too slow: messages 6 to 20 are shortened to the newest of each key, which follow\n",
            ),
            (
                br#"{"op":"snapshot","topic":"t","seq":41}"#,
                "fanfare: t: a snapshot follows: the newest message of each key, as of message 41\n",
            ),
            (
                br#"{"op":"live","topic":"t","seq":41}"#,
                "fanfare: t: the snapshot is complete; from here on messages follow as they come\n",
            ),
            (br#"{"op":"presence","topic":"t","subscribers":1}"#, "fanfare: t: 1 subscriber\n"),
            (br#"{"op":"presence","topic":"t","subscribers":3}"#, "fanfare: t: 3 subscribers\n"),
            (br#"{"op":"subscribe","ok":true,"topics":[{"topic":"t","epoch":"0f","seq":0,"oldest":null}]}"#, ""),
            (
                br#"{"op":"subscribe","ok":true,"topics":[{"topic":"t","epoch":"0f","seq":9,"oldest":3,"recovered":true}]}"#,
                "fanfare: t: going on where it stopped; nothing is missing\n",
            ),
            (
                br#"{"op":"subscribe","ok":true,"topics":[
                    {"topic":"t","epoch":"0f","seq":9,"oldest":3,"recovered":false,"missing":{"from":4,"to":9}}]}"#,
                "fanfare: t: messages 4 to 9 are lost: the topic does not hold them any more\n",
            ),
            (
                br#"{"op":"subscribe","ok":true,"topics":[
                    {"topic":"t","epoch":"0f","seq":9,"oldest":3,"recovered":false,"missing":null}]}"#,
                "fanfare: t: cannot go on where it stopped: the topic is at message 9 of the epoch 0f\n",
            ),
        ] {
            for form in [Form::Payload, Form::Labelled] {
                assert_eq!(printed(form, payload), (String::new(), words.to_owned()), "{form:?}");
            }
        }
    }

    #[test]
    fn it_stops_after_the_count_and_at_a_refusal() {
        let mut printer = Printer::new(Form::Payload, 2, true);
        assert!(printer.take(br#"{"topic":"t","seq":1,"data":1}"#).is_continue());
        assert!(printer.take(br#"{"op":"gap","topic":"t","from":2,"to":3}"#).is_continue());
        assert!(printer.take(br#"{"topic":"t","seq":4,"key":"k","tombstone":true}"#).is_break());
        let lines = Output::Lines(b"1\n".to_vec());
        assert!(
            matches!(&printer.output[..], [first, Output::Words(_), Output::Words(_)] if *first == lines)
        );

        let mut printer = Printer::new(Form::Labelled, 2, true);
        let refusal = br#"{"id":1,"op":"subscribe","ok":false,"error":{"code":"bad_topic","message":"No."}}"#;
        assert!(printer.take(refusal).is_break());
        assert_eq!(printer.refusal.as_deref(), Some("No."));
        assert!(printer.output.is_empty());
    }

    #[test]
    fn it_knows_how_far_each_topic_came() {
        let mut printer = Printer::new(Form::Payload, 9, true);
        for (payload, seq) in [
            (&br#"{"op":"subscribe","topics":[{"topic":"t","epoch":"0f","seq":5}]}"#[..], Some(5)),
            (br#"{"topic":"t","seq":6,"data":1}"#, Some(6)),
            (br#"{"topic":"other","seq":7,"data":1}"#, Some(6)),
            (br#"{"op":"gap","topic":"t","from":7,"to":20}"#, Some(20)),
            (br#"{"op":"conflated","topic":"t","from":21,"to":30}"#, Some(20)),
            (br#"{"topic":"t","seq":28,"key":"k","data":1}"#, Some(28)),
            (br#"{"op":"snapshot","topic":"t","seq":41}"#, Some(28)),
            (br#"{"op":"live","topic":"t","seq":41}"#, Some(41)),
        ] {
            _ = printer.take(payload);
            assert_eq!(printer.places["t"], Place { epoch: "0f".to_owned(), seq });
        }
        for (begins_at_head, recovered, seq) in
            [(true, "null", Some(5)), (true, "false", Some(5)), (true, "true", None), (false, "null", None)]
        {
            let mut printer = Printer::new(Form::Payload, 9, begins_at_head);
            let topic = format!(r#"{{"topic":"t","epoch":"0f","seq":5,"recovered":{recovered}}}"#);
            _ = printer.take(format!(r#"{{"op":"subscribe","topics":[{topic}]}}"#).as_bytes());
            assert_eq!(printer.places["t"].seq, seq, "{begins_at_head} {recovered}");
        }
    }
}
