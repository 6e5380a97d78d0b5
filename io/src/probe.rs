//! What weir needs of the machine, asked at start; what is missing is one line with its remedy.
//!
//! Each cause has its own exit code, so that a unit file or a script can tell them apart without
//! reading text. Never: a start that fails with a bare `EPERM`, or a feature that is found
//! missing only under load.

use std::ffi::CStr;
use std::fmt;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use io_uring::{IoUring, Probe, opcode};

use crate::ALIGN;
use crate::buf::Buf;
use crate::driver::Errno;

/// The oldest kernel that has all that weir uses. Deferred task work
/// (`IORING_SETUP_DEFER_TASKRUN`) came with it; repeating accept and provided buffer rings with
/// 5.19, repeating receive and single-issuer rings with 6.0.
pub const KERNEL_FLOOR: &str = "6.1";

/// Why the machine cannot carry a driver. Its text is one line: the cause, then the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetupError {
    /// `io_uring_setup` is refused with `EPERM`. The value of `kernel.io_uring_disabled`, when
    /// there is one: 0 means that a seccomp filter did it.
    Forbidden(Option<u8>),
    /// The ring's memory is refused for the limit on locked memory, in bytes.
    LockedMemory(u64),
    /// The kernel lacks something.
    KernelTooOld {
        /// The system call, flag, feature or operation.
        missing: &'static str,
        /// The running kernel's release.
        release: String,
    },
    /// The file system of a directory has no `O_DIRECT` for pieces of [`ALIGN`] bytes.
    NoDirectIo(PathBuf),
    /// A port is in use or may not be bound.
    Bind(SocketAddr, Errno),
    /// A directory cannot be created, read or written.
    Directory(PathBuf, Errno),
    /// Another call failed.
    Call(&'static str, Errno),
}

impl SetupError {
    /// The exit code of the process that ends for this: one per cause.
    pub fn exit_code(&self) -> u8 {
        match self {
            SetupError::KernelTooOld { .. } => 10,
            SetupError::Forbidden(_) => 11,
            SetupError::LockedMemory(_) => 12,
            SetupError::NoDirectIo(_) => 13,
            SetupError::Bind(..) => 14,
            SetupError::Directory(_, Errno::NO_SPACE) => 19,
            SetupError::Directory(..) => 18,
            SetupError::Call(..) => 21,
        }
    }

    /// The cause behind an error of `io_uring_setup`.
    pub(crate) fn from_setup(errno: Errno) -> SetupError {
        match errno.0 {
            libc::EPERM | libc::EACCES => {
                let setting = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
                SetupError::Forbidden(setting.ok().and_then(|text| text.trim().parse().ok()))
            }
            libc::ENOMEM => SetupError::LockedMemory(locked_memory_limit()),
            libc::ENOSYS => missing("io_uring_setup"),
            libc::EINVAL => missing("IORING_SETUP_DEFER_TASKRUN"),
            _ => SetupError::Call("io_uring_setup", errno),
        }
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetupError::Forbidden(Some(level @ 1..)) => write!(
                f,
                "io_uring is forbidden: kernel.io_uring_disabled is {level}; set it to 0 \
                 (sysctl kernel.io_uring_disabled=0)"
            ),
            SetupError::Forbidden(_) => f.write_str(
                "io_uring is forbidden, by a seccomp filter most likely; allow io_uring_setup, \
                 io_uring_enter and io_uring_register (Docker: --security-opt seccomp=<profile>)",
            ),
            SetupError::LockedMemory(limit) => write!(
                f,
                "no memory for the ring: RLIMIT_MEMLOCK is {limit} bytes; raise it \
                 (LimitMEMLOCK=infinity in the unit file, ulimit -l unlimited in a shell)"
            ),
            SetupError::KernelTooOld { missing, release } => write!(
                f,
                "Linux {release} lacks {missing}; weir needs Linux {KERNEL_FLOOR} or newer \
                 with CONFIG_IO_URING"
            ),
            SetupError::NoDirectIo(dir) => write!(
                f,
                "the file system of {} has no O_DIRECT for pieces of {ALIGN} bytes; put the data \
                 on ext4 or XFS on a local disk",
                dir.display()
            ),
            SetupError::Bind(addr, Errno(libc::EADDRINUSE)) => write!(
                f,
                "port {addr} is in use; stop the process that has it (ss -ltnp) or choose \
                 another port"
            ),
            SetupError::Bind(addr, errno) => write!(
                f,
                "cannot listen on {addr}: {errno}; choose an address of this machine and a port \
                 that this user may bind"
            ),
            SetupError::Directory(dir, Errno::NO_SPACE) => {
                write!(f, "there is no space left in {}: make room", dir.display())
            }
            SetupError::Directory(dir, errno) => write!(
                f,
                "cannot use {}: {errno}; make it a directory that this user can read and write",
                dir.display()
            ),
            SetupError::Call(call, errno) => write!(
                f,
                "{call} failed: {errno}; see the limits of this process (ulimit -a) and the \
                 kernel's log"
            ),
        }
    }
}

impl std::error::Error for SetupError {}

fn missing(missing: &'static str) -> SetupError {
    SetupError::KernelTooOld { missing, release: release() }
}

/// Checks what a ring can do beyond its set-up flags.
pub(crate) fn check_ring(ring: &IoUring) -> Result<(), SetupError> {
    let params = ring.params();
    let features = [
        (params.is_feature_nodrop(), "IORING_FEAT_NODROP"),
        (params.is_feature_ext_arg(), "IORING_FEAT_EXT_ARG"),
        (params.is_feature_fast_poll(), "IORING_FEAT_FAST_POLL"),
        (params.is_feature_submit_stable(), "IORING_FEAT_SUBMIT_STABLE"),
    ];
    let mut probe = Probe::new();
    let answer = ring.submitter().register_probe(&mut probe);
    answer.map_err(|error| SetupError::Call("io_uring_register", error.into()))?;
    let operations = [
        (opcode::Read::CODE, "IORING_OP_READ"),
        (opcode::Write::CODE, "IORING_OP_WRITE"),
        (opcode::Fsync::CODE, "IORING_OP_FSYNC"),
        (opcode::Accept::CODE, "IORING_OP_ACCEPT"),
        (opcode::Connect::CODE, "IORING_OP_CONNECT"),
        (opcode::Recv::CODE, "IORING_OP_RECV"),
        (opcode::Send::CODE, "IORING_OP_SEND"),
        (opcode::AsyncCancel::CODE, "IORING_OP_ASYNC_CANCEL"),
        // Not used, but of the release in which repeating receive appeared (6.0), which itself
        // cannot be asked for.
        (opcode::SendZc::CODE, "repeating receive (IORING_RECV_MULTISHOT)"),
    ];
    let supported = operations.map(|(code, name)| (probe.is_supported(code), name));
    match features.into_iter().chain(supported).find(|(there, _)| !there) {
        Some((_, name)) => Err(missing(name)),
        None => Ok(()),
    }
}

/// Checks that a ring can be made here, and gives it back at once.
pub fn probe_ring() -> Result<(), SetupError> {
    let ring = crate::uring::build_ring(8)?;
    check_ring(&ring)
}

/// Checks that files in `dir` can be created, and written and read with `O_DIRECT`.
pub fn probe_direct(dir: &Path) -> Result<(), SetupError> {
    let path = dir.join(format!(".weir-probe-{}", std::process::id()));
    let outcome = try_direct(dir, &path);
    let _ = std::fs::remove_file(&path);
    outcome
}

fn try_direct(dir: &Path, path: &Path) -> Result<(), SetupError> {
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_DIRECT | libc::O_NOFOLLOW)
        .open(path);
    let cause = |error: std::io::Error| match Errno::from(error) {
        Errno(libc::EINVAL | libc::EOPNOTSUPP) => SetupError::NoDirectIo(dir.to_path_buf()),
        errno => SetupError::Directory(dir.to_path_buf(), errno),
    };
    let file = opened.map_err(cause)?;
    let mut page = Buf::new(ALIGN);
    page.fill(0xA5);
    file.write_all_at(&page, ALIGN as u64).map_err(cause)?;
    page.fill(0);
    file.read_exact_at(&mut page, ALIGN as u64).map_err(cause)?;
    let same = page.iter().all(|byte| *byte == 0xA5);
    if same { Ok(()) } else { Err(SetupError::NoDirectIo(dir.to_path_buf())) }
}

/// Raises this process's limit on open descriptors to the most it is allowed, and gives it:
/// shells start processes with 1024, and each connection takes one.
pub fn raise_descriptor_limit() -> u64 {
    let mut limit = limit_of(libc::RLIMIT_NOFILE);
    let before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is initialised.
    let failed = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    if failed == 0 { limit.rlim_cur } else { before }
}

fn locked_memory_limit() -> u64 {
    limit_of(libc::RLIMIT_MEMLOCK).rlim_cur
}

fn limit_of(resource: libc::__rlimit_resource_t) -> libc::rlimit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the answer.
    let failed = unsafe { libc::getrlimit(resource, &raw mut limit) };
    assert!(failed == 0, "a limit that every kernel has");
    limit
}

/// The running kernel's release, as `uname -r`.
pub fn release() -> String {
    let mut names = MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: a valid place for the answer.
    unsafe { libc::uname(names.as_mut_ptr()) };
    // SAFETY: zeroed at first, so initialised whatever the call did.
    let names = unsafe { names.assume_init() };
    let bytes = names.release.map(|byte| byte.to_ne_bytes()[0]);
    let text = CStr::from_bytes_until_nul(&bytes).unwrap_or_default();
    text.to_string_lossy().into_owned()
}

/// Bytes of the file system that holds `dir`, in all.
pub fn disk_bytes(dir: &Path) -> Result<u64, crate::driver::Errno> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(dir.as_os_str().as_bytes())
        .map_err(|_| crate::driver::Errno(libc::EINVAL))?;
    let mut space = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: a valid path and a valid place for the answer.
    let failed = unsafe { libc::statvfs(path.as_ptr(), space.as_mut_ptr()) };
    if failed != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: the call succeeded, so it filled the place.
    let space = unsafe { space.assume_init() };
    Ok(space.f_blocks * space.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 10911))
    }

    #[test]
    fn every_cause_has_its_own_code_and_one_line_with_a_remedy() {
        let dir = PathBuf::from("/srv/weir");
        let old = SetupError::KernelTooOld { missing: "IORING_OP_SEND", release: "5.4.0".into() };
        let table = [
            (SetupError::Forbidden(Some(2)), 11, "io_uring_disabled is 2", "set it to 0"),
            (SetupError::Forbidden(Some(0)), 11, "seccomp", "allow io_uring_setup"),
            (SetupError::Forbidden(None), 11, "seccomp", "allow io_uring_setup"),
            (SetupError::LockedMemory(65536), 12, "65536 bytes", "LimitMEMLOCK"),
            (old, 10, "Linux 5.4.0 lacks IORING_OP_SEND", "6.1 or newer"),
            (SetupError::NoDirectIo(dir.clone()), 13, "/srv/weir has no O_DIRECT", "ext4"),
            (SetupError::Bind(addr(), Errno(libc::EADDRINUSE)), 14, "127.0.0.1:10911", "ss -l"),
            (SetupError::Bind(addr(), Errno(libc::EACCES)), 14, "denied", "may bind"),
            (SetupError::Directory(dir.clone(), Errno::NO_SPACE), 19, "/srv/weir", "space"),
            (SetupError::Directory(dir, Errno(libc::EACCES)), 18, "/srv/weir", "can read"),
            (SetupError::Call("io_uring_setup", Errno(libc::EMFILE)), 21, "many", "ulimit"),
        ];
        for (error, code, cause, remedy) in table {
            let line = error.to_string();
            assert_eq!(error.exit_code(), code, "{line}");
            assert!(line.contains(cause) && line.contains(remedy), "{line}");
            assert!(!line.contains('\n') && !line.contains("  "), "{line}");
        }
    }

    #[test]
    fn errors_of_the_set_up_call_are_told_apart() {
        let cause = |errno| SetupError::from_setup(Errno(errno)).exit_code();
        let calls = [libc::EPERM, libc::ENOMEM, libc::ENOSYS, libc::EINVAL, libc::EMFILE];
        assert_eq!(calls.map(cause), [11, 12, 10, 10, 21]);
    }

    /// Makes `io_uring_setup` fail with `errno` in the calling thread, as a container's seccomp
    /// profile does.
    fn forbid_rings(errno: i32) {
        const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
        const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
        let step = |code, k, jf| libc::sock_filter { code, jt: 0, jf, k };
        let refuse = libc::SECCOMP_RET_ERRNO | errno as u32;
        let mut program = [
            step(LOAD, 0, 0),
            step(EQUAL, libc::SYS_io_uring_setup as u32, 1),
            step(RETURN, refuse, 0),
            step(RETURN, libc::SECCOMP_RET_ALLOW, 0),
        ];
        let filter = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
        // SAFETY: the call takes no pointers.
        let first = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        let (mode, filter) = (libc::SECCOMP_MODE_FILTER, &raw const filter);
        // SAFETY: a valid program of the length said, for this thread alone.
        let second = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, filter) };
        assert_eq!((first, second), (0, 0), "a filter is allowed with no_new_privs");
    }

    #[test]
    fn a_seccomp_filter_is_named_as_the_cause() {
        for (errno, code, cause) in [(libc::EPERM, 11, "seccomp"), (libc::ENOSYS, 10, "lacks")] {
            let outcome = std::thread::spawn(move || {
                forbid_rings(errno);
                crate::Uring::new(crate::UringOptions::default()).err()
            });
            let error = outcome.join().unwrap().unwrap();
            assert_eq!(error.exit_code(), code);
            assert!(error.to_string().contains(cause), "{error}");
        }
    }

    #[test]
    fn this_machine_has_a_ring_and_a_release() {
        assert_eq!(probe_ring(), Ok(()));
        assert!(release().starts_with(|digit: char| digit.is_ascii_digit()));
    }

    #[test]
    fn direct_io_is_found_on_a_disk_and_a_missing_directory_is_named() {
        let missing = Path::new("/nonexistent/weir");
        let errno = Errno(libc::ENOENT);
        assert_eq!(probe_direct(missing), Err(SetupError::Directory(missing.into(), errno)));
        let proc = probe_direct(Path::new("/proc")).unwrap_err();
        assert_eq!(proc.exit_code(), 18);
        let target = std::env::current_exe().unwrap();
        assert_eq!(probe_direct(target.parent().unwrap()), Ok(()));
    }

    #[test]
    fn the_descriptor_limit_is_raised_to_the_hard_one() {
        let most = raise_descriptor_limit();
        assert_eq!(most, limit_of(libc::RLIMIT_NOFILE).rlim_max);
    }
}
