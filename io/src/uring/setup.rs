//! Making a driver, and ending it.
//!
//! The ring belongs to the thread that makes it (`IORING_SETUP_SINGLE_ISSUER`), and completions
//! are run only when that thread waits (`IORING_SETUP_DEFER_TASKRUN`), so the kernel never
//! interrupts a turn. Never: memory of an operation freed before its last completion, also at
//! the end.

use std::os::fd::{FromRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use io_uring::{IoUring, opcode, types};

use super::accept::ListenerSlot;
use super::files::FileSlot;
use super::op::{Op, POOL_GROUP};
use super::pool::Pool;
use super::ring::{Completion, Patience, Ring};
use super::slab::{CANCEL, Slab};
use super::sockets::SocketSlot;
use crate::driver::{Errno, Event};
use crate::mailbox::Bell;
use crate::probe::{SetupError, check_ring};
use crate::service::StagingPlace;

/// Longest wait at the end for operations that cannot be cancelled (disk writes).
const FAREWELL: Duration = Duration::from_secs(10);

/// Size of a driver.
#[derive(Clone, Debug)]
pub struct UringOptions {
    /// Entries of the submission queue, a power of two; the completion queue has four times as
    /// many. More operations than entries are submitted in several calls, none is lost.
    pub entries: u32,
    /// Receive buffers, rounded up to a power of two, at most 32768. With the next number this
    /// bounds the bytes that one turn can receive over all connections.
    pub recv_buffers: u16,
    /// Bytes of one receive buffer, which is also the largest chunk.
    pub recv_buffer_bytes: usize,
    /// Most files open at a time.
    pub files: u32,
    /// Most connections open at a time; more are accepted and closed.
    pub sockets: u32,
    /// The core to pin the calling thread to, which is the only one that may use the driver.
    pub cpu: Option<usize>,
}

impl Default for UringOptions {
    /// 1024 entries, 64 receive buffers of 64 KiB, 1024 files, 16384 sockets, no core.
    fn default() -> UringOptions {
        UringOptions {
            entries: 1024,
            recv_buffers: 64,
            recv_buffer_bytes: 64 * 1024,
            files: 1024,
            sockets: 16384,
            cpu: None,
        }
    }
}

/// The driver on this kernel's io_uring. See [`crate::Driver`] for what its methods promise.
pub struct Uring {
    pub(super) ring: Ring,
    pub(super) ops: Slab<Op>,
    pub(super) files: Vec<FileSlot>,
    pub(super) sockets: Vec<SocketSlot>,
    pub(super) free_sockets: Vec<u32>,
    pub(super) listeners: Vec<ListenerSlot>,
    /// Receives that wait for free buffers.
    pub(super) starved: Vec<u64>,
    /// Accepts that rest after an error, with the time at which they go on.
    pub(super) resting: Vec<(u64, u64)>,
    /// Events that needed no kernel; delivered by the next wait.
    pub(super) ready: Vec<Event>,
    /// Completions of the current turn; kept for its memory.
    pub(super) batch: Vec<Completion>,
    pub(super) bell: Bell,
    /// The thread for blocking file work, once there was some.
    pub(super) chores: Option<super::chores::Chores>,
    /// Disk operations that the kernel has.
    pub(super) disk_in_flight: u32,
    pub(super) file_limit: usize,
    pub(super) socket_limit: usize,
    /// Where staging memory is kept beside its file.
    pub(super) staging_place: Option<StagingPlace>,
    /// Last, so that receive memory outlives the ring.
    pub(super) pool: Rc<Pool>,
}

/// A ring with the flags that weir needs.
pub(crate) fn build_ring(entries: u32) -> Result<IoUring, SetupError> {
    let mut builder = IoUring::builder();
    builder
        .setup_clamp()
        .setup_cqsize(entries.saturating_mul(4))
        .setup_submit_all()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .dontfork();
    builder.build(entries).map_err(|error| SetupError::from_setup(error.into()))
}

impl Uring {
    /// A driver for the calling thread. Fails with the cause and its remedy when this kernel,
    /// its settings or the process's limits do not allow one.
    pub fn new(options: UringOptions) -> Result<Uring, SetupError> {
        if let Some(core) = options.cpu {
            crate::cpu::pin(core).map_err(|e| SetupError::Call("sched_setaffinity", e))?;
        }
        let io = build_ring(options.entries.max(8))?;
        check_ring(&io)?;
        let pool = Rc::new(Pool::new(options.recv_buffers, options.recv_buffer_bytes));
        register_pool(&io, &pool)?;
        let bell = Bell::new().map_err(|errno| SetupError::Call("eventfd", errno))?;
        let mut uring = Uring {
            ring: Ring::new(io).map_err(|errno| SetupError::Call("eventfd", errno))?,
            ops: Slab::with_capacity(options.entries as usize),
            files: Vec::new(),
            sockets: Vec::new(),
            free_sockets: Vec::new(),
            listeners: Vec::new(),
            starved: Vec::new(),
            resting: Vec::new(),
            ready: Vec::new(),
            batch: Vec::with_capacity(4 * options.entries as usize),
            bell,
            chores: None,
            disk_in_flight: 0,
            file_limit: options.files as usize,
            socket_limit: options.sockets as usize,
            staging_place: None,
            pool,
        };
        uring.start(Op::Bell { count: Box::new([0; 8]) }, uring.bell.fd());
        Ok(uring)
    }

    /// Puts an operation into the slab and its entry into the queue; gives its number.
    pub(super) fn start(&mut self, mut op: Op, fd: i32) -> u64 {
        let entry = op.entry(fd);
        let number = self.ops.insert(op);
        self.ring.push(entry.user_data(number));
        number
    }

    /// Queues the rest of an operation that is in the slab.
    pub(super) fn go_on(&mut self, number: u64, fd: i32) {
        let Some(op) = self.ops.get_mut(number) else { return };
        let entry = op.entry(fd);
        self.ring.push(entry.user_data(number));
    }

    /// Asks for the end of everything and waits for it.
    fn farewell(&mut self) -> Result<(), Errno> {
        for slot in &self.sockets {
            slot.shut_down();
        }
        for number in std::mem::take(&mut self.starved) {
            self.ops.remove(number);
        }
        for (_, number) in std::mem::take(&mut self.resting) {
            self.ops.remove(number);
        }
        let deadline = Instant::now() + FAREWELL;
        while self.ops.len() > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Errno(libc::ETIME));
            }
            let cancel = opcode::AsyncCancel2::new(types::CancelBuilder::any()).build();
            self.ring.push(cancel.user_data(CANCEL));
            let timeout = Some(left.min(Duration::from_millis(100)));
            self.ring.wait(Patience { timeout, disk: true, bell: self.bell.fd() })?;
            self.ring.take(&mut self.batch);
            while let Some(completion) = self.batch.pop() {
                self.dismiss(completion);
            }
        }
        Ok(())
    }

    /// A completion that nobody waits for any more.
    fn dismiss(&mut self, completion: Completion) {
        let number = completion.user_data;
        if let Some(Op::Accept { .. }) = self.ops.get_mut(number)
            && completion.result >= 0
        {
            // SAFETY: the kernel has just made this descriptor for this completion.
            drop(unsafe { OwnedFd::from_raw_fd(completion.result) });
        }
        if !completion.more() {
            self.ops.remove(number);
        }
    }
}

fn register_pool(io: &IoUring, pool: &Pool) -> Result<(), SetupError> {
    let (address, count) = (pool.list_address(), pool.count());
    let submitter = io.submitter();
    // SAFETY: the list and the buffers it names live in the pool, which the driver drops after
    // the ring.
    let answer = unsafe { submitter.register_buf_ring_with_flags(address, count, POOL_GROUP, 0) };
    answer.map_err(|error| match Errno::from(error) {
        errno @ Errno(libc::ENOMEM) => SetupError::from_setup(errno),
        Errno(libc::EINVAL) => SetupError::KernelTooOld {
            missing: "IORING_REGISTER_PBUF_RING",
            release: crate::probe::release(),
        },
        errno => SetupError::Call("io_uring_register", errno),
    })
}

impl Drop for Uring {
    fn drop(&mut self) {
        if self.farewell().is_err() {
            // The kernel may still write to the memory of what is in flight: it is never freed.
            std::mem::forget(std::mem::replace(&mut self.ops, Slab::with_capacity(0)));
            std::mem::forget(Rc::clone(&self.pool));
        }
        let _ = self.ring.io().submitter().unregister_buf_ring(POOL_GROUP);
    }
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uring")
            .field("in_flight", &self.ops.len())
            .field("pool", &self.pool)
            .field("ring", &self.ring)
            .finish_non_exhaustive()
    }
}
