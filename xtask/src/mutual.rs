//! Two boxes that are each other's standby: the last part of `cargo xtask heal`.
//!
//! Each is the primary of one shard and the standby of the other, in one process. Both take
//! messages; one is killed, the other takes all; when it is back, it follows, and is given its
//! shard again. Every message must be in the topic once.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::failover::{Node, Rig};

const TOPIC: &str = "mutual";
/// How long a change of roles may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What each shard of a box should be.
pub(crate) type Roles = [(&'static str, &'static str); 2];

/// Runs it with boxes of the rig's binary.
pub(crate) fn check(rig: &Rig) -> Result<String, String> {
    let (mut one, mut two) = (rig.node("one")?, rig.node("two")?);
    follows(&mut one, "1", &two);
    follows(&mut two, "0", &one);
    rig.start(&mut one, None)?;
    rig.start(&mut two, None)?;
    are(rig, &one, [("primary", "in sync"), ("standby", "following")])?;
    are(rig, &two, [("standby", "following"), ("primary", "in sync")])?;
    let (at_one, at_two) = (namesrv(&one), namesrv(&two));
    told(rig, &["topic", "create", TOPIC, "--queues", "2", "--namesrv", &at_one])?;
    produce(rig, &at_one, "first", 20)?;
    kill(&mut one)?;
    are(rig, &two, [("standby", "no primary"), ("primary", "alone")])?;
    told(rig, &["promote", "--accept-loss", "--control", &control(&two)])?;
    are(rig, &two, [("primary", "alone"), ("primary", "alone")])?;
    takes(rig, &at_two)?;
    produce(rig, &at_two, "second", 20)?;
    rig.start(&mut one, None)?;
    are(rig, &one, [("standby", "following"), ("standby", "following")])?;
    are(rig, &two, [("primary", "in sync"), ("primary", "in sync")])?;
    told(rig, &["switchover", "--shard", "0", "--control", &control(&two)])?;
    are(rig, &one, [("primary", "in sync"), ("standby", "following")])?;
    are(rig, &two, [("standby", "following"), ("primary", "in sync")])?;
    produce(rig, &at_one, "third", 20)?;
    for place in [&at_one, &at_two] {
        all_once(rig, place)?;
    }
    rig.end(&mut one);
    rig.end(&mut two);
    Ok("two boxes were each other's standby, one took all, and gave it back: 60 messages, each once"
        .into())
}

/// The box is the standby of the other's shard `number`.
pub(crate) fn follows(node: &mut Node, number: &str, other: &Node) {
    let primary = format!("127.0.0.1:{}", other.ports.1 + 1);
    node.sets.extend([
        ("shards", "2".into()),
        ("memoryMax", "320MiB".into()),
        ("standbyShards", number.into()),
        ("primary", primary),
    ]);
}

/// What `weir status` says of a box's shards, in order.
pub(crate) fn rows(rig: &Rig, node: &Node) -> Vec<Value> {
    let control = control(node);
    let (_, out, _) = rig.weir(&["status", "--json", "--control", &control, "--timeout-ms", "500"]);
    let rows = out.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    rows.filter(|row| row["role"].is_string()).collect()
}

/// Waits until the shards of a box are so.
pub(crate) fn are(rig: &Rig, node: &Node, wanted: Roles) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    let mut last = Vec::new();
    while Instant::now() < until {
        last = rows(rig, node);
        let so = |(row, want): (&Value, &(&str, &str))| {
            row["role"] == want.0 && row["standing"] == want.1
        };
        if last.len() == wanted.len() && last.iter().zip(&wanted).all(so) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(format!("the shards should be {wanted:?}, and are {last:?}"))
}

/// Waits until both shards take messages: one that was promoted asks its other half first.
fn takes(rig: &Rig, namesrv: &str) -> Result<(), String> {
    let words = ["produce", TOPIC, "--body", "probe", "--count", "4", "--namesrv", namesrv];
    let until = Instant::now() + PATIENCE;
    loop {
        match told(rig, &words) {
            Ok(_) => return Ok(()),
            Err(why) if Instant::now() > until => return Err(why),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Sends messages over all queues: both shards must take some.
fn produce(rig: &Rig, namesrv: &str, name: &str, count: usize) -> Result<(), String> {
    let mut said = String::new();
    // Each run begins with the first queue, and there are four.
    for n in 0..count / 4 {
        let body = format!("{name}-{n}");
        let words = ["produce", TOPIC, "--body", &body, "--count", "4", "--namesrv", namesrv];
        said += &told(rig, &words)?;
    }
    match said.contains("pair-0/") && said.contains("pair-1/") {
        true => Ok(()),
        false => Err(format!("not both shards took messages: {said}")),
    }
}

fn all_once(rig: &Rig, namesrv: &str) -> Result<(), String> {
    let out = told(rig, &["consume", TOPIC, "--namesrv", namesrv])?;
    for name in ["first", "second", "third"] {
        for n in 0..5 {
            let wanted = format!("  {name}-{n}");
            let found = out.lines().filter(|line| line.ends_with(&wanted)).count();
            if found != 4 {
                return Err(format!("{name}-{n} was sent 4 times and read {found} times: {out}"));
            }
        }
    }
    Ok(())
}

/// `host:port` of a box's name server.
pub(crate) fn namesrv(node: &Node) -> String {
    format!("127.0.0.1:{}", node.ports.0)
}

/// `host:port` of a box's control port.
pub(crate) fn control(node: &Node) -> String {
    format!("127.0.0.1:{}", node.ports.1 - 11)
}

/// `kill -9`.
pub(crate) fn kill(node: &mut Node) -> Result<(), String> {
    let mut child = node.child.take().ok_or("a box that does not run")?;
    child.kill().map_err(|error| error.to_string())?;
    child.wait().map(|_| ()).map_err(|error| error.to_string())
}

/// Runs one of weir's commands, which must succeed; its output.
pub(crate) fn told(rig: &Rig, args: &[&str]) -> Result<String, String> {
    let (ok, out, err) = rig.weir(args);
    if ok { Ok(out) } else { Err(format!("weir {}: {out}{err}", args.join(" "))) }
}
