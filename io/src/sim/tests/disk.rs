//! What a disk keeps and what it loses.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::sim::{Death, Faults, Random};

#[test]
fn unsynced_bytes_may_be_lost_and_synced_or_durable_ones_never_are() {
    let mut seen = BTreeSet::new();
    for seed in 0..60 {
        let world = world(seed);
        let mut driver = world.driver();
        let file = durable_file(&mut driver, "/d/log", 4);
        write_page(&mut driver, file, 0, 1, false);
        driver.sync(file, Token(2));
        collect(&mut driver, 1);
        write_page(&mut driver, file, 1, 2, false);
        write_page(&mut driver, file, 2, 3, true);
        write_page(&mut driver, file, 3, 4, false);
        assert_eq!(first_bytes(&world, "/d/log", 4), [1, 2, 3, 4], "readers see all");
        world.power_cut();
        let left = first_bytes(&world, "/d/log", 4);
        assert_eq!((left[0], left[2]), (1, 3), "seed {seed}");
        seen.insert((left[1], left[3]));
    }
    assert_eq!(seen.len(), 4, "each unsynced page is lost or kept on its own: {seen:?}");
}

#[test]
fn with_several_durable_writes_in_flight_a_later_one_often_ends_first() {
    let (mut overtaken, mut total) = (0, 0);
    for seed in 0..50 {
        let world = world(seed);
        let mut driver = world.driver();
        let file = durable_file(&mut driver, "/d/log", 4);
        for number in 0..4 {
            driver.write(file, number * 4096, page(7), true, Token(number));
        }
        let order = tokens(&collect(&mut driver, 4));
        let ahead = |n: usize| order[n..].iter().any(|later| *later < order[n]);
        overtaken += (0..4).filter(|n| ahead(*n)).count();
        total += 4;
    }
    assert!(overtaken * 4 > total, "{overtaken} of {total}");
}

#[test]
fn at_a_power_cut_a_later_write_in_flight_often_survives_an_earlier_one() {
    let mut holes = 0;
    let mut torn = 0;
    for seed in 0..100 {
        let world = world(seed);
        let mut driver = world.driver();
        let file = durable_file(&mut driver, "/d/log", 8);
        for number in 0..4 {
            let mut buf = Buf::new(8192);
            buf.fill(9);
            driver.write(file, number * 8192, Source::Buf(buf), true, Token(number));
        }
        driver.wait(0, &mut Vec::new()).unwrap();
        world.power_cut();
        let path = Path::new("/d/log");
        let whole: Vec<bool> = (0..4)
            .map(|n| world.peek(path, n * 8192, 8192).unwrap().iter().all(|byte| *byte == 9))
            .collect();
        torn += (0..4)
            .filter(|n| {
                let bytes = world.peek(path, n * 8192, 8192).unwrap();
                bytes.contains(&9) && bytes.contains(&0)
            })
            .count();
        holes += usize::from(whole.windows(2).any(|pair| pair == [false, true]));
    }
    assert!(holes > 30 && torn > 30, "{holes} holes, {torn} torn writes in 100 cuts");
}

#[test]
fn a_killed_process_leaves_its_completed_writes_and_some_of_those_in_flight_still_land() {
    let (mut later, mut never) = (0, 0);
    for seed in 0..60 {
        let world = world(seed);
        let mut driver = world.driver();
        let file = durable_file(&mut driver, "/d/log", 2);
        assert!(driver.lock(file, Duration::ZERO).unwrap());
        write_page(&mut driver, file, 0, 5, false);
        driver.write(file, 4096, page(6), false, Token(9));
        world.kill();
        assert_eq!(first_bytes(&world, "/d/log", 2), [5, 0], "a completed write stays");

        let mut next = world.driver();
        let file = next.open(Path::new("/d/log"), DIRECT).unwrap();
        assert!(next.lock(file, Duration::from_secs(1)).unwrap());
        let settled = first_bytes(&world, "/d/log", 2);
        world.advance_by(1_000_000_000);
        assert_eq!(first_bytes(&world, "/d/log", 2), settled, "nothing lands behind the lock");
        *(if settled[1] == 6 { &mut later } else { &mut never }) += 1;
    }
    assert!(later > 20 && never > 5, "{later} landed, {never} did not");
}

#[test]
fn the_lock_of_a_killed_process_is_held_while_its_writes_are_in_flight() {
    let mut refused = 0;
    for seed in 0..40 {
        let world = world(seed);
        let mut driver = world.driver();
        let file = durable_file(&mut driver, "/d/log", 8);
        assert!(driver.lock(file, Duration::ZERO).unwrap());
        for number in 0..8 {
            driver.write(file, number * 4096, page(6), false, Token(number));
        }
        world.kill();
        let mut next = world.driver();
        let file = next.open(Path::new("/d/log"), DIRECT).unwrap();
        refused += usize::from(!next.lock(file, Duration::ZERO).unwrap());
        assert!(next.lock(file, Duration::from_millis(100)).unwrap(), "48 ms at most");
    }
    assert!(refused > 30, "{refused}");
}

#[test]
fn a_lock_excludes_other_descriptions_until_it_is_closed() {
    let world = world(1);
    let mut driver = world.driver();
    let one = driver.open(Path::new("/d/log"), BUFFERED).unwrap();
    let two = driver.open(Path::new("/d/log"), BUFFERED).unwrap();
    assert!(driver.lock(one, Duration::ZERO).unwrap());
    assert!(driver.lock(one, Duration::ZERO).unwrap(), "taking it again is no conflict");
    assert!(!driver.lock(two, Duration::from_millis(5)).unwrap());
    driver.close_file(one);
    assert!(driver.lock(two, Duration::ZERO).unwrap());
}

#[test]
fn staging_memory_survives_a_kill_and_not_a_power_cut() {
    let world = world(1);
    let read = |driver: &mut Driver| driver.staging("s", 8192).unwrap().0.bytes(0..1)[0];
    let mut driver = world.driver();
    let (mut region, survives) = driver.staging("s", 8192).unwrap();
    assert!(survives);
    region.bytes_mut(0..1)[0] = 42;
    world.kill();
    region.bytes_mut(0..1)[0] = 43;
    assert_eq!(read(&mut world.driver()), 42, "what the dead scribble is not seen");
    world.power_cut();
    assert_eq!(read(&mut world.driver()), 0);
}

#[test]
fn writes_in_flight_from_staging_take_the_bytes_the_successor_put_there() {
    let mut mixed = 0;
    for seed in 0..40 {
        let world = world(seed);
        let mut driver = world.driver();
        let file = durable_file(&mut driver, "/d/log", 1);
        let (mut region, _) = driver.staging("s", 8192).unwrap();
        region.bytes_mut(0..8192).fill(1);
        driver.write(file, 0, Source::Slice(region.slice(4096..8192)), false, Token(1));
        world.kill();
        let mut next = world.driver();
        next.staging("s", 8192).unwrap().0.bytes_mut(0..8192).fill(2);
        world.advance_by(100_000_000);
        mixed += usize::from(first_bytes(&world, "/d/log", 1) == [2]);
    }
    assert!(mixed > 10, "who does not wait for the lock corrupts the log: {mixed}");
}

#[test]
#[should_panic(expected = "was changed")]
fn changing_the_memory_of_a_write_in_flight_is_found() {
    let world = world(1);
    let mut driver = world.driver();
    let file = durable_file(&mut driver, "/d/log", 1);
    let (mut region, _) = driver.staging("s", 8192).unwrap();
    driver.write(file, 0, Source::Slice(region.slice(0..4096)), false, Token(1));
    region.bytes_mut(0..1)[0] = 1;
    collect(&mut driver, 1);
}

#[test]
#[should_panic(expected = "unaligned")]
fn an_unaligned_direct_write_is_a_bug() {
    let world = world(1);
    let mut driver = world.driver();
    let file = durable_file(&mut driver, "/d/log", 1);
    driver.write(file, 512, page(1), false, Token(1));
}

#[test]
fn a_rename_without_sync_of_the_directory_is_found_done_or_undone() {
    let mut seen = BTreeSet::new();
    for seed in 0..40 {
        let world = world(seed);
        let mut driver = world.driver();
        for (name, byte) in [("/d/state", 1), ("/d/state.new", 2)] {
            let file = driver.open(Path::new(name), BUFFERED).unwrap();
            driver.write_now(file, 0, &[byte; 100]).unwrap();
            driver.sync_now(file).unwrap();
        }
        driver.sync_dir(Path::new("/d")).unwrap();
        driver.rename(Path::new("/d/state.new"), Path::new("/d/state")).unwrap();
        assert_eq!(driver.list(Path::new("/d")).unwrap(), ["state"]);
        if seed % 2 == 0 {
            driver.sync_dir(Path::new("/d")).unwrap();
        }
        world.power_cut();
        let found = world.peek(Path::new("/d/state"), 0, 100).unwrap();
        assert!(found.len() == 100 && found.iter().all(|byte| *byte == found[0]));
        seen.insert((seed % 2 == 0, found[0]));
    }
    assert_eq!(seen, BTreeSet::from([(true, 2), (false, 1), (false, 2)]));
}

#[test]
fn an_unsynced_removal_may_bring_the_file_back() {
    let mut back = 0;
    for seed in 0..40 {
        let world = world(seed);
        let mut driver = world.driver();
        let file = durable_file(&mut driver, "/d/old", 1);
        write_page(&mut driver, file, 0, 7, true);
        driver.close_file(file);
        driver.remove(Path::new("/d/old")).unwrap();
        assert_eq!(driver.open(Path::new("/d/old"), OpenMode::default()), Err(Errno(libc::ENOENT)));
        world.power_cut();
        if world.files().iter().any(|(name, _)| name == "/d/old") {
            assert_eq!(first_bytes(&world, "/d/old", 1), [7]);
            back += 1;
        }
    }
    assert!((5..35).contains(&back), "{back}");
}

#[test]
fn planned_errors_hit_the_operation_they_were_planned_for() {
    let world = world(1);
    let mut driver = world.driver();
    let file = durable_file(&mut driver, "/d/log", 4);
    world.faults(|faults| {
        faults.write_error_at = 2;
        faults.sync_error_at = 1;
        faults.read_error_at = 1;
    });
    write_page(&mut driver, file, 0, 1, false);
    driver.write(file, 4096, page(1), false, Token(2));
    let events = collect(&mut driver, 1);
    assert!(matches!(events[0], Event::Written { result: Err(Errno::IO), buf: Some(_), .. }));
    driver.sync(file, Token(3));
    assert!(matches!(collect(&mut driver, 1)[0], Event::Synced { result: Err(Errno::IO), .. }));
    driver.read(file, 0, Buf::new(4096), Token(4));
    assert!(matches!(collect(&mut driver, 1)[0], Event::Read { result: Err(Errno::IO), .. }));
    write_page(&mut driver, file, 2, 1, true);
    driver.sync_now(file).unwrap();
}

#[test]
fn after_an_error_the_file_system_may_go_read_only_for_good() {
    let world = world(1);
    let mut driver = world.driver();
    let file = durable_file(&mut driver, "/d/log", 4);
    world.faults(|faults| {
        faults.write_error_at = 1;
        faults.read_only_after_error = true;
    });
    let read_only = Errno(libc::EROFS);
    assert_eq!(driver.write_now(file, 0, &Buf::new(4096)), Err(Errno::IO));
    assert_eq!(driver.write_now(file, 0, &Buf::new(4096)), Err(read_only));
    assert_eq!(driver.sync_now(file), Err(read_only));
    assert_eq!(driver.open(Path::new("/d/new"), BUFFERED), Err(read_only));
    let mut buf = Buf::new(4096);
    assert_eq!(driver.read_now(file, 0, &mut buf), Ok(4096));
}

#[test]
fn a_full_disk_refuses_growth_and_still_takes_overwrites() {
    let world = world(1);
    world.faults(|faults| faults.capacity_bytes = 10 * 4096);
    let mut driver = world.driver();
    let file = durable_file(&mut driver, "/d/log", 8);
    assert_eq!(driver.disk_space(Path::new("/d")), Ok((40_960, 8192)));
    assert_eq!(driver.allocate(file, 11 * 4096), Err(Errno::NO_SPACE));
    assert_eq!(driver.write_now(file, 10 * 4096, &Buf::new(4096)), Err(Errno::NO_SPACE));
    write_page(&mut driver, file, 7, 1, true);
    let other = driver.open(Path::new("/d/other"), DIRECT).unwrap();
    driver.allocate(other, 2 * 4096).unwrap();
    driver.remove(Path::new("/d/other")).unwrap();
    driver.allocate(file, 10 * 4096).unwrap();
}

#[test]
fn reads_end_at_the_end_of_the_file() {
    let world = world(1);
    let mut driver = world.driver();
    let file = durable_file(&mut driver, "/d/log", 2);
    driver.read(file, 4096, Buf::new(8192), Token(1));
    assert!(matches!(collect(&mut driver, 1)[0], Event::Read { result: Ok(4096), .. }));
    driver.read(file, 8192, Buf::new(4096), Token(1));
    assert!(matches!(collect(&mut driver, 1)[0], Event::Read { result: Ok(0), .. }));
    assert_eq!(driver.file_len(file), Ok(8192));
}

#[test]
fn bit_rot_is_on_the_medium() {
    let world = world(1);
    let mut driver = world.driver();
    let file = durable_file(&mut driver, "/d/log", 1);
    write_page(&mut driver, file, 0, 1, true);
    world.flip(Path::new("/d/log"), 0, 0x80).unwrap();
    assert_eq!(first_bytes(&world, "/d/log", 1), [0x81]);
    world.power_cut();
    assert_eq!(first_bytes(&world, "/d/log", 1), [0x81]);
    assert_eq!(world.peek_durable(Path::new("/d/log"), 0, 2).unwrap(), [0x81, 1]);
}

#[test]
fn a_lying_device_loses_what_it_called_durable() {
    let mut lost = 0;
    for seed in 0..40 {
        let world = world(seed);
        let mut driver = world.driver();
        let file = durable_file(&mut driver, "/d/log", 1);
        world.faults(|faults| faults.ignore_sync = true);
        write_page(&mut driver, file, 0, 1, true);
        driver.sync_now(file).unwrap();
        world.power_cut();
        lost += usize::from(first_bytes(&world, "/d/log", 1) == [0]);
    }
    assert!(lost > 10, "{lost}");
}

#[test]
fn a_slow_device_is_slower() {
    let time = |slowness| {
        let faults = Faults { slowness, ..Faults::default() };
        let world = World::new(WorldOptions { seed: 3, faults, ..WorldOptions::default() });
        world.make_dir(Path::new("/d")).unwrap();
        let mut driver = world.driver();
        let file = durable_file(&mut driver, "/d/log", 1);
        let start = world.now_ns();
        write_page(&mut driver, file, 0, 1, true);
        world.now_ns() - start
    };
    assert!(time(100) > 50 * time(1));
}

#[test]
fn a_death_can_fall_on_any_step_even_inside_a_blocking_call() {
    let mut dead_calls = BTreeSet::new();
    for steps in 1..40 {
        let world = world(5);
        let mut driver = world.driver();
        world.die_in(steps, Death::PowerCut);
        let calls: [(&str, Result<(), Errno>); 4] = [
            ("open", driver.open(Path::new("/d/log"), DIRECT).map(|_| ())),
            ("space", driver.disk_space(Path::new("/d")).map(|_| ())),
            ("dir", driver.sync_dir(Path::new("/d"))),
            ("list", driver.list(Path::new("/d")).map(|_| ())),
        ];
        if let Some((name, _)) = calls.iter().find(|(_, result)| *result == Err(DEAD)) {
            assert!(world.is_dead());
            assert_eq!(driver.wait(0, &mut Vec::new()), Err(DEAD));
            dead_calls.insert(*name);
        }
        driver.write(File(0), 0, page(1), false, Token(1));
        let _ = world.driver();
        world.disarm();
    }
    assert_eq!(dead_calls.len(), 4, "{dead_calls:?}");
}

#[test]
fn a_large_prepared_segment_costs_no_memory_and_survives_its_flush() {
    let world = world(1);
    let mut driver = world.driver();
    let file = durable_file(&mut driver, "/d/log", 16 * 1024);
    for step in 0..64 {
        driver.write(file, step << 20, Source::Buf(Buf::new(1 << 20)), false, Token(step));
    }
    collect(&mut driver, 64);
    driver.sync_now(file).unwrap();
    world.power_cut();
    assert_eq!(world.files(), [("/d/log".to_owned(), 64 << 20)]);
}

#[test]
fn random_writes_and_flushes_leave_only_values_that_were_written() {
    for seed in 0..30 {
        let world = world(seed);
        let mut random = Random::new(seed, "model");
        let mut driver = world.driver();
        let file = durable_file(&mut driver, "/d/log", 8);
        // Per page: values since the last durable one, which comes first.
        let mut possible = vec![vec![0u8]; 8];
        for value in 1..60u8 {
            let number = random.range(0..8);
            let durable = random.chance(300_000);
            write_page(&mut driver, file, number, value, durable);
            let page = &mut possible[number as usize];
            if durable {
                page.clear();
            }
            page.push(value);
            if random.chance(100_000) {
                driver.sync_now(file).unwrap();
                possible.iter_mut().for_each(|page| *page = vec![page[page.len() - 1]]);
            }
        }
        world.power_cut();
        for (number, allowed) in possible.iter().enumerate() {
            for sector in 0..8 {
                let at = number as u64 * 4096 + sector * 512;
                let found = world.peek(Path::new("/d/log"), at, 512).unwrap();
                assert!(found.iter().all(|byte| *byte == found[0]), "torn sector");
                assert!(allowed.contains(&found[0]), "seed {seed}: {} of {allowed:?}", found[0]);
            }
        }
    }
}
