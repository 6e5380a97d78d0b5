//! `cargo xtask hugepages`: the consume queues live in huge pages when they are reserved, and one
//! line says so when they cannot be had.
//!
//! Two runs of the release binary: one with enough reserved pages, judged by the kernel's own
//! account of the process; one with none and transparent pages off, judged by what it says. The
//! machine's settings are restored whatever happens. It needs root, and fails without.

use std::path::{Path, PathBuf};

use crate::broker::Broker;
use crate::toolbox;

const RESERVED: &str = "/proc/sys/vm/nr_hugepages";
const FREE: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
const TRANSPARENT: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
const PAGE_KIB: u64 = 2048;
/// The arena of the one shard.
const ARENA_KIB: u64 = 32 * 1024;
const ARENA: &str = "consumeQueueMemory=32MiB";

/// Runs both.
pub fn check() -> Result<String, String> {
    let binary = toolbox::release()?;
    let data = toolbox::target().join("xtask/hugepages");
    let used = {
        let _restore = Setting::raise_pages(ARENA_KIB / PAGE_KIB)?;
        with_reserved(&binary, &data)?
    };
    let line = {
        let _pages = Setting::set(RESERVED, "0")?;
        let _transparent = Setting::set(TRANSPARENT, "never")?;
        without(&binary, &data)?
    };
    fresh(&data)?;
    Ok(format!("hugepages: {used} KiB of reserved huge pages used; without them: {line}"))
}

fn with_reserved(binary: &Path, data: &Path) -> Result<u64, String> {
    fresh(data)?;
    let mut broker = Broker::start(binary, data, &[ARENA])?;
    let path = format!("/proc/{}/smaps", broker.pid());
    let used = hugetlb_kib(&read(&path)?);
    let warned = broker.said().iter().any(|line| is_warning(line));
    ended_well(broker)?;
    if used < ARENA_KIB {
        return Err(format!("hugepages: {used} KiB of huge pages used, not {ARENA_KIB}"));
    }
    if warned {
        return Err("hugepages: weir complained though the pages were there".into());
    }
    Ok(used)
}

fn without(binary: &Path, data: &Path) -> Result<String, String> {
    fresh(data)?;
    let mut broker = Broker::start(binary, data, &[ARENA])?;
    let used = hugetlb_kib(&read(&format!("/proc/{}/smaps", broker.pid()))?);
    let said = broker.said().to_vec();
    ended_well(broker)?;
    let warnings: Vec<&String> = said.iter().filter(|line| is_warning(line)).collect();
    match warnings.as_slice() {
        [line] if used == 0 => Ok((*line).clone()),
        _ => Err(format!(
            "hugepages: expected one warning line and no huge pages; {used} KiB used, it said:\n{}",
            said.join("\n")
        )),
    }
}

/// The one line of the fallback names what it fell back to.
fn is_warning(line: &str) -> bool {
    line.contains("huge pages") && line.contains("plain pages")
}

fn ended_well(broker: Broker) -> Result<(), String> {
    let status = broker.stop()?;
    if status.success() { Ok(()) } else { Err(format!("hugepages: weir ended with {status}")) }
}

fn fresh(data: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(data) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", data.display()))
        }
        _ => Ok(()),
    }
}

/// Sum of the hugetlb memory of a process, from its smaps.
fn hugetlb_kib(smaps: &str) -> u64 {
    let fields = ["Private_Hugetlb:", "Shared_Hugetlb:"];
    smaps
        .lines()
        .filter_map(|line| fields.iter().find_map(|field| line.strip_prefix(field)))
        .filter_map(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .sum()
}

/// A setting of the machine that goes back to what it was.
struct Setting {
    path: PathBuf,
    before: String,
}

impl Setting {
    fn set(path: &str, value: &str) -> Result<Setting, String> {
        let before = chosen(&read(path)?);
        let setting = Setting { path: path.into(), before };
        std::fs::write(path, value).map_err(|error| {
            format!("hugepages: cannot write {value} to {path}: {error}; it needs root")
        })?;
        Ok(setting)
    }

    /// Reserves as many pages as make `pages` free, and checks that the kernel found them.
    fn raise_pages(pages: u64) -> Result<Setting, String> {
        let reserved: u64 = number(RESERVED)?;
        let setting = Setting::set(RESERVED, &(reserved + pages).to_string())?;
        let free = number(FREE)?;
        if free < pages {
            return Err(format!("hugepages: {free} free after reserving, {pages} needed"));
        }
        Ok(setting)
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(&self.path, &self.before) {
            eprintln!("hugepages: cannot restore {}: {error}", self.path.display());
        }
    }
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

fn number(path: &str) -> Result<u64, String> {
    read(path)?.trim().parse().map_err(|error| format!("{path}: {error}"))
}

/// The value of a setting: the word in brackets where the kernel lists all words.
fn chosen(text: &str) -> String {
    let bracketed = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    bracketed.map_or(text.trim(), |(word, _)| word).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hugetlb_memory_is_summed_over_mappings() {
        let smaps = "Rss: 4 kB\nPrivate_Hugetlb:   2048 kB\nShared_Hugetlb: 0 kB\n\
                     Private_Hugetlb:   4096 kB\nKernelPageSize: 4 kB\n";
        assert_eq!(hugetlb_kib(smaps), 6144);
    }

    #[test]
    fn a_setting_is_the_word_in_brackets_or_the_whole() {
        assert_eq!(chosen("always [madvise] never\n"), "madvise");
        assert_eq!(chosen("12\n"), "12");
    }
}
