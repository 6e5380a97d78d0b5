//! SEND_MESSAGE (10), SEND_MESSAGE_V2 (310), SEND_BATCH_MESSAGE (320).
//!
//! The three differ in field names and in the body; one pass over the fields serves all. The
//! properties are unescaped once, into a buffer that is kept, and from there copied into the log.
//! Never: an allocation per message.

use weir_wire::code::{request, response};
use weir_wire::header::{FieldError, Text};

use crate::broker::{Reject, SendRequest};
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;
use crate::shard::Taken;

/// A send that finds no room waits this long before it is refused.
const WAIT_NS: u64 = 50_000_000;

/// The fields of a send, under whichever names they came.
#[derive(Default)]
struct Fields<'a> {
    producer_group: Text<'a>,
    topic: Option<Text<'a>>,
    default_topic: Text<'a>,
    default_topic_queue_nums: Option<Text<'a>>,
    queue_id: Option<Text<'a>>,
    sys_flag: Option<Text<'a>>,
    born_timestamp: Option<Text<'a>>,
    flag: Option<Text<'a>>,
    properties: Text<'a>,
    reconsume_times: Option<Text<'a>>,
    unit_mode: bool,
    max_reconsume_times: Option<Text<'a>>,
    batch: bool,
}

impl<'a> Fields<'a> {
    fn read(call: &Call<'a>) -> Fields<'a> {
        let mut fields = Fields::default();
        let long = call.header.code == request::SEND_MESSAGE;
        for (key, value) in call.header.ext.iter() {
            let Some(name) = key.as_plain() else { continue };
            match (long, name) {
                (true, "producerGroup") | (false, "a") => fields.producer_group = value,
                (true, "topic") | (false, "b") => fields.topic = Some(value),
                (true, "defaultTopic") | (false, "c") => fields.default_topic = value,
                (true, "defaultTopicQueueNums") | (false, "d") => {
                    fields.default_topic_queue_nums = Some(value);
                }
                (true, "queueId") | (false, "e") => fields.queue_id = Some(value),
                (true, "sysFlag") | (false, "f") => fields.sys_flag = Some(value),
                (true, "bornTimestamp") | (false, "g") => fields.born_timestamp = Some(value),
                (true, "flag") | (false, "h") => fields.flag = Some(value),
                (true, "properties") | (false, "i") => fields.properties = value,
                (true, "reconsumeTimes") | (false, "j") => fields.reconsume_times = Some(value),
                (true, "unitMode") | (false, "k") => fields.unit_mode = value.parse_bool(),
                (true, "maxReconsumeTimes") | (false, "l") => {
                    fields.max_reconsume_times = Some(value);
                }
                (true, "batch") | (false, "m") => fields.batch = value.parse_bool(),
                _ => {}
            }
        }
        fields
    }
}

fn number(text: Option<Text<'_>>, name: &'static str) -> Result<i32, FieldError> {
    let text = text.ok_or(FieldError::missing(name))?;
    text.parse_i32().ok_or(FieldError::not_a_number(name))
}

/// Stores a message, a batch, or refuses it.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let fields = Fields::read(call);
    let mut properties = std::mem::take(&mut server.properties);
    properties.clear();
    fields.properties.write_unescaped(&mut properties);
    let taken = store(server, call, &fields, &properties);
    server.properties = properties;
    match taken? {
        Taken::Waiting => Ok(Handled::Done),
        Taken::Full if server.block_wait_ns < WAIT_NS => Ok(Handled::Full),
        Taken::Full => Err(server.shard.busy(server.block_wait_ns / 1_000_000)),
    }
}

fn store(
    server: &mut Server,
    call: &Call<'_>,
    fields: &Fields<'_>,
    properties: &[u8],
) -> Result<Taken, Reject> {
    let topic = fields.topic.ok_or(FieldError::missing("topic"))?.to_cow();
    let default_topic = fields.default_topic.to_cow();
    let producer_group = fields.producer_group.to_cow();
    let born = fields.born_timestamp.ok_or(FieldError::missing("bornTimestamp"))?;
    let request = SendRequest {
        producer_group: &producer_group,
        topic: &topic,
        default_topic: &default_topic,
        default_topic_queue_nums: number(fields.default_topic_queue_nums, "defaultTopicQueueNums")?,
        queue_id: number(fields.queue_id, "queueId")?,
        sys_flag: number(fields.sys_flag, "sysFlag")?,
        born_ms: born.parse_i64().ok_or(FieldError::not_a_number("bornTimestamp"))?,
        flag: number(fields.flag, "flag")?,
        properties: std::str::from_utf8(properties)
            .map_err(|_| Reject::new(response::MESSAGE_ILLEGAL, "the properties are not UTF-8"))?,
        reconsume_times: fields.reconsume_times.and_then(|t| t.parse_i32()).unwrap_or(0),
        max_reconsume_times: fields.max_reconsume_times.and_then(|text| text.parse_i32()),
        unit_mode: fields.unit_mode,
        batch: call.header.code == request::SEND_BATCH_MESSAGE || fields.batch,
        body: call.body,
        client_version: call.header.version,
        peer: call.peer,
    };
    server.shard.send(&mut server.driver, &request, call.waiter())
}
