//! Hostile peers against the program in a process of its own, each attack on real sockets. docs/HARDENING.md has the
//! table of them.
//!
//! Every test has witnesses: well-behaved subscribers and a publisher on the same server, for whom every message has to
//! come in order throughout. At its end the counters of the attack are looked at, and that nothing is left of it.
//!
//! With `FANFARE_HOSTILE=full` the crowds are as large as they are named in the table; without, a fraction of that.

mod bomb;
mod flood;
mod frames;
mod full;
mod heads;
mod limits;
mod memory;
mod origin;
mod pressure;
mod slow;
mod stages;
mod topics;
mod vanish;

use fanfare_tests::program::{Holdings, Program};
use fanfare_tests::witnesses::Witnesses;

/// The first bit of a frame: it is the last of its message.
const FIN: u8 = 0x80;

/// About as long as a test may take: where no time is to matter.
const NEVER_MS: u64 = 3_600_000;

/// How large an attack is.
fn scale<T>(quick: T, full: T) -> T {
    let is_full = std::env::var_os("FANFARE_HOSTILE").is_some_and(|scale| scale == "full");
    if is_full { full } else { quick }
}

/// A server with its witnesses, under attack.
struct Scene {
    program: Program,
    witnesses: Witnesses,
    before: Holdings,
}

impl Scene {
    fn new(program: Program) -> Self {
        let witnesses = Witnesses::new(program.addr());
        let before = program.holdings();
        assert_eq!(before.connections, Witnesses::CONNECTIONS);
        Self { program, witnesses, before }
    }

    /// A server with these flags.
    fn start(flags: &str) -> Self {
        Self::new(Program::start(flags))
    }

    /// The attackers are gone: so is all that the server held for them. The witnesses never noticed.
    fn end(mut self) {
        self.witnesses.check();
        self.program.wait_for_holdings(&self.before);
        self.witnesses.leave();
        let empty = Holdings { connections: 0, subscriptions: 0, ..self.before };
        self.program.wait_for_holdings(&empty);
        self.program.stop();
    }
}
