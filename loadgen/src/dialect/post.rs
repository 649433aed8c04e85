//! Publishing with HTTP requests on a connection that is kept.

/// One publisher's requests.
pub trait Poster {
    /// Writes a whole request that publishes `payload`.
    fn request(&mut self, payload: &[u8], text: bool, out: &mut Vec<u8>);

    /// Judges the response to a request.
    ///
    /// # Errors
    /// Why the server did not publish the payload.
    fn judge(&self, status: u16, first_line: &str) -> Result<(), String> {
        match (status, first_line.trim()) {
            (200..=299, _) => Ok(()),
            (_, "") => Err(format!("status {status}")),
            (_, line) => Err(format!("status {status}: {line}")),
        }
    }
}

/// The payload is the body, as it is.
#[derive(Debug)]
pub(super) struct BodyPoster {
    head: Head,
}

impl BodyPoster {
    pub(super) fn new(target: &str, host: &str) -> Self {
        Self { head: Head::new(target, host) }
    }
}

impl Poster for BodyPoster {
    fn request(&mut self, payload: &[u8], text: bool, out: &mut Vec<u8>) {
        let content_type = if text { "text/plain; charset=utf-8" } else { "application/octet-stream" };
        self.head.write(out, "", content_type, "", payload.len());
        out.extend_from_slice(payload);
    }
}

/// The request line and the headers that all requests of a publisher have.
#[derive(Debug)]
pub(super) struct Head {
    target: String,
    host: String,
}

impl Head {
    pub(super) fn new(target: &str, host: &str) -> Self {
        Self { target: target.to_owned(), host: host.to_owned() }
    }

    /// Writes everything before the body. `query` begins with `?` if there is one, and each line of `headers` ends with
    /// CRLF.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        query: &str,
        content_type: &str,
        headers: &str,
        body_bytes: usize,
    ) {
        out.reserve(128 + self.target.len() + self.host.len() + query.len() + headers.len() + body_bytes);
        for part in [
            "POST ",
            &self.target,
            query,
            " HTTP/1.1\r\nHost: ",
            &self.host,
            "\r\nContent-Type: ",
            content_type,
            "\r\n",
            headers,
            "Content-Length: ",
        ] {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(decimal(body_bytes as u64, &mut [0; 20]));
        out.extend_from_slice(b"\r\n\r\n");
    }
}

/// `number` in decimal, without an allocation.
pub(super) fn decimal(mut number: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &buffer[at..];
        }
    }
}
