//! `cargo xtask arbitration`: a pair of real processes whose primary is decided by a real etcd of
//! three members, or by a real RocketMQ Controller.
//!
//! Each round loads the primary, lets something fail, and waits for a box that acknowledges. Every
//! acknowledged message must be read at the end of each round, and no box may acknowledge after the
//! other one could. `majority` is what decides, `gate` a way to it that can be cut, `boxes` the
//! pair, `load` the producers, `round` the faults; `shared` is two boxes that are each other's
//! standby.
//! Never: a word to the pair about who is the primary.

mod boxes;
mod gate;
mod load;
mod majority;
mod rig;
mod round;
mod shared;

pub use rig::{Arguments, check};
