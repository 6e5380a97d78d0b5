//! Memory that outlives the process: a file of a memory file system, mapped.
//!
//! Its blocks are allocated when it is opened: a memory file system that fills up later would
//! otherwise end the process with `SIGBUS` at the first touch of a page. Under a service manager
//! that keeps descriptors the open file is kept there too, so that it survives the loss of its
//! name (RemoveIPC, a private /dev), and where no such file can be made a nameless one (memfd) is
//! kept instead. Never: another user's file, a symbolic link, or a fresh area in place of one
//! whose contents may be needed.

use std::fs::{self, File, OpenOptions};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::files;
use crate::driver::Errno;
use crate::region::Region;
use crate::service::StagingPlace;

/// Where staging files are: POSIX shared memory, a tmpfs on every distribution.
pub(super) const DIRECTORY: &str = "/dev/shm";

/// Opens or creates the area called `name` in `dir`. The flag says whether it survives the
/// process: where `dir` is no writable memory file system, or is full, the area is ordinary memory
/// that does not. An area that exists and cannot be used is an error: it may hold what the log
/// lacks.
///
/// With a `place` in the manager's store: a file with a name comes first (only a process outside
/// of the service can have made it after what the store has), then what the store has, then a new
/// file, then a memfd; whatever it is, the store has it before this returns.
pub(super) fn open(
    dir: &Path,
    name: &str,
    len_bytes: usize,
    place: Option<&mut StagingPlace>,
) -> Result<(Region, bool), Errno> {
    check_name(name)?;
    let path = dir.join(name);
    let existed = fs::symlink_metadata(&path).is_ok();
    let mut place = place;
    if !existed && let Some(left) = place.as_mut().and_then(|place| place.left.as_ref()) {
        return Ok((map(left, len_bytes)?, true));
    }
    match named(&path).and_then(|file| Ok((map(&file, len_bytes)?, file))) {
        Ok((region, file)) => {
            if let Some(place) = place {
                keep(place, file);
            }
            Ok((region, true))
        }
        Err(errno) if existed => Err(errno),
        Err(_) => {
            let _ = fs::remove_file(&path);
            let nameless = place.and_then(|place| nameless(place, len_bytes).ok());
            match nameless {
                Some(region) => Ok((region, true)),
                None => Ok((Region::try_anonymous(len_bytes)?, false)),
            }
        }
    }
}

/// Removes the area called `name` from `dir`, and from its place in the store; that it is not
/// there is no error.
pub(super) fn remove(
    dir: &Path,
    name: &str,
    place: Option<&mut StagingPlace>,
) -> Result<(), Errno> {
    check_name(name)?;
    if let Some(place) = place {
        place.left = None;
        if let Some(store) = place.store {
            store.forget(&place.name);
        }
    }
    match fs::remove_file(dir.join(name)) {
        Err(error) if !is_away(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

/// There is no such file, or nobody here can have made one.
fn is_away(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), NotFound | PermissionDenied | ReadOnlyFilesystem)
}

/// Puts the file in its place of the store. What was there before is of another file.
fn keep(place: &mut StagingPlace, file: File) -> bool {
    if place.left.as_ref().is_some_and(|left| same(left, &file)) {
        return true;
    }
    let Some(store) = place.store else { return false };
    if place.left.take().is_some() {
        store.forget(&place.name);
    }
    let kept = store.keep(&place.name, file.as_fd());
    place.left = Some(file);
    kept
}

fn same(one: &File, other: &File) -> bool {
    match (one.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// A new area without a name, in the store; an error when the store does not take it.
fn nameless(place: &mut StagingPlace, len_bytes: usize) -> Result<Region, Errno> {
    // SAFETY: a name that ends in zero; the call takes nothing else.
    let fd = unsafe { libc::memfd_create(c"weir-staging".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: the descriptor is new and owned by nobody else.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    let region = map(&file, len_bytes)?;
    if keep(place, file) { Ok(region) } else { Err(Errno(libc::ENOSPC)) }
}

fn check_name(name: &str) -> Result<(), Errno> {
    let fine = !name.is_empty() && name.len() <= 255 && !name.starts_with('.');
    if fine && !name.contains(['/', '\0']) { Ok(()) } else { Err(Errno(libc::EINVAL)) }
}

/// The file at `path`, made if it is not there; of this user and in memory.
fn named(path: &Path) -> Result<File, Errno> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)?;
    let found = file.metadata()?;
    // SAFETY: the call takes no pointers and cannot fail.
    let user = unsafe { libc::geteuid() };
    if !found.is_file() || found.uid() != user {
        return Err(Errno(libc::EPERM));
    }
    Ok(file)
}

/// Maps the first `len_bytes` of a file in memory.
fn map(file: &File, len_bytes: usize) -> Result<Region, Errno> {
    if !in_memory(file)? {
        return Err(Errno(libc::EOPNOTSUPP));
    }
    if file.metadata()?.len() > len_bytes as u64 {
        // A smaller area than before: what lies behind its end was read by the last start.
        file.set_len(len_bytes as u64)?;
    }
    files::reserve(file, len_bytes as u64)?;
    Region::shared(file, len_bytes)
}
/// Whether a file is in memory: it then survives the process, but not the machine.
fn in_memory(file: &File) -> Result<bool, Errno> {
    let mut answer = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: an open descriptor and a valid place for the answer.
    let failed = unsafe { libc::fstatfs(file.as_raw_fd(), answer.as_mut_ptr()) };
    if failed != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: filled by the call.
    let kind = unsafe { answer.assume_init() }.f_type;
    Ok([libc::TMPFS_MAGIC, libc::HUGETLBFS_MAGIC].contains(&kind))
}
