//! Properties: the names and values a message carries.
//!
//! `name 0x01 value 0x02`, repeated; the last 0x02 may be missing. They are read as RocketMQ
//! reads them: a pair shorter than three characters, without 0x01, with an empty name or with an
//! empty value is not there; a value may hold 0x01; of two values of one name the last counts.
//! Reading never allocates.

use crate::swar;

/// Ends a name.
pub const NAME_END: u8 = 1;
/// Ends a value.
pub const VALUE_END: u8 = 2;

/// Names of properties, as they stand in messages.
pub mod name {
    /// Index keys, separated by spaces.
    pub const KEYS: &str = "KEYS";
    /// The tag.
    pub const TAGS: &str = "TAGS";
    /// `false`: do not wait for disk or slaves.
    pub const WAIT: &str = "WAIT";
    /// Delay level, 1 to 18.
    pub const DELAY: &str = "DELAY";
    /// Topic of a message given back.
    pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
    /// Topic a system topic holds the message for.
    pub const REAL_TOPIC: &str = "REAL_TOPIC";
    /// Queue a system topic holds the message for.
    pub const REAL_QID: &str = "REAL_QID";
    /// `true`: a half message.
    pub const TRAN_MSG: &str = "TRAN_MSG";
    /// Producer group.
    pub const PGROUP: &str = "PGROUP";
    /// Offset id of the first copy of a message given back.
    pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
    /// How often it was consumed, when the client itself sends it to the retry topic.
    pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
    /// How often it may be.
    pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
    /// Region of the broker.
    pub const MSG_REGION: &str = "MSG_REGION";
    /// `true`: trace it.
    pub const TRACE_ON: &str = "TRACE_ON";
    /// The client's id.
    pub const UNIQ_KEY: &str = "UNIQ_KEY";
    /// Messages in an inner batch.
    pub const INNER_NUM: &str = "INNER_NUM";
    /// First queue offset of an inner batch.
    pub const INNER_BASE: &str = "INNER_BASE";
    /// Queues that also get the message.
    pub const INNER_MULTI_DISPATCH: &str = "INNER_MULTI_DISPATCH";
    /// Offsets in those queues.
    pub const INNER_MULTI_QUEUE_OFFSET: &str = "INNER_MULTI_QUEUE_OFFSET";
    /// Cluster of the broker.
    pub const CLUSTER: &str = "CLUSTER";
    /// Ties a reply to its request.
    pub const CORRELATION_ID: &str = "CORRELATION_ID";
    /// Client that waits for the reply.
    pub const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
    /// How long it waits, milliseconds.
    pub const TTL: &str = "TTL";
    /// `reply` for a reply.
    pub const MSG_TYPE: &str = "MSG_TYPE";
    /// Handle of a popped message.
    pub const POP_CK: &str = "POP_CK";
    /// Messages of one key stay in order.
    pub const SHARDING_KEY: &str = "__SHARDINGKEY";
    /// Timed delivery: seconds from now.
    pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
    /// Timed delivery: milliseconds from now.
    pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
    /// Timed delivery: milliseconds since 1970.
    pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
    /// Unique key of a timed message to be taken back.
    pub const TIMER_DEL_UNIQKEY: &str = "TIMER_DEL_UNIQKEY";
    /// First check of a half message not before so many seconds.
    pub const CHECK_IMMUNITY_TIME_IN_SECONDS: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";
}

/// Iterator over properties; what RocketMQ's parser would drop is left out.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: &'a [u8],
}

/// Iterates over the names and values in `properties`.
#[inline]
pub fn pairs(properties: &[u8]) -> Pairs<'_> {
    Pairs { rest: properties }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let stop = swar::separator(self.rest, 0).unwrap_or(self.rest.len());
            if self.rest.get(stop) != Some(&NAME_END) {
                self.rest = self.rest.get(stop + 1..).unwrap_or(&[]);
                continue;
            }
            // A 0x01 inside the value belongs to it.
            let end = swar::value_end(self.rest, stop + 1).unwrap_or(self.rest.len());
            let (name, value) = (self.rest.get(..stop), self.rest.get(stop + 1..end));
            self.rest = self.rest.get(end + 1..).unwrap_or(&[]);
            if let (Some(name @ [_, ..]), Some(value @ [_, ..])) = (name, value) {
                return Some((name, value));
            }
        }
        None
    }
}

/// The value of `name`.
#[inline]
pub fn find<'a>(properties: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let named = pairs(properties).filter(|(key, _)| *key == name.as_bytes());
    named.last().map(|(_, value)| value)
}

/// Appends one property.
#[inline]
pub fn put(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.push(NAME_END);
    out.extend_from_slice(value);
    out.push(VALUE_END);
}
