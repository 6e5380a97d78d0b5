//! A whole shard on the simulated kernel: sends, pulls, restarts, lost files, failing devices.
//! The simulator decides when writes land; the tests decide what is taken away in between.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends there")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use weir::broker::{
    BrokerOptions, ConnId, GroupConfig, Meta, PullPlan, PullRequest, ReplyTo, SendRequest,
    TopicChange,
};
use weir::commitlog::LogOptions;
use weir::shard::{Answer, Fetch, OpenFault, Ready, Shard, ShardOptions, Taken, Tuning, Waiter};
use weir_io::sim::{World, WorldOptions};
use weir_io::{Driver, Event};
use weir_wire::frame::Codec;
use weir_wire::header::Text;
use weir_wire::message::Record;

const DIR: &str = "/data/shard-0";

fn options(sync_flush: bool) -> ShardOptions {
    ShardOptions {
        dir: PathBuf::from(DIR),
        log: LogOptions {
            dir: Path::new(DIR).join("log"),
            shard: 0,
            shards: 1,
            new_log_id: 42,
            segment_bytes: 2 * 1024 * 1024,
            staging_name: "weir-shard-test".to_owned(),
            staging_bytes: 1024 * 1024,
            sync_flush,
            flush_interval_ms: 10,
            prepare_ahead: 256 * 1024,
            lock_patience_ms: 5000,
            serve_around: false,
        },
        broker: BrokerOptions { sync_flush, young_bytes: 1 << 30, ..BrokerOptions::default() },
        index_memory_bytes: 4 * 1024 * 1024,
        planned_directories: usize::MAX,
        tuning: Tuning { flush_interval_ms: 10, ..Tuning::default() },
        replica: None,
        quiet: true,
    }
}

struct Box1 {
    driver: Driver,
    shard: Shard,
    events: Vec<Event>,
    ready: Vec<Ready>,
    opaque: i32,
    /// Pulls that had to wait for the disk.
    waited: usize,
}

impl Box1 {
    fn open(world: &World, options: ShardOptions) -> Result<Box1, OpenFault> {
        let mut driver = world.driver();
        let (shard, _) = Shard::open(&mut driver, options)?;
        Ok(Box1 { driver, shard, events: Vec::new(), ready: Vec::new(), opaque: 0, waited: 0 })
    }

    fn turn(&mut self) {
        let deadline = self.driver.now_ns() + 1_000_000;
        self.driver.wait(deadline, &mut self.events).unwrap();
        self.shard.begin_turn(self.driver.now_ns(), self.driver.wall_ms());
        for event in std::mem::take(&mut self.events) {
            let token = match &event {
                Event::Written { token, .. }
                | Event::Synced { token, .. }
                | Event::Chored { token, .. }
                | Event::Read { token, .. } => *token,
                _ => continue,
            };
            if token.0 >> 56 == u64::from(weir::commitlog::TOKEN_ROOM) {
                self.shard.on_log_event(&mut self.driver, event);
            } else {
                self.shard.on_file_event(&mut self.driver, event);
            }
        }
        self.shard.tick(&mut self.driver);
        self.shard.end_turn(&mut self.driver);
        self.shard.collect_ready(&mut self.ready);
    }

    fn waiter(&mut self) -> Waiter {
        self.opaque += 1;
        Waiter {
            connection: 1,
            opaque: self.opaque,
            codec: Codec::Json,
            oneway: false,
            born_ns: self.driver.now_ns(),
        }
    }

    fn create(&mut self, topic: &str) {
        let change = TopicChange {
            topic,
            read_queues: 2,
            write_queues: 2,
            perm: 6,
            multi_tag: false,
            sys_flag: 0,
            order: false,
            attributes: "",
        };
        let meta = self.shard.broker.plan_topic(&change).unwrap().unwrap();
        self.shard.change(&mut self.driver, meta).unwrap();
    }

    /// Sends and waits for the answer.
    fn send(&mut self, topic: &str, queue_id: i32, body: &[u8]) -> Answer {
        let waiter = self.waiter();
        loop {
            let request = SendRequest {
                topic,
                default_topic: Text::plain("TBW102"),
                default_topic_queue_nums: 4,
                queue_id,
                sys_flag: 0,
                born_ms: 1,
                flag: 0,
                properties: b"TAGS\x01a\x02UNIQ_KEY\x01k\x02",
                reconsume_times: 0,
                max_reconsume_times: None,
                unit_mode: false,
                batch: false,
                body,
                client_version: 493,
                peer: SocketAddr::from(([127, 0, 0, 1], 50_000)),
            };
            match self.shard.send(&mut self.driver, &request, waiter) {
                Ok(Taken::Waiting) => break,
                Ok(Taken::Full) => self.turn(),
                Err(reject) => panic!("{}: {}", reject.code, reject.remark),
            }
        }
        for _ in 0..10_000 {
            self.turn();
            let mine = self.ready.iter().position(|ready| ready.waiter.opaque == waiter.opaque);
            if let Some(at) = mine {
                return self.ready.swap_remove(at).answer;
            }
        }
        panic!("no answer in 10,000 turns");
    }

    /// Pulls once, reading from disk as often as it takes: code, next offset, bodies.
    fn pull(&mut self, topic: &str, queue_id: i32, offset: i64) -> (i32, u64, Vec<Vec<u8>>) {
        let request = PullRequest {
            group: "g",
            topic,
            queue_id,
            queue_offset: offset,
            max_messages: 32,
            max_bytes: None,
            sys_flag: 4,
            commit_offset: 0,
            suspend_ms: 0,
            subscription: Some("*"),
            sub_version: 0,
            expression_type: None,
            lite: false,
            first_pass: true,
        };
        let reply_to = ReplyTo { conn: ConnId(1), opaque: 0, tag: 0, asked_ns: 0 };
        let mut plan = PullPlan::default();
        for turn in 0..10_000 {
            match self.shard.pull(&mut self.driver, &request, reply_to, &mut plan) {
                Fetch::Reply(reply) => {
                    self.waited += usize::from(turn > 0);
                    let extents = if reply.code == 0 { plan.extents } else { Vec::new() };
                    let bodies = extents.iter().map(|(position, size)| {
                        let bytes = self.shard.record(*position, *size as usize).unwrap();
                        Record::parse(bytes).unwrap().body().to_vec()
                    });
                    return (reply.code, reply.next, bodies.collect());
                }
                Fetch::Reading => self.turn(),
                other => panic!("{other:?}"),
            }
        }
        panic!("nothing was read in 10,000 turns");
    }

    /// All bodies of a queue from its minimum on.
    fn drain(&mut self, topic: &str, queue_id: i32) -> Vec<Vec<u8>> {
        let mut offset = self.shard.broker.min_offset(topic, queue_id).unwrap_or(0) as i64;
        let mut all = Vec::new();
        loop {
            let (code, next, bodies) = self.pull(topic, queue_id, offset);
            match code {
                0 | 20 | 21 => offset = next as i64,
                _ => return all,
            }
            all.extend(bodies);
        }
    }
}

fn world(seed: u64) -> World {
    World::new(WorldOptions { seed, ..WorldOptions::default() })
}

fn body(n: usize) -> Vec<u8> {
    format!("{n:08}-{}", "x".repeat(20_000)).into_bytes()
}

#[test]
fn topics_groups_and_offsets_are_found_in_the_last_two_segments_alone() {
    let world = world(7);
    let mut one = Box1::open(&world, options(true)).unwrap();
    for n in 0..20 {
        one.create(&format!("topic-{n}"));
        let group = Meta::GroupPut(GroupConfig::new(&format!("group-{n}")));
        one.shard.change(&mut one.driver, group).unwrap();
        let topic = format!("topic-{n}");
        one.shard
            .broker
            .update_offset(&format!("group-{n}"), &topic, Some(1), Some(100 + n))
            .unwrap();
    }
    for n in 0..400 {
        one.send("topic-3", 0, &body(n));
    }
    one.shard.close(&mut one.driver).unwrap();
    drop(one);
    world.kill();
    let logs: Vec<String> =
        world.files().into_iter().map(|(name, _)| name).filter(|n| n.ends_with(".log")).collect();
    assert!(logs.len() > 3, "the log has several segments: {logs:?}");
    let mut driver = world.driver();
    for name in logs.iter().rev().skip(2) {
        driver.remove(Path::new(name)).unwrap();
    }
    for which in 0..2 {
        let _ = driver.remove(&Path::new(DIR).join(format!("checkpoint.{which}")));
    }
    drop(driver);
    world.kill();
    let mut one = Box1::open(&world, options(true)).unwrap();
    for n in 0..20 {
        let topic = format!("topic-{n}");
        assert!(one.shard.broker.catalog.topic(&topic).is_some(), "{topic}");
        assert!(one.shard.broker.catalog.group(&format!("group-{n}")).is_some());
        let offset = one.shard.broker.offsets.get(&format!("group-{n}"), &topic, 1);
        assert_eq!(offset, Some(100 + n), "{topic}");
    }
    let max = one.shard.broker.max_offset("topic-3", 0, one.shard.marks());
    assert_eq!(max, 400, "queue offsets never restart");
    let kept = one.drain("topic-3", 0);
    assert_eq!(kept.last(), Some(&body(399)));
}

#[test]
fn old_messages_are_read_back_from_disk_whole_and_in_order() {
    let world = world(8);
    let mut one = Box1::open(&world, options(false)).unwrap();
    one.create("cold");
    let sent: Vec<Vec<u8>> = (0..300).map(body).collect();
    for body in &sent {
        one.send("cold", 0, body);
    }
    assert_eq!(one.drain("cold", 0), sent, "live");
    one.shard.close(&mut one.driver).unwrap();
    drop(one);
    world.kill();
    let mut one = Box1::open(&world, options(false)).unwrap();
    assert_eq!(one.drain("cold", 0), sent, "after a clean stop");
}

#[test]
fn a_reader_of_old_messages_finds_the_next_ones_read_before_it_asks() {
    let world = world(8);
    let mut one = Box1::open(&world, options(false)).unwrap();
    one.create("cold");
    let sent: Vec<Vec<u8>> = (0..2000).map(body).collect();
    for body in &sent {
        one.send("cold", 0, body);
    }
    let (mut offset, mut got, mut pulls) = (0, Vec::new(), 0);
    while got.len() < sent.len() {
        let (_, next, bodies) = one.pull("cold", 0, offset);
        offset = next as i64;
        pulls += 1;
        got.extend(bodies);
        // What was asked for ahead arrives while the consumer is busy.
        (0..4).for_each(|_| one.turn());
    }
    assert_eq!(got, sent);
    assert!((1..=3).contains(&one.waited), "{} of {pulls} pulls waited", one.waited);
}

#[test]
fn retention_by_size_raises_the_minimum_and_keeps_the_maximum() {
    let world = world(9);
    let tuning = Tuning { retention_bytes: 8 * 1024 * 1024, ..options(true).tuning };
    let bounded = ShardOptions { tuning, ..options(true) };
    let mut one = Box1::open(&world, bounded).unwrap();
    one.create("ring");
    for n in 0..900 {
        one.send("ring", 0, &body(n));
    }
    for _ in 0..200 {
        one.turn();
        world.advance_by(20_000_000);
    }
    let min = one.shard.broker.min_offset("ring", 0).unwrap();
    let max = one.shard.broker.max_offset("ring", 0, one.shard.marks());
    assert!(min > 100 && max == 900, "bounds {min}..{max}");
    let (code, next, _) = one.pull("ring", 0, 0);
    assert_eq!((code, next), (21, min), "a reader below the minimum is moved to it");
    assert_eq!(one.drain("ring", 0).len() as u64, max - min);
    let bytes: u64 =
        world.files().into_iter().filter(|(n, _)| n.contains("/log/")).map(|(_, len)| len).sum();
    assert!(bytes <= 16 * 1024 * 1024, "{bytes} bytes of files");
}

#[test]
fn directories_beyond_their_part_of_memory_are_told_and_nothing_is_refused() {
    let told = |planned: usize| {
        let world = world(23);
        let own = ShardOptions { planned_directories: planned, ..options(true) };
        let mut one = Box1::open(&world, own).unwrap();
        one.create("t");
        for n in 0..300 {
            assert!(matches!(one.send("t", 0, &body(n)), Answer::Sent { .. }));
        }
        one.shard.close(&mut one.driver).unwrap();
        one.shard.voice.last("memory-over-plan").map(str::to_owned)
    };
    // 300 messages are three chunks of 40 bytes.
    let said = told(80).unwrap();
    assert!(said.contains("120 bytes (planned 80)") && said.contains("memoryMax"), "{said}");
    assert_eq!(told(120), None);
}

#[test]
fn a_failed_write_fences_the_shard_and_nobody_is_told_success() {
    let world = world(10);
    let mut one = Box1::open(&world, options(true)).unwrap();
    one.create("t");
    assert!(matches!(one.send("t", 0, b"before"), Answer::Sent { .. }));
    world.faults(|faults| {
        faults.write_error_ppm = 1_000_000;
        faults.read_only_after_error = true;
    });
    assert_eq!(one.send("t", 0, b"during"), Answer::Failed);
    assert!(one.shard.fenced().is_some());
    let waiter = one.waiter();
    let meta = Meta::GroupPut(GroupConfig::new("late"));
    let refused = one.shard.change(&mut one.driver, meta).unwrap_err();
    assert_eq!(refused.code, 14, "{}", refused.remark);
    one.shard.answer_when_kept(waiter);
    one.turn();
    assert!(one.ready.iter().all(|ready| ready.answer == Answer::Failed));
}

#[test]
fn a_damaged_checkpoint_only_means_that_more_is_folded() {
    let world = world(11);
    let mut one = Box1::open(&world, options(true)).unwrap();
    one.create("t");
    for n in 0..50 {
        one.send("t", 1, &body(n));
    }
    one.shard.close(&mut one.driver).unwrap();
    drop(one);
    world.kill();
    for which in 0..2 {
        let path = Path::new(DIR).join(format!("checkpoint.{which}"));
        // One of the two may not have been written yet.
        let _ = world.flip(&path, 5000, 0xFF);
    }
    let mut one = Box1::open(&world, options(true)).unwrap();
    assert_eq!(one.drain("t", 1).len(), 50);
}

#[test]
fn a_directory_of_another_shard_count_says_what_to_do() {
    let world = world(12);
    drop(Box1::open(&world, options(true)).unwrap());
    world.kill();
    let mut other = options(true);
    other.log.shards = 3;
    let fault = Box1::open(&world, other).err().unwrap();
    assert!(matches!(fault, OpenFault::Foreign(_)), "{fault:?}");
    assert!(fault.to_string().contains("shards=1"), "{fault}");
}

#[test]
fn a_disk_without_room_for_a_start_is_told_apart_from_one_that_fails() {
    let world = world(12);
    world.faults(|faults| faults.capacity_bytes = 8192);
    let fault = Box1::open(&world, options(true)).err().unwrap();
    assert!(matches!(fault, OpenFault::Full(_)), "{fault:?}");
    world.faults(|faults| {
        faults.capacity_bytes = u64::MAX;
        faults.write_error_ppm = 1_000_000;
    });
    let fault = Box1::open(&world, options(true)).err().unwrap();
    assert!(matches!(fault, OpenFault::Failed(_)), "{fault:?}");
}

#[test]
fn rot_in_a_promised_block_refuses_the_start_and_names_the_place() {
    let world = world(13);
    let mut one = Box1::open(&world, options(true)).unwrap();
    one.create("t");
    for n in 0..100 {
        one.send("t", 0, &body(n));
    }
    drop(one);
    world.kill();
    world.advance_by(1_000_000_000);
    let log = Path::new(DIR).join("log").join("00000000000000000001.log");
    world.flip(&log, 400_000, 1).unwrap();
    for which in 0..2 {
        let _ = world.flip(&Path::new(DIR).join(format!("checkpoint.{which}")), 5000, 0xFF);
    }
    let fault = Box1::open(&world, options(true)).err().unwrap();
    assert!(matches!(fault, OpenFault::Damaged(_)), "{fault:?}");
    assert!(fault.to_string().contains("segment 1 is damaged"), "{fault}");
}

/// A settled log of one topic, its checkpoints made useless and one byte of block `at` changed.
fn rotten(seed: u64, messages: usize, offset: u64) -> World {
    let world = world(seed);
    let mut one = Box1::open(&world, options(true)).unwrap();
    one.create("t");
    one.create("u");
    for n in 0..messages {
        assert!(matches!(one.send("t", 0, &body(n)), Answer::Sent { .. }));
    }
    drop(one);
    world.kill();
    world.advance_by(1_000_000_000);
    world.flip(&Path::new(DIR).join("log/00000000000000000001.log"), offset, 1).unwrap();
    for which in 0..2 {
        let _ = world.flip(&Path::new(DIR).join(format!("checkpoint.{which}")), 5000, 0xFF);
    }
    world
}

fn around() -> ShardOptions {
    let mut options = options(true);
    options.log.serve_around = true;
    options
}

/// Numbers of the bodies that a stock consumer gets from offset 0 on, and the offsets it was sent
/// to. Each answer must take it further.
fn follow(one: &mut Box1, topic: &str) -> (Vec<usize>, Vec<u64>) {
    let (mut got, mut jumps, mut offset) = (Vec::new(), Vec::new(), 0);
    loop {
        let (code, next, bodies) = one.pull(topic, 0, offset);
        match code {
            0 => {}
            20 | 21 => jumps.push(next),
            _ => return (got, jumps),
        }
        assert!(next as i64 > offset, "code {code} at {offset} leads to {next}");
        offset = next as i64;
        for bytes in bodies {
            let number: usize = std::str::from_utf8(&bytes[..8]).unwrap().parse().unwrap();
            assert_eq!(bytes, body(number), "a forged body");
            got.push(number);
        }
    }
}

#[test]
fn a_consumer_jumps_over_a_hole_and_gets_everything_else_once() {
    let world = rotten(21, 100, 400_000);
    for start in 0..3 {
        let mut one = Box1::open(&world, around()).unwrap();
        let (got, jumps) = follow(&mut one, "t");
        let missing: Vec<usize> = (0..100).filter(|n| !got.contains(n)).collect();
        assert!((1..=13).contains(&missing.len()), "start {start}: {missing:?} are missing");
        assert_eq!(missing.last().unwrap() - missing[0] + 1, missing.len(), "one block's");
        assert!(got.is_sorted() && got.len() + missing.len() == 100, "start {start}: {got:?}");
        assert_eq!(jumps, [missing.last().unwrap() + 1].map(|next| next as u64));
        assert!(one.shard.broker.catalog.topic("u").is_some());
        // New messages follow, and offsets are not given out twice.
        let max = one.shard.broker.max_offset("t", 0, one.shard.marks());
        assert_eq!(max, 100);
        drop(one);
        world.kill();
    }
}

#[test]
fn damage_that_a_read_finds_is_jumped_over_too_and_is_an_error_without_the_choice() {
    let world = world(22);
    let mut one = Box1::open(&world, options(true)).unwrap();
    one.create("t");
    for n in 0..300 {
        one.send("t", 0, &body(n));
    }
    one.shard.close(&mut one.driver).unwrap();
    drop(one);
    world.kill();
    world.flip(&Path::new(DIR).join("log/00000000000000000001.log"), 400_000, 1).unwrap();
    let mut one = Box1::open(&world, around()).unwrap();
    let (got, jumps) = follow(&mut one, "t");
    let missing: Vec<usize> = (0..300).filter(|n| !got.contains(n)).collect();
    assert!((1..=13).contains(&missing.len()), "{missing:?} are missing");
    assert_eq!(jumps, [missing.last().unwrap() + 1].map(|next| next as u64));
    assert!(got.is_sorted() && got.len() + missing.len() == 300);
    drop(one);
    world.kill();
    let mut one = Box1::open(&world, options(true)).unwrap();
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        one.pull("t", 0, missing[0] as i64)
    }));
    let text = refused.unwrap_err();
    let text = text.downcast_ref::<String>().unwrap();
    assert!(text.contains("segment 1 is damaged at offset"), "{text}");
}

#[test]
fn what_a_hole_took_at_the_end_of_a_queue_is_not_given_out_again() {
    let world = world(23);
    let mut one = Box1::open(&world, options(true)).unwrap();
    one.create("t");
    one.create("u");
    for n in 0..40 {
        one.send("t", 0, &body(n));
    }
    for _ in 0..3 {
        one.send("u", 0, b"behind");
    }
    drop(one);
    world.kill();
    world.advance_by(1_000_000_000);
    let path = Path::new(DIR).join("log/00000000000000000001.log");
    let bytes = world.peek(&path, 0, 2 * 1024 * 1024).unwrap();
    let last = bytes.windows(9).position(|window| window == b"00000039-").unwrap();
    world.flip(&path, last as u64, 1).unwrap();
    let mut one = Box1::open(&world, around()).unwrap();
    let (got, _) = follow(&mut one, "t");
    let max = one.shard.broker.max_offset("t", 0, one.shard.marks());
    assert_eq!(got, (0..39).collect::<Vec<_>>());
    assert!(max > 40, "maximum {max}: more than the lost message may have been there");
    let of_u = one.shard.broker.max_offset("u", 0, one.shard.marks());
    assert_eq!(of_u, 3, "this queue has a message behind the hole");
    assert!(matches!(one.send("t", 0, &body(40)), Answer::Sent { .. }));
    let (again, _) = follow(&mut one, "t");
    assert_eq!(again.last(), Some(&40));
    assert_eq!(again.len(), 40);
}
