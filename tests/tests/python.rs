//! The engine against the Python library `websockets`, a client that we did not write: clients/python/client.py.

use fanfare_tests::foreign::{self, Runtime};
use fanfare_tests::scenarios;

fn runtime() -> Option<Runtime> {
    foreign::python(env!("CARGO_TARGET_TMPDIR"))
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
