//! The seam: everything weir asks of a kernel, as one closed enum of drivers.
//!
//! `Driver::Uring` is the shipped one; `Driver::Sim` (feature `sim`) is a small simulated kernel
//! with the same methods. Above this file nothing is generic and nothing knows which one runs.
//! Operations are submitted with a [`Token`] and come back as [`Event`]s from [`Driver::wait`];
//! there is no executor and no callback: the caller's loop is the scheduler.
//!
//! Never: a blocking system call on the message path; a buffer the kernel still owns being freed
//! (the driver keeps every buffer of an operation alive until its event is delivered).

use std::path::Path;
use std::time::Duration;

use crate::buf::{Buf, Chunk, Slice};
use crate::chore::{self, Chore};
use crate::region::Region;
#[cfg(feature = "sim")]
use crate::sim::Sim;
use crate::uring::Uring;

/// What the submitter wants to be told when an operation ends; opaque to the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// A positive Linux error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// I/O error of the device.
    pub const IO: Errno = Errno(libc::EIO);
    /// No space left on the device.
    pub const NO_SPACE: Errno = Errno(libc::ENOSPC);
    /// The operation was cancelled.
    pub const CANCELED: Errno = Errno(libc::ECANCELED);
}

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", std::io::Error::from_raw_os_error(self.0))
    }
}

impl From<Errno> for std::io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Self {
        Errno(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// An open file, a slot in the driver's table. Closing it invalidates the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct File(pub(crate) u32);

/// An open TCP connection, a slot in the driver's table with a generation against reuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Socket {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// A listening TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Listener(pub(crate) u32);

/// How [`Driver::open`] opens a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenMode {
    /// Create the file when it is not there.
    pub create: bool,
    /// Open for writing too (always opened for reading).
    pub write: bool,
    /// `O_DIRECT`: offsets, lengths and memory must be multiples of [`crate::ALIGN`].
    pub direct: bool,
}

/// Where the bytes of a write come from. The driver holds it until the write's event.
#[derive(Debug)]
pub enum Source {
    /// A range of a shared region (the staging area).
    Slice(Slice),
    /// An owned buffer, handed back by the event.
    Buf(Buf),
}

/// Why a receive operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveEnd {
    /// The peer closed its side.
    Eof,
    /// [`Driver::receive_stop`] was asked for.
    Stopped,
    /// The connection failed.
    Failed(Errno),
}

/// The closed list of what can happen to a shard.
#[derive(Debug)]
pub enum Event {
    /// A write ended: all bytes were taken (short writes are continued inside), or an error.
    /// `buf` is the buffer of a [`Source::Buf`].
    Written {
        /// The submitter's token.
        token: Token,
        /// The owned buffer, when there was one.
        buf: Option<Buf>,
        /// Outcome.
        result: Result<(), Errno>,
    },
    /// A read ended with this many bytes (fewer than asked only at the end of the file).
    Read {
        /// The submitter's token.
        token: Token,
        /// The buffer that was read into.
        buf: Buf,
        /// Bytes read.
        result: Result<usize, Errno>,
    },
    /// An `fdatasync` ended. It covers writes whose event was delivered before it was submitted.
    Synced {
        /// The submitter's token.
        token: Token,
        /// Outcome.
        result: Result<(), Errno>,
    },
    /// A chore has ended.
    Chored {
        /// The submitter's token.
        token: Token,
        /// The file that [`crate::chore::Chore::Make`] made, or the error of the first call that
        /// failed.
        result: Result<Option<File>, Errno>,
    },
    /// A connection arrived on a listener (repeats; re-armed by the driver).
    Accepted {
        /// The listener's token.
        token: Token,
        /// The connection.
        result: Result<Socket, Errno>,
    },
    /// An outgoing connection is open, or failed.
    Connected {
        /// The submitter's token.
        token: Token,
        /// The connection.
        result: Result<Socket, Errno>,
    },
    /// Bytes arrived (repeats until a `ReceiveEnded`). Dropping the chunk gives it back.
    Received {
        /// The token of [`Driver::receive`].
        token: Token,
        /// The bytes, in a provided buffer.
        chunk: Chunk,
    },
    /// A repeating receive ended. Delivered exactly once per [`Driver::receive`] unless the
    /// socket is closed by [`Driver::close`] first.
    ReceiveEnded {
        /// The token of [`Driver::receive`].
        token: Token,
        /// Why.
        end: ReceiveEnd,
    },
    /// A sized receive ended: `buf` grew by exactly what was asked, or the receive failed.
    Filled {
        /// The submitter's token.
        token: Token,
        /// The buffer.
        buf: Vec<u8>,
        /// Outcome.
        result: Result<(), ReceiveEnd>,
    },
    /// A send ended: all bytes were taken (short sends are continued inside), or an error.
    /// `buf` comes back cleared, with its capacity.
    Sent {
        /// The submitter's token.
        token: Token,
        /// The buffer.
        buf: Vec<u8>,
        /// Outcome.
        result: Result<(), Errno>,
    },
    /// Another thread rang this driver's bell (see [`crate::mailbox`]).
    Woken,
}

impl Event {
    /// The token of the operation that it speaks of; `None` for the bell.
    pub fn token(&self) -> Option<Token> {
        match self {
            Event::Written { token, .. }
            | Event::Read { token, .. }
            | Event::Synced { token, .. }
            | Event::Accepted { token, .. }
            | Event::Connected { token, .. }
            | Event::Received { token, .. }
            | Event::ReceiveEnded { token, .. }
            | Event::Filled { token, .. }
            | Event::Sent { token, .. }
            | Event::Chored { token, .. } => Some(*token),
            Event::Woken => None,
        }
    }
}

/// The kernel as weir sees it.
#[derive(Debug)]
pub enum Driver {
    /// io_uring on this kernel.
    Uring(Box<Uring>),
    /// The simulated kernel.
    #[cfg(feature = "sim")]
    Sim(Box<Sim>),
}

macro_rules! forward {
    ($self:ident, $driver:ident => $call:expr) => {
        match $self {
            Driver::Uring($driver) => $call,
            #[cfg(feature = "sim")]
            Driver::Sim($driver) => $call,
        }
    };
}

/// Files and directories: blocking calls for set-up, roll and retention, never per message.
impl Driver {
    /// Opens `path`. A file opened twice has two slots.
    pub fn open(&mut self, path: &Path, mode: OpenMode) -> Result<File, Errno> {
        forward!(self, d => d.open(path, mode))
    }

    /// Closes a file. Operations in flight on it still complete.
    pub fn close_file(&mut self, file: File) {
        forward!(self, d => d.close_file(file));
    }

    /// Length in bytes.
    pub fn file_len(&mut self, file: File) -> Result<u64, Errno> {
        forward!(self, d => d.file_len(file))
    }

    /// Reserves `len_bytes` from offset 0 (`fallocate`) and makes the file that long.
    pub fn allocate(&mut self, file: File, len_bytes: u64) -> Result<(), Errno> {
        forward!(self, d => d.allocate(file, len_bytes))
    }

    /// Takes an exclusive `flock`, retrying for at most `patience`. `Ok(false)`: another holds it.
    /// After a `kill -9` the old process's writes in flight keep the lock, so that holding it
    /// means that the file no longer changes.
    pub fn lock(&mut self, file: File, patience: Duration) -> Result<bool, Errno> {
        forward!(self, d => d.lock(file, patience))
    }

    /// Blocking `fdatasync`, for start-up and rename protocols.
    pub fn sync_now(&mut self, file: File) -> Result<(), Errno> {
        forward!(self, d => d.sync_now(file))
    }

    /// Blocking positional read of at most `into.len()` bytes; the buffer may be unaligned only
    /// when the file is not `direct`. Returns the bytes read.
    pub fn read_now(&mut self, file: File, offset: u64, into: &mut [u8]) -> Result<usize, Errno> {
        forward!(self, d => d.read_now(file, offset, into))
    }

    /// Blocking positional write of all of `from`.
    pub fn write_now(&mut self, file: File, offset: u64, from: &[u8]) -> Result<(), Errno> {
        forward!(self, d => d.write_now(file, offset, from))
    }

    /// File names (not paths) in a directory, sorted.
    pub fn list(&mut self, dir: &Path) -> Result<Vec<String>, Errno> {
        forward!(self, d => d.list(dir))
    }

    /// Creates a directory and its parents.
    pub fn create_dir(&mut self, dir: &Path) -> Result<(), Errno> {
        forward!(self, d => d.create_dir(dir))
    }

    /// Renames a file over `to`; durable after [`Driver::sync_dir`].
    pub fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Errno> {
        forward!(self, d => d.rename(from, to))
    }

    /// Removes a file.
    pub fn remove(&mut self, path: &Path) -> Result<(), Errno> {
        forward!(self, d => d.remove(path))
    }

    /// Makes creations, renames and removals in `dir` durable.
    pub fn sync_dir(&mut self, dir: &Path) -> Result<(), Errno> {
        forward!(self, d => d.sync_dir(dir))
    }

    /// `(total, available)` bytes of the file system that holds `path`.
    pub fn disk_space(&mut self, path: &Path) -> Result<(u64, u64), Errno> {
        forward!(self, d => d.disk_space(path))
    }

    /// Opens or creates the memory called `name` that outlives this process but not a power cut
    /// (tmpfs, or hugetlbfs). The flag says whether it is really of that kind.
    pub fn staging(&mut self, name: &str, len_bytes: usize) -> Result<(Region, bool), Errno> {
        forward!(self, d => d.staging(name, len_bytes))
    }

    /// Removes the memory called `name`.
    pub fn staging_remove(&mut self, name: &str) -> Result<(), Errno> {
        forward!(self, d => d.staging_remove(name))
    }
}

/// Asynchronous file operations.
impl Driver {
    /// Has file work done that may wait for the file system, beside the loop.
    pub fn chore(&mut self, chore: Chore, token: Token) {
        match self {
            Driver::Uring(driver) => driver.chore(chore, token),
            #[cfg(feature = "sim")]
            Driver::Sim(_) => {
                let result = self.chore_now(chore);
                if let Driver::Sim(driver) = self {
                    driver.chored(token, result);
                }
            }
        }
    }

    /// Does such work at once, blocking: for set-up and recovery.
    pub fn chore_now(&mut self, chore: Chore) -> Result<Option<File>, Errno> {
        chore::run(self, chore)
    }

    /// Writes `source` at `offset`. `durable`: `RWF_DSYNC`, the event comes when the device has it.
    pub fn write(&mut self, file: File, offset: u64, source: Source, durable: bool, token: Token) {
        forward!(self, d => d.write(file, offset, source, durable, token));
    }

    /// Reads `buf.len()` bytes at `offset` into `buf`.
    pub fn read(&mut self, file: File, offset: u64, buf: Buf, token: Token) {
        forward!(self, d => d.read(file, offset, buf, token));
    }

    /// `fdatasync`.
    pub fn sync(&mut self, file: File, token: Token) {
        forward!(self, d => d.sync(file, token));
    }
}

/// TCP.
impl Driver {
    /// Binds and listens (`SO_REUSEADDR`, backlog 1024), retrying a busy port for `patience`
    /// because a killed process can hold it a moment longer. Port 0 picks one.
    pub fn listen(
        &mut self,
        addr: std::net::SocketAddr,
        patience: Duration,
    ) -> Result<(Listener, std::net::SocketAddr), Errno> {
        forward!(self, d => d.listen(addr, patience))
    }

    /// Listens on a socket that is open already: one that the service manager kept or opened. Not
    /// on the simulated kernel (`EOPNOTSUPP`).
    pub fn listen_on(&mut self, listener: std::net::TcpListener) -> Result<Listener, Errno> {
        match self {
            Driver::Uring(driver) => driver.listen_on(listener),
            #[cfg(feature = "sim")]
            Driver::Sim(_) => Err(Errno(libc::EOPNOTSUPP)),
        }
    }

    /// Takes no more connections, and leaves the listener as it is: they wait in the kernel for
    /// whoever has it too. Connections taken before may still arrive.
    pub fn accept_stop(&mut self, listener: Listener) {
        match self {
            Driver::Uring(driver) => driver.accept_stop(listener),
            // Nobody else has the simulated one.
            #[cfg(feature = "sim")]
            Driver::Sim(driver) => driver.close_listener(listener),
        }
    }

    /// Starts accepting: one [`Event::Accepted`] per connection, for ever (`TCP_NODELAY` is set).
    pub fn accept(&mut self, listener: Listener, token: Token) {
        forward!(self, d => d.accept(listener, token));
    }

    /// Closes a listener; no more connections are accepted.
    pub fn close_listener(&mut self, listener: Listener) {
        forward!(self, d => d.close_listener(listener));
    }

    /// Opens a connection.
    pub fn connect(&mut self, addr: std::net::SocketAddr, token: Token) {
        forward!(self, d => d.connect(addr, token));
    }

    /// The peer's address.
    pub fn peer(&mut self, socket: Socket) -> Option<std::net::SocketAddr> {
        forward!(self, d => d.peer(socket))
    }

    /// Receives into provided buffers until stopped: one [`Event::Received`] per piece.
    pub fn receive(&mut self, socket: Socket, token: Token) {
        forward!(self, d => d.receive(socket, token));
    }

    /// Asks a running [`Driver::receive`] to end; pieces may still arrive before
    /// [`Event::ReceiveEnded`].
    pub fn receive_stop(&mut self, socket: Socket) {
        forward!(self, d => d.receive_stop(socket));
    }

    /// Receives exactly `len` more bytes onto the end of `buf` (whose spare capacity must hold
    /// them). Only while no [`Driver::receive`] runs on the socket.
    pub fn receive_exact(&mut self, socket: Socket, buf: Vec<u8>, len: usize, token: Token) {
        forward!(self, d => d.receive_exact(socket, buf, len, token));
    }

    /// Sends all of `buf`. One send at a time per socket: the caller waits for [`Event::Sent`].
    pub fn send(&mut self, socket: Socket, buf: Vec<u8>, token: Token) {
        forward!(self, d => d.send(socket, buf, token));
    }

    /// Shuts the connection down and forgets the slot. Events of operations in flight are
    /// swallowed, except that a buffer of a send or sized receive is dropped with them.
    pub fn close(&mut self, socket: Socket) {
        forward!(self, d => d.close(socket));
    }
}

/// Time and waiting.
impl Driver {
    /// Monotonic nanoseconds, from an arbitrary start. Read once per turn of the loop.
    pub fn now_ns(&self) -> u64 {
        forward!(self, d => d.now_ns())
    }

    /// Nanoseconds that count the machine's sleep as well, see [`crate::clock::boot_ns`].
    pub fn boot_ns(&self) -> u64 {
        forward!(self, d => d.boot_ns())
    }

    /// Wall clock in milliseconds since 1970.
    pub fn wall_ms(&self) -> i64 {
        forward!(self, d => d.wall_ms())
    }

    /// Milliseconds that local time is ahead of UTC now.
    pub fn utc_offset_ms(&self) -> i64 {
        forward!(self, d => d.utc_offset_ms())
    }

    /// A number of the machine's present boot: another one means that all memory was lost since.
    /// 0 where the machine does not tell.
    pub fn boot(&self) -> u64 {
        forward!(self, d => d.boot())
    }

    /// Submits what was asked for, then waits until an event is there, `deadline_ns` (of
    /// [`Driver::now_ns`]) has passed, or the bell rings. Appends events; never drops one.
    /// A deadline in the past polls.
    pub fn wait(&mut self, deadline_ns: u64, events: &mut Vec<Event>) -> Result<(), Errno> {
        forward!(self, d => d.wait(deadline_ns, events))
    }

    /// Submits what was asked for without waiting.
    pub fn submit(&mut self) -> Result<(), Errno> {
        forward!(self, d => d.submit())
    }

    /// A bell that other threads ring to make [`Driver::wait`] return [`Event::Woken`].
    pub fn bell(&self) -> crate::mailbox::Bell {
        forward!(self, d => d.bell())
    }
}
