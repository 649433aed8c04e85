//! Messages that come compressed (RFC 7692). Each is compressed for itself, so one inflater serves all connections, and
//! none of them holds memory for it.

use fanfare_io::Driver;
use fanfare_wire::close::CloseCode;
use fanfare_wire::deflate::Inflater;
use fanfare_wire::text::is_utf8;

use super::Shard;

/// A buffer beyond this size is given back after use.
const KEPT_BYTES: usize = 256 * 1024;

/// What inflating needs from one message to the next. It is made when the first one comes.
#[derive(Debug, Default)]
pub(super) struct Inflation {
    inflater: Option<Box<Inflater>>,
    /// The message as it was before it was compressed.
    message: Vec<u8>,
}

impl<D: Driver> Shard<D> {
    /// Acts on one whole compressed message of a client.
    pub(super) fn compressed_message(&mut self, slot: u32, text: bool, payload: &[u8]) {
        let mut message = std::mem::take(&mut self.inflation.message);
        message.clear();
        let bytes_max = self.config().message_bytes_max;
        let inflater = self.inflation.inflater.get_or_insert_with(|| Box::new(Inflater::new()));
        match inflater.inflate(payload, bytes_max, &mut message) {
            Err(error) => self.fail(slot, error.close_code(), error.reason()),
            Ok(()) if text && !is_utf8(&message) => {
                self.fail(slot, CloseCode::INVALID_DATA, "a text message is not UTF-8");
            }
            Ok(()) => {
                self.stats.inflated_bytes.add(message.len() as u64);
                self.message(slot, text, &message);
            }
        }
        if message.capacity() <= KEPT_BYTES {
            self.inflation.message = message;
        }
    }
}
