//! The keyboard: q or Ctrl-C ends the run early.

use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::interrupt::Interrupt;

/// How long after Ctrl-C another one counts: a key that is held repeats.
const SECOND_CTRL_C_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Keys {
    interrupt: Interrupt,
    /// When a key asked for the end.
    asked_at: Option<Instant>,
}

impl Keys {
    pub(super) fn new(interrupt: Interrupt) -> Self {
        Self { interrupt, asked_at: None }
    }

    /// Whether the run shall end, by key or by signal.
    pub(super) fn is_end_asked(&self) -> bool {
        self.interrupt.is_asked()
    }

    /// Reads the keys that were pressed, and does not wait for any. Returns whether the picture is out of date.
    pub(super) fn poll(&mut self, now: Instant) -> bool {
        let mut is_outdated = false;
        // Without a keyboard there are no keys, which is no reason to end the run.
        while event::poll(Duration::ZERO).unwrap_or(false) {
            is_outdated |= match event::read() {
                Ok(Event::Key(key)) => self.press(key, now),
                Ok(_) => false,
                Err(_) => break,
            };
        }
        is_outdated
    }

    fn press(&mut self, key: KeyEvent, now: Instant) -> bool {
        let is_ctrl_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        let is_end = is_ctrl_c || matches!(key.code, KeyCode::Char('q' | 'Q'));
        if key.kind != KeyEventKind::Press || !is_end {
            return false;
        }
        match self.asked_at {
            None => {
                self.asked_at = Some(now);
                // After a signal, this is the first key still: it must not end the program.
                if !self.interrupt.is_asked() {
                    self.interrupt.ask_with_key();
                }
                true
            }
            Some(at) => {
                if is_ctrl_c && now.duration_since(at) >= SECOND_CTRL_C_AFTER {
                    self.interrupt.ask_with_key();
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CTRL_C: (KeyCode, KeyModifiers) = (KeyCode::Char('c'), KeyModifiers::CONTROL);

    fn check(pressed: &[(KeyCode, KeyModifiers)], is_end_asked: bool) {
        let mut keys = Keys::new(Interrupt::default());
        let now = Instant::now();
        for &(code, modifiers) in pressed {
            keys.press(KeyEvent::new(code, modifiers), now);
        }
        assert_eq!(keys.is_end_asked(), is_end_asked, "{pressed:?}");
    }

    #[test]
    fn q_and_ctrl_c_end_the_run_and_nothing_else_does() {
        let plain = |character| (KeyCode::Char(character), KeyModifiers::NONE);
        for end in [plain('q'), (KeyCode::Char('Q'), KeyModifiers::SHIFT), CTRL_C] {
            check(&[end], true);
            check(&[plain('x'), end], true);
        }
        check(
            &[
                plain('c'),
                plain('x'),
                (KeyCode::Enter, KeyModifiers::NONE),
                (KeyCode::Esc, KeyModifiers::NONE),
            ],
            false,
        );
    }

    #[test]
    fn a_key_that_is_held_does_not_end_the_program() {
        // It would end this test too.
        check(&[CTRL_C; 50], true);
    }

    #[test]
    fn after_a_signal_the_first_key_does_not_end_the_program() {
        let interrupt = Interrupt::default();
        interrupt.ask_with_key();
        let mut keys = Keys::new(interrupt);
        assert!(keys.press(KeyEvent::new(CTRL_C.0, CTRL_C.1), Instant::now()));
        assert!(keys.is_end_asked());
    }
}
