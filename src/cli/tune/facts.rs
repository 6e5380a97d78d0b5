//! What the wants depend on: memory, cores, and the disks behind the data directory.
//!
//! Read once per command from the tree and the configuration. What cannot be told is absent, and
//! the knobs that need it are then "not here".

use std::path::{Path, PathBuf};

use super::catalogue::Rule;
use super::tree::{Tree, last};

/// The file system that holds the data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where it is mounted.
    pub(crate) point: String,
    /// `ext4`, `xfs`, `overlay` …
    pub(crate) kind: String,
    /// Mount options, those of the file system too.
    pub(crate) options: Vec<String>,
    /// `major:minor`.
    pub(crate) device: String,
}

/// The box as the wants see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Memory of the box, KiB; 0: not told.
    pub(crate) memory_kib: u64,
    /// Cores that shards are pinned to.
    pub(crate) shard_cores: Vec<usize>,
    /// Cores that are left.
    pub(crate) spare_cores: Vec<usize>,
    /// Consume queue arenas of all shards, bytes.
    pub(crate) arena_bytes: u64,
    /// What the data directory lies on.
    pub(crate) mount: Option<Mount>,
    /// The disks under it, by name (`nvme0n1`).
    pub(crate) disks: Vec<String>,
    /// Differs after every boot; empty: not told.
    pub(crate) boot: String,
}

impl Facts {
    /// Reads what the tree says; cores and arena are the caller's to fill in.
    pub(crate) fn read(tree: &Tree, data: &Path) -> Facts {
        let mount = mount_of(tree, &existing(tree, data));
        let disks = mount.as_ref().map(|mount| disks_of(tree, &mount.device)).unwrap_or_default();
        Facts {
            memory_kib: memory_kib(tree, "MemTotal:").unwrap_or(0),
            disks,
            mount,
            boot: tree.text("proc/sys/kernel/random/boot_id"),
            ..Facts::default()
        }
    }

    /// The number or word that `rule` asks for; `disk` is the one at hand. `None`: it cannot be
    /// told here.
    pub(super) fn ruled(&self, rule: Rule, disk: &str) -> Option<String> {
        match rule {
            Rule::MinFree => (self.memory_kib > 0).then(|| self.min_free_kib().to_string()),
            Rule::HugePages => Some(self.arena_bytes.div_ceil(2 * 1024 * 1024))
                .filter(|n| *n > 0)?
                .to_string()
                .into(),
            Rule::Scheduler => Some(scheduler(disk).to_owned()),
            Rule::AwayFromShards => (!self.spare_cores.is_empty()).then(|| list(&self.spare_cores)),
        }
    }

    /// 1 % of memory, 64 MiB to 1 GiB, never above 5 % of it.
    fn min_free_kib(&self) -> u64 {
        (self.memory_kib / 100).clamp(64 * 1024, 1024 * 1024).min(self.memory_kib / 20)
    }
}

/// A row of `/proc/meminfo`, KiB.
pub(crate) fn memory_kib(tree: &Tree, row: &str) -> Option<u64> {
    let text = tree.text("proc/meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix(row))?;
    line.split_whitespace().next()?.parse().ok()
}

/// NVMe and virtual disks have their own order; a SATA or SAS disk is sorted for.
fn scheduler(disk: &str) -> &'static str {
    if disk.starts_with("sd") { "mq-deadline" } else { "none" }
}

/// The nearest folder of `data` that exists, without links; in a copied tree the path as it is.
fn existing(tree: &Tree, data: &Path) -> PathBuf {
    let data = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    if !tree.is_machine() {
        return data;
    }
    data.ancestors().find_map(|path| std::fs::canonicalize(path).ok()).unwrap_or(data)
}

/// The row of mountinfo whose point is the longest beginning of `data`; the last of equals, which
/// is mounted on top.
fn mount_of(tree: &Tree, data: &Path) -> Option<Mount> {
    let text = tree.text("proc/self/mountinfo");
    let mounts = text.lines().filter_map(mount_row);
    let over = mounts.filter(|mount| data.starts_with(&mount.point));
    over.max_by_key(|mount| mount.point.len())
}

fn mount_row(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ').skip(2);
    let (device, _root, point) = (fields.next()?, fields.next()?, fields.next()?);
    let own = fields.next()?.split(',').map(str::to_owned);
    let mut after = after.split(' ');
    let kind = after.next()?.to_owned();
    let of_all = after.nth(1).unwrap_or_default().split(',').map(str::to_owned);
    let options = own.chain(of_all).collect();
    // Blanks in a path are written as \040.
    let point = point.replace("\\040", " ");
    Some(Mount { point, kind, options, device: device.to_owned() })
}

/// The disks under a device: the whole disk of a partition, the parts of a mapped device.
fn disks_of(tree: &Tree, device: &str) -> Vec<String> {
    let Some(folder) = tree.resolve(&format!("sys/dev/block/{device}")) else { return Vec::new() };
    let mut found = Vec::new();
    let mut next = vec![last(&whole(&folder))];
    while let Some(name) = next.pop() {
        let parts = tree.names(&format!("sys/block/{name}/slaves"));
        if parts.is_empty() && !name.is_empty() && !found.contains(&name) {
            found.push(name);
        } else if found.len() + next.len() + parts.len() < 256 {
            next.extend(parts.iter().map(|part| disk_of_part(tree, part)));
        }
    }
    found.sort();
    found
}

fn disk_of_part(tree: &Tree, name: &str) -> String {
    let folder = tree.resolve(&format!("sys/class/block/{name}"));
    folder.map_or_else(|| name.to_owned(), |folder| last(&whole(&folder)))
}

/// A partition's folder lies in its disk's.
fn whole(folder: &Path) -> PathBuf {
    match folder.parent() {
        Some(disk) if folder.join("partition").exists() => disk.to_owned(),
        _ => folder.to_owned(),
    }
}

/// Cores as the kernel writes them: `0-2,5`. What is no number is left out.
pub(super) fn cores(text: &str) -> Vec<usize> {
    let mut out = Vec::new();
    for piece in text.trim().split(',') {
        let (low, high) = piece.split_once('-').unwrap_or((piece, piece));
        if let (Ok(low), Ok(high)) = (low.trim().parse::<usize>(), high.trim().parse::<usize>()) {
            out.extend((low..=high).take(4096));
        }
    }
    out
}

/// Cores as text, ascending, runs joined.
pub(super) fn list(cores: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for core in cores {
        match runs.last_mut() {
            Some((_, high)) if *high + 1 == *core => *high = *core,
            _ => runs.push((*core, *core)),
        }
    }
    let text = |(low, high): &(usize, usize)| {
        if low == high { low.to_string() } else { format!("{low}-{high}") }
    };
    runs.iter().map(text).collect::<Vec<_>>().join(",")
}
