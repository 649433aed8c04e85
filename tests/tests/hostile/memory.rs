//! A server that may not have much memory, and peers that claim to send a lot.

use fanfare_tests::program::Program;
use fanfare_tests::raw::{BINARY, CONTINUATION, Raw, client_frame, head};

use crate::{FIN, NEVER_MS, Scene};

const MIB: u64 = 1 << 20;

/// Fits the fixed buffers and what peers have really sent, and not one of the messages that they claim to send.
const DATA_BYTES_MAX: u64 = 160 * MIB;

const MESSAGE_BYTES_MAX: u64 = 200 * MIB;

#[test]
fn claims_of_length_take_no_memory() {
    const PEERS: usize = 300;
    const SENT: usize = 10_000;
    let flags = format!(
        "--shards 2 --frame-bytes-max {MESSAGE_BYTES_MAX} --message-bytes-max {MESSAGE_BYTES_MAX} \
         --inbox-bytes-max {MESSAGE_BYTES_MAX} --unfinished-bytes-max {MESSAGE_BYTES_MAX} --head-bytes-max 67108864 --handshake-timeout-ms {NEVER_MS}"
    );
    let mut scene = Scene::new(Program::start_in_memory(DATA_BYTES_MAX, &flags));
    let resident = scene.program.resident_bytes();
    let mut raws = Vec::new();
    let claim =
        [&[FIN | BINARY, 0xFF][..], &MESSAGE_BYTES_MAX.to_be_bytes(), &[0; 4], &[b'x'; SENT]].concat();
    let fragments = [client_frame(BINARY, &[b'x'; SENT]), client_frame(CONTINUATION, b"x")].concat();
    for path in ["/ws/t", "/pub/t", "/stream"] {
        for bytes in [&claim, &fragments] {
            for _ in 0..PEERS / 6 {
                let raw = scene.program.connect(path);
                raw.write(bytes);
                raws.push(raw);
            }
        }
    }
    let half = head("/ws/t").len() / 2;
    for _ in 0..PEERS / 3 {
        let raw = Raw::tcp(scene.program.addr());
        raw.write(&head("/ws/t")[..half]);
        raws.push(raw);
    }
    let received = PEERS as u64 * SENT as u64;
    scene.program.wait_for("received_bytes", |count| count > received);
    scene.witnesses.check();
    let grown = scene.program.resident_bytes().saturating_sub(resident);
    assert!(grown < 4 * received + 8 * MIB, "{grown} bytes for {received} received");
    // One of them meant it, as far as memory goes; it is as good as the others.
    let mut reader = scene.program.connect("/ws/long");
    let writer = scene.program.connect("/pub/long");
    let long = vec![b'y'; 8 << 20];
    writer.send(BINARY, &long);
    assert!(reader.message().payload == long, "a long message that fits");
    reader.close();
    writer.close();
    drop(raws);
    scene.end();
}
