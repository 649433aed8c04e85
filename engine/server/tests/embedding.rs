//! The engine inside a program: publish and subscribe from its own threads.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use fanfare::{
    Config, Delivery, Engine, EngineBuilder, Epoch, Kind, Message, Policy, PublishError, Recovery, Start,
    StartError, Subscription, TopicName, TopicRule, TryPublishError,
};

const SOON: Duration = Duration::from_secs(10);

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn small(shards: usize) -> EngineBuilder {
    let config = Config { connections_max: 64, ..Config::default() };
    Engine::builder().listen(any_port()).shards(shards).config(config)
}

fn topic(name: &str) -> TopicName {
    TopicName::parse(name).expect("a valid name")
}

/// The next message, which has to come soon.
fn next(subscription: &mut Subscription) -> (u64, Message) {
    match subscription.recv_timeout(SOON) {
        Ok(Some(Delivery::Message { seq, message })) => (seq, message),
        other => panic!("expected a message, not {other:?}"),
    }
}

#[test]
fn what_is_published_arrives_on_every_topic_wherever_its_home_is() {
    let engine = small(2).start().expect("it starts");
    for number in 0..20 {
        let topic = topic(&format!("topic {number}"));
        let mut subscription = engine.subscribe(&topic).expect("subscribed");
        let messages = [Message::text("text"), Message::binary(vec![0, 255]), Message::text("")];
        for (message, seq) in messages.iter().zip(1..) {
            assert_eq!(engine.publish_acked(&topic, message.clone()), Ok(seq));
            assert_eq!(next(&mut subscription), (seq, message.clone()));
        }
        let json = Message::json("[1]").expect("JSON");
        // Acknowledged, since a message arrives a moment before it is counted.
        assert_eq!(engine.publish_acked(&topic, json), Ok(4));
        let (seq, message) = next(&mut subscription);
        assert_eq!(
            (seq, message.kind(), message.as_text()),
            (4, Kind::Text, Some("[1]")),
            "JSON arrives as text"
        );
    }
    assert_eq!(engine.stats().iter().map(|stats| stats.published.get()).sum::<u64>(), 80);
}

#[test]
fn subscribers_see_the_messages_of_many_threads_in_one_order() {
    const PUBLISHERS: usize = 4;
    const EACH: usize = 500;
    let engine = small(2).start().expect("it starts");
    let topic = topic("busy");
    let subscriptions: Vec<_> = (0..3).map(|_| engine.subscribe(&topic).expect("subscribed")).collect();
    let orders: Vec<Vec<String>> = thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let (engine, topic) = (&engine, &topic);
            scope.spawn(move || {
                for number in 0..EACH {
                    engine.publish(topic, format!("{publisher} {number:06}")).expect("published");
                }
            });
        }
        let read = |mut subscription: Subscription| {
            let read_one = |seq| {
                let (got, message) = next(&mut subscription);
                assert_eq!(got, seq as u64, "nothing is lost or doubled");
                message.as_text().expect("text").to_owned()
            };
            (1..=PUBLISHERS * EACH).map(read_one).collect()
        };
        let readers: Vec<_> = subscriptions.into_iter().map(|each| scope.spawn(move || read(each))).collect();
        readers.into_iter().map(|reader| reader.join().expect("read to the end")).collect()
    });
    assert!(orders.iter().all(|order| *order == orders[0]), "all subscribers see the same order");
    for publisher in 0..PUBLISHERS {
        let mine: Vec<_> =
            orders[0].iter().filter(|text| text.starts_with(&format!("{publisher} "))).collect();
        assert_eq!(mine.len(), EACH);
        assert!(mine.is_sorted(), "each publisher's messages keep their order");
    }
}

/// Where a subscription can be gone on from later.
fn bookmark(subscription: &Subscription) -> Start {
    Start::Since { seq: subscription.next_seq() - 1, epoch: subscription.epoch() }
}

#[test]
fn a_subscription_goes_on_where_a_dropped_one_ended() {
    let engine = small(2).start().expect("it starts");
    // Of both shards.
    for name in ["a", "b", "c", "d"] {
        let topic = topic(name);
        let mut first = engine.subscribe(&topic).expect("subscribed");
        assert_eq!((first.recovery(), first.next_seq()), (None, 1));
        for seq in 1..=3 {
            assert_eq!(engine.publish_acked(&topic, seq.to_string()), Ok(seq));
        }
        assert_eq!(next(&mut first), (1, Message::text("1")));
        let place = bookmark(&first);
        drop(first);
        assert_eq!(engine.publish_acked(&topic, "4"), Ok(4));

        let mut second = engine.subscribe_from(&topic, place).expect("subscribed");
        assert_eq!((second.recovery(), second.next_seq()), (Some(Recovery::Recovered), 2));
        assert_eq!(engine.publish_acked(&topic, "5"), Ok(5));
        for seq in 2..=5 {
            assert_eq!(next(&mut second), (seq, Message::text(seq.to_string())));
        }
        // One that has everything goes on with the next message.
        let mut third = engine.subscribe_from(&topic, bookmark(&second)).expect("subscribed");
        assert_eq!(third.recovery(), Some(Recovery::Recovered));
        assert_eq!(engine.publish_acked(&topic, "6"), Ok(6));
        assert_eq!(next(&mut third), (6, Message::text("6")));
    }
}

#[test]
fn a_place_that_is_gone_is_said_to_be_gone() {
    let topic = topic("short");
    let rule = TopicRule { log_messages_max: Some(2), ..TopicRule::new("short".parse().expect("a pattern")) };
    let config = Config { connections_max: 64, rules: vec![rule], ..Config::default() };
    let engine = small(1).config(config).start().expect("it starts");
    for seq in 1..=5 {
        assert_eq!(engine.publish_acked(&topic, "x"), Ok(seq));
    }
    let epoch = engine.subscribe(&topic).expect("subscribed").epoch();
    let other = Epoch(epoch.0 ^ 1);
    for (seq, epoch, recovery, next_seq) in [
        (3, epoch, Recovery::Recovered, 4),
        (5, epoch, Recovery::Recovered, 6),
        (2, epoch, Recovery::Lost { missing: Some((3, 5)) }, 6),
        (6, epoch, Recovery::Lost { missing: None }, 6),
        (3, other, Recovery::Lost { missing: None }, 6),
    ] {
        let since = Start::Since { seq, epoch };
        let subscription = engine.subscribe_from(&topic, since).expect("subscribed");
        assert_eq!(
            (subscription.recovery(), subscription.next_seq()),
            (Some(recovery), next_seq),
            "{since:?}"
        );
        assert_eq!(subscription.epoch(), engine.topic(&topic).expect("it is there").epoch);
    }
}

#[test]
fn a_subscription_can_begin_with_history() {
    let engine = small(2).start().expect("it starts");
    let topic = topic("past");
    for (last, first_seq) in [(10, 1), (0, 1)] {
        let subscription = engine.subscribe_from(&topic, Start::Last(last)).expect("subscribed");
        assert_eq!(
            (subscription.recovery(), subscription.next_seq()),
            (None, first_seq),
            "nothing is there yet"
        );
    }
    for seq in 1..=5 {
        assert_eq!(engine.publish_acked(&topic, seq.to_string()), Ok(seq));
    }
    for (last, first_seq) in [(0, 6), (1, 5), (2, 4), (5, 1), (100, 1)] {
        let mut subscription = engine.subscribe_from(&topic, Start::Last(last)).expect("subscribed");
        assert_eq!(subscription.next_seq(), first_seq, "last {last}");
        for seq in first_seq..=5 {
            assert_eq!(next(&mut subscription), (seq, Message::text(seq.to_string())));
        }
        assert!(subscription.recv_timeout(Duration::from_millis(1)).is_err());
    }
}

#[test]
fn keys_have_values_until_a_tombstone_removes_them() {
    let config = Config { connections_max: 64, keys_max: 2, values_bytes_max: 4096, ..Config::default() };
    let engine = small(2).config(config).start().expect("it starts");
    let topic = topic("keyed");
    assert_eq!(engine.topic(&topic), None);
    let mut subscription = engine.subscribe(&topic).expect("subscribed");
    let keyed = |key, text: &str| Message::text(text).with_key(key).expect("a key");
    let tombstone = |key| Message::tombstone(key).expect("a key");
    for (message, outcome, text) in [
        (keyed("a", "1"), Ok(1), "1"),
        (keyed("b", "2"), Ok(2), "2"),
        (keyed("a", "3"), Ok(3), "3"),
        (keyed("c", "4"), Err(PublishError::TooManyKeys), ""),
        (tombstone("b"), Ok(4), ""),
        (tombstone("never there"), Ok(5), ""),
        (keyed("c", "6"), Ok(6), "6"),
        (keyed("c", &"7".repeat(5000)), Err(PublishError::ValuesTooLarge), ""),
        (Message::text("8"), Ok(7), "8"),
    ] {
        assert_eq!(engine.publish_acked(&topic, message.clone()), outcome, "{message:?}");
        if let Ok(seq) = outcome {
            assert_eq!(next(&mut subscription), (seq, Message::text(text)), "a tombstone is an empty text");
        }
    }
    let info = engine.topic(&topic).expect("it is there");
    assert_eq!((info.epoch, info.seq, info.oldest), (subscription.epoch(), 7, Some(1)));
    assert_eq!((info.name, info.subscribers, info.keys), (topic.clone(), 1, 2));
    assert!(info.bytes > 0);
    engine.shutdown(SOON);
    assert_eq!(engine.topic(&topic), None, "nobody is left who could say");
    let late = engine.subscribe_from(&topic, Start::Last(1)).map(drop);
    assert_eq!(late, Err(PublishError::ShuttingDown));
}

#[test]
fn a_rule_that_cannot_work_is_refused_by_its_pattern() {
    let pattern = "prices.*".parse().expect("a pattern");
    let rule = TopicRule { policy: Some(Policy::Conflate), keys_max: Some(1), ..TopicRule::new(pattern) };
    let rules = vec![rule.clone(), TopicRule { lag_messages_max: Some(0), ..rule }];
    let config = Config { connections_max: 64, rules, ..Config::default() };
    let Err(StartError::Config(error)) = small(1).config(config).start() else { panic!("it cannot work") };
    assert!(error.to_string().starts_with("the rule for prices.*: lag_messages_max"), "{error}");
}

#[cfg(feature = "control")]
#[test]
fn a_task_of_any_runtime_can_subscribe() {
    let engine = small(1).start().expect("it starts");
    let topic = topic("async");
    let mut subscription = engine.subscribe(&topic).expect("subscribed");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        assert!(tokio::time::timeout(Duration::from_millis(20), subscription.next()).await.is_err());
        engine.publish(&topic, "after a dropped future").expect("published");
        let delivery = tokio::time::timeout(SOON, subscription.next()).await.expect("in time");
        let message = Message::text("after a dropped future");
        assert_eq!(delivery, Some(Delivery::Message { seq: 1, message }));
    });
}

#[test]
fn a_shutdown_delivers_what_was_published_and_then_ends() {
    let engine = small(2).start().expect("it starts");
    let topic = topic("last words");
    let mut subscription = engine.subscribe(&topic).expect("subscribed");
    for number in 0..1000 {
        engine.publish(&topic, number.to_string()).expect("published");
    }
    engine.shutdown(SOON);
    for seq in 1..=1000 {
        assert_eq!(next(&mut subscription), (seq, Message::text((seq - 1).to_string())));
    }
    assert_eq!(subscription.recv(), None);
    assert_eq!(subscription.recv_timeout(SOON), Ok(None), "the end stays the end");

    assert_eq!(engine.publish(&topic, "late"), Err(PublishError::ShuttingDown));
    assert_eq!(engine.publish_acked(&topic, "late"), Err(PublishError::ShuttingDown));
    let refused = Err(TryPublishError::Refused(PublishError::ShuttingDown));
    assert_eq!(engine.try_publish(&topic, "late"), refused);
    assert_eq!(engine.subscribe(&topic).map(drop), Err(PublishError::ShuttingDown));
    engine.shutdown(SOON);
}

#[test]
fn a_dropped_engine_leaves_its_address() {
    let engine = small(2).start().expect("it starts");
    let addr = engine.addr();
    assert_ne!(addr.port(), 0);
    TcpStream::connect(addr).expect("it listens");
    let taken = small(2).listen(addr).start().expect_err("the address is taken");
    assert!(matches!(taken, StartError::Listen(..)), "{taken:?}");
    assert_eq!(taken.to_string(), format!("{addr} is in use: another program listens there"));
    drop(engine);
    small(2).listen(addr).start().expect("the address is free");
}

#[test]
fn limits_are_told_to_whoever_reaches_them() {
    let config = Config { connections_max: 64, topics_max: 2, message_bytes_max: 8, ..Config::default() };
    let engine = small(2).config(config).start().expect("it starts");
    assert_eq!(engine.publish_acked(&topic("1"), "12345678"), Ok(1));
    assert_eq!(engine.publish_acked(&topic("1"), "123456789"), Err(PublishError::TooLarge));
    assert_eq!(engine.publish(&topic("1"), "123456789"), Err(PublishError::TooLarge));
    assert_eq!(engine.publish_acked(&topic("2"), "2"), Ok(1));
    assert_eq!(engine.publish_acked(&topic("3"), "3"), Err(PublishError::TooManyTopics));
    assert_eq!(engine.subscribe(&topic("3")).map(drop), Err(PublishError::TooManyTopics));

    let broken = small(1).config(Config { topics_max: 0, ..Config::default() }).start();
    assert!(matches!(broken, Err(StartError::Config(_))), "{broken:?}");
}

#[test]
fn a_full_inbox_gives_the_message_back_and_publish_waits() {
    let config = Config { connections_max: 64, inbox_commands_max: 16, ..Config::default() };
    let engine = small(1).config(config).start().expect("it starts");
    let topic = topic("crowded");
    let mut subscription = engine.subscribe(&topic).expect("subscribed");
    // Sixteen fit in; the shard has to wake up before it takes the first of them.
    let mut taken = 0;
    let message = loop {
        match engine.try_publish(&topic, taken.to_string()) {
            Ok(()) => taken += 1,
            Err(TryPublishError::Full(message)) => break message,
            Err(error) => panic!("{error}"),
        }
        assert!(taken < 1_000_000, "the inbox has a bound");
    };
    assert_eq!(message, Message::text(taken.to_string()));
    for number in taken..taken + 1000 {
        engine.publish(&topic, number.to_string()).expect("there is room again and again");
    }
    for number in 0..taken + 1000 {
        assert_eq!(next(&mut subscription), (number + 1, Message::text(number.to_string())));
    }
}

/// Set for the process that is to die.
const VICTIM: &str = "EMBEDDING_TEST_VICTIM";

#[test]
fn a_shard_that_panics_ends_the_process() {
    if std::env::var_os(VICTIM).is_some() {
        panic_in_a_shard();
        unreachable!("the process should be gone");
    }
    let me = std::env::current_exe().expect("a path");
    let child = Command::new(me)
        .args(["--exact", "a_shard_that_panics_ends_the_process", "--nocapture"])
        .env(VICTIM, "1")
        .output()
        .expect("it runs");
    let report = String::from_utf8_lossy(&child.stderr);
    const SIGABRT: i32 = 6;
    assert_eq!(child.status.signal(), Some(SIGABRT), "{report}");
    // Of two shards one failed: the other one would have gone on.
    for words in
        ["a waker of the test", "fanfare: shard ", " failed, and an engine cannot go on", "The process ends"]
    {
        assert!(report.contains(words), "{words:?} is missing in {report}");
    }
}

/// A waker is called on the shard's thread, so one that panics is a shard that panics.
fn panic_in_a_shard() {
    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker of the test");
        }
    }

    let engine = small(2).start().expect("it starts");
    let mut subscription = engine.subscribe(&topic("a")).expect("subscribed");
    let waker = Waker::from(Arc::new(Panics));
    let poll = subscription.poll_next(&mut Context::from_waker(&waker));
    assert_eq!(poll, Poll::Pending);
    engine.publish(&topic("a"), "now").expect("published");
    thread::sleep(SOON);
}
