//! The load generator: sends to, or pulls from, any RocketMQ-speaking address.
//!
//! Closed loop keeps a fixed number of requests outstanding; open loop follows a fixed schedule
//! and counts latency from the intended time, so a stall of the broker is seen by every message
//! that should have been sent during it. It never touches the broker by other means than its
//! port, and it drops a run that cannot keep its schedule into the "saturated" box by itself.

mod args;
mod connection;
mod jobs;
mod report;
mod run;
mod schedule;

pub(crate) use args::{LoadArgs, check_core, seconds, seconds_or_none};
pub(crate) use report::{Failure, LoadReport};
pub(crate) use run::load;
