//! The byte format on disk: what version 1 wrote is read by every later build.
//!
//! `tests/format/version-1.hex` is a data directory that was written when the format was settled
//! (docs/format.md): one half of a pair, alone, after a clean stop. It is never written anew; a
//! format that changes gets a second file beside it. Here it is laid on a simulated disk and
//! opened: with everything, and with the log alone, which is the only truth. With
//! `WEIR_FORMAT_OUT` in the environment, what today's build writes is left at that path.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use weir::broker::{GroupConfig, Meta};
use weir::replica::{ReplicaOptions, Role};
use weir::shard::{Answer, ShardOptions, Taken};
use weir_io::sim::{World, WorldOptions};
use weir_io::{Driver, OpenMode};
use weir_sim::bed::{DIR, Node, options, replica, until};

const VERSION_1: &str = include_str!("format/version-1.hex");
/// Bytes of a line of a fixture; lines of zeros are left out.
const LINE: usize = 32;
/// Messages in a fixture: the last is longer than a page.
const MESSAGES: i32 = 9;

fn body(n: i32) -> Vec<u8> {
    let long = if n == MESSAGES - 1 { 5000 } else { 0 };
    format!("message {n} {}", "x".repeat(long)).into_bytes()
}

fn world(seed: u64) -> World {
    World::new(WorldOptions { seed, ..WorldOptions::default() })
}

fn alone() -> ShardOptions {
    options(ReplicaOptions { sync: false, refuse: false, ..replica(Role::Primary, 1) })
}

fn send(node: &mut Node, n: i32) {
    let taken = node.offer(n, &body(n)).map(|taken| matches!(taken, Taken::Waiting));
    assert_eq!(taken, Ok(true));
    until(&mut [node], |nodes| {
        let answer = nodes[0].answer(n);
        assert!(matches!(answer, None | Some(Answer::Sent { .. } | Answer::Less { .. })));
        answer.is_some()
    });
}

/// A data directory as today's build writes it.
fn written() -> String {
    let world = world(1);
    let mut node = Node::open(&world, alone());
    let group = Meta::GroupPut(GroupConfig::new("g"));
    node.shard.change(&mut node.driver, group).unwrap();
    (0..MESSAGES).for_each(|n| send(&mut node, n));
    node.shard.broker.update_offset("g", "t", Some(0), Some(3)).unwrap();
    node.shard.close(&mut node.driver).unwrap();
    drop(node);
    let mut text = String::new();
    for (path, len) in world.files() {
        let Ok(name) = Path::new(&path).strip_prefix(DIR) else { continue };
        writeln!(text, "{} {len}", name.display()).unwrap();
        let bytes = world.peek(Path::new(&path), 0, len as usize).unwrap();
        for (at, line) in bytes.chunks(LINE).enumerate() {
            if line.iter().any(|byte| *byte != 0) {
                let hex: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
                writeln!(text, "  {:x} {hex}", at * LINE).unwrap();
            }
        }
    }
    text
}

/// Lays the files of `text` for which `kept` holds on the disk of `world`.
fn lay(world: &World, text: &str, kept: impl Fn(&str) -> bool) {
    let mut driver = world.driver();
    let mut file: Option<PathBuf> = None;
    for line in text.lines() {
        if let Some(bytes) = line.strip_prefix("  ") {
            let (at, hex) = bytes.split_once(' ').unwrap();
            let Some(path) = &file else { continue };
            let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
            let bytes: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
            world.poke(path, u64::from_str_radix(at, 16).unwrap(), &bytes).unwrap();
        } else {
            let (name, len) = line.split_once(' ').unwrap();
            file = kept(name).then(|| Path::new(DIR).join(name));
            if let Some(path) = &file {
                make(&mut driver, path, len.parse().unwrap());
            }
        }
    }
}

fn make(driver: &mut Driver, path: &Path, len: u64) {
    driver.create_dir(path.parent().unwrap()).unwrap();
    let mode = OpenMode { create: true, write: true, direct: false };
    let file = driver.open(path, mode).unwrap();
    driver.allocate(file, len).unwrap();
    driver.close_file(file);
}

/// Opens what was laid, finds all of it, and goes on.
fn is_whole(world: &World) {
    let mut node = Node::open(world, alone());
    let sent = |queue: i32, upto: i32| -> Vec<Vec<u8>> {
        (0..upto).filter(|n| n % 2 == queue).map(body).collect()
    };
    let all = |node: &mut Node| [0, 1].map(|queue| node.drain(queue));
    assert_eq!(all(&mut node), [0, 1].map(|queue| sent(queue, MESSAGES)));
    assert_eq!(node.shard.broker.offsets.get("g", "t", 0), Some(3));
    assert!(node.shard.broker.catalog.group("g").is_some());
    assert_eq!(node.report().role, Role::Primary);
    (MESSAGES..MESSAGES + 4).for_each(|n| send(&mut node, n));
    assert_eq!(all(&mut node), [0, 1].map(|queue| sent(queue, MESSAGES + 4)));
}

#[test]
fn what_version_1_wrote_is_read_and_goes_on() {
    let world = world(2);
    lay(&world, VERSION_1, |_| true);
    is_whole(&world);
}

#[test]
fn of_version_1_the_log_and_the_half_of_the_pair_are_enough() {
    let world = world(3);
    lay(&world, VERSION_1, |name| name.starts_with("log/") || name.starts_with("pair"));
    is_whole(&world);
}

#[test]
fn what_is_written_today_is_read_in_the_same_way() {
    let text = written();
    if let Some(path) = std::env::var_os("WEIR_FORMAT_OUT") {
        std::fs::write(path, &text).unwrap();
    }
    let world = world(4);
    lay(&world, &text, |_| true);
    is_whole(&world);
}
