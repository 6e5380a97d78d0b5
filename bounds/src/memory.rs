//! `weir-bounds memory`: what a broker process holds, read from outside, each page once.
//!
//! Held are the process's own pages (`RssAnon`), its pages of files but not of shared memory
//! (`RssFile`), reserved huge pages (`HugetlbPages`), and the blocks of its staging files. Pages
//! of the staging file that are mapped are left out of the first two (they count as `RssShmem`),
//! because the file's blocks hold all of them. Never: a figure from the broker's own mouth.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

/// The options.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Process id of the broker.
    #[arg(long)]
    pid: u32,
    /// Look every tenth of a second for so many seconds, and say the most that was held.
    #[arg(long, default_value_t = 0.0)]
    seconds: f64,
    /// Fail when more bytes were held.
    #[arg(long)]
    at_most: Option<u64>,
}

/// Says what is held, or the most of some seconds.
pub(crate) fn run(arguments: &Arguments) -> Result<String, String> {
    let looks = 1 + (arguments.seconds.max(0.0) * 10.0) as u32;
    let mut most = held(arguments.pid)?;
    for _ in 1..looks {
        std::thread::sleep(Duration::from_millis(100));
        let now = held(arguments.pid)?;
        if now.total > most.total {
            most = now;
        }
    }
    let line = serde_json::to_string(&most).map_err(|error| error.to_string())?;
    match arguments.at_most {
        Some(limit) if most.total > limit => Err(format!("{line}: more than {limit} bytes")),
        _ => Ok(line),
    }
}

/// Memory of a process at one moment, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Held {
    /// `RssAnon`.
    pub anonymous: u64,
    /// `RssFile`: the program's own text, mostly.
    pub file: u64,
    /// `HugetlbPages`.
    pub hugetlb: u64,
    /// Blocks of the staging files.
    pub staging: u64,
    /// Their sum.
    pub total: u64,
}

/// Reads what process `pid` holds; its staging files are those it has mapped.
pub(crate) fn held(pid: u32) -> Result<Held, String> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let maps = read(&format!("/proc/{pid}/maps"))?;
    let staging = staging_files(&maps).iter().map(|path| blocks(path)).sum();
    let of = |name| kib(&status, name) * 1024;
    let (anonymous, file, hugetlb) = (of("RssAnon:"), of("RssFile:"), of("HugetlbPages:"));
    let total = anonymous + file + hugetlb + staging;
    Ok(Held { anonymous, file, hugetlb, staging, total })
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

fn kib(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn staging_files(maps: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .filter(|path| path.contains("/weir-") && !path.ends_with("/weir"))
        .map(PathBuf::from)
        .filter(|path| path.starts_with("/dev/shm") || path.starts_with("/run"))
        .collect();
    files.sort();
    files.dedup();
    files
}

fn blocks(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.blocks() * 512)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_staging_file_counts_once_however_often_it_is_mapped() {
        let maps = "7f0-7f1 rw-s 00000000 00:1a 17 /dev/shm/weir-aa-0\n\
                    7f2-7f3 rw-s 00001000 00:1a 17 /dev/shm/weir-aa-0\n\
                    555-556 r-xp 00000000 08:01 9 /usr/bin/weir\n\
                    7f4-7f5 rw-p 00000000 00:00 0\n";
        assert_eq!(staging_files(maps), [PathBuf::from("/dev/shm/weir-aa-0")]);
    }

    #[test]
    fn a_line_of_the_status_is_read_in_kibibytes() {
        let status = "VmRSS:\t  200 kB\nRssAnon:\t  120 kB\nHugetlbPages:\t 2048 kB\n";
        assert_eq!((kib(status, "RssAnon:"), kib(status, "HugetlbPages:")), (120, 2048));
        assert_eq!(kib(status, "RssFile:"), 0);
    }

    #[test]
    fn this_process_holds_more_than_its_counted_heap() {
        let bytes = vec![1_u8; 8 * 1024 * 1024];
        let own = held(std::process::id()).expect("this system has /proc");
        assert!(own.anonymous > bytes.len() as u64 && own.total >= own.anonymous, "{own:?}");
    }
}
