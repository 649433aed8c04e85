//! Bytes to acts.
//!
//! The first byte is the setting: bit 0 for a second shard, bit 1 for a network with faults, bits 2 and 3 for the size of
//! the windows. The second is the seed of all chance. Then come acts: a byte with the act in its low five bits (beyond the
//! last one they begin again) and the peer in its high three, and the act's arguments, a byte each. Arguments that are
//! missing are 0, so every input is a script.

/// Under what circumstances a script is played.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) shards: usize,
    pub(crate) faults: bool,
    pub(crate) window_bytes: usize,
    pub(crate) seed: u8,
}

/// One thing that happens. The number before each is its place in the five bits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act<'a> {
    /// 0 *shard*: connects, in place of whoever was this peer before.
    Connect { peer: usize, shard: usize },
    /// 1 *cut* *length* bytes: sends bytes as they are. After the first *cut* of them the shards turn; 0: no cut.
    Bytes { peer: usize, cut: usize, bytes: &'a [u8] },
    /// 2 *request* *cut*: sends one of [`PATHS`]' requests.
    Request { peer: usize, path: &'static str, cut: usize },
    /// 3 *first* *cut* *length* bytes: sends a masked frame with this first byte.
    Frame { peer: usize, first: u8, cut: usize, payload: &'a [u8] },
    /// 4 *first* *length* (two bytes): sends a masked frame with a payload of so many `x`.
    Filler { peer: usize, first: u8, len: usize },
    /// 5 *text*: sends one of [`TEXTS`].
    Text { peer: usize, text: &'static str },
    /// 6: sends FIN.
    Finish { peer: usize },
    /// 7: breaks the connection.
    Reset { peer: usize },
    /// 8: closes its socket as a program's exit does.
    Leave { peer: usize },
    /// 9: reads no more, or again.
    Stall { peer: usize },
    /// 10 *count*: reads 16 times so many bytes, although it is stalled.
    Sip { peer: usize, bytes: usize },
    /// 11: answers the last ping, and the close frame.
    Answer { peer: usize },
    /// 12 *how long*: lets time pass.
    Pass { ms: u64 },
    /// 13 *what* *length*: publishes from outside.
    Publish { what: u8, len: usize },
    /// 14 *count*: turns shards by chance, and nobody reads.
    Turn { count: usize },
    /// 15: turns and reads until nothing happens any more, and looks at everything.
    Rest,
    /// 16 *window*: how much may lie unread before this peer.
    Window { peer: usize, bytes: usize },
    /// 17 *how long*: shuts the engine down.
    Shutdown { grace_ms: u64 },
}

const ACTS: u8 = 18;

/// What clients ask for. The witnesses have the topics `a` and `b`.
pub(crate) const PATHS: [&str; 16] = [
    "/ws/a",
    "/pub/a",
    "/stream",
    "/stream?topics=a,b",
    "/ws/a?last=3&policy=latest",
    "/ws/b?snapshot=true&policy=conflate",
    "/ws/b?max_rate=20&snapshot=true",
    "/ws/a?policy=skip",
    "/pub/b?key=k",
    "/pub/a?data=json",
    "/ws/c?key=q&data=json",
    "/ws/d",
    "/ws/e%20f",
    "/ws/a?since=1&epoch=0123456789abcdef",
    "/nowhere",
    "/stream?topics=a,b,c,d",
];

/// What clients of `/stream` say.
pub(crate) const TEXTS: [&str; 16] = [
    r#"{"op":"subscribe","args":["a"],"id":1}"#,
    r#"{"op":"subscribe","args":["a","b","c"]}"#,
    r#"{"op":"subscribe","args":[{"topic":"b","snapshot":true,"policy":"conflate","presence":true}]}"#,
    r#"{"op":"subscribe","args":[{"topic":"a","last":5,"policy":"latest"}],"id":"x"}"#,
    r#"{"op":"subscribe","args":[{"topic":"b","max_rate":5,"snapshot":true}]}"#,
    r#"{"op":"unsubscribe","args":["a"]}"#,
    r#"{"op":"unsubscribe","args":["a","b","c"],"id":2}"#,
    r#"{"op":"publish","args":{"topic":"a","data":{"n":[1,2,3]}},"id":3}"#,
    r#"{"op":"publish","args":{"topic":"b","key":"k","data":"v"}}"#,
    r#"{"op":"publish","args":{"topic":"b","key":"l","data":1.5e3}}"#,
    r#"{"op":"publish","args":{"topic":"b","key":"k","tombstone":true},"id":4}"#,
    r#"{"op":"publish","args":{"topic":"g","data":null}}"#,
    r#"{"op":"list","id":5}"#,
    r#"{"op":"ping"}"#,
    r#"{"op":"dance"}"#,
    r#"{"op":"subscribe","args":[{"topic":"c","since":0,"epoch":"0000000000000000"}]}"#,
];

/// Reads the setting; what follows it are acts.
pub(crate) fn read(input: &[u8]) -> Option<(Setting, Acts<'_>)> {
    let [flags, seed, acts @ ..] = input else { return None };
    let setting = Setting {
        shards: 1 + usize::from(flags & 1),
        faults: flags & 2 != 0,
        window_bytes: [512, 2048, 8192, 65_536][usize::from(flags >> 2 & 3)],
        seed: *seed,
    };
    Some((setting, Acts(acts)))
}

/// What is left of a script.
#[derive(Debug)]
pub(crate) struct Acts<'a>(&'a [u8]);

impl<'a> Acts<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    /// A length and as many bytes as there are of it.
    fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }
}

impl<'a> Iterator for Acts<'a> {
    type Item = Act<'a>;

    fn next(&mut self) -> Option<Act<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let act = self.byte();
        let peer = usize::from(act >> 5);
        Some(match (act & 0x1f) % ACTS {
            0 => Act::Connect { peer, shard: usize::from(self.byte()) },
            1 => Act::Bytes { peer, cut: usize::from(self.byte()), bytes: self.bytes() },
            2 => Act::Request { peer, path: self.one_of(&PATHS), cut: usize::from(self.byte()) },
            3 => {
                Act::Frame { peer, first: self.byte(), cut: usize::from(self.byte()), payload: self.bytes() }
            }
            4 => {
                let first = self.byte();
                let len = u16::from_be_bytes([self.byte(), self.byte()]);
                Act::Filler { peer, first, len: usize::from(len) % 5000 }
            }
            5 => Act::Text { peer, text: self.one_of(&TEXTS) },
            6 => Act::Finish { peer },
            7 => Act::Reset { peer },
            8 => Act::Leave { peer },
            9 => Act::Stall { peer },
            10 => Act::Sip { peer, bytes: 16 * usize::from(self.byte()) },
            11 => Act::Answer { peer },
            12 => Act::Pass { ms: self.one_of(&[1, 10, 50, 150, 250, 900]) },
            13 => Act::Publish { what: self.byte(), len: usize::from(self.byte()) },
            14 => Act::Turn { count: 1 + usize::from(self.byte() % 16) },
            15 => Act::Rest,
            16 => Act::Window { peer, bytes: self.one_of(&[0, 1, 100, 4096]) },
            _ => Act::Shutdown { grace_ms: self.one_of(&[0, 50, 2000]) },
        })
    }
}
