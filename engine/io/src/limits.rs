//! How many descriptors a process may have, which also bounds each driver's table of connections.

use std::io;

/// RLIMIT_NOFILE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenFiles {
    /// What holds now.
    pub soft: u64,
    /// How far the process may raise it.
    pub hard: u64,
}

/// # Errors
/// Never on a sound kernel.
pub fn open_files() -> io::Result<OpenFiles> {
    let limit = get(libc::RLIMIT_NOFILE)?;
    Ok(OpenFiles { soft: limit.rlim_cur, hard: limit.rlim_max })
}

/// Raises the soft limit of open files as far as the process may.
///
/// # Errors
/// When the kernel refuses, as sandboxes may make it.
pub fn raise_open_files() -> io::Result<OpenFiles> {
    let OpenFiles { hard, .. } = open_files()?;
    let raised = libc::rlimit { rlim_cur: hard, rlim_max: hard };
    // SAFETY: the kernel reads `raised` before this returns.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } != 0 {
        return Err(io::Error::last_os_error());
    }
    open_files()
}

pub(crate) fn get(resource: libc::__rlimit_resource_t) -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes to `limit`, which is ours.
    if unsafe { libc::getrlimit(resource, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "a system call that Miri does not know")]
    fn raising_reaches_the_hard_limit() {
        let raised = raise_open_files().expect("raised");
        assert_eq!(raised.soft, raised.hard);
        assert_eq!(open_files().expect("limits"), raised);
    }
}
