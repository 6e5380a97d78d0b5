//! Members, offsets and times: what consumers ask besides messages.

use super::*;
use crate::queue::{Boundary, Step};

fn beat<'a>(conn: u64, id: &'a str, group: &'a str, subs: &[(&'a str, i64)]) -> Heartbeat<'a> {
    let subscription = |(topic, sub_version): &(&'a str, i64)| SubscriptionBeat {
        topic,
        expression: "TagA",
        expression_type: None,
        sub_version: *sub_version,
    };
    Heartbeat {
        client: ClientBeat { conn: ConnId(conn), client_id: id, language: 0, version: 479 },
        producers: Vec::new(),
        consumers: vec![ConsumerBeat {
            group,
            consume_type: ConsumeType::Passively,
            message_model: MessageModel::Clustering,
            from_where: FromWhere::Last,
            subscriptions: subs.iter().map(subscription).collect(),
        }],
        without_sub: false,
    }
}

fn notified(world: &mut World, beat: &Heartbeat<'_>) -> Vec<u64> {
    let mut effects = Vec::new();
    let reply = world.broker.heartbeat(world.now_ms, beat, &mut effects).unwrap();
    assert_eq!(reply.changed, !effects.is_empty());
    world.changes(&reply.metas);
    conns(&effects)
}

fn conns(effects: &[Effect]) -> Vec<u64> {
    effects.iter().map(|Effect::NotifyIdsChanged { conn, .. }| conn.0).collect()
}

#[test]
fn a_heartbeat_creates_group_and_retry_topic_once() {
    let mut world = World::new();
    let beat = beat(1, "a", "g", &[("T", 1)]);
    let reply = world.broker.heartbeat(0, &beat, &mut Vec::new()).unwrap();
    assert_eq!(reply.metas.len(), 2);
    world.changes(&reply.metas);
    let (_, retry) = world.broker.catalog.topic("%RETRY%g").unwrap();
    assert_eq!((retry.config.queues(), retry.config.perm), (1, 6));
    let again = world.broker.heartbeat(0, &beat, &mut Vec::new()).unwrap();
    assert_eq!(again, BeatReply::default());
    let options = BrokerOptions { auto_create_group: false, ..Default::default() };
    let mut strict = World::with(options);
    let refused = strict.broker.heartbeat(0, &beat, &mut Vec::new()).unwrap_err();
    assert_eq!(refused.code, 26);
}

#[test]
fn every_member_is_told_when_one_comes_goes_or_subscribes_otherwise() {
    let mut world = World::new();
    assert_eq!(notified(&mut world, &beat(1, "a", "g", &[("T", 1)])), [1]);
    assert_eq!(notified(&mut world, &beat(1, "a", "g", &[("T", 1)])), Vec::<u64>::new());
    assert_eq!(notified(&mut world, &beat(2, "b", "g", &[("T", 1)])), [1, 2]);
    assert_eq!(
        notified(&mut world, &beat(2, "b", "g", &[("T", 2)])),
        Vec::<u64>::new(),
        "same topics"
    );
    assert_eq!(notified(&mut world, &beat(2, "b", "g", &[("T", 2), ("U", 1)])), [1, 2]);
    assert_eq!(notified(&mut world, &beat(2, "b", "g", &[("U", 1)])), [1, 2]);
    let silent = Heartbeat { without_sub: true, ..beat(2, "b", "g", &[]) };
    assert_eq!(
        notified(&mut world, &silent),
        Vec::<u64>::new(),
        "a beat without subscriptions keeps them"
    );
    let group = world.broker.membership.consumer("g").unwrap();
    assert_eq!(group.client_ids(), ["a", "b"]);
    assert_eq!(group.subscriptions["U"].codes, [2_598_919]);
    let mut effects = Vec::new();
    world.broker.membership.unregister(ConnId(2), None, Some("g"), true, &mut effects);
    assert_eq!(conns(&effects), [1]);
    effects.clear();
    world.broker.connection_closed(ConnId(1), &mut effects);
    assert!(effects.is_empty() && world.broker.membership.consumer("g").is_none());
}

#[test]
fn an_older_subscription_never_replaces_a_newer_one() {
    let mut world = World::new();
    notified(&mut world, &beat(1, "a", "g", &[("T", 5)]));
    notified(&mut world, &beat(1, "a", "g", &[("T", 3)]));
    let group = world.broker.membership.consumer("g").unwrap();
    assert_eq!(group.subscriptions["T"].sub_version, 5);
}

#[test]
fn a_group_that_wants_no_notices_gets_none() {
    let mut world = World::new();
    let mut quiet = GroupConfig::new("g");
    quiet.notify_ids_changed = false;
    world.change(&Meta::GroupPut(quiet));
    assert_eq!(notified(&mut world, &beat(1, "a", "g", &[("T", 1)])), Vec::<u64>::new());
    assert_eq!(world.broker.membership.consumer("g").unwrap().members.len(), 1);
}

#[test]
fn members_without_a_heartbeat_for_two_minutes_are_forgotten() {
    let mut world = World::new();
    notified(&mut world, &beat(1, "a", "g", &[("T", 1)]));
    let producer = Heartbeat { producers: vec!["p"], ..beat(2, "b", "g", &[("T", 1)]) };
    notified(&mut world, &producer);
    world.now_ms += 100_000;
    notified(&mut world, &beat(1, "a", "g", &[("T", 1)]));
    assert_eq!(world.broker.membership.find_client("b"), Some(ConnId(2)));
    let mut effects = Vec::new();
    world.broker.membership.expire(world.now_ms + 20_000, &mut effects);
    assert!(effects.is_empty(), "120 s exactly is not over");
    world.broker.membership.expire(world.now_ms + 20_001, &mut effects);
    assert_eq!(conns(&effects), [1]);
    assert!(world.broker.membership.producers("p").is_none());
    assert_eq!(world.broker.membership.find_client("b"), None);
}

#[test]
fn a_client_id_must_have_a_length_the_broker_can_keep() {
    let mut world = World::new();
    let long = "c".repeat(256);
    for id in ["", long.as_str()] {
        let refused = world.broker.heartbeat(0, &beat(1, id, "g", &[]), &mut Vec::new());
        assert!(refused.unwrap_err().remark.contains("allowed are 1 to 255"));
    }
}

#[test]
fn an_offset_nobody_stored_is_zero_on_a_young_queue_and_not_found_on_any_other() {
    let mut world = World::with(BrokerOptions { young_bytes: 10_000, ..Default::default() });
    world.topic("T", 3);
    world.group("g");
    let first = world.end;
    world.put("T", 0, "x", "");
    world.put("T", 1, "x", "");
    let ask = |world: &World, queue_id, zero, end| {
        let answer = world.broker.query_offset("g", "T", queue_id, zero, end);
        answer.map_err(|reject| reject.code)
    };
    assert_eq!(ask(&world, 0, None, first + 10_000), Ok(0));
    assert_eq!(ask(&world, 0, Some(true), first + 10_000), Ok(0));
    assert_eq!(ask(&world, 0, Some(false), first + 10_000), Err(22), "the client forbids it");
    assert_eq!(ask(&world, 0, None, first + 10_001), Err(22), "it is old");
    assert_eq!(ask(&world, 2, None, first), Err(22), "nothing was ever in it");
    assert_eq!(ask(&world, -1, None, first), Err(22));
    queues_of(&mut world.broker).trim(first + 1, &mut 0, u32::MAX);
    assert_eq!(ask(&world, 0, None, first), Err(22), "it was trimmed");
    assert_eq!(ask(&world, 1, None, first), Ok(0));
    world.broker.update_offset("g", "T", Some(0), Some(1)).unwrap();
    assert_eq!(ask(&world, 0, Some(false), u64::MAX), Ok(1), "what is stored is the answer");
}

#[test]
fn an_offset_update_is_checked_in_rocketmqs_order() {
    let mut world = World::new();
    world.topic("T", 1);
    world.group("g");
    for (group, topic, queue_id, offset, expected) in [
        ("none", "none", None, None, Err((26, "Group not exist!"))),
        ("g", "none", None, None, Err((17, "Topic not exist!"))),
        ("g", "T", None, None, Err((29, "QueueId is null or not below 1024!"))),
        ("g", "T", Some(1024), Some(1), Err((29, "QueueId is null or not below 1024!"))),
        ("g", "T", Some(0), None, Err((29, "Offset is null!"))),
        ("g", "T", Some(0), Some(9), Ok(())),
        ("g", "T", Some(0), Some(4), Ok(())),
    ] {
        let answer = world.broker.update_offset(group, topic, queue_id, offset);
        let answer = answer.map_err(|reject| (reject.code, reject.remark.into_owned()));
        assert_eq!(answer, expected.map_err(|(code, text)| (code, text.to_owned())));
    }
    assert_eq!(world.broker.offsets.get("g", "T", 0), Some(4), "the last one wins, lower or not");
}

#[test]
fn offsets_are_logged_once_for_many_commits_and_a_newer_commit_outlives_the_record() {
    let mut world = World::new();
    world.topic("T", 2);
    for offset in 0..100 {
        world.broker.offsets.commit("g", "T", 0, offset).unwrap();
    }
    world.broker.offsets.commit("g", "T", 1, 7).unwrap();
    let mut entries = world.broker.offsets.drain_dirty(10);
    entries.sort_unstable_by_key(|entry| entry.queue_id);
    assert_eq!(entries.iter().map(|entry| entry.offset).collect::<Vec<_>>(), [99, 7]);
    assert!(!world.broker.offsets.has_dirty());
    world.broker.offsets.commit("g", "T", 0, 99).unwrap();
    assert!(!world.broker.offsets.has_dirty(), "what did not change is not logged");
    world.broker.offsets.commit("g", "T", 0, 120).unwrap();
    world.log_meta(&Meta::Offsets(entries));
    assert_eq!(world.broker.offsets.get("g", "T", 0), Some(120));
    for queue_id in 0..5 {
        world.broker.offsets.commit("h", "T", queue_id, 1).unwrap();
    }
    assert_eq!(world.broker.offsets.drain_dirty(4).len(), 4);
    assert_eq!(world.broker.offsets.drain_dirty(4).len(), 2, "the rest comes next time");
    assert_eq!(world.broker.offsets.groups_of("T"), ["g", "h"]);
    assert_eq!(world.broker.offsets.topics_of("h"), ["T"]);
    assert_eq!(world.broker.offsets.cells("g", "T").collect::<Vec<_>>(), [(0, 120), (1, 7)]);
}

#[test]
fn times_are_found_among_visible_messages_only() {
    let mut world = World::new();
    world.topic("T", 1);
    let first_ms = world.wall_ms;
    for _ in 0..5 {
        world.put("T", 0, "x", "");
        world.wall_ms += 10;
    }
    world.sync();
    let marks = world.marks;
    world.put("T", 0, "hidden", "");
    let mut search = |ms, boundary| match world.broker.search_offset("T", 0, ms, boundary, marks) {
        Step::Ready(offset) => offset,
        other => panic!("{other:?}"),
    };
    for (ms, lower, upper) in [
        (first_ms - 1, 0, 0),
        (first_ms, 0, 0),
        (first_ms + 1, 1, 0),
        (first_ms + 20, 2, 2),
        (first_ms + 41, 5, 4),
        (first_ms + 1000, 5, 5),
    ] {
        assert_eq!((search(ms, Boundary::Lower), search(ms, Boundary::Upper)), (lower, upper));
    }
    assert_eq!(world.broker.earliest_store_ms("T", 0), Step::Ready(first_ms));
    assert_eq!(world.broker.store_ms("T", 0, 2), Step::Ready(first_ms + 20));
    assert_eq!(world.broker.store_ms("T", 0, -1), Step::Ready(-1));
    assert_eq!(world.broker.earliest_store_ms("T", 3), Step::Ready(-1));
    assert_eq!(world.broker.search_offset("none", 0, 0, Boundary::Lower, marks), Step::Ready(0));
}
