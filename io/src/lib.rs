//! weir's own runtime: the only unsafe code, the only system calls, the only clock.
//! One driver per shard thread; everything above it is concrete and single-threaded. Nothing in
//! here has heard of a message, a topic or a log: it moves bytes between memory, files, sockets.
//!
//! # Who owns a buffer between submission and completion
//!
//! | operation | memory | owner in flight | comes back by |
//! |---|---|---|---|
//! | write of a [`Slice`] | a range of a [`Region`] | operation + mapping | [`Event::Written`] |
//! | write of a [`Buf`] | aligned memory | the operation | [`Event::Written`] |
//! | read | a [`Buf`] | the operation | [`Event::Read`] |
//! | receive | a buffer of the driver's pool | the kernel | [`Event::Received`] |
//! | sized receive | spare capacity of a `Vec<u8>` | the operation | [`Event::Filled`] |
//! | send | a `Vec<u8>` | the operation | [`Event::Sent`], cleared, with its capacity |
//! | chore | paths, a [`Buf`] | the thread of chores | nothing |
//! | connect | the peer's address | the operation | nothing |
//!
//! The region's mapping lives as long as a write holds it, and its range is left alone until the
//! event. A pool buffer is the kernel's from the moment it is provided; dropping the [`Chunk`]
//! provides it again.
//!
//! An operation's slab entry lives until its last completion, also when the socket or file was
//! closed before; dropping the driver cancels what can be cancelled and waits for the rest. So
//! the kernel never writes to memory that was given back to the allocator.

pub mod board;
pub mod buf;
pub mod chore;
pub mod clock;
pub mod cpu;
pub mod driver;
pub mod failpoint;
pub mod group;
pub mod heap;
pub mod mailbox;
pub mod probe;
pub mod region;
pub mod service;
pub mod signal;
#[cfg(feature = "sim")]
pub mod sim;
pub mod uring;

pub use buf::{Buf, Chunk, Slice};
pub use chore::Chore;
pub use driver::{
    Driver, Errno, Event, File, Listener, OpenMode, ReceiveEnd, Socket, Source, Token,
};
pub use region::{Backing, Memory, Region, fetch};
#[cfg(feature = "sim")]
pub use sim::Sim;
pub use uring::{Uring, UringOptions, open_listener};

/// Alignment of offsets, lengths and memory for `O_DIRECT`.
pub const ALIGN: usize = 4096;

/// The open flag `O_DIRECT`, for tools that measure another runtime on the same kind of file.
pub const DIRECT_FLAG: i32 = libc::O_DIRECT;

/// The open flag `O_DSYNC`, for the same tools.
pub const DSYNC_FLAG: i32 = libc::O_DSYNC;
