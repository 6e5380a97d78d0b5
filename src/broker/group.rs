//! A consumer group's configuration, under RocketMQ's names, and its bytes in the log.
//!
//! Who is in the group now is the membership's business, how far it got the offsets'.

use super::codec::{Get, put_list, put_pairs, put_text};
use super::record::MetaError;

/// When a message that failed is tried again (`groupRetryPolicy`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryPolicy {
    /// `CUSTOMIZED`: waits in milliseconds, empty for the delay levels.
    Customized {
        /// The waits, first retry first.
        next_ms: Vec<i64>,
    },
    /// `EXPONENTIAL`.
    Exponential {
        /// First wait.
        initial_ms: i64,
        /// Longest wait.
        max_ms: i64,
        /// Factor from one wait to the next.
        multiplier: i64,
    },
}

/// Configuration of a consumer group (RocketMQ's `SubscriptionGroupConfig`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `groupName`.
    pub name: String,
    /// `consumeEnable`.
    pub consume_enable: bool,
    /// `consumeFromMinEnable`.
    pub consume_from_min_enable: bool,
    /// `consumeBroadcastEnable`.
    pub consume_broadcast_enable: bool,
    /// `consumeMessageOrderly`.
    pub consume_orderly: bool,
    /// `notifyConsumerIdsChangedEnable`.
    pub notify_ids_changed: bool,
    /// `retryQueueNums`.
    pub retry_queues: u32,
    /// `retryMaxTimes`.
    pub retry_max_times: i32,
    /// `groupRetryPolicy`.
    pub retry_policy: RetryPolicy,
    /// `brokerId`.
    pub broker_id: u64,
    /// `whichBrokerWhenConsumeSlowly`.
    pub broker_when_slow: u64,
    /// `groupSysFlag`.
    pub sys_flag: u32,
    /// `consumeTimeoutMinute`.
    pub consume_timeout_minute: u32,
    /// `attributes`, sorted by name.
    pub attributes: Vec<(String, String)>,
    /// Topics the group may not read (RocketMQ's forbidden table, bit 1).
    pub forbidden_topics: Vec<String>,
}

impl GroupConfig {
    /// A group with RocketMQ's defaults.
    pub fn new(name: &str) -> GroupConfig {
        GroupConfig {
            name: name.to_owned(),
            consume_enable: true,
            consume_from_min_enable: true,
            consume_broadcast_enable: true,
            consume_orderly: false,
            notify_ids_changed: true,
            retry_queues: 1,
            retry_max_times: 16,
            retry_policy: RetryPolicy::Customized { next_ms: Vec::new() },
            broker_id: 0,
            broker_when_slow: 1,
            sys_flag: 0,
            consume_timeout_minute: 15,
            attributes: Vec::new(),
            forbidden_topics: Vec::new(),
        }
    }

    /// Appends the bytes the log holds.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_text(out, &self.name);
        out.extend_from_slice(&[
            u8::from(self.consume_enable),
            u8::from(self.consume_from_min_enable),
            u8::from(self.consume_broadcast_enable),
            u8::from(self.consume_orderly),
            u8::from(self.notify_ids_changed),
        ]);
        out.extend_from_slice(&self.retry_queues.to_be_bytes());
        out.extend_from_slice(&self.retry_max_times.to_be_bytes());
        match &self.retry_policy {
            RetryPolicy::Customized { next_ms } => {
                out.push(0);
                put_list(out, next_ms, |out, ms| out.extend_from_slice(&ms.to_be_bytes()));
            }
            RetryPolicy::Exponential { initial_ms, max_ms, multiplier } => {
                out.push(1);
                out.extend_from_slice(&initial_ms.to_be_bytes());
                out.extend_from_slice(&max_ms.to_be_bytes());
                out.extend_from_slice(&multiplier.to_be_bytes());
            }
        }
        out.extend_from_slice(&self.broker_id.to_be_bytes());
        out.extend_from_slice(&self.broker_when_slow.to_be_bytes());
        out.extend_from_slice(&self.sys_flag.to_be_bytes());
        out.extend_from_slice(&self.consume_timeout_minute.to_be_bytes());
        put_pairs(out, &self.attributes);
        put_list(out, &self.forbidden_topics, |out, topic| put_text(out, topic));
    }

    /// Reads what [`GroupConfig::put`] wrote.
    pub(super) fn get(get: &mut Get<'_>) -> Result<GroupConfig, MetaError> {
        Ok(GroupConfig {
            name: get.text("group name")?,
            consume_enable: get.flag("consume flag")?,
            consume_from_min_enable: get.flag("consume flag")?,
            consume_broadcast_enable: get.flag("broadcast flag")?,
            consume_orderly: get.flag("order flag")?,
            notify_ids_changed: get.flag("notify flag")?,
            retry_queues: get.u32("retry queues")?,
            retry_max_times: get.i32("retry limit")?,
            retry_policy: match get.u8("retry policy")? {
                0 => RetryPolicy::Customized {
                    next_ms: get.list("retry waits", |get| get.i64("retry wait"))?,
                },
                1 => RetryPolicy::Exponential {
                    initial_ms: get.i64("retry wait")?,
                    max_ms: get.i64("retry wait")?,
                    multiplier: get.i64("retry factor")?,
                },
                _ => return Err(MetaError::Malformed("retry policy")),
            },
            broker_id: get.u64("broker id")?,
            broker_when_slow: get.u64("broker id")?,
            sys_flag: get.u32("group flags")?,
            consume_timeout_minute: get.u32("consume timeout")?,
            attributes: get.pairs("group attributes")?,
            forbidden_topics: get.list("forbidden topics", |get| get.text("topic name"))?,
        })
    }
}
