//! The log: appending, and cursors that look for what is new.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanfare_core::log::{LogLimits, LogReader, LogWriter};
use fanfare_wire::frame::{self, Opcode};
use fanfare_wire::subscribe::Epoch;

const LIMITS: LogLimits = LogLimits { log_bytes_max: 64 << 20, segment_bytes_max: 1 << 20 };

fn empty_log() -> LogWriter {
    LogWriter::new(LIMITS, Epoch(1), 1, 1, Arc::default())
}

fn append(log: &mut LogWriter, payload: &[u8]) {
    let header = frame::header(Opcode::Binary, true, payload.len() as u64, None);
    log.append(&[header.as_ref(), payload]);
}

/// Framing and appending, with the segments' turnover in it.
fn appending(c: &mut Criterion) {
    let mut group = c.benchmark_group("log append");
    for size in [64, 1024, 16 * 1024] {
        let payload = vec![0x5a; size];
        let mut log = empty_log();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| append(&mut log, black_box(&payload)));
        });
    }
    group.finish();
}

/// What a fan-out does for each subscriber before the send: the bytes between its cursor and the head.
fn walking(c: &mut Criterion) {
    let mut group = c.benchmark_group("cursor walk");
    for (subscribers, behind) in [(1, 1), (1_000, 1), (1_000, 20), (100_000, 1)] {
        let mut log = empty_log();
        (0..10_000).for_each(|_| append(&mut log, &[0x5a; 64]));
        let mut reader = LogReader::new(log.log().clone());
        reader.refresh();
        let cursors = vec![reader.end() - behind; subscribers];
        group.throughput(Throughput::Elements(subscribers as u64));
        let id = format!("{subscribers} subscribers, {behind} behind");
        group.bench_function(BenchmarkId::from_parameter(id), |b| {
            b.iter(|| {
                let ranges = cursors.iter().filter_map(|&cursor| reader.range(black_box(cursor)));
                ranges
                    .map(|range| reader.segment(range.segment).bytes(range.start..range.end).len())
                    .sum::<usize>()
            });
        });
    }
    group.finish();
}

/// One message's whole way: appended, seen by the reader, found by a cursor.
fn passing(c: &mut Criterion) {
    let mut log = empty_log();
    let mut reader = LogReader::new(log.log().clone());
    let mut cursor = reader.end();
    c.bench_function("append, refresh, range", |b| {
        b.iter(|| {
            append(&mut log, black_box(&[0x5a; 64]));
            reader.refresh();
            let range = reader.range(cursor).expect("one message");
            cursor = range.next_seq;
            range.end - range.start
        });
    });
}

criterion_group! {
    name = core;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    targets = appending, walking, passing
}
criterion_main!(core);
