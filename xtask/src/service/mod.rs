//! `cargo xtask service`: the shipped units in a real systemd, booted in namespaces of its own.
//!
//! Every promise of docs/service.md is provoked: readiness and its status, what is kept over a
//! restart, an upgrade and a kill under load, the watchdog on one frozen shard, the drain, the
//! sandbox and what weir says when it is too tight. It needs root and fails without; nothing is
//! skipped. The figures: refused connections, acknowledged messages lost, and the longest time
//! that a producer was without an acknowledgement.

mod check;
mod limits;
mod load;
mod machine;
mod proofs;
mod refusals;
mod rig;

pub use check::{Arguments, check};
pub use load::{LoadArguments, run as load};
