//! A conformance client for suites that test clients, made of the load's own connection code.
//!
//! It speaks the protocol of Autobahn's fuzzing server: `/getCaseCount` says in a message how many cases there are, each
//! `/runCase?case=N&agent=A` is one of them, in which every message is answered with itself, and `/updateReports?agent=A`
//! has the server write what it found. Nothing is measured here, and the judgement is the server's.

use std::time::Duration;

use crate::connections::{Answer, EchoClient};

/// What there is to say when all cases were run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cases {
    pub count: usize,
    /// The cases that had no connection to run over, or a silent one, and why.
    pub failed: Vec<(usize, String)>,
}

/// Runs all cases of the server at `url` as `agent`.
///
/// # Errors
/// When the server does not say how many cases there are, or does not write its reports, in a sentence.
pub fn run(url: &str, agent: &str, silence_max: Duration) -> Result<Cases, String> {
    let url = url.trim_end_matches('/');
    let agent = percent_encoded(agent);
    let mut said = None;
    let asked = EchoClient::new(silence_max)?.converse(&format!("{url}/getCaseCount"), &mut |payload| {
        said.get_or_insert_with(|| String::from_utf8_lossy(payload).into_owned());
        Answer::Nothing
    });
    asked.map_err(|error| format!("/getCaseCount: {error}"))?;
    let said = said.ok_or("/getCaseCount: the server closed without a message")?;
    let count = said.trim().parse().map_err(|_| format!("/getCaseCount: {said:?} is no number of cases"))?;
    let mut failed = Vec::new();
    for case in 1..=count {
        let client = EchoClient::new(silence_max)?;
        let url = format!("{url}/runCase?case={case}&agent={agent}");
        let ran = client.converse(&url, &mut |_| Answer::Itself);
        if let Err(reason) = ran {
            failed.push((case, reason));
        }
    }
    let client = EchoClient::new(silence_max)?;
    let reported = client.converse(&format!("{url}/updateReports?agent={agent}"), &mut |_| Answer::Nothing);
    reported.map_err(|error| format!("/updateReports: {error}"))?;
    Ok(Cases { count, failed })
}

/// A text as the value of a parameter in a URL's query (RFC 3986 section 2.1).
fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_may_have_any_name() {
        for (agent, encoded) in
            [("fanfare-loadgen", "fanfare-loadgen"), ("a b/0.1", "a%20b%2F0.1"), ("ü&x", "%C3%BC%26x")]
        {
            assert_eq!(percent_encoded(agent), encoded);
        }
    }
}
