//! Damage that is not healed, and what the refusal says to do: a part of `cargo xtask heal`.
//!
//! A segment's header page is damaged: the start writes it anew. More than can be healed at once is
//! damaged, and later a file is missing: the start is refused with the commands that build this
//! half anew from the other one, and these are carried out as they stand.
//! Never: a remedy that the refusal did not give.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::failover::{Node, Rig};
use crate::mutual::{control, kill, namesrv, told};

const TOPIC: &str = "rebuild";
/// Of both boxes: segments that hold more than is healed in one piece.
pub(crate) const SETTINGS: &[(&str, &str)] =
    &[("standbyLost", "degrade"), ("mappedFileSizeCommitLog", "48MiB")];
/// Size of a message, and how many fill three segments.
const BODY: usize = 3 << 20;
const COUNT: u64 = 45;
/// The device is flushed within this.
const SETTLE: Duration = Duration::from_millis(1500);
const PATIENCE: Duration = Duration::from_secs(30);
/// Exit code of a start that a damaged log refuses.
const DAMAGED: i32 = 17;

/// Runs it with boxes of the rig's binary.
pub(crate) fn check(rig: &Rig) -> Result<String, String> {
    let (mut one, mut two) = (rig.node("one")?, rig.node("two")?);
    let (at_one, at_two) = (Some(one.ports.1 + 1), Some(two.ports.1 + 1));
    rig.start(&mut one, None)?;
    rig.start(&mut two, at_one)?;
    rig.wait(&one, "in sync", |row| row["standing"] == "in sync")?;
    let body = rig.folder.join("body");
    std::fs::write(&body, vec![b'x'; BODY]).map_err(|error| error.to_string())?;
    let body = body.to_str().ok_or("a path that is no text")?;
    let server = namesrv(&one);
    // The last one's block says that those before it were durable: without it, what is damaged
    // below looks like the unfinished end of a log.
    for count in [COUNT, 1] {
        let count = count.to_string();
        told(rig, &["produce", TOPIC, "--file", body, "--count", &count, "--namesrv", &server])?;
        rig.wait(&one, "in sync", |row| row["standing"] == "in sync" && row["lagBytes"] == 0)?;
        std::thread::sleep(SETTLE);
    }

    kill(&mut two)?;
    damage(&two, |log| zero(&log.join(segment(2)), 0, 64))?;
    rig.start(&mut two, at_one)?;
    follows(rig, &two, &one)?;
    if !rig.said().contains("its header page was damaged") {
        return Err(format!("nobody said that a header page was damaged{}", rig.said()));
    }

    kill(&mut two)?;
    damage(&two, |log| zero(&log.join(segment(1)), 1 << 20, 40 << 20))?;
    let why = refused(rig, &mut two, at_one)?;
    says(&why, "more than 33554432 bytes in one piece")?;
    away(&two, &why)?;
    rig.start(&mut two, at_one)?;
    follows(rig, &two, &one)?;

    kill(&mut one)?;
    damage(&one, |log| std::fs::remove_file(log.join(segment(2))))?;
    let why = refused(rig, &mut one, None)?;
    says(&why, "are missing")?;
    says(&why, "weir promote there")?;
    told(rig, &["promote", "--accept-loss", "--control", &control(&two)])?;
    away(&one, &why)?;
    rig.start(&mut one, at_two)?;
    follows(rig, &one, &two)?;
    let shown = told(rig, &["topic", "describe", TOPIC, "--json", "--namesrv", &namesrv(&two)])?;
    rig.end(&mut one);
    rig.end(&mut two);
    let rows =
        shown.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let held: u64 = rows.filter_map(|row| row["maxOffset"].as_u64()).sum();
    if held != COUNT + 1 {
        return Err(format!("{} messages were sent, the topic has {held}: {shown}", COUNT + 1));
    }
    Ok("a header page was written anew; 40 MiB of damage and a missing file were refused, and both \
        halves built anew as the refusals said"
        .into())
}

fn segment(number: u32) -> String {
    format!("{number:020}.log")
}

/// Does something to the log of a box that does not run, and takes its checkpoints away, so that
/// the whole log is read.
fn damage(node: &Node, harm: impl Fn(&Path) -> std::io::Result<()>) -> Result<(), String> {
    let shard = node.data.join("shard-0");
    for which in ["checkpoint.0", "checkpoint.1"] {
        // Not both need be there.
        let _ = std::fs::remove_file(shard.join(which));
    }
    harm(&shard.join("log")).map_err(|error| format!("{node}: {error}"))
}

fn zero(path: &Path, offset: u64, len: usize) -> std::io::Result<()> {
    let file = std::fs::File::options().write(true).open(path)?;
    file.write_all_at(&vec![0; len], offset)?;
    file.sync_all()
}

/// Waits until `standby` has all that `primary` has.
fn follows(rig: &Rig, standby: &Node, primary: &Node) -> Result<(), String> {
    rig.wait(standby, "following", |row| row["standing"] == "following")?;
    rig.wait(primary, "in sync", |row| row["standing"] == "in sync" && row["lagBytes"] == 0)
}

/// Starts a box, which must end by itself because of damage; what it said.
fn refused(rig: &Rig, node: &mut Node, primary: Option<u16>) -> Result<String, String> {
    rig.start(node, primary)?;
    let mut child = node.child.take().ok_or("a box that does not run")?;
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return match status.code() {
                Some(DAMAGED) => Ok(rig.said()),
                _ => Err(format!("{node} ended with {status}, not with exit code {DAMAGED}")),
            };
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    node.child = Some(child);
    Err(format!("{node} starts although its log is damaged"))
}

fn says(line: &str, words: &str) -> Result<(), String> {
    if line.contains(words) { Ok(()) } else { Err(format!("no \"{words}\" in: {line}")) }
}

/// Carries out the `mv` of the refusal.
fn away(node: &Node, why: &str) -> Result<(), String> {
    let from: PathBuf = node.data.join("shard-0");
    let to = format!("{}.damaged", from.display());
    says(why, &format!("mv {} {to}", from.display()))?;
    std::fs::rename(&from, to).map_err(|error| error.to_string())
}
