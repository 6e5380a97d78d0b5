//! A pair whose halves register with a Java name server: the last part of `cargo xtask
//! registration`.
//!
//! Clients know the Java name server only. It must show the halves under ids 0 and 1; a stock
//! consumer that reads from the primary reads on from the standby when the primary is killed; after
//! a promotion, and after a planned change, the ids have changed places there.

use std::path::Path;
use std::time::{Duration, Instant};

use super::broker::Broker;
use super::load::{Load, here};
use super::scratch::Scratch;
use crate::{shown, toolbox};

/// What the client's load makes.
const TOPIC: &str = "java-load";
const SETTINGS: [&str; 4] =
    ["brokerName=pair", "brokerRole=SYNC_MASTER", "slaveReadEnable=true", "slaveTimeout=1000"];
const LOAD: Duration = Duration::from_secs(3);
/// A role that changed is registered at once, after the shard was opened anew.
const SOON: Duration = Duration::from_secs(10);

/// Runs it; `port` is the Java name server's. What was seen.
pub(super) fn check(scratch: &Scratch, binary: &Path, port: u16) -> Result<String, String> {
    let namesrv = format!("127.0.0.1:{port}");
    let address = format!("namesrvAddr={namesrv}");
    let sets = [&SETTINGS[..], &[address.as_str()]].concat();
    let mut one = Broker::start(scratch, binary, "one", &sets)?;
    let primary = format!("primary=127.0.0.1:{}", one.port(0) + 1);
    let sets = [&sets[..], &["role=standby", &primary]].concat();
    let two = Broker::start(scratch, binary, "two", &sets)?;
    let shows = |wanted: &[(u8, &Broker)]| {
        (0..2_u8).try_for_each(|shard| {
            let at = |(id, of): &(u8, &Broker)| (*id, of.port(shard));
            let ports: Vec<(u8, u16)> = wanted.iter().map(at).collect();
            let broker = format!("pair-{shard}");
            shown::route_is(port, (TOPIC, &broker), &ports, SOON).map(drop)
        })
    };
    in_step(binary, &one)?;
    let mut load = Load::java(&scratch.folder("pair-first")?, &namesrv, here())?;
    std::thread::sleep(LOAD);
    load.stop()?;
    shows(&[(0, &one), (1, &two)])?;
    let (keys, by_standby) = read_on(&load, &namesrv, &mut one, &two)?;
    shows(&[(1, &two)])?;
    operate(binary, "promote", &two)?;
    shows(&[(0, &two)])?;
    one.start_again()?;
    shows(&[(0, &two), (1, &one)])?;
    in_step(binary, &two)?;
    let mut load = Load::java(&scratch.folder("pair-second")?, &namesrv, here())?;
    std::thread::sleep(LOAD);
    operate(binary, "switchover", &two)?;
    shows(&[(0, &one), (1, &two)])?;
    load.stop()?;
    let (more, lost, said) = load.verify(&namesrv)?;
    if lost > 0 {
        return Err(format!("registration: {said}"));
    }
    Ok(format!(
        "a pair under ids 0 and 1: of {keys} messages a Java consumer read {by_standby} at the \
         standby when the primary was killed, ids changed places twice, {more} more over a \
         switchover"
    ))
}

/// A stock consumer begins at the primary, which is killed as soon as it has handed something out.
/// Messages, and how many of them the standby handed out.
fn read_on(
    load: &Load,
    namesrv: &str,
    one: &mut Broker,
    two: &Broker,
) -> Result<(u64, u64), String> {
    let before_one = shown::handed_out(one.control_port())?;
    let before_two = shown::handed_out(two.control_port())?;
    let reading = load.begin_reading(namesrv)?;
    let until = Instant::now() + SOON;
    while shown::handed_out(one.control_port())? == before_one {
        if Instant::now() >= until {
            return Err("registration: the consumer does not begin at the primary".into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    one.kill()?;
    let (keys, lost, said) = reading.end()?;
    let by_standby = shown::handed_out(two.control_port())? - before_two;
    match lost > 0 || by_standby == 0 {
        true => Err(format!("registration: {said}; {by_standby} at the standby")),
        false => Ok((keys, by_standby)),
    }
}

/// Waits until both shards have a standby in step.
fn in_step(binary: &Path, primary: &Broker) -> Result<(), String> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let mut command = std::process::Command::new(binary);
        command.args(["status", "--json", "--control", &primary.control()]);
        let out = command.output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        if text.matches("\"standing\":\"in sync\"").count() == 2 {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(format!("registration: no standby is in step: {text}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One of the operator's words to a box.
fn operate(binary: &Path, word: &str, to: &Broker) -> Result<(), String> {
    let mut command = std::process::Command::new(binary);
    toolbox::run(command.args([word, "--control", &to.control()]))
}
