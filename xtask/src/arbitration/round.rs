//! One round: the pair is well, something fails, somebody acknowledges again, and all is counted.
//!
//! Who acknowledged what, and when, is known from the producers alone. Never: a round that ends
//! before the pair is well again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::boxes::Pair;
use super::load::{Acknowledged, Producer, Seen, Target, none_lost, probe, read_all};
use super::majority::Majority;
use super::rig::By;

const TOPIC: &str = "arbitration";
/// Producers at once.
const PRODUCERS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(40);
/// A member of the majority is away for longer than an election among the others takes.
fn election(by: By) -> Duration {
    match by {
        By::Etcd => Duration::from_secs(3),
        // Theirs waits for three heartbeats of two seconds.
        By::Controller => Duration::from_secs(15),
    }
}

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// `kill -9` of the primary.
    Kill,
    /// SIGSTOP of the primary for longer than its lease.
    Stop,
    /// The primary is cut from the majority; its clients and its standby are not.
    Cut,
    /// The majority says nothing for longer than a lease.
    Silence,
    /// One member of the majority is killed; of Controllers their leader.
    Member,
    /// `kill -9` of both boxes at once.
    Both,
}

impl Fault {
    /// Every kind.
    pub(super) const ALL: [Fault; 6] =
        [Fault::Kill, Fault::Stop, Fault::Both, Fault::Silence, Fault::Cut, Fault::Member];

    /// Those that can be made: a Controller tells its own address, which no gate can cut, and one
    /// that is alone cannot be replaced.
    pub(super) fn possible(by: By, controllers: u8) -> Vec<Fault> {
        let all = Fault::ALL.into_iter();
        match by {
            By::Etcd => all.collect(),
            By::Controller => all
                .filter(|kind| *kind != Fault::Cut && (*kind != Fault::Member || controllers > 1))
                .collect(),
        }
    }
}

/// The longest time that each kind of failure took, in words.
pub(super) fn longest_of(gaps: &[(Fault, Duration)]) -> String {
    let longest = |fault: &Fault| {
        let of = gaps.iter().filter(|(kind, _)| kind == fault);
        let longest = of.map(|(_, gap)| gap.as_millis()).max()?;
        Some(format!("{fault:?} {longest} ms").to_lowercase())
    };
    Fault::ALL.iter().filter_map(longest).collect::<Vec<_>>().join(", ")
}

/// The rounds, and what they found.
pub(super) struct Rounds {
    pair: Pair,
    majority: Majority,
    lease: Duration,
    acknowledged: BTreeSet<String>,
    takeovers: u64,
    /// Acknowledgements that were decided before a stop and sent after it.
    under_way: usize,
    /// Time without a box that acknowledges, by fault.
    gaps: Vec<(Fault, Duration)>,
}

impl Rounds {
    /// Nothing has failed yet.
    pub(super) fn new(pair: Pair, majority: Majority, lease_seconds: u64) -> Rounds {
        let lease = Duration::from_secs(lease_seconds);
        let acknowledged = BTreeSet::new();
        let (takeovers, under_way, gaps) = (0, 0, Vec::new());
        Rounds { pair, majority, lease, acknowledged, takeovers, under_way, gaps }
    }

    /// One round.
    pub(super) fn run(&mut self, number: u64, fault: Fault, run_ms: u64) -> Result<(), String> {
        let old = self.pair.settled()?;
        let server = self.pair.name_server(old);
        let producers: Vec<Producer> = (0..PRODUCERS)
            .map(|at| Producer::start(self.target(&server), format!("r{number}-p{at}")))
            .collect::<Result<_, _>>()?;
        std::thread::sleep(Duration::from_millis(run_ms));
        let began = Instant::now();
        let member = self.fail(fault, old, number)?;
        let (mut new, mut seen) = self.first_acknowledged(fault, old, number)?;
        let port = self.pair.port(old);
        let mut from_old: Acknowledged = Vec::new();
        if fault == Fault::Member {
            from_old = self.watch(number);
            if let Some(moved) = from_old.iter().find(|one| one.port != port) {
                (new, seen) = (1 - old, moved.clone());
            }
        }
        let looked = Instant::now();
        self.heal(fault, old, member)?;
        let late = self.late(old, new, number);
        let after = |one: &&Seen| one.at > seen.at && one.port == port;
        let mut both = late.iter().chain(&from_old).filter(after).count();
        for producer in producers {
            let own = producer.end();
            let after = own.iter().filter(after).count();
            // A process that is stopped between the look at its lease and the send goes on with
            // the send: one for each producer, which waits for one. It must not be lost, either.
            let under_way = usize::from(fault == Fault::Stop && after == 1);
            self.under_way += under_way;
            both += after - under_way;
            from_old.extend(own);
        }
        from_old.extend(late);
        if new != old {
            self.takeovers += 1;
            if both > 0 {
                return Err(format!("the old primary acknowledged {both} after the new one did"));
            }
        }
        if fault == Fault::Silence {
            self.check_silence(&from_old, began)?;
        }
        let gap = match fault {
            Fault::Member => longest_pause(&from_old, began, looked),
            _ => seen.at.saturating_duration_since(began),
        };
        self.gaps.push((fault, gap));
        self.acknowledged.extend(from_old.into_iter().map(|seen| seen.body));
        self.acknowledged.insert(seen.body);
        self.pair.settled()?;
        self.count_lost()
    }

    fn target<'a>(&'a self, name_server: &'a str) -> Target<'a> {
        Target { binary: &self.pair.binary, topic: TOPIC, name_server, broker: "pair-0" }
    }

    /// Lets it fail; which member of the majority it was.
    fn fail(&mut self, fault: Fault, old: usize, number: u64) -> Result<usize, String> {
        match fault {
            Fault::Kill => self.pair.kill(old),
            Fault::Stop => self.pair.freeze(old, true),
            Fault::Cut => self.pair.cut(old, true),
            Fault::Silence => {
                self.majority.freeze(true);
                std::thread::sleep(self.lease + Duration::from_secs(1));
                self.majority.freeze(false);
            }
            Fault::Member => return self.majority.kill(number),
            Fault::Both => {
                self.pair.kill(old);
                self.pair.kill(1 - old);
            }
        }
        Ok(0)
    }

    /// What is acknowledged, and by whom, while the others elect: both name servers are asked.
    fn watch(&self, number: u64) -> Acknowledged {
        let until = Instant::now() + election(self.pair.by);
        let mut found = Vec::new();
        for n in 0.. {
            if Instant::now() >= until {
                break;
            }
            let server = self.pair.name_server(n % 2);
            found.extend(probe(self.target(&server), &format!("r{number}-watch-{n}")));
            std::thread::sleep(Duration::from_millis(20));
        }
        found
    }

    /// The box that acknowledges first after the fault, and what.
    fn first_acknowledged(
        &mut self,
        fault: Fault,
        old: usize,
        number: u64,
    ) -> Result<(usize, Seen), String> {
        if fault == Fault::Both {
            self.pair.boot(old)?;
            self.pair.boot(1 - old)?;
        }
        let order = match fault {
            Fault::Kill | Fault::Stop | Fault::Cut => vec![1 - old],
            Fault::Silence | Fault::Both => vec![old, 1 - old],
            Fault::Member => vec![old],
        };
        let until = Instant::now() + PATIENCE;
        for n in 0.. {
            for at in &order {
                let (body, server) =
                    (format!("r{number}-new-{n}-{at}"), self.pair.name_server(*at));
                let Some(seen) = probe(self.target(&server), &body) else { continue };
                if let Some(by) = order.iter().find(|by| self.pair.port(**by) == seen.port) {
                    return Ok((*by, seen));
                }
            }
            if Instant::now() >= until {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(format!("nobody of {order:?} acknowledges"))
    }

    fn heal(&mut self, fault: Fault, old: usize, member: usize) -> Result<(), String> {
        match fault {
            Fault::Kill => self.pair.boot(old),
            Fault::Stop => {
                self.pair.freeze(old, false);
                Ok(())
            }
            Fault::Cut => {
                // Both live beside each other for a while.
                std::thread::sleep(self.lease);
                self.pair.cut(old, false);
                Ok(())
            }
            Fault::Member => self.majority.revive(member),
            Fault::Silence | Fault::Both => Ok(()),
        }
    }

    /// What the old primary acknowledges when it is asked after the new one was there.
    fn late(&self, old: usize, new: usize, number: u64) -> Acknowledged {
        if old == new {
            return Vec::new();
        }
        let server = self.pair.name_server(old);
        let try_one = |n: u64| {
            let body = format!("r{number}-late-{n}");
            probe(self.target(&server), &body)
        };
        (0..5).filter_map(try_one).collect()
    }

    /// A majority that was silent for longer than a lease: there was a time without an answer.
    fn check_silence(&self, from_old: &Acknowledged, began: Instant) -> Result<(), String> {
        let stops = self.lease - Duration::from_millis(100);
        let (from, to) = (began + stops, began + self.lease + Duration::from_secs(1));
        let meanwhile = from_old.iter().filter(|seen| seen.at > from && seen.at < to).count();
        match meanwhile {
            0 => Ok(()),
            count => Err(format!("{count} were acknowledged without a lease")),
        }
    }

    fn count_lost(&self) -> Result<(), String> {
        let Some(primary) = self.pair.primary()? else { return Err("no primary".into()) };
        let read = read_all(&self.pair.binary, TOPIC, &self.pair.name_server(primary))?;
        none_lost(&self.acknowledged, &read)
    }

    /// The last lines of both boxes.
    pub(super) fn said(&self) -> String {
        self.pair.said()
    }

    /// What was found.
    pub(super) fn words(&self, rounds: u64) -> String {
        format!(
            "arbitration: {rounds} rounds, {} takeovers, {} messages acknowledged, 0 lost, both \
             boxes writable 0 times, {} under way when stopped; longest without a writable \
             primary, lease {} s: {}",
            self.takeovers,
            self.acknowledged.len(),
            self.under_way,
            self.lease.as_secs(),
            longest_of(&self.gaps)
        )
    }
}

/// The longest time without an acknowledgement between two moments.
pub(super) fn longest_pause(seen: &Acknowledged, from: Instant, to: Instant) -> Duration {
    let mut times: Vec<Instant> = seen.iter().map(|seen| seen.at).collect();
    times.retain(|at| (from..to).contains(at));
    times.extend([from, to]);
    times.sort_unstable();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}
