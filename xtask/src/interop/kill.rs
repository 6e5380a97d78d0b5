//! Kills under load: whatever a stock client was told SEND_OK for is there afterwards.
//!
//! Java and Go producers write down every acknowledged key while the broker is killed again and
//! again: by SIGKILL at random moments, and by itself at its fail points (in the staging copy, in
//! the checkpoint, at a segment roll). At the end each client's consumer looks up every key.

use std::path::Path;
use std::time::{Duration, Instant};

use super::broker::Broker;
use super::client::LOADERS;
use super::load::{Load, here};
use super::scratch::Scratch;

const CHECKPOINT: &str = "checkpoint";
const FAIL_POINTS: [&str; 3] = ["staging-copy", CHECKPOINT, "segment-roll"];
const CHECKPOINT_AFTER: Duration = Duration::from_millis(300);
/// A fail point that load does not reach within this is not a fail point.
const REACHED_WITHIN: Duration = Duration::from_secs(30);
/// The next start begins this soon after the kill; a stall of the machine may spoil a few.
const RESTART_WITHIN: Duration = Duration::from_millis(1);
/// Small segments, so that a second of load rolls one.
const SEGMENT: &str = "mappedFileSizeCommitLog=16777216";

/// What the rounds of one flush mode came to.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// `ASYNC_FLUSH` or `SYNC_FLUSH`.
    pub(super) mode: &'static str,
    /// Kills.
    pub(super) rounds: u32,
    /// Keys acknowledged to all clients.
    pub(super) acknowledged: u64,
    /// Of these, missing or with another body.
    pub(super) lost: u64,
    /// The longest time between a kill and the beginning of the next start.
    pub(super) gap: Duration,
    /// Of the whole.
    pub(super) took: Duration,
}

/// How a round ends.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// SIGKILL after this time under load.
    After(Duration),
    /// The broker kills itself there.
    At(String),
}

/// Runs `rounds` kills in one flush mode and verifies; `seed` decides the moments.
pub(super) fn run(
    scratch: &Scratch,
    binary: &Path,
    mode: &'static str,
    rounds: u32,
    seed: u64,
) -> Result<Outcome, String> {
    let begun = Instant::now();
    let name = format!("kill-{}", mode.to_lowercase());
    let flush = format!("flushDiskType={mode}");
    let mut broker = Broker::start(scratch, binary, &name, &[&flush, SEGMENT])?;
    let mut loads = Vec::new();
    for client in LOADERS {
        let folder = scratch.folder(&format!("{name}-{}", client.name))?;
        loads.push(Load::start(&folder, &broker.namesrv(), client, here())?);
    }
    let plan = plan(rounds, seed);
    let gap = kills(&mut broker, &plan).map_err(|why| format!("{mode}: {why}"))?;
    std::thread::sleep(Duration::from_millis(300));
    let (mut acknowledged, mut lost) = (0, 0);
    for load in &mut loads {
        println!("interop: {}", load.stop()?);
    }
    for load in &loads {
        let (keys, gone, said) = load.verify(&broker.namesrv())?;
        println!("interop: {said}");
        acknowledged += keys;
        lost += gone;
    }
    broker.still_there()?;
    Ok(Outcome { mode, rounds, acknowledged, lost, gap, took: begun.elapsed() })
}

/// Each fail point once, between kills at random moments.
fn plan(rounds: u32, seed: u64) -> Vec<End> {
    let mut state = seed | 1;
    let mut next = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    (0..rounds as usize)
        .map(|round| match FAIL_POINTS.get(round.wrapping_sub(1) / 2) {
            Some(point) if round % 2 == 1 => {
                let most = if *point == "staging-copy" { 200 } else { 2 };
                End::At(format!("{point}:{}", 1 + next(most)))
            }
            _ => End::After(Duration::from_millis(50 + next(700))),
        })
        .collect()
}

fn kills(broker: &mut Broker, plan: &[End]) -> Result<Duration, String> {
    let mut gaps = Vec::new();
    for (round, end) in plan.iter().enumerate() {
        // A fail point has to be set when the process starts, so one round ahead.
        let next = plan.get(round + 1).and_then(|end| match end {
            End::At(place) => Some(place.as_str()),
            End::After(_) => None,
        });
        let gap = match end {
            End::After(time) => {
                std::thread::sleep(*time);
                broker.kill_and_restart(next)
            }
            End::At(place) => {
                if place.starts_with(CHECKPOINT) {
                    // Under load one is due every 256 MiB; at an orderly end there always is one.
                    std::thread::sleep(CHECKPOINT_AFTER);
                    broker.terminate()?;
                }
                broker.await_fail_point(place, next, REACHED_WITHIN)
            }
        };
        gaps.push(gap.map_err(|why| format!("round {round} {end:?}: {why}"))?);
    }
    let late = gaps.iter().filter(|gap| **gap > RESTART_WITHIN).count();
    if late * 4 > gaps.len() {
        return Err(format!("{late} starts began later than {RESTART_WITHIN:?} after the kill"));
    }
    Ok(gaps.into_iter().max().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fail_point_is_in_the_plan_once_and_the_seed_decides_the_rest() {
        let rounds = plan(10, 7);
        assert_eq!(rounds, plan(10, 7));
        assert_ne!(rounds, plan(10, 8));
        for point in FAIL_POINTS {
            let hits = |end: &&End| matches!(end, End::At(at) if at.starts_with(point));
            assert_eq!(rounds.iter().filter(hits).count(), 1, "{point}");
        }
        assert_eq!(rounds.iter().filter(|end| matches!(end, End::After(_))).count(), 7);
    }
}
