//! One box of the pair: a weir process on its host, what it says of itself, and its commands.
//!
//! Each box has a host of its own, so the ports are weir's usual ones. What it says goes to a file.
//! Dropping it kills it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::link::{ADDRESSES, Link};
use crate::toolbox;

/// How long anything may take until the rig gives up.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// The name server that its clients ask.
pub(super) const NAMESRV: &str = "127.0.0.1:9876";
const CONTROL: &str = "127.0.0.1:10900";

/// One box.
pub(super) struct Node {
    pub(super) name: &'static str,
    /// Which host.
    pub(super) side: usize,
    pub(super) link: std::rc::Rc<Link>,
    pub(super) folder: PathBuf,
    pub(super) binary: PathBuf,
    /// `ASYNC_MASTER` or `SYNC_MASTER`.
    pub(super) role: &'static str,
    pub(super) child: Option<Child>,
}

impl Node {
    /// Starts it. `standby`: its configuration says that it is one.
    pub(super) fn start(&mut self, standby: bool) -> Result<(), String> {
        let data = self.folder.join(self.name);
        std::fs::create_dir_all(&data).map_err(|error| error.to_string())?;
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("{}.log", self.name)))
            .map_err(|error| error.to_string())?;
        let mut command = self.link.command(self.side, &self.binary);
        command.arg("serve").arg("--data").arg(&data);
        for (key, value) in [
            ("bind", "0.0.0.0"),
            ("brokerIP1", "127.0.0.1"),
            ("haSecret", "a-secret-of-the-rig"),
            ("shards", "1"),
            ("brokerName", "pair"),
            ("brokerRole", self.role),
            ("slaveTimeout", "1000"),
            ("memoryMax", "160MiB"),
        ] {
            command.args(["--set", &format!("{key}={value}")]);
        }
        if standby {
            let primary = format!("primary={}:10912", ADDRESSES[1 - self.side]);
            command.args(["--set", "role=standby", "--set", &primary]);
        }
        let err = log.try_clone().map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stdout(log).stderr(err);
        self.child = Some(command.spawn().map_err(|error| format!("{command:?}: {error}"))?);
        Ok(())
    }

    /// Ends it as a service manager would.
    pub(super) fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            toolbox::end(&mut child);
        }
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) -> Result<(), String> {
        let Some(mut child) = self.child.take() else { return Err("no process runs".into()) };
        child.kill().map_err(|error| error.to_string())?;
        child.wait().map(drop).map_err(|error| error.to_string())
    }

    /// SIGSTOP, SIGCONT and the like.
    pub(super) fn signal(&self, name: &str) {
        if let Some(child) = &self.child {
            toolbox::signal(child, name);
        }
    }

    /// One of weir's commands on this host.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.link.command(self.side, &self.binary);
        command.args(args).stdin(Stdio::null());
        command
    }

    /// Runs one of weir's commands on this host; its outputs.
    pub(super) fn weir(&self, args: &[&str]) -> (bool, String, String) {
        match self.command(args).output() {
            Ok(out) => (
                out.status.success(),
                String::from_utf8_lossy(&out.stdout).into_owned(),
                String::from_utf8_lossy(&out.stderr).into_owned(),
            ),
            Err(error) => (false, String::new(), error.to_string()),
        }
    }

    /// Runs one of the operator's commands; what it said.
    pub(super) fn operate(&self, args: &[&str]) -> Result<String, String> {
        let (ok, out, err) = self.weir(&[args, &["--control", CONTROL]].concat());
        if ok { Ok(out) } else { Err(format!("{args:?}: {out}{err}")) }
    }

    /// What `weir status` says of its pair.
    pub(super) fn status(&self) -> Value {
        let (_, out, _) =
            self.weir(&["status", "--json", "--control", CONTROL, "--timeout-ms", "500"]);
        let rows = out.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        rows.rev().find(|row| row["role"].is_string()).unwrap_or(Value::Null)
    }

    /// Waits until its status is as wanted.
    pub(super) fn wait(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        let mut last = Value::Null;
        while Instant::now() < until {
            last = self.status();
            if holds(&last) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("{} is not {what}: {last}", self.name))
    }

    /// The last lines that it said.
    pub(super) fn said(&self) -> String {
        let text = std::fs::read_to_string(self.folder.join(format!("{}.log", self.name)));
        let text = text.unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(12).collect();
        lines.into_iter().rev().map(|line| format!("\n  {}: {line}", self.name)).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = self.child.as_mut() {
            toolbox::end(child);
        }
    }
}
