//! The time line: one row for each interval, put together from what each worker observed in it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::latency::Latency;
use crate::observed::Interval;
use crate::process::Usage;
use crate::report::Row;
use crate::report::hlog::Logged;
use crate::report::seen::Sample;
use crate::schedule::Schedule;

/// How many rows wait for workers at most. The oldest one is closed as it is when a worker falls further behind.
const OPEN_MAX: usize = 64;

/// A row that not all workers have told of.
#[derive(Clone, Debug, Default)]
struct Open {
    sent: u64,
    delivered: u64,
    bytes: u64,
    connected: u64,
    recovered: u64,
    recoveries_failed: u64,
    /// `None` before the first part, which is kept rather than copied.
    response: Option<Latency>,
    send_lag_max: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    interval: Duration,
    measured_from: u64,
    /// By worker: the index that it has not told of yet; the largest when it is done.
    next: Vec<u32>,
    open: BTreeMap<u32, Open>,
    rows: Vec<Row>,
    /// The rows' indices, in rising order.
    indices: Vec<u32>,
    /// What the server had used at the end of intervals whose rows are open.
    server: BTreeMap<u32, ServerUse>,
    /// With how many intervals had ended by then.
    last_sample: Option<(u128, Sample)>,
    /// The rows' histograms, if somebody wants them.
    log: Option<Vec<Logged>>,
}

#[derive(Clone, Copy, Debug)]
struct ServerUse {
    cpu_percent: Option<f64>,
    resident_bytes: u64,
}

impl Timeline {
    pub(crate) fn new(schedule: &Schedule, interval: Duration, workers: usize) -> Self {
        Self {
            interval,
            measured_from: schedule.measured_from(),
            next: vec![0; workers],
            open: BTreeMap::new(),
            rows: Vec::new(),
            indices: Vec::new(),
            server: BTreeMap::new(),
            last_sample: None,
            log: None,
        }
    }

    /// Keeps each row's histogram from now on.
    pub(crate) fn keep_log(&mut self) {
        self.log.get_or_insert_default();
    }

    /// The histograms, in the order of time.
    pub(crate) fn log(&self) -> Option<&[Logged]> {
        self.log.as_deref()
    }

    /// The rows that are complete, in the order of time.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Adds a worker's part of one row.
    pub(crate) fn add(&mut self, worker: usize, part: Interval) {
        let index = part.index;
        if self.is_closed(index) {
            self.add_late(&part);
        } else {
            let open = self.open.entry(index).or_default();
            open.sent += part.sent;
            open.delivered += part.delivered;
            open.bytes += part.bytes;
            open.connected += part.connected;
            open.recovered += part.recovered;
            open.recoveries_failed += part.recoveries_failed;
            open.send_lag_max = open.send_lag_max.max(part.send_lag.histogram().max());
            match &mut open.response {
                Some(response) => response.merge(&part.response),
                empty => *empty = Some(part.response),
            }
        }
        if let Some(next) = self.next.get_mut(worker) {
            *next = (*next).max(index.saturating_add(1));
        }
        self.close_complete();
    }

    /// A worker tells no more.
    pub(crate) fn finished(&mut self, worker: usize) {
        if let Some(next) = self.next.get_mut(worker) {
            *next = u32::MAX;
        }
        self.close_complete();
    }

    /// Closes all rows, whatever is missing from them.
    pub(crate) fn finish(&mut self) {
        self.next.fill(u32::MAX);
        self.close_complete();
    }

    /// The processes at some moment, so long after the epoch. The first sample in an interval counts for the interval that
    /// ended before; the others are passed over.
    pub(crate) fn sampled(&mut self, since_epoch: Duration, sample: &Sample) {
        let ended = since_epoch.as_nanos().checked_div(self.interval.as_nanos()).unwrap_or(0);
        if self.last_sample.is_some_and(|(before, _)| ended <= before) {
            return;
        }
        let before = self.last_sample.replace((ended, *sample)).map(|(_, before)| before);
        let Some(index) = ended.checked_sub(1).and_then(|index| u32::try_from(index).ok()) else { return };
        let Some(server) = sample.server else { return };
        let cpu_percent = before.and_then(|before| percent_between(&before, sample.at_ns, &server));
        let used = ServerUse { cpu_percent, resident_bytes: server.resident_bytes };
        if let Ok(row) = self.indices.binary_search(&index) {
            used.write(&mut self.rows[row]);
        } else if self.server.len() < OPEN_MAX {
            self.server.insert(index, used);
        }
    }

    fn is_closed(&self, index: u32) -> bool {
        self.indices.last().is_some_and(|&last| index <= last)
    }

    /// A worker was so far behind that its row is closed: counts are still added to it, but not its latencies, which only
    /// the histograms of the whole run have.
    fn add_late(&mut self, part: &Interval) {
        if let Ok(row) = self.indices.binary_search(&part.index) {
            let row = &mut self.rows[row];
            row.sent += part.sent;
            row.delivered += part.delivered;
            row.bytes += part.bytes;
            row.connected += part.connected;
            row.recovered += part.recovered;
            row.recoveries_failed += part.recoveries_failed;
            row.send_lag_max = row.send_lag_max.max(part.send_lag.histogram().max());
        }
        self.keep(part.index, &part.response);
    }

    fn close_complete(&mut self) {
        let told = self.next.iter().copied().min().unwrap_or(u32::MAX);
        while let Some((&index, _)) = self.open.first_key_value() {
            if index >= told && self.open.len() <= OPEN_MAX {
                break;
            }
            if let Some((index, open)) = self.open.pop_first() {
                self.close(index, open);
            }
        }
    }

    fn close(&mut self, index: u32, open: Open) {
        let response = open.response.unwrap_or_default();
        self.keep(index, &response);
        let begins_ns = self.interval.as_nanos() * u128::from(index);
        let mut row = Row {
            seconds: self.interval.saturating_mul(index.saturating_add(1)).as_secs_f64(),
            interval_seconds: self.interval.as_secs_f64(),
            warmup: begins_ns < u128::from(self.measured_from),
            sent: open.sent,
            delivered: open.delivered,
            bytes: open.bytes,
            connected: open.connected,
            recovered: open.recovered,
            recoveries_failed: open.recoveries_failed,
            response: response.spectrum(),
            send_lag_max: open.send_lag_max,
            server_cpu_percent: None,
            server_resident_bytes: None,
        };
        if let Some(used) = self.server.remove(&index) {
            used.write(&mut row);
        }
        // Samples of rows that never were.
        self.server = self.server.split_off(&index);
        self.rows.push(row);
        self.indices.push(index);
    }

    fn keep(&mut self, index: u32, response: &Latency) {
        if let Some(log) = &mut self.log {
            log.push(Logged::new(self.interval.saturating_mul(index), self.interval, response));
        }
    }
}

impl ServerUse {
    fn write(&self, row: &mut Row) {
        row.server_cpu_percent = self.cpu_percent;
        row.server_resident_bytes = Some(self.resident_bytes);
    }
}

fn percent_between(before: &Sample, now_ns: u64, server: &Usage) -> Option<f64> {
    let elapsed_ns = now_ns.checked_sub(before.at_ns).filter(|&ns| ns > 0)?;
    Some(server.cpu_since(&before.server?) as f64 * 100.0 / elapsed_ns as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fixture;

    const SECOND: Duration = Duration::from_secs(1);

    fn timeline(workers: usize) -> Timeline {
        Timeline::new(&fixture::plan().schedule, SECOND, workers)
    }

    fn part(index: u32, response_ns: &[u64]) -> Interval {
        let mut part = Interval {
            index,
            sent: 10,
            delivered: response_ns.len() as u64,
            bytes: 100,
            connected: 5,
            ..Interval::default()
        };
        response_ns.iter().for_each(|&ns| part.response.record(ns));
        part.send_lag.record(u64::from(index) + 1);
        part
    }

    fn delivered(timeline: &Timeline) -> Vec<(u32, u64, u64)> {
        let rows = timeline.indices.iter().zip(timeline.rows());
        rows.map(|(&index, row)| (index, row.delivered, row.response.count)).collect()
    }

    #[test]
    fn a_row_is_complete_when_all_workers_have_told_of_it() {
        let mut timeline = timeline(2);
        timeline.add(0, part(0, &[100]));
        timeline.add(0, part(1, &[300, 300, 300]));
        assert_eq!(delivered(&timeline), []);
        timeline.add(1, part(0, &[200, 900]));
        assert_eq!(delivered(&timeline), [(0, 3, 3)]);
        let row = &timeline.rows()[0];
        assert_eq!((row.sent, row.bytes, row.connected, row.send_lag_max), (20, 200, 10, 1));
        // Of the merged histogram, not of percentiles.
        assert_eq!((row.response.min, row.response.p50, row.response.max), (100, 200, 900));
        assert_eq!((row.seconds, row.interval_seconds), (1.0, 1.0));
        timeline.add(1, part(1, &[100]));
        assert_eq!(delivered(&timeline), [(0, 3, 3), (1, 4, 4)]);
    }

    #[test]
    fn a_worker_that_is_done_or_skips_a_row_is_not_waited_for() {
        let mut timeline = timeline(2);
        timeline.add(0, part(0, &[1]));
        timeline.add(0, part(1, &[1]));
        timeline.add(1, part(1, &[2]));
        assert_eq!(delivered(&timeline), [(0, 1, 1), (1, 2, 2)]);
        timeline.add(0, part(2, &[1]));
        timeline.finished(1);
        assert_eq!(delivered(&timeline).last(), Some(&(2, 1, 1)));
        timeline.finished(7);
    }

    #[test]
    fn a_silent_worker_holds_some_rows_and_its_late_parts_are_still_counted() {
        let mut timeline = timeline(2);
        timeline.keep_log();
        (0..OPEN_MAX as u32).for_each(|index| timeline.add(0, part(index, &[50])));
        assert_eq!(delivered(&timeline), []);
        timeline.add(0, part(OPEN_MAX as u32, &[50]));
        assert_eq!(delivered(&timeline), [(0, 1, 1)]);
        timeline.add(1, part(0, &[70, 70]));
        assert_eq!(delivered(&timeline), [(0, 3, 1)]);
        assert_eq!(timeline.log().map(<[Logged]>::len), Some(2));
        timeline.finish();
        assert_eq!(timeline.rows().len(), OPEN_MAX + 1);
    }

    #[test]
    fn rows_that_begin_in_the_warmup_are_marked() {
        let mut timeline = Timeline { measured_from: 1_500_000_000, ..timeline(1) };
        (0..3).for_each(|index| timeline.add(0, part(index, &[])));
        let warmup: Vec<bool> = timeline.rows().iter().map(|row| row.warmup).collect();
        assert_eq!(warmup, [true, true, false]);
    }

    #[test]
    fn the_server_is_seen_in_the_row_that_ended_before_the_sample() {
        let mut timeline = timeline(1);
        let sample = |at_ms: u64, cpu_ms: u64, resident_bytes| {
            let usage = Usage { cpu_ns: cpu_ms * 1_000_000, resident_bytes, ..Usage::default() };
            Sample { at_ns: 77_000_000_000 + at_ms * 1_000_000, server: Some(usage) }
        };
        timeline.sampled(Duration::from_millis(0), &sample(0, 100, 10));
        // Before the row is complete, after it is, and one without a server.
        timeline.sampled(Duration::from_millis(500), &sample(500, 590, 90));
        timeline.sampled(Duration::from_millis(1_001), &sample(1_000, 600, 20));
        timeline.add(0, part(0, &[]));
        timeline.add(0, part(1, &[]));
        timeline.sampled(Duration::from_millis(2_003), &sample(2_000, 1_600, 30));
        timeline.sampled(Duration::from_millis(3_003), &Sample { server: None, ..sample(3_000, 0, 0) });
        timeline.add(0, part(2, &[]));
        let seen: Vec<_> =
            timeline.rows().iter().map(|row| (row.server_cpu_percent, row.server_resident_bytes)).collect();
        assert_eq!(seen, [(Some(50.0), Some(20)), (Some(100.0), Some(30)), (None, None)]);
    }
}
