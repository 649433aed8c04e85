//! Runs of a seeded simulation: one seed by name, or many.

use std::panic::AssertUnwindSafe;

/// Runs the one seed that `FANFARE_SIM_SEED` names, or as many as `FANFARE_SIM_SEEDS` says, 200 without it. Returns how
/// many those were; `None` for one by name, which proves nothing about how often things happen. A seed that fails is
/// named, with the command that runs it in the test file `test`.
pub fn run_seeds(test: &str, mut run: impl FnMut(u64)) -> Option<u64> {
    let mut named = |seed: u64| {
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| run(seed)));
        assert!(
            result.is_ok(),
            "seed {seed} fails: FANFARE_SIM_SEED={seed} cargo test -p fanfare-tests --test {test}"
        );
    };
    if let Some(seed) = number_from("FANFARE_SIM_SEED") {
        named(seed);
        return None;
    }
    let seeds = number_from("FANFARE_SIM_SEEDS").unwrap_or(200);
    (0..seeds).for_each(named);
    Some(seeds)
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().expect("a number"))
}
