//! Damage in one half of a pair is healed from the other, on the simulated kernel: bytes of settled
//! segments are changed under a node, in both roles, while it runs and before it starts.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends there")]

use std::path::{Path, PathBuf};

use weir::broker::{GroupConfig, Meta};
use weir::commitlog::{BlockHeader, SEGMENT_HEADER, segment_path};
use weir::replica::{Healing, ReplicaOptions, Role};
use weir::shard::{Answer, OpenFault, Shard, Taken};
use weir_io::sim::{World, WorldOptions};
use weir_sim::bed::{DIR, Node, options, replica, until};

fn body(n: i32) -> Vec<u8> {
    format!("{n:08}-{}", "x".repeat(3000)).into_bytes()
}

/// Sends `range` through the first node; all are answered with success.
fn send_all(nodes: &mut [&mut Node], range: std::ops::Range<i32>) {
    let (mut next, mut open) = (range.start, Vec::new());
    until(nodes, |nodes| {
        while next < range.end && open.len() < 32 {
            match nodes[0].offer(next, &body(next)) {
                Ok(Taken::Waiting) => open.push(next),
                Ok(Taken::Full) => break,
                Err((code, remark)) => panic!("{code}: {remark}"),
            }
            next += 1;
        }
        open.retain(|opaque| match nodes[0].answer(*opaque) {
            Some(Answer::Sent { .. }) => false,
            Some(other) => panic!("message {opaque}: {other:?}"),
            None => true,
        });
        next == range.end && open.is_empty()
    });
}

/// Messages that are sent first: more than staging memory holds.
const MESSAGES: i32 = 900;

/// A pair in step with messages in its log, all of it durable on both.
fn settled(seed: u64, change: impl Fn(&mut ReplicaOptions)) -> (Node, Node) {
    let a = World::new(WorldOptions { seed, ..WorldOptions::default() });
    let b = a.another_machine();
    let (mut primary, mut standby) = (replica(Role::Primary, 1), replica(Role::Standby, 2));
    change(&mut primary);
    change(&mut standby);
    let (mut a, mut b) = (Node::open(&a, options(primary)), Node::open(&b, options(standby)));
    until(&mut [&mut a, &mut b], |nodes| {
        let known = nodes[0].shard.broker.catalog.group("g").is_some();
        let sync = ["in sync", "async"].contains(&nodes[0].report().standing);
        if sync && !known {
            let group = Meta::GroupPut(GroupConfig::new("g"));
            nodes[0].shard.change(&mut nodes[0].driver, group).unwrap();
        }
        sync && nodes[1].report().end == nodes[0].report().end
    });
    send_all(&mut [&mut a, &mut b], 0..MESSAGES);
    until(&mut [&mut a, &mut b], |nodes| {
        let end = nodes[0].report().end;
        nodes.iter().all(|node| node.shard.marks().durable >= end)
    });
    (a, b)
}

fn log_file(segment: u32) -> PathBuf {
    segment_path(&Path::new(DIR).join("log"), segment)
}

/// The good blocks of a segment: offset and header.
fn blocks(world: &World, segment: u32) -> Vec<(u64, BlockHeader)> {
    let bytes = world.peek(&log_file(segment), 0, 2 * 1024 * 1024).unwrap();
    let (mut found, mut at) = (Vec::new(), SEGMENT_HEADER as usize);
    while let Ok((header, _)) = BlockHeader::open(&bytes[at..]) {
        found.push((at as u64, header));
        at += header.disk_len();
    }
    found
}

fn whole(world: &World, segment: u32) -> Vec<u8> {
    world.peek(&log_file(segment), 0, 2 * 1024 * 1024).unwrap()
}

/// Reads a queue of `nodes[at]` from its beginning, and asks again as long as it is refused.
fn read_all(nodes: &mut [&mut Node], at: usize, queue: i32) {
    let (mut offset, mut all) = (0, Vec::new());
    let wanted: Vec<Vec<u8>> = (0..MESSAGES).filter(|n| n % 2 == queue).map(body).collect();
    until(nodes, |nodes| {
        if let Some(Ok(pulled)) = nodes[at].pull(queue, offset) {
            offset = pulled.next;
            all.extend(pulled.bodies.into_iter().map(|(_, body)| body));
        }
        assert!(wanted.starts_with(&all), "never wrong bytes");
        all.len() == wanted.len()
    });
}

fn healing(node: &Node) -> Healing {
    node.report().healing
}

/// Has a reader meet the damage on `nodes[at]`, and waits until the node says why it cannot heal.
fn refused(nodes: &mut [&mut Node], at: usize) -> String {
    let mut offsets = [0; 2];
    until(nodes, |nodes| {
        for (queue, offset) in (0..).zip(&mut offsets) {
            if let Some(Ok(pulled)) = nodes[at].pull(queue, *offset) {
                *offset = pulled.next;
            }
        }
        healing(nodes[at]).why.is_some()
    });
    assert_eq!(healing(nodes[at]).damaged, 1);
    healing(nodes[at]).why.unwrap()
}

#[test]
fn a_block_that_rots_under_either_half_comes_back_from_the_other_and_readers_never_see_it() {
    for (seed, at) in [(1, 0), (2, 1), (3, 0), (4, 1)] {
        let (mut a, mut b) = settled(seed, |_| {});
        let mut nodes = [&mut a, &mut b];
        let before = whole(&nodes[at].world, 1);
        let found = blocks(&nodes[at].world, 1);
        let (offset, header) = found[found.len() / 3];
        // Into the records; another time into the header, of which the sum cannot be had again.
        let byte = if seed < 3 { 64 + u64::from(header.payload_len) / 2 } else { seed * 6 };
        nodes[at].world.flip(&log_file(1), offset + byte, 0x10).unwrap();
        for queue in 0..2 {
            read_all(&mut nodes, at, queue);
        }
        let expected = Healing { damaged: 0, healed: 1, why: None };
        until(&mut nodes, |nodes| healing(nodes[at]) == expected);
        let after = whole(&nodes[at].world, 1);
        assert!(seed > 2 || after == before, "bit for bit as it was");
        assert_eq!(blocks(&nodes[at].world, 1).len(), found.len());
        assert_eq!(healing(nodes[1 - at]), Healing::default());
        nodes[at].world.power_cut();
        assert!(whole(&nodes[at].world, 1) == after, "what was healed is durable");
    }
}

#[test]
fn what_no_reader_met_is_found_and_healed_by_reading_sealed_segments_over() {
    let (mut a, mut b) = settled(14, |options| options.scrub_bytes = 1 << 20);
    let before = whole(&b.world, 1);
    let found: Vec<(u64, BlockHeader)> = blocks(&b.world, 1);
    let large = |(_, header): &&(u64, BlockHeader)| header.payload_len > 3000;
    let (offset, _) = found.iter().rfind(large).unwrap();
    b.world.flip(&log_file(1), offset + 2000, 0x80).unwrap();
    // Nothing was sealed when it looked first; it looks again after a minute.
    b.world.advance_by(61_000_000_000);
    until(&mut [&mut a, &mut b], |nodes| healing(nodes[1]).healed == 1);
    assert!(whole(&b.world, 1) == before);
    assert_eq!(healing(&a), Healing::default());
}

#[test]
fn what_is_damaged_on_both_stays_refused_and_named_until_one_of_them_is_whole() {
    let (mut a, mut b) = settled(5, |_| {});
    let (offset, header) = blocks(&a.world, 1)[3];
    let (other, same) = blocks(&b.world, 1)[3];
    assert_eq!((offset, header.start), (other, same.start), "both stand at the same places");
    for node in [&a, &b] {
        node.world.flip(&log_file(1), offset + 100, 1).unwrap();
    }
    let why = refused(&mut [&mut a, &mut b], 0);
    assert!(why.contains("damaged on the other half as well"), "{why}");
    let damaged = whole(&a.world, 1);
    until(&mut [&mut a, &mut b], |nodes| healing(nodes[1]).why.is_some());
    assert_eq!((healing(&a).healed, healing(&b).healed), (0, 0));
    assert!(whole(&a.world, 1) == damaged, "nothing was written over it");
    b.world.flip(&log_file(1), offset + 100, 1).unwrap();
    until(&mut [&mut a, &mut b], |nodes| nodes.iter().all(|node| healing(node).damaged == 0));
    assert_eq!(healing(&a).healed, 1);
    read_all(&mut [&mut a, &mut b], 0, 0);
}

#[test]
fn without_the_other_half_damage_stays_refused_and_is_healed_when_it_is_back() {
    let (mut a, mut b) = settled(6, |options| options.sync = false);
    let large = |(_, header): &(u64, BlockHeader)| header.payload_len > 3000;
    let (offset, _) = blocks(&a.world, 1).into_iter().find(large).unwrap();
    a.world.partition(&b.world);
    a.world.flip(&log_file(1), offset + 200, 8).unwrap();
    let why = refused(&mut [&mut a, &mut b], 0);
    assert!(why.contains("the other half"), "{why}");
    a.world.heal(&b.world);
    until(&mut [&mut a, &mut b], |nodes| healing(nodes[0]).healed == 1);
    read_all(&mut [&mut a, &mut b], 0, 1);
}

#[test]
fn what_the_other_half_never_got_is_not_made_up() {
    let (mut a, b) = settled(7, |options| options.sync = false);
    b.world.kill();
    send_all(&mut [&mut a], MESSAGES..3 * MESSAGES);
    let end = a.report().end;
    until(&mut [&mut a], |nodes| nodes[0].shard.marks().durable >= end);
    let held = b.report().end;
    // It is back, and cannot follow: its device takes nothing.
    let mut b = b.restart(|options| options.replica.as_mut().unwrap().sync = true);
    b.world.faults(|faults| faults.write_error_ppm = 1_000_000);
    let lost = |header: &BlockHeader| header.start > held + 1_500_000;
    let found = (1..4).find_map(|segment| {
        let all = blocks(&a.world, segment);
        all.into_iter().find(|(_, header)| lost(header)).map(|(offset, _)| (segment, offset))
    });
    let (segment, offset) = found.unwrap();
    a.world.flip(&log_file(segment), offset + 64, 2).unwrap();
    let damaged = whole(&a.world, segment);
    let why = refused(&mut [&mut a, &mut b], 0);
    assert!(why.contains("up to") || why.contains("cannot be reached"), "{why}");
    assert!(whole(&a.world, segment) == damaged);
}

/// Starts a killed node while the other one turns beside it.
fn start_beside(node: Node, other: &mut Node, healed: &mut u64) -> Result<Node, OpenFault> {
    let Node { world, options, driver, shard, .. } = node;
    drop((driver, shard));
    let mut driver = world.driver();
    let opened = Shard::open_watched(&mut driver, options.clone(), &mut |_| {
        other.turn();
        world.advance();
    });
    let (shard, _) = opened?;
    *healed = shard.replica_report().unwrap().healing.healed;
    // As after `kill -9`: what was healed is on the disk, and the next start finds it.
    world.kill();
    drop((driver, shard));
    Ok(Node::open(&world, options))
}

/// The two halves tell each other where clients find them, and who reads far behind is sent to the
/// standby while that is in step.
#[test]
fn who_reads_far_behind_is_sent_to_the_standby_and_back_when_it_caught_up() {
    let (mut a, mut b) = settled(13, |_| {});
    assert_eq!(a.shard.neighbour(), Some((1, "127.0.0.1:20911")));
    assert_eq!(b.shard.neighbour(), Some((0, "127.0.0.1:10911")));
    for at in 0..2 {
        let mut suggested = Vec::new();
        let mut offset = 0;
        until(&mut [&mut a, &mut b], |nodes| {
            if let Some(Ok(pulled)) = nodes[at].pull(0, offset) {
                suggested.extend((!pulled.bodies.is_empty()).then_some(pulled.suggest));
                offset = pulled.next;
            }
            offset == i64::from(MESSAGES) / 2
        });
        let first = suggested.iter().position(|id| *id == 0).unwrap();
        assert!(first > 0 && suggested[..first].iter().all(|id| *id == 1), "{suggested:?}");
        assert!(suggested[first..].iter().all(|id| *id == 0), "node {at}: {suggested:?}");
    }
    a.world.partition(&b.world);
    until(&mut [&mut a, &mut b], |nodes| nodes.iter().all(|n| n.shard.neighbour().is_none()));
    let mut pulled = None;
    until(&mut [&mut a, &mut b], |nodes| {
        pulled = nodes[0].pull(0, 0).and_then(Result::ok);
        pulled.is_some()
    });
    assert_eq!(pulled.unwrap().suggest, 0, "nobody is sent to a standby that is not there");
}

#[test]
fn a_start_that_meets_damage_heals_it_from_the_other_half_whatever_its_role() {
    for (seed, at) in [(8, 0), (9, 1), (10, 0), (11, 1)] {
        let (a, b) = settled(seed, |_| {});
        let (node, mut other) = if at == 0 { (a, b) } else { (b, a) };
        node.world.kill();
        let found = blocks(&node.world, 1);
        let hit = [found[1].0 + 70, found[4].0 + seed, found[5].0 + 90, found[6].0 + 20];
        for byte in hit {
            node.world.flip(&log_file(1), byte, 4).unwrap();
        }
        let mut healed = 0;
        let opened = start_beside(node, &mut other, &mut healed);
        let mut node = opened.unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!(healed, 2, "one block, and three in a row: seed {seed}");
        assert_eq!(blocks(&node.world, 1).last(), found.last(), "seed {seed}");
        for queue in 0..2 {
            read_all(&mut [&mut node, &mut other], 0, queue);
        }
    }
}

#[test]
fn a_start_refuses_damage_as_before_when_nobody_can_heal_it_and_says_why() {
    let (a, mut b) = settled(12, |_| {});
    a.world.kill();
    let (offset, _) = blocks(&a.world, 1)[2];
    a.world.flip(&log_file(1), offset + 80, 4).unwrap();
    b.world.flip(&log_file(1), offset + 80, 4).unwrap();
    let damaged = whole(&a.world, 1);
    let (world, options) = (a.world.clone(), a.options.clone());
    match start_beside(a, &mut b, &mut 0) {
        Err(OpenFault::Damaged(text)) => {
            assert!(text.contains(&format!("segment 1 is damaged at offset {offset}")), "{text}");
            assert!(text.contains("damaged on the other half as well"), "{text}");
        }
        other => panic!("{:?}", other.err()),
    }
    assert!(whole(&world, 1) == damaged, "nothing was changed");
    // Nobody turns the other half: as if it were down.
    match Node::try_open(&world, options) {
        Err(OpenFault::Damaged(text)) => assert!(text.contains("did not answer"), "{text}"),
        other => panic!("{:?}", other.err()),
    }
}
