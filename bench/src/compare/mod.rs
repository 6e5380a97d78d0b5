//! Side by side: weir, the ceiling and, when it is there, Java RocketMQ, in interleaved rounds.
//!
//! All servers run pinned to one core, one at a time under load; the generator has another core.
//! Ratios are formed inside a round, where the machine's mood is most alike, and shown as the
//! median of all rounds with its extremes. Servers are children of this process: they are ended
//! by their own id and their files removed, also when a round fails.

mod args;
mod child;
mod rounds;
mod summary;

pub(crate) use args::CompareArgs;
pub(crate) use rounds::compare;
