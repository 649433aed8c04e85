//! The time line as comma-separated values, for spreadsheets and plots. Names of columns end in their units.

use std::io::{self, Write};

use crate::report::{Report, Row};

const HEADER: &str = "end_s,interval_s,warmup,sent_messages,delivered_messages,received_bytes,connections,\
                      response_count,response_min_ns,response_mean_ns,response_p50_ns,response_p90_ns,response_p99_ns,\
                      response_p99.9_ns,response_p99.99_ns,response_max_ns,send_lag_max_ns,server_cpu_percent,\
                      server_resident_bytes,recovered,recoveries_failed";

/// Writes a line with the columns' names, and one for each interval. Figures that the run does not have are empty.
///
/// # Errors
/// Those of `out`.
pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{HEADER}")?;
    report.timeline.iter().try_for_each(|row| write_row(row, out))
}

fn write_row(row: &Row, out: &mut dyn Write) -> io::Result<()> {
    let Row { seconds, interval_seconds, warmup, sent, delivered, bytes, connected, .. } = row;
    write!(out, "{seconds},{interval_seconds},{},{sent},{delivered},{bytes},{connected}", u8::from(*warmup))?;
    let response = &row.response;
    for ns in [response.count, response.min, response.mean, response.p50, response.p90, response.p99] {
        write!(out, ",{ns}")?;
    }
    write!(out, ",{},{},{},{}", response.p999, response.p9999, response.max, row.send_lag_max)?;
    let percent = row.server_cpu_percent.map(|percent| format!("{percent:.1}")).unwrap_or_default();
    let resident = row.server_resident_bytes.map(|bytes| bytes.to_string()).unwrap_or_default();
    writeln!(out, ",{percent},{resident},{},{}", row.recovered, row.recoveries_failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Spectrum;
    use crate::testing::fixture;

    #[test]
    fn every_column_has_its_name() {
        let row = Row {
            seconds: 1.5,
            interval_seconds: 0.5,
            warmup: true,
            sent: 1,
            delivered: 2,
            bytes: 3,
            connected: 4,
            recovered: 17,
            recoveries_failed: 18,
            response: Spectrum {
                count: 5,
                min: 6,
                mean: 7,
                p50: 8,
                p90: 9,
                p99: 10,
                p999: 11,
                p9999: 12,
                max: 13,
            },
            send_lag_max: 14,
            server_cpu_percent: Some(15.25),
            server_resident_bytes: Some(16),
        };
        let bare = Row { server_cpu_percent: None, server_resident_bytes: None, warmup: false, ..row };
        let mut out = Vec::new();
        let report = Report { timeline: vec![row, bare], ..fixture::report() };
        write(&report, &mut out).expect("written");
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        let columns = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(lines[1], "1.5,0.5,1,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15.2,16,17,18");
        assert_eq!(lines[2], "1.5,0.5,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,,,17,18");
        assert!(lines.iter().all(|line| columns(line).len() == 21), "{text}");
        assert_eq!(columns(lines[0])[12], "response_p99_ns");
        assert_eq!(columns(lines[0])[18..], ["server_resident_bytes", "recovered", "recoveries_failed"]);
    }
}
