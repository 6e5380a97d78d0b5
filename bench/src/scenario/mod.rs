//! The scenarios: each starts servers on the bed, asks for runs and forms ratios.
//!
//! A scenario decides what is run in which order and which ratios follow; it draws nothing and
//! writes no file. Ratios are formed between runs of the same round only.

mod catch_up;
mod compare;
mod drain;
mod flush_compare;
mod knobs;
mod ladder;
mod mixed;
mod outside;
mod overload;
mod pair;
mod peers;
mod queues;
mod recover;
mod runtimes;
mod steps;

pub(crate) use catch_up::{CatchUpArgs, catch_up};
pub(crate) use compare::{CompareArgs, compare};
pub(crate) use drain::{DrainArgs, drain};
pub(crate) use flush_compare::{FlushCompareArgs, flush_compare};
pub(crate) use knobs::{KnobsArgs, knobs};
pub(crate) use mixed::{MixedArgs, mixed};
pub(crate) use outside::{OutsideArgs, outside};
pub(crate) use overload::{OverloadArgs, overload};
pub(crate) use pair::{PairArgs, pair};
pub(crate) use peers::{PeersArgs, peers};
pub(crate) use queues::{QueuesArgs, queues};
pub(crate) use recover::{RecoverArgs, recover};
pub(crate) use runtimes::{RuntimesArgs, runtimes};
