//! The end of a round: both logs are read and compared, with each other and with every promise.
//!
//! Both processes end cleanly first, so that the logs are read as the next start would read them.
//! Never: a record that only one of the two has.

use std::collections::BTreeMap;

use weir::broker::Meta;
use weir::commitlog::Log;
use weir_wire::message::Record;

use super::half::Half;
use super::plan::Mode;
use super::round::{GROUP, Round, TOPIC, number};
use crate::oracle::Broken;

/// A log: bytes of each record, by position.
type Records = BTreeMap<u64, Vec<u8>>;

/// Ends both processes and compares.
pub(super) fn look(round: &mut Round) -> Result<(), Broken> {
    let primary = usize::from(round.halves[1].last.role == weir::replica::Role::Primary);
    for who in [primary, 1 - primary] {
        let Some(node) = &round.halves[who].node else { return Err(format!("box {who} is down")) };
        let offsets = &node.shard.broker.offsets;
        let stands = |queue: i32| offsets.get(GROUP, TOPIC, queue as u32);
        round.witness.look_at_offsets(stands).map_err(|why| format!("box {who}: {why}"))?;
    }
    // The standby first: a primary that is alone writes nothing more.
    let standby = read(&mut round.halves[1 - primary])?;
    let own = read(&mut round.halves[primary])?;
    round.tally.compared += compare(&own, &standby)?;
    let found = messages(&own);
    round.tally.excused += round.witness.look_at_log(&found)?;
    if round.plan.mode == Mode::Refuse {
        round.witness.look_at_given(&found)?;
    }
    Ok(())
}

/// Closes the shard of a box and reads its log.
fn read(half: &mut Half) -> Result<Records, Broken> {
    let Some(mut node) = half.node.take() else { return Err("a box is down".to_owned()) };
    let closed = node.shard.close(&mut node.driver);
    closed.map_err(|errno| format!("a shard cannot be closed: {errno}"))?;
    drop(node);
    let mut driver = half.world.driver();
    let mut records = Records::new();
    let options = half.options.log.clone();
    Log::open(&mut driver, options, None, &mut |_, position, bytes| {
        records.insert(position, bytes.to_vec());
        0
    })
    .map_err(|error| format!("a log cannot be read: {error}"))?;
    Ok(records)
}

/// Both hold the same, from where both begin.
fn compare(one: &Records, two: &Records) -> Result<u64, Broken> {
    let first = |log: &Records| log.keys().next().copied().unwrap_or(0);
    let from = first(one).max(first(two));
    let (mut left, mut right) = (one.range(from..), two.range(from..));
    let mut same = 0;
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Ok(same),
            (Some(here), Some(there)) if here == there => same += 1,
            (here, there) => {
                let place = |found: Option<(&u64, &Vec<u8>)>| {
                    found.map(|(position, bytes)| (*position, bytes.len()))
                };
                let (here, there) = (place(here), place(there));
                return Err(format!("the logs differ: primary {here:?}, standby {there:?}"));
            }
        }
    }
}

/// Number, queue and offset of each message.
fn messages(log: &Records) -> BTreeMap<u64, (i32, i32, u64)> {
    let parsed = log.iter().filter(|(_, bytes)| !Meta::is_meta(bytes)).filter_map(|(at, bytes)| {
        let record = Record::parse(bytes).ok()?;
        let id = number(record.body())?;
        Some((*at, (id, record.queue_id(), record.queue_offset() as u64)))
    });
    parsed.collect()
}
