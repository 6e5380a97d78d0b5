//! Pulling: the order of checks, the mapping of what is found to codes, and holding.

use super::*;

fn beat(world: &mut World, conn: u64, group: &str, topic: &str, expression: &str, version: i64) {
    let subscriptions = vec![SubscriptionBeat {
        topic,
        expression,
        expression_type: Some("TAG"),
        sub_version: version,
    }];
    let consumer = ConsumerBeat {
        group,
        consume_type: ConsumeType::Passively,
        message_model: MessageModel::Clustering,
        from_where: FromWhere::Last,
        subscriptions,
    };
    let client_id = format!("client{conn}");
    let client =
        ClientBeat { conn: ConnId(conn), client_id: &client_id, language: 0, version: 479 };
    let beat =
        Heartbeat { client, producers: Vec::new(), consumers: vec![consumer], without_sub: false };
    let reply = world.broker.heartbeat(world.now_ms, &beat, &mut Vec::new()).unwrap();
    world.changes(&reply.metas);
}

fn push(topic: &str) -> PullRequest<'_> {
    let sys_flag = PULL_SUSPEND;
    PullRequest { sys_flag, subscription: None, sub_version: 5, ..pull(topic) }
}

fn to(opaque: i32) -> ReplyTo {
    ReplyTo { conn: ConnId(1), opaque, tag: 0, asked_ns: 0 }
}

/// Holds a pull that has nothing to get.
fn park(world: &mut World, request: &PullRequest<'_>, reply: ReplyTo) -> ParkId {
    let (step, _) = world.pull(request);
    let PullStep::Park(ticket) = step else { panic!("not held: {step:?}") };
    world.broker.park(request, &ticket, reply).unwrap()
}

fn woken(world: &mut World) -> Vec<ParkId> {
    let mut woken = Vec::new();
    world.broker.visible_advanced(world.marks, &mut woken);
    woken
}

#[test]
fn the_checks_come_in_rocketmqs_order_with_its_codes() {
    let mut world = World::new();
    world.topic("T", 2);
    world.topic("other", 2);
    let hidden = TopicChange { perm: 2, ..change("hidden") };
    let meta = world.broker.plan_topic(&hidden).unwrap().unwrap();
    world.change(&meta);
    beat(&mut world, 1, "g", "T", "*", 5);
    world.group("silent");
    let mut stopped = GroupConfig::new("stopped");
    stopped.consume_enable = false;
    world.change(&Meta::GroupPut(stopped));
    let mut barred = GroupConfig::new("barred");
    barred.forbidden_topics.push("T".to_owned());
    world.change(&Meta::GroupPut(barred));
    beat(&mut world, 2, "barred", "T", "*", 5);
    let long = "g".repeat(121);
    let base = push("T");
    let sql = PullRequest { expression_type: Some("SQL92"), ..pull("T") };
    for (request, code, text) in [
        (PullRequest { group: &long, ..base }, 26, "does not exist, See https://rocketmq"),
        (PullRequest { group: "stopped", ..base }, 16, "subscription group no permission, stopped"),
        (PullRequest { topic: "none", ..base }, 17, "topic[none] not exist, apply first please!"),
        (PullRequest { topic: "hidden", ..base }, 16, "topic[hidden] pulling message is forbidden"),
        (PullRequest { queue_id: 2, ..base }, 29, "queueId[2] is illegal, topic:[T]"),
        (PullRequest { queue_id: -1, ..base }, 29, "queueId[-1] is illegal"),
        (PullRequest { subscription: Some("||"), ..pull("T") }, 23, "subscription failed"),
        (PullRequest { group: "silent", ..base }, 24, "the consumer's group info not exist"),
        (PullRequest { group: "barred", ..base }, 16, "is forbidden for topic[T]"),
        (PullRequest { topic: "other", ..base }, 24, "the consumer's subscription not exist"),
        (PullRequest { sub_version: 6, ..base }, 25, "the consumer's subscription not latest"),
        (sql, 1, "The broker does not support consumer to filter message by SQL92"),
    ] {
        let (step, _) = world.pull(&request);
        let PullStep::Reject(reject) = step else { panic!("{text}: {step:?}") };
        assert!(reject.remark.contains(text), "{:?} lacks {text:?}", reject.remark);
        assert_eq!(reject.code, code, "{text}");
    }
}

#[test]
fn a_group_nobody_created_is_created_by_its_first_pull_or_refused() {
    let mut world = World::new();
    world.topic("T", 1);
    let (step, _) = world.pull(&pull("T"));
    let PullStep::Create(metas) = step else { panic!("{step:?}") };
    assert_eq!(metas, [Meta::GroupPut(GroupConfig::new("g"))]);
    world.changes(&metas);
    assert!(matches!(world.pull(&pull("T")).0, PullStep::Reply(_)));
    let options = BrokerOptions { auto_create_group: false, ..world.broker.options().clone() };
    world.broker.set_options(options);
    let (step, _) = world.pull(&PullRequest { group: "h", ..pull("T") });
    assert!(matches!(step, PullStep::Reject(Reject { code: 26, .. })), "{step:?}");
}

#[test]
fn what_is_found_decides_code_and_next_offset() {
    let mut world = World::new();
    world.topic("T", 2);
    world.group("g");
    for number in 0..10 {
        let tag = if number < 5 { "TAGS\x01a\x02" } else { "TAGS\x01b\x02" };
        world.put("T", 0, &number.to_string(), tag);
    }
    world.sync();
    let trimmed = world.log.keys().copied().nth(4).unwrap();
    queues_of(&mut world.broker).trim(trimmed, &mut 0, u32::MAX);
    let (min, max) = (2, 10);
    assert_eq!(world.broker.min_offset("T", 0), Ok(min));
    let at = |offset| PullRequest { queue_offset: offset, ..pull("T") };
    let tags = |offset, tags| PullRequest { subscription: Some(tags), ..at(offset) };
    for (request, code, remark, next, count) in [
        (at(3), 0, "FOUND", 10, 7),
        (at(9), 0, "FOUND", 10, 1),
        (at(10), 19, "OFFSET_OVERFLOW_ONE", 10, 0),
        (at(11), 21, "OFFSET_OVERFLOW_BADLY", 10, 0),
        (at(1), 21, "OFFSET_TOO_SMALL", 2, 0),
        (at(-1), 21, "OFFSET_TOO_SMALL", 2, 0),
        (tags(2, "a"), 0, "FOUND", 10, 3),
        (tags(2, "a || b"), 0, "FOUND", 10, 8),
        (tags(5, " a "), 20, "NO_MATCHED_MESSAGE", 10, 0),
        (tags(2, "c"), 20, "NO_MATCHED_MESSAGE", 10, 0),
        (tags(2, ""), 0, "FOUND", 10, 8),
        (PullRequest { max_messages: 3, ..at(2) }, 0, "FOUND", 5, 3),
        (PullRequest { max_messages: 0, ..at(2) }, 0, "FOUND", 3, 1),
        (PullRequest { max_bytes: Some(1), ..at(2) }, 0, "FOUND", 3, 1),
        (PullRequest { max_messages: 1, ..tags(2, "b") }, 0, "FOUND", 6, 1),
    ] {
        let (step, plan) = world.pull(&request);
        let reply = reply(step);
        assert_eq!((reply.code, reply.remark), (code, remark), "{request:?}");
        assert_eq!((reply.next, plan.extents.len()), (next, count), "{request:?}");
        assert_eq!((reply.min, reply.max, reply.suggest), (min, max, 0), "{request:?}");
    }
    for (offset, code) in [(0, 19), (3, 21), (-1, 21)] {
        let (step, _) = world.pull(&PullRequest { queue_id: 1, ..at(offset) });
        let empty = reply(step);
        assert_eq!((empty.code, empty.next, empty.max), (code, 0, 0), "nothing was ever in it");
    }
}

#[test]
fn bytes_are_limited_more_tightly_for_messages_that_left_memory() {
    let mut world = World::new();
    world.topic("T", 1);
    world.group("g");
    let body = "x".repeat(40_000);
    for _ in 0..10 {
        world.put("T", 0, &body, "");
    }
    world.sync();
    assert_eq!(world.pull(&pull("T")).1.extents.len(), 6, "256 KiB from memory");
    world.marks.resident = u64::MAX;
    assert_eq!(world.pull(&pull("T")).1.extents.len(), 1, "64 KiB from disk");
    let small = PullRequest { max_bytes: Some(100_000), ..pull("T") };
    world.marks.resident = 0;
    assert_eq!(world.pull(&small).1.extents.len(), 2, "what the client asks, if it is less");
}

#[test]
fn a_message_is_seen_only_when_the_watermark_of_its_topic_has_passed_it() {
    let mut world = World::new();
    let sync = TopicChange { attributes: "+flush.disk.type=SYNC_FLUSH", ..change("S") };
    let meta = world.broker.plan_topic(&sync).unwrap().unwrap();
    world.change(&meta);
    world.topic("A", 1);
    world.group("g");
    let before = world.end;
    world.put("S", 0, "s", "");
    world.put("A", 0, "a", "");
    for (staged, durable, seen) in [(before, before, [0, 0]), (world.end, before, [0, 1])] {
        world.marks = Watermarks { staged, durable, resident: 0 };
        for (topic, count) in ["S", "A"].into_iter().zip(seen) {
            let (step, plan) = world.pull(&pull(topic));
            let reply = reply(step);
            assert_eq!(plan.extents.len(), count, "{topic}");
            assert_eq!(reply.code, if count > 0 { 0 } else { 19 }, "not moved: it will come");
            assert_eq!(world.broker.max_offset(topic, 0, world.marks), count as u64);
            assert_eq!(reply.max, count as u64);
        }
    }
    world.marks.durable = world.end - 1;
    assert_eq!(world.pull(&pull("S")).1.extents.len(), 1);
}

#[test]
fn a_cold_chunk_is_asked_for_only_when_nothing_came_before_it() {
    let mut world = World::new();
    world.topic("T", 1);
    world.group("g");
    for number in 0..127 * 140 {
        world.put("T", 0, &number.to_string(), "");
        if number % 127 == 0 {
            world.write_chunks();
        }
    }
    world.sync();
    let mut plan = PullPlan::default();
    let marks = world.marks;
    // The clock's hand passes the very first chunk; the second is the first to leave.
    let first = PullRequest { queue_offset: 127, ..pull("T") };
    let PullStep::Need(chunk) = world.broker.pull(0, &first, marks, &mut plan) else {
        panic!("old chunks left memory");
    };
    world.load(chunk);
    let step = world.broker.pull(0, &first, marks, &mut plan);
    assert_eq!((reply(step).next, plan.extents.len()), (159, 32));
    let edge = PullRequest { queue_offset: 247, ..first };
    let step = world.broker.pull(0, &edge, marks, &mut plan);
    assert_eq!((reply(step).next, plan.extents.len()), (254, 7), "the next chunk is cold");
    let none = PullRequest { subscription: Some("none"), ..first };
    let step = world.broker.pull(0, &none, marks, &mut plan);
    assert_eq!((reply(step).code, reply(world.pull(&none).0).next), (20, 254));
}

#[test]
fn the_offset_in_a_pull_is_stored_on_the_first_pass_even_if_it_is_held() {
    let mut world = World::new();
    world.topic("T", 1);
    world.group("g");
    let sys_flag = PULL_SUBSCRIPTION | PULL_COMMIT | PULL_SUSPEND;
    let request = PullRequest { sys_flag, commit_offset: 7, ..pull("T") };
    park(&mut world, &request, to(1));
    assert_eq!(world.broker.offsets.get("g", "T", 0), Some(7));
    world.pull(&PullRequest { commit_offset: 9, first_pass: false, ..request });
    assert_eq!(world.broker.offsets.get("g", "T", 0), Some(7));
    world.pull(&PullRequest { queue_id: 5, commit_offset: 9, ..request });
    assert_eq!(world.broker.offsets.get("g", "T", 5), None, "a refused pull stores nothing");
}

#[test]
fn a_held_pull_is_woken_by_the_watermark_and_answered_with_what_came() {
    let mut world = World::new();
    world.topic("T", 2);
    beat(&mut world, 1, "g", "T", "*", 5);
    let id = park(&mut world, &push("T"), to(42));
    world.put("T", 1, "elsewhere", "");
    world.sync();
    assert!(woken(&mut world).is_empty(), "another queue");
    world.put("T", 0, "x", "");
    assert!(woken(&mut world).is_empty(), "appended, not yet visible");
    world.sync();
    assert_eq!(woken(&mut world), [id]);
    assert!(woken(&mut world).is_empty(), "once");
    let mut plan = PullPlan::default();
    let (reply_to, _, step) = world.broker.rerun(id, world.marks, &mut plan).unwrap();
    assert_eq!((reply_to, reply(step).code), (to(42), 0));
    assert_eq!(world.bodies(&plan), ["x"]);
    assert!(world.broker.parking.is_empty());
    assert!(world.broker.rerun(id, world.marks, &mut plan).is_none(), "the place is free");
}

#[test]
fn a_pull_held_after_the_append_and_before_the_watermark_is_not_forgotten() {
    let mut world = World::new();
    world.topic("T", 1);
    beat(&mut world, 1, "g", "T", "*", 5);
    world.put("T", 0, "x", "");
    let id = park(&mut world, &push("T"), to(1));
    assert!(woken(&mut world).is_empty());
    world.sync();
    assert_eq!(woken(&mut world), [id]);
}

#[test]
fn a_held_pull_is_not_woken_by_messages_its_filter_drops() {
    let mut world = World::new();
    world.topic("T", 1);
    beat(&mut world, 1, "g", "T", "a || c", 5);
    let id = park(&mut world, &push("T"), to(1));
    for tag in ["b", "b", "c"] {
        assert!(woken(&mut world).is_empty());
        world.put("T", 0, tag, &format!("TAGS\x01{tag}\x02"));
        world.sync();
    }
    assert_eq!(woken(&mut world), [id]);
    let mut plan = PullPlan::default();
    let (_, _, step) = world.broker.rerun(id, world.marks, &mut plan).unwrap();
    assert_eq!(reply(step).next, 3);
    assert_eq!(world.bodies(&plan), ["c"]);
}

#[test]
fn a_held_pull_is_answered_at_its_deadline_and_never_held_again() {
    let mut world = World::new();
    world.topic("T", 1);
    beat(&mut world, 1, "g", "T", "a", 5);
    let first = park(&mut world, &push("T"), to(1));
    let second = park(&mut world, &PullRequest { suspend_ms: 999_999, ..push("T") }, to(2));
    let mut woken = Vec::new();
    assert_eq!(world.broker.parking.next_deadline_ms(), Some(world.now_ms + 15_000));
    world.broker.expire_pulls(world.now_ms + 14_999, &mut woken);
    assert!(woken.is_empty());
    world.broker.expire_pulls(world.now_ms + 15_000, &mut woken);
    assert_eq!(woken, [first]);
    let mut plan = PullPlan::default();
    let (_, _, step) = world.broker.rerun(first, world.marks, &mut plan).unwrap();
    assert!(matches!(step, PullStep::Reply(PullReply { code: 19, next: 0, .. })), "{step:?}");
    world.put("T", 0, "b", "TAGS\x01b\x02");
    world.sync();
    world.broker.expire_pulls(world.now_ms + 60_000, &mut woken);
    assert_eq!(woken, [first, second], "never longer than a minute");
    let (_, _, step) = world.broker.rerun(second, world.marks, &mut plan).unwrap();
    assert_eq!((reply(step.clone()).code, reply(step).next), (20, 1), "it goes on behind it");
}

#[test]
fn a_pull_is_held_only_when_it_allows_it_and_for_a_second_when_long_polling_is_off() {
    let mut world = World::new();
    world.topic("T", 1);
    world.group("g");
    assert!(matches!(world.pull(&pull("T")).0, PullStep::Reply(PullReply { code: 19, .. })));
    let options = BrokerOptions { long_polling: false, ..world.broker.options().clone() };
    world.broker.set_options(options);
    let request = PullRequest { sys_flag: PULL_SUBSCRIPTION | PULL_SUSPEND, ..pull("T") };
    let (step, _) = world.pull(&request);
    let PullStep::Park(ticket) = step else { panic!("{step:?}") };
    assert_eq!(ticket.deadline_ms, world.now_ms + 1000);
}

#[test]
fn held_pulls_go_with_their_connection_and_their_topic() {
    let mut world = World::new();
    world.topic("T", 1);
    beat(&mut world, 1, "g", "T", "*", 5);
    let gone =
        park(&mut world, &push("T"), ReplyTo { conn: ConnId(9), opaque: 1, tag: 0, asked_ns: 0 });
    let kept = park(&mut world, &push("T"), to(2));
    world.broker.connection_closed(ConnId(9), &mut Vec::new());
    assert_eq!(world.broker.parking.len(), 1);
    world.put("T", 0, "x", "");
    let meta = world.broker.plan_topic_delete("T").unwrap().unwrap();
    world.change(&meta);
    world.topic("U", 1);
    assert_eq!(woken(&mut world), [kept]);
    let mut plan = PullPlan::default();
    assert!(world.broker.rerun(gone, world.marks, &mut plan).is_none());
    let (_, _, step) = world.broker.rerun(kept, world.marks, &mut plan).unwrap();
    assert!(matches!(step, PullStep::Reject(Reject { code: 17, .. })), "{step:?}");
}

#[test]
fn places_are_bounded_and_every_one_is_found_again() {
    let mut world = World::new();
    world.topic("T", 4);
    beat(&mut world, 1, "g", "T", "*", 5);
    let request = |queue_id| PullRequest { queue_id, ..push("T") };
    let mut ids = Vec::new();
    for opaque in 0..crate::base::limits::PARKED_PULLS_MAX as i32 {
        let conn = ConnId(opaque as u64 % 7);
        let reply = ReplyTo { conn, opaque, tag: 0, asked_ns: 0 };
        let (step, _) = world.pull(&request(opaque % 4));
        let PullStep::Park(ticket) = step else { panic!("{step:?}") };
        ids.push(world.broker.park(&request(opaque % 4), &ticket, reply).unwrap());
    }
    let (step, _) = world.pull(&request(0));
    let PullStep::Park(ticket) = step else { panic!("{step:?}") };
    assert_eq!(world.broker.park(&request(0), &ticket, to(0)), Err(ParkingFull));
    world.broker.connection_closed(ConnId(3), &mut Vec::new());
    world.put("T", 1, "x", "");
    world.put("T", 2, "x", "");
    world.sync();
    let mut all = woken(&mut world);
    world.broker.expire_pulls(i64::MAX, &mut all);
    all.sort_unstable_by_key(|id| id.index);
    let expected = ids.iter().enumerate().filter(|(at, _)| at % 7 != 3);
    assert!(all.iter().eq(expected.map(|(_, id)| id)), "each once, but those of connection 3");
    let mut plan = PullPlan::default();
    for id in all {
        let (reply_to, _, step) = world.broker.rerun(id, world.marks, &mut plan).unwrap();
        let found = matches!(reply_to.opaque % 4, 1 | 2);
        assert_eq!(reply(step).code, if found { 0 } else { 19 });
    }
    assert!(world.broker.parking.is_empty());
}

#[test]
fn traffic_is_counted_by_topic_and_kind_and_by_group_and_topic() {
    let mut world = World::new();
    world.topic("orders", 4);
    world.group("g");
    world.put("orders", 0, "plain", "TAGS\x01a\x02");
    let ordered = world.put("orders", 0, "ordered", "__SHARDINGKEY\x01k\x02");
    let second = world.put("orders", 0, "ordered too", "__SHARDINGKEY\x01k\x02TAGS\x01a\x02");
    world.sync();
    let sent: Vec<_> = world.broker.sent().collect();
    let [orders] = sent.as_slice() else { panic!("{sent:?}") };
    let messages = orders.kinds.map(|kind| kind.messages);
    assert_eq!((orders.topic.as_str(), messages, orders.is_system), ("orders", [1, 2], false));
    assert_eq!(orders.kinds[1].bytes, u64::from(ordered.len + second.len));
    let (_, plan) = world.pull(&pull("orders"));
    world.broker.count_read(plan.reader, plan.extents.len() as u64, plan.bytes as u64);
    let [reader] = world.broker.readers() else { panic!("{:?}", world.broker.readers()) };
    assert_eq!((reader.topic.as_str(), reader.group.as_str()), ("orders", pull("orders").group));
    assert_eq!((reader.read.messages, reader.read.bytes), (3, plan.bytes as u64));
    assert!(world.broker.is_system("SCHEDULE_TOPIC_XXXX", "g"));
    assert!(world.broker.is_system("orders", "CID_RMQ_SYS_TRANS"));
}
