//! Sending: RocketMQ's order of checks, its codes and texts, and the bytes that are stored.

use weir_wire::message::Record;

use super::*;

fn refused(world: &mut World, request: &SendRequest<'_>) -> (i32, String) {
    let reject = world.send(request).unwrap_err();
    (reject.code, reject.remark.into_owned())
}

#[test]
fn a_refused_message_gets_rocketmqs_code_and_text_with_the_value_and_the_limit() {
    let mut world = World::new();
    world.topic("T", 4);
    world.change(&Meta::TopicPut {
        config: TopicConfig::new("%RETRY%lonely", 1, Origin::Group),
        created: 0,
    });
    let long = "x".repeat(128);
    let big = vec![1; 4 * 1024 * 1024 + 1];
    let many = format!("K\x01{}\x02", "v".repeat(32_700));
    let base = message("T");
    fn with<'a>(base: &SendRequest<'a>, properties: &'a str) -> SendRequest<'a> {
        SendRequest { properties: properties.as_bytes(), ..*base }
    }
    let delayed = |properties| with(&base, properties);
    for (request, code, text) in [
        (SendRequest { topic: "", ..base }, 29, "The specified topic is blank."),
        (SendRequest { topic: "a b", ..base }, 29, "contains illegal characters, allowing only ^["),
        (SendRequest { topic: &long, ..base }, 29, "It has 128 characters, the limit is 127"),
        (
            SendRequest { topic: "SCHEDULE_TOPIC_XXXX", ..base },
            16,
            "Sending message to topic[SCHEDULE_TOPIC_XXXX] is forbidden.",
        ),
        (
            SendRequest { topic: "new", default_topic: Text::plain("none"), ..base },
            17,
            "topic[new] not exist, apply first please!\nSee https://rocketmq.apache.org/",
        ),
        (
            SendRequest { topic: "new", default_topic: Text::plain("T"), ..base },
            17,
            "topic[new] not exist, apply first please!",
        ),
        (
            SendRequest { queue_id: 4, ..base },
            29,
            "request queueId[4] is illegal, TopicConfig [topicName=T, readQueueNums=4, \
             writeQueueNums=4, perm=RW-, topicFilterType=SINGLE_TAG, topicSysFlag=0, order=false, \
             attributes={}] Producer: 10.0.0.9:50000",
        ),
        (
            SendRequest { topic: "%RETRY%lonely", ..base },
            26,
            "subscription group not exist, lonely",
        ),
        (SendRequest { topic: "%RETRY%none", ..base }, 26, "subscription group not exist, none"),
        (SendRequest { body: &big, ..base }, 13, "the message is illegal, maybe msg body or"),
        (SendRequest { body: &big, ..base }, 13, "The body has 4194305B, allowed are 1 to 4194304"),
        (SendRequest { body: b"", ..base }, 13, "The body has 0B"),
        (delayed(&many), 13, "The properties have 3"),
        (delayed("DELAY\x013\x02"), 13, "delay levels (DELAY=3) are not supported"),
        (delayed("DELAY\x01-\x02"), 13, "delay levels (DELAY=-) are not supported"),
        (delayed("TIMER_DELAY_SEC\x013"), 1, "accurate timer message is not enabled"),
        (delayed("TRAN_MSG\x01true\x02"), 16, "sending transaction message is forbidden"),
        (SendRequest { sys_flag: 4, ..base }, 16, "sending transaction message is forbidden"),
        (SendRequest { sys_flag: 0x80, ..base }, 13, "inner batches (sysFlag 0x80, INNER_NUM)"),
        (delayed("INNER_NUM\x012\x02"), 13, "inner batches"),
    ] {
        let (got, remark) = refused(&mut world, &request);
        assert!(remark.contains(text), "{remark:?} lacks {text:?}");
        assert_eq!(got, code, "{remark}");
    }
    assert!(shape(&world.broker).is_empty(), "a refused message leaves no offset behind");
}

#[test]
fn an_order_topic_is_not_sent_to_on_a_broker_that_lost_its_write_permission() {
    let mut world = World::new();
    let order = TopicChange { order: true, ..change("O") };
    let meta = world.broker.plan_topic(&order).unwrap().unwrap();
    world.change(&meta);
    world.topic("T", 1);
    let options = BrokerOptions { broker_permission: 4, ..world.broker.options().clone() };
    world.broker.set_options(options);
    let (code, remark) = refused(&mut world, &message("O"));
    assert_eq!((code, remark.as_str()), (16, "the broker[127.0.0.1] sending message is forbidden"));
    assert!(world.send(&message("T")).is_ok(), "others are stored: routes keep senders away");
}

#[test]
fn a_stored_record_is_byte_for_byte_rocketmqs() {
    let options = BrokerOptions { store_host: ([10, 0, 0, 1], 10_911), ..Default::default() };
    let mut world = World::with(options);
    world.topic("T1", 4);
    (world.end, world.wall_ms) = (1024, 1_700_000_000_005);
    let request = SendRequest {
        queue_id: 3,
        born_ms: 1_700_000_000_000,
        properties: b"TAGS\x01TagA\x02UNIQ_KEY\x01k",
        ..message("T1")
    };
    let admission = world.send(&request).unwrap();
    let record = &world.log[&1024];
    let hex: String = record[..92].iter().map(|byte| format!("{byte:02X}")).collect();
    let size = format!("{:08X}", record.len());
    assert_eq!(
        hex,
        format!(
            "{size}DAA320A73610A6860000000300000000000000000000000000000000000004000000\
             00000000018BCFE568000A0000090000C3500000018BCFE568050A00000100002A9F0000\
             00000000000000000000000000056865\
             6C6C"
        )
    );
    let parsed = Record::parse(record).unwrap();
    assert_eq!((parsed.topic(), parsed.body()), ("T1", &b"hello"[..]));
    let text = std::str::from_utf8(parsed.properties()).unwrap();
    assert_eq!(
        text,
        "TAGS\x01TagA\x02UNIQ_KEY\x01k\x02MSG_REGION\x01DefaultRegion\x02TRACE_ON\x01true\x02\
         CLUSTER\x01DefaultCluster\x02"
    );
    assert_eq!(admission.tags, 2_598_919);
}

#[test]
fn a_missing_unique_key_is_made_and_a_resent_messages_broker_properties_are_renewed() {
    let mut world = World::new();
    world.topic("T", 1);
    let properties = "POP_CK\x01x\x02CLUSTER\x01old\x02A\x01b\x02UNIQ_KEY\x01\x02";
    let admission = world.put("T", 0, "b", properties);
    let position = world.end - u64::from(admission.len);
    let record = Record::parse(&world.log[&position]).unwrap();
    let text = std::str::from_utf8(record.properties()).unwrap();
    let key = world.broker.answer_key(&admission, world.wall_ms);
    assert!(text.starts_with("A\x01b\x02MSG_REGION\x01"), "{text:?}");
    assert!(text.ends_with(&format!("CLUSTER\x01DefaultCluster\x02UNIQ_KEY\x01{key:?}\x02")));
    let other = world.put("T", 0, "b", "");
    assert_ne!(world.broker.answer_key(&other, world.wall_ms), key);
}

#[test]
fn a_topic_is_created_from_the_template_with_the_smaller_queue_count() {
    for (nums, queues) in [(4, 4), (16, 8), (0, 1), (-3, 1)] {
        let mut world = World::new();
        let request = SendRequest { default_topic_queue_nums: nums, ..message("fresh") };
        assert!(world.send(&request).is_ok());
        let (_, topic) = world.broker.catalog.topic("fresh").unwrap();
        assert_eq!((topic.config.read_queues, topic.config.perm), (queues, 6), "{nums}");
    }
    let options = BrokerOptions { auto_create_topic: false, ..Default::default() };
    let (code, _) = refused(&mut World::with(options), &message("fresh"));
    assert_eq!(code, 17);
}

#[test]
fn an_auto_created_topics_queues_are_divided_and_the_templates_ids_still_find_one() {
    let shares = |shards: u32, nums| -> Vec<u32> {
        let share = |shard_index| {
            let options = BrokerOptions { shard_index, shards, ..Default::default() };
            let mut world = World::with(options);
            let request = SendRequest { default_topic_queue_nums: nums, ..message("fresh") };
            for queue_id in [0, 3, 7] {
                let sent = world.send(&SendRequest { queue_id, ..request });
                let queues = world.broker.catalog.topic("fresh").unwrap().1.config.queues();
                match sent {
                    Ok(admission) => assert_eq!(admission.queue_id, queue_id as u32 % queues),
                    Err(reject) => assert_eq!((queues, reject.code), (0, 17)),
                }
            }
            if let Err(reject) = world.send(&SendRequest { queue_id: 8, ..request }) {
                assert!(reject.code == 29 || reject.code == 17, "8 is beyond the template too");
            }
            world.broker.catalog.topic("fresh").unwrap().1.config.queues()
        };
        (0..shards).map(share).collect()
    };
    assert_eq!(shares(1, 4), [4]);
    assert_eq!(shares(2, 4), [2, 2]);
    assert_eq!(shares(3, 4), [2, 1, 1]);
    assert_eq!(shares(4, 2), [1, 1, 0, 0]);
}

#[test]
fn a_negative_queue_id_lets_the_broker_pick_every_queue_in_turn() {
    let mut world = World::new();
    world.topic("T", 3);
    let mut seen: Vec<u32> = (0..6).map(|_| world.put("T", -1, "b", "").queue_id).collect();
    seen.sort_unstable();
    assert_eq!(seen, [0, 0, 1, 1, 2, 2]);
}

#[test]
fn a_message_retried_too_often_becomes_a_dead_letter_without_its_delay() {
    let mut world = World::new();
    world.group("g");
    let retry = SendRequest {
        topic: "%RETRY%g",
        properties: b"UNIQ_KEY\x01k\x02DELAY\x0118\x02",
        ..message("T")
    };
    for (times, max, version, dead) in [
        (16, None, 479, false),
        (17, None, 479, true),
        (3, Some(2), 479, true),
        (3, Some(2), 120, false),
        (3, Some(3), 479, false),
    ] {
        let request = SendRequest {
            reconsume_times: times,
            max_reconsume_times: max,
            client_version: version,
            ..retry
        };
        match world.send(&request) {
            Ok(admission) => {
                assert!(dead, "{times} {max:?}");
                let topic = world.broker.catalog.at(admission.topic).unwrap();
                assert_eq!(topic.config.name, "%DLQ%g");
                let position = world.end - u64::from(admission.len);
                let record = Record::parse(&world.log[&position]).unwrap();
                assert_eq!(record.topic(), "%DLQ%g");
                assert!(!record.properties().windows(5).any(|part| part == b"DELAY"));
            }
            Err(reject) => assert!(!dead && reject.code == 13, "delay is not built: {reject:?}"),
        }
    }
}

#[test]
fn the_sender_waits_for_what_topic_broker_and_message_ask_for() {
    use FlushClass::{Durable, Staged};
    for (sync_flush, attribute, properties, ack, class) in [
        (false, "", "", Staged, Staged),
        (true, "", "", Durable, Durable),
        (true, "", "WAIT\x01false\x02", Staged, Durable),
        (true, "", "WAIT\x01true\x02", Durable, Durable),
        (false, "+flush.disk.type=SYNC_FLUSH", "", Durable, Durable),
        (true, "+flush.disk.type=ASYNC_FLUSH", "", Staged, Staged),
        (false, "", "WEIR_FLUSH\x01sync\x02", Durable, Staged),
        (false, "", "WAIT\x01false\x02WEIR_FLUSH\x01SYNC\x02", Durable, Staged),
    ] {
        let mut world = World::with(BrokerOptions { sync_flush, ..Default::default() });
        let change = TopicChange { attributes: attribute, ..change("T") };
        let meta = world.broker.plan_topic(&change).unwrap().unwrap();
        world.change(&meta);
        let admission = world.put("T", 0, "b", properties);
        assert_eq!((admission.ack, admission.class), (ack, class), "{attribute} {properties:?}");
    }
}

fn batch(messages: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (text, properties) in messages {
        let size = 22 + text.len() + properties.len();
        body.extend_from_slice(&(size as i32).to_be_bytes());
        body.extend_from_slice(&[0; 8]);
        body.extend_from_slice(&7i32.to_be_bytes());
        body.extend_from_slice(&(text.len() as i32).to_be_bytes());
        body.extend_from_slice(text.as_bytes());
        body.extend_from_slice(&(properties.len() as i16).to_be_bytes());
        body.extend_from_slice(properties.as_bytes());
    }
    body
}

#[test]
fn a_batch_is_stored_as_its_messages_with_their_own_properties_in_consecutive_offsets() {
    let mut world = World::new();
    world.topic("T", 1);
    world.put("T", 0, "before", "");
    let body = batch(&[("one", "TAGS\x01TagA\x02"), ("two", ""), ("three", "A\x01b")]);
    let request = SendRequest { batch: true, body: &body, properties: b"", ..message("T") };
    let admission = world.send(&request).unwrap();
    assert_eq!((admission.queue_offset, admission.count), (1, 3));
    world.group("g");
    world.sync();
    let (step, plan) = world.pull(&PullRequest { queue_offset: 1, ..pull("T") });
    assert_eq!(reply(step).next, 4);
    assert_eq!(world.bodies(&plan), ["one", "two", "three"]);
    let offsets = plan.extents.iter().map(|(position, _)| {
        let record = Record::parse(&world.log[position]).unwrap();
        assert_eq!(record.position(), *position as i64);
        (record.queue_offset(), std::str::from_utf8(record.properties()).unwrap().to_owned())
    });
    let offsets: Vec<_> = offsets.collect();
    assert_eq!(offsets[0], (1, "TAGS\x01TagA\x02".to_owned()));
    assert_eq!(offsets[2], (3, "A\x01b".to_owned()));
    let tagged = PullRequest { queue_offset: 1, subscription: Some("TagA"), ..pull("T") };
    let (_, plan) = world.pull(&tagged);
    assert_eq!(world.bodies(&plan), ["one"]);
}

#[test]
fn a_batch_with_one_bad_message_is_refused_whole() {
    let mut world = World::new();
    world.topic("T", 1);
    world.group("g");
    let good = ("x", "A\x01b\x02");
    let mut cut = batch(&[good, good]);
    cut.pop();
    let mut lies = batch(&[good]);
    lies[3] = 0xFF;
    for (body, topic, text) in [
        (batch(&[good, ("x", "DELAY\x011\x02")]), "T", "Message 2 of the batch is delayed"),
        (batch(&[("x", "TRAN_MSG\x01true\x02")]), "T", "Message 1 of the batch is delayed"),
        (batch(&[good, ("", "")]), "T", "Message 2 of the batch has no body"),
        (batch(&[good; 4097]), "T", "more than 4096 messages"),
        (batch(&[good]), "%RETRY%g", "batch request does not support retry group"),
        (cut, "T", "Message 2: the batch entry at byte 27 has a wrong size."),
        (lies, "T", "Message 1: the batch entry at byte 0 has a wrong size."),
        (Vec::new(), "T", "The batch has no messages."),
    ] {
        let request = SendRequest { batch: true, body: &body, ..message(topic) };
        let (code, remark) = refused(&mut world, &request);
        assert!(code == 13 && remark.contains(text), "{remark:?} lacks {text:?}");
    }
    assert!(shape(&world.broker).is_empty());
}

#[test]
fn a_full_index_asks_to_wait_before_anything_is_stored() {
    let mut world = World::new();
    world.topic("T", 8);
    let request = SendRequest { queue_id: -1, ..message("T") };
    while let Ok(Verdict::Admit(admission)) = world.broker.admit(&request) {
        world.store(&admission, &request);
    }
    assert_eq!(world.broker.admit(&request), Ok(Verdict::IndexFull));
    let stored = world.log.len();
    world.write_chunks();
    assert!(world.send(&message("T")).is_ok());
    assert_eq!(world.log.len(), stored + 1);
}
