//! One client that makes up names.

use std::thread;

use fanfare_tests::raw::{Raw, TEXT, client_frame};
use serde_json::json;

use crate::{FIN, Scene, scale};

/// How many publishes are under way.
const PIPELINE: usize = 1_000;

/// A topic with one message, in its home's table, with its log. tests/topics.rs holds it to less.
const TOPIC_BYTES_MAX: u64 = 4 << 10;

/// Publishes one message to each of so many topics, and returns for each whether it was refused for its name.
fn name_topics(raw: &mut Raw, count: usize) -> Vec<bool> {
    let mut is_refused = vec![None; count];
    let mut asked = 0;
    for answered in 0..count {
        let more = (answered + PIPELINE).min(count);
        if asked == answered || more - asked >= PIPELINE / 2 {
            let frames = (asked..more).map(|id| {
                let args = json!({"topic": format!("made-up-{id}"), "data": id});
                client_frame(
                    FIN | TEXT,
                    json!({"op": "publish", "args": args, "id": id}).to_string().as_bytes(),
                )
            });
            raw.write(&frames.collect::<Vec<_>>().concat());
            asked = more;
        }
        let reply = raw.json();
        let id = reply["id"].as_u64().expect("its number") as usize;
        let refused = reply["ok"] == false;
        let expected = if refused { &reply["error"]["code"] == "too_many_topics" } else { reply["seq"] == 1 };
        assert!(expected, "{reply}");
        assert_eq!(is_refused[id].replace(refused), None, "one reply to each");
    }
    is_refused.into_iter().map(|refused| refused.expect("every name has its answer")).collect()
}

#[test]
fn names_beyond_the_limit_are_refused_and_those_known_go_on_working() {
    let (names, topics_max) = (scale(20_000, 1_000_000), scale(2_000, 100_000));
    let mut scene = Scene::start(&format!("--shards 2 --topics-max {topics_max}"));
    let resident = scene.program.resident_bytes();
    let mut raw = scene.program.connect("/stream");
    let (is_refused, mut raw) = thread::scope(|scope| {
        let naming = scope.spawn(move || (name_topics(&mut raw, names), raw));
        while !naming.is_finished() {
            scene.witnesses.check();
        }
        naming.join().expect("every name has its answer")
    });
    // One more is that of the witnesses.
    let known: Vec<usize> = (0..names).filter(|id| !is_refused[*id]).collect();
    assert_eq!(known.len(), topics_max - 1);
    let metrics = scene.program.metrics();
    assert_eq!(metrics["process_topics"], topics_max as u64);
    assert_eq!(metrics["publish_refused"], (names - known.len()) as u64);
    let grown = scene.program.resident_bytes().saturating_sub(resident);
    let allowed = topics_max as u64 * TOPIC_BYTES_MAX + (8 << 20);
    assert!(grown < allowed, "{grown} bytes for {topics_max} topics");
    // Those that there are take messages as ever.
    for id in known.iter().step_by(known.len() / 100) {
        let args = json!({"topic": format!("made-up-{id}"), "data": "again"});
        raw.send_text(&json!({"op": "publish", "args": args, "id": id}).to_string());
        assert_eq!(raw.json()["seq"], 2);
    }
    raw.close();
    scene.end();
}

#[test]
fn names_that_nobody_uses_again_are_forgotten() {
    let scene = Scene::start("--shards 2 --log-messages-max 0 --topic-idle-ms 200");
    let mut raw = scene.program.connect("/stream");
    let refused = name_topics(&mut raw, 5_000);
    assert!(refused.iter().all(|refused| !refused));
    raw.close();
    scene.program.wait_for("process_topics", |count| count == 1);
    scene.end();
}
