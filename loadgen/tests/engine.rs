//! Whole runs against our own engine: what each subscriber is owed, seen from outside.

mod measure;

use std::net::SocketAddr;

use fanfare::{Config, Engine};
use fanfare_loadgen::report::ReadersReport;
use fanfare_loadgen::{Report, Verdict};
use measure::measure;

const QUICK: &str = "--rate 500 --duration 600ms --warmup 0s";
const MESSAGES: u64 = 300;

fn engine(config: Config) -> Engine {
    let builder = Engine::builder().listen(SocketAddr::from(([127, 0, 0, 1], 0))).shards(2).pin(false);
    builder.config(config).start().expect("the engine starts")
}

/// A run in which nobody who reads all the time may miss anything, and what it says of those who do not.
#[track_caller]
fn pass(arguments: &str, kind: &str) -> ReadersReport {
    let report: Report = measure(arguments).expect("a run");
    assert_eq!((report.verdict, &report.reasons[..]), (Verdict::Pass, &[][..]), "{report:#?}");
    assert_eq!(report.deliveries.delivered, report.deliveries.expected, "{report:#?}");
    assert_eq!(report.deliveries.announced, 0, "{report:#?}");
    let mut readers = report.readers.into_iter();
    readers.find(|readers| readers.kind == kind).unwrap_or_else(|| panic!("nobody was {kind}"))
}

/// The two ways to subscribe: the URL's path, what else the generator has to know, and how a policy is asked for.
const WAYS: [(&str, &str); 2] = [("/ws/t", ""), ("/stream", "--dialect stream --topic t")];

#[test]
fn whoever_comes_back_gets_what_was_published_meanwhile() {
    for (path, more) in WAYS {
        for mode in ["--storm 50% --storm-at 100ms", "--churn 100 --returning 25%"] {
            let engine = engine(Config::default());
            let url = format!("ws://{}{path}", engine.addr());
            let returning = pass(&format!("{url} {more} -n 100 {mode} --recover {QUICK}"), "returning");
            assert!(returning.left > 0, "{returning:?}");
            assert_eq!(
                (returning.recovered, returning.recoveries_failed),
                (returning.left, 0),
                "{returning:?}"
            );
            assert_eq!(
                (returning.missing, returning.duplicate, returning.reordered, returning.announced),
                (0, 0, 0, 0),
                "{returning:?}"
            );
            assert_eq!(returning.delivered, returning.subscribers * MESSAGES, "{returning:?}");
        }
    }
}

#[test]
fn what_history_holds_no_more_is_announced() {
    let engine = engine(Config { log_messages_max: 1, ..Config::default() });
    let (addr, (path, more)) = (engine.addr(), WAYS[1]);
    let mode = "--storm 90% --storm-at 100ms --rate 4000 --duration 500ms --warmup 0s";
    let returning = pass(&format!("ws://{addr}{path} {more} -n 200 {mode} --recover"), "returning");
    assert!(returning.recoveries_failed > 0 && returning.announced > 0, "{returning:?}");
    assert_eq!((returning.missing, returning.duplicate, returning.reordered), (0, 0, 0), "{returning:?}");
}

/// Readers that pause fall behind by more than they may, and learn what they miss.
#[test]
fn slow_consumers_are_told_what_they_do_not_get() {
    // 400 ms of messages, so that who reads on a busy machine is not slow; the pause is three times as long.
    let config = Config { lag_messages_max: 80, ..Config::default() };
    let pauses = "--pausing 50% --pause-for 1200ms --size 64KiB --rate 200 --duration 1800ms --warmup 0s";
    for policy in ["skip", "latest", "conflate"] {
        for (path, more) in WAYS {
            let engine = engine(config.clone());
            let addr = engine.addr();
            let asked = match more.is_empty() {
                // One key for all messages: of those that a reader cannot have, it gets the last one.
                true => format!("?policy={policy} --publish-url ws://{addr}/pub/t?key=K"),
                false => format!(r#" --subscribe {{"policy":"{policy}"}}"#),
            };
            let pausing = pass(&format!("ws://{addr}{path}{asked} {more} -n 4 {pauses}"), "pausing");
            assert!(pausing.announced > 0, "{policy} {path}: {pausing:?}");
            assert_eq!(
                (pausing.missing, pausing.duplicate, pausing.reordered),
                (0, 0, 0),
                "{policy} {path}: {pausing:?}"
            );
            let count = |of: fn(&fanfare::ShardStats) -> u64| {
                engine.stats().iter().map(|shard| of(shard)).sum::<u64>()
            };
            let acted = match policy {
                "skip" => count(|stats| stats.slow_skips.get()),
                "latest" => count(|stats| stats.slow_latest.get()),
                _ => count(|stats| stats.slow_conflations.get()),
            };
            assert!(acted > 0, "{policy} {path}: {pausing:?}");
            assert_eq!(count(|stats| stats.slow_disconnects.get()), 0);
        }
    }
}
