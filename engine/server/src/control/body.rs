//! The body of a publish: which messages it is, by its content type.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use fanfare_core::Message;
use fanfare_wire::{Kind, stream};
use serde::de::IgnoredAny;

use super::error::ApiError;
use super::keys::Keys;

/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How a body becomes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// One message of this kind.
    One(Kind),
    /// A JSON message on each line that is not blank.
    Lines,
}

impl Format {
    /// Reads the content type and encoding of a request.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let refuse = |message| {
            Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message))
        };
        if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
            return refuse("A body with a Content-Encoding is not accepted; send it as it is.");
        }
        let content_type =
            headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let mut parts = content_type.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or("").to_ascii_lowercase();
        let format = match media_type.as_str() {
            "application/x-ndjson" => Self::Lines,
            "application/json" => Self::One(Kind::Json),
            "application/octet-stream" => Self::One(Kind::Binary),
            structured if structured.starts_with("application/") && structured.ends_with("+json") => {
                Self::One(Kind::Json)
            }
            text if text.starts_with("text/") => Self::One(Kind::Text),
            _ => {
                return refuse(
                    "Say with Content-Type what the body is: application/json, text/plain, \
                     application/octet-stream, or application/x-ndjson for a JSON message on each line.",
                );
            }
        };
        let charset = parts
            .filter_map(|part| part.split_once('='))
            .find(|(name, _)| name.eq_ignore_ascii_case("charset"));
        let is_utf8 = |charset: &str| {
            ["utf-8", "utf8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known))
        };
        match charset {
            Some((_, charset)) if !is_utf8(charset.trim_matches('"')) => refuse("Text has to be in UTF-8."),
            _ => Ok(format),
        }
    }

    /// Checks every message of a body and its key, and counts them.
    pub(super) fn check(self, body: &Bytes, keys: &Keys, message_bytes_max: usize) -> Result<u64, ApiError> {
        match self {
            Self::One(kind) => {
                check_one(kind, body)?;
                let bad_key = |fault| ApiError::bad_request("bad_key", format!("The body {fault}."));
                keys.key(body).map_err(bad_key)?;
                Ok(1)
            }
            Self::Lines => {
                let mut count = 0;
                for (number, line) in lines(body) {
                    check_line(number, &line, keys, message_bytes_max)?;
                    count += 1;
                }
                if count == 0 {
                    return Err(ApiError::bad_request("no_message", "The body has no line with a message."));
                }
                Ok(count)
            }
        }
    }

    /// The messages of a body that was checked, with the numbers of their lines. They share its memory.
    pub(super) fn messages<'a>(
        self,
        body: &'a Bytes,
        keys: &'a Keys,
    ) -> impl Iterator<Item = (u64, Message)> + 'a {
        let (kind, one, lines) = match self {
            Self::One(kind) => (kind, Some((1, body.clone())), None),
            Self::Lines => (Kind::Json, None, Some(lines(body))),
        };
        one.into_iter().chain(lines.into_iter().flatten()).map(move |(number, payload)| {
            let key = keys.key(&payload).expect("every key was checked");
            (number, Message { kind, key, payload })
        })
    }
}

fn check_one(kind: Kind, body: &Bytes) -> Result<(), ApiError> {
    match kind {
        Kind::Binary | Kind::Tombstone => Ok(()),
        Kind::Text if std::str::from_utf8(body).is_ok() => Ok(()),
        Kind::Text => Err(ApiError::bad_request("bad_text", "The body is not UTF-8.")),
        Kind::Json => match json_fault(body) {
            None => Ok(()),
            Some(fault) => {
                Err(ApiError::bad_request("bad_json", format!("The body is not one JSON text: {fault}.")))
            }
        },
    }
}

fn check_line(number: u64, line: &[u8], keys: &Keys, message_bytes_max: usize) -> Result<(), ApiError> {
    if line.len() > message_bytes_max {
        return Err(ApiError::too_large(format!(
            "Line {number} is larger than {message_bytes_max} bytes (message_bytes_max). Nothing was published."
        )));
    }
    if let Some(fault) = json_fault(line) {
        return Err(ApiError::bad_request(
            "bad_json",
            format!("Line {number} is not one JSON text: {fault}. Nothing was published."),
        ));
    }
    if let Err(fault) = keys.key(line) {
        return Err(ApiError::bad_request(
            "bad_key",
            format!("Line {number} {fault}. Nothing was published."),
        ));
    }
    Ok(())
}

/// The lines of a body that are not blank, with their numbers.
fn lines(body: &Bytes) -> impl Iterator<Item = (u64, Bytes)> + '_ {
    let lines = body.split(|byte| *byte == b'\n').zip(1..);
    lines
        .map(|(line, number)| (number, line.trim_ascii()))
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| (number, body.slice_ref(line)))
}

/// Why this is not one JSON text, if it is not.
fn json_fault(text: &[u8]) -> Option<String> {
    if stream::is_json(text) {
        return None;
    }
    let Ok(text) = std::str::from_utf8(text) else { return Some("it is not UTF-8".to_owned()) };
    let Err(error) = serde_json::from_str::<IgnoredAny>(text) else {
        return Some("it breaks a rule of the engine".to_owned());
    };
    let sentence = error.to_string();
    let what = sentence.split(" at line ").next().unwrap_or_default();
    Some(match (error.line(), error.column()) {
        (1, column) => format!("{what} at column {column}"),
        (line, column) => format!("{what} at line {line} column {column} of it"),
    })
}

/// Reads a whole body of at most `limit` bytes; `limit_key` is the setting that says so.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    limit_key: &str,
) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::too_large(format!("The body is larger than {limit} bytes ({limit_key})."));
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut body = pin!(body);
    let mut collected = BytesMut::new();
    let collect = async {
        while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            let frame = frame.map_err(|_| ApiError::bad_request("bad_body", "The body ended too early."))?;
            let Ok(data) = frame.into_data() else { continue };
            if data.len() > limit - collected.len() {
                return Err(too_large());
            }
            collected.extend_from_slice(&data);
        }
        Ok(())
    };
    match tokio::time::timeout(BODY_TIMEOUT, collect).await {
        Ok(outcome) => outcome?,
        Err(_) => {
            let message = "The body did not arrive in time.";
            return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", message));
        }
    }
    Ok(collected.freeze())
}

#[cfg(test)]
mod tests {
    use fanfare_wire::key::Key;

    use super::*;

    fn format_of(content_type: &'static str) -> Result<Format, StatusCode> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type.parse().expect("a header value"));
        Format::of(&headers).map_err(|error| error.status())
    }

    #[test]
    fn the_content_type_says_what_a_body_is() {
        let refused = Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        for (content_type, format) in [
            ("application/json", Ok(Format::One(Kind::Json))),
            ("Application/JSON; charset=UTF-8", Ok(Format::One(Kind::Json))),
            ("application/cloudevents+json", Ok(Format::One(Kind::Json))),
            ("text/plain", Ok(Format::One(Kind::Text))),
            ("text/csv;charset=\"utf-8\"", Ok(Format::One(Kind::Text))),
            ("text/plain; charset=iso-8859-1", refused),
            ("application/octet-stream", Ok(Format::One(Kind::Binary))),
            ("application/x-ndjson", Ok(Format::Lines)),
            ("application/x-www-form-urlencoded", refused),
            ("multipart/form-data; boundary=x", refused),
            ("application/xml", refused),
            ("image/png", refused),
            ("", refused),
        ] {
            assert_eq!(format_of(content_type), format, "{content_type:?}");
        }
        let missing = Format::of(&HeaderMap::new()).map_err(|error| error.status());
        assert_eq!(missing, refused);
    }

    #[test]
    fn an_encoded_body_is_refused() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "text/plain".parse().expect("a header value"));
        headers.insert(header::CONTENT_ENCODING, "gzip".parse().expect("a header value"));
        assert!(Format::of(&headers).is_err());
        headers.insert(header::CONTENT_ENCODING, "identity".parse().expect("a header value"));
        assert!(Format::of(&headers).is_ok());
    }

    fn checked(format: Format, body: &'static [u8]) -> Result<Vec<Bytes>, String> {
        let body = Bytes::from_static(body);
        let count = format.check(&body, &Keys::Absent, 8).map_err(|error| format!("{error:?}"))?;
        let messages: Vec<_> =
            format.messages(&body, &Keys::Absent).map(|(_, message)| message.payload).collect();
        assert_eq!(messages.len() as u64, count);
        Ok(messages)
    }

    #[test]
    fn lines_are_messages_and_blank_lines_are_not() {
        let messages = checked(Format::Lines, b"\n{\"a\":1}\r\n  \n[2]\n\n3").expect("three JSON lines");
        assert_eq!(messages, ["{\"a\":1}", "[2]", "3"]);
    }

    #[test]
    fn one_bad_line_is_named_and_spoils_all() {
        for (body, words) in [
            (&b"1\n\n{]\n2"[..], "Line 3 is not one JSON text"),
            (b"1 2\n", "Line 1"),
            (b"1\n\"\xff\"", "Line 2 is not one JSON text: it is not UTF-8"),
            (b"1\n\"1234567890\"", "Line 2 is larger than 8 bytes"),
            (b"\n \n", "no line with a message"),
            (b"", "no line with a message"),
        ] {
            let error = checked(Format::Lines, body).expect_err(words);
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn one_message_is_of_the_kind_it_claims() {
        for (kind, body, holds) in [
            (Kind::Text, &b""[..], true),
            (Kind::Text, b"a\nb", true),
            (Kind::Text, b"\xff", false),
            (Kind::Binary, b"\xff", true),
            (Kind::Json, b" {\n} ", true),
            (Kind::Json, b"", false),
            (Kind::Json, b"{}{}", false),
        ] {
            assert_eq!(checked(Format::One(kind), body).is_ok(), holds, "{kind:?} {body:?}");
        }
    }

    #[test]
    fn each_line_has_its_key_and_its_number() {
        let body = Bytes::from_static(b"{\"k\":\"a\"}\n\n{\"k\":\"b\"}");
        let keyed = |keys: &Keys| {
            let count = Format::Lines.check(&body, keys, 100).map_err(|error| format!("{error:?}"))?;
            assert_eq!(count, 2);
            let messages = Format::Lines.messages(&body, keys);
            Ok::<_, String>(messages.map(|(line, message)| (line, message.key)).collect::<Vec<_>>())
        };
        let key = |key| Key::parse(key).expect("a key");
        let member = |name: &str| Keys::Member(name.to_owned());
        assert_eq!(keyed(&Keys::Absent), Ok(vec![(1, None), (3, None)]));
        assert_eq!(keyed(&Keys::Same(key("c"))), Ok(vec![(1, Some(key("c"))), (3, Some(key("c")))]));
        assert_eq!(keyed(&member("k")), Ok(vec![(1, Some(key("a"))), (3, Some(key("b")))]));
        let error = keyed(&member("j")).expect_err("there is no such member");
        assert!(
            error.contains("Line 1 has no member j") && error.contains("Nothing was published."),
            "{error}"
        );
        let one = Format::One(Kind::Json);
        assert!(one.check(&Bytes::from_static(b"{\"k\":\"a\"}"), &member("k"), 100).is_ok());
        assert!(one.check(&Bytes::from_static(b"{}"), &member("k"), 100).is_err());
    }
}
