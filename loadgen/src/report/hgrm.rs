//! The distribution of the response times as a table of percentiles, as HdrHistogram's tools write it (`.hgrm`).
//! Its plotters read this. Values are milliseconds.

use std::io::{self, Write};

use crate::latency::Latency;

const NS_PER_MS: f64 = 1e6;

/// How many lines there are until half of the rest is passed, and half of that, and so on: HdrHistogram's own choice.
const TICKS_PER_HALF: f64 = 5.0;

/// One line: so many deliveries, at least `percent` of all, took `value` or less.
#[derive(Debug)]
struct Step {
    value: u64,
    percent: f64,
    count: u64,
}

/// # Errors
/// Those of `out`.
pub(super) fn write(latency: &Latency, out: &mut dyn Write) -> io::Result<()> {
    let histogram = latency.histogram();
    writeln!(out, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    for Step { value, percent, count } in steps(latency) {
        let value = value as f64 / NS_PER_MS;
        write!(out, "{value:12.3} {:.12} {count:10}", percent / 100.0)?;
        if percent < 100.0 {
            write!(out, " {:14.2}", 100.0 / (100.0 - percent))?;
        }
        writeln!(out)?;
    }
    let (mean, deviation) = (histogram.mean() / NS_PER_MS, histogram.stdev() / NS_PER_MS);
    let max = histogram.max() as f64 / NS_PER_MS;
    let sub_buckets = 2 * 10u32.pow(u32::from(histogram.sigfig()));
    writeln!(out, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]")?;
    writeln!(out, "#[Max     = {max:12.3}, Total count    = {:12}]", histogram.len())?;
    writeln!(
        out,
        "#[Buckets = {:12}, SubBuckets     = {:12}]",
        histogram.buckets(),
        sub_buckets.next_power_of_two()
    )
}

/// The lines as HdrHistogram's Java library steps through a histogram. Levels are kept in percent as there, since in
/// quantiles they are rounded so that some of them stand one delivery too far.
fn steps(latency: &Latency) -> Vec<Step> {
    let histogram = latency.histogram();
    let total = histogram.len();
    let (mut level, mut count, mut largest) = (0.0, 0, 0);
    let mut steps = Vec::new();
    for recorded in histogram.iter_recorded() {
        count += recorded.count_at_value();
        largest = recorded.value_iterated_to();
        while count as f64 * 100.0 / total as f64 >= level {
            steps.push(Step { value: largest, percent: level, count });
            let halvings = (100.0f64 / (100.0 - level)).log2() as i32 + 1;
            level += 100.0 / (TICKS_PER_HALF * 2f64.powi(halvings));
            if count == total {
                break;
            }
        }
    }
    if total > 0 {
        steps.push(Step { value: largest, percent: 100.0, count });
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(latency: &Latency) -> String {
        let mut out = Vec::new();
        write(latency, &mut out).expect("written");
        String::from_utf8(out).expect("text")
    }

    /// What hdr-histogram-js 3 writes, but for the largest value, which is rounded up to three digits as in Java.
    const EXPECTED: &str = "       Value     Percentile TotalCount 1/(1-Percentile)

       1.500 0.000000000000          1           1.00
       1.500 0.100000000000          1           1.11
       1.500 0.200000000000          1           1.25
       2.001 0.300000000000          3           1.43
       2.001 0.400000000000          3           1.67
       2.001 0.500000000000          3           2.00
       2.001 0.550000000000          3           2.22
       2.001 0.600000000000          3           2.50
       3.000 0.650000000000          4           2.86
       3.000 0.700000000000          4           3.33
       3.000 0.750000000000          4           4.00
       3.000 0.775000000000          4           4.44
       3.000 0.800000000000          4           5.00
     250.085 0.825000000000          5           5.71
     250.085 1.000000000000          5
#[Mean    =       51.704, StdDeviation   =       99.159]
#[Max     =      250.085, Total count    =            5]
#[Buckets =           30, SubBuckets     =         2048]
";

    #[test]
    fn another_library_writes_the_same() {
        let mut latency = Latency::default();
        [1_500_000, 2_000_000, 2_000_000, 3_000_000, 250_000_000].iter().for_each(|&ns| latency.record(ns));
        assert_eq!(text(&latency), EXPECTED);
    }

    #[test]
    fn every_line_holds_at_least_its_share_and_the_last_one_all() {
        let mut latency = Latency::default();
        (1..=5_000u64).for_each(|i| latency.record(i * i * 40));
        let steps = steps(&latency);
        for step in &steps {
            let within = latency.histogram().count_between(0, step.value);
            assert_eq!(within, step.count, "{step:?}");
            assert!(step.count as f64 >= 50.0 * step.percent - 1e-6, "{step:?}");
        }
        assert!(steps.is_sorted_by(|one, two| one.percent < two.percent && one.value <= two.value));
        assert_eq!(steps.last().map(|step| (step.percent, step.count)), Some((100.0, 5_000)));
    }

    #[test]
    fn nothing_has_no_lines_but_a_footer() {
        let text = text(&Latency::default());
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(text.contains("#[Max     =        0.000, Total count    =            0]"), "{text}");
    }
}
