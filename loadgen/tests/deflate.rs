//! Whole runs with permessage-deflate: what is offered, granted, compressed and counted.

mod measure;
#[path = "server/deflate.rs"]
mod server;

use fanfare_loadgen::{Report, Verdict};
use measure::measure;
use server::{DeflateServer, Grants};

const SUBSCRIBERS: u64 = 5;
const MESSAGES: u64 = 100;
const QUICK: &str = "--rate 500 --duration 200ms --warmup 0s -n 5";

#[track_caller]
fn pass(server: &DeflateServer, more: &str) -> Report {
    let report = measure(&format!("ws://{}/ws/demo {QUICK} {more}", server.addr)).expect("a run");
    assert_eq!((report.verdict, &report.reasons[..]), (Verdict::Pass, &[][..]), "{report:#?}");
    assert_eq!(report.deliveries.delivered, SUBSCRIBERS * MESSAGES, "{report:#?}");
    report
}

#[test]
fn compressed_messages_are_judged_as_they_were_published() {
    let server = DeflateServer::start(Grants::Everybody);
    for (nth, more) in ["", "--text"].into_iter().enumerate() {
        let report = pass(&server, &format!("--deflate --size 4KiB {more}"));
        let deflate = report.deflate.expect("it was offered");
        assert_eq!((deflate.subscribers_granted, deflate.publishers_granted), (SUBSCRIBERS, 1));
        // This server compresses every other one.
        let messages = SUBSCRIBERS * MESSAGES;
        assert_eq!((deflate.messages, deflate.compressed_messages), (messages, messages / 2));
        assert_eq!(deflate.payload_bytes, messages * 4096);
        let (plain, wire) = (messages / 2 * (4096 + 4), deflate.wire_bytes);
        assert!(wire > plain && wire < plain + plain / 4, "{deflate:?}");
        assert_eq!(server.published(), ((nth + 1) * MESSAGES as usize, 0), "{more}");
    }
}

#[test]
fn small_messages_are_published_as_they_are() {
    let server = DeflateServer::start(Grants::Everybody);
    pass(&server, "--deflate --size 511");
    assert_eq!(server.published(), (0, MESSAGES as usize));
    pass(&server, "--deflate --size 512");
    assert_eq!(server.published(), (MESSAGES as usize, MESSAGES as usize));
}

#[test]
fn publishers_go_without_where_it_is_not_granted() {
    let server = DeflateServer::start(Grants::Subscribers);
    let report = pass(&server, "--deflate --size 4KiB");
    let deflate = report.deflate.expect("it was offered");
    assert_eq!((deflate.subscribers_granted, deflate.publishers_granted), (SUBSCRIBERS, 0));
    assert_eq!(server.published(), (0, MESSAGES as usize));
}

#[test]
fn a_server_that_grants_it_to_no_subscriber_is_not_measured() {
    let server = DeflateServer::start(Grants::Nobody);
    let error = measure(&format!("ws://{}/ws/demo {QUICK} --deflate", server.addr)).expect_err("no run");
    let sentence = "5 x the server does not grant permessage-deflate, which --deflate asks for";
    assert!(error.to_string().contains(sentence), "{error}");
}

#[test]
fn nothing_is_offered_unless_it_is_asked_for() {
    let server = DeflateServer::start(Grants::Everybody);
    let report = pass(&server, "--size 4KiB");
    assert_eq!((server.offers(), report.run.deflate), (0, false));
    assert!(report.deflate.is_none());
}
