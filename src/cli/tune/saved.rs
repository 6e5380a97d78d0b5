//! What was there before `weir tune apply` (or a trial of the knobs), on disk before anything is
//! changed.
//!
//! The first value counts: a second apply adds what is new and never overwrites. A boot puts the
//! kernel's settings back by itself, so that values of an earlier boot are dropped, except those
//! that outlive one. The file lies apart from the broker's data, in a folder of root's own.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::tree::Tree;
use crate::exit::{self, Stop};

const FOLDER: &str = "var/lib/weir-tune";
/// What `weir tune apply` changed.
pub(super) const APPLIED: &str = "saved.json";
/// What a trial of the knobs changed: another file, because a trial puts back what it found, and
/// undo what was there before the box was tuned.
pub(super) const TRIED: &str = "trial.json";
const VERSION: u32 = 1;

/// One file that was changed.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// The knob it was changed for.
    pub(super) knob: String,
    /// The file that was changed.
    pub(super) path: String,
    /// The file that undo writes, mostly the same.
    pub(super) restore: String,
    /// What undo writes.
    pub(super) value: String,
    /// A boot does not put it back.
    #[serde(default)]
    pub(super) persists: bool,
}

/// Everything that was changed and not undone, in the order of the changes.
#[derive(Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Saved {
    version: u32,
    /// [`APPLIED`] or [`TRIED`].
    #[serde(skip)]
    file: &'static str,
    /// The boot they were changed in.
    pub(super) boot: String,
    pub(super) entries: Vec<Entry>,
}

impl Saved {
    /// What stands on disk; `None`: nothing was applied. What a boot has put back since is left
    /// out.
    pub(super) fn load(tree: &Tree, boot: &str, file: &'static str) -> Result<Option<Saved>, Stop> {
        let path = path(tree, file);
        let failed = |why: String| {
            let line = format!(
                "{}: {why}; it holds the values before the change: restore it, or remove it \
                 to keep the settings as they are",
                path.display()
            );
            Stop::new(exit::FAILED, line)
        };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error.to_string())),
        };
        let mut saved: Saved =
            serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        if saved.version != VERSION {
            return Err(failed(format!("version {}, known is {VERSION}", saved.version)));
        }
        saved.file = file;
        if saved.boot != boot {
            saved.entries.retain(|entry| entry.persists);
            boot.clone_into(&mut saved.boot);
        }
        Ok(Some(saved))
    }

    /// Nothing yet, in this boot.
    pub(super) fn new(boot: &str, file: &'static str) -> Saved {
        Saved { version: VERSION, file, boot: boot.to_owned(), entries: Vec::new() }
    }

    /// Whether a file's old value is known.
    pub(super) fn knows(&self, path: &str) -> bool {
        self.entries.iter().any(|entry| entry.path == path)
    }

    /// Writes it so that it is there whole after a power cut; with no entry left it is removed.
    pub(super) fn store(&self, tree: &Tree) -> Result<(), Stop> {
        let kept =
            if self.entries.is_empty() { remove(tree, self.file) } else { self.replace(tree) };
        kept.map_err(|error| {
            let line = format!("{}: {error}; nothing was changed", path(tree, self.file).display());
            Stop::new(exit::FAILED, line)
        })
    }

    fn replace(&self, tree: &Tree) -> Result<(), std::io::Error> {
        let folder = tree.at(FOLDER);
        fs::create_dir_all(&folder)?;
        let fresh = folder.join(format!("{}.new", self.file));
        let mut file = fs::File::create(&fresh)?;
        file.write_all(serde_json::to_string_pretty(self)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, path(tree, self.file))?;
        fs::File::open(&folder)?.sync_all()
    }
}

fn remove(tree: &Tree, file: &str) -> Result<(), std::io::Error> {
    match fs::remove_file(path(tree, file)) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Err(_) => return Ok(()),
        Ok(()) => {}
    }
    fs::File::open(tree.at(FOLDER))?.sync_all()
}

/// Where it lies.
pub(super) fn path(tree: &Tree, file: &str) -> PathBuf {
    tree.at(FOLDER).join(file)
}
