//! The names of a simulated disk: paths, what they stand for, and which changes are on the device.
//!
//! A creation, rename or removal is visible at once and durable when its directory is synced. A
//! power cut keeps a prefix of each directory's unsynced changes, drawn per directory, as a
//! journaling file system that orders changes within a directory and not between two would.
//! Never: a file without its directory; a rename that survives half.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::random::Random;
use crate::driver::Errno;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A directory.
    Dir,
    /// The file with this inode number.
    File(u64),
}

#[derive(Clone, Debug)]
enum Change {
    Link(PathBuf, Entry),
    Rename(PathBuf, PathBuf, Entry),
    Unlink(PathBuf),
}

impl Change {
    /// Whether syncing `dir` makes the change durable.
    fn is_in(&self, dir: &Path) -> bool {
        match self {
            Change::Link(path, _) | Change::Unlink(path) => path.parent() == Some(dir),
            Change::Rename(from, to, _) => from.parent() == Some(dir) || to.parent() == Some(dir),
        }
    }

    fn dir(&self) -> PathBuf {
        let (Change::Link(path, _) | Change::Unlink(path) | Change::Rename(_, path, _)) = self;
        path.parent().map(Path::to_path_buf).unwrap_or_default()
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Entry>) {
        match self {
            Change::Link(path, entry) => {
                names.insert(path.clone(), *entry);
            }
            Change::Rename(from, to, entry) => {
                names.remove(from);
                names.insert(to.clone(), *entry);
            }
            Change::Unlink(path) => {
                names.remove(path);
            }
        }
    }
}

/// All names of one disk.
#[derive(Debug, Default)]
pub(crate) struct Names {
    live: BTreeMap<PathBuf, Entry>,
    durable: BTreeMap<PathBuf, Entry>,
    pending: Vec<Change>,
}

impl Names {
    /// What `path` stands for now.
    pub(crate) fn get(&self, path: &Path) -> Option<Entry> {
        if path.parent().is_none() { Some(Entry::Dir) } else { self.live.get(path).copied() }
    }

    /// The file at `path`.
    pub(crate) fn file(&self, path: &Path) -> Result<u64, Errno> {
        match self.get(path) {
            Some(Entry::File(inode)) => Ok(inode),
            Some(Entry::Dir) => Err(Errno(libc::EISDIR)),
            None => Err(Errno(libc::ENOENT)),
        }
    }

    fn check_parent(&self, path: &Path) -> Result<(), Errno> {
        match path.parent().and_then(|dir| self.get(dir)) {
            Some(Entry::Dir) => Ok(()),
            Some(Entry::File(_)) => Err(Errno(libc::ENOTDIR)),
            None => Err(Errno(libc::ENOENT)),
        }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.pending.push(change);
    }

    /// A new file called `path`.
    pub(crate) fn create(&mut self, path: &Path, inode: u64) -> Result<(), Errno> {
        self.check_parent(path)?;
        assert!(self.get(path).is_none(), "a name is created once");
        self.change(Change::Link(path.to_path_buf(), Entry::File(inode)));
        Ok(())
    }

    /// Creates a directory and its parents; those there already are left alone.
    pub(crate) fn create_dir(&mut self, dir: &Path) -> Result<(), Errno> {
        let chain: Vec<&Path> = dir.ancestors().collect();
        for dir in chain.into_iter().rev() {
            match self.get(dir) {
                Some(Entry::Dir) => {}
                Some(Entry::File(_)) => return Err(Errno(libc::ENOTDIR)),
                None => self.change(Change::Link(dir.to_path_buf(), Entry::Dir)),
            }
        }
        Ok(())
    }

    /// Renames a file, over another one if need be.
    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Errno> {
        let inode = self.file(from)?;
        self.check_parent(to)?;
        if self.get(to) == Some(Entry::Dir) {
            return Err(Errno(libc::EISDIR));
        }
        if from != to {
            let change = Change::Rename(from.to_path_buf(), to.to_path_buf(), Entry::File(inode));
            self.change(change);
        }
        Ok(())
    }

    /// Removes a file's name.
    pub(crate) fn remove(&mut self, path: &Path) -> Result<(), Errno> {
        self.file(path)?;
        self.change(Change::Unlink(path.to_path_buf()));
        Ok(())
    }

    /// Names of the files in `dir`, sorted.
    pub(crate) fn list(&self, dir: &Path) -> Result<Vec<String>, Errno> {
        match self.get(dir) {
            Some(Entry::Dir) => {}
            Some(Entry::File(_)) => return Err(Errno(libc::ENOTDIR)),
            None => return Err(Errno(libc::ENOENT)),
        }
        let in_dir = self.live.iter().filter(|(path, _)| path.parent() == Some(dir));
        let files = in_dir.filter(|(_, entry)| matches!(entry, Entry::File(_)));
        Ok(files
            .filter_map(|(path, _)| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect())
    }

    /// Makes the changes in `dir` durable.
    pub(crate) fn sync_dir(&mut self, dir: &Path) -> Result<(), Errno> {
        if self.get(dir) != Some(Entry::Dir) {
            return Err(Errno(libc::ENOENT));
        }
        let durable = &mut self.durable;
        self.pending.retain(|change| {
            let covered = change.is_in(dir);
            if covered {
                change.apply(durable);
            }
            !covered
        });
        Ok(())
    }

    /// The power goes.
    pub(crate) fn cut(&mut self, random: &mut Random) {
        let mut counts: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for change in &self.pending {
            *counts.entry(change.dir()).or_default() += 1;
        }
        for count in counts.values_mut() {
            *count = random.size(0..*count + 1);
        }
        for change in std::mem::take(&mut self.pending) {
            if let Some(left) = counts.get_mut(&change.dir()).filter(|left| **left > 0) {
                *left -= 1;
                change.apply(&mut self.durable);
            }
        }
        // Parents sort before their children, so one pass drops whole lost trees.
        let mut kept: BTreeMap<PathBuf, Entry> = BTreeMap::new();
        for (path, entry) in std::mem::take(&mut self.durable) {
            let parent = path.parent().filter(|dir| dir.parent().is_some());
            if parent.is_none_or(|dir| kept.get(dir) == Some(&Entry::Dir)) {
                kept.insert(path, entry);
            }
        }
        self.live = kept.clone();
        self.durable = kept;
    }

    /// Inodes that any name, past or present, still leads to after some power cut.
    pub(crate) fn referenced(&self) -> BTreeSet<u64> {
        let pending = self.pending.iter().filter_map(|change| match change {
            Change::Link(_, entry) | Change::Rename(_, _, entry) => Some(entry),
            Change::Unlink(_) => None,
        });
        let entries = self.live.values().chain(self.durable.values()).chain(pending);
        entries
            .filter_map(|entry| match entry {
                Entry::File(inode) => Some(*inode),
                Entry::Dir => None,
            })
            .collect()
    }

    /// Inodes that have a name now.
    pub(crate) fn live_files(&self) -> impl Iterator<Item = (&Path, u64)> {
        self.live.iter().filter_map(|(path, entry)| match entry {
            Entry::File(inode) => Some((path.as_path(), *inode)),
            Entry::Dir => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let mut names = Names::default();
        names.create_dir(Path::new("/d")).unwrap();
        names.sync_dir(Path::new("/")).unwrap();
        names
    }

    #[test]
    fn unsynced_creations_survive_as_a_prefix_and_synced_ones_always() {
        let mut kept = [0; 4];
        for seed in 0..200 {
            let mut names = names();
            names.create(Path::new("/d/synced"), 9).unwrap();
            names.sync_dir(Path::new("/d")).unwrap();
            for (inode, path) in ["/d/a", "/d/b", "/d/c"].iter().enumerate() {
                names.create(Path::new(path), inode as u64).unwrap();
            }
            names.cut(&mut Random::new(seed, "t"));
            let list = names.list(Path::new("/d")).unwrap();
            assert_eq!(
                list,
                ["a", "b", "c", "synced"][..list.len() - 1]
                    .iter()
                    .copied()
                    .chain(["synced"])
                    .collect::<Vec<_>>()
            );
            kept[list.len() - 1] += 1;
        }
        assert!(kept.iter().all(|count| *count > 20), "{kept:?}");
    }

    #[test]
    fn a_rename_is_found_done_or_not_done() {
        let mut seen = BTreeSet::new();
        for seed in 0..50 {
            let mut names = names();
            names.create(Path::new("/d/old"), 1).unwrap();
            names.create(Path::new("/d/new"), 2).unwrap();
            names.sync_dir(Path::new("/d")).unwrap();
            names.rename(Path::new("/d/new"), Path::new("/d/old")).unwrap();
            names.cut(&mut Random::new(seed, "t"));
            seen.insert((
                names.list(Path::new("/d")).unwrap(),
                names.file(Path::new("/d/old")).unwrap(),
            ));
        }
        let done = (vec!["old".to_owned()], 2);
        let not_done = (vec!["new".to_owned(), "old".to_owned()], 1);
        assert_eq!(seen, BTreeSet::from([done, not_done]));
    }

    #[test]
    fn a_directory_that_was_never_synced_takes_its_files_with_it() {
        let mut lost = 0;
        for seed in 0..50 {
            let mut names = names();
            names.create_dir(Path::new("/d/sub")).unwrap();
            names.create(Path::new("/d/sub/file"), 1).unwrap();
            names.sync_dir(Path::new("/d/sub")).unwrap();
            names.cut(&mut Random::new(seed, "t"));
            lost += usize::from(names.file(Path::new("/d/sub/file")) == Err(Errno(libc::ENOENT)));
        }
        assert!((10..40).contains(&lost), "{lost}");
    }
}
