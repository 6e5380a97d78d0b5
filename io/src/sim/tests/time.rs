//! The clock, the bell, and the same seed giving the same trace.

use super::*;
use crate::sim::Random;

/// A bit of everything, and the trace it leaves.
fn run(seed: u64) -> u64 {
    let world = world(seed);
    let mut random = Random::new(seed, "workload");
    for _ in 0..3 {
        let mut driver = world.driver();
        let file = driver.open(Path::new("/d/log"), DIRECT).unwrap();
        driver.allocate(file, 1 << 20).unwrap();
        let mut events = Vec::new();
        for _ in 0..50 {
            let number = random.range(0..256);
            driver.write(file, number * 4096, page(number as u8), random.coin(), Token(number));
            if random.coin() {
                let deadline_ns = driver.now_ns() + random.range(0..1_000_000);
                driver.wait(deadline_ns, &mut events).unwrap();
            }
        }
        if random.coin() { world.kill() } else { world.power_cut() }
    }
    world.trace_hash()
}

#[test]
fn the_same_seed_leaves_the_same_trace_and_another_one_another() {
    assert_eq!(run(1), run(1));
    assert_eq!(run(2), run(2));
    assert_ne!(run(1), run(2));
}

#[test]
fn waiting_alone_moves_time_to_the_deadline_and_not_beyond() {
    let world = world(1);
    let mut driver = world.driver();
    let deadline_ns = driver.now_ns() + 5_000_000;
    let mut events = Vec::new();
    driver.wait(deadline_ns, &mut events).unwrap();
    assert_eq!((driver.now_ns(), events.len()), (deadline_ns, 0));
    driver.wait(0, &mut events).unwrap();
    assert!(driver.now_ns() > deadline_ns, "a poll takes a moment");
    driver.wait(u64::MAX, &mut events).unwrap();
    assert!(events.is_empty(), "nothing will ever happen: it returns");
}

#[test]
fn two_drivers_in_turn_need_the_test_to_move_time() {
    let world = world(1);
    let (mut one, mut two) = (world.driver(), world.driver());
    let file = durable_file(&mut one, "/d/log", 1);
    one.write(file, 0, page(1), true, Token(1));
    let mut events = Vec::new();
    let start_ns = world.now_ns();
    one.wait(u64::MAX, &mut events).unwrap();
    two.wait(u64::MAX, &mut events).unwrap();
    assert_eq!((world.now_ns(), events.len()), (start_ns, 0));
    assert!(world.advance());
    two.wait(0, &mut events).unwrap();
    assert!(events.is_empty(), "another driver's event");
    one.wait(u64::MAX, &mut events).unwrap();
    assert_eq!(tokens(&events), [1]);
    two.wait(u64::MAX, &mut events).unwrap();
    assert!(!world.advance(), "nothing is left to happen");
    drop(two);
    let deadline_ns = one.now_ns() + 9_000;
    one.wait(deadline_ns, &mut events).unwrap();
    assert_eq!(one.now_ns(), deadline_ns, "alone again, waiting moves time");
}

#[test]
fn a_bell_wakes_its_own_driver_once() {
    let world = world(1);
    let mut driver = world.driver();
    let bell = driver.bell();
    bell.ring();
    bell.ring();
    let mut events = Vec::new();
    driver.wait(u64::MAX, &mut events).unwrap();
    driver.wait(0, &mut events).unwrap();
    assert!(matches!(events[..], [Event::Woken]));
}

#[test]
fn the_wall_clock_can_be_set_and_the_monotonic_one_cannot() {
    let world = world(1);
    let driver = world.driver();
    let (mono, wall) = (driver.now_ns(), driver.wall_ms());
    world.step_wall(-3_600_000);
    assert_eq!((driver.now_ns(), driver.wall_ms()), (mono, wall - 3_600_000));
    world.advance_by(2_000_000_000);
    assert_eq!((driver.now_ns(), driver.wall_ms()), (mono + 2_000_000_000, wall - 3_598_000));
}
