//! One round: a seed, some lives, the same each time.
//!
//! Each life ends in a death that the plan's stream draws, most of them armed for a random step,
//! and the next start is compared with what the oracle remembers. Never: a choice that does not
//! come from the seed, so that a broken round can be run again with `--tell`.

use std::path::Path;

use weir_io::sim::{Death, Faults, Random, World, WorldOptions};

use crate::life::{End, Estate, Life, Shelf, Tally};
use crate::oracle::{Broken, Oracle};
use crate::plan::{Kind, Plan};
use crate::rot;

/// Longest pause between two lives, nanoseconds.
const PAUSE_NS: u64 = 100_000_000;

/// What a round left; `T` counts.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<T> {
    /// Counts.
    pub tally: T,
    /// Hash of every call and event of its world.
    pub trace_hash: u64,
}

/// Ways to run a round.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ways {
    /// The canary: a device that lies about its flushes.
    pub ignore_sync: bool,
    /// Every call and event goes to standard error.
    pub tell: bool,
}

/// Runs the round of a seed. `Err`: a promise was broken.
pub fn run(seed: u64, kind: Kind, ways: Ways) -> Result<Outcome<Tally>, Broken> {
    let plan = Plan::new(seed, kind, ways.ignore_sync);
    let world = World::new(WorldOptions {
        seed,
        staging_survives: plan.staging_survives,
        tell: ways.tell,
        ..WorldOptions::default()
    });
    let made = world.make_dir(Path::new("/data"));
    made.map_err(|errno| format!("the world's own directory: {errno}"))?;
    let mut random = Random::new(seed, "workload");
    let (mut oracle, mut shelf) = (Oracle::default(), Shelf::default());
    let mut tally = Tally::default();
    for life in 0..=plan.lives {
        let last = life == plan.lives;
        let mut estate = Estate {
            world: &world,
            plan: &plan,
            random: &mut random,
            oracle: &mut oracle,
            shelf: &mut shelf,
            tally: &mut tally,
        };
        if last && kind == Kind::Rot {
            rotten_end(&mut estate).map_err(|broken| format!("rot: {broken}"))?;
            break;
        }
        let death = one_life(estate, last).map_err(|broken| format!("life {life}: {broken}"))?;
        oracle.died(death);
        shelf.died();
        tally.deaths += 1;
        // A successor may start while writes of the dead still land, or long after.
        let pause_ns = random.skewed(1..PAUSE_NS);
        world.advance_by(pause_ns);
    }
    Ok(Outcome { tally, trace_hash: world.trace_hash() })
}

/// A calm life, a power cut, and one changed byte.
fn rotten_end(estate: &mut Estate<'_>) -> Result<(), Broken> {
    estate.world.disarm();
    let turns = estate.random.range(1..60);
    rot::grow(estate.lend(), turns)?;
    estate.world.power_cut();
    rot::strike(estate.lend())
}

/// A life and its death. The last one of a round only starts, which checks the one before.
fn one_life(estate: Estate<'_>, last: bool) -> Result<Death, Broken> {
    let (world, plan) = (estate.world, estate.plan);
    let death = plan.death(estate.random);
    let steps = estate.random.skewed(1..6000);
    let turns = estate.random.skewed(1..400);
    let until_death = !last && death != Death::Exit && estate.random.range(0..8) > 0;
    let calm = Faults { ignore_sync: plan.faults.ignore_sync, ..Faults::default() };
    // Who restarts it has mounted the file system again.
    world.remount();
    world.faults(|faults| *faults = calm.clone());
    if until_death {
        world.die_in(steps, death);
    }
    let started = Life::start(estate);
    let (mut life, mut lived) = match started {
        Ok(life) => (Some(life), Ok(())),
        Err(end) => (None, Err(end)),
    };
    if let Some(life) = life.as_mut().filter(|_| !last) {
        // Errors of the device begin after the start: a start may refuse them.
        world.faults(|faults| *faults = plan.faults.clone());
        lived = life.live(if until_death { u64::MAX } else { turns });
        world.faults(|faults| *faults = calm);
        if lived.is_ok() {
            lived = life.settle();
        }
    }
    world.disarm();
    let death = match lived {
        Err(End::Broken(broken)) => return Err(broken),
        Err(End::Dead) => return Ok(death),
        Err(End::Fenced) if death == Death::Exit => Death::Kill,
        Err(End::Fenced) | Ok(()) => death,
    };
    match death {
        Death::Kill => world.kill(),
        Death::PowerCut => world.power_cut(),
        Death::Exit => {}
    }
    drop(life);
    Ok(death)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(kind: Kind, count: u64) {
        for seed in 0..count {
            if let Err(broken) = run(seed, kind, Ways::default()) {
                panic!("{kind:?}, seed {seed}: {broken}");
            }
        }
    }

    #[test]
    fn nothing_durable_is_lost_by_power_cuts() {
        rounds(Kind::PowerCuts, 40);
    }

    #[test]
    fn nothing_staged_is_lost_by_kills() {
        rounds(Kind::Kills, 40);
    }

    #[test]
    fn nothing_promised_is_lost_by_deaths_of_all_kinds_in_a_row() {
        rounds(Kind::Mixed, 40);
    }

    #[test]
    fn a_failed_write_or_flush_never_becomes_a_promise() {
        rounds(Kind::Errors, 40);
    }

    #[test]
    fn a_full_disk_loses_nothing_that_was_taken() {
        rounds(Kind::DiskFull, 40);
    }

    #[test]
    fn a_changed_byte_is_found_and_named_and_nothing_else_is_lost() {
        rounds(Kind::Rot, 100);
    }

    #[test]
    fn the_canary_sings_on_a_device_that_lies_about_its_flushes() {
        let ways = Ways { ignore_sync: true, ..Ways::default() };
        let red = (0..20).filter(|seed| run(*seed, Kind::PowerCuts, ways).is_err()).count();
        assert!(red >= 10, "only {red} of 20 rounds noticed");
    }

    #[test]
    fn the_same_seed_is_the_same_round() {
        let trace =
            |seed| run(seed, Kind::Mixed, Ways::default()).map(|outcome| outcome.trace_hash);
        assert_eq!(trace(3), trace(3));
        assert_ne!(trace(3), trace(4));
    }
}
