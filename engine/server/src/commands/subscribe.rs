//! `fanfare sub`: prints messages, one a line.

use std::fmt;
use std::io;
use std::pin::pin;
use std::time::Duration;

use fanfare_wire::close::CloseCode;
use fanfare_wire::subscribe::{Epoch, MaxRate, Policy, SEQ_MAX};
use fanfare_wire::topic::TopicName;
use fanfare_wire::url::WsUrl;
use serde_json::{Map, Value, json};
use tokio::signal;
use tokio::time::timeout;

use super::printer::{Form, Place, Printer};
use super::{Failure, URL_DEFAULT, URL_VARIABLE, block_on, endpoint, server_url};
use crate::client::{Client, ClientError, Closed, Turn};

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

    /// Go on behind message N of the epoch
    #[arg(long, value_name = "N", requires = "epoch", value_parser = clap::value_parser!(u64).range(..=SEQ_MAX))]
    since: Option<u64>,

    /// The epoch in which that message was counted
    #[arg(long, value_name = "EPOCH", requires = "since")]
    epoch: Option<Epoch>,

    /// Begin N messages back
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "since",
        value_parser = clap::value_parser!(u64).range(..=SEQ_MAX)
    )]
    last: Option<u64>,

    /// Begin with the newest message of each key
    #[arg(long)]
    snapshot: bool,

    /// What happens if this falls too far behind: disconnect, skip, conflate or latest
    #[arg(long, value_name = "POLICY")]
    policy: Option<Policy>,

    /// At most so many messages a second of each key: 0.01 to 1000
    #[arg(long, value_name = "RATE", value_parser = max_rate)]
    max_rate: Option<f64>,

    /// Say how many subscribers there are, whenever that changes
    #[arg(long)]
    presence: bool,
}

fn max_rate(text: &str) -> Result<f64, String> {
    let rate = MaxRate::parse(text).and_then(|_| text.parse().ok());
    rate.ok_or_else(|| "expected a number from 0.01 to 1000".to_owned())
}

pub(crate) fn run(args: &SubscribeArgs) -> Result<(), Failure> {
    if args.since.is_some() && args.topics.len() > 1 {
        return Err(Failure::usage("--since and --epoch are of one topic; give one topic"));
    }
    block_on(subscribe(args))
}

async fn subscribe(args: &SubscribeArgs) -> Result<(), Failure> {
    let begins_at_head = args.last.is_none() && !args.snapshot;
    let mut printer = Printer::new(form(args), args.count.unwrap_or(u64::MAX), begins_at_head);
    let mut client = Client::connect(&endpoint(&args.url, "/stream")).await?;
    client.send(true, request(args).to_string().as_bytes())?;
    let mut interrupt = pin!(signal::ctrl_c());
    loop {
        let turn = tokio::select! {
            turn = client.turn(|_, payload| printer.take(payload)) => turn,
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
        match turn {
            Ok(Turn::Moved) => {}
            Ok(Turn::Stopped) => break,
            Ok(Turn::Closed(closed)) => match closed.code {
                Some(CloseCode::NORMAL) => return Ok(()),
                Some(CloseCode::SLOW) => return Err(cut_off(too_slow(closed), args, &printer)),
                _ => return Err(closed.into()),
            },
            // So ends one that took nothing for so long that the server's Close frame found no room either.
            Err(error @ (ClientError::Gone | ClientError::Io(_))) => {
                return Err(cut_off(error, args, &printer));
            }
            Err(error) => return Err(error.into()),
        }
    }
    // What still comes is not wanted, and whether the server says goodbye does not matter.
    _ = timeout(Duration::from_secs(1), client.close(|_, _| {})).await;
    Ok(())
}

fn form(args: &SubscribeArgs) -> Form {
    match args.topics.len() {
        _ if args.json => Form::Envelope,
        1 => Form::Payload,
        _ => Form::Labelled,
    }
}

/// The request for what the flags ask for.
fn request(args: &SubscribeArgs) -> Value {
    let options = [
        ("since", args.since.map(Value::from)),
        ("epoch", args.epoch.map(|epoch| epoch.to_string().into())),
        ("last", args.last.map(Value::from)),
        ("snapshot", args.snapshot.then_some(Value::Bool(true))),
        ("policy", args.policy.map(|policy| policy.as_str().into())),
        ("max_rate", args.max_rate.map(Value::from)),
        ("presence", args.presence.then_some(Value::Bool(true))),
    ];
    let topic = |topic: &TopicName| {
        let given = options.iter().filter_map(|(name, value)| Some(((*name).to_owned(), value.clone()?)));
        Map::from_iter([("topic".to_owned(), topic.as_str().into())].into_iter().chain(given))
    };
    json!({ "op": "subscribe", "args": args.topics.iter().map(topic).collect::<Vec<_>>(), "id": 1 })
}

/// A Close frame with 4008, without its reason: that is about the one topic that was behind, in the words of a request.
fn too_slow(closed: Closed) -> Closed {
    Closed { reason: String::new(), ..closed }
}

/// Says why the connection ended, and how to go on.
fn cut_off(why: impl fmt::Display, args: &SubscribeArgs, printer: &Printer) -> Failure {
    let commands: String =
        args.topics.iter().map(|topic| command(topic, printer.places.get(topic.as_str()), args)).collect();
    Failure::Runtime(format!("{why}. To go on where this stopped:\n{commands}"))
}

/// The line for a shell that goes on with one topic where its messages ended.
fn command(topic: &TopicName, place: Option<&Place>, args: &SubscribeArgs) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._:/@%+-".contains(c);
    let mut line = match topic.chars().all(is_plain) {
        true => format!("\n  fanfare sub {topic}"),
        false => format!("\n  fanfare sub '{}'", topic.replace('\'', r"'\''")),
    };
    let (since, epoch, last) = match place {
        Some(Place { epoch, seq: Some(seq) }) => (Some(*seq), Some(epoch.clone()), None),
        // Nothing came yet: as it was.
        _ => (args.since, args.epoch.map(|epoch| epoch.to_string()), args.last),
    };
    let url = args.url.to_string();
    let is_default = server_url(URL_DEFAULT).is_ok_and(|default| default == args.url);
    for (flag, value) in [
        (" --since ", since.map(|since| since.to_string())),
        (" --epoch ", epoch),
        (" --last ", last.map(|last| last.to_string())),
        (" --url ", (!is_default).then_some(url)),
        (" --json", args.json.then(String::new)),
        (" --snapshot", args.snapshot.then(String::new)),
        (" --policy ", args.policy.map(|policy| policy.to_string())),
        (" --max-rate ", args.max_rate.map(|rate| rate.to_string())),
        (" --presence", args.presence.then(String::new)),
    ] {
        if let Some(value) = value {
            line.push_str(flag);
            line.push_str(&value);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use fanfare_wire::stream::{self, Op};
    use fanfare_wire::subscribe::{Start, SubscribeOptions};

    use super::*;

    #[derive(clap::Parser, Debug)]
    struct Line {
        #[command(flatten)]
        args: SubscribeArgs,
    }

    fn args(line: &str) -> Result<SubscribeArgs, clap::Error> {
        let words = ["sub"].into_iter().chain(line.split(' '));
        <Line as clap::Parser>::try_parse_from(words).map(|line| line.args)
    }

    #[test]
    fn flags_become_what_the_server_understands() {
        let nothing = SubscribeOptions::default();
        for (line, options) in [
            ("t", nothing),
            ("t u --last 0", SubscribeOptions { start: Start::Last(0), ..nothing }),
            (
                "t --since 41 --epoch 00112233aabbccdd --snapshot",
                SubscribeOptions {
                    start: Start::Since { seq: 41, epoch: Epoch(0x0011_2233_aabb_ccdd) },
                    snapshot: true,
                    ..nothing
                },
            ),
            (
                "t u --policy conflate --max-rate 0.5 --presence",
                SubscribeOptions {
                    policy: Some(Policy::Conflate),
                    max_rate: MaxRate::new(0.5),
                    presence: true,
                    ..nothing
                },
            ),
            ("t --max-rate 5", SubscribeOptions { max_rate: MaxRate::new(5.0), ..nothing }),
        ] {
            let args = args(line).expect(line);
            let text = request(&args).to_string();
            let Ok(stream::Request { op: Op::Subscribe(asked), .. }) = stream::parse(&text) else {
                panic!("{line}: {text}");
            };
            let topics: Vec<_> = asked.iter().map(|asked| asked.topic.clone()).collect();
            assert_eq!(topics, args.topics, "{line}");
            assert!(asked.iter().all(|asked| asked.options == Some(options)), "{line}: {text}");
        }
    }

    #[test]
    fn flags_that_cannot_work_are_refused() {
        for (line, words) in [
            ("t --since 1", "--epoch"),
            ("t --epoch 00112233aabbccdd", "--since"),
            ("t --since 1 --epoch 0", "16 lower-case"),
            ("t --since 1 --epoch 00112233aabbccdd --last 1", "--last"),
            ("t --last 9007199254740992", "--last"),
            ("t --policy slow", "disconnect, skip, conflate or latest"),
            ("t --max-rate 0", "0.01 to 1000"),
            ("t --max-rate fast", "0.01 to 1000"),
        ] {
            let error = args(line).expect_err(line).to_string();
            assert!(error.contains(words), "{line}: {error}");
        }
        let several = args("t u --since 1 --epoch 00112233aabbccdd").expect("valid flags");
        assert!(matches!(run(&several), Err(Failure::Usage(_))));
    }

    #[test]
    fn a_slow_one_is_told_how_to_go_on() {
        let told = |line: &str| {
            let args = args(line).expect(line);
            let mut printer = Printer::new(form(&args), 9, true);
            let reply = r#"{"op":"subscribe","topics":[{"topic":"t","epoch":"00112233aabbccdd","seq":5}]}"#;
            _ = printer.take(reply.as_bytes());
            _ = printer.take(br#"{"topic":"t","seq":6,"data":1}"#);
            let reason = "too slow: resume with since=6&epoch=00112233aabbccdd".to_owned();
            let closed = Closed { code: Some(CloseCode::SLOW), reason };
            let Failure::Runtime(sentence) = cut_off(too_slow(closed), &args, &printer) else {
                panic!("it failed")
            };
            sentence
        };
        let sentence = told("t --count 9 --last 3");
        assert!(sentence.contains("4008: this subscriber fell too far behind"), "{sentence}");
        let command = "To go on where this stopped:\n\n  fanfare sub t --since 6 --epoch 00112233aabbccdd";
        assert!(sentence.ends_with(command), "{sentence}");
        let flags = "--url ws://h:1/ --json --snapshot --policy skip --max-rate 0.5 --presence";
        assert!(
            told(&format!("t {flags}")).ends_with(&format!("aabbccdd {flags}")),
            "{}",
            told(&format!("t {flags}"))
        );
        let several = told("t it's --last 3");
        assert!(several.ends_with("aabbccdd\n  fanfare sub 'it'\\''s' --last 3"), "{several}");
    }
}
