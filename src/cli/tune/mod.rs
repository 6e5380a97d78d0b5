//! `weir tune`: the operating-system settings that matter, checked, printed, applied, undone.
//!
//! What to want and why stands in `tuning/catalogue.toml`, which is built into the binary; the
//! files here read it against a box. Every path is taken below a root, so that a copied tree
//! answers like a machine.
//! Never: a change without the old value on disk first; a knob that is missing here as a failure.

mod apply;
mod catalogue;
mod command;
mod facts;
mod judge;
mod page;
mod saved;
mod script;
mod tree;
mod trial;

#[cfg(test)]
mod tests;

pub use page::tuning_page;
pub use trial::{Side, Trial, Trials};

pub(super) use catalogue::catalogue;
pub(super) use command::{facts, run};
pub(super) use facts::{Facts, memory_kib};
pub(super) use judge::{Reading, State, judge};
pub(super) use tree::Tree;
