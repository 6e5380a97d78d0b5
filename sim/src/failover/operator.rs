//! The calm end of a round: everything is repaired, and the pair must come together.
//!
//! It does so by itself, or an operator reads what a box says and does what the manual says to
//! that. Never: an act that the box did not ask for in words.

use weir::replica::Role;
use weir_io::sim::Death;

use super::plan::Mode;
use super::round::Round;
use super::schedule::{is_in_step, repair, start, take_over};
use crate::oracle::Broken;

const MS: u64 = 1_000_000;
/// A pair that is left alone is together within this, or says why not; nanoseconds.
const PATIENCE_NS: u64 = 15_000 * MS;
/// Acts of the operator until it counts as hopeless.
const ACTS_MAX: u32 = 6;
/// Lines that tell how it came about.
const LINES: [&str; 8] = [
    "replica-refused",
    "replica-unasked",
    "replica-state-failed",
    "replica-stuck",
    "replica-disconnected",
    "replica-handed",
    "replica-stays",
    "replica-lost",
];
/// Messages that the pair must take at the end.
const LAST: usize = 20;

/// Repairs everything, waits for the pair, sends some messages through it, and waits until both
/// boxes hold the same.
pub(super) fn bring_together(round: &mut Round) -> Result<(), Broken> {
    let (one, two) = (round.halves[0].world.clone(), round.halves[1].world.clone());
    one.disarm();
    round.armed = None;
    one.heal(&two);
    one.lag(0);
    round.walled = false;
    for who in 0..2 {
        repair(round, who);
        if round.halves[who].frozen_until_ns.is_some() {
            round.halves[who].freeze(None);
        }
    }
    see_to(round, "the pair does not come together", is_in_step)?;
    let before = round.witness.len();
    let takes = |round: &Round| is_in_step(round) && round.witness.len() >= before + LAST;
    see_to(round, "the pair takes no messages", takes)?;
    round.load = false;
    let same = |round: &Round| {
        let settled = |who: usize| {
            let node = round.halves[who].node.as_ref();
            node.is_some_and(|node| node.shard.flush_behind_bytes() == 0)
        };
        is_in_step(round)
            && round.halves[0].last.end == round.halves[1].last.end
            && settled(0)
            && settled(1)
    };
    see_to(round, "the standby does not catch up", same)?;
    // What was committed last is written, too.
    round.live(1500 * MS)?;
    see_to(round, "the standby does not catch up with the last offsets", same)
}

/// Waits until something holds, with the operator's help where the boxes ask for it.
fn see_to(round: &mut Round, what: &str, holds: impl Fn(&Round) -> bool) -> Result<(), Broken> {
    for _ in 0..ACTS_MAX {
        if wait(round, &holds)? {
            return Ok(());
        }
        help(round).map_err(|broken| format!("{what}; {broken}"))?;
    }
    Err(hopeless(round, what))
}

/// Steps until something holds, starting what is down; `false`: it did not in time.
fn wait(round: &mut Round, holds: impl Fn(&Round) -> bool) -> Result<bool, Broken> {
    let until_ns = round.now_ns() + PATIENCE_NS;
    while !holds(round) {
        if round.now_ns() > until_ns {
            return Ok(false);
        }
        for who in 0..2 {
            start(round, who)?;
        }
        round.step()?;
    }
    Ok(true)
}

fn hopeless(round: &Round, what: &str) -> Broken {
    let mut text = what.to_owned();
    for who in 0..2 {
        let last = &round.halves[who].last;
        text += &format!("\n  box {who}: {last:?}, refused: {:?}", round.refused[who]);
        for id in LINES {
            if let Some(said) = said(round, who, id) {
                text += &format!("\n    {id}: {said}");
            }
        }
    }
    text
}

/// The last line with an id that a box said.
fn said(round: &Round, who: usize, id: &str) -> Option<String> {
    let node = round.halves[who].node.as_ref()?;
    node.shard.voice.last(id).map(str::to_owned)
}

/// What an operator does after reading both boxes' lines.
fn help(round: &mut Round) -> Result<(), Broken> {
    match [round.halves[0].role(), round.halves[1].role()] {
        [Some(Role::Standby), Some(Role::Standby)] => {
            let key = |who: usize| {
                let last = &round.halves[who].last;
                (last.provable, last.epoch, last.end)
            };
            let best = usize::from(key(1) > key(0));
            let provable = round.halves[best].last.provable;
            let done = take_over(round, best, !provable)?;
            if done { Ok(()) } else { Err(hopeless(round, "neither standby can be promoted")) }
        }
        [Some(Role::Primary), Some(Role::Standby)] => help_standby(round, 0),
        [Some(Role::Standby), Some(Role::Primary)] => help_standby(round, 1),
        _ => Err(hopeless(round, "two primaries that do not settle it")),
    }
}

/// The primary says why its standby cannot follow.
fn help_standby(round: &mut Round, primary: usize) -> Result<(), Broken> {
    let standby = 1 - primary;
    let lines = [primary, standby].map(|who| said(round, who, "replica-refused"));
    let says = |words: &str| lines.iter().flatten().any(|line| line.contains(words));
    if says("promote the standby") && round.plan.mode != Mode::Async {
        round.halves[primary].world.kill();
        round.died(primary, Death::Kill);
        round.live(3000 * MS)?;
        if !take_over(round, standby, true)? {
            return Err(hopeless(round, "the standby that has more cannot be promoted"));
        }
        // It is the primary before the other one is started.
        round.live(100 * MS)
    } else if says("empty data directory") || says("promote the standby") {
        round.tally.wiped += 1;
        round.tell(standby, &hopeless(round, "is wiped"));
        wipe(round, standby)
    } else {
        Err(hopeless(round, "the standby does not follow, and nobody says why"))
    }
}

/// The standby begins anew on an empty disk.
fn wipe(round: &mut Round, who: usize) -> Result<(), Broken> {
    round.halves[who].world.kill();
    round.died(who, Death::Kill);
    round.wipe(who)
}
