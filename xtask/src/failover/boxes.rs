//! Two boxes on loopback and the binary they run, for rigs that cut no cable.
//!
//! Ports are looked for, data and what the boxes say stay in one folder. Dropping a box kills it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::toolbox;
use serde_json::Value;

/// How long anything may take until the rig gives up.
const PATIENCE: Duration = Duration::from_secs(30);

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
            toolbox::end(&mut child);
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
            toolbox::end(child);
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
