//! Tidy: the rules of the house that neither rustc nor clippy can check.
//!
//! A check reads the tree and returns breaches as `path:line: rule: what to do instead`. There
//! is no baseline and no list of exceptions that grows: a rule that makes the code worse is
//! changed here, for everybody. Every check is tested with a bad snippet of its own.

mod blobs;
mod breach;
mod dependencies;
mod documented;
mod events;
mod head;
mod layers;
mod markdown;
mod names;
mod places;
mod protocol;
mod run;
mod shape;
mod source;
mod words;

#[cfg(test)]
mod sample;

pub use breach::Breach;
pub use run::{check, check_tree};
pub use source::{Rust, Source, Tree, Word};
