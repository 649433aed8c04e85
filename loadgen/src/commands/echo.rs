//! `echo`: a conformance client.

use fanfare_loadgen::echo;
use fanfare_loadgen::options::Echo;

use super::{Exit, invalid, misused, say};

pub(crate) fn echo(options: &Echo) -> Exit {
    if let Err(sentence) = options.check() {
        return misused(&sentence);
    }
    let cases = match echo::run(&options.url, &options.agent, options.silence_max) {
        Ok(cases) => cases,
        Err(sentence) => return invalid(&sentence),
    };
    for (case, reason) in &cases.failed {
        eprintln!("case {case}: {reason}");
    }
    say(&format!(
        "{} cases were run as {}; what came of them is in the server's reports\n",
        cases.count, options.agent
    ));
    match cases.failed.len() {
        0 => Exit::DONE,
        count => invalid(&format!("{count} of the cases could not be run to their end")),
    }
}
