//! Crash tests of the log alone, on the simulated kernel: every promise is remembered, the
//! process or the machine dies at any step, and the next start must have it all.

use std::path::PathBuf;
use std::time::Duration;

use weir_io::sim::{Death, Random, World, WorldOptions};
use weir_io::{Driver, Errno, Event};

use super::*;

fn options(sync_flush: bool) -> LogOptions {
    LogOptions {
        dir: PathBuf::from("/data/log"),
        shard: 0,
        shards: 1,
        new_log_id: 0xABCD,
        segment_bytes: 2 * 1024 * 1024,
        staging_name: "weir-test-0".to_owned(),
        staging_bytes: 1024 * 1024,
        sync_flush,
        flush_interval_ms: 5,
        prepare_ahead: 512 * 1024,
        lock_patience_ms: 5000,
        serve_around: false,
    }
}

/// The log as its users remember it.
#[derive(Default)]
struct Memory {
    records: Vec<(u64, Vec<u8>)>,
    durable: u64,
    staged: u64,
    /// What the next start must have.
    promised: u64,
}

struct Run {
    driver: Driver,
    log: Log,
    events: Vec<Event>,
}

fn record(random: &mut Random, position: u64) -> Vec<u8> {
    let len = match random.range(0..30) {
        0 => 20_000 + random.range(0..200_000),
        _ => 16 + random.range(0..3000),
    } as usize;
    let mut bytes = vec![(position % 253) as u8; len];
    bytes[..4].copy_from_slice(&(len as u32).to_be_bytes());
    bytes[8..16].copy_from_slice(&position.to_be_bytes());
    bytes
}

fn turn(run: &mut Run) -> Result<(), Errno> {
    let deadline = run.driver.now_ns() + 1_000_000;
    run.driver.wait(deadline, &mut run.events)?;
    for event in std::mem::take(&mut run.events) {
        run.log.on_event(&mut run.driver, event);
    }
    run.log.publish();
    run.log.drive(&mut run.driver);
    run.log.invariants();
    run.driver.submit()
}

/// Opens the log and checks it against what was promised.
fn open(world: &World, sync: bool, memory: &mut Memory) -> Result<Run, Errno> {
    let mut driver = world.driver();
    let mut found = Vec::new();
    let opened = Log::open(&mut driver, options(sync), None, &mut |_, position, bytes| {
        found.push((position, bytes.to_vec()));
        0
    });
    let (log, report) = match opened {
        Ok(opened) => opened,
        Err(_) if world.is_dead() => return Err(Errno::CANCELED),
        Err(error) => panic!("a start was refused after a mere death (sync {sync}): {error}"),
    };
    let promised = memory.promised;
    assert!(report.end >= promised, "promised {promised}, found {} ({report:?})", report.end);
    let kept = memory.records.partition_point(|(position, _)| *position < report.end);
    let first = found.first().map_or(report.end, |(position, _)| *position);
    let from = memory.records.partition_point(|(position, _)| *position < first);
    assert_eq!(first, log.min_position().max(first));
    assert_eq!(found, memory.records[from..kept], "records differ");
    memory.records.truncate(kept);
    (memory.durable, memory.staged, memory.promised) = (report.end, report.end, report.end);
    let mut run = Run { driver, log, events: Vec::new() };
    // The generation record: one record must be durable before anything is promised.
    while !(run.log.is_settled() && run.log.watermarks().appended > report.end) {
        if run.log.watermarks().appended == report.end {
            append(&mut run, memory, &[0, 0, 0, 16, 9, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0]);
            run.log.want_durable(u64::MAX);
        }
        turn(&mut run)?;
    }
    Ok(run)
}

fn append(run: &mut Run, memory: &mut Memory, bytes: &[u8]) -> bool {
    let (log, driver) = (&mut run.log, &mut run.driver);
    if log.can_take(bytes.len()).is_err() {
        return false;
    }
    let taken = log.append(driver, bytes.len(), 0, |_, room| room.copy_from_slice(bytes));
    let Ok(position) = taken else { return false };
    memory.records.push((position, bytes.to_vec()));
    true
}

fn live(run: &mut Run, random: &mut Random, memory: &mut Memory) -> Result<(), Errno> {
    loop {
        for _ in 0..random.range(0..12) {
            let bytes = record(random, run.log.watermarks().appended);
            if !append(run, memory, &bytes) {
                break;
            }
        }
        if random.range(0..9) == 0 {
            run.log.want_durable(run.log.watermarks().appended);
        }
        if random.range(0..40) == 0 {
            let durable = run.log.watermarks().durable;
            let rule = Retention {
                age_ms: 0,
                now_ms: 0,
                by_age: false,
                size_bytes: 6 * 1024 * 1024,
                keep_from: durable,
                forced: false,
            };
            run.log.expire(&mut run.driver, rule)?;
        }
        turn(run)?;
        let marks = run.log.watermarks();
        memory.durable = memory.durable.max(marks.durable);
        memory.staged = memory.staged.max(marks.staged);
    }
}

fn deaths(seed: u64, rounds: u32, faults: impl Fn(&World)) {
    let world = World::new(WorldOptions { seed, ..WorldOptions::default() });
    faults(&world);
    let mut random = Random::new(seed, "commitlog");
    let mut memory = Memory::default();
    let sync = seed.is_multiple_of(2);
    for _ in 0..rounds {
        let death = if random.range(0..2) == 0 { Death::PowerCut } else { Death::Kill };
        world.die_in(random.range(0..4000), death);
        let opened = open(&world, sync, &mut memory);
        if let Ok(mut run) = opened {
            let ended = live(&mut run, &mut random, &mut memory);
            assert!(ended.is_err() && world.is_dead());
        }
        world.disarm();
        memory.promised = match death {
            Death::PowerCut => memory.durable,
            _ => memory.promised.max(memory.staged),
        };
        memory.staged = memory.promised;
        world.advance_by(Duration::from_millis(200).as_nanos() as u64);
    }
}

#[test]
#[should_panic(expected = "promised")]
fn a_device_that_ignores_flushes_turns_this_test_red() {
    for seed in 1..=24 {
        deaths(seed, 12, |world| world.faults(|faults| faults.ignore_sync = true));
    }
}

#[test]
fn nothing_promised_is_lost_by_kill_or_power_cut_at_any_step() {
    for seed in 1..=24 {
        deaths(seed, 12, |_| {});
    }
}
