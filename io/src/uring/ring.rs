//! The ring itself: entries in, one system call, completions out.
//!
//! An entry that finds the queue full is submitted after those before it, in order, and never
//! lost. Waiting shows as idle, not as waiting for a disk, unless a disk operation is in flight.
//! Never: a look at what an entry means.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::{IoUring, cqueue};

use crate::driver::Errno;

const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_REGISTERED_RING: u32 = 1 << 4;
const ENTER_NO_IOWAIT: u32 = 1 << 7;
const REGISTER_RING_FDS: u32 = 20;
const UNREGISTER_RING_FDS: u32 = 21;

/// One completion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    /// Number of the operation.
    pub user_data: u64,
    /// Count, descriptor, or a negative error number.
    pub result: i32,
    /// The kernel's `IORING_CQE_F_*`.
    pub flags: u32,
}

impl Completion {
    /// Whether the operation goes on and will complete again.
    pub(super) fn more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// The provided buffer that was taken.
    pub(super) fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }

    /// The result as a count.
    pub(super) fn count(&self) -> Result<usize, Errno> {
        usize::try_from(self.result).map_err(|_| Errno(-self.result))
    }
}

/// How long to stay in the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// At most this long; `None` is for ever.
    pub timeout: Option<Duration>,
    /// Whether a disk operation is in flight, so that waiting counts as `iowait`.
    pub disk: bool,
    /// The bell's eventfd, on which a read is in flight.
    pub bell: RawFd,
}

/// A submission and a completion queue shared with the kernel.
pub(super) struct Ring {
    io: IoUring,
    backlog: VecDeque<Entry>,
    /// Index in the thread's table of ring descriptors, which saves a look-up per call.
    registered: Option<u32>,
    /// Signalled by the kernel at completions, on kernels where waiting in the ring always counts
    /// as waiting for a disk (before 6.15).
    signal: Option<OwnedFd>,
}

/// `struct io_uring_getevents_arg`.
#[repr(C)]
struct EventsArg {
    sigmask: u64,
    sigmask_bytes: u32,
    min_wait_us: u32,
    timeout: u64,
}

/// `struct __kernel_timespec`.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct RingUpdate {
    offset: u32,
    reserved: u32,
    fd: u64,
}

impl Ring {
    /// Takes over a ring that was set up by this thread.
    pub(super) fn new(io: IoUring) -> Result<Ring, Errno> {
        let mut ring = Ring { io, backlog: VecDeque::new(), registered: None, signal: None };
        if !ring.io.params().is_feature_no_iowait() {
            ring.wait_by_signal()?;
        }
        let fd = ring.fd() as u64;
        let mut update = RingUpdate { offset: u32::MAX, reserved: 0, fd };
        // The table has 16 places a thread; without one the descriptor itself is used.
        if ring.register(REGISTER_RING_FDS, &mut update) == 1 {
            ring.registered = Some(update.offset);
        }
        Ok(ring)
    }

    /// The set-up ring, for registrations.
    pub(super) fn io(&self) -> &IoUring {
        &self.io
    }

    /// Waits for disk-less operations on an eventfd instead of in the ring. The ring's own
    /// descriptor cannot be polled for this: deferred task work does not wake its pollers.
    pub(super) fn wait_by_signal(&mut self) -> Result<(), Errno> {
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        // SAFETY: the descriptor is new and owned by nobody else.
        let signal = unsafe { OwnedFd::from_raw_fd(fd) };
        self.io.submitter().register_eventfd(fd)?;
        self.signal = Some(signal);
        Ok(())
    }

    fn fd(&self) -> RawFd {
        self.io.as_raw_fd()
    }

    fn register(&self, code: u32, update: &mut RingUpdate) -> i64 {
        let (call, fd) = (libc::SYS_io_uring_register, self.fd());
        // SAFETY: one valid update for a code that takes updates.
        unsafe { libc::syscall(call, fd, code, &raw mut *update, 1_u32) }
    }

    /// Queues an entry, submitting what is queued already when there is no room.
    pub(super) fn push(&mut self, entry: Entry) {
        if self.backlog.is_empty() {
            if self.try_push(&entry) {
                return;
            }
            // An error here is temporary (completions must be taken first) and comes back from
            // the next call that waits, if it does not go away.
            let _ = self.submit();
            if self.try_push(&entry) {
                return;
            }
        }
        self.backlog.push_back(entry);
    }

    fn try_push(&mut self, entry: &Entry) -> bool {
        let mut queue = self.io.submission();
        // SAFETY: the memory that the entry points to is owned by its operation in the slab, which
        // keeps it until the last completion.
        unsafe { queue.push(entry) }.is_ok()
    }

    /// Moves the backlog into the queue; `true` when all of it found room.
    fn refill(&mut self) -> bool {
        while let Some(entry) = self.backlog.pop_front() {
            if !self.try_push(&entry) {
                self.backlog.push_front(entry);
                return false;
            }
        }
        true
    }

    /// Submits everything, without waiting.
    pub(super) fn submit(&mut self) -> Result<(), Errno> {
        loop {
            let all = self.refill();
            if self.queued() == 0 {
                return Ok(());
            }
            let submitted = self.enter(0, 0, None)?;
            if all && self.queued() == 0 {
                return Ok(());
            }
            if submitted == 0 {
                return Err(Errno(libc::EBUSY));
            }
        }
    }

    /// Submits everything and takes what has completed, without waiting; no system call when
    /// there is nothing to do.
    pub(super) fn poll(&mut self) -> Result<(), Errno> {
        while !self.refill() {
            let submitted = self.enter(0, ENTER_GETEVENTS, None)?;
            if submitted == 0 || !self.io.completion().is_empty() {
                return Ok(());
            }
        }
        let queue = self.io.submission();
        let idle = queue.is_empty() && !queue.taskrun() && !queue.cq_overflow();
        drop(queue);
        if idle {
            return Ok(());
        }
        self.enter(0, ENTER_GETEVENTS, None).map(drop)
    }

    /// Submits everything, then waits for at least one completion.
    pub(super) fn wait(&mut self, patience: Patience) -> Result<(), Errno> {
        if !self.refill() || !self.io.completion().is_empty() {
            return self.poll();
        }
        if patience.disk {
            return self.enter(1, ENTER_GETEVENTS, patience.timeout).map(drop);
        }
        let Some(signal) = self.signal.as_ref().map(AsRawFd::as_raw_fd) else {
            let flags = ENTER_GETEVENTS | ENTER_NO_IOWAIT;
            return self.enter(1, flags, patience.timeout).map(drop);
        };
        // Emptied before the last look, so that what completes after the look is noticed.
        empty(signal);
        self.enter(0, ENTER_GETEVENTS, None)?;
        if self.io.completion().is_empty() {
            wait_readable([signal, patience.bell], patience.timeout)?;
            self.enter(0, ENTER_GETEVENTS, None)?;
        }
        Ok(())
    }

    /// Moves all completions that are there into `into`.
    pub(super) fn take(&mut self, into: &mut Vec<Completion>) {
        into.extend(self.io.completion().map(|entry| Completion {
            user_data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }));
    }

    fn queued(&mut self) -> u32 {
        self.io.submission().len() as u32
    }

    /// One system call; gives how many entries it took. That time has passed or a signal has come
    /// is no error.
    fn enter(&mut self, want: u32, flags: u32, time: Option<Duration>) -> Result<u32, Errno> {
        let count = self.queued();
        let time = time.map(|time| Timespec {
            seconds: time.as_secs().min(i64::MAX as u64) as i64,
            nanoseconds: time.subsec_nanos().into(),
        });
        let timeout = time.as_ref().map_or(0, |time| std::ptr::from_ref(time) as u64);
        let arg = EventsArg { sigmask: 0, sigmask_bytes: 0, min_wait_us: 0, timeout };
        let (fd, known) = match self.registered {
            Some(index) => (index as i32, ENTER_REGISTERED_RING),
            None => (self.fd(), 0),
        };
        let flags = flags | known | ENTER_EXT_ARG;
        let (call, size) = (libc::SYS_io_uring_enter, size_of::<EventsArg>());
        // SAFETY: `arg` and the time it points to live through the call; the memory of every
        // entry is owned by its operation in the slab.
        let done = unsafe { libc::syscall(call, fd, count, want, flags, &raw const arg, size) };
        if done >= 0 {
            return Ok(done as u32);
        }
        match std::io::Error::last_os_error().into() {
            Errno(libc::ETIME | libc::EINTR) => Ok(0),
            errno => Err(errno),
        }
    }
}

/// Resets an eventfd.
fn empty(eventfd: RawFd) {
    let mut count = [0_u8; 8];
    // SAFETY: eight writable bytes. It fails when the count is zero, which is as good.
    unsafe { libc::read(eventfd, count.as_mut_ptr().cast(), count.len()) };
}

/// Waits outside of the ring. That a signal has come is no error. The bell is waited for itself:
/// a write to one eventfd that completes an operation signals the other one late or never.
fn wait_readable(fds: [RawFd; 2], timeout: Option<Duration>) -> Result<(), Errno> {
    let mut polls = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    let time = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: two valid entries, a valid time or none, no signal mask.
    if unsafe { libc::ppoll(polls.as_mut_ptr(), 2, time, std::ptr::null()) } >= 0 {
        return Ok(());
    }
    match std::io::Error::last_os_error().into() {
        Errno(libc::EINTR) => Ok(()),
        errno => Err(errno),
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if let Some(offset) = self.registered {
            // The table holds the ring open for as long as the thread lives.
            let mut update = RingUpdate { offset, reserved: 0, fd: 0 };
            self.register(UNREGISTER_RING_FDS, &mut update);
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ring({} in the backlog)", self.backlog.len())
    }
}

#[cfg(test)]
mod tests {
    use io_uring::opcode;

    use super::*;

    #[test]
    fn entries_that_found_the_queue_full_are_submitted_in_order() {
        let mut ring = Ring::new(crate::uring::build_ring(8).unwrap()).unwrap();
        // A kernel that is short of memory takes nothing at first.
        ring.backlog.extend((0..50).map(|number| opcode::Nop::new().build().user_data(number)));
        ring.push(opcode::Nop::new().build().user_data(50));
        assert_eq!(ring.backlog.len(), 51, "not before those that wait");
        let mut seen = Vec::new();
        let patience = Patience { timeout: Some(Duration::from_secs(5)), disk: false, bell: -1 };
        while seen.len() < 51 {
            ring.wait(patience).unwrap();
            ring.take(&mut seen);
        }
        let order: Vec<u64> = seen.iter().map(|completion| completion.user_data).collect();
        assert_eq!(order, (0..51).collect::<Vec<u64>>());

        ring.backlog.extend((0..20).map(|number| opcode::Nop::new().build().user_data(number)));
        ring.submit().unwrap();
        ring.poll().unwrap();
        seen.clear();
        ring.take(&mut seen);
        assert_eq!(seen.len(), 20);
    }
}
