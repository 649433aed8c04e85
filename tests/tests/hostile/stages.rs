//! Peers that fall silent at any stage, as behind a cut cable: no FIN, no RST, no answer. Those that vanish with RST or end
//! their side are in tests/peers.rs, one by one, and in `vanish`, by the thousand.

use fanfare_tests::raw::Raw;
use fanfare_tests::stages::{STAGES, Then};

use crate::Scene;

#[test]
fn who_falls_silent_at_any_stage_is_let_go_in_time() {
    const EACH: usize = 10;
    let times =
        "--handshake-timeout-ms 1000 --ping-interval-ms 1200 --idle-timeout-ms 3000 --close-timeout-ms 300";
    let mut scene = Scene::start(&format!("--shards 2 {times}"));
    let mut silent = Vec::new();
    for stage in STAGES {
        for _ in 0..EACH {
            let raw = Raw::tcp(scene.program.addr());
            stage.reach(&raw);
            silent.push(raw);
        }
    }
    scene.witnesses.check();
    // None of them goes, and the server has to let go of them all.
    scene.program.wait_for_holdings(&scene.before);
    let stages = |then| (STAGES.iter().filter(|stage| stage.then == then).count() * EACH) as u64;
    let metrics = scene.program.metrics();
    assert_eq!(metrics["handshake_timeouts"], stages(Then::Handshake));
    assert_eq!(metrics["idle_disconnects"], stages(Then::Open));
    // Bad frames, and requests for what is not there.
    assert_eq!(
        metrics["protocol_errors"] + metrics["rejected"],
        stages(Then::Ended) + stages(Then::Handshake)
    );
    drop(silent);
    scene.end();
}
