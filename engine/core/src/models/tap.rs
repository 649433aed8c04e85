use std::sync::Arc;

use fanfare_wire::subscribe::{Epoch, Start};
use loom::thread;

use super::Bell;
use crate::log::{LogLimits, LogWriter};
use crate::tap::{Tap, TapEvent, TapSignal};

fn frame(text: u8) -> [u8; 3] {
    // A text frame of one byte.
    [0x81, 1, text]
}

/// A home shard appends `count` messages and closes the log, telling the tap each time; a reader waits for all of it.
fn read_to_the_end(count: u8) {
    loom::model(move || {
        let limits = LogLimits { log_bytes_max: 1 << 20, segment_bytes_max: 256 };
        let mut writer = LogWriter::new(limits, Epoch(1), 1, 1, Arc::default());
        writer.append(&[&frame(b'0')]);
        let bell = Arc::<Bell>::default();
        let signal = TapSignal::new(bell.clone());
        let mut tap = Tap::new(writer.log().clone(), Start::Head, signal.clone());
        let home = thread::spawn(move || {
            for number in 1..=count {
                writer.append(&[&frame(b'0' + number)]);
                signal.signal();
            }
            writer.log().close();
            signal.signal();
        });
        let mut seen = 0;
        loop {
            match tap.poll() {
                Some(TapEvent::Message { seq, payload, .. }) => {
                    seen += 1;
                    assert_eq!((seq, &payload[..]), (u64::from(seen) + 1, &[b'0' + seen][..]));
                }
                Some(TapEvent::Gap { .. }) => panic!("nothing was dropped"),
                Some(TapEvent::Closed) => break,
                None => bell.wait(),
            }
        }
        assert_eq!(seen, count, "the end came before what was appended ahead of it");
        home.join().expect("the home shard");
    });
}

#[test]
fn no_message_is_slept_through() {
    read_to_the_end(2);
}

#[test]
fn the_end_comes_after_the_last_message() {
    read_to_the_end(1);
}
