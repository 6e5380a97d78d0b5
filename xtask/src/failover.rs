//! `cargo xtask failover`: a pair of real processes, and the primary killed or stopped under load.
//!
//! Each round starts producers on the primary, lets a group commit offsets, then takes the primary
//! away with `kill -9` or SIGSTOP, promotes the standby without `--accept-loss`, and brings the old
//! one back, which must become the standby by itself. Every acknowledged message must be read, no
//! committed offset may have gone back, and the old primary must not acknowledge anything after the
//! new one could. Every tenth round is a planned switchover. The next round goes the other way.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use crate::toolbox;

/// Producers at once.
const PRODUCERS: usize = 3;
/// How long anything may take until the rig gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Offsets are gathered for this long before they are in the log, and shipped.
const SETTLE: Duration = Duration::from_millis(600);
const TOPIC: &str = "failover";
const GROUP: &str = "rig";

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
enum Fault {
    Kill,
    Stop,
    Switchover,
}

/// One box.
pub(crate) struct Node {
    name: &'static str,
    /// Its data directory.
    pub(crate) data: PathBuf,
    /// Name server and first broker port.
    pub(crate) ports: (u16, u16),
    /// Its process, if it runs.
    pub(crate) child: Option<Child>,
    /// Settings of its own.
    pub(crate) sets: Vec<(&'static str, String)>,
}

/// Runs the rounds.
pub fn check(arguments: &Arguments) -> Result<String, String> {
    let binary = toolbox::broker(arguments.binary.as_deref())?;
    let folder = std::env::temp_dir().join(format!("weir-failover-{}", std::process::id()));
    let rig = Rig { binary, folder: folder.clone(), more: &[] };
    let done = rig.rounds(arguments);
    let removed = std::fs::remove_dir_all(&folder).map_err(|error| error.to_string());
    match done {
        Ok(words) => removed.map(|()| words),
        Err(why) => Err(format!("failover, seed {}: {why}", arguments.seed)),
    }
}

/// Two boxes and the binary they run.
pub(crate) struct Rig {
    /// The broker.
    pub(crate) binary: PathBuf,
    /// Where data and logs are.
    pub(crate) folder: PathBuf,
    /// More settings of both.
    pub(crate) more: &'static [(&'static str, &'static str)],
}

impl Rig {
    fn rounds(&self, arguments: &Arguments) -> Result<String, String> {
        let mut random = arguments.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut primary = self.node("one")?;
        let mut standby = self.node("two")?;
        self.start(&mut primary, None)?;
        self.start(&mut standby, Some(primary.ports.1 + 1))?;
        let (mut acknowledged, mut offsets) = (BTreeSet::new(), Offsets::new());
        let mut gaps = Vec::new();
        for round in 0..arguments.rounds {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let fault = match round % 10 {
                9 => Fault::Switchover,
                _ if random & 1 == 0 => Fault::Kill,
                _ => Fault::Stop,
            };
            let run_ms = 200 + random % 800;
            let mut one = Round { rig: self, number: round, fault, run_ms };
            let gap = one
                .run(&mut primary, &mut standby, &mut acknowledged, &mut offsets)
                .map_err(|why| {
                    format!("round {round} ({fault:?} after {run_ms} ms): {why}{}", self.said())
                })?;
            gaps.push(gap);
            std::mem::swap(&mut primary, &mut standby);
        }
        self.end(&mut primary);
        self.end(&mut standby);
        gaps.sort_unstable();
        let longest = gaps.last().copied().unwrap_or_default();
        Ok(format!(
            "failover: {} rounds, {} messages acknowledged, 0 lost; {} committed, 0 given again; \
             longest without a primary {} ms",
            arguments.rounds,
            acknowledged.len(),
            offsets.values().sum::<u64>(),
            longest.as_millis()
        ))
    }

    /// A box that does not run yet.
    pub(crate) fn node(&self, name: &'static str) -> Result<Node, String> {
        let data = self.folder.join(name);
        std::fs::create_dir_all(&data).map_err(|error| error.to_string())?;
        Ok(Node { name, data, ports: free_ports()?, child: None, sets: Vec::new() })
    }

    /// Starts a box; `primary`: where its configuration finds one.
    pub(crate) fn start(&self, node: &mut Node, primary: Option<u16>) -> Result<(), String> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("{}.log", node.name)))
            .map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--data").arg(&node.data);
        let mut sets: BTreeMap<&str, String> = BTreeMap::from([
            ("namesrvListenPort", node.ports.0.to_string()),
            ("listenPort", node.ports.1.to_string()),
            ("shards", "1".into()),
            ("brokerName", "pair".into()),
            ("brokerRole", "SYNC_MASTER".into()),
            ("slaveTimeout", "1000".into()),
            ("memoryMax", "160MiB".into()),
        ]);
        sets.extend(self.more.iter().map(|(key, value)| (*key, (*value).to_owned())));
        if let Some(port) = primary {
            sets.insert("role", "standby".into());
            sets.insert("primary", format!("127.0.0.1:{port}"));
        }
        sets.extend(node.sets.iter().cloned());
        for (key, value) in sets {
            command.args(["--set", &format!("{key}={value}")]);
        }
        let err = log.try_clone().map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stdout(log).stderr(err);
        node.child = Some(command.spawn().map_err(|error| format!("{command:?}: {error}"))?);
        Ok(())
    }

    /// Ends a box with SIGTERM.
    pub(crate) fn end(&self, node: &mut Node) {
        if let Some(mut child) = node.child.take() {
            signal(&child, "TERM");
            // Its end is not what is looked at here.
            let _ = child.wait();
        }
    }

    /// Runs one of weir's commands; its outputs.
    pub(crate) fn weir(&self, args: &[&str]) -> (bool, String, String) {
        let out = Command::new(&self.binary).args(args).stdin(Stdio::null()).output();
        match out {
            Ok(out) => (
                out.status.success(),
                String::from_utf8_lossy(&out.stdout).into_owned(),
                String::from_utf8_lossy(&out.stderr).into_owned(),
            ),
            Err(error) => (false, String::new(), error.to_string()),
        }
    }

    /// What `weir status` says of a box's pair.
    fn status(&self, node: &Node) -> Value {
        let control = format!("127.0.0.1:{}", node.ports.1 - 11);
        let (_, out, _) =
            self.weir(&["status", "--json", "--control", &control, "--timeout-ms", "500"]);
        let rows = out.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        rows.rev().find(|row| row["role"].is_string()).unwrap_or(Value::Null)
    }

    /// Waits until what `weir status` says of a box's pair is so.
    pub(crate) fn wait(
        &self,
        node: &Node,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        let mut last = Value::Null;
        while Instant::now() < until {
            last = self.status(node);
            if holds(&last) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("{} is not {what}: {last}", node.name))
    }

    /// The last lines that both boxes said.
    pub(crate) fn said(&self) -> String {
        let tail = |name: &str| {
            let text = std::fs::read_to_string(self.folder.join(format!("{name}.log")));
            let text = text.unwrap_or_default();
            let lines: Vec<&str> = text.lines().rev().take(12).collect();
            lines.into_iter().rev().map(|line| format!("\n  {name}: {line}")).collect::<String>()
        };
        tail("one") + &tail("two")
    }
}

struct Round<'a> {
    rig: &'a Rig,
    number: u64,
    fault: Fault,
    run_ms: u64,
}

impl Round<'_> {
    /// Time without a primary.
    fn run(
        &mut self,
        old: &mut Node,
        new: &mut Node,
        acknowledged: &mut BTreeSet<String>,
        offsets: &mut Offsets,
    ) -> Result<Duration, String> {
        let rig = self.rig;
        rig.wait(old, "in sync", |row| row["role"] == "primary" && row["standing"] == "in sync")?;
        let producers: Vec<_> =
            (0..PRODUCERS).map(|at| self.producer(old, at)).collect::<Result<_, _>>()?;
        std::thread::sleep(Duration::from_millis(self.run_ms / 2));
        self.commit(old, offsets)?;
        std::thread::sleep(SETTLE.max(Duration::from_millis(self.run_ms / 2)));
        let began = Instant::now();
        self.take_over(old, new)?;
        let gap = self.writable_after(new, began)?;
        for producer in producers {
            let (sent, ok) = producer.end();
            acknowledged.extend(sent.into_iter().take(ok));
        }
        self.bring_back(old, new)?;
        self.commit(new, offsets)?;
        let read = self.read(new)?;
        let lost: Vec<&String> = acknowledged.difference(&read).collect();
        if !lost.is_empty() {
            let some: Vec<&&String> = lost.iter().take(5).collect();
            return Err(format!("{} acknowledged messages are lost: {some:?}", lost.len()));
        }
        Ok(gap)
    }

    /// Takes the primary away and makes the standby the primary.
    fn take_over(&self, old: &mut Node, new: &Node) -> Result<(), String> {
        let rig = self.rig;
        let control = |node: &Node| format!("127.0.0.1:{}", node.ports.1 - 11);
        if self.fault == Fault::Switchover {
            let (ok, out, err) = rig.weir(&["switchover", "--control", &control(old)]);
            return if ok { Ok(()) } else { Err(format!("switchover: {out}{err}")) };
        }
        let Some(child) = old.child.as_mut() else { return Err("no primary runs".into()) };
        match self.fault {
            Fault::Kill => {
                child.kill().map_err(|error| error.to_string())?;
                child.wait().map_err(|error| error.to_string())?;
            }
            _ => signal(child, "STOP"),
        }
        rig.wait(new, "without a primary", |row| row["standing"] == "no primary")?;
        let (ok, out, err) = rig.weir(&["promote", "--control", &control(new)]);
        if ok { Ok(()) } else { Err(format!("promote: {out}{err}")) }
    }

    /// Waits until the new primary says that it is one; with one box alone it stores nothing yet.
    fn writable_after(&self, new: &Node, began: Instant) -> Result<Duration, String> {
        self.rig.wait(new, "the primary", |row| row["role"] == "primary")?;
        Ok(began.elapsed())
    }

    /// The old primary comes back, acknowledges nothing, and becomes the standby by itself.
    fn bring_back(&self, old: &mut Node, new: &Node) -> Result<(), String> {
        let rig = self.rig;
        match self.fault {
            Fault::Switchover => {}
            Fault::Kill => rig.start(old, None)?,
            Fault::Stop => {
                let Some(child) = &old.child else { return Err("no old primary".into()) };
                signal(child, "CONT");
                let namesrv = format!("127.0.0.1:{}", old.ports.0);
                let late = format!("late-{}", self.number);
                let args = ["produce", TOPIC, "--body", &late, "--namesrv", &namesrv];
                let (_, out, _) = rig.weir(&args);
                if out.contains("SEND_OK") {
                    return Err(format!("the old primary acknowledged after the new one: {out}"));
                }
            }
        }
        rig.wait(old, "a standby", |row| {
            row["role"] == "standby" && row["standing"] == "following"
        })?;
        rig.wait(new, "in sync", |row| row["standing"] == "in sync")
    }

    /// Sends numbered lines one after the other until its primary is gone.
    fn producer(&self, node: &Node, at: usize) -> Result<Producer, String> {
        let namesrv = format!("127.0.0.1:{}", node.ports.0);
        let mut command = Command::new(&self.rig.binary);
        command.args(["produce", TOPIC, "--namesrv", &namesrv, "--timeout-ms", "2000"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipes".into());
        };
        let name = format!("r{}-p{at}", self.number);
        let feeder = std::thread::spawn(move || {
            let mut sent = Vec::new();
            for n in 0..1_000_000 {
                let line = format!("{name}-{n}");
                if writeln!(input, "{line}").is_err() {
                    break;
                }
                sent.push(line);
            }
            sent
        });
        let reader = std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.take_while(|line| line.starts_with("SEND_OK")).count()
        });
        Ok(Producer { child, feeder, reader })
    }

    /// Lets the group read some messages and commit. None may come from before where it stood.
    fn commit(&self, node: &Node, offsets: &mut Offsets) -> Result<(), String> {
        let namesrv = format!("127.0.0.1:{}", node.ports.0);
        let args = ["consume", TOPIC, "--group", GROUP, "--max", "40", "--namesrv", &namesrv];
        let (ok, out, err) = self.rig.weir(&args);
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
    fn read(&self, node: &Node) -> Result<BTreeSet<String>, String> {
        let namesrv = format!("127.0.0.1:{}", node.ports.0);
        let (ok, out, err) = self.rig.weir(&["consume", TOPIC, "--namesrv", &namesrv]);
        if !ok {
            return Err(format!("consume: {err}"));
        }
        let bodies = out.lines().filter_map(|line| line.rsplit("  ").next());
        Ok(bodies.map(str::to_owned).collect())
    }
}

struct Producer {
    child: Child,
    feeder: std::thread::JoinHandle<Vec<String>>,
    reader: std::thread::JoinHandle<usize>,
}

impl Producer {
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
type Offsets = BTreeMap<String, u64>;

/// Queue and offset of a message as `weir consume` prints it: `pair-0/3 @17  body`.
fn place(line: &str) -> Option<(String, u64)> {
    let (queue, rest) = line.split_once(" @")?;
    let offset = rest.split_whitespace().next()?.parse().ok()?;
    Some((queue.to_owned(), offset))
}

/// Sends a signal.
pub(crate) fn signal(child: &Child, name: &str) {
    // A process that is gone needs none.
    let _ = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
}

/// Ports of a box: the name server's, and its shard's with those around it.
fn free_ports() -> Result<(u16, u16), String> {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    for base in (24_200..24_980).step_by(20) {
        let (namesrv, listen) = (base, base + 13);
        if [namesrv, listen, listen - 2, listen + 1, listen - 11].into_iter().all(free)
            && taken(base)
        {
            return Ok((namesrv, listen));
        }
    }
    Err("no free ports on loopback between 24200 and 24980".into())
}

/// Takes a base for this process: no two boxes get the same.
fn taken(base: u16) -> bool {
    use std::sync::Mutex;
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    TAKEN.lock().is_ok_and(|mut taken| taken.insert(base))
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = self.child.as_mut() {
            // It may have ended between the two calls.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Only for the words of an error: where the boxes are.
impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place: &Path = &self.data;
        write!(f, "{} in {}", self.name, place.display())
    }
}
