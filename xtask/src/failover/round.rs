//! One round: load on the primary, a fault, the standby takes over, the old one comes back.
//!
//! Every acknowledged message must be read from the new primary, no committed offset may have gone
//! back, and sends that are tried on both boxes at once must never be taken by both. In the
//! asynchronous pair what is missing must have been told as lag before. Never: a fault that is not
//! taken back before the round ends.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::node::{NAMESRV, Node};
use super::rig::{Fault, Tally};
use crate::toolbox;

/// A planned change is tried so often.
const ATTEMPTS: usize = 3;
/// Producers at once.
const PRODUCERS: usize = 3;
/// Offsets are gathered for this long before they are in the log, and shipped.
const SETTLE: Duration = Duration::from_millis(600);
/// Bytes of a stored message besides its body, at least.
const OVERHEAD: usize = 91;
const TOPIC: &str = "failover";
const GROUP: &str = "rig";

/// A round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub(super) number: u64,
    pub(super) fault: Fault,
    pub(super) run_ms: u64,
}

impl Round {
    /// A round of the pair that refuses.
    pub(super) fn run(
        &self,
        old: &mut Node,
        new: &mut Node,
        tally: &mut Tally,
    ) -> Result<(), String> {
        old.wait("in sync", |row| row["role"] == "primary" && row["standing"] == "in sync")?;
        let producers = self.producers(old)?;
        std::thread::sleep(Duration::from_millis(self.run_ms / 2));
        commit(old, &mut tally.offsets)?;
        std::thread::sleep(SETTLE.max(Duration::from_millis(self.run_ms / 2)));
        let mut began = Instant::now();
        self.strike(old, new)?;
        if self.fault == Fault::Switchover {
            began = switchover(old, tally)?;
        } else {
            new.wait("without a primary", |row| row["standing"] == "no primary")?;
            new.operate(&["promote"])?;
        }
        new.wait("the primary", |row| row["role"] == "primary")?;
        let gaps =
            if self.fault == Fault::Switchover { &mut tally.planned } else { &mut tally.gaps };
        gaps.push(began.elapsed());
        self.probe(old, new, tally)?;
        for producer in producers {
            let (sent, ok) = producer.end();
            tally.acknowledged.extend(sent.into_iter().take(ok));
        }
        self.bring_back(old, new, tally)?;
        commit(new, &mut tally.offsets)?;
        let read = read(new)?;
        let lost: Vec<&String> = tally.acknowledged.difference(&read).collect();
        if !lost.is_empty() {
            let some: Vec<&&String> = lost.iter().take(5).collect();
            return Err(format!("{} acknowledged messages are lost: {some:?}", lost.len()));
        }
        Ok(())
    }

    /// A round of the asynchronous pair: the cable is cut, messages go on, then the primary dies.
    pub(super) fn run_loose(
        &self,
        old: &mut Node,
        new: &mut Node,
        tally: &mut Tally,
    ) -> Result<(), String> {
        old.wait("followed", |row| row["role"] == "primary" && row["peer"].is_string())?;
        let producers = self.producers(old)?;
        std::thread::sleep(Duration::from_millis(self.run_ms));
        if self.fault != Fault::Kill {
            old.link.mute(old.side)?;
            std::thread::sleep(Duration::from_millis(self.run_ms));
        }
        let mut acknowledged = BTreeSet::new();
        for producer in producers {
            let (sent, ok) = producer.stop();
            acknowledged.extend(sent.into_iter().take(ok));
        }
        let told = old.status()["lagBytes"].as_u64().ok_or("the primary tells no lag")?;
        let began = Instant::now();
        old.kill()?;
        new.wait("without a primary", |row| row["standing"] == "no primary")?;
        new.operate(&["promote", "--accept-loss"])?;
        new.wait("the primary", |row| row["role"] == "primary")?;
        tally.gaps.push(began.elapsed());
        let read = read(new)?;
        acknowledged.append(&mut tally.acknowledged);
        let missing: BTreeSet<String> = acknowledged.difference(&read).cloned().collect();
        let missing_bytes: usize = missing.iter().map(|body| body.len() + OVERHEAD).sum();
        if missing_bytes as u64 > told {
            let count = missing.len();
            return Err(format!("{count} messages are missing, and {told} bytes of lag were told"));
        }
        tally.missing += missing.len() as u64;
        tally.told_bytes += told;
        tally.acknowledged = acknowledged.difference(&missing).cloned().collect();
        old.link.heal()?;
        old.start(false)?;
        self.probe(old, new, tally)?;
        old.wait("a standby", |row| row["role"] == "standby" && row["standing"] == "following")?;
        self.probe(old, new, tally)
    }

    /// Takes the primary away, but for a planned change.
    fn strike(&self, old: &mut Node, new: &Node) -> Result<(), String> {
        match self.fault {
            Fault::Switchover => Ok(()),
            Fault::Kill => old.kill(),
            Fault::Stop => {
                old.signal("STOP");
                Ok(())
            }
            Fault::PrimaryMute => old.link.mute(old.side),
            Fault::StandbyMute => old.link.mute(new.side),
            Fault::Partition => (0..2).try_for_each(|side| old.link.mute(side)),
        }
    }

    /// The old primary comes back, acknowledges nothing, and becomes the standby by itself.
    fn bring_back(&self, old: &mut Node, new: &Node, tally: &mut Tally) -> Result<(), String> {
        match self.fault {
            Fault::Switchover => {}
            Fault::Kill => old.start(false)?,
            Fault::Stop => old.signal("CONT"),
            _ => {
                self.probe(old, new, tally)?;
                old.link.heal()?;
            }
        }
        self.probe(old, new, tally)?;
        old.wait("a standby", |row| row["role"] == "standby" && row["standing"] == "following")?;
        new.wait("in sync", |row| row["standing"] == "in sync")?;
        self.probe(old, new, tally)
    }

    /// Sends a message to each box at once: never are both taken, and what the old primary takes
    /// after the new one is there counts as taken by both.
    fn probe(&self, old: &Node, new: &Node, tally: &mut Tally) -> Result<(), String> {
        tally.probes += 1;
        let stopped = self.fault == Fault::Stop && !is_running(old);
        let probed: Vec<(&Node, Option<Child>, String)> = [old, new]
            .into_iter()
            .filter(|node| node.child.is_some() && !(stopped && node.side == old.side))
            .map(|node| {
                let body = format!("probe-{}-{}-{}", self.number, tally.probes, node.name);
                let args = [
                    "produce",
                    TOPIC,
                    "--body",
                    &body,
                    "--namesrv",
                    NAMESRV,
                    "--timeout-ms",
                    "700",
                ];
                let mut command = node.command(&args);
                (node, command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok(), body)
            })
            .collect();
        for (node, child, body) in probed {
            let out = child.and_then(|child| child.wait_with_output().ok());
            let taken = out.is_some_and(|out| {
                String::from_utf8_lossy(&out.stdout).lines().any(|line| line.starts_with("SEND_OK"))
            });
            if taken && node.side == old.side {
                return Err(format!("{} took a message after it was replaced: {body}", node.name));
            }
            if taken {
                tally.acknowledged.insert(body);
            }
        }
        Ok(())
    }

    fn producers(&self, node: &Node) -> Result<Vec<Producer>, String> {
        (0..PRODUCERS).map(|at| self.producer(node, at)).collect()
    }

    /// Sends numbered lines one after the other until its primary is gone.
    fn producer(&self, node: &Node, at: usize) -> Result<Producer, String> {
        let mut command =
            node.command(&["produce", TOPIC, "--namesrv", NAMESRV, "--timeout-ms", "2000"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipes".into());
        };
        let name = format!("r{}-p{at}", self.number);
        let feeder = toolbox::feed(input, name);
        let reader = std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.take_while(|line| line.starts_with("SEND_OK")).count()
        });
        Ok(Producer { child, feeder, reader })
    }
}

/// Hands the role over as an operator does; when the last attempt began. A primary whose standby
/// does not confirm the last position within `slaveTimeout` says so and stays: it is asked again.
fn switchover(old: &Node, tally: &mut Tally) -> Result<Instant, String> {
    let mut why = String::new();
    for _ in 0..ATTEMPTS {
        let began = Instant::now();
        match old.operate(&["switchover"]) {
            Ok(_) => return Ok(began),
            Err(error) => why = error,
        }
        tally.stayed += 1;
        let well = |row: &Value| row["role"] == "primary" && row["standing"] == "in sync";
        old.wait("still the primary", well)?;
    }
    Err(why)
}

/// Lets the group read some messages and commit. None may come from before where it stood.
fn commit(node: &Node, offsets: &mut Offsets) -> Result<(), String> {
    let args = ["consume", TOPIC, "--group", GROUP, "--max", "40", "--namesrv", NAMESRV];
    let (ok, out, err) = node.weir(&args);
    if !ok {
        return Err(format!("consume: {err}"));
    }
    for (queue, offset) in out.lines().filter_map(place) {
        let stood = offsets.entry(queue.clone()).or_default();
        if offset < *stood {
            return Err(format!(
                "the group stood at {stood} in {queue}, and was given {offset} again"
            ));
        }
        *stood = offset + 1;
    }
    Ok(())
}

/// Every body in the topic.
fn read(node: &Node) -> Result<BTreeSet<String>, String> {
    let (ok, out, err) = node.weir(&["consume", TOPIC, "--namesrv", NAMESRV]);
    if !ok {
        return Err(format!("consume: {err}"));
    }
    let bodies = out.lines().filter_map(|line| line.rsplit("  ").next());
    Ok(bodies.map(str::to_owned).collect())
}

/// Whether its process is not stopped.
fn is_running(node: &Node) -> bool {
    let id = node.child.as_ref().map_or(0, Child::id);
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    !text.contains(") T ")
}

struct Producer {
    child: Child,
    feeder: std::thread::JoinHandle<Vec<String>>,
    reader: std::thread::JoinHandle<usize>,
}

impl Producer {
    /// Ends it now; see [`Producer::end`].
    fn stop(mut self) -> (Vec<String>, usize) {
        // What it still waits for is not acknowledged.
        let _ = self.child.kill();
        self.end()
    }

    /// What it sent, and how many of these from the front were acknowledged.
    fn end(mut self) -> (Vec<String>, usize) {
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        // One that still waits for an answer has none.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let acknowledged = self.reader.join().unwrap_or(0);
        (self.feeder.join().unwrap_or_default(), acknowledged)
    }
}

/// Where the group stands in each queue.
pub(super) type Offsets = BTreeMap<String, u64>;

/// Queue and offset of a message as `weir consume` prints it: `pair-0/3 @17  body`.
fn place(line: &str) -> Option<(String, u64)> {
    let (queue, rest) = line.split_once(" @")?;
    let offset = rest.split_whitespace().next()?.parse().ok()?;
    Some((queue.to_owned(), offset))
}
