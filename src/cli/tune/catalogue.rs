//! The catalogue as data: `tuning/catalogue.toml`, built into the binary.
//!
//! A word that is not known there is an error of the build's tests, never of a user's box. Nothing
//! is read of the box here.

use serde::Deserialize;

use crate::exit::{self, Stop};

/// The file itself.
const TEXT: &str = include_str!("../../../tuning/catalogue.toml");

/// How a knob's file is read.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Form {
    /// The text is the value.
    #[default]
    Text,
    /// The word in brackets is the value.
    Choice,
    /// A row of `/proc/self/limits`; the hard limit is the value.
    Limit,
    /// The options of the file system that holds the data directory.
    Mount,
    /// One list of cores for each interrupt.
    Irq,
    /// A timer of systemd that is switched on by a link.
    Timer,
}

/// What a knob should be.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Want {
    /// This text.
    Is(String),
    /// A number that is not less.
    Least(u64),
    /// A number that is not more.
    Most(u64),
    /// A number from 1 to this; 0 means that it is not set.
    AtMostButSet(u64),
    /// One of these texts (for a mount: among the options).
    OneOf(Vec<String>),
    /// What [`super::Facts`] computes for this box.
    Rule(Rule),
}

/// A want that depends on the box.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Rule {
    /// `vm.min_free_kbytes` by the size of memory.
    MinFree,
    /// Huge pages for the consume queues of all shards.
    HugePages,
    /// Block scheduler by the kind of the disk.
    Scheduler,
    /// No shard core in the list.
    AwayFromShards,
}

/// Who changes a knob.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Change {
    /// `weir tune apply`.
    #[default]
    Apply,
    /// `weir tune apply --huge-pages` only.
    Asked,
    /// The operator, by hand.
    Report,
}

/// What a box must have for a knob to be tried.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Needs {
    /// Memory on a disk.
    Swap,
    /// A second memory node.
    Nodes,
}

/// One setting. The head of the file says what each field means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Knob {
    pub(super) name: String,
    pub(super) group: String,
    #[serde(default)]
    pub(super) file: String,
    #[serde(default)]
    pub(super) form: Form,
    #[serde(default)]
    pub(super) row: String,
    pub(super) want: Want,
    pub(super) write: Option<String>,
    #[serde(default)]
    pub(super) change: Change,
    pub(super) mend: Option<String>,
    pub(super) undo_by: Option<String>,
    #[serde(default)]
    pub(super) saves: Vec<String>,
    #[serde(default)]
    pub(super) persists: bool,
    pub(super) why: String,
    pub(super) replaces: String,
    pub(super) worse: Option<String>,
    #[serde(default)]
    pub(super) loads: Vec<String>,
    pub(super) needs: Option<Needs>,
    pub(super) measured: String,
    pub(super) effect: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalogue {
    knob: Vec<Knob>,
}

/// Every knob, in the order in which they are applied and shown.
pub(crate) fn catalogue() -> Result<Vec<Knob>, Stop> {
    let read: Result<Catalogue, _> = toml::from_str(TEXT);
    // The text is part of the binary, and a test reads it.
    read.map(|catalogue| catalogue.knob)
        .map_err(|error| Stop::new(exit::FAILED, format!("the built-in catalogue: {error}")))
}
