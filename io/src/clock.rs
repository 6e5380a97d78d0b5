//! The clocks of this kernel, read through the vDSO without a system call.
//!
//! Monotonic nanoseconds are for deadlines and latencies, wall milliseconds for what is stored.
//! Never: a clock read that can fail, or that goes through an allocation.

/// Nanoseconds of `CLOCK_MONOTONIC`: from an arbitrary start, never backwards.
pub fn now_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds of `CLOCK_BOOTTIME`: as [`now_ns`], and it goes on while the machine sleeps. For
/// what others count against us: a lease is over although we slept.
pub fn boot_ns() -> u64 {
    read(libc::CLOCK_BOOTTIME)
}

/// Milliseconds since 1970 of the wall clock, which an operator or NTP may move.
pub fn wall_ms() -> i64 {
    (read(libc::CLOCK_REALTIME) / 1_000_000) as i64
}

/// Milliseconds that local time is ahead of UTC at this wall clock; 0 when the machine has no time
/// zone. What TZ and /etc/localtime say is read once, at the first call.
pub fn utc_offset_ms(wall_ms: i64) -> i64 {
    let seconds: libc::time_t = wall_ms.div_euclid(1000);
    let mut parts = std::mem::MaybeUninit::uninit();
    // SAFETY: both pointers are valid for the call; the answer is null or the second one, filled.
    let filled = unsafe { libc::localtime_r(&raw const seconds, parts.as_mut_ptr()) };
    if filled.is_null() {
        return 0;
    }
    // SAFETY: filled by the call above.
    let parts: libc::tm = unsafe { parts.assume_init() };
    parts.tm_gmtoff * 1000
}

/// A number of the machine's present boot, drawn by the kernel; 0 when it tells none.
pub fn boot() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).unwrap_or(0)
}

/// Nanoseconds of a clock of this thread or machine.
pub(crate) fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer.
    let failed = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert!(failed == 0, "clock {clock} is there since Linux 2.6.12");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_forward_and_the_wall_clock_is_after_2020() {
        let first = now_ns();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let passed = now_ns() - first;
        assert!(passed >= 2_000_000, "{passed} ns after a sleep of 2 ms");
        assert!(wall_ms() > 1_577_836_800_000);
        assert!(boot_ns() >= first, "it counts sleep as well");
    }

    #[test]
    fn local_time_is_less_than_a_day_from_utc_and_the_same_as_what_date_says() {
        let date = std::process::Command::new("date").arg("+%z").output().unwrap();
        let text = String::from_utf8(date.stdout).unwrap();
        let number: i64 = text.trim().parse().unwrap();
        let minutes = number / 100 * 60 + number % 100;
        let offset = utc_offset_ms(wall_ms());
        assert_eq!(offset, minutes * 60_000);
        assert!(offset.abs() < 86_400_000);
    }
}
