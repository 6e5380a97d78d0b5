//! The command: what it takes, and its rounds from a seed.
//!
//! It starts the majority first and ends it last. Never: a round after one that failed.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::boxes::Pair;
use super::majority::Majority;
use super::round::{Fault, Rounds};
use super::shared::Shared;
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
    /// Controllers, one or three; of three the leader is killed too
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    controllers: u8,
    /// The lease, seconds
    #[arg(long, default_value_t = 2)]
    lease_seconds: u64,
    /// The boxes share two shards, each the other's standby: somebody decides for each shard
    #[arg(long)]
    shared: bool,
    /// A built weir; without it the release binary is built
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    /// Three members of etcd.
    Etcd,
    /// RocketMQ Controllers; the lease is the silence after which they elect another.
    Controller,
}

impl By {
    /// A box's settings: who is asked, at `ways`, and how long a lease is.
    pub(super) fn settings(self, ways: &[String], seconds: u64) -> Vec<(&'static str, String)> {
        match self {
            By::Etcd => {
                vec![("etcdEndpoints", ways.join(";")), ("etcdLeaseSeconds", seconds.to_string())]
            }
            By::Controller => vec![
                ("enableControllerMode", "true".to_owned()),
                ("controllerAddr", ways.join(";")),
                ("controllerHeartBeatTimeoutMills", (seconds * 1000).to_string()),
            ],
        }
    }
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
    let majority = Majority::start(&folder, arguments.by, arguments.controllers.into())?;
    let (by, lease) = ((&majority, arguments.by), arguments.lease_seconds);
    if arguments.shared {
        let mut shared = Shared::start(binary, folder, by, lease)?;
        let kinds = [Fault::Kill, Fault::Stop, Fault::Cut];
        let possible = Fault::possible(arguments.by, arguments.controllers);
        let kinds = kinds.into_iter().filter(|kind| possible.contains(kind)).collect();
        for (number, fault, run_ms) in plan(arguments, kinds) {
            let lost = (number % 2) as usize;
            let ran = shared.run(number, (fault, lost), run_ms);
            ran.map_err(|why| failed(number, fault, run_ms, &why, &shared.said()))?;
        }
        return Ok(shared.words(arguments.rounds));
    }
    let pair = Pair::start(binary, folder, by, lease)?;
    let mut rounds = Rounds::new(pair, majority, lease);
    let kinds = Fault::possible(arguments.by, arguments.controllers);
    for (number, fault, run_ms) in plan(arguments, kinds) {
        let ran = rounds.run(number, fault, run_ms);
        ran.map_err(|why| failed(number, fault, run_ms, &why, &rounds.said()))?;
    }
    Ok(rounds.words(arguments.rounds))
}

/// The rounds' numbers, what fails in each, and after how many milliseconds. Every kind comes once
/// before one comes again.
fn plan(arguments: &Arguments, kinds: Vec<Fault>) -> impl Iterator<Item = (u64, Fault, u64)> {
    let mut random = arguments.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut left: Vec<Fault> = Vec::new();
    (0..arguments.rounds).map(move |number| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        if left.is_empty() {
            left.clone_from(&kinds);
        }
        let fault = left.swap_remove((random >> 20) as usize % left.len());
        (number, fault, 300 + (random >> 32) % 700)
    })
}

fn failed(number: u64, fault: Fault, run_ms: u64, why: &str, said: &str) -> String {
    format!("round {number} ({fault:?} after {run_ms} ms): {why}{said}")
}
