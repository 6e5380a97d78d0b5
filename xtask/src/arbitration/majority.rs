//! What decides: three members of a real etcd on loopback, and what they have on record.
//!
//! Their files are in memory, so that a busy disk decides nothing. Never: a key written by the rig.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Members.
const MEMBERS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(30);

/// The members.
pub(super) struct Majority {
    members: Vec<Member>,
    memory: PathBuf,
}

struct Member {
    ports: (u16, u16),
    command: Command,
    child: Child,
}

impl Majority {
    /// Starts them; their lines go to `folder`.
    pub(super) fn start(folder: &Path) -> Result<Majority, String> {
        let memory = PathBuf::from(format!("/dev/shm/weir-arbitration-{}", std::process::id()));
        let ports: Vec<(u16, u16)> =
            (0..MEMBERS).map(|_| Ok((port()?, port()?))).collect::<Result<_, String>>()?;
        let peer = |at: usize| format!("m{at}=http://127.0.0.1:{}", ports[at].1);
        let cluster: Vec<String> = (0..MEMBERS).map(peer).collect();
        let mut members = Vec::new();
        for (at, own) in ports.iter().enumerate() {
            let (client, peer) = (url(own.0), url(own.1));
            let mut command = Command::new("etcd");
            command.args(["--name", &format!("m{at}"), "--logger", "zap"]);
            command.arg("--data-dir").arg(memory.join(at.to_string()));
            command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
            command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
            command.args(["--initial-cluster", &cluster.join(",")]);
            let log = folder.join(format!("etcd-{at}.log"));
            let log = std::fs::File::create(log).map_err(|error| error.to_string())?;
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
            let child = command.spawn().map_err(|error| format!("etcd: {error}"))?;
            members.push(Member { ports: *own, command, child });
        }
        let mut majority = Majority { members, memory };
        majority.wait()?;
        Ok(majority)
    }

    /// Client ports.
    pub(super) fn ports(&self) -> Vec<u16> {
        self.members.iter().map(|member| member.ports.0).collect()
    }

    /// Who holds everything that was acknowledged, as on record.
    pub(super) fn in_step(&self) -> Vec<String> {
        let Ok(text) = self.ask(&["get", "/weir/DefaultCluster/pair/record", "--print-value-only"])
        else {
            return Vec::new();
        };
        let value: serde_json::Value = serde_json::from_str(text.trim()).unwrap_or_default();
        let ids = value["inStep"].as_array().into_iter().flatten();
        ids.filter_map(|id| id.as_str().map(str::to_owned)).collect()
    }

    /// Stops all of them where they are, or lets them go on.
    pub(super) fn freeze(&self, frozen: bool) {
        for member in &self.members {
            super::boxes::signal(&member.child, if frozen { "STOP" } else { "CONT" });
        }
    }

    /// Kills one of them.
    pub(super) fn kill(&mut self, at: usize) {
        let Some(member) = self.members.get_mut(at % MEMBERS) else { return };
        // It cannot be gone already: only this ends it.
        let _ = member.child.kill();
        let _ = member.child.wait();
    }

    /// Starts one of them again.
    pub(super) fn revive(&mut self, at: usize) -> Result<(), String> {
        let Some(member) = self.members.get_mut(at % MEMBERS) else { return Ok(()) };
        member.child = member.command.spawn().map_err(|error| format!("etcd: {error}"))?;
        self.wait()
    }

    /// Until all answer.
    pub(super) fn wait(&mut self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.ask(&["endpoint", "health"]) {
                Ok(_) => return Ok(()),
                Err(why) if Instant::now() >= until => return Err(why),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn ask(&self, args: &[&str]) -> Result<String, String> {
        let urls: Vec<String> = self.members.iter().map(|member| url(member.ports.0)).collect();
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &urls.join(",")]).args(args);
        command.args(["--command-timeout", "2s"]).stdin(Stdio::null());
        let out = command.output().map_err(|error| format!("etcdctl: {error}"))?;
        match out.status.success() {
            true => Ok(String::from_utf8_lossy(&out.stdout).into_owned()),
            false => Err(format!("etcdctl: {}", String::from_utf8_lossy(&out.stderr))),
        }
    }
}

impl Drop for Majority {
    fn drop(&mut self) {
        for member in &mut self.members {
            // It may be frozen, or gone; then there is nothing to end.
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.memory);
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// A free port.
pub(super) fn port() -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
    Ok(listener.local_addr().map_err(|error| error.to_string())?.port())
}
