//! SEND_MESSAGE (10), SEND_MESSAGE_V2 (310), SEND_BATCH_MESSAGE (320).
//!
//! The three differ in field names and in the body; one pass over the fields serves all. The
//! properties are unescaped once, into a buffer that is kept, and from there copied into the log.
//! Never: an allocation per message.

use weir_wire::code::request;
use weir_wire::request::send::SendHeader;

use crate::broker::{Reject, SendRequest};
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;
use crate::shard::Taken;

/// Stores a message, a batch, or refuses it.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let fields = SendHeader::parse(&call.header)?;
    let mut properties = std::mem::take(&mut server.properties);
    properties.clear();
    fields.properties.write_unescaped(&mut properties);
    let taken = store(server, call, &fields, &properties);
    server.properties = properties;
    match taken? {
        Taken::Waiting => Ok(Handled::Done),
        Taken::Full => Ok(Handled::Full),
    }
}

fn store(
    server: &mut Server,
    call: &Call<'_>,
    fields: &SendHeader<'_>,
    properties: &[u8],
) -> Result<Taken, Reject> {
    let topic = fields.topic.to_cow();
    let send = SendRequest {
        topic: &topic,
        default_topic: fields.default_topic,
        default_topic_queue_nums: fields.default_topic_queue_nums,
        queue_id: fields.queue_id,
        sys_flag: fields.sys_flag,
        born_ms: fields.born_timestamp,
        flag: fields.flag,
        properties,
        reconsume_times: fields.reconsume_times,
        max_reconsume_times: fields.max_reconsume_times,
        unit_mode: fields.unit_mode,
        batch: fields.batch || call.header.code == request::SEND_BATCH_MESSAGE,
        body: call.body,
        client_version: call.header.version,
        peer: call.peer,
    };
    server.shard.send(&mut server.driver, &send, call.waiter())
}
