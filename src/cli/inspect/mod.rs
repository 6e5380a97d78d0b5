//! `weir inspect`: what stands on disk, read without the broker.
//!
//! It opens files for reading only, takes no lock and repairs nothing, so it may be used beside a
//! running broker; the tail of a live log is then simply not complete. Layouts: docs/format.md.

mod block;
mod checkpoint;
mod constants;
mod log;
mod segment;
mod walk;

pub(super) use segment::run;
pub(super) use walk::{End, Segment};
