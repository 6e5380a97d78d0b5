//! A machine of its own for the service: a real systemd as process 1 of new namespaces.
//!
//! It uses this machine's /usr below an overlay, has a root, network and control group of its own,
//! and its data on a real file system. It needs root, and nothing is downloaded. Dropping it kills
//! its process 1, with which all of it ends, and removes its folders. Settings of the kernel are
//! compared before and after: a rig that changes its host's is a defect.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::toolbox;

/// Enters the groups given from $5 on, then makes the namespaces.
const ENTER: &str = "for group in \"${@:5}\"; do
  echo $BASHPID > \"$group/cgroup.procs\" || exit 1
done
exec unshare --mount --pid --net --uts --ipc --cgroup --fork --kill-child \\
  bash \"$1\" \"$2\" \"$3\" \"$4\"";
const PATIENCE: Duration = Duration::from_secs(60);
/// Nanoseconds tick, and pids, files and memory in use move by themselves.
const MOVING: &[&str] = &[
    "fs.dentry-state",
    "fs.file-nr",
    "fs.inode-nr",
    "fs.inode-state",
    "fs.aio-nr",
    "fs.quota",
    "kernel.ns_last_pid",
    "kernel.pty.nr",
    "kernel.random",
    "kernel.threads-max",
    "kernel.perf_event_max_sample_rate",
    "kernel.sched_",
    "kernel.tainted",
    "vm.stat_refresh",
    "net.",
    "user.",
];

/// Which control groups its systemd uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Groups {
    /// Version 2, as every systemd of today. Where the memory controller belongs to version 1, a
    /// limit of a unit on memory does nothing.
    Unified,
    /// Version 1, so that systemd itself sets the limit there.
    First,
}

/// The running machine.
#[derive(Debug)]
pub(super) struct Machine {
    folder: PathBuf,
    group: PathBuf,
    /// Its group of the first version's memory controller, where that one is bound.
    memory: Option<PathBuf>,
    /// Its group for a systemd that uses the first version.
    named: Option<PathBuf>,
    outer: Child,
    /// Process 1 of the machine, as this machine numbers it.
    pub(super) init: u32,
    settings: Vec<String>,
}

impl Machine {
    /// Boots it, with `lib` as its /var/lib. The error says what was missing.
    pub(super) fn boot(lib: &Path, groups: Groups) -> Result<Machine, String> {
        let name = format!("weir-service-{}-{groups:?}", std::process::id()).to_lowercase();
        let folder = toolbox::target().join("xtask").join(&name);
        let settings = kernel_settings()?;
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let script = folder.join("boot.sh");
        fs::write(&script, include_str!("boot.sh")).map_err(|error| error.to_string())?;
        let group = groups_root()?.join(&name);
        fs::create_dir(&group).map_err(|error| {
            format!("{}: {error}; booting systemd needs root and cgroup2", group.display())
        })?;
        let said = fs::File::create(folder.join("boot.err")).map_err(|error| error.to_string())?;
        let memory = first_memory().map(|root| root.join(&name));
        if let Some(memory) = &memory {
            fs::create_dir(memory).map_err(|error| format!("{}: {error}", memory.display()))?;
        }
        let named = match groups {
            Groups::Unified => None,
            Groups::First => Some(named_root()?.join(&name)),
        };
        if let Some(named) = &named {
            fs::create_dir(named).map_err(|error| format!("{}: {error}", named.display()))?;
        }
        // The groups must be entered before their namespace is made.
        let outer = Command::new("bash")
            .args(["-c", ENTER, "boot"])
            .args([script.as_path(), &folder, lib])
            .arg(if groups == Groups::First { "first" } else { "unified" })
            .arg(&group)
            .args(memory.iter().chain(&named))
            .stdin(Stdio::null())
            .stderr(said)
            .spawn()
            .map_err(|error| format!("bash: {error}"))?;
        let mut machine = Machine { folder, group, memory, named, outer, init: 0, settings };
        machine.wait_running()?;
        Ok(machine)
    }

    fn wait_running(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = String::new();
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.outer.try_wait() {
                let said = fs::read_to_string(self.folder.join("boot.err")).unwrap_or_default();
                return Err(format!("process 1 ended while booting: {status}: {said}"));
            }
            if self.init == 0 {
                self.init = only_child(self.outer.id()).unwrap_or(0);
            } else if let Ok(output) = self.inside(&["systemctl", "is-system-running"]).output() {
                state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                if state == "running" {
                    return Ok(());
                }
                if state == "degraded" {
                    let failed = self.say(&["systemctl", "list-units", "--failed"])?;
                    return Err(format!("systemd is degraded:\n{failed}"));
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!("systemd is not running after {PATIENCE:?}: {state:?}"))
    }

    /// A command inside of it.
    pub(super) fn inside(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.init.to_string(), "-a", "-r", "-w", "--"]);
        command.args(["env", "-i", "PATH=/usr/sbin:/usr/bin", "LC_ALL=C.UTF-8"]).args(words);
        command.stdin(Stdio::null());
        command
    }

    /// A command of this machine, in the other's network.
    pub(super) fn in_network(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.init.to_string(), "-n", "--"]).arg(program);
        command
    }

    /// Runs a command inside and gives what it said; failure is an error with both outputs.
    pub(super) fn say(&self, words: &[&str]) -> Result<String, String> {
        let output = self.inside(words).output().map_err(|error| format!("{words:?}: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() {
            return Ok(said);
        }
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let short: String = format!("{words:?}").chars().take(200).collect();
        let said: String = said.chars().take(2000).collect();
        Err(format!("{short}: {} {said} {why}", output.status))
    }

    /// Where `path` of the machine is seen from here.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// Writes a file inside.
    pub(super) fn write(&self, path: &str, text: impl AsRef<[u8]>) -> Result<(), String> {
        let place = self.path(path);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent).map_err(|error| format!("{path}: {error}"))?;
        }
        fs::write(&place, text).map_err(|error| format!("{path}: {error}"))
    }

    /// One property of the service.
    pub(super) fn property(&self, name: &str) -> Result<String, String> {
        self.say(&["systemctl", "show", "weir.service", "--value", "-p", name])
    }

    /// The number, here, of a process that the machine knows by another.
    pub(super) fn outer_pid(&self, inner: &str) -> Result<u32, String> {
        let entries = fs::read_dir("/proc").map_err(|error| error.to_string())?;
        for entry in entries.flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            let inmost = numbers.and_then(|line| line.split_whitespace().last());
            let same = |kind| {
                let of = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
                of(pid).is_some() && of(pid) == of(self.init)
            };
            if inmost == Some(inner) && same("pid") {
                return Ok(pid);
            }
        }
        Err(format!("the machine has no process {inner}"))
    }

    /// Whether the unit's own limit on memory does nothing, because version 1 has the controller.
    pub(super) fn leaves_memory_to_first(&self) -> bool {
        self.memory.is_some() && self.named.is_none()
    }

    /// The most memory that the service's group ever used, bytes, and how often a process of it was
    /// killed for that.
    pub(super) fn memory_peak(&self) -> Result<(u64, u64), String> {
        let peak = self.of_memory("memory.max_usage_in_bytes", "memory.peak")?;
        let bytes = peak.parse().map_err(|_| format!("memory.peak is {peak:?}"))?;
        let text = self.of_memory("memory.oom_control", "memory.events")?;
        let killed = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok());
        Ok((bytes, killed.ok_or_else(|| format!("no oom_kill in {text:?}"))?))
    }

    /// The limit on memory that systemd set, bytes; `u64::MAX`: none.
    pub(super) fn memory_in_force(&self) -> Result<u64, String> {
        let text = self.of_memory("memory.limit_in_bytes", "memory.max")?;
        Ok(text.parse().unwrap_or(u64::MAX))
    }

    /// A file of the service's group, as version 1 or version 2 calls it.
    fn of_memory(&self, first: &str, second: &str) -> Result<String, String> {
        let group = self.property("ControlGroup")?;
        self.say(&[
            "cat",
            &match self.named {
                Some(_) => format!("/sys/fs/cgroup/memory{group}/{first}"),
                None => format!("/sys/fs/cgroup{group}/{second}"),
            },
        ])
    }

    /// Limits the memory of the service, or of the whole machine; `u64::MAX` takes that back. Gives
    /// the lines that the unit needs for it.
    pub(super) fn limit_memory(&self, bytes: u64) -> Result<String, String> {
        let Some(group) = &self.memory else {
            return Ok(if bytes == u64::MAX {
                String::new()
            } else {
                format!("MemoryMax={bytes}")
            });
        };
        let text = if bytes == u64::MAX { "-1".to_owned() } else { bytes.to_string() };
        let file = group.join("memory.limit_in_bytes");
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok("# the group of the whole machine is limited".to_owned())
    }

    /// Ends it, and checks that this machine's settings are as before.
    pub(super) fn shut_down(mut self) -> Result<(), String> {
        self.end();
        let after = kernel_settings()?;
        let changed: Vec<&String> =
            after.iter().filter(|line| !self.settings.contains(*line)).collect();
        match changed.is_empty() {
            true => Ok(()),
            false => Err(format!("the machine changed settings of its host: {changed:?}")),
        }
    }

    fn end(&mut self) {
        // A TERM to `unshare` would leave process 1 running.
        if self.init != 0 {
            let _ = Command::new("kill").args(["-9", &self.init.to_string()]).status();
            self.init = 0;
        }
        let _ = self.outer.wait();
        let deadline = Instant::now() + Duration::from_secs(5);
        let groups: Vec<PathBuf> =
            [&self.group].into_iter().chain(&self.memory).chain(&self.named).cloned().collect();
        while groups.iter().any(|group| group.exists()) && Instant::now() < deadline {
            groups.iter().for_each(|group| remove_groups(group));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.end();
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("service: {}: {error}", self.folder.display());
        }
    }
}

/// Where version 2 of control groups is mounted.
fn groups_root() -> Result<PathBuf, String> {
    let mounts = fs::read_to_string("/proc/self/mounts").map_err(|error| error.to_string())?;
    let found = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (place, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(place))
    });
    found.ok_or_else(|| "no cgroup2 is mounted: systemd cannot be booted here".to_owned())
}

/// Where the first version's memory controller is mounted, if it is bound there.
fn first_memory() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, place, "cgroup", options, ..] = words[..] else { return None };
        options.split(',').any(|name| name == "memory").then(|| PathBuf::from(place))
    })
}

/// Where the first version's tree without a controller is mounted, which systemd used.
fn named_root() -> Result<PathBuf, String> {
    let place = PathBuf::from("/sys/fs/cgroup/systemd");
    match place.join("cgroup.procs").exists() {
        true => Ok(place),
        false => Err(format!(
            "{}: the memory controller is of version 1, and there is no tree of systemd's beside \
             it (mount -t cgroup -o none,name=systemd)",
            place.display()
        )),
    }
}

fn remove_groups(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_groups(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

fn only_child(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Every setting of the kernel that does not move by itself.
fn kernel_settings() -> Result<Vec<String>, String> {
    let output = Command::new("sysctl").arg("-a").stderr(Stdio::null()).output();
    let output = output.map_err(|error| format!("sysctl: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let still = |line: &&str| !MOVING.iter().any(|name| line.starts_with(name));
    Ok(text.lines().filter(still).map(str::to_owned).collect())
}
