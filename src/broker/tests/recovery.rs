//! The fold: whatever a start reads back (the whole log, a part of it behind a snapshot, a
//! checkpoint and the rest) gives the state there was.

use super::*;

/// A log with a bit of everything in it.
fn busy() -> World {
    let mut world = World::new();
    world.log_meta(&Meta::Opened { generation: 1, wall_ms: 1_700_000_000_000 });
    world.topic("T", 4);
    world.topic("U", 1);
    world.group("g");
    for number in 0..600 {
        world.put("T", number % 4, "body", "TAGS\x01a\x02");
        world.put("auto", number % 4, "body", "");
        if number % 50 == 0 {
            world.broker.update_offset("g", "T", Some(number % 4), Some(number.into())).unwrap();
            let entries = world.broker.offsets.drain_dirty(100);
            world.log_meta(&Meta::Offsets(entries));
        }
    }
    world.put("U", 0, "old life", "");
    let delete = world.broker.plan_topic_delete("U").unwrap().unwrap();
    world.change(&delete);
    world.topic("U", 2);
    world.put("U", 1, "new life", "");
    world.sync();
    world
}

fn assert_same(found: &Broker, expected: &Broker) {
    assert_eq!(shape(found), shape(expected));
    let configs = |broker: &Broker| -> Vec<TopicConfig> {
        broker.catalog.topics().into_iter().map(|topic| topic.config.clone()).collect()
    };
    assert_eq!(configs(found), configs(expected));
    assert_eq!(found.catalog.groups(), expected.catalog.groups());
    for queue_id in 0..4 {
        let offset = |broker: &Broker| broker.offsets.get("g", "T", queue_id);
        assert_eq!(offset(found), offset(expected));
    }
    assert_eq!(found.offsets.len(), expected.offsets.len());
}

#[test]
fn folding_the_whole_log_gives_the_state_there_was() {
    let world = busy();
    let mut folded = world.fold(0);
    assert_same(&folded, &world.broker);
    assert_eq!(folded.catalog.topics_version, world.broker.catalog.topics_version);
    assert_eq!(folded.guessed_topics(), 0);
    assert_eq!(folded.newest_store_ms(), world.wall_ms);
    let records = world.log.range(0..);
    let again = fold_into(&mut folded, records.filter(|(_, record)| !Meta::is_meta(record)));
    let known =
        |seen: &MessageApplied| matches!(seen, MessageApplied::Duplicate | MessageApplied::OldLife);
    assert!(again.iter().all(known), "a record folded twice changes nothing");
    assert_same(&folded, &world.broker);
}

#[test]
fn a_new_life_of_a_topic_does_not_see_records_of_the_old_one() {
    let world = busy();
    let mut folded = world.fold(0);
    let of_u: Vec<_> = shape(&folded).into_iter().filter(|(topic, ..)| topic == "U").collect();
    assert_eq!(of_u, [("U".to_owned(), 1, 0, 1)]);
    let (position, old) = world
        .log
        .iter()
        .find(|(_, record)| record.windows(8).any(|part| part == b"old life"))
        .unwrap();
    assert_eq!(folded.apply_message(*position, old), Ok(MessageApplied::OldLife));
}

/// Writes a snapshot in small slices with sends between them.
fn snapshot(world: &mut World) -> u64 {
    let begin = world.end;
    let mut cursor = SnapshotCursor::new(1);
    let mut slice = Vec::new();
    let mut number = 0;
    while !world.broker.snapshot_slice(&mut cursor, 100, &mut slice) {
        for meta in slice.drain(..) {
            world.log_meta(&meta);
        }
        number += 1;
        world.put("T", number % 4, "between", "");
        if number == 2 {
            world.topic("late", 1);
            world.put("late", 0, "x", "");
        }
        if number == 3 {
            world.broker.update_offset("g", "T", Some(2), Some(999)).unwrap();
            let entries = world.broker.offsets.drain_dirty(10);
            world.log_meta(&Meta::Offsets(entries));
            let delete = world.broker.plan_topic_delete("U").unwrap().unwrap();
            world.change(&delete);
        }
    }
    assert!(number > 3, "it took several slices");
    for meta in slice {
        world.log_meta(&meta);
    }
    begin
}

#[test]
fn a_snapshot_written_between_sends_and_the_log_behind_it_give_the_state_there_was() {
    let mut world = busy();
    let begin = snapshot(&mut world);
    world.put("T", 0, "after", "");
    assert_same(&world.fold(0), &world.broker);
    // Older segments are gone: maximums come from the snapshot, minimums from what is left.
    let folded = world.fold(begin);
    let maxima = |broker: &Broker| -> Vec<(String, u32, u64)> {
        shape(broker).into_iter().map(|(topic, queue, _, max)| (topic, queue, max)).collect()
    };
    assert_eq!(maxima(&folded), maxima(&world.broker));
    for (topic, queue, min, max) in shape(&folded) {
        let kept = topic == "T" || topic == "late";
        assert!(if kept { min < max } else { min == max }, "{topic} {queue}: {min} {max}");
    }
    assert_eq!(folded.offsets.get("g", "T", 2), Some(999));
    assert!(folded.catalog.topic("U").is_none() && folded.catalog.topic("late").is_some());
    assert_eq!(folded.catalog.topics_version, world.broker.catalog.topics_version);
}

#[test]
fn a_topic_whose_creation_lies_in_a_deleted_segment_is_guessed_and_settled_by_the_snapshot() {
    let mut world = busy();
    let cut = world.log.keys().copied().nth(500).unwrap();
    let guessed = world.fold(cut);
    assert_eq!(guessed.guessed_topics(), 3);
    let (_, topic) = guessed.catalog.topic("T").unwrap();
    assert_eq!((topic.config.origin, topic.config.perm), (Origin::Guessed, 6));
    snapshot(&mut world);
    let folded = world.fold(cut);
    assert_eq!(folded.catalog.topic("T").unwrap().1.config.origin, Origin::Admin);
    let live = shape(&world.broker);
    for ((topic, queue, min, max), expected) in shape(&folded).into_iter().zip(live) {
        assert_eq!((&topic, queue, max), (&expected.0, expected.1, expected.3));
        assert!(min >= expected.2 && min < max, "{topic}: it begins at the first record kept");
    }
}

#[test]
fn a_checkpoint_and_the_log_behind_it_give_the_state_there_was() {
    let mut world = busy();
    world.write_chunks();
    let (image, upto) = (image_of(&mut world.broker, world.end), world.end);
    world.broker.queues.checkpointed();
    world.put("T", 1, "later", "");
    world.topic("late", 1);
    world.put("late", 0, "x", "");
    let mut restored = restored(world.broker.options(), &image).unwrap();
    fold_into(&mut restored, world.log.range(upto..));
    assert_same(&restored, &world.broker);
    assert_eq!(restored.catalog.topics_version, world.broker.catalog.topics_version);
    world.broker = restored;
    world.sync();
    let request = PullRequest { queue_id: 1, queue_offset: 140, ..pull("T") };
    let (step, plan) = world.pull(&request);
    assert_eq!((reply(step).next, plan.extents.len()), (151, 11), "cold and warm chunks serve");
}

#[test]
fn a_checkpoint_that_ends_early_or_says_a_thing_twice_is_refused() {
    let mut world = busy();
    let good = image_of(&mut world.broker, world.end);
    let refused = |image: &[Vec<u8>]| restored(world.broker.options(), image).is_err();
    assert!(!refused(&good));
    assert!(refused(&good[..good.len() - 1]), "no end");
    let twice: Vec<Vec<u8>> = [&good[..], &good[..]].concat();
    assert!(refused(&twice));
    for len in [1, 5, 40, good[0].len() - 1] {
        let mut short = good.clone();
        short[0].truncate(len);
        assert!(refused(&short), "cut after {len}");
    }
}

#[test]
fn a_checkpoint_taken_while_topics_come_and_go_and_the_log_give_the_state_there_is() {
    let put = |world: &mut World, name: &str, queues: i32| {
        let change = TopicChange { read_queues: queues, write_queues: queues, ..change(name) };
        if let Ok(Some(meta)) = world.broker.plan_topic(&change) {
            world.change(&meta);
        }
    };
    for seed in 0..40u64 {
        let mut world = busy();
        let upto = world.end;
        let mut cursor = world.broker.image_begins();
        let mut image = Vec::new();
        for step in 0.. {
            let mut room = vec![0; 2 * QUEUE_PIECE_MAX];
            let mut piece = Piece::new(&mut room);
            let done = world.broker.put_image(&mut cursor, world.end, &mut piece).unwrap();
            let len = piece.len();
            room.truncate(len);
            image.push(room);
            if done {
                break;
            }
            match (seed * 7 + step) % 6 {
                0 => put(&mut world, &format!("new{step}"), 2),
                1 => world.delete("T"),
                2 => put(&mut world, "T", 3),
                3 => assert_eq!(world.put("T", 1, "more", "").queue_id, 1),
                4 => put(&mut world, "U", 1),
                _ => assert_eq!(world.put("T", 0, "again", "").queue_id, 0),
            }
        }
        let mut restored = restored(world.broker.options(), &image).unwrap();
        fold_into(&mut restored, world.log.range(upto..));
        assert_same(&restored, &world.broker);
    }
}

#[test]
fn offsets_that_were_lost_leave_a_hole_that_pulls_step_over() {
    let mut world = World::new();
    world.topic("T", 1);
    world.group("g");
    for _ in 0..10 {
        world.put("T", 0, "x", "");
    }
    let lost: Vec<u64> = world.log.keys().copied().skip(6).take(3).collect();
    let mut folded = Broker::new(world.broker.options().clone(), arena());
    let kept = world.log.iter().filter(|(position, _)| !lost.contains(position));
    let seen = fold_into(&mut folded, kept);
    assert_eq!(seen[4], MessageApplied::Gap { expected: 4, found: 7 });
    world.broker = folded;
    world.sync();
    let (step, plan) = world.pull(&pull("T"));
    assert_eq!((reply(step).next, plan.extents.len()), (4, 4));
    let (step, plan) = world.pull(&PullRequest { queue_offset: 4, ..pull("T") });
    assert_eq!((reply(step.clone()).code, reply(step).next, plan.extents.len()), (20, 7, 0));
    let (step, plan) = world.pull(&PullRequest { queue_offset: 7, ..pull("T") });
    assert_eq!((reply(step).next, plan.extents.len()), (10, 3));
}

#[test]
fn bytes_that_are_no_message_are_refused_without_a_trace() {
    let mut world = World::new();
    world.topic("T", 1);
    world.put("T", 0, "x", "");
    let good = world.log.last_key_value().unwrap().1.clone();
    let mut broker = world.fold(0);
    let before = shape(&broker);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0xFF;
        let _ = broker.apply_message(1 << 30, &bad);
        let _ = broker.apply_message(1 << 30, &bad[..at]);
    }
    let grown = shape(&broker).len() - before.len();
    assert!(grown <= good.len(), "at most new queues appear: {grown}");
}

/// Folds all but the records from `from` to `upto`, telling the rules what they missed.
fn fold_around(world: &World, from: u64, upto: u64) -> Broker {
    let mut broker = Broker::new(world.broker.options().clone(), arena());
    fold_into(&mut broker, world.log.range(..from));
    broker.records_lost(upto - from);
    fold_into(&mut broker, world.log.range(upto..));
    broker
}

#[test]
fn behind_a_hole_the_next_whole_snapshot_says_what_there_is() {
    let mut world = busy();
    world.group("gone");
    let from = world.end;
    let delete = world.broker.plan_topic_delete("auto").unwrap().unwrap();
    world.change(&delete);
    world.log_meta(&Meta::GroupDelete { group: "gone".to_owned(), clean_offset: true });
    world.topic("lost", 1);
    world.put("lost", 0, "x", "");
    world.put("T", 0, "x", "");
    let upto = world.end;
    snapshot(&mut world);
    world.sync();
    let mut folded = fold_around(&world, from, upto);
    assert!(!folded.settle_losses(), "nothing is in doubt behind the snapshot");
    for (name, there) in [("auto", false), ("lost", true), ("T", true), ("late", true)] {
        assert_eq!(folded.catalog.topic(name).is_some(), there, "{name}");
        assert_eq!(world.broker.catalog.topic(name).is_some(), there, "{name}");
    }
    assert!(folded.catalog.group("gone").is_none() && folded.catalog.group("g").is_some());
    let max = |broker: &Broker, topic| broker.max_offset(topic, 0, world.marks);
    assert_eq!(max(&folded, "lost"), max(&world.broker, "lost"));
}

#[test]
fn without_a_snapshot_behind_it_a_hole_leaves_state_in_doubt_and_offsets_beyond_the_lost_ones() {
    let mut world = busy();
    let from = world.end;
    let delete = world.broker.plan_topic_delete("auto").unwrap().unwrap();
    world.change(&delete);
    for _ in 0..20 {
        world.put("T", 1, "x", "");
        world.put("T", 2, "x", "");
    }
    let upto = world.end;
    world.put("T", 2, "behind", "");
    world.sync();
    let mut folded = fold_around(&world, from, upto);
    assert!(folded.settle_losses());
    assert!(folded.catalog.topic("auto").is_some(), "nobody tells that it was deleted");
    let max = |broker: &Broker, queue_id| broker.max_offset("T", queue_id, world.marks);
    assert!(max(&folded, 1) >= max(&world.broker, 1), "not given out again");
    assert_eq!(max(&folded, 2), max(&world.broker, 2), "told by the message behind");
    assert!(!folded.settle_losses(), "settled once");
}
