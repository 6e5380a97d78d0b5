//! `standbyLost` changed while a pair runs, on the simulated kernel: what was promised before the
//! change stays true after it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use weir::broker::{GroupConfig, Meta};
use weir::replica::Role;
use weir::shard::{Answer, Lack, Tuning};
use weir_io::sim::{World, WorldOptions};
use weir_sim::bed::{Node, options, replica, until};

/// A pair that is in step.
fn pair(seed: u64, refuse: bool) -> (Node, Node) {
    let a = World::new(WorldOptions { seed, ..WorldOptions::default() });
    let b = a.another_machine();
    let started = |role, seed| {
        let mut options = options(replica(role, seed));
        options.tuning.standby_lost_refuse = refuse;
        if let Some(replica) = &mut options.replica {
            replica.refuse = refuse;
        }
        options
    };
    let mut a = Node::open(&a, started(Role::Primary, 1));
    let mut b = Node::open(&b, started(Role::Standby, 2));
    until(&mut [&mut a, &mut b], |nodes| nodes[0].report().standing == "in sync");
    let group = Meta::GroupPut(GroupConfig::new("g"));
    a.shard.change(&mut a.driver, group).unwrap();
    (a, b)
}

fn set_refuse(node: &mut Node, refuse: bool) {
    let tuning = Tuning { standby_lost_refuse: refuse, ..*node.shard.tuning() };
    let broker = node.shard.broker.options().clone();
    node.shard.tune(tuning, broker);
}

/// Sends a message and gives its answer.
fn sent(nodes: &mut [&mut Node], opaque: i32) -> Answer {
    nodes[0].offer(opaque, b"a message").unwrap();
    let mut answer = None;
    until(nodes, |nodes| {
        answer = nodes[0].answer(opaque);
        answer.is_some()
    });
    answer.unwrap()
}

#[test]
fn a_primary_whose_standby_died_goes_on_alone_when_it_is_told_to_degrade() {
    let (mut a, mut b) = pair(1, true);
    assert!(matches!(sent(&mut [&mut a, &mut b], 0), Answer::Sent { .. }));
    b.world.kill();
    until(&mut [&mut a], |nodes| nodes[0].report().standing == "standby away");
    assert!(a.offer(2, b"no").unwrap_err().1.contains("in-sync replicas not enough"));
    set_refuse(&mut a, false);
    until(&mut [&mut a], |nodes| nodes[0].report().standing == "alone");
    assert!(a.report().alone_since.is_some());
    assert!(matches!(sent(&mut [&mut a], 4), Answer::Less { lack: Lack::Pair, .. }));
    // That it was alone is known after a crash.
    let a = a.restart(|_| {});
    assert!(a.report().alone_since.is_some());
}

#[test]
fn a_standby_in_step_forgets_the_pledge_before_its_primary_goes_on_alone() {
    for seed in 2..6 {
        let (mut a, mut b) = pair(seed, true);
        until(&mut [&mut a, &mut b], |nodes| nodes[1].report().provable);
        set_refuse(&mut a, false);
        until(&mut [&mut a, &mut b], |nodes| {
            let alone = nodes[0].report().standing == "alone";
            assert!(!alone, "its standby is well");
            !nodes[1].report().provable && nodes[0].report().standing == "in sync"
        });
        b.world.kill();
        until(&mut [&mut a], |nodes| nodes[0].report().standing == "alone");
        let mut b = b.restart(|_| {});
        a.world.kill();
        b.turn();
        let refused = b.shard.promote(&mut b.driver, false).unwrap_err();
        assert!(refused.contains("--accept-loss"), "{refused}");
    }
}

#[test]
fn a_lone_primary_that_is_told_to_refuse_stops_at_once_and_hides_nothing_that_was_shown() {
    let (mut a, b) = pair(6, false);
    b.world.kill();
    until(&mut [&mut a], |nodes| nodes[0].report().standing == "alone");
    for opaque in [0, 2, 4] {
        assert!(matches!(sent(&mut [&mut a], opaque), Answer::Less { lack: Lack::Pair, .. }));
    }
    assert_eq!(a.drain(0).len(), 3);
    set_refuse(&mut a, true);
    assert!(a.offer(6, b"no").unwrap_err().1.contains("in-sync replicas not enough"));
    assert_eq!(a.drain(0).len(), 3, "what was shown stays shown");
    let mut b = b.restart(|_| {});
    until(&mut [&mut a, &mut b], |nodes| {
        nodes[0].report().standing == "in sync" && nodes[1].report().provable
    });
    assert!(matches!(sent(&mut [&mut a, &mut b], 8), Answer::Sent { .. }));
    assert_eq!(a.report().alone_since, None);
}

#[test]
fn a_pair_in_step_that_is_told_to_refuse_gives_the_pledge_without_parting() {
    let (mut a, mut b) = pair(7, false);
    assert!(!b.report().provable);
    set_refuse(&mut a, true);
    until(&mut [&mut a, &mut b], |nodes| {
        assert_eq!(nodes[0].report().standing, "in sync");
        nodes[1].report().provable
    });
}
