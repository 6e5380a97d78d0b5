//! GET_TOPIC_STATS_INFO (202) and GET_CONSUME_STATS (208): offsets of queues.
//!
//! Both bodies are maps whose keys are queues, written as objects without quotes: no client reads
//! another form. Offsets are never negative.

use super::queue::write_queue;
use super::request_header;
use crate::fastjson::{Dialect, Object};
use crate::header::Text;

request_header! {
    /// The field of GET_TOPIC_STATS_INFO.
    TopicStatsHeader {
        /// Topic.
        topic: Text<'a> = b"topic",
    }
}

request_header! {
    /// The fields of GET_CONSUME_STATS.
    ConsumeStatsHeader {
        /// Group of the consumers.
        consumer_group: Text<'a> = b"consumerGroup",
        /// Only this topic.
        topic: Option<Text<'a>> = b"topic",
        /// Only these topics, joined by `;` (5.x).
        topic_list: Option<Text<'a>> = b"topicList",
    }
}

/// A queue's row in the stats of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicOffset<'a> {
    /// Broker of the queue.
    pub broker_name: &'a str,
    /// Queue of the topic.
    pub queue_id: i32,
    /// Topic.
    pub topic: &'a str,
    /// First offset.
    pub min_offset: i64,
    /// Next offset.
    pub max_offset: i64,
    /// Store time of the last message, milliseconds since 1970; 0 without one.
    pub last_update_timestamp: i64,
}

/// A queue's row in the stats of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumeOffset<'a> {
    /// Broker of the queue.
    pub broker_name: &'a str,
    /// Queue of the topic.
    pub queue_id: i32,
    /// Topic.
    pub topic: &'a str,
    /// Next offset of the queue.
    pub broker_offset: i64,
    /// Next offset the group wants.
    pub consumer_offset: i64,
    /// Next offset the group would pull (5.x).
    pub pull_offset: i64,
    /// Store time of the last message consumed, milliseconds since 1970; 0 without one.
    pub last_timestamp: i64,
}

/// Appends a TopicStatsTable.
pub fn write_topic_stats<'a>(
    out: &mut Vec<u8>,
    rows: impl IntoIterator<Item = TopicOffset<'a>>,
    put_tps: f64,
) {
    let mut body = Object::open(out, Dialect::Fastjson);
    body.object("offsetTable", |table| {
        for row in rows {
            let key = |out: &mut Vec<u8>| {
                write_queue(out, row.broker_name, row.queue_id, row.topic);
            };
            let mut offset = Object::open(table.object_key(key), Dialect::Fastjson);
            offset.int("lastUpdateTimestamp", row.last_update_timestamp);
            offset.int("maxOffset", row.max_offset.max(0));
            offset.int("minOffset", row.min_offset.max(0));
            offset.close();
        }
    });
    body.float("topicPutTps", put_tps);
    body.close();
}

/// Appends a ConsumeStats.
pub fn write_consume_stats<'a>(
    out: &mut Vec<u8>,
    rows: impl IntoIterator<Item = ConsumeOffset<'a>>,
    consume_tps: f64,
) {
    let mut body = Object::open(out, Dialect::Fastjson);
    body.float("consumeTps", consume_tps);
    body.object("offsetTable", |table| {
        for row in rows {
            let key = |out: &mut Vec<u8>| {
                write_queue(out, row.broker_name, row.queue_id, row.topic);
            };
            let mut offset = Object::open(table.object_key(key), Dialect::Fastjson);
            offset.int("brokerOffset", row.broker_offset.max(0));
            offset.int("consumerOffset", row.consumer_offset.max(0));
            offset.int("lastTimestamp", row.last_timestamp);
            offset.int("pullOffset", row.pull_offset.max(0));
            offset.close();
        }
    });
    body.close();
}
