//! A pair on the simulated kernel: two machines, one network, one clock. The simulator splits every
//! stream at random and decides when writes land; the tests decide who dies and what is cut.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends there")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use weir::broker::GroupConfig;
use weir::broker::{BrokerOptions, ConnId, Meta, PullPlan, PullRequest, ReplyTo, SendRequest};
use weir::commitlog::LogOptions;
use weir::replica::{Lease, Partner, ReplicaOptions, Report, Role};
use weir::shard::{Answer, Fetch, Lack, Ready, Shard, ShardOptions, Taken, Tuning, Waiter};
use weir_io::sim::{World, WorldOptions};
use weir_io::{Driver, Event};
use weir_wire::frame::Codec;
use weir_wire::header::Text;
use weir_wire::message::Record;

const DIR: &str = "/data/shard-0";
const HA_A: u16 = 10_912;
const HA_B: u16 = 20_912;

fn replica(role: Role, seed: u8) -> ReplicaOptions {
    let port = |role| if role == Role::Primary { HA_A } else { HA_B };
    ReplicaOptions {
        cluster: "C".into(),
        broker: "pair-0".into(),
        shard: 0,
        shards: 1,
        role,
        primary: (role == Role::Standby).then(|| SocketAddr::from(([127, 0, 0, 1], HA_A))),
        ha_port: port(role),
        secret: b"sixteen letters!".to_vec(),
        seed: [seed; 32],
        boot: 1,
        sync: true,
        refuse: true,
        ack_durable: false,
        slave_timeout_ms: 1000,
        max_gap_bytes: 64 * 1024 * 1024,
        catch_up_bytes: 1024 * 1024 * 1024,
        reads: true,
    }
}

fn options(replica: ReplicaOptions) -> ShardOptions {
    ShardOptions {
        dir: PathBuf::from(DIR),
        log: LogOptions {
            dir: Path::new(DIR).join("log"),
            shard: 0,
            shards: 1,
            new_log_id: u64::from(replica.seed[0]),
            segment_bytes: 2 * 1024 * 1024,
            staging_name: "weir-replica-test".to_owned(),
            staging_bytes: 1024 * 1024,
            sync_flush: false,
            flush_interval_ms: 10,
            prepare_ahead: 256 * 1024,
            lock_patience_ms: 5000,
            serve_around: false,
        },
        broker: BrokerOptions { young_bytes: 1 << 30, ..BrokerOptions::default() },
        index_memory_bytes: 4 * 1024 * 1024,
        tuning: Tuning { flush_interval_ms: 10, ..Tuning::default() },
        replica: Some(replica),
        quiet: std::env::var_os("TELL").is_none(),
    }
}

/// One machine of the pair.
struct Node {
    world: World,
    options: ShardOptions,
    driver: Driver,
    shard: Shard,
    events: Vec<Event>,
    ready: Vec<Ready>,
}

impl Node {
    fn open(world: &World, options: ShardOptions) -> Node {
        let mut driver = world.driver();
        let (mut shard, _) = Shard::open(&mut driver, options.clone()).unwrap();
        let port = options.replica.as_ref().unwrap().ha_port;
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let (listener, _) = driver.listen(addr, Duration::from_secs(5)).unwrap();
        shard.serve_peers(&mut driver, listener);
        let (events, ready) = (Vec::new(), Vec::new());
        Node { world: world.clone(), options, driver, shard, events, ready }
    }

    /// Dies as by `kill -9` and starts again, after `change` of what it is started with.
    fn restart(self, change: impl FnOnce(&mut ShardOptions)) -> Node {
        let Node { world, mut options, driver, shard, .. } = self;
        world.kill();
        drop((driver, shard));
        change(&mut options);
        Node::open(&world, options)
    }

    /// Opens the shard anew when its role or its end has changed, as the node's loop does.
    fn reopen(mut self) -> Node {
        assert!(self.shard.wants_restart());
        self.shard.close(&mut self.driver).unwrap();
        let Node { world, options, driver, shard, .. } = self;
        drop((driver, shard));
        Node::open(&world, options)
    }

    fn turn(&mut self) {
        let deadline_ns = self.driver.now_ns() + 1_000_000;
        self.driver.wait(deadline_ns, &mut self.events).unwrap();
        self.shard.begin_turn(self.driver.now_ns(), self.driver.wall_ms());
        for event in std::mem::take(&mut self.events) {
            match event.token().map_or(0, |token| token.0 >> 56) as u8 {
                weir::commitlog::TOKEN_ROOM => self.shard.on_log_event(&mut self.driver, event),
                weir::replica::TOKEN_ROOM => self.shard.on_replica_event(&mut self.driver, event),
                _ => self.shard.on_file_event(&mut self.driver, event),
            }
        }
        self.shard.tick(&mut self.driver);
        self.shard.end_turn(&mut self.driver);
        self.shard.collect_ready(&mut self.ready);
    }

    fn report(&self) -> Report {
        self.shard.replica_report().unwrap()
    }

    /// Hands a message over; the refusal's code and remark.
    fn offer(&mut self, opaque: i32, body: &[u8]) -> Result<Taken, (i32, String)> {
        let waiter = Waiter {
            connection: 1,
            opaque,
            codec: Codec::Json,
            oneway: false,
            born_ns: self.driver.now_ns(),
        };
        let request = SendRequest {
            topic: "t",
            default_topic: Text::plain("TBW102"),
            default_topic_queue_nums: 4,
            queue_id: opaque % 2,
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
        let sent = self.shard.send(&mut self.driver, &request, waiter);
        sent.map_err(|reject| (reject.code, reject.remark.into_owned()))
    }

    fn answer(&mut self, opaque: i32) -> Option<Answer> {
        let at = self.ready.iter().position(|ready| ready.waiter.opaque == opaque)?;
        Some(self.ready.swap_remove(at).answer)
    }

    /// All bodies of a queue that are visible, from its minimum on.
    fn drain(&mut self, queue_id: i32) -> Vec<Vec<u8>> {
        let mut offset = self.shard.broker.min_offset("t", queue_id).unwrap_or(0) as i64;
        let mut all = Vec::new();
        for _ in 0..100_000 {
            let request = PullRequest {
                group: "g",
                topic: "t",
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
            match self.shard.pull(&mut self.driver, &request, reply_to, &mut plan) {
                Fetch::Reply(reply) if [0, 20, 21].contains(&reply.code) => {
                    offset = reply.next as i64;
                    let extents = if reply.code == 0 { plan.extents } else { Vec::new() };
                    for (position, size) in extents {
                        let bytes = self.shard.record(position, size as usize).unwrap();
                        all.push(Record::parse(bytes).unwrap().body().to_vec());
                    }
                }
                Fetch::Reply(_) => return all,
                Fetch::Reading => {
                    self.turn();
                    self.world.advance();
                }
                other => panic!("{other:?}"),
            }
        }
        panic!("the queue has no end");
    }
}

/// Turns of both until something holds.
fn until(nodes: &mut [&mut Node], mut holds: impl FnMut(&mut [&mut Node]) -> bool) {
    for _ in 0..12_000 {
        nodes.iter_mut().for_each(|node| node.turn());
        if holds(nodes) {
            return;
        }
        nodes[0].world.advance();
    }
    let reports: Vec<Report> = nodes.iter().map(|node| node.report()).collect();
    panic!("it never came: {reports:?}");
}

fn body(n: i32) -> Vec<u8> {
    format!("{n:08}-{}", "x".repeat(3000)).into_bytes()
}

/// Sends `range` through a primary while the others turn too; all are answered with success.
fn send_all(nodes: &mut [&mut Node], range: std::ops::Range<i32>) {
    let mut next = range.start;
    let mut open: Vec<i32> = Vec::new();
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

fn pair(seed: u64, change: impl Fn(&mut ReplicaOptions)) -> (Node, Node) {
    let a = World::new(WorldOptions { seed, ..WorldOptions::default() });
    let b = a.another_machine();
    let (mut primary, mut standby) = (replica(Role::Primary, 1), replica(Role::Standby, 2));
    change(&mut primary);
    change(&mut standby);
    (Node::open(&a, options(primary)), Node::open(&b, options(standby)))
}

fn in_step(nodes: &mut [&mut Node]) {
    until(nodes, |nodes| {
        let group = Meta::GroupPut(GroupConfig::new("g"));
        let known = nodes[0].shard.broker.catalog.group("g").is_some();
        let sync = ["in sync", "async"].contains(&nodes[0].report().standing);
        if sync && !known {
            nodes[0].shard.change(&mut nodes[0].driver, group).unwrap();
        }
        sync && nodes[1].report().end == nodes[0].report().end
    });
}

fn wanted(range: std::ops::Range<i32>, queue: i32) -> Vec<Vec<u8>> {
    range.filter(|n| n % 2 == queue).map(body).collect()
}

#[test]
fn everything_acknowledged_is_read_from_the_standby_after_the_primary_died() {
    for seed in 1..6 {
        let (mut a, mut b) = pair(seed, |_| {});
        let refused = a.offer(0, b"too early").unwrap_err();
        assert!(refused.1.contains("in-sync replicas not enough"), "{refused:?}");
        in_step(&mut [&mut a, &mut b]);
        send_all(&mut [&mut a, &mut b], 0..400);
        a.world.kill();
        until(&mut [&mut b], |nodes| nodes[0].report().standing == "no primary");
        assert!(b.report().provable);
        let said = b.shard.promote(&mut b.driver, false).unwrap();
        assert!(said.contains("nothing acknowledged is missing"), "{said}");
        let mut b = b.reopen();
        assert_eq!((b.report().role, b.report().epoch), (Role::Primary, 2));
        for queue in 0..2 {
            assert_eq!(b.drain(queue), wanted(0..400, queue), "seed {seed}");
        }
    }
}

#[test]
fn both_logs_hold_the_same_records_at_the_same_positions() {
    let (mut a, mut b) = pair(7, |_| {});
    in_step(&mut [&mut a, &mut b]);
    send_all(&mut [&mut a, &mut b], 0..300);
    until(&mut [&mut a, &mut b], |nodes| nodes[0].report().lag_bytes == 0);
    let files = |node: &Node| -> Vec<(String, u64)> {
        node.world.files().into_iter().filter(|(name, _)| name.ends_with(".log")).collect()
    };
    // Segments that are prepared and empty aside: the copy has the primary's segments and places.
    let (one, two) = (files(&a), files(&b));
    let mut blocks = 0;
    for (name, len) in one.iter().filter(|file| two.contains(file)) {
        let path = Path::new(name);
        let theirs = a.world.peek(path, 0, *len as usize).unwrap();
        let ours = b.world.peek(path, 0, *len as usize).unwrap();
        for at in (4096..theirs.len()).step_by(4096) {
            let Ok((left, records)) = weir::commitlog::BlockHeader::open(&theirs[at..]) else {
                continue;
            };
            if let Ok((right, copy)) = weir::commitlog::BlockHeader::open(&ours[at..]) {
                assert_eq!(
                    (left.start, left.segment, left.place),
                    (right.start, right.segment, right.place)
                );
                assert!(
                    records == copy && left.epoch == right.epoch && left.log_id == right.log_id
                );
                blocks += 1;
            }
        }
    }
    assert!(blocks > 8, "{blocks} blocks compared");
}

#[test]
fn a_standby_that_was_away_catches_up_from_the_disk_while_producers_go_on() {
    // Asynchronous, so that producers do not wait for it.
    let (mut a, mut b) = pair(8, |options| options.sync = false);
    in_step(&mut [&mut a, &mut b]);
    send_all(&mut [&mut a, &mut b], 0..50);
    b.world.kill();
    send_all(&mut [&mut a], 50..1500);
    let mut b = b.restart(|_| {});
    send_all(&mut [&mut a, &mut b], 1500..1700);
    until(&mut [&mut a, &mut b], |nodes| nodes[1].report().end == nodes[0].report().end);
    until(&mut [&mut a, &mut b], |nodes| nodes[0].report().lag_bytes == 0);
    let end = b.report().end;
    until(&mut [&mut b], |nodes| nodes[0].shard.marks().durable == end);
    for queue in 0..2 {
        assert_eq!(b.drain(queue), wanted(0..1700, queue));
    }
}

#[test]
fn a_wiped_standby_is_rebuilt_under_load_and_can_then_be_promoted_without_loss() {
    let (mut a, mut b) = pair(9, |_| {});
    in_step(&mut [&mut a, &mut b]);
    send_all(&mut [&mut a, &mut b], 0..900);
    b.world.kill();
    let fresh = a.world.another_machine();
    let mut new = replica(Role::Standby, 3);
    new.ha_port = 30_912;
    let mut b = Node::open(&fresh, options(new));
    until(&mut [&mut a, &mut b], |nodes| nodes[0].report().standing == "in sync");
    send_all(&mut [&mut a, &mut b], 900..1000);
    assert!(b.report().provable);
    a.world.kill();
    until(&mut [&mut b], |nodes| nodes[0].report().standing == "no primary");
    b.shard.promote(&mut b.driver, false).unwrap();
    let mut b = b.reopen();
    for queue in 0..2 {
        assert_eq!(b.drain(queue), wanted(0..1000, queue));
    }
}

#[test]
fn with_degrade_a_lone_primary_says_so_to_producers_and_its_standby_is_promoted_with_words_only() {
    let (mut a, mut b) = pair(10, |options| options.refuse = false);
    in_step(&mut [&mut a, &mut b]);
    send_all(&mut [&mut a, &mut b], 0..20);
    b.world.kill();
    until(&mut [&mut a], |nodes| nodes[0].report().standing == "alone");
    assert!(a.report().alone_since.is_some());
    a.offer(20, &body(20)).unwrap();
    let mut said = None;
    until(&mut [&mut a], |nodes| {
        said = nodes[0].answer(20);
        said.is_some()
    });
    assert!(matches!(said, Some(Answer::Less { lack: Lack::Pair, .. })), "{said:?}");
    a.world.kill();
    let mut b = b.restart(|_| {});
    b.turn();
    let refused = b.shard.promote(&mut b.driver, false).unwrap_err();
    assert!(refused.contains("--accept-loss"), "{refused}");
    b.shard.promote(&mut b.driver, true).unwrap();
    let mut b = b.reopen();
    assert_eq!(b.drain(0), wanted(0..20, 0), "what was acknowledged by both is here");
}

#[test]
fn a_reply_that_the_standby_does_not_confirm_in_time_says_so_and_consumers_do_not_see_it() {
    let (mut a, mut b) = pair(11, |_| {});
    in_step(&mut [&mut a, &mut b]);
    send_all(&mut [&mut a, &mut b], 0..10);
    a.world.partition(&b.world);
    a.offer(10, &body(10)).unwrap();
    let mut said = None;
    until(&mut [&mut a, &mut b], |nodes| {
        said = nodes[0].answer(10);
        said.is_some()
    });
    assert!(matches!(said, Some(Answer::Less { lack: Lack::Standby, .. })), "{said:?}");
    assert_eq!(a.drain(0), wanted(0..10, 0), "not visible before the standby has it");
    a.world.heal(&b.world);
    until(&mut [&mut a, &mut b], |nodes| nodes[0].report().standing == "in sync");
    assert_eq!(a.drain(0), wanted(0..11, 0));
}

#[test]
fn a_standby_refuses_writes_and_takes_no_offsets_and_survives_its_own_restart() {
    let (mut a, mut b) = pair(12, |_| {});
    in_step(&mut [&mut a, &mut b]);
    send_all(&mut [&mut a, &mut b], 0..30);
    let refused = b.offer(99, b"no").unwrap_err();
    assert_eq!(refused.0, 14, "{refused:?}");
    let mut b = b.restart(|_| {});
    until(&mut [&mut a, &mut b], |nodes| nodes[0].report().standing == "in sync");
    send_all(&mut [&mut a, &mut b], 30..60);
    let end = b.report().end;
    until(&mut [&mut b], |nodes| nodes[0].shard.marks().durable == end);
    assert_eq!(b.drain(1), wanted(0..60, 1));
}

#[test]
fn a_wrong_secret_another_shard_count_and_itself_are_refused_on_both_sides() {
    let changes: [fn(&mut ReplicaOptions); 4] = [
        |options| options.secret = b"another sixteen!".to_vec(),
        |options| options.shards = 2,
        |options| options.cluster = "D".into(),
        |options| options.broker = "other-0".into(),
    ];
    for change in changes {
        let (mut a, b) = pair(13, |_| {});
        let mut b = b.restart(|options| change(options.replica.as_mut().unwrap()));
        for _ in 0..3000 {
            a.turn();
            b.turn();
            a.world.advance();
        }
        assert_eq!((a.report().peer, b.report().peer), (None, None));
        assert_eq!(b.report().end, 0, "not a byte came");
    }
    // A primary that is told to follow itself would be a standby of its own data directory.
    let (mut a, _b) = pair(14, |_| {});
    let twin = a.world.another_machine();
    let mut same = replica(Role::Standby, 1);
    same.ha_port = 30_912;
    let mut b = Node::open(&twin, options(same));
    for _ in 0..3000 {
        a.turn();
        b.turn();
        a.world.advance();
    }
    assert_eq!((a.report().peer, b.report().end), (None, 0));
}

#[test]
fn a_standby_whose_disk_fails_is_seen_on_the_primary_and_cannot_be_promoted() {
    let (mut a, mut b) = pair(15, |_| {});
    in_step(&mut [&mut a, &mut b]);
    send_all(&mut [&mut a, &mut b], 0..10);
    b.world.faults(|faults| {
        faults.write_error_ppm = 1_000_000;
        faults.read_only_after_error = true;
    });
    a.offer(10, &body(10)).unwrap();
    let began_ns = a.world.now_ns();
    until(&mut [&mut a, &mut b], |nodes| nodes[0].report().standby_failed != 0);
    assert!(a.world.now_ns() - began_ns < 5_000_000_000);
    until(&mut [&mut a, &mut b], |nodes| nodes[0].report().standing == "standby away");
    a.world.kill();
    until(&mut [&mut b], |nodes| nodes[0].report().standing == "no primary");
    let refused = b.shard.promote(&mut b.driver, true).unwrap_err();
    assert!(refused.contains("cannot be a primary"), "{refused}");
}

/// Lets `a` turn until it is to be opened anew, `b` beside it; gives it opened.
fn changed(mut a: Node, b: &mut Node) -> Node {
    until(&mut [&mut a, b], |nodes| nodes[0].shard.wants_restart());
    a.reopen()
}

#[test]
fn a_returning_primary_saves_the_tail_that_only_it_has_and_follows_the_one_that_took_over() {
    for seed in 20..24 {
        let (mut a, mut b) = pair(seed, |_| {});
        in_step(&mut [&mut a, &mut b]);
        send_all(&mut [&mut a, &mut b], 0..40);
        a.world.partition(&b.world);
        for n in 40..60 {
            a.offer(n, &body(n)).unwrap();
        }
        let end = a.shard.log_end();
        until(&mut [&mut a], |nodes| nodes[0].shard.flush_behind_bytes() == 0);
        a.world.kill();
        until(&mut [&mut b], |nodes| nodes[0].report().standing == "no primary");
        b.shard.promote(&mut b.driver, false).unwrap();
        let mut b = b.reopen();
        a.world.heal(&b.world);
        let a = a.restart(|_| {});
        let a = changed(a, &mut b);
        assert_eq!(a.report().role, Role::Standby, "it steps down by itself");
        let mut a = changed(a, &mut b);
        until(&mut [&mut b, &mut a], |nodes| nodes[0].report().standing == "in sync");
        send_all(&mut [&mut b, &mut a], 100..140);
        until(&mut [&mut b, &mut a], |nodes| nodes[0].report().lag_bytes == 0);
        let all = [wanted(0..40, 0), wanted(100..140, 0)].concat();
        assert_eq!(b.drain(0), all, "seed {seed}");
        let durable = a.report().end;
        until(&mut [&mut a, &mut b], |nodes| nodes[0].shard.marks().durable >= durable);
        assert_eq!(a.drain(0), all, "seed {seed}: the copy holds the same and no more");
        let saved: Vec<String> = a.world.files().into_iter().map(|(name, _)| name).collect();
        let kept = saved.iter().filter(|name| name.contains("lost+found")).count();
        assert!(kept > 0, "the tail up to {end} is kept: {saved:?}");
    }
}

#[test]
fn a_switchover_moves_the_role_and_the_last_offset_and_back() {
    let (mut a, mut b) = pair(30, |_| {});
    in_step(&mut [&mut a, &mut b]);
    send_all(&mut [&mut a, &mut b], 0..60);
    a.shard.broker.update_offset("g", "t", Some(0), Some(17)).unwrap();
    for round in 0..4 {
        a.shard.switchover(&mut a.driver).unwrap();
        let refused = a.offer(999, b"no").unwrap_err();
        assert!(refused.1.contains("taking over"), "{refused:?}");
        until(&mut [&mut a, &mut b], |nodes| nodes.iter().all(|node| node.shard.wants_restart()));
        (b, a) = (a.reopen(), b.reopen());
        assert_eq!((a.report().role, b.report().role), (Role::Primary, Role::Standby));
        assert_eq!(a.shard.broker.offsets.get("g", "t", 0), Some(17), "round {round}");
        until(&mut [&mut a, &mut b], |nodes| nodes[0].report().standing == "in sync");
        send_all(&mut [&mut a, &mut b], 60 + round * 10..70 + round * 10);
        assert_eq!(a.drain(0), wanted(0..70 + round * 10, 0));
    }
}

#[test]
fn a_lone_primary_that_was_replaced_steps_down_as_soon_as_it_is_reached() {
    let (mut a, mut b) = pair(31, |options| options.refuse = false);
    in_step(&mut [&mut a, &mut b]);
    send_all(&mut [&mut a, &mut b], 0..10);
    a.world.partition(&b.world);
    until(&mut [&mut a, &mut b], |nodes| {
        nodes[0].report().standing == "alone" && nodes[1].report().standing == "no primary"
    });
    a.offer(10, &body(10)).unwrap();
    until(&mut [&mut a, &mut b], |nodes| nodes[0].answer(10).is_some());
    b.shard.promote(&mut b.driver, true).unwrap();
    let mut b = b.reopen();
    a.world.heal(&b.world);
    let a = changed(a, &mut b);
    let mut a = changed(a, &mut b);
    until(&mut [&mut b, &mut a], |nodes| nodes[0].report().standing == "in sync");
    assert_eq!(b.drain(0), wanted(0..10, 0));
}

/// A lease in the hands of the test, lent to a node for `ms` from now on.
fn lent(node: &mut Node, partner: Partner, ms: u64) -> Lease {
    let lease = Lease::default();
    lease.set_partner(partner);
    lease.lend(node.driver.boot_ns() + ms * 1_000_000);
    node.shard.set_lease(lease.clone());
    lease
}

#[test]
fn a_primary_acknowledges_by_its_lease_and_what_its_named_standby_holds_and_nothing_else() {
    let (mut a, mut b) = pair(41, |options| options.refuse = false);
    in_step(&mut [&mut a, &mut b]);
    let node = b.report().node;
    let lease = lent(&mut a, Partner::Unknown, 60_000);
    a.turn();
    let refused = a.offer(0, &body(0)).unwrap_err();
    assert!(refused.1.contains("has no lease"), "{refused:?}");
    // A standby that is not named yet counts for nothing, though it holds everything.
    lease.set_partner(Partner::Coming(node));
    a.turn();
    a.offer(1, &body(1)).unwrap();
    until(&mut [&mut a, &mut b], |nodes| nodes[0].report().lag_bytes == 0);
    for _ in 0..50 {
        a.turn();
    }
    assert_eq!((a.answer(1), a.report().named), (None, false));
    lease.set_partner(Partner::Named(node));
    until(&mut [&mut a, &mut b], |nodes| matches!(nodes[0].answer(1), Some(Answer::Sent { .. })));
    // One that was sent in time, and would be answered after the end of the lease.
    a.offer(2, &body(2)).unwrap();
    lease.lend(a.driver.boot_ns());
    until(&mut [&mut a, &mut b], |nodes| nodes[0].report().leased == Some(false));
    let mut answer = None;
    until(&mut [&mut a, &mut b], |nodes| {
        answer = nodes[0].answer(2);
        answer.is_some()
    });
    assert_eq!(answer, Some(Answer::Fenced), "nobody knows");
    assert!(a.offer(3, &body(3)).unwrap_err().1.contains("has no lease"));
    assert_eq!(a.drain(1), wanted(0..2, 1), "readers are served");
}

#[test]
fn a_primary_goes_alone_only_when_nobody_may_take_over_any_more() {
    let (mut a, mut b) = pair(43, |options| options.refuse = false);
    let node = b.report().node;
    in_step(&mut [&mut a, &mut b]);
    let lease = lent(&mut a, Partner::Named(node), 600_000);
    send_all(&mut [&mut a, &mut b], 0..10);
    b.world.kill();
    until(&mut [&mut a], |_| lease.wants_alone());
    assert!(lease.take_wait());
    assert_eq!(a.report().standing, "standby away");
    lease.set_partner(Partner::Nobody);
    until(&mut [&mut a], |nodes| nodes[0].report().standing == "alone");
    a.offer(10, &body(10)).unwrap();
    let mut answer = None;
    until(&mut [&mut a], |nodes| {
        answer = nodes[0].answer(10);
        answer.is_some()
    });
    assert!(matches!(answer, Some(Answer::Less { lack: Lack::Pair, .. })), "{answer:?}");
}

#[test]
fn a_standby_that_is_told_to_takes_over_from_a_primary_it_still_hears_and_by_no_other_word() {
    let (mut a, mut b) = pair(47, |options| options.refuse = false);
    let lease = lent(&mut b, Partner::Unknown, 0);
    let before = b.shard.take_over(&mut b.driver).unwrap_err();
    assert!(before.contains("never followed"), "{before}");
    let node = b.report().node;
    lent(&mut a, Partner::Named(node), 600_000);
    in_step(&mut [&mut a, &mut b]);
    send_all(&mut [&mut a, &mut b], 0..40);
    until(&mut [&mut a, &mut b], |nodes| nodes[1].report().witnessed);
    assert!(!b.report().provable, "without the majority's word it proves nothing");
    let by_hand = b.shard.promote(&mut b.driver, true).unwrap_err();
    assert!(by_hand.contains("decided by a majority outside"), "{by_hand}");
    assert_eq!(b.report().standing, "following");
    b.shard.take_over(&mut b.driver).unwrap();
    let mut b = b.reopen();
    assert_eq!((b.report().role, b.report().epoch), (Role::Primary, 2));
    lease.set_partner(Partner::Nobody);
    lease.lend(b.driver.boot_ns() + 60_000_000_000);
    b.shard.set_lease(lease);
    until(&mut [&mut b], |nodes| nodes[0].report().standing == "alone");
    assert_eq!(b.drain(0), wanted(0..40, 0));
    // The old one, whose lease nobody renews, steps down when it meets the new one.
    let a = changed(a, &mut b);
    assert_eq!(a.report().role, Role::Standby);
}
