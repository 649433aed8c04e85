//! Ctrl-C: the first asks the run to end early and still report, the second ends the program.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::live;

/// Whether somebody asked the run to end. All clones are one.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes over the signals that would end the program. Without this call, only keys ask.
    ///
    /// # Errors
    /// When the kernel refuses the handlers or the thread that waits for them.
    pub fn catch() -> io::Result<Self> {
        let interrupt = Self::default();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let asked = interrupt.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                asked.ask(signal);
            }
        })?;
        Ok(interrupt)
    }

    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Asks as Ctrl-C does. For the second time, that ends the program: the run may hang.
    pub(crate) fn ask_with_key(&self) {
        self.ask(SIGINT);
    }

    fn ask(&self, signal: i32) {
        if self.asked.swap(true, Ordering::Relaxed) {
            live::restore();
            // It fails only for signals that have no default action, and these have.
            let _ = emulate_default_handler(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_clones_know_that_somebody_asked() {
        let interrupt = Interrupt::default();
        let clone = interrupt.clone();
        assert!(!clone.is_asked());
        interrupt.ask_with_key();
        assert!(clone.is_asked());
    }
}
