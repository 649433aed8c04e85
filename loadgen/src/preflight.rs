//! What this machine allows, looked at before a run begins: each refusal says what would help.

use std::fs;

use fanfare_io::{affinity, limits};

use crate::connections::{resolve, sources};
use crate::plan::Plan;

/// Where the kernel does not tell.
const PORTS_DEFAULT: (u64, u64) = (32_768, 60_999);

/// The workers that so many of a plan's connections need here: for each the core to run on, if one was named.
///
/// # Errors
/// When this machine does not allow so many connections, with the remedy.
pub fn workers(plan: &Plan, connections: usize) -> Result<Vec<Option<usize>>, String> {
    check_ports(plan, connections)?;
    check_files(connections)?;
    let cores = cores(plan)?;
    // Refused in some sandboxes, where the limit that holds may still be enough.
    let allowed =
        limits::raise_open_files().or_else(|_| limits::open_files()).map_err(|error| error.to_string())?.soft;
    // The kernel allows a ring's table as many connections as a process may have files, and a process several rings.
    let needed = connections.div_ceil(usize::try_from(allowed).unwrap_or(usize::MAX).max(1));
    let workers = match plan.place.workers {
        0 => cores.len().max(needed).min(connections).max(1),
        given if given < needed => {
            return Err(format!(
                "{connections} connections need at least {needed} workers: each has a table of at most {allowed} \
                 connections, the limit of open files (ulimit -n)"
            ));
        }
        given => given,
    };
    let is_pinned = !plan.place.cores.is_empty();
    Ok((0..workers).map(|worker| is_pinned.then(|| cores[worker % cores.len()])).collect())
}

/// The cores that workers may use. A server on this machine needs some too, so then half of them are left alone.
fn cores(plan: &Plan) -> Result<Vec<usize>, String> {
    let mut allowed = affinity::cores().map_err(|error| format!("cores: {error}"))?;
    if let Some(core) = plan.place.cores.iter().find(|core| !allowed.contains(core)) {
        return Err(format!("core {core} is not one of those this program may run on: {allowed:?}"));
    }
    if !plan.place.cores.is_empty() {
        return Ok(plan.place.cores.clone());
    }
    if resolve(&plan.target.subscribe)?.address.ip().is_loopback() {
        allowed.truncate(allowed.len().div_ceil(2));
    }
    Ok(allowed)
}

/// Each pair of local and remote address has so many ports.
fn check_ports(plan: &Plan, connections: usize) -> Result<(), String> {
    let remote = resolve(&plan.target.subscribe)?.address;
    let sources =
        sources(&plan.place.sources, remote, plan.rooms.subscribers + plan.rooms.publishers).len().max(1);
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let (first, last) = port_range(&text).unwrap_or(PORTS_DEFAULT);
    let ports = (last + 1).saturating_sub(first);
    let room = ports * sources as u64;
    if connections as u64 <= room {
        return Ok(());
    }
    let needed = (connections as u64).div_ceil(ports.max(1));
    Err(format!(
        "{connections} connections to {remote} need more local ports than there are: {sources} source addresses with \
         {ports} ports each; name {needed} addresses of this machine with --sources, or widen \
         net.ipv4.ip_local_port_range with sysctl"
    ))
}

fn port_range(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The kernel counts the sockets of all processes together.
fn check_files(connections: usize) -> Result<(), String> {
    let Ok(text) = fs::read_to_string("/proc/sys/fs/file-nr") else { return Ok(()) };
    let mut numbers = text.split_ascii_whitespace().filter_map(|number| number.parse::<u64>().ok());
    let (Some(used), Some(most)) = (numbers.next(), numbers.nth(1)) else { return Ok(()) };
    if used.saturating_add(connections as u64) <= most {
        return Ok(());
    }
    Err(format!(
        "{connections} connections need as many files, and the system has {used} of at most {most} open: raise \
         fs.file-max with sysctl"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_ports_is_read() {
        assert_eq!(port_range("32768\t60999\n"), Some((32_768, 60_999)));
        assert_eq!(port_range(""), None);
    }

    #[test]
    fn this_machine_has_no_room_for_endless_files() {
        assert_eq!(check_files(1), Ok(()));
        let text = fs::read_to_string("/proc/sys/fs/file-nr").expect("on Linux");
        // Where the system has no limit, none is passed.
        if !text.trim_end().ends_with(&i64::MAX.to_string()) {
            assert!(check_files(usize::MAX >> 1).expect_err("too many").contains("fs.file-max"));
        }
    }
}
