//! The live view of a run in the terminal, on standard error.
//!
//! The director of a run calls it, never a thread that measures. It reads no clock for its figures and keeps no figures
//! of its own: all come from [`Progress`], except how connecting went.
//!
//! - `screen`: takes the terminal over, and always gives it back
//! - `keys`: the end of the run, if somebody asks for it
//! - `look`: colours and characters that this terminal can show
//! - `view`: what stands where, for each size of terminal
//! - `panels`: figures
//! - `plot`, `scale`, `columns`: figures over time
//! - `ramp`: how many connections were ready when

mod columns;
mod keys;
mod look;
mod panels;
mod plot;
mod ramp;
mod scale;
mod screen;
mod view;

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use crate::interrupt::Interrupt;
use crate::progress::{Lines, Phase, Progress, Watcher, Wish};
use keys::Keys;
use look::Look;
use ramp::Ramp;
use screen::Screen;
use view::View;

pub(crate) use screen::restore;

/// The time between two pictures.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// The time between two looks at the keyboard.
const POLL_EVERY: Duration = Duration::from_millis(20);

/// The view where standard error is a terminal that can show it, lines elsewhere or if they are wanted.
pub fn watcher(want_lines: bool, interrupt: Interrupt) -> Box<dyn Watcher> {
    let can_draw = io::stderr().is_terminal() && std::env::var("TERM").is_ok_and(|term| term != "dumb");
    if can_draw
        && !want_lines
        && let Ok(live) = Live::start(interrupt.clone())
    {
        return Box::new(live);
    }
    Box::new(Lines::new(io::stderr(), interrupt))
}

/// The view. The terminal is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Live {
    screen: Screen,
    look: Look,
    ramp: Ramp,
    keys: Keys,
    polled_at: Option<Instant>,
    drawn_at: Option<Instant>,
}

impl Live {
    /// Takes over the terminal.
    ///
    /// # Errors
    /// When standard error is no terminal, or it refuses.
    pub(crate) fn start(interrupt: Interrupt) -> io::Result<Self> {
        Ok(Self {
            screen: Screen::enter()?,
            look: Look::of_environment(),
            ramp: Ramp::default(),
            keys: Keys::new(interrupt),
            polled_at: None,
            drawn_at: None,
        })
    }
}

impl Watcher for Live {
    fn show(&mut self, progress: &Progress<'_>) -> Wish {
        let now = Instant::now();
        let is_due = |at: Option<Instant>, every| at.is_none_or(|at| now.duration_since(at) >= every);
        if is_due(self.polled_at, POLL_EVERY) {
            self.polled_at = Some(now);
            if self.keys.poll(now) {
                self.drawn_at = None;
            }
        }
        if is_due(self.drawn_at, DRAW_EVERY) {
            self.drawn_at = Some(now);
            if progress.phase == Phase::Connecting {
                self.ramp.push(progress.connecting_ns as f64 / 1e9, progress.connections_ready);
            }
            let (look, ramp, is_stopping) = (&self.look, &self.ramp, self.keys.is_end_asked());
            self.screen.draw(|frame| View { progress, look, ramp, is_stopping }.draw(frame));
        }
        if self.keys.is_end_asked() { Wish::Stop } else { Wish::GoOn }
    }
}
