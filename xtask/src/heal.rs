//! `cargo xtask heal`: a pair of real processes, one of which loses what only it had, and then a
//! byte of its log.
//!
//! First a stock Java consumer reads from far behind: the primary sends it to the standby, where it
//! meets damage that is healed while it waits. Then the standby is held up, so that the primary
//! goes on alone, and is then killed: what it took alone is cut when it comes back, listed by `weir
//! salvage`, sent again once, and not twice. On the way each box's name server must show the halves
//! that are connected, under their ids. Then a byte of its log is changed on the disk while it is
//! down: its start heals the block from the other half and says so. At the end two boxes are each
//! other's standby (`mutual`), and what is not healed is built anew as the refusal says
//! (`rebuild`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::failover::{Node, Rig};
use crate::interop::{Load, here};
use crate::{mutual, rebuild, shown, toolbox};

const TOPIC: &str = "heal";
/// Messages that both boxes have, and those that only one has.
const BOTH: usize = 20;
const ALONE: usize = 10;
/// Of both boxes: little staging memory, so that a reader is soon behind it.
const SETTINGS: &[(&str, &str)] = &[
    ("standbyLost", "degrade"),
    ("stagingSize", "1MiB"),
    ("maxMessageSize", "64KiB"),
    ("slaveReadEnable", "true"),
];
/// How long the Java client sends.
const LOAD: Duration = Duration::from_secs(4);
/// The device is flushed within this.
const SETTLE: Duration = Duration::from_millis(1500);

/// What the command takes.
#[derive(Args, Debug)]
pub struct Arguments {
    /// A built weir; without it the release binary is built
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Runs both parts.
pub fn check(arguments: &Arguments) -> Result<String, String> {
    let binary = toolbox::broker(arguments.binary.as_deref())?;
    let folder = std::env::temp_dir().join(format!("weir-heal-{}", std::process::id()));
    let rig = Rig { binary, folder: folder.clone(), more: SETTINGS };
    let done = both(&rig).map_err(|why| format!("heal: {why}{}", rig.said()));
    let shared = Rig { folder: folder.join("mutual"), binary: rig.binary.clone(), more: SETTINGS };
    let rebuilt =
        Rig { folder: folder.join("rebuild"), binary: rig.binary.clone(), more: rebuild::SETTINGS };
    let more = |words: String, rig: &Rig, part: fn(&Rig) -> Result<String, String>| {
        let more = part(rig).map_err(|why| format!("heal: {why}{}", rig.said()))?;
        Ok(format!("{words}; {more}"))
    };
    let done = done
        .and_then(|words| more(words, &shared, mutual::check))
        .and_then(|words| more(words, &rebuilt, rebuild::check));
    let removed = std::fs::remove_dir_all(&folder).map_err(|error| error.to_string());
    done.and_then(|words| removed.map(|()| words))
}

fn both(rig: &Rig) -> Result<String, String> {
    let (mut one, mut two) = (rig.node("one")?, rig.node("two")?);
    rig.start(&mut one, None)?;
    rig.start(&mut two, Some(one.ports.1 + 1))?;
    let read = far_behind(rig, &one, &two)?;
    let salvaged = salvage(rig, &mut one, &mut two)?;
    let healed = heal(rig, &mut one, &two)?;
    rig.end(&mut one);
    rig.end(&mut two);
    Ok(format!("heal: {read}; {salvaged}; {healed}"))
}

/// A stock Java consumer that begins far behind is sent to the standby by the primary, and back
/// when it caught up; on its way it meets damage in the standby's log, which is healed while it
/// asks again. Nothing is missing.
fn far_behind(rig: &Rig, one: &Node, two: &Node) -> Result<String, String> {
    rig.wait(one, "in sync", |row| row["standing"] == "in sync")?;
    let namesrv = format!("127.0.0.1:{}", one.ports.0);
    let mut load = Load::java(&rig.folder.join("java"), &namesrv, here())?;
    std::thread::sleep(LOAD);
    load.stop()?;
    std::thread::sleep(SETTLE);
    let place = rot_middle(rig, two)?;
    let before = shown::handed_out(two.ports.1 - 11)?;
    let (keys, lost, said) = load.verify(&namesrv)?;
    let by_standby = shown::handed_out(two.ports.1 - 11)? - before;
    if lost > 0 || by_standby == 0 || shown::handed_out(one.ports.1 - 11)? == 0 {
        return Err(format!("{said}; {by_standby} of them came from the standby"));
    }
    rig.wait(two, "healed", |row| row["healed"] == 1 && row["damaged"] == 0)?;
    Ok(format!(
        "a Java consumer read {keys} messages, {by_standby} of them at the standby, through damage \
         at {place} that was healed meanwhile"
    ))
}

/// Overwrites two pages in the middle of a running box's log; gives the place.
fn rot_middle(rig: &Rig, node: &Node) -> Result<u64, String> {
    let place = std::cell::Cell::new(0);
    rig.wait(node, "following", |row| {
        place.set(row["end"].as_u64().unwrap_or(0) / 2 / 4096 * 4096);
        place.get() > 1 << 20
    })?;
    let path = node.data.join("shard-0/log/00000000000000000001.log");
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = std::fs::File::options().write(true).open(&path).map_err(failed)?;
    std::os::unix::fs::FileExt::write_all_at(&file, &[0x5A; 8192], place.get()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    Ok(place.get())
}

/// The tail that only `one` had is listed and sent to `two`, each message once.
fn salvage(rig: &Rig, one: &mut Node, two: &mut Node) -> Result<String, String> {
    rig.wait(one, "in sync", |row| row["standing"] == "in sync")?;
    produce(rig, one, "both", BOTH)?;
    for node in [&*one, &*two] {
        route_is(node, &[(0, one.ports.1), (1, two.ports.1)])?;
    }
    hold(two, "STOP")?;
    rig.wait(one, "alone", |row| row["standing"] == "alone")?;
    produce(rig, one, "alone", ALONE)?;
    route_is(one, &[(0, one.ports.1)])?;
    kill(one)?;
    hold(two, "CONT")?;
    rig.wait(two, "without a primary", |row| row["standing"] == "no primary")?;
    route_is(two, &[(1, two.ports.1)])?;
    let control = format!("127.0.0.1:{}", two.ports.1 - 11);
    told(rig, &["promote", "--accept-loss", "--control", &control])?;
    rig.wait(two, "the primary", |row| row["role"] == "primary")?;
    rig.start(one, None)?;
    rig.wait(one, "a standby", |row| row["role"] == "standby" && row["standing"] == "following")?;
    rig.wait(two, "in sync", |row| row["standing"] == "in sync")?;
    for node in [&*one, &*two] {
        route_is(node, &[(0, two.ports.1), (1, one.ports.1)])?;
    }
    let tail = only_entry(&one.data.join("shard-0/lost+found"))?;
    let tail = tail.to_str().ok_or("a path that is no text")?;
    let listed = rows(&told(rig, &["salvage", tail, "--json"])?);
    let keys: Vec<&Value> =
        listed.iter().map(|row| &row["keys"]).filter(|k| k.is_string()).collect();
    if keys.len() != ALONE || listed.last().is_none_or(|row| row["messages"] != ALONE) {
        return Err(format!("{ALONE} messages stand in {tail}, listed are {listed:?}"));
    }
    let (broker, namesrv) =
        (format!("127.0.0.1:{}", two.ports.1), format!("127.0.0.1:{}", two.ports.0));
    let first = told(rig, &["salvage", tail, "--send", "--json", "--broker", &broker])?;
    expect(&first, "sent", ALONE)?;
    let second = told(rig, &["salvage", tail, "--send", "--json", "--namesrv", &namesrv])?;
    expect(&second, "sent", 0)?;
    expect(&second, "sentBefore", ALONE)?;
    all_once(rig, two)?;
    Ok(format!("{ALONE} messages of a tail that was cut are back, each once"))
}

/// Waits until the box's name server shows the topic at these broker ids and ports, and no others.
fn route_is(node: &Node, wanted: &[(u8, u16)]) -> Result<(), String> {
    let limit = Duration::from_secs(10);
    shown::route_is(node.ports.0, (TOPIC, "pair-0"), wanted, limit).map(drop)
}

/// Every message is in the topic once, those salvaged in the order they had in their queue.
fn all_once(rig: &Rig, node: &Node) -> Result<(), String> {
    let namesrv = format!("127.0.0.1:{}", node.ports.0);
    let read = rows(&told(rig, &["consume", TOPIC, "--json", "--namesrv", &namesrv])?);
    let mut last: BTreeMap<u64, usize> = BTreeMap::new();
    for row in &read {
        let body = row["body"].as_str().unwrap_or("");
        let origin = row["properties"]["SALVAGED_FROM"].as_str();
        let Some(number) = body.strip_prefix("alone-").and_then(|n| n.parse::<usize>().ok()) else {
            continue;
        };
        if !origin.is_some_and(|origin| origin.starts_with("shard-0/cut-at-")) {
            return Err(format!("{body} does not say where it came from: {row}"));
        }
        let before = last.insert(row["queueId"].as_u64().unwrap_or(0), number);
        if before.is_some_and(|before| before >= number) {
            return Err(format!("{body} came after {before:?} in its queue"));
        }
    }
    let mut bodies: Vec<&str> = read.iter().filter_map(|row| row["body"].as_str()).collect();
    bodies.sort_unstable();
    let mut wanted: Vec<String> = (0..BOTH).map(|n| format!("both-{n}")).collect();
    wanted.extend((0..ALONE).map(|n| format!("alone-{n}")));
    wanted.sort_unstable();
    if bodies == wanted { Ok(()) } else { Err(format!("the topic holds {bodies:?}")) }
}

/// A block of `one` that rots while it is down is healed by its start.
fn heal(rig: &Rig, one: &mut Node, two: &Node) -> Result<String, String> {
    for name in ["late", "later"] {
        produce(rig, two, name, 4)?;
        // A block counts as damaged when one behind it says that it was durable.
        std::thread::sleep(SETTLE);
    }
    kill(one)?;
    // Without it, the whole log is read.
    for which in ["checkpoint.0", "checkpoint.1"] {
        let _ = std::fs::remove_file(one.data.join("shard-0").join(which));
    }
    let segment = one.data.join("shard-0/log/00000000000000000001.log");
    let place = rot(&segment, b"late-1")?;
    rig.start(one, None)?;
    rig.wait(one, "healed", |row| {
        row["standing"] == "following" && row["healed"] == 1 && row["damaged"] == 0
    })?;
    rig.wait(two, "in sync", |row| row["standing"] == "in sync")?;
    if !rig.said().contains("log-healed") {
        return Err("nobody said log-healed".into());
    }
    let path = segment.to_str().ok_or("a path that is no text")?;
    let shown = told(rig, &["inspect", "segment", path])?;
    if shown.contains("HOLE") {
        return Err(format!("the block is not healed: {shown}"));
    }
    Ok(format!("byte {place} of a log rotted and was healed from the other half at the start"))
}

/// Changes a byte of the message in a file; gives its place.
fn rot(path: &Path, message: &[u8]) -> Result<usize, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let bytes = std::fs::read(path).map_err(failed)?;
    let found = bytes.windows(message.len()).rposition(|window| window == message);
    let place = found.ok_or_else(|| format!("{} does not hold it", path.display()))?;
    let file = std::fs::File::options().write(true).open(path).map_err(failed)?;
    let byte = bytes.get(place).copied().unwrap_or(0) ^ 0x20;
    std::os::unix::fs::FileExt::write_all_at(&file, &[byte], place as u64).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    Ok(place)
}

fn produce(rig: &Rig, node: &Node, name: &str, count: usize) -> Result<(), String> {
    let namesrv = format!("127.0.0.1:{}", node.ports.0);
    for n in 0..count {
        let (body, keys) = (format!("{name}-{n}"), format!("k{n}"));
        told(rig, &["produce", TOPIC, "--body", &body, "--keys", &keys, "--namesrv", &namesrv])?;
    }
    Ok(())
}

/// What a command says; its failure is an error.
fn told(rig: &Rig, args: &[&str]) -> Result<String, String> {
    let (ok, out, err) = rig.weir(args);
    if ok { Ok(out) } else { Err(format!("weir {}: {out}{err}", args.join(" "))) }
}

fn rows(out: &str) -> Vec<Value> {
    out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn expect(out: &str, key: &str, count: usize) -> Result<(), String> {
    match rows(out).last() {
        Some(row) if row[key] == count => Ok(()),
        other => Err(format!("{key} should be {count}: {other:?}")),
    }
}

fn only_entry(dir: &Path) -> Result<PathBuf, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
    let entries: Vec<PathBuf> = std::fs::read_dir(dir)
        .map_err(failed)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    match entries.as_slice() {
        [one] => Ok(one.clone()),
        other => Err(format!("{} holds {other:?}, not one tail", dir.display())),
    }
}

fn hold(node: &Node, name: &str) -> Result<(), String> {
    let child = node.child.as_ref().ok_or("a box that does not run")?;
    toolbox::signal(child, name);
    Ok(())
}

fn kill(node: &mut Node) -> Result<(), String> {
    let mut child = node.child.take().ok_or("a box that does not run")?;
    child.kill().map_err(|error| error.to_string())?;
    child.wait().map(|_| ()).map_err(|error| error.to_string())
}
