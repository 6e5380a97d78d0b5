//! SEND_MESSAGE (10), SEND_MESSAGE_V2 (310), SEND_BATCH_MESSAGE (320) and the two replies
//! (324, 325): one message, or a batch, for one queue.
//!
//! Version 2 has the same fields under one-letter names. Which names count is decided by the
//! code, never guessed. Reading allocates nothing.
//!
//! The answer carries `msgId`, `queueId` and `queueOffset`, also with the codes 10, 11 and 12.

mod pattern;

pub use pattern::SendPattern;

use crate::codes::request;
use crate::header::{FieldError, Header, Text};

/// Names of the fields in 10 and 324; in the others field n is the n-th letter.
const LONG: [&str; 14] = [
    "producerGroup",
    "topic",
    "defaultTopic",
    "defaultTopicQueueNums",
    "queueId",
    "sysFlag",
    "bornTimestamp",
    "flag",
    "properties",
    "reconsumeTimes",
    "unitMode",
    "maxReconsumeTimes",
    "batch",
    "bname",
];
const SHORT: [&str; 14] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"];
/// The first eight are mandatory.
const MANDATORY: u32 = 0xFF;

/// The fields of a send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendHeader<'a> {
    /// Group of the producer.
    pub producer_group: Text<'a>,
    /// Topic.
    pub topic: Text<'a>,
    /// Topic whose configuration a new topic takes over, usually `TBW102`.
    pub default_topic: Text<'a>,
    /// Queues the client would like a new topic to have.
    pub default_topic_queue_nums: i32,
    /// Queue; −1 lets the broker choose.
    pub queue_id: i32,
    /// Bits of [`crate::message::sys_flag`].
    pub sys_flag: i32,
    /// Client's clock, milliseconds since 1970.
    pub born_timestamp: i64,
    /// The sender's own flag.
    pub flag: i32,
    /// Properties as sent; empty when there are none.
    pub properties: Text<'a>,
    /// How often a message sent back by the client itself was consumed.
    pub reconsume_times: i32,
    /// The producer belongs to a unit.
    pub unit_mode: bool,
    /// How often it may be consumed, when the client says so.
    pub max_reconsume_times: Option<i32>,
    /// The body is a batch. Only `true` says so: the C++ client's `1` is false, as in Java.
    pub batch: bool,
    /// The broker the client means (5.x); empty when it does not say.
    pub broker_name: Text<'a>,
}

impl<'a> SendHeader<'a> {
    /// Reads the fields; the header's code says under which names.
    ///
    /// Fails when a mandatory field was not sent or a number is none.
    #[inline]
    pub fn parse(header: &Header<'a>) -> Result<SendHeader<'a>, FieldError> {
        let long = is_long(header.code);
        let mut send = SendHeader::default();
        let mut seen = 0;
        let mut wrong = None;
        header.ext.each(|name, text| {
            let field = if long { long_field(name) } else { short_field(name) };
            let Some(field) = field else { return };
            seen |= 1 << field;
            if send.set(field, text).is_none() {
                wrong = Some(field);
            }
        });
        let names = if long { &LONG } else { &SHORT };
        let name_of = |field: usize| names.get(field).copied().unwrap_or_default();
        if let Some(field) = wrong {
            return Err(FieldError::not_a_number(name_of(field)));
        }
        let missing = MANDATORY & !seen;
        if missing != 0 {
            return Err(FieldError::missing(name_of(missing.trailing_zeros() as usize)));
        }
        Ok(send)
    }

    /// Sets field number `field`; `None` when it must be a number and is not.
    #[inline]
    fn set(&mut self, field: usize, text: Text<'a>) -> Option<()> {
        match field {
            0 => self.producer_group = text,
            1 => self.topic = text,
            2 => self.default_topic = text,
            3 => self.default_topic_queue_nums = text.parse_i32()?,
            4 => self.queue_id = text.parse_i32()?,
            5 => self.sys_flag = text.parse_i32()?,
            6 => self.born_timestamp = text.parse_i64()?,
            7 => self.flag = text.parse_i32()?,
            8 => self.properties = text,
            9 if text.is_empty() => {}
            9 => self.reconsume_times = text.parse_i32()?,
            10 => self.unit_mode = text.parse_bool(),
            11 if text.is_empty() => {}
            11 => self.max_reconsume_times = Some(text.parse_i32()?),
            12 => self.batch = text.parse_bool(),
            _ => self.broker_name = text,
        }
        Some(())
    }
}

/// Whether the fields of a send with this code have their long names.
#[inline]
fn is_long(code: i32) -> bool {
    matches!(code, request::SEND_MESSAGE | request::SEND_REPLY_MESSAGE)
}

#[inline]
fn short_field(name: &[u8]) -> Option<usize> {
    match name {
        [letter @ b'a'..=b'n'] => Some(usize::from(letter - b'a')),
        _ => None,
    }
}

#[inline]
fn long_field(name: &[u8]) -> Option<usize> {
    Some(match name {
        b"producerGroup" => 0,
        b"topic" => 1,
        b"defaultTopic" => 2,
        b"defaultTopicQueueNums" => 3,
        b"queueId" => 4,
        b"sysFlag" => 5,
        b"bornTimestamp" => 6,
        b"flag" => 7,
        b"properties" => 8,
        b"reconsumeTimes" => 9,
        b"unitMode" => 10,
        b"maxReconsumeTimes" => 11,
        b"batch" => 12,
        b"bname" => 13,
        _ => return None,
    })
}
