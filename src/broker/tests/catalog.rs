//! Topics, groups and their records: what may be changed, what boot brings, how bytes are read.

use super::*;

fn refused(world: &World, change: &TopicChange<'_>) -> (i32, String) {
    let reject = world.broker.plan_topic(change).unwrap_err();
    (reject.code, reject.remark.into_owned())
}

#[test]
fn boot_brings_rocketmqs_system_topics_and_groups() {
    let world = World::new();
    for (topic, queues, perm) in [
        ("TBW102", 8, 7),
        ("BenchmarkTest", 1024, 6),
        ("DefaultCluster", 16, 7),
        ("weir-0", 1, 7),
        ("SELF_TEST_TOPIC", 1, 6),
        ("OFFSET_MOVED_EVENT", 1, 6),
        ("SCHEDULE_TOPIC_XXXX", 18, 6),
        ("RMQ_SYS_TRANS_HALF_TOPIC", 1, 6),
        ("RMQ_SYS_TRANS_OP_HALF_TOPIC", 1, 6),
        ("DefaultCluster_REPLY_TOPIC", 1, 6),
        ("rmq_sys_REVIVE_LOG_DefaultCluster", 8, 6),
        ("rmq_sys_SYNC_BROKER_MEMBER_weir-0", 1, 1),
        ("rmq_sys_wheel_timer", 1, 6),
    ] {
        let (_, found) = world.broker.catalog.topic(topic).unwrap();
        assert_eq!((found.config.queues(), found.config.perm), (queues, perm), "{topic}");
    }
    assert!(world.broker.catalog.topic("RMQ_SYS_TRACE_TOPIC").is_none());
    assert!(world.broker.catalog.group("TOOLS_CONSUMER").is_some());
    assert!(world.log.is_empty(), "none of it is logged");
    let options =
        BrokerOptions { auto_create_topic: false, trace_topic: true, ..Default::default() };
    let world = World::with(options);
    assert!(world.broker.catalog.topic("TBW102").is_none());
    assert!(world.broker.catalog.topic("RMQ_SYS_TRACE_TOPIC").is_some());
}

#[test]
fn a_topic_change_is_refused_with_the_field_and_what_it_may_be() {
    let mut world = World::new();
    world.topic("T", 4);
    let base = change("new");
    for (change, code, text) in [
        (TopicChange { topic: " ", ..base }, 29, "The specified topic is blank."),
        (TopicChange { topic: "TBW102", ..base }, 29, "The topic[TBW102] is conflict with system"),
        (TopicChange { topic: "rmq_sys_x", ..base }, 29, "conflict with system topic."),
        (TopicChange { read_queues: 0, ..base }, 29, "readQueueNums is 0, allowed are 1 to 1024"),
        (TopicChange { write_queues: 1025, ..base }, 29, "writeQueueNums is 1025"),
        (TopicChange { perm: 8, ..base }, 29, "perm 8 is not a sum of"),
        (TopicChange { perm: -1, ..base }, 29, "perm -1"),
        (TopicChange { attributes: "+a=b", ..base }, 1, "unsupported key: a; supported are"),
        (TopicChange { attributes: "-queue.type", ..base }, 1, "only add attribute is supported"),
        (TopicChange { attributes: "+queue.type", ..base }, 1, "add attribute format is wrong"),
        (TopicChange { attributes: "queue.type=x", ..base }, 1, "wrong format key"),
        (
            TopicChange { attributes: "+queue.type=BatchCQ", ..base },
            1,
            "queue.type = BatchCQ is not supported by this version of weir; use one of SimpleCQ",
        ),
        (
            TopicChange { attributes: "+flush.disk.type=NEVER", ..base },
            1,
            "not a value it takes; use one of SYNC_FLUSH, ASYNC_FLUSH",
        ),
        (
            TopicChange { topic: "T", attributes: "-message.type", ..base },
            1,
            "attempt to delete a nonexistent key: message.type",
        ),
    ] {
        let (got, remark) = refused(&world, &change);
        assert!(remark.contains(text), "{remark:?} lacks {text:?}");
        assert_eq!(got, code, "{text}");
    }
}

#[test]
fn a_topic_keeps_its_queues_attributes_and_version_over_changes_that_change_nothing() {
    let mut world = World::new();
    world.topic("T", 4);
    world.put("T", 3, "x", "");
    let version = world.broker.catalog.topics_version;
    assert_eq!(world.broker.plan_topic(&change("T")), Ok(None));
    let set = TopicChange {
        read_queues: 8,
        attributes: "+message.type=FIFO,+flush.disk.type=SYNC_FLUSH",
        ..change("T")
    };
    let meta = world.broker.plan_topic(&set).unwrap().unwrap();
    assert_eq!(world.change(&meta), Applied::TopicChanged);
    let unset = TopicChange { attributes: "-message.type", ..set };
    let meta = world.broker.plan_topic(&unset).unwrap().unwrap();
    world.change(&meta);
    let (_, topic) = world.broker.catalog.topic("T").unwrap();
    assert_eq!(topic.config.attributes, [("flush.disk.type".into(), "SYNC_FLUSH".into())]);
    assert_eq!((topic.config.read_queues, topic.class), (8, FlushClass::Durable));
    assert_eq!(world.broker.catalog.topics_version.counter, version.counter + 2);
    assert_eq!(shape(&world.broker), [("T".to_owned(), 3, 0, 1)]);
}

#[test]
fn what_one_shard_was_asked_for_exists_on_all_with_queues_where_they_belong() {
    let options = |shard_index| BrokerOptions { shard_index, shards: 2, ..Default::default() };
    let own = World::with(options(0));
    let mut other = World::with(options(1));
    let admin = own.broker.plan_topic(&change("T")).unwrap().unwrap();
    let Ok(Verdict::Create(auto)) = { own }.broker.admit(&message("fresh")) else {
        panic!("it is not there yet");
    };
    let group = Meta::GroupPut(GroupConfig::new("g"));
    for (meta, queues) in [(&admin, Some(0)), (&auto, Some(2)), (&group, None)] {
        let local = other.broker.localize(meta, false).unwrap();
        if let Meta::TopicPut { config, .. } = &local {
            assert_eq!(Some(config.write_queues), queues);
        }
        other.log_meta(&local);
        assert_eq!(other.broker.localize(meta, false), None, "it is known now");
    }
}

#[test]
fn deleting_asks_for_what_exists_and_leaves_the_brokers_own() {
    let mut world = World::new();
    world.topic("T", 1);
    world.group("g");
    world.broker.update_offset("g", "T", Some(0), Some(3)).unwrap();
    assert_eq!(world.broker.plan_topic_delete("none"), Ok(None));
    assert_eq!(world.broker.plan_topic_delete("TBW102").unwrap_err().code, 29);
    assert_eq!(world.broker.plan_topic_delete("").unwrap_err().code, 29);
    assert_eq!(world.broker.plan_group_delete("none", true), Ok(None));
    assert!(world.broker.plan_group_delete("TOOLS_CONSUMER", true).is_err());
    let keep = world.broker.plan_group_delete("g", false).unwrap().unwrap();
    assert_eq!(world.change(&keep), Applied::GroupChanged);
    assert_eq!(world.broker.offsets.get("g", "T", 0), Some(3), "offsets stay unless asked");
    let clean = world.broker.plan_group_delete("g", true).unwrap().unwrap();
    assert_eq!(world.change(&clean), Applied::Nothing);
    assert_eq!(world.broker.offsets.get("g", "T", 0), None);
    world.broker.offsets.commit("g", "T", 0, 5).unwrap();
    let delete = world.broker.plan_topic_delete("T").unwrap().unwrap();
    assert_eq!(world.change(&delete), Applied::TopicRemoved);
    assert!(world.broker.offsets.is_empty());
    assert!(world.broker.offsets.drain_dirty(10).is_empty(), "what is gone is not logged");
}

fn samples() -> Vec<Meta> {
    let mut topic = TopicConfig::new("T", 3, Origin::Admin);
    topic.attributes.push(("flush.disk.type".into(), "SYNC_FLUSH".into()));
    topic.order = true;
    let mut group = GroupConfig::new("grüppe");
    group.retry_policy = RetryPolicy::Exponential { initial_ms: 5, max_ms: 7, multiplier: 2 };
    group.forbidden_topics.push("T".into());
    let mut waits = GroupConfig::new("w");
    waits.retry_policy = RetryPolicy::Customized { next_ms: vec![1, -2] };
    let version = DataVersion { counter: 9, state_version: 1, timestamp_ms: 5 };
    let offset =
        |queue_id| OffsetEntry { group: "g".into(), topic: "T".into(), queue_id, offset: -1 };
    let bounds = BoundsEntry { topic: "T".into(), queue_id: 7, min: 1, max: u64::MAX };
    vec![
        Meta::TopicPut { config: topic, created: 77 },
        Meta::TopicDelete { topic: "T".into() },
        Meta::GroupPut(group),
        Meta::GroupPut(waits),
        Meta::GroupDelete { group: "g".into(), clean_offset: true },
        Meta::Offsets(vec![offset(0), offset(1)]),
        Meta::SnapshotBegin { id: 3 },
        Meta::QueueBounds(vec![bounds]),
        Meta::SnapshotEnd { id: 3, topics: version, groups: version },
        Meta::Opened { generation: 4, wall_ms: 1_700_000_000_000 },
    ]
}

#[test]
fn every_record_reads_back_as_what_was_written_and_starts_with_size_and_magic() {
    for meta in samples() {
        let mut bytes = vec![1, 2, 3];
        meta.encode(&mut bytes);
        let record = &bytes[3..];
        assert_eq!(record[..4], (record.len() as i32).to_be_bytes());
        assert_eq!(&record[4..8], b"WEIR");
        assert!(Meta::is_meta(record));
        assert_eq!(Meta::decode(record), Ok(meta));
    }
}

#[test]
fn a_record_cut_short_lengthened_or_of_another_release_is_refused_by_name() {
    for meta in samples() {
        let mut good = Vec::new();
        meta.encode(&mut good);
        for len in 0..good.len() {
            let mut cut = good[..len].to_vec();
            if len >= 8 {
                cut[..4].copy_from_slice(&(len as i32).to_be_bytes());
            }
            assert!(Meta::decode(&cut).is_err(), "{meta:?} cut to {len}");
        }
        let mut long = good.clone();
        long.push(0);
        long[..4].copy_from_slice(&(good.len() as i32 + 1).to_be_bytes());
        assert!(Meta::decode(&long).is_err());
        let mut newer = good.clone();
        newer[8] = 2;
        assert_eq!(Meta::decode(&newer), Err(MetaError::UnknownVersion(2)));
        let mut other = good;
        other[9] = 99;
        assert_eq!(Meta::decode(&other), Err(MetaError::UnknownKind(99)));
    }
    let text = MetaError::UnknownKind(99).to_string();
    assert_eq!(text, "weir record of kind 99, known are 1 to 9; a newer release wrote it");
    let mut forged = Vec::new();
    Meta::Offsets(Vec::new()).encode(&mut forged);
    let at = forged.len() - 4;
    forged[at..].fill(0xFF);
    assert_eq!(Meta::decode(&forged), Err(MetaError::Malformed("group name")));
}

#[test]
fn random_bytes_never_decode_to_a_panic() {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize
    };
    let seeds: Vec<Vec<u8>> = samples().iter().fold(Vec::new(), |mut seeds, meta| {
        let mut bytes = Vec::new();
        meta.encode(&mut bytes);
        seeds.push(bytes);
        seeds
    });
    for _ in 0..20_000 {
        let mut bytes = seeds[next() % seeds.len()].clone();
        for _ in 0..1 + next() % 4 {
            let at = next() % bytes.len();
            bytes[at] = next() as u8;
        }
        if let Ok(meta) = Meta::decode(&bytes) {
            let mut again = Vec::new();
            meta.encode(&mut again);
            assert_eq!(again, bytes, "what is accepted is what would be written");
        }
    }
}
