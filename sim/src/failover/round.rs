//! One round: both boxes, the load on them, and what clients are told.
//!
//! A step is a turn of each box that runs, what its clients get from it, and a move of the clock.
//! Producers try both boxes all the time, so that two that acknowledge at once are seen; one group
//! reads and commits at the primary. Never: an answer counted that came after its process died.

use weir::broker::{GroupConfig, Meta};
use weir::replica::Role;
use weir::shard::{Answer, Lack, Taken};
use weir_io::sim::{Death, Faults, Random, World, WorldOptions};

use super::half::Half;
use super::operator;
use super::plan::{Mode, Plan};
use super::schedule;
use super::verdict;
use super::witness::{Kept, What, Witness};
use crate::bed::{HA_A, HA_B, Pulled};
use crate::oracle::Broken;
use crate::round::Outcome;

/// Sends of one box without an answer.
const OPEN_MAX: usize = 64;
/// The group of the load.
pub(super) const GROUP: &str = "g";
/// Its topic.
pub(super) const TOPIC: &str = "t";

/// Ways to run a round.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ways {
    /// A canary: devices that lie about their flushes.
    pub ignore_sync: bool,
    /// A canary: the node is not told that its machine booted, so that it takes what it only
    /// received for kept.
    pub ignore_boot: bool,
    /// A canary: a client that takes "the standby did not confirm in time" for success.
    pub ignore_standby: bool,
    /// Every call and event goes to standard error.
    pub tell: bool,
}

/// What a round counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Deaths of processes and machines.
    pub deaths: u64,
    /// Pauses, cuts, slow links, failing devices.
    pub troubles: u64,
    /// Promotions, with `--accept-loss` too.
    pub promotions: u64,
    /// Switchovers that were begun.
    pub switchovers: u64,
    /// Standbys that had to begin anew.
    pub wiped: u64,
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Of these, excused: both boxes lost their memory.
    pub excused: u64,
    /// Offsets that both boxes were known to hold.
    pub committed: u64,
    /// Records compared at the end.
    pub compared: u64,
}

/// A commit whose record is on its way: box, queue, value, end of the log behind it.
type Commit = (usize, i32, i64, Option<u64>);

/// A round that runs.
pub(super) struct Round {
    pub plan: Plan,
    pub ways: Ways,
    pub random: Random,
    pub halves: [Half; 2],
    pub witness: Witness,
    pub tally: Tally,
    /// How devices behave when they are well.
    pub calm: Faults,
    /// The death that is armed.
    pub armed: Option<(usize, Death)>,
    /// Packets do not get through, in one direction or both.
    pub walled: bool,
    /// Producers send.
    pub load: bool,
    /// The primary whose present life the other box has followed, and the lag it last told.
    pub paired: Option<(usize, u64)>,
    /// Highest term that anybody was seen in.
    pub term: u64,
    /// Terms up to this one began with all that was committed.
    checked: u64,
    /// The box that died while it was promoted at the price of a loss.
    pub in_doubt: Option<usize>,
    /// The last refusal of each box.
    pub refused: [Option<(i32, String)>; 2],
    sent: i32,
    open: Vec<(usize, i32)>,
    next: [i64; 2],
    commits: Vec<Commit>,
}

/// Runs the round of a seed. `Err`: a promise was broken.
pub fn run(seed: u64, ways: Ways) -> Result<Outcome<Tally>, Broken> {
    let mut round = Round::new(Plan::new(seed), ways)?;
    let told = |plan: &Plan, broken: Broken| format!("{:?}: {broken}", plan.mode);
    let done = schedule::begin(&mut round)
        .and_then(|()| schedule::run(&mut round))
        .and_then(|()| operator::bring_together(&mut round))
        .and_then(|()| verdict::look(&mut round));
    done.map_err(|broken| told(&round.plan, broken))?;
    let trace_hash = round.halves[0].world.trace_hash();
    Ok(Outcome { tally: round.tally, trace_hash })
}

impl Round {
    fn new(plan: Plan, ways: Ways) -> Result<Round, Broken> {
        let mut random = Random::new(plan.seed, "workload");
        let calm = Faults { ignore_sync: ways.ignore_sync, ..Faults::default() };
        let world = World::new(WorldOptions {
            seed: plan.seed,
            faults: calm.clone(),
            staging_survives: random.range(0..4) > 0,
            tell: ways.tell,
        });
        let other = world.another_machine();
        let halves = [Half::new(world, plan.options(0, 1)), Half::new(other, plan.options(1, 2))];
        Ok(Round {
            plan,
            ways,
            random,
            halves,
            witness: Witness::default(),
            tally: Tally::default(),
            calm,
            armed: None,
            walled: false,
            load: true,
            paired: None,
            term: 0,
            checked: 0,
            in_doubt: None,
            refused: [None, None],
            sent: 0,
            open: Vec::new(),
            next: [0; 2],
            commits: Vec::new(),
        })
    }

    /// Tells what is done, in the midst of what `--tell` shows.
    pub(super) fn tell(&self, who: usize, what: &str) {
        if self.ways.tell {
            let last = &self.halves[who].last;
            eprintln!("{:>12} act: box {who} {what}; it was {last:?}", self.now_ns());
        }
    }

    /// Now, nanoseconds of the world.
    pub(super) fn now_ns(&self) -> u64 {
        self.halves[0].world.now_ns()
    }

    /// Steps for so long.
    pub(super) fn live(&mut self, ns: u64) -> Result<(), Broken> {
        let until_ns = self.now_ns() + ns;
        while self.now_ns() < until_ns {
            self.step()?;
        }
        Ok(())
    }

    /// A turn of each box, what clients get of it, and the clock.
    pub(super) fn step(&mut self) -> Result<(), Broken> {
        for who in 0..2 {
            let now_ns = self.now_ns();
            let half = &mut self.halves[who];
            if half.frozen_until_ns.is_some_and(|until_ns| now_ns >= until_ns) {
                half.freeze(None);
            }
            if !half.is_up() {
                continue;
            }
            self.offer(who);
            let half = &mut self.halves[who];
            if let Some(node) = &mut half.node {
                node.turn();
            }
            if half.world.is_dead() {
                self.died_as_armed(who);
                continue;
            }
            self.hear(who)?;
            if self.halves[who].node.as_ref().is_some_and(|node| node.shard.wants_restart()) {
                self.reopen(who)?;
            }
        }
        self.bury();
        self.look_at_pair();
        if self.halves.iter().any(|half| half.node.is_some()) {
            self.halves[0].world.advance();
        } else {
            self.halves[0].world.advance_by(1_000_000);
        }
        self.bury();
        Ok(())
    }

    /// Starts the process of a box. What it serves as primary must be all that was kept.
    pub(super) fn start(&mut self, who: usize) -> Result<(), Broken> {
        if self.halves[who].node.is_none() {
            let started = self.halves[who].start()?;
            self.opened(who, started)?;
        }
        self.bury();
        Ok(())
    }

    fn reopen(&mut self, who: usize) -> Result<(), Broken> {
        self.forget_open(who);
        let opened = self.halves[who].reopen()?;
        self.opened(who, opened)
    }

    fn opened(&mut self, who: usize, well: bool) -> Result<(), Broken> {
        if !well {
            if !self.halves[who].failing || self.armed.is_some_and(|(armed, _)| armed == who) {
                self.died_as_armed(who);
            }
            self.halves[who].gone();
            return Ok(());
        }
        let Some(node) = &self.halves[who].node else { return Ok(()) };
        let report = node.report();
        self.tell(who, &format!("opened as {report:?}"));
        self.witness.opened_at(who, self.halves[who].found_end());
        if report.role == Role::Standby {
            return Ok(());
        }
        self.paired = self.paired.filter(|(primary, _)| *primary != who);
        if report.epoch > self.checked {
            // It took over: nothing that was committed may be behind.
            self.checked = report.epoch;
            if self.in_doubt.take_if(|doubted| *doubted == who).is_some() {
                self.witness.given_up(self.halves[who].found_end());
            }
            let offsets = &node.shard.broker.offsets;
            let stands = |queue: i32| offsets.get(GROUP, TOPIC, queue as u32);
            self.witness.look_at_offsets(stands)?;
        }
        self.term = self.term.max(report.epoch);
        Ok(())
    }

    /// A box whose process died: what was on its way is not known.
    pub(super) fn died(&mut self, who: usize, death: Death) {
        self.tell(who, &format!("dies: {death:?}"));
        self.tally.deaths += 1;
        self.forget_open(who);
        let half = &mut self.halves[who];
        half.gone();
        half.world.disarm();
        self.armed = self.armed.filter(|(armed, _)| *armed != who);
        if let Some((armed, death)) = self.armed {
            // Another one's was taken back with it.
            let steps = self.random.skewed(1..3000);
            self.halves[armed].world.die_in(steps, death);
        }
        if death == Death::PowerCut {
            self.halves[who].shaken = true;
            self.witness.lost_memory(who);
            if !self.ways.ignore_boot
                && let Some(replica) = &mut self.halves[who].options.replica
            {
                replica.boot += 1;
            }
        }
    }

    /// Notes who died in somebody else's step.
    pub(super) fn bury(&mut self) {
        for who in 0..2 {
            if self.halves[who].node.is_some() && self.halves[who].world.is_dead() {
                self.died_as_armed(who);
            }
        }
    }

    fn died_as_armed(&mut self, who: usize) {
        let armed = self.armed.take_if(|(armed, _)| *armed == who);
        self.died(who, armed.map_or(Death::Kill, |(_, death)| death));
    }

    /// A box that is down gets an empty disk, and begins as the other one's standby.
    pub(super) fn wipe(&mut self, who: usize) -> Result<(), Broken> {
        let world = self.halves[who].world.another_machine();
        let made = world.make_dir(std::path::Path::new("/data"));
        made.map_err(|errno| format!("the world's own directory: {errno}"))?;
        let port = |who: usize| if who == 0 { HA_A } else { HA_B };
        let identity = self.random.range(3..250) as u8;
        let mut options = self.plan.options(who, identity);
        if let Some(replica) = &mut options.replica {
            replica.role = Role::Standby;
            replica.primary = Some(([127, 0, 0, 1], port(1 - who)).into());
        }
        self.halves[who] = Half::new(world, options);
        self.witness.lost_disk(who);
        self.start(who)
    }

    fn forget_open(&mut self, who: usize) {
        self.open.retain(|(of, _)| *of != who);
        self.commits.retain(|commit| commit.0 != who);
    }

    /// Sends some messages to a box, whatever it is.
    fn offer(&mut self, who: usize) {
        let Some(node) = self.halves[who].node.as_mut().filter(|_| self.load) else { return };
        let some = self.random.range(0..4) == 0;
        for _ in 0..if some { self.random.range(0..self.plan.burst + 1) } else { 0 } {
            if self.open.iter().filter(|(of, _)| *of == who).count() >= OPEN_MAX {
                return;
            }
            let len = self.random.skewed(self.plan.body_bytes.clone()) as usize;
            let body = format!("{:08}{}", self.sent, "x".repeat(len));
            match node.offer(self.sent, body.as_bytes()) {
                Ok(Taken::Waiting) => self.open.push((who, self.sent)),
                // It would be tried again.
                Ok(Taken::Full) => {}
                Err(refused) => self.refused[who] = Some(refused),
            }
            self.sent += 1;
        }
    }

    /// What a box says to its clients.
    fn hear(&mut self, who: usize) -> Result<(), Broken> {
        let Some(node) = &mut self.halves[who].node else { return Ok(()) };
        let report = node.report();
        self.term = self.term.max(report.epoch);
        let answers = node.answers();
        for (id, answer) in answers {
            self.open.retain(|open| *open != (who, id));
            let trusting = self.ways.ignore_standby;
            if let Answer::Sent { queue_id, queue_offset, position, len, .. }
            | Answer::Less {
                lack: Lack::Standby, queue_id, queue_offset, position, len, ..
            } = answer
                && (trusting || matches!(answer, Answer::Sent { .. }))
            {
                let what = What::Message { id, queue: queue_id, offset: queue_offset };
                let kept = self.kept(what, position + u64::from(len), who);
                self.witness.acknowledged(position, kept)?;
                self.tally.acknowledged += 1;
            }
        }
        if report.role == Role::Primary {
            if let Some((_, lag)) = self.paired.as_mut().filter(|(primary, _)| *primary == who) {
                *lag = report.lag_bytes;
            }
            self.consume(who)?;
            self.confirm_commits(who);
        }
        self.halves[who].last = report;
        Ok(())
    }

    /// A promise as this pair gives it.
    fn kept(&self, what: What, end: u64, by: usize) -> Kept {
        let sync = self.plan.is_sync();
        let mut on_device = [self.plan.ack_durable && sync; 2];
        on_device[by] = self.plan.sync_flush;
        let kept = Kept::new(what, end, by, on_device, !sync);
        let other = 1 - by;
        if self.halves[other].shaken { self.witness.was_shaken(kept, other) } else { kept }
    }

    /// The group reads on, and commits now and then.
    fn consume(&mut self, who: usize) -> Result<(), Broken> {
        if !self.load || self.random.range(0..4) > 0 {
            return Ok(());
        }
        let queue = self.random.range(0..2) as i32;
        let at = self.next[queue as usize];
        let Some(node) = &mut self.halves[who].node else { return Ok(()) };
        if node.shard.broker.catalog.group(GROUP).is_none() {
            // It may be refused now; then it is tried again.
            let _ = node.shard.change(&mut node.driver, Meta::GroupPut(GroupConfig::new(GROUP)));
            return Ok(());
        }
        let Some(Ok(Pulled { next, bodies, .. })) = node.pull(queue, at) else { return Ok(()) };
        if self.plan.mode == Mode::Refuse {
            for ((position, offset), body) in &bodies {
                let id = number(body).ok_or("a body that nobody sent")?;
                let what = What::Message { id, queue, offset: *offset };
                let mut kept = self.kept(what, *position + 1, who);
                kept.on_device[who] = false;
                self.witness.was_given(*position, kept)?;
            }
        }
        self.next[queue as usize] = next;
        self.commit(who, queue, next);
        Ok(())
    }

    fn commit(&mut self, who: usize, queue: i32, value: i64) {
        let Some(node) = &mut self.halves[who].node else { return };
        let stood = node.shard.broker.offsets.get(GROUP, TOPIC, queue as u32).unwrap_or(0);
        if value <= stood || node.shard.refuses_offsets().is_some() || self.random.range(0..3) > 0 {
            return;
        }
        if node.shard.broker.update_offset(GROUP, TOPIC, Some(queue), Some(value)).is_ok() {
            self.commits.push((who, queue, value, None));
        }
    }

    /// Commits whose record all have that a message would wait for.
    fn confirm_commits(&mut self, who: usize) {
        let Some(node) = &self.halves[who].node else { return };
        let (report, marks, end) = (node.report(), node.shard.marks(), node.shard.log_end());
        let written = !node.shard.broker.offsets.has_dirty();
        let both = match self.plan.is_sync() {
            true if report.standing == "in sync" => report.replicated,
            true => 0,
            false => u64::MAX,
        };
        let mark = if self.plan.sync_flush { marks.durable } else { marks.staged };
        let mut left = Vec::new();
        for (of, queue, value, behind) in std::mem::take(&mut self.commits) {
            let behind = behind.or((of == who && written).then_some(end));
            match behind.filter(|behind| of == who && *behind <= mark.min(both)) {
                Some(behind) => {
                    let kept = self.kept(What::Offset { queue, value }, behind, who);
                    self.tell(who, &format!("keeps {kept:?}"));
                    self.witness.committed(kept);
                    self.tally.committed += 1;
                }
                None => left.push((of, queue, value, behind)),
            }
        }
        self.commits = left;
    }

    /// Notes when the boxes are one pair, and what is safe then.
    fn look_at_pair(&mut self) {
        let roles = [self.halves[0].role(), self.halves[1].role()];
        let primary = match roles {
            [Some(Role::Primary), Some(Role::Standby)] => 0,
            [Some(Role::Standby), Some(Role::Primary)] => 1,
            _ => return,
        };
        let (one, two) = (&self.halves[primary].last, &self.halves[1 - primary].last);
        let following = one.peer.is_some() && two.standing == "following" && one.epoch == two.epoch;
        if !following {
            return;
        }
        self.paired = Some((primary, one.lag_bytes));
        if ["in sync", "async"].contains(&one.standing) && two.end >= one.end {
            for who in 0..2 {
                self.halves[who].shaken = false;
                if let Some(node) = &self.halves[who].node {
                    self.witness.safe_at(who, node.shard.marks().durable);
                }
            }
        }
    }
}

/// The number that a body begins with.
pub(super) fn number(body: &[u8]) -> Option<i32> {
    std::str::from_utf8(body.get(..8)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn red(rounds: u64, ways: Ways) -> usize {
        (0..rounds).filter(|seed| run(*seed, ways).is_err()).count()
    }

    #[test]
    fn nothing_that_a_pair_promised_is_missing_whatever_happens_to_its_boxes() {
        for seed in 0..60 {
            if let Err(broken) = run(seed, Ways::default()) {
                panic!("seed {seed}: {broken}");
            }
        }
    }

    #[test]
    fn the_canaries_sing() {
        let standby = Ways { ignore_standby: true, ..Ways::default() };
        let sync = Ways { ignore_sync: true, ..Ways::default() };
        assert!(red(100, standby) > 0 && red(20, sync) > 3);
    }

    #[test]
    fn the_same_seed_is_the_same_schedule() {
        let trace = |seed| run(seed, Ways::default()).map(|outcome| outcome.trace_hash);
        assert_eq!(trace(5), trace(5));
        assert_ne!(trace(5), trace(6));
    }
}
