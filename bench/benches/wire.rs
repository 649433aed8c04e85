//! The protocol: masking, frames, text, JSON, handshake.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::io::{self, Read, Write};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanfare_bench::Buffers;
use fanfare_wire::decode::{Decoder, Event, Rules};
use fanfare_wire::frame::{self, Opcode};
use fanfare_wire::handshake::{HeadLimits, server};
use fanfare_wire::text::Utf8;
use fanfare_wire::{Kind, Role, mask, stream};
use tungstenite::WebSocket;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn bytewise(buf: &mut [u8], key: [u8; 4], offset: usize) {
    for (i, byte) in buf.iter_mut().enumerate() {
        *byte ^= key[(i + offset) % 4];
    }
}

fn masking(c: &mut Criterion) {
    let mut group = c.benchmark_group("mask");
    for size in [64, 1024, 4096, 16 * 1024] {
        for (align, offset) in [(0, 0), (1, 3)] {
            let place = format!("{size}/align{align}+offset{offset}");
            let (mut to, from) = (Buffers::new(size, align), Buffers::new(size, align));
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::new("apply", &place), |b| {
                b.iter(|| mask::apply(black_box(to.next()), black_box(KEY), black_box(offset)));
            });
            group.bench_function(BenchmarkId::new("memcpy", &place), |b| {
                b.iter(|| {
                    let (to, from) = to.next_with(&from);
                    black_box(to).copy_from_slice(black_box(from));
                });
            });
            group.bench_function(BenchmarkId::new("bytewise", &place), |b| {
                b.iter(|| bytewise(black_box(to.next()), black_box(KEY), black_box(offset)));
            });
        }
    }
    group.finish();
}

/// A client's frames, one behind the other, and how many there are.
fn frames(opcode: Opcode, size: usize) -> (Vec<u8>, usize) {
    let count = (64 * 1024 / size).max(4);
    let mut bytes = Vec::new();
    for _ in 0..count {
        frame::write(&mut bytes, opcode, true, &vec![b'x'; size], Some(KEY));
    }
    (bytes, count)
}

/// A peer that sends the same bytes again and again.
struct Endless {
    bytes: Vec<u8>,
    at: usize,
}

impl Read for Endless {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = buf.len().min(self.bytes.len() - self.at);
        buf[..len].copy_from_slice(&self.bytes[self.at..self.at + len]);
        self.at = (self.at + len) % self.bytes.len();
        Ok(len)
    }
}

impl Write for Endless {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A server's decoder: both sides copy what arrives into their receive buffer first, as a socket would.
fn decoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    let rules = Rules {
        role: Role::Server,
        frame_bytes_max: 1 << 20,
        message_bytes_max: 1 << 20,
        fragments_max: u32::MAX,
        compressed: false,
    };
    for (name, opcode) in [("text", Opcode::Text), ("binary", Opcode::Binary)] {
        for size in [64, 1024, 64 * 1024] {
            let (bytes, count) = frames(opcode, size);
            group.throughput(Throughput::Elements(count as u64));
            let id = format!("{name}/{size}");
            let (mut buffer, mut decoder) = (bytes.clone(), Decoder::default());
            group.bench_function(BenchmarkId::new("fanfare", &id), |b| {
                b.iter(|| {
                    buffer.copy_from_slice(&bytes);
                    let mut input = &mut buffer[..];
                    let mut messages = 0;
                    while let Some(event) = decoder.next(&rules, &mut input).expect("valid frames") {
                        messages += usize::from(matches!(black_box(event), Event::Message { .. }));
                    }
                    assert_eq!(messages, count);
                });
            });
            let peer = Endless { bytes: bytes.clone(), at: 0 };
            let mut socket = WebSocket::from_raw_socket(peer, tungstenite::protocol::Role::Server, None);
            group.bench_function(BenchmarkId::new("tungstenite", &id), |b| {
                b.iter(|| {
                    for _ in 0..count {
                        black_box(socket.read().expect("valid frames"));
                    }
                });
            });
        }
    }
    group.finish();
}

fn framing(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame");
    for size in [64u64, 1024, 64 * 1024] {
        group.bench_function(BenchmarkId::new("header", size), |b| {
            b.iter(|| frame::header(black_box(Opcode::Binary), true, black_box(size), None));
        });
    }
    let payload = [b'x'; 64];
    let mut out = Vec::with_capacity(128);
    group.bench_function("write masked/64", |b| {
        b.iter(|| {
            out.clear();
            frame::write(&mut out, Opcode::Binary, true, black_box(&payload), Some(KEY));
            black_box(&out);
        });
    });
    group.finish();
}

fn text(c: &mut Criterion) {
    let mut group = c.benchmark_group("utf8");
    let samples = [("ascii", "plain text ".repeat(372)), ("mixed", "Füße, 測試 and 🎺. ".repeat(160))];
    for (name, sample) in samples {
        let sample = &sample.as_bytes()[..sample.floor_char_boundary(4000)];
        group.throughput(Throughput::Bytes(sample.len() as u64));
        group.bench_function(BenchmarkId::new("whole", name), |b| {
            b.iter(|| Utf8::default().push(black_box(sample)));
        });
        group.bench_function(BenchmarkId::new("in pieces of 100", name), |b| {
            b.iter(|| {
                let mut utf8 = Utf8::default();
                black_box(sample).chunks(100).try_for_each(|piece| utf8.push(piece))
            });
        });
        group.bench_function(BenchmarkId::new("std", name), |b| {
            b.iter(|| std::str::from_utf8(black_box(sample)).is_ok());
        });
    }
    group.finish();
}

fn json(c: &mut Criterion) {
    let mut group = c.benchmark_group("stream");
    let object = br#"{"bid":101.25,"ask":101.5,"size":[10,20],"venue":"X","t":12345}"#;
    let mut out = Vec::with_capacity(256);
    for (name, kind) in [("json", Kind::Json), ("text", Kind::Text), ("binary", Kind::Binary)] {
        group.bench_function(BenchmarkId::new("write_data", name), |b| {
            b.iter(|| {
                out.clear();
                stream::write_data(
                    &mut out,
                    black_box("prices"),
                    black_box(123_456),
                    None,
                    kind,
                    black_box(object),
                );
                black_box(&out);
            });
        });
    }
    let subscribe = r#"{"op":"subscribe","args":["prices","trades"],"id":1}"#;
    group.bench_function("parse subscribe", |b| b.iter(|| stream::parse(black_box(subscribe))));
    group.finish();
}

fn handshake(c: &mut Criterion) {
    let request = b"GET /ws/prices HTTP/1.1\r\nHost: 127.0.0.1:9000\r\nUser-Agent: bench\r\nAccept: */*\r\n\
        Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let limits = HeadLimits::default();
    let mut out = Vec::with_capacity(256);
    c.bench_function("handshake/server", |b| {
        b.iter(|| {
            out.clear();
            let (request, _) = server::read_request(black_box(request), &limits)
                .unwrap_or_else(|_| panic!("a valid request"))
                .expect("a whole head");
            request.upgrade.expect("an upgrade").write_accept(&mut out, None, &[]);
            black_box(&out);
        });
    });
}

criterion_group! {
    name = wire;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    targets = masking, decoding, framing, text, json, handshake
}
criterion_main!(wire);
