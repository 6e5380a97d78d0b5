//! The machine around the process: kernel, ring, surroundings, settings of the system.
//!
//! The ring is really made, once, because a version number says little about a container. Settings
//! are the catalogue's of `weir tune`; here only their sum is told.

use serde_json::json;
use weir_io::{Uring, UringOptions, probe};

use super::finding::{Finding, Verdict};
use crate::cli::tune::{Reading, State, Tree};

/// `uname -r`, and whether it is new enough.
pub(super) fn kernel(release: &str) -> Finding {
    let floor = probe::KERNEL_FLOOR;
    let text = format!("Linux {release}; weir needs {floor} or newer");
    let finding = match (version(release), version(floor)) {
        (Some(have), Some(need)) if have < need => Finding::new("kernel", Verdict::NotReady, text)
            .mended_by(format!("boot a kernel of {floor} or newer")),
        (Some(_), _) => Finding::new("kernel", Verdict::Ready, text),
        (None, _) => Finding::new("kernel", Verdict::Unknown, text),
    };
    finding.with(json!({ "release": release, "needed": floor }))
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(['.', '-', '+']).map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// Makes a shard's ring, with its receive buffers, and gives it back.
pub(super) fn ring() -> Finding {
    match Uring::new(UringOptions::default()) {
        Ok(_) => Finding::new(
            "io_uring",
            Verdict::Ready,
            "a shard's ring can be made, with all features and buffers",
        ),
        Err(error) => Finding::new("io_uring", Verdict::NotReady, error.to_string())
            .with(json!({ "exitCode": error.exit_code() })),
    }
}

/// Container, virtual machine, laptop: what the figures are to be read with.
pub(super) fn surroundings(tree: &Tree) -> Finding {
    let container = is_container(tree);
    let virtual_machine = is_virtual(tree);
    let battery = tree.names("sys/class/power_supply").iter().any(|name| name.starts_with("BAT"));
    let text = match (container, virtual_machine) {
        (true, true) => "a container in a virtual machine",
        (true, false) => "a container",
        (false, true) => "a virtual machine",
        (false, false) => "neither a container nor a virtual machine that says so",
    };
    let details = json!({
        "container": container, "virtualMachine": virtual_machine, "battery": battery,
    });
    let battery = if battery { ", with a battery" } else { "" };
    Finding::new("surroundings", Verdict::Ready, format!("{text}{battery}")).with(details)
}

fn is_container(tree: &Tree) -> bool {
    let groups = tree.text("proc/1/cgroup");
    ["run/.containerenv", ".dockerenv", "run/systemd/container"].iter().any(|path| tree.has(path))
        || ["docker", "kubepods", "lxc", "libpod"].iter().any(|word| groups.contains(word))
}

/// Whether the processor says that it is not a real one.
pub(super) fn is_virtual(tree: &Tree) -> bool {
    let flags = tree.text("proc/cpuinfo");
    flags.lines().take(64).any(|line| {
        (line.starts_with("flags") || line.starts_with("Features"))
            && line.split_whitespace().any(|flag| flag == "hypervisor")
    })
}

/// What `weir tune` would change, and what only a person can.
pub(super) fn settings(readings: &[Reading<'_>]) -> [Finding; 2] {
    let names = |state: State| -> Vec<&str> {
        let mut names: Vec<&str> =
            readings.iter().filter(|r| r.state() == state).map(Reading::name).collect();
        names.dedup();
        names
    };
    let (differ, here) = (names(State::Differs), readings.len() - names(State::NotHere).len());
    let tune = match differ.as_slice() {
        [] => Finding::new("settings", Verdict::Ready, format!("all of {here} are as wanted")),
        some => Finding::new(
            "settings",
            Verdict::Warn,
            format!("{} differ: {}", some.len(), some.join(", ")),
        )
        .mended_by("weir tune check, then weir tune apply"),
    };
    let mut hand: Vec<(&str, String)> = Vec::new();
    for reading in readings.iter().filter(|reading| reading.state() == State::ByHand) {
        let (now, want, mend) = reading.told();
        if hand.iter().all(|(name, _)| *name != reading.name()) {
            let mend = mend.unwrap_or("see weir tune check");
            hand.push((
                reading.name(),
                format!("{} is {now}, want {want}\n{mend}", reading.name()),
            ));
        }
    }
    let by_hand = match hand.as_slice() {
        [] => Finding::new("settings by hand", Verdict::Ready, "nothing to do"),
        some => {
            let lines = some.iter().map(|(_, line)| line.split('\n').next().unwrap_or_default());
            let mends = some.iter().filter_map(|(_, line)| line.split('\n').nth(1));
            let (lines, mends): (Vec<&str>, Vec<&str>) = (lines.collect(), mends.collect());
            Finding::new("settings by hand", Verdict::Warn, lines.join("\n"))
                .mended_by(mends.join("\n"))
        }
    };
    let details = json!({ "differ": differ, "here": here });
    let names: Vec<&str> = hand.iter().map(|(name, _)| *name).collect();
    [tune.with(details), by_hand.with(json!({ "names": names }))]
}
