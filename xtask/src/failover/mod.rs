//! `cargo xtask failover`: a pair of real processes on two hosts of one cable, and everything that
//! can be taken from the primary under load.
//!
//! `link` makes the hosts (network namespaces) and the cable, and cuts it in one direction or both;
//! `node` is a box; `rig` runs the rounds; `round` is one of them. Never: a packet outside of the
//! namespaces. `boxes` is a pair on loopback, for rigs of other things.

mod boxes;
mod link;
mod node;
mod rig;
mod round;

pub(crate) use boxes::{Node, Rig};
pub use rig::{Arguments, check};
