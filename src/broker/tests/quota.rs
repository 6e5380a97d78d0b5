//! Quotas through the whole of the rules: set as attributes, kept by the fold, one topic's alone.

use super::*;

fn create(world: &mut World, name: &str, attributes: &str) {
    let planned = world.broker.plan_topic(&TopicChange { attributes, ..change(name) });
    world.change(&planned.unwrap().unwrap());
}

fn refusal(world: &mut World, topic: &str) -> Option<Reject> {
    world.send(&SendRequest { queue_id: 0, ..message(topic) }).err()
}

#[test]
fn a_chatty_topic_is_refused_by_its_quota_and_the_paying_one_is_not() {
    let mut world = World::new();
    create(&mut world, "chatty", "+quota.messages.per.second=5");
    create(&mut world, "paying", "");
    world.broker.set_now(1000);
    for _ in 0..5 {
        assert_eq!(refusal(&mut world, "chatty"), None);
    }
    let end = world.end;
    let reject = refusal(&mut world, "chatty").unwrap();
    assert_eq!((reject.code, world.end), (215, end), "refused is not stored");
    let words = "limit: 5 (quota.messages.per.second on each broker)";
    assert!(reject.remark.contains("topic[chatty]") && reject.remark.contains(words));
    for _ in 0..100 {
        assert_eq!(refusal(&mut world, "paying"), None);
    }
    world.broker.set_now(1500);
    assert_eq!(refusal(&mut world, "chatty"), None, "time fills the bucket");
    let planned = world
        .broker
        .plan_topic(&TopicChange { attributes: "-quota.messages.per.second", ..change("chatty") });
    world.change(&planned.unwrap().unwrap());
    for _ in 0..100 {
        assert_eq!(refusal(&mut world, "chatty"), None, "a quota can be taken back");
    }
}

#[test]
fn a_batch_counts_with_all_its_messages_and_all_its_bytes() {
    let mut world = World::new();
    create(&mut world, "b", "+quota.bytes.per.second=1000");
    world.broker.set_now(1);
    let body = vec![7; 3000];
    let big = SendRequest { queue_id: 0, body: &body, ..message("b") };
    assert!(world.send(&big).is_ok(), "a message above a second's worth passes once");
    world.broker.set_now(1500);
    assert_eq!(refusal(&mut world, "b").unwrap().code, 215, "and is paid for");
    world.broker.set_now(4500);
    assert_eq!(refusal(&mut world, "b"), None);
}

#[test]
fn stored_bytes_are_known_again_after_a_fold_and_after_a_checkpoint() {
    let mut world = World::new();
    create(&mut world, "s", "+quota.stored.bytes=2000");
    while refusal(&mut world, "s").is_none() {}
    let words = refusal(&mut world, "s").unwrap().remark.into_owned();
    assert!(words.contains("quota.stored.bytes") && words.contains("wait for retention"));
    let image = image_of(&mut world.broker, world.end);
    let options = world.broker.options().clone();
    let restored = restored(&options, &image).unwrap();
    let mut folded = Broker::new(options, arena());
    for (position, record) in &world.log {
        match Meta::is_meta(record) {
            true => drop(folded.apply_meta(*position, &Meta::decode(record).unwrap())),
            false => drop(folded.apply_message(*position, record).unwrap()),
        }
    }
    for mut broker in [restored, folded] {
        let request = SendRequest { queue_id: 0, ..message("s") };
        let Err(reject) = broker.admit(&request) else {
            panic!("the quota was forgotten");
        };
        assert_eq!(reject.remark, words);
    }
}

#[test]
fn a_quota_must_be_a_positive_whole_number() {
    let world = World::new();
    for value in ["0", "-1", "many", "1.5", "9999999999999999999"] {
        let attributes = format!("+quota.bytes.per.second={value}");
        let request = TopicChange { attributes: &attributes, ..change("q") };
        let reject = world.broker.plan_topic(&request).unwrap_err();
        assert!(reject.remark.contains("use 1 to 1125899906842624"), "{}", reject.remark);
    }
}
