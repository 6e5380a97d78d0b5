//! The command: what it takes, and its rounds from a seed.
//!
//! It starts the majority first and ends it last. Never: a round after one that failed.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::boxes::Pair;
use super::majority::Majority;
use super::round::{Fault, Rounds};
use crate::toolbox;

/// What the command takes.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Who decides
    #[arg(long, value_enum, default_value_t = By::Etcd)]
    by: By,
    /// Rounds; every kind of fault comes once before one comes again
    #[arg(long, default_value_t = 6)]
    rounds: u64,
    /// Decides the order of the faults, and when they come
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The lease, seconds
    #[arg(long, default_value_t = 2)]
    lease_seconds: u64,
    /// A built weir; without it the release binary is built
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    /// Three members of etcd.
    Etcd,
    /// A RocketMQ Controller; the lease is the silence after which it elects another.
    Controller,
}

/// Runs the rounds.
pub fn check(arguments: &Arguments) -> Result<String, String> {
    let binary = toolbox::broker(arguments.binary.as_deref())?;
    let folder = std::env::temp_dir().join(format!("weir-arbitration-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let done = rounds(arguments, binary, folder.clone());
    let removed = std::fs::remove_dir_all(&folder).map_err(|error| error.to_string());
    let done = done.map_err(|why| format!("arbitration, seed {}: {why}", arguments.seed))?;
    removed.map(|()| done)
}

fn rounds(arguments: &Arguments, binary: PathBuf, folder: PathBuf) -> Result<String, String> {
    let majority = Majority::start(&folder, arguments.by)?;
    let pair = Pair::start(binary, folder, (&majority, arguments.by), arguments.lease_seconds)?;
    let mut rounds = Rounds::new(pair, majority, arguments.lease_seconds);
    let mut random = arguments.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut left: Vec<Fault> = Vec::new();
    for number in 0..arguments.rounds {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        if left.is_empty() {
            left = Fault::possible(arguments.by).to_vec();
        }
        let fault = left.swap_remove((random >> 20) as usize % left.len());
        let run_ms = 300 + (random >> 32) % 700;
        rounds.run(number, fault, run_ms).map_err(|why| {
            format!("round {number} ({fault:?} after {run_ms} ms): {why}{}", rounds.said())
        })?;
    }
    Ok(rounds.words(arguments.rounds))
}
