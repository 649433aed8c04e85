use super::*;
use crate::latency::Spectrum;
use crate::report::Verdict;
use crate::testing::fixture::{failing, judged, passing};

use proptest::prelude::*;

const RANGE: Range =
    Range { subject: Subject::MessagesPerSecond, from: 100.0, to: 1e6, factor: 2.0, precision: 0.05 };

/// A server whose 99th percentile passes 5 ms above `knee`.
fn server(knee: f64) -> impl FnMut(f64) -> Result<Report, RunError> {
    move |rate| {
        let mut report = passing(rate, 10);
        report.latency_ns.response = Spectrum { count: 1, p50: 100_000, p99: 900_000, ..Spectrum::default() };
        report.cost.server_cpu_ns_per_delivery = Some(321.25);
        Ok(if rate > knee { failing(report, "p99<5ms", 7.125) } else { report })
    }
}

fn found(run: impl FnMut(f64) -> Result<Report, RunError>) -> Knee {
    search(&RANGE, run, |_| {}).expect("a sound range and a first run")
}

/// Fails the runs with these numbers, counted from 0.
fn noisy(knee: f64, failing_runs: &'static [usize]) -> impl FnMut(f64) -> Result<Report, RunError> {
    let (mut server, mut count) = (server(knee), 0);
    move |rate| {
        count += 1;
        let report = server(rate)?;
        let hit = failing_runs.contains(&(count - 1));
        Ok(if hit { failing(report, "p99<5ms", 99.0) } else { report })
    }
}

fn values(knee: &Knee) -> Vec<f64> {
    knee.steps.iter().map(|step| step.value).collect()
}

#[test]
fn the_knee_is_between_a_pass_and_a_fail_that_are_close() {
    let knee = found(server(1000.0));
    assert_eq!(
        values(&knee),
        [100., 200., 400., 800., 1600., 1600., 1200., 1200., 1000., 1100., 1100., 1050., 1050., 1000.]
    );
    assert_eq!((knee.passes, knee.fails), (Some(1000.0), Some(1050.0)));
    assert_eq!(knee.limit, Limit::Server("p99<5ms was required, and it is 7.125 ms".to_owned()));
    assert_eq!(knee.contradictions, 0);
    assert_eq!(knee.steps.last().map(|step| (step.purpose, step.passed())), Some((Purpose::Confirm, true)));
}

proptest! {
    #[test]
    fn any_knee_is_found_to_the_precision(at in 100f64..900_000.0, factor in 1.1f64..10.0, precision in 0.005f64..0.3) {
        let range = Range { factor, precision, ..RANGE };
        let knee = search(&range, server(at), |_| {}).expect("a sound range");
        let (passes, fails) = (knee.passes.expect("the first value passes"), knee.fails.expect("the last one fails"));
        prop_assert!(passes <= at && at < fails, "{passes} {at} {fails}");
        prop_assert!(fails - passes <= (precision * passes).max(1.0), "{passes} {fails}");
        prop_assert_eq!(knee.contradictions, 0);
        prop_assert!(knee.steps.len() < 400);
    }
}

#[test]
fn one_bad_run_is_repeated_and_does_not_count() {
    // The first run at 400, and the confirming one.
    let knee = found(noisy(1000.0, &[2, 14]));
    assert_eq!((knee.passes, knee.fails), (Some(1000.0), Some(1050.0)));
    assert_eq!((knee.steps[3].value, knee.steps[3].purpose), (400.0, Purpose::Repeat));
    assert_eq!(knee.contradictions, 1 + 1);
}

#[test]
fn what_cannot_be_confirmed_is_not_the_knee() {
    // The confirming run at 1000 and its repetition: then 800 is confirmed.
    let knee = found(noisy(1000.0, &[13, 14]));
    assert_eq!((knee.passes, knee.fails, knee.contradictions), (Some(800.0), Some(1000.0), 2));
    let text = Table(&knee).to_string();
    assert!(text.contains("above 800 messages/s and below 1 000 messages/s"), "{text}");
    assert!(text.contains("2 runs did not pass at values where others"), "{text}");
}

#[test]
fn an_invalid_run_is_the_generators_limit_and_not_the_servers() {
    let knee = found(|rate| {
        let report = passing(rate, 10);
        Ok(if rate > 5000.0 { judged(report, Verdict::Invalid, "the generator ran at 99 %") } else { report })
    });
    assert_eq!(knee.limit, Limit::Generator("the generator ran at 99 %".to_owned()));
    let text = Table(&knee).to_string();
    assert!(text.contains("THE GENERATOR is the limit, not the server"), "{text}");
}

#[test]
fn broken_delivery_and_refused_connections_are_the_servers_limit() {
    let broken = found(|rate| {
        let report = passing(rate, 10);
        Ok(if rate > 5000.0 { judged(report, Verdict::Broken, "7 missing") } else { report })
    });
    assert_eq!(broken.limit, Limit::Server("7 missing".to_owned()));
    let refused = found(|rate| {
        if rate > 5000.0 { Err(RunError::NotReady("refused".to_owned())) } else { Ok(passing(rate, 10)) }
    });
    assert_eq!(refused.limit, Limit::Server("refused".to_owned()));
    assert!(refused.steps.iter().any(|step| step.verdict.is_none() && step.p99_ns.is_none()));
}

#[test]
fn a_range_without_a_knee_says_so() {
    let knee = found(server(f64::INFINITY));
    assert_eq!((knee.passes, knee.fails, &knee.limit), (Some(1e6), None, &Limit::NotReached));
    assert!(Table(&knee).to_string().contains("no knee up to 1 000 000 messages/s"));
    let knee = found(server(1.0));
    assert_eq!((knee.passes, knee.fails, knee.steps.len()), (None, Some(100.0), 2));
    let text = Table(&knee).to_string();
    assert!(
        text.contains("100 messages/s fail (p99<5ms was required, and it is 7.125 ms). Begin lower."),
        "{text}"
    );
}

#[test]
fn what_cannot_be_run_at_all_or_makes_no_sense_is_an_error() {
    let error =
        search(&RANGE, |_| Err(RunError::NotReady("nobody listens".to_owned())), |_| {}).expect_err("no run");
    assert_eq!(error, "nobody listens");
    for range in [
        Range { from: 0.0, ..RANGE },
        Range { to: 99.0, ..RANGE },
        Range { to: f64::INFINITY, ..RANGE },
        Range { factor: 1.0, ..RANGE },
        Range { factor: f64::NAN, ..RANGE },
        Range { precision: 0.0, ..RANGE },
        Range { from: f64::NAN, ..RANGE },
    ] {
        search(&range, server(1000.0), |_| {}).expect_err("no sense");
    }
}

#[test]
fn every_run_is_watched_and_stands_in_the_table_and_in_the_json() {
    let range = Range { subject: Subject::Subscribers, to: 200.0, ..RANGE };
    let mut seen = 0;
    let knee = search(&range, server(1000.0), |step| seen += usize::from(step.passed())).expect("a search");
    assert_eq!((values(&knee), seen), (vec![100.0, 200.0, 200.0], 3));
    assert_eq!(
        Table(&knee).to_string(),
        "   subscribers       p50       p99    deliveries/s     server ns     own CPU  outcome\n\
        \x20          100    100 us    900 us           1 000         321.2        40 %  pass\n\
        \x20          200    100 us    900 us           2 000         321.2        40 %  pass\n\
        \x20          200    100 us    900 us           2 000         321.2        40 %  pass (confirmed)\n\
        \n\
        no knee up to 200 subscribers: raise the end of the range\n"
    );
    let json = serde_json::to_string(&knee).expect("text");
    for part in [r#""subject":"subscribers""#, r#""limit":{"limit":"not_reached"}"#, r#""purpose":"confirm""#]
    {
        assert!(json.contains(part), "{json}");
    }
    let back: Knee = serde_json::from_str(&json).expect("the same");
    assert_eq!(serde_json::to_string(&back).expect("text"), json);
}
