//! What the machine says about a process: processor time of a thread, memory, bytes read.
//! Everything comes from `/proc`; nothing here changes anything.

use std::fs;
use std::io;
use std::path::Path;

/// Processor time of this thread so far, nanoseconds.
pub(crate) fn thread_cpu_ns() -> io::Result<u64> {
    schedstat(Path::new("/proc/thread-self/schedstat"))
}

/// A thread and what it has cost so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadCpu {
    /// Thread id.
    pub id: u32,
    /// Processor time, nanoseconds.
    pub cpu_ns: u64,
}

/// Processor time of each living thread of process `pid` so far.
pub(crate) fn threads_cpu_ns(pid: u32) -> io::Result<Vec<ThreadCpu>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A thread may end between the listing and the reading.
        let Ok(cpu_ns) = schedstat(&entry.path().join("schedstat")) else { continue };
        threads.push(ThreadCpu { id, cpu_ns });
    }
    Ok(threads)
}

fn schedstat(path: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    let first = text.split_whitespace().next().and_then(|field| field.parse().ok());
    first.ok_or_else(|| io::Error::other(format!("{}: not a schedstat line", path.display())))
}

/// Resident memory of process `pid`, bytes (`VmRSS` and `HugetlbPages`).
pub(crate) fn memory_bytes(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = |name: &str| {
        status
            .lines()
            .find_map(|line| {
                line.strip_prefix(name)?.split_whitespace().next()?.parse::<u64>().ok()
            })
            .unwrap_or(0)
    };
    Ok((kib("VmRSS:") + kib("HugetlbPages:")) * 1024)
}

/// Bytes process `pid` made the device read so far, whatever the page cache gave it besides.
pub(crate) fn read_bytes(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("read_bytes:"));
    let bytes = line.and_then(|text| text.trim().parse().ok());
    bytes.ok_or_else(|| io::Error::other(format!("/proc/{pid}/io has no read_bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_thread_that_used_time_and_memory() {
        // The scheduler counts at its own pace: work until it has.
        let began = std::time::Instant::now();
        while thread_cpu_ns().unwrap() == 0 {
            assert!(began.elapsed().as_secs() < 10, "ten seconds of work count as none");
            std::hint::black_box((0..1_000_000_u64).map(std::hint::black_box).sum::<u64>());
        }
        let own = std::process::id();
        assert!(threads_cpu_ns(own).unwrap().iter().any(|thread| thread.cpu_ns > 0));
        assert!(memory_bytes(own).unwrap() > 1024 * 1024);
        read_bytes(own).unwrap();
    }
}
