//! Time, bells and mailboxes: how long a turn takes, what it costs, what wakes it.

use std::time::{Duration, Instant};

use super::{Rig, Uring, UringOptions};
use crate::driver::Event;
use crate::mailbox::{Bell, channel};
use crate::{clock, cpu};

#[test]
fn a_wait_ends_at_its_deadline_and_not_before() {
    let mut rig = Rig::small();
    let mut late = Vec::new();
    for micros in [200, 1_000, 5_000, 20_000] {
        let deadline = clock::now_ns() + micros * 1_000;
        rig.driver.wait(deadline, &mut rig.events).unwrap();
        let now = clock::now_ns();
        assert!(now >= deadline && rig.events.is_empty(), "{} ns early", deadline - now);
        late.push(now - deadline);
    }
    late.sort_unstable();
    assert!(late[1] < 3_000_000, "late by {late:?} ns");
    let begun = Instant::now();
    for _ in 0..1000 {
        rig.driver.wait(0, &mut rig.events).unwrap();
    }
    assert!(begun.elapsed() < Duration::from_millis(200), "a poll does not wait");
}

#[test]
fn an_idle_wait_costs_nothing_and_does_not_count_as_waiting_for_a_disk() {
    for by_signal in [false, true] {
        let mut rig = Rig::small();
        if by_signal {
            rig.uring().ring.wait_by_signal().unwrap();
        }
        let (socket, _peer) = rig.pair();
        rig.driver.receive(socket, super::Token(2));
        rig.drain(Duration::from_millis(2));
        let watching = std::thread::spawn(|| {
            let sample = || {
                std::thread::sleep(Duration::from_millis(10));
                tasks_waiting_for_disks()
            };
            (0..25).map(|_| sample()).min()
        });
        let cost = cpu::cpu_time_thread_ns();
        assert!(rig.drain(Duration::from_millis(300)).is_empty());
        let cost = cpu::cpu_time_thread_ns() - cost;
        assert!(cost < 3_000_000, "{cost} ns of processor time in 300 ms of idling");
        assert_eq!(watching.join().unwrap(), Some(0), "tasks that wait for a disk, at least");
    }
}

/// Tasks of the machine that wait for a disk at this moment.
fn tasks_waiting_for_disks() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("procs_blocked "));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn a_bell_wakes_a_waiting_driver_once() {
    for by_signal in [false, true] {
        let mut rig = Rig::small();
        if by_signal {
            rig.uring().ring.wait_by_signal().unwrap();
        }
        for round in 0..20 {
            let bell = rig.driver.bell();
            let ringing = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(round % 3));
                bell.ring();
                bell.ring();
            });
            assert!(matches!(rig.next(), Event::Woken));
            ringing.join().unwrap();
            assert!(rig.drain(Duration::from_millis(2)).len() <= 1);
        }
        rig.driver.bell().ring();
        rig.driver.bell().ring();
        assert!(matches!(rig.drain(Duration::from_millis(2))[..], [Event::Woken]));
    }
}

#[test]
fn a_receiver_that_sleeps_in_between_sees_every_message() {
    let mut rig = Rig::small();
    let (sender, receiver) = channel::<u64>(4);
    receiver.attach(rig.driver.bell());
    let sending = std::thread::spawn(move || {
        for number in 0..2_000 {
            let mut message = number;
            while let Err(back) = sender.send(message) {
                message = back;
                std::thread::yield_now();
            }
            if number % 100 == 0 {
                std::thread::sleep(Duration::from_micros(300));
            }
        }
    });
    let mut expected = 0;
    while expected < 2_000 {
        assert!(matches!(rig.next(), Event::Woken));
        while let Some(number) = receiver.receive() {
            assert_eq!(number, expected);
            expected += 1;
        }
    }
    sending.join().unwrap();
}

#[test]
fn a_million_messages_pass_between_two_pinned_drivers() {
    const COUNT: u64 = 1_000_000;
    let cores = cpu::allowed();
    let (first, last) = (cores[0], *cores.last().unwrap());
    let (sender, receiver) = channel::<u64>(1024);
    let sending = std::thread::spawn(move || {
        let options = UringOptions { cpu: Some(first), ..UringOptions::default() };
        let _driver = Uring::new(options).unwrap();
        for number in 0..COUNT {
            let mut message = number;
            while let Err(back) = sender.send(message) {
                message = back;
                std::thread::yield_now();
            }
        }
    });
    let options = UringOptions { cpu: Some(last), ..UringOptions::default() };
    let mut rig = Rig::new(options);
    receiver.attach(rig.driver.bell());
    let (mut expected, mut wakes) = (0, 0_u64);
    let begun = Instant::now();
    while expected < COUNT {
        assert!(matches!(rig.next(), Event::Woken));
        wakes += 1;
        while let Some(number) = receiver.receive() {
            assert_eq!(number, expected);
            expected += 1;
        }
    }
    sending.join().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}, {wakes} wakes", begun.elapsed());
    assert!(receiver.is_empty());
}

#[test]
fn what_was_sent_before_the_bell_was_attached_is_told() {
    let mut rig = Rig::small();
    let (sender, receiver) = channel(2);
    assert_eq!((sender.send(1), sender.clone().send(2), sender.send(3)), (Ok(()), Ok(()), Err(3)));
    receiver.attach(rig.driver.bell());
    assert!(matches!(rig.next(), Event::Woken));
    assert_eq!(
        (receiver.receive(), receiver.receive(), receiver.receive()),
        (Some(1), Some(2), None)
    );
}

#[test]
fn a_thread_without_a_ring_waits_for_its_bell() {
    let bell = Bell::new().unwrap();
    assert!(!bell.wait(Duration::from_millis(5)));
    let other = bell.clone();
    let ringing = std::thread::spawn(move || {
        for _ in 0..100 {
            std::thread::sleep(Duration::from_micros(200));
            other.ring();
        }
    });
    let mut heard = 0;
    while bell.wait(Duration::from_millis(500)) {
        heard += 1;
        if heard == 20 {
            break;
        }
    }
    ringing.join().unwrap();
    assert_eq!(heard, 20);
}

#[test]
fn dropping_a_driver_waits_for_what_is_in_flight() {
    for _ in 0..20 {
        let mut rig = Rig::small();
        let (socket, peer) = rig.pair();
        rig.listen();
        rig.driver.receive(socket, super::Token(2));
        rig.driver.send(socket, vec![1; 16 << 20], super::Token(3));
        rig.driver.submit().unwrap();
        let begun = Instant::now();
        drop(rig);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        drop(peer);
    }
}
