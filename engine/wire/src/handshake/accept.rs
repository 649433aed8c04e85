//! Sec-WebSocket-Key and Sec-WebSocket-Accept (RFC 6455 section 4.2.2 step 5).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha1::{Digest, Sha1};

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Sixteen bytes as base64.
pub(super) const KEY_LEN: usize = 24;
/// The twenty bytes of a SHA-1 digest as base64.
pub(super) const ACCEPT_LEN: usize = 28;

/// The answer to a key: base64 of the SHA-1 digest of the key, as it was sent, and a fixed GUID.
pub(super) fn accept(key: &[u8]) -> [u8; ACCEPT_LEN] {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut accept = [0; ACCEPT_LEN];
    let len = BASE64_STANDARD.encode_slice(digest, &mut accept).expect("28 bytes hold 20 as base64");
    debug_assert_eq!(len, ACCEPT_LEN);
    accept
}

/// The key for a client's nonce.
pub(super) fn key(nonce: [u8; 16]) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    let len = BASE64_STANDARD.encode_slice(nonce, &mut key).expect("24 bytes hold 16 as base64");
    debug_assert_eq!(len, KEY_LEN);
    key
}

/// Whether a client's key is the base64 of sixteen bytes (section 4.2.1 item 5).
pub(super) fn is_key(key: &[u8]) -> bool {
    let mut nonce = [0; 18];
    key.len() == KEY_LEN && BASE64_STANDARD.decode_slice(key, &mut nonce) == Ok(16)
}
