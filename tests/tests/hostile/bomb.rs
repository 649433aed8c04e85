//! Compressed messages that are far longer than they look (RFC 7692).

use std::thread;

use fanfare_tests::raw::{BINARY, CONTINUATION, Raw, client_frame, head_with};

use crate::{FIN, Scene};

const MIB: usize = 1 << 20;

/// The first bit behind FIN: the message is compressed.
const RSV1: u8 = 0x40;

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; \
                     server_no_context_takeover\r\n";

/// Bits as RFC 1951 packs them: into each byte from its least significant bit on.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    /// Appends the lowest `count` bits of a code, its highest one first.
    fn code(&mut self, code: u16, count: usize) {
        for bit in (0..count).rev() {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().expect("a byte") |= ((code >> bit & 1) as u8) << (self.count % 8);
            self.count += 1;
        }
    }
}

/// So many equal bytes as a compressed message: one block with fixed codes (RFC 1951 section 3.2.6), 158 times shorter.
fn bomb(len: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    // Not the last block; fixed codes. Numbers stand with their lowest bit first.
    bits.code(0b010, 3);
    let (matches, literals) = ((len - 1) / 258, (len - 1) % 258 + 1);
    for _ in 0..literals {
        bits.code(0x30 + u16::from(b'x'), 8);
    }
    for _ in 0..matches {
        // 258 bytes, from one byte back.
        bits.code(0b1100_0101, 8);
        bits.code(0, 5);
    }
    // The end of the block; then the head of an empty stored block, whose four bytes are left away (RFC 7692 section
    // 7.2.1).
    bits.code(0, 7);
    bits.code(0, 3);
    bits.bytes
}

/// A client whose messages may be compressed.
fn connect(scene: &Scene) -> Raw {
    let mut raw = Raw::tcp(scene.program.addr());
    raw.write(&head_with("/pub/bombs", OFFER));
    let answer = raw.read_head();
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains("permessage-deflate"), "{answer}");
    raw
}

#[test]
fn a_bomb_is_closed_with_1009_before_it_has_gone_off() {
    const PEERS: usize = 30;
    let mut scene = Scene::start("--shards 2 --receive-buffers-max 64");
    let mut reader = scene.program.connect("/ws/bombs");
    // As long as a message may be is no bomb.
    let raw = connect(&scene);
    raw.write(&client_frame(FIN | RSV1 | BINARY, &bomb(MIB)));
    assert!(reader.message().payload == vec![b'x'; MIB], "a long message arrives");
    raw.close();
    let resident = scene.program.resident_bytes();
    let inflated = scene.program.count("inflated_bytes");
    // 100 MiB in one frame below the limit, and in two.
    let bomb = bomb(100 * MIB);
    let (first, second) = bomb.split_at(bomb.len() / 2);
    let fragments = [client_frame(RSV1 | BINARY, first), client_frame(FIN | CONTINUATION, second)].concat();
    let attacks = [client_frame(FIN | RSV1 | BINARY, &bomb), fragments];
    thread::scope(|scope| {
        for peer in 0..PEERS {
            let (mut raw, attack) = (connect(&scene), &attacks[peer % 2]);
            scope.spawn(move || {
                raw.write(attack);
                assert_eq!(raw.expect_close(), 1009);
            });
        }
        scene.witnesses.check();
    });
    let metrics = scene.program.metrics();
    assert_eq!(metrics["protocol_errors"], PEERS as u64);
    // A little more than a message may be was made of each, and nothing was kept.
    let made = metrics["inflated_bytes"] - inflated;
    assert!(made <= (PEERS * (MIB + MIB / 8)) as u64, "{made} bytes were inflated");
    let grown = scene.program.resident_bytes().saturating_sub(resident);
    assert!(grown < 16 << 20, "{grown} bytes are kept");
    reader.close();
    scene.end();
}
