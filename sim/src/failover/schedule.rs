//! What happens to the pair: one act after the other, as the seed says.
//!
//! An act that makes no sense now is none: time passes instead. The operator in here keeps to the
//! manual: with `refuse` a standby is promoted whenever the pair itself can prove that nothing is
//! missing, else only when its primary is down and was followed to its end; and a primary that was
//! replaced is started when it can hear of that. Never: two acts of the operator that contradict
//! the manual.

use std::path::Path;

use weir::replica::Role;
use weir_io::sim::{Death, Faults};

use super::plan::Mode;
use super::round::Round;
use crate::oracle::Broken;

const MS: u64 = 1_000_000;
/// The pair comes together the first time within this, nanoseconds.
const BEGIN_NS: u64 = 30_000 * MS;
/// A primary that was replaced knows it within this, nanoseconds.
const STEPS_DOWN_NS: u64 = 30_000 * MS;

/// Starts both boxes and waits until they are a pair.
pub(super) fn begin(round: &mut Round) -> Result<(), Broken> {
    for who in 0..2 {
        let made = round.halves[who].world.make_dir(Path::new("/data"));
        made.map_err(|errno| format!("the world's own directory: {errno}"))?;
        round.start(who)?;
    }
    let until_ns = round.now_ns() + BEGIN_NS;
    while round.paired.is_none() || !is_in_step(round) {
        round.step()?;
        if round.now_ns() > until_ns {
            let reports = [&round.halves[0].last, &round.halves[1].last];
            return Err(format!("the pair never came together: {reports:?}"));
        }
    }
    Ok(())
}

/// Whether what a client is told now holds on both boxes.
pub(super) fn is_in_step(round: &Round) -> bool {
    let well = |who: usize| ["in sync", "async"].contains(&round.halves[who].last.standing);
    let primary = (0..2).find(|who| round.halves[*who].role() == Some(Role::Primary));
    primary.is_some_and(|who| {
        let other = 1 - who;
        let follows = round.halves[other].role() == Some(Role::Standby)
            && round.halves[other].last.standing == "following";
        well(who) && follows && round.halves[who].last.peer.is_some()
    })
}

/// The acts.
pub(super) fn run(round: &mut Round) -> Result<(), Broken> {
    for _ in 0..round.plan.acts {
        let ns = round.random.skewed(MS..4000 * MS);
        round.live(ns)?;
        act(round)?;
        round.bury();
        for who in 0..2 {
            if round.random.range(0..3) == 0 {
                promote(round, who)?;
                round.bury();
            }
            if round.random.coin() {
                start(round, who)?;
            }
        }
    }
    Ok(())
}

fn act(round: &mut Round) -> Result<(), Broken> {
    let who = round.random.range(0..2) as usize;
    let (here, there) = (round.halves[who].world.clone(), round.halves[1 - who].world.clone());
    let act = round.random.range(0..24);
    round.tell(who, &format!("act {act}"));
    match act {
        0..4 => die(round, who, Death::Kill),
        4..7 => die(round, who, Death::PowerCut),
        7..9 => {
            if round.halves[who].is_up() {
                let ns = round.random.skewed(MS..6000 * MS);
                let until_ns = round.now_ns() + ns;
                round.halves[who].freeze(Some(until_ns));
                round.tally.troubles += 1;
            }
        }
        9..11 => {
            here.partition(&there);
            wall(round);
        }
        11..13 => {
            here.mute(&there);
            wall(round);
        }
        13..15 => {
            here.heal(&there);
            round.walled = false;
        }
        15 => {
            let ns = if round.random.coin() { 0 } else { round.random.skewed(MS..200 * MS) };
            here.lag(ns);
            round.tally.troubles += 1;
        }
        16..20 => promote(round, who)?,
        20..22 => switchover(round, who),
        22 => fail(round, who),
        _ => repair(round, who),
    }
    Ok(())
}

fn wall(round: &mut Round) {
    round.walled = true;
    round.tally.troubles += 1;
}

/// Now, or at some step from now on, wherever that is.
fn die(round: &mut Round, who: usize, death: Death) {
    if round.halves[who].node.is_none() {
        return;
    }
    if round.armed.is_none() && round.random.coin() {
        let steps = round.random.skewed(1..6000);
        round.halves[who].world.die_in(steps, death);
        round.armed = Some((who, death));
        return;
    }
    match death {
        Death::PowerCut => round.halves[who].world.power_cut(),
        _ => round.halves[who].world.kill(),
    }
    round.died(who, death);
}

/// Starts a box that is down; one that was replaced only where it can hear of it.
pub(super) fn start(round: &mut Round, who: usize) -> Result<(), Broken> {
    let (half, other) = (&round.halves[who], &round.halves[1 - who]);
    if half.node.is_some() {
        return Ok(());
    }
    let theirs = other.node.as_ref().map_or(other.last.epoch, |node| node.report().epoch);
    let replaced = half.last.role == Role::Primary && theirs > half.last.epoch;
    if round.plan.mode == Mode::Refuse || !replaced {
        return round.start(who);
    }
    if round.walled || !other.is_up() || other.failing || round.armed.is_some() {
        return Ok(());
    }
    round.start(who)?;
    let until_ns = round.now_ns() + STEPS_DOWN_NS;
    while round.halves[who].role() == Some(Role::Primary) {
        round.step()?;
        if round.now_ns() > until_ns {
            return Err(format!("box {who} was replaced and does not step down"));
        }
    }
    Ok(())
}

/// Promotes a standby as the manual allows it.
fn promote(round: &mut Round, who: usize) -> Result<(), Broken> {
    let (half, other) = (&round.halves[who], &round.halves[1 - who]);
    let report = half.last.clone();
    if half.role() != Some(Role::Standby) || report.standing != "no primary" || half.failing {
        return Ok(());
    }
    let down = other.node.is_none() && round.paired.is_some_and(|(of, _)| of != who);
    let whole = !half.shaken || round.plan.ack_durable;
    if round.plan.mode == Mode::Refuse {
        return take_over(round, who, false).map(drop);
    }
    let current = report.epoch == round.term;
    if down && current && (whole || round.plan.mode == Mode::Async) {
        take_over(round, who, true)?;
    }
    Ok(())
}

/// `weir promote`; with `accept_loss` when it refuses without. Whether it did.
pub(super) fn take_over(round: &mut Round, who: usize, accept_loss: bool) -> Result<bool, Broken> {
    let lag = round.paired.filter(|(primary, _)| *primary != who).map(|(_, lag)| lag);
    let half = &mut round.halves[who];
    let Some(node) = half.node.as_mut().filter(|_| half.frozen_until_ns.is_none()) else {
        return Ok(false);
    };
    let end = node.report().end;
    let proven = node.shard.promote(&mut node.driver, false);
    let done = match proven {
        Err(_) if accept_loss => node.shard.promote(&mut node.driver, true),
        said => said,
    };
    if half.world.is_dead() {
        // Whether it took place is seen at its next start.
        half.last.epoch += 1;
        round.in_doubt = (round.plan.mode == Mode::Async).then_some(who);
        return Ok(false);
    }
    half.last = node.report();
    if done.is_err() {
        return Ok(false);
    }
    round.tally.promotions += 1;
    round.tell(who, &format!("is promoted at {end}, paired {:?}: {done:?}", round.paired));
    if round.plan.mode == Mode::Async {
        let missing = round.witness.given_up(end);
        let told = lag.filter(|_| !round.halves[who].shaken);
        if let Some(told) = told.filter(|told| missing > *told) {
            return Err(format!("{missing} bytes are missing, and the lag told was {told}"));
        }
    }
    Ok(true)
}

fn switchover(round: &mut Round, who: usize) {
    let half = &mut round.halves[who];
    let Some(node) = half.node.as_mut().filter(|_| half.frozen_until_ns.is_none()) else { return };
    if node.shard.switchover(&mut node.driver).is_ok() {
        round.tally.switchovers += 1;
        round.tell(who, "hands over");
    }
}

/// The device of a standby begins to fail.
fn fail(round: &mut Round, who: usize) {
    if round.halves[who].role() != Some(Role::Standby) {
        return;
    }
    let faults = Faults {
        write_error_ppm: round.random.skewed(1..300_000) as u32,
        sync_error_ppm: round.random.skewed(1..300_000) as u32,
        read_only_after_error: round.random.coin(),
        ..round.calm.clone()
    };
    round.halves[who].fail(&faults);
    round.tally.troubles += 1;
}

/// A device is repaired, and the process that saw it fail is killed.
pub(super) fn repair(round: &mut Round, who: usize) {
    if !round.halves[who].failing {
        return;
    }
    let calm = round.calm.clone();
    round.bury();
    round.halves[who].repair(&calm);
    if round.halves[who].node.is_some() {
        round.halves[who].world.kill();
        round.died(who, Death::Kill);
    }
}
