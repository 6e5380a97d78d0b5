//! One turn of the driver: submit, wait, collect. Also its clocks and its bell.
//!
//! A turn is one system call when something is in flight, and none when a poll finds nothing to
//! do. Never: a wait past the deadline while nothing happens, or an event left behind.

use std::time::Duration;

use super::ring::Patience;
use super::setup::Uring;
use crate::clock;
use crate::driver::{Errno, Event};
use crate::mailbox::Bell;

impl Uring {
    /// See [`crate::Driver::now_ns`].
    pub fn now_ns(&self) -> u64 {
        clock::now_ns()
    }

    /// See [`crate::Driver::boot_ns`].
    pub fn boot_ns(&self) -> u64 {
        clock::boot_ns()
    }

    /// See [`crate::Driver::wall_ms`].
    pub fn wall_ms(&self) -> i64 {
        clock::wall_ms()
    }

    /// See [`crate::Driver::utc_offset_ms`].
    pub fn utc_offset_ms(&self) -> i64 {
        clock::utc_offset_ms(clock::wall_ms())
    }

    /// See [`crate::Driver::boot`].
    pub fn boot(&self) -> u64 {
        clock::boot()
    }

    /// See [`crate::Driver::bell`].
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// See [`crate::Driver::submit`].
    pub fn submit(&mut self) -> Result<(), Errno> {
        self.ring.submit()
    }

    /// See [`crate::Driver::wait`].
    pub fn wait(&mut self, deadline_ns: u64, events: &mut Vec<Event>) -> Result<(), Errno> {
        let before = events.len();
        loop {
            self.feed_starved();
            events.append(&mut self.ready);
            if self.bell.take() {
                self.collect_chores(events);
                events.push(Event::Woken);
            }
            let now_ns = clock::now_ns();
            let rested_ns = self.wake_resting(now_ns);
            let expired = deadline_ns <= now_ns;
            let outcome = if expired || events.len() > before {
                self.ring.poll()
            } else {
                self.sleep(now_ns, deadline_ns.min(rested_ns))
            };
            let collected = self.collect(events);
            match outcome {
                // The kernel is short of memory or of room for completions, which were taken.
                Err(Errno(libc::EBUSY | libc::EAGAIN)) if collected > 0 => {}
                other => other?,
            }
            if expired || events.len() > before {
                return Ok(());
            }
        }
    }

    /// Waits for a completion until `until_ns`, unless the bell has rung.
    fn sleep(&mut self, now_ns: u64, until_ns: u64) -> Result<(), Errno> {
        if !self.bell.fall_asleep() {
            return self.ring.poll();
        }
        let left = Duration::from_nanos(until_ns.saturating_sub(now_ns));
        let timeout = if until_ns == u64::MAX { None } else { Some(left) };
        let (disk, bell) = (self.disk_in_flight > 0, self.bell.fd());
        let outcome = self.ring.wait(Patience { timeout, disk, bell });
        self.bell.wake_up();
        outcome
    }

    /// Handles all completions that are there; gives their number.
    fn collect(&mut self, events: &mut Vec<Event>) -> usize {
        let mut batch = std::mem::take(&mut self.batch);
        self.ring.take(&mut batch);
        let count = batch.len();
        for completion in batch.drain(..) {
            self.complete(completion, events);
        }
        self.batch = batch;
        count
    }
}
