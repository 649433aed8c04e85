//! How deliveries that look alike are recognised without parsing them.
//!
//! Between two deliveries to one subscriber only the payload and some numbers differ. So the first one is parsed, and
//! what stands around its payload is learnt: pieces of fixed bytes with numbers between them. A message of that shape
//! means the same, whatever its numbers are; any other one goes to the parser, which then teaches the new shape.

/// What surrounds the payload in one server's deliveries.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// The fixed bytes, one piece after the other.
    bytes: Vec<u8>,
    /// Where each piece ends. Between two pieces on the same side of the payload is a number.
    ends: Vec<u16>,
    /// How many pieces are before the payload; none when there is no shape yet.
    before: usize,
}

/// What is longer around its payload is not worth the memory of 100 000 subscribers.
const AROUND_BYTES_MAX: usize = 512;

impl Shape {
    /// The payload of a message of this shape, if it is one and its payload has no escapes.
    #[inline]
    pub(super) fn payload<'m>(&self, message: &'m [u8]) -> Option<&'m [u8]> {
        self.payload_after(b"", message).map(|(payload, _)| payload)
    }

    /// The same, with the number that follows `name` before the payload, if the shape has one there.
    #[inline]
    pub(super) fn payload_after<'m>(
        &self,
        name: &[u8],
        message: &'m [u8],
    ) -> Option<(&'m [u8], Option<u64>)> {
        let (before, after) =
            self.ends.split_at_checked(self.before).filter(|(before, _)| !before.is_empty())?;
        let (rest, number) = self.strip(0, before, name, message)?;
        let quote = memchr::memchr2(b'"', b'\\', rest)?;
        let (payload, rest) = rest.split_at(quote);
        let start = before.last().copied().unwrap_or_default();
        let is_whole = self.strip(start, after, name, rest)?.0.is_empty();
        // Control characters are for the parser to refuse.
        (is_whole && super::json::is_plain(payload)).then_some((payload, number))
    }

    /// Takes pieces off the front of `message`, with a number between two of them. Returns the rest and the
    /// last number that follows `name`.
    #[inline]
    fn strip<'m>(
        &self,
        mut start: u16,
        ends: &[u16],
        name: &[u8],
        mut message: &'m [u8],
    ) -> Option<(&'m [u8], Option<u64>)> {
        let (mut named, mut piece) = (None, &[][..]);
        for (index, &end) in ends.iter().enumerate() {
            if index > 0 {
                let (number, rest) = message.split_at(number_len(message)?);
                if piece.ends_with(name) {
                    named = Some(value(number)?);
                }
                message = rest;
            }
            piece = &self.bytes[usize::from(start)..usize::from(end)];
            message = message.strip_prefix(piece)?;
            start = end;
        }
        Some((message, named))
    }

    /// Learns the shape of `message`, which is a delivery of `payload`, where `payload` is a part of it that stands in a
    /// JSON string without escapes.
    pub(super) fn learn(&mut self, message: &[u8], payload: &[u8]) {
        self.before = 0;
        let start = (payload.as_ptr() as usize).wrapping_sub(message.as_ptr() as usize);
        let Some((before, rest)) = message.split_at_checked(start) else { return };
        let Some((_, after)) = rest.split_at_checked(payload.len()) else { return };
        let is_string = before.ends_with(b"\"") && after.starts_with(b"\"");
        // With escapes around, a quote could be a part of a name.
        let is_simple = !before.contains(&b'\\') && !after.contains(&b'\\');
        if !is_string || !is_simple || before.len() + after.len() > AROUND_BYTES_MAX {
            return;
        }
        self.bytes.clear();
        self.ends.clear();
        self.add(before);
        self.before = self.ends.len();
        self.add(after);
    }

    /// Adds one side of the payload, cut at its numbers.
    fn add(&mut self, mut side: &[u8]) {
        while let Some((piece_len, number_len)) = find_number(side) {
            self.push(&side[..piece_len]);
            side = &side[piece_len + number_len..];
        }
        self.push(side);
    }

    fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
        self.ends.push(self.bytes.len() as u16);
    }
}

const _: () = assert!(AROUND_BYTES_MAX <= u16::MAX as usize);

/// The first number that is a member's value: where it begins, and its length.
fn find_number(side: &[u8]) -> Option<(usize, usize)> {
    memchr::memmem::find_iter(side, b"\":").find_map(|at| {
        let start = at + 2;
        // A fraction, an exponent and a sign are left to exact comparison.
        let len = number_len(&side[start..])?;
        matches!(side.get(start + len), Some(b',' | b'}')).then_some((start, len))
    })
}

/// The length of the integer at the front of `text`, if there is one as JSON writes it.
#[inline]
fn number_len(text: &[u8]) -> Option<usize> {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (len == 1 || (len > 1 && text[0] != b'0')).then_some(len)
}

/// The value of digits, if it is not too large.
#[inline]
fn value(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shape of `message`, whose payload stands between braces of another kind here: `<` and `>`.
    fn learnt(marked: &str) -> Shape {
        let (start, end) = (marked.find('<').expect("a payload"), marked.find('>').expect("a payload"));
        let message = marked.replace(['<', '>'], "");
        let mut shape = Shape::default();
        shape.learn(message.as_bytes(), &message.as_bytes()[start..end - 1]);
        shape
    }

    #[track_caller]
    fn check(shape: &Shape, message: &str, payload: Option<&str>) {
        assert_eq!(shape.payload(message.as_bytes()), payload.map(str::as_bytes), "{message}");
    }

    #[test]
    fn only_payload_and_numbers_may_differ() {
        let shape = learnt(r#"{"topic":"room1","seq":7,"data":"<one>","offset":12,"x":0}"#);
        check(&shape, r#"{"topic":"room1","seq":7,"data":"one","offset":12,"x":0}"#, Some("one"));
        check(&shape, r#"{"topic":"room1","seq":1234,"data":"","offset":5,"x":9}"#, Some(""));
        for other in [
            r#"{"topic":"room2","seq":7,"data":"one","offset":12,"x":0}"#,
            r#"{"topic":"room1","seq":,"data":"one","offset":12,"x":0}"#,
            r#"{"topic":"room1","seq":07,"data":"one","offset":12,"x":0}"#,
            r#"{"topic":"room1","seq":-7,"data":"one","offset":12,"x":0}"#,
            r#"{"topic":"room1","seq":7,"data":"one\"","offset":12,"x":0}"#,
            "{\"topic\":\"room1\",\"seq\":7,\"data\":\"o\tne\",\"offset\":12,\"x\":0}",
            r#"{"topic":"room1","seq":7,"data":"one","offset":12,"x":0} "#,
            r#"{"topic":"room1","seq":7,"data":"one","offset":12}"#,
            r#"{"topic":"room1","seq":7,"data":"one"#,
            "",
        ] {
            check(&shape, other, None);
        }
    }

    #[test]
    fn a_number_inside_a_string_is_compared_exactly() {
        let shape = learnt(r#"{"a":"b:1,","data":"<x>"}"#);
        check(&shape, r#"{"a":"b:1,","data":"y"}"#, Some("y"));
        check(&shape, r#"{"a":"b:2,","data":"y"}"#, None);
    }

    #[test]
    fn the_number_is_the_one_behind_its_name() {
        for (marked, message, number) in [
            (r#"{"seq":1,"data":"<x>"}"#, r#"{"seq":41,"data":"y"}"#, Some(41)),
            (
                r#"{"seq":1,"at":2,"data":"<x>"}"#,
                r#"{"seq":18446744073709551615,"at":9,"data":"y"}"#,
                Some(u64::MAX),
            ),
            (r#"{"at":2,"data":"<x>"}"#, r#"{"at":9,"data":"y"}"#, None),
            (r#"{"data":"<x>","seq":1}"#, r#"{"data":"y","seq":2}"#, None),
        ] {
            let seen = learnt(marked).payload_after(br#""seq":"#, message.as_bytes());
            assert_eq!(seen, Some((&b"y"[..], number)), "{message}");
        }
        let too_large = br#"{"seq":18446744073709551616,"data":"y"}"#;
        assert_eq!(learnt(r#"{"seq":1,"data":"<x>"}"#).payload_after(br#""seq":"#, too_large), None);
    }

    #[test]
    fn nothing_is_learnt_from_what_could_mislead() {
        let long = format!(r#"{{"a":"{}","data":"<x>"}}"#, "y".repeat(AROUND_BYTES_MAX));
        for marked in [r#"{"topic":"a\":1,","data":"<x>"}"#, r#"{"data":<17>}"#, &long] {
            let shape = learnt(marked);
            check(&shape, &marked.replace(['<', '>'], ""), None);
        }
        let mut shape = Shape::default();
        shape.learn(br#"{"data":"x"}"#, b"elsewhere");
        check(&shape, r#"{"data":"x"}"#, None);
    }
}
