//! Memory that outlives the process: a file of a memory file system, mapped.
//!
//! Its blocks are allocated when it is opened: a memory file system that fills up later would
//! otherwise end the process with `SIGBUS` at the first touch of a page. Never: another user's
//! file, a symbolic link, or a fresh area in place of one whose contents may be needed.

use std::fs::{self, File, OpenOptions};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::files;
use crate::driver::Errno;
use crate::region::Region;

/// Where staging files are: POSIX shared memory, a tmpfs on every distribution.
pub(super) const DIRECTORY: &str = "/dev/shm";

/// Opens or creates the area called `name` in `dir`. The flag says whether it survives the
/// process: where `dir` is no writable memory file system, or is full, the area is ordinary memory
/// that does not. An area that exists and cannot be used is an error: it may hold what the log
/// lacks.
pub(super) fn open(dir: &Path, name: &str, len_bytes: usize) -> Result<(Region, bool), Errno> {
    check_name(name)?;
    let path = dir.join(name);
    let existed = fs::symlink_metadata(&path).is_ok();
    match map(&path, len_bytes) {
        Ok(region) => Ok((region, true)),
        Err(errno) if existed => Err(errno),
        Err(_) => {
            let _ = fs::remove_file(&path);
            Ok((Region::try_anonymous(len_bytes)?, false))
        }
    }
}

/// Removes the area called `name` from `dir`; that it is not there is no error.
pub(super) fn remove(dir: &Path, name: &str) -> Result<(), Errno> {
    check_name(name)?;
    match fs::remove_file(dir.join(name)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), Errno> {
    let fine = !name.is_empty() && name.len() <= 255 && !name.starts_with('.');
    if fine && !name.contains(['/', '\0']) { Ok(()) } else { Err(Errno(libc::EINVAL)) }
}

fn map(path: &Path, len_bytes: usize) -> Result<Region, Errno> {
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
    if !in_memory(&file)? {
        return Err(Errno(libc::EOPNOTSUPP));
    }
    if found.len() > len_bytes as u64 {
        // A smaller area than before: what lies behind its end was read by the last start.
        file.set_len(len_bytes as u64)?;
    }
    files::reserve(&file, len_bytes as u64)?;
    Region::shared(&file, len_bytes)
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
