//! Byte streams that come in WebSocket messages: a protocol message can be split over several of them, and several can
//! share one.

use memchr::memchr;

use super::Heard;

/// Messages of other publishers on the same topic may be larger than ours.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A server's introduction can name a whole cluster.
const LINE_BYTES_MAX: usize = 64 << 10;

/// A buffer larger than this is given back when it is empty.
const KEPT_BYTES_MAX: usize = 4 << 10;

/// What a parser says of the bytes from the beginning of a protocol message on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Parsed {
    /// It was one message of so many bytes, and has been dealt with.
    Took(usize),
    /// More is needed, and its end is not known yet.
    Needs(Need),
    /// This is not the protocol, and why.
    Broken(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Need {
    /// Everything up to the next line feed.
    Line,
    /// So many bytes from the message's beginning on, all of which belong to it.
    Bytes(usize),
}

/// Keeps the beginning of a message until the rest of it comes. Messages that are whole are not copied.
#[derive(Debug)]
pub(super) struct Splice {
    begun: Vec<u8>,
    need: Need,
    /// Nothing that comes is looked at any more.
    is_broken: bool,
}

impl Splice {
    pub(super) fn new() -> Self {
        Self { begun: Vec::new(), need: Need::Line, is_broken: false }
    }

    /// Hands every whole message to `parse`, until something makes no sense: then the connection is refused, once.
    pub(super) fn hear(
        &mut self,
        input: &[u8],
        heard: &mut dyn FnMut(Heard<'_>),
        mut parse: impl FnMut(&[u8], &mut dyn FnMut(Heard<'_>)) -> Parsed,
    ) {
        if self.is_broken {
            return;
        }
        if let Err(reason) = self.feed(input, |input| parse(input, heard)) {
            self.is_broken = true;
            heard(Heard::Refused(reason.to_owned()));
        }
    }

    /// Hands every whole message to `parse`, and keeps what remains.
    ///
    /// # Errors
    /// What `parse` said is broken, or a message beyond the limits. Nothing more must be fed then.
    fn feed(&mut self, mut input: &[u8], mut parse: impl FnMut(&[u8]) -> Parsed) -> Result<(), &'static str> {
        while !input.is_empty() {
            if self.begun.is_empty() {
                match parse(input) {
                    Parsed::Took(used) => input = &input[used..],
                    Parsed::Needs(need) => return self.keep(input, need),
                    Parsed::Broken(reason) => return Err(reason),
                }
                continue;
            }
            let (wanted, is_enough) = self.wanted(input);
            let (more, rest) = input.split_at(wanted);
            input = rest;
            if !is_enough {
                return self.keep(more, self.need);
            }
            self.begun.extend_from_slice(more);
            match parse(&self.begun) {
                // It asked for no byte too many.
                Parsed::Took(_) => {
                    self.begun.clear();
                    self.begun.shrink_to(KEPT_BYTES_MAX);
                }
                Parsed::Needs(need) => self.keep(&[], need)?,
                Parsed::Broken(reason) => return Err(reason),
            }
        }
        Ok(())
    }

    /// How many bytes of `input` belong to what is needed, and whether that is all of it.
    fn wanted(&self, input: &[u8]) -> (usize, bool) {
        match self.need {
            Need::Line => memchr(b'\n', input).map_or((input.len(), false), |at| (at + 1, true)),
            Need::Bytes(total) => {
                let missing = total.saturating_sub(self.begun.len());
                (missing.min(input.len()), missing <= input.len())
            }
        }
    }

    fn keep(&mut self, more: &[u8], need: Need) -> Result<(), &'static str> {
        self.begun.extend_from_slice(more);
        self.need = need;
        match need {
            Need::Line if self.begun.len() > LINE_BYTES_MAX => Err("a line is longer than 64 KiB"),
            Need::Bytes(total) if total > MESSAGE_BYTES_MAX => Err("a message is longer than 64 MiB"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages are a digit and so many bytes behind it, or lines that begin with a letter.
    fn parse(input: &[u8], seen: &mut Vec<String>) -> Parsed {
        let total = match input[0] {
            b'!' => return Parsed::Broken("an exclamation mark"),
            b'^' => return Parsed::Needs(Need::Bytes(usize::MAX)),
            digit @ b'0'..=b'9' => usize::from(digit - b'0') + 1,
            _ => match memchr(b'\n', input) {
                Some(at) => at + 1,
                None => return Parsed::Needs(Need::Line),
            },
        };
        let Some(message) = input.get(..total) else { return Parsed::Needs(Need::Bytes(total)) };
        seen.push(String::from_utf8_lossy(message).into_owned());
        Parsed::Took(total)
    }

    fn fed(pieces: &[&[u8]]) -> (Vec<String>, Result<(), &'static str>) {
        let (mut seen, mut splice) = (Vec::new(), Splice::new());
        let result = pieces.iter().try_for_each(|piece| splice.feed(piece, |input| parse(input, &mut seen)));
        (seen, result)
    }

    #[test]
    fn every_split_in_three_gives_the_same_messages() {
        let stream = b"3abcline\n0x\n5a\nbcdend\n";
        let expected = ["3abc", "line\n", "0", "x\n", "5a\nbcd", "end\n"].map(str::to_owned).to_vec();
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(fed(&pieces), (expected.clone(), Ok(())), "{first} {second}");
            }
        }
        let bytes: Vec<_> = stream.chunks(1).collect();
        assert_eq!(fed(&bytes).0, expected);
    }

    #[test]
    fn what_is_too_long_or_broken_ends_it() {
        let long = [b'x'; 1000];
        let pieces = vec![&long[..]; 66];
        assert_eq!(fed(&pieces), (vec![], Err("a line is longer than 64 KiB")));
        assert_eq!(fed(&[b"^"]), (vec![], Err("a message is longer than 64 MiB")));
        assert_eq!(fed(&[b"1a!1b"]), (vec!["1a".to_owned()], Err("an exclamation mark")));
    }
}
