//! What the machine says about a process: processor time of a thread, memory, bytes read.
//! Everything comes from `/proc`; nothing here changes anything.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

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

/// What process `pid` holds, bytes: resident pages, reserved huge pages, and its staging files.
pub(crate) fn memory_bytes(pid: u32) -> io::Result<u64> {
    held_bytes(pid, &staging_files(pid))
}

/// [`memory_bytes`] with the staging files known. Each page counts once: mapped ones of a staging
/// file (`RssShmem`) are among its blocks.
pub(crate) fn held_bytes(pid: u32, staging: &[PathBuf]) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = |name: &str| {
        status
            .lines()
            .find_map(|line| {
                line.strip_prefix(name)?.split_whitespace().next()?.parse::<u64>().ok()
            })
            .unwrap_or(0)
    };
    let resident = ["RssAnon:", "RssFile:", "HugetlbPages:"].map(kib).iter().sum::<u64>() * 1024;
    let blocks = |path: &PathBuf| fs::metadata(path).map_or(0, |file| file.blocks() * 512);
    Ok(if resident == 0 { 0 } else { resident + staging.iter().map(blocks).sum::<u64>() })
}

/// The staging files that process `pid` has mapped.
pub(crate) fn staging_files(pid: u32) -> Vec<PathBuf> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    let shared = |path: &&str| path.starts_with("/dev/shm/weir-") || path.starts_with("/run/");
    let mut files: Vec<PathBuf> = paths.filter(shared).map(PathBuf::from).collect();
    files.sort();
    files.dedup();
    files
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
