//! Facts about the machine that a figure depends on: kernel, processor, disk, file system.
//!
//! Everything is read from `/proc` and `/sys`; a fact that is not told there is "unknown", never
//! guessed. Nothing is changed.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::disk::Disk;

/// Where figures were taken.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Machine {
    /// Kernel release.
    pub kernel: String,
    /// Processor.
    pub cpu: String,
    /// Cores this process may use.
    pub cores: usize,
    /// Frequency governor.
    pub governor: String,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// File system of the measured directory.
    pub file_system: String,
    /// Its mount options.
    pub mount_options: String,
    /// Block device.
    pub device: String,
    /// What the device calls itself.
    pub model: String,
    /// The device's volatile cache as the kernel sees it: "write back" has to be flushed.
    pub write_cache: String,
    /// Whether the device takes single writes past its cache (FUA); else each is followed by a
    /// flush.
    pub fua: String,
    /// IO scheduler.
    pub scheduler: String,
    /// Whether the device says it rotates.
    pub rotational: String,
}

impl Machine {
    /// The facts for servers that keep their files in `dir`.
    pub(crate) fn of(dir: &Path) -> io::Result<Self> {
        let mount = Mount::of(dir)?;
        let disk = Disk::of(dir).ok();
        let queue = |name: &str| {
            let path = disk.as_ref().map(|disk| disk.queue.join(name));
            path.map_or_else(unknown, |path| word(&path))
        };
        let scheduler = queue("scheduler");
        let chosen = scheduler.split(['[', ']']).nth(1).map(str::to_owned).unwrap_or(scheduler);
        let yes_no = |text: String| match text.as_str() {
            "0" => "no".to_owned(),
            "1" => "yes".to_owned(),
            _ => text,
        };
        Ok(Self {
            kernel: word(Path::new("/proc/sys/kernel/osrelease")),
            cpu: after("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            cores: weir_io::cpu::allowed().len(),
            governor: word(Path::new("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
            memory_bytes: after("/proc/meminfo", "MemTotal")
                .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
                .unwrap_or(0)
                * 1024,
            file_system: mount.file_system,
            mount_options: mount.options,
            device: disk.as_ref().map_or_else(unknown, |disk| disk.name.clone()),
            model: disk
                .as_ref()
                .map_or_else(unknown, |disk| word(&disk.queue.join("../device/model"))),
            write_cache: queue("write_cache"),
            fua: yes_no(queue("fua")),
            scheduler: chosen,
            rotational: yes_no(queue("rotational")),
        })
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn word(path: &Path) -> String {
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => unknown(),
    }
}

/// What stands behind `name:` in a file of such lines.
fn after(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The mount that holds a path.
#[derive(Debug)]
pub(super) struct Mount {
    /// Kind of file system.
    pub file_system: String,
    /// Options of the mount and of the file system.
    pub options: String,
    /// `major:minor`.
    pub device: String,
}

impl Mount {
    /// From the longest mount point above the path.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let mut best: Option<(usize, Self)> = None;
        for line in mounts.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.split(' ').collect();
            let (Some(device), Some(point), Some(options)) =
                (left.get(2), left.get(4), left.get(5))
            else {
                continue;
            };
            let longer = best.as_ref().is_none_or(|(len, _)| point.len() >= *len);
            if path.starts_with(point) && longer {
                let more = right.get(2).copied().unwrap_or_default();
                let mount = Self {
                    file_system: right.first().copied().unwrap_or("unknown").to_owned(),
                    options: format!("{options},{more}"),
                    device: (*device).to_owned(),
                };
                best = Some((point.len(), mount));
            }
        }
        best.map(|(_, mount)| mount).ok_or_else(|| io::Error::other("no mount holds the path"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_of_this_machine_are_told_or_unknown_but_never_empty() {
        let machine = Machine::of(&std::env::temp_dir()).unwrap();
        let json = serde_json::to_value(&machine).unwrap();
        for (name, value) in json.as_object().unwrap() {
            assert_ne!(value, "", "{name}");
        }
        assert!(machine.cores > 0 && machine.memory_bytes > 0);
        assert_ne!(machine.file_system, "unknown");
    }
}
