//! A pair on the simulated kernel: two machines, one network, one clock. The simulator splits every
//! stream at random and decides when writes land; the tests decide who dies and what is cut.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends there")]

use std::path::Path;

use weir::broker::{GroupConfig, Meta};
use weir::replica::{Lease, Partner, ReplicaOptions, Role};
use weir::shard::{Answer, Lack, Taken};
use weir_io::sim::{World, WorldOptions};
use weir_sim::bed::{Node, options, replica, until};

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
fn a_standby_that_confirms_nothing_is_the_reason_that_new_senders_are_told() {
    let (mut a, mut b) = pair(31, |options| options.slave_timeout_ms = 2000);
    in_step(&mut [&mut a, &mut b]);
    send_all(&mut [&mut a, &mut b], 0..10);
    let capacity = |node: &mut Node, sends| {
        let mut tuning = *node.shard.tuning();
        tuning.pressure.send_queue = sends;
        let broker = node.shard.broker.options().clone();
        node.shard.tune(tuning, broker);
    };
    capacity(&mut a, 10);
    a.world.partition(&b.world);
    for n in 10..20 {
        assert_eq!(a.offer(n, &body(n)).unwrap(), Taken::Waiting);
    }
    let mut told = None;
    until(&mut [&mut a, &mut b], |nodes| {
        told = nodes[0].offer(20, &body(20)).err();
        told.is_some()
    });
    let over = told.unwrap().1;
    assert!(over.starts_with("[OVERLOAD]system busy, start flow control"), "{over}");
    let end = "sends without an answer: 10, limit: 10, change: sendThreadPoolQueueCapacity";
    assert!(over.contains("reason: replica, waited: ") && over.ends_with(end), "{over}");
    // From half on, who would wait for the standby as long is not let in.
    capacity(&mut a, 20);
    let late_ns = a.driver.now_ns() + 250_000_000;
    until(&mut [&mut a, &mut b], |nodes| nodes[0].driver.now_ns() > late_ns);
    let shed = a.offer(20, &body(20)).unwrap_err().1;
    assert!(shed.starts_with("[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control"), "{shed}");
    assert!(shed.contains("reason: replica, waited: 0ms, oldest send that the standby"), "{shed}");
    assert!(shed.ends_with("limit: 200ms, change: waitTimeMillsInSendQueue"), "{shed}");
    a.world.heal(&b.world);
    let mut answered = 0;
    until(&mut [&mut a, &mut b], |nodes| {
        answered += nodes[0].answers().len();
        answered == 10
    });
    send_all(&mut [&mut a, &mut b], 20..30);
    assert_eq!(a.drain(0), wanted(0..30, 0), "refused is not stored, the rest is");
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

#[test]
fn what_a_standby_acknowledged_right_after_its_restart_outlives_its_next_kill() {
    for seed in 40..44 {
        let (mut a, mut b) = pair(seed, |_| {});
        in_step(&mut [&mut a, &mut b]);
        send_all(&mut [&mut a, &mut b], 0..20);
        b.world.faults(|faults| faults.slowness = 100);
        let mut b = b.restart(|_| {});
        until(&mut [&mut a, &mut b], |nodes| nodes[0].report().standing == "in sync");
        send_all(&mut [&mut a, &mut b], 20..21);
        a.world.kill();
        let mut b = b.restart(|_| {});
        b.turn();
        b.shard.promote(&mut b.driver, false).unwrap();
        let mut b = b.reopen();
        assert_eq!(b.drain(0), wanted(0..21, 0), "seed {seed}");
    }
}

#[test]
fn a_primary_that_lost_power_and_its_place_is_cut_and_follows_whatever_its_torn_tail_left() {
    for seed in 50..66 {
        let (mut a, mut b) = pair(seed, |_| {});
        in_step(&mut [&mut a, &mut b]);
        send_all(&mut [&mut a, &mut b], 0..30);
        a.world.partition(&b.world);
        for n in 30..60 {
            a.offer(n, &body(n)).unwrap();
            a.turn();
        }
        a.world.power_cut();
        let mut a = a.restart(|options| options.replica.as_mut().unwrap().boot += 1);
        until(&mut [&mut b, &mut a], |nodes| nodes[0].report().standing == "no primary");
        b.shard.promote(&mut b.driver, false).unwrap();
        let mut b = b.reopen();
        a.world.heal(&b.world);
        let a = changed(a, &mut b);
        let mut a = changed(a, &mut b);
        until(&mut [&mut b, &mut a], |nodes| nodes[0].report().standing == "in sync");
        assert_eq!(b.drain(0), wanted(0..30, 0), "seed {seed}");
    }
}

#[test]
fn a_standby_promoted_where_its_primary_had_just_restarted_makes_that_one_follow() {
    let mut met = 0;
    for seed in 70..90 {
        let (mut a, mut b) = pair(seed, |_| {});
        in_step(&mut [&mut a, &mut b]);
        send_all(&mut [&mut a, &mut b], 0..10);
        let before = b.report().end;
        let mut a = a.restart(|_| {});
        until(&mut [&mut a, &mut b], |nodes| nodes[0].report().peer.is_some());
        until(&mut [&mut a, &mut b], |nodes| nodes[1].report().standing == "following");
        a.world.partition(&b.world);
        met += u32::from(b.report().end == before);
        until(&mut [&mut a, &mut b], |nodes| nodes[1].report().standing == "no primary");
        b.shard.promote(&mut b.driver, false).unwrap();
        let mut b = b.reopen();
        a.world.heal(&b.world);
        let mut a = changed(a, &mut b);
        until(&mut [&mut b, &mut a], |nodes| {
            nodes[0].report().standing == "in sync" || nodes[1].shard.wants_restart()
        });
        let mut a = if a.shard.wants_restart() { a.reopen() } else { a };
        until(&mut [&mut b, &mut a], |nodes| nodes[0].report().standing == "in sync");
        assert_eq!(b.drain(0), wanted(0..10, 0), "seed {seed}");
    }
    assert!(met > 0, "in none it stood where the new epoch begins");
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
