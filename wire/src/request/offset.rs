//! Offsets: QUERY_CONSUMER_OFFSET (14), UPDATE_CONSUMER_OFFSET (15),
//! SEARCH_OFFSET_BY_TIMESTAMP (29), GET_MAX_OFFSET (30), GET_MIN_OFFSET (31) and
//! GET_EARLIEST_MSG_STORETIME (32).
//!
//! All but 15 answer with one field: `offset`, or `timestamp` for 32. Clients send 15 mostly
//! one-way. Reading allocates nothing.

use super::request_header;
use crate::header::Text;

request_header! {
    /// QUERY_CONSUMER_OFFSET: where a group has got to.
    QueryOffsetHeader {
        /// Group of the consumer.
        consumer_group: Text<'a> = b"consumerGroup",
        /// Topic.
        topic: Text<'a> = b"topic",
        /// Queue of the topic.
        queue_id: i32 = b"queueId",
        /// Answer 0 when nothing is stored (5.x); missing means the usual rules.
        set_zero_if_not_found: Option<bool> = b"setZeroIfNotFound",
    }
}

request_header! {
    /// UPDATE_CONSUMER_OFFSET: where a group has got to, to be stored.
    UpdateOffsetHeader {
        /// Group of the consumer.
        consumer_group: Text<'a> = b"consumerGroup",
        /// Topic.
        topic: Text<'a> = b"topic",
        /// Queue of the topic.
        queue_id: i32 = b"queueId",
        /// Next offset the group wants.
        commit_offset: i64 = b"commitOffset",
    }
}

request_header! {
    /// GET_MAX_OFFSET, GET_MIN_OFFSET and GET_EARLIEST_MSG_STORETIME: a queue.
    QueueOffsetHeader {
        /// Topic.
        topic: Text<'a> = b"topic",
        /// Queue of the topic.
        queue_id: i32 = b"queueId",
        /// Only what may be consumed (30 only); missing means true.
        committed: Option<bool> = b"committed",
    }
}

request_header! {
    /// SEARCH_OFFSET_BY_TIMESTAMP: a queue and a store time.
    SearchOffsetHeader {
        /// Topic.
        topic: Text<'a> = b"topic",
        /// Queue of the topic.
        queue_id: i32 = b"queueId",
        /// Store time, milliseconds since 1970.
        timestamp: i64 = b"timestamp",
        /// `lower` or `upper` in any case; missing means lower.
        boundary_type: Option<Text<'a>> = b"boundaryType",
    }
}

impl SearchOffsetHeader<'_> {
    /// True when the last message of several with that time is wanted, not the first.
    pub fn is_upper(&self) -> bool {
        self.boundary_type.is_some_and(|kind| kind.to_cow().eq_ignore_ascii_case("upper"))
    }
}
