//! The rounds: which fault, on which side, and what they add up to.
//!
//! Two pairs, one after the other: a `SYNC_MASTER` pair that refuses, which must lose nothing, and
//! an `ASYNC_MASTER` pair, which must lose no more than the lag that was told. The box that took
//! over is the primary of the next round. Never: a round whose seed is not told when it fails.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use clap::Args;

use super::link::Link;
use super::node::Node;
use super::round::{Offsets, Round};
use crate::toolbox;

/// Of so many rounds one is asynchronous.
const ASYNC_EVERY: u64 = 5;

/// What the command takes.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Rounds
    #[arg(long, default_value_t = 10)]
    rounds: u64,
    /// Decides when and how the primary is taken away
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A built weir; without it the release binary is built
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// How the primary is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// `kill -9`.
    Kill,
    /// SIGSTOP.
    Stop,
    /// The cable is cut.
    Partition,
    /// What the primary sends does not arrive.
    PrimaryMute,
    /// What the standby sends does not arrive.
    StandbyMute,
    /// An operator's `weir switchover`.
    Switchover,
}

const FAULTS: [Fault; 6] = [
    Fault::Kill,
    Fault::Partition,
    Fault::Stop,
    Fault::PrimaryMute,
    Fault::StandbyMute,
    Fault::Switchover,
];

/// What rounds left.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) acknowledged: BTreeSet<String>,
    pub(super) offsets: Offsets,
    /// Times without a writable primary; of a planned change apart.
    pub(super) gaps: Vec<Duration>,
    pub(super) planned: Vec<Duration>,
    /// Planned changes that the primary gave up, since its standby did not confirm in time.
    pub(super) stayed: u64,
    /// Sends tried on both boxes at once.
    pub(super) probes: u64,
    /// Messages missing after an asynchronous failover, and the lag that was told, bytes.
    pub(super) missing: u64,
    pub(super) told_bytes: u64,
}

/// Runs the rounds.
pub fn check(arguments: &Arguments) -> Result<String, String> {
    let binary = toolbox::broker(arguments.binary.as_deref())?;
    let folder = std::env::temp_dir().join(format!("weir-failover-{}", std::process::id()));
    let asynchronous = arguments.rounds / ASYNC_EVERY;
    let rig = |role: &'static str, rounds: u64| {
        let own = folder.join(role);
        std::fs::create_dir_all(&own).map_err(|error| error.to_string())?;
        pair(&binary, &own, role, rounds, arguments.seed)
    };
    let done = rig("SYNC_MASTER", arguments.rounds - asynchronous)
        .and_then(|sync| Ok((sync, rig("ASYNC_MASTER", asynchronous)?)));
    let removed = std::fs::remove_dir_all(&folder).map_err(|error| error.to_string());
    let (sync, loose) = done.map_err(|why| format!("failover, seed {}: {why}", arguments.seed))?;
    removed?;
    let longest = |gaps: &[Duration]| gaps.iter().max().map_or(0, Duration::as_millis);
    Ok(format!(
        "failover: {} rounds, {} messages acknowledged, 0 lost; {} committed, 0 given again; {} \
         probes of both boxes, 0 taken by both; longest without a primary {} ms, planned {} ms; {} \
         planned ones given up in time; {asynchronous} asynchronous rounds: {} of {} missing, \
         within {} bytes of lag told",
        arguments.rounds,
        sync.acknowledged.len() + loose.acknowledged.len(),
        sync.offsets.values().sum::<u64>(),
        sync.probes + loose.probes,
        longest(&[sync.gaps, loose.gaps].concat()),
        longest(&sync.planned),
        sync.stayed,
        loose.missing,
        loose.acknowledged.len() as u64 + loose.missing,
        loose.told_bytes,
    ))
}

/// The rounds of one pair.
fn pair(
    binary: &Path,
    folder: &Path,
    role: &'static str,
    rounds: u64,
    seed: u64,
) -> Result<Tally, String> {
    let mut tally = Tally::default();
    if rounds == 0 {
        return Ok(tally);
    }
    let link = Rc::new(Link::new(if role == "SYNC_MASTER" { "sync" } else { "async" })?);
    let node = |name, side| Node {
        name,
        side,
        link: link.clone(),
        folder: folder.to_owned(),
        binary: binary.to_owned(),
        role,
        child: None,
    };
    let (mut primary, mut standby) = (node("one", 0), node("two", 1));
    primary.start(false)?;
    standby.start(true)?;
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for number in 0..rounds {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let fault = FAULTS[(number as usize) % FAULTS.len()];
        let round = Round { number, fault, run_ms: 200 + random % 800 };
        let ran = if role == "SYNC_MASTER" {
            round.run(&mut primary, &mut standby, &mut tally)
        } else {
            round.run_loose(&mut primary, &mut standby, &mut tally)
        };
        ran.map_err(|why| format!("{role}, {round:?}: {why}{}{}", primary.said(), standby.said()))?;
        std::mem::swap(&mut primary, &mut standby);
    }
    primary.end();
    standby.end();
    Ok(tally)
}
