//! `cargo xtask tune`: apply, apply again and undo, on the kernel's own files of a disk and a
//! network namespace that belong to this run.
//!
//! The tree that weir is pointed at is put together: the queue of a loop disk and `net` of a new
//! namespace are real, everything that belongs to the whole machine is a copy. So the machine's own
//! settings are never written. It needs root, and fails without.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::small_disk::SmallDisk;
use crate::toolbox;

/// What the queue of the disk is set to before: not as wanted, and with something to lose.
const BEFORE: &[(&str, &str)] = &[
    ("scheduler", "mq-deadline"),
    ("nr_requests", "16"),
    ("iosched/fifo_batch", "7"),
    ("read_ahead_kb", "4096"),
    ("wbt_lat_usec", "0"),
];
/// Files of the whole machine, copied.
const COPIED: &[&str] = &[
    "proc/self/mountinfo",
    "proc/meminfo",
    "proc/sys/kernel/random/boot_id",
    "proc/sys/vm/swappiness",
    "proc/sys/vm/min_free_kbytes",
    "proc/sys/vm/zone_reclaim_mode",
];
const NET: &str = "/proc/sys/net/ipv4/tcp_slow_start_after_idle";

/// Runs it. Says how many settings were applied and how many files were compared.
pub fn check() -> Result<String, String> {
    let binary = toolbox::release()?;
    let disk = SmallDisk::new("tune", 64 * 1024 * 1024)?;
    let queue = PathBuf::from(format!("/sys/block/{}/queue", disk.device()));
    for (file, value) in BEFORE {
        write(&queue.join(file), value)?;
    }
    let root = disk.folder().join("root");
    tree(&root, disk.device())?;
    let before = snapshot(&root, &queue)?;
    let said = steps(&binary, &root, disk.mount())?;
    let [first, net_set, again, net_same, _, net_back] = said.as_slice() else {
        return Err(format!("tune: six answers expected, got {said:?}"));
    };
    let changed = first.lines().filter(|line| line.contains("  set  ")).count();
    if changed < 5 || first.contains("REFUSED") {
        return Err(format!("tune: apply said:\n{first}"));
    }
    if again.trim() != "nothing to do" || [net_set, net_same, net_back] != ["0", "0", "1"] {
        return Err(format!("tune: the second apply said:\n{again}\nand the namespace {said:?}"));
    }
    let after = snapshot(&root, &queue)?;
    let other = |(path, text): &(&PathBuf, &String)| before.get(*path) != Some(*text);
    let moved: Vec<_> = after.iter().filter(other).collect();
    if !moved.is_empty() || before.len() != after.len() {
        return Err(format!("tune: not as before: {moved:?}"));
    }
    Ok(format!("tune: {changed} settings applied once, {} files as before after undo", after.len()))
}

/// A root in which only the disk and the namespace are real.
fn tree(root: &Path, device: &str) -> Result<(), String> {
    for path in COPIED {
        let (from, to) = (Path::new("/").join(path), root.join(path));
        create(&to)?;
        let text = read(&from)?;
        fs::write(&to, text).map_err(|error| format!("{}: {error}", to.display()))?;
    }
    let links = [
        ("proc/sys/net".to_owned(), "/proc/sys/net".to_owned()),
        ("sys/dev/block".to_owned(), "/sys/dev/block".to_owned()),
        (format!("sys/block/{device}"), format!("/sys/block/{device}")),
    ];
    for (path, to) in links {
        let path = root.join(path);
        create(&path)?;
        symlink(&to, &path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn create(path: &Path) -> Result<(), String> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}

/// Apply, the namespace's setting, apply, the same, undo, the same: what each printed.
fn steps(binary: &Path, root: &Path, data: &Path) -> Result<Vec<String>, String> {
    let script = format!(
        "set -eu; next() {{ echo ----; cat {NET}; echo ----; }}; tune() {{ \"$0\" tune \"$@\" \
         --root \"$ROOT\"; }}; tune apply --data \"$DATA\"; next; tune apply --data \"$DATA\"; \
         next; tune undo; next"
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", &script]).arg(binary);
    command.env("ROOT", root).env("DATA", data);
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(format!("tune: {}: {why}\n{said}", output.status));
    }
    let parts = said.split("----").map(|part| part.trim().to_owned());
    Ok(parts.filter(|part| !part.is_empty()).collect())
}

/// Every readable file of the queue and of the copies, with its text.
fn snapshot(root: &Path, queue: &Path) -> Result<BTreeMap<PathBuf, String>, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![queue.to_owned(), queue.join("iosched"), root.join("proc/sys/vm")];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for entry in entries.flatten() {
            let path = entry.path();
            if let Some(text) = path.is_file().then(|| fs::read_to_string(&path).ok()).flatten() {
                found.insert(path, text);
            }
        }
    }
    Ok(found)
}

fn write(path: &Path, value: &str) -> Result<(), String> {
    fs::write(path, value).map_err(|error| format!("{}: {error}", path.display()))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
