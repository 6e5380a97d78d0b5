//! The installed service on its machine: units, configuration, load, and what was counted.
//!
//! A proof changes the unit by a drop-in and takes it back; between two proofs the service runs as
//! shipped. Every acknowledged message is remembered and must be read back.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::check::GAP_MAX_MS;
use super::machine::{Groups, Machine};
use crate::small_disk::SmallDisk;
use crate::toolbox;

/// Shard 0's port.
pub(super) const PORT: u16 = 10911;
/// A disk of its own, so that it can be frozen.
const DISK_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// The topic of the load.
pub(super) const TOPIC: &str = "load";
const DROP_IN: &str = "/etc/systemd/system/weir.service.d/proof.conf";
const CONFIG: &str = "shards = 2\nflushDiskType = \"ASYNC_FLUSH\"\n\
                      mappedFileSizeCommitLog = \"64MiB\"\nmaxMessageSize = \"256KiB\"\n\
                      brokerIP1 = \"127.0.0.1\"\n";
const PATIENCE: Duration = Duration::from_secs(30);

/// What was counted over all load.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) restarts: u32,
    pub(super) acknowledged: usize,
    pub(super) lost: usize,
    pub(super) refused: u64,
    pub(super) gap_ms: u64,
}

/// The machine with weir installed.
pub(super) struct Rig {
    // First: what is mounted in it must go before the disk.
    pub(super) machine: Machine,
    pub(super) disk: SmallDisk,
    pub(super) binary: PathBuf,
    loads: u32,
    figures: Figures,
    found: BTreeSet<String>,
}

/// A running load.
pub(super) struct Load {
    child: Child,
    keys: PathBuf,
}

/// What a load saw.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) gap_ms: u64,
    pub(super) ended: u64,
    pub(super) acknowledged: usize,
}

impl Rig {
    /// Boots the machine and installs what `systemd/` ships, as docs/service.md says.
    pub(super) fn install(binary: &Path, groups: Groups) -> Result<Rig, String> {
        let name = if groups == Groups::First { "limits" } else { "service" };
        let disk = SmallDisk::new(name, DISK_BYTES)?;
        let machine = Machine::boot(disk.mount(), groups)?;
        let rig = Rig {
            machine,
            disk,
            binary: binary.to_owned(),
            loads: 0,
            figures: Figures::default(),
            found: BTreeSet::new(),
        };
        let shipped = toolbox::root().join("systemd");
        for entry in fs::read_dir(&shipped).map_err(|error| error.to_string())?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let place = match name.rsplit_once('.') {
                Some((_, "service" | "socket")) => format!("/etc/systemd/system/{name}"),
                Some((stem, "sysusers")) => format!("/usr/lib/sysusers.d/{stem}.conf"),
                Some((stem, "tmpfiles")) => format!("/usr/lib/tmpfiles.d/{stem}.conf"),
                _ => return Err(format!("systemd/{name} has no place")),
            };
            let text = fs::read(entry.path()).map_err(|error| error.to_string())?;
            rig.machine.write(&place, text)?;
        }
        rig.put_binary()?;
        rig.machine.write("/etc/weir/weir.toml", CONFIG)?;
        rig.say(&["systemd-sysusers", "weir.conf"])?;
        rig.say(&["systemd-tmpfiles", "--create", "weir.conf"])?;
        rig.say(&["systemctl", "daemon-reload"])?;
        // Also so that systemd remembers how it ended: it forgets units that nobody wants.
        rig.say(&["systemctl", "enable", "weir.service"])?;
        Ok(rig)
    }

    /// Puts a copy of the binary where the unit has it, as a package does: beside, then renamed.
    pub(super) fn put_binary(&self) -> Result<(), String> {
        let place = self.machine.path("/usr/bin/weir.new");
        fs::copy(&self.binary, &place).map_err(|error| format!("{}: {error}", place.display()))?;
        self.say(&["mv", "/usr/bin/weir.new", "/usr/bin/weir"]).map(drop)
    }

    pub(super) fn say(&self, words: &[&str]) -> Result<String, String> {
        self.machine.say(words)
    }

    pub(super) fn property(&self, name: &str) -> Result<String, String> {
        self.machine.property(name)
    }

    /// Lines of the service's journal since it was last read to its end by [`Rig::mark`].
    pub(super) fn journal(&self, mark: &str) -> Result<String, String> {
        let after = format!("--after-cursor={mark}");
        self.say(&["journalctl", "--no-pager", "-o", "cat", "-u", "weir.service", &after])
    }

    /// A mark at the journal's end.
    pub(super) fn mark(&self) -> Result<String, String> {
        // A line of our own, so that there is one.
        self.say(&["systemd-cat", "echo", "mark"])?;
        self.say(&["journalctl", "--sync"])?;
        let last = self.say(&["journalctl", "--no-pager", "-n", "1", "--show-cursor"])?;
        let cursor = last.lines().rev().find_map(|line| line.strip_prefix("-- cursor: "));
        cursor.map(str::to_owned).ok_or_else(|| format!("journalctl said {last}"))
    }

    /// The journal's last lines, for a failure.
    pub(super) fn journal_end(&self) -> String {
        let words = ["journalctl", "--no-pager", "-n", "60", "-u", "weir.service"];
        let (status, properties) =
            (["systemctl", "status", "weir.service"], ["cat", "/etc/weir/weir.toml"]);
        let all = [self.say(&words), self.say(&status), self.say(&properties)];
        all.map(|said| said.unwrap_or_else(|why| why)).join("\n")
    }

    /// Puts a drop-in over the unit; an empty text takes it away.
    pub(super) fn drop_in(&self, text: &str) -> Result<(), String> {
        match text {
            "" => drop(self.say(&["rm", "-f", DROP_IN])?),
            text => self.machine.write(DROP_IN, format!("[Service]\n{text}\n"))?,
        }
        self.say(&["systemctl", "daemon-reload"]).map(drop)
    }

    /// Waits until `property` is as wanted.
    pub(super) fn wait_for(
        &self,
        property: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String, String> {
        let deadline = Instant::now() + PATIENCE;
        let mut value = String::new();
        while Instant::now() < deadline {
            value = self.property(property)?;
            if wanted(&value) {
                return Ok(value);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("{property} stayed {value:?} for {PATIENCE:?}"))
    }

    /// The process id of the service on this machine.
    pub(super) fn outer_pid(&self) -> Result<u32, String> {
        self.machine.outer_pid(&self.property("MainPID")?)
    }

    /// Starts producers at shard 0.
    pub(super) fn load(&mut self) -> Result<Load, String> {
        self.loads += 1;
        let keys = self.disk.folder().join(format!("keys-{}", self.loads));
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = self.machine.in_network(&own);
        command.args(["service-load", "--topic", TOPIC, "--addr", &format!("127.0.0.1:{PORT}")]);
        command.arg("--keys").arg(&keys).stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        Ok(Load { child, keys })
    }

    /// As [`Rig::end_load`], after a kill on a device that took nothing: the time to the next
    /// acknowledgement is the device's too, and is told, not judged.
    pub(super) fn end_frozen_load(&mut self, load: Load) -> Result<Seen, String> {
        let before = self.figures;
        let seen = self.count_load(load, 1)?;
        self.figures.gap_ms = before.gap_ms;
        Ok(seen)
    }

    /// Ends a load, adds what it saw to the figures, and reads every acknowledged message back.
    /// Refused connections, answers that were errors and lost messages are failures.
    pub(super) fn end_load(&mut self, load: Load, restarts: u32) -> Result<Seen, String> {
        let seen = self.count_load(load, restarts)?;
        match seen.gap_ms > GAP_MAX_MS {
            true => Err(format!("a producer waited longer than {GAP_MAX_MS} ms: {seen:?}")),
            false => Ok(seen),
        }
    }

    fn count_load(&mut self, load: Load, restarts: u32) -> Result<Seen, String> {
        let Load { mut child, keys } = load;
        drop(child.stdin.take());
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let seen: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| format!("{error}: {text:?}"))?;
        let number = |name: &str| seen[name].as_u64().unwrap_or(u64::MAX);
        let keys = fs::read_to_string(&keys).map_err(|error| error.to_string())?;
        let keys: BTreeSet<&str> = keys.lines().collect();
        self.read_on()?;
        let lost = keys.iter().filter(|key| !self.found.contains(**key)).count();
        let figures = &mut self.figures;
        figures.restarts += restarts;
        figures.acknowledged += keys.len();
        figures.lost += lost;
        figures.refused += number("refused");
        figures.gap_ms = figures.gap_ms.max(number("gapMs"));
        if lost > 0
            || number("refused") > 0
            || seen["errors"].as_array().is_none_or(|e| !e.is_empty())
        {
            return Err(format!("{lost} of {} messages lost; the load saw {text}", keys.len()));
        }
        let acknowledged = keys.len();
        Ok(Seen { gap_ms: number("gapMs"), ended: number("ended"), acknowledged })
    }

    /// Reads what is new in the load's topic.
    fn read_on(&mut self) -> Result<(), String> {
        let text = self.weir(&["consume", TOPIC, "--group", "rig", "--json"])?;
        let body = |row: &str| Some(row.split_once("\"body\":\"")?.1.split('"').next()?.to_owned());
        self.found.extend(text.lines().filter_map(body));
        Ok(())
    }

    /// The command line of the installed weir.
    pub(super) fn weir(&self, words: &[&str]) -> Result<String, String> {
        let mut all = vec!["/usr/bin/weir"];
        all.extend_from_slice(words);
        self.say(&all)
    }

    /// Ends a load over a stop of the service: its connections must have been refused meanwhile,
    /// or the load sees no refusals. Nothing else of it counts but that what was acknowledged is
    /// there.
    pub(super) fn end_refused_load(&mut self, load: Load) -> Result<(), String> {
        let Load { mut child, keys } = load;
        drop(child.stdin.take());
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        let seen: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if seen["refused"].as_u64().is_none_or(|count| count == 0) {
            return Err(format!("nobody was refused while the service was stopped: {seen}"));
        }
        let keys = fs::read_to_string(&keys).map_err(|error| error.to_string())?;
        self.read_on()?;
        let lost = keys.lines().filter(|key| !self.found.contains(*key)).count();
        if lost == 0 { Ok(()) } else { Err(format!("{lost} acknowledged messages are lost")) }
    }

    pub(super) fn figures(&self) -> Figures {
        self.figures
    }

    /// Ends the machine.
    pub(super) fn shut_down(self) -> Result<(), String> {
        let Rig { machine, disk, .. } = self;
        let outcome = machine.shut_down();
        drop(disk);
        outcome
    }
}

/// Stops one thread of a process for good, by a debugger's means, and holds it until it dies.
pub(super) fn freeze(thread: u32) -> Result<Child, String> {
    // SEIZE and INTERRUPT stop one thread, where SIGSTOP would stop all; the second wait reaps it.
    let script = "import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
tid = int(sys.argv[1])
for request in (0x4206, 0x4207):
    if libc.ptrace(request, tid, None, None) != 0:
        sys.exit('ptrace: ' + os.strerror(ctypes.get_errno()))
os.waitpid(tid, 0x40000000)
print('frozen', flush=True)
os.waitpid(tid, 0x40000000)
";
    let mut command = Command::new("python3");
    command.args(["-c", script, &thread.to_string()]).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("python3: {error}"))?;
    let mut word = [0; 6];
    let read = child.stdout.as_mut().map(|out| std::io::Read::read_exact(out, &mut word));
    match read {
        Some(Ok(())) if &word == b"frozen" => Ok(child),
        other => {
            let _ = child.kill();
            let _ = child.wait();
            Err(format!("thread {thread} could not be frozen: {other:?}"))
        }
    }
}

/// Has one thread of a process do nothing but turn in place, by a debugger's means: it goes on at
/// an instruction of its own program that jumps to itself. Nothing of its memory is changed.
pub(super) fn spin(process: u32, thread: u32) -> Result<(), String> {
    if !cfg!(target_arch = "x86_64") {
        return Err("a thread can be made to spin on x86-64 only".into());
    }
    let script = "import ctypes, os, re, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
process, tid = sys.argv[1], int(sys.argv[2])
place = None
for line in open(f'/proc/{process}/maps'):
    found = re.match(r'([0-9a-f]+)-([0-9a-f]+) r-xp', line)
    if found and place is None:
        start, end = (int(number, 16) for number in found.groups())
        with open(f'/proc/{process}/mem', 'rb') as memory:
            memory.seek(start)
            at = memory.read(end - start).find(b'\\xeb\\xfe')
        place = start + at if at >= 0 else None
if place is None:
    sys.exit('no instruction that jumps to itself')
def ask(request, address, data):
    if libc.ptrace(request, tid, address, data) != 0:
        sys.exit('ptrace: ' + os.strerror(ctypes.get_errno()))
ask(0x4206, None, None)
ask(0x4207, None, None)
os.waitpid(tid, 0x40000000)
registers = (ctypes.c_ulonglong * 27)()
ask(12, None, registers)
registers[15], registers[16] = 2 ** 64 - 1, place
ask(13, None, registers)
ask(17, None, None)
";
    let mut command = Command::new("python3");
    command.args(["-c", script, &process.to_string(), &thread.to_string()]);
    let output = command.output().map_err(|error| format!("python3: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("thread {thread} could not be made to spin: {said}"))
}

/// Time that a thread was on a processor, clock ticks.
pub(super) fn ticks(process: u32, thread: u32) -> Result<u64, String> {
    let path = format!("/proc/{process}/task/{thread}/stat");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let user = text.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(11));
    user.and_then(|user| user.parse().ok()).ok_or_else(|| format!("{path}: {text}"))
}

/// The thread of a process that has this name.
pub(super) fn thread(pid: u32, name: &str) -> Result<u32, String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| error.to_string())?;
    let named = |task: &fs::DirEntry| {
        fs::read_to_string(task.path().join("comm")).is_ok_and(|found| found.trim() == name)
    };
    let found = tasks.flatten().find(named);
    let number = found.and_then(|task| task.file_name().to_string_lossy().parse().ok());
    number.ok_or_else(|| format!("process {pid} has no thread {name}"))
}
