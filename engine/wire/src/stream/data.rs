//! The messages of topics, as JSON. On the way of every publish: written once for all subscribers, and
//! straight into the buffer.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::Kind;
use crate::json::{write_number, write_string};
use crate::key::Key;

/// Appends a message of a topic.
///
/// A JSON payload is written as it is, so it must have passed [`is_json`](super::is_json); text becomes a
/// JSON string, and bytes a JSON string of base64, with `"encoding":"base64"` beside it. A tombstone has no
/// payload and says so; it must have a key.
pub fn write_data(out: &mut Vec<u8>, topic: &str, seq: u64, key: Option<&Key>, kind: Kind, payload: &[u8]) {
    debug_assert!(
        kind != Kind::Tombstone || (key.is_some() && payload.is_empty()),
        "a tombstone is a key and nothing else"
    );
    out.extend_from_slice(br#"{"topic":"#);
    write_string(out, topic);
    out.extend_from_slice(br#","seq":"#);
    write_number(out, seq);
    if let Some(key) = key {
        out.extend_from_slice(br#","key":"#);
        write_string(out, key);
    }
    match kind {
        Kind::Json => {
            out.extend_from_slice(br#","data":"#);
            out.extend_from_slice(payload);
        }
        Kind::Text => {
            out.extend_from_slice(br#","data":"#);
            match simdutf8::basic::from_utf8(payload) {
                Ok(text) => write_string(out, text),
                Err(_) => write_string(out, &String::from_utf8_lossy(payload)),
            }
        }
        Kind::Binary => {
            out.extend_from_slice(br#","data":""#);
            write_base64(out, payload);
            out.extend_from_slice(br#"","encoding":"base64""#);
        }
        Kind::Tombstone => out.extend_from_slice(br#","tombstone":true"#),
    }
    out.push(b'}');
}

fn write_base64(out: &mut Vec<u8>, payload: &[u8]) {
    let start = out.len();
    out.resize(start + payload.len().div_ceil(3) * 4, 0);
    BASE64_STANDARD.encode_slice(payload, &mut out[start..]).expect("four bytes for each three, rounded up");
}
