//! The shipped driver: io_uring. One ring per thread, every operation in a slab until its last
//! completion, every blocking call named in `files`.
//!
//! Descriptors are ordinary ones, not slots of the ring's own file table: up to Linux 6.12 a slot
//! that is taken out is only released after every operation older than it has ended, and an
//! accept or receive that repeats never ends, so closed sockets and deleted segments would stay
//! open. A look-up costs about 20 ns and a repeating receive pays it once. Staging memory is
//! not registered either: that was measured to save 6 µs of 25 for a write of 256 KiB (4 KiB:
//! nothing), but registered memory counts against `RLIMIT_MEMLOCK`, 8 MiB by default.

mod accept;
mod chores;
mod complete;
mod disk;
mod files;
mod op;
mod pool;
mod receive;
mod ring;
mod setup;
mod slab;
mod sockets;
mod staging;
mod wait;

#[cfg(test)]
mod tests;

pub use accept::open_listener;
pub(crate) use pool::Pool;
pub(crate) use setup::build_ring;
pub use setup::{Uring, UringOptions};
