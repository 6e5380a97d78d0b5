//! Two boxes that share the shards, each the other's standby: for each shard, a broker of its own,
//! somebody outside decides which box is the primary.
//!
//! Each round takes one box away. The other must become the primary of both names, and goes on
//! acknowledging for the name that was its own. The box that comes back follows on both, and is
//! given its name again by the operator, as `weir switchover` does it.
//! Never: a round that ends before every acknowledged message was read.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::gate::Gate;
use super::load::{Acknowledged, Prober, Producer, Seen, Target, none_lost, probe, read_all};
use super::majority::Majority;
use super::rig::By;
use super::round::{Fault, longest_of, longest_pause};
use crate::failover::{Node, Rig};
use crate::mutual::{control, follows, kill, namesrv, rows, told};
use crate::toolbox;

const TOPIC: &str = "shared";
/// Broker names of the shards; a box is at first the primary of the one with its own number.
const NAMES: [&str; 2] = ["pair-0", "pair-1"];
const PATIENCE: Duration = Duration::from_secs(40);
/// Of both boxes.
const SETTINGS: &[(&str, &str)] = &[("standbyLost", "degrade"), ("vipPort", "false")];

/// The boxes, and what was found.
pub(super) struct Shared {
    rig: Rig,
    nodes: [Node; 2],
    gates: [Vec<Gate>; 2],
    lease: Duration,
    acknowledged: BTreeSet<String>,
    under_way: usize,
    /// Time until the other box acknowledged for the name of the one that was taken away.
    gaps: Vec<(Fault, Duration)>,
    /// The longest that it did not acknowledge for its own name.
    own: Duration,
}

impl Shared {
    /// Starts both boxes, and waits until each name has its primary.
    pub(super) fn start(
        binary: PathBuf,
        folder: PathBuf,
        (majority, by): (&Majority, By),
        lease_seconds: u64,
    ) -> Result<Shared, String> {
        let rig = Rig { binary, folder, more: SETTINGS };
        let gates = [majority.gates()?, majority.gates()?];
        let mut nodes = [rig.node("one")?, rig.node("two")?];
        for (node, gates) in nodes.iter_mut().zip(&gates) {
            let ways: Vec<String> =
                gates.iter().map(|gate| format!("127.0.0.1:{}", gate.port)).collect();
            node.sets.extend(by.settings(&ways, lease_seconds));
        }
        let [one, two] = &mut nodes;
        follows(one, "1", two);
        follows(two, "0", one);
        rig.start(one, None)?;
        rig.start(two, None)?;
        let (acknowledged, gaps) = (BTreeSet::new(), Vec::new());
        let (under_way, own) = (0, Duration::ZERO);
        let lease = Duration::from_secs(lease_seconds);
        let shared = Shared { rig, nodes, gates, lease, acknowledged, under_way, gaps, own };
        shared.settled([0, 1])?;
        let at = namesrv(&shared.nodes[0]);
        told(&shared.rig, &["topic", "create", TOPIC, "--queues", "2", "--namesrv", &at])?;
        Ok(shared)
    }

    /// One round: box `lost` is taken away.
    pub(super) fn run(
        &mut self,
        number: u64,
        (fault, lost): (Fault, usize),
        run_ms: u64,
    ) -> Result<(), String> {
        let stays = 1 - lost;
        self.settled([0, 1])?;
        let server = namesrv(&self.nodes[stays]);
        let of_lost = Producer::start(self.target(&server, lost), format!("r{number}-s{lost}"))?;
        let of_own = Prober::start(self.target(&server, stays), format!("r{number}-s{stays}"));
        std::thread::sleep(Duration::from_millis(run_ms));
        let began = Instant::now();
        self.fail(fault, lost)?;
        let seen = self.acknowledged(stays, lost, &format!("r{number}-new"))?;
        self.gaps.push((fault, seen.at.saturating_duration_since(began)));
        self.heal(fault, lost)?;
        let server = namesrv(&self.nodes[lost]);
        let late: Acknowledged = (0..5)
            .filter_map(|n| probe(self.target(&server, lost), &format!("r{number}-late-{n}")))
            .collect();
        let mut roles = [stays; 2];
        self.settled(roles)?;
        let shard = lost.to_string();
        let way = control(&self.nodes[stays]);
        told(&self.rig, &["switchover", "--shard", &shard, "--control", &way])?;
        roles[lost] = lost;
        self.settled(roles)?;
        let back = Instant::now();
        let still = self.acknowledged(stays, stays, &format!("r{number}-still"))?;
        let of_own = of_own.end();
        self.own = self.own.max(longest_pause(&of_own, began, back));
        let of_lost = of_lost.end();
        self.check_writable(fault, lost, (&seen, &of_lost, &late))?;
        let all = of_own.into_iter().chain(of_lost).chain(late).chain([seen, still]);
        self.acknowledged.extend(all.map(|seen| seen.body));
        self.count_lost()
    }

    fn target<'a>(&'a self, name_server: &'a str, name: usize) -> Target<'a> {
        Target { binary: &self.rig.binary, topic: TOPIC, name_server, broker: NAMES[name] }
    }

    /// Port of a box's shard.
    fn port(&self, at: usize, shard: usize) -> u16 {
        self.nodes[at].ports.1 + 10 * shard as u16
    }

    fn fail(&mut self, fault: Fault, lost: usize) -> Result<(), String> {
        let node = &mut self.nodes[lost];
        match (fault, &node.child) {
            (Fault::Kill, _) => kill(node)?,
            (Fault::Stop, Some(child)) => toolbox::signal(child, "STOP"),
            (Fault::Cut, _) => self.gates[lost].iter().for_each(|gate| gate.set_cut(true)),
            _ => return Err(format!("{fault:?} cannot be done to a box that shares")),
        }
        Ok(())
    }

    fn heal(&mut self, fault: Fault, lost: usize) -> Result<(), String> {
        let node = &mut self.nodes[lost];
        match (fault, &node.child) {
            (Fault::Kill, _) => self.rig.start(node, None)?,
            (Fault::Stop, Some(child)) => toolbox::signal(child, "CONT"),
            _ => {
                // Both live beside each other for a while.
                std::thread::sleep(self.lease);
                self.gates[lost].iter().for_each(|gate| gate.set_cut(false));
            }
        }
        Ok(())
    }

    /// The first message that box `at` acknowledges for a name, from now on.
    fn acknowledged(&self, at: usize, name: usize, body: &str) -> Result<Seen, String> {
        let (server, port) = (namesrv(&self.nodes[at]), self.port(at, name));
        let until = Instant::now() + PATIENCE;
        for n in 0.. {
            match probe(self.target(&server, name), &format!("{body}-{n}")) {
                Some(seen) if seen.port == port => return Ok(seen),
                _ if Instant::now() >= until => break,
                _ => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        Err(format!("box {at} does not take messages for {}", NAMES[name]))
    }

    /// The lost box must not have acknowledged for its name after the other one did.
    fn check_writable(
        &mut self,
        fault: Fault,
        lost: usize,
        (seen, of_lost, late): (&Seen, &Acknowledged, &Acknowledged),
    ) -> Result<(), String> {
        let port = self.port(lost, lost);
        let after = of_lost.iter().filter(|one| one.at > seen.at && one.port == port).count();
        // One that was decided before the stop is sent after it; it must not be lost, either.
        let under_way = usize::from(fault == Fault::Stop && after == 1);
        self.under_way += under_way;
        let both = after - under_way + late.iter().filter(|one| one.port == port).count();
        match both {
            0 => Ok(()),
            _ => Err(format!("both boxes acknowledged for {}: {both}", NAMES[lost])),
        }
    }

    /// Waits until box `primaries[name]` is the primary of each name, and the other may take over.
    fn settled(&self, primaries: [usize; 2]) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let all = [0, 1].map(|at| rows(&self.rig, &self.nodes[at]));
            let so = |name: usize| {
                let (first, second) = (primaries[name], 1 - primaries[name]);
                let row = |at: usize| all[at].get(name);
                row(first).is_some_and(|row| {
                    row["role"] == "primary" && row["standing"] == "in sync" && row["named"] == true
                }) && row(second).is_some_and(|row| row["standing"] == "following")
            };
            if so(0) && so(1) {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(format!("the names should be with {primaries:?}: {all:?}"));
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    fn count_lost(&self) -> Result<(), String> {
        let read = read_all(&self.rig.binary, TOPIC, &namesrv(&self.nodes[0]))?;
        none_lost(&self.acknowledged, &read)
    }

    /// The last lines of both boxes.
    pub(super) fn said(&self) -> String {
        self.rig.said()
    }

    /// What was found.
    pub(super) fn words(&self, rounds: u64) -> String {
        format!(
            "arbitration of shared shards: {rounds} rounds, as many takeovers of one name and \
             returns, {} messages acknowledged, 0 lost, both boxes writable for a name 0 times, \
             {} under way when stopped; longest without a writable primary, lease {} s: {}; of \
             the name that stayed: {} ms",
            self.acknowledged.len(),
            self.under_way,
            self.lease.as_secs(),
            longest_of(&self.gaps),
            self.own.as_millis()
        )
    }
}
