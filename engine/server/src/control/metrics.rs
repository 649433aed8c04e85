//! `GET /metrics`: the counters of shards and control port, and the process, in the OpenMetrics text that Prometheus reads.

use std::fmt;
use std::fs;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use fanfare_core::stats::Histogram;
use fanfare_core::{Handle, ShardStats, StatKind};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::Shared;
use super::counters::Counters;
use super::error::ApiError;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn metrics(State(shared): State<Shared>) -> Result<Response, ApiError> {
    let mut out = String::new();
    text::encode(&mut out, &shared.metrics).expect("writing to a String cannot fail");
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], out).into_response())
}

/// Everything that is exported about an engine and its process.
pub(super) fn registry(handle: Handle, control: Arc<Counters>) -> Registry {
    let mut registry = Registry::default();
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("fanfare_build", "The version that runs", build);
    registry.register_collector(Box::new(ShardCollector(handle)));
    registry.register_collector(Box::new(ControlCollector(control)));
    registry.register_collector(Box::new(ProcessCollector));
    registry
}

/// The numbers of every shard, each with the label `shard`.
#[derive(Debug)]
struct ShardCollector(Handle);

impl Collector for ShardCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let shards = self.0.stats();
        // All shards have the same numbers in the same order: one family for each number.
        let mut numbers: Vec<_> = shards.iter().map(|stats| stats.each()).collect();
        while let Some(row) = numbers.iter_mut().map(Iterator::next).collect::<Option<Vec<_>>>() {
            let Some(first) = row.first() else { break };
            let name = format!("fanfare_{}", first.name);
            let mut family = encoder.encode_descriptor(&name, first.help, None, metric_type(first.kind))?;
            for (shard, number) in row.iter().enumerate() {
                encode_number(number.kind, number.value, family.encode_family(&[("shard", shard)])?)?;
            }
        }
        for histogram in &HISTOGRAMS {
            let kind = MetricType::Histogram;
            let mut family = encoder.encode_descriptor(histogram.name, histogram.help, None, kind)?;
            for (shard, stats) in shards.iter().enumerate() {
                histogram.encode((histogram.of)(stats), family.encode_family(&[("shard", shard)])?)?;
            }
        }
        for (name, help, value) in [
            ("fanfare_process_topics", "Topics in the process.", self.0.topic_count()),
            (
                "fanfare_log_total_bytes",
                "What the logs and values of all topics take from memory; log_total_bytes_max bounds it.",
                self.0.log_total_bytes(),
            ),
        ] {
            let gauge = ConstGauge::new(value as u64);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

/// What the control port counts of itself.
#[derive(Debug)]
struct ControlCollector(Arc<Counters>);

impl Collector for ControlCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let gauge = ConstGauge::new(self.0.connections());
        let (name, help) = ("fanfare_control_connections", "Connections to the control port being served.");
        gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        for (name, help, value) in self.0.each() {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}

/// A distribution that every shard keeps, as it is exported.
struct ExportedHistogram {
    name: &'static str,
    help: &'static str,
    /// What one of the name's units is in those that the shard counts.
    unit: f64,
    of: fn(&ShardStats) -> &Histogram,
}

const HISTOGRAMS: [ExportedHistogram; 2] = [
    ExportedHistogram {
        name: "fanfare_lag_messages",
        help: "Messages that a subscriber was behind its topic when messages were handed to the kernel for it; \
               1 for one that had all but the newest.",
        unit: 1.0,
        of: |stats| &stats.lag_messages,
    },
    ExportedHistogram {
        name: "fanfare_fan_out_spread_seconds",
        help: "Time from the moment that new messages were looked at until the last subscriber was sent to.",
        unit: 1e6,
        of: |stats| &stats.spread_us,
    },
];

impl ExportedHistogram {
    fn encode(&self, histogram: &Histogram, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let in_unit = |(bound, count)| match bound {
            u64::MAX => (f64::INFINITY, count),
            bound => (bound as f64 / self.unit, count),
        };
        let buckets: Vec<(f64, u64)> = histogram.buckets().map(in_unit).collect();
        // The shard counts on meanwhile, and a histogram's count has to be that of its buckets.
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(histogram.sum() as f64 / self.unit, count, &buckets, None)
    }
}

fn metric_type(kind: StatKind) -> MetricType {
    match kind {
        StatKind::Counter => MetricType::Counter,
        StatKind::Gauge => MetricType::Gauge,
    }
}

fn encode_number(kind: StatKind, value: u64, encoder: MetricEncoder<'_>) -> fmt::Result {
    match kind {
        StatKind::Counter => ConstCounter::new(value).encode(encoder),
        StatKind::Gauge => ConstGauge::new(value).encode(encoder),
    }
}

/// The process's memory and time, under the names that all Prometheus clients use.
#[derive(Debug)]
struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(bytes) = resident_bytes() {
            let help = "Resident memory size in bytes.";
            let gauge = ConstGauge::new(bytes);
            let name = "process_resident_memory_bytes";
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        if let Some(seconds) = cpu_seconds() {
            let help = "User and system CPU time in seconds.";
            let counter = ConstCounter::new(seconds);
            let name = "process_cpu_seconds";
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}

/// `VmRSS` of proc_pid_status(5), there in kB.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// `utime` and `stime` of proc_pid_stat(5), in ticks of which Linux shows 100 a second on every architecture.
fn cpu_seconds() -> Option<f64> {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the name in parentheses and can contain anything.
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_A_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_measured() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 100_000));
        assert!(cpu_seconds().is_some_and(|seconds| (0.0..1e6).contains(&seconds)));
    }

    struct NoWake;

    impl fanfare_io::Wake for NoWake {
        fn wake(&self) {}
    }

    #[test]
    fn every_number_of_every_shard_is_exported() {
        let config = fanfare_core::Config { shards: 2, ..fanfare_core::Config::default() };
        let wakers: Vec<Arc<dyn fanfare_io::Wake>> = vec![Arc::new(NoWake), Arc::new(NoWake)];
        let (handle, _seats) = fanfare_core::plane(config, wakers, 1).expect("the defaults work");
        let mut out = String::new();
        text::encode(&mut out, &registry(handle.clone(), Arc::default()))
            .expect("writing to a String cannot fail");
        for number in handle.stats()[0].each() {
            let suffix = if number.kind == StatKind::Counter { "_total" } else { "" };
            for shard in 0..2 {
                let line = format!("\nfanfare_{}{suffix}{{shard=\"{shard}\"}} 0\n", number.name);
                assert!(out.contains(&line), "{line:?} is missing in\n{out}");
            }
        }
        for histogram in ["fanfare_lag_messages", "fanfare_fan_out_spread_seconds"] {
            for sample in
                ["_sum{shard=\"1\"} 0.0", "_count{shard=\"1\"} 0", "_bucket{le=\"+Inf\",shard=\"1\"} 0"]
            {
                assert!(out.contains(&format!("\n{histogram}{sample}\n")), "{histogram}{sample} in\n{out}");
            }
        }
        for line in [
            "fanfare_build_info{version=",
            "# TYPE fanfare_lag_messages histogram",
            "fanfare_lag_messages_bucket{le=\"1.0\",shard=\"0\"} 0",
            "fanfare_lag_messages_bucket{le=\"16777216.0\",shard=\"0\"} 0",
            "fanfare_fan_out_spread_seconds_bucket{le=\"0.000128\",shard=\"0\"} 0",
            "fanfare_log_total_bytes 0",
            "fanfare_process_topics 0",
            "fanfare_control_connections 0",
            "fanfare_control_panics_total 0",
            "fanfare_control_restarts_total 0",
            "process_cpu_seconds_total ",
            "process_resident_memory_bytes ",
        ] {
            assert!(out.contains(line), "{line}");
        }
        assert!(out.ends_with("# EOF\n"));
    }
}
