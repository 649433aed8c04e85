//! A subscriber inside the process: a tap, held against the rules. It is never slow, but the log may drop what it lacks.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use fanfare_core::{Handle, Tap, TapEvent};
use fanfare_wire::stream::Recovery;
use fanfare_wire::subscribe::Start;
use fanfare_wire::topic::TopicName;

use super::ledger::{Ledger, Life};
use crate::cluster::NoWake;

#[derive(Debug)]
pub struct Inside {
    pub topic: usize,
    name: &'static str,
    start: Start,
    taps: Receiver<Tap>,
    tap: Option<Tap>,
    /// The next message, once the tap is there.
    next: u64,
    pub messages: u64,
    pub gaps: u64,
    is_over: bool,
}

impl Inside {
    /// Subscribes to a topic, if there is room for the question.
    pub fn new(handle: &Handle, topic: usize, name: &'static str, start: Start) -> Option<Self> {
        let (sender, taps) = channel();
        // Whoever asked may be gone.
        let reply = move |tap: Result<Tap, _>| _ = sender.send(tap.expect("there is room for a topic"));
        let topic_name = TopicName::parse(name).expect("a valid name");
        handle.try_subscribe(&topic_name, start, Arc::new(NoWake), reply).ok()?;
        Some(Self { topic, name, start, taps, tap: None, next: 0, messages: 0, gaps: 0, is_over: false })
    }

    /// Reads all there is.
    pub fn hear(&mut self, ledger: &Ledger) {
        if self.tap.is_none() {
            let Ok(tap) = self.taps.try_recv() else { return };
            let life = ledger.life(self.name, &tap.epoch().to_string());
            self.next = tap.next_seq();
            self.begins(life, &tap);
            self.tap = Some(tap);
        }
        let Some(tap) = &mut self.tap else { return };
        let life = ledger.life(self.name, &tap.epoch().to_string());
        while let Some(event) = tap.poll().filter(|_| !self.is_over) {
            match event {
                TapEvent::Message { seq, payload, .. } => {
                    assert_eq!(seq, self.next, "{}: the next message", self.name);
                    let text = std::str::from_utf8(&payload).expect("text").trim_matches('"');
                    assert_eq!(text, life.entry(seq).text);
                    self.next += 1;
                    self.messages += 1;
                }
                TapEvent::Gap { from, to } => {
                    assert!(from == self.next && from <= to && to <= life.head(), "a gap {from} {to}");
                    self.next = to + 1;
                    self.gaps += 1;
                }
                TapEvent::Closed => self.is_over = true,
            }
        }
    }

    fn begins(&self, life: &Life, tap: &Tap) {
        let first = tap.next_seq();
        assert!(first <= life.head() + 1);
        match self.start {
            Start::Head => assert_eq!(tap.recovery(), None),
            // The head may have moved since then.
            Start::Last(_) => assert_eq!(tap.recovery(), None),
            Start::Since { seq, epoch } => match tap.recovery().expect("whoever asks for it is told") {
                Recovery::Recovered => assert_eq!((tap.epoch(), first), (epoch, seq + 1)),
                Recovery::Lost { missing: None } => assert!(tap.epoch() != epoch || seq >= first),
                Recovery::Lost { missing: Some(missing) } => {
                    assert_eq!((tap.epoch(), missing), (epoch, (seq + 1, first - 1)));
                }
            },
        }
    }

    /// It has everything.
    pub fn check_current(&self, ledger: &Ledger) {
        let tap = self.tap.as_ref().expect("its question is answered");
        assert_eq!(self.next, ledger.life(self.name, &tap.epoch().to_string()).head() + 1, "{}", self.name);
    }
}
