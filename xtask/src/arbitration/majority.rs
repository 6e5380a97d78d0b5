//! What decides: three members of a real etcd, or one or three RocketMQ Controllers, on loopback.
//!
//! Their files are in memory, so that a busy disk decides nothing. Never: a key written by the rig.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::gate::Gate;
use super::rig::By;
use crate::toolbox;
use crate::{interop, shown};

/// Members of etcd.
const MEMBERS: usize = 3;
/// RocketMQ's CONTROLLER_GET_METADATA_INFO.
const GET_METADATA: i32 = 1005;
const PATIENCE: Duration = Duration::from_secs(30);

/// The members.
pub(super) struct Majority {
    by: By,
    members: Vec<Member>,
    memory: PathBuf,
}

struct Member {
    port: u16,
    command: Command,
    child: Child,
}

impl Majority {
    /// Starts them, of Controllers as many as said; their lines go to `folder`.
    pub(super) fn start(folder: &Path, by: By, controllers: usize) -> Result<Majority, String> {
        let memory = PathBuf::from(format!("/dev/shm/weir-arbitration-{}", std::process::id()));
        std::fs::create_dir_all(&memory).map_err(|error| error.to_string())?;
        let commands = match by {
            By::Etcd => etcd(&memory)?,
            By::Controller => self::controllers(&memory, controllers)?,
        };
        let mut majority = Majority { by, members: Vec::new(), memory };
        for (at, (port, mut command)) in commands.into_iter().enumerate() {
            let log = folder.join(format!("majority-{at}.log"));
            let log = std::fs::File::create(log).map_err(|error| error.to_string())?;
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
            let child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
            majority.members.push(Member { port, command, child });
        }
        majority.wait()?;
        Ok(majority)
    }

    /// A box's ways to it. Those to Controllers cannot be cut: their leader tells its own address.
    pub(super) fn gates(&self) -> Result<Vec<Gate>, String> {
        let open = |member: &Member| match self.by {
            By::Etcd => Gate::open(member.port),
            By::Controller => Ok(Gate::none(member.port)),
        };
        self.members.iter().map(open).collect()
    }

    /// Stops all of them where they are, or lets them go on.
    pub(super) fn freeze(&self, frozen: bool) {
        for member in &self.members {
            toolbox::signal(&member.child, if frozen { "STOP" } else { "CONT" });
        }
    }

    /// Kills one of them: the leader of Controllers, a member of etcd by its number; which it was.
    pub(super) fn kill(&mut self, number: u64) -> Result<usize, String> {
        let at = match self.by {
            By::Etcd => number as usize % self.members.len(),
            By::Controller => self.leader()?,
        };
        if let Some(member) = self.members.get_mut(at) {
            // It cannot be gone already: only this ends it.
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
        Ok(at)
    }

    /// Starts one of them again.
    pub(super) fn revive(&mut self, at: usize) -> Result<(), String> {
        let Some(member) = self.members.get_mut(at) else { return Ok(()) };
        member.child = member.command.spawn().map_err(|error| error.to_string())?;
        self.wait()
    }

    /// The Controller that all Controllers name as their leader.
    fn leader(&self) -> Result<usize, String> {
        let named: Vec<u16> = self.members.iter().filter_map(|m| leader_of(m.port)).collect();
        let first = named.first().filter(|_| named.len() == self.members.len());
        let same = first.filter(|port| named.iter().all(|other| other == *port));
        let at = self.members.iter().position(|member| Some(&member.port) == same);
        at.ok_or_else(|| format!("the Controllers name as leader: {named:?}"))
    }

    /// Until all answer.
    pub(super) fn wait(&mut self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.health() {
                Ok(()) => return Ok(()),
                Err(why) if Instant::now() >= until => return Err(why),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn health(&self) -> Result<(), String> {
        if self.by == By::Controller {
            return self.leader().map(drop);
        }
        let urls: Vec<String> = self.members.iter().map(|member| url(member.port)).collect();
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &urls.join(",")]);
        command.args(["endpoint", "health", "--command-timeout", "2s"]).stdin(Stdio::null());
        let out = command.output().map_err(|error| format!("etcdctl: {error}"))?;
        match out.status.success() {
            true => Ok(()),
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

/// Client port of each member, and what starts it.
fn etcd(memory: &Path) -> Result<Vec<(u16, Command)>, String> {
    let ports: Vec<(u16, u16)> =
        (0..MEMBERS).map(|_| Ok((port()?, port()?))).collect::<Result<_, String>>()?;
    let peer = |at: usize| format!("m{at}=http://127.0.0.1:{}", ports[at].1);
    let cluster: Vec<String> = (0..MEMBERS).map(peer).collect();
    let start = |(at, own): (usize, &(u16, u16))| {
        let (client, peer) = (url(own.0), url(own.1));
        let mut command = Command::new("etcd");
        command.args(["--name", &format!("m{at}"), "--logger", "zap"]);
        command.arg("--data-dir").arg(memory.join(at.to_string()));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &cluster.join(",")]);
        (own.0, command)
    };
    Ok(ports.iter().enumerate().map(start).collect())
}

/// Each Controller's port, and what starts it: its jars are the name server's.
fn controllers(memory: &Path, count: usize) -> Result<Vec<(u16, Command)>, String> {
    let jars = interop::name_server_jars()?;
    let ports: Vec<u16> = (0..count).map(|_| port()).collect::<Result<_, _>>()?;
    let peer = |(at, port): (usize, &u16)| format!("n{at}-127.0.0.1:{port}");
    let peers: Vec<String> = ports.iter().enumerate().map(peer).collect();
    let start = |(at, port): (usize, &u16)| {
        let home = memory.join(at.to_string());
        std::fs::create_dir_all(&home).map_err(|error| error.to_string())?;
        let conf = home.join("controller.conf");
        let text = format!(
            "controllerDLegerGroup=group1\ncontrollerDLegerPeers={}\n\
             controllerDLegerSelfId=n{at}\ncontrollerStorePath={}\n\
             scanNotActiveBrokerInterval=1000\n",
            peers.join(";"),
            home.join("store").display()
        );
        std::fs::write(&conf, text).map_err(|error| error.to_string())?;
        let mut java = Command::new("java");
        java.args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        java.arg(format!("-Duser.home={}", home.display()));
        java.arg("-cp").arg(jars.join("*"));
        java.arg("org.apache.rocketmq.controller.ControllerStartup").arg("-c").arg(&conf);
        java.env("ROCKETMQ_HOME", &home).current_dir(&home);
        java.stdin(Stdio::null()).stdout(Stdio::null());
        Ok((*port, java))
    };
    ports.iter().enumerate().map(start).collect()
}

/// The port of the leader that a Controller names.
fn leader_of(port: u16) -> Option<u16> {
    let (header, _) = shown::ask(port, GET_METADATA, &json!({})).ok()?;
    header["extFields"]["controllerLeaderAddress"].as_str()?.rsplit(':').next()?.parse().ok()
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// A free port.
pub(super) fn port() -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
    Ok(listener.local_addr().map_err(|error| error.to_string())?.port())
}
