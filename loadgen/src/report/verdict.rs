//! Whether a run says anything about the server, whether the server delivered, and whether the gates hold.

use std::time::Duration;

use crate::figures::{grouped, percent, plural, time};
use crate::observed::{Ended, Observed};
use crate::plan::Plan;
use crate::report::seen::RunSeen;
use crate::report::{MachineClock, Report, Verdict};

/// One in so many latencies may be negative.
const NEGATIVE_SHARE: u64 = 100;

/// The verdict, and everything that speaks against the run, the worst first. An invalid run stays invalid if its delivery
/// is broken too: this program may be what broke it.
pub(crate) fn of(plan: &Plan, seen: &RunSeen, report: &Report) -> (Verdict, Vec<String>) {
    let invalid = doubts(plan, seen, report);
    let broken = faults(seen.gathered.total());
    let gates: Vec<String> = plan
        .gates
        .iter()
        .zip(&report.gates)
        .filter(|(_, outcome)| !outcome.holds)
        .map(|(gate, outcome)| gate.sentence(outcome))
        .collect();
    let verdict = match (invalid.is_empty(), broken.is_empty(), gates.is_empty()) {
        (false, ..) => Verdict::Invalid,
        (true, false, _) => Verdict::Broken,
        (true, true, false) => Verdict::Gate,
        (true, true, true) => Verdict::Pass,
    };
    (verdict, [invalid, broken, gates].concat())
}

/// Why the run may not have measured the server.
fn doubts(plan: &Plan, seen: &RunSeen, report: &Report) -> Vec<String> {
    let bounds = &plan.bounds;
    let mut doubts = Vec::new();
    doubts.extend(unready(plan, seen));
    doubts.extend(unsent(plan, seen));
    doubts.extend(apart(seen, report));
    let lag = Duration::from_nanos(report.latency_ns.own_lag.p99);
    if lag > bounds.send_lag {
        doubts.push(format!(
            "1 % of the messages were sent {:.1} ms or more after they were due and could be sent, and at most {:.1} ms are \
             allowed: this program was too slow, and waited {:.0} % of the time for a core that others used",
            lag.as_secs_f64() * 1e3,
            bounds.send_lag.as_secs_f64() * 1e3,
            report.cost.own_waited_percent,
        ));
    }
    let (used, most) = (report.cost.own_cpu_percent, bounds.own_cpu_percent);
    if used > most {
        doubts.push(format!(
            "this program used {used:.0} % of its busiest core, and at most {most:.0} % are allowed: latencies are \
             partly its own"
        ));
    }
    doubts
}

/// Messages that never left, or may not have. Nobody who ends a run early wants them.
fn unsent(plan: &Plan, seen: &RunSeen) -> Option<String> {
    let unsent = plan.schedule.measured().saturating_sub(seen.sent);
    let lost = seen.gathered.total().lost.publishers;
    if lost > 0 {
        let publishers = plural(lost, "publisher");
        return Some(format!("{publishers} lost their connection, and {} not sent", were(unsent, "message")));
    }
    let is_held_up = unsent > 0 && seen.stopped_at_ns.is_none();
    is_held_up
        .then(|| format!("{} not sent: the server takes no more from publishers", were(unsent, "message")))
}

/// Clocks so far apart that latencies between machines say little.
fn apart(seen: &RunSeen, report: &Report) -> Option<String> {
    let (negative, count) = (report.clocks.negative, report.latency_ns.response.count);
    if negative * NEGATIVE_SHARE > negative + count {
        return Some(format!(
            "{} of {} latencies came out negative, by up to {}: the machines' clocks are apart",
            grouped(negative),
            grouped(negative + count),
            time(report.clocks.worst_ns)
        ));
    }
    let doubt = |clock: &MachineClock| {
        clock.uncertainty_ns.saturating_add(clock.offset_after_ns.abs_diff(clock.offset_before_ns))
    };
    let worst = seen.clocks.iter().map(doubt).max()?;
    let median = report.latency_ns.response.p50;
    (median > 0 && worst > median / 2).then(|| {
        format!(
            "the machines' clocks are known to {} only, and half of the responses took less than {}",
            time(worst),
            time(median)
        )
    })
}

fn unready(plan: &Plan, seen: &RunSeen) -> Option<String> {
    let asked = (plan.rooms.subscribers + plan.rooms.publishers) as u64;
    let unready = asked.saturating_sub(seen.ready);
    let share = unready as f64 * 100.0 / asked.max(1) as f64;
    if share <= plan.bounds.unready_percent {
        return None;
    }
    let because = if seen.unready.total() > 0 { format!(" ({})", seen.unready) } else { String::new() };
    Some(format!(
        "{} of {} ({} %) did not become ready, and at most {} % are allowed{because}",
        grouped(unready),
        plural(asked, "connection"),
        percent(share),
        percent(plan.bounds.unready_percent),
    ))
}

/// What the server did wrong.
fn faults(total: &Observed) -> Vec<String> {
    let (counts, others) = (&total.counts, &total.others);
    let mut faults: Vec<String> = [
        (counts.missing, "missing"),
        (counts.duplicate, "duplicate"),
        (counts.reordered, "reordered"),
        (counts.corrupt, "corrupt"),
        (counts.misrouted, "of another room"),
    ]
    .into_iter()
    .filter(|&(count, _)| count > 0)
    .map(|(count, what)| format!("{count} deliveries {what}"))
    .collect();
    if total.lost.subscribers > 0 {
        faults.push(format!("{} lost their connection", plural(total.lost.subscribers, "subscriber")));
    }
    for (kind, ended, reads) in [
        ("stalled", &others.stalled, false),
        ("slow", &others.slow, false),
        ("pausing", &others.pausing, true),
        ("returning", &others.returning, true),
    ] {
        faults.extend(faults_of(kind, ended, reads));
    }
    let away = others.left.saturating_sub(others.returned);
    if away > 0 {
        faults.push(format!(
            "{} could not come back: {}",
            plural(away, "subscriber"),
            match others.refused.total() {
                0 => "the server answered no more".to_owned(),
                _ => others.refused.to_string(),
            }
        ));
    }
    if others.silent > 0 {
        faults.push(format!(
            "{} came back and heard nothing, though others did",
            plural(others.silent, "subscriber")
        ));
    }
    // Those that do not read may be cut off. Those that come back do read, as long as they are there.
    let cut_off = others.returning.lost.total();
    if cut_off > 0 {
        faults.push(format!(
            "returning subscribers lost {}: {}",
            plural(cut_off, "connection"),
            others.returning.lost
        ));
    }
    faults
}

/// What was wrong with deliveries to one kind of subscribers. Nothing is missing where they did not read all that came.
fn faults_of(kind: &str, ended: &Ended, reads: bool) -> Vec<String> {
    let missing = if reads { ended.missing } else { 0 };
    [
        (missing, "missing"),
        (ended.duplicate, "duplicate"),
        (ended.reordered, "reordered"),
        (ended.corrupt, "corrupt"),
    ]
    .into_iter()
    .filter(|&(count, _)| count > 0)
    .map(|(count, what)| format!("{count} deliveries to {kind} subscribers {what}"))
    .collect()
}

fn were(count: u64, thing: &str) -> String {
    format!("{} {}", plural(count, thing), if count == 1 { "was" } else { "were" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::{Clock, Counts, Interval};
    use crate::reasons::Reasons;
    use crate::testing::fixture;

    type Change = fn(&mut Plan, &mut RunSeen, &mut Observed);

    fn judged(change: Change) -> (Verdict, Vec<String>) {
        let mut plan = fixture::plan();
        let mut seen = fixture::seen(&plan);
        let mut total = Observed::default();
        change(&mut plan, &mut seen, &mut total);
        seen.gathered.observed(0, &total);
        let report = Report::new(&plan, &seen);
        (report.verdict, report.reasons)
    }

    fn lag(seen: &mut RunSeen, late: u64, ns: u64) {
        let mut interval = Interval::default();
        (0..100 - late).for_each(|_| interval.own_lag.record(1_000));
        (0..late).for_each(|_| interval.own_lag.record(ns));
        // What the server held publishers back is no doubt.
        (0..100).for_each(|_| interval.send_lag.record(1_000_000_000));
        seen.gathered.interval(0, interval);
    }

    fn one(sentence: &str) -> Reasons {
        let mut reasons = Reasons::default();
        reasons.add(sentence.to_owned());
        reasons
    }

    #[test]
    fn each_reason_makes_its_verdict() {
        let table: &[(Change, Verdict, &str)] = &[
            (
                |_, seen, _| {
                    seen.ready = 11;
                    seen.unready = one("refused");
                },
                Verdict::Invalid,
                "2 of 13 connections (15.4 %) did not become ready, and at most 0 % are allowed (1 x refused)",
            ),
            (
                |_, seen, _| seen.sent -= 1,
                Verdict::Invalid,
                "1 message was not sent: the server takes no more from publishers",
            ),
            (|_, seen, _| seen.sent -= 2_000, Verdict::Invalid, "2 000 messages were not sent"),
            (
                |_, seen, _| lag(seen, 2, 25_000_000),
                Verdict::Invalid,
                "1 % of the messages were sent 25.0 ms or more after they were due and could be sent, and at most 10.0 ms",
            ),
            (
                |_, seen, _| seen.own_cpu_percent = 99.0,
                Verdict::Invalid,
                "this program used 99 % of its busiest core, and at most 98 % are allowed",
            ),
            (
                |_, _, total| total.lost.publishers = 1,
                Verdict::Invalid,
                "1 publisher lost their connection, and 0 messages were not sent",
            ),
            (
                |_, _, total| total.clock = Clock { negative: 1, worst_ns: 2_000 },
                Verdict::Invalid,
                "1 of 1 latencies came out negative, by up to 2.00 us",
            ),
            (
                |_, seen, _| {
                    let clock = |after| MachineClock {
                        machine: "b".to_owned(),
                        offset_before_ns: 100,
                        offset_after_ns: after,
                        uncertainty_ns: 400,
                    };
                    let mut interval = Interval::default();
                    interval.response.record(1_000);
                    seen.gathered.interval(0, interval);
                    seen.clocks = vec![clock(100), clock(210)];
                },
                Verdict::Invalid,
                "the machines' clocks are known to 510 ns only, and half of the responses took less than 1.00 us",
            ),
            (
                |_, _, total| (total.others.left, total.others.returned) = (5, 3),
                Verdict::Broken,
                "2 subscribers could not come back: the server answered no more",
            ),
            (
                |_, _, total| {
                    (total.others.left, total.others.refused) = (1, one("status 503"));
                },
                Verdict::Broken,
                "1 subscriber could not come back: 1 x status 503",
            ),
            (
                |_, _, total| total.others.silent = 1,
                Verdict::Broken,
                "1 subscriber came back and heard nothing",
            ),
            (|_, _, total| total.counts.missing = 3, Verdict::Broken, "3 deliveries missing"),
            (|_, _, total| total.counts.duplicate = 3, Verdict::Broken, "3 deliveries duplicate"),
            (|_, _, total| total.counts.reordered = 3, Verdict::Broken, "3 deliveries reordered"),
            (|_, _, total| total.counts.corrupt = 3, Verdict::Broken, "3 deliveries corrupt"),
            (|_, _, total| total.counts.misrouted = 3, Verdict::Broken, "3 deliveries of another room"),
            (|_, _, total| total.lost.subscribers = 1, Verdict::Broken, "1 subscriber lost their connection"),
            (
                |_, _, total| total.others.pausing.missing = 1,
                Verdict::Broken,
                "1 deliveries to pausing subscribers missing",
            ),
            (
                |_, _, total| total.others.returning.missing = 1,
                Verdict::Broken,
                "1 deliveries to returning subscribers missing",
            ),
            (
                |_, _, total| total.others.stalled.corrupt = 1,
                Verdict::Broken,
                "1 deliveries to stalled subscribers corrupt",
            ),
            (
                |_, _, total| total.others.slow.duplicate = 1,
                Verdict::Broken,
                "1 deliveries to slow subscribers duplicate",
            ),
            (
                |_, _, total| total.others.slow.reordered = 1,
                Verdict::Broken,
                "1 deliveries to slow subscribers reordered",
            ),
            (
                |_, _, total| total.others.returning.lost = one("reset"),
                Verdict::Broken,
                "returning subscribers lost 1 connection: 1 x reset",
            ),
            (
                |plan, _, _| plan.gates = vec!["missing>0".parse().expect("a gate")],
                Verdict::Gate,
                "missing>0 was required, and it is 0",
            ),
            (
                |plan, _, _| plan.gates = vec!["p99<5ms".parse().expect("a gate")],
                Verdict::Gate,
                "p99<5ms was required, and the run has no such figure: nothing was delivered",
            ),
        ];
        for (change, verdict, reason) in table {
            let (seen, reasons) = judged(*change);
            assert_eq!(seen, *verdict, "{reason}");
            assert!(reasons.len() == 1 && reasons[0].starts_with(reason), "{reason}: {reasons:?}");
        }
    }

    #[test]
    fn what_is_no_fault_passes() {
        let table: &[Change] = &[
            |_, _, _| (),
            // At the bounds, not beyond them.
            |plan, seen, _| {
                seen.ready = 12;
                plan.bounds.unready_percent = 8.0;
            },
            |_, seen, _| lag(seen, 1, 25_000_000),
            |_, seen, _| seen.own_cpu_percent = 98.0,
            |_, _, total| total.counts.foreign = 3,
            |_, _, total| total.counts.announced = 3,
            // Cut off for not reading, and what they did not read.
            |_, _, total| {
                for ended in [&mut total.others.stalled, &mut total.others.slow] {
                    *ended = Ended {
                        subscribers: 1,
                        missing: 9,
                        announced: 9,
                        lost: one("too slow"),
                        ..Ended::default()
                    };
                }
                total.others.pausing = Ended { subscribers: 1, lost: one("too slow"), ..Ended::default() };
            },
            |plan, _, total| {
                total.counts = Counts { expected: 5, delivered: 5, ..Counts::default() };
                plan.gates = vec!["missing==0".parse().expect("a gate")];
            },
        ];
        for (index, change) in table.iter().enumerate() {
            assert_eq!(judged(*change), (Verdict::Pass, vec![]), "{index}");
        }
    }

    #[test]
    fn idle_connections_pass_if_none_is_lost() {
        let idle: Change = |plan, seen, _| {
            *plan = fixture::idle_plan();
            seen.sent = 0;
        };
        assert_eq!(judged(idle), (Verdict::Pass, vec![]));
        let lost: Change = |plan, seen, total| {
            *plan = fixture::idle_plan();
            seen.sent = 0;
            total.lost.subscribers = 2;
        };
        assert_eq!(judged(lost).0, Verdict::Broken);
    }

    #[test]
    fn the_worst_comes_first() {
        let (verdict, reasons) = judged(|plan, seen, total| {
            seen.own_cpu_percent = 100.0;
            total.counts.missing = 1;
            plan.gates = vec!["missing==0".parse().expect("a gate")];
        });
        assert_eq!(verdict, Verdict::Invalid);
        let begins: Vec<&str> = reasons.iter().map(|reason| &reason[..10]).collect();
        assert_eq!(begins, ["this progr", "1 deliveri", "missing==0"]);
        let (verdict, _) = judged(|plan, _, total| {
            total.counts.missing = 1;
            plan.gates = vec!["missing==0".parse().expect("a gate")];
        });
        assert_eq!(verdict, Verdict::Broken);
    }
}
