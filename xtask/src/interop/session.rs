//! One stock client through all features, on a broker of its own.
//!
//! The program prints a line for each case; when it says `WAIT kill` the broker is killed and
//! started again before the answer.

use std::path::Path;
use std::time::{Duration, Instant};

use super::broker::Broker;
use super::client::{Client, FEATURES, Task};
use super::process::Process;
use super::scratch::Scratch;

const LIMIT: Duration = Duration::from_secs(150);
/// Offsets are made durable within a few hundred milliseconds; a kill before that may lose the
/// last of them, as with any RocketMQ broker.
const OFFSETS_SETTLE: Duration = Duration::from_secs(1);

/// What became of one feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    /// It works.
    Pass,
    /// The client's API has no such method.
    Missing(String),
    /// It does not work, and why.
    Fail(String),
}

/// A column of the run's table.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// Whose.
    pub(super) client: Client,
    /// In the order of [`FEATURES`].
    pub(super) cells: Vec<Cell>,
    /// Wall time of the client's process.
    pub(super) took: Duration,
}

/// Runs one client. An error is trouble of the rig; a failed case is a cell.
pub(super) fn run(scratch: &Scratch, binary: &Path, client: Client) -> Result<Column, String> {
    let mut broker = Broker::start(scratch, binary, client.name, &[])?;
    let namesrv = broker.namesrv();
    let home = scratch.folder(&format!("{}-home", client.name))?;
    let task = Task { namesrv: &namesrv, prefix: "i", feature: "all", journal: None };
    let errors = scratch.path().join(format!("{}.err", client.name));
    let begun = Instant::now();
    let mut process = Process::start(client.command(task, &home)?, client.name, &errors)?;
    let mut cells = vec![None; FEATURES.len()];
    let ended = follow(&mut process, &mut broker, &mut cells, begun + LIMIT);
    let took = begun.elapsed();
    broker.still_there()?;
    let left = match ended {
        Ok(()) => format!("the client did not come to it; {}", process.complaints()),
        Err(why) => why,
    };
    let cells = cells.into_iter().map(|cell| cell.unwrap_or_else(|| Cell::Fail(left.clone())));
    Ok(Column { client, cells: cells.collect(), took })
}

fn follow(
    process: &mut Process,
    broker: &mut Broker,
    cells: &mut [Option<Cell>],
    deadline: Instant,
) -> Result<(), String> {
    while let Some(line) = process.line(deadline)? {
        if line == "WAIT kill" {
            std::thread::sleep(OFFSETS_SETTLE);
            broker.kill_and_restart(None)?;
            process.say("go")?;
        } else if let Some((feature, cell)) = case(&line) {
            let place = FEATURES.iter().position(|known| *known == feature);
            match place.and_then(|place| cells.get_mut(place)) {
                Some(slot) => *slot = Some(cell),
                None => return Err(format!("unknown feature in \"{line}\"")),
            }
        }
    }
    Ok(())
}

/// `CASE <feature> pass`, `CASE <feature> missing <method>` or `CASE <feature> fail <why>`.
fn case(line: &str) -> Option<(&str, Cell)> {
    let (feature, rest) = line.strip_prefix("CASE ")?.split_once(' ')?;
    let cell = match rest.split_once(' ') {
        None if rest == "pass" => Cell::Pass,
        Some(("missing", method)) => Cell::Missing(method.to_owned()),
        Some(("fail", why)) => Cell::Fail(why.to_owned()),
        _ => Cell::Fail(format!("said \"{rest}\"")),
    };
    Some((feature, cell))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_lines_become_cells() {
        assert_eq!(case("CASE sync pass"), Some(("sync", Cell::Pass)));
        assert_eq!(
            case("CASE batch missing Producer.sendBatch"),
            Some(("batch", Cell::Missing("Producer.sendBatch".into())))
        );
        assert_eq!(case("CASE keys fail no key"), Some(("keys", Cell::Fail("no key".into()))));
        assert_eq!(case("CASE keys odd"), Some(("keys", Cell::Fail("said \"odd\"".into()))));
        assert_eq!(case("some log line"), None);
    }
}
