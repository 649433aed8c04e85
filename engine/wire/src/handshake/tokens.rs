//! Header values that are lists (RFC 9110 section 5.6), over one or several header lines.

/// An extension, offered or accepted, with its parameters in order (RFC 6455 section 9.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Such as `permessage-deflate`.
    pub name: String,
    /// Names, and values where there are any, without quotes.
    pub params: Vec<(String, Option<String>)>,
}

/// Whether `byte` may stand in a token (RFC 9110 section 5.6.2).
pub(super) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().copied().all(is_token_byte)
}

/// Removes optional white space, which is spaces and tabs (RFC 9110 section 5.6.3).
pub(super) fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &value[start..end]
}

/// The values of all header lines with this name, in order.
pub(super) fn values<'h, 'b>(
    headers: &'h [httparse::Header<'b>],
    name: &'static str,
) -> impl Iterator<Item = &'b [u8]> + use<'h, 'b> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| trim(header.value))
}

/// The elements of a list over all header lines with this name. Empty elements are skipped (RFC 9110
/// section 5.6.1.2).
pub(super) fn elements<'h, 'b>(
    headers: &'h [httparse::Header<'b>],
    name: &'static str,
) -> impl Iterator<Item = &'b [u8]> + use<'h, 'b> {
    values(headers, name)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(trim)
        .filter(|element| !element.is_empty())
}

/// Whether the list has this element, in any case.
pub(super) fn lists(headers: &[httparse::Header<'_>], name: &'static str, element: &str) -> bool {
    elements(headers, name).any(|found| found.eq_ignore_ascii_case(element.as_bytes()))
}

/// The value of a header that occurs at most once.
pub(super) fn single<'b>(
    headers: &[httparse::Header<'b>],
    name: &'static str,
) -> Result<Option<&'b [u8]>, Repeated> {
    let mut values = values(headers, name);
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(Repeated),
    }
}

/// A header that must occur once occurs several times.
#[derive(Debug)]
pub(super) struct Repeated;

/// A Sec-WebSocket-Extensions value that does not follow its grammar.
#[derive(Debug)]
pub(super) struct BadExtensions;

/// Reads one Sec-WebSocket-Extensions value and appends what it lists (RFC 6455 section 9.1).
pub(super) fn parse_extensions(value: &[u8], found: &mut Vec<Extension>) -> Result<(), BadExtensions> {
    let mut rest = Cursor(value);
    loop {
        rest.skip_space();
        if rest.0.is_empty() {
            return Ok(());
        }
        if rest.take(b',') {
            continue;
        }
        let mut extension = Extension { name: rest.token().ok_or(BadExtensions)?, params: Vec::new() };
        rest.skip_space();
        while rest.take(b';') {
            rest.skip_space();
            let name = rest.token().ok_or(BadExtensions)?;
            rest.skip_space();
            let value = if rest.take(b'=') {
                rest.skip_space();
                Some(rest.token_or_quoted().ok_or(BadExtensions)?)
            } else {
                None
            };
            extension.params.push((name, value));
            rest.skip_space();
        }
        found.push(extension);
        if !rest.0.is_empty() && !rest.take(b',') {
            return Err(BadExtensions);
        }
    }
}

/// The part of a header value that has not been read.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn skip_space(&mut self) {
        while self.take(b' ') || self.take(b'\t') {}
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.0.first() == Some(&byte);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }

    fn token(&mut self) -> Option<String> {
        let len = self.0.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(len);
        self.0 = rest;
        // Token bytes are ASCII.
        if token.is_empty() { None } else { Some(token.iter().copied().map(char::from).collect()) }
    }

    /// A quoted value has to be a token once its quotes and backslashes are gone (RFC 6455 section 9.1).
    fn token_or_quoted(&mut self) -> Option<String> {
        if !self.take(b'"') {
            return self.token();
        }
        let mut value = String::new();
        loop {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let byte = match byte {
                b'"' => return if value.is_empty() { None } else { Some(value) },
                b'\\' => {
                    let (&escaped, rest) = self.0.split_first()?;
                    self.0 = rest;
                    escaped
                }
                byte => byte,
            };
            if !is_token_byte(byte) {
                return None;
            }
            value.push(char::from(byte));
        }
    }
}
