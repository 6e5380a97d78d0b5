//! Cores and threads: which ones this process may use, and what a thread has cost so far.
//!
//! The set is the scheduler's answer, so a cpuset, `taskset` or a container limit is honoured.
//! Never: a guess from `/proc/cpuinfo`, or a core outside of the set.

use std::mem::{self, MaybeUninit};

use crate::driver::Errno;

/// The cores this thread may run on, ascending; at least one.
pub fn allowed() -> Vec<usize> {
    let mut set = empty();
    // SAFETY: `set` is a valid place of the given size; 0 is the calling thread.
    let failed =
        unsafe { libc::sched_getaffinity(0, mem::size_of::<libc::cpu_set_t>(), &raw mut set) };
    if failed != 0 {
        // More than 1024 cores: the call wants a larger set.
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        return (0..count).collect();
    }
    (0..libc::CPU_SETSIZE as usize).filter(|core| contains(&set, *core)).collect()
}

/// Pins the calling thread to one core.
pub fn pin(core: usize) -> Result<(), Errno> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(Errno(libc::EINVAL));
    }
    let mut set = empty();
    // SAFETY: the core's number lies inside the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: `set` is initialised and of the given size; 0 is the calling thread.
    let failed =
        unsafe { libc::sched_setaffinity(0, mem::size_of::<libc::cpu_set_t>(), &raw const set) };
    if failed == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().into()) }
}

fn contains(set: &libc::cpu_set_t, core: usize) -> bool {
    // SAFETY: the caller keeps `core` below `CPU_SETSIZE`.
    unsafe { libc::CPU_ISSET(core, set) }
}

fn empty() -> libc::cpu_set_t {
    // SAFETY: a set of cores is an array of bits; all zero is the empty set.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// The machine's name, as `uname -n`; `localhost` when it has none.
pub fn host_name() -> String {
    let mut name = [0_u8; 256];
    // SAFETY: the buffer is as long as said, less one byte that stays zero.
    let failed = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    let len = name.iter().position(|byte| *byte == 0).unwrap_or(0);
    if failed != 0 || len == 0 {
        return "localhost".to_owned();
    }
    String::from_utf8_lossy(&name[..len]).into_owned()
}

/// Nanoseconds of processor time the calling thread has used, in user and kernel mode.
pub fn cpu_time_thread_ns() -> u64 {
    crate::clock::read(libc::CLOCK_THREAD_CPUTIME_ID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_run_on_that_core_only() {
        let cores = allowed();
        assert!(!cores.is_empty());
        let last = *cores.last().unwrap();
        let seen = std::thread::spawn(move || pin(last).map(|()| allowed())).join().unwrap();
        assert_eq!(seen, Ok(vec![last]));
        assert_eq!(pin(1 << 20), Err(Errno(libc::EINVAL)));
    }

    #[test]
    fn a_busy_thread_costs_and_a_sleeping_one_does_not() {
        let start = cpu_time_thread_ns();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let asleep = cpu_time_thread_ns() - start;
        let begun = crate::clock::now_ns();
        while crate::clock::now_ns() - begun < 20_000_000 {}
        let busy = cpu_time_thread_ns() - start - asleep;
        assert!(asleep < 5_000_000 && busy > asleep, "{asleep} ns asleep, {busy} ns busy");
    }

    #[test]
    fn the_host_has_a_name() {
        let name = host_name();
        assert!(!name.is_empty() && !name.contains('\0'));
    }
}
