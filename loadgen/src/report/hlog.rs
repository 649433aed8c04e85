//! The response times of each interval, in HdrHistogram's log format 1.3 (`.hlog`): what its log analyzers read.
//! Times of the lines are seconds since the beginning of the warm-up; the largest values are milliseconds.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use crate::latency::Latency;
use crate::report::Report;

const NS_PER_MS: f64 = 1e6;

/// The histogram of one interval, as a line of the log has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    begin: Duration,
    length: Duration,
    max_ns: u64,
    /// HdrHistogram's V2 encoding with deflate, in base64.
    histogram: String,
}

impl Logged {
    pub(crate) fn new(begin: Duration, length: Duration, latency: &Latency) -> Self {
        Self { begin, length, max_ns: latency.histogram().max(), histogram: latency.encoded() }
    }
}

/// # Errors
/// Those of `out`.
pub(crate) fn write(report: &Report, log: &[Logged], out: &mut dyn Write) -> io::Result<()> {
    let started = humantime::parse_rfc3339(&report.environment.started).unwrap_or(SystemTime::UNIX_EPOCH);
    let since_1970 = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let version = &report.version;
    writeln!(out, "#[Logged with fanfare-loadgen {version}: response times in nanoseconds]")?;
    writeln!(out, "#[Histogram log format version 1.3]")?;
    writeln!(out, "#[StartTime: {since_1970:.3} (seconds since epoch), {}]", report.environment.started)?;
    writeln!(out, "#[BaseTime: {since_1970:.3} (seconds since epoch)]")?;
    writeln!(
        out,
        "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
    )?;
    // Parts that came late stand behind their time, and readers want times in order.
    let mut lines: Vec<&Logged> = log.iter().collect();
    lines.sort_by_key(|line| line.begin);
    for line in lines {
        let (begin, length) = (line.begin.as_secs_f64(), line.length.as_secs_f64());
        let max = line.max_ns as f64 / NS_PER_MS;
        writeln!(out, "Tag=response,{begin:.3},{length:.3},{max:.3},{}", line.histogram)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fixture;

    /// 1.5, 2, 2, 3 and 250 ms, as the Python package hdrhistogram 0.10 encodes them.
    const ENCODED: &str = "HISTFAAAAC54nJNpmSzMwMDAywABzFCaEYi7N50sYLD/ABF4v42R6Tw7y2oOps9pTAC9RwmP";

    fn decoded(base64: &str) -> Latency {
        serde_json::from_str(&format!("\"{base64}\"")).expect("a histogram")
    }

    #[test]
    fn lines_are_in_the_order_of_time_and_hold_what_other_libraries_hold() {
        let mut latency = Latency::default();
        [1_500_000, 2_000_000, 2_000_000, 3_000_000, 250_000_000].iter().for_each(|&ns| latency.record(ns));
        let half = Duration::from_millis(500);
        let log = [
            Logged::new(half, half, &latency),
            Logged::new(2 * half, half, &Latency::default()),
            // Came late.
            Logged::new(Duration::ZERO, half, &latency),
        ];
        let mut out = Vec::new();
        write(&fixture::report(), &log, &mut out).expect("written");
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1..5],
            [
                "#[Histogram log format version 1.3]",
                "#[StartTime: 1700000000.000 (seconds since epoch), 2023-11-14T22:13:20Z]",
                "#[BaseTime: 1700000000.000 (seconds since epoch)]",
                "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"",
            ]
        );
        let begins =
            ["Tag=response,0.000,0.500,250.085,HISTFAAA", "Tag=response,0.500,0.500,250.085,HISTFAAA"];
        for (line, begin) in lines[5..7].iter().zip(begins) {
            assert!(line.starts_with(begin), "{line}");
            let (_, base64) = line.rsplit_once(',').expect("fields");
            assert!(decoded(base64).histogram() == decoded(ENCODED).histogram(), "{line}");
        }
        assert!(lines[7].starts_with("Tag=response,1.000,0.500,0.000,HISTFAAA"), "{}", lines[7]);
        assert_eq!(lines.len(), 8);
    }
}
