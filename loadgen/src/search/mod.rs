//! Capacity search: how far a server goes before a gate breaks.
//!
//! The value, a rate or a number of subscribers, is raised from step to step until a run does not pass; then the interval
//! between the highest value that passes and the lowest that does not is halved until it is narrow. What is between them is
//! the knee.
//!
//! Machines are noisy, so no single run decides: a run that does not pass is repeated once before it counts, and the value
//! that the search ends with has to pass again.
//!
//! - `step`: one run, and what it says about its value
//! - `table`: the search for people at a terminal

mod step;
mod table;

use serde::{Deserialize, Serialize};

use crate::report::Report;
use crate::run::RunError;

pub use step::{Fault, Purpose, Step};
pub use table::Table;

/// What is raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    MessagesPerSecond,
    Subscribers,
}

/// Where to look, and how closely.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Range {
    pub subject: Subject,
    /// The first value. At least 1.
    pub from: f64,
    /// The last one, if all before it pass.
    pub to: f64,
    /// From one value to the next while all pass. More than 1.
    pub factor: f64,
    /// How wide the interval around the knee may be, as a share of its lower end: 0.05 for 5 %.
    pub precision: f64,
}

/// What limits the value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "limit", content = "reason")]
pub enum Limit {
    /// The server: a gate broke, delivery broke, or the run could not take place.
    Server(String),
    /// This program or this machine: the runs above the passing value are invalid, and say nothing about the server.
    Generator(String),
    /// Nothing did, up to the range's end.
    NotReached,
}

/// The knee, and how it was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Knee {
    pub range: Range,
    /// The highest value that passes, twice.
    pub passes: Option<f64>,
    /// The lowest value above it that does not.
    pub fails: Option<f64>,
    pub limit: Limit,
    /// Runs that did not pass at values not above one that did: what noise did to the search.
    pub contradictions: usize,
    /// Somebody ended the search before its time.
    pub is_called_off: bool,
    /// All runs, in their order.
    pub steps: Vec<Step>,
}

/// Searches. `run` measures at one value; `watch` sees each run when it is over.
///
/// # Errors
/// When the range makes no sense, or the first value cannot be run at all.
pub fn search(
    range: &Range,
    mut run: impl FnMut(f64) -> Result<Report, RunError>,
    mut watch: impl FnMut(&Step),
) -> Result<Knee, String> {
    range.check()?;
    let mut search =
        Search { range, run: &mut run, watch: &mut watch, steps: Vec::new(), is_called_off: false };
    if let Some(reason) = search.climb() {
        return Err(reason);
    }
    search.bisect();
    search.confirm();
    Ok(search.knee())
}

impl Range {
    fn check(&self) -> Result<(), String> {
        // Written so that what is no number fails too.
        if !(self.from >= 1.0 && self.to >= self.from && self.to.is_finite()) {
            return Err(format!(
                "a search goes from 1 or more upwards, not from {} to {}",
                self.from, self.to
            ));
        }
        if !(self.factor >= 1.01 && self.factor.is_finite()) {
            return Err(format!("a search needs a factor above 1.01 between its steps, not {}", self.factor));
        }
        if !(self.precision > 0.0 && self.precision < 1.0) {
            return Err(format!(
                "a search needs a precision between 0 and 100 %, not {} %",
                self.precision * 100.0
            ));
        }
        Ok(())
    }

    /// The value after `value`. Values are whole numbers, and each is above the one before.
    fn above(&self, value: f64) -> f64 {
        (value * self.factor).round().max(value + 1.0).min(self.to.round())
    }

    /// The value to look at between two, unless they are close enough.
    fn between(&self, passes: f64, fails: f64) -> Option<f64> {
        let middle = f64::midpoint(passes, fails).round();
        let is_wide = fails - passes > self.precision * passes;
        (is_wide && passes < middle && middle < fails).then_some(middle)
    }
}

struct Search<'a> {
    range: &'a Range,
    run: &'a mut dyn FnMut(f64) -> Result<Report, RunError>,
    watch: &'a mut dyn FnMut(&Step),
    steps: Vec<Step>,
    is_called_off: bool,
}

impl Search<'_> {
    /// Raises the value until it does not pass. Returns why nothing can be run, if that is so.
    fn climb(&mut self) -> Option<String> {
        let (mut value, end) = (self.range.from.round(), self.range.to.round());
        while self.passes(value, Purpose::Climb) && value < end {
            value = self.range.above(value);
        }
        let ran = self.steps.iter().any(|step| step.verdict.is_some());
        let last = self.steps.last().filter(|_| !ran)?;
        last.fault.as_ref().map(|fault| fault.reason().to_owned())
    }

    fn bisect(&mut self) {
        while let (Some(passes), Some(fails)) = (self.highest_pass(), self.lowest_fail())
            && !self.is_called_off
        {
            let Some(middle) = self.range.between(passes, fails) else { break };
            self.passes(middle, Purpose::Bisect);
        }
    }

    /// Lets the highest value that passes pass once more. One that does not counts as failed, and the next lower one is
    /// tried.
    fn confirm(&mut self) {
        while let Some(value) = self.highest_pass()
            && !self.is_called_off
        {
            if self.passes(value, Purpose::Confirm) {
                return;
            }
        }
    }

    /// Whether a run passes at `value`, or when repeated.
    fn passes(&mut self, value: f64, purpose: Purpose) -> bool {
        self.step(value, purpose) || self.step(value, Purpose::Repeat)
    }

    fn step(&mut self, value: f64, purpose: Purpose) -> bool {
        // Who calls the search off wants no more runs, and the one that was cut short counts for nothing.
        let run = if self.is_called_off { Err(RunError::CalledOff) } else { (self.run)(value) };
        if matches!(run, Err(RunError::CalledOff)) {
            self.is_called_off = true;
            return false;
        }
        let step = Step::new(value, purpose, run);
        (self.watch)(&step);
        let passed = step.passed();
        self.steps.push(step);
        passed
    }

    /// The last word on each value: its last run.
    fn last_words(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().enumerate().filter_map(|(index, step)| {
            let is_last = self.steps[index + 1..].iter().all(|later| later.value != step.value);
            is_last.then_some(step)
        })
    }

    /// The highest value that passes and has no failed one below it.
    fn highest_pass(&self) -> Option<f64> {
        let fails = self.lowest_fail().unwrap_or(f64::INFINITY);
        let passes = self.last_words().filter(|step| step.passed() && step.value < fails);
        passes.map(|step| step.value).max_by(f64::total_cmp)
    }

    fn lowest_fail(&self) -> Option<f64> {
        self.last_words().filter(|step| !step.passed()).map(|step| step.value).min_by(f64::total_cmp)
    }

    fn knee(self) -> Knee {
        let (passes, fails) = (self.highest_pass(), self.lowest_fail());
        let failed = self.last_words().find(|step| Some(step.value) == fails && !step.passed());
        let limit = match failed.and_then(|step| step.fault.clone()) {
            None => Limit::NotReached,
            Some(Fault::Invalid(reason)) => Limit::Generator(reason),
            Some(Fault::Gate(reason) | Fault::Broken(reason) | Fault::NoRun(reason)) => Limit::Server(reason),
        };
        let contradictions = contradictions(&self.steps);
        let is_called_off = self.is_called_off;
        Knee { range: *self.range, passes, fails, limit, contradictions, is_called_off, steps: self.steps }
    }
}

/// Runs that did not pass although one passed at the same or a higher value.
fn contradictions(steps: &[Step]) -> usize {
    let passed = steps.iter().filter(|step| step.passed()).map(|step| step.value);
    let highest = passed.fold(f64::NEG_INFINITY, f64::max);
    steps.iter().filter(|step| !step.passed() && step.value <= highest).count()
}

#[cfg(test)]
mod tests;
