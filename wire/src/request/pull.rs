//! PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361): messages of one queue from an offset on.
//!
//! Both have the same fields and the same answer: `nextBeginOffset`, `minOffset`, `maxOffset` and
//! `suggestWhichBrokerId`, with the records as they are stored for a body. Reading allocates
//! nothing.

use super::request_header;
use crate::header::Text;

/// Bits of a pull's `sysFlag`.
pub mod pull_flag {
    /// `commitOffset` is to be stored.
    pub const COMMIT_OFFSET: i32 = 0x1;
    /// Wait when there is nothing yet.
    pub const SUSPEND: i32 = 0x2;
    /// The request brings its own subscription.
    pub const SUBSCRIPTION: i32 = 0x4;
    /// Class filter; obsolete.
    pub const CLASS_FILTER: i32 = 0x8;
    /// From a lite pull consumer.
    pub const LITE_PULL: i32 = 0x10;
}

request_header! {
    /// The fields of a pull.
    PullHeader {
        /// Group of the consumer.
        consumer_group: Text<'a> = b"consumerGroup",
        /// Topic.
        topic: Text<'a> = b"topic",
        /// Queue of the topic.
        queue_id: i32 = b"queueId",
        /// First offset wanted.
        queue_offset: i64 = b"queueOffset",
        /// Most messages wanted.
        max_msg_nums: i32 = b"maxMsgNums",
        /// Bits of [`pull_flag`].
        sys_flag: i32 = b"sysFlag",
        /// Offset to store for the group, with [`pull_flag::COMMIT_OFFSET`].
        commit_offset: i64 = b"commitOffset",
        /// How long to wait, with [`pull_flag::SUSPEND`]; milliseconds.
        suspend_timeout_ms: i64 = b"suspendTimeoutMillis",
        /// Filter expression, with [`pull_flag::SUBSCRIPTION`].
        subscription: Option<Text<'a>> = b"subscription",
        /// Version of the subscription the client knows.
        sub_version: i64 = b"subVersion",
        /// `TAG`, `SQL92` or a class filter's; missing means `TAG`.
        expression_type: Option<Text<'a>> = b"expressionType",
        /// Most body bytes wanted (5.x).
        max_msg_bytes: Option<i32> = b"maxMsgBytes",
        /// Which kind of proxy asks (5.x); −1 or missing is a client itself.
        request_source: Option<i32> = b"requestSource",
        /// Client behind a proxy (5.x), under RocketMQ's spelling.
        proxy_forward_client_id: Option<Text<'a>> = b"proxyFrowardClientId",
        /// The broker the client means (5.x).
        broker_name: Option<Text<'a>> = b"bname",
    }
}

impl PullHeader<'_> {
    /// True when one of the bits of [`pull_flag`] is set.
    #[inline]
    pub fn has(&self, flag: i32) -> bool {
        self.sys_flag & flag != 0
    }
}
