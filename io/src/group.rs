//! The limits of the process's control group on memory and processor time, version 2 or 1.
//!
//! The tightest limit between the process's own group and the root counts. Nothing is changed
//! here, and a system without groups, or with another layout, simply has no limit.

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// The most memory this process's group may use, bytes; `None`: no limit is set.
pub fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    tightest(&groups, Path::new(ROOT))
}

/// The whole cores that the group's share of processor time (`CPUQuota=`) fills, at least 1;
/// `None`: it has no limit. Shards are pinned and busy: more of them than this would stop each
/// other in the middle of a turn.
pub fn cpu_limit() -> Option<usize> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    fewest_cores(&groups, Path::new(ROOT))
}

fn fewest_cores(groups: &str, root: &Path) -> Option<usize> {
    let of = |line: &str| {
        let second = above(line, root, "", "").into_iter().filter_map(|folder| {
            let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
            let (quota, period) = text.trim().split_once(' ')?;
            Some((quota.parse().ok()?, period.parse().ok()?))
        });
        let first = above(line, root, "cpu", "cpu").into_iter().filter_map(|folder| {
            let read = |name| fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok();
            Some((read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?))
        });
        let cores = |(quota, period): (i64, i64)| {
            (quota > 0 && period > 0).then(|| usize::try_from(quota / period).unwrap_or(1).max(1))
        };
        second.chain(first).filter_map(cores).min()
    };
    groups.lines().filter_map(of).min()
}

/// The folders of one line's group and of those above it, when the line is of `controller` (empty:
/// of version 2); `mount` is the controller's folder below the root.
fn above(line: &str, root: &Path, controller: &str, mount: &str) -> Vec<PathBuf> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { return vec![] };
    if !controllers.split(',').any(|name| name == controller) {
        return vec![];
    }
    let top = root.join(mount);
    let group = top.join(path.trim_start_matches('/'));
    let folders = group.ancestors().take_while(|folder| folder.starts_with(&top));
    folders.map(Path::to_owned).collect()
}

/// The tightest limit of the groups listed in `groups` (the text of `/proc/self/cgroup`) below
/// the mounted `root`.
fn tightest(groups: &str, root: &Path) -> Option<u64> {
    groups.lines().filter_map(|line| limit_of(line, root)).min()
}

/// The tightest limit on the way from one group to the root.
fn limit_of(line: &str, root: &Path) -> Option<u64> {
    let second = above(line, root, "", "");
    // Above `memory.high` the group is slowed down until it stands still.
    let files = ["memory.max", "memory.high"];
    let second = second.iter().flat_map(|folder| files.map(|file| folder.join(file)));
    let first = above(line, root, "memory", "memory");
    let first = first.iter().map(|folder| folder.join("memory.limit_in_bytes"));
    second.chain(first).filter_map(|file| number(&file)).min()
}

/// A limit as the kernel writes it: bytes, or a word or a huge number for "none".
fn number(path: &Path) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.trim().parse().ok().filter(|limit| *limit < 1 << 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("weir-group-{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_tightest_group_between_the_own_one_and_the_root_counts() {
        let root = folder(
            "two",
            &[
                ("a/memory.max", "536870912\n"),
                ("a/b/memory.max", "max\n"),
                ("a/b/c/memory.max", "1073741824\n"),
            ],
        );
        let found = tightest("0::/a/b/c\n", &root);
        let outside = tightest("0::/d\n", &root);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!((found, outside), (Some(536_870_912), None));
    }

    #[test]
    fn the_mark_at_which_a_group_is_slowed_down_counts_as_its_limit() {
        let root = folder("high", &[("a/memory.max", "max\n"), ("a/memory.high", "1048576\n")]);
        let found = tightest("0::/a\n", &root);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, Some(1_048_576));
    }

    #[test]
    fn a_share_of_processor_time_is_so_many_whole_cores() {
        let root = folder(
            "cpu",
            &[
                ("a/cpu.max", "350000 100000\n"),
                ("a/b/cpu.max", "max 100000\n"),
                ("c/cpu.max", "20000 100000\n"),
                ("cpu/x/cpu.cfs_quota_us", "200000\n"),
                ("cpu/x/cpu.cfs_period_us", "100000\n"),
                ("cpu/cpu.cfs_quota_us", "-1\n"),
                ("cpu/cpu.cfs_period_us", "100000\n"),
            ],
        );
        let groups = ["0::/a/b\n", "0::/c\n", "3:cpu,cpuacct:/x\n", "3:cpu,cpuacct:/\n"];
        let found = groups.map(|group| fewest_cores(group, &root));
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, [Some(3), Some(1), Some(2), None]);
    }

    #[test]
    fn the_first_version_is_read_too_and_its_huge_number_is_none() {
        let root = folder(
            "one",
            &[
                ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory/x/memory.limit_in_bytes", "268435456\n"),
                ("cpu/x/memory.limit_in_bytes", "1\n"),
            ],
        );
        let found = tightest("9:cpu:/x\n5:memory,hugetlb:/x\n", &root);
        let free = tightest("5:memory:/\n", &root);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!((found, free), (Some(268_435_456), None));
    }
}
