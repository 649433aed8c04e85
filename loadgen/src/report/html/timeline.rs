//! The time line: what each interval of the run was like.

use crate::report::html::axis::{Spacing, time_label, time_ticks};
use crate::report::html::plot::{Axis, Line, Panel, Plot};
use crate::report::html::thin::Point;
use crate::report::html::time;
use crate::report::units::Unit;
use crate::report::{Report, Row};

/// The time line of one run; `None` if it has no rows.
pub(super) fn timeline(report: &Report) -> Option<Plot> {
    let clock = Clock::of(&report.timeline)?;
    let line =
        |name: &str, colour, of: fn(&Row) -> f64| Line::new(name, colour, clock.points(&report.timeline, of));
    let filled = |name: &str, colour, of| Line { filled: true, ..line(name, colour, of) };
    let panels = vec![
        panel(
            "Deliveries per second",
            Unit::PerSecond,
            120.0,
            vec![filled("delivered", "c-response", delivered)],
        ),
        panel("Messages sent per second", Unit::PerSecond, 70.0, vec![filled("sent", "c-sent", sent)]),
        Panel {
            spacing: Spacing::Logarithmic,
            ..panel(
                "Response of each interval",
                Unit::Nanoseconds,
                210.0,
                vec![
                    line("p50", "c-response", p50),
                    line("p99", "c-p99", p99),
                    line("max", "c-max", max),
                    Line { dashed: true, ..line("send lag, max", "c-lag", send_lag) },
                ],
            )
        },
        panel("Connections", Unit::Count, 60.0, vec![filled("connected", "c-other", connected)]),
        panel(
            "Server CPU, of one core",
            Unit::Percent,
            70.0,
            vec![filled("server CPU", "c-other", server_cpu)],
        ),
        panel("Server memory", Unit::Bytes, 70.0, vec![filled("server memory", "c-other", server_memory)]),
    ];
    Some(Plot {
        id: "timeline".to_owned(),
        title: "Each interval of the run".to_owned(),
        caption: "Time 0 is where the measurement begins.".to_owned(),
        description: description(&report.timeline, &clock),
        x: axis(clock.low, clock.high),
        panels: panels.into_iter().filter(Panel::is_seen).collect(),
        shaded_to: (clock.low < 0.0).then_some(0.0),
        half: false,
    })
}

/// The time lines of several runs over each other, each with a name and a colour.
pub(super) fn timelines(runs: &[(&str, &'static str, &Report)]) -> Option<Plot> {
    let clocks: Vec<Option<Clock>> = runs.iter().map(|(_, _, report)| Clock::of(&report.timeline)).collect();
    let seen = || clocks.iter().flatten();
    let low = seen().map(|clock| clock.low).reduce(f64::min)?;
    let high = seen().map(|clock| clock.high).reduce(f64::max)?;
    let lines = |of: fn(&Row) -> f64| {
        let line = |((name, colour, report), clock): (&(&str, &'static str, &Report), &Option<Clock>)| {
            let clock = clock.as_ref()?;
            Some(Line::new(*name, colour, clock.points(&report.timeline, of)))
        };
        runs.iter().zip(&clocks).filter_map(line).collect::<Vec<Line>>()
    };
    let latency = |title, of| Panel {
        spacing: Spacing::Logarithmic,
        ..panel(title, Unit::Nanoseconds, 150.0, lines(of))
    };
    let panels = vec![
        panel("Deliveries per second", Unit::PerSecond, 120.0, lines(delivered)),
        latency("Response, p50 of each interval", p50),
        latency("Response, p99 of each interval", p99),
        latency("Response, maximum of each interval", max),
        panel("Connections", Unit::Count, 70.0, lines(connected)),
        panel("Server CPU, of one core", Unit::Percent, 90.0, lines(server_cpu)),
        panel("Server memory", Unit::Bytes, 90.0, lines(server_memory)),
    ];
    Some(Plot {
        id: "timeline".to_owned(),
        title: "Each interval of the runs".to_owned(),
        caption: "Time 0 is where each run's measurement begins.".to_owned(),
        description: "The runs' throughput, response, connections and server cost in each interval."
            .to_owned(),
        x: axis(low, high),
        panels: panels.into_iter().filter(Panel::is_seen).collect(),
        shaded_to: (low < 0.0).then_some(0.0),
        half: false,
    })
}

/// From a run's time to one that is 0 when the measurement begins.
struct Clock {
    measured_from: f64,
    low: f64,
    high: f64,
}

impl Clock {
    fn of(rows: &[Row]) -> Option<Self> {
        let (first, last) = (rows.first()?, rows.last()?);
        let warm = rows.iter().filter(|row| row.warmup).map(|row| row.seconds).reduce(f64::max);
        let begin = first.seconds - first.interval_seconds;
        let measured_from = warm.unwrap_or(begin);
        let (low, high) = (begin - measured_from, last.seconds - measured_from);
        (low < high && high - low < 1e12).then_some(Self { measured_from, low, high })
    }

    /// A point in the middle of each interval.
    fn points(&self, rows: &[Row], of: fn(&Row) -> f64) -> Vec<Point> {
        rows.iter().map(|row| Point { x: self.middle(row), y: of(row) }).collect()
    }

    fn middle(&self, row: &Row) -> f64 {
        row.seconds - row.interval_seconds / 2.0 - self.measured_from
    }
}

fn panel(title: &str, unit: Unit, height: f64, lines: Vec<Line>) -> Panel {
    Panel { title: title.to_owned(), unit, spacing: Spacing::Linear, height, lines }
}

fn axis(low: f64, high: f64) -> Axis {
    let ticks = |low: f64, high: f64, count_max| {
        let label = |tick| (tick, time_label(tick, high));
        time_ticks(low, high, count_max).into_iter().map(label).collect()
    };
    Axis { name: "time since the measurement began", kind: "seconds", low, high, ticks }
}

fn each_second(count: u64, row: &Row) -> f64 {
    if row.interval_seconds > 1e-9 { count as f64 / row.interval_seconds } else { f64::NAN }
}

fn delivered(row: &Row) -> f64 {
    each_second(row.delivered, row)
}

fn sent(row: &Row) -> f64 {
    each_second(row.sent, row)
}

/// No line where nothing was recorded: that is neither fast nor slow.
fn recorded(row: &Row, ns: u64) -> f64 {
    if row.response.count > 0 { ns.max(1) as f64 } else { f64::NAN }
}

fn p50(row: &Row) -> f64 {
    recorded(row, row.response.p50)
}

fn p99(row: &Row) -> f64 {
    recorded(row, row.response.p99)
}

fn max(row: &Row) -> f64 {
    recorded(row, row.response.max)
}

fn send_lag(row: &Row) -> f64 {
    if row.send_lag_max > 0 { row.send_lag_max as f64 } else { f64::NAN }
}

fn connected(row: &Row) -> f64 {
    row.connected as f64
}

fn server_cpu(row: &Row) -> f64 {
    row.server_cpu_percent.unwrap_or(f64::NAN)
}

fn server_memory(row: &Row) -> f64 {
    row.server_resident_bytes.map_or(f64::NAN, |bytes| bytes as f64)
}

fn description(rows: &[Row], clock: &Clock) -> String {
    let slowest = rows.iter().max_by_key(|row| row.response.max);
    let worst = slowest.filter(|row| row.response.count > 0).map(|row| {
        format!(
            " The slowest response, {}, came {} s after the measurement began.",
            time(row.response.max),
            (clock.middle(row) * 100.0).round() / 100.0
        )
    });
    format!(
        "Throughput, response, connections and server cost over {} intervals.{}",
        rows.len(),
        worst.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sample;

    #[test]
    fn warm_up_ends_at_zero_and_silence_is_a_gap() {
        let report = sample::passing();
        let plot = timeline(&report).expect("rows");
        assert_eq!(plot.shaded_to, Some(0.0));
        assert!(plot.x.low < 0.0 && plot.x.high > 0.0);
        let latency = plot.panels.iter().find(|panel| panel.unit == Unit::Nanoseconds).expect("a panel");
        let silent = report.timeline.iter().filter(|row| row.response.count == 0).count();
        assert!(silent > 0);
        assert_eq!(latency.lines[0].points.iter().filter(|point| point.y.is_nan()).count(), silent);
    }

    #[test]
    fn panels_without_figures_are_left_out() {
        let mut report = sample::passing();
        for row in &mut report.timeline {
            (row.server_cpu_percent, row.server_resident_bytes, row.warmup) = (None, None, false);
        }
        let plot = timeline(&report).expect("rows");
        assert_eq!(plot.panels.len(), 4);
        assert_eq!(plot.shaded_to, None);
        report.timeline.clear();
        assert!(timeline(&report).is_none());
    }
}
