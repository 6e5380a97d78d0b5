//! `cargo xtask registration`: weir joins name servers that are not its own.
//!
//! A Java name server of 5.4.0 and a second weir are started, and a weir whose `namesrvAddr` names
//! both, an address where nothing listens and a name without an address. A stock Java client then
//! sends and consumes through the Java name server alone; a new topic, a narrowed permission and
//! the orderly end of the broker must be seen in both routes at once. At the end a pair registers
//! its halves (`registered_pair`). Everything listens on loopback.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::broker::Broker;
use super::client::{CLIENTS, Task};
use super::install;
use super::process::Process;
use super::registered_pair;
use super::scratch::Scratch;
use crate::toolbox;

/// What the Java client does, by the table of interop.
const FEATURES: &str = "sync,batch,tags,push-cluster,two-shards";
const CLIENT_WITHIN: Duration = Duration::from_secs(60);
const BOOT_WITHIN: Duration = Duration::from_secs(40);
/// "At once": a registration period is thirty seconds.
const AT_ONCE: Duration = Duration::from_secs(2);
/// A name server that went away is tried every few seconds.
const ANEW_WITHIN: Duration = Duration::from_secs(20);

/// What is asked for.
#[derive(clap::Args, Clone, Debug)]
pub struct RegistrationArguments {
    /// A built broker; without it the release binary is built
    #[arg(long)]
    pub binary: Option<PathBuf>,
}

/// Runs it; the words hold what was seen and how long it took.
pub fn registration(arguments: &RegistrationArguments) -> Result<String, String> {
    let binary = toolbox::broker(arguments.binary.as_deref())?;
    install::all(&[CLIENTS[0]])?;
    let jars = install::name_server()?;
    let scratch = Scratch::new()?;
    let home = scratch.folder("namesrv")?;
    let port = scratch.ports()?.namesrv;
    let java = name_server(&home, &jars, port)?;
    let java_addr = format!("127.0.0.1:{port}");
    let other = Broker::start(&scratch, &binary, "other", &["brokerName=other"])?;
    let servers = [java_addr.as_str(), &other.namesrv()].map(str::to_owned);
    let addresses =
        format!("namesrvAddr={};127.0.0.1:1;no.such.name.invalid:9876", servers.join(";"));
    let weir = Broker::start(&scratch, &binary, "weir", &["brokerName=weir", &addresses])?;
    let stage = Stage { binary: &binary, servers: &servers };
    let mut told = vec![
        format!("java {FEATURES} in {:.1} s", client(&scratch, &java_addr)?.as_secs_f64()),
        format!("new topic {:.2} s", stage.topic()?.as_secs_f64()),
        format!("permission {:.2} s", stage.permission(&weir)?.as_secs_f64()),
    ];
    // Killed and started again, it knows nothing: weir notices and tells it anew.
    drop(java);
    let java = name_server(&home, &jars, port)?;
    told.push(format!("told anew {:.2} s", stage.known(ANEW_WITHIN)?.as_secs_f64()));
    drop(weir);
    told.push(format!("unregistered {:.2} s", stage.gone()?.as_secs_f64()));
    drop(other);
    told.push(registered_pair::check(&scratch, &binary, port)?);
    drop(java);
    Ok(format!("registration: {}", told.join(", ")))
}

/// A Java name server on loopback.
fn name_server(home: &Path, jars: &Path, port: u16) -> Result<Process, String> {
    let conf = home.join("namesrv.conf");
    let text = format!("listenPort={port}\nbindAddress=127.0.0.1\n");
    std::fs::write(&conf, text).map_err(|error| format!("{}: {error}", conf.display()))?;
    let mut java = Command::new("java");
    java.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    java.arg(format!("-Duser.home={}", home.display()));
    java.arg("-cp").arg(jars.join("*")).arg("org.apache.rocketmq.namesrv.NamesrvStartup");
    java.arg("-c").arg(&conf).env("ROCKETMQ_HOME", home).current_dir(home);
    let process = Process::start(java, "name server", &home.join("namesrv.err"))?;
    process.wait_for("The Name Server boot success", BOOT_WITHIN)?;
    Ok(process)
}

/// The stock client, which knows the Java name server only.
fn client(scratch: &Scratch, namesrv: &str) -> Result<Duration, String> {
    let client = CLIENTS[0];
    let home = scratch.folder("client")?;
    let task = Task { namesrv, prefix: "r", feature: FEATURES, journal: None };
    let begun = Instant::now();
    let process =
        Process::start(client.command(task, &home)?, client.name, &home.join("client.err"))?;
    let mut passed = Vec::new();
    while let Some(line) = process.line(begun + CLIENT_WITHIN)? {
        let case = line.strip_prefix("CASE ").and_then(|case| case.split_once(' '));
        match case {
            Some((feature, "pass")) => passed.push(feature.to_owned()),
            Some(_) => return Err(format!("registration: {line}\n{}", process.complaints())),
            None => {}
        }
    }
    let all = FEATURES.split(',').all(|feature| passed.iter().any(|done| done == feature));
    if !all {
        return Err(format!("registration: only {passed:?} ran\n{}", process.complaints()));
    }
    Ok(begun.elapsed())
}

/// What is looked at from outside, by weir's own command line.
struct Stage<'a> {
    binary: &'a Path,
    servers: &'a [String],
}

impl Stage<'_> {
    /// A topic made on the brokers stands in every route at once.
    fn topic(&self) -> Result<Duration, String> {
        for server in self.servers {
            // Nobody has it yet.
            if !self.route(server).contains("no broker has topic") {
                return Err(format!("registration: fresh is known at {server} already"));
            }
        }
        let words = ["topic", "create", "fresh", "--queues", "2", "--namesrv", &self.servers[0]];
        toolbox::run(Command::new(self.binary).args(words))?;
        self.known(AT_ONCE)
    }

    /// Every route names both shards.
    fn known(&self, limit: Duration) -> Result<Duration, String> {
        self.until(limit, |route| route.contains("weir-0") && route.contains("weir-1"))
    }

    /// A narrowed permission stands in every route at once.
    fn permission(&self, weir: &Broker) -> Result<Duration, String> {
        let control = weir.control();
        let set = |value| {
            let words = ["config", "set", "brokerPermission", value, "--control", &control];
            toolbox::run(Command::new(self.binary).args(words))
        };
        set("4")?;
        let took = self.until(AT_ONCE, |route| route.contains("\"permission\":4"))?;
        set("6")?;
        self.until(AT_ONCE, |route| route.contains("\"permission\":6"))?;
        Ok(took)
    }

    /// The broker has ended: no route names it.
    fn gone(&self) -> Result<Duration, String> {
        self.until(AT_ONCE, |route| route.contains("no broker has topic"))
    }

    /// Until the route of the topic at every name server is as wanted.
    fn until(&self, limit: Duration, wanted: impl Fn(&str) -> bool) -> Result<Duration, String> {
        let begun = Instant::now();
        for server in self.servers {
            loop {
                let route = self.route(server);
                if wanted(&route) {
                    break;
                }
                if begun.elapsed() > limit {
                    return Err(format!("registration: at {server}, too late: {route}"));
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(begun.elapsed())
    }

    /// What the topic's description says, or why there is none.
    fn route(&self, server: &str) -> String {
        let words = ["--json", "topic", "describe", "fresh", "--namesrv", server];
        match Command::new(self.binary).args(words).output() {
            Ok(output) => {
                let said = [output.stdout, output.stderr].concat();
                String::from_utf8_lossy(&said).into_owned()
            }
            Err(error) => error.to_string(),
        }
    }
}
