//! Producers that remember when each acknowledgement came, and a reader of everything.
//!
//! A producer is a `weir produce` of its own; what it printed, and when, is what counts.
//! SLAVE_NOT_AVAILABLE is an acknowledgement too: stored, on one box.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::toolbox;

/// One acknowledgement.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// What was sent.
    pub(super) body: String,
    /// When it was read.
    pub(super) at: Instant,
    /// Port of the broker that stored it: a name server may name either box.
    pub(super) port: u16,
}

/// What was acknowledged.
pub(super) type Acknowledged = Vec<Seen>;

/// Where messages go, and by what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    /// weir's commands.
    pub(super) binary: &'a Path,
    /// The topic.
    pub(super) topic: &'a str,
    /// Who is asked where it is.
    pub(super) name_server: &'a str,
    /// Which of the brokers that have it.
    pub(super) broker: &'a str,
}

impl Target<'_> {
    /// `weir produce` to it.
    fn command(&self) -> Command {
        let mut command = Command::new(self.binary);
        command.args(["produce", self.topic, "--namesrv", self.name_server]);
        command.args(["--broker", self.broker]);
        command
    }
}

/// One message after the other to one box, until it is ended.
pub(super) struct Producer {
    child: Child,
    feeder: JoinHandle<Vec<String>>,
    /// When each was answered, and who acknowledged it.
    reader: JoinHandle<Vec<(Instant, Option<u16>)>>,
}

impl Producer {
    /// Begins to send `name-0`, `name-1`, … there.
    pub(super) fn start(target: Target, name: String) -> Result<Producer, String> {
        let mut command = target.command();
        command.args(["--timeout-ms", "15000"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipes".into());
        };
        let feeder = toolbox::feed(input, name);
        let reader = std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.map(|line| (Instant::now(), stored_at(&line))).collect()
        });
        Ok(Producer { child, feeder, reader })
    }

    /// Ends it.
    pub(super) fn end(mut self) -> Acknowledged {
        // One that still waits for an answer has none.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let times = self.reader.join().unwrap_or_default();
        let bodies = self.feeder.join().unwrap_or_default().into_iter();
        let all = bodies.zip(times);
        all.filter_map(|(body, (at, port))| Some(Seen { body, at, port: port? })).collect()
    }
}

/// Sends one message; when it was acknowledged.
pub(super) fn probe(target: Target, body: &str) -> Option<Seen> {
    let mut command = target.command();
    command.args(["--body", body, "--timeout-ms", "1000"]).stdin(Stdio::null());
    let out = command.output().ok()?;
    let port = String::from_utf8_lossy(&out.stdout).lines().find_map(stored_at)?;
    Some(Seen { body: body.to_owned(), at: Instant::now(), port })
}

/// One `weir produce` after the other, whatever becomes of each, until it is ended: a client that
/// goes on after a refusal.
pub(super) struct Prober {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Acknowledged>,
}

impl Prober {
    /// Begins to send `name-0`, `name-1`, … there.
    pub(super) fn start(target: Target, name: String) -> Prober {
        let (binary, topic) = (target.binary.to_owned(), target.topic.to_owned());
        let (server, broker) = (target.name_server.to_owned(), target.broker.to_owned());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let target =
                Target { binary: &binary, topic: &topic, name_server: &server, broker: &broker };
            let going = (0..u64::MAX).take_while(|_| !stopped.load(Ordering::SeqCst));
            going.filter_map(|n| probe(target, &format!("{name}-{n}"))).collect()
        });
        Prober { stop, thread }
    }

    /// Ends it.
    pub(super) fn end(self) -> Acknowledged {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap_or_default()
    }
}

/// Every body in the topic, on every broker that has it.
pub(super) fn read_all(
    binary: &Path,
    topic: &str,
    name_server: &str,
) -> Result<BTreeSet<String>, String> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let mut command = Command::new(binary);
        command.args(["consume", topic, "--namesrv", name_server]).stdin(Stdio::null());
        let out = command.output().map_err(|error| error.to_string())?;
        if out.status.success() {
            let text = String::from_utf8_lossy(&out.stdout).into_owned();
            return Ok(text.lines().filter_map(body).map(str::to_owned).collect());
        }
        if Instant::now() >= until {
            return Err(format!("consume: {}", String::from_utf8_lossy(&out.stderr)));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether everything that was acknowledged was read.
pub(super) fn none_lost(
    acknowledged: &BTreeSet<String>,
    read: &BTreeSet<String>,
) -> Result<(), String> {
    let lost: Vec<&String> = acknowledged.difference(read).collect();
    match lost.get(..lost.len().min(5)) {
        None | Some([]) => Ok(()),
        Some(some) => Err(format!("{} acknowledged messages are lost: {some:?}", lost.len())),
    }
}

/// Port of the broker that stored a message, from its id: address, port, position in hex.
fn stored_at(line: &str) -> Option<u16> {
    let is_stored = ["SEND_OK", "SLAVE_NOT_AVAILABLE"].iter().any(|word| line.starts_with(word));
    let id = line.split_whitespace().last().filter(|_| is_stored)?;
    u16::from_str_radix(id.get(12..16)?, 16).ok()
}

fn body(line: &str) -> Option<&str> {
    line.rsplit("  ").next()
}
