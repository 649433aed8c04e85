//! The responses to publishers that publish with HTTP requests (RFC 9112), on one connection, one after the other.

use std::mem;

/// The longest head of a response, and line of a chunked body.
const HEAD_BYTES_MAX: usize = 16 << 10;

const HEADERS_MAX: usize = 64;

/// How much of a body's first line is kept to be reported.
const LINE_BYTES_MAX: usize = 200;

/// A complete response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    /// Of the body.
    pub(super) first_line: &'a str,
    /// The server ends the connection after this response. There are servers that do so after each one: what is
    /// published next has to go over a new connection.
    pub(super) closes: bool,
}

/// Reads responses from bytes as they come, however they are split.
#[derive(Debug, Default)]
pub(super) struct Responses {
    stage: Stage,
    /// The beginning of a head or of a line of a chunked body, until the rest comes.
    begun: Vec<u8>,
    /// Of the response that is being read.
    status: u16,
    closes: bool,
    /// The beginning of its body.
    line: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Stage {
    #[default]
    Head,
    /// So many bytes of the body are still to come.
    Length(u64),
    /// The next line says how long a chunk is.
    ChunkSize,
    /// So many bytes of the chunk are still to come.
    Chunk(u64),
    /// The next line ends a chunk.
    ChunkEnd,
    /// Lines follow until an empty one.
    Trailer,
    /// The body ends with the connection.
    UntilEof,
}

impl Responses {
    /// Takes what the server sent, and tells each complete response.
    ///
    /// # Errors
    /// If it is not HTTP, in a sentence. Nothing more must be fed then.
    pub(super) fn feed(
        &mut self,
        mut input: &[u8],
        answered: &mut dyn FnMut(Answer<'_>),
    ) -> Result<(), &'static str> {
        while !input.is_empty() {
            let used = match self.stage {
                Stage::Head => self.read_head(input)?,
                Stage::Length(left) => self.read_body(input, left, Stage::Length),
                Stage::Chunk(left) => self.read_body(input, left, Stage::Chunk),
                Stage::ChunkSize | Stage::ChunkEnd | Stage::Trailer => self.read_line(input, answered)?,
                Stage::UntilEof => self.read_body(input, u64::MAX, |_| Stage::UntilEof),
            };
            input = &input[used..];
            match self.stage {
                Stage::Length(0) => self.complete(answered),
                Stage::Chunk(0) => self.stage = Stage::ChunkEnd,
                _ => {}
            }
        }
        Ok(())
    }

    /// The connection ended, which completes a response without a length.
    pub(super) fn finish(&mut self, answered: &mut dyn FnMut(Answer<'_>)) {
        if self.stage == Stage::UntilEof {
            self.complete(answered);
        }
    }

    fn complete(&mut self, answered: &mut dyn FnMut(Answer<'_>)) {
        let line = self.line.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        answered(Answer { status: self.status, first_line: line.trim_end(), closes: self.closes });
        self.line.clear();
        self.stage = Stage::Head;
    }

    /// Reads a head, or keeps what there is of it. Says how much of `input` belongs to it.
    fn read_head(&mut self, input: &[u8]) -> Result<usize, &'static str> {
        let before = self.begun.len();
        let mut begun = mem::take(&mut self.begun);
        let head = if before == 0 {
            input
        } else {
            begun.extend_from_slice(input);
            &begun
        };
        match parse_head(head)? {
            Some(parsed) => {
                self.status = parsed.status;
                self.closes = parsed.closes || parsed.stage == Stage::UntilEof;
                self.stage = parsed.stage;
                begun.clear();
                let used = parsed.len - before;
                self.begun = begun;
                Ok(used)
            }
            None if head.len() >= HEAD_BYTES_MAX => Err("the head of a response is longer than 16 KiB"),
            None => {
                if before == 0 {
                    begun.extend_from_slice(input);
                }
                self.begun = begun;
                Ok(input.len())
            }
        }
    }

    /// Takes at most `left` bytes of a body.
    fn read_body(&mut self, input: &[u8], left: u64, next: impl FnOnce(u64) -> Stage) -> usize {
        let used = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let room = LINE_BYTES_MAX - self.line.len();
        self.line.extend_from_slice(&input[..used.min(room)]);
        self.stage = next(left - used as u64);
        used
    }

    /// Reads one of the lines of a chunked body (section 7.1), or keeps what there is of it.
    fn read_line(
        &mut self,
        input: &[u8],
        answered: &mut dyn FnMut(Answer<'_>),
    ) -> Result<usize, &'static str> {
        let used = memchr::memchr(b'\n', input).map_or(input.len(), |at| at + 1);
        self.begun.extend_from_slice(&input[..used]);
        if self.begun.len() > HEAD_BYTES_MAX {
            return Err("a line of a chunked response is longer than 16 KiB");
        }
        if !self.begun.ends_with(b"\n") {
            return Ok(used);
        }
        let line = self.begun.strip_suffix(b"\r\n").ok_or("a line of a chunked response is malformed")?;
        match self.stage {
            Stage::ChunkSize => {
                let digits = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
                self.stage = match chunk_size(digits).ok_or("the size of a chunk is malformed")? {
                    0 => Stage::Trailer,
                    size => Stage::Chunk(size),
                };
            }
            Stage::ChunkEnd if line.is_empty() => self.stage = Stage::ChunkSize,
            Stage::ChunkEnd => return Err("a chunk is longer than it says"),
            _ if line.is_empty() => self.complete(answered),
            _ => {}
        }
        self.begun.clear();
        Ok(used)
    }
}

fn chunk_size(digits: &[u8]) -> Option<u64> {
    // A sign, which from_str_radix takes, is not one of them.
    let is_number = digits.iter().all(u8::is_ascii_hexdigit);
    std::str::from_utf8(digits).ok().filter(|_| is_number).and_then(|text| u64::from_str_radix(text, 16).ok())
}

struct Parsed {
    len: usize,
    status: u16,
    closes: bool,
    /// How the body begins; [`Stage::Head`] for interim responses (RFC 9110 section 15.2), which are not told.
    stage: Stage,
}

fn parse_head(head: &[u8]) -> Result<Option<Parsed>, &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let len = match response.parse(head) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err("a response has more than 64 headers"),
        Err(_) => return Err("the server does not answer in HTTP"),
    };
    let stage = match response.code {
        Some(101) => return Err("the server switched to another protocol, for which nobody asked"),
        Some(100..=199) => Stage::Head,
        Some(204 | 304) => Stage::Length(0),
        _ => framing(response.headers)?,
    };
    // Before HTTP/1.1 the end of the connection was the rule (section 9.3).
    let closes = response.version == Some(0) || elements(response.headers, "Connection").any(is_close);
    Ok(Some(Parsed { len, status: response.code.unwrap_or_default(), closes, stage }))
}

fn is_close(option: &[u8]) -> bool {
    option.eq_ignore_ascii_case(b"close")
}

/// The elements of a list over all header lines with this name (RFC 9110 section 5.6.1).
fn elements<'h>(headers: &'h [httparse::Header<'h>], name: &'static str) -> impl Iterator<Item = &'h [u8]> {
    let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    named.flat_map(|header| header.value.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
}

/// How the end of a body is found (section 6.3).
fn framing(headers: &[httparse::Header<'_>]) -> Result<Stage, &'static str> {
    if let Some(coding) = elements(headers, "Transfer-Encoding").last() {
        let is_chunked = coding.eq_ignore_ascii_case(b"chunked");
        return Ok(if is_chunked { Stage::ChunkSize } else { Stage::UntilEof });
    }
    let mut lengths = elements(headers, "Content-Length");
    let Some(length) = lengths.next() else { return Ok(Stage::UntilEof) };
    let is_number = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(length).ok().filter(|_| is_number).and_then(|text| text.parse().ok());
    match number {
        Some(number) if lengths.all(|other| other == length) => Ok(Stage::Length(number)),
        _ => Err("the length of a response is malformed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Read = (Vec<(u16, String)>, Result<(), &'static str>);

    fn read(pieces: &[&[u8]]) -> Read {
        let (mut seen, mut responses) = (Vec::new(), Responses::default());
        let mut answered = |answer: Answer<'_>| seen.push((answer.status, answer.first_line.to_owned()));
        let result = pieces.iter().try_for_each(|piece| responses.feed(piece, &mut answered));
        responses.finish(&mut answered);
        (seen, result)
    }

    #[track_caller]
    fn check(input: &str, expected: &[(u16, &str)]) {
        let expected: Vec<_> = expected.iter().map(|&(status, line)| (status, line.to_owned())).collect();
        assert_eq!(read(&[input.as_bytes()]), (expected.clone(), Ok(())), "{input}");
        let bytes: Vec<_> = input.as_bytes().chunks(1).collect();
        assert_eq!(read(&bytes), (expected, Ok(())), "{input} byte by byte");
    }

    const PIPELINED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\none\ntwo\r\n\
        HTTP/1.1 100 Continue\r\n\r\n\
        HTTP/1.1 204 No Content\r\n\r\n\
        HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: x\r\n\r\n\
        HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n\
        HTTP/1.1 503 Busy\r\nContent-Length: 4, 4\r\n\r\nlate";

    #[test]
    fn responses_of_all_kinds_follow_each_other() {
        check(PIPELINED, &[(200, "one"), (204, ""), (201, "abc0123456789"), (202, ""), (503, "late")]);
    }

    #[test]
    fn the_end_of_the_connection_can_be_the_end_of_a_body() {
        check("HTTP/1.0 400 Bad\r\n\r\nno\r\nsuch", &[(400, "no")]);
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n..", &[(200, "..")]);
        // One that was cut off is no response.
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", &[]);
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", &[]);
    }

    #[test]
    fn the_last_response_of_a_connection_is_told() {
        for (head, closes) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 0", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nconnection: Close", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, close", true),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0", true),
            ("HTTP/1.1 200 OK", true),
        ] {
            let mut seen = Vec::new();
            let (mut responses, mut answered) =
                (Responses::default(), |answer: Answer<'_>| seen.push(answer.closes));
            responses.feed(format!("{head}\r\n\r\n").as_bytes(), &mut answered).expect(head);
            responses.finish(&mut answered);
            assert_eq!(seen, [closes], "{head}");
        }
    }

    #[test]
    fn a_long_line_is_cut() {
        let body = "x".repeat(LINE_BYTES_MAX + 1000);
        let response = format!("HTTP/1.1 500 Oh\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        check(&response, &[(500, &body[..LINE_BYTES_MAX])]);
    }

    #[test]
    fn what_is_not_http_is_an_error() {
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(HEAD_BYTES_MAX));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (input, part) in [
            ("PING\r\n".to_owned(), "not answer in HTTP"),
            ("HTTP/1.1 101 Go\r\n\r\n".to_owned(), "another protocol"),
            (long, "longer than 16 KiB"),
            (format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(65)), "more than 64 headers"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(), "malformed"),
            ("HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n".to_owned(), "malformed"),
            (format!("{chunked}+1\r\na\r\n"), "size of a chunk"),
            (format!("{chunked}\r\n"), "size of a chunk"),
            (format!("{chunked}1\r\nab\r\n"), "longer than it says"),
            (format!("{chunked}1\nab\r\n"), "malformed"),
            (format!("{chunked}1;{}", "x".repeat(HEAD_BYTES_MAX)), "longer than 16 KiB"),
        ] {
            let (seen, result) = read(&[input.as_bytes()]);
            let reason = result.expect_err(&input);
            assert!(seen.is_empty() && reason.contains(part), "{input}: {reason}");
        }
    }

    proptest! {
        #[test]
        fn splits_change_nothing(mut cuts in proptest::collection::vec(0..=PIPELINED.len(), 0..8)) {
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&PIPELINED.as_bytes()[from..cut]);
                from = cut;
            }
            pieces.push(&PIPELINED.as_bytes()[from..]);
            prop_assert_eq!(read(&pieces), read(&[PIPELINED.as_bytes()]));
        }

        #[test]
        fn anything_at_all_is_read_without_a_panic(bytes: Vec<u8>, tail: Vec<u8>) {
            let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            let _ = read(&[&bytes, &tail]);
            let _ = read(&[chunked, &bytes, &tail]);
        }
    }
}
