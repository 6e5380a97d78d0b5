//! What the service refuses, and in what words: one function per cause.
//!
//! Each begins and ends with the shipped unit running, and looks at the exit code, at the status
//! line that `systemctl status` shows, and that a refusal which would come again is not repeated.

use super::rig::{Rig, thread};

type Said = Result<String, String>;

/// Starts with a drop-in that must be refused, and comes back to the shipped unit.
pub(super) fn refused(rig: &Rig, drop_in: &str, code: &str, words: &[&str]) -> Said {
    rig.say(&["systemctl", "stop", "weir.service"])?;
    rig.drop_in(drop_in)?;
    rig.say(&["systemctl", "reset-failed"])?;
    let started = rig.say(&["systemctl", "start", "weir.service"]);
    let told = |status: &str| words.iter().all(|word| status.contains(word));
    let status = rig.wait_for("StatusText", told);
    let again = rig.property("NRestarts")?;
    let _ = rig.say(&["systemctl", "stop", "weir.service"]);
    let ended = rig.property("ExecMainStatus")?;
    rig.drop_in("")?;
    rig.say(&["systemctl", "reset-failed"])?;
    if started.is_ok() {
        return Err("it started".into());
    }
    let status = status.map_err(|why| format!("{why}, not {words:?}"))?;
    if ended != code {
        return Err(format!("exit code {ended}, not {code}"));
    }
    Ok(format!("exit code {ended}, {again} restarts, {status:?}"))
}

pub(super) fn back(rig: &Rig) -> Result<(), String> {
    rig.say(&["systemctl", "start", "weir.service"]).map(drop)
}

/// A socket unit whose name weir does not know.
pub(super) fn unknown_socket(rig: &mut Rig) -> Said {
    let unit = "[Socket]\nListenStream=127.0.0.1:10999\nFileDescriptorName=web\n\
                Service=weir.service\n";
    rig.machine.write("/etc/systemd/system/web.socket", unit)?;
    rig.say(&["systemctl", "stop", "weir.service"])?;
    rig.say(&["systemctl", "daemon-reload"])?;
    rig.say(&["systemctl", "start", "web.socket"])?;
    let said = refused(rig, "", "3", &["a socket named \"web\"", "FileDescriptorName="]);
    rig.say(&["systemctl", "stop", "web.socket"])?;
    rig.say(&["rm", "/etc/systemd/system/web.socket"])?;
    rig.say(&["systemctl", "daemon-reload"])?;
    back(rig)?;
    said
}

/// Everything but the state directory is read-only to it.
pub(super) fn read_only(rig: &mut Rig) -> Said {
    // Else the next try would be looked at while it begins.
    let drop_in = "Restart=no\nExecStart=\nExecStart=/usr/bin/weir serve --data /srv/weir";
    let said = refused(rig, drop_in, "18", &["/srv/weir", "Read-only file system"])?;
    back(rig)?;
    Ok(said)
}

/// A filter that somebody tightened too far.
pub(super) fn no_ring(rig: &mut Rig) -> Said {
    let words = ["io_uring is forbidden", "io_uring_setup"];
    let said = refused(rig, "SystemCallFilter=~io_uring_setup", "11", &words)?;
    back(rig)?;
    Ok(said)
}

/// The group's limit lowers the plan, and one that is too low is refused with what is needed.
pub(super) fn memory(rig: &mut Rig) -> Said {
    let mib = 1024 * 1024;
    let tight = rig.machine.limit_memory(448 * mib)?;
    let mark = rig.mark()?;
    rig.drop_in(&tight)?;
    rig.say(&["systemctl", "restart", "weir.service"])?;
    let said = rig.journal(&mark)?;
    if !said.contains("memoryMax 392.0 MiB for 2 shard(s)") {
        return Err(format!("of 448 MiB seven eighths were not what it planned with: {said}"));
    }
    // Stopped first: what it holds cannot be taken from it.
    rig.say(&["systemctl", "stop", "weir.service"])?;
    let low = rig.machine.limit_memory(128 * mib)?;
    let words = ["the group's memory limit leaves 112 MiB", "need at least"];
    let said = refused(rig, &low, "3", &words);
    rig.machine.limit_memory(u64::MAX)?;
    back(rig)?;
    said
}

/// Shards are pinned to the cores that the unit leaves to the service.
pub(super) fn cores(rig: &mut Rig) -> Said {
    let pinned = |rig: &Rig| {
        let pid = rig.outer_pid()?;
        let of = |name: &str| {
            let task = format!("/proc/{pid}/task/{}/status", thread(pid, name)?);
            let text =
                std::fs::read_to_string(&task).map_err(|error| format!("{task}: {error}"))?;
            let line = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
            Ok::<String, String>(line.unwrap_or("").trim().to_owned())
        };
        Ok::<[String; 2], String>([of("shard-0")?, of("shard-1")?])
    };
    let free = pinned(rig)?;
    rig.drop_in("CPUAffinity=1")?;
    rig.say(&["systemctl", "restart", "weir.service"])?;
    let bound = pinned(rig);
    rig.drop_in("")?;
    rig.say(&["systemctl", "restart", "weir.service"])?;
    let bound = bound?;
    match free[0] != free[1] && bound == ["1", "1"] {
        true => Ok(format!("cores {free:?} as shipped, {bound:?} with CPUAffinity=1")),
        false => Err(format!("cores {free:?} as shipped, {bound:?} with CPUAffinity=1")),
    }
}
