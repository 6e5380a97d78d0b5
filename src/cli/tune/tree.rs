//! The files of a box below a root: the real ones, or a copied tree.
//!
//! Paths are text without a leading slash. Reading is bounded; writing never creates a file and is
//! one call, as the kernel's own files want it.

use std::ffi::OsStr;
use std::fs;
use std::io::{Error, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// A file of the kernel is smaller; of a larger one only so much is read.
const READ_MAX: u64 = 4 * 1024 * 1024;

/// Takes a write of a text to a path.
#[cfg(test)]
type Kernel = fn(&Tree, &str, &str) -> Result<(), Error>;

/// A root and what lies below it.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    /// What a kernel would make of a write, in tests.
    #[cfg(test)]
    pub(super) kernel: Option<Kernel>,
}

impl Tree {
    /// The files below `root`; `/` is the machine itself.
    pub(crate) fn new(root: &Path) -> Tree {
        Tree {
            root: root.to_owned(),
            #[cfg(test)]
            kernel: None,
        }
    }

    /// Whether this is the machine itself.
    pub(crate) fn is_machine(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where `path` lies.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Whether there is something at `path`.
    pub(crate) fn has(&self, path: &str) -> bool {
        fs::symlink_metadata(self.at(path)).is_ok()
    }

    /// The text at `path`, without blanks at its ends. `Ok(None)`: there is no such file.
    pub(crate) fn read(&self, path: &str) -> Result<Option<String>, Error> {
        let file = match fs::File::open(self.at(path)) {
            Ok(file) => file,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(READ_MAX).read_to_end(&mut bytes)?;
        Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned()))
    }

    /// The text at `path`, or nothing when it cannot be read.
    pub(crate) fn text(&self, path: &str) -> String {
        self.read(path).ok().flatten().unwrap_or_default()
    }

    /// Writes `text` and a newline into the file that is at `path`.
    pub(crate) fn write(&self, path: &str, text: &str) -> Result<(), Error> {
        #[cfg(test)]
        if let Some(kernel) = self.kernel {
            return kernel(self, path, text);
        }
        let mut file = fs::OpenOptions::new().write(true).truncate(true).open(self.at(path))?;
        file.write_all(format!("{text}\n").as_bytes())
    }

    /// Names in a directory, sorted, those of numbers by number; empty when there is none.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.at(path)) else { return Vec::new() };
        let name = |entry: Result<fs::DirEntry, Error>| entry.ok()?.file_name().into_string().ok();
        let mut names: Vec<String> = entries.filter_map(name).collect();
        names.sort_by_key(|name| (name.parse::<u64>().unwrap_or(u64::MAX), name.clone()));
        names
    }

    /// The paths that `pattern` stands for, in which one component may be or hold a `*`. Only those
    /// that are there.
    pub(crate) fn matching(&self, pattern: &str) -> Vec<String> {
        let Some(star) = pattern.find('*') else {
            return if self.has(pattern) { vec![pattern.to_owned()] } else { Vec::new() };
        };
        let from = pattern[..star].rfind('/').map_or(0, |at| at + 1);
        let to = pattern[star..].find('/').map_or(pattern.len(), |at| star + at);
        let (folder, rest) = (&pattern[..from], &pattern[to..]);
        let (head, tail) = (&pattern[from..star], &pattern[star + 1..to]);
        self.names(folder)
            .into_iter()
            .filter(|name| name.starts_with(head) && name.ends_with(tail))
            .map(|name| format!("{folder}{name}{rest}"))
            .filter(|path| self.has(path))
            .collect()
    }

    /// Where the link at `path` leads in the end, below the root. `None`: nowhere.
    pub(crate) fn resolve(&self, path: &str) -> Option<PathBuf> {
        fs::canonicalize(self.at(path)).ok()
    }
}

fn is_missing(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// The last component of a path, as text.
pub(super) fn last(path: &Path) -> String {
    path.file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned()
}

/// The value of a setting: the word in brackets where the kernel lists all words.
pub(super) fn chosen(text: &str) -> &str {
    let bracketed = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    bracketed.map_or(text.trim(), |(word, _)| word)
}
