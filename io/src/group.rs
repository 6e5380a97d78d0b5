//! The memory limit of the process's control group, version 2 or 1.
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

/// The tightest limit of the groups listed in `groups` (the text of `/proc/self/cgroup`) below
/// the mounted `root`.
fn tightest(groups: &str, root: &Path) -> Option<u64> {
    groups.lines().filter_map(|line| limit_of(line, root)).min()
}

/// The tightest limit on the way from one group to the root.
fn limit_of(line: &str, root: &Path) -> Option<u64> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let (top, file): (PathBuf, &str) = match controllers {
        "" => (root.to_owned(), "memory.max"),
        list if list.split(',').any(|name| name == "memory") => {
            (root.join("memory"), "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let group = top.join(path.trim_start_matches('/'));
    let above = group.ancestors().take_while(|folder| folder.starts_with(&top));
    above.filter_map(|folder| number(&folder.join(file))).min()
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
