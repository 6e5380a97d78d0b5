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

/// Segment, offset and header of a block.
type BlockAt = (u32, u64, BlockHeader);

/// A settled log of several segments: its records, and each block's segment, offset and header.
fn settled(world: &World) -> (Vec<(u64, Vec<u8>)>, Vec<BlockAt>) {
    let mut memory = Memory::default();
    let mut run = open(world, true, &mut memory).expect("no death is armed");
    for number in 0..300u64 {
        let mut bytes = vec![number as u8; 20_000];
        bytes[..4].copy_from_slice(&20_000u32.to_be_bytes());
        while !append(&mut run, &mut memory, &bytes) {
            turn(&mut run).expect("a calm world");
        }
        run.log.want_durable(u64::MAX);
        turn(&mut run).expect("a calm world");
    }
    while !run.log.is_settled() {
        run.log.want_durable(u64::MAX);
        turn(&mut run).expect("a calm world");
    }
    drop(run);
    world.kill();
    let mut blocks = Vec::new();
    for segment in 1.. {
        let path = segment_path(&options(true).dir, segment);
        let Ok(bytes) = world.peek(&path, 0, 2 * 1024 * 1024) else { break };
        let mut offset = SEGMENT_HEADER;
        while let Some(Ok((header, _))) = bytes.get(offset as usize..).map(BlockHeader::open) {
            blocks.push((segment, offset, header));
            offset += header.disk_len() as u64;
        }
    }
    assert!(blocks.last().is_some_and(|(segment, ..)| *segment >= 3), "several segments");
    (memory.records, blocks)
}

type Opened = Result<(Log, Recovered, Vec<(u64, Vec<u8>)>), LogError>;

fn look(world: &World, serve_around: bool, image: Option<LogImage>) -> Opened {
    look_with(&mut world.driver(), serve_around, image)
}

fn look_with(driver: &mut Driver, serve_around: bool, image: Option<LogImage>) -> Opened {
    let mut found = Vec::new();
    let options = LogOptions { serve_around, ..options(true) };
    let opened = Log::open(driver, options, image, &mut |_, position, bytes| {
        found.push((position, bytes.to_vec()));
        0
    });
    opened.map(|(log, report)| (log, report, found))
}

/// Flips a byte of each block and gives the positions that went with them.
fn rot(world: &World, blocks: &[BlockAt]) -> Vec<std::ops::Range<u64>> {
    let flip = |(segment, offset, header): &BlockAt| {
        let path = segment_path(&options(true).dir, *segment);
        world.flip(&path, offset + 70, 1).expect("the file is there");
        header.start..header.end()
    };
    blocks.iter().map(flip).collect()
}

#[test]
fn damage_in_the_first_block_of_a_segment_is_named_there() {
    let world = World::new(WorldOptions::default());
    let (_, blocks) = settled(&world);
    let first = blocks.iter().find(|(segment, ..)| *segment == 2).copied().expect("a second one");
    rot(&world, &[first]);
    match look(&world, false, None) {
        Err(LogError::Damage(damage, position)) => {
            assert_eq!((damage.segment, damage.offset), (2, SEGMENT_HEADER));
            assert_eq!(position, first.2.start);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn damaged_header_pages_are_written_anew_unless_no_block_or_no_other_header_says_whose_they_are() {
    let world = World::new(WorldOptions { seed: 9, ..WorldOptions::default() });
    let (records, blocks) = settled(&world);
    let path = |number| segment_path(&options(true).dir, number);
    let last = blocks.last().map(|(segment, ..)| *segment).expect("blocks");
    // The second one's first block is gone too; the one behind it still says where it belongs.
    rot(&world, &[*blocks.iter().find(|(segment, ..)| *segment == 2).expect("a second one")]);
    for number in [2, last] {
        world.flip(&path(number), 20, 3).expect("the file is there");
    }
    let (_, report, found) = look(&world, true, None).expect("served around");
    assert_eq!(report.headers, [2, last]);
    assert!(found.len() < records.len());
    let world = World::new(WorldOptions { seed: 9, ..WorldOptions::default() });
    settled(&world);
    let before = world.peek(&path(2), 0, 4096).expect("it is there");
    world.flip(&path(2), 20, 3).expect("the file is there");
    let (_, report, found) = look(&world, false, None).expect("nothing is missing");
    assert_eq!((report.headers, found.len()), (vec![2], records.len()));
    assert!(world.peek(&path(2), 0, 4096).expect("it is there") == before, "bit for bit");
    for number in 1..=last + 1 {
        // The one behind the last may have been made already.
        let _ = world.flip(&path(number), 20, 1);
    }
    let refused = look(&world, false, None);
    assert!(matches!(refused, Err(LogError::Damage(..))), "nobody says whose log it is");
}

#[test]
fn everything_but_the_damaged_blocks_is_served_and_told_at_every_start() {
    let first_of = |blocks: &[BlockAt], wanted: u32| {
        blocks.iter().position(|(segment, ..)| *segment == wanted).expect("that segment")
    };
    type Choice = fn(&[BlockAt], usize) -> Vec<usize>;
    let choices: [Choice; 5] = [
        |_, second| vec![second],
        |_, second| vec![second - 1],
        |_, second| vec![second - 1, second],
        |_, _| vec![0],
        |_, second| vec![3, 4, 9, second + 5],
    ];
    for (number, choice) in choices.into_iter().enumerate() {
        let world = World::new(WorldOptions { seed: 3, ..WorldOptions::default() });
        let (records, blocks) = settled(&world);
        let hit: Vec<_> =
            choice(&blocks, first_of(&blocks, 2)).into_iter().map(|at| blocks[at]).collect();
        let gone = rot(&world, &hit);
        assert!(look(&world, false, None).is_err(), "choice {number}: refused without the choice");
        let expected: Vec<_> = records
            .iter()
            .filter(|(position, _)| !gone.iter().any(|gone| gone.contains(position)))
            .cloned()
            .collect();
        for start in 0..2 {
            let (mut log, report, found) = look(&world, true, None).expect("served around");
            assert!(found == expected, "choice {number}, start {start}: other records");
            let lost: u64 = log.holes().map(|(_, hole)| hole.upto - hole.from).sum();
            assert_eq!(lost, gone.iter().map(|gone| gone.end - gone.start).sum::<u64>());
            let damaged: Vec<u32> = log.damaged_segments().collect();
            let mut told: Vec<u32> = hit.iter().map(|(segment, ..)| *segment).collect();
            told.dedup();
            assert_eq!(damaged, told, "choice {number}");
            // A checkpoint behind the damage remembers it.
            let image = log.image();
            assert_eq!(image.position, report.end);
            let (log, again, found) = look(&world, true, Some(image.clone())).expect("resumed");
            assert!(again.resumed && found.is_empty() && log.holes().count() > 0);
            let refused = look(&world, false, Some(image));
            assert!(matches!(refused, Err(LogError::Hole(..))), "{refused:?}");
        }
    }
}

#[test]
fn a_segment_that_is_gone_is_a_hole_and_a_damaged_one_stays_when_it_is_forgotten() {
    let world = World::new(WorldOptions { seed: 4, ..WorldOptions::default() });
    let (records, blocks) = settled(&world);
    let of = |wanted: u32| blocks.iter().filter(move |(segment, ..)| *segment == wanted);
    world.driver().remove(&segment_path(&options(true).dir, 2)).expect("it was there");
    rot(&world, &[*of(1).nth(2).expect("a third block")]);
    assert!(matches!(look(&world, false, None), Err(LogError::Missing(1, 3))));
    let mut driver = world.driver();
    let (mut log, _, found) = look_with(&mut driver, true, None).expect("served around");
    let second = of(2).map(|(_, _, header)| header.start).min().zip(of(2).next_back());
    let (from, upto) = second.map(|(from, last)| (from, last.2.end())).expect("blocks");
    let kept = |position: &u64| *position < from || *position >= upto;
    let rotten = of(1).nth(2).map(|(_, _, header)| header.start..header.end()).expect("it");
    let expected =
        records.iter().filter(|(position, _)| kept(position) && !rotten.contains(position)).count();
    assert_eq!(found.len(), expected);
    let durable = log.watermarks().durable;
    let rule = Retention {
        age_ms: 0,
        now_ms: 0,
        by_age: false,
        size_bytes: 1,
        keep_from: durable,
        forced: true,
    };
    let left = log.expire(&mut driver, rule).expect("a rename");
    assert_eq!(left, Some(upto));
    let names: Vec<String> = world.files().into_iter().map(|(name, _)| name).collect();
    let kept = |name: &String| name.rsplit('/').next().is_some_and(is_quarantined);
    assert_eq!(names.iter().filter(|name| kept(name)).count(), 1, "{names:?}");
}
