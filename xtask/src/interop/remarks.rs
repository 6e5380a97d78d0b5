//! `cargo xtask remarks`: every reason to refuse a send, provoked for real and read from the remark
//! that the stock Java client hands to its user.
//!
//! The device is stalled by freezing the file system of a small loop disk, the disk filled by a
//! ballast file, memory by more queues than the consume queues' arena has frames, and limits are
//! changed by `weir config set` while the broker runs; the standby of a second broker is stopped
//! (SIGSTOP). A stalled flush alone cannot be had with these means; `tests/pressure.rs` has it on
//! the simulated kernel. It needs root.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::client::{CLIENTS, Task};
use super::install;
use super::process::Process;
use crate::broker::Broker;
use crate::small_disk::SmallDisk;
use crate::toolbox;

const DISK_BYTES: u64 = 768 * 1024 * 1024;
const SETS: [&str; 6] = [
    "stagingSize=16MiB",
    "maxMessageSize=65536",
    "mappedFileSizeCommitLog=128MiB",
    "consumeQueueMemory=4MiB",
    "diskSpaceWarningLevelRatio=95",
    "cleanFileForciblyEnable=false",
];
/// Topics of 1000 queues: more tails of 256 bytes than 4 MiB hold.
const MANY: usize = 40;
const BURST_WITHIN: Duration = Duration::from_secs(60);
/// Of both halves of the pair.
const PAIR_SETS: [&str; 5] = [
    "brokerRole=SYNC_MASTER",
    "brokerName=pair",
    "slaveTimeout=2000",
    "sendThreadPoolQueueCapacity=8",
    "mappedFileSizeCommitLog=16MiB",
];

/// What is asked for.
#[derive(clap::Args, Clone, Debug)]
pub struct RemarksArguments {
    /// A built broker; without it the release binary is built
    #[arg(long)]
    pub binary: Option<PathBuf>,
}

/// Runs the scenes; the words hold what the client was told in each.
pub fn remarks(arguments: &RemarksArguments) -> Result<String, String> {
    let binary = toolbox::broker(arguments.binary.as_deref())?;
    let java = CLIENTS[0];
    install::all(&[java])?;
    let disk = SmallDisk::new("remarks", DISK_BYTES)?;
    let broker = Broker::start(&binary, &disk.mount().join("data"), &SETS)?;
    let told = Stage::new(&binary, &broker, &disk).and_then(|mut stage| stage.all(&disk));
    // An orderly end even so: a killed broker would leave its staging memory behind.
    let ended = stop(broker);
    let mut told = told?;
    ended?;
    told.extend(replica(&binary, &disk)?);
    Ok(format!("remarks: {} told:\n{}", java.name, told.join("\n")))
}

/// A pair whose standby hears nothing any more: too many sends wait for it, then it is given up.
fn replica(binary: &Path, disk: &SmallDisk) -> Result<Vec<String>, String> {
    let one = Broker::start(binary, &disk.folder().join("one"), &PAIR_SETS)?;
    let primary = format!("primary=127.0.0.1:{}", one.control_port + 12);
    let sets = [&PAIR_SETS[..], &["role=standby", &primary]].concat();
    let two = Broker::start(binary, &disk.folder().join("two"), &sets)?;
    let told = Stage::new(binary, &one, disk).and_then(|mut stage| stage.replica(&two));
    let ended = [stop(one), stop(two)];
    let told = told?;
    ended.into_iter().collect::<Result<(), String>>()?;
    Ok(told)
}

fn stop(broker: Broker) -> Result<(), String> {
    let status = broker.stop()?;
    if status.success() { Ok(()) } else { Err(format!("remarks: weir ended with {status}")) }
}

struct Stage<'a> {
    binary: &'a Path,
    namesrv: String,
    control: String,
    process: Process,
}

impl Stage<'_> {
    /// A client of this broker.
    fn new<'a>(binary: &'a Path, broker: &Broker, disk: &SmallDisk) -> Result<Stage<'a>, String> {
        let java = CLIENTS[0];
        let namesrv = format!("127.0.0.1:{}", broker.namesrv_port);
        let home = disk.folder().join(format!("home-{}", broker.control_port));
        std::fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
        let task = Task { namesrv: &namesrv, prefix: "p", feature: "remarks", journal: None };
        let errors = home.join("java.err");
        let process = Process::start(java.command(task, &home)?, java.name, &errors)?;
        process.wait_for("REMARKS ready", Duration::from_secs(60))?;
        let control = format!("127.0.0.1:{}", broker.control_port);
        Ok(Stage { binary, namesrv, control, process })
    }

    /// Every scene, one after the other; what was told in each.
    fn all(&mut self, disk: &SmallDisk) -> Result<Vec<String>, String> {
        let mut told = self.device(disk)?;
        told.extend(self.overload(disk)?);
        told.extend(self.memory(disk)?);
        told.extend(self.disk(disk)?);
        told.extend(self.quota()?);
        Ok(told)
    }

    /// A device that takes nothing: no room, then stalled.
    fn device(&mut self, disk: &SmallDisk) -> Result<Vec<String>, String> {
        self.topic("device", 4, None)?;
        expect(&self.burst("device", 1, 100)?, &["SEND_OK"])?;
        let frozen = disk.freeze()?;
        let full = self.burst("device", 1600, 16_384)?;
        let mut told = expect(&full, &["2 [PC_SYNCHRONIZED]broker busy", "reason: device"])?;
        std::thread::sleep(Duration::from_millis(1200));
        let stalled = self.burst("device", 1, 16_384)?;
        told.extend(expect(&stalled, &["2 [REJECTREQUEST]system busy", "osPageCacheBusyTimeOut"])?);
        drop(frozen);
        self.until_sent("device")?;
        Ok(told)
    }

    /// Too many sends that wait for the device; those that are stored are told so in time.
    fn overload(&mut self, disk: &SmallDisk) -> Result<Vec<String>, String> {
        self.topic("sync", 4, Some("flush.disk.type=SYNC_FLUSH"))?;
        expect(&self.burst("sync", 1, 100)?, &["SEND_OK"])?;
        self.set("sendThreadPoolQueueCapacity", "8")?;
        self.set("syncFlushTimeout", "2000")?;
        let frozen = disk.freeze()?;
        let answers = self.burst("sync", 20, 100)?;
        let mut told =
            expect(&answers, &["2 [OVERLOAD]system busy", "limit: 8, change: sendThread"])?;
        told.extend(expect(&answers, &["8 FLUSH_DISK_TIMEOUT"])?);
        drop(frozen);
        self.set("sendThreadPoolQueueCapacity", "10000")?;
        self.until_sent("sync")?;
        Ok(told)
    }

    /// More queues with a message than there is memory for, while none can be written out.
    fn memory(&mut self, disk: &SmallDisk) -> Result<Vec<String>, String> {
        let topics: Vec<String> = (0..MANY).map(|n| format!("many-{n}")).collect();
        for topic in &topics {
            self.topic(topic, 1000, None)?;
            expect(&self.burst(topic, 1, 10)?, &["SEND_OK"])?;
        }
        // Full chunks, so that the consume queue file has grown: growing it is a call that waits.
        self.burst("device", 1000, 10)?;
        std::thread::sleep(Duration::from_millis(500));
        self.set("osPageCacheBusyTimeOutMills", "60000")?;
        let frozen = disk.freeze()?;
        let mut answers = Vec::new();
        for topic in &topics {
            answers = self.burst(topic, 1000, 10)?;
        }
        let told = expect(&answers, &["2 [PC_SYNCHRONIZED]broker busy", "reason: memory"])?;
        drop(frozen);
        self.set("osPageCacheBusyTimeOutMills", "1000")?;
        self.until_sent("many-0")?;
        Ok(told)
    }

    /// No space left; sends are taken again when there is some.
    fn disk(&mut self, disk: &SmallDisk) -> Result<Vec<String>, String> {
        let ballast = disk.mount().join("ballast");
        let free = disk.free_bytes()?.saturating_sub(1024 * 1024).to_string();
        toolbox::run(Command::new("fallocate").args(["--length", &free]).arg(&ballast))?;
        std::thread::sleep(Duration::from_millis(500));
        let answers = self.burst("device", 1, 100)?;
        let told = expect(&answers, &["14 service not available now.", "reason: disk"])?;
        std::fs::remove_file(&ballast).map_err(|error| format!("ballast: {error}"))?;
        self.until_sent("device")?;
        Ok(told)
    }

    /// A topic over its own quota; another one is not concerned.
    fn quota(&mut self) -> Result<Vec<String>, String> {
        self.topic("chatty", 4, Some("quota.messages.per.second=5"))?;
        let answers = self.burst("chatty", 20, 100)?;
        let told =
            expect(&answers, &["215 [TOPIC_QUOTA]topic[chatty]", "limit: 5 (quota.messages"])?;
        expect(&self.burst("device", 20, 100)?, &["20 SEND_OK"])?;
        Ok(told)
    }

    /// Nothing comes from the standby; those that are stored are told so in time.
    fn replica(&mut self, standby: &Broker) -> Result<Vec<String>, String> {
        self.until_in_sync()?;
        self.topic("pair", 4, None)?;
        expect(&self.burst("pair", 1, 100)?, &["SEND_OK"])?;
        standby.signal("STOP");
        let answers = self.burst("pair", 20, 100);
        let refused = self.burst("pair", 1, 100);
        standby.signal("CONT");
        let answers = answers?;
        let mut told =
            expect(&answers, &["2 [OVERLOAD]system busy", "reason: replica", "limit: 8"])?;
        told.extend(expect(&answers, &["8 FLUSH_SLAVE_TIMEOUT"])?);
        told.extend(expect(&refused?, &["1 in-sync replicas not enough", "reason: replica"])?);
        self.until_in_sync()?;
        self.until_sent("pair")?;
        Ok(told)
    }

    fn until_in_sync(&self) -> Result<(), String> {
        let deadline = Instant::now() + BURST_WITHIN;
        loop {
            let mut command = Command::new(self.binary);
            command.args(["status", "--json", "--control", &self.control]);
            let out = command.output().map_err(|error| error.to_string())?;
            let said = String::from_utf8_lossy(&out.stdout).into_owned();
            if said.contains("\"standing\":\"in sync\"") {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("the standby is not in step: {said}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn topic(&self, name: &str, queues: u32, attribute: Option<&str>) -> Result<(), String> {
        let mut command = Command::new(self.binary);
        command.args(["topic", "create", name, "--queues", &queues.to_string()]);
        command.args(["--namesrv", &self.namesrv]);
        if let Some(attribute) = attribute {
            command.args(["--attribute", attribute]);
        }
        toolbox::run(&mut command)
    }

    fn set(&self, key: &str, value: &str) -> Result<(), String> {
        let words = ["config", "set", key, value, "--control", &self.control];
        toolbox::run(Command::new(self.binary).args(words))
    }

    /// Sends asynchronously; the lines of what came back.
    fn burst(&mut self, topic: &str, count: u32, bytes: u32) -> Result<Vec<String>, String> {
        self.process.say(&format!("burst {topic} {count} {bytes}"))?;
        let deadline = Instant::now() + BURST_WITHIN;
        let mut answers = Vec::new();
        loop {
            match self.process.line(deadline)? {
                Some(line) if line == "DONE" => return Ok(answers),
                Some(line) => answers.extend(line.strip_prefix("ANSWER ").map(str::to_owned)),
                None => return Err(format!("the client ended\n{}", self.process.complaints())),
            }
        }
    }

    /// The cause is gone: sends must be taken again by themselves.
    fn until_sent(&mut self, topic: &str) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let answers = self.burst(topic, 1, 100)?;
            if answers.iter().any(|line| line.contains("SEND_OK")) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{topic}: still refused: {}", answers.join(", ")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The first line that has all the words.
fn expect(answers: &[String], words: &[&str]) -> Result<Vec<String>, String> {
    let found = answers.iter().find(|line| words.iter().all(|word| line.contains(word)));
    match found {
        Some(line) => Ok(vec![line.clone()]),
        None => Err(format!("expected {words:?}, the client was told:\n{}", answers.join("\n"))),
    }
}
