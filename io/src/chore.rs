//! Chores: file work that waits for the journal of the file system, done beside the loop.
//!
//! Making a file of a gibibyte, renaming one or removing it can take a second on a busy device,
//! and io_uring has no operation for some of it. A driver on io_uring has one thread for them, a
//! simulated one does them in simulated time; a few wait in line, one is done at a time, in the
//! order asked for. Never: a chore on the message path, or one whose end is not told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::buf::Buf;
use crate::driver::{Driver, Errno, File, OpenMode};

/// Chores that wait at most; one more fails with `EBUSY`.
pub const CHORES_MAX: usize = 16;

/// One piece of work. Its end is an [`crate::Event::Chored`].
#[derive(Debug)]
pub enum Chore {
    /// Makes an `O_DIRECT` file of `size_bytes`, locked, with `head` (a multiple of
    /// [`crate::ALIGN`]) at byte 0, all of it durable with its name. Gives the open file. Fails
    /// with `EIO` when another process keeps the lock for longer than `patience`; a file that
    /// could not be finished is removed.
    Make {
        /// Name of the file.
        path: PathBuf,
        /// Bytes reserved.
        size_bytes: u64,
        /// The first bytes.
        head: Buf,
        /// Longest wait for the lock.
        patience: Duration,
    },
    /// Writes `head` over the first bytes of `from`, durably, and then gives it the name `to`.
    Reuse {
        /// Name of the file.
        from: PathBuf,
        /// Its new name, in the same folder.
        to: PathBuf,
        /// The first bytes.
        head: Buf,
    },
    /// Gives a file another name in its folder, durably.
    Rename {
        /// Name of the file.
        from: PathBuf,
        /// Its new name.
        to: PathBuf,
    },
    /// Removes a file, durably.
    Remove {
        /// Name of the file.
        path: PathBuf,
    },
    /// Reserves the first `len_bytes` of a file.
    Reserve {
        /// Name of the file.
        path: PathBuf,
        /// Bytes from its beginning.
        len_bytes: u64,
    },
}

/// The calls a chore is made of: a driver's own, or a thread's.
pub(crate) trait Calls {
    /// An open file.
    type File;
    /// See [`Driver::open`].
    fn open(&mut self, path: &Path, mode: OpenMode) -> Result<Self::File, Errno>;
    /// See [`Driver::close_file`].
    fn close(&mut self, file: Self::File);
    /// See [`Driver::lock`].
    fn lock(&mut self, file: &Self::File, patience: Duration) -> Result<bool, Errno>;
    /// See [`Driver::allocate`].
    fn allocate(&mut self, file: &Self::File, len_bytes: u64) -> Result<(), Errno>;
    /// Writes at byte 0 and flushes the file.
    fn put_head(&mut self, file: &Self::File, head: &[u8]) -> Result<(), Errno>;
    /// See [`Driver::rename`].
    fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Errno>;
    /// See [`Driver::remove`].
    fn remove(&mut self, path: &Path) -> Result<(), Errno>;
    /// See [`Driver::sync_dir`].
    fn sync_dir(&mut self, dir: &Path) -> Result<(), Errno>;
}

/// Does a chore, blocking. Gives the file that [`Chore::Make`] made.
pub(crate) fn run<C: Calls>(calls: &mut C, chore: Chore) -> Result<Option<C::File>, Errno> {
    match chore {
        Chore::Make { path, size_bytes, head, patience } => {
            make(calls, &path, size_bytes, &head, patience).map(Some)
        }
        Chore::Reuse { from, to, head } => {
            let file = calls.open(&from, DIRECT)?;
            let put = calls.put_head(&file, &head);
            calls.close(file);
            put.and_then(|()| rename(calls, &from, &to)).map(|()| None)
        }
        Chore::Rename { from, to } => rename(calls, &from, &to).map(|()| None),
        Chore::Remove { path } => {
            calls.remove(&path)?;
            calls.sync_dir(folder(&path)).map(|()| None)
        }
        Chore::Reserve { path, len_bytes } => {
            let file = calls.open(&path, OpenMode { write: true, ..OpenMode::default() })?;
            let reserved = calls.allocate(&file, len_bytes);
            calls.close(file);
            reserved.map(|()| None)
        }
    }
}

const DIRECT: OpenMode = OpenMode { create: false, write: true, direct: true };

fn make<C: Calls>(
    calls: &mut C,
    path: &Path,
    size_bytes: u64,
    head: &[u8],
    patience: Duration,
) -> Result<C::File, Errno> {
    let file = calls.open(path, OpenMode { create: true, ..DIRECT })?;
    let made = calls
        .lock(&file, patience)
        .and_then(|locked| if locked { Ok(()) } else { Err(Errno::IO) })
        .and_then(|()| calls.allocate(&file, size_bytes))
        .and_then(|()| calls.put_head(&file, head))
        .and_then(|()| calls.sync_dir(folder(path)));
    if let Err(errno) = made {
        calls.close(file);
        // Half a file helps nobody and holds the space that reads and deletes need.
        let _ = calls.remove(path);
        return Err(errno);
    }
    Ok(file)
}

fn rename<C: Calls>(calls: &mut C, from: &Path, to: &Path) -> Result<(), Errno> {
    calls.rename(from, to)?;
    calls.sync_dir(folder(to))
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

impl Calls for Driver {
    type File = File;

    fn open(&mut self, path: &Path, mode: OpenMode) -> Result<File, Errno> {
        Driver::open(self, path, mode)
    }

    fn close(&mut self, file: File) {
        self.close_file(file);
    }

    fn lock(&mut self, file: &File, patience: Duration) -> Result<bool, Errno> {
        Driver::lock(self, *file, patience)
    }

    fn allocate(&mut self, file: &File, len_bytes: u64) -> Result<(), Errno> {
        Driver::allocate(self, *file, len_bytes)
    }

    fn put_head(&mut self, file: &File, head: &[u8]) -> Result<(), Errno> {
        self.write_now(*file, 0, head)?;
        self.sync_now(*file)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Errno> {
        Driver::rename(self, from, to)
    }

    fn remove(&mut self, path: &Path) -> Result<(), Errno> {
        Driver::remove(self, path)
    }

    fn sync_dir(&mut self, dir: &Path) -> Result<(), Errno> {
        Driver::sync_dir(self, dir)
    }
}
