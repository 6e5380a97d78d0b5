//! What each knob of `tuning/catalogue.toml` does: the load it is about, with the wanted value and
//! with a worse one, by turns on this machine.
//!
//! One knob is changed at a time, its old value is on disk before ([`weir::cli::Trials`]) and put
//! back after it: also when a run fails, when SIGINT or SIGTERM comes, and by the next start when
//! this process was killed. A knob that cannot be tried says why; none is left out.

mod crowd;
mod loads;
mod turns;
mod verdict;

pub(crate) use turns::{KnobsArgs, knobs};
