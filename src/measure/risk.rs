//! What would be lost if power went now: acknowledged messages the device does not have yet.
//!
//! One entry for each turn that acknowledged from memory, dropped when the device has it. When
//! there are too many, the newest two become one: counts stay right, and the age is that of the
//! older, so the figure errs towards more.

use std::collections::VecDeque;

/// Entries kept.
const ENTRIES_MAX: usize = 4096;

/// The loss that a power cut would cause now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AtRisk {
    /// Messages that were acknowledged.
    pub messages: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// Milliseconds since the oldest of them was taken.
    pub oldest_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    upto: u64,
    messages: u64,
    bytes: u64,
    since_ns: u64,
}

/// Keeps account of it.
#[derive(Debug, Default)]
pub struct Risk {
    open: (u64, u64, u64),
    entries: VecDeque<Entry>,
    messages: u64,
    bytes: u64,
}

impl Risk {
    /// Messages will be acknowledged before the device has everything below `upto`.
    #[inline]
    pub fn taken(&mut self, messages: u64, bytes: u64, upto: u64) {
        self.open.0 += messages;
        self.open.1 += bytes;
        self.open.2 = upto;
    }

    /// The turn that began at `now_ns` ends; the device has everything below `durable`.
    pub fn settle(&mut self, durable: u64, now_ns: u64) {
        let (messages, bytes, upto) = std::mem::take(&mut self.open);
        if messages > 0 && upto > durable {
            self.messages += messages;
            self.bytes += bytes;
            let entry = Entry { upto, messages, bytes, since_ns: now_ns };
            let full = self.entries.len() >= ENTRIES_MAX;
            match self.entries.back_mut().filter(|_| full) {
                Some(last) => {
                    last.upto = upto;
                    last.messages += messages;
                    last.bytes += bytes;
                }
                None => self.entries.push_back(entry),
            }
        }
        while let Some(front) = self.entries.front().filter(|front| front.upto <= durable) {
            self.messages -= front.messages;
            self.bytes -= front.bytes;
            self.entries.pop_front();
        }
    }

    /// The account at `now_ns`.
    #[must_use]
    pub fn now(&self, now_ns: u64) -> AtRisk {
        let oldest = self.entries.front().map_or(0, |front| now_ns.saturating_sub(front.since_ns));
        AtRisk { messages: self.messages, bytes: self.bytes, oldest_ms: oldest / 1_000_000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_device_has_is_no_longer_at_risk() {
        let mut risk = Risk::default();
        risk.taken(2, 200, 200);
        risk.settle(0, 1_000_000);
        risk.taken(3, 300, 500);
        risk.settle(0, 4_000_000);
        let now = risk.now(11_000_000);
        assert_eq!(now, AtRisk { messages: 5, bytes: 500, oldest_ms: 10 });
        risk.settle(200, 12_000_000);
        assert_eq!(risk.now(14_000_000), AtRisk { messages: 3, bytes: 300, oldest_ms: 10 });
        risk.settle(500, 15_000_000);
        assert_eq!(risk.now(15_000_000), AtRisk::default());
    }

    #[test]
    fn the_account_stays_right_and_bounded_when_the_device_stands_still() {
        let mut risk = Risk::default();
        for turn in 1..=10_000 {
            risk.taken(1, 10, turn * 10);
            risk.settle(0, turn);
        }
        assert_eq!(risk.now(10_000).messages, 10_000);
        assert!(risk.entries.len() <= ENTRIES_MAX);
        risk.settle(100_000, 10_001);
        assert_eq!(risk.now(10_001), AtRisk::default());
    }
}
