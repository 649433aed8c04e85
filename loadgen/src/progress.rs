//! What is known of a run while it lasts, and lines about it for logs and pipes.

use std::io::Write;

use crate::figures::{grouped, plural, short, span, time, time_trimmed};
use crate::interrupt::Interrupt;
use crate::latency::Spectrum;
use crate::plan::Plan;
use crate::reasons::Reasons;
use crate::report::Row;

/// How much of the run passes between two lines of the same phase.
const LINES_EVERY_NS: u64 = 10_000_000_000;

/// Where a run is. The phases come in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Connecting,
    WarmingUp,
    Measuring,
    /// All has been published; what is on its way is waited for.
    Draining,
    Closing,
}

impl Phase {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::WarmingUp => "warming up",
            Self::Measuring => "measuring",
            Self::Draining => "draining",
            Self::Closing => "closing",
        }
    }
}

/// What is known before the run begins.
#[derive(Clone, Copy, Debug)]
pub struct Outline<'a> {
    pub title: &'a str,
    pub url: &'a str,
    pub subscribers: u64,
    pub publishers: u64,
    pub machines: u64,
    /// Of all machines.
    pub workers: u64,
    pub warmup_ns: u64,
    /// Warm-up and measurement.
    pub planned_ns: u64,
    /// All messages that will be published, those of the warm-up included.
    pub messages: u64,
    /// The run is invalid when the 99th percentile of the send lag is above.
    pub send_lag_bound_ns: u64,
    /// The run is invalid when this program uses more of its busiest core.
    pub own_cpu_bound_percent: f64,
}

impl<'a> Outline<'a> {
    pub(crate) fn new(plan: &'a Plan, machines: usize, workers: usize) -> Self {
        Self {
            title: &plan.title,
            url: &plan.target.subscribe,
            subscribers: plan.rooms.subscribers as u64,
            publishers: plan.rooms.publishers as u64,
            machines: machines as u64,
            workers: workers as u64,
            warmup_ns: plan.schedule.measured_from(),
            planned_ns: plan.schedule.end(),
            messages: plan.schedule.total(),
            send_lag_bound_ns: u64::try_from(plan.bounds.send_lag.as_nanos()).unwrap_or(u64::MAX),
            own_cpu_bound_percent: plan.bounds.own_cpu_percent,
        }
    }
}

/// A run at one moment, all workers together.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    pub outline: Outline<'a>,
    pub phase: Phase,
    /// How long connecting has taken so far, or took.
    pub connecting_ns: u64,
    /// Since the run's epoch, through all later phases; 0 while connecting.
    pub elapsed_ns: u64,
    pub connections_ready: u64,
    pub connections_total: u64,
    /// Connections that did not become ready.
    pub failed: &'a Reasons,
    /// Connections that ended before the run did.
    pub lost: u64,
    /// Messages published.
    pub sent: u64,
    /// Deliveries to steady subscribers.
    pub delivered: u64,
    /// The time line so far.
    pub rows: &'a [Row],
    /// Of all measured deliveries to steady subscribers so far, in nanoseconds.
    pub response: Spectrum,
    /// Of all measured messages so far, in nanoseconds.
    pub send_lag: Spectrum,
    /// Of the busiest core that this program runs on, where it is known.
    pub own_cpu_percent: Option<f64>,
}

impl Progress<'_> {
    /// Why the figures say more about this program than about the server, if they do.
    pub(crate) fn distrust(&self) -> Option<String> {
        let Outline { send_lag_bound_ns, own_cpu_bound_percent, .. } = self.outline;
        let lag = self.send_lag.p99;
        if self.send_lag.count > 0 && lag > send_lag_bound_ns {
            let (lag, bound) = (time(lag), time_trimmed(send_lag_bound_ns));
            return Some(format!("the generator is late: send lag p99 {lag} > {bound}"));
        }
        let percent = self.own_cpu_percent.filter(|&percent| percent > own_cpu_bound_percent)?;
        let bound = own_cpu_bound_percent;
        Some(format!("the generator is at its limit: {percent:.0} % of a core > {bound:.0} %"))
    }
}

/// Whether the run goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    GoOn,
    /// Publish no more, and report what there is. Once said, it is said until the end.
    Stop,
}

/// Somebody who looks at a run while it lasts.
pub trait Watcher {
    /// Shows how the run is. To be called a few times each second and when the phase changes; more often does no harm.
    fn show(&mut self, progress: &Progress<'_>) -> Wish;
}

/// Says nothing, and lets the run go on until somebody asks to end it.
#[derive(Debug)]
pub struct Silent(pub Interrupt);

impl Watcher for Silent {
    fn show(&mut self, _: &Progress<'_>) -> Wish {
        if self.0.is_asked() { Wish::Stop } else { Wish::GoOn }
    }
}

/// A line when the phase changes, and one now and then in between.
#[derive(Debug)]
pub(crate) struct Lines<W> {
    output: W,
    interrupt: Interrupt,
    phase: Option<Phase>,
    /// When the last line was written, since connecting began.
    said_at_ns: u64,
}

impl<W: Write> Lines<W> {
    pub(crate) fn new(output: W, interrupt: Interrupt) -> Self {
        Self { output, interrupt, phase: None, said_at_ns: 0 }
    }
}

impl<W: Write> Watcher for Lines<W> {
    fn show(&mut self, progress: &Progress<'_>) -> Wish {
        let now_ns = progress.connecting_ns.saturating_add(progress.elapsed_ns);
        let before = self.phase.replace(progress.phase);
        let line = if before == Some(progress.phase) {
            let is_time = now_ns.saturating_sub(self.said_at_ns) >= LINES_EVERY_NS;
            is_time.then(|| so_far(progress))
        } else {
            on_entering(progress, before)
        };
        if let Some(line) = line {
            self.said_at_ns = now_ns;
            // Nothing is left to tell whoever closed the output.
            let _ = writeln!(self.output, "{line}");
        }
        if self.interrupt.is_asked() { Wish::Stop } else { Wish::GoOn }
    }
}

/// What is said when a phase begins.
fn on_entering(progress: &Progress<'_>, before: Option<Phase>) -> Option<String> {
    let Outline { subscribers, publishers, planned_ns, messages, .. } = progress.outline;
    Some(match progress.phase {
        Phase::Connecting => format!(
            "connecting {} and {} to {}",
            plural(subscribers, "subscriber"),
            plural(publishers, "publisher"),
            remote(progress.outline.url)
        ),
        Phase::Measuring if before == Some(Phase::WarmingUp) => return None,
        Phase::WarmingUp | Phase::Measuring => {
            let ready = format!("ready after {:.2} s", progress.connecting_ns as f64 / 1e9);
            match messages {
                0 => format!("{ready}; nothing is published for {}", span(planned_ns)),
                _ => format!("{ready}; publishing {}", plural(messages, "message")),
            }
        }
        Phase::Draining => {
            format!("published {}; waiting for the last deliveries", plural(progress.sent, "message"))
        }
        Phase::Closing => "closing".to_owned(),
    })
}

/// What is said in the middle of a phase.
fn so_far(progress: &Progress<'_>) -> String {
    let Progress { phase, failed, connections_ready, connections_total, .. } = progress;
    let mut line = match phase {
        Phase::Connecting => {
            let (ready, total) = (grouped(*connections_ready), grouped(*connections_total));
            format!("{ready} of {total} connections are ready after {}", span(progress.connecting_ns))
        }
        Phase::WarmingUp | Phase::Measuring | Phase::Draining | Phase::Closing => deliveries_so_far(progress),
    };
    if progress.lost > 0 {
        line += &format!("; {} lost", plural(progress.lost, "connection"));
    }
    if failed.total() > 0 {
        line += &format!("; failed: {failed}");
    }
    if let Some(sentence) = progress.distrust() {
        line += &format!("; {sentence}");
    }
    line
}

fn deliveries_so_far(progress: &Progress<'_>) -> String {
    let Progress { outline, phase, response, .. } = progress;
    let mut line = format!(
        "{} {} of {}: {} sent, {} delivered",
        phase.word(),
        span(progress.elapsed_ns),
        span(outline.planned_ns),
        grouped(progress.sent),
        grouped(progress.delivered)
    );
    if let Some(row) = progress.rows.last().filter(|row| row.interval_seconds > 0.0) {
        line += &format!(", {}/s", short(row.delivered as f64 / row.interval_seconds));
    }
    if response.count > 0 {
        let (p50, p99, max) = (time(response.p50), time(response.p99), time(response.max));
        line += &format!("; response p50 {p50}, p99 {p99}, max {max}");
    }
    line
}

/// The host and port in a URL.
fn remote(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn progress(phase: Phase, elapsed_ns: u64, failed: &Reasons) -> Progress<'_> {
        Progress {
            outline: Outline {
                title: "demo",
                url: "ws://127.0.0.1:9000/ws/demo?since=1",
                subscribers: 1_000,
                publishers: 1,
                machines: 1,
                workers: 1,
                warmup_ns: SECOND,
                planned_ns: 60 * SECOND,
                messages: 60_000,
                send_lag_bound_ns: 10_000_000,
                own_cpu_bound_percent: 98.0,
            },
            phase,
            connecting_ns: 210_000_000,
            elapsed_ns,
            connections_ready: 1_001,
            connections_total: 1_001,
            failed,
            lost: 0,
            sent: elapsed_ns / 1_000_000,
            delivered: elapsed_ns / 1_000,
            rows: &[],
            response: Spectrum::default(),
            send_lag: Spectrum::default(),
            own_cpu_percent: None,
        }
    }

    fn check(shown: &[Progress<'_>], expected: &[&str]) {
        let mut output = Vec::new();
        let mut lines = Lines::new(&mut output, Interrupt::default());
        for progress in shown {
            assert_eq!(lines.show(progress), Wish::GoOn);
        }
        let text = String::from_utf8(output).expect("text");
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn phases_are_announced_once() {
        let none = Reasons::default();
        let at = |phase, seconds| progress(phase, seconds * SECOND, &none);
        check(
            &[
                at(Phase::Connecting, 0),
                at(Phase::Connecting, 0),
                at(Phase::WarmingUp, 0),
                at(Phase::Measuring, 1),
                at(Phase::Measuring, 5),
                at(Phase::Draining, 6),
                at(Phase::Closing, 7),
            ],
            &[
                "connecting 1 000 subscribers and 1 publisher to 127.0.0.1:9000",
                "ready after 0.21 s; publishing 60 000 messages",
                "published 6 000 messages; waiting for the last deliveries",
                "closing",
            ],
        );
        let mut idle = at(Phase::Measuring, 0);
        idle.outline.messages = 0;
        check(
            &[at(Phase::Connecting, 0), idle][1..],
            &["ready after 0.21 s; nothing is published for 1 min 00 s"],
        );
    }

    #[test]
    fn long_phases_have_a_line_now_and_then() {
        let mut failed = Reasons::default();
        failed.add("connection reset".to_owned());
        let rows = [Row { interval_seconds: 0.5, delivered: 500_000, ..Row::default() }];
        let none = Reasons::default();
        let mut shown: Vec<_> =
            (0..=19).map(|second| progress(Phase::Measuring, second * SECOND, &none)).collect();
        for progress in &mut shown {
            progress.rows = &rows;
            progress.response =
                Spectrum { count: 1, p50: 200_000, p99: 500_000, max: 2_000_000, ..Spectrum::default() };
        }
        let (mut bad, mut slow) = (shown[19], progress(Phase::Connecting, 0, &failed));
        (bad.elapsed_ns, bad.lost, bad.send_lag.count, bad.send_lag.p99) = (20 * SECOND, 2, 1, 31_000_000);
        shown.push(bad);
        let figures = "10 000 000 delivered, 1.00 M/s; response p50 200 us, p99 500 us, max 2.00 ms";
        check(
            &shown,
            &[
                "ready after 0.21 s; publishing 60 000 messages",
                &format!("measuring 10.0 s of 1 min 00 s: 10 000 sent, {figures}"),
                &format!(
                    "measuring 20.0 s of 1 min 00 s: 19 000 sent, {}; 2 connections lost; the generator is late: send \
                     lag p99 31.0 ms > 10 ms",
                    figures.replace("10 000 000", "19 000 000")
                ),
            ],
        );
        let first = slow;
        (slow.connecting_ns, slow.connections_ready) = (12 * SECOND, 7);
        check(
            &[first, slow],
            &[
                "connecting 1 000 subscribers and 1 publisher to 127.0.0.1:9000",
                "7 of 1 001 connections are ready after 12.0 s; failed: 1 x connection reset",
            ],
        );
    }

    #[test]
    fn an_interrupt_stops_the_run() {
        let interrupt = Interrupt::default();
        let mut lines = Lines::new(Vec::new(), interrupt.clone());
        let none = Reasons::default();
        assert_eq!(lines.show(&progress(Phase::Measuring, 0, &none)), Wish::GoOn);
        interrupt.ask_with_key();
        assert_eq!(lines.show(&progress(Phase::Measuring, 0, &none)), Wish::Stop);
    }

    #[test]
    fn the_generator_says_when_not_to_be_trusted() {
        let none = Reasons::default();
        let mut progress = progress(Phase::Measuring, SECOND, &none);
        for (lag, percent, part) in [
            (0, None, None),
            (10_000_000, Some(98.0), None),
            (10_000_001, None, Some("late")),
            (0, Some(98.5), Some("at its limit")),
        ] {
            (progress.send_lag.count, progress.send_lag.p99, progress.own_cpu_percent) = (1, lag, percent);
            let sentence = progress.distrust();
            assert_eq!(sentence.is_some(), part.is_some(), "{sentence:?}");
            assert!(sentence.unwrap_or_default().contains(part.unwrap_or_default()));
        }
    }
}
