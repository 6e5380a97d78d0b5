//! The two boxes: real weir processes, each with its own way to the majority.
//!
//! What they are is asked over their control ports, as a program that follows the role would.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::gate::Gate;
use super::majority::{self, Majority};
use super::rig::By;
use crate::toolbox;

/// How long anything may take until the rig gives up.
const PATIENCE: Duration = Duration::from_secs(40);

/// One box.
pub(super) struct Node {
    name: &'static str,
    /// Name server, first broker port, control.
    ports: [u16; 3],
    gates: Vec<Gate>,
    /// HA port of the box that it follows at its first start.
    primary: Option<u16>,
    child: Option<Child>,
}

/// Both.
pub(super) struct Pair {
    pub(super) binary: PathBuf,
    folder: PathBuf,
    pub(super) by: By,
    lease_seconds: u64,
    pub(super) nodes: [Node; 2],
}

impl Pair {
    /// Starts both, and waits until the standby may take over.
    pub(super) fn start(
        binary: PathBuf,
        folder: PathBuf,
        (majority, by): (&Majority, By),
        lease_seconds: u64,
    ) -> Result<Pair, String> {
        let first = Node::new("one", None, majority.gates()?)?;
        let second = Node::new("two", Some(first.ports[1] + 1), majority.gates()?)?;
        let mut pair = Pair { binary, folder, by, lease_seconds, nodes: [first, second] };
        pair.boot(0)?;
        pair.boot(1)?;
        Ok(pair)
    }

    /// Starts one of them.
    pub(super) fn boot(&mut self, at: usize) -> Result<(), String> {
        let node = &mut self.nodes[at];
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("{}.log", node.name)))
            .map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--data").arg(self.folder.join(node.name));
        let mut set = |key: &str, value: &str| {
            command.args(["--set", &format!("{key}={value}")]);
        };
        let ways: Vec<String> =
            node.gates.iter().map(|gate| format!("127.0.0.1:{}", gate.port)).collect();
        for (key, value) in [
            ("namesrvListenPort", node.ports[0].to_string()),
            ("listenPort", node.ports[1].to_string()),
            ("controlListenPort", node.ports[2].to_string()),
        ] {
            set(key, &value);
        }
        for (key, value) in self.by.settings(&ways, self.lease_seconds) {
            set(key, &value);
        }
        for (key, value) in [
            ("shards", "1"),
            ("brokerName", "pair"),
            ("brokerRole", "SYNC_MASTER"),
            ("standbyLost", "degrade"),
            ("slaveTimeout", "1000"),
            ("vipPort", "false"),
            ("memoryMax", "160MiB"),
        ] {
            set(key, value);
        }
        if let Some(port) = node.primary {
            set("role", "standby");
            set("primary", &format!("127.0.0.1:{port}"));
        }
        let err = log.try_clone().map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stdout(log).stderr(err);
        node.child = Some(command.spawn().map_err(|error| format!("{command:?}: {error}"))?);
        Ok(())
    }

    /// `host:port` of a box's name server.
    pub(super) fn name_server(&self, at: usize) -> String {
        format!("127.0.0.1:{}", self.nodes[at].ports[0])
    }

    /// Port of a box's broker.
    pub(super) fn port(&self, at: usize) -> u16 {
        self.nodes[at].ports[1]
    }

    /// Which box says that it is the primary; none, or one.
    pub(super) fn primary(&self) -> Result<Option<usize>, String> {
        let is = |at: &usize| self.get(*at, "/primary").is_some_and(|(code, _)| code == 200);
        let all: Vec<usize> = (0..2).filter(is).collect();
        match all[..] {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            _ => Err("both boxes say that they are the primary".into()),
        }
    }

    /// Waits until one is the primary and the other is in step, and which that is.
    pub(super) fn settled(&self) -> Result<usize, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(primary) = self.primary()?
                && self.standing(primary) == "in sync"
                && self.standing(1 - primary) == "following"
                && self.row(primary)["named"] == true
            {
                return Ok(primary);
            }
            if Instant::now() >= until {
                let standings = [self.standing(0), self.standing(1)];
                return Err(format!("the pair does not settle: {standings:?}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn standing(&self, at: usize) -> String {
        self.row(at)["standing"].as_str().unwrap_or("silent").to_owned()
    }

    /// What a box says of its pair.
    fn row(&self, at: usize) -> Value {
        let body = self.get(at, "/pair").map_or(Value::Null, |(_, body)| body);
        body["shards"][0].clone()
    }

    /// GETs a path of a box's control port: status and JSON.
    fn get(&self, at: usize, path: &str) -> Option<(u16, Value)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.nodes[at].ports[2])).ok()?;
        stream.set_read_timeout(Some(Duration::from_millis(300))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let code = head.split(' ').nth(1)?.parse().ok()?;
        Some((code, serde_json::from_str(body).ok()?))
    }

    /// Kills a box.
    pub(super) fn kill(&mut self, at: usize) {
        if let Some(mut child) = self.nodes[at].child.take() {
            // Only this ends it.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops a box where it is, or lets it go on.
    pub(super) fn freeze(&self, at: usize, frozen: bool) {
        if let Some(child) = &self.nodes[at].child {
            toolbox::signal(child, if frozen { "STOP" } else { "CONT" });
        }
    }

    /// Cuts a box's ways to the majority, or heals them.
    pub(super) fn cut(&self, at: usize, cut: bool) {
        self.nodes[at].gates.iter().for_each(|gate| gate.set_cut(cut));
    }

    /// The last lines of both.
    pub(super) fn said(&self) -> String {
        let tail = |node: &Node| {
            let text = std::fs::read_to_string(self.folder.join(format!("{}.log", node.name)));
            let text = text.unwrap_or_default();
            let lines: Vec<&str> = text.lines().rev().take(20).collect();
            let line = |line: &&str| format!("\n  {}: {line}", node.name);
            lines.iter().rev().map(line).collect::<String>()
        };
        self.nodes.iter().map(tail).collect()
    }
}

impl Node {
    fn new(name: &'static str, primary: Option<u16>, gates: Vec<Gate>) -> Result<Node, String> {
        let ports = [majority::port()?, listen_port()?, majority::port()?];
        Ok(Node { name, ports, gates, primary, child: None })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            toolbox::end(child);
        }
    }
}

/// A free port with a free one above it.
fn listen_port() -> Result<u16, String> {
    for _ in 0..64 {
        let port = majority::port()?;
        if port < u16::MAX && std::net::TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return Ok(port);
        }
    }
    Err("no free ports on loopback".into())
}
