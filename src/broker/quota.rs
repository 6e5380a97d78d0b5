//! Quotas of a topic: messages and bytes per second, and bytes stored.
//!
//! They are topic attributes, so they travel in the log with the topic and are set with stock
//! tools. A rate is a bucket that holds one second's worth: a send is taken when its cost is
//! there, and one that costs more than that when the bucket is full; it takes its whole cost,
//! below nothing if need be, so that the rate holds over time. What is stored is counted by
//! stretches of the log, because the log is forgotten by segments.
//! Invariant: a quota counts on one shard, as queues do ("per broker" in RocketMQ's words).

use std::collections::VecDeque;

use super::reject::{Reject, code};
use crate::base::piece::Rest;

/// Attribute: messages per second.
pub const QUOTA_MESSAGES: &str = "quota.messages.per.second";
/// Attribute: bytes of records per second.
pub const QUOTA_BYTES: &str = "quota.bytes.per.second";
/// Attribute: bytes of records in the log.
pub const QUOTA_STORED: &str = "quota.stored.bytes";
/// The highest value of any of them: arithmetic stays far from its ends.
pub(super) const QUOTA_MAX: u64 = 1 << 50;

/// Stretches of the log a topic's bytes are counted by; twice the width when there are more.
const STRETCHES_MAX: usize = 32;
/// Width of a stretch at first: 1 MiB.
const STRETCH_BITS: u32 = 20;
/// Tokens are counted in thousandths, so that a millisecond refills a whole number of them.
const MILLI: i64 = 1000;

/// A bucket of tokens: one second's worth at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    per_second: u64,
    milli: i64,
    at_ms: i64,
}

impl Bucket {
    fn new(per_second: u64) -> Bucket {
        Bucket { per_second, milli: (per_second as i64).saturating_mul(MILLI), at_ms: i64::MIN }
    }

    /// Adds what time brought.
    fn refill(&mut self, now_ms: i64) {
        let passed_ms = now_ms.saturating_sub(self.at_ms).clamp(0, i64::MAX);
        self.at_ms = self.at_ms.max(now_ms);
        let full = (self.per_second as i64).saturating_mul(MILLI);
        let gained = (self.per_second as i64).saturating_mul(passed_ms);
        self.milli = self.milli.saturating_add(gained).min(full);
    }

    /// Milliseconds until `cost` is there, or all that ever can be; 0: it is.
    fn wait_ms(&self, cost: u64) -> i64 {
        let need = (cost.min(self.per_second) as i64).saturating_mul(MILLI);
        let missing = need.saturating_sub(self.milli).max(0);
        missing.saturating_add(self.per_second as i64 - 1) / (self.per_second.max(1) as i64)
    }

    fn take(&mut self, cost: u64) {
        self.milli = self.milli.saturating_sub((cost as i64).saturating_mul(MILLI));
    }
}

/// The quotas of one topic and what is left of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Quota {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    stored: Option<u64>,
}

impl Quota {
    /// The quotas that attributes ask for, with full buckets; `None`: none.
    pub(super) fn of(attributes: &[(String, String)]) -> Option<Box<Quota>> {
        let value = |key: &str| {
            let (_, text) = attributes.iter().find(|(name, _)| name == key)?;
            text.parse::<u64>().ok().filter(|value| (1..=QUOTA_MAX).contains(value))
        };
        let quota = Quota {
            messages: value(QUOTA_MESSAGES).map(Bucket::new),
            bytes: value(QUOTA_BYTES).map(Bucket::new),
            stored: value(QUOTA_STORED),
        };
        (quota != Quota::default()).then(|| Box::new(quota))
    }

    /// Decides about `count` messages of `len` bytes for `topic`, of which `stored` bytes are in
    /// the log. Takes nothing.
    pub(super) fn check(
        &mut self,
        topic: &str,
        (count, len): (u64, u64),
        stored: u64,
        now_ms: i64,
    ) -> Result<(), Reject> {
        let rates =
            [(QUOTA_MESSAGES, &mut self.messages, count), (QUOTA_BYTES, &mut self.bytes, len)];
        for (name, bucket, cost) in rates {
            let Some(bucket) = bucket else { continue };
            bucket.refill(now_ms);
            let wait_ms = bucket.wait_ms(cost);
            if wait_ms > 0 {
                let used = format_args!("{cost} sent, there is room for it in {wait_ms}ms");
                return Err(over(topic, name, bucket.per_second, used, "send slower"));
            }
        }
        match self.stored {
            Some(limit) if stored.saturating_add(len) > limit => {
                let used = format_args!("{stored} stored and {len} sent");
                Err(over(topic, QUOTA_STORED, limit, used, "wait for retention"))
            }
            _ => Ok(()),
        }
    }

    /// A send of `count` messages and `len` bytes was stored.
    pub(super) fn take(&mut self, count: u64, len: u64) {
        if let Some(bucket) = &mut self.messages {
            bucket.take(count);
        }
        if let Some(bucket) = &mut self.bytes {
            bucket.take(len);
        }
    }
}

/// Code 215: no client tries it again on another shard by itself, where the same would happen.
fn over(
    topic: &str,
    name: &str,
    limit: u64,
    used: std::fmt::Arguments<'_>,
    remedy: &str,
) -> Reject {
    Reject::new(
        code::FLOW_CONTROL,
        format!(
            "[TOPIC_QUOTA]topic[{topic}] is over its quota, not stored, reason: quota, value: \
             {used}, limit: {limit} ({name} on each broker), change: {remedy}, or mqadmin \
             updateTopic -a +{name}=<more>"
        ),
    )
}

/// Bytes of one topic in the log, by stretches of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// Records below were counted, or belong to nobody: a fold may show them again.
    upto: u64,
    bits: u32,
    stretches: VecDeque<(u64, u64)>,
    bytes: u64,
}

impl Default for Stored {
    fn default() -> Stored {
        Stored { upto: 0, bits: STRETCH_BITS, stretches: VecDeque::new(), bytes: 0 }
    }
}

impl Stored {
    /// `len` bytes stand at `position`, which never goes down but to what was counted before.
    pub(super) fn add(&mut self, position: u64, len: u64) {
        if position < self.upto {
            return;
        }
        self.upto = position + len;
        self.bytes += len;
        let slot = position >> self.bits;
        match self.stretches.back_mut() {
            Some((last, bytes)) if *last >= slot => *bytes += len,
            _ => self.stretches.push_back((slot, len)),
        }
        if self.stretches.len() > STRETCHES_MAX {
            self.widen();
        }
    }

    /// Bytes that are still there when the log begins at `min`. A stretch that is cut counts
    /// whole.
    pub(super) fn bytes(&mut self, min: u64) -> u64 {
        while let Some((slot, bytes)) = self.stretches.front().copied() {
            if (slot + 1) << self.bits > min {
                break;
            }
            self.bytes -= bytes;
            self.stretches.pop_front();
        }
        self.bytes
    }

    fn widen(&mut self) {
        while self.stretches.len() > STRETCHES_MAX / 2 && self.bits < 60 {
            self.bits += 1;
            let mut wide: VecDeque<(u64, u64)> = VecDeque::with_capacity(STRETCHES_MAX + 1);
            for (slot, bytes) in self.stretches.drain(..) {
                match wide.back_mut() {
                    Some((last, sum)) if *last == slot >> 1 => *sum += bytes,
                    _ => wide.push_back((slot >> 1, bytes)),
                }
            }
            self.stretches = wide;
        }
    }

    /// For a checkpoint, when all records below `upto` are counted: width, `upto`, then place and
    /// bytes of each stretch.
    pub(super) fn put(&self, upto: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bits.to_le_bytes());
        out.extend_from_slice(&upto.to_le_bytes());
        for (slot, bytes) in &self.stretches {
            out.extend_from_slice(&slot.to_le_bytes());
            out.extend_from_slice(&bytes.to_le_bytes());
        }
    }

    /// From what [`Stored::put`] wrote; anything that cannot be is `None`.
    pub(super) fn get(bytes: &[u8]) -> Option<Stored> {
        let mut rest = Rest::new(bytes);
        let (bits, upto) = (rest.half()?, rest.word()?);
        let mut stored = Stored { upto, bits, ..Stored::default() };
        while !rest.is_empty() {
            let (slot, bytes) = (rest.word()?, rest.word()?);
            let ascends = stored.stretches.back().is_none_or(|(last, _)| *last < slot);
            if !ascends || stored.stretches.len() >= STRETCHES_MAX {
                return None;
            }
            stored.bytes = stored.bytes.checked_add(bytes)?;
            stored.stretches.push_back((slot, bytes));
        }
        (STRETCH_BITS..=60).contains(&bits).then_some(stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(pairs: &[(&str, &str)]) -> Box<Quota> {
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Quota::of(&pairs).unwrap()
    }

    #[test]
    fn a_rate_holds_over_time_and_a_second_may_be_used_at_once() {
        let mut quota = quota(&[(QUOTA_MESSAGES, "10")]);
        let mut taken = [0; 3];
        for ms in 0..3000 {
            if quota.check("t", (1, 1), 0, ms).is_ok() {
                quota.take(1, 1);
                taken[ms as usize / 1000] += 1;
            }
        }
        // The first second has the bucket's ten on top; its last one comes a millisecond later.
        assert_eq!(taken, [19, 10, 10]);
    }

    #[test]
    fn a_message_larger_than_a_seconds_worth_passes_and_is_paid_for_afterwards() {
        let mut quota = quota(&[(QUOTA_BYTES, "1000")]);
        quota.check("t", (1, 5000), 0, 0).unwrap();
        quota.take(1, 5000);
        let reject = quota.check("t", (1, 1), 0, 3999).unwrap_err();
        assert_eq!(reject.code, 215);
        assert!(reject.remark.starts_with("[TOPIC_QUOTA]topic[t] is over its quota"));
        assert!(reject.remark.contains("limit: 1000 (quota.bytes.per.second"), "{}", reject.remark);
        assert!(reject.remark.contains("updateTopic -a +quota.bytes.per.second="));
        assert!(quota.check("t", (1, 1), 0, 4001).is_ok());
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing_and_takes_nothing() {
        let mut quota = quota(&[(QUOTA_MESSAGES, "1")]);
        quota.check("t", (1, 1), 0, 10_000).unwrap();
        quota.take(1, 1);
        assert!(quota.check("t", (1, 1), 0, 5_000).is_err());
        assert!(quota.check("t", (1, 1), 0, 10_500).is_err());
        assert!(quota.check("t", (1, 1), 0, 11_001).is_ok());
    }

    #[test]
    fn stored_bytes_are_refused_at_the_limit_and_taken_again_after_retention() {
        let mut quota = quota(&[(QUOTA_STORED, "3000000")]);
        let mut stored = Stored::default();
        let (mut position, mut refused) = (0u64, 0u64);
        for _ in 0..4000 {
            match quota.check("t", (1, 1000), stored.bytes(0), 0) {
                Ok(()) => {
                    stored.add(position, 1000);
                    position += 1000;
                }
                Err(reject) => {
                    refused += 1;
                    let words = "value: 3000000 stored and 1000 sent, limit: 3000000";
                    assert!(reject.remark.contains(words), "{}", reject.remark);
                }
            }
        }
        assert_eq!((position, refused), (3_000_000, 1000));
        assert_eq!(stored.bytes(1 << 20), 3_000_000 - 1_049_000, "one whole stretch left");
        assert!(quota.check("t", (1, 1000), stored.bytes(1 << 20), 0).is_ok());
    }

    #[test]
    fn stretches_stay_few_however_long_the_log_and_their_sum_stays_exact() {
        let mut stored = Stored::default();
        for step in 0..10_000u64 {
            stored.add(step << 22, 7);
        }
        assert!(stored.stretches.len() <= STRETCHES_MAX);
        assert_eq!(stored.bytes(0), 70_000);
        let mut image = Vec::new();
        stored.put(stored.upto, &mut image);
        assert_eq!(Stored::get(&image), Some(stored.clone()));
        image[0] = 3;
        assert_eq!(Stored::get(&image), None);
        stored.add(0, 7);
        assert_eq!(stored.bytes(0), 70_000, "what was counted is not counted again");
        assert!(stored.bytes(5000 << 22) >= 35_000);
        assert_eq!(stored.bytes(u64::MAX), 0);
    }
}
