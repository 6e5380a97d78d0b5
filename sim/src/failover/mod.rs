//! Failover schedules: a pair under load, and everything that can happen to two boxes and a cable.
//!
//! A round is one seed: what the pair is configured as, a schedule of deaths, pauses, cuts, slow
//! links, failing devices, promotions and switchovers, and a calm end in which the pair must come
//! together again by what an operator can read. `plan` draws what is fixed, `half` is one box,
//! `round` turns both and carries the load, `schedule` does what the seed says, `operator` repairs,
//! `witness` remembers what clients were told, `verdict` compares. Never: an act of the operator
//! that the manual forbids.

mod half;
mod operator;
mod plan;
mod round;
mod schedule;
mod verdict;
mod witness;

pub use plan::{Mode, Plan};
pub use round::{Tally, Ways, run};
