//! `cargo xtask address`: the shipped keepalived configuration moves a client's one address to
//! whichever box is weir's primary.
//!
//! Three hosts in network namespaces of their own behind one switch: two boxes with weir and
//! keepalived, and a client; a single etcd stands at the switch. The primary is killed, frozen,
//! and handed over; each time the address must end where the primary is, and no look may find it on
//! both boxes. It needs root, `ip`, `etcd` and `keepalived`.
//! Never: a word to keepalived about who is the primary.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use clap::Args;

use crate::toolbox;

/// The address of the shipped configuration.
const ADDRESS: &str = "10.0.0.100";
/// Where etcd is.
const SWITCH: &str = "10.0.0.1";
const PATIENCE: Duration = Duration::from_secs(30);

/// What the command takes.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Rounds: kill, freeze, switchover, and again
    #[arg(long, default_value_t = 3)]
    rounds: u64,
    /// A built weir; without it the release binary is built
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Runs the rounds.
pub fn check(arguments: &Arguments) -> Result<String, String> {
    let binary = toolbox::broker(arguments.binary.as_deref())?;
    let folder = std::env::temp_dir().join(format!("weir-address-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let done = Rig::new(binary, folder.clone()).and_then(|mut rig| {
        let done = rig.rounds(arguments.rounds);
        done.map_err(|why| format!("address: {why}{}", rig.said()))
    });
    let removed = std::fs::remove_dir_all(&folder).map_err(|error| error.to_string());
    done.and_then(|words| removed.map(|()| words))
}

/// Everything; dropped, it is gone.
struct Rig {
    binary: PathBuf,
    folder: PathBuf,
    net: Net,
    children: Vec<(String, Child)>,
}

impl Rig {
    fn new(binary: PathBuf, folder: PathBuf) -> Result<Rig, String> {
        let net = Net::new()?;
        let mut rig = Rig { binary, folder, net, children: Vec::new() };
        let client = format!("http://{SWITCH}:2379");
        let mut etcd = Command::new("etcd");
        etcd.arg("--data-dir").arg(rig.folder.join("etcd"));
        etcd.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        rig.spawn("etcd", "switch", &etcd)?;
        // nobody must be able to run it.
        let own = rig.folder.join("weir");
        std::fs::copy(&rig.binary, &own).map_err(|error| error.to_string())?;
        rig.binary = own;
        rig.configure()?;
        for at in 0..2 {
            rig.boot(at)?;
            rig.follow(at)?;
        }
        Ok(rig)
    }

    /// The shipped configuration, with the path of the binary that is tested.
    fn configure(&self) -> Result<(), String> {
        let shipped = toolbox::root().join("keepalived/keepalived.conf");
        let text = std::fs::read_to_string(shipped).map_err(|error| error.to_string())?;
        let path = self.binary.display().to_string();
        if !text.contains("/usr/bin/weir ") || !text.contains(ADDRESS) {
            return Err("the shipped keepalived.conf does not name the binary and address".into());
        }
        let text = text.replace("/usr/bin/weir", &path);
        let own = self.folder.join("keepalived.conf");
        std::fs::write(own, text).map_err(|error| error.to_string())
    }

    fn rounds(&mut self, rounds: u64) -> Result<String, String> {
        let mut gaps = Vec::new();
        for number in 0..rounds {
            let old = self.settled()?;
            let began = Instant::now();
            let name = ["killed", "frozen", "handed over"][(number % 3) as usize];
            match number % 3 {
                0 => self.kill(old),
                1 => self.freeze(old, true),
                _ => self.switchover(old)?,
            }
            let gap = self.reached_again(old, began).map_err(|why| format!("{name}: {why}"))?;
            gaps.push(format!("{name} {} ms", gap.as_millis()));
            match number % 3 {
                0 => self.boot(old)?,
                1 => self.freeze(old, false),
                _ => {}
            }
            self.settled().map_err(|why| format!("{name}: {why}"))?;
        }
        Ok(format!(
            "address: {rounds} moves, always to the primary, never on both boxes; until a message \
             was taken at the address: {}",
            gaps.join(", ")
        ))
    }

    /// The box that is the primary, once the other is in step and the address is there.
    fn settled(&self) -> Result<usize, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let holders = self.holders()?;
            let primary = (0..2).find(|at| self.is_primary(*at));
            if let ([holder], Some(primary)) = (&holders[..], primary)
                && *holder == primary
                && self.status(primary).contains("in sync")
                && self.may_take_over()
            {
                return Ok(primary);
            }
            if Instant::now() >= until {
                return Err(format!("address on {holders:?}, primary {primary:?}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Until a message is taken at the address, by the box that was not the primary.
    fn reached_again(&self, old: usize, began: Instant) -> Result<Duration, String> {
        while began.elapsed() < PATIENCE {
            let holders = self.holders()?;
            if holders == [1 - old] && self.send() {
                return Ok(began.elapsed());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("nothing is taken at the address".into())
    }

    /// Boxes that have the address now.
    fn holders(&self) -> Result<Vec<usize>, String> {
        let has = |at: &usize| {
            let out = self.net.run(host(*at), "ip", &["-o", "address", "show"]);
            out.is_ok_and(|out| text(&out).contains(&format!("{ADDRESS}/")))
        };
        let holders: Vec<usize> = (0..2).filter(has).collect();
        match holders.len() {
            0 | 1 => Ok(holders),
            _ => Err("both boxes have the address".into()),
        }
    }

    /// A client that knows the one address sends a message.
    fn send(&self) -> bool {
        let server = format!("{ADDRESS}:9876");
        let args = ["produce", "t", "--body", "x", "--namesrv", &server, "--timeout-ms", "1000"];
        self.weir("client", &args).is_ok_and(|out| {
            ["SEND_OK", "SLAVE_NOT"].iter().any(|word| text(&out).starts_with(word))
        })
    }

    fn is_primary(&self, at: usize) -> bool {
        self.weir(host(at), &["primary", "--timeout-ms", "300"]).is_ok_and(|o| o.status.success())
    }

    fn status(&self, at: usize) -> String {
        let out = self.weir(host(at), &["status", "--timeout-ms", "500"]);
        out.map_or(String::new(), |out| text(&out))
    }

    /// Whether etcd names two boxes that hold everything.
    fn may_take_over(&self) -> bool {
        let endpoint = format!("http://{SWITCH}:2379");
        let key = "/weir/DefaultCluster/pair/record";
        let args = ["--endpoints", &endpoint, "get", key, "--print-value-only"];
        let out = self.net.run("switch", "etcdctl", &args).map(|out| text(&out));
        let record: serde_json::Value =
            serde_json::from_str(out.unwrap_or_default().trim()).unwrap_or_default();
        record["inStep"].as_array().is_some_and(|ids| ids.len() == 2)
    }

    fn switchover(&self, at: usize) -> Result<(), String> {
        let out = self.weir(host(at), &["switchover"])?;
        match out.status.success() {
            true => Ok(()),
            false => Err(format!("switchover: {}", String::from_utf8_lossy(&out.stderr))),
        }
    }

    fn weir(&self, host: &str, args: &[&str]) -> Result<Output, String> {
        self.net.run(host, &self.binary.display().to_string(), args)
    }

    /// Starts weir on a box.
    fn boot(&mut self, at: usize) -> Result<(), String> {
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--data").arg(self.folder.join(host(at)));
        let (own, other) = (addr(at), addr(1 - at));
        let etcd = format!("etcdEndpoints={SWITCH}:2379");
        let ip = format!("brokerIP1={own}");
        let mut sets = vec![
            "bind=0.0.0.0",
            &ip,
            &etcd,
            "etcdLeaseSeconds=2",
            "haSecret=sixteen-letters-here",
            "shards=1",
            "brokerName=pair",
            "brokerRole=SYNC_MASTER",
            "standbyLost=degrade",
            "slaveTimeout=1000",
            "memoryMax=160MiB",
        ];
        let primary = format!("primary={other}:10912");
        if at == 1 {
            sets.extend(["role=standby", &primary]);
        }
        for set in sets {
            command.args(["--set", set]);
        }
        self.spawn(&format!("weir-{}", host(at)), host(at), &command)
    }

    /// Starts keepalived on a box.
    fn follow(&mut self, at: usize) -> Result<(), String> {
        let mut command = Command::new("keepalived");
        command.args(["--dont-fork", "--log-console", "--vrrp", "--use-file"]);
        command.arg(self.folder.join("keepalived.conf"));
        for name in ["pid", "vrrp_pid", "checkers_pid"] {
            command.arg(format!("--{name}"));
            command.arg(self.folder.join(format!("{}-{name}", host(at))));
        }
        self.spawn(&format!("keepalived-{}", host(at)), host(at), &command)
    }

    /// Starts a program on a host; its lines go to a file of that name.
    fn spawn(&mut self, name: &str, host: &str, command: &Command) -> Result<(), String> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("{name}.log")))
            .map_err(|error| error.to_string())?;
        let err = log.try_clone().map_err(|error| error.to_string())?;
        let mut inside = self.net.command(host, command);
        inside.stdin(Stdio::null()).stdout(log).stderr(err);
        let child = inside.spawn().map_err(|error| format!("{inside:?}: {error}"))?;
        self.children.push((name.to_owned(), child));
        Ok(())
    }

    fn kill(&mut self, at: usize) {
        let name = format!("weir-{}", host(at));
        if let Some(place) = self.children.iter().position(|(own, _)| *own == name) {
            // Only this ends it.
            let (_, mut child) = self.children.swap_remove(place);
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn freeze(&self, at: usize, frozen: bool) {
        let name = format!("weir-{}", host(at));
        let word = if frozen { "-STOP" } else { "-CONT" };
        for (_, child) in self.children.iter().filter(|(own, _)| *own == name) {
            // A process that is gone needs none.
            let _ = Command::new("kill").args([word, &child.id().to_string()]).status();
        }
    }

    /// The last lines of everybody.
    fn said(&self) -> String {
        let mut said = String::new();
        for (name, _) in &self.children {
            let text = std::fs::read_to_string(self.folder.join(format!("{name}.log")));
            let text = text.unwrap_or_default();
            for line in text.lines().rev().take(8).collect::<Vec<_>>().into_iter().rev() {
                said += &format!("\n  {name}: {line}");
            }
        }
        said
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // keepalived takes its address away when it is asked to end, a broker its memory.
        for (_, child) in &mut self.children {
            toolbox::end(child);
        }
    }
}

fn host(at: usize) -> &'static str {
    ["one", "two"][at % 2]
}

fn addr(at: usize) -> String {
    format!("10.0.0.{}", 11 + at)
}

fn text(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// The hosts, as network namespaces; dropped, they are gone.
struct Net {
    prefix: String,
}

impl Net {
    /// `one`, `two` and `client` at a `switch`.
    fn new() -> Result<Net, String> {
        let net = Net { prefix: format!("weir-a{}", std::process::id()) };
        let switch = net.name("switch");
        net.ip(&["netns", "add", &switch])?;
        net.ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"])?;
        net.ip(&["-n", &switch, "address", "add", &format!("{SWITCH}/24"), "dev", "br0"])?;
        net.up("switch", "br0")?;
        net.up("switch", "lo")?;
        for (at, host) in ["one", "two", "client"].into_iter().enumerate() {
            let (name, port) = (net.name(host), format!("v{at}"));
            net.ip(&["netns", "add", &name])?;
            let link = ["link", "add", "eth0", "netns", &name, "type", "veth", "peer", "name"];
            net.ip(&[&link[..], &[&port, "netns", &switch]].concat())?;
            net.ip(&["-n", &switch, "link", "set", &port, "master", "br0"])?;
            net.up("switch", &port)?;
            net.ip(&["-n", &name, "address", "add", &format!("{}/24", addr(at)), "dev", "eth0"])?;
            net.up(host, "eth0")?;
            net.up(host, "lo")?;
        }
        Ok(net)
    }

    fn name(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix)
    }

    fn up(&self, host: &str, link: &str) -> Result<(), String> {
        self.ip(&["-n", &self.name(host), "link", "set", link, "up"])
    }

    fn ip(&self, args: &[&str]) -> Result<(), String> {
        toolbox::run(Command::new("ip").args(args))
    }

    /// The same program on a host.
    fn command(&self, host: &str, command: &Command) -> Command {
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &self.name(host)]);
        inside.arg(command.get_program()).args(command.get_args());
        inside
    }

    fn run(&self, host: &str, program: &str, args: &[&str]) -> Result<Output, String> {
        let mut plain = Command::new(Path::new(program));
        plain.args(args);
        let mut inside = self.command(host, &plain);
        inside.env("ETCDCTL_API", "3").stdin(Stdio::null());
        inside.output().map_err(|error| format!("{inside:?}: {error}"))
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for host in ["one", "two", "client", "switch"] {
            // One that was not made yet cannot be removed.
            let _ = Command::new("ip").args(["netns", "delete", &self.name(host)]).status();
        }
    }
}
