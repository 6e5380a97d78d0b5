//! The service manager (systemd): what it gives a process at start, and what it is told.
//!
//! It gives listening sockets and the descriptors that an earlier process of the same service
//! asked it to keep, each with a name; it is told of readiness, progress, liveness and the end.
//! Without a manager every call here does nothing. Never: a word to the manager on the path of a
//! message; a descriptor that was given and is closed without the caller's knowledge.

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::driver::Errno;

/// How long the manager may take to work off what it was told.
const PATIENCE_MS: i32 = 5_000;
/// Name of the descriptors that only find out whether the manager keeps any.
const PROBE: &str = "probe";
/// The longest text for people that is passed on, bytes.
const STATUS_MAX: usize = 1000;

/// What the manager gave this process at its start.
#[derive(Debug, Default)]
pub struct Given {
    /// Descriptors with their names, in the manager's order, which means nothing.
    pub named: Vec<(String, OwnedFd)>,
    /// The manager ends the process when it is not told "alive" for this long.
    pub watchdog: Option<Duration>,
}

impl Given {
    /// Takes what the environment names (`LISTEN_FDS`, `WATCHDOG_USEC`). Called once, first thing:
    /// the descriptors belong to the answer from then on. The error names the variable at fault.
    pub fn take() -> Result<Given, String> {
        let listed = sd_notify::listen_fds_with_names().map_err(|error| format!("{error}"))?;
        let named = listed
            .map(|(fd, name)| {
                // SAFETY: the manager opened it for this process (LISTEN_PID says so) and nobody
                // else here takes it: the caller calls once, before it opens anything.
                (name, unsafe { OwnedFd::from_raw_fd(fd) })
            })
            .collect();
        Ok(Given { named, watchdog: sd_notify::watchdog_enabled() })
    }
}

/// Whether there is a manager that listens.
pub fn is_managed() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// All listeners are open: the start is over.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&line(status))]);
}

/// What the process is doing now, for people.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(&line(status))]);
}

/// As [`status`], and that the start or the end may take this long from now.
pub fn progress(status: &str, may_take: Duration) {
    let usec = u32::try_from(may_take.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Status(&line(status)), NotifyState::ExtendTimeoutUsec(usec)]);
}

/// The process has begun to end.
pub fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(&line(status))]);
}

/// The process did real work since the last such word.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// A manager that does not listen is no reason to do anything else.
fn tell(words: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(words);
}

/// One line of bounded length: the manager refuses longer messages whole.
fn line(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c == '\n' { ' ' } else { c }).collect();
    let cut = (0..=STATUS_MAX.min(line.len())).rev().find(|at| line.is_char_boundary(*at));
    line.truncate(cut.unwrap_or(0));
    line
}

/// The manager's descriptor store. What is in it is given to the next process of the service.
#[derive(Clone, Copy, Debug)]
pub struct Store(());

impl Store {
    /// The store, when the manager has one with room for `places` more descriptors. systemd says
    /// neither whether it keeps a descriptor nor how many it would, so this many are handed over
    /// and looked at: one that was not kept was closed.
    pub fn find(places: usize) -> Option<Store> {
        if !is_managed() {
            return None;
        }
        let store = Store(());
        let mut ends = Vec::new();
        for _ in 0..places {
            let (mine, theirs) = UnixStream::pair().ok()?;
            store.hand_over(PROBE, theirs.as_fd()).ok()?;
            ends.push(mine);
        }
        let settled = settle();
        let kept = ends.iter().all(|end| !hung_up(end.as_fd(), 0));
        store.forget(PROBE);
        (settled && kept).then_some(store)
    }

    /// Gives a descriptor to be kept under a name (ASCII, no colon). True when the manager has
    /// worked that off: it then outlives this process.
    pub fn keep(self, name: &str, fd: BorrowedFd<'_>) -> bool {
        self.hand_over(name, fd).is_ok() && settle()
    }

    /// What is kept under a name is needed no more.
    pub fn forget(self, name: &str) {
        tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
        settle();
    }

    fn hand_over(self, name: &str, fd: BorrowedFd<'_>) -> std::io::Result<()> {
        // The manager would forget a descriptor at its first error, and cannot tell one that a
        // restart heals.
        let words =
            [NotifyState::FdStore, NotifyState::FdName(name), NotifyState::Custom("FDPOLL=0")];
        sd_notify::notify_with_fds(&words, &[fd])
    }
}

/// Waits until the manager has worked off all it was told before; false: it did not in time.
fn settle() -> bool {
    let Ok((mine, theirs)) = UnixStream::pair() else { return false };
    let told = sd_notify::notify_with_fds(&[NotifyState::Custom("BARRIER=1")], &[theirs.as_fd()]);
    drop(theirs);
    told.is_ok() && hung_up(mine.as_fd(), PATIENCE_MS)
}

/// Whether the other end of a pair is closed, now or within the time.
fn hung_up(end: BorrowedFd<'_>, wait_ms: i32) -> bool {
    let mut poll = libc::pollfd { fd: end.as_raw_fd(), events: 0, revents: 0 };
    loop {
        // SAFETY: one valid entry with an open descriptor.
        let found = unsafe { libc::poll(&raw mut poll, 1, wait_ms) };
        let interrupted =
            found < 0 && std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted;
        if !interrupted {
            return found > 0 && poll.revents & libc::POLLHUP != 0;
        }
    }
}

/// A descriptor as a listening TCP socket. `EINVAL`: it is something else.
pub fn as_listener(fd: OwnedFd) -> Result<TcpListener, Errno> {
    let (listens, stream) =
        (option(&fd, libc::SO_ACCEPTCONN)?, option(&fd, libc::SO_TYPE)? == libc::SOCK_STREAM);
    let listener = TcpListener::from(fd);
    // Another family than the two of TCP has no such address.
    match listener.local_addr() {
        Ok(_) if listens != 0 && stream => Ok(listener),
        _ => Err(Errno(libc::EINVAL)),
    }
}

fn option(fd: &OwnedFd, name: i32) -> Result<i32, Errno> {
    let (mut value, mut size) = (0_i32, size_of::<i32>() as libc::socklen_t);
    let place = (&raw mut value).cast();
    // SAFETY: an open descriptor, and a place of the size that these options take.
    let failed =
        unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, place, &raw mut size) };
    if failed == 0 { Ok(value) } else { Err(std::io::Error::last_os_error().into()) }
}

/// Where a driver's staging memory lives beyond the process, beside its file: a store's place.
#[derive(Debug)]
pub struct StagingPlace {
    /// The store, when it takes more; what is left in it is used either way.
    pub store: Option<Store>,
    /// Name of the place.
    pub name: String,
    /// What an earlier process left there.
    pub left: Option<File>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_line_of_bounded_length() {
        assert_eq!(line("a\nb"), "a b");
        let long = line(&"ö".repeat(STATUS_MAX));
        assert!(long.len() <= STATUS_MAX && long.chars().all(|c| c == 'ö'));
    }

    #[test]
    fn a_closed_end_is_seen_and_an_open_one_is_not() {
        let (mine, theirs) = UnixStream::pair().unwrap();
        assert!(!hung_up(mine.as_fd(), 0));
        drop(theirs);
        assert!(hung_up(mine.as_fd(), 0));
    }

    #[test]
    fn only_a_listening_tcp_socket_is_taken_for_one() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let taken = as_listener(listener.into()).unwrap();
        assert_eq!(taken.local_addr().unwrap(), addr);
        let datagram = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        assert!(as_listener(datagram.into()).is_err());
        let stream = std::net::TcpStream::connect(addr).unwrap();
        assert!(as_listener(stream.into()).is_err());
        let (pair, _other) = UnixStream::pair().unwrap();
        assert!(as_listener(pair.into()).is_err());
        let file = File::open("/dev/null").unwrap();
        assert_eq!(as_listener(file.into()).unwrap_err(), Errno(libc::ENOTSOCK));
    }

    #[test]
    fn without_a_manager_nothing_is_given_and_nothing_is_kept() {
        // The tests of this crate are not a service; a machine where they are still passes.
        if is_managed() {
            return;
        }
        assert!(Store::find(1).is_none());
    }
}
