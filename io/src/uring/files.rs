//! Files: the blocking calls of set-up, roll and retention, and the table of open ones.
//!
//! A file that is closed while operations are in flight stays open until the last of them has
//! ended. Never: one of these calls on the message path.

use std::fs::{self, File as OsFile, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use super::setup::Uring;
use super::staging;
use crate::ALIGN;
use crate::driver::{Errno, File, OpenMode};
use crate::region::Region;
use crate::service::StagingPlace;

/// Pause between two tries for a lock or a port.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// A place of the table of files.
#[derive(Debug, Default)]
pub(super) struct FileSlot {
    file: Option<OsFile>,
    closed: bool,
    direct: bool,
    in_flight: u32,
}

impl FileSlot {
    /// The descriptor, also of a closed file with an operation in flight, and whether it is
    /// `O_DIRECT`.
    pub(super) fn parts(&self) -> (RawFd, bool) {
        (self.file.as_ref().map_or(-1, AsRawFd::as_raw_fd), self.direct)
    }
}

impl Uring {
    /// See [`crate::Driver::open`]. `EMFILE`: as many are open as the options allow.
    pub fn open(&mut self, path: &Path, mode: OpenMode) -> Result<File, Errno> {
        self.free_slot()?;
        let flags = if mode.direct { libc::O_DIRECT } else { 0 };
        let file = OpenOptions::new()
            .read(true)
            .write(mode.write || mode.create)
            .create(mode.create)
            .truncate(false)
            .mode(0o640)
            .custom_flags(flags | libc::O_CLOEXEC)
            .open(path)?;
        self.adopt_file(file, mode.direct)
    }

    /// Gives an open file a slot.
    pub(super) fn adopt_file(&mut self, file: OsFile, direct: bool) -> Result<File, Errno> {
        let index = self.free_slot()?;
        let slot = FileSlot { file: Some(file), closed: false, direct, in_flight: 0 };
        match self.files.get_mut(index) {
            Some(place) => *place = slot,
            None => self.files.push(slot),
        }
        Ok(File(index as u32))
    }

    fn free_slot(&self) -> Result<usize, Errno> {
        let free = self.files.iter().position(|slot| slot.file.is_none());
        let index = free.unwrap_or(self.files.len());
        if index < self.file_limit { Ok(index) } else { Err(Errno(libc::EMFILE)) }
    }

    /// See [`crate::Driver::close_file`].
    pub fn close_file(&mut self, file: File) {
        if self.opened(file).is_err() {
            return;
        }
        let slot = &mut self.files[file.0 as usize];
        slot.closed = true;
        if slot.in_flight == 0 {
            slot.file = None;
        }
    }

    /// The open file of a slot, or `EBADF`.
    fn opened(&self, file: File) -> Result<&OsFile, Errno> {
        let slot = self.files.get(file.0 as usize).filter(|slot| !slot.closed);
        slot.and_then(|slot| slot.file.as_ref()).ok_or(Errno(libc::EBADF))
    }

    /// An operation on the file begins; gives the descriptor.
    pub(super) fn file_begin(&mut self, file: File) -> RawFd {
        assert!(self.opened(file).is_ok(), "{file:?} is not open");
        let slot = &mut self.files[file.0 as usize];
        slot.in_flight += 1;
        self.disk_in_flight += 1;
        slot.parts().0
    }

    /// An operation on the file has ended.
    pub(super) fn file_end(&mut self, file: u32) {
        let slot = &mut self.files[file as usize];
        assert!(slot.in_flight > 0 && self.disk_in_flight > 0, "an end without a begin");
        slot.in_flight -= 1;
        self.disk_in_flight -= 1;
        if slot.closed && slot.in_flight == 0 {
            slot.file = None;
        }
    }

    /// See [`crate::Driver::file_len`].
    pub fn file_len(&mut self, file: File) -> Result<u64, Errno> {
        Ok(self.opened(file)?.metadata()?.len())
    }

    /// See [`crate::Driver::allocate`].
    pub fn allocate(&mut self, file: File, len_bytes: u64) -> Result<(), Errno> {
        reserve(self.opened(file)?, len_bytes)
    }

    /// See [`crate::Driver::lock`].
    pub fn lock(&mut self, file: File, patience: Duration) -> Result<bool, Errno> {
        lock_within(self.opened(file)?, patience)
    }

    /// See [`crate::Driver::sync_now`].
    pub fn sync_now(&mut self, file: File) -> Result<(), Errno> {
        Ok(self.opened(file)?.sync_data()?)
    }

    /// See [`crate::Driver::read_now`].
    pub fn read_now(&mut self, file: File, offset: u64, into: &mut [u8]) -> Result<usize, Errno> {
        let direct = self.files.get(file.0 as usize).is_some_and(|slot| slot.direct);
        let file = self.opened(file)?;
        let mut done = 0;
        while done < into.len() {
            match file.read_at(&mut into[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
            if direct && !done.is_multiple_of(ALIGN) {
                break;
            }
        }
        Ok(done)
    }

    /// See [`crate::Driver::write_now`].
    pub fn write_now(&mut self, file: File, offset: u64, from: &[u8]) -> Result<(), Errno> {
        Ok(self.opened(file)?.write_all_at(from, offset)?)
    }

    /// See [`crate::Driver::list`].
    pub fn list(&mut self, dir: &Path) -> Result<Vec<String>, Errno> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// See [`crate::Driver::create_dir`].
    pub fn create_dir(&mut self, dir: &Path) -> Result<(), Errno> {
        Ok(fs::create_dir_all(dir)?)
    }

    /// See [`crate::Driver::rename`].
    pub fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Errno> {
        Ok(fs::rename(from, to)?)
    }

    /// See [`crate::Driver::remove`].
    pub fn remove(&mut self, path: &Path) -> Result<(), Errno> {
        Ok(fs::remove_file(path)?)
    }

    /// See [`crate::Driver::sync_dir`].
    pub fn sync_dir(&mut self, dir: &Path) -> Result<(), Errno> {
        Ok(OsFile::open(dir)?.sync_all()?)
    }

    /// See [`crate::Driver::disk_space`]. Available is what a process without privileges gets.
    pub fn disk_space(&mut self, path: &Path) -> Result<(u64, u64), Errno> {
        let mut name = path.as_os_str().as_bytes().to_vec();
        name.push(0);
        let mut answer = MaybeUninit::<libc::statvfs>::zeroed();
        // SAFETY: a name that ends in zero and a valid place for the answer.
        let failed = unsafe { libc::statvfs(name.as_ptr().cast(), answer.as_mut_ptr()) };
        if failed != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        // SAFETY: filled by the call.
        let space = unsafe { answer.assume_init() };
        let unit = space.f_frsize;
        Ok((space.f_blocks.saturating_mul(unit), space.f_bavail.saturating_mul(unit)))
    }

    /// See [`crate::Driver::staging`].
    pub fn staging(&mut self, name: &str, len_bytes: usize) -> Result<(Region, bool), Errno> {
        let place = self.staging_place.as_mut();
        staging::open(Path::new(staging::DIRECTORY), name, len_bytes, place)
    }

    /// Staging memory is kept in this place of the manager's store too. Before
    /// [`Uring::staging`] is called.
    pub fn set_staging_place(&mut self, place: StagingPlace) {
        self.staging_place = Some(place);
    }

    /// See [`crate::Driver::staging_remove`].
    pub fn staging_remove(&mut self, name: &str) -> Result<(), Errno> {
        staging::remove(Path::new(staging::DIRECTORY), name, self.staging_place.as_mut())
    }
}

/// Takes an exclusive `flock` within `patience`; `Ok(false)`: another holds it.
pub(super) fn lock_within(file: &OsFile, patience: Duration) -> Result<bool, Errno> {
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error.into()),
            Err(TryLockError::WouldBlock) if start.elapsed() >= patience => return Ok(false),
            Err(TryLockError::WouldBlock) => std::thread::sleep(RETRY_PAUSE),
        }
    }
}

/// Allocates the blocks of the first `len_bytes` of a file and makes it at least that long; where
/// the file system cannot reserve, the file only becomes that long.
pub(super) fn reserve(file: &OsFile, len_bytes: u64) -> Result<(), Errno> {
    let len = i64::try_from(len_bytes).map_err(|_| Errno(libc::EFBIG))?;
    loop {
        // SAFETY: an open descriptor; the call takes no pointers.
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, len) } == 0 {
            return Ok(());
        }
        match std::io::Error::last_os_error().into() {
            Errno(libc::EINTR) => {}
            Errno(libc::EOPNOTSUPP) if file.metadata()?.len() < len_bytes => {
                return Ok(file.set_len(len_bytes)?);
            }
            Errno(libc::EOPNOTSUPP) => return Ok(()),
            errno => return Err(errno),
        }
    }
}
