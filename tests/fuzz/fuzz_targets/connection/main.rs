//! Whole connections against the simulated driver.
//!
//! An input is a script of what several peers do, good or bad, and of what happens around them: `script` says how it is
//! written. Whatever they do, the engine neither panics nor loses count, well-behaved subscribers get everything in order,
//! and when all have left nothing is left of them.
//!
//! - `script`: bytes to acts
//! - `rogue`: a peer that does what the script says
//! - `world`: the engine, the rogues, and those who must not notice

#![no_main]

#[allow(dead_code, reason = "the other tests need all of it")]
#[path = "../../../src/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "the other tests need all of it")]
#[path = "../../../src/peer.rs"]
mod peer;
mod rogue;
mod script;
mod world;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((setting, acts)) = script::read(input) else { return };
    let mut world = world::World::new(setting);
    for act in acts {
        world.act(act);
    }
    world.end();
});
