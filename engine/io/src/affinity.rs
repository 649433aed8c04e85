//! Which cores this process may run on, and a thread's place on one of them.

use std::{io, mem};

/// The cores that the calling thread may run on, in ascending order.
///
/// # Errors
/// When the kernel does not tell: on machines with more than 1024 cores.
pub fn cores() -> io::Result<Vec<usize>> {
    // SAFETY: a set is plain bits, for which zeros are valid.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes at most the size of the set, which is ours.
    let got = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    let most = libc::CPU_SETSIZE as usize;
    // SAFETY: the core is within the set.
    Ok((0..most).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect())
}

/// Keeps the calling thread, and the threads that it will start, on one core.
///
/// # Errors
/// `InvalidInput` when there is no such core, or the process may not use it.
pub fn pin(core: usize) -> io::Result<()> {
    confine(&[core])
}

/// Keeps the calling thread, and the threads that it will start, on these cores.
///
/// # Errors
/// `InvalidInput` when one of them does not exist, or the process may use none of them.
pub fn confine(cores: &[usize]) -> io::Result<()> {
    if cores.iter().any(|&core| core >= libc::CPU_SETSIZE as usize) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: a set is plain bits, for which zeros are valid.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    for &core in cores {
        // SAFETY: the core is within the set.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    // SAFETY: the kernel reads the set before this returns.
    let done = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_has_one_core() {
        // On a thread of its own, since the test harness keeps this one.
        let thread = std::thread::spawn(|| {
            let all = cores().expect("cores");
            let last = *all.last().expect("at least one core");
            pin(last).expect("an allowed core");
            assert_eq!(cores().expect("cores"), [last]);
            confine(&all).expect("what was allowed before");
            assert_eq!(cores().expect("cores"), all);
        });
        thread.join().expect("no panic");
        assert_eq!(pin(1 << 20).expect_err("no such core").kind(), io::ErrorKind::InvalidInput);
    }
}
