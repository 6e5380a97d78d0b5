//! Failover decided outside: a thread that speaks with etcd or a RocketMQ Controller, asks the
//! shards how they are, and lends them their leave to acknowledge.
//!
//! `law` decides; `etcd` and `controller` are the two majorities it can speak with. The box has one
//! lease for all its shards; where two boxes share the shards (`standbyShards`), each shard has a
//! lease and a thread of its own, as if it were a box. A lease is lent to a shard only up to a
//! margin before its end as counted from the moment its renewal was sent, so that a box that cannot
//! renew falls silent before another can have the lease.
//! Never: a shard that waits for this thread; a lease lent on a guess.

mod controller;
mod etcd;
mod law;
#[cfg(test)]
mod law_tests;

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender as Way};
use std::thread;
use std::time::{Duration, Instant};

use weir_io::clock;
use weir_io::mailbox::Sender;

use self::controller::{Controller, Names};
use self::etcd::Etcd;
use self::law::{Law, Own, Part, Partner, Record, Seen, Step};
use super::address::advertised;
use super::pair;
use crate::base::limits::{
    ARBITER_ASK_MS, ARBITER_HEARD_MS, ARBITER_SAY_MS, ARBITER_SILENT_MS, ARBITER_STACK,
    ARBITER_WAIT_MS,
};
use crate::config::{Config, FlushDiskType};
use crate::exit::{self, Stop};
use crate::replica::{Lease, Partner as Leave, Role, Standing};
use crate::server::{Letter, PairReport, Question, Reply};
use crate::shard::Voice;

/// A majority outside, and this process's session with it.
trait Arbiter: Send {
    /// Renews what is held, and reads what is there.
    fn look(&mut self, own: &Own) -> Result<Look, Fault>;
    /// Becomes the holder with `record`, if all is as it was read last. False: it is not.
    fn take(&mut self, own: &Own, record: &Record) -> Result<bool, Fault>;
    /// Changes the record, as the holder, if all is as it was read last. False: it is not.
    fn write(&mut self, own: &Own, record: &Record) -> Result<bool, Fault>;
    /// Lets go, and says with `record` who goes on.
    fn release(&mut self, own: &Own, record: Option<&Record>) -> Result<(), Fault>;
}

/// What a look found.
struct Look {
    seen: Seen,
    /// This process holds the lease, at least until then on the clock that counts sleep.
    until_ns: Option<u64>,
}

/// Why the majority did not answer, in words.
#[derive(Debug)]
struct Fault(String);

impl Fault {
    fn new(why: &str) -> Fault {
        Fault(why.to_owned())
    }
}

/// The arbiters' threads while they live, one for each lease. Dropping it ends the renewals; what
/// was lent runs out by itself, so that a process that is started again soon finds its role
/// unchanged.
#[derive(Debug, Default)]
pub(super) struct Arbitration {
    stops: Vec<Way<()>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Drop for Arbitration {
    fn drop(&mut self) {
        self.stops.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Shards that are the primary or the standby together, and what they are called outside.
struct Group {
    name: String,
    first: u16,
    shards: u16,
}

/// The groups of a box that a majority outside decides about: the box as a whole, by its pair's
/// name, or each shard by its broker name where two boxes share the shards.
fn groups(config: &Config, shards: u16) -> Vec<Group> {
    let pair = config.broker_name.clone().unwrap_or_default();
    if config.standby_shards.is_empty() {
        return vec![Group { name: pair, first: 0, shards }];
    }
    let own = |first| Group { name: config.shard_name(&pair, first), first, shards: 1 };
    (0..shards).map(own).collect()
}

/// Starts them, if a majority is configured. `leases` are the shards', in order; there are none
/// without one.
pub(super) fn start(
    config: &Config,
    boxes: &[Sender<Letter>],
    leases: &[Lease],
) -> Result<Arbitration, Stop> {
    let mut arbitration = Arbitration::default();
    for group in groups(config, leases.len() as u16) {
        let shards = usize::from(group.first)..usize::from(group.first + group.shards);
        let (Some(boxes), Some(leases)) = (boxes.get(shards.clone()), leases.get(shards)) else {
            continue;
        };
        if leases.is_empty() {
            continue;
        }
        let desk = desk(config, &group, boxes, leases)?;
        let (stop, stopped) = mpsc::channel();
        let builder = thread::Builder::new().name("arbiter".into()).stack_size(ARBITER_STACK);
        let thread = builder
            .spawn(move || desk.run(&stopped))
            .map_err(|e| Stop::new(exit::CALL, format!("cannot start an arbiter's thread: {e}")))?;
        arbitration.stops.push(stop);
        arbitration.threads.push(thread);
    }
    Ok(arbitration)
}

/// What a thread begins with.
fn desk(
    config: &Config,
    group: &Group,
    boxes: &[Sender<Letter>],
    leases: &[Lease],
) -> Result<Desk, Stop> {
    let (arbiter, what, ttl_ms) = majority(config, group)?;
    Ok(Desk {
        arbiter,
        what,
        law: Law::default(),
        shards: Shards::new(boxes, config.flush_disk_type == FlushDiskType::SyncFlush),
        leases: leases.to_vec(),
        ttl: Duration::from_millis(ttl_ms),
        voice: Voice::new(group.name.clone(), false),
        begun: Instant::now(),
        said: Said::default(),
    })
}

/// The majority that is configured, what it is called, and how long its lease is, milliseconds.
fn majority(config: &Config, group: &Group) -> Result<(Box<dyn Arbiter>, &'static str, u64), Stop> {
    let (cluster, name) = (&config.broker_cluster_name, &group.name);
    if config.enable_controller_mode {
        let address = format!("{}:{}", advertised(config)?, config.shard_port(group.first));
        let names = Names { cluster: cluster.clone(), broker: name.clone(), address };
        let timeout_ms = config.controller_heartbeat_timeout_ms;
        let file = match config.standby_shards.is_empty() {
            true => "controller".to_owned(),
            false => format!("controller-{}", group.first),
        };
        let file = config.store_path_root_dir.join(file);
        let controller = Controller::new(&config.controller_addr, names, timeout_ms, file);
        return Ok((Box::new(controller), "the Controller", timeout_ms));
    }
    let ttl_s = config.etcd_lease_seconds;
    let etcd = Etcd::new(&config.etcd_endpoints, cluster, name, ttl_s);
    Ok((Box::new(etcd), "etcd", ttl_s * 1000))
}

/// A lease of every shard, if somebody outside decides who is the primary.
pub(super) fn leases(config: &Config, shards: u16) -> Vec<Lease> {
    let count = if config.is_arbitrated() { shards } else { 0 };
    (0..count).map(|_| Lease::default()).collect()
}

/// How long before a lease's end acknowledgements stop: an eighth of it, 200 ms at least. It covers
/// clocks that run apart by less than that, and a turn between the look at the clock and the send.
fn margin(ttl: Duration) -> Duration {
    (ttl / 8).max(Duration::from_millis(200))
}

/// The thread's own.
struct Desk {
    arbiter: Box<dyn Arbiter>,
    /// Who that is, for lines.
    what: &'static str,
    law: Law,
    shards: Shards,
    leases: Vec<Lease>,
    ttl: Duration,
    voice: Voice,
    begun: Instant,
    said: Said,
}

/// What was said last, so that it is not said again.
#[derive(Debug, Default)]
struct Said {
    /// It was the holder, and acknowledged until then on the clock that counts sleep.
    held: bool,
    until_ns: u64,
    in_step: Vec<String>,
    holder: Option<String>,
    failing: Option<Instant>,
    stuck: Option<Instant>,
}

impl Desk {
    /// Until the process ends.
    fn run(mut self, stopped: &Receiver<()>) {
        // Ten looks in a lease: an answer that is lost costs none of the margin.
        let pause = (self.ttl / 10).clamp(Duration::from_millis(100), Duration::from_millis(500));
        let mut next = Instant::now();
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(self.nap(next)) {
            // Every shard is asked: one that was not rings again for nothing.
            let waits = self.leases.iter().filter(|lease| lease.take_wait()).count() > 0;
            if waits || Instant::now() >= next {
                let again = self.turn();
                next = Instant::now() + if again { Duration::ZERO } else { pause };
            }
        }
    }

    /// How long to sleep: until `next`, and not longer than a shard may wait for a partner.
    fn nap(&self, next: Instant) -> Duration {
        let longest = Duration::from_millis(ARBITER_WAIT_MS);
        next.saturating_duration_since(Instant::now()).min(longest)
    }

    /// One look. True: something was changed, look again at once.
    fn turn(&mut self) -> bool {
        self.voice.at(u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
        let Some(own) = self.shards.ask(&self.leases) else { return false };
        let look = match self.arbiter.look(&own) {
            Ok(look) => look,
            Err(Fault(why)) => {
                self.failing(&why);
                return false;
            }
        };
        let now_ns = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // A primary that is alive and lost its lease takes it again within this.
        let grace_ns = u64::try_from((self.ttl / 2).as_nanos()).unwrap_or(u64::MAX);
        let step = self.law.next(&own, &look.seen, now_ns, grace_ns);
        self.lend(&own, &look);
        self.tell(&own, &look);
        match self.act(&own, step) {
            Ok(changed) => changed,
            Err(Fault(why)) => {
                self.failing(&why);
                false
            }
        }
    }

    /// Lends the shards what the look allows.
    fn lend(&self, own: &Own, look: &Look) {
        let partner = self.law.partner(own, &look.seen);
        let margin_ns = u64::try_from(margin(self.ttl).as_nanos()).unwrap_or(u64::MAX);
        let until_ns = look.until_ns.map_or(0, |until_ns| until_ns.saturating_sub(margin_ns));
        for (shard, lease) in self.leases.iter().enumerate() {
            let node = |id: &str, made: fn(u64) -> Leave| node_of(id, shard).map(made);
            let partner = match &partner {
                Partner::Unknown => None,
                Partner::Nobody => Some(Leave::Nobody),
                Partner::Coming(id) => node(id, Leave::Coming),
                Partner::Named(id) => node(id, Leave::Named),
            };
            lease.set_partner(partner.unwrap_or(Leave::Unknown));
            lease.lend(if partner.is_some() { until_ns } else { 0 });
        }
    }

    fn act(&mut self, own: &Own, step: Step) -> Result<bool, Fault> {
        match step {
            Step::Rest => Ok(false),
            Step::Again => Ok(true),
            Step::Take(record) => self.arbiter.take(own, &record),
            Step::Write(record) => self.arbiter.write(own, &record),
            Step::Release(record) => {
                // Nothing is acknowledged any more before somebody else may.
                self.leases.iter().for_each(|lease| lease.lend(0));
                self.arbiter.release(own, record.as_ref()).map(|()| true)
            }
            Step::Promote => {
                if let Err(why) = self.shards.promote() {
                    self.stuck(&format!("it is the primary by its lease, and cannot be: {why}"));
                }
                Ok(false)
            }
        }
    }

    /// Lines about what has changed.
    fn tell(&mut self, own: &Own, look: &Look) {
        if self.said.failing.take().is_some() {
            let text = format_args!("{} answers again", self.what);
            self.voice.say("arbiter-answers", &text);
        }
        let holder = look.seen.holder.as_ref().map(|holder| holder.id.clone());
        let record = look.seen.record.as_ref();
        let (held, term) = (look.until_ns.is_some(), record.map_or(0, |record| record.term));
        if held && !self.said.held {
            let (ttl, margin) = (self.ttl.as_millis(), margin(self.ttl).as_millis());
            let text = format_args!(
                "this box is the primary by {}, term {term}; its lease is {ttl} ms, and it stops \
                 acknowledging {margin} ms before that is over",
                self.what
            );
            self.voice.say("arbiter-lease", &text);
        } else if !held && self.said.held {
            let text = format_args!("the lease is over: nothing is acknowledged here any more");
            self.voice.say("arbiter-lost", &text);
        } else if !held && holder != self.said.holder {
            let who = match &holder {
                Some(id) => format!("box {id} is the primary by {}, term {term}", self.what),
                None => format!("nobody is the primary by {}, term {term}", self.what),
            };
            self.voice.say("arbiter-holder", &format_args!("{who}; this box is {}", own.id));
        }
        let in_step = record.map_or(&[][..], |record| &record.in_step);
        if held && in_step != self.said.in_step {
            let text = match in_step.len() {
                0 | 1 => "no standby may take over: it is not in step".to_owned(),
                _ => format!("{} may take over", in_step[1..].join(", ")),
            };
            self.voice.say("arbiter-record", &format_args!("{text}"));
            self.said.in_step = in_step.to_vec();
        }
        (self.said.held, self.said.holder) = (held, holder);
        self.said.until_ns = look.until_ns.unwrap_or(0);
        if look.seen.holder.is_none() {
            self.tell_vacancy(own, record);
        }
    }

    /// Why this box does not take a lease that nobody has.
    fn tell_vacancy(&mut self, own: &Own, record: Option<&Record>) {
        let why = match record {
            None if own.part != Part::Primary => "no primary was ever there: start it first",
            Some(record) if !record.in_step.contains(&own.id) => {
                "this box is not known to hold all that was acknowledged; the one that does must \
                 come back"
            }
            Some(_) if own.failed => "writing a log of this box failed",
            Some(_) if own.part == Part::Standby && !own.kept => {
                "this standby's machine has lost its memory since it was in step; the old primary \
                 must come back"
            }
            _ => return,
        };
        self.stuck(&format!("nobody is the primary, and this box cannot be: {why}"));
    }

    fn stuck(&mut self, text: &str) {
        let now = Instant::now();
        let again = Duration::from_millis(ARBITER_SAY_MS);
        if self.said.stuck.is_none_or(|said| now - said >= again) {
            self.said.stuck = Some(now);
            self.voice.say("arbiter-stuck", &format_args!("{text}"));
        }
    }

    fn failing(&mut self, why: &str) {
        let now = Instant::now();
        let again = Duration::from_millis(ARBITER_SAY_MS);
        if self.said.failing.is_none_or(|said| now - said >= again) {
            self.said.failing = Some(now);
            let text = format_args!(
                "{} does not answer ({why}); a primary stops acknowledging when its lease is over",
                self.what
            );
            self.voice.say("arbiter-failed", &text);
        }
        if self.said.held && clock::boot_ns() >= self.said.until_ns {
            self.said.held = false;
            let text = format_args!("the lease is over: nothing is acknowledged here any more");
            self.voice.say("arbiter-lost", &text);
        }
    }
}

/// Node of a box's shard.
fn node_of(id: &str, shard: usize) -> Option<u64> {
    u64::from_str_radix(id.split('.').nth(shard)?, 16).ok().filter(|node| *node != 0)
}

/// A box's name: the nodes of its shards.
fn name_of(nodes: impl Iterator<Item = u64>) -> String {
    let texts: Vec<String> = nodes.map(|node| format!("{node:016x}")).collect();
    texts.join(".")
}

/// The shards, as this thread knows them.
struct Shards {
    boxes: Vec<Sender<Letter>>,
    /// What each said last, and when.
    newest: Vec<Option<(PairReport, Instant)>>,
    boot: u64,
}

impl Shards {
    fn new(boxes: &[Sender<Letter>], sync_flush: bool) -> Shards {
        let boot = if sync_flush { 0 } else { pair::boot() };
        let newest = vec![None; boxes.len()];
        Shards { boxes: boxes.to_vec(), newest, boot }
    }

    /// What the box is now; `None`: not every shard has said what it is yet.
    fn ask(&mut self, leases: &[Lease]) -> Option<Own> {
        let asked = Instant::now();
        for (shard, report) in self.all(Question::Pair) {
            let said = report.map(|report| (report, Instant::now()));
            if let Some(place) = self.newest.get_mut(shard).filter(|_| said.is_some()) {
                *place = said;
            }
        }
        let rows: Vec<&(PairReport, Instant)> =
            self.newest.iter().map(Option::as_ref).collect::<Option<_>>()?;
        let all = |holds: &dyn Fn(&PairReport) -> bool| rows.iter().all(|(row, _)| holds(row));
        let fresh = rows.iter().all(|(_, at)| *at >= asked);
        let silent = rows.iter().any(|(_, at)| {
            asked.saturating_duration_since(*at) > Duration::from_millis(ARBITER_SILENT_MS)
        });
        let part = match (all(&|row| row.role == Role::Primary), all(&is_standby)) {
            (true, _) => Part::Primary,
            (_, true) => Part::Standby,
            _ => Part::Mixed,
        };
        let connected = fresh && all(&|row| row.peer_node != 0);
        Some(Own {
            part,
            id: name_of(rows.iter().map(|(row, _)| row.node)),
            boot: self.boot,
            peer: connected.then(|| name_of(rows.iter().map(|(row, _)| row.peer_node))),
            in_step: fresh && all(&|row| row.standing == Standing::InStep.word()),
            kept: part == Part::Standby && all(&|row| row.witnessed),
            failed: silent || rows.iter().any(|(row, _)| row.failed),
            hears_primary: all(&hears),
            wants_alone: leases.iter().any(Lease::wants_alone),
        })
    }

    /// Makes every shard the primary; what one of them says against it.
    fn promote(&mut self) -> Result<(), String> {
        for (shard, answer) in self.all(Question::TakeOver) {
            answer.map_err(|why| format!("shard {shard}: {why}"))?;
        }
        Ok(())
    }

    /// Asks every shard; the answers that came in time.
    fn all<T: Send + 'static>(&self, question: fn(Reply<T>) -> Question) -> Vec<(usize, T)> {
        let (way, answers) = mpsc::channel();
        for (shard, mailbox) in self.boxes.iter().enumerate() {
            let way = way.clone();
            let reply = Reply::new(move |answer| {
                // Nobody listens any more when it comes too late.
                let _ = way.send((shard, answer));
            });
            // A full mailbox is that of a shard that does not turn.
            let _ = mailbox.send(Letter::Ask(question(reply)));
        }
        drop(way);
        let until = Instant::now() + Duration::from_millis(ARBITER_ASK_MS);
        let mut found = Vec::new();
        while let Ok(answer) = answers.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            found.push(answer);
        }
        found
    }
}

fn is_standby(row: &PairReport) -> bool {
    row.role == Role::Standby
}

fn hears(row: &PairReport) -> bool {
    is_standby(row) && row.standing == "following" && row.lag_ms < ARBITER_HEARD_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_named_by_the_nodes_of_its_shards() {
        let id = name_of([0xAB, u64::MAX].into_iter());
        assert_eq!(id, "00000000000000ab.ffffffffffffffff");
        assert_eq!([0, 1, 2].map(|shard| node_of(&id, shard)), [Some(0xAB), Some(u64::MAX), None]);
        assert_eq!(node_of("0.x", 0), None);
    }

    #[test]
    fn a_box_is_one_group_and_one_that_shares_its_shards_is_a_group_for_each() {
        let mut config = Config { broker_name: Some("edge".into()), ..Config::default() };
        let of = |config: &Config| -> Vec<(String, u16, u16)> {
            let all = groups(config, 2).into_iter();
            all.map(|group| (group.name, group.first, group.shards)).collect()
        };
        assert_eq!(of(&config), [("edge".into(), 0, 2)]);
        config.standby_shards = vec!["1".into()];
        assert_eq!(of(&config), [("edge-0".into(), 0, 1), ("edge-1".into(), 1, 1)]);
    }

    #[test]
    fn the_margin_is_an_eighth_of_the_lease_and_200_ms_at_least() {
        let of = |ttl_ms| margin(Duration::from_millis(ttl_ms)).as_millis();
        assert_eq!([of(1000), of(2000), of(60_000)], [200, 250, 7500]);
    }
}
