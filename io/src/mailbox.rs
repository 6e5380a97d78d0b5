//! Bounded mailboxes between threads, and the bell that tells a sleeping receiver to look.
//!
//! A mailbox is a lock-free array queue; a bell is one flag and one eventfd that lies in the
//! receiver's ring. The eventfd is written only when the receiver has said that it goes to sleep
//! and nobody has rung since, so a busy receiver costs its senders no system call. Never: a ring
//! that is lost, an unbounded queue, or a sender that blocks on another (the lock around the bell
//! is taken for writing only when a receiver gets another driver).

use std::fmt;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;

use crate::driver::Errno;

/// Wakes one receiver. Rings between two looks of the receiver count as one.
#[derive(Clone)]
pub struct Bell(Kind);

#[derive(Clone)]
enum Kind {
    Thread(Arc<ThreadBell>),
    #[cfg(feature = "sim")]
    Sim(Arc<SimBell>),
}

/// The bell of a thread.
///
/// `rung` and `asleep` are the two flags of Dekker's algorithm: each side stores its own, then
/// reads the other's, both sequentially consistent, so at least one of them sees the other.
struct ThreadBell {
    rung: AtomicBool,
    asleep: AtomicBool,
    eventfd: OwnedFd,
}

impl Bell {
    /// A bell for a thread. Drivers have their own, see [`crate::Driver::bell`]; this is for
    /// threads without a ring, which call [`Bell::wait`]. Fails when no descriptor is left.
    pub fn new() -> Result<Bell, Errno> {
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        // SAFETY: the descriptor is new and owned by nobody else.
        let eventfd = unsafe { OwnedFd::from_raw_fd(fd) };
        let (rung, asleep) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Bell(Kind::Thread(Arc::new(ThreadBell { rung, asleep, eventfd }))))
    }

    /// The bell of a simulated driver.
    #[cfg(feature = "sim")]
    pub(crate) fn sim(bell: Arc<SimBell>) -> Bell {
        Bell(Kind::Sim(bell))
    }

    /// Makes the receiver look, now or when it next would go to sleep.
    pub fn ring(&self) {
        match &self.0 {
            Kind::Thread(bell) => bell.ring(),
            #[cfg(feature = "sim")]
            Kind::Sim(bell) => bell.ring(),
        }
    }

    /// Blocks the calling thread until the bell rings or `timeout` has passed; says whether it
    /// rang. Only for bells of [`Bell::new`], and for one waiting thread.
    pub fn wait(&self, timeout: Duration) -> bool {
        let Some(bell) = self.thread() else { return false };
        let start = Instant::now();
        while !bell.fall_asleep() {
            // It has rung before or while going to sleep: no need to.
            if bell.take() {
                return true;
            }
        }
        let left = timeout.saturating_sub(start.elapsed());
        bell.poll(left.as_millis().try_into().unwrap_or(i32::MAX));
        bell.wake_up();
        bell.take()
    }

    fn thread(&self) -> Option<&ThreadBell> {
        match &self.0 {
            Kind::Thread(bell) => Some(bell),
            #[cfg(feature = "sim")]
            Kind::Sim(_) => None,
        }
    }

    /// Takes what was rung since the last look.
    pub(crate) fn take(&self) -> bool {
        self.thread().is_some_and(ThreadBell::take)
    }

    /// Says that the receiver will block; `false`: it must not, the bell has rung.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.thread().is_some_and(ThreadBell::fall_asleep)
    }

    /// Says that the receiver no longer blocks.
    pub(crate) fn wake_up(&self) {
        if let Some(bell) = self.thread() {
            bell.wake_up();
        }
    }

    /// The eventfd that becomes readable when a sleeping receiver is rung for.
    pub(crate) fn fd(&self) -> RawFd {
        self.thread().map_or(-1, |bell| bell.eventfd.as_raw_fd())
    }
}

impl ThreadBell {
    fn ring(&self) {
        let first = !self.rung.swap(true, Ordering::SeqCst);
        if first && self.asleep.load(Ordering::SeqCst) {
            let one = 1_u64.to_ne_bytes();
            let fd = self.eventfd.as_raw_fd();
            // SAFETY: eight readable bytes. It cannot fail: the counter is read at every wake-up,
            // so it never comes near its end.
            unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
        }
    }

    fn take(&self) -> bool {
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::SeqCst)
    }

    fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        let quiet = !self.rung.load(Ordering::SeqCst);
        if !quiet {
            self.wake_up();
        }
        quiet
    }

    fn wake_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Waits until the eventfd is readable and empties it.
    fn poll(&self, timeout_ms: i32) {
        let fd = self.eventfd.as_raw_fd();
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry.
        let ready = unsafe { libc::poll(&raw mut poll, 1, timeout_ms) };
        if ready > 0 {
            let mut count = [0_u8; 8];
            // SAFETY: eight writable bytes.
            unsafe { libc::read(fd, count.as_mut_ptr().cast(), count.len()) };
        }
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bell")
    }
}

/// The bell of a simulated driver: a flag that the world looks at.
#[cfg(feature = "sim")]
#[derive(Debug, Default)]
pub(crate) struct SimBell {
    rung: AtomicBool,
}

#[cfg(feature = "sim")]
impl SimBell {
    /// Rings it.
    pub(crate) fn ring(&self) {
        self.rung.store(true, Ordering::Release);
    }

    /// Whether it was rung since the last [`SimBell::take`].
    pub(crate) fn is_rung(&self) -> bool {
        self.rung.load(Ordering::Acquire)
    }

    /// Takes what was rung since the last look.
    pub(crate) fn take(&self) -> bool {
        self.rung.swap(false, Ordering::AcqRel)
    }
}

struct Shared<T> {
    queue: ArrayQueue<T>,
    /// Written when a receiver comes, once in the life of a driver.
    bell: RwLock<Option<Bell>>,
}

/// The sending end of a mailbox; clone it for several producers.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// The receiving end of a mailbox.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

/// A mailbox for at most `capacity` messages. It is silent until the receiver's thread says
/// with [`Receiver::attach`] which bell to ring.
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared { queue: ArrayQueue::new(capacity), bell: RwLock::new(None) });
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared })
}

impl<T> Sender<T> {
    /// Puts a message in and rings the receiver's bell. A full mailbox gives the message back.
    pub fn send(&self, message: T) -> Result<(), T> {
        self.shared.queue.push(message)?;
        // Without a bell the receiver is not there yet; its first look sees the message.
        let bell = self.shared.bell.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = bell.as_ref() {
            bell.ring();
        }
        Ok(())
    }

    /// Messages that lie in the mailbox, about.
    pub fn len(&self) -> usize {
        self.shared.queue.len()
    }

    /// Whether the mailbox is empty, about.
    pub fn is_empty(&self) -> bool {
        self.shared.queue.is_empty()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Receiver<T> {
    /// Says which bell senders ring from now on, and rings it for what lies there already. A
    /// receiver that gets another driver says so again.
    pub fn attach(&self, bell: Bell) {
        *self.shared.bell.write().unwrap_or_else(PoisonError::into_inner) = Some(bell.clone());
        bell.ring();
    }

    /// The oldest message. After [`crate::Event::Woken`] the receiver takes until `None`: the
    /// next message rings again.
    pub fn receive(&self) -> Option<T> {
        self.shared.queue.pop()
    }

    /// Messages that lie in the mailbox, about.
    pub fn len(&self) -> usize {
        self.shared.queue.len()
    }

    /// Whether the mailbox is empty, about.
    pub fn is_empty(&self) -> bool {
        self.shared.queue.is_empty()
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({} of {})", self.len(), self.shared.queue.capacity())
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver({} of {})", self.len(), self.shared.queue.capacity())
    }
}
