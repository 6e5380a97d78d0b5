//! The simulated kernel: disks with a volatile and a durable image, a network, a clock, and the
//! deaths that a machine and its process can die, all from one seed on one thread.
//!
//! It answers the calls of [`crate::Driver`], so that the shipping code runs on it unchanged. It
//! is harsher than a real machine, never kinder: what the documents of the seam do not promise is
//! lost as often as kept. Same seed and same calls: same [`World::trace_hash`].
//! Never: a thread, a real clock, a real file.

mod client;
mod disk;
mod disk_ops;
mod driver;
mod image;
mod inode;
mod names;
mod net;
mod random;
mod state;
#[cfg(test)]
mod tests;
mod world;

pub use client::SimClient;
pub use disk::Faults;
pub use driver::Sim;
pub use net::Standing;
pub use random::Random;
pub use world::{Death, World, WorldOptions};
