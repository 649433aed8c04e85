//! The engine against the package `ws` of npm, a client that we did not write: clients/node/client.mjs.

use fanfare_tests::foreign::{self, Runtime};
use fanfare_tests::scenarios;

fn runtime() -> Option<Runtime> {
    foreign::node(env!("CARGO_TARGET_TMPDIR"))
}

scenarios! {
    messages: scenarios::alone,
    fragments: scenarios::alone,
    stream: scenarios::alone,
    pings: scenarios::alone,
    closes: scenarios::alone,
    deflate: scenarios::compressed,
    refusals: scenarios::alone,
    recovery: scenarios::alone,
    presence: scenarios::alone,
    crowd: scenarios::crowd,
    shutdown: scenarios::shutdown,
}
