//! What the unit allows weir: memory, open files, locked memory. One function per limit.
//!
//! Each begins and ends with the shipped unit running. `MemoryMax=` is systemd's to set: where the
//! kernel's memory controller belongs to control groups of version 1, a second machine is booted
//! whose systemd uses those. Never: a limit set behind systemd's back.

use std::time::{Duration, Instant};

use super::machine::Groups;
use super::refusals::{back, refused};
use super::rig::{PORT, Rig, TOPIC};

type Said = Result<String, String>;

const MIB: u64 = 1024 * 1024;
/// The unit's limit: above what two shards need at least, below what they would take.
const LIMIT: u64 = 448 * MIB;
/// How long the small sends go on that come after the large ones.
const LOAD: Duration = Duration::from_secs(3);
/// Large messages of one producer, and producers.
const LARGE: (u64, usize) = (300, 4);
const LARGE_BYTES: usize = 200 * 1024;
/// Large messages of one command.
const BATCH: u64 = 10;
/// How long a batch may be refused.
const PATIENCE: Duration = Duration::from_secs(60);
/// A limit on open files, what it leaves a shard, and how many connections are tried.
const FILES: (u64, usize, usize) = (512, 112, 130);

/// Under a small `MemoryMax=` weir plans with less, says so, serves a load and stays below.
pub(super) fn memory_max(rig: &mut Rig) -> Said {
    if !rig.machine.leaves_memory_to_first() {
        return under_limit(rig);
    }
    let mut other = Rig::install(&rig.binary, Groups::First)?;
    let outcome = begin(&mut other).and_then(|()| under_limit(&mut other));
    let outcome = outcome.map_err(|why| format!("{why}\nits journal:\n{}", other.journal_end()));
    other.shut_down()?;
    outcome
}

fn begin(rig: &mut Rig) -> Result<(), String> {
    rig.say(&["systemctl", "start", "weir.service"])?;
    rig.weir(&["topic", "create", TOPIC, "--queues", "4"]).map(drop)
}

fn under_limit(rig: &mut Rig) -> Said {
    let mark = rig.mark()?;
    // Stopped, not restarted: staging memory that is kept counts where it was first touched.
    rig.say(&["systemctl", "stop", "weir.service"])?;
    rig.drop_in(&format!("MemoryMax={LIMIT}"))?;
    rig.say(&["systemctl", "start", "weir.service"])?;
    let in_force = rig.machine.memory_in_force()?;
    if in_force != LIMIT {
        return Err(format!("systemd set a limit of {in_force} bytes, not {LIMIT}"));
    }
    let said = rig.journal(&mark)?;
    if !said.contains("memoryMax 392.0 MiB for 2 shard(s)") {
        return Err(format!("of 448 MiB seven eighths were not what it planned with: {said}"));
    }
    let before = rig.property("NRestarts")?;
    large(rig)?;
    let load = rig.load()?;
    std::thread::sleep(LOAD);
    let seen = rig.end_load(load, 0)?;
    let (peak, kills) = rig.machine.memory_peak()?;
    let resident = resident(rig.outer_pid()?)?;
    // The kernel counts both in batches, a little apart; another group's peak would be far off.
    if peak < resident / 2 {
        return Err(format!("a peak of {peak} bytes, and {resident} are resident: other groups"));
    }
    if kills > 0 || rig.property("NRestarts")? != before || peak >= LIMIT {
        return Err(format!("{kills} kills, peak {peak} bytes of {LIMIT}"));
    }
    rig.drop_in("")?;
    rig.say(&["systemctl", "restart", "weir.service"])?;
    Ok(format!(
        "planned with 392 MiB of 448; {} small and at least {} large messages acknowledged, 0 \
         kills, memory.peak {} MiB, resident at the end {}",
        seen.acknowledged,
        LARGE.0 * LARGE.1 as u64,
        peak / MIB,
        resident / MIB
    ))
}

/// Memory of a process that its group is charged for, bytes: the program's own pages are not.
fn resident(pid: u32) -> Result<u64, String> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let part = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| format!("{path} has no {name}"))
    };
    Ok(part("RssAnon:")? + part("RssShmem:")?)
}

/// Large messages from several producers at once, faster than a slow disk takes them: each batch is
/// sent again as long as the broker says that it is busy, and is taken in the end.
fn large(rig: &Rig) -> Result<(), String> {
    rig.machine.write("/tmp/large", vec![b'x'; LARGE_BYTES])?;
    std::thread::scope(|scope| {
        let producers: Vec<_> = (0..LARGE.1).map(|_| scope.spawn(|| batches(rig))).collect();
        let died = |_| Err("a producer died".to_owned());
        producers.into_iter().try_for_each(|one| one.join().unwrap_or_else(died))
    })
}

fn batches(rig: &Rig) -> Result<(), String> {
    let (until, count) = (Instant::now() + PATIENCE, BATCH.to_string());
    let mut left = LARGE.0 / BATCH;
    while left > 0 {
        let words = ["produce", "large", "--file", "/tmp/large", "--count", &count];
        match rig.weir(&words) {
            Ok(_) => left -= 1,
            Err(why) if why.contains("flow control") && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(why) => return Err(why),
        }
    }
    Ok(())
}

/// A low limit on open files: fewer connections, in words; with next to none the start is refused.
pub(super) fn nofile(rig: &mut Rig) -> Said {
    let (limit, connections, tried) = FILES;
    let mark = rig.mark()?;
    rig.drop_in(&format!("LimitNOFILE={limit}"))?;
    rig.say(&["systemctl", "restart", "weir.service"])?;
    let told = format!("the limit on open files is {limit}: at most {connections} connections");
    let crowd = crowd(rig, tried)?;
    rig.weir(&["produce", TOPIC, "--body", "behind the crowd"])?;
    let said = rig.journal(&mark)?;
    let reason = format!("all {connections} connections are taken that the limit on open files");
    if !said.contains(&told) || !said.contains(&reason) {
        return Err(format!("neither {told:?} nor {reason:?}: {said}"));
    }
    if crowd != connections {
        return Err(format!("{crowd} of {tried} connections were kept, not {connections}"));
    }
    let words = ["limit on open files is 200", "2 shard(s) need at least 320", "LimitNOFILE="];
    let refusal = refused(rig, "LimitNOFILE=200", "3", &words)?;
    back(rig)?;
    Ok(format!("{limit}: {crowd} of {tried} connections kept; 200: {refusal}"))
}

/// Opens connections to shard 0 at once; how many the broker kept. They are closed at the end.
fn crowd(rig: &Rig, count: usize) -> Result<usize, String> {
    let script = "import socket, sys, time
port, count = int(sys.argv[1]), int(sys.argv[2])
opened = [socket.create_connection(('127.0.0.1', port)) for _ in range(count)]
time.sleep(1)
kept = 0
for one in opened:
    one.setblocking(False)
    try:
        kept += one.recv(1) != b''
    except BlockingIOError:
        kept += 1
    except ConnectionError:
        pass
print(kept)
";
    let mut command = rig.machine.in_network("python3".as_ref());
    command.args(["-c", script, &PORT.to_string(), &count.to_string()]);
    let output = command.output().map_err(|error| format!("python3: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    said.parse().map_err(|_| format!("{said:?} {}", String::from_utf8_lossy(&output.stderr)))
}

/// Locked memory: with the capability the limit does not count; without it the start is refused.
pub(super) fn memlock(rig: &mut Rig) -> Said {
    rig.drop_in("LimitMEMLOCK=64K")?;
    rig.say(&["systemctl", "restart", "weir.service"])?;
    rig.weir(&["produce", TOPIC, "--body", "locked"])?;
    let bare = "LimitMEMLOCK=64K\nAmbientCapabilities=\nCapabilityBoundingSet=";
    let words = ["RLIMIT_MEMLOCK is 65536 bytes", "LimitMEMLOCK=infinity"];
    let refusal = refused(rig, bare, "12", &words)?;
    back(rig)?;
    Ok(format!("64 KiB serve with CAP_IPC_LOCK; without it: {refusal}"))
}
