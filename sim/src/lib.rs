//! weir on a simulated kernel: deaths at every step, and an oracle that remembers every promise.
//!
//! A round is one seed: a plan drawn from it, some lives of a log that each end in a death, and a
//! check after each start that nothing promised is gone and nothing else has changed. A round
//! that fails is run again with its seed, step by step the same.
//! Never: a real file, socket, clock or thread inside of a round.

pub mod bed;
pub mod failover;
pub mod life;
pub mod oracle;
pub mod plan;
pub mod rot;
pub mod round;
