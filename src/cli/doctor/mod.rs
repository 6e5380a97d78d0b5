//! `weir doctor`: is this box ready, what would weir do with it, what mends what is missing.
//!
//! The same topics in the same order on a laptop, in a container and on a server; what a box does
//! not have, or does not tell, is said so and is no failure. Nothing is changed but one file in the
//! data directory, which has no name by the time it is written to.

mod command;
mod device;
mod finding;
mod flush;
mod host;
mod plan;
mod storage;

#[cfg(test)]
mod tests;

pub(super) use command::run;
