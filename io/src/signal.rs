//! Signals and processes: an orderly end is asked for by `SIGTERM`, taken by one waiting thread.
//!
//! Signals are blocked in every thread and fetched with `sigwait`, so no code ever runs in a
//! signal handler. Never: a system call of a shard that is interrupted by one of these signals.

use std::mem::MaybeUninit;

/// Blocks `SIGTERM` and `SIGINT` in this thread and in all that it will start, and ignores
/// `SIGHUP` (weir outlives the terminal it was started from). Called first in `main`.
pub fn block_termination() {
    let set = termination();
    // SAFETY: `set` is initialised; the old mask is not asked for.
    let failed =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    assert!(failed == 0, "SIG_BLOCK is a valid way");
    // SAFETY: ignoring a signal installs no handler.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
}

/// Waits until the process is asked to end and gives the signal's number. The signals must have
/// been blocked by [`block_termination`] before any thread was started.
pub fn wait_for_termination() -> i32 {
    let set = termination();
    let mut signal = 0;
    // SAFETY: both pointers are valid; `set` is initialised.
    while unsafe { libc::sigwait(&raw const set, &raw mut signal) } != 0 {}
    signal
}

fn termination() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises the set it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised by the call above.
    let mut set = unsafe { set.assume_init() };
    for signal in [libc::SIGTERM, libc::SIGINT] {
        // SAFETY: the set is initialised and the signal's number is valid.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

/// Whether a process of this number exists (a zombie does), whoever owns it.
pub fn process_alive(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 0) else { return false };
    // SAFETY: signal 0 only asks.
    let failed = unsafe { libc::kill(pid, 0) };
    failed == 0 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// `kill -9` of this process.
pub(crate) fn kill_self() -> ! {
    // SAFETY: the call takes no pointers.
    let pid = unsafe { libc::getpid() };
    // SAFETY: as above; it does not return.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_an_ended_child_does_not() {
        assert!(process_alive(std::process::id()));
        assert!(!process_alive(0) && !process_alive(u32::MAX));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert!(!process_alive(pid));
    }

    #[test]
    fn a_blocked_sigterm_is_fetched_by_the_waiting_thread() {
        std::thread::spawn(|| {
            block_termination();
            // SAFETY: the call takes and gives no pointers.
            let this = unsafe { libc::pthread_self() };
            // SAFETY: the signal is blocked in this thread, so it stays pending for `sigwait`.
            unsafe { libc::pthread_kill(this, libc::SIGTERM) };
            assert_eq!(wait_for_termination(), libc::SIGTERM);
        })
        .join()
        .unwrap();
    }
}
