//! Producers that remember when each acknowledgement came, and a reader of everything.
//!
//! A producer is a `weir produce` of its own; what it printed, and when, is what counts.
//! SLAVE_NOT_AVAILABLE is an acknowledgement too: stored, on one box.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What was acknowledged, and when that was read.
pub(super) type Acknowledged = Vec<(String, Instant)>;

/// One message after the other to one box, until it is ended.
pub(super) struct Producer {
    child: Child,
    feeder: JoinHandle<Vec<String>>,
    reader: JoinHandle<Vec<Instant>>,
}

impl Producer {
    /// Begins to send `name-0`, `name-1`, … to `topic`.
    pub(super) fn start(
        binary: &Path,
        topic: &str,
        name_server: &str,
        name: String,
    ) -> Result<Producer, String> {
        let mut command = Command::new(binary);
        command.args(["produce", topic, "--namesrv", name_server, "--timeout-ms", "15000"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipes".into());
        };
        let feeder = std::thread::spawn(move || {
            let mut sent = Vec::new();
            for n in 0.. {
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
            lines.take_while(|line| is_stored(line)).map(|_| Instant::now()).collect()
        });
        Ok(Producer { child, feeder, reader })
    }

    /// Ends it.
    pub(super) fn end(mut self) -> Acknowledged {
        // One that still waits for an answer has none.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let times = self.reader.join().unwrap_or_default();
        self.feeder.join().unwrap_or_default().into_iter().zip(times).collect()
    }
}

/// Sends one message; when it was acknowledged.
pub(super) fn probe(
    binary: &Path,
    topic: &str,
    name_server: &str,
    body: &str,
) -> Option<(String, Instant)> {
    let mut command = Command::new(binary);
    command.args(["produce", topic, "--body", body, "--namesrv", name_server]);
    command.args(["--timeout-ms", "1000"]).stdin(Stdio::null());
    let out = command.output().ok()?;
    let stored = String::from_utf8_lossy(&out.stdout).lines().any(is_stored);
    stored.then(|| (body.to_owned(), Instant::now()))
}

/// Every body in the topic.
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

fn is_stored(line: &str) -> bool {
    ["SEND_OK", "SLAVE_NOT_AVAILABLE"].iter().any(|word| line.starts_with(word))
}

fn body(line: &str) -> Option<&str> {
    line.rsplit("  ").next()
}
