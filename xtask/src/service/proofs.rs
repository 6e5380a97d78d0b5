//! What the service promises when all is well, or when a process dies: one function per promise.
//!
//! Each begins and ends with the shipped unit running. It returns what it saw, for the report.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use super::check::EXPOSURE_MAX;
use super::rig::{Rig, TOPIC, freeze, spin, thread, ticks};
use crate::interop::Load;
use crate::toolbox;

type Said = Result<String, String>;

/// The units are well-formed, and as little exposed as promised.
pub(super) fn exposure() -> Result<f64, String> {
    let unit = toolbox::root().join("systemd/weir.service");
    let mut verify = std::process::Command::new("systemd-analyze");
    let output =
        verify.arg("verify").arg(&unit).output().map_err(|e| format!("{verify:?}: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // That the binary is not installed on this machine is no fault of the unit.
    let faults: Vec<&str> =
        said.lines().filter(|line| !line.contains("/usr/bin/weir is not executable")).collect();
    if !faults.is_empty() {
        return Err(format!("systemd-analyze verify: {}", faults.join("\n")));
    }
    let mut security = std::process::Command::new("systemd-analyze");
    security.args(["security", "--no-pager", "--offline=yes"]).arg(&unit);
    let output = security.output().map_err(|error| format!("{security:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = said.lines().rev().find_map(|line| {
        line.split_once("exposure level for weir.service: ")?.1.split(' ').next()?.parse().ok()
    });
    let exposure: f64 = number.ok_or_else(|| format!("systemd-analyze security said {said}"))?;
    match exposure <= EXPOSURE_MAX {
        true => Ok(exposure),
        false => Err(format!("exposure {exposure} is above {EXPOSURE_MAX}")),
    }
}

/// `systemctl start` returns when every listener is open; the sandbox is in force.
pub(super) fn start(rig: &mut Rig) -> Said {
    let began = Instant::now();
    rig.say(&["systemctl", "start", "weir.service"])?;
    let took = began.elapsed();
    rig.weir(&["status"])?;
    rig.weir(&["topic", "create", TOPIC, "--queues", "4"])?;
    let status = rig.property("StatusText")?;
    if !status.starts_with("serving: name server 127.0.0.1:9876, 2 shard(s)") {
        return Err(format!("StatusText is {status:?}"));
    }
    stored(rig, "8")?;
    let pid = rig.outer_pid()?;
    let process = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = process.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.split_whitespace().next().unwrap_or("").to_owned())
    };
    let wanted = [("NoNewPrivs:", "1"), ("Seccomp:", "2"), ("CapEff:", "0000000000004000")];
    for (name, value) in wanted {
        if field(name).as_deref() != Some(value) {
            return Err(format!("{name} {:?}, not {value}", field(name)));
        }
    }
    if field("Uid:").as_deref() == Some("0") {
        return Err("it runs as root".into());
    }
    Ok(format!("ready after {} ms, 8 descriptors stored", took.as_millis()))
}

/// The manager's store holds this many: name server, control, and three a shard.
fn stored(rig: &Rig, wanted: &str) -> Result<(), String> {
    let number = rig.property("NFileDescriptorStore")?;
    if number == wanted {
        Ok(())
    } else {
        Err(format!("{number} descriptors stored, not {wanted}"))
    }
}

/// Restarts under load refuse nobody, lose nothing and are short.
pub(super) fn restarts(rig: &mut Rig, rounds: u32) -> Said {
    let load = rig.load()?;
    let mut slowest = Duration::ZERO;
    for _ in 0..rounds {
        std::thread::sleep(Duration::from_millis(200));
        let began = Instant::now();
        rig.say(&["systemctl", "restart", "weir.service"])?;
        slowest = slowest.max(began.elapsed());
    }
    std::thread::sleep(Duration::from_millis(400));
    stored(rig, "8")?;
    let seen = rig.end_load(load, rounds)?;
    if seen.ended == 0 {
        return Err("no connection ended: nothing was restarted under load".into());
    }
    Ok(format!(
        "{rounds} restarts, slowest {} ms, longest gap {} ms, {} acknowledged",
        slowest.as_millis(),
        seen.gap_ms,
        seen.acknowledged
    ))
}

/// A stock Java producer goes on over restarts and a kill; what it was told SEND_OK for is there.
pub(super) fn stock_client(rig: &mut Rig) -> Said {
    let init = rig.machine.in_network(std::path::Path::new(""));
    let enter: Vec<std::ffi::OsString> = init.get_args().map(ToOwned::to_owned).collect();
    let enter = enter[..enter.len() - 1].to_vec();
    let wrap = move |command: std::process::Command| {
        let mut inside = std::process::Command::new("nsenter");
        inside.args(&enter).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            inside.env(name, value.unwrap_or_default());
        }
        if let Some(folder) = command.get_current_dir() {
            inside.current_dir(folder);
        }
        inside
    };
    let folder = rig.disk.folder().join("java");
    let mut load = Load::java(&folder, "127.0.0.1:9876", Box::new(wrap))?;
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(500));
        rig.say(&["systemctl", "restart", "weir.service"])?;
    }
    std::thread::sleep(Duration::from_millis(500));
    kill_main(rig)?;
    std::thread::sleep(Duration::from_millis(500));
    load.stop()?;
    match load.verify("127.0.0.1:9876")? {
        (keys, 0, _) => Ok(format!("{keys} acknowledged over 3 restarts and a kill, 0 lost")),
        (.., said) => Err(said),
    }
}

/// Another copy of the binary takes over.
pub(super) fn upgrade(rig: &mut Rig) -> Said {
    let inode = |rig: &Rig| {
        let exe = format!("/proc/{}/exe", rig.outer_pid()?);
        std::fs::metadata(&exe).map(|found| found.ino()).map_err(|error| format!("{exe}: {error}"))
    };
    let before = inode(rig)?;
    let load = rig.load()?;
    std::thread::sleep(Duration::from_millis(300));
    rig.put_binary()?;
    rig.say(&["systemctl", "restart", "weir.service"])?;
    std::thread::sleep(Duration::from_millis(300));
    let seen = rig.end_load(load, 1)?;
    match inode(rig)? == before {
        true => Err("the old binary still runs".into()),
        false => Ok(format!("longest gap {} ms", seen.gap_ms)),
    }
}

/// What ASYNC_FLUSH acknowledged survives `kill -9`, and the ports stay open.
pub(super) fn kill(rig: &mut Rig) -> Said {
    let kills = 3;
    let load = rig.load()?;
    for _ in 0..kills {
        std::thread::sleep(Duration::from_millis(300));
        kill_main(rig)?;
    }
    std::thread::sleep(Duration::from_millis(300));
    let seen = rig.end_load(load, kills)?;
    Ok(format!("{kills} kills, longest gap {} ms", seen.gap_ms))
}

/// Kills the main process and waits until its successor serves.
fn kill_main(rig: &Rig) -> Result<(), String> {
    let before = restarts_seen(rig)?;
    rig.say(&KILL)?;
    back_again(rig, before)
}

const KILL: [&str; 6] = ["systemctl", "kill", "-s", "KILL", "--kill-who=main", "weir.service"];

fn restarts_seen(rig: &Rig) -> Result<u32, String> {
    rig.property("NRestarts")?.parse().map_err(|error| format!("NRestarts: {error}"))
}

fn back_again(rig: &Rig, before: u32) -> Result<(), String> {
    rig.wait_for("NRestarts", |value| value.parse() == Ok(before + 1))?;
    rig.wait_for("ActiveState", |value| value == "active").map(drop)
}

/// A kill while the device takes nothing: what is acknowledged meanwhile is in staging memory
/// alone, and must come back from there. The unit is the shipped one with `drop_in`.
fn kill_while_frozen(rig: &mut Rig, drop_in: &str) -> Result<(u64, String), String> {
    rig.drop_in(drop_in)?;
    rig.say(&["systemctl", "restart", "weir.service"])?;
    let mark = rig.mark()?;
    let load = rig.load()?;
    std::thread::sleep(Duration::from_millis(300));
    let before = restarts_seen(rig)?;
    let frozen = rig.disk.freeze()?;
    std::thread::sleep(Duration::from_millis(200));
    let killed = rig.say(&KILL);
    drop(frozen);
    killed?;
    back_again(rig, before)?;
    std::thread::sleep(Duration::from_millis(300));
    let seen = rig.end_frozen_load(load)?;
    let said = rig.journal(&mark)?;
    let bytes = said.lines().find_map(|line| {
        let (front, _) = line.split_once(" bytes written back from staging memory")?;
        front.rsplit(' ').next().map(str::to_owned)
    });
    let bytes = bytes.ok_or_else(|| format!("nothing came back from staging memory: {said}"))?;
    Ok((seen.gap_ms, bytes))
}

/// The shipped unit: messages come back from a file in /dev/shm that is stored too, also when
/// the file's name was removed, as RemoveIPC does.
pub(super) fn kill_frozen(rig: &mut Rig) -> Said {
    let (gap, bytes) = kill_while_frozen(rig, "")?;
    let removes = "RemoveIPC=yes\nExecStopPost=+/bin/sh -c 'rm -f /dev/shm/weir-*'";
    let (second_gap, second_bytes) = kill_while_frozen(rig, removes)?;
    rig.drop_in("")?;
    rig.say(&["systemctl", "restart", "weir.service"])?;
    Ok(format!(
        "{bytes} bytes came back, gap {gap} ms; without the file's name {second_bytes} bytes, gap \
         {second_gap} ms"
    ))
}

/// Where /dev/shm cannot be used, staging memory is a memfd in the store; without a store it says
/// that it does not survive.
pub(super) fn kill_without_shm(rig: &mut Rig) -> Said {
    let dies = "staging memory dies with the process";
    let (gap, bytes) = kill_while_frozen(rig, "InaccessiblePaths=/dev/shm")?;
    rig.drop_in("InaccessiblePaths=/dev/shm\nFileDescriptorStoreMax=0")?;
    let mark = rig.mark()?;
    rig.say(&["systemctl", "restart", "weir.service"])?;
    let said = rig.journal(&mark)?;
    if !said.contains(dies) {
        return Err(format!("without a store nothing was said: {said}"));
    }
    rig.drop_in("")?;
    // Stopped once: a store of another size is not given what the old one had.
    rig.say(&["systemctl", "stop", "weir.service"])?;
    rig.say(&["systemctl", "start", "weir.service"])?;
    stored(rig, "8")?;
    Ok(format!("{bytes} bytes came back, gap {gap} ms; without a store it says so"))
}

/// A user that exists while the service runs, with data of its own.
pub(super) fn dynamic_user(rig: &mut Rig) -> Said {
    let drop_in = "User=\nGroup=\nDynamicUser=yes\nStateDirectory=\nStateDirectory=dynamic\n\
                   ExecStart=\nExecStart=/usr/bin/weir serve --config /etc/weir/weir.toml --data \
                   /var/lib/dynamic";
    let (gap, bytes) = kill_while_frozen(rig, drop_in)?;
    rig.drop_in("")?;
    rig.say(&["systemctl", "restart", "weir.service"])?;
    Ok(format!("{bytes} bytes came back, gap {gap} ms"))
}

/// A start that takes longer than its time limit is given more for as long as it gets on.
pub(super) fn recovery(rig: &mut Rig) -> Said {
    let body = "x".repeat(64 * 1024);
    for _ in 0..3 {
        rig.weir(&["produce", "big", "--body", &body, "--count", "2000"])?;
    }
    rig.say(&KILL)?;
    rig.say(&["systemctl", "stop", "weir.service"])?;
    rig.say(&["sh", "-c", "rm -f /var/lib/weir/shard-*/checkpoint*"])?;
    rig.drop_in("TimeoutStartSec=150ms")?;
    rig.say(&["systemctl", "start", "--no-block", "weir.service"])?;
    let began = Instant::now();
    let watch = "while :; do systemctl show weir.service -p ActiveState,StatusText --value; \
                 systemctl is-active -q weir.service && exit 0; \
                 systemctl is-failed -q weir.service && exit 1; done";
    let said = rig.say(&["sh", "-c", watch])?;
    let took = began.elapsed();
    rig.drop_in("")?;
    let seen: std::collections::BTreeSet<&str> =
        said.lines().filter(|line| line.starts_with("recovering: ")).collect();
    if seen.is_empty() {
        return Err(format!("no progress was seen in {} ms: {said}", took.as_millis()));
    }
    Ok(format!(
        "{} ms with a limit of 150, {} steps seen, as {:?}",
        took.as_millis(),
        seen.len(),
        seen.iter().next_back().unwrap_or(&"")
    ))
}

/// The watchdog is fed while all shards turn, and not when one of them does not.
pub(super) fn watchdog(rig: &mut Rig) -> Said {
    rig.drop_in("WatchdogSec=1s")?;
    rig.say(&["systemctl", "restart", "weir.service"])?;
    let before: u32 = rig.property("NRestarts")?.parse().unwrap_or(0);
    std::thread::sleep(Duration::from_millis(2500));
    if rig.property("NRestarts")?.parse() != Ok(before) {
        return Err("it was restarted although all shards turn".into());
    }
    let mark = rig.mark()?;
    let mut frozen = freeze(thread(rig.outer_pid()?, "shard-1")?)?;
    let began = Instant::now();
    let restarted = rig.wait_for("NRestarts", |value| value.parse() == Ok(before + 1));
    let took = began.elapsed();
    let _ = frozen.kill();
    let _ = frozen.wait();
    restarted?;
    rig.wait_for("ActiveState", |value| value == "active")?;
    let said = rig.journal(&mark)?;
    rig.drop_in("")?;
    rig.say(&["systemctl", "restart", "weir.service"])?;
    match said.contains("Failed with result 'watchdog'") {
        true => {
            Ok(format!("restarted {} ms after shard-1 froze (WatchdogSec=1s)", took.as_millis()))
        }
        false => Err(format!("the journal has no watchdog in it: {said}")),
    }
}

/// A shard that does nothing but spin, the others being well, gets the service restarted.
pub(super) fn watchdog_spin(rig: &mut Rig) -> Said {
    rig.drop_in("WatchdogSec=1s")?;
    rig.say(&["systemctl", "restart", "weir.service"])?;
    let before = restarts_seen(rig)?;
    let mark = rig.mark()?;
    let pid = rig.outer_pid()?;
    let shard = thread(pid, "shard-1")?;
    let idle = ticks(pid, shard)?;
    spin(pid, shard)?;
    let began = Instant::now();
    std::thread::sleep(Duration::from_millis(300));
    let spun = ticks(pid, shard)?.saturating_sub(idle);
    let restarted = rig.wait_for("NRestarts", |value| value.parse() == Ok(before + 1));
    let took = began.elapsed();
    restarted?;
    rig.wait_for("ActiveState", |value| value == "active")?;
    let said = rig.journal(&mark)?;
    rig.drop_in("")?;
    rig.say(&["systemctl", "restart", "weir.service"])?;
    // A tick is a hundredth of a second; a shard without work takes next to none.
    if spun < 10 {
        return Err(format!("the shard did not spin: {spun} ticks in 300 ms"));
    }
    match said.contains("Failed with result 'watchdog'") {
        true => Ok(format!(
            "restarted {} ms after shard-1 began to spin ({spun} ticks in 300 ms)",
            took.as_millis()
        )),
        false => Err(format!("the journal has no watchdog in it: {said}")),
    }
}

/// The ports of the other half are in the store too: over a restart nobody who dials one is
/// refused. What a power cut would cost is in the status.
pub(super) fn peers(rig: &mut Rig) -> Said {
    let before = rig.say(&["cat", "/etc/weir/weir.toml"])?;
    let paired = format!("{before}\nbrokerRole = \"ASYNC_MASTER\"\nhaListenPort = 10912\n");
    rig.machine.write("/etc/weir/weir.toml", paired)?;
    // Stopped once: what the store has is of another number of ports.
    rig.say(&["systemctl", "stop", "weir.service"])?;
    rig.say(&["systemctl", "start", "weir.service"])?;
    stored(rig, "10")?;
    let dial = "import socket, sys, time
refused, taken, until = 0, 0, time.time() + 3
while time.time() < until:
    for port in (10912, 10922):
        try:
            socket.create_connection(('127.0.0.1', port), 1).close()
            taken += 1
        except ConnectionRefusedError:
            refused += 1
    time.sleep(0.002)
print(refused, taken)
";
    let mut command = rig.machine.in_network(std::path::Path::new("python3"));
    command.args(["-c", dial]).stdout(std::process::Stdio::piped());
    let dialing = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(300));
        rig.say(&["systemctl", "restart", "weir.service"])?;
    }
    let output = dialing.wait_with_output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    rig.wait_for("StatusText", |status| status.contains("a power cut now would cost"))?;
    rig.machine.write("/etc/weir/weir.toml", before)?;
    rig.say(&["systemctl", "stop", "weir.service"])?;
    rig.say(&["systemctl", "start", "weir.service"])?;
    stored(rig, "8")?;
    match said.split_once(' ') {
        Some(("0", taken)) if taken != "0" => {
            Ok(format!("10 descriptors stored, {taken} connections over 2 restarts, none refused"))
        }
        _ => Err(format!("connections refused, and taken: {said}")),
    }
}

/// SIGTERM under load: what was taken is answered, then one line says what was done.
pub(super) fn drain(rig: &mut Rig) -> Said {
    let mark = rig.mark()?;
    let load = rig.load()?;
    std::thread::sleep(Duration::from_millis(300));
    rig.say(&["systemctl", "stop", "weir.service"])?;
    let result = rig.property("Result")?;
    let code = rig.property("ExecMainStatus")?;
    stored(rig, "0")?;
    rig.say(&["systemctl", "start", "weir.service"])?;
    // The producers' connections were refused in between: a stop is no restart.
    let said = rig.journal(&mark)?;
    rig.end_refused_load(load)?;
    let line = said.lines().find(|line| line.contains("drained weir: 2 shard(s)"));
    let line = line.ok_or_else(|| format!("no line says what was done: {said}"))?;
    if (result.as_str(), code.as_str()) != ("success", "0") || !line.contains(" 0 not finished") {
        return Err(format!("result {result}, code {code}: {line}"));
    }
    Ok(line.to_owned())
}

/// A drain that hangs (a shard is frozen) is cut by a second signal.
pub(super) fn hurry(rig: &mut Rig) -> Said {
    let mut frozen = freeze(thread(rig.outer_pid()?, "shard-1")?)?;
    let term = ["systemctl", "kill", "-s", "TERM", "--kill-who=main", "weir.service"];
    rig.say(&term)?;
    std::thread::sleep(Duration::from_millis(500));
    let between = rig.property("StatusText")?;
    let began = Instant::now();
    rig.say(&term)?;
    let ended = rig.wait_for("ActiveState", |value| value == "inactive");
    let took = began.elapsed();
    let _ = frozen.kill();
    let _ = frozen.wait();
    ended?;
    let code = rig.property("ExecMainStatus")?;
    rig.say(&["systemctl", "start", "weir.service"])?;
    if code != "22" || took > Duration::from_secs(1) || !between.starts_with("draining") {
        return Err(format!("code {code} after {took:?}, status {between:?} before"));
    }
    Ok(format!("ended {} ms after it, exit code 22", took.as_millis()))
}

/// A socket unit holds the port while the service is stopped; the first connection starts it.
pub(super) fn activation(rig: &mut Rig) -> Said {
    let sockets = ["weir-namesrv.socket", "weir-broker@10911.socket", "weir-control.socket"];
    rig.say(&["systemctl", "stop", "weir.service"])?;
    for socket in sockets {
        rig.say(&["systemctl", "start", socket])?;
    }
    if rig.property("ActiveState")? != "inactive" {
        return Err("it runs before anybody connected".into());
    }
    let began = Instant::now();
    rig.weir(&["topic", "describe", TOPIC])?;
    let took = began.elapsed();
    rig.wait_for("ActiveState", |value| value == "active")?;
    rig.weir(&["status"])?;
    // The three that units opened are theirs to keep.
    stored(rig, "5")?;
    for socket in sockets {
        // A socket unit cannot be stopped under its service without the service losing the port.
        rig.say(&["systemctl", "stop", "weir.service"])?;
        rig.say(&["systemctl", "stop", socket])?;
    }
    rig.say(&["systemctl", "start", "weir.service"])?;
    Ok(format!("answered after {} ms", took.as_millis()))
}
