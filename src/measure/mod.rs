//! What a shard knows of its own speed: histograms, counters, what a power cut would cost.
//!
//! Nothing here is done per message but a few additions: the messages of a turn share their
//! stamps, wait as one entry beside the replies, and are recorded together when they are answered.
//! The room is pure: clocks are read by those who call it. Never: an allocation per message in
//! steady state, a lock, a number that another thread can see.

mod batches;
mod counts;
mod meter;
mod risk;
mod sample;
mod stages;
mod windows;

pub use batches::{Batches, SideRings, Waits};
pub use counts::Counts;
pub use meter::{Held, Meter};
pub use risk::{AtRisk, Risk};
pub use sample::Sample;
pub use stages::{STAGES, Stage, Stages, Unit};
pub use windows::{Minute, PUT_BUCKETS, Rates, Windows};
